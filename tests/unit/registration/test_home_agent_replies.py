"""Home agents as they are: FA-HA authentication wanted, denials without any, odd acceptances, clocks apart, nonces."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count

import pytest

from mobileip.registration.actions import Action, Bind, Count, PersistIdentification, Send
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_addresses import HomeNode
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.proxy import Proxy
from mobileip.registration.replay import NonceCheck, ReplayMode, ReplayPolicy
from mobileip.wire.authentication import (
    Algorithm,
    Authentication,
    ReplayStyle,
    SecurityAssociation,
    append,
    append_mn_aaa,
    verify,
)
from mobileip.wire.codes import Code
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.identification import high, low, to_unix
from mobileip.wire.messages import RegistrationReply, RegistrationRequest, parse_reply, parse_request, types_of
from mobileip.wire.typed_extensions import MessageString, VendorExtension
from tests.unit.registration.parties import (
    CARE_OF,
    DIRECT_SA,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    NODE_SA,
    NOW,
    OTHER_CARE_OF,
    OTHER_HOME_AGENT,
    PROXY,
    PROXY_SA,
    REQUEST,
    STRANGER_SA,
    VISITED,
    Site,
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

FA_HA = ExtensionType.FA_HA_AUTHENTICATION
FA_HA_SA = SecurityAssociation(7001, bytes(range(160, 176)), Algorithm.HMAC_SHA256)
AGREED = replace(PROXY, replies=HomeAgentReplies(fa_ha={HOME_AGENT: FA_HA_SA}))


def proxy_with(replies: HomeAgentReplies, request: RegistrationRequest = REQUEST) -> Proxy:
    """A proxy that has relayed a request."""
    proxy = Proxy(replace(PROXY, replies=replies))
    proxy.feed(from_node(request), NOW)
    return proxy


def counted(actions: list[Action]) -> list[str]:
    """What was counted."""
    return [action.reason for action in actions if isinstance(action, Count)]


# -- FA-HA with the home agent ------------------------------------------------------------------------------------


def test_home_agent_that_takes_us_for_a_foreign_agent_gets_34_R5944_3_5_4_a_and_AMB_4() -> None:
    relayed = only_request(Proxy(AGREED).feed(from_node(REQUEST), NOW))
    assert types_of(relayed.extensions) == (32, 34)
    assert verify(relayed.raw, Authentication.of(relayed.extensions[1]), FA_HA_SA)
    plain = only_request(Proxy(PROXY).feed(from_node(REQUEST), NOW))
    assert types_of(plain.extensions) == (32,)


@pytest.mark.parametrize("care_of", [CARE_OF, HOME])
def test_relayed_deregistration_carries_no_34_R5944_3_5_4_b(care_of: IPv4Address) -> None:
    proxy = Proxy(AGREED)
    request = replace(REQUEST, lifetime=0, care_of_address=care_of)
    assert types_of(only_request(proxy.feed(from_node(request), NOW)).extensions) == (32,)
    actions = proxy.feed(from_home_agent(reply_to(request, lifetime=0)), NOW + 0.1)
    assert only_reply(actions).lifetime == 0  # nor need its reply


def test_proxy_registers_with_a_home_agent_that_demands_34_R5944_3_5_4_a_and_D_2_3_1_j() -> None:
    checks = GatePolicy(foreign_agents={MIPP_PRIV: {7001: FA_HA_SA}})
    demanding = HomeAgent(replace(HOME_AGENT_SETTINGS, checks=checks))
    (reply,) = Site(Proxy(AGREED), demanding).register(REQUEST, NOW)
    assert parse_reply(reply.payload).accepted
    # Without the agreement its 132, which carries a 34, is nothing that we could believe.
    assert Site(Proxy(PROXY), demanding).register(replace(REQUEST, identification=at(NOW + 1)), NOW + 1) == []


def both(reply: RegistrationReply, association: SecurityAssociation = FA_HA_SA) -> bytes:
    """A reply with both authentications."""
    return append(signed(reply, PROXY_SA), association, FA_HA)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (signed(reply_to(REQUEST), PROXY_SA), "reply_authentication_missing"),
        (both(reply_to(REQUEST), replace(FA_HA_SA, key=b"?" * 16)), "reply_authentication_failed"),
        (both(reply_to(REQUEST), replace(FA_HA_SA, spi=7002)), "reply_unknown_spi"),
        (append(both(reply_to(REQUEST)), FA_HA_SA, FA_HA), "reply_authentication_repeated"),
        # The Home Agent field names the association, not the sender.
        (both(reply_to(REQUEST, home_agent=OTHER_HOME_AGENT)), "reply_fa_ha_authentication_not_agreed"),
    ],
)
def test_reply_without_its_34_is_discarded_and_the_request_waits_on_R5944_3_5_4_d_and_D_2_1_b(
    payload: bytes, reason: str
) -> None:
    proxy = Proxy(AGREED)
    proxy.feed(from_node(REQUEST), NOW)
    actions = proxy.feed(from_home_agent(payload), NOW + 0.1)
    assert counted(actions) == [reason]
    assert sends(actions) == []
    assert codes(proxy.feed(from_home_agent(both(reply_to(REQUEST))), NOW + 0.2)) == [0]


def test_association_of_a_replys_34_is_that_of_its_home_agent_field_R5944_3_5_4_d() -> None:
    others = replace(FA_HA_SA, key=bytes(range(176, 192)))
    proxy = Proxy(replace(PROXY, replies=HomeAgentReplies(fa_ha={HOME_AGENT: FA_HA_SA, OTHER_HOME_AGENT: others})))
    proxy.feed(from_node(REQUEST), NOW)
    denial = reply_to(REQUEST, Code.UNKNOWN_HOME_AGENT, home_agent=OTHER_HOME_AGENT)
    assert sends(proxy.feed(from_home_agent(both(denial)), NOW + 0.1)) == []
    assert codes(proxy.feed(from_home_agent(both(denial, others)), NOW + 0.2)) == [136]


def test_34_in_a_reply_that_nobody_agreed_on_is_discarded_R5944_3_8_2_1_h() -> None:
    proxy = proxy_with(HomeAgentReplies())
    actions = proxy.feed(from_home_agent(both(reply_to(REQUEST))), NOW)
    assert counted(actions) == ["reply_fa_ha_authentication_not_agreed"]
    assert proxy.bindings == ()


def test_node_never_sees_the_home_agents_34_AMB_10() -> None:
    proxy = Proxy(AGREED)
    proxy.feed(from_node(REQUEST), NOW)
    reply = only_reply(proxy.feed(from_home_agent(both(reply_to(REQUEST))), NOW))
    assert FA_HA not in types_of(reply.extensions)


# -- denials without authentication -------------------------------------------------------------------------------

BARE_DENIAL = reply_to(REQUEST, Code.ADMINISTRATIVELY_PROHIBITED, extensions=()).serialize()


def test_unauthenticated_denial_is_dropped_by_default_D_2_1_b_and_R5944_3_6_2_1_c() -> None:
    proxy = proxy_with(HomeAgentReplies())
    actions = proxy.feed(from_home_agent(BARE_DENIAL), NOW)
    assert counted(actions) == ["reply_authentication_missing"]
    assert sends(actions) == []
    assert proxy.pending == 1


def test_unauthenticated_denial_as_a_hint_is_our_word_and_ends_nothing() -> None:
    proxy = proxy_with(HomeAgentReplies(relay_unauthenticated_denials=True))
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)
    again = replace(REQUEST, identification=at(NOW + 1.5))
    proxy.feed(from_node(again), NOW + 1.5)
    before, text = proxy.snapshot(), VendorExtension(9, 1).normal()
    denial = reply_to(again, Code.ADMINISTRATIVELY_PROHIBITED, extensions=(text,)).serialize()
    actions = proxy.feed(from_home_agent(denial), NOW + 1.6)
    hint = only_reply(actions)
    assert (hint.code, hint.lifetime, hint.identification) == (129, 0, again.identification)
    said = f"home agent {HOME_AGENT} says administratively_prohibited, without authentication"
    assert MessageString(said).extension() in hint.extensions
    assert text not in hint.extensions  # nothing of it that nobody vouches for
    assert not any(isinstance(action, PersistIdentification | Bind) for action in actions)
    assert (proxy.snapshot(), proxy.pending) == (before, 1)
    assert sends(proxy.feed(from_home_agent(denial), NOW + 1.7)) == []  # once a second
    assert codes(proxy.feed(from_home_agent(reply_to(again)), NOW + 1.8)) == [0]  # the authentic one still counts


@pytest.mark.parametrize(
    "payload",
    [
        reply_to(REQUEST, 0).serialize(),
        reply_to(REQUEST, 1).serialize(),
        reply_to(REQUEST, 2).serialize(),
        reply_to(REQUEST, 66).serialize(),
        reply_to(REQUEST, Code.IDENTIFICATION_MISMATCH).serialize(),
        reply_to(REQUEST, Code.ASSIGNED_HOME_AGENT).serialize(),
        signed(reply_to(REQUEST, 129), STRANGER_SA),
        signed(reply_to(REQUEST, 129), replace(PROXY_SA, key=b"?" * 16)),
    ],
)
def test_no_hint_is_made_of_anything_but_a_home_agents_bare_denial(payload: bytes) -> None:
    proxy = proxy_with(HomeAgentReplies(relay_unauthenticated_denials=True))
    assert sends(proxy.feed(from_home_agent(payload), NOW)) == []


def test_no_hint_without_a_pending_request() -> None:
    proxy = Proxy(replace(PROXY, replies=HomeAgentReplies(relay_unauthenticated_denials=True)))
    assert proxy.feed(from_home_agent(BARE_DENIAL), NOW) == [Count("reply_without_request")]
    proxy.feed(from_node(REQUEST), NOW)
    assert counted(proxy.feed(from_home_agent(BARE_DENIAL, source=OTHER_HOME_AGENT), NOW)) == ["reply_without_request"]
    assert sends(proxy.feed(from_home_agent(BARE_DENIAL), NOW + 8)) == []  # timed out


# -- acceptances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(2, 9))
def test_other_success_is_relayed_but_binds_only_where_so_configured(code: int) -> None:
    careful = proxy_with(HomeAgentReplies())
    reply = only_reply(careful.feed(from_home_agent(reply_to(REQUEST, code, lifetime=9999)), NOW))
    assert (reply.code, reply.lifetime) == (code, 600)  # never more than the node asked for
    assert careful.bindings == ()
    trusting = proxy_with(HomeAgentReplies(bind_other_acceptances=True))
    reply = only_reply(trusting.feed(from_home_agent(reply_to(REQUEST, code)), NOW))
    assert (reply.code, reply.lifetime) == (code, 300)
    assert [binding.granted for binding in trusting.bindings] == [300]


def test_code_beyond_the_range_of_success_never_binds() -> None:
    proxy = proxy_with(HomeAgentReplies(bind_other_acceptances=True))
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST, 9)), NOW)) == [9]
    assert proxy.bindings == ()


def test_code_0_with_lifetime_0_means_no_binding() -> None:
    proxy = proxy_with(HomeAgentReplies())
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)
    again = replace(REQUEST, identification=at(NOW + 1.5))
    proxy.feed(from_node(again), NOW + 1.5)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(again, 0, lifetime=0)), NOW + 1.6))
    assert (reply.code, reply.lifetime, proxy.bindings) == (0, 0, ())


def test_critical_vendor_extension_of_a_home_agent_passes_or_denies_R3115_2_3_a_and_AMB_10() -> None:
    vendor = VendorExtension(9, 1, b"v").critical()
    answer = from_home_agent(reply_to(REQUEST, extensions=(vendor,)))
    knowing = Proxy(replace(PROXY, checks=GatePolicy(vendors=frozenset({(9, 1)}))))
    knowing.feed(from_node(REQUEST), NOW)
    reply = only_reply(knowing.feed(answer, NOW))
    assert (reply.code, reply.extensions[0]) == (0, vendor)
    ignorant = proxy_with(HomeAgentReplies())
    reply = only_reply(ignorant.feed(answer, NOW))
    assert reply.code == Code.INSUFFICIENT_RESOURCES  # as for anything that it accepts and we cannot serve
    assert MessageString("home agent: critical extension of vendor 9, type 1").extension() in reply.extensions
    assert ignorant.bindings == ()


def test_mn_aaa_ends_at_the_proxy_R4721_5_b_and_AMB_10() -> None:
    aaa = SecurityAssociation(6001, bytes(range(16)))
    (node,) = PROXY.nodes
    proxy = Proxy(replace(PROXY, nodes=(replace(node, aaa_association=aaa),)))
    relayed = only_request(proxy.feed(from_node(append_mn_aaa(signed(REQUEST), aaa)), NOW))
    assert types_of(relayed.extensions) == (32,)
    alone = replace(REQUEST, identification=at(NOW + 1.5))
    relayed = only_request(proxy.feed(from_node(append_mn_aaa(alone.serialize(), aaa)), NOW + 1.5))
    assert types_of(relayed.extensions) == (32,)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(alone)), NOW + 1.6))
    assert types_of(reply.extensions)[-1] == 32
    assert verify(reply.raw, Authentication.of(reply.extensions[-1]), NODE_SA)


# -- one algorithm a leg, one key for both ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_each_leg_has_its_own_algorithm_and_key_AMB_22_and_D_1_4_c_and_R5944_5_1_c(algorithm: Algorithm) -> None:
    outside = SecurityAssociation(2001, bytes(range(20)), Algorithm.HMAC_SHA1)
    inside = SecurityAssociation(3001, bytes(range(32)), algorithm)
    (node,) = PROXY.nodes
    proxy = Proxy(replace(PROXY, nodes=(replace(node, node_associations=(outside,), home_agent_association=inside),)))
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(HomeNode(HOME, (inside, DIRECT_SA)),)))
    (send,) = Site(proxy, agent).register(signed(REQUEST, outside), NOW)
    reply = parse_reply(send.payload)
    extension = find(reply.extensions, ExtensionType.MN_HA_AUTHENTICATION)
    assert extension is not None
    assert (reply.accepted, verify(reply.raw, Authentication.of(extension), outside)) == (True, True)


def test_one_key_for_both_legs_is_allowed_AMB_22() -> None:
    (node,) = PROXY.nodes
    proxy = Proxy(replace(PROXY, nodes=(replace(node, home_agent_association=NODE_SA),)))
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(HomeNode(HOME, (NODE_SA,)),)))
    (send,) = Site(proxy, agent).register(REQUEST, NOW)
    assert parse_reply(send.payload).accepted


# -- two clocks ---------------------------------------------------------------------------------------------------


def register(proxy: Proxy, agent: HomeAgent, request: RegistrationRequest, now: float, ahead: float) -> Send:
    """Through both, the home agent's clock being `ahead`; the one reply to the node."""
    (send,) = sends(proxy.feed(from_node(request), now))
    if send.payload[0] == 3:
        return send
    relayed = from_node(send.payload, send.source, "core", HOME_AGENT)
    (answer,) = sends(agent.feed(relayed, now + ahead))
    (reply,) = sends(proxy.feed(from_home_agent(answer.payload), now))
    return reply


