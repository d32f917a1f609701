"""The checks that a request passes before any rule of an agent's own, their order, and what is said to strangers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations, count

import pytest

from mobileip.registration.actions import Action, Count, PersistIdentification, Send
from mobileip.registration.bindings import NodeKey
from mobileip.registration.events import Endpoint
from mobileip.registration.gate import Admitted, Gate, GatePolicy, GateSettings
from mobileip.registration.peers import Peer, Peers
from mobileip.registration.proxy import Proxy
from mobileip.registration.rate_limit import Allowance, ReplyAllowances
from mobileip.registration.replay import ReplayGuard, ReplayPolicy
from mobileip.wire.authentication import (
    CHAP_SPI,
    Algorithm,
    Authentication,
    ReplayStyle,
    SecurityAssociation,
    append,
    append_mn_aaa,
    verify,
)
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.identification import high, low
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, types_of
from mobileip.wire.typed_extensions import (
    HomeAgentParameter,
    MessageString,
    MessageStringOrigin,
    UdpTunnelRequest,
    VendorExtension,
)
from tests.unit.registration.parties import (
    CARE_OF,
    FOREIGN_AGENT,
    GATEWAY,
    HOME,
    HOME_AGENT,
    MIPP_PUB,
    NODE_SA,
    NOW,
    OTHER_CARE_OF,
    PARAMETER,
    PROXY,
    REQUEST,
    STRANGER_SA,
    at,
    codes,
    from_node,
    only_reply,
    only_request,
    sends,
    signed,
)

FA_SA = SecurityAssociation(5001, bytes(range(100, 116)))
OTHER_FA_SA = SecurityAssociation(5002, bytes(range(116, 132)))
AAA_SA = SecurityAssociation(6001, bytes(range(132, 148)), Algorithm.HMAC_SHA1)
CHAP_SA = SecurityAssociation(CHAP_SPI, b"secret of the subscriber")
CHALLENGE = Extension(ExtensionType.CHALLENGE, bytes(range(200, 216)))
FA_HA, MN_HA = ExtensionType.FA_HA_AUTHENTICATION, ExtensionType.MN_HA_AUTHENTICATION

WITH_FOREIGN_AGENT = GatePolicy(foreign_agents={FOREIGN_AGENT: {5001: FA_SA, 5002: OTHER_FA_SA}})
BARE = replace(REQUEST, extensions=())
"""A request without extensions: its registration is through a foreign agent or not as its source says."""
DEREGISTRATION = replace(BARE, lifetime=0)


def gate(policy: GatePolicy = WITH_FOREIGN_AGENT, association: SecurityAssociation = NODE_SA) -> Gate:
    """An agent at MIPP-Pub that knows one node."""
    peer = Peer(NodeKey(GATEWAY, HOME), {association.spi: association}, aaa={6001: AAA_SA, CHAP_SPI: CHAP_SA})
    understood = frozenset({32, 33, 34, 36, 38, PARAMETER.type})
    numbers = count(0xA000_0001)
    return Gate(
        GateSettings(MIPP_PUB, Peers([peer]), understood, policy), ReplayGuard(policy.replay, lambda: next(numbers))
    )


def refused(result: Admitted | list[Action]) -> list[Action]:
    """The actions about a request that was not admitted."""
    assert isinstance(result, list)
    return result


def counted(actions: list[Action]) -> list[str]:
    """What was counted."""
    return [action.reason for action in actions if isinstance(action, Count)]


def by_foreign_agent(message: RegistrationRequest | bytes, association: SecurityAssociation = FA_SA) -> bytes:
    """What a foreign agent that shares a key with us makes of a node's request."""
    return append(message if isinstance(message, bytes) else signed(message), association, FA_HA)


# -- the order (AMB-25) -------------------------------------------------------------------------------------------


THROUGH_FOREIGN_AGENT = replace(
    REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=FOREIGN_AGENT, extensions=(PARAMETER,)
)


