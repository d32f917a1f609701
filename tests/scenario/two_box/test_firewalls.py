"""What both firewalls admit of Mobile IP, and that it is all: real packets of every kind, seen before and behind them.

Each flow sends every IP protocol, UDP from and to every port below 1024 and some above, and the types of ICMP. Before
the firewall all of it must be seen; behind it exactly what the draft's 1.4.1 and the path's errors need.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from roaming.lab_hosts import LabHosts
from roaming.session import captures
from scapy.utils import RawPcapReader

from mobileip.wire.encapsulation import IPPROTO_ICMP, IPPROTO_UDP, IPv4Packet

Kind = tuple[int, int, int]
"""IP protocol; source and destination port, or type and code of ICMP, or zeros."""

MARK = b"a packet of this test's"
PORT = 50000
PORTS = (*range(1, 1024), 1701, 4500, 4754, 20434, 65535)
ERRORS = ((0, 0), (3, 0), (3, 1), (3, 3), (3, 4), (4, 0), (5, 1), (8, 0), (9, 0), (10, 0), (11, 0), (11, 1), (12, 0))
KINDS: frozenset[Kind] = frozenset(
    {(protocol, 0, 0) for protocol in range(256) if protocol not in (IPPROTO_ICMP, IPPROTO_UDP)}
    | {(IPPROTO_UDP, *ports) for port in PORTS for ports in ((port, PORT), (PORT, port), (port, port))}
    | {(IPPROTO_ICMP, *error) for error in ERRORS}
)
TUNNELS: frozenset[Kind] = frozenset({(4, 0, 0), (47, 0, 0), (55, 0, 0)})
TO_434 = frozenset(kind for kind in KINDS if kind[0] == IPPROTO_UDP and kind[2] == 434)
FROM_434 = frozenset(kind for kind in KINDS if kind[0] == IPPROTO_UDP and kind[1] == 434)
PATH_ERRORS = frozenset({(1, 3, 4), (1, 11, 0), (1, 11, 1)})
UNREACHABLE = frozenset(kind for kind in KINDS if kind[:2] == (IPPROTO_ICMP, 3))
NOTHING: frozenset[Kind] = frozenset()

# Sends what KINDS says, with a header of its own each: in small lots, since the wires have short queues, and twice.
SEND = f"""
import socket, struct, sys, time
source, destination = (socket.inet_aton(text) for text in sys.argv[1:3])
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    def send(protocol, start):
        payload = start + {MARK!r}
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source, destination)
        raw.sendto(header + payload, (sys.argv[2], 0))
    def udp(source_port, destination_port):
        send(17, struct.pack("!HHHH", source_port, destination_port, 8 + {len(MARK)}, 0))
    for _ in range(2):
        for protocol in range(256):
            if protocol not in (1, 17):
                send(protocol, bytes(20))
            if protocol % 32 == 0:
                time.sleep(0.002)
        for kind in {ERRORS!r}:
            # The checksum is of no interest to a firewall, and the end shall not take it for an error.
            send(1, bytes(kind) + bytes(6))
        for number, port in enumerate({PORTS!r}):
            udp(port, {PORT}); udp({PORT}, port); udp(port, port)
            if number % 10 == 0:
                time.sleep(0.002)
