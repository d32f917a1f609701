"""How a visitor's packets reach the reverse tunnel (RFC 3024 5): before and after, built by another hand (scapy)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.all import IP, UDP, Ether, Raw

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation, ForeignAgentForwarding, Visitor

NOW = 1_700_000_000.0
UPLINK, LINK = 2, 3
MAC, NODE_MAC = "02:00:00:00:00:10", "02:00:00:00:00:20"
HOME, OTHER_HOME, PEER = "192.0.2.69", "192.0.2.70", "203.0.113.20"
AGENT, CARE_OF, HOME_AGENT = "198.51.100.129", "198.51.100.100", "203.0.113.10"
GROUPS = ("224.0.0.251", "239.1.2.3", "255.255.255.255")
DIRECT = Visitor(IPv4Address(HOME), IPv4Address(HOME_AGENT), NOW + 300)
ENCAPSULATING = replace(DIRECT, encapsulating_delivery=True)


def decide(packet: Any, visitor: Visitor) -> rules.Verdict:
    link = rules.Link(bytes.fromhex(MAC.replace(":", "")))
    tables = rules.Snapshot(
        {UPLINK: link, LINK: link},
        foreign_agent=ForeignAgentForwarding(IPv4Address(CARE_OF), IPv4Address(AGENT), UPLINK, LINK),
        visitors={visitor.home_address: visitor},
    )
    return rules.decide("fa_link", bytes(Ether(dst=MAC, src=NODE_MAC) / packet), tables, NOW, ifindex=LINK)


def sent(to: str = PEER, ttl: int = 64, source: str = HOME) -> Any:
    return IP(src=source, dst=to, ttl=ttl, id=7, flags="DF") / UDP(sport=5000, dport=500) / Raw(bytes(20))


def wrapped(inner: Any, to: str = AGENT) -> Any:
    return IP(src=HOME, dst=to, flags="DF") / inner


def in_reverse_tunnel(inner: Any) -> bytes:
    """R3024-5.1.2-a: from the care-of address to the home agent of the registration."""
    outer = IP(src=CARE_OF, dst=HOME_AGENT, id=7, flags="DF", ttl=64)
    return bytes(Ether(dst=MAC, src=NODE_MAC) / outer / inner)


def test_direct_delivery_takes_clear_unicast_R3024_5_1_2_a_and_R2003_3_1_c() -> None:
    verdict = decide(sent(), DIRECT)
    assert (verdict.outcome, verdict.ifindex) == ("visitor_to_home_agent", UPLINK)
    assert verdict.frame == in_reverse_tunnel(sent(ttl=63))


@pytest.mark.parametrize("to", [PEER, *GROUPS])
def test_encapsulating_delivery_takes_what_the_node_wrapped_for_the_agent_R3024_5_1_2_a(to: str) -> None:
    verdict = decide(wrapped(sent(to)), ENCAPSULATING)
    assert verdict.outcome == "visitor_to_home_agent"
    assert verdict.frame == in_reverse_tunnel(sent(to, ttl=63))


def test_encapsulating_delivery_enters_a_udp_tunnel_as_well() -> None:
    verdict = decide(wrapped(sent(GROUPS[0])), replace(ENCAPSULATING, encapsulation=Encapsulation.UDP))
    packet = Ether(verdict.frame)
    assert (packet[IP].src, packet[IP].dst, packet[UDP].dport) == (CARE_OF, HOME_AGENT, 434)
    assert bytes(packet[UDP].payload)[:4] == b"\x04\x04\0\0"
    assert IP(bytes(packet[UDP].payload)[4:]).dst == GROUPS[0]


@pytest.mark.parametrize(
    ("packet", "visitor"),
    [
        *[(sent(to), DIRECT) for to in GROUPS],
        (sent(), ENCAPSULATING),
        (wrapped(sent()), DIRECT),
        (wrapped(sent()), replace(DIRECT, reverse_tunnel=False)),
    ],
    ids=[*GROUPS, "clear beside encapsulating", "wrapped beside direct", "no reverse tunnel"],
)
def test_what_the_style_does_not_cover_is_left_to_the_router(packet: Any, visitor: Visitor) -> None:
    assert decide(packet, visitor).action is rules.Action.STACK


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (wrapped(sent(source=OTHER_HOME)), "no_binding"),
        (wrapped(sent(to=CARE_OF)), "tunnel_loop"),
        (wrapped(sent(ttl=1)), "ttl_expired"),
        (IP(src=HOME, dst=AGENT, tos=3) / sent(), "ecn"),
        (IP(src=HOME, dst=AGENT, flags="MF") / sent(), "outer_fragment"),
    ],
)
def test_wrapped_packet_must_be_the_nodes_own_and_sound(packet: Any, reason: str) -> None:
    assert decide(packet, ENCAPSULATING).reason == reason


def test_style_ends_with_the_visit() -> None:
    assert decide(wrapped(sent()), replace(ENCAPSULATING, expires=NOW)).reason == "binding_expired"
