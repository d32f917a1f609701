"""The foreign agent's rules, one a test (RFC 5944 3.7, RFC 3024 4.2, RFC 3519 4.5)."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Action, Advertise, BindVisitor, Count, Level, Log, Send, UnbindVisitor
from mobileip.registration.bindings import Encapsulation, Visitor
from mobileip.registration.events import Attached, DatagramReceived, Endpoint, SolicitationReceived
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ForeignAgentSettings
from mobileip.wire.agent_discovery import (
    ALL_SYSTEMS,
    AgentAdvertisement,
    AgentFlags,
    RouterAddress,
    parse_advertisement,
)
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import (
    ENCAPSULATING_DELIVERY,
    FaError,
    HomeAgentParameter,
    MessageString,
    MessageStringOrigin,
    UdpTunnelReply,
    UdpTunnelRequest,
)

HOME = IPv4Address("192.0.2.69")
HOME_AGENT = IPv4Address("192.0.2.40")
MIPP_PUB = IPv4Address("203.0.113.10")
CARE_OF = IPv4Address("198.51.100.100")
LINK = IPv4Address("198.51.100.129")
NODE = Endpoint(HOME, 434)
AGENT = Endpoint(LINK, 434)
UPLINK = Endpoint(CARE_OF, 434)
PROXY = Endpoint(MIPP_PUB, 434)
ASSOCIATION = SecurityAssociation(2001, bytes(range(16)))
IDENTIFICATION = 0xE8754E0012345678
NOW = 1_700_000_000.0

SETTINGS = ForeignAgentSettings("uplink", CARE_OF, "link", LINK)
REQUEST = RegistrationRequest(
    Flag.REVERSE_TUNNEL, 300, HOME, MIPP_PUB, CARE_OF, IDENTIFICATION, (HomeAgentParameter(HOME_AGENT).extension(),)
)
REPLY = RegistrationReply(
    Code.ACCEPTED, 200, HOME, MIPP_PUB, IDENTIFICATION, (HomeAgentParameter(HOME_AGENT).extension(),)
)
VISITOR = Visitor(
    home_address=HOME,
    home_agent=MIPP_PUB,
    care_of_address=CARE_OF,
    node=NODE,
    interface="link",
    encapsulation=Encapsulation.IPIP,
    reverse_tunnel=True,
    encapsulating_delivery=False,
    identification=IDENTIFICATION,
    granted=200,
    expires=NOW + 0.1 + 200,
)


def signed(message: RegistrationRequest | RegistrationReply) -> bytes:
    return append(message.serialize(), ASSOCIATION)


def asked(payload: bytes, ttl: int | None = 255, source: Endpoint = NODE) -> DatagramReceived:
    return DatagramReceived(payload, source, AGENT, "link", ttl)


def answered(payload: bytes, source: Endpoint = PROXY) -> DatagramReceived:
    return DatagramReceived(payload, source, UPLINK, "uplink", 60)


def relayed(payload: bytes) -> Send:
    return Send(payload, source=UPLINK, destination=PROXY)


def to_node(payload: bytes) -> Send:
    return Send(payload, source=AGENT, destination=NODE, interface="link")


def denial(code: Code, request: RegistrationRequest = REQUEST, lifetime: int = 300) -> Send:
    reply = RegistrationReply(code, lifetime, request.home_address, request.home_agent, request.identification)
    return to_node(reply.serialize())


def bare(actions: list[Action]) -> list[Action]:
    """The actions with the agent's own denials reduced to their fixed part; each must have said why (RFC 4917)."""
    reduced: list[Action] = []
    for action in actions:
        if isinstance(action, Send) and action.interface == "link":
            reply = parse_reply(action.payload)
            if find(reply.extensions, ExtensionType.MN_HA_AUTHENTICATION) is None:
                (reason,) = reply.extensions
                assert MessageString.of(reason).origin is MessageStringOrigin.FOREIGN_AGENT
                assert MessageString.of(reason).text
                action = replace(action, payload=replace(reply, extensions=()).serialize())
        reduced.append(action)
    return reduced


@pytest.fixture
def agent() -> ForeignAgent:
    agent = ForeignAgent(SETTINGS)
    agent.handle_timer(NOW - 0.5)  # its first advertisement
    return agent


