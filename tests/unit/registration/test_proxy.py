"""The proxy's rules, one a test (draft 2.2 to 2.7, RFC 5944 3.8). NAT has its own file."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.actions import (
    Bind,
    Count,
    ForgetBinding,
    Level,
    Log,
    PersistBinding,
    PersistIdentification,
    Send,
    Unbind,
)
from mobileip.registration.bindings import Binding, BindingKey, Encapsulation, NodeKey
from mobileip.registration.events import DatagramReceived, Detached, Endpoint, TunnelPortLearned
from mobileip.registration.gate import GatePolicy
from mobileip.registration.location import LocationMode
from mobileip.registration.proxy import Proxy
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.identification import high, low
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, types_of
from mobileip.wire.typed_extensions import (
    TRUSTED_NETWORKS,
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    MessageString,
    UdpTunnelRequest,
)
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    FOREIGN_AGENT,
    GATEWAY,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    NAT,
    NODE_SA,
    NOW,
    OTHER_CARE_OF,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    PROXY_SA,
    REQUEST,
    STRANGER_SA,
    VISITED,
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

BINDING = Binding(
    home_address=HOME,
    home_agent=HOME_AGENT,
    care_of_address=CARE_OF,
    source=Endpoint(CARE_OF, 434),
    interface="pub",
    encapsulation=Encapsulation.IPIP,
    flags=CO_LOCATED,
    identification=at(NOW),
    granted=300,
    expires=NOW + 300,
    gateway=GATEWAY,
    spi=2001,
    registered=NOW,
    home_agent_expires=NOW + 300,
)
DEREGISTER_ALL = replace(REQUEST, lifetime=0, care_of_address=HOME)


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(PROXY)


def bound(proxy: Proxy, request: RegistrationRequest = REQUEST, now: float = NOW) -> Proxy:
    """A proxy through which the node has registered."""
    proxy.feed(from_node(request, request.care_of_address), now)
    proxy.feed(from_home_agent(reply_to(request)), now + 0.1)
    return proxy


# -- relaying a request -------------------------------------------------------------------------------------------


def test_identification_is_durable_before_the_request_is_relayed_D_2_2_a(proxy: Proxy) -> None:
    relayed = RegistrationRequest(Flag.REVERSE_TUNNEL, 600, HOME, HOME_AGENT, MIPP_PRIV, at(NOW))
    assert proxy.feed(from_node(REQUEST), NOW) == [
        PersistIdentification(NodeKey(GATEWAY, HOME), 2001, at(NOW)),
        Send(append(relayed.serialize(), PROXY_SA), Endpoint(MIPP_PRIV, 434), Endpoint(HOME_AGENT, 434)),
        Count("request_relayed"),
    ]
    assert proxy.pending == 1
    assert proxy.next_deadline() == NOW + 7


def test_flags_toward_the_home_agent_D_2_2_1(proxy: Proxy) -> None:
    every = Flag.SIMULTANEOUS | Flag.BROADCAST | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL | 0x04 | 0x01
    relayed = only_request(proxy.feed(from_node(replace(REQUEST, flags=every)), NOW))
    # b: B as the node set it; c, AMB-4: D clear; d: T; e: never S; AMB-3: r and x not copied.
    assert relayed.flags == Flag.BROADCAST | Flag.REVERSE_TUNNEL


def test_broadcast_and_reverse_tunnel_are_asked_for_only_if_supported_D_2_2_1_b_d() -> None:
    proxy = Proxy(replace(PROXY, broadcast=False, reverse_tunnel=False))
    request = replace(REQUEST, flags=CO_LOCATED | Flag.BROADCAST)
    assert only_request(proxy.feed(from_node(request), NOW)).flags == 0


def test_lifetime_toward_the_home_agent_is_at_most_the_nodes_D_2_2_2_a(proxy: Proxy) -> None:
    short = proxy.feed(from_node(REQUEST), NOW)
    long = proxy.feed(from_node(replace(REQUEST, lifetime=0xFFFF, identification=at(NOW + 1))), NOW + 1)
    assert [only_request(actions).lifetime for actions in (short, long)] == [600, 1800]


def test_extensions_go_on_but_those_of_one_hop_D_2_2_3_a(proxy: Proxy) -> None:
    nai, vendor = Extension(131, b"mn@home"), Extension(134, bytes(8))
    unknown, service = Extension(199, b"?"), Extension(151, b"voice")
    one_hop = (Extension(0), Extension(130), Extension(137, bytes(6)), Extension(139, bytes(4), 1), TRUSTED_NETWORKS)
    request = replace(REQUEST, extensions=(nai, *one_hop, PARAMETER, unknown, vendor, service))
    actions = proxy.feed(from_node(signed(request, behind=(Extension(132, b"c"), Extension(198, b"f")))), NOW)
    relayed = only_request(actions).extensions
    assert relayed[:-1] == (nai, unknown, vendor, service)
    assert relayed[-1].type == ExtensionType.MN_HA_AUTHENTICATION


# -- checking a request, in the order of AMB-25 -------------------------------------------------------------------


@pytest.mark.parametrize("length", range(len(signed(REQUEST))))
def test_cut_request_is_dropped_in_silence_D_2_1_b(proxy: Proxy, length: int) -> None:
    (action,) = proxy.feed(from_node(signed(REQUEST)[:length]), NOW)
    assert action in (Count("empty"), Count("malformed"), Count("authentication_missing"))


def test_bytes_behind_the_authenticator_that_are_no_extension_are_134_AMB_25_and_D_2_2_4_a(proxy: Proxy) -> None:
    assert codes(proxy.feed(from_node(signed(REQUEST) + b"\x83\x09x"), NOW)) == [134]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\x02" + bytes(40), "unknown_message"),
        (b"\x10" + bytes(40), "unknown_message"),
        (b"\x04\x04\0\0", "tunnel_data_not_forwarded"),
        (signed(REQUEST) + bytes(5000), "oversized"),
        (signed(replace(REQUEST, extensions=(PARAMETER, Extension(99)))), "unknown_extension"),
        (signed(REQUEST, behind=(Extension(99),)), "unknown_extension"),
        (signed(replace(REQUEST, extensions=(Extension(127, b"\0\0\0\0", 6),))), "unknown_extension"),
        (signed(replace(REQUEST, home_address=IPv4Address("192.0.2.70"))), "unknown_node"),
        (signed(replace(REQUEST, home_address=IPv4Address(0))), "zero_home_address"),
        (REQUEST.serialize(), "authentication_missing"),
        (REQUEST.serialize() + b"\x20\x04\0\0\x07\xd1", "authentication_malformed"),
        (signed(REQUEST, replace(NODE_SA, spi=2002)), "unknown_spi"),
        (signed(REQUEST, replace(NODE_SA, spi=255)), "reserved_spi"),
        (signed(REQUEST, STRANGER_SA), "authentication_failed"),
        (append(signed(REQUEST), NODE_SA, ExtensionType.FA_HA_AUTHENTICATION), "unexpected_fa_ha_authentication"),
    ],
)
def test_silent_drops_are_counted_by_reason_R5944_3_8_2_1(proxy: Proxy, payload: bytes, reason: str) -> None:
    actions = proxy.feed(from_node(payload), NOW)
    assert [action for action in actions if isinstance(action, Count)] == [Count(reason)]
    assert sends(actions) == []


def test_failed_authentication_changes_nothing_AMB_6(proxy: Proxy) -> None:
    assert proxy.feed(from_node(signed(REQUEST, STRANGER_SA)), NOW) == [
        Count("authentication_failed"),
        Log(Level.WARNING, "authentication_failed", {"home_address": str(HOME), "source": f"{CARE_OF}:434"}),
    ]
    assert proxy.snapshot() == []
    assert codes(proxy.feed(from_node(REQUEST), NOW)) == []
    assert proxy.pending == 1


def test_strangers_with_many_addresses_fill_no_log_and_use_up_no_nodes_denials(proxy: Proxy) -> None:
    forged = signed(REQUEST, STRANGER_SA)
    sources = [IPv4Address(int(CARE_OF) + number) for number in range(100)]
    actions = [action for source in sources for action in proxy.feed(from_node(forged, source), NOW)]
    assert actions.count(Count("authentication_failed")) == 100
    assert sum(isinstance(action, Log) for action in actions) == 5
    assert codes(proxy.feed(from_node(replace(REQUEST, identification=at(NOW - 60))), NOW)) == [133]


def test_131_only_where_configured_rationed_and_signed_AMB_26() -> None:
    proxy = Proxy(replace(PROXY, checks=GatePolicy(reply_on_failed_authentication=True)))
    replies = [sends(proxy.feed(from_node(signed(REQUEST, STRANGER_SA)), NOW)) for _ in range(8)]
    assert [len(sent) for sent in replies] == [1] * 5 + [0] * 3
    why = MessageString("the authenticator is wrong: compare keys and algorithms").extension()
    denial = RegistrationReply(Code.NODE_FAILED_AUTHENTICATION, 0, HOME, MIPP_PUB, at(NOW), (why,))
    assert replies[0][0].payload == append(denial.serialize(), NODE_SA)
    assert len(sends(proxy.feed(from_node(signed(REQUEST, STRANGER_SA)), NOW + 1))) == 1


@pytest.mark.parametrize("offset", [-7.5, 7.5, 86400.0, -86400.0])
def test_timestamp_outside_the_window_is_133_with_our_seconds_R5944_5_7_1(proxy: Proxy, offset: float) -> None:
    actions = proxy.feed(from_node(replace(REQUEST, identification=at(NOW + offset))), NOW)
    reply = only_reply(actions)
    assert (reply.code, reply.home_agent, reply.lifetime) == (133, MIPP_PUB, 0)
    assert low(reply.identification) == low(at(NOW + offset))
    assert high(reply.identification) == high(at(NOW))
    assert proxy.snapshot() == []  # a timestamp that was refused is not remembered


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_timestamp_not_newer_than_the_last_is_133_R5944_5_7_1(proxy: Proxy, offset: float) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    assert codes(proxy.feed(from_node(replace(REQUEST, identification=at(NOW + offset))), NOW + 1)) == [133]


def test_timestamps_go_on_through_2036_R5944_5_7_1(proxy: Proxy) -> None:
    roll_over = 2_085_978_496.0
    for moment in (roll_over - 2, roll_over - 1, roll_over, roll_over + 1):
        actions = proxy.feed(from_node(replace(REQUEST, identification=at(moment))), moment)
        assert only_request(actions).identification == at(moment)
    assert codes(proxy.feed(from_node(replace(REQUEST, identification=at(roll_over - 1))), roll_over + 1)) == [133]


def test_denials_that_anybody_can_provoke_are_rationed(proxy: Proxy) -> None:
    stale = from_node(replace(REQUEST, identification=at(NOW - 60)))
    assert [len(sends(proxy.feed(stale, NOW))) for _ in range(7)] == [1] * 5 + [0] * 2
    assert proxy.feed(stale, NOW) == [Count("reply_rate_limited")]


def test_second_mn_ha_authentication_is_134(proxy: Proxy) -> None:
    assert codes(proxy.feed(from_node(append(signed(REQUEST), NODE_SA)), NOW)) == [134]


def test_critical_vendor_extension_is_140_R3115_2_4(proxy: Proxy) -> None:
    request = replace(REQUEST, extensions=(PARAMETER, Extension(38, bytes(8), 0)))
    assert codes(proxy.feed(from_node(request), NOW)) == [140]


@pytest.mark.parametrize("care_of", [HOME, "0.0.0.0", "224.0.0.11", "127.0.0.1", "255.255.255.255"])
def test_care_of_address_where_no_tunnel_can_end_is_134(proxy: Proxy, care_of: IPv4Address | str) -> None:
    request = replace(REQUEST, care_of_address=IPv4Address(care_of))
    assert codes(proxy.feed(from_node(request), NOW)) == [134]
    assert proxy.pending == 0


@pytest.mark.parametrize(("agent", "destination"), [(HOME_AGENT, MIPP_PUB), (MIPP_PUB, IPv4Address("203.0.113.63"))])
def test_request_for_another_agent_is_136_with_ours_R5944_3_8_3_2(
    proxy: Proxy, agent: IPv4Address, destination: IPv4Address
) -> None:
    request = replace(REQUEST, home_agent=agent)
    (send,) = sends(proxy.feed(from_node(request, destination=destination), NOW))
    assert send.source == Endpoint(MIPP_PUB, 434)
    assert (parse_reply(send.payload).code, parse_reply(send.payload).home_agent) == (136, MIPP_PUB)


def test_request_without_t_bit_is_138_D_2_2_4_b_and_D_2_2_4_c(proxy: Proxy) -> None:
    actions = proxy.feed(from_node(replace(REQUEST, flags=Flag.DECAPSULATES)), NOW)
    denial = RegistrationReply(
        138, 0, HOME, MIPP_PUB, at(NOW), (PARAMETER, MessageString("reverse tunnel required").extension())
    )
    fields: dict[str, str | int | float | bool] = {
        "home_address": str(HOME),
        "source": f"{CARE_OF}:434",
        "code": 138,
        "reason": "reverse tunnel required",
    }
    assert actions == [
        PersistIdentification(NodeKey(GATEWAY, HOME), 2001, at(NOW)),
        Send(signed(denial), Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434)),
        Count("denied_138"),
        Log(Level.INFO, "registration_denied", fields),
    ]


def test_no_denial_of_ours_before_authentication_and_replay_AMB_25(proxy: Proxy) -> None:
    no_t = replace(REQUEST, flags=Flag.DECAPSULATES)
    assert sends(proxy.feed(from_node(signed(no_t, STRANGER_SA)), NOW)) == []
    assert codes(proxy.feed(from_node(no_t), NOW)) == [138]
    assert codes(proxy.feed(from_node(no_t), NOW + 0.1)) == [133]  # the same again: its timestamp is used up


# -- location -----------------------------------------------------------------------------------------------------

INSIDE = replace(REQUEST, care_of_address=VISITED)


def test_node_inside_is_told_206_and_its_home_agent_D_2_6_1_c(proxy: Proxy) -> None:
    (persist, send, *_) = proxy.feed(from_node(INSIDE, VISITED, "priv"), NOW)
    assert isinstance(persist, PersistIdentification)
    assert isinstance(send, Send)
    assert (send.source, send.destination) == (Endpoint(MIPP_PUB, 434), Endpoint(VISITED, 434))
    reply = parse_reply(send.payload)
    assert (reply.code, reply.identification) == (206, at(NOW))
    assert reply.extensions[:3] == (PARAMETER, TRUSTED_NETWORKS, MessageString("inside").extension())
    assert types_of(reply.extensions[3:]) == (32,)


def test_206_ends_the_binding_outside_AMB_11(proxy: Proxy) -> None:
    bound(proxy)
    proxy.feed(from_node(replace(REQUEST, identification=at(NOW + 1))), NOW + 1)  # and one is on its way
    request = replace(INSIDE, identification=at(NOW + 2))
    actions = proxy.feed(from_node(request, VISITED, "priv"), NOW + 2)
    assert actions[:3] == [
        PersistIdentification(NodeKey(GATEWAY, HOME), 2001, at(NOW + 2)),
        ForgetBinding(BINDING.key),
        Unbind(BINDING.key),
    ]
    assert codes(actions) == [206]
    late = from_home_agent(reply_to(replace(REQUEST, identification=at(NOW + 1))))
    assert proxy.feed(late, NOW + 2.1) == [Count("reply_without_request")]
    assert proxy.bindings == ()


def test_inside_source_on_the_public_interface_is_dropped_AMB_21(proxy: Proxy) -> None:
    assert proxy.feed(from_node(INSIDE, VISITED, "pub"), NOW) == [Count("inside_source_on_public_interface")]


def test_inside_care_of_address_behind_an_outside_source_is_never_206_AMB_21(proxy: Proxy) -> None:
    request = replace(INSIDE, extensions=(PARAMETER, UdpTunnelRequest().extension()))
    assert only_request(proxy.feed(from_node(request, NAT), NOW)).care_of_address == MIPP_PRIV


def test_outside_source_on_the_private_interface_is_denied_AMB_21(proxy: Proxy) -> None:
    assert codes(proxy.feed(from_node(REQUEST, CARE_OF, "priv"), NOW)) == [129]


def test_206_needs_no_home_agent_that_is_known_D_2_6_1_c(proxy: Proxy) -> None:
    reply = only_reply(proxy.feed(from_node(replace(INSIDE, extensions=()), VISITED, "priv"), NOW))
    assert (reply.code, types_of(reply.extensions)) == (206, (149, 145, 32))


def test_node_inside_that_names_a_home_agent_it_may_not_have_is_136_AMB_7(proxy: Proxy) -> None:
    bound(proxy)
    other = HomeAgentParameter(OTHER_HOME_AGENT).extension()
    request = replace(INSIDE, extensions=(other,), identification=at(NOW + 1))
    assert codes(proxy.feed(from_node(request, VISITED, "priv"), NOW + 1)) == [136]
    assert proxy.bindings == (BINDING,)


def test_206_by_address_alone_does_not_say_trusted_AMB_21() -> None:
    proxy = Proxy(replace(PROXY, location_mode=LocationMode.ADDRESS))
    reply = only_reply(proxy.feed(from_node(INSIDE, VISITED, "pub"), NOW))
    assert (reply.code, types_of(reply.extensions)) == (206, (126, 145, 32))


# -- home agent ---------------------------------------------------------------------------------------------------


def test_no_home_agent_known_is_200_D_2_2_4_e(proxy: Proxy) -> None:
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=())), NOW)) == [200]


@pytest.mark.parametrize("data", [b"", bytes(5), bytes(7), b"\x01" + bytes(5)])
def test_home_agent_parameter_that_is_not_valid_counts_as_missing_AMB_5(proxy: Proxy, data: bytes) -> None:
    reply = only_reply(proxy.feed(from_node(replace(REQUEST, extensions=(Extension(126, data),))), NOW))
    assert reply.code == 200
    assert reply.extensions[0] == HomeAgentParameter(IPv4Address(0)).extension()


def test_two_home_agent_parameters_are_134_AMB_5(proxy: Proxy) -> None:
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=(PARAMETER, PARAMETER))), NOW)) == [134]


def test_home_agent_parameter_behind_the_authenticator_is_not_believed_AMB_5(proxy: Proxy) -> None:
    payload = signed(replace(REQUEST, extensions=()), behind=(PARAMETER,))
    assert codes(proxy.feed(from_node(payload), NOW)) == [200]


def test_home_agent_zero_is_201_without_assignment_D_2_4_1_b(proxy: Proxy) -> None:
    request = replace(REQUEST, extensions=(HomeAgentParameter(IPv4Address(0)).extension(),))
    assert codes(proxy.feed(from_node(request), NOW)) == [201]


@pytest.mark.parametrize("agent", ["192.0.2.99", MIPP_PUB, MIPP_PRIV, "224.0.0.11", OTHER_HOME_AGENT])
def test_home_agent_that_is_not_allowed_for_the_node_is_136_AMB_7(proxy: Proxy, agent: IPv4Address | str) -> None:
    request = replace(REQUEST, extensions=(HomeAgentParameter(IPv4Address(agent)).extension(),))
    reply = only_reply(proxy.feed(from_node(request), NOW))
    assert (reply.code, reply.home_agent) == (136, MIPP_PUB)


def test_configured_mapping_serves_a_node_without_the_extension_AMB_7() -> None:
    proxy = Proxy(replace(PROXY, nodes=(replace(PROXY.nodes[0], home_agent=HOME_AGENT),)))
    request = replace(REQUEST, extensions=())
    assert only_request(proxy.feed(from_node(request), NOW)).home_agent == HOME_AGENT
    # Its reply has no extension that it did not use: it would have to drop the reply.
    assert types_of(only_reply(proxy.feed(from_home_agent(reply_to(request)), NOW)).extensions) == (32,)


def test_present_binding_says_the_home_agent_of_a_node_without_the_extension_AMB_7(proxy: Proxy) -> None:
    bound(proxy)
    request = replace(REQUEST, extensions=(), identification=at(NOW + 1))
    assert only_request(proxy.feed(from_node(request), NOW + 1)).home_agent == HOME_AGENT


@pytest.mark.parametrize(
    "form",
    [
        HomeAgentParameterFormat(255, 0, HomeAgentParameterEncoding.SKIPPABLE),
        HomeAgentParameterFormat(127, 1, HomeAgentParameterEncoding.RFC4064_LONG),
    ],
)
def test_answer_has_the_form_of_the_question_AMB_5_and_D_2_2_4_d(form: HomeAgentParameterFormat) -> None:
    proxy = Proxy(replace(PROXY, home_agent_parameter=(HomeAgentParameterFormat(), form)))
    extension = HomeAgentParameter(HOME_AGENT, form).extension()
    request = replace(REQUEST, extensions=(extension,))
    relayed = only_request(proxy.feed(from_node(request), NOW))
    assert types_of(relayed.extensions) == (32,)
    assert only_reply(proxy.feed(from_home_agent(reply_to(request)), NOW)).extensions[0] == extension


# -- pending ------------------------------------------------------------------------------------------------------


def test_too_many_pending_requests_are_130_AMB_1_AMB_13(proxy: Proxy) -> None:
    actions = [proxy.feed(from_node(replace(REQUEST, identification=at(NOW + n / 8))), NOW + n / 8) for n in range(6)]
    assert [len(codes(done)) for done in actions] == [0] * 5 + [1]
    assert codes(actions[5]) == [130]


def test_pending_request_times_out_in_silence_AMB_13_and_D_3_h(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    assert proxy.handle_timer(NOW + 6.9) == []
    assert proxy.handle_timer(NOW + 7) == [Count("pending_timeout")]
    assert proxy.next_deadline() is None
    assert proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 7.1) == [Count("reply_without_request")]


# -- relaying a reply ---------------------------------------------------------------------------------------------


def test_binding_is_durable_and_in_the_kernel_before_its_reply_leaves_D_2_3_b(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    reply = RegistrationReply(0, 300, HOME, MIPP_PUB, at(NOW), (PARAMETER,))
    assert proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 0.2) == [
        PersistBinding(BINDING),  # 300 s from relaying, not from the answer
        Bind(BINDING),
        Send(signed(reply), Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434)),
        Count("reply_relayed"),
    ]
    assert proxy.bindings == (BINDING,)
    assert proxy.next_deadline() == NOW + 300


def test_reply_keeps_identification_D_2_3_1_g(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    # The home agent's clock is elsewhere: a 133 tells the node, with the home agent's seconds in the high half.
    other = (high(at(NOW)) + 100) << 32 | low(at(NOW))
    actions = proxy.feed(from_home_agent(reply_to(REQUEST, 133, identification=other)), NOW)
    assert only_reply(actions).identification == other
    assert only_reply(actions).code == 133


def test_reply_has_the_proxy_as_home_agent_and_the_same_home_address_D_2_3_1_e_and_D_2_3_1_f(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW))
    assert (reply.home_address, reply.home_agent) == (HOME, MIPP_PUB)


@pytest.mark.parametrize("code", [128, 129, 130, 131, 134, 136, 142, 199, 255])
def test_denial_is_relayed_with_its_code_and_binds_nothing_D_2_3_1_a(proxy: Proxy, code: int) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    actions = proxy.feed(from_home_agent(reply_to(REQUEST, code, extensions=(Extension(145, b"\1why"),))), NOW)
    reply = RegistrationReply(code, 300, HOME, MIPP_PUB, at(NOW), (Extension(145, b"\1why"), PARAMETER))
    assert actions == [
        Send(signed(reply), Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434)),
        Count(f"home_agent_code_{code}"),
    ]
    assert (proxy.bindings, proxy.pending) == ((), 0)


@pytest.mark.parametrize(
    ("asked", "granted", "told"),
    [(600, 300, 300), (600, 600, 600), (600, 601, 600), (600, 0xFFFF, 600), (0xFFFF, 0xFFFF, 1800), (1, 1800, 1)],
)
def test_lifetime_is_the_least_of_asked_granted_and_ours_D_2_6_2_e_and_D_2_3_1_c(
    proxy: Proxy, asked: int, granted: int, told: int
) -> None:
    request = replace(REQUEST, lifetime=asked)
    proxy.feed(from_node(request), NOW)
    actions = proxy.feed(from_home_agent(reply_to(request, lifetime=granted)), NOW + 1)
    assert only_reply(actions).lifetime == told
    assert [(binding.granted, binding.expires) for binding in proxy.bindings] == [(told, NOW + told)]


def test_infinite_lifetime_never_expires_R5944_3_3_c() -> None:
    proxy = Proxy(replace(PROXY, max_lifetime=0xFFFF))
    request = replace(REQUEST, lifetime=0xFFFF)
    proxy.feed(from_node(request), NOW)
    proxy.feed(from_home_agent(reply_to(request, lifetime=0xFFFF)), NOW)
    assert [binding.expires for binding in proxy.bindings] == [math.inf]
    assert proxy.next_deadline() is None
    assert proxy.handle_timer(NOW + 1e9) == []


def test_extensions_of_the_reply_go_on_but_those_of_one_hop_D_2_3_1_h(proxy: Proxy) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    kept = (Extension(131, b"mn@home"), Extension(145, b"\1hello"), Extension(199, b"?"))
    dropped = (
        Extension(44, bytes(6)),
        Extension(45, b"\0\x44"),
        TRUSTED_NETWORKS,
        Extension(132, b"c"),
        HomeAgentParameter(OTHER_HOME_AGENT).extension(),
        Extension(0),
    )
    reply = reply_to(REQUEST, extensions=(*dropped, *kept))
    actions = proxy.feed(from_home_agent(signed(reply, PROXY_SA, behind=(Extension(198, b"f"),))), NOW)
    assert only_reply(actions).extensions[:-1] == (*kept, PARAMETER)


def test_challenge_of_the_foreign_agent_comes_back_behind_the_authenticator_R4721_3_4(proxy: Proxy) -> None:
    challenge = Extension(132, b"challenge")
    proxy.feed(from_node(signed(REQUEST, behind=(challenge,))), NOW)
    assert types_of(only_reply(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)).extensions) == (126, 32, 132)


def test_code_0_becomes_1_for_a_node_that_wants_simultaneous_bindings_D_2_6_2_f(proxy: Proxy) -> None:
    request = replace(REQUEST, flags=CO_LOCATED | Flag.SIMULTANEOUS)
    proxy.feed(from_node(request), NOW)
    assert codes(proxy.feed(from_home_agent(reply_to(request)), NOW)) == [1]
    later = replace(REQUEST, identification=at(NOW + 1))
    proxy.feed(from_node(later), NOW + 1)
    assert codes(proxy.feed(from_home_agent(reply_to(later, code=1)), NOW + 1)) == [1]  # AMB-9: S clear, passed on


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (from_home_agent(reply_to(REQUEST), source=OTHER_HOME_AGENT), "reply_without_request"),
        (from_home_agent(reply_to(REQUEST, identification=at(NOW) ^ 1)), "reply_without_request"),
        (from_home_agent(reply_to(REQUEST, home_address=IPv4Address("192.0.2.70"))), "reply_without_request"),
        (from_home_agent(reply_to(REQUEST), interface="pub"), "reply_not_from_inside"),
        (from_node(signed(reply_to(REQUEST), PROXY_SA), HOME_AGENT, "priv"), "reply_not_from_inside"),
        (from_home_agent(reply_to(REQUEST).serialize()), "reply_authentication_missing"),
        (from_home_agent(signed(reply_to(REQUEST), NODE_SA)), "reply_unknown_spi"),
        (
            from_home_agent(signed(reply_to(REQUEST), SecurityAssociation(3001, b"x" * 16))),
            "reply_authentication_failed",
        ),
        (from_home_agent(append(signed(reply_to(REQUEST), PROXY_SA), PROXY_SA)), "reply_authentication_repeated"),
        (from_home_agent(reply_to(REQUEST, extensions=(Extension(99),))), "unknown_extension"),
        (from_home_agent(signed(reply_to(REQUEST), PROXY_SA) + b"\x83\x09x"), "malformed"),
        (from_home_agent(signed(reply_to(REQUEST), PROXY_SA)[:19]), "malformed"),
        (from_home_agent(signed(reply_to(REQUEST), PROXY_SA) + bytes(5000)), "oversized"),
    ],
)
def test_reply_that_is_not_the_one_is_dropped_and_the_request_stays_D_2_1_b(
    proxy: Proxy, received: DatagramReceived, reason: str
) -> None:
    proxy.feed(from_node(REQUEST), NOW)
    actions = proxy.feed(received, NOW)
    assert [action for action in actions if isinstance(action, Count)] == [Count(reason)]
    assert [action for action in actions if not isinstance(action, Count | Log)] == []
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)) == [0]


def test_second_reply_to_one_request_is_dropped(proxy: Proxy) -> None:
    bound(proxy)
    assert proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 1) == [Count("reply_without_request")]


# -- moving -------------------------------------------------------------------------------------------------------


def test_move_replaces_the_binding_without_a_gap_D_2_6_6_d(proxy: Proxy) -> None:
    bound(proxy)
    moved = replace(REQUEST, care_of_address=OTHER_CARE_OF, identification=at(NOW + 10))
    proxy.feed(from_node(moved, OTHER_CARE_OF), NOW + 10)
    actions = proxy.feed(from_home_agent(reply_to(moved)), NOW + 10.1)
    binding = replace(
        BINDING,
        care_of_address=OTHER_CARE_OF,
        source=Endpoint(OTHER_CARE_OF, 434),
        identification=at(NOW + 10),
        expires=NOW + 310,
        registered=NOW + 10,
        home_agent_expires=NOW + 310,
    )
    assert actions[:3] == [ForgetBinding(BINDING.key), PersistBinding(binding), Bind(binding, (BINDING.key,))]
    assert proxy.bindings == (binding,)


def test_newer_request_wins_whichever_is_answered_first(proxy: Proxy) -> None:
    moved = replace(REQUEST, care_of_address=OTHER_CARE_OF, identification=at(NOW + 1.25))
    proxy.feed(from_node(REQUEST), NOW)
    proxy.feed(from_node(moved, OTHER_CARE_OF), NOW + 1.25)
    assert codes(proxy.feed(from_home_agent(reply_to(moved)), NOW + 1.3)) == [0]
    assert proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 1.4) == [Count("reply_without_request")]
    assert [binding.care_of_address for binding in proxy.bindings] == [OTHER_CARE_OF]


def test_foreign_agents_node_is_answered_at_the_source_and_bound_to_it_D_2_7_2_a(proxy: Proxy) -> None:
    routed = Endpoint(IPv4Address("198.51.100.97"), 4434)  # FA-Routed need not be FA-COA (AMB-19)
    request = replace(REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=FOREIGN_AGENT)
    proxy.feed(from_node(request, routed), NOW)
    actions = proxy.feed(from_home_agent(reply_to(request)), NOW)
    assert [send.destination for send in sends(actions)] == [routed]
    (binding,) = proxy.bindings
    assert (binding.via_foreign_agent, binding.encapsulation) == (True, Encapsulation.IPIP)
    assert (binding.care_of_address, binding.tunnel_source) == (FOREIGN_AGENT, routed.address)
    assert binding.tunnel_peer == Endpoint(FOREIGN_AGENT, 0)


# -- deregistration and expiry ------------------------------------------------------------------------------------


def test_deregistration_of_all_waits_for_the_home_agent_D_2_3_1_d_AMB_11(proxy: Proxy) -> None:
    bound(proxy)
    request = replace(DEREGISTER_ALL, identification=at(NOW + 1))
    relayed = only_request(proxy.feed(from_node(request), NOW + 1))
    assert (relayed.lifetime, relayed.care_of_address) == (0, MIPP_PRIV)
    assert proxy.bindings == (BINDING,)
    reply = RegistrationReply(0, 0, HOME, MIPP_PUB, at(NOW + 1), (PARAMETER,))
    assert proxy.feed(from_home_agent(reply_to(request, lifetime=0)), NOW + 1.1) == [
        ForgetBinding(BINDING.key),
        Unbind(BINDING.key),
        Send(signed(reply), Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434)),
        Count("reply_relayed"),
    ]
    assert not proxy.bindings
    assert proxy.next_deadline() is None


def test_refused_deregistration_leaves_the_binding(proxy: Proxy) -> None:
    bound(proxy)
    request = replace(DEREGISTER_ALL, identification=at(NOW + 1))
    proxy.feed(from_node(request), NOW + 1)
    proxy.feed(from_home_agent(reply_to(request, 129, 0)), NOW + 1.1)
    assert proxy.bindings == (BINDING,)


def test_deregistration_of_an_old_care_of_address_is_a_refresh_at_the_home_agent_AMB_8(proxy: Proxy) -> None:
    bound(proxy)
    request = replace(REQUEST, lifetime=0, care_of_address=OTHER_CARE_OF, identification=at(NOW + 100))
    assert only_request(proxy.feed(from_node(request), NOW + 100)).lifetime == 200
    assert only_reply(proxy.feed(from_home_agent(reply_to(request, lifetime=200)), NOW + 100)).lifetime == 0
    assert proxy.bindings == (BINDING,)


def test_deregistration_of_the_one_care_of_address_is_one_at_the_home_agent(proxy: Proxy) -> None:
    bound(proxy)
    request = replace(REQUEST, lifetime=0, identification=at(NOW + 1))
    assert only_request(proxy.feed(from_node(request), NOW + 1)).lifetime == 0
    proxy.feed(from_home_agent(reply_to(request, lifetime=0)), NOW + 1)
    assert proxy.bindings == ()


def test_lifetime_0_from_the_home_agent_retires_every_binding_D_2_3_1_d(proxy: Proxy) -> None:
    bound(proxy)
    moved = replace(REQUEST, care_of_address=OTHER_CARE_OF, identification=at(NOW + 1))
    proxy.feed(from_node(moved, OTHER_CARE_OF), NOW + 1)
    actions = proxy.feed(from_home_agent(reply_to(moved, lifetime=0)), NOW + 1)
    assert actions[:2] == [ForgetBinding(BINDING.key), Unbind(BINDING.key)]
    assert proxy.bindings == ()


def test_binding_expires_in_silence_and_is_never_renewed_D_2_6_6_d_and_D_3_h_and_R5944_3_8_a(proxy: Proxy) -> None:
    bound(proxy)
    assert proxy.handle_timer(NOW + 299.9) == []
    assert proxy.handle_timer(NOW + 300) == [
        ForgetBinding(BINDING.key),
        Unbind(BINDING.key),
        Log(
            Level.INFO,
            "binding_expired",
            {"home_address": str(HOME), "care_of_address": str(CARE_OF), "home_agent": str(HOME_AGENT)},
        ),
    ]
    assert proxy.next_deadline() is None


def test_renewed_binding_does_not_expire_at_its_old_time(proxy: Proxy) -> None:
    bound(proxy)
    bound(proxy, replace(REQUEST, identification=at(NOW + 200)), NOW + 200)
    assert proxy.handle_timer(NOW + 300) == []
    assert proxy.next_deadline() == NOW + 500


# -- half bound ---------------------------------------------------------------------------------------------------


def test_half_bound_node_is_whole_with_its_first_keepalive_R3519_4_4(proxy: Proxy) -> None:
    asked = UdpTunnelRequest(through_foreign_agent=True).extension()
    request = replace(REQUEST, extensions=(PARAMETER, asked))
    proxy.feed(from_node(request, NAT), NOW)
    proxy.feed(from_home_agent(reply_to(request)), NOW)
    (half,) = proxy.bindings
    assert half.half_bound
    elsewhere = TunnelPortLearned(HOME, Endpoint(CARE_OF, 5), GATEWAY)
    assert proxy.feed(elsewhere, NOW) == [Count("port_of_no_half_bound_node")]
    whole = replace(half, source=Endpoint(NAT.address, 5), half_bound=False)
    learned = TunnelPortLearned(HOME, Endpoint(NAT.address, 5), GATEWAY)
    assert proxy.feed(learned, NOW) == [PersistBinding(whole), Bind(whole)]
    again = TunnelPortLearned(HOME, Endpoint(NAT.address, 6), GATEWAY)
    assert proxy.feed(again, NOW) == [Count("port_of_no_half_bound_node")]


# -- restart ------------------------------------------------------------------------------------------------------


def test_kill_and_restart_loses_no_binding_and_accepts_no_replay(proxy: Proxy) -> None:
    disk = Disk()
    disk.commit(proxy.feed(from_node(REQUEST), NOW))
    disk.commit(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW))
    restarted = Proxy(PROXY)
    assert restarted.restore(disk.records(), NOW + 1) == [Bind(BINDING)]
    assert restarted.bindings == (BINDING,)
    assert restarted.next_deadline() == NOW + 300
    assert codes(restarted.feed(from_node(REQUEST), NOW + 1)) == [133]
    assert restarted.snapshot() == disk.records() == proxy.snapshot()


def test_kill_between_request_and_reply_accepts_no_replay(proxy: Proxy) -> None:
    disk = Disk()
    disk.commit(proxy.feed(from_node(REQUEST), NOW)[:1])
    restarted = Proxy(PROXY)
    assert restarted.restore(disk.records(), NOW + 1) == []
    assert codes(restarted.feed(from_node(REQUEST), NOW + 1)) == [133]


def test_restart_binds_nothing_that_is_over_or_whose_node_is_gone(proxy: Proxy) -> None:
    over = [ForgetBinding(BINDING.key), Unbind(BINDING.key)]
    assert proxy.restore([PersistBinding(BINDING)], NOW + 300) == over
    assert Proxy(replace(PROXY, nodes=())).restore([PersistBinding(BINDING)], NOW) == over


def test_one_home_address_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.69: two nodes"):
        Proxy(replace(PROXY, nodes=PROXY.nodes * 2))


def test_event_of_another_party_is_none_of_ours_D_3_f(proxy: Proxy) -> None:
    assert proxy.feed(Detached("pub"), NOW) == []


def test_internal_prefixes_are_empty_unless_configured_AMB_21() -> None:
    proxy = Proxy(replace(PROXY, internal_prefixes=()))
    assert codes(proxy.feed(from_node(INSIDE, VISITED, "priv"), NOW)) == [129]
    assert IPv4Network("192.0.2.0/24") in PROXY.internal_prefixes
    assert BINDING.key == BindingKey(GATEWAY, HOME, CARE_OF)


@given(
    st.binary(max_size=80), st.sampled_from([b"", signed(REQUEST), signed(reply_to(REQUEST), PROXY_SA), b"\1", b"\3"])
)
def test_any_bytes_are_survived(tail: bytes, head: bytes) -> None:
    proxy = Proxy(PROXY)
    for received in (from_node(head + tail), from_home_agent(head + tail)):
        assert all(
            isinstance(action, Count | Log | PersistIdentification | Send) for action in proxy.feed(received, NOW)
        )
    assert proxy.bindings == ()
