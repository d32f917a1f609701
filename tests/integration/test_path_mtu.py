"""Paths with short links in the middle: TCP keeps flowing, who sends too much is told, pieces come together.

With two boxes and with one, across a NAT and not, by each encapsulation. Two links carry 1280 bytes, all others 1500
or 9000. One is between two routers on the way to the node (`isp` and `inet`), the other is the DMZ's private segment,
behind the router `inner` as the home agent sees it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.site import CN, EVERY_WAY, GATEWAY, HOME, MIPP_PUB, Site, running, until
from tests.integration.test_encapsulations import KEY, OVERHEAD, Case, switch

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(
        os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("clang", "tcpdump", "tshark")),
        reason="needs root, clang, tcpdump and tshark",
    ),
    pytest.mark.timeout(300),
]

SHORT = 1280
CARE_OF, HOME_AGENT, MIPP_PRIV = "198.51.100.10", "192.0.2.40", "192.0.2.10"
NAT = "203.0.113.1"
IPIP = 20
ESP = 60
"""What the node's VPN adds."""
BYTES = 2_000_000

_RECEIVE = """
import socket, sys
with socket.create_server((sys.argv[1], 5001)) as server:
    print("ready", flush=True)
    while True:
        channel, _ = server.accept()
        total = 0
        with channel:
            while data := channel.recv(65536):
                total += len(data)
            channel.sendall(total.to_bytes(8, "big"))
"""
_SEND = """
import socket, sys
source, to, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.create_connection((to, 5001), timeout=25, source_address=(source, 0)) as channel:
    channel.sendall(bytes(size))
    channel.shutdown(socket.SHUT_WR)
    print(int.from_bytes(channel.recv(8), "big"))
"""
_ASK = """
import errno, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    channel.settimeout(3)
    channel.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: else the kernel keeps this one to itself
    channel.connect((sys.argv[1], 4321))
    channel.send(b"anybody there?")
    try:
        channel.recv(1)
    except OSError as exc:
        print(errno.errorcode.get(exc.errno, str(exc)))
"""


def _lengthen(site: Site, mtu: int) -> None:
    """Every wire, and the segments that they end in; the node's VPN has what its own interface allows."""
    for host, ports in site.ports.items():
        if site.one_box and host == "mipp":
            for interface in ("mip0", "mip1"):
                site.run(host, "ip", "link", "set", "dev", interface, "mtu", str(mtu))
        for interface, segment, _ in ports:
            site.run("wires", "ip", "link", "set", "dev", f"{host}-{interface}", "mtu", str(mtu))
            site.run("wires", "ip", "link", "set", "dev", segment, "mtu", str(mtu))
            site.run(host, "ip", "link", "set", "dev", interface, "mtu", str(mtu))
    for host in ("mn", site.gateway):
        site.run(host, "ip", "link", "set", "esp0", "mtu", str(mtu - ESP))


