"""What does not fit the way to a tunnel's end, by the model: who is told what, and what is cut."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.all import ICMP, IP, TCP, UDP, Ether, Raw

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation, HomeAgentForwarding, PathMtu, Tunnel, TunnelPolicy
from tests.unit.forwarding.test_rules import (
    CARE_OF,
    GATEWAY_MAC,
    HOME,
    HOME_AGENT,
    MAC,
    MIP,
    MIPP_PRIV,
    MIPP_PUB,
    NAT,
    NOW,
    PRIV,
    PUB,
    ROUTER_MAC,
    VPNGW_PUB,
    ether,
    tables,
)

TOLD = TunnelPolicy(errors_per_second=100)


def esp(length: int, **fields: Any) -> Any:
    """A packet of the gateway for the node, of `length` bytes."""
    return IP(src=VPNGW_PUB, dst=HOME, proto=50, id=7, **fields) / Raw(bytes(length - 20))


def told(frame: bytes) -> Any:
    """What is behind Ethernet, re-dissected with every checksum made anew: a wrong one shows as a difference."""
    packet = IP(frame[14:])
    again = packet.copy()
    for layer in (again, again[ICMP]):
        del layer.chksum
    assert bytes(again) == frame[14:], "checksums"
    return packet


def decide(packet: Any, snapshot: rules.Snapshot, source: str = GATEWAY_MAC, segment: int = 0) -> rules.Verdict:
    return rules.decide("proxy_pub", ether(packet, source), snapshot, NOW, ifindex=PUB, segment=segment)


@pytest.mark.parametrize(
    ("tunnel", "overhead"),
    [
        (Tunnel(IPv4Address(CARE_OF), NOW + 300), 20),
        (Tunnel(IPv4Address(CARE_OF), NOW + 300, Encapsulation.UDP, 434), 32),
    ],
)
@pytest.mark.parametrize("path", [None, 1280])
def test_the_gateway_is_told_what_fits_less_the_tunnels_headers_R2003_5_1(
    tunnel: Tunnel, overhead: int, path: int | None
) -> None:
    paths = {} if path is None else {IPv4Address(CARE_OF): PathMtu(path, NOW + 1)}
    snapshot = replace(tables(tunnel), policy=TOLD, path_mtus=paths)
    most = (path or 1500) - overhead
    assert decide(esp(most, flags="DF"), snapshot).outcome == "gateway_to_node"
    packet = esp(most + 1, flags="DF")
    verdict = decide(packet, snapshot)
    assert (verdict.action, verdict.outcome, verdict.ifindex) == (rules.Action.REDIRECT, "too_big_answered", PUB)
    assert verdict.frame[:12] == bytes.fromhex((GATEWAY_MAC + MAC).replace(":", ""))
    error = told(verdict.frame)
    assert (error.src, error.dst, error.tos, error.ttl) == (MIPP_PUB, VPNGW_PUB, 0xC0, 64)
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, most)
    assert len(error) <= 576
    assert verdict.frame[14 + 28 :] == bytes(packet)[:528], "the packet as it came, its TTL included"


def test_what_was_said_of_a_path_is_forgotten_R1191_6_3() -> None:
    snapshot = replace(tables(), path_mtus={IPv4Address(CARE_OF): PathMtu(1280, NOW)})
    assert decide(esp(1480, flags="DF"), snapshot).outcome == "gateway_to_node"


@pytest.mark.parametrize(
    ("packet", "policy"),
    [
        (IP(src=VPNGW_PUB, dst=HOME, proto=50, flags="DF", frag=10) / Raw(bytes(1480)), TOLD),
        (esp(1500, flags="DF"), TunnelPolicy()),
    ],
)
def test_nobody_is_told_about_later_fragments_or_where_it_is_off_R1812_4_3_2_7(
    packet: Any, policy: TunnelPolicy
) -> None:
    verdict = decide(packet, replace(tables(), policy=policy))
    assert verdict == rules.Verdict(rules.Action.DROP, "too_big")


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_an_error_about_an_error_is_never_sent_R1812_4_3_2_7(kind: int) -> None:
    clear = IP(src=HOME, dst="192.0.2.80", flags="DF") / ICMP(type=kind) / Raw(bytes(1472))
    assert decide(clear, replace(tables(), policy=TOLD)).reason == "too_big"


def test_who_sends_what_has_no_hops_left_is_told_R1812_5_3_1() -> None:
    packet = esp(200, ttl=1)
    verdict = decide(packet, replace(tables(), policy=TOLD))
    assert (verdict.action, verdict.outcome, verdict.ifindex) == (rules.Action.REDIRECT, "ttl_expired_answered", PUB)
    assert verdict.frame[:12] == bytes.fromhex((GATEWAY_MAC + MAC).replace(":", ""))
    error = told(verdict.frame)
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == (MIPP_PUB, VPNGW_PUB, 11, 0)
    assert verdict.frame[14 + 24 : 14 + 28] == bytes(4), "unused"
    assert verdict.frame[14 + 28 :] == bytes(packet)[:40], "with the TTL that it came with"


def test_a_node_is_told_through_its_tunnel_that_its_hops_are_used_up_R2003_3_1() -> None:
    inner = IP(src=HOME, dst=VPNGW_PUB, proto=50, ttl=1) / Raw(bytes(100))
    snapshot = replace(tables(), policy=TOLD)
    verdict = decide(IP(src=CARE_OF, dst=MIPP_PUB) / inner, snapshot, ROUTER_MAC)
    outer = IP(verdict.frame[14:])
    assert (verdict.outcome, outer.src, outer.dst, outer.proto) == ("ttl_expired_answered", MIPP_PUB, CARE_OF, 4)
    error = outer.payload
    assert (error.src, error.dst, error[ICMP].type) == (MIPP_PUB, HOME, 11)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (esp(200, ttl=1, frag=10), "ttl_expired"),
        (esp(59, ttl=1), "ttl_expired"),
        (IP(src=HOME, dst="192.0.2.80", ttl=1) / ICMP(type=3) / Raw(bytes(100)), "ttl_expired"),
        (IP(src=HOME, dst="198.51.100.77", ttl=1) / ICMP() / Raw(bytes(100)), "not_mobility_subnet"),
    ],
)
def test_nobody_is_told_of_used_up_hops_about_what_R1812_4_3_2_7_names_or_what_another_check_drops(
    packet: Any, reason: str
) -> None:
    assert decide(packet, replace(tables(), policy=TOLD)) == rules.Verdict(rules.Action.DROP, reason)


def test_row_5_the_node_is_told_by_the_private_address() -> None:
    clear = IP(src=HOME, dst="192.0.2.80", flags="DF") / TCP() / Raw(bytes(1460))
    error = told(decide(clear, replace(tables(), policy=TOLD)).frame)
    assert (error.src, error.dst, error[ICMP].nexthopmtu) == (MIPP_PRIV, HOME, 1480)


def test_row_3_who_sent_into_the_tunnel_is_told_where_the_next_link_is_shorter() -> None:
    snapshot = replace(tables(wire_ifindex=9), policy=TOLD)
    snapshot = replace(snapshot, links={**snapshot.links, 9: rules.Link(bytes(6), 1300)})
    clear = IP(src="192.0.2.50", dst=HOME, flags="DF") / TCP() / Raw(bytes(1400))
    frame = ether(IP(src=HOME_AGENT, dst=MIPP_PRIV) / clear)
    verdict = rules.decide("proxy_priv", frame, snapshot, NOW, ifindex=PRIV)
    error = told(verdict.frame)
    assert verdict.ifindex == PRIV
    assert (error.src, error.dst, error[ICMP].nexthopmtu) == (MIPP_PRIV, "192.0.2.50", 1300)


def test_row_1_the_node_is_told_through_its_own_tunnel() -> None:
    tunnel = Tunnel(IPv4Address(CARE_OF), NOW + 300, Encapsulation.UDP, 40000)
    snapshot = replace(tables(tunnel, wire_ifindex=9), policy=TOLD)
    snapshot = replace(snapshot, links={**snapshot.links, 9: rules.Link(bytes(6), 1300)})
    inner = IP(src=HOME, dst=VPNGW_PUB, proto=50, flags="DF") / Raw(bytes(1400))
    packet = IP(src=CARE_OF, dst=MIPP_PUB) / UDP(sport=40000, dport=434, chksum=0) / MIP / inner
    verdict = decide(packet, snapshot, ROUTER_MAC)
    outer = IP(verdict.frame[14:])
    assert (outer.src, outer.dst, outer[UDP].sport, outer[UDP].dport) == (MIPP_PUB, CARE_OF, 434, 40000)
    error = told(bytes(Ether()) + verdict.frame[14 + 32 :])
    assert (error.src, error.dst, error[ICMP].nexthopmtu) == (MIPP_PUB, HOME, 1300)


def home_agent(*tunnels: Tunnel) -> rules.Snapshot:
    link = rules.Link(bytes.fromhex(MAC.replace(":", "")))
    bound = rules.Bound(IPv4Address(HOME_AGENT), tunnels)
    return rules.Snapshot(
        {PUB: link, PRIV: link},
        lambda _destination: PUB,
        home_agent=HomeAgentForwarding(IPv4Address(HOME_AGENT)),
        bindings={(IPv4Address(HOME_AGENT), IPv4Address(HOME)): bound},
        policy=TOLD,
    )


def test_the_home_agent_tells_the_correspondent_R2003_5_1() -> None:
    clear = IP(src="192.0.2.50", dst=HOME, flags="DF") / TCP() / Raw(bytes(1460))
    snapshot = home_agent(Tunnel(IPv4Address(MIPP_PRIV), NOW + 300))
    verdict = rules.decide("ha_core", ether(clear), snapshot, NOW, ifindex=PRIV)
    error = told(verdict.frame)
    assert (verdict.ifindex, error.src, error.dst) == (PRIV, HOME_AGENT, "192.0.2.50")
    assert error[ICMP].nexthopmtu == 1480


def pieces(frame: bytes, snapshot: rules.Snapshot, mark: int = 0) -> list[Any]:
    """What leaves, in order: what is cut comes in anew."""
    verdict = rules.decide("proxy_pub", frame, snapshot, NOW, ifindex=PUB, mark=mark)
    if verdict.outcome != "cut_in_two":
        assert verdict.outcome == "gateway_to_node", verdict
        return [IP(verdict.frame[14:])]
    return [each for piece in (verdict.front, verdict.frame) for each in pieces(piece, snapshot, verdict.mark)]


@pytest.mark.parametrize("mtu", [1500, 1280, 576, 9000])
def test_what_may_be_cut_is_cut_before_it_enters_the_tunnel_R2003_5_1_and_R3519_4_8(mtu: int) -> None:
    # The second care-of address gets a copy of the whole, which is cut by itself: not each of these pieces.
    other = Tunnel(IPv4Address(NAT), NOW + 300)
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300), other)
    snapshot = replace(snapshot, path_mtus={IPv4Address(CARE_OF): PathMtu(mtu, NOW + 1)})
    links = {PUB: rules.Link(bytes.fromhex(MAC.replace(":", "")), 9000)}
    payload = bytes(range(256)) * 12
    sent = IP(src=VPNGW_PUB, dst=HOME, proto=50, id=7) / Raw(payload)
    left = pieces(ether(sent, GATEWAY_MAC), replace(snapshot, links=links))
    assert all(len(piece) <= mtu for piece in left)
    assert {(piece.src, piece.dst, piece.proto) for piece in left} == {(MIPP_PUB, CARE_OF, 4)}
    together, more = bytearray(), True
    for piece in left:
        inner = piece[IP:][1]
        assert (inner.id, inner.ttl, inner.frag * 8) == (7, 63, len(together))
        assert more, "none follows the last one"
        more = bool(inner.flags.MF)
        together += bytes(inner.payload)
    assert (bytes(together), more) == (payload, False)


@pytest.mark.parametrize("transport", [UDP(sport=4500, dport=4500), TCP(sport=4500, dport=4500)], ids=["UDP", "TCP"])
@pytest.mark.parametrize("size", [1459, 1460])
def test_a_checksum_that_was_left_to_the_device_is_finished_before_the_packet_is_cut(transport: Any, size: int) -> None:
    finished = IP(bytes(IP(src=HOME, dst="192.0.2.80") / transport / Raw((bytes(range(256)) * 6)[:size])))
    addresses = IPv4Address(HOME).packed + IPv4Address("192.0.2.80").packed
    pseudo = addresses + finished.proto.to_bytes(2) + (len(finished) - 20).to_bytes(2)
    unfinished = finished.copy()
    unfinished[type(transport)].chksum = rules.checksum(pseudo) ^ 0xFFFF
    verdict = decide(unfinished, tables())
    assert verdict.outcome == "cut_in_two"
    front, rest = IP(verdict.front[14:]), IP(verdict.frame[14:])
    together = bytes(front.payload)[: rest.frag * 8] + bytes(rest.payload)
    assert together == bytes(finished.payload)


def test_datagrams_of_a_tunnel_that_were_merged_are_dropped_and_merged_segments_in_one_are_not() -> None:
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, Encapsulation.UDP, 434))
    inner = bytes(IP(src=HOME, dst=VPNGW_PUB, proto=50) / Raw(bytes(100)))
    outer, header = IP(src=CARE_OF, dst=MIPP_PUB) / UDP(sport=434, dport=434, chksum=0), bytes.fromhex("04040000")
    merged = outer / Raw((header + inner) * 3)
    assert decide(merged, snapshot, ROUTER_MAC, segment=len(header + inner)).reason == "merged_datagrams"
    assert decide(outer / Raw(header + inner), snapshot, ROUTER_MAC, segment=50).outcome == "node_to_gateway"
    assert decide(merged, snapshot, ROUTER_MAC).outcome == "node_to_gateway", "padding, where nothing was merged"


def test_merged_segments_pass_as_long_as_each_may_be_made_to_fit() -> None:
    packet = IP(src=VPNGW_PUB, dst=HOME, proto=17, flags="DF") / UDP(sport=4500, dport=4500) / Raw(bytes(7360))
    snapshot = replace(tables(), policy=TOLD)
    assert decide(packet, snapshot, segment=1472).outcome == "gateway_to_node"
    assert decide(packet, snapshot, segment=1473).outcome == "too_big_answered"
    packet[IP].flags = 0
    assert decide(packet, snapshot, segment=1473).reason == "too_big"


def syn(mss: int, **fields: Any) -> Any:
    return TCP(sport=1, dport=2, flags="S", options=[("NOP", None), ("SAckOK", b""), ("MSS", mss)], **fields)


@pytest.mark.parametrize(("mss", "after"), [(1460, 1300), (1300, 1300), (1200, 1200)])
def test_a_syn_in_clear_asks_for_no_larger_segments_than_configured(mss: int, after: int) -> None:
    snapshot = replace(tables(), policy=TunnelPolicy(tcp_mss=1300))
    addresses = {"src": "192.0.2.50", "dst": HOME, "ttl": 60}
    frame = ether(IP(src=HOME_AGENT, dst=MIPP_PRIV) / IP(**addresses) / syn(mss))
    verdict = rules.decide("proxy_priv", frame, snapshot, NOW, ifindex=PRIV)
    assert verdict.frame == ether(IP(**{**addresses, "ttl": 59}) / syn(after))
    reverse = rules.decide(
        "proxy_pub", ether(IP(src=HOME, dst="192.0.2.80") / syn(mss), GATEWAY_MAC), snapshot, NOW, ifindex=PUB
    )
    inside = IP(src=HOME, dst="192.0.2.80", ttl=63) / syn(after)
    assert reverse.frame[34:] == bytes(inside)


@pytest.mark.parametrize(("inner", "outer"), [(0, 46 << 2), (0xFF, 46 << 2 | 3), (2, 46 << 2 | 2)])
def test_the_outer_dscp_is_set_where_configured_and_ecn_is_as_inside_R6040_4_1(inner: int, outer: int) -> None:
    snapshot = replace(tables(), policy=TunnelPolicy(dscp=46))
    frame = decide(esp(100, tos=inner), snapshot).frame
    assert (frame[15], frame[35]) == (outer, inner)
