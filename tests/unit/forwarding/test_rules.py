"""The rows of the packet table, each with the packet before and the packet after, built by another hand (scapy)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from scapy.all import GRE, ICMP, IP, TCP, UDP, Ether, Raw
from scapy.utils import checksum as scapy_checksum

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation, Gateway, NodeMode, NodePath, Passes, ProxyForwarding, Tunnel

NOW = 1_700_000_000.0
PUB, PRIV, WIRE = 2, 3, 4
MAC, GATEWAY_MAC, ROUTER_MAC = "02:00:00:00:00:10", "02:00:00:00:00:20", "02:00:00:00:00:01"
MIPP_PUB, MIPP_PRIV, VPNGW_PUB, VPNGW_PRIV = "203.0.113.10", "192.0.2.10", "203.0.113.20", "192.0.2.20"
HOME, CARE_OF, NAT, HOME_AGENT = "192.0.2.69", "198.51.100.10", "198.51.100.40", "192.0.2.40"
ESP = Raw(bytes(range(40)))
MIP = Raw(b"\x04\x04\x00\x00")


def tables(*tunnels: Tunnel, **changes: Any) -> rules.Snapshot:
    proxy = ProxyForwarding(
        public_address=IPv4Address(MIPP_PUB),
        private_address=IPv4Address(MIPP_PRIV),
        public_ifindex=PUB,
        private_ifindex=PRIV,
        gateways=(Gateway(IPv4Address(VPNGW_PUB), IPv4Address(VPNGW_PRIV), frozenset({GATEWAY_MAC})),),
        home_networks=(IPv4Network("192.0.2.64/27"),),
        mobility_subnets=(IPv4Network("192.0.2.64/27"),),
    )
    link = rules.Link(bytes.fromhex(MAC.replace(":", "")))
    bound = rules.Bound(IPv4Address(HOME_AGENT), tunnels or (Tunnel(IPv4Address(CARE_OF), NOW + 300),))
    key = (IPv4Address(VPNGW_PUB), IPv4Address(HOME))
    return rules.Snapshot({PUB: link, PRIV: link, WIRE: link}, proxy=replace(proxy, **changes), bindings={key: bound})


def ether(packet: Any, source: str = ROUTER_MAC) -> bytes:
    return bytes(Ether(dst=MAC, src=source) / packet)


def decide(frame: bytes, snapshot: rules.Snapshot, program: str = "proxy_pub", now: float = NOW) -> rules.Verdict:
    return rules.decide(program, frame, snapshot, now, ifindex=PUB if program == "proxy_pub" else PRIV)


def inner_esp(ttl: int = 64) -> Any:
    return IP(src=HOME, dst=VPNGW_PUB, proto=50, ttl=ttl, id=7, flags="DF") / ESP


def test_row_1_esp_in_ipip_is_handed_to_the_gateway_with_one_hop_less_D_5_3_f_and_R5944_4_1_a() -> None:
    verdict = decide(ether(IP(src=CARE_OF, dst=MIPP_PUB) / inner_esp()), tables())
    assert verdict == rules.Verdict(
        rules.Action.REDIRECT, None, "node_to_gateway", ether(inner_esp(63)), PUB, IPv4Address(VPNGW_PUB)
    )


def test_row_1_esp_in_udp_needs_the_port_that_registered_R3519_4_3_a() -> None:
    snapshot = tables(Tunnel(IPv4Address(NAT), NOW + 300, Encapsulation.UDP, 40000))
    for port, reason in ((40000, None), (40001, "port_mismatch")):
        frame = ether(IP(src=NAT, dst=MIPP_PUB) / UDP(sport=port, dport=434, chksum=0) / MIP / inner_esp())
        assert decide(frame, snapshot).reason == reason


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (lambda: IP(src=NAT, dst=MIPP_PUB) / inner_esp(), "care_of_mismatch"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB) / IP(src="192.0.2.70", dst=VPNGW_PUB, proto=50) / ESP, "no_binding"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB) / IP(src=HOME, dst=HOME_AGENT, proto=50) / ESP, "unknown_gateway"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB) / IP(src=HOME, dst=VPNGW_PUB) / TCP(), "inner_protocol"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB) / inner_esp(ttl=1), "ttl_expired"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB, tos=3) / inner_esp(), "ecn"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB, flags="MF") / inner_esp(), "outer_fragment"),
        (lambda: IP(src=CARE_OF, dst=MIPP_PUB) / GRE() / inner_esp(), "encapsulation_mismatch"),
        (
            lambda: IP(src=CARE_OF, dst=MIPP_PUB) / UDP(sport=434, dport=434) / Raw(b"\x04\x29\0\0") / inner_esp(),
            "unsupported_encapsulation",
        ),
        (lambda: IP(src=CARE_OF, dst=MIPP_PRIV) / inner_esp(), "wrong_interface"),
    ],
)
def test_row_1_each_check_drops_with_its_own_reason_D_5_3_a_and_D_5_3_b_and_D_5_3_c_and_D_5_3_d_and_D_5_3_e(
    packet: Callable[[], Any], reason: str
) -> None:
    assert replace(decide(ether(packet()), tables()), stray=None) == rules.Verdict(rules.Action.DROP, reason)


def test_row_1_nothing_passes_after_the_binding_expired() -> None:
    frame = ether(IP(src=CARE_OF, dst=MIPP_PUB) / inner_esp())
    assert decide(frame, tables(), now=NOW + 300).reason == "binding_expired"


def test_row_2_a_keepalive_is_answered_and_completes_a_half_bound_tunnel() -> None:
    half = Tunnel(IPv4Address(CARE_OF), NOW + 60, Encapsulation.UDP, 434, IPv4Address(NAT), half_bound=True)
    ping = IP(src=HOME, dst=MIPP_PUB, id=1) / ICMP(id=9, seq=1) / Raw(b"here")
    frame = ether(IP(src=NAT, dst=MIPP_PUB, id=3) / UDP(sport=40000, dport=434, chksum=0) / MIP / ping)
    verdict = decide(frame, tables(half))
    pong = IP(src=MIPP_PUB, dst=HOME, id=1, ttl=64) / ICMP(type=0, id=9, seq=1) / Raw(b"here")
    answer = IP(src=MIPP_PUB, dst=NAT, id=1, ttl=64) / UDP(sport=434, dport=40000, chksum=0) / MIP / pong
    assert verdict.frame == ether(answer)
    assert verdict.learnt is not None
    assert verdict.learnt[2] == Tunnel(IPv4Address(NAT), NOW + 60, Encapsulation.UDP, 40000)


def test_what_comes_from_another_port_or_address_is_noted_and_moves_nothing_R3519_4_10_a() -> None:
    known = Tunnel(IPv4Address(NAT), NOW + 300, Encapsulation.UDP, 40000)
    key = (IPv4Address(VPNGW_PUB), IPv4Address(HOME))
    for source, port, reason in ((NAT, 40001, "port_mismatch"), ("198.51.100.41", 40000, "care_of_mismatch")):
        outer = IP(src=source, dst=MIPP_PUB) / UDP(sport=port, dport=434, chksum=0) / MIP
        for inner in (inner_esp(), IP(src=HOME, dst=MIPP_PUB) / ICMP()):
            verdict = decide(ether(outer / inner), tables(known))
            assert (verdict.reason, verdict.learnt) == (reason, None)
            assert verdict.stray == (key, IPv4Address(source), port)
    right = IP(src=NAT, dst=MIPP_PUB) / UDP(sport=40000, dport=434, chksum=0) / MIP
    assert decide(ether(right / inner_esp()), tables(known)).stray is None
    unknown = right / IP(src="192.0.2.70", dst=VPNGW_PUB, proto=50) / ESP
    assert decide(ether(unknown), tables(known)).stray is None


@pytest.mark.parametrize("tunnel", [Encapsulation.IPIP, Encapsulation.UDP])
def test_a_nodes_answer_to_a_probe_reaches_the_daemon_from_the_tunnels_end_alone(tunnel: Encapsulation) -> None:
    end = Tunnel(IPv4Address(CARE_OF), NOW + 300, tunnel, 434 if tunnel is Encapsulation.UDP else 0)
    answer = IP(src=HOME, dst=MIPP_PUB) / ICMP(type=0, id=7, seq=1)

    def sent(source: str, inner: Any) -> bytes:
        outer = IP(src=source, dst=MIPP_PUB)
        if tunnel is Encapsulation.UDP:
            outer = outer / UDP(sport=434, dport=434, chksum=0) / MIP
        return ether(outer / inner)

    verdict = decide(sent(CARE_OF, answer), tables(end))
    assert (verdict.action, verdict.outcome) == (rules.Action.CHANGED, "probe_answered")
    assert verdict.frame == ether(answer)
    assert decide(sent(NAT, answer), tables(end)).reason == "care_of_mismatch"
    forged = IP(src="192.0.2.70", dst=MIPP_PUB) / ICMP(type=0)
    assert decide(sent(CARE_OF, forged), tables(end)).reason == "no_binding"


@pytest.mark.parametrize("mode", [NodeMode.TUNNEL, NodeMode.FOREIGN_AGENT])
def test_a_node_answers_the_other_end_of_its_tunnel_and_nobody_else(mode: NodeMode) -> None:
    gateways = (IPv4Address(VPNGW_PUB),)
    path = NodePath(IPv4Address(HOME), mode, IPv4Address(CARE_OF), IPv4Address(MIPP_PUB), gateways=gateways)
    snapshot = replace(tables(), mobile_node=path)
    answer = decide(ether(IP(src=HOME, dst=MIPP_PUB) / ICMP(type=0)), snapshot, "mn_egress")
    assert answer.action is (rules.Action.REDIRECT if mode is NodeMode.TUNNEL else rules.Action.STACK)
    for packet in (IP(src=HOME, dst=VPNGW_PUB) / ICMP(type=0), IP(src=HOME, dst=MIPP_PUB) / ICMP(type=8)):
        assert decide(ether(packet), snapshot, "mn_egress").reason == "clear_outside"


def test_a_node_takes_in_clear_what_the_gateways_sa_has_carried_and_nothing_else() -> None:
    gateways = (IPv4Address(VPNGW_PUB),)
    path = NodePath(IPv4Address(HOME), NodeMode.TUNNEL, IPv4Address(CARE_OF), IPv4Address(MIPP_PUB), gateways=gateways)
    snapshot = replace(tables(), mobile_node=path)
    packet = ether(IP(src="192.0.2.50", dst=HOME) / TCP())
    out_of_sa = partial(rules.decide, "mn_ingress", packet, snapshot, NOW, ifindex=PRIV)
    assert out_of_sa(decrypted_from=gateways[0]).action is rules.Action.STACK
    assert out_of_sa(decrypted_from=None).reason == "clear_outside"
    assert out_of_sa(decrypted_from=IPv4Address(NAT)).reason == "clear_outside"


def test_row_3_goes_to_the_gateway_whatever_the_destination_D_5_4_a_and_D_5_7_c() -> None:
    inner = IP(src="192.0.2.50", dst=HOME, ttl=60) / TCP()
    verdict = decide(ether(IP(src=HOME_AGENT, dst=MIPP_PRIV) / inner), tables(), "proxy_priv")
    after = IP(src="192.0.2.50", dst=HOME, ttl=59) / TCP()
    assert (verdict.frame, verdict.ifindex, verdict.next_hop) == (ether(after), PRIV, IPv4Address(VPNGW_PRIV))


# What strongSwan sends to these ports: IKE, IKE behind the marker that tells it from ESP, ESP itself, a keepalive.
IN_UDP = [(500, b"IKE"), (4500, b"\0\0\0\0IKE"), (4500, bytes(range(1, 41))), (4500, b"\xff")]


@pytest.mark.parametrize("tunnel", [Encapsulation.IPIP, Encapsulation.UDP])
@pytest.mark.parametrize(("port", "payload"), IN_UDP)
def test_esp_in_udp_and_ike_pass_both_ways_through_either_tunnel_D_5_6_a_and_AMB_16(
    tunnel: Encapsulation, port: int, payload: bytes
) -> None:
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, tunnel, 434 if tunnel is Encapsulation.UDP else 0))

    def wrapped(source: str, destination: str, inner: Any, **fields: Any) -> Any:
        outer = IP(src=source, dst=destination, **fields)
        return (
            outer / inner if tunnel is Encapsulation.IPIP else outer / UDP(sport=434, dport=434, chksum=0) / MIP / inner
        )

    def out(ttl: int) -> Any:
        return IP(src=HOME, dst=VPNGW_PUB, id=7, ttl=ttl) / UDP(sport=port, dport=port) / Raw(payload)

    verdict = decide(ether(wrapped(CARE_OF, MIPP_PUB, out(64))), snapshot)
    assert (verdict.frame, verdict.next_hop) == (ether(out(63)), IPv4Address(VPNGW_PUB))

    def back(ttl: int) -> Any:
        return IP(src=VPNGW_PUB, dst=HOME, id=8, ttl=ttl) / UDP(sport=port, dport=port) / Raw(payload)

    verdict = decide(ether(back(64), GATEWAY_MAC), snapshot)
    assert verdict.frame == ether(wrapped(MIPP_PUB, CARE_OF, back(63), id=8, ttl=64), GATEWAY_MAC)
    # And no other port does.
    other = IP(src=HOME, dst=VPNGW_PUB) / UDP(sport=1701, dport=1701) / Raw(payload)
    assert decide(ether(wrapped(CARE_OF, MIPP_PUB, other)), snapshot).reason == "inner_protocol"


def test_row_4_nothing_enters_a_tunnel_that_ends_where_it_comes_from_R2003_3_2_a() -> None:
    snapshot = tables(Tunnel(IPv4Address(VPNGW_PUB), NOW + 300))
    frame = ether(IP(src=VPNGW_PUB, dst=HOME, proto=50) / ESP, GATEWAY_MAC)
    assert decide(frame, snapshot).reason == "tunnel_loop"


def test_row_3_another_home_agent_is_refused() -> None:
    frame = ether(IP(src="192.0.2.41", dst=MIPP_PRIV) / IP(src="192.0.2.50", dst=HOME) / TCP())
    assert decide(frame, tables(), "proxy_priv").reason == "home_agent_mismatch"


def test_row_4_esp_goes_to_every_care_of_address_D_5_4_b_and_R5944_4_2_3_a_and_R5944_4_2_3_b() -> None:
    other = Tunnel(IPv4Address(NAT), NOW + 300, Encapsulation.UDP, 40000)
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300), other)
    frame = ether(IP(src=VPNGW_PUB, dst=HOME, proto=50, id=7, flags="DF", tos=0x28) / ESP, GATEWAY_MAC)
    carried = IP(src=VPNGW_PUB, dst=HOME, proto=50, id=7, flags="DF", tos=0x28, ttl=63) / ESP
    outer = IP(src=MIPP_PUB, dst=CARE_OF, id=7, flags="DF", tos=0x28, ttl=64)
    verdict = decide(frame, snapshot)
    assert (verdict.frame, verdict.copies) == (ether(outer / carried, GATEWAY_MAC), (1,))
    copy = rules.decide("proxy_pub", frame, snapshot, NOW, ifindex=PUB, mark=rules.COPY_MARK | 1)
    outer = IP(src=MIPP_PUB, dst=NAT, id=7, flags="DF", tos=0x28, ttl=64) / UDP(sport=434, dport=40000, chksum=0) / MIP
    assert (copy.frame, copy.copies) == (ether(outer / carried, GATEWAY_MAC), ())


@pytest.mark.parametrize(
    ("packet", "source", "reason"),
    [
        (lambda: IP(src=VPNGW_PUB, dst=HOME, proto=50) / ESP, ROUTER_MAC, "gateway_mac"),
        (lambda: IP(src=VPNGW_PUB, dst=HOME) / ICMP(), GATEWAY_MAC, "inner_protocol"),
        (lambda: IP(src=VPNGW_PUB, dst="192.0.2.70", proto=50) / ESP, GATEWAY_MAC, "no_binding"),
        (lambda: IP(src=VPNGW_PUB, dst=HOME, proto=50, flags="DF") / Raw(bytes(1461)), GATEWAY_MAC, "too_big"),
        (lambda: IP(src="192.0.2.50", dst=HOME) / TCP(), GATEWAY_MAC, "no_sa_at_gateway"),
        (lambda: IP(src=HOME, dst="192.0.2.80") / TCP(), ROUTER_MAC, "gateway_mac"),
        (lambda: IP(src=HOME, dst="192.0.2.50") / TCP(), GATEWAY_MAC, "not_mobility_subnet"),
    ],
)
def test_rows_4_to_6_what_is_refused(packet: Callable[[], Any], source: str, reason: str) -> None:
    assert decide(ether(packet(), source), tables()) == rules.Verdict(rules.Action.DROP, reason)


def test_row_5_a_clear_packet_for_a_mobility_subnet_goes_to_the_home_agent_D_5_3_g() -> None:
    clear = IP(src=HOME, dst="192.0.2.80", id=5) / TCP()
    verdict = decide(ether(clear, GATEWAY_MAC), tables())
    outer = IP(src=MIPP_PRIV, dst=HOME_AGENT, id=5) / IP(src=HOME, dst="192.0.2.80", id=5, ttl=63) / TCP()
    assert (verdict.frame, verdict.ifindex, verdict.next_hop) == (ether(outer, GATEWAY_MAC), PRIV, None)


def test_one_box_both_ways_to_the_gateway_are_the_wire_and_the_ways_out_are_not_D_4_a() -> None:
    one_box = tables(wire_ifindex=WIRE)
    esp = IP(src=VPNGW_PUB, dst=HOME, proto=50) / ESP
    clear = IP(src="192.0.2.50", dst=HOME) / TCP()
    arriving: list[tuple[str, int, bytes]] = [
        ("proxy_pub", PUB, ether(IP(src=CARE_OF, dst=MIPP_PUB) / inner_esp())),
        ("proxy_priv", PRIV, ether(IP(src=HOME_AGENT, dst=MIPP_PRIV) / clear)),
        ("proxy_pub", WIRE, ether(esp, GATEWAY_MAC)),
        ("proxy_pub", WIRE, ether(IP(src=HOME, dst="192.0.2.80") / TCP(), GATEWAY_MAC)),
    ]
    verdicts = [rules.decide(program, frame, one_box, NOW, ifindex=at) for program, at, frame in arriving]
    assert [(verdict.outcome, verdict.ifindex, verdict.next_hop) for verdict in verdicts] == [
        ("node_to_gateway", WIRE, IPv4Address(VPNGW_PUB)),
        ("home_agent_to_gateway", WIRE, IPv4Address(VPNGW_PRIV)),
        ("gateway_to_node", PUB, None),
        ("gateway_to_home_agent", PRIV, None),
    ]
    assert rules.decide("proxy_pub", ether(clear, GATEWAY_MAC), one_box, NOW, ifindex=WIRE).reason == "no_sa_at_gateway"


@pytest.mark.parametrize(
    "packet",
    [
        lambda: IP(src=VPNGW_PUB, dst=HOME, proto=50) / ESP,
        lambda: IP(src=HOME, dst="192.0.2.80") / TCP(),
        lambda: IP(src="192.0.2.50", dst=HOME) / TCP(),
    ],
)
def test_one_box_nothing_from_the_segment_is_the_gateways_whatever_its_mac_address_D_4_a(
    packet: Callable[[], Any],
) -> None:
    assert decide(ether(packet(), GATEWAY_MAC), tables(wire_ifindex=WIRE)).reason == "gateway_mac"


@pytest.mark.parametrize(
    "packet",
    [
        lambda: IP(src=CARE_OF, dst=MIPP_PUB) / UDP(sport=434, dport=434) / Raw(b"\x01" + bytes(40)),
        lambda: IP(src=CARE_OF, dst=MIPP_PUB) / TCP(dport=22),
        lambda: IP(src=CARE_OF, dst=MIPP_PUB) / UDP(sport=434, dport=434),
    ],
)
def test_what_is_no_tunnel_is_left_to_the_stack(packet: Callable[[], Any]) -> None:
    frame = ether(packet())
    assert decide(frame, tables()) == rules.Verdict(rules.Action.STACK, frame=frame)


@pytest.mark.parametrize("length", range(34, 14 + 32 + 20))
def test_a_cut_tunnel_packet_never_passes(length: int) -> None:
    snapshot = tables(Tunnel(IPv4Address(NAT), NOW + 300, Encapsulation.UDP, 40000))
    whole = ether(IP(src=NAT, dst=MIPP_PUB) / UDP(sport=40000, dport=434, chksum=0) / MIP / inner_esp())
    cut = bytearray(whole[:length])
    cut[16:18] = (length - 14).to_bytes(2)
    cut[24:26] = b"\0\0"
    cut[24:26] = rules.checksum(bytes(cut[14:34])).to_bytes(2)
    assert decide(bytes(cut), snapshot).action in (rules.Action.DROP, rules.Action.STACK)
    assert decide(bytes(cut), snapshot).action is rules.Action.DROP or length < 14 + 20 + 9


def test_an_unconfigured_program_drops_tunnels_and_nothing_else() -> None:
    snapshot = replace(tables(), proxy=None)
    assert decide(ether(IP(src=CARE_OF, dst=MIPP_PUB) / inner_esp()), snapshot).reason == "not_configured"
    assert decide(ether(IP(src=CARE_OF, dst=MIPP_PUB) / TCP()), snapshot).action is rules.Action.STACK


@pytest.mark.parametrize("to", ["255.255.255.255", "224.0.0.251", "239.1.2.3"])
def test_nothing_but_unicast_goes_directly_to_a_foreign_agent_R3024_5_2_a(to: str) -> None:
    path = NodePath(IPv4Address(HOME), NodeMode.FOREIGN_AGENT, encapsulate_all=True)
    snapshot = replace(tables(), mobile_node=path)
    verdict = decide(ether(IP(src=HOME, dst=to) / UDP(dport=4321)), snapshot, "mn_egress")
    assert verdict == rules.Verdict(rules.Action.DROP, "group_through_agent")
    alone = decide(ether(IP(src=HOME, dst="192.0.2.50") / UDP(dport=4321)), snapshot, "mn_egress")
    assert alone.action is rules.Action.STACK


def test_what_is_known_at_home_holds_for_the_link_that_the_home_network_is_on() -> None:
    path = NodePath(IPv4Address(HOME), NodeMode.HOME, home_link_only=True)
    frame = ether(IP(src=HOME, dst="192.0.2.50") / UDP(dport=4321))
    asks_home_agent = ether(IP(src=HOME, dst=HOME_AGENT) / UDP(sport=434, dport=434) / Raw(b"\x01" + bytes(23)))

    def leaves(frame: bytes, path: NodePath, link: int | None) -> rules.Verdict:
        snapshot = replace(tables(), mobile_node=path, on_link=lambda _: link)
        return rules.decide("mn_egress", frame, snapshot, NOW, ifindex=PUB)

    assert leaves(frame, path, PUB).action is rules.Action.STACK
    for elsewhere in (PRIV, None):
        assert leaves(frame, path, elsewhere).reason == "clear_outside"
        assert leaves(frame, replace(path, home_link_only=False), elsewhere).action is rules.Action.STACK
        assert leaves(asks_home_agent, path, elsewhere).action is rules.Action.STACK


WIREGUARD = Passes(frozenset(), frozenset({(17, 51820)}))


@pytest.mark.parametrize(
    ("inner", "there", "back"),
    [
        (lambda **ends: IP(**ends) / UDP(sport=40000, dport=51820) / Raw(b"there"), True, False),
        (lambda **ends: IP(**ends) / UDP(sport=51820, dport=40000) / Raw(b"back"), False, True),
        (lambda **ends: IP(**ends, proto="udp", frag=185) / Raw(bytes(40)), True, True),
        (lambda **ends: IP(**ends, proto="tcp", frag=185) / Raw(bytes(40)), False, False),
        (lambda **ends: IP(**ends) / TCP(sport=51820, dport=51820), False, False),
        (lambda **ends: IP(**ends, proto=50) / ESP, False, False),
    ],
    ids=["to the port", "from the port", "later fragment", "later fragment of TCP", "TCP", "ESP"],
)
def test_another_vpn_passes_by_the_gateways_port_and_nothing_else_does_D_5_6_a(
    inner: Callable[..., Any], there: bool, back: bool
) -> None:
    known = tables()
    assert known.proxy is not None
    snapshot = replace(known, proxy=replace(known.proxy, passes=WIREGUARD))
    to_gateway = decide(ether(IP(src=CARE_OF, dst=MIPP_PUB) / inner(src=HOME, dst=VPNGW_PUB)), snapshot)
    to_node = decide(ether(inner(src=VPNGW_PUB, dst=HOME), GATEWAY_MAC), snapshot)
    refused = rules.Verdict(rules.Action.DROP, "inner_protocol")
    assert to_gateway.outcome == "node_to_gateway" if there else to_gateway == refused, to_gateway
    assert to_node.outcome == "gateway_to_node" if back else to_node == refused, to_node


@pytest.mark.parametrize("mode", [NodeMode.BLOCKED, NodeMode.TUNNEL, NodeMode.FOREIGN_AGENT])
@pytest.mark.parametrize(
    ("packet", "is_ipsec"),
    [
        (lambda: inner_esp(), True),
        (lambda: IP(src=HOME, dst=VPNGW_PUB) / UDP(sport=500, dport=500) / Raw(b"ike"), True),
        (lambda: IP(src=HOME, dst=VPNGW_PUB) / UDP(sport=4500, dport=4500) / Raw(b"ike"), True),
        (lambda: IP(src=HOME, dst=VPNGW_PUB) / TCP(dport=443), False),
        (lambda: IP(src=HOME, dst=VPNGW_PUB) / UDP(dport=53) / Raw(b"name"), False),
        (lambda: IP(src=HOME, dst=VPNGW_PUB) / ICMP(), False),
        (lambda: IP(src=HOME, dst="192.0.2.50", proto=50) / ESP, False),
        (lambda: IP(src=HOME, dst="192.0.2.50") / TCP(), False),
    ],
)
def test_outside_only_ipsec_to_a_gateway_leaves_from_the_home_address_D_5_1_a_and_D_5_1_c(
    mode: NodeMode, packet: Callable[[], Any], is_ipsec: bool
) -> None:
    home, gateway = IPv4Address(HOME), IPv4Address(VPNGW_PUB)
    path = NodePath(home, mode, IPv4Address(CARE_OF), IPv4Address(MIPP_PUB), gateways=(gateway,))
    verdict = decide(ether(packet()), replace(tables(), mobile_node=path), "mn_egress")
    if mode is NodeMode.BLOCKED or not is_ipsec:
        assert verdict == rules.Verdict(rules.Action.DROP, "clear_outside")
    else:
        assert verdict.action is (rules.Action.REDIRECT if mode is NodeMode.TUNNEL else rules.Action.STACK)


# Every encapsulation, as another hand writes it. Minimal forwarding is in no library: by the bytes of RFC 2004 3.1.
KEY = 0x0A0B0C0D


def carried(style: Encapsulation, source: str, destination: str, inner: Any, **fields: Any) -> Any:
    """`inner` in a tunnel. With minimal encapsulation `fields` of the outer header are the inner one's."""
    outer = IP(src=source, dst=destination, proto=17 if style.in_udp else style.next_header, **fields)
    if style.in_udp:
        outer = outer / UDP(sport=434, dport=434, chksum=0) / Raw(bytes([4, style.next_header, 0, 0]))
    if style.next_header == 47:
        return outer / GRE(key_present=1, key=KEY, proto=0x0800) / inner
    if style.next_header == 4:
        return outer / inner
    packet = bytes(inner)
    header = packet[9:10] + b"\x80\0\0" + packet[16:20] + packet[12:16]
    return outer / Raw(header[:2] + scapy_checksum(header).to_bytes(2) + header[4:] + packet[20:])