@dataclass
class Attempt:
    """A request through a foreign agent, with which nothing is wrong until something is broken."""

    message: RegistrationRequest = THROUGH_FOREIGN_AGENT
    association: SecurityAssociation = NODE_SA
    aaa: SecurityAssociation = AAA_SA
    foreign: SecurityAssociation = FA_SA
    behind: tuple[Extension, ...] = ()
    interface: str = "pub"
    crowded: bool = False

    def payload(self) -> bytes:
        """The datagram: 32, 36, the foreign agent's own extensions, 34."""
        authentic = append_mn_aaa(signed(self.message, self.association), self.aaa)
        return by_foreign_agent(authentic + b"".join(each.serialize() for each in self.behind), self.foreign)

    def answer(self) -> str:
        """The code of the proxy's reply, or what it counts if it is silent."""
        (node,) = PROXY.nodes
        proxy = Proxy(
            replace(
                PROXY,
                nodes=(replace(node, aaa_association=AAA_SA),),
                checks=replace(WITH_FOREIGN_AGENT, strict_reserved_bits=True),
            )
        )
        if self.crowded:
            for number in range(5):
                moment = NOW - 6 + 1.125 * number
                earlier = Attempt(replace(THROUGH_FOREIGN_AGENT, identification=at(moment)))
                assert only_request(proxy.feed(from_node(earlier.payload(), FOREIGN_AGENT), moment))
        actions = proxy.feed(from_node(self.payload(), FOREIGN_AGENT, self.interface), NOW)
        if found := codes(actions):
            (code,) = found
            return str(code)
        return "relayed" if sends(actions) else counted(actions)[0]


def _unknown_extension(attempt: Attempt) -> None:
    attempt.behind += (Extension(99),)


def _unknown_node(attempt: Attempt) -> None:
    attempt.message = replace(attempt.message, home_address=IPv4Address("192.0.2.70"))


def _wrong_key(attempt: Attempt) -> None:
    attempt.association = STRANGER_SA


def _wrong_aaa_key(attempt: Attempt) -> None:
    attempt.aaa = replace(AAA_SA, key=b"?" * 16)


def _stale(attempt: Attempt) -> None:
    attempt.message = replace(attempt.message, identification=at(NOW - 60))


def _wrong_foreign_key(attempt: Attempt) -> None:
    attempt.foreign = replace(FA_SA, key=b"?" * 16)


def _reserved_bits(attempt: Attempt) -> None:
    attempt.message = replace(attempt.message, flags=attempt.message.flags | 0x05)


def _unknown_vendor(attempt: Attempt) -> None:
    vendor = VendorExtension(9, 1).critical()
    attempt.message = replace(attempt.message, extensions=(*attempt.message.extensions, vendor))


def _other_agent(attempt: Attempt) -> None:
    attempt.message = replace(attempt.message, home_agent=HOME_AGENT)


def _no_reverse_tunnel(attempt: Attempt) -> None:
    attempt.message = replace(attempt.message, flags=attempt.message.flags & ~Flag.REVERSE_TUNNEL)


def _contradictory_place(attempt: Attempt) -> None:
    attempt.interface = "priv"


def _no_home_agent(attempt: Attempt) -> None:
    anyone = HomeAgentParameter(IPv4Address(0)).extension()
    named = tuple(anyone if each == PARAMETER else each for each in attempt.message.extensions)
    attempt.message = replace(attempt.message, extensions=named)


def _unknown_tunnel(attempt: Attempt) -> None:
    attempt.behind += (UdpTunnelRequest(encapsulation=99).extension(),)


def _crowd(attempt: Attempt) -> None:
    attempt.crowded = True


CHECKS = (
    (_unknown_extension, "unknown_extension"),
    (_unknown_node, "unknown_node"),
    (_wrong_key, "131"),  # the foreign agent's authenticator is right, so it is told
    (_wrong_aaa_key, "144"),
    (_stale, "133"),
    (_wrong_foreign_key, "132"),
    (_reserved_bits, "134"),
    (_unknown_vendor, "140"),
    (_other_agent, "136"),
    (_no_reverse_tunnel, "138"),
    (_contradictory_place, "129"),
    (_no_home_agent, "201"),
    (_unknown_tunnel, "142"),
    (_crowd, "130"),
)
"""Each check with a way to fail it, in the order in which they speak."""


def test_attempt_is_right_until_it_is_broken_AMB_25() -> None:
    assert Attempt().answer() == "relayed"


