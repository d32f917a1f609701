"""What our programs put around a packet is read by decoders that are not ours: tshark, tcpdump and Scapy.

tshark knows no minimal encapsulation (RFC 2004), which tcpdump reads; none of them looks behind the MIP-UDP header at
GRE or minimal encapsulation, so what stands there is shown to them once more as a packet of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP
from scapy.layers.isakmp import ISAKMP
from scapy.layers.l2 import GRE
from scapy.layers.mobileip import MobileIPTunnelData
from scapy.packet import Packet

from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.entries import IPSEC, Encapsulation, NodeMode, Tunnel
from mobileip.forwarding.loader import load, unload
from mobileip.forwarding.rules import ETHERNET
from tests.forwarding import worlds
from tests.forwarding.comparison import CONTEXT
from tests.forwarding.conftest import Namespace
from tests.forwarding.frames import ethernet
from tests.forwarding.test_rules_equal_programs import interfaces
from tests.recording import write_capture

__all__ = ["interfaces"]
pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(
        shutil.which("tshark") is None or shutil.which("tcpdump") is None, reason="needs tshark and tcpdump"
    ),
]

GATEWAY_MAC = bytes.fromhex("020000000020")
IN_UDP_OF = {Encapsulation.UDP: 4, Encapsulation.UDP_GRE: 47, Encapsulation.UDP_MINIMAL: 55}


@dataclass(frozen=True)
class Emitted:
    """A packet that a program made of another one."""

    encapsulation: Encapsulation
    key: int | None
    ends: tuple[str, str]
    original: Packet
    """With its TTL one less where a program forwarded it."""
    packet: bytes


def originals(source: IPv4Address, destination: IPv4Address) -> list[Packet]:
    """ESP and IKE on both of its ports, whole and right."""
    ip = IP(src=str(source), dst=str(destination), id=7, flags="DF", ttl=64)
    ike = ISAKMP(init_cookie=b"initiate", exch_type=34, flags=8)
    return [
        IP(bytes(each))
        for each in (
            ip / ESP(spi=0x1000, seq=1, data=bytes(range(200))),
            ip / UDP(sport=500, dport=500) / ike,
            ip / UDP(sport=4500, dport=4500) / (bytes(4) + bytes(ike)),
        )
    ]


def forwarded(packet: Packet) -> Packet:
    copied = packet.copy()
    copied.ttl -= 1
    del copied.chksum
    return IP(bytes(copied))


def run(pin_dir: Path, program: str, mac: bytes, packet: Packet, ifindex: int) -> bytes:
    """The packet that a program sends instead."""
    frame = ethernet(mac, GATEWAY_MAC, bytes(packet))
    code, changed = Program(pin_dir / "programs" / program).test_run(frame, CONTEXT.pack(0, ifindex, 0, 0))
    assert code == 7, f"{program} of {packet.summary()}: {code}, not redirected"
    return changed[ETHERNET:]


def emit(object_path: Path, pin_dir: Path, indices: dict[str, int]) -> list[Emitted]:
    """What the proxy sends to its nodes and home agents, and what nodes send to it."""
    now = time.time()
    load(object_path, pin_dir, [], programs=list(worlds.PROGRAMS), max_bindings=1024)
    try:
        return [
            emitted
            for world in worlds.worlds(now, indices["pub"], indices["priv"], indices["mip1"])
            if world.tables.proxy is not None and world.programs is worlds.PROGRAMS
            for emitted in of_world(pin_dir, world, indices, now)
        ]
    finally:
        unload(pin_dir, [])


def of_world(pin_dir: Path, world: worlds.World, indices: dict[str, int], now: float) -> Iterator[Emitted]:
    world.write(pin_dir, now)
    proxy, path = world.tables.proxy, world.tables.mobile_node
    assert proxy is not None
    if proxy.passes != IPSEC or proxy.wire_ifindex is not None:
        return
    for (gateway, home), bound in world.tables.bindings.items():
        tunnel = bound.tunnels[0]
        if gateway == worlds.GATEWAY and len(bound.tunnels) == 1 and is_open(tunnel, now):
            ends = str(proxy.public_address), str(tunnel.care_of)
            for packet in originals(gateway, home):
                sent = run(pin_dir, "proxy_pub", worlds.PUBLIC_MAC, packet, indices["pub"])
                yield Emitted(tunnel.encapsulation, tunnel.gre_key, ends, forwarded(packet), sent)
    if path is not None and path.mode is NodeMode.TUNNEL and path.gateways:
        for packet in originals(path.home_address, path.gateways[0]):
            sent = run(pin_dir, "mn_egress", worlds.PUBLIC_MAC, packet, indices["pub"])
            yield Emitted(path.encapsulation, path.gre_key, (str(path.care_of), str(path.peer)), packet, sent)


def is_open(tunnel: Tunnel, now: float) -> bool:
    return tunnel.expires > now and tunnel.care_of != worlds.GATEWAY and (bool(tunnel.port) or not tunnel.half_bound)


@pytest.fixture(scope="module")
def emitted(interfaces: tuple[Namespace, dict[str, int]], bpf_object: Path, bpffs: Path) -> list[Emitted]:
    namespace, indices = interfaces
    return namespace.run(emit, bpf_object, bpffs / "decoders", indices)


def uncovered(each: Emitted) -> bytes:
    """A packet as it would be without UDP: what is behind the MIP-UDP header, said by Scapy, by itself."""
    data = IP(each.packet)[MobileIPTunnelData]
    assert data.nexthdr == IN_UDP_OF[each.encapsulation]
    return bytes(IP(src=each.ends[0], dst=each.ends[1], proto=data.nexthdr) / bytes(data.payload))


def plain(emitted: list[Emitted]) -> list[tuple[Emitted, bytes]]:
    """Every emitted packet, those in UDP without it."""
    return [(each, uncovered(each) if each.encapsulation.in_udp else each.packet) for each in emitted]


def tshark(packets: list[bytes], directory: Path, *fields: str) -> list[tuple[str, ...]]:
    file = directory / "packets.pcap"
    write_capture(file, dict(enumerate(packets)))
    command = ["tshark", "-n", "-r", str(file), "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    command += ["-T", "fields", "-E", "occurrence=a", *(word for field in fields for word in ("-e", field))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert len(lines) == len(packets)
    return [tuple(line.split("\t")) for line in lines]


def tcpdump(packets: list[bytes], directory: Path) -> list[str]:
    """What it says of each packet, on one line."""
    file = directory / "packets.pcap"
    write_capture(file, dict(enumerate(packets)))
    command = ["tcpdump", "-nn", "-vv", "-tt", "-r", str(file)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace():
            found[-1] += " " + line.strip()
        else:
            found.append(line)
    assert len(found) == len(packets)
    return found


def test_there_is_every_encapsulation_with_and_without_a_key(emitted: list[Emitted]) -> None:
    keyed = {each.encapsulation for each in emitted if each.key is not None}
    assert {each.encapsulation for each in emitted if each.key is None} == set(Encapsulation)
    assert keyed == {Encapsulation.GRE, Encapsulation.UDP_GRE}


def test_tshark_reads_outer_and_inner_headers_R3519_3_3_a(emitted: list[Emitted], tmp_path: Path) -> None:
    fields = ("_ws.malformed", "ip.checksum.status", "ip.proto", "ip.src", "ip.dst", "mip.type", "mip.nattt.nexthdr")
    seen = tshark([each.packet for each in emitted], tmp_path, *fields, "udp.checksum")
    for each, (malformed, sums, protocols, sources, destinations, *mip, udp_sums) in zip(emitted, seen, strict=True):
        assert malformed == ""
        assert set(sums.split(",")) == {"1"}, "all checksums of IP headers are good"
        assert protocols.split(",")[0] == str(each.encapsulation.protocol)
        assert (sources.split(",")[0], destinations.split(",")[0]) == each.ends
        header = IN_UDP_OF.get(each.encapsulation)
        assert mip == (["4", str(header)] if header is not None else ["", ""])
        assert header is None or udp_sums.split(",")[0] == "0x0000"


def test_tshark_and_tcpdump_read_gre_and_its_key_R2784_2_1_a(emitted: list[Emitted], tmp_path: Path) -> None:
    found = [(each, packet) for each, packet in plain(emitted) if each.encapsulation.next_header == 47]
    packets = [packet for _, packet in found]
    fields = ("_ws.malformed", "frame.protocols", "gre.key", "gre.proto", "ip.src", "ip.dst", "ip.checksum.status")
    said = tcpdump(packets, tmp_path)
    for (each, _), seen, words in zip(found, tshark(packets, tmp_path, *fields), said, strict=True):
        malformed, protocols, key, kind, sources, destinations, sums = seen
        assert (malformed, kind, set(sums.split(","))) == ("", "0x0800", {"1"})
        assert protocols.startswith("raw:ip:gre:ip:")
        assert key == ("" if each.key is None else f"0x{each.key:08x}")
        inner = each.original.src, each.original.dst
        assert (sources.split(",")[1], destinations.split(",")[1]) == inner
        assert "GREv0" in words
        assert ("key present" in words, f"key=0x{each.key or 0:x}" in words) == (each.key is not None,) * 2
        assert "bad" not in words


def test_tcpdump_reads_minimal_encapsulation_and_its_checksum_R2004_3_a(emitted: list[Emitted], tmp_path: Path) -> None:
    found = [(each, packet) for each, packet in plain(emitted) if each.encapsulation.next_header == 55]
    for (each, _), words in zip(found, tcpdump([packet for _, packet in found], tmp_path), strict=True):
        inner = each.original
        assert f"mobile: [S] {inner.src} > {inner.dst} (oproto={inner.proto})" in words
        assert "bad" not in words
    packet = found[0][1]
    (words,) = tcpdump([packet[:22] + bytes([packet[22] ^ 1]) + packet[23:]], tmp_path)
    assert "bad checksum" in words, "tcpdump does look at it"


def test_scapy_finds_the_packet_as_it_was_R2003_3_1_a_and_R2003_3_1_c(emitted: list[Emitted]) -> None:
    for each, packet in plain(emitted):
        outer = IP(packet)
        assert IP(each.packet).flags == each.original.flags, "DF is kept"
        if each.encapsulation.next_header == 55:  # the one header says what both did (RFC 2004 3.1)
            header, payload = bytes(outer.payload)[:12], bytes(outer.payload)[12:]
            assert header[:2] == bytes([each.original.proto, 0x80])
            assert payload == bytes(each.original.payload)
            continue
        inner = outer.payload
        if each.encapsulation.next_header == 47:
            assert isinstance(inner, GRE)
            assert (inner.key_present, inner.key if inner.key_present else None) == (each.key is not None, each.key)
            inner = inner.payload
        assert bytes(inner) == bytes(each.original)