def inner_fields(style: Encapsulation, **fields: Any) -> dict[str, Any]:
    """What the outer header has of the packet: all with minimal encapsulation (RFC 2004 3.1)."""
    return {**fields, "ttl": 64} if style.next_header != 55 else fields


@pytest.mark.parametrize("style", list(Encapsulation))
def test_every_encapsulation_is_taken_apart_and_made_R2784_2_1_a_and_R2004_3_a_and_R3519_3_3_a(
    style: Encapsulation,
) -> None:
    key = KEY if style.next_header == 47 else None
    port = 434 if style.in_udp else 0
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, style, port, gre_key=key))
    outer = {"id": 7, "flags": "DF"} if style.next_header == 55 else {"id": 3}
    verdict = decide(ether(carried(style, CARE_OF, MIPP_PUB, inner_esp(), **outer)), snapshot)
    assert (verdict.outcome, verdict.frame) == ("node_to_gateway", ether(inner_esp(63)))
    back = IP(src=VPNGW_PUB, dst=HOME, proto=50, id=8, flags="DF", tos=0x28)
    verdict = decide(ether(back / ESP, GATEWAY_MAC), snapshot)
    hopped = IP(src=VPNGW_PUB, dst=HOME, proto=50, id=8, flags="DF", tos=0x28, ttl=63) / ESP
    fields = inner_fields(style, id=8, flags="DF", tos=0x28, ttl=63)
    assert verdict.frame == ether(carried(style, MIPP_PUB, CARE_OF, hopped, **fields), GATEWAY_MAC)