@pytest.mark.parametrize(("break_it", "verdict"), CHECKS, ids=[verdict for _, verdict in CHECKS])
def test_each_check_speaks_AMB_25(break_it: object, verdict: str) -> None:
    attempt = Attempt()
    assert callable(break_it)
    break_it(attempt)
    assert attempt.answer() == verdict


@pytest.mark.parametrize(("first", "second"), list(combinations(range(len(CHECKS)), 2)))
def test_of_two_checks_that_fail_the_earlier_speaks_AMB_25_and_R5944_3_8_2_1_i(first: int, second: int) -> None:
    attempt = Attempt()
    for number in (second, first):
        CHECKS[number][0](attempt)
    silent = {_wrong_key, _wrong_foreign_key} == {CHECKS[first][0], CHECKS[second][0]}  # nobody vouches for it any more
    assert attempt.answer() == ("authentication_failed" if silent else CHECKS[first][1])


def test_nothing_is_used_up_before_the_request_is_authentic_and_new_R5944_3_8_2_1_b_and_AMB_6() -> None:
    for number, (break_it, _) in enumerate(CHECKS[:9]):
        attempt = Attempt()
        break_it(attempt)
        policy = replace(WITH_FOREIGN_AGENT, strict_reserved_bits=True)
        actions = refused(gate(policy).admit(from_node(attempt.payload(), FOREIGN_AGENT), NOW))
        durable = [action for action in actions if isinstance(action, PersistIdentification)]
        assert bool(durable) == (number > 4), break_it


# -- MN-HA and MN-AAA ---------------------------------------------------------------------------------------------


def test_request_without_authorization_enabling_extension_is_dropped_R5944_3_8_2_1_d_and_R5944_3_5_2_a() -> None:
    policy = replace(WITH_FOREIGN_AGENT, reply_on_failed_authentication=True)
    for payload in (BARE.serialize(), by_foreign_agent(BARE.serialize())):
        assert gate(policy).admit(from_node(payload, FOREIGN_AGENT), NOW) == [Count("authentication_missing")]


def test_node_without_an_association_is_dropped_R5944_3_8_2_1_c() -> None:
    policy = replace(WITH_FOREIGN_AGENT, reply_on_failed_authentication=True)
    unknown = replace(BARE, home_address=IPv4Address("192.0.2.70"))
    assert gate(policy).admit(from_node(unknown), NOW) == [Count("unknown_node")]
    payload = signed(BARE, replace(NODE_SA, spi=2999))
    assert gate(policy).admit(from_node(payload), NOW) == [Count("unknown_spi")]


@pytest.mark.parametrize("spi", [0, 1, 2, 3, 255])
def test_reserved_spi_authenticates_nothing_R5944_1_6_a(spi: int) -> None:
    """Even if an association with that SPI had slipped in."""
    reserved = replace(NODE_SA, spi=spi)
    payload = append(BARE.serialize(), reserved)
    assert gate(association=reserved).admit(from_node(payload), NOW) == [Count("reserved_spi")]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_gate_believes_and_answers_in_the_nodes_algorithm_R5944_5_1_c_and_R5944_5_1_d(algorithm: Algorithm) -> None:
    association = SecurityAssociation(0xFFFF_FFFF, b"\x00\xff" * 12, algorithm)
    agent = gate(association=association)
    admitted = agent.admit(from_node(signed(BARE, association)), NOW)
    assert isinstance(admitted, Admitted)
    reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=60).payload)
    extension = find(reply.extensions, MN_HA)
    assert extension is not None
    assert verify(reply.raw, Authentication.of(extension), association)


@pytest.mark.parametrize("association", [AAA_SA, CHAP_SA])
@pytest.mark.parametrize("challenge", [None, CHALLENGE, Extension(ExtensionType.CHALLENGE, bytes(range(255)))])
def test_mn_aaa_behind_mn_ha_or_alone_authorizes_R4721_5_a_and_R4721_8_a_and_R4721_5_d(
    association: SecurityAssociation, challenge: Extension | None
) -> None:
    between = b"" if challenge is None else challenge.serialize()
    value = b"\0" if challenge is None else challenge.data
    for authentic in (signed(BARE), BARE.serialize()):
        payload = append_mn_aaa(authentic + between, association, value)
        agent = gate()
        admitted = agent.admit(from_node(payload), NOW)
        assert isinstance(admitted, Admitted)
        assert admitted.request.association == NODE_SA
        reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=60).payload)
        assert ExtensionType.GENERALIZED_AUTHENTICATION not in types_of(reply.extensions)
        assert types_of(reply.extensions).count(MN_HA) == 1