"""


@dataclass(frozen=True)
class Flow:
    """Who sends as whom to whom, the segments before and behind the firewall, and what of all kinds gets through."""

    host: str
    source: tuple[str, str] | str
    destination: tuple[str, str] | str
    before: str
    behind: str
    admitted: frozenset[Kind]

    def addresses(self, hosts: LabHosts) -> tuple[str, str]:
        """Return source and destination."""
        ends = (end if isinstance(end, str) else hosts.address(*end) for end in (self.source, self.destination))
        source, destination = ends
        return source, destination


MIPP_PUB, MIPP_PRIV = ("mipp", "pub"), ("mipp", "priv")
VPNGW_PUB, VPNGW_PRIV = ("vpngw", "pub"), ("vpngw", "priv")
HA, CN = ("ha", "core"), ("cn", "eth0")
# An address of the open network that nobody has.
SOMEBODY, ANYBODY = "198.51.100.30", "198.51.100.29"
INWARDS, OUTWARDS = ("outside", "dmz_public"), ("dmz_public", "outside")
OUTER = {
    "from anywhere to MIPP-Pub": Flow("internet", SOMEBODY, MIPP_PUB, *INWARDS, TUNNELS | TO_434 | PATH_ERRORS),
    "from anywhere to VPNGW-Pub": Flow("internet", SOMEBODY, VPNGW_PUB, *INWARDS, PATH_ERRORS),
    "from outside with an inside source": Flow("internet", CN, MIPP_PUB, *INWARDS, NOTHING),
    "from outside with a source of the DMZ": Flow("internet", VPNGW_PUB, MIPP_PUB, *INWARDS, NOTHING),
    "from MIPP-Pub to anywhere": Flow("mipp", MIPP_PUB, ANYBODY, *OUTWARDS, TUNNELS | FROM_434),
    "from VPNGW-Pub to anywhere": Flow("vpngw", VPNGW_PUB, ANYBODY, *OUTWARDS, NOTHING),
}
UPWARDS, DOWNWARDS = ("dmz_private", "core"), ("core", "dmz_private")
INNER = {
    "from MIPP-Priv to a home agent": Flow("mipp", MIPP_PRIV, HA, *UPWARDS, TUNNELS | TO_434 | PATH_ERRORS),
    "from MIPP-Priv to another host": Flow("mipp", MIPP_PRIV, CN, *UPWARDS, PATH_ERRORS),
    "from VPNGW-Priv to a home agent": Flow("vpngw", VPNGW_PRIV, HA, *UPWARDS, PATH_ERRORS),
    "from MIPP-Pub to a host inside": Flow("mipp", MIPP_PUB, CN, *UPWARDS, FROM_434 | PATH_ERRORS),
    "from a home agent to MIPP-Priv": Flow(
        "ha", HA, MIPP_PRIV, *DOWNWARDS, TUNNELS | FROM_434 | UNREACHABLE | PATH_ERRORS
    ),
    "from another host to MIPP-Priv": Flow("cn", CN, MIPP_PRIV, *DOWNWARDS, UNREACHABLE | PATH_ERRORS),
    "from a home agent to VPNGW-Priv": Flow("ha", HA, VPNGW_PRIV, *DOWNWARDS, PATH_ERRORS),
    "from a host inside to MIPP-Pub": Flow("cn", CN, MIPP_PUB, *DOWNWARDS, TO_434 | PATH_ERRORS),
}


def kinds_in(capture: Path) -> dict[tuple[str, str], set[Kind]]:
    """Return by source and destination what is in a capture of the packets that `SEND` sends."""
    found: dict[tuple[str, str], set[Kind]] = {}
    with RawPcapReader(str(capture)) as frames:
        for frame, _ in frames:
            if frame[12:14] != b"\x08\x00" or not frame.rstrip(b"\0").endswith(MARK):
                continue
            packet = IPv4Packet.parse(frame[14:])
            if packet.protocol == IPPROTO_ICMP and len(packet.payload) != 8 + len(MARK):
                continue  # somebody's answer, which quotes one of them
            found.setdefault((str(packet.source), str(packet.destination)), set()).add(_kind(packet))
    return found


def _kind(packet: IPv4Packet) -> Kind:
    start = packet.payload[:4]
    if packet.protocol == IPPROTO_UDP:
        return IPPROTO_UDP, int.from_bytes(start[:2]), int.from_bytes(start[2:])
    return (IPPROTO_ICMP, start[0], start[1]) if packet.protocol == IPPROTO_ICMP else (packet.protocol, 0, 0)


Seen = dict[str, dict[tuple[str, str], set[Kind]]]


def _send_all(hosts: LabHosts, flows: Iterable[Flow], directory: Path) -> Seen:
    flows = list(flows)
    segments = sorted({segment for flow in flows for segment in (flow.before, flow.behind)})
    with captures(hosts, segments, directory) as files:
        for flow in flows:
            hosts.run(flow.host, ["python3", "-c", SEND, *flow.addresses(hosts)])
    return {segment: kinds_in(file) for segment, file in files.items()}


@pytest.fixture(scope="module")
def at_outer(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return _send_all(hosts, OUTER.values(), tmp_path_factory.mktemp("outer"))


@pytest.fixture(scope="module")
def at_inner(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return _send_all(hosts, INNER.values(), tmp_path_factory.mktemp("inner"))


def _judge(hosts: LabHosts, seen: Seen, flow: Flow) -> None:
    ends = flow.addresses(hosts)
    arrived, passed = seen[flow.before].get(ends, set()), seen[flow.behind].get(ends, set())
    assert KINDS - arrived == set(), "not all of it came to the firewall"
    assert {"kept out": flow.admitted - passed, "let in": passed - flow.admitted} == {
        "kept out": set(),
        "let in": set(),
    }


@pytest.mark.parametrize("flow", OUTER)
def test_outer_firewall_admits_registrations_and_tunnels_of_the_proxy_and_no_more_D_1_4_1_d_and_D_1_4_1_e(
    hosts: LabHosts, at_outer: Seen, flow: str
) -> None:
    _judge(hosts, at_outer, OUTER[flow])


@pytest.mark.parametrize("flow", INNER)
def test_inner_firewall_admits_registrations_and_tunnels_between_proxy_and_home_agents_and_no_more_D_1_4_1_f(
    hosts: LabHosts, at_inner: Seen, flow: str
) -> None:
    _judge(hosts, at_inner, INNER[flow])
