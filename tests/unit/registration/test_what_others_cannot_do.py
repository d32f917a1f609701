"""What nobody can do to another's registration: with a stolen key, with copies, by replies that come late."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product

import pytest

from mobileip.registration.actions import Bind, Count, ForgetBinding, Unbind
from mobileip.registration.address_pool import AddressRange, PoolUse
from mobileip.registration.bindings import Binding
from mobileip.registration.events import Endpoint
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_addresses import HomeNode
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import OnLocalFailure, ProxyNode, ProxySettings
from mobileip.registration.replay import ReplayMode, ReplayPolicy
from mobileip.wire.authentication import ReplayStyle, SecurityAssociation
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.identification import low
from mobileip.wire.messages import Flag, RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    DIRECT_REQUEST,
    DIRECT_SA,
    FOREIGN_AGENT,
    GATEWAY,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    MIPP_PUB,
    NODE_SA,
    NOW,
    OTHER_CARE_OF,
    PARAMETER,
    PROXY,
    PROXY_SA,
    REQUEST,
    VISITED,
    Disk,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    reply_to,
    sends,
    signed,
    to_home_agent,
)

SEVERAL = Flag.SIMULTANEOUS | CO_LOCATED
ALICE, BOB = "alice@home.example", "bob@home.example"
ALICE_SA, BOB_SA = SecurityAssociation(2002, b"a" * 16), SecurityAssociation(2003, b"b" * 16)
ASSIGNED = IPv4Address("192.0.2.80")
NOBODY = IPv4Address(0)
# All of them share one association with the home agent, as happens where it knows the proxy, and no single nodes.
BY_NAI = replace(
    PROXY,
    nodes=(
        *PROXY.nodes,
        ProxyNode(None, GATEWAY, (ALICE_SA,), PROXY_SA, nai=ALICE),
        ProxyNode(None, GATEWAY, (BOB_SA,), PROXY_SA, nai=BOB),
    ),
    gateway_networks={GATEWAY: (IPv4Network("192.0.2.64/27"),)},
)


def called(name: str) -> Extension:
    return Extension(ExtensionType.NAI, name.encode())


def asked(care_of: IPv4Address, now: float, lifetime: int = 600, flags: int = SEVERAL) -> RegistrationRequest:
    return replace(REQUEST, flags=flags, care_of_address=care_of, identification=at(now), lifetime=lifetime)


def relayed(proxy: Proxy, request: RegistrationRequest, now: float, key: SecurityAssociation = NODE_SA) -> None:
    """Have the proxy take the request on."""
    (send,) = sends(proxy.feed(from_node(signed(request, key), request.care_of_address), now))
    assert send.destination.address == HOME_AGENT


def registered(settings: ProxySettings, request: RegistrationRequest, key: SecurityAssociation = NODE_SA) -> Proxy:
    """A proxy at which this request was accepted at NOW."""
    proxy = Proxy(settings)
    relayed(proxy, request, NOW, key)
    home_address = request.home_address if int(request.home_address) else ASSIGNED
    names = tuple(one for one in request.extensions if one.type == ExtensionType.NAI)
    proxy.feed(from_home_agent(reply_to(request, home_address=home_address, extensions=names)), NOW)
    assert len(proxy.bindings) == 1
    return proxy


# -- replies that come late ---------------------------------------------------------------------------------------


def test_late_reply_does_not_shorten_what_was_registered_since_D_2_6_2_e() -> None:
    proxy = Proxy(replace(PROXY, simultaneous=3))
    short, long = asked(CARE_OF, NOW, 100), asked(OTHER_CARE_OF, NOW + 1)
    relayed(proxy, short, NOW)
    relayed(proxy, long, NOW + 1)
    assert only_reply(proxy.feed(from_home_agent(reply_to(long, lifetime=600)), NOW + 2)).lifetime == 600
    proxy.feed(from_home_agent(reply_to(short, lifetime=100)), NOW + 2)
    ends = {binding.care_of_address: binding.expires - NOW for binding in proxy.bindings}
    assert ends == {CARE_OF: 100, OTHER_CARE_OF: 601}
    assert {binding.home_agent_expires for binding in proxy.bindings} == {NOW + 601}


@pytest.mark.parametrize("given_up", [CARE_OF, HOME])
def test_late_deregistration_does_not_end_what_was_registered_since_D_2_3_1_d(given_up: IPv4Address) -> None:
    proxy = registered(replace(PROXY, simultaneous=3), asked(CARE_OF, NOW))
    over, since = asked(given_up, NOW + 1, 0), asked(OTHER_CARE_OF, NOW + 2)
    proxy.feed(from_node(over, CARE_OF), NOW + 1)
    relayed(proxy, since, NOW + 2)
    proxy.feed(from_home_agent(reply_to(since)), NOW + 3)
    assert only_reply(proxy.feed(from_home_agent(reply_to(over, lifetime=0)), NOW + 3)).lifetime == 0
    assert [(one.care_of_address, one.expires) for one in proxy.bindings] == [(OTHER_CARE_OF, NOW + 302)]


def test_reply_to_an_earlier_request_with_the_same_low_half_binds_only_that_one_R5944_5_7_1_b() -> None:
    proxy = Proxy(replace(PROXY, simultaneous=3))
    first, second = asked(CARE_OF, NOW), asked(OTHER_CARE_OF, NOW + 1)
    assert low(first.identification) == low(second.identification)  # a node whose clock has whole seconds
    relayed(proxy, first, NOW)
    relayed(proxy, second, NOW + 1)
    proxy.feed(from_home_agent(reply_to(first)), NOW + 2)
    assert [one.care_of_address for one in proxy.bindings] == [CARE_OF]
    proxy.feed(from_home_agent(reply_to(second)), NOW + 2)
    assert [one.care_of_address for one in proxy.bindings] == [CARE_OF, OTHER_CARE_OF]


def test_acceptance_of_a_request_that_timed_out_is_not_taken_for_the_next_ones_R5944_5_7_1_b() -> None:
    proxy = Proxy(PROXY)
    first, second = asked(CARE_OF, NOW), asked(OTHER_CARE_OF, NOW + 8)
    relayed(proxy, first, NOW)
    relayed(proxy, second, NOW + 8)
    assert proxy.feed(from_home_agent(reply_to(first)), NOW + 8) == [Count("reply_without_request")]
    assert (proxy.bindings, proxy.pending) == ((), 1)
    (denial,) = codes(proxy.feed(from_home_agent(reply_to(second, 133, identification=at(NOW + 100))), NOW + 8))
    assert denial == 133  # has the home agent's clock in the high half


def test_clock_that_jumps_back_keeps_no_node_out_AMB_13() -> None:
    proxy = Proxy(replace(PROXY, checks=GatePolicy(ReplayPolicy(mode=ReplayMode.MONOTONIC))))
    relayed(proxy, asked(CARE_OF, NOW), NOW)
    for number in range(1, 20):  # the home agent is away; one request in ten seconds, an hour ago
        now = NOW - 3600 + 10 * number
        relayed(proxy, asked(CARE_OF, NOW + number), now)
    assert proxy.pending <= 2


# -- one stolen key -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [600, 0])
def test_node_cannot_name_the_home_address_of_another_R5944_3_8_3_2_d(lifetime: int) -> None:
    own = replace(REQUEST, home_address=NOBODY, extensions=(called(ALICE), PARAMETER))
    proxy = registered(BY_NAI, own, ALICE_SA)
    stolen = replace(
        own, home_address=ASSIGNED, lifetime=lifetime, identification=at(NOW + 1), extensions=(called(BOB), PARAMETER)
    )
    assert codes(proxy.feed(from_node(signed(stolen, BOB_SA)), NOW + 1)) == [129]
    assert [one.nai for one in proxy.bindings] == [ALICE]


def test_node_with_a_home_address_has_no_other_R5944_3_8_3_2_d() -> None:
    named = replace(PROXY, nodes=(replace(PROXY.nodes[0], nai=ALICE),))
    wrong = replace(REQUEST, home_address=ASSIGNED, extensions=(called(ALICE), PARAMETER))
    assert codes(Proxy(named).feed(from_node(wrong), NOW)) == [129]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"mn@home.example\n", b"mn\x1b[2J", b"mn\0", b""])
def test_name_that_is_no_text_reaches_neither_store_nor_terminal_R5944_3_8_2_3_a(name: bytes) -> None:
    odd = replace(REQUEST, extensions=(Extension(ExtensionType.NAI, name), PARAMETER))
    assert codes(Proxy(PROXY).feed(from_node(odd), NOW)) == [134]
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(HomeNode(HOME, (NODE_SA,)),)))
    asked_there = replace(odd, home_agent=HOME_AGENT, care_of_address=VISITED, extensions=odd.extensions[:1])
    assert codes(agent.feed(to_home_agent(signed(asked_there), VISITED), NOW)) == [134]


def test_nodes_with_one_home_address_stay_with_their_own_home_agents_D_1_4_a() -> None:
    other_agent, other_gateway = IPv4Address("192.0.2.42"), IPv4Address("203.0.113.21")
    twins = replace(
        PROXY,
        nodes=(
            replace(PROXY.nodes[0], home_agent=HOME_AGENT),
            ProxyNode(HOME, other_gateway, (ALICE_SA,), PROXY_SA, home_agent=other_agent),
        ),
        home_agents={**PROXY.home_agents, other_agent: PROXY.home_agents[HOME_AGENT]},
    )
    proxy = registered(twins, REQUEST)
    # Named by the other node, the first one's home agent would take it for that one.
    mixed = replace(REQUEST, identification=at(NOW + 1))
    assert codes(proxy.feed(from_node(signed(mixed, ALICE_SA)), NOW + 1)) == [129]
    own = replace(mixed, identification=at(NOW + 2), extensions=(HomeAgentParameter(other_agent).extension(),))
    (send,) = sends(proxy.feed(from_node(signed(own, ALICE_SA)), NOW + 2))
    assert send.destination.address == other_agent


def test_address_of_another_is_not_taken_back_from_it_AMB_1() -> None:
    asking = replace(REQUEST, home_address=NOBODY, extensions=(called(ALICE), PARAMETER))
    proxy = registered(replace(BY_NAI, on_local_failure=OnLocalFailure.DEREGISTER), asking, ALICE_SA)
    theirs = replace(asking, extensions=(called(BOB), PARAMETER))
    relayed(proxy, theirs, NOW + 1, BOB_SA)
    mistaken = reply_to(theirs, home_address=ASSIGNED, extensions=(called(BOB),))
    (denial,) = sends(proxy.feed(from_home_agent(mistaken), NOW + 1))
    assert parse_reply(denial.payload).code == 130
    assert [one.nai for one in proxy.bindings] == [ALICE]


def test_what_is_taken_back_at_the_home_agent_is_bound_here_no_more_AMB_1() -> None:
    asking = replace(REQUEST, home_address=NOBODY, extensions=(called(ALICE), PARAMETER))
    proxy = registered(replace(BY_NAI, on_local_failure=OnLocalFailure.DEREGISTER), asking, ALICE_SA)
    again = replace(asking, identification=at(NOW + 1))
    relayed(proxy, again, NOW + 1, ALICE_SA)
    nameless = reply_to(again, home_address=ASSIGNED)
    assert len(sends(proxy.feed(from_home_agent(nameless), NOW + 1))) == 2  # 203, and the deregistration
    assert proxy.bindings == ()


@pytest.mark.parametrize("care_of", [MIPP_PUB, MIPP_PRIV, GATEWAY, VISITED])
def test_no_tunnel_ends_at_our_own_addresses_or_inside_AMB_21(care_of: IPv4Address) -> None:
    behind_agent = replace(REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=care_of)
    assert codes(Proxy(PROXY).feed(from_node(behind_agent, FOREIGN_AGENT), NOW)) == [129]


def test_home_agent_binds_no_node_at_its_own_address() -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(HomeNode(HOME, (NODE_SA,)),)))
    request = replace(REQUEST, flags=0, home_agent=HOME_AGENT, care_of_address=HOME_AGENT, extensions=())
    assert codes(agent.feed(to_home_agent(signed(request), VISITED), NOW)) == [129]


# -- copies -------------------------------------------------------------------------------------------------------

BY_NONCE = replace(
    PROXY,
    nodes=(
        replace(
            PROXY.nodes[0],
            node_associations=(replace(NODE_SA, replay=ReplayStyle.NONCE),),
            home_agent_association=replace(PROXY_SA, replay=ReplayStyle.NONCE),
        ),
    ),
)


def by_nonce(nonce: int, number: int) -> RegistrationRequest:
    return replace(REQUEST, identification=nonce << 32 | number)


def test_copies_do_not_take_the_room_of_a_request_that_is_new_AMB_6() -> None:
    proxy = Proxy(BY_NONCE)
    relayed(proxy, by_nonce(1, 1), NOW)
    proxy.feed(from_home_agent(reply_to(by_nonce(1, 1), identification=2 << 32 | 1)), NOW)
    for number in range(20):  # all that the node has ever sent
        proxy.feed(from_node(by_nonce(99, number)), NOW + 1)
    assert proxy.pending == BY_NONCE.pending_per_node
    relayed(proxy, by_nonce(2, 77), NOW + 2)
    assert proxy.pending == BY_NONCE.pending_per_node


def test_denials_that_copies_provoke_are_rationed_AMB_25() -> None:
    proxy = Proxy(BY_NONCE)
    no_tunnel = replace(by_nonce(99, 5), flags=Flag.DECAPSULATES)
    answered = [codes(proxy.feed(from_node(no_tunnel), NOW + 1)) for _ in range(20)]
    assert sum(map(len, answered)) == 5


def test_one_node_does_not_use_up_the_denials_of_all_that_have_no_home_address_AMB_25() -> None:
    proxy = Proxy(BY_NAI)
    asking = replace(REQUEST, home_address=NOBODY, identification=at(NOW - 100))
    old = signed(replace(asking, extensions=(called(ALICE), PARAMETER)), ALICE_SA)
    provoked = [
        codes(proxy.feed(from_node(old, Endpoint(IPv4Address(f"198.51.100.{host}"), 434)), NOW))
        for host, _ in product(range(1, 5), range(5))
    ]
    assert sum(map(len, provoked)) == 5
    others = signed(replace(asking, extensions=(called(BOB), PARAMETER)), BOB_SA)
    assert codes(proxy.feed(from_node(others, OTHER_CARE_OF), NOW)) == [133]


def test_clock_once_far_ahead_does_not_lock_the_node_out_AMB_6() -> None:
    proxy = Proxy(replace(PROXY, checks=GatePolicy(ReplayPolicy(mode=ReplayMode.MONOTONIC))))
    ahead = asked(CARE_OF, NOW + 1_000_000, flags=CO_LOCATED)
    relayed(proxy, ahead, NOW)
    told = reply_to(ahead, 133, identification=at(NOW) >> 32 << 32 | low(ahead.identification))
    assert codes(proxy.feed(from_home_agent(told), NOW)) == [133]
    relayed(proxy, asked(CARE_OF, NOW + 2, flags=CO_LOCATED), NOW + 2)
    assert codes(proxy.feed(from_node(ahead), NOW + 2)) == [133]  # used up for ever


# -- another configuration ----------------------------------------------------------------------------------------


def restarted(settings: ProxySettings, binding: Binding, disk: Disk) -> list[object]:
    return [*Proxy(settings).restore(disk.records(), NOW + 1)]


def test_address_of_a_node_known_by_nai_goes_to_nobody_else_with_its_binding_D_2_6_6_c() -> None:
    disk = Disk()
    proxy = Proxy(BY_NAI)
    asking = replace(REQUEST, home_address=NOBODY, extensions=(called(ALICE), PARAMETER))
    disk.commit(proxy.feed(from_node(signed(asking, ALICE_SA)), NOW))
    accepted = reply_to(asking, home_address=ASSIGNED, extensions=(called(ALICE),))
    disk.commit(proxy.feed(from_home_agent(accepted), NOW))
    (binding,) = proxy.bindings
    new_owner = ProxyNode(ASSIGNED, GATEWAY, (SecurityAssociation(2009, b"n" * 16),), PROXY_SA)
    settings = replace(BY_NAI, nodes=(*BY_NAI.nodes, new_owner))
    assert restarted(settings, binding, disk) == [ForgetBinding(binding.key), Unbind(binding.key)]
    assert restarted(BY_NAI, binding, disk) == [Bind(binding)]


def test_home_agent_gives_an_assigned_address_to_nobody_else_with_its_binding() -> None:
    link = replace(HOME_AGENT_SETTINGS.home_links[0], pool=AddressRange(ASSIGNED, ASSIGNED))
    named = HomeNode(None, (DIRECT_SA,), nai=ALICE)
    disk = Disk()
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, home_links=(link,), nodes=(named,)))
    asking = replace(DIRECT_REQUEST, home_address=NOBODY, extensions=(called(ALICE),))
    disk.commit(agent.feed(to_home_agent(asking), NOW))
    assert [one.home_address for one in agent.bindings] == [ASSIGNED]
    assert (agent.address_pool, agent.unacknowledged) == (PoolUse(addresses=1, bound=1, idle=0), 0)
    new_owner = HomeNode(ASSIGNED, (SecurityAssociation(4009, b"n" * 16),))
    after = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(named, new_owner)))
    after.restore(disk.records(), NOW + 1)
    assert after.bindings == ()


def test_binding_at_a_home_agent_that_is_no_longer_allowed_ends_with_the_restart_AMB_7() -> None:
    disk = Disk()
    proxy = Proxy(PROXY)
    disk.commit(proxy.feed(from_node(REQUEST), NOW))
    disk.commit(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW))
    (binding,) = proxy.bindings
    others = replace(PROXY, home_agents={IPv4Address("192.0.2.43"): PROXY.home_agents[HOME_AGENT]})
    assert restarted(others, binding, disk) == [ForgetBinding(binding.key), Unbind(binding.key)]