def attempts(policy: ReplayPolicy, ahead: float) -> list[int]:
    """Codes that a node gets which takes its clock from each 133, at most eight tries a quarter second apart."""
    proxy = Proxy(replace(PROXY, checks=GatePolicy(replay=policy)))
    agent = HomeAgent(HOME_AGENT_SETTINGS)
    found, offset = [], 0.0
    for number in range(8):
        now = NOW + 0.26 * number
        request = replace(REQUEST, identification=at(now + offset))
        reply = parse_reply(register(proxy, agent, request, now, ahead).payload)
        assert low(reply.identification) == low(request.identification)
        found.append(reply.code)
        if reply.code != Code.IDENTIFICATION_MISMATCH:
            break
        offset = to_unix(high(reply.identification) << 32 | 1 << 31, now) - now
    return found


@pytest.mark.parametrize("ahead", [60.0, -60.0])
def test_clocks_apart_end_in_133_for_ever_when_strict_AMB_6(ahead: float) -> None:
    assert attempts(ReplayPolicy(), ahead) == [133] * 8


def test_clocks_apart_are_bridged_by_monotonic_or_by_learning_AMB_6() -> None:
    for ahead in (60.0, 3600.0):
        assert attempts(ReplayPolicy(mode=ReplayMode.MONOTONIC), ahead) == [133, 1]
    for ahead in (60.0, -60.0, 3600.0, -3600.0):
        assert attempts(ReplayPolicy(learn_clock=True), ahead) == [133, 1]