def test_chap_authenticator_byte_by_byte_R4721_8_a() -> None:
    """Computed elsewhere: printf with the bytes below, openssl md5 twice."""
    import hashlib

    payload = append_mn_aaa(b"preceding", CHAP_SA, b"\x11" + b"\x22" * 240)
    assert payload[:17] == b"preceding" + bytes.fromhex("2401001400000002")
    inner = hashlib.md5(payload[:17]).digest()
    assert payload[17:] == hashlib.md5(b"\x11" + CHAP_SA.key + inner + b"\x22" * 237).digest()
    assert append_mn_aaa(b"preceding", CHAP_SA)[17:] == hashlib.md5(b"\0" + CHAP_SA.key + inner + b"\0").digest()


@pytest.mark.parametrize(
    ("association", "reason"),
    [
        (replace(AAA_SA, key=b"?" * 16), "authentication_failed"),
        (replace(CHAP_SA, key=b"?"), "authentication_failed"),
        (replace(AAA_SA, spi=6002), "unknown_spi"),
        (replace(AAA_SA, spi=255), "reserved_spi"),
    ],
)
def test_wrong_mn_aaa_behind_a_right_mn_ha_is_144_R4721_5_c(association: SecurityAssociation, reason: str) -> None:
    actions = refused(gate().admit(from_node(append_mn_aaa(signed(BARE), association)), NOW))
    reply = only_reply(actions)
    assert reply.code == Code.BAD_AAA_AUTHENTICATION
    assert MessageString(f"MN-AAA: {reason}").extension() in reply.extensions


def test_wrong_mn_aaa_alone_is_answered_like_a_wrong_mn_ha_R4721_5_c_and_AMB_26() -> None:
    payload = append_mn_aaa(BARE.serialize(), replace(AAA_SA, key=b"?" * 16))
    assert counted(refused(gate().admit(from_node(payload), NOW))) == ["authentication_failed"]
    told = gate(GatePolicy(reply_on_failed_authentication=True)).admit(from_node(payload), NOW)
    assert only_reply(refused(told)).code == Code.BAD_AAA_AUTHENTICATION


@pytest.mark.parametrize(
    "payload",
    [
        signed(replace(BARE, extensions=(Extension(36, bytes(20), 1),))),  # 36 in front of 32
        append(append_mn_aaa(BARE.serialize(), AAA_SA), NODE_SA),
        append_mn_aaa(append_mn_aaa(signed(BARE), AAA_SA), AAA_SA),
    ],
)
def test_mn_aaa_in_front_of_mn_ha_or_twice_is_134_R4721_5_d(payload: bytes) -> None:
    peers = Peers([Peer(NodeKey(GATEWAY, HOME), {2001: NODE_SA})])
    without_aaa = Gate(GateSettings(MIPP_PUB, peers, frozenset({32, 36})), ReplayGuard(ReplayPolicy()))
    assert codes(refused(without_aaa.admit(from_node(payload), NOW))) == [134]


def test_extension_36_between_other_parties_is_not_ours_to_judge_R4721_5_a() -> None:
    payload = signed(BARE) + Extension(36, bytes(20), 2).serialize()
    assert isinstance(gate().admit(from_node(payload), NOW), Admitted)


def test_challenge_comes_back_behind_the_authenticator_and_under_fa_ha_R4721_3_4_a_and_R5944_3_8_3_3_a() -> None:
    agent = gate()
    payload = by_foreign_agent(signed(BARE, behind=(CHALLENGE,)))
    admitted = agent.admit(from_node(payload, FOREIGN_AGENT), NOW)
    assert isinstance(admitted, Admitted)
    text = MessageString("for the node").extension()
    reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=60, extensions=[text]).payload)
    assert types_of(reply.extensions) == (145, 32, 132, 34)
    assert reply.extensions[2] == CHALLENGE


