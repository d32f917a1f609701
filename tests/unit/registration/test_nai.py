"""Nodes known by their NAI, whose home address their home agent assigns (draft 2.6.3, AMB-12, RFC 2794)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from mobileip.registration.actions import (
    Action,
    Bind,
    Count,
    ForgetBinding,
    PersistBinding,
    PersistIdentification,
    Unbind,
)
from mobileip.registration.bindings import BindingKey, NodeKey
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import OnLocalFailure, ProxyNode, ProxySettings
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    GATEWAY,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    NOW,
    OTHER_CARE_OF,
    PARAMETER,
    PROXY,
    REQUEST,
    Disk,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    sends,
    signed,
)

ALICE, BOB = "alice@home.example", "bob@home.example"
ALICE_SA, BOB_SA = SecurityAssociation(2002, b"a" * 16), SecurityAssociation(2003, b"b" * 16)
ALICE_HA_SA, BOB_HA_SA = SecurityAssociation(3002, b"c" * 16), SecurityAssociation(3003, b"d" * 16)
ASSIGNED, OTHER_ASSIGNED = IPv4Address("192.0.2.80"), IPv4Address("192.0.2.81")
NOBODY = IPv4Address(0)
KEY = NodeKey(GATEWAY, ALICE)

SETTINGS = replace(
    PROXY,
    nodes=(
        *PROXY.nodes,
        ProxyNode(None, GATEWAY, (ALICE_SA,), ALICE_HA_SA, nai=ALICE),
        ProxyNode(None, GATEWAY, (BOB_SA,), BOB_HA_SA, nai=BOB),
    ),
    gateway_networks={GATEWAY: (IPv4Network("192.0.2.64/27"),)},
)


def nai(name: str) -> Extension:
    return Extension(ExtensionType.NAI, name.encode())


ASKED = replace(REQUEST, home_address=NOBODY, extensions=(nai(ALICE), PARAMETER))
BOB_ASKED = replace(ASKED, extensions=(nai(BOB), PARAMETER))


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(SETTINGS)


def ask(
    proxy: Proxy, request: RegistrationRequest = ASKED, now: float = NOW, key: SecurityAssociation = ALICE_SA
) -> list[Action]:
    return proxy.feed(from_node(signed(request, key), request.care_of_address), now)


def answer(
    proxy: Proxy,
    request: RegistrationRequest = ASKED,
    now: float = NOW,
    key: SecurityAssociation = ALICE_HA_SA,
    **changes: Any,
) -> list[Action]:
    """Have the home agent accept, with the NAI of the request and an address unless `changes` say otherwise."""
    changes = {"home_address": ASSIGNED, "extensions": request.extensions[:1], **changes}
    return proxy.feed(from_home_agent(signed(reply_to(request, **changes), key)), now)


# -- the request --------------------------------------------------------------------------------------------------


def test_node_with_nai_and_home_address_0_is_relayed_as_it_is_D_2_6_3_a_and_D_2_2_2_c(proxy: Proxy) -> None:
    actions = ask(proxy)
    relayed = only_request(actions)
    assert (relayed.home_address, relayed.care_of_address) == (NOBODY, MIPP_PRIV)
    assert relayed.extensions[0] == nai(ALICE)
    assert actions[0] == PersistIdentification(KEY, 2002, at(NOW))


def test_pending_requests_with_home_address_0_are_told_apart_by_nai_D_2_6_3_b(proxy: Proxy) -> None:
    ask(proxy)
    ask(proxy, BOB_ASKED, key=BOB_SA)  # the same Identification, the same home agent
    assert proxy.pending == 2
    reply = only_reply(answer(proxy, BOB_ASKED, key=BOB_HA_SA, home_address=OTHER_ASSIGNED))
    assert (reply.home_address, find(reply.extensions, ExtensionType.NAI)) == (OTHER_ASSIGNED, nai(BOB))
    assert only_reply(answer(proxy)).home_address == ASSIGNED
    assert sorted((str(one.home_address), one.nai) for one in proxy.bindings) == [
        (str(ASSIGNED), ALICE),
        (str(OTHER_ASSIGNED), BOB),
    ]


@pytest.mark.parametrize(
    ("extensions", "settings"),
    [
        ((nai(ALICE), PARAMETER), PROXY),  # no node is known by a NAI: they are not supported
        ((nai("eve@home.example"), PARAMETER), SETTINGS),
    ],
)
def test_home_address_0_of_nobody_we_know_by_nai_is_dropped_in_silence_D_2_6_3_d(
    extensions: tuple[Extension, ...], settings: ProxySettings
) -> None:
    proxy = Proxy(settings)
    assert ask(proxy, replace(ASKED, extensions=extensions)) == [Count("zero_home_address")]
    assert proxy.pending == 0


def test_home_address_0_without_nai_is_dropped_in_silence_D_2_6_3_e(proxy: Proxy) -> None:
    assert ask(proxy, replace(ASKED, extensions=(PARAMETER,))) == [Count("zero_home_address")]
    behind = from_node(signed(replace(ASKED, extensions=(PARAMETER,)), ALICE_SA, behind=[nai(ALICE)]))
    assert proxy.feed(behind, NOW) == [Count("zero_home_address")]  # there anybody may have put it


# -- the reply ----------------------------------------------------------------------------------------------------


def test_assigned_home_address_is_bound_and_announced_D_2_6_3_c_and_D_2_6_6_c(proxy: Proxy) -> None:
    ask(proxy)
    actions = answer(proxy)
    (binding,) = proxy.bindings
    assert (binding.home_address, binding.nai, binding.key) == (ASSIGNED, ALICE, BindingKey(GATEWAY, ASSIGNED, CARE_OF))
    assert actions[:2] == [PersistBinding(binding), Bind(binding)]
    expected = RegistrationReply(0, 300, ASSIGNED, MIPP_PUB, at(NOW), (nai(ALICE), PARAMETER))
    assert [send.payload for send in sends(actions)] == [signed(expected, ALICE_SA)]


def test_next_request_with_the_assigned_address_renews_the_binding_D_2_6_3_c(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    again = replace(ASKED, home_address=ASSIGNED, identification=at(NOW + 10))
    ask(proxy, again, NOW + 10)
    assert only_reply(answer(proxy, again, NOW + 10)).code == 0
    assert [(one.home_address, one.expires) for one in proxy.bindings] == [(ASSIGNED, NOW + 310)]


def test_move_of_a_node_without_home_address_replaces_its_binding_D_2_6_6_d(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    (old,) = proxy.bindings
    moved = replace(ASKED, care_of_address=OTHER_CARE_OF, identification=at(NOW + 10))
    ask(proxy, moved, NOW + 10)
    actions = answer(proxy, moved, NOW + 10)
    (new,) = proxy.bindings
    assert actions[:3] == [ForgetBinding(old.key), PersistBinding(new), Bind(new, (old.key,))]


def test_another_home_address_for_the_node_ends_what_the_old_one_had_D_2_6_6_d(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    (old,) = proxy.bindings
    again = replace(ASKED, identification=at(NOW + 10))
    ask(proxy, again, NOW + 10)
    actions = answer(proxy, again, NOW + 10, home_address=OTHER_ASSIGNED)
    (new,) = proxy.bindings
    assert actions[:4] == [ForgetBinding(old.key), Unbind(old.key), PersistBinding(new), Bind(new)]


def test_address_that_is_given_back_may_go_to_another_node_D_2_6_6_d(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    assert Unbind(BindingKey(GATEWAY, ASSIGNED, CARE_OF)) in proxy.handle_timer(NOW + 300)
    request = replace(BOB_ASKED, identification=at(NOW + 301))
    ask(proxy, request, NOW + 301, BOB_SA)
    assert only_reply(answer(proxy, request, NOW + 301, BOB_HA_SA)).code == 0


def test_deregistration_of_a_node_without_home_address_D_2_3_1_d(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    over = replace(ASKED, lifetime=0, identification=at(NOW + 10))
    assert only_request(ask(proxy, over, NOW + 10)).lifetime == 0
    assert only_reply(answer(proxy, over, NOW + 10, lifetime=0, home_address=NOBODY)).lifetime == 0
    assert proxy.bindings == ()


def test_bindings_of_nodes_known_by_nai_survive_a_restart_D_2_6_6_c(proxy: Proxy) -> None:
    disk = Disk()
    disk.commit(ask(proxy))
    disk.commit(answer(proxy))
    restarted = Proxy(SETTINGS)
    assert restarted.restore(disk.records(), NOW + 1) == [Bind(binding) for binding in proxy.bindings]
    again = replace(ASKED, extensions=(nai(ALICE),), identification=at(NOW + 10))  # its session says the home agent
    assert only_request(ask(restarted, again, NOW + 10)).home_agent == HOME_AGENT
    over = [ForgetBinding(BindingKey(GATEWAY, ASSIGNED, CARE_OF)), Unbind(BindingKey(GATEWAY, ASSIGNED, CARE_OF))]
    assert Proxy(PROXY).restore(disk.records(), NOW + 1) == over


def test_denial_of_ours_carries_the_nai_R2794_3(proxy: Proxy) -> None:
    reply = only_reply(ask(proxy, replace(ASKED, flags=Flag.DECAPSULATES)))
    assert (reply.code, reply.extensions[0]) == (138, nai(ALICE))


# -- replies that lack something ----------------------------------------------------------------------------------

FLAWS = [
    ({"extensions": ()}, 203, 97),
    ({"home_address": NOBODY}, 204, 99),
    ({"home_agent": NOBODY}, 205, 98),
]


@pytest.mark.parametrize(("changes", "draft", "rfc"), FLAWS)
def test_reply_without_nai_or_addresses_is_203_204_205_and_binds_nothing_D_2_6_3_f_and_D_2_6_3_g(
    changes: dict[str, Any], draft: int, rfc: int
) -> None:
    for profile, code in ((CodeProfile.DRAFT, draft), (CodeProfile.RFC, rfc)):
        proxy = Proxy(replace(SETTINGS, code_profile=profile))
        ask(proxy)
        actions = answer(proxy, **changes)
        reply = only_reply(actions)
        assert (reply.code, reply.lifetime, reply.identification) == (code, 0, at(NOW))
        assert find(reply.extensions, ExtensionType.MESSAGE_STRING) is not None
        assert (proxy.bindings, proxy.pending) == ((), 0)


def test_203_204_205_are_the_drafts_D_2_4_1_d_and_D_2_4_1_e_and_D_2_4_1_f() -> None:
    assert (Code.MISSING_NAI, Code.MISSING_HOME_ADDRESS, Code.MISSING_HOME_AGENT) == (203, 204, 205)
    assert [(draft, rfc) for _, draft, rfc in FLAWS] == [(203, 97), (204, 99), (205, 98)]


def test_plain_registration_is_never_answered_203_AMB_12(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)) == [0]


def test_denial_by_the_home_agent_passes_although_it_names_no_address_D_2_3_1_a(proxy: Proxy) -> None:
    ask(proxy)
    reply = only_reply(answer(proxy, code=129, home_address=NOBODY, extensions=()))
    assert (reply.code, reply.extensions[0]) == (129, nai(ALICE))


def test_home_agent_that_assigns_an_address_of_another_node_or_network_is_not_served_D_2_3_1_b() -> None:
    for address in (HOME, IPv4Address("192.0.2.99"), IPv4Address("198.51.100.1")):
        proxy = Proxy(SETTINGS)
        ask(proxy)
        assert codes(answer(proxy, home_address=address)) == [130]
        assert proxy.bindings == ()


def test_address_that_another_node_has_now_is_not_served_twice_D_2_3_1_b(proxy: Proxy) -> None:
    ask(proxy)
    answer(proxy)
    ask(proxy, BOB_ASKED, key=BOB_SA)
    assert codes(answer(proxy, BOB_ASKED, key=BOB_HA_SA)) == [130]
    assert [one.nai for one in proxy.bindings] == [ALICE]


def test_code_for_what_we_cannot_serve_is_configured_AMB_1() -> None:
    proxy = Proxy(replace(SETTINGS, cannot_service_code=Code.IDENTIFICATION_MISMATCH))
    ask(proxy)
    assert codes(answer(proxy, home_address=HOME)) == [133]


def test_home_agents_binding_that_we_cannot_serve_expires_or_is_taken_back_AMB_1() -> None:
    proxy = Proxy(SETTINGS)
    ask(proxy)
    assert len(sends(answer(proxy, extensions=()))) == 1  # the node's reply; draft 3: nothing of our own
    proxy = Proxy(replace(SETTINGS, on_local_failure=OnLocalFailure.DEREGISTER))
    ask(proxy)
    denial, taken_back = sends(answer(proxy, extensions=()))
    assert parse_reply(denial.payload).code == 203
    request = RegistrationRequest(Flag.REVERSE_TUNNEL, 0, ASSIGNED, HOME_AGENT, MIPP_PRIV, at(NOW) + 1, (nai(ALICE),))
    assert (taken_back.payload, taken_back.destination.address) == (signed(request, ALICE_HA_SA), HOME_AGENT)
    following = replace(ASKED, identification=at(NOW + 1))
    assert only_request(ask(proxy, following, NOW + 1)).identification > request.identification


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extensions": (nai(BOB),)}, "reply_without_request"),
        ({"key": BOB_HA_SA}, "reply_unknown_spi"),
        ({"identification": at(NOW + 0.5)}, "reply_without_request"),
    ],
)
def test_reply_for_another_nai_or_by_another_key_is_dropped_AMB_12_and_D_2_1_b(
    proxy: Proxy, changes: dict[str, Any], reason: str
) -> None:
    ask(proxy)
    actions = answer(proxy, **changes)
    assert Count(reason) in actions
    assert (sends(actions), proxy.pending) == ([], 1)


def test_node_with_both_a_home_address_and_a_nai_stays_with_its_address_D_2_6_3_c() -> None:
    both = replace(PROXY.nodes[0], nai=ALICE, node_associations=(ALICE_SA,), home_agent_association=ALICE_HA_SA)
    proxy = Proxy(replace(PROXY, nodes=(both,)))
    ask(proxy)
    assert codes(answer(proxy, home_address=ASSIGNED)) == [130]
    again = replace(ASKED, identification=at(NOW + 1))
    ask(proxy, again, NOW + 1)
    assert codes(answer(proxy, again, NOW + 1, home_address=HOME)) == [0]
    assert [(one.home_address, one.nai, one.flags) for one in proxy.bindings] == [(HOME, ALICE, CO_LOCATED)]


def test_node_needs_a_home_address_or_a_nai() -> None:
    with pytest.raises(ValueError, match="neither home address nor NAI"):
        ProxyNode(None, GATEWAY, (ALICE_SA,), ALICE_HA_SA)