# -- nonces from end to end ---------------------------------------------------------------------------------------

NONCE_NODE, NONCE_PROXY = (replace(each, replay=ReplayStyle.NONCE) for each in (NODE_SA, PROXY_SA))


def site_with_nonces(check: NonceCheck = NonceCheck.DEFER) -> Site:
    """A proxy and a home agent whose nonces are 0xA0000001 and so on."""
    numbers = count(0xA000_0001)
    (node,) = PROXY.nodes
    nodes = (replace(node, node_associations=(NONCE_NODE,), home_agent_association=NONCE_PROXY),)
    checks = GatePolicy(replay=ReplayPolicy(nonce_check=check))
    agents_node = HomeNode(HOME, (NONCE_PROXY, replace(DIRECT_SA, replay=ReplayStyle.NONCE)))
    return Site(
        Proxy(replace(PROXY, nodes=nodes, checks=checks)),
        HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(agents_node,)), lambda: next(numbers)),
    )


def asked(nonce: int, number: int) -> RegistrationRequest:
    """The node's request with this nonce; `number` is its own half."""
    return replace(REQUEST, identification=nonce << 32 | number)


@pytest.mark.parametrize("check", list(NonceCheck))
def test_nonces_pass_through_the_proxy_and_resynchronise_R5944_5_7_2_b_and_D_2_2_2_b_and_D_2_3_1_g(
    check: NonceCheck,
) -> None:
    site = site_with_nonces(check)
    nonce, answers = 0, []
    for number in range(1, 5):
        (send,) = site.register(asked(nonce, number), NOW + number)
        reply = parse_reply(send.payload)
        assert low(reply.identification) == number
        nonce = high(reply.identification)
        answers.append((reply.code, nonce))
    assert answers == [(133, 0xA000_0001), (1, 0xA000_0002), (1, 0xA000_0003), (1, 0xA000_0004)]