# -- FA-HA --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("association", [FA_SA, OTHER_FA_SA])
def test_fa_ha_association_is_found_by_source_and_spi_and_answers_R5944_3_5_4_d_and_R5944_3_5_4_a(
    association: SecurityAssociation,
) -> None:
    agent = gate()
    admitted = agent.admit(from_node(by_foreign_agent(BARE, association), FOREIGN_AGENT), NOW)
    assert isinstance(admitted, Admitted)
    reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=60).payload)
    (extension,) = (each for each in reply.extensions if each.type == FA_HA)
    assert verify(reply.raw, Authentication.of(extension), association)
    # The same bytes from elsewhere: no association was agreed on with that address.
    actions = refused(gate().admit(from_node(by_foreign_agent(BARE, association), OTHER_CARE_OF), NOW))
    assert counted(actions) == ["unexpected_fa_ha_authentication"]
    assert sends(actions) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (signed(BARE), "authentication_missing"),
        (by_foreign_agent(BARE, replace(FA_SA, key=b"?" * 16)), "authentication_failed"),
        (by_foreign_agent(BARE, replace(FA_SA, spi=5003)), "unknown_spi"),
        (by_foreign_agent(by_foreign_agent(BARE)), "authentication_repeated"),
    ],
)
def test_missing_wrong_or_second_fa_ha_is_132_R5944_3_8_2_1_g_and_R5944_3_5_4_a(payload: bytes, reason: str) -> None:
    actions = refused(gate().admit(from_node(payload, FOREIGN_AGENT), NOW))
    reply = only_reply(actions)
    assert reply.code == Code.FA_FAILED_AUTHENTICATION
    assert MessageString(f"FA-HA: {reason}").extension() in reply.extensions
    assert types_of(reply.extensions)[-2:] == (MN_HA, FA_HA)


def test_fa_ha_without_agreement_is_discarded_and_logged_R5944_3_8_2_1_h() -> None:
    actions = refused(gate(GatePolicy()).admit(from_node(by_foreign_agent(BARE), FOREIGN_AGENT), NOW))
    assert counted(actions) == ["unexpected_fa_ha_authentication"]
    assert sends(actions) == []


@pytest.mark.parametrize("message", [DEREGISTRATION, replace(DEREGISTRATION, care_of_address=HOME)])
def test_deregistration_needs_no_fa_ha_and_its_reply_has_none_R5944_3_5_4_b_and_R5944_3_5_4_c(
    message: RegistrationRequest,
) -> None:
    for payload in (signed(message), by_foreign_agent(message)):  # the second: an agent of RFC 3344
        agent = gate()
        admitted = agent.admit(from_node(payload, FOREIGN_AGENT), NOW)
        assert isinstance(admitted, Admitted)
        reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=0).payload)
        assert types_of(reply.extensions) == (MN_HA,)


# -- 131 ----------------------------------------------------------------------------------------------------------


def test_wrong_authenticator_behind_a_valid_fa_ha_is_131_for_the_agent_R5944_3_8_2_1_e_and_AMB_26() -> None:
    payload = by_foreign_agent(signed(BARE, STRANGER_SA))
    (_, _, send) = refused(gate().admit(from_node(payload, FOREIGN_AGENT), NOW))
    assert isinstance(send, Send)
    why = MessageString("the authenticator is wrong: compare keys and algorithms").extension()
    denial = RegistrationReply(Code.NODE_FAILED_AUTHENTICATION, 0, HOME, MIPP_PUB, at(NOW), (why,))
    assert send.payload == append(signed(denial, NODE_SA), FA_SA, FA_HA)


def test_131_is_signed_with_the_association_that_the_node_named_R5944_3_8_2_1_f() -> None:
    other = replace(NODE_SA, spi=2002, key=bytes(range(16, 32)), algorithm=Algorithm.HMAC_SHA256)
    peers = Peers([Peer(NodeKey(GATEWAY, HOME), {2001: NODE_SA, 2002: other})])
    policy = GatePolicy(reply_on_failed_authentication=True)
    agent = Gate(GateSettings(MIPP_PUB, peers, frozenset({32}), policy), ReplayGuard(ReplayPolicy()))
    (send,) = sends(refused(agent.admit(from_node(signed(BARE, replace(other, key=b"?" * 16))), NOW)))
    reply = parse_reply(send.payload)
    (extension,) = (each for each in reply.extensions if each.type == MN_HA)
    assert verify(reply.raw, Authentication.of(extension), other)


