"""Mobile IPv4 only: no IPv6 packet crosses a firewall or the proxy, even where the host's kernel would forward it.

For each test the hosts on both sides get documentation addresses (RFC 3849), and the one between them forwards IPv6.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from roaming.lab_hosts import LabHosts

from lab.commands import run

NETWORKS = ("2001:db8:a::", "2001:db8:b::")
SENT = 3
"""Echo requests, and as many datagrams to UDP 434, that one side sends to the other."""
MIP_PORT = 434


@dataclass(frozen=True)
class End:
    """A host beside the firewall, its interface there, and the segment between them."""

    host: str
    interface: str
    segment: str


@dataclass(frozen=True)
class Crossing:
    """A host that must forward nothing, its two interfaces, and who is beyond each of them."""

    host: str
    interfaces: tuple[str, str]
    ends: tuple[End, End]

    def ways(self) -> list[tuple[int, int]]:
        """Return the two directions, as indices of the sender and the receiver."""
        return [(0, 1), (1, 0)]


CROSSINGS = [
    Crossing("outer_fw", ("outside", "dmz"), (End("internet", "dmz", "outside"), End("mipp", "pub", "dmz_public"))),
    Crossing("inner_fw", ("dmz", "core"), (End("vpngw", "priv", "dmz_private"), End("cn", "eth0", "core"))),
    Crossing("mipp", ("pub", "priv"), (End("outer_fw", "dmz", "dmz_public"), End("inner_fw", "dmz", "dmz_private"))),
]


def of_end(index: int) -> str:
    return f"{NETWORKS[index]}1"


def of_firewall(index: int) -> str:
    return f"{NETWORKS[index]}f"


@pytest.fixture(params=CROSSINGS, ids=lambda crossing: crossing.host)
def crossing(request: pytest.FixtureRequest, hosts: LabHosts) -> Iterator[Crossing]:
    """Both sides with IPv6 addresses and routes, and a kernel between them that forwards; all of it undone."""
    found: Crossing = request.param
    setting = "net.ipv6.conf.all.forwarding"
    before = hosts.run(found.host, ["sysctl", "-n", setting]).stdout.strip()
    with ExitStack() as stack:

        def configure(host: str, *words: str) -> None:
            hosts.run(host, ["ip", "-6", words[0], "add", *words[1:]])
            stack.callback(hosts.run, host, ["ip", "-6", words[0], "del", *[w for w in words[1:] if w != "nodad"]])

        for index, end in enumerate(found.ends):
            configure(end.host, "address", f"{of_end(index)}/64", "dev", end.interface, "nodad")
            configure(found.host, "address", f"{of_firewall(index)}/64", "dev", found.interfaces[index], "nodad")
        stack.callback(hosts.run, found.host, ["sysctl", "-q", "-w", f"{setting}={before}"])
        hosts.run(found.host, ["sysctl", "-q", "-w", f"{setting}=1"])
        for index, end in enumerate(found.ends):
            beyond = f"{NETWORKS[1 - index]}/64"
            configure(end.host, "route", beyond, "via", of_firewall(index), "dev", end.interface)
        yield found


@contextmanager
def admitted(hosts: LabHosts, firewall: str) -> Iterator[None]:
    """Let these addresses, and nothing else, through the firewall's own table while the block runs."""
    rule = ["inet", "mobileip_dmz", "forward", "ip6", "daddr", "2001:db8::/32", "accept"]
    said = hosts.run(firewall, ["nft", "--echo", "--handle", "insert", "rule", *rule]).stdout
    handle = re.search(r"# handle (\d+)", said)
    assert handle is not None, said
    try:
        yield
    finally:
        hosts.run(firewall, ["nft", "delete", "rule", *rule[:3], "handle", handle[1]])


@dataclass(frozen=True)
class Frame:
    """An IPv6 frame on a segment."""

    eth_destination: str
    source: str
    destination: str


@contextmanager
def captured(hosts: LabHosts, segments: list[str], directory: Path) -> Iterator[dict[str, list[Frame]]]:
    """Capture what is between these networks while the block runs; the lists are filled when it has ended."""
    frames: dict[str, list[Frame]] = {segment: [] for segment in segments}
    selected = " and ".join(f"ip6 net {network}/64" for network in NETWORKS)
    running = {}
    for segment in segments:
        argv = ["tcpdump", "-n", "-U", "-i", hosts.bridge(segment), "-w", str(directory / segment), selected]
        running[segment] = subprocess.Popen(
            hosts.capture_command(segment, argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        # The file's header is written when the interface is open.
        hosts.wait_until(
            "tcpdump runs",
            lambda: all((directory / s).exists() and (directory / s).stat().st_size >= 24 for s in segments),
            10,
        )
        yield frames
        time.sleep(0.5)
    finally:
        for process in running.values():
            process.terminate()
            process.wait(10)
    for segment in segments:
        fields = [word for name in ("eth.dst", "ipv6.src", "ipv6.dst") for word in ("-e", name)]
        lines = run(["tshark", "-n", "-r", str(directory / segment), "-T", "fields", *fields]).splitlines()
        frames[segment] += [Frame(*line.split("\t")) for line in lines]


def send(hosts: LabHosts, sender: End, to: str) -> bool:
    """Send echo requests and datagrams to UDP 434; whether an echo came back."""
    program = (
        "import socket,sys;s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);"
        f"[s.sendto(bytes(24),(sys.argv[1],{MIP_PORT})) for _ in range({SENT})]"
    )
    hosts.run(sender.host, ["python3", "-c", program, to])
    ping = ["ping", "-6", "-n", "-c", str(SENT), "-i", "0.1", "-W", "1", to]
    return hosts.run(sender.host, ping, check=False).returncode == 0


def test_no_ipv6_packet_is_forwarded_though_it_arrives(hosts: LabHosts, crossing: Crossing, tmp_path: Path) -> None:
    before = hosts.firewall_drops(crossing.host)
    with captured(hosts, [end.segment for end in crossing.ends], tmp_path) as frames:
        answered = [send(hosts, crossing.ends[sender], of_end(receiver)) for sender, receiver in crossing.ways()]
    assert answered == [False, False]
    for sender, receiver in crossing.ways():
        arrived = frames[crossing.ends[sender].segment]
        mac = hosts.mac(crossing.host, crossing.interfaces[sender])
        assert arrived == [Frame(mac, of_end(sender), of_end(receiver))] * 2 * SENT
    assert hosts.firewall_drops(crossing.host) - before >= 4 * SENT


def test_what_stops_it_is_our_table_and_not_the_lab(hosts: LabHosts, crossing: Crossing, tmp_path: Path) -> None:
    with admitted(hosts, crossing.host), captured(hosts, [end.segment for end in crossing.ends], tmp_path) as frames:
        answered = [send(hosts, crossing.ends[sender], of_end(receiver)) for sender, receiver in crossing.ways()]
    assert answered == [True, True]
    for sender, receiver in crossing.ways():
        far = {(frame.source, frame.destination) for frame in frames[crossing.ends[receiver].segment]}
        assert (of_end(sender), of_end(receiver)) in far
