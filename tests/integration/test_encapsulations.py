"""Every encapsulation with everything a node sends: ping, TCP in full-size segments, IKE; across NAT and foreign agent.

Once with two boxes and once with one. The wires keep their offloads, so that TCP comes in merged segments with
checksums left to the device. Inside, every payload holds a marker; the stand-in for ESP inverts what it carries, so a
capture in which the marker is found has seen a packet in clear.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.utils import RawPcapReader

from tests.integration.site import CN, GATEWAY, HOME, MIPP_PUB, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(
        os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("clang", "tcpdump", "conntrack")),
        reason="needs root, clang, tcpdump and conntrack",
    ),
    pytest.mark.timeout(300),
]

CARE_OF = {"open": "198.51.100.10", "fa": "198.51.100.100"}
HOME_AGENT, MIPP_PRIV = "192.0.2.40", "192.0.2.10"
KEY, AGENT_KEY = 0x0A0B0C0D, 434
LINK_MTU, ESP_TUNNEL = 1500, 28
OVERHEAD = {"ipip": 20, "gre": 28, "minimal": 12, "udp": 32, "udp-gre": 40, "udp-minimal": 24}
"""Bytes that a tunnel adds: GRE with its key, minimal encapsulation with the source."""
MARKER = b"never in clear outside. "
MIPP_PUB_BYTES = IPv4Address(MIPP_PUB).packed
PIECES, FULL = 40_000, 1000
"""Of a stream's data, and how many full-size segments that makes at least."""
_ICMP, _IPIP, _UDP, _GRE, _ESP, _MINIMAL = 1, 4, 17, 47, 50, 55

_TALK = """
import hashlib, select, socket, sys, threading
here, there = sys.argv[1:]

def stream(server):
    while True:
        channel, _ = server.accept()
        digest = hashlib.sha256()
        with channel:
            while data := channel.recv(1 << 16):
                digest.update(data)
            channel.sendall(digest.digest())

threading.Thread(target=stream, args=(socket.create_server((here, 5001)),), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    data = b"".join(sys.argv[2].encode() + b"never in clear outside. %010d" % number for number in range(int(line)))
    try:
        with socket.create_connection((there, 5001), timeout=25, source_address=(here, 0)) as channel:
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR)
            arrived = channel.recv(64, socket.MSG_WAITALL)
        print("equal" if arrived == hashlib.sha256(data).digest() else "different", file=sys.stderr)
    except OSError as exc:
        print(exc, file=sys.stderr)
"""
"""A host that takes TCP streams and sends some, of as many pieces as the line says; compared by hash at the end."""

_IKE = """
import select, socket, sys
here, there = sys.argv[1:]
ports = {}
for port in (500, 4500):
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((here, port))
    ports[channel] = port
print("ready", flush=True)
while True:
    for ready in select.select([sys.stdin, *ports], [], [])[0]:
        if ready is sys.stdin:
            for size in map(int, sys.stdin.readline().split()):
                for channel, port in ports.items():
                    channel.sendto(bytes(index % 251 for index in range(size)), (there, port))
        else:
            data, (source, port) = ready.recvfrom(1 << 16)
            is_whole = (source, port) == (there, ports[ready]) and data == bytes(i % 251 for i in range(len(data)))
            print(port, len(data), "whole" if is_whole else "spoilt", file=sys.stderr)
"""
"""Sends datagrams of the sizes on a line from both ports of IKE, and tells what comes."""


class Case(NamedTuple):
    """One way from the node to the proxy, and one on to the home agent."""

    place: str
    encapsulation: str
    """In the words of `show bindings`."""
    home_agent_leg: str

    @property
    def longest(self) -> int:
        """Bytes of its tunnel packets with ESP: room is left for fragments, which need IP in IP (RFC 2004 3)."""
        return LINK_MTU - (OVERHEAD["ipip"] - OVERHEAD["minimal"] if self.encapsulation == "minimal" else 0)


def cases() -> Iterator[Case]:
    """Without a NAT and behind one, from the node itself and from its foreign agent; the other leg always differs."""
    legs = cycle(("minimal", "ipip", "gre"))
    for place in CARE_OF:
        for encapsulation in OVERHEAD:
            yield Case(place, encapsulation, next(legs))