def bound(agent: ForeignAgent) -> ForeignAgent:
    agent.feed(asked(signed(REQUEST)), NOW)
    agent.feed(answered(signed(REPLY)), NOW + 0.1)
    return agent


def test_request_is_relayed_from_the_care_of_address_untouched_R5944_3_7_2_2_a_and_R5944_3_7_2_2_c(
    agent: ForeignAgent,
) -> None:
    assert agent.feed(asked(signed(REQUEST)), NOW) == [relayed(signed(REQUEST))]


def test_what_stands_behind_the_authentication_stays_here_R5944_3_7_2_2_b(agent: ForeignAgent) -> None:
    payload = signed(REQUEST) + Extension(ExtensionType.CHALLENGE, b"1234").serialize() + b"\0\0"
    assert agent.feed(asked(payload), NOW) == [relayed(signed(REQUEST))]


def test_accepted_reply_binds_before_the_node_hears_of_it(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    assert agent.feed(answered(signed(REPLY)), NOW + 0.1) == [BindVisitor(VISITOR), to_node(signed(REPLY))]
    assert agent.visitors() == (VISITOR,)
    assert agent.pending() == ()


def test_lifetime_is_the_shorter_of_granted_and_asked_from_relaying_on_R5944_3_7_3_2_a(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    generous = signed(replace(REPLY, lifetime=1800))
    expected = replace(VISITOR, granted=300, expires=NOW + 0.1 + 300)
    assert agent.feed(answered(generous), NOW + 0.1) == [BindVisitor(expected), to_node(generous)]


def test_infinite_lifetime_never_ends() -> None:
    agent = ForeignAgent(replace(SETTINGS, registration_lifetime=0xFFFF))
    agent.feed(asked(signed(replace(REQUEST, lifetime=0xFFFF))), NOW)
    agent.feed(answered(signed(replace(REPLY, lifetime=0xFFFF))), NOW)
    assert agent.visitors()[0].expires == math.inf


def test_denial_of_the_home_agent_leaves_the_visitor_alone_RFC_5944_3_7_2(agent: ForeignAgent) -> None:
    bound(agent)
    later = replace(REQUEST, identification=IDENTIFICATION + (1 << 32) + 1)
    agent.feed(asked(signed(later)), NOW + 10)
    denied = signed(replace(REPLY, code=Code.IDENTIFICATION_MISMATCH, identification=later.identification))
    assert agent.feed(answered(denied), NOW + 10.1) == [to_node(denied)]
    assert agent.visitors() == (VISITOR,)


def test_deregistration_through_the_agent_ends_the_visit(agent: ForeignAgent) -> None:
    bound(agent)
    farewell = replace(REQUEST, lifetime=0, identification=IDENTIFICATION + 1)
    agent.feed(asked(signed(farewell)), NOW + 10)
    reply = signed(replace(REPLY, lifetime=0, identification=farewell.identification))
    assert agent.feed(answered(reply), NOW + 10.1) == [UnbindVisitor(HOME, MIPP_PUB), to_node(reply)]
    assert agent.visitors() == ()


def test_visitor_goes_when_its_lifetime_is_over_R5944_3_7_3_2_a() -> None:
    agent = bound(ForeignAgent(replace(SETTINGS, advertisement_interval=1000)))
    agent.handle_timer(NOW + 0.1)  # the advertisement
    assert agent.next_deadline() == VISITOR.expires
    assert agent.handle_timer(VISITOR.expires) == [
        UnbindVisitor(HOME, MIPP_PUB),
        Log(Level.INFO, "visitor_expired", {"home_address": "192.0.2.69"}),
    ]
    assert agent.visitors() == ()


@pytest.mark.parametrize(
    "reply",
    [
        answered(signed(replace(REPLY, identification=IDENTIFICATION + 1))),
        answered(signed(replace(REPLY, home_address=IPv4Address("192.0.2.70")))),
        answered(signed(REPLY), source=Endpoint(IPv4Address("198.51.100.1"), 434)),
    ],
    ids=["identification", "home address", "sender"],
)
def test_reply_that_matches_no_request_is_dropped_R5944_3_7_3_1_a(agent: ForeignAgent, reply: DatagramReceived) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    assert agent.feed(reply, NOW + 0.1) == [Count("reply_without_request")]
    assert len(agent.pending()) == 1


def test_high_half_of_the_identification_may_differ_RFC_5944_5_7(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    resynchronise = signed(replace(REPLY, code=133, identification=(0xAAAA << 32) | (IDENTIFICATION & 0xFFFFFFFF)))
    assert agent.feed(answered(resynchronise), NOW + 0.1) == [to_node(resynchronise)]


def test_second_reply_to_one_request_is_dropped(agent: ForeignAgent) -> None:
    bound(agent)
    assert agent.feed(answered(signed(REPLY)), NOW + 0.2) == [Count("reply_without_request")]


def test_reply_without_authentication_becomes_code_71(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    assert bare(agent.feed(answered(REPLY.serialize()), NOW + 0.1)) == [
        Count("denied_fa_poorly_formed_reply"),
        denial(Code.FA_POORLY_FORMED_REPLY),
    ]
    assert agent.visitors() == ()


def test_reply_goes_to_the_port_and_from_the_address_of_the_request_R5944_3_7_3_2_a(agent: ForeignAgent) -> None:
    to_all_agents = Endpoint(IPv4Address("224.0.0.11"), 434)
    agent.feed(DatagramReceived(signed(REQUEST), Endpoint(HOME, 5000), to_all_agents, "link", 255), NOW)
    sent = agent.feed(answered(signed(REPLY)), NOW + 0.1)[-1]
    assert sent == Send(signed(REPLY), source=AGENT, destination=Endpoint(HOME, 5000), interface="link")


def test_pending_request_times_out_with_code_78_R5944_3_7_1_b(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    agent.handle_timer(NOW + 6.9)
    assert agent.next_deadline() == NOW + 7
    assert bare(agent.handle_timer(NOW + 7)) == [Count("request_timed_out"), denial(Code.FA_REGISTRATION_TIMEOUT)]
    assert agent.pending() == ()
    assert agent.feed(answered(signed(REPLY)), NOW + 7.1) == [Count("reply_without_request")]


def test_sixth_pending_request_of_a_node_gets_code_66_R5944_3_7_1_a(agent: ForeignAgent) -> None:
    for offset in range(5):
        agent.feed(asked(signed(replace(REQUEST, identification=IDENTIFICATION + offset))), NOW)
    sixth = replace(REQUEST, identification=IDENTIFICATION + 5)
    assert bare(agent.feed(asked(signed(sixth)), NOW)) == [
        Count("denied_fa_insufficient_resources"),
        denial(Code.FA_INSUFFICIENT_RESOURCES, sixth),
    ]
    other = replace(sixth, home_address=IPv4Address("192.0.2.70"))
    assert agent.feed(asked(signed(other)), NOW) == [relayed(signed(other))]


def test_repeated_request_takes_no_second_place(agent: ForeignAgent) -> None:
    for _ in range(9):
        assert agent.feed(asked(signed(REQUEST)), NOW) == [relayed(signed(REQUEST))]
    assert len(agent.pending()) == 1


def test_agent_without_room_says_so_and_advertises_it_is_busy() -> None:
    agent = bound(ForeignAgent(replace(SETTINGS, most_visitors=1)))
    newcomer = replace(REQUEST, home_address=IPv4Address("192.0.2.70"))
    refused = agent.feed(asked(signed(newcomer), source=Endpoint(newcomer.home_address, 434)), NOW + 1)
    assert refused[0] == Count("denied_fa_insufficient_resources")
    renewal = replace(REQUEST, identification=IDENTIFICATION + 1)
    assert agent.feed(asked(signed(renewal)), NOW + 1) == [relayed(signed(renewal))]
    assert advertised(agent.handle_timer(NOW + 2)).flags & AgentFlags.BUSY


@pytest.mark.parametrize(
    ("settings", "request_", "ttl", "code", "lifetime"),
    [
        (SETTINGS, REQUEST, 254, Code.FA_NODE_TOO_DISTANT, 300),
        (SETTINGS, REQUEST, None, Code.FA_NODE_TOO_DISTANT, 300),
        (replace(SETTINGS, reverse_tunnelling=False), REQUEST, 255, Code.FA_REVERSE_TUNNEL_UNAVAILABLE, 300),
        (
            replace(SETTINGS, reverse_tunnel_required=True),
            replace(REQUEST, flags=0),
            64,
            Code.FA_REVERSE_TUNNEL_MANDATORY,
            300,
        ),
        (SETTINGS, replace(REQUEST, lifetime=1801), 255, Code.FA_LIFETIME_TOO_LONG, 1800),
        (SETTINGS, replace(REQUEST, flags=0x12), 255, Code.FA_ENCAPSULATION_UNAVAILABLE, 300),
        (SETTINGS, replace(REQUEST, flags=0x0A), 255, Code.FA_ENCAPSULATION_UNAVAILABLE, 300),
        (
            SETTINGS,
            replace(REQUEST, care_of_address=IPv4Address("198.51.100.10")),
            255,
            Code.FA_INVALID_CARE_OF_ADDRESS,
            300,
        ),
        (SETTINGS, replace(REQUEST, home_agent=LINK), 255, Code.FA_INVALID_HOME_AGENT, 300),
        (SETTINGS, replace(REQUEST, home_agent=IPv4Address(0)), 255, Code.FA_INVALID_HOME_AGENT, 300),
        (
            SETTINGS,
            replace(REQUEST, home_agent=IPv4Address("255.255.255.255")),
            255,
            Code.FA_INVALID_HOME_AGENT,
            300,
        ),
        (SETTINGS, replace(REQUEST, home_address=LINK), 255, Code.FA_POORLY_FORMED_REQUEST, 300),
        (SETTINGS, replace(REQUEST, home_address=IPv4Address("127.0.0.1")), 255, Code.FA_POORLY_FORMED_REQUEST, 300),
    ],
    ids=[
        "76",
        "76 unknown",
        "74",
        "75",
        "69",
        "72 M",
        "72 G",
        "77",
        "194 own",
        "194 zero",
        "194 all",
        "70 own address",
        "70 loopback",
    ],
)
def test_denial_has_the_code_of_its_rule_R3024_4_2_1_a_and_R3024_4_2_1_d_and_R5944_3_7_2_c(
    settings: ForeignAgentSettings, request_: RegistrationRequest, ttl: int | None, code: Code, lifetime: int
) -> None:
    agent = ForeignAgent(settings)
    assert bare(agent.feed(asked(signed(request_), ttl), NOW)) == [
        Count(f"denied_{code.name.lower()}"),
        denial(code, request_, lifetime),
    ]
    assert agent.pending() == ()


@pytest.mark.parametrize("home_agent", ["198.51.100.129", "0.0.0.0", "255.255.255.255", "224.0.0.11", "127.0.0.1"])
def test_home_agent_that_can_be_none_gets_code_194_R5944_3_7_2_b(agent: ForeignAgent, home_agent: str) -> None:
    wrong = replace(REQUEST, home_agent=IPv4Address(home_agent))
    assert bare(agent.feed(asked(signed(wrong)), NOW))[-1] == denial(Code.FA_INVALID_HOME_AGENT, wrong)


def test_inability_to_reverse_tunnel_has_a_code_of_its_own_R3024_3_4_a() -> None:
    agent = ForeignAgent(replace(SETTINGS, reverse_tunnelling=False))
    assert bare(agent.feed(asked(signed(REQUEST)), NOW))[-1] == denial(Code.FA_REVERSE_TUNNEL_UNAVAILABLE)


def test_denial_copies_the_fields_of_the_request_and_says_why_R5944_3_7_2_3_a_and_R4917_3_b(
    agent: ForeignAgent,
) -> None:
    too_far = agent.feed(asked(signed(REQUEST), ttl=254), NOW)[-1]
    assert isinstance(too_far, Send)
    fixed = bytes((3, Code.FA_NODE_TOO_DISTANT)) + signed(REQUEST)[2:12] + signed(REQUEST)[16:24]
    assert too_far.payload[:20] == fixed
    assert too_far.payload[20:] == bytes((145, 40, 2)) + b"TTL of the request is 254, expected 255"


def test_request_without_T_may_come_from_afar(agent: ForeignAgent) -> None:
    plain = signed(replace(REQUEST, flags=0))
    assert agent.feed(asked(plain, ttl=3), NOW) == [relayed(plain)]


def test_unauthenticated_request_is_poorly_formed(agent: ForeignAgent) -> None:
    assert bare(agent.feed(asked(REQUEST.serialize()), NOW)) == [
        Count("denied_fa_poorly_formed_request"),
        denial(Code.FA_POORLY_FORMED_REQUEST),
    ]


def test_extension_that_runs_past_the_end_is_poorly_formed(agent: ForeignAgent) -> None:
    assert bare(agent.feed(asked(signed(REQUEST) + bytes.fromhex("84ff00")), NOW)) == [
        Count("denied_fa_poorly_formed_request"),
        denial(Code.FA_POORLY_FORMED_REQUEST),
    ]


def test_encapsulating_delivery_is_consumed_here_R3024_3_3_b(agent: ForeignAgent) -> None:
    assert agent.feed(asked(signed(REQUEST) + ENCAPSULATING_DELIVERY.serialize()), NOW) == [relayed(signed(REQUEST))]
    by_tunnel = replace(VISITOR, encapsulating_delivery=True)
    assert agent.feed(answered(signed(REPLY)), NOW + 0.1) == [BindVisitor(by_tunnel), to_node(signed(REPLY))]


def test_delivery_style_that_is_switched_off_gets_code_79_R3024_4_2_1_c() -> None:
    agent = ForeignAgent(replace(SETTINGS, encapsulating_delivery=False))
    assert bare(agent.feed(asked(signed(REQUEST) + ENCAPSULATING_DELIVERY.serialize()), NOW)) == [
        Count("denied_fa_delivery_style_unsupported"),
        denial(Code.FA_DELIVERY_STYLE_UNSUPPORTED),
    ]


@pytest.mark.parametrize(
    "payload",
    [
        signed(replace(REQUEST, flags=0)) + ENCAPSULATING_DELIVERY.serialize(),
        signed(replace(REQUEST, extensions=(ENCAPSULATING_DELIVERY,))),
        signed(REQUEST) + bytes.fromhex("820100"),
    ],
    ids=["without T", "before MN-HA", "with a body"],
)
def test_misplaced_delivery_style_is_poorly_formed_R3024_3_3_a(agent: ForeignAgent, payload: bytes) -> None:
    assert agent.feed(asked(payload), NOW)[0] == Count("denied_fa_poorly_formed_request")


def test_home_address_zero_is_answered_to_everyone_on_the_link(agent: ForeignAgent) -> None:
    nobody = replace(REQUEST, home_address=IPv4Address(0))
    answer = RegistrationReply(96, 300, nobody.home_address, MIPP_PUB, IDENTIFICATION).serialize()
    assert bare(agent.feed(asked(signed(nobody), source=Endpoint(IPv4Address(0), 434)), NOW)) == [
        Count("denied_nonzero_home_address_required"),
        Send(answer, source=AGENT, destination=Endpoint(IPv4Address("255.255.255.255"), 434), interface="link"),
    ]


def test_one_denial_a_second_to_one_node_R5944_3_7_2_a(agent: ForeignAgent) -> None:
    bad = signed(replace(REQUEST, lifetime=1801))
    counted = Count("denied_fa_lifetime_too_long")
    assert len(agent.feed(asked(bad), NOW)) == 2
    assert agent.feed(asked(bad), NOW + 0.9) == [counted, Count("denial_withheld")]
    assert len(agent.feed(asked(bad), NOW + 1)) == 2


@pytest.mark.parametrize("kind", [99, 40, 127])
def test_unknown_extension_below_128_is_silence_R5944_1_8_a(agent: ForeignAgent, kind: int) -> None:
    subtype = 0 if kind != 99 else None
    unknown = Extension(kind, b"12345678", subtype)
    assert agent.feed(asked(signed(replace(REQUEST, extensions=(unknown,)))), NOW) == [Count("unknown_extension")]
    agent.feed(asked(signed(REQUEST)), NOW)
    assert agent.feed(answered(signed(replace(REPLY, extensions=(unknown,)))), NOW) == [Count("unknown_extension")]


def test_unknown_extension_from_128_on_is_carried_along_R5944_1_8_b(agent: ForeignAgent) -> None:
    payload = signed(replace(REQUEST, extensions=(Extension(199, b"x"),)))
    assert agent.feed(asked(payload), NOW) == [relayed(payload)]


def test_authentication_meant_for_an_agent_with_keys_is_dropped_RFC_5944_3_7_2_1(agent: ForeignAgent) -> None:
    for_us = append(signed(REQUEST), ASSOCIATION, ExtensionType.MN_FA_AUTHENTICATION)
    assert agent.feed(asked(for_us), NOW) == [
        Count("unshared_authentication"),
        Log(Level.WARNING, "unshared_authentication", {"source": "192.0.2.69:434"}),
    ]
    agent.feed(asked(signed(REQUEST)), NOW)
    for_us = append(signed(REPLY), ASSOCIATION, ExtensionType.FA_HA_AUTHENTICATION)
    assert agent.feed(answered(for_us), NOW) == [Count("unshared_authentication")]  # and no second log entry


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (asked(b""), "unexpected_message"),
        (asked(signed(REQUEST)[:20]), "malformed_request"),
        (answered(signed(REPLY)[:12]), "malformed_reply"),
        (asked(signed(REPLY)), "unexpected_message"),
        (answered(signed(REQUEST)), "unexpected_message"),
        (asked(bytes.fromhex("04040000")), "unexpected_message"),
    ],
)
def test_what_makes_no_sense_is_counted(agent: ForeignAgent, event: DatagramReceived, reason: str) -> None:
    assert agent.feed(event, NOW) == [Count(reason)]


def test_cut_request_is_never_relayed_whole_or_raises(agent: ForeignAgent) -> None:
    payload = signed(REQUEST)
    for length in range(len(payload)):
        for action in agent.feed(asked(payload[:length]), NOW + length):
            assert not (isinstance(action, Send) and action.destination == PROXY)


def test_oversized_datagram_is_dropped_unread_and_what_waits_keeps_no_bytes_of_strangers(agent: ForeignAgent) -> None:
    padding = bytes(4096 - len(signed(REQUEST)))
    assert agent.feed(asked(signed(REQUEST) + padding + b"\0"), NOW) == [Count("oversized")]
    assert agent.feed(asked(signed(REQUEST) + padding), NOW) == [relayed(signed(REQUEST))]
    assert [(entry.request.raw, entry.request.extensions) for entry in agent.pending()] == [(b"", ())]


def test_foreign_agent_error_of_another_party_is_unknown_here(agent: ForeignAgent) -> None:
    agent.feed(asked(signed(REQUEST)), NOW)
    assert bare(agent.feed(answered(signed(REPLY) + FaError(68).extension().serialize()), NOW)) == [
        Count("unknown_extension")
    ]


def test_event_of_another_party_is_refused_aloud(agent: ForeignAgent) -> None:
    with pytest.raises(TypeError, match="Attached"):
        agent.feed(Attached("eth0", None, 0, None), NOW)


# Behind a NAT (RFC 3519 4.5): the agent asks for the tunnel itself, behind the node's authentication.


BEHIND_NAT = replace(SETTINGS, udp_tunnelling=True)
PLEA = UdpTunnelRequest().extension().serialize()


def granted_udp(keepalive_seconds: int) -> bytes:
    return signed(REPLY) + UdpTunnelReply(0, False, keepalive_seconds).extension().serialize()


def test_agent_behind_a_nat_asks_for_a_udp_tunnel_R3519_4_5_a() -> None:
    agent = ForeignAgent(BEHIND_NAT)
    assert agent.feed(asked(signed(REQUEST)), NOW) == [relayed(signed(REQUEST) + PLEA)]


@pytest.mark.parametrize(("said", "interval"), [(0, 110), (3, 10), (25, 25)])
def test_granted_udp_tunnel_binds_so_and_stays_here(said: int, interval: int) -> None:
    agent = ForeignAgent(BEHIND_NAT)
    agent.feed(asked(signed(REQUEST)), NOW)
    by_udp = replace(VISITOR, encapsulation=Encapsulation.UDP, keepalive=interval)
    assert agent.feed(answered(granted_udp(said)), NOW + 0.1) == [BindVisitor(by_udp), to_node(signed(REPLY))]


def test_declined_udp_tunnel_binds_by_ipip() -> None:
    agent = ForeignAgent(BEHIND_NAT)
    agent.feed(asked(signed(REQUEST)), NOW)
    declined = signed(REPLY) + UdpTunnelReply(64).extension().serialize()
    assert agent.feed(answered(declined), NOW + 0.1) == [BindVisitor(VISITOR), to_node(signed(REPLY))]


def test_keepalives_go_out_for_the_visitor_until_it_leaves_RFC_3519_4_9() -> None:
    agent = ForeignAgent(replace(BEHIND_NAT, advertisement_interval=1000))
    agent.handle_timer(NOW)
    agent.feed(asked(signed(REQUEST)), NOW)
    agent.feed(answered(granted_udp(25)), NOW)
    assert agent.next_deadline() == NOW + 25
    assert agent.handle_timer(NOW + 25) == [relayed(keepalive(HOME, MIPP_PUB, 0, 1))]
    assert agent.handle_timer(NOW + 50) == [relayed(keepalive(HOME, MIPP_PUB, 0, 2))]
    assert agent.handle_timer(NOW + 200)[0] == UnbindVisitor(HOME, MIPP_PUB)
    assert agent.next_deadline() == NOW + 1000


# Advertisements


ADVERTISEMENT = AgentAdvertisement(
    sequence=0,
    registration_lifetime=1800,
    flags=AgentFlags.FOREIGN_AGENT | AgentFlags.REVERSE_TUNNELLING,
    care_of_addresses=(CARE_OF,),
    lifetime=3,
    router_addresses=(RouterAddress(LINK),),
)


def advertised(actions: list[Action]) -> AgentAdvertisement:
    (action,) = actions
    assert isinstance(action, Advertise)
    advertisement = parse_advertisement(action.payload)
    assert advertisement is not None
    return advertisement


def test_first_advertisement_is_due_at_once_then_one_an_interval_R5944_2_1_1_a() -> None:
    agent = ForeignAgent(SETTINGS)
    deadline = agent.next_deadline()
    assert deadline is not None
    assert deadline <= NOW
    assert agent.handle_timer(NOW) == [Advertise("link", LINK, ALL_SYSTEMS, ADVERTISEMENT.serialize())]
    assert agent.next_deadline() == NOW + 1
    assert agent.handle_timer(NOW + 0.5) == []
    assert advertised(agent.handle_timer(NOW + 1)) == replace(ADVERTISEMENT, sequence=1)


def test_solicitation_is_answered_at_once_RFC_5944_2_3() -> None:
    agent = ForeignAgent(replace(SETTINGS, advertisement_interval=10))
    agent.handle_timer(NOW)
    assert bare(agent.feed(SolicitationReceived(HOME, "link"), NOW + 5)) == [
        Advertise("link", LINK, ALL_SYSTEMS, replace(ADVERTISEMENT, sequence=1).serialize())
    ]
    assert agent.next_deadline() == NOW + 15


def test_everyone_hears_at_most_one_a_second_the_one_who_asks_is_answered_alone_RFC_5944_2_3(
    agent: ForeignAgent,
) -> None:
    assert bare(agent.feed(SolicitationReceived(HOME, "link"), NOW)) == [
        Advertise("link", LINK, HOME, replace(ADVERTISEMENT, sequence=1).serialize())
    ]
    assert agent.feed(SolicitationReceived(IPv4Address(0), "link"), NOW) == []
    assert agent.next_deadline() == NOW + 0.5


def test_solicitation_from_elsewhere_is_none_of_ours(agent: ForeignAgent) -> None:
    assert agent.feed(SolicitationReceived(HOME, "uplink"), NOW) == [Count("solicitation_elsewhere")]


def test_agent_without_reverse_tunnelling_does_not_advertise_it() -> None:
    agent = ForeignAgent(replace(SETTINGS, reverse_tunnelling=False))
    assert advertised(agent.handle_timer(NOW)).flags == AgentFlags.FOREIGN_AGENT


def test_agent_with_udp_tunnelling_advertises_it_RFC_3519() -> None:
    assert advertised(ForeignAgent(BEHIND_NAT).handle_timer(NOW)).flags & AgentFlags.UDP_TUNNELLING


# Hostile input


def test_random_datagrams_raise_nothing_and_leave_nothing_pending(agent: ForeignAgent) -> None:
    source = random.Random(3024)
    for step in range(3000):
        payload = bytearray(signed(REQUEST if step % 2 else REPLY) + source.randbytes(source.randrange(8)))
        for _ in range(source.randrange(1, 5)):
            payload[source.randrange(len(payload))] = source.randrange(256)
        event = asked(bytes(payload)) if step % 2 else answered(bytes(payload))
        agent.feed(event, NOW + step * 0.001)
    assert len(agent.pending()) <= SETTINGS.most_pending
    agent.handle_timer(NOW + 20)
    assert agent.pending() == ()
