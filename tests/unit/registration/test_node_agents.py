"""Foreign agents that are trusted, that demand registration, that challenge (draft 5.7.2, RFC 3519, RFC 4721)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import (
    Action,
    Count,
    EstablishSecurityAssociation,
    Log,
    NodePath,
    ParkSecurityAssociation,
    PathMode,
    Send,
    SetPath,
)
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Endpoint,
    TunnelProbeAnswered,
)
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.registration.node_requests import Through
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import Flag, RegistrationRequest, parse_request
from mobileip.wire.typed_extensions import UdpTunnelReply, UdpTunnelRequest
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AGENT_CARE_OF,
    AT_AGENT,
    AT_HOME,
    BLOCKED,
    BLOCKED_AT_AGENT,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SA,
    MIPP_PUB,
    NOW,
    PARAMETER,
    PROXY_SA,
    SETTINGS,
    SOLICITATION,
    answer,
    bound_at_open,
    identification,
    to_foreign_agent,
)

NAMED = replace(ADVERTISEMENT, nai=b"fa7@partner.example", lifetime=600)
AGENT_SA = SecurityAssociation(5001, bytes(range(32, 48)))
NEAR_AGENT = Attached("eth0", IPv4Address("198.51.100.150"), 27, IPv4Address("198.51.100.130"))
DEMANDING = replace(ADVERTISEMENT, registration_required=True, lifetime=600)


def by_nai(*nais: bytes) -> MobileNode:
    return MobileNode(replace(SETTINGS, trusted_agent_nais=frozenset(nais)))


def requests(actions: list[Action]) -> list[Send]:
    return [action for action in actions if isinstance(action, Send)]


def to_home_agent_by_agent(at: float) -> Send:
    request = RegistrationRequest(Flag.REVERSE_TUNNEL, 300, HOME, HOME_AGENT, AGENT_CARE_OF, identification(at))
    payload = append(request.serialize(), HOME_AGENT_SA)
    return Send(payload, Endpoint(HOME, 434), Endpoint(FOREIGN_AGENT, 434), interface="eth0", ttl=255)


# Trusted (draft 5.7.2)


@pytest.mark.parametrize("nai", [b"fa7@partner.example", b"@partner.example"], ids=["its NAI", "its realm"])
def test_trusted_agent_is_known_by_its_nai_and_leaves_the_proxy_out_D_5_7_2_a_and_D_5_7_2_b(nai: bytes) -> None:
    node = by_nai(nai)
    node.feed(AT_AGENT, NOW)
    assert node.feed(NAMED, NOW + 0.2) == [BLOCKED_AT_AGENT, to_home_agent_by_agent(NOW + 0.2)]
    actions = node.feed(answer([to_home_agent_by_agent(NOW + 0.2)], extensions=()), NOW + 0.3)
    assert actions[0] == SetPath(NodePath(PathMode.FOREIGN_AGENT, "eth0", gateway=FOREIGN_AGENT, inside=True))
    assert ParkSecurityAssociation() in actions
    status = node.status()
    assert (status.location, status.through, status.trusted_agent) == (Location.INSIDE, Through.FOREIGN_AGENT, True)


def test_trusted_agent_is_known_by_its_configured_address_D_5_7_2_a() -> None:
    node = MobileNode(replace(SETTINGS, trusted_agents=frozenset({FOREIGN_AGENT})))
    node.feed(AT_AGENT, NOW)
    assert node.feed(ADVERTISEMENT, NOW) == [BLOCKED_AT_AGENT, to_home_agent_by_agent(NOW)]


def test_no_request_goes_to_the_proxy_behind_a_trusted_agent_for_days_D_5_7_2_b() -> None:
    node = by_nai(b"@partner.example")
    node.feed(AT_AGENT, NOW)
    actions, at, asked = node.feed(replace(NAMED, lifetime=0xFFFF), NOW), NOW, 0
    for _ in range(3000):
        for sent in requests(actions):
            request = parse_request(sent.payload)
            assert (sent.destination.address, request.home_agent) == (FOREIGN_AGENT, HOME_AGENT)
            assert MIPP_PUB.packed not in sent.payload
            assert not any(extension.type == 126 for extension in request.extensions)
            asked += 1
        if sends := requests(actions):
            actions = node.feed(answer(list(sends), extensions=()), at + 0.1) if asked % 7 else []
            if requests(actions):
                continue
        deadline = node.next_deadline()
        assert deadline is not None
        if deadline > NOW + 0xFFF0:
            break
        at = deadline
        actions = node.handle_timer(at)
    assert asked > 1000


@pytest.mark.parametrize(
    "nai",
    [None, b"fa7@partner.example.org", b"fa7@evil-partner.example", b"partner.example", b"@", b"xfa7@partner.example"],
)
def test_every_other_agent_is_untrusted_and_the_proxy_is_asked_D_5_7_2_a(nai: bytes | None) -> None:
    node = by_nai(b"fa7@partner.example")
    node.feed(AT_AGENT, NOW)
    assert node.feed(replace(NAMED, nai=nai), NOW) == [BLOCKED_AT_AGENT, to_foreign_agent(NOW)]
    assert not node.status().trusted_agent


def test_trusted_agent_is_used_although_the_link_gives_an_address_D_5_7_2_b() -> None:
    node = bound_at_open(by_nai(b"@partner.example"))
    node.feed(NEAR_AGENT, NOW + 5)
    (sent,) = requests(node.feed(NAMED, NOW + 5.1))
    request = parse_request(sent.payload)
    assert (sent.destination.address, request.home_agent) == (FOREIGN_AGENT, HOME_AGENT)
    assert request.decapsulates


def test_agent_that_changes_its_name_is_another_agent_D_5_7_2_a() -> None:
    node = by_nai(b"@partner.example")
    node.feed(AT_AGENT, NOW)
    node.feed(answer(node.feed(replace(NAMED, nai=None), NOW)), NOW + 0.1)
    assert node.status().location is Location.OUTSIDE
    assert node.feed(replace(NAMED, sequence=301), NOW + 1) == [*BLOCKED, SOLICITATION]


def test_silent_home_agent_behind_a_trusted_agent_is_asked_ever_slower_R5944_3_6_3_b() -> None:
    node = by_nai(b"@partner.example")
    node.feed(AT_AGENT, NOW)
    node.feed(replace(NAMED, lifetime=0xFFFF), NOW)
    sent = []
    while (at := node.next_deadline()) is not None and at < NOW + 130:
        sent += [at - NOW for action in node.handle_timer(at) if isinstance(action, Send)]
    assert sent == [1, 3, 7, 15, 31, 63, 95, 127]


# An agent that demands registration (R bit)


def by_demand(at: float, number: int = 1) -> Send:
    plea = UdpTunnelRequest(through_foreign_agent=True).extension()
    request = RegistrationRequest(
        Flag.DECAPSULATES | Flag.REVERSE_TUNNEL, 300, HOME, MIPP_PUB, NEAR_AGENT.address or HOME,
        identification(at, number), (PARAMETER, plea),
    )  # fmt: skip
    assert NEAR_AGENT.address is not None
    payload = append(request.serialize(), PROXY_SA)
    return Send(payload, Endpoint(NEAR_AGENT.address, 434), Endpoint(FOREIGN_AGENT, 434), interface="eth0", ttl=255)


def demanded(node: MobileNode) -> list[Action]:
    """Attached with an address at NOW; at NOW + 1 an agent on the link demands registration."""
    node.feed(answer(node.feed(NEAR_AGENT, NOW)), NOW + 0.1)
    return node.feed(DEMANDING, NOW + 1)


def test_co_located_node_registers_by_the_agent_that_demands_it_R3519_4_4_c() -> None:
    node = MobileNode(SETTINGS)
    assert demanded(node) == [*BLOCKED, by_demand(NOW + 1)]
    status = node.status()
    assert (status.through, status.agent) == (Through.DEMANDING_AGENT, FOREIGN_AGENT)
    assert status.why == "foreign agent 198.51.100.129 demands registration"
    assert by_demand(NOW + 1).payload[32:40] == bytes.fromhex("9006000040040000")  # the R flag


def test_first_keepalive_shows_the_port_of_the_tunnel_at_once_R3519_4_4_c() -> None:
    node = MobileNode(SETTINGS)
    reply = answer(demanded(node), extensions=(PARAMETER, UdpTunnelReply(0, False, 25).extension()))
    actions = node.feed(reply, NOW + 1.1)
    assert NEAR_AGENT.address is not None
    path = NodePath(PathMode.TUNNEL, "eth0", NEAR_AGENT.address, MIPP_PUB, Encapsulation.UDP)
    assert actions[0] == SetPath(path)
    assert EstablishSecurityAssociation() in actions
    payload = keepalive(HOME, MIPP_PUB, int(HOME) & 0xFFFF, 1)
    assert actions[-1] == Send(payload, Endpoint(NEAR_AGENT.address, 434), Endpoint(MIPP_PUB, 434))
    node.feed(TunnelProbeAnswered(int(HOME) & 0xFFFF, 1), NOW + 1.2)
    assert node.next_deadline() == NOW + 1.2 + 25


def test_renewal_goes_by_the_demanding_agent_too_D_2_6_1_i() -> None:
    node = MobileNode(SETTINGS)
    node.feed(answer(demanded(node)), NOW + 1.1)
    (sent,) = requests(node.handle_timer(NOW + 1 + 225))
    assert sent == by_demand(NOW + 226, 2)


def test_denial_of_the_demanding_agent_is_believed_bare() -> None:
    node = MobileNode(SETTINGS)
    denial = answer(demanded(node), Code.FA_ADMINISTRATIVELY_PROHIBITED, extensions=())
    (log,) = node.feed(replace(denial, payload=denial.payload[:-22]), NOW + 1.1)
    assert isinstance(log, Log)
    assert log.fields["code"] == 65


def test_agent_that_demands_nothing_any_more_or_is_gone_is_passed_by() -> None:
    for later, at in ((replace(ADVERTISEMENT, lifetime=600, sequence=301), NOW + 2), (None, NOW + 601)):
        node = MobileNode(SETTINGS)
        node.feed(answer(demanded(node)), NOW + 1.1)
        actions: list[Action] = []
        if later is not None:
            actions = node.feed(later, at)
        else:
            while not any(action == BLOCKED[0] for action in actions) and node.next_deadline() is not None:
                due = node.next_deadline()
                assert due is not None
                actions = node.handle_timer(due)
                if sends := requests(actions):
                    node.feed(answer(list(sends)), due + 0.01)
        assert requests(actions)[-1].destination == Endpoint(MIPP_PUB, 434)
        assert node.status().through is Through.PROXY


@pytest.mark.parametrize(
    "advertisement",
    [
        ADVERTISEMENT,
        replace(DEMANDING, agent=IPv4Address("192.0.2.1")),
        replace(DEMANDING, busy=True),
        replace(DEMANDING, agent=MIPP_PUB),
        replace(DEMANDING, interface="eth1"),
    ],
    ids=["no R bit", "not on the link", "busy", "MIPP-Pub", "elsewhere"],
)
def test_no_other_advertisement_disturbs_a_co_located_node(advertisement: AdvertisementReceived) -> None:
    node = MobileNode(SETTINGS)
    node.feed(answer(node.feed(NEAR_AGENT, NOW)), NOW + 0.1)
    assert not any(not isinstance(action, Count) for action in node.feed(advertisement, NOW + 1))
    assert node.status().state is State.BOUND


def test_node_at_home_has_nothing_to_register_by_anybody() -> None:
    node = MobileNode(SETTINGS)
    node.feed(answer(node.feed(AT_HOME, NOW), lifetime=0, extensions=()), NOW + 0.1)
    assert node.feed(replace(DEMANDING, agent=IPv4Address("192.0.2.65")), NOW + 1) == []


# Challenge (RFC 4721) and MN-FA authentication (RFC 5944 3.5.3)

SHARED = replace(SETTINGS, agent_associations={FOREIGN_AGENT: AGENT_SA})
CHALLENGING = replace(ADVERTISEMENT, challenge=b"sixteen bytes ok", lifetime=600)


def kinds(sent: Send) -> list[int]:
    return [extension.type for extension in parse_request(sent.payload).extensions]


def from_agent(
    reply: DatagramReceived, *extensions: Extension, key: SecurityAssociation = AGENT_SA
) -> DatagramReceived:
    """The reply as the foreign agent hands it on: with extensions of its own, and its authentication."""
    payload = reply.payload + b"".join(extension.serialize() for extension in extensions)
    return replace(reply, payload=append(payload, key, ExtensionType.MN_FA_AUTHENTICATION))


def test_challenge_is_copied_behind_32_and_authenticated_by_33_R4721_3_3_a_and_R5944_3_6_1_3_a() -> None:
    node = MobileNode(SHARED)
    node.feed(AT_AGENT, NOW)
    (sent,) = requests(node.feed(CHALLENGING, NOW))
    assert kinds(sent) == [126, 32, 132, 33]
    plain = to_foreign_agent(NOW).payload
    challenge = b"\x84\x10sixteen bytes ok"
    assert sent.payload == append(plain + challenge, AGENT_SA, ExtensionType.MN_FA_AUTHENTICATION)


def test_challenge_is_repeated_without_an_association_too() -> None:
    node = MobileNode(SETTINGS)
    node.feed(AT_AGENT, NOW)
    (sent,) = requests(node.feed(CHALLENGING, NOW))
    assert kinds(sent) == [126, 32, 132]


def test_renewal_repeats_the_newest_challenge_R4721_3_3_a() -> None:
    node = MobileNode(SHARED)
    node.feed(AT_AGENT, NOW)
    reply = answer(node.feed(CHALLENGING, NOW))
    node.feed(from_agent(reply, Extension(ExtensionType.CHALLENGE, b"from the reply")), NOW + 0.1)
    (sent,) = requests(node.handle_timer(NOW + 225))
    assert b"from the reply" in sent.payload
    node.feed(replace(CHALLENGING, sequence=301, challenge=b"from the air"), NOW + 225.1)
    (sent,) = requests(node.handle_timer(NOW + 226))
    assert b"from the air" in sent.payload


@pytest.mark.parametrize("code", [Code.UNKNOWN_CHALLENGE, Code.MISSING_CHALLENGE, Code.STALE_CHALLENGE])
def test_denial_for_its_challenge_is_answered_with_the_one_that_it_brings_R4721_3_3_a(code: Code) -> None:
    node = MobileNode(SHARED)
    node.feed(AT_AGENT, NOW)
    denial = answer(node.feed(replace(CHALLENGING, challenge=None), NOW), code, extensions=())
    bare = replace(denial, payload=denial.payload[:-22])
    node.feed(from_agent(bare, Extension(ExtensionType.CHALLENGE, b"a fresh one")), NOW + 0.1)
    (sent,) = requests(node.handle_timer(NOW + 1.1))
    assert kinds(sent) == [126, 32, 132, 33]
    assert b"a fresh one" in sent.payload


def test_echo_of_the_home_agent_is_no_new_challenge_R4721_3_3_a() -> None:
    node = MobileNode(SHARED)
    node.feed(AT_AGENT, NOW)
    reply = answer(node.feed(CHALLENGING, NOW))
    node.feed(replace(CHALLENGING, sequence=301, challenge=b"from the air"), NOW + 0.05)
    node.feed(from_agent(reply, Extension(ExtensionType.CHALLENGE, b"sixteen bytes ok")), NOW + 0.1)
    (sent,) = requests(node.handle_timer(NOW + 225))
    assert b"from the air" in sent.payload


def test_challenge_is_no_matter_for_a_request_past_the_agent_R4721_3_3_a() -> None:
    node = MobileNode(SHARED)
    (sent,) = requests(node.feed(NEAR_AGENT, NOW))
    assert kinds(sent) == [126, 144, 32]


def test_reply_by_an_agent_with_a_key_needs_exactly_one_right_33_R5944_3_5_3_a() -> None:
    node = MobileNode(SHARED)
    node.feed(AT_AGENT, NOW)
    reply = answer(node.feed(CHALLENGING, NOW))
    good = from_agent(reply)
    twice = replace(good, payload=append(good.payload, AGENT_SA, ExtensionType.MN_FA_AUTHENTICATION))
    wrong = from_agent(reply, key=SecurityAssociation(5001, bytes(16)))
    for bad in (reply, twice, wrong):
        assert node.feed(bad, NOW + 0.1) == [Count("reply_unauthenticated")]
    assert isinstance(node.feed(good, NOW + 0.1)[0], SetPath)


def test_request_to_an_agent_without_a_key_carries_no_33_R5944_3_5_3_a() -> None:
    node = MobileNode(replace(SETTINGS, agent_associations={IPv4Address("198.51.100.200"): AGENT_SA}))
    node.feed(AT_AGENT, NOW)
    (sent,) = requests(node.feed(ADVERTISEMENT, NOW))
    assert kinds(sent) == [126, 32]