@dataclass(frozen=True)
class Tunnelled:
    """What a capture shows of one packet of a tunnel."""

    encapsulation: str
    key: int | None
    source: str
    length: int
    inner: bytes
    """The packet inside; of minimal encapsulation only its payload."""
    protocol: int
    ends: tuple[str, str]
    """Of the packet inside."""
    is_fragment: bool
    """The packet inside."""


def taken_apart(packet: bytes) -> Tunnelled | None:
    """Headers as RFC 2003, 2004, 2784, 2890 and 3519 draw them; None: no tunnel. Not by the code under test."""
    protocol, at, prefix = packet[9], (packet[0] & 15) * 4, ""
    if protocol == _UDP:
        if packet[at + 8] != 4 or 434 not in (
            int.from_bytes(packet[at : at + 2]),
            int.from_bytes(packet[at + 2 : at + 4]),
        ):
            return None
        protocol, at, prefix = packet[at + 9], at + 12, "udp-"
    outside = str(IPv4Address(packet[12:16])), len(packet)
    key = None
    if protocol == _MINIMAL:
        inner, source = packet[at:], packet[12:16]
        if inner[1] & 0x80:
            source = inner[8:12]
        ends = str(IPv4Address(source)), str(IPv4Address(inner[4:8]))
        carried = inner[12 if inner[1] & 0x80 else 8 :]
        return Tunnelled(prefix + "minimal", key, *outside, carried, inner[0], ends, is_fragment=False)
    if protocol == _GRE:
        has_key = bool(packet[at] & 0x20)
        assert packet[at + 2 : at + 4] == b"\x08\x00"
        key = int.from_bytes(packet[at + 4 : at + 8]) if has_key else None
        at += 8 if has_key else 4
    elif protocol != _IPIP:
        return None
    inner = packet[at:]
    name = {_GRE: prefix + "gre", _IPIP: prefix + "ipip"}[protocol].replace("udp-ipip", "udp")
    ends = str(IPv4Address(inner[12:16])), str(IPv4Address(inner[16:20]))
    return Tunnelled(name, key, *outside, inner, inner[9], ends, bool(int.from_bytes(inner[6:8]) & 0x3FFF))


class Capture:
    """The IPv4 packets of one wire, whole."""

    def __init__(self, file: Path) -> None:
        self.frames = [bytes(frame) for frame, _ in RawPcapReader(str(file))]
        self.packets = [self._trimmed(frame[14:]) for frame in self.frames]

    @staticmethod
    def _trimmed(packet: bytes) -> bytes:
        return packet[: int.from_bytes(packet[2:4]) or len(packet)]

    def has_marker(self) -> bool:
        return any(MARKER in frame for frame in self.frames)

    def tunnelled(self, *ends: str) -> list[Tunnelled]:
        """Tunnel packets with these outer addresses, in either direction."""
        addresses = [{packet[12:16], packet[16:20]} for packet in self.packets]
        wanted = {IPv4Address(end).packed for end in ends}
        found = [taken_apart(packet) for packet, each in zip(self.packets, addresses, strict=True) if wanted <= each]
        return [packet for packet in found if packet is not None]


@contextmanager
def captured(site: Site, *wires: str) -> Iterator[dict[str, Capture]]:
    """What passes on wires; complete when the block is left."""
    found: dict[str, Capture] = {}
    files = {wire: site.directory / f"{wire}.pcap" for wire in wires}
    for wire, file in files.items():
        log = site.directory / f"capture-{wire}.log"
        log.unlink(missing_ok=True)
        # Of the buffer every packet takes as much as the longest may have: 64 KiB where segments come merged.
        room = ("-s", "65600", "-B", "65536") if wire == "mipp-priv" else ("-s", "2048", "-B", "32768")
        command = ["tcpdump", "-i", wire, "--immediate-mode", "-n", *room, "-U", "-w", str(file), "ip"]
        site.spawn(f"capture-{wire}", "wires", command)
    for wire in wires:
        until(lambda: "listening on" in site.log(f"capture-{wire}"))  # noqa: B023 - called at once
    try:
        yield found
    finally:
        for wire in wires:
            capture = site.processes.pop(f"capture-{wire}")
            capture.send_signal(signal.SIGTERM)
            capture.wait(10)
    for wire, file in files.items():
        assert "\n0 packets dropped by kernel" in site.log(f"capture-{wire}")
        found[wire] = Capture(file)