def test_no_131_where_an_fa_ha_was_agreed_on_and_is_not_right_R5944_3_8_2_1_f() -> None:
    policy = replace(WITH_FOREIGN_AGENT, reply_on_failed_authentication=True)
    forged = signed(BARE, STRANGER_SA)
    for payload in (forged, by_foreign_agent(forged, replace(FA_SA, key=b"?" * 16))):
        assert sends(refused(gate(policy).admit(from_node(payload, FOREIGN_AGENT), NOW))) == []
    assert codes(refused(gate(policy).admit(from_node(forged, CARE_OF), NOW))) == [131]


# -- nonces at the gate -------------------------------------------------------------------------------------------

NONCE_SA = replace(NODE_SA, replay=ReplayStyle.NONCE)


def test_every_reply_has_a_new_nonce_that_is_durable_first_R5944_5_7_2_a_and_R5944_5_7_2_b() -> None:
    agent = gate(association=NONCE_SA)
    first = refused(agent.admit(from_node(signed(BARE, NONCE_SA)), NOW))
    (durable, send) = first[:2]
    assert isinstance(durable, PersistIdentification)
    assert isinstance(send, Send)
    denial = parse_reply(send.payload)
    assert (denial.code, high(denial.identification)) == (133, high(durable.identification))
    assert low(denial.identification) == low(BARE.identification)
    second = replace(BARE, identification=high(denial.identification) << 32 | 9)
    admitted = agent.admit(from_node(signed(second, NONCE_SA)), NOW)
    assert isinstance(admitted, Admitted)
    reply = parse_reply(agent.answer(admitted.request, admitted.received, 0, lifetime=60).payload)
    (durable,) = admitted.actions
    assert isinstance(durable, PersistIdentification)
    assert reply.identification == high(durable.identification) << 32 | 9
    assert high(reply.identification) != high(denial.identification)


def test_copies_beyond_the_ration_draw_no_nonce_that_the_node_would_miss_R5944_5_7_2_b() -> None:
    agent = gate(association=NONCE_SA)
    stale = from_node(signed(BARE, NONCE_SA))
    last = None
    for _ in range(9):
        actions = refused(agent.admit(stale, NOW))
        if sends(actions):
            last = high(only_reply(actions).identification)
        else:
            assert actions == [Count("reply_rate_limited")]
    assert last is not None
    fresh = replace(BARE, identification=last << 32 | 9)
    assert isinstance(agent.admit(from_node(signed(fresh, NONCE_SA)), NOW), Admitted)


# -- the form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0x01, 0x04, 0x05])
def test_reserved_bits_are_ignored_unless_strictness_is_asked_for_R5944_3_8_2_3_a(bits: int) -> None:
    payload = signed(replace(BARE, flags=BARE.flags | bits))
    assert isinstance(gate(GatePolicy()).admit(from_node(payload), NOW), Admitted)
    assert codes(refused(gate(GatePolicy(strict_reserved_bits=True)).admit(from_node(payload), NOW))) == [134]


KNOWN = GatePolicy(vendors=frozenset({(9, 1)}))


def test_known_critical_vendor_extension_passes_R3115_2_1_a_and_AMB_10() -> None:
    vendor = VendorExtension(9, 1, b"value").critical()
    assert vendor.serialize() == bytes.fromhex("2600000b000000090001") + b"value"
    payload = signed(replace(BARE, extensions=(vendor,)))
    assert isinstance(gate(KNOWN).admit(from_node(payload), NOW), Admitted)


@pytest.mark.parametrize(
    "vendor",
    [
        VendorExtension(9, 2).critical(),
        VendorExtension(10, 1).critical(),
        Extension(38, b"\0\0\0\x09\0", 0),  # cut
        Extension(37, bytes(6), 0),  # its number of before
    ],
)
def test_unknown_critical_vendor_extension_is_140_or_141_by_its_place_R3115_2_3_a_and_AMB_10(
    vendor: Extension,
) -> None:
    agent = Gate(
        GateSettings(MIPP_PUB, Peers([Peer(NodeKey(GATEWAY, HOME), {2001: NODE_SA})]), frozenset({32, 37, 38}), KNOWN),
        ReplayGuard(ReplayPolicy()),
    )
    of_node = signed(replace(BARE, extensions=(vendor,)))
    assert codes(refused(agent.admit(from_node(of_node), NOW))) == [140]
    of_agent = signed(replace(BARE, identification=at(NOW + 1)), behind=(vendor,))
    assert codes(refused(agent.admit(from_node(of_agent), NOW))) == [141]