@pytest.mark.parametrize("check", list(NonceCheck))
def test_unanswered_request_is_relayed_again_byte_by_byte_R5944_5_7_2_c(check: NonceCheck) -> None:
    site = site_with_nonces(check)
    site.register(asked(0, 1), NOW)
    first = sends(site.proxy.feed(from_node(asked(0xA000_0001, 2)), NOW + 1))
    second = sends(site.proxy.feed(from_node(asked(0xA000_0001, 2)), NOW + 2))
    assert [send.payload for send in first] == [send.payload for send in second]
    assert parse_request(first[0].payload).identification == 0xA000_0001 << 32 | 2
    (send,) = site.register(asked(0xA000_0001, 2), NOW + 3)
    assert parse_reply(send.payload).accepted


def test_denials_of_the_proxys_own_carry_the_home_agents_last_nonce_AMB_6() -> None:
    site = site_with_nonces()
    no_tunnel = replace(asked(5, 1), flags=0x20)
    (send,) = site.register(no_tunnel, NOW)
    reply = parse_reply(send.payload)
    assert (reply.code, reply.identification) == (138, no_tunnel.identification)  # none is known: the request's own
    site.register(asked(0, 2), NOW + 1)
    (send,) = site.register(replace(no_tunnel, identification=5 << 32 | 3), NOW + 2)
    assert parse_reply(send.payload).identification == 0xA000_0001 << 32 | 3