class Talkers:
    """Programs at both ends that stream and speak as IKE does, for as long as the site stands."""

    def __init__(self, site: Site) -> None:
        self._site = site
        for host, here, there in (("mn", HOME, CN), ("cn", CN, HOME)):
            self._start(f"stream-{host}", host, _TALK, here, there)
        for name, host, here, there in (("mn", "mn", HOME, GATEWAY), ("gw", site.gateway, GATEWAY, HOME)):
            self._start(f"ike-{name}", host, _IKE, here, there)

    def _start(self, name: str, host: str, program: str, here: str, there: str) -> None:
        command = [sys.executable, "-c", program, here, there]
        process = self._site.spawn(name, host, command, stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", self._site.log(name)

    def say(self, name: str, line: str) -> None:
        stdin = self._site.processes[name].stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()

    def heard(self, name: str) -> list[str]:
        return self._site.log(name).splitlines()

    def stream(self, host: str) -> str:
        """A TCP stream from a host; whether it arrived as it was sent."""
        before = len(self.heard(f"stream-{host}"))
        self.say(f"stream-{host}", str(PIECES))
        return str(until(lambda: self.heard(f"stream-{host}")[before:], 40.0, what=f"end of the stream from {host}")[0])

    def ike(self, sender: str, receiver: str, *sizes: int) -> None:
        """Datagrams of these sizes from both ports of IKE to the same at the other end."""
        expected = Counter(f"{port} {size} whole" for port in (500, 4500) for size in sizes)
        before = len(self.heard(f"ike-{receiver}"))
        self.say(f"ike-{sender}", " ".join(map(str, sizes)))

        def arrived() -> Counter[str]:
            return Counter(self.heard(f"ike-{receiver}")[before:])

        try:
            until(lambda: arrived() == expected, 5.0)
        except AssertionError:
            assert arrived() == expected, self.heard(f"ike-{sender}")


def switch(site: Site, case: Case) -> None:
    """Live, as an operator would; the node registers anew."""
    table = "add table ip behind; delete table ip behind; "
    if case.encapsulation.startswith("udp"):
        nodes = ", ".join(CARE_OF.values())
        table += (
            "add table ip behind; add chain ip behind post { type nat hook postrouting priority 100 ; }; "
            f"add rule ip behind post oifname dmz ip saddr {{ {nodes} }} masquerade"
        )
    site.run("inet", "nft", table)
    site.run("inet", "conntrack", "-F")
    inside = case.encapsulation.removeprefix("udp").removeprefix("-") or "ipip"
    if site.where != case.place:
        site.move(case.place)
    site.reconfigure("mipp", haleg={"encapsulation": case.home_agent_leg, "gre_key": AGENT_KEY})
    site.reconfigure("mn", encapsulation=inside, encapsulate="gateways")
    until(lambda: is_so(site, case), 15.0, what=f"{case}: {site.show('mipp', 'bindings')} {site.log('mn')[-1500:]}")
    mtu = case.longest - OVERHEAD[case.encapsulation] - ESP_TUNNEL
    for host in ("mn", site.gateway):
        site.run(host, "ip", "link", "set", "esp0", "mtu", str(mtu))
    until(lambda: site.ping(1) == 1, 10.0, what=f"{case}: {site.show('mipp', 'drops')} {site.show('mn', 'drops')}")


def is_so(site: Site, case: Case) -> bool:
    rows = site.show("mipp", "bindings")
    found = [(row["encapsulation"], row["care_of_address"], row["half_bound"]) for row in rows]
    return found == [(case.encapsulation, CARE_OF[case.place], False)]


@dataclass(frozen=True)
class Ground:
    """A site, and who talks there."""

    site: Site
    talkers: Talkers


@pytest.fixture(scope="module", params=[False, True], ids=["two boxes", "one box"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with running(tmp_path_factory.mktemp("site"), one_box=request.param, offloads=True) as site:
        site.reconfigure("mipp", encapsulations={"gre_key": KEY})
        site.reconfigure("ha", encapsulations={"granted": ["gre", "minimal"], "gre_key": AGENT_KEY})
        site.reconfigure("fa", encapsulations={"gre_key": KEY})
        site.reconfigure("mn", gre_key=KEY)
        yield Ground(site, Talkers(site))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.encapsulation} from {case.place}")
def test_ping_tcp_and_ike_pass_and_nothing_else_does(ground: Ground, case: Case) -> None:
    site, talkers = ground.site, ground.talkers
    switch(site, case)
    outside, sizes = f"inet-{case.place}", [300, 1200]
    if case.encapsulation != "udp-minimal":  # which carries no fragments
        sizes.append(2000)
    with captured(site, outside, "mipp-pub", "mipp-priv") as wires:
        assert site.ping() == 3
        assert " 3 received" in site.run("cn", "ping", "-q", "-c3", "-i0.05", "-W1", HOME).stdout
        assert talkers.stream("mn") == "equal"
        assert talkers.stream("cn") == "equal"
        talkers.ike("mn", "gw", *sizes)
        talkers.ike("gw", "mn", *sizes)
    check_outside(wires[outside], case)
    check_tunnels(wires["mipp-pub"].tunnelled(MIPP_PUB), case)
    check_home_agent_leg(wires["mipp-priv"].tunnelled(HOME_AGENT, MIPP_PRIV), case)
    assert [wire for wire, capture in wires.items() if capture.has_marker()] == ["mipp-priv"]


def check_outside(capture: Capture, case: Case) -> None:
    """Registrations, tunnels, and the node may ask its own link for agents (RFC 5944 2.2): no other packet."""
    tunnels = capture.tunnelled(MIPP_PUB)
    others = [packet for packet in capture.packets if taken_apart(packet) is None]
    asked = [packet for packet in others if packet[9] == _ICMP and packet[16:20] == IPv4Address("224.0.0.2").packed]
    registrations = [packet for packet in others if packet[9] == _UDP and MIPP_PUB_BYTES in packet[12:20]]
    assert len(others) == len(asked) + len(registrations), [packet.hex() for packet in others]
    assert len(tunnels) + len(others) == len(capture.packets)
    check_tunnels(tunnels, case)


def check_tunnels(tunnels: list[Tunnelled], case: Case) -> None:
    """All by one encapsulation, as long as the link takes, with ESP and IKE between node and gateway in them."""
    by_ip_in_ip = [each for each in tunnels if case.encapsulation == "minimal" and each.is_fragment]
    assert {each.encapsulation for each in by_ip_in_ip} <= {"ipip"}
    whole = [each for each in tunnels if each not in by_ip_in_ip]
    assert {(each.encapsulation, each.key) for each in whole} == {(case.encapsulation, key_of(case.encapsulation, KEY))}
    keepalives = [each for each in whole if case.encapsulation.startswith("udp") and set(each.ends) == {HOME, MIPP_PUB}]
    assert {each.protocol for each in keepalives} <= {_ICMP}
    assert {frozenset(each.ends) for each in tunnels if each not in keepalives} == {frozenset({HOME, GATEWAY})}
    assert {each.protocol for each in tunnels if each not in keepalives} == {_ESP, _UDP}
    # Of merged segments the kernel makes shorter ones on their way into the home agent's tunnel, by what that adds.
    shorter = max(OVERHEAD["ipip"], OVERHEAD[case.home_agent_leg])
    for is_from_proxy, shortest in ((True, case.longest - shorter), (False, case.longest)):
        lengths = Counter(each.length for each in tunnels if (each.source == MIPP_PUB) is is_from_proxy)
        assert max(lengths) <= LINK_MTU, lengths
        assert sum(count for length, count in lengths.items() if length >= shortest) > FULL, lengths


def check_home_agent_leg(tunnels: list[Tunnelled], case: Case) -> None:
    """Echo requests and clear TCP, merged segments among it; these are not for minimal encapsulation (RFC 2004 3)."""
    leg = case.home_agent_leg
    assert {(each.encapsulation, each.key) for each in tunnels if each.protocol == _ICMP} == {
        (leg, key_of(leg, AGENT_KEY))
    }
    merged = {each.encapsulation for each in tunnels if each.length > LINK_MTU}
    assert merged == {"ipip" if leg == "minimal" else leg}
    assert {each.encapsulation for each in tunnels} == {leg} | merged
    assert {each.ends for each in tunnels} == {(CN, HOME)}


def key_of(encapsulation: str, key: int) -> int | None:
    return key if encapsulation.endswith("gre") else None
