"""The home agent's rules, one a test (RFC 5944 3.8, RFC 3519)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.actions import (
    Bind,
    ClaimHome,
    Count,
    ForgetBinding,
    Level,
    Log,
    PersistBinding,
    PersistIdentification,
    ReleaseHome,
    Send,
    Unbind,
)
from mobileip.registration.address_pool import AddressRange
from mobileip.registration.bindings import Binding, Encapsulation, NodeKey
from mobileip.registration.events import DatagramReceived, Detached, Endpoint, TunnelPortLearned
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_addresses import HomeLink, HomeNode
from mobileip.registration.home_agent import HomeAgent, HomeAgentSettings, ParameterInReply, ReverseTunnel
from mobileip.registration.security import AuthenticationFailure, authenticate_reply
from mobileip.registration.trusted_networks import TrustedNetworks, Untrusted
from mobileip.wire.authentication import ReplayStyle, SecurityAssociation, append
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.identification import high
from mobileip.wire.messages import Flag, RegistrationReply, types_of
from mobileip.wire.typed_extensions import (
    TRUSTED_NETWORKS,
    DynamicHomeAgent,
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    UdpTunnelReply,
    UdpTunnelRequest,
)
from tests.unit.registration.parties import (
    CO_LOCATED,
    DIRECT_REQUEST,
    DIRECT_SA,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    NOW,
    PARAMETER,
    PROXY_SA,
    STRANGER_SA,
    VISITED,
    Disk,
    at,
    codes,
    only_reply,
    sends,
    signed,
    to_home_agent,
)

BINDING = Binding(
    home_address=HOME,
    home_agent=HOME_AGENT,
    care_of_address=VISITED,
    source=Endpoint(VISITED, 434),
    interface="core",
    encapsulation=Encapsulation.IPIP,
    flags=CO_LOCATED,
    identification=at(NOW),
    granted=600,
    expires=NOW + 600,
    spi=4001,
)
BY_PROXY = replace(DIRECT_REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=MIPP_PRIV)
AT_HOME = replace(DIRECT_REQUEST, lifetime=0, care_of_address=HOME, identification=at(NOW + 5))


@pytest.fixture
def agent() -> HomeAgent:
    return HomeAgent(HOME_AGENT_SETTINGS)


def by_proxy(**changes: Any) -> DatagramReceived:
    """A request as the proxy relays it."""
    message = replace(BY_PROXY, **changes)
    return to_home_agent(signed(message, PROXY_SA), MIPP_PRIV)


def test_binding_is_durable_and_the_address_claimed_before_the_reply_R5944_3_8_2_2_b(agent: HomeAgent) -> None:
    reply = RegistrationReply(1, 600, HOME, HOME_AGENT, at(NOW))
    assert agent.feed(to_home_agent(DIRECT_REQUEST), NOW) == [
        PersistIdentification(NodeKey(None, HOME), 4001, at(NOW)),
        PersistBinding(BINDING),
        Bind(BINDING),
        ClaimHome(HOME, "home"),
        Send(signed(reply, DIRECT_SA), Endpoint(HOME_AGENT, 434), Endpoint(VISITED, 434)),
        Count("registered"),
    ]
    assert agent.bindings == (BINDING,)
    assert agent.next_deadline() == NOW + 600


def test_proxy_is_a_foreign_agent_to_us_D_2_7_1_a(agent: HomeAgent) -> None:
    agent.feed(by_proxy(), NOW)
    (binding,) = agent.bindings
    assert (binding.care_of_address, binding.via_foreign_agent, binding.spi) == (MIPP_PRIV, True, 3001)
    assert (binding.tunnel_peer, binding.tunnel_source) == (Endpoint(MIPP_PRIV, 0), MIPP_PRIV)


def test_each_reply_is_signed_with_the_association_of_its_request_R5944_3_5_2_a(agent: HomeAgent) -> None:
    (reply,) = sends(agent.feed(by_proxy(), NOW))
    assert reply.payload == signed(RegistrationReply(1, 600, HOME, HOME_AGENT, at(NOW)), PROXY_SA)


@pytest.mark.parametrize(("asked", "granted"), [(1, 1), (1800, 1800), (1801, 1800), (0xFFFF, 1800)])
def test_lifetime_is_never_raised_and_too_long_is_no_error_R5944_3_4_b_and_R5944_3_8_3_2_a(
    agent: HomeAgent, asked: int, granted: int
) -> None:
    reply = only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, lifetime=asked)), NOW))
    assert (reply.code, reply.lifetime) == (1, granted)


@pytest.mark.parametrize("flags", [CO_LOCATED, Flag.DECAPSULATES, CO_LOCATED | Flag.BROADCAST | 0x04 | 0x01])
def test_t_is_granted_and_b_r_x_are_no_reason_to_refuse_R5944_3_8_2_a_and_R5944_3_3_b(
    agent: HomeAgent, flags: int
) -> None:
    assert codes(agent.feed(to_home_agent(replace(DIRECT_REQUEST, flags=flags)), NOW)) == [1]


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (to_home_agent(signed(DIRECT_REQUEST, STRANGER_SA)), "unknown_spi"),
        (to_home_agent(signed(DIRECT_REQUEST, SecurityAssociation(4001, b"x" * 16))), "authentication_failed"),
        (to_home_agent(DIRECT_REQUEST.serialize()), "authentication_missing"),
        (to_home_agent(replace(DIRECT_REQUEST, home_address=IPv4Address("192.0.2.90"))), "unknown_node"),
        (to_home_agent(replace(DIRECT_REQUEST, extensions=(Extension(99),))), "unknown_extension"),
        (to_home_agent(b""), "empty"),
        (to_home_agent(b"\x01\x02"), "malformed"),
        (to_home_agent(b"\x03" + bytes(30)), "unknown_message"),
        (to_home_agent(b"\x04\x04\0\0"), "tunnel_data_not_forwarded"),
        (to_home_agent(signed(DIRECT_REQUEST, DIRECT_SA) + bytes(5000)), "oversized"),
        (
            to_home_agent(append(signed(DIRECT_REQUEST, DIRECT_SA), DIRECT_SA, ExtensionType.FA_HA_AUTHENTICATION)),
            "unexpected_fa_ha_authentication",
        ),
    ],
)
def test_silent_drops_are_counted_by_reason_R5944_3_8_2_1_c_and_R5944_3_8_2_1_d_and_R5944_3_8_2_1_h(
    agent: HomeAgent, received: DatagramReceived, reason: str
) -> None:
    actions = agent.feed(received, NOW)
    assert [action for action in actions if isinstance(action, Count)] == [Count(reason)]
    assert sends(actions) == []


def test_stale_and_repeated_timestamps_are_133_R5944_3_8_2_1_b_and_R5944_5_7_1_c(agent: HomeAgent) -> None:
    stale = only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, identification=at(NOW - 8))), NOW))
    assert (stale.code, high(stale.identification)) == (133, high(at(NOW)))
    assert codes(agent.feed(to_home_agent(DIRECT_REQUEST), NOW)) == [1]
    assert codes(agent.feed(to_home_agent(DIRECT_REQUEST), NOW + 1)) == [133]


def test_timestamp_is_newer_than_all_of_the_node_whichever_way_it_came_R5944_5_7_1_a(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(replace(DIRECT_REQUEST, identification=at(NOW + 2))), NOW + 2)
    assert codes(agent.feed(by_proxy(identification=at(NOW + 1)), NOW + 2)) == [133]
    assert codes(agent.feed(by_proxy(identification=at(NOW + 3)), NOW + 3)) == [1]


def test_repeated_request_does_not_extend_the_lifetime_R5944_3_8_2_2_c(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW + 5)
    assert agent.next_deadline() == NOW + 600


def test_repeated_nonce_is_133_and_does_not_extend_the_lifetime_R5944_3_8_2_2_c() -> None:
    nonces = iter(range(7, 20))
    association = replace(DIRECT_SA, replay=ReplayStyle.NONCE)
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=(HomeNode(HOME, (association,)),)), lambda: next(nonces))
    first = only_reply(agent.feed(to_home_agent(DIRECT_REQUEST), NOW))
    assert first.code == 133
    request = replace(DIRECT_REQUEST, identification=first.identification)
    assert codes(agent.feed(to_home_agent(request), NOW)) == [1]
    again = only_reply(agent.feed(to_home_agent(request), NOW + 5))
    assert (again.code, agent.next_deadline()) == (133, NOW + 600)


def test_lifetime_without_end_R5944_3_3_c() -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, max_lifetime=0xFFFF))
    assert only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, lifetime=0xFFFF)), NOW)).lifetime == 0xFFFF
    assert agent.next_deadline() is None
    over = agent.feed(to_home_agent(replace(AT_HOME, identification=at(NOW + 2))), NOW + 2)
    assert (codes(over), agent.bindings) == ([0], ())


@given(st.integers(0, 0xFFFFFFFF), st.booleans())
def test_low_half_of_the_identification_comes_back_R5944_5_7_a_and_R5944_5_7_1_b(low: int, fresh: bool) -> None:
    agent = HomeAgent(HOME_AGENT_SETTINGS)
    identification = at(NOW if fresh else NOW - 60) & ~0xFFFFFFFF | low
    reply = only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, identification=identification)), NOW))
    assert reply.identification & 0xFFFFFFFF == low
    assert (reply.identification == identification) == (reply.code == 1) == fresh


def test_nai_behind_the_authenticator_names_nobody_R2794_2_b(hotel: HomeAgent) -> None:
    message = replace(DIRECT_REQUEST, home_address=ZERO)
    actions = hotel.feed(to_home_agent(signed(message, GUEST_SA, behind=(NAI,))), NOW)
    assert actions == [Count("zero_home_address")]


def test_reply_is_for_the_node_then_signed_then_for_the_agent_R5944_3_8_3_3_a_and_R4721_3_4_a() -> None:
    foreign = SecurityAssociation(5001, b"f" * 16)
    policy = GatePolicy(foreign_agents={MIPP_PRIV: {5001: foreign}})
    agent = HomeAgent(replace(HOTEL, checks=policy))
    challenge = Extension(ExtensionType.CHALLENGE, b"abcd")
    message = replace(DIRECT_REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=MIPP_PRIV, home_address=ZERO)
    whole = signed(replace(message, extensions=(NAI, PARAMETER)), GUEST_SA, behind=(challenge,))
    whole = append(whole, foreign, ExtensionType.FA_HA_AUTHENTICATION)
    reply = only_reply(agent.feed(to_home_agent(whole, MIPP_PRIV), NOW))
    assert reply.code == 1
    assert types_of(reply.extensions) == (131, PARAMETER.type, 32, 132, 34)
    assert reply.extensions[3] == challenge


def test_131_that_nobody_vouches_for_is_signed_for_the_node_R5944_3_8_2_1_f() -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, checks=GatePolicy(reply_on_failed_authentication=True)))
    wrong = signed(DIRECT_REQUEST, SecurityAssociation(4001, b"x" * 16))
    reply = only_reply(agent.feed(to_home_agent(wrong), NOW))
    assert reply.code == 131
    assert not isinstance(authenticate_reply(reply, {4001: DIRECT_SA}), AuthenticationFailure)


@pytest.mark.parametrize(("tail", "code"), [("00", 1), ("0000", 1), ("84ff00", 134), ("84", 134)])
def test_padding_is_one_byte_and_a_length_beyond_the_end_is_134_R5944_1_8_c_and_R5944_1_8_d(
    agent: HomeAgent, tail: str, code: int
) -> None:
    payload = signed(DIRECT_REQUEST, DIRECT_SA) + bytes.fromhex(tail)
    assert codes(agent.feed(to_home_agent(payload), NOW)) == [code]


def test_unknown_critical_vendor_extension_is_140_R3115_2_3_a(agent: HomeAgent) -> None:
    critical = Extension(ExtensionType.CRITICAL_VENDOR, bytes.fromhex("0000000900010000"), 0)
    request = replace(DIRECT_REQUEST, extensions=(critical,))
    assert (codes(agent.feed(to_home_agent(request), NOW)), agent.bindings) == ([140], ())


@pytest.mark.parametrize("destination", ["192.0.2.63", "255.255.255.255"])
def test_broadcast_request_is_136_from_our_address_R5944_3_8_3_2_c(agent: HomeAgent, destination: str) -> None:
    received = to_home_agent(DIRECT_REQUEST)
    received = replace(received, destination=Endpoint(IPv4Address(destination), 434))
    (send,) = sends(agent.feed(received, NOW))
    assert (send.source, codes([send])) == (Endpoint(HOME_AGENT, 434), [136])


def test_request_for_another_home_agent_is_136_with_our_address_R5944_3_8_3_2_c(agent: HomeAgent) -> None:
    reply = only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, home_agent=MIPP_PRIV)), NOW))
    assert (reply.code, reply.home_agent) == (136, HOME_AGENT)
    assert agent.bindings == ()


def test_home_address_on_no_link_of_ours_is_129_R5944_3_8_3_2_d() -> None:
    links = (HomeLink("home", IPv4Network("192.0.2.96/27")),)
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, home_links=links))
    assert codes(agent.feed(to_home_agent(DIRECT_REQUEST), NOW)) == [129]


def test_node_behind_an_inside_nat_is_tunnelled_by_udp_D_2_6_1_g(agent: HomeAgent) -> None:
    nat = Endpoint(IPv4Address("192.0.2.150"), 40000)
    request = replace(
        DIRECT_REQUEST,
        care_of_address=IPv4Address("198.51.100.75"),
        extensions=(UdpTunnelRequest().extension(),),
    )
    actions = agent.feed(to_home_agent(request, nat), NOW)
    reply = only_reply(actions)
    assert (reply.lifetime, reply.extensions[0]) == (60, UdpTunnelReply(0, False, 110).extension())
    assert [send.destination for send in sends(actions)] == [nat]
    (binding,) = agent.bindings
    assert (binding.encapsulation, binding.tunnel_peer) == (Encapsulation.UDP, nat)
    assert (binding.keepalive, binding.expires) == (110, NOW + 60)
    refused = replace(request, extensions=(), identification=at(NOW + 1))
    assert codes(agent.feed(to_home_agent(refused, nat), NOW + 1)) == [129]
    assert agent.bindings == (binding,)


def test_home_agent_parameter_comes_back_with_our_address_D_2_6_1_j(agent: HomeAgent) -> None:
    actions = agent.feed(to_home_agent(replace(DIRECT_REQUEST, extensions=(PARAMETER,))), NOW)
    assert only_reply(actions).extensions[0] == PARAMETER
    later = replace(DIRECT_REQUEST, identification=at(NOW + 1))
    assert types_of(only_reply(agent.feed(to_home_agent(later), NOW + 1)).extensions) == (32,)


def test_move_replaces_the_binding_and_keeps_the_claim_R5944_3_8_2_2_a(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    actions = agent.feed(by_proxy(identification=at(NOW + 10)), NOW + 10)
    (binding,) = agent.bindings
    assert binding.care_of_address == MIPP_PRIV
    assert actions[:4] == [
        PersistIdentification(NodeKey(None, HOME), 3001, at(NOW + 10)),
        ForgetBinding(BINDING.key),
        PersistBinding(binding),
        Bind(binding, (BINDING.key,)),
    ]
    assert isinstance(actions[4], Send)


NAI = Extension(ExtensionType.NAI, b"guest@example.org")
GUEST_SA = SecurityAssociation(6001, bytes(range(64, 80)))
ZERO = IPv4Address(0)
POOL = AddressRange(IPv4Address("192.0.2.80"), IPv4Address("192.0.2.81"))


def guest(number: int = 0) -> HomeNode:
    """A node known by a NAI only."""
    return (
        HomeNode(None, (GUEST_SA,), "guest@example.org")
        if not number
        else HomeNode(None, (SecurityAssociation(6001 + number, bytes(range(64, 80))),), f"guest{number}@example.org")
    )


def guests(agent: HomeAgent, number: int = 0, now: float = NOW, **changes: Any) -> RegistrationReply:
    """The reply that a guest gets to a request for home address 0."""
    (association,) = guest(number).associations
    name = Extension(ExtensionType.NAI, (guest(number).nai or "").encode())
    visited = IPv4Address(int(VISITED) + number)
    request = replace(
        DIRECT_REQUEST, home_address=ZERO, care_of_address=visited, identification=at(now), extensions=(name,)
    )
    message = replace(request, **changes)
    return only_reply(agent.feed(to_home_agent(signed(message, association), visited), now))


@pytest.fixture
def hotel() -> HomeAgent:
    """It has two addresses for three guests."""
    return HomeAgent(HOTEL)


HOTEL = HomeAgentSettings(
    address=HOME_AGENT,
    home_links=(HomeLink("home", IPv4Network("192.0.2.64/27"), POOL),),
    nodes=(guest(), guest(1), guest(2), HomeNode(HOME, (DIRECT_SA,), "owner@example.org")),
)


def test_zero_home_address_with_nai_gets_one_R5944_3_8_3_2_e_and_R2794_3_a_and_R2794_3_b(hotel: HomeAgent) -> None:
    reply = guests(hotel)
    assert (reply.code, reply.home_address, reply.home_agent) == (1, POOL.first, HOME_AGENT)
    assert types_of(reply.extensions) == (ExtensionType.NAI, ExtensionType.MN_HA_AUTHENTICATION)
    assert reply.extensions[0] == NAI
    (binding,) = hotel.bindings
    assert (binding.home_address, binding.nai) == (POOL.first, "guest@example.org")


def test_assigned_address_is_sticky_whether_it_is_named_or_not_R5944_3_8_3_2_e(hotel: HomeAgent) -> None:
    assert guests(hotel).home_address == POOL.first
    assert guests(hotel, 1).home_address == POOL.last
    assert guests(hotel, now=NOW + 1).home_address == POOL.first
    assert guests(hotel, now=NOW + 2, home_address=POOL.first).home_address == POOL.first
    assert len(hotel.bindings) == 2


@pytest.mark.parametrize(("number", "address"), [(1, POOL.first), (0, POOL.last), (1, IPv4Address("192.0.2.90"))])
def test_nobody_gets_another_address_than_its_own_R5944_3_8_3_2_d(
    hotel: HomeAgent, number: int, address: IPv4Address
) -> None:
    guests(hotel)
    reply = guests(hotel, number, NOW + 1, home_address=address)
    assert (reply.code, reply.lifetime) == (129, 0)
    assert [binding.home_address for binding in hotel.bindings] == [POOL.first]


def test_no_address_left_is_130_until_somebody_is_idle_R5944_3_8_2_3_b(hotel: HomeAgent) -> None:
    guests(hotel)
    guests(hotel, 1)
    assert guests(hotel, 2, NOW + 1).code == 130
    goodbye = guests(hotel, now=NOW + 2, lifetime=0)
    assert (goodbye.code, goodbye.home_address) == (0, POOL.first)
    assert guests(hotel, 2, NOW + 3).home_address == POOL.first
    # The first one has lost it, and there is no other.
    assert guests(hotel, now=NOW + 4).code == 130
    hotel.handle_timer(NOW + 600)
    assert guests(hotel, now=NOW + 601).home_address == POOL.last


def test_returning_guest_finds_its_address_again(hotel: HomeAgent) -> None:
    guests(hotel)
    guests(hotel, now=NOW + 1, lifetime=0)
    assert guests(hotel, 1, NOW + 2).home_address == POOL.last
    assert guests(hotel, now=NOW + 3).home_address == POOL.first


def test_restart_keeps_who_has_which_address(hotel: HomeAgent) -> None:
    guests(hotel, 1)
    guests(hotel)
    restarted = HomeAgent(HOTEL)
    restarted.restore(hotel.snapshot(), NOW + 1)
    assert guests(restarted, now=NOW + 2).home_address == POOL.last
    assert guests(restarted, 1, NOW + 2).home_address == POOL.first
    # A node that is not configured any more is not bound again.
    emptied = HomeAgent(HOME_AGENT_SETTINGS)
    assert not any(isinstance(action, Bind) for action in emptied.restore(hotel.snapshot(), NOW + 1))
    assert emptied.bindings == ()


def test_node_with_a_home_address_may_leave_it_out_when_it_says_its_nai_R2794_3_b(hotel: HomeAgent) -> None:
    owner = Extension(ExtensionType.NAI, b"owner@example.org")
    request = replace(DIRECT_REQUEST, home_address=ZERO, extensions=(owner,))
    reply = only_reply(hotel.feed(to_home_agent(request), NOW))
    assert (reply.code, reply.home_address, reply.extensions[0]) == (1, HOME, owner)
    other = replace(request, home_address=IPv4Address("192.0.2.90"), identification=at(NOW + 1))
    assert codes(hotel.feed(to_home_agent(other), NOW + 1)) == [129]


def test_denials_carry_the_nai_as_well_R2794_3_a(hotel: HomeAgent) -> None:
    reply = guests(hotel, identification=at(NOW - 60))
    assert (reply.code, reply.extensions[0]) == (133, NAI)


def test_assigned_address_is_no_care_of_address_R5944_3_8_2_3_a(hotel: HomeAgent) -> None:
    assert guests(hotel, care_of_address=POOL.first).code == 134
    assert hotel.bindings == ()


@pytest.mark.parametrize("left_open", ["0.0.0.0", "255.255.255.255"])
def test_home_agent_left_open_is_us_for_a_node_with_a_nai_R4433_4_b(hotel: HomeAgent, left_open: str) -> None:
    reply = guests(hotel, home_agent=IPv4Address(left_open))
    assert (reply.code, reply.home_agent, reply.home_address) == (1, HOME_AGENT, POOL.first)
    nameless = replace(DIRECT_REQUEST, home_agent=IPv4Address(left_open))
    assert codes(hotel.feed(to_home_agent(nameless), NOW)) == [136]
    refusing = HomeAgent(replace(HOTEL, dynamic_home_agent=False))
    assert guests(refusing, home_agent=IPv4Address(left_open)).code == 136


def test_home_agent_left_open_is_redirected_where_so_configured_R4433_4_c() -> None:
    other = IPv4Address("192.0.2.41")
    agent = HomeAgent(replace(HOTEL, redirect=other))
    reply = guests(agent, home_agent=ZERO)
    assert (reply.code, agent.bindings) == (143, ())
    assert DynamicHomeAgent(other, redirected=True).extension() in reply.extensions
    assert guests(agent, now=NOW + 1).code == 1, "a node that names us is ours"
    wanted = (NAI, DynamicHomeAgent(HOME_AGENT).extension())
    assert guests(agent, now=NOW + 2, home_agent=ZERO, extensions=wanted).code == 1


def test_request_for_another_agent_by_extension_is_136_R4433_4_d(hotel: HomeAgent) -> None:
    wanted = (NAI, DynamicHomeAgent(IPv4Address("192.0.2.41")).extension())
    assert guests(hotel, home_agent=ZERO, extensions=wanted).code == 136


@pytest.mark.parametrize(
    ("option", "asked", "told"),
    [
        (ParameterInReply.IF_REQUESTED, True, True),
        (ParameterInReply.IF_REQUESTED, False, False),
        (ParameterInReply.ALWAYS, False, True),
        (ParameterInReply.NEVER, True, False),
    ],
)
@pytest.mark.parametrize("lifetime", [600, 0])
def test_home_agent_parameter_as_configured_AMB_7(
    option: ParameterInReply, asked: bool, told: bool, lifetime: int
) -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, parameter_in_reply=option))
    request = replace(BY_PROXY, lifetime=lifetime, extensions=(PARAMETER,) if asked else ())
    reply = only_reply(agent.feed(to_home_agent(signed(request, PROXY_SA), MIPP_PRIV), NOW))
    assert (PARAMETER in reply.extensions) == told


@pytest.mark.parametrize(
    "form",
    [
        HomeAgentParameterFormat(),
        HomeAgentParameterFormat(127, 3, HomeAgentParameterEncoding.RFC4064_LONG),
        HomeAgentParameterFormat(255, 0, HomeAgentParameterEncoding.SKIPPABLE),
        HomeAgentParameterFormat(38, 0, HomeAgentParameterEncoding.CRITICAL_VENDOR, 9, 7),
        HomeAgentParameterFormat(134, 0, HomeAgentParameterEncoding.NORMAL_VENDOR, 9, 7),
    ],
)
def test_home_agent_parameter_is_answered_in_its_own_form_AMB_5(form: HomeAgentParameterFormat) -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, home_agent_parameter=(form,)))
    asked = HomeAgentParameter(ZERO, form).extension()
    reply = only_reply(agent.feed(to_home_agent(replace(DIRECT_REQUEST, extensions=(asked,))), NOW))
    assert (reply.code, reply.extensions[0]) == (1, HomeAgentParameter(HOME_AGENT, form).extension())


def test_dynamic_assignment_outside_is_answered_with_our_address_D_2_6_1_e(agent: HomeAgent) -> None:
    zero = HomeAgentParameter(ZERO).extension()
    reply = only_reply(agent.feed(by_proxy(extensions=(zero,)), NOW))
    assert (reply.code, reply.extensions[0]) == (1, PARAMETER)


TRUSTING = replace(
    HOME_AGENT_SETTINGS,
    trusted=TrustedNetworks((IPv4Network("192.0.2.0/24"),), frozenset({MIPP_PRIV}), Untrusted.DROP),
)


def test_trusted_networks_are_told_to_nodes_in_them_and_not_to_the_proxy_R5265_4_3_a(agent: HomeAgent) -> None:
    trusting = HomeAgent(TRUSTING)
    inside = only_reply(trusting.feed(to_home_agent(DIRECT_REQUEST), NOW))
    relayed = only_reply(trusting.feed(by_proxy(identification=at(NOW + 1)), NOW + 1))
    assert [TRUSTED_NETWORKS in reply.extensions for reply in (inside, relayed)] == [True, False]
    assert types_of(inside.extensions) == (ExtensionType.TRUSTED_NETWORKS, ExtensionType.MN_HA_AUTHENTICATION)
    # None is trusted by default.
    assert TRUSTED_NETWORKS not in only_reply(agent.feed(to_home_agent(DIRECT_REQUEST), NOW)).extensions


@pytest.mark.parametrize("option", list(Untrusted))
def test_request_from_elsewhere_is_served_logged_or_dropped_R5265_4_3_b(option: Untrusted) -> None:
    trusted = replace(TRUSTING.trusted, untrusted=option)
    agent = HomeAgent(replace(TRUSTING, trusted=trusted))
    elsewhere = replace(DIRECT_REQUEST, care_of_address=IPv4Address("198.51.100.7"))
    actions = agent.feed(to_home_agent(elsewhere, elsewhere.care_of_address), NOW)
    logged = Log(Level.WARNING, "untrusted_source", {"source": "198.51.100.7:434"})
    assert (logged in actions, Count("untrusted_source") in actions) == (option is not Untrusted.SERVE,) * 2
    assert (codes(actions), len(agent.bindings)) == (([], 0) if option is Untrusted.DROP else ([1], 1))
    # Whom we trust, and whom the proxy has checked, is served.
    assert codes(agent.feed(by_proxy(identification=at(NOW + 1)), NOW + 1)) == [1]


def test_log_of_untrusted_sources_is_rationed(agent: HomeAgent) -> None:
    agent = HomeAgent(TRUSTING)
    nonsense = to_home_agent(b"\x01" * 40, IPv4Address("198.51.100.7"))
    logs = [action for _ in range(50) for action in agent.feed(nonsense, NOW) if isinstance(action, Log)]
    assert len(logs) == 5


@pytest.fixture
def generous() -> HomeAgent:
    """It offers two simultaneous bindings a node."""
    return HomeAgent(replace(HOME_AGENT_SETTINGS, simultaneous=2))


SECOND = replace(
    DIRECT_REQUEST,
    flags=CO_LOCATED | Flag.SIMULTANEOUS,
    care_of_address=IPv4Address("192.0.2.141"),
    identification=at(NOW + 10),
)


def care_of(agent: HomeAgent) -> list[IPv4Address]:
    return [binding.care_of_address for binding in agent.bindings]


def test_s_keeps_the_other_bindings_and_code_is_0_R5944_3_8_2_2_a_and_R5944_3_8_3_2_b_and_R5944_3_8_b(
    generous: HomeAgent,
) -> None:
    assert codes(generous.feed(to_home_agent(DIRECT_REQUEST), NOW)) == [0]
    actions = generous.feed(to_home_agent(SECOND, SECOND.care_of_address), NOW + 10)
    assert codes(actions) == [0]
    assert [action for action in actions if isinstance(action, ForgetBinding | ClaimHome | Unbind)] == []
    assert [action.replaces for action in actions if isinstance(action, Bind)] == [()]
    assert care_of(generous) == [VISITED, SECOND.care_of_address]
    # Each has its own lifetime.
    assert [binding.expires for binding in generous.bindings] == [NOW + 600, NOW + 610]
    generous.handle_timer(NOW + 600)
    assert care_of(generous) == [SECOND.care_of_address]


def test_without_s_all_others_are_replaced_R5944_3_8_2_2_a(generous: HomeAgent) -> None:
    generous.feed(to_home_agent(DIRECT_REQUEST), NOW)
    generous.feed(to_home_agent(SECOND, SECOND.care_of_address), NOW + 10)
    alone = replace(SECOND, flags=CO_LOCATED, identification=at(NOW + 20))
    actions = generous.feed(to_home_agent(alone, SECOND.care_of_address), NOW + 20)
    assert codes(actions) == [0]
    assert ForgetBinding(BINDING.key) in actions
    assert care_of(generous) == [SECOND.care_of_address]


def test_s_that_is_not_offered_replaces_and_says_code_1_R5944_3_8_2_2_a_and_R5944_3_8_3_2_b(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    assert codes(agent.feed(to_home_agent(SECOND, SECOND.care_of_address), NOW + 10)) == [1]
    assert care_of(agent) == [SECOND.care_of_address]


def test_one_binding_too_many_is_135_and_a_refresh_is_none_R5944_3_8_2_3_b(generous: HomeAgent) -> None:
    generous.feed(to_home_agent(DIRECT_REQUEST), NOW)
    generous.feed(to_home_agent(SECOND, SECOND.care_of_address), NOW + 10)
    third = replace(SECOND, care_of_address=IPv4Address("192.0.2.142"), identification=at(NOW + 20))
    actions = generous.feed(to_home_agent(third, third.care_of_address), NOW + 20)
    assert (codes(actions), only_reply(actions).lifetime) == ([135], 0)
    assert care_of(generous) == [VISITED, SECOND.care_of_address]
    again = replace(SECOND, identification=at(NOW + 30))
    assert codes(generous.feed(to_home_agent(again, SECOND.care_of_address), NOW + 30)) == [0]
    assert [binding.expires for binding in generous.bindings] == [NOW + 600, NOW + 630]
    # Without S it replaces the others, so there is room.
    moved = replace(third, flags=CO_LOCATED, identification=at(NOW + 40))
    assert codes(generous.feed(to_home_agent(moved, third.care_of_address), NOW + 40)) == [0]
    assert care_of(generous) == [third.care_of_address]


@pytest.mark.parametrize("all_of_them", [False, True])
def test_deregistration_of_one_and_of_all_R5944_3_8_2_2_e(generous: HomeAgent, all_of_them: bool) -> None:
    generous.feed(to_home_agent(DIRECT_REQUEST), NOW)
    generous.feed(to_home_agent(SECOND, SECOND.care_of_address), NOW + 10)
    address = HOME if all_of_them else VISITED
    request = replace(AT_HOME, care_of_address=address, identification=at(NOW + 20))
    actions = generous.feed(to_home_agent(request, address), NOW + 20)
    assert (codes(actions), only_reply(actions).lifetime) == ([0], 0)
    assert care_of(generous) == ([] if all_of_them else [SECOND.care_of_address])
    # The address is given back with the last binding, not before.
    assert [action for action in actions if isinstance(action, ReleaseHome)] == (
        [ReleaseHome(HOME, "home", returned=True)] if all_of_them else []
    )


@pytest.mark.parametrize(
    ("mode", "flags", "code"),
    [
        (ReverseTunnel.OPTIONAL, Flag.DECAPSULATES, 1),
        (ReverseTunnel.OPTIONAL, CO_LOCATED, 1),
        (ReverseTunnel.REQUIRED, Flag.DECAPSULATES, 138),
        (ReverseTunnel.REQUIRED, CO_LOCATED, 1),
        (ReverseTunnel.UNAVAILABLE, CO_LOCATED, 137),
        (ReverseTunnel.UNAVAILABLE, Flag.DECAPSULATES, 1),
    ],
)
def test_reverse_tunnel_as_configured_R3024_3_4_a_and_R3024_4_3_1_b(mode: ReverseTunnel, flags: int, code: int) -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, reverse_tunnel=mode))
    assert codes(agent.feed(to_home_agent(replace(DIRECT_REQUEST, flags=flags)), NOW)) == [code]
    assert len(agent.bindings) == (code == 1)


def test_deregistration_needs_no_t_bit() -> None:
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, reverse_tunnel=ReverseTunnel.REQUIRED))
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    assert codes(agent.feed(to_home_agent(replace(AT_HOME, flags=0), HOME, "home"), NOW + 5)) == [0]


@pytest.mark.parametrize("flag", [Flag.MINIMAL, Flag.GRE, Flag.MINIMAL | Flag.GRE])
def test_encapsulation_that_is_not_offered_is_139_R3024_4_3_1_a(agent: HomeAgent, flag: int) -> None:
    assert codes(agent.feed(to_home_agent(replace(DIRECT_REQUEST, flags=CO_LOCATED | flag)), NOW)) == [139]
    assert agent.bindings == ()


def test_return_home_gives_the_address_back_before_the_reply_R5944_4_6_c_and_R5944_3_8_2_2_d(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    reply = RegistrationReply(0, 0, HOME, HOME_AGENT, at(NOW + 5))
    assert agent.feed(to_home_agent(AT_HOME, HOME, "home"), NOW + 5) == [
        PersistIdentification(NodeKey(None, HOME), 4001, at(NOW + 5)),
        ForgetBinding(BINDING.key),
        Unbind(BINDING.key),
        ReleaseHome(HOME, "home", returned=True),
        Send(signed(reply, DIRECT_SA), Endpoint(HOME_AGENT, 434), Endpoint(HOME, 434)),
        Count("deregistered"),
    ]
    assert (agent.bindings, agent.next_deadline()) == ((), None)


def test_deregistration_of_another_care_of_address_leaves_the_binding_R5944_3_8_2_2_e(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    one = replace(AT_HOME, care_of_address=MIPP_PRIV)
    assert codes(agent.feed(to_home_agent(one), NOW + 5)) == [0]
    assert agent.bindings == (BINDING,)


def test_deregistration_without_binding_is_accepted(agent: HomeAgent) -> None:
    assert codes(agent.feed(to_home_agent(AT_HOME, HOME, "home"), NOW + 5)) == [0]


def test_binding_expires_in_silence_R5944_3_8_a(agent: HomeAgent) -> None:
    agent.feed(to_home_agent(DIRECT_REQUEST), NOW)
    assert agent.handle_timer(NOW + 599) == []
    assert agent.handle_timer(NOW + 600) == [
        ForgetBinding(BINDING.key),
        Unbind(BINDING.key),
        ReleaseHome(HOME, "home"),
        Log(Level.INFO, "binding_expired", {"home_address": str(HOME), "care_of_address": str(VISITED)}),
    ]
    assert agent.bindings == ()


def test_half_bound_node_is_whole_with_its_first_keepalive_R3519_4_6_c(agent: HomeAgent) -> None:
    nat = Endpoint(IPv4Address("192.0.2.150"), 40000)
    request = replace(DIRECT_REQUEST, extensions=(UdpTunnelRequest(through_foreign_agent=True).extension(),))
    agent.feed(to_home_agent(request, nat), NOW)
    (half,) = agent.bindings
    whole = replace(half, source=nat._replace(port=7), half_bound=False)
    assert agent.feed(TunnelPortLearned(HOME, nat._replace(port=7)), NOW) == [PersistBinding(whole), Bind(whole)]
    assert agent.feed(TunnelPortLearned(HOME, nat), NOW) == [Count("port_of_no_half_bound_node")]


def test_fa_ha_authentication_where_it_was_agreed_on_R5944_3_8_2_1_g_and_R5944_3_5_4_c() -> None:
    foreign = SecurityAssociation(5001, b"f" * 16)
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, checks=GatePolicy(foreign_agents={MIPP_PRIV: {5001: foreign}})))
    missing = agent.feed(by_proxy(), NOW)
    payload = append(signed(replace(BY_PROXY, identification=at(NOW + 1)), PROXY_SA), foreign, ExtensionType(34))
    given = agent.feed(to_home_agent(payload, MIPP_PRIV), NOW + 1)
    deregistered = agent.feed(by_proxy(lifetime=0, identification=at(NOW + 2)), NOW + 2)
    assert [codes(actions) for actions in (missing, given, deregistered)] == [[132], [1], [0]]
    assert types_of(only_reply(given).extensions) == (32, 34)


def test_131_behind_a_valid_fa_ha_authenticator_R5944_3_8_2_1_e() -> None:
    foreign = SecurityAssociation(5001, b"f" * 16)
    agent = HomeAgent(replace(HOME_AGENT_SETTINGS, checks=GatePolicy(foreign_agents={MIPP_PRIV: {5001: foreign}})))
    wrong = signed(BY_PROXY, SecurityAssociation(3001, b"x" * 16))
    vouched = append(wrong, foreign, ExtensionType.FA_HA_AUTHENTICATION)
    assert codes(agent.feed(to_home_agent(wrong, MIPP_PRIV), NOW)) == []
    assert codes(agent.feed(to_home_agent(vouched, MIPP_PRIV), NOW)) == [131]


def test_kill_and_restart_loses_no_binding_and_accepts_no_replay(agent: HomeAgent) -> None:
    disk = Disk()
    disk.commit(agent.feed(to_home_agent(DIRECT_REQUEST), NOW))
    restarted = HomeAgent(HOME_AGENT_SETTINGS)
    assert restarted.restore(disk.records(), NOW + 1) == [Bind(BINDING), ClaimHome(HOME, "home")]
    assert restarted.snapshot() == disk.records() == agent.snapshot()
    assert codes(restarted.feed(to_home_agent(DIRECT_REQUEST), NOW + 1)) == [133]
    assert restarted.next_deadline() == NOW + 600


def test_restart_releases_what_is_over(agent: HomeAgent) -> None:
    over = [ForgetBinding(BINDING.key), Unbind(BINDING.key), ReleaseHome(HOME, "home")]
    assert agent.restore([PersistBinding(BINDING)], NOW + 600) == over
    assert agent.bindings == ()


def test_restart_with_an_old_binding_keeps_the_claim_of_the_live_one(agent: HomeAgent) -> None:
    old = replace(BINDING, care_of_address=MIPP_PRIV, expires=NOW)
    assert agent.restore([PersistBinding(BINDING), PersistBinding(old)], NOW + 1) == [
        ForgetBinding(old.key),
        Unbind(old.key),
        Bind(BINDING),
        ClaimHome(HOME, "home"),
    ]


def test_event_of_another_party_is_none_of_ours(agent: HomeAgent) -> None:
    assert agent.feed(Detached("home"), NOW) == []


def test_one_home_address_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.69: two nodes"):
        HomeAgent(replace(HOME_AGENT_SETTINGS, nodes=HOME_AGENT_SETTINGS.nodes * 2))


@given(st.binary(max_size=80), st.sampled_from([b"", signed(DIRECT_REQUEST, DIRECT_SA), b"\1", b"\3"]))
def test_any_bytes_are_survived(tail: bytes, head: bytes) -> None:
    agent = HomeAgent(HOME_AGENT_SETTINGS)
    actions = agent.feed(to_home_agent(head + tail), NOW)
    assert len(actions) > 0
    assert all(code in (1, 134, 140) for code in codes(actions))