def test_proxy_that_checks_nonces_denies_with_the_home_agents_AMB_6() -> None:
    site = site_with_nonces(NonceCheck.LOCAL)
    site.register(asked(0, 1), NOW)
    actions = site.proxy.feed(from_node(asked(0xBAD, 2)), NOW + 1)
    reply = only_reply(actions)
    assert (reply.code, reply.identification) == (133, 0xA000_0001 << 32 | 2)


def test_copy_with_an_old_nonce_from_inside_ends_no_binding_AMB_11_and_AMB_6() -> None:
    site = site_with_nonces()
    site.register(asked(0, 1), NOW)
    site.register(asked(0xA000_0001, 2), NOW + 1)
    (binding,) = site.proxy.bindings
    copy = from_node(asked(0xA000_0001, 2), VISITED, "priv")
    assert codes(site.proxy.feed(copy, NOW + 2)) == [206]
    assert list(site.proxy.bindings) == [binding]
    fresh = from_node(asked(0xA000_0002, 3), VISITED, "priv")
    assert codes(site.proxy.feed(fresh, NOW + 3)) == [206]
    assert list(site.proxy.bindings) == []


def test_newer_request_wins_by_nonces_too_which_do_not_rise_R5944_5_7_2_b() -> None:
    site = site_with_nonces()
    site.register(asked(0, 1), NOW)
    site.register(asked(0xA000_0001, 2), NOW + 1)
    moved = replace(asked(0xA000_0002, 1), care_of_address=OTHER_CARE_OF)
    (send,) = site.register(moved, NOW + 2, OTHER_CARE_OF)
    assert parse_reply(send.payload).accepted
    assert [binding.care_of_address for binding in site.proxy.bindings] == [OTHER_CARE_OF]