@pytest.mark.parametrize("negotiated", list(Encapsulation))
@pytest.mark.parametrize("style", list(Encapsulation))
def test_only_what_was_agreed_on_passes_R3519_3_3_b_and_R3024_4_3_2_a(
    negotiated: Encapsulation, style: Encapsulation
) -> None:
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, negotiated, 434 * negotiated.in_udp, gre_key=KEY))
    verdict = decide(ether(carried(style, CARE_OF, MIPP_PUB, inner_esp())), snapshot)
    # By IP in IP come the fragments of a tunnel of minimal encapsulation (RFC 2004 3).
    passes = style is negotiated or (negotiated, style) == (Encapsulation.MINIMAL, Encapsulation.IPIP)
    assert verdict.reason == (None if passes else "encapsulation_mismatch")


@pytest.mark.parametrize("asked", [Encapsulation.IPIP, Encapsulation.GRE, Encapsulation.MINIMAL])
def test_row_3_ip_in_ip_of_a_home_agent_is_always_accepted_D_5_4_a(asked: Encapsulation) -> None:
    snapshot = tables(home_agent_gre_key=KEY)
    ((key, bound),) = snapshot.bindings.items()
    snapshot = replace(snapshot, bindings={key: replace(bound, home_agent_encapsulation=asked)})
    inner = IP(src="192.0.2.50", dst=HOME, ttl=60) / TCP()
    for style in Encapsulation:
        verdict = decide(ether(carried(style, HOME_AGENT, MIPP_PRIV, inner)), snapshot, "proxy_priv")
        expected = None if style in (asked, Encapsulation.IPIP) else "encapsulation_mismatch"
        assert verdict.reason == expected, style