def _shorten(site: Site, mtu: int) -> None:
    """The DMZ's private segment, and a link between the Internet and a router that takes over the node's network."""
    for host, interface in {("mipp", "priv"), (site.gateway, "priv"), ("inner", "dmz")}:
        site.run(host, "ip", "link", "set", "dev", interface, "mtu", str(SHORT))
    isp = f"{site.prefix}-isp"
    for command in (
        f"netns add {isp}",
        f"-n {isp} link add open mtu {mtu} type veth peer name isp-open mtu {mtu} netns {site.prefix}-wires",
        f"-n {site.prefix}-wires link set isp-open master open up",
        f"-n {isp} link add north mtu {SHORT} type veth peer name isp mtu {SHORT} netns {site.prefix}-inet",
        f"-n {site.prefix}-inet addr del 198.51.100.1/27 dev open",
        f"-n {isp} addr add 198.51.100.1/27 dev open",
        f"-n {isp} addr add 198.18.0.2/30 dev north",
        f"-n {site.prefix}-inet addr add 198.18.0.1/30 dev isp",
        f"-n {isp} link set open up",
        f"-n {isp} link set north up",
        f"-n {site.prefix}-inet link set isp up",
        f"-n {isp} route add default via 198.18.0.1",
        f"-n {site.prefix}-inet route add 198.51.100.0/27 via 198.18.0.2",
    ):
        subprocess.run(["ip", *command.split()], check=True, timeout=10)
    site.run("isp", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
    for host, interface in (("isp", "open"), ("isp", "north"), ("inet", "isp")):
        site.run(host, "sysctl", "-qw", f"net.ipv4.conf.{interface}.rp_filter=0")
        site.run(host, "ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")


class Way(NamedTuple):
    """What is different from site to site; `encapsulation` in the words of `show bindings`."""

    one_box: bool
    mtu: int
    encapsulation: str

    def __str__(self) -> str:
        return f"{'one box' if self.one_box else 'two boxes'}, {self.mtu}, {self.encapsulation}"


UNFIT = "udp-minimal"
WAYS = [
    Way(one_box, (1500, 9000)[(number + one_box) % 2], encapsulation)
    for one_box in (False, True)
    for number, encapsulation in enumerate(OVERHEAD)
    if encapsulation != UNFIT  # which carries no piece of anything: test_minimal_in_udp.py
]
"""In UDP across a NAT, else not."""
USUAL = [Way(one_box=False, mtu=9000, encapsulation="gre"), Way(one_box=True, mtu=1500, encapsulation="udp")]


@pytest.fixture(scope="module", params=WAYS if EVERY_WAY else USUAL, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    assert isinstance(request.param, Way)
    return request.param


@contextmanager
def short_links(way: Way, directory: Path) -> Iterator[Site]:
    with running(directory, one_box=way.one_box) as site:
        try:
            site.reconfigure("mipp", encapsulations={"gre_key": KEY})
            site.reconfigure("mn", gre_key=KEY)
            switch(site, Case("open", way.encapsulation, "ipip"))
            _lengthen(site, way.mtu)
            _shorten(site, way.mtu)
            for host, address in (("cn", CN), ("mn", HOME)):
                receiver = site.spawn(f"receive-{host}", host, [sys.executable, "-c", _RECEIVE, address])
                assert receiver.stdout is not None
                assert receiver.stdout.readline() == b"ready\n"
            until(lambda: site.bindings("mipp") and site.ping(1), 20, what=f"an answer: {site.log('mn')[-1500:]}")
            yield site
        finally:
            subprocess.run(["ip", "netns", "del", f"{site.prefix}-isp"], check=False, timeout=10)


@pytest.fixture(scope="module")
def site(way: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with short_links(way, tmp_path_factory.mktemp("site")) as site:
        yield site


@contextmanager
def errors(site: Site, host: str, interface: str) -> Iterator[list[tuple[str, ...]]]:
    """ICMP errors that pass an interface: source, destination, type, code, MTU. Complete when the block is left."""
    seen: list[tuple[str, ...]] = []
    name, file = f"capture-{host}", site.directory / f"{host}.pcap"
    (site.directory / f"{name}.log").unlink(missing_ok=True)
    command = ["tcpdump", "-i", interface, "--immediate-mode", "-n", "-U", "-w", str(file)]
    capture = site.spawn(name, host, [*command, "icmp[0] == 3 or icmp[0] == 11"])
    until(lambda: "listening on" in site.log(name), 15, what="tcpdump captures")
    try:
        yield seen
    finally:
        del site.processes[name]
        capture.terminate()
        capture.wait(10)
        fields = [word for field in ("src", "dst") for word in ("-e", f"ip.{field}")]
        fields += [word for field in ("type", "code", "mtu") for word in ("-e", f"icmp.{field}")]
        shown = ["tshark", "-n", "-r", str(file), "-T", "fields", "-E", "occurrence=f", *fields]
        lines = subprocess.run(shown, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()
        seen += [tuple(line.split("\t")) for line in lines]


def stream(site: Site, host: str, source: str, to: str) -> int:
    """Bytes that arrive of a TCP stream."""
    done = site.run(host, sys.executable, "-c", _SEND, source, to, str(BYTES), check=False)
    assert done.returncode == 0, f"{done.stderr}\n{site.show('mipp', 'drops')}\n{site.show('ha', 'drops')}"
    return int(done.stdout)


def long_ping(site: Site) -> bool:
    """Whether three packets that are too long, and may be cut, are answered."""
    arguments = ("-c", "3", "-i", "0.2", "-W", "1", "-M", "dont", "-s", "1380", HOME)
    return " 3 received" in site.run("cn", "ping", *arguments, check=False).stdout


def counted(site: Site, host: str, name: str) -> int:
    counters = site.show(host, "counters")
    return int(counters["kernel"]["packets"].get(name, 0) + counters["daemon"].get(name, 0))


def test_pieces_of_tunnel_packets_come_together_before_anybody_knows_of_the_short_link(site: Site, way: Way) -> None:
    """Without DF nobody is told: `inner` cuts the home agent's tunnel packets, and the proxy puts them together.

    The gateway's ESP has DF: on the other leg the first packets are lost, and the gateway is told.
    """
    with errors(site, site.gateway, "any" if way.one_box else "pub") as at_gateway:
        until(lambda: long_ping(site), 20, what=f"answers: {site.show('mipp', 'drops')}")
    assert (MIPP_PUB, GATEWAY, "3", "4", str(SHORT - OVERHEAD[way.encapsulation])) in at_gateway
    before = counted(site, "mipp", "reassembled")
    assert long_ping(site)
    assert counted(site, "mipp", "reassembled") >= before + 3
    assert site.show("ha", "status")["path_mtus"] == {}
    assert site.show("mipp", "status")["path_mtus"] == {NAT if way.encapsulation.startswith("udp") else CARE_OF: SHORT}


def test_a_stream_to_the_node_flows_and_its_source_is_told_R2003_5_1(site: Site) -> None:
    with errors(site, "cn", "eth0") as at_cn:
        assert stream(site, "cn", CN, HOME) == BYTES
    assert (HOME_AGENT, CN, "3", "4", str(SHORT - IPIP)) in at_cn
    assert site.show("ha", "status")["path_mtus"] == {MIPP_PRIV: SHORT}


def test_a_stream_from_the_node_flows_and_its_own_kernel_has_learned(site: Site, way: Way) -> None:
    assert stream(site, "mn", HOME, CN) == BYTES
    assert site.show("mn", "status")["path_mtus"] == {MIPP_PUB: SHORT}
    routes = site.run("mn", "ip", "route", "show", "table", "435").stdout
    # By minimal encapsulation no fragment goes.
    assert f"mtu {SHORT - (IPIP if way.encapsulation == 'minimal' else OVERHEAD[way.encapsulation])}" in routes


def test_what_is_known_to_be_too_long_is_cut_before_the_tunnel_where_it_may_be(site: Site) -> None:
    before = counted(site, "ha", "cut_in_two")
    site.run("cn", "ip", "route", "flush", "cache")  # what it was told: it would cut by itself
    assert long_ping(site), f"{site.show('mipp', 'drops')}{site.show('ha', 'drops')}"
    assert counted(site, "ha", "cut_in_two") >= before + 3


def test_nothing_is_learned_from_an_error_about_a_packet_that_was_never_sent(site: Site) -> None:
    """A packet that quotes a home address which is not bound, or not at this care-of address."""
    before = dict(site.show("mipp", "status")["path_mtus"])
    forge = (
        "from scapy.all import ICMP, IP, Raw, send\n"
        "inner = IP(src='203.0.113.20', dst='192.0.2.77', proto=50, flags='DF') / Raw(bytes(1300))\n"
        "quoted = bytes(IP(src='203.0.113.10', dst='198.51.100.99', proto=4, flags='DF') / Raw(bytes(inner)))[:500]\n"
        "send(IP(dst='203.0.113.10') / ICMP(type=3, code=4, nexthopmtu=600) / Raw(quoted), verbose=False)\n"
    )
    refused = counted(site, "mipp", "foreign_tunnel_error")
    site.run("inet", sys.executable, "-c", forge)
    until(lambda: counted(site, "mipp", "foreign_tunnel_error") == refused + 1, 5, what="counted")
    assert site.show("mipp", "status")["path_mtus"] == before


def test_host_unreachable_about_a_tunnel_reaches_who_sent_what_is_inside_R2003_4(site: Site) -> None:
    site.run("inner", "ip", "route", "add", "unreachable", f"{MIPP_PRIV}/32")
    try:
        answer = site.run("cn", sys.executable, "-c", _ASK, HOME)
    finally:
        site.run("inner", "ip", "route", "del", "unreachable", f"{MIPP_PRIV}/32")
    assert answer.stdout.strip() == "EHOSTUNREACH", f"{answer.stdout}{site.show('ha', 'counters')['daemon']}"
    assert counted(site, "ha", "tunnel_error_relayed") >= 1
