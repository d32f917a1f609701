"""What a foreign agent demands of who visits it: challenges, keys, names; and what it adds to what it passes on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest

from mobileip.registration.actions import Action, Advertise, BindVisitor, Count, Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import DatagramReceived, Endpoint, SolicitationReceived, UnreachableReceived
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings, KnownNode
from mobileip.wire.agent_discovery import AgentAdvertisement, AgentFlags, parse_advertisement
from mobileip.wire.authentication import (
    CHAP_SPI,
    Algorithm,
    Authentication,
    SecurityAssociation,
    append,
    append_mn_aaa,
    compute,
    verify,
)
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import (
    Flag,
    RegistrationReply,
    RegistrationRequest,
    parse_reply,
    parse_request,
    types_of,
)
from mobileip.wire.typed_extensions import (
    FaError,
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    MessageString,
    UdpTunnelRequest,
)
from mobileip.wire.unreachable import Unreachable, udp_checksum

HOME, OTHER_HOME = IPv4Address("192.0.2.69"), IPv4Address("192.0.2.70")
HOME_AGENT, OTHER_HOME_AGENT = IPv4Address("192.0.2.40"), IPv4Address("192.0.2.41")
CARE_OF, LINK = IPv4Address("198.51.100.100"), IPv4Address("198.51.100.129")
NOBODY, EVERYBODY = IPv4Address(0), IPv4Address("255.255.255.255")
NODE_HOME = SecurityAssociation(2001, bytes(range(16)))
NODE_FOREIGN = SecurityAssociation(5001, b"node and agent..", Algorithm.HMAC_SHA256)
FOREIGN_HOME = SecurityAssociation(6001, b"agent and agent.", Algorithm.MD5_PREFIX_SUFFIX)
AAA = SecurityAssociation(7001, b"node and its AAA")
WRONG = SecurityAssociation(5001, b"somebody elses..", Algorithm.HMAC_SHA256)
NOW = 1_700_000_000.0
IDENTIFICATION = 0xE8754E0012345678
NAI = Extension(ExtensionType.NAI, b"alice@example.org")

SETTINGS = ForeignAgentSettings("uplink", CARE_OF, "link", LINK)
CHALLENGING = replace(SETTINGS, challenge=ChallengeMode.REQUIRED, challenge_size=4)
SHARING = replace(SETTINGS, nodes=(KnownNode(HOME, foreign={5001: NODE_FOREIGN}),))
TRUSTED = replace(CHALLENGING, nodes=(KnownNode(HOME, foreign={5001: NODE_FOREIGN}),))
SIGNING = replace(SETTINGS, home_agents={HOME_AGENT: {6001: FOREIGN_HOME}})
REQUEST = RegistrationRequest(Flag.REVERSE_TUNNEL, 300, HOME, HOME_AGENT, CARE_OF, IDENTIFICATION)
REPLY = RegistrationReply(Code.ACCEPTED, 200, HOME, HOME_AGENT, IDENTIFICATION)


def agent_with(settings: ForeignAgentSettings) -> ForeignAgent:
    """An agent that has advertised itself once; its challenges are 1, 2, 3, ..."""
    numbers = count(1)
    agent = ForeignAgent(settings, lambda size: next(numbers).to_bytes(size))
    agent.handle_timer(NOW - 0.5)
    return agent


def challenge(number: int) -> Extension:
    return Extension(ExtensionType.CHALLENGE, number.to_bytes(4))


def signed(message: RegistrationRequest | RegistrationReply, *behind: Extension) -> bytes:
    return append(message.serialize(), NODE_HOME) + b"".join(extension.serialize() for extension in behind)


def for_agent(payload: bytes, association: SecurityAssociation = NODE_FOREIGN) -> bytes:
    return append(payload, association, ExtensionType.MN_FA_AUTHENTICATION)


def with_aaa(payload: bytes, association: SecurityAssociation = AAA) -> bytes:
    """`payload` and an MN-AAA authentication extension (RFC 4721 5) over it."""
    covered = payload + b"\x24\x01" + (20).to_bytes(2) + association.spi.to_bytes(4)
    return covered + compute(association, covered)


def asked(payload: bytes, source: IPv4Address = HOME) -> DatagramReceived:
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(LINK, 434), "link", 255)


def answered(payload: bytes, source: IPv4Address = HOME_AGENT) -> DatagramReceived:
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(CARE_OF, 434), "uplink", 60)


def sent(actions: list[Action]) -> Send:
    (send,) = (action for action in actions if isinstance(action, Send))
    return send


def verdict(actions: list[Action]) -> int:
    """The code that the node is told."""
    send = sent(actions)
    assert send.interface == "link"
    return parse_reply(send.payload).code


def heard(action: Action) -> AgentAdvertisement:
    assert isinstance(action, Advertise)
    advertisement = parse_advertisement(action.payload)
    assert advertisement is not None
    return advertisement


# Challenges


def test_each_advertisement_has_a_new_challenge_and_the_agents_name_R4721_2_a_and_D_5_7_2_a() -> None:
    agent = agent_with(replace(CHALLENGING, nai="fa@example.org"))
    (first,) = agent.handle_timer(NOW + 1)
    (second,) = agent.handle_timer(NOW + 2)
    assert [heard(each).challenge for each in (first, second)] == [b"\0\0\0\2", b"\0\0\0\3"]
    assert heard(first).nai == b"fa@example.org"


def test_agent_without_challenges_advertises_none() -> None:
    (advertisement,) = agent_with(SETTINGS).handle_timer(NOW + 1)
    assert (heard(advertisement).challenge, heard(advertisement).nai) == (None, None)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (for_agent(signed(REQUEST)), Code.MISSING_CHALLENGE),
        (for_agent(signed(REQUEST, challenge(99))), Code.UNKNOWN_CHALLENGE),
        (signed(REQUEST, challenge(1)), Code.FA_NODE_FAILED_AUTHENTICATION),
        (for_agent(signed(REQUEST, challenge(1)), WRONG), Code.FA_NODE_FAILED_AUTHENTICATION),
        (for_agent(signed(REQUEST, challenge(1))) + challenge(1).serialize(), None),
    ],
    ids=["105", "104", "67 unsigned", "67 wrong", "right"],
)
def test_challenge_must_be_there_known_and_answered_R4721_3_2_a_and_R5944_3_5_3_a(
    payload: bytes, code: Code | None
) -> None:
    actions = agent_with(TRUSTED).feed(asked(payload), NOW)
    if code is None:
        assert sent(actions).payload == signed(REQUEST)
        return
    assert verdict(actions) == code
    assert actions[0] == Count(f"denied_{code.name.lower()}")


def test_used_challenge_is_stale_R4721_3_2_a() -> None:
    agent = agent_with(TRUSTED)
    agent.feed(asked(for_agent(signed(REQUEST, challenge(1)))), NOW)
    later = replace(REQUEST, identification=IDENTIFICATION + 1)
    assert verdict(agent.feed(asked(for_agent(signed(later, challenge(1)))), NOW)) == Code.STALE_CHALLENGE


def test_request_that_is_repeated_while_it_waits_may_repeat_its_challenge_R4721_3_2_a() -> None:
    agent = agent_with(TRUSTED)
    request = asked(for_agent(signed(REQUEST, challenge(1))))
    assert agent.feed(request, NOW) == agent.feed(request, NOW + 1)
    assert len(agent.pending()) == 1
    longer = replace(REQUEST, lifetime=301)  # not the same request
    assert verdict(agent.feed(asked(for_agent(signed(longer, challenge(1)))), NOW + 2)) == Code.STALE_CHALLENGE
    agent.handle_timer(NOW + 9)
    assert verdict(agent.feed(request, NOW + 11)) == Code.STALE_CHALLENGE


def test_wrong_signature_uses_up_no_challenge_of_the_nodes() -> None:
    agent = agent_with(TRUSTED)
    agent.feed(asked(for_agent(signed(REQUEST, challenge(1)), WRONG)), NOW)
    assert sent(agent.feed(asked(for_agent(signed(REQUEST, challenge(1)))), NOW)).destination.address == HOME_AGENT


def test_each_reply_brings_the_next_challenge_before_its_signature_R4721_3_2_a() -> None:
    agent = agent_with(TRUSTED)
    denied = parse_reply(sent(agent.feed(asked(for_agent(signed(REQUEST))), NOW)).payload)
    assert types_of(denied.extensions) == (145, 132, 33)
    agent.feed(asked(for_agent(signed(REQUEST, denied.extensions[1]))), NOW)
    theirs = challenge(77)  # the home agent's own echo stays here
    actions = agent.feed(answered(signed(REPLY, theirs)), NOW)
    passed = parse_reply(sent(actions).payload)
    assert types_of(passed.extensions) == (32, 132, 33)
    assert passed.extensions[1].data == (3).to_bytes(4)
    again = replace(REQUEST, identification=IDENTIFICATION + 1)
    assert sent(agent.feed(asked(for_agent(signed(again, passed.extensions[1]))), NOW)).payload == signed(again)


def test_solicitation_answered_alone_brings_a_challenge_for_who_asked_R4721_3_2_a() -> None:
    agent = agent_with(TRUSTED)
    (advertisement,) = agent.feed(SolicitationReceived(HOME, "link"), NOW)
    alone = Extension(ExtensionType.CHALLENGE, heard(advertisement).challenge or b"")
    for seconds in range(1, 6):  # the window moves on, the offer stands
        agent.handle_timer(NOW + seconds)
    assert sent(agent.feed(asked(for_agent(signed(REQUEST, alone))), NOW + 6)).destination.address == HOME_AGENT


def test_challenge_that_is_only_offered_need_not_be_answered() -> None:
    offering = replace(CHALLENGING, challenge=ChallengeMode.OFFERED)
    assert sent(agent_with(offering).feed(asked(signed(REQUEST)), NOW)).payload == signed(REQUEST)
    wrong = for_agent(signed(REQUEST, challenge(99)))
    with_keys = replace(offering, nodes=TRUSTED.nodes)
    assert verdict(agent_with(with_keys).feed(asked(wrong), NOW)) == Code.UNKNOWN_CHALLENGE


def test_challenge_under_the_home_agents_authentication_must_come_back_109_R4636_3_a() -> None:
    """MN-AAA covers the challenge, so it goes to the home agent, which must return it (RFC 4721 3.2)."""
    agent = agent_with(CHALLENGING)
    payload = with_aaa(signed(REQUEST, challenge(1)))
    assert sent(agent.feed(asked(payload), NOW)).payload == payload
    passed = parse_reply(sent(agent.feed(answered(signed(REPLY, challenge(9))), NOW)).payload)
    assert (passed.code, types_of(passed.extensions)) == (0, (32, 45, 145, 132))
    assert FaError.of(passed.extensions[1]).status == Code.HOME_AGENT_WRONG_CHALLENGE
    assert agent.visitors() == ()


def test_challenge_that_came_back_binds() -> None:
    agent = agent_with(CHALLENGING)
    agent.feed(asked(with_aaa(signed(REQUEST, challenge(1)))), NOW)
    actions = agent.feed(answered(signed(REPLY, challenge(1))), NOW)
    assert isinstance(actions[0], BindVisitor)


# MN-FA, MN-AAA, FA-HA


@pytest.mark.parametrize(
    "payload",
    [signed(REQUEST), for_agent(signed(REQUEST), WRONG), for_agent(for_agent(signed(REQUEST)))],
    ids=["missing", "wrong", "two"],
)
def test_node_with_a_key_must_use_it_once_67_R5944_3_5_3_a(payload: bytes) -> None:
    actions = agent_with(SHARING).feed(asked(payload), NOW)
    assert verdict(actions) == Code.FA_NODE_FAILED_AUTHENTICATION
    denial = parse_reply(sent(actions).payload)
    assert types_of(denial.extensions) == (145, 33)
    assert verify(denial.raw, Authentication.of(denial.extensions[1]), NODE_FOREIGN)


def test_signature_for_the_agent_stays_with_it_and_replies_are_signed_R5944_3_5_3_a_and_R5944_3_7_2_2_b() -> None:
    agent = agent_with(SHARING)
    assert sent(agent.feed(asked(for_agent(signed(REQUEST))), NOW)).payload == signed(REQUEST)
    passed = sent(agent.feed(answered(signed(REPLY)), NOW)).payload
    assert passed == for_agent(signed(REPLY))


def test_node_is_known_by_its_nai() -> None:
    agent = agent_with(replace(SETTINGS, nodes=(KnownNode(nai="alice@example.org", foreign={5001: NODE_FOREIGN}),)))
    assert verdict(agent.feed(asked(signed(replace(REQUEST, extensions=(NAI,)))), NOW)) == 67
    assert sent(agent.feed(asked(signed(REQUEST)), NOW)).destination.address == HOME_AGENT


@pytest.mark.parametrize(("association", "is_right"), [(AAA, True), (replace(AAA, key=b"x" * 16), False)])
def test_agent_that_has_the_aaa_key_checks_it_108(association: SecurityAssociation, is_right: bool) -> None:
    agent = agent_with(replace(CHALLENGING, nodes=(KnownNode(HOME, aaa={7001: AAA}),)))
    actions = agent.feed(asked(with_aaa(signed(REQUEST, challenge(1)), association)), NOW)
    if is_right:
        assert sent(actions).destination.address == HOME_AGENT
    else:
        assert verdict(actions) == Code.FA_BAD_AAA_AUTHENTICATION


@pytest.mark.parametrize("answered_challenge", [1, 2])
def test_agent_checks_chap_over_the_challenge_that_came_with_it_R4721_8_a(answered_challenge: int) -> None:
    chap = SecurityAssociation(CHAP_SPI, b"node and its AAA")
    agent = agent_with(replace(CHALLENGING, nodes=(KnownNode(HOME, aaa={CHAP_SPI: chap}),)))
    payload = append_mn_aaa(signed(REQUEST, challenge(1)), chap, challenge(answered_challenge).data)
    actions = agent.feed(asked(payload), NOW)
    if answered_challenge == 1:
        assert sent(actions).payload == payload
    else:
        assert verdict(actions) == Code.FA_BAD_AAA_AUTHENTICATION


def test_request_is_signed_for_the_home_agent_and_its_reply_stays_bare_R5944_3_5_4_a() -> None:
    agent = agent_with(SIGNING)
    payload = append(signed(REQUEST), FOREIGN_HOME, ExtensionType.FA_HA_AUTHENTICATION)
    assert sent(agent.feed(asked(signed(REQUEST)), NOW)).payload == payload
    reply = append(signed(REPLY), FOREIGN_HOME, ExtensionType.FA_HA_AUTHENTICATION)
    actions = agent.feed(answered(reply), NOW)
    assert isinstance(actions[0], BindVisitor)
    assert sent(actions).payload == signed(REPLY)


def test_deregistration_carries_no_foreign_home_extension_and_its_reply_needs_none_R5944_3_5_4_b() -> None:
    agent = agent_with(SIGNING)
    farewell = replace(REQUEST, lifetime=0)
    assert sent(agent.feed(asked(signed(farewell)), NOW)).payload == signed(farewell)
    reply = signed(replace(REPLY, lifetime=0))
    assert sent(agent.feed(answered(reply), NOW)).payload == reply


@pytest.mark.parametrize(
    "behind",
    [b"", append(b"", FOREIGN_HOME, ExtensionType.FA_HA_AUTHENTICATION)],
    ids=["missing", "wrong"],
)
def test_home_agent_that_does_not_prove_itself_68_beside_its_reply_R4636_3_a_and_R5944_3_5_4_a(behind: bytes) -> None:
    agent = agent_with(SIGNING)
    agent.feed(asked(signed(REQUEST)), NOW)
    actions = agent.feed(answered(signed(REPLY) + behind), NOW)
    assert actions[0] == Count("denied_fa_home_agent_failed_authentication")
    passed = parse_reply(sent(actions).payload)
    assert passed.raw.startswith(signed(REPLY))  # its code as it was, and still authentic
    assert types_of(passed.extensions) == (32, 45, 145)
    assert FaError.of(passed.extensions[1]).status == Code.FA_HOME_AGENT_FAILED_AUTHENTICATION
    assert agent.visitors() == ()
    assert agent.pending() == ()


def test_agent_without_fa_error_answers_in_its_own_name() -> None:
    agent = agent_with(replace(SIGNING, fa_error=False))
    agent.feed(asked(signed(REQUEST)), NOW)
    assert verdict(agent.feed(answered(signed(REPLY)), NOW)) == Code.FA_HOME_AGENT_FAILED_AUTHENTICATION


def test_udp_tunnel_request_stands_between_the_nodes_signature_and_the_agents_R3519_4_5_a() -> None:
    agent = agent_with(replace(SIGNING, udp_tunnelling=True))
    relayed = parse_request(sent(agent.feed(asked(signed(REQUEST)), NOW)).payload)
    assert types_of(relayed.extensions) == (32, 144, 34)
    assert relayed.raw.startswith(signed(REQUEST) + UdpTunnelRequest().extension().serialize())
    assert verify(relayed.raw, Authentication.of(relayed.extensions[2]), FOREIGN_HOME)


# Names and addresses


def test_node_without_a_home_address_is_served_by_its_nai_R2794_3_f() -> None:
    agent = agent_with(SETTINGS)
    names = [Extension(ExtensionType.NAI, name) for name in (b"alice@example.org", b"bob@example.org")]
    for name in names:
        agent.feed(asked(signed(replace(REQUEST, home_address=NOBODY, extensions=(name,))), NOBODY), NOW)
    assert len(agent.pending()) == 2
    for name, home in zip(names, (HOME, OTHER_HOME), strict=True):
        reply = signed(replace(REPLY, home_address=home, extensions=(name,)))
        actions = agent.feed(answered(reply), NOW)
        assert sent(actions).payload == reply
        assert sent(actions).destination == Endpoint(EVERYBODY, 434)  # it has no address to hear us at
        assert isinstance(actions[0], BindVisitor)
        assert actions[0].visitor.home_address == home
        assert actions[0].visitor.nai == name.data.decode()


@pytest.mark.parametrize(
    ("settings", "extensions"), [(SETTINGS, ()), (replace(SETTINGS, zero_home_address=False), (NAI,))]
)
def test_home_address_zero_without_nai_or_where_it_is_not_served_96(
    settings: ForeignAgentSettings, extensions: tuple[Extension, ...]
) -> None:
    nobody = signed(replace(REQUEST, home_address=NOBODY, extensions=extensions))
    assert verdict(agent_with(settings).feed(asked(nobody, NOBODY), NOW)) == Code.NONZERO_HOME_ADDRESS_REQUIRED


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (REPLY, Code.FA_MISSING_NAI),
        (replace(REPLY, extensions=(NAI,), home_agent=NOBODY), Code.FA_MISSING_HOME_AGENT),
        (replace(REPLY, extensions=(NAI,), home_address=NOBODY), Code.FA_MISSING_HOME_ADDRESS),
        (replace(REPLY, extensions=(NAI,), home_address=LINK), None),
    ],
    ids=["97 R2794-3-c", "98 R2794-3-d", "99 R2794-3-e", "71"],
)
def test_reply_to_an_nai_must_be_complete_R2794_3_c_and_R2794_3_d_and_R2794_3_e(
    reply: RegistrationReply, code: Code | None
) -> None:
    agent = agent_with(SETTINGS)
    agent.feed(asked(signed(replace(REQUEST, home_address=NOBODY, extensions=(NAI,))), NOBODY), NOW)
    told = parse_reply(sent(agent.feed(answered(signed(reply)), NOW)).payload)
    if code is None:
        error = find(told.extensions, ExtensionType.FA_ERROR)
        assert error is not None
        assert FaError.of(error).status == Code.FA_POORLY_FORMED_REPLY
    else:
        assert told.code == code
    assert agent.visitors() == ()


def test_reply_with_another_nai_answers_nothing_R2794_3_f() -> None:
    agent = agent_with(SETTINGS)
    agent.feed(asked(signed(replace(REQUEST, home_address=NOBODY, extensions=(NAI,))), NOBODY), NOW)
    other = Extension(ExtensionType.NAI, b"bob@example.org")
    assert agent.feed(answered(signed(replace(REPLY, extensions=(other,)))), NOW) == [Count("reply_without_request")]


def test_equal_home_addresses_are_told_apart_by_home_agent_and_nai() -> None:
    """Two at different home agents, and two at one with an NAI each (RFC 5944 appendix F)."""
    agent = agent_with(replace(SETTINGS, overlapping_home_addresses=True))
    bob = Extension(ExtensionType.NAI, b"bob@example.org")
    visits = [(HOME_AGENT, ()), (OTHER_HOME_AGENT, ()), (HOME_AGENT, (NAI,)), (HOME_AGENT, (bob,))]
    for number, (home_agent, names) in enumerate(visits):
        request = replace(REQUEST, home_agent=home_agent, identification=number, extensions=names)
        agent.feed(asked(signed(request)), NOW)
    for number, (home_agent, names) in enumerate(visits):
        reply = replace(REPLY, home_agent=home_agent, identification=number, extensions=names)
        assert isinstance(agent.feed(answered(signed(reply), home_agent), NOW)[0], BindVisitor)
    assert [(each.home_agent, each.nai) for each in agent.visitors()] == [
        (HOME_AGENT, None),
        (OTHER_HOME_AGENT, None),
        (HOME_AGENT, "alice@example.org"),
        (HOME_AGENT, "bob@example.org"),
    ]


def test_visitors_home_address_is_nobody_elses_where_packets_could_not_be_told_apart() -> None:
    agent = agent_with(SETTINGS)
    rival = replace(REQUEST, home_agent=OTHER_HOME_AGENT, identification=2)
    agent.feed(asked(signed(REQUEST)), NOW)
    agent.feed(asked(signed(rival)), NOW)  # both wait
    agent.feed(answered(signed(REPLY)), NOW)
    late = signed(replace(REPLY, home_agent=OTHER_HOME_AGENT, identification=2))
    told = parse_reply(sent(agent.feed(answered(late, OTHER_HOME_AGENT), NOW)).payload)
    assert FaError.of(told.extensions[1]).status == Code.FA_ADMINISTRATIVELY_PROHIBITED
    assert [each.home_agent for each in agent.visitors()] == [HOME_AGENT]
    assert verdict(agent.feed(asked(signed(replace(rival, identification=3))), NOW)) == 65


def test_only_home_agents_that_are_allowed_65() -> None:
    agent = agent_with(replace(SETTINGS, allowed_home_agents=frozenset({HOME_AGENT})))
    assert sent(agent.feed(asked(signed(REQUEST)), NOW)).destination.address == HOME_AGENT
    assert verdict(agent.feed(asked(signed(replace(REQUEST, home_agent=OTHER_HOME_AGENT))), NOW)) == 65


# Vendors' extensions, and agents of old


VENDOR = Extension(ExtensionType.CRITICAL_VENDOR, bytes.fromhex("0000271000017261"), 0)


def test_critical_vendor_extension_gets_100_or_101_unless_it_is_known_R3115_2_3_b() -> None:
    agent = agent_with(SETTINGS)
    assert verdict(agent.feed(asked(signed(replace(REQUEST, extensions=(VENDOR,)))), NOW)) == 100
    agent.feed(asked(signed(REQUEST)), NOW)
    assert verdict(agent.feed(answered(signed(replace(REPLY, extensions=(VENDOR,)))), NOW + 1)) == 101
    knowing = agent_with(replace(SETTINGS, vendor_extensions=frozenset({(10000, 1)})))
    payload = signed(replace(REQUEST, extensions=(VENDOR,)))
    assert sent(knowing.feed(asked(payload), NOW)).payload == payload


def test_normal_vendor_extension_passes_R3115_2_3_c() -> None:
    normal = Extension(ExtensionType.NORMAL_VENDOR, bytes.fromhex("000000002710000172"))
    payload = signed(replace(REQUEST, extensions=(normal,)))
    assert sent(agent_with(SETTINGS).feed(asked(payload), NOW)).payload == payload


SKIPPABLE = HomeAgentParameterFormat(255, 0, HomeAgentParameterEncoding.SKIPPABLE)


@pytest.mark.parametrize("is_legacy", [True, False])
def test_legacy_agent_discards_the_drafts_extension_and_passes_the_skippable_one_AMB_5(is_legacy: bool) -> None:
    agent = agent_with(replace(SETTINGS, legacy=is_legacy))
    short = signed(replace(REQUEST, extensions=(HomeAgentParameter(HOME_AGENT).extension(),)))
    skippable = signed(replace(REQUEST, extensions=(HomeAgentParameter(HOME_AGENT, SKIPPABLE).extension(),)))
    if is_legacy:
        assert agent.feed(asked(short), NOW) == [Count("unknown_extension")]  # R5944-1.8-a: silently
    else:
        assert sent(agent.feed(asked(short), NOW)).payload == short
    assert sent(agent.feed(asked(skippable), NOW)).payload == skippable


# A node with an address of its own (R bit)


CO_LOCATED = IPv4Address("198.51.100.140")
OWN_ADDRESS = replace(REQUEST, flags=Flag.REVERSE_TUNNEL | Flag.DECAPSULATES, care_of_address=CO_LOCATED)


def test_agent_that_demands_registration_serves_nodes_with_their_own_address() -> None:
    agent = agent_with(replace(SETTINGS, registration_required=True, udp_tunnelling=True))
    (advertisement,) = agent.handle_timer(NOW + 1)
    assert heard(advertisement).flags & AgentFlags.REGISTRATION_REQUIRED
    plea = UdpTunnelRequest(through_foreign_agent=True).extension()
    payload = signed(replace(OWN_ADDRESS, extensions=(plea,)))
    assert sent(agent.feed(asked(payload, CO_LOCATED), NOW)).payload == payload  # no plea of ours: it would be code 134
    actions = agent.feed(answered(signed(REPLY)), NOW)
    assert isinstance(actions[0], BindVisitor)
    assert actions[0].visitor.co_located
    assert sent(actions).destination == Endpoint(CO_LOCATED, 434)


@pytest.mark.parametrize(
    ("settings", "request_", "source", "code"),
    [
        (SETTINGS, OWN_ADDRESS, CO_LOCATED, 77),
        (replace(SETTINGS, registration_required=True), OWN_ADDRESS, OTHER_HOME, 77),
        (SETTINGS, replace(REQUEST, flags=Flag.DECAPSULATES), HOME, 70),
    ],
    ids=["not demanded", "from elsewhere", "D with the agent's address"],
)
def test_own_address_is_served_only_where_demanded_and_from_there(
    settings: ForeignAgentSettings, request_: RegistrationRequest, source: IPv4Address, code: int
) -> None:
    assert verdict(agent_with(settings).feed(asked(signed(request_), source), NOW)) == code


# Encapsulations


@pytest.mark.parametrize(
    ("flags", "granted"),
    [(0, Encapsulation.IPIP), (0x10, Encapsulation.MINIMAL), (0x08, Encapsulation.GRE), (0x18, Encapsulation.GRE)],
)
def test_encapsulation_is_the_one_of_the_bits_where_it_is_available_R5944_4_1_b(
    flags: int, granted: Encapsulation
) -> None:
    agent = agent_with(replace(SETTINGS, encapsulations=frozenset(Encapsulation)))
    agent.feed(asked(signed(replace(REQUEST, flags=flags))), NOW)
    action = agent.feed(answered(signed(REPLY)), NOW)[0]
    assert isinstance(action, BindVisitor)
    assert action.visitor.encapsulation is granted
    (advertisement,) = agent.handle_timer(NOW + 1)
    assert heard(advertisement).flags & (AgentFlags.GRE | AgentFlags.MINIMAL_ENCAPSULATION) == 0x0C00


# ICMP about what was relayed


def unreachable(relayed: Send, code: int, quoted: int = 64) -> UnreachableReceived:
    check = udp_checksum(*relayed.source, *relayed.destination, payload=relayed.payload)
    length = 8 + len(relayed.payload)
    error = Unreachable(code, *relayed.source, *relayed.destination, length, check, relayed.payload[:quoted])
    return UnreachableReceived(error, HOME_AGENT, "uplink")


@pytest.mark.parametrize(("icmp", "code"), [(0, 80), (1, 81), (3, 82), (2, 88), (13, 88)])
@pytest.mark.parametrize("quoted", [0, 64])
def test_unreachable_home_agent_is_told_by_its_code_R5944_3_7_3_a(icmp: int, code: int, quoted: int) -> None:
    agent = agent_with(SETTINGS)
    relayed = sent(agent.feed(asked(signed(REQUEST)), NOW))
    actions = agent.feed(unreachable(relayed, icmp, quoted), NOW + 0.1)
    assert verdict(actions) == code
    assert f"ICMP 3/{icmp}" in MessageString.of(parse_reply(sent(actions).payload).extensions[0]).text
    assert isinstance(agent.feed(answered(signed(REPLY)), NOW + 1)[0], BindVisitor)  # it was no more than a rumour


def test_node_that_was_told_hears_of_no_timeout_as_well() -> None:
    agent = agent_with(SETTINGS)
    relayed = sent(agent.feed(asked(signed(REQUEST)), NOW))
    agent.feed(unreachable(relayed, 1), NOW + 0.1)
    assert agent.feed(unreachable(relayed, 1), NOW + 2) == [Count("unreachable_without_request")]
    assert [each for each in agent.handle_timer(NOW + 7) if isinstance(each, Send)] == []


@pytest.mark.parametrize("field", ["destination", "source", "length", "checksum", "payload"])
def test_unreachable_that_quotes_no_request_of_ours_is_dropped_R5944_3_7_3_a(field: str) -> None:
    agent = agent_with(SETTINGS)
    event = unreachable(sent(agent.feed(asked(signed(REQUEST)), NOW)), 1, 0)
    wrong: dict[str, Any] = {
        "destination": OTHER_HOME_AGENT,
        "source": LINK,
        "length": 99,
        "checksum": event.error.checksum ^ 1,
        "payload": signed(replace(REQUEST, lifetime=301)),
    }
    false = replace(event, error=replace(event.error, **{field: wrong[field]}))
    assert agent.feed(false, NOW) == [Count("unreachable_without_request")]


def test_code_76_goes_out_once_a_second_to_all_together_R3024_4_2_1_b() -> None:
    agent = agent_with(SETTINGS)

    def from_afar(home: IPv4Address, now: float) -> list[Action]:
        event = replace(asked(signed(replace(REQUEST, home_address=home)), home), ttl=254)
        return agent.feed(event, now)

    assert verdict(from_afar(HOME, NOW)) == Code.FA_NODE_TOO_DISTANT
    assert from_afar(OTHER_HOME, NOW + 0.9)[-1] == Count("denial_withheld")
    assert verdict(from_afar(OTHER_HOME, NOW + 1)) == Code.FA_NODE_TOO_DISTANT