@pytest.mark.parametrize(
    ("style", "reason", "protocol"),
    [(Encapsulation.MINIMAL, None, 4), (Encapsulation.UDP_MINIMAL, "unfit_for_minimal", None)],
)
@pytest.mark.parametrize("fragment", [{"flags": "MF"}, {"frag": 100}])
def test_a_fragment_never_travels_by_minimal_encapsulation(
    style: Encapsulation, reason: str | None, protocol: int | None, fragment: dict[str, Any]
) -> None:
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, style, 434 * style.in_udp))
    verdict = decide(ether(IP(src=VPNGW_PUB, dst=HOME, proto=50, **fragment) / ESP, GATEWAY_MAC), snapshot)
    assert (verdict.reason, verdict.frame[23] if verdict.frame else None) == (reason, protocol)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (GRE(), "gre_key"),
        (GRE(key_present=1, key=KEY + 1), "gre_key"),
        (GRE(key_present=1, key=KEY, routing_present=1), "gre_header"),
        (GRE(key_present=1, key=KEY, version=1), "gre_header"),
        (GRE(key_present=1, key=KEY, proto=0x86DD), "gre_header"),
        (GRE(key_present=1, key=KEY, recursion_control=4), "gre_header"),
        (GRE(key_present=1, key=KEY, chksum_present=1, chksum=0x1234), "gre_checksum"),
        (GRE(key_present=1, key=KEY, chksum_present=1), None),
        (GRE(key_present=1, key=KEY, seqnum_present=1, sequence_number=9), None),
        (GRE(key_present=1, key=KEY, chksum_present=1, seqnum_present=1, sequence_number=9), None),
    ],
)
def test_gre_is_read_as_rfc_2784_and_rfc_2890_have_it_R2784_2_1_a(header: Any, reason: str | None) -> None:
    snapshot = tables(Tunnel(IPv4Address(CARE_OF), NOW + 300, Encapsulation.GRE, gre_key=KEY))
    frame = ether(IP(src=CARE_OF, dst=MIPP_PUB) / header / inner_esp())
    verdict = decide(frame, snapshot)
    assert (verdict.reason, verdict.frame) == (reason, b"" if reason else ether(inner_esp(63)))