def test_unknown_normal_vendor_extension_is_passed_over_R3115_2_2_a_and_R3115_2_3_c() -> None:
    vendor = VendorExtension(10, 3, b"v").normal()
    assert vendor.serialize() == bytes.fromhex("860900000000000a0003") + b"v"
    assert VendorExtension.of(vendor) == VendorExtension(10, 3, b"v")
    assert isinstance(gate().admit(from_node(signed(replace(BARE, extensions=(vendor,)))), NOW), Admitted)


def test_every_denial_of_the_gate_says_why_R4917_3_a() -> None:
    for break_it, verdict in CHECKS[2:9]:
        attempt = Attempt()
        break_it(attempt)
        policy = replace(WITH_FOREIGN_AGENT, strict_reserved_bits=True)
        reply = only_reply(refused(gate(policy).admit(from_node(attempt.payload(), FOREIGN_AGENT), NOW)))
        text = find(reply.extensions, ExtensionType.MESSAGE_STRING)
        assert text is not None, verdict
        assert MessageString.of(text).origin is MessageStringOrigin.HOME_AGENT
        assert MessageString.of(text).text


# -- rations ------------------------------------------------------------------------------------------------------


def crowd() -> Iterator[Peer]:
    """Twenty nodes."""
    for number in range(20):
        yield Peer(NodeKey(GATEWAY, IPv4Address(int(HOME) + number)), {2001: NODE_SA})


def told(policy: GatePolicy, source: IPv4Address, *, forged: bool = False, now: float = NOW) -> int:
    """How many of twenty nodes behind `source` get a reply to a stale, or forged, request."""
    agent = Gate(GateSettings(MIPP_PUB, Peers(crowd()), frozenset({32}), policy), ReplayGuard(ReplayPolicy()))
    replies = 0
    for peer in crowd():
        assert isinstance(peer.key.name, IPv4Address)
        stale = replace(BARE, home_address=peer.key.name, identification=at(NOW - 60))
        payload = signed(stale, STRANGER_SA if forged else NODE_SA)
        replies += len(sends(refused(agent.admit(from_node(payload, Endpoint(source, 40000)), now))))
    return replies


@pytest.mark.parametrize("forged", [False, True])
def test_replies_that_anybody_can_provoke_are_rationed_by_source_with_more_for_known_ones_AMB_26(
    forged: bool,
) -> None:
    known = {IPv4Network("198.51.100.0/24"): Allowance(10, 12), IPv4Network("198.51.100.40/32"): Allowance(1000, 1000)}
    policy = GatePolicy(reply_on_failed_authentication=True, allowances=ReplyAllowances(known=known))
    nat, neighbour, stranger = (IPv4Address(text) for text in ("198.51.100.40", "198.51.100.41", "203.0.113.99"))
    assert [told(policy, source, forged=forged) for source in (nat, neighbour, stranger)] == [20, 12, 5]


def test_one_node_behind_a_known_source_gets_no_more_than_any_other_AMB_26() -> None:
    allowances = ReplyAllowances(known={IPv4Network("198.51.100.0/24"): Allowance(1000, 1000)})
    agent = gate(GatePolicy(allowances=allowances))
    stale = from_node(replace(BARE, identification=at(NOW - 60)))
    assert sum(len(sends(refused(agent.admit(stale, NOW)))) for _ in range(20)) == 5
    assert sum(len(sends(refused(agent.admit(stale, NOW + 2)))) for _ in range(20)) == 2


def test_only_requests_use_up_a_ration_AMB_26() -> None:
    proxy = Proxy(PROXY)
    others = (b"", b"\x03" + bytes(40), b"\x04\x04\0\0" + bytes(40), b"\x07" + bytes(40), b"\x0f" + bytes(11), b"\xff")
    for payload in others * 20:
        assert sends(proxy.feed(from_node(payload), NOW)) == []
    stale = from_node(replace(REQUEST, identification=at(NOW - 60)))
    assert [len(sends(proxy.feed(stale, NOW))) for _ in range(6)] == [1, 1, 1, 1, 1, 0]
