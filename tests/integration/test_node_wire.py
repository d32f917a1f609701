"""What the mobile node puts on its link: packets that are too long for a tunnel, broadcasts, and nothing in clear."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import NamedTuple

import pytest

from tests.integration.site import CN, GATEWAY, HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

LINK_MTU = 1500
_IPIP, _UDP, _ICMP = 4, 17, 1

_CAPTURE = """
import socket, sys
channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
channel.bind((sys.argv[1], 3)); print("ready", flush=True)
while True:
    packet, (_, protocol, kind, *_) = channel.recvfrom(4096)
    if protocol == 0x0800 and kind != socket.PACKET_OUTGOING:
        print(packet.hex(), flush=True)
"""
_WITHOUT_FRAGMENTS = """
import errno, socket, sys
home, to = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, 50) as channel:
    channel.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
    channel.bind((home, 0)); channel.connect((to, 0))
    fits = channel.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU
    try:
        channel.send(bytes(fits - 20 + 1)); print(fits, "sent")
    except OSError as exc:
        print(fits, errno.errorcode[exc.errno])
"""

_TO_EVERYBODY = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    channel.bind((sys.argv[1], 0))
    for to in sys.argv[2:]:
        channel.sendto(b"to everybody", (to, 4321))
"""


class Packet(NamedTuple):
    """An IPv4 header, as far as the tests look at it. `offset` in bytes; `more` fragments follow."""

    source: str
    destination: str
    protocol: int
    length: int
    offset: int
    more: bool
    payload: bytes

    @property
    def is_fragment(self) -> bool:
        return self.more or self.offset > 0


def parsed(packet: bytes) -> Packet:
    start = (packet[0] & 0x0F) * 4
    fragment = int.from_bytes(packet[6:8])
    source, destination = (str(IPv4Address(packet[at : at + 4])) for at in (12, 16))
    length = int.from_bytes(packet[2:4])
    offset, more = (fragment & 0x1FFF) * 8, bool(fragment & 0x2000)
    return Packet(source, destination, packet[9], length, offset, more, packet[start:length])


def inside(packet: Packet) -> Packet:
    """What a tunnel's packet carries: behind IP-in-IP, or behind UDP and the MIP Tunnel Data header."""
    return parsed(packet.payload if packet.protocol == _IPIP else packet.payload[8 + 4 :])


def is_registration(packet: Packet) -> bool:
    """On UDP port 434, and no MIP Tunnel Data message (type 4)."""
    return packet.protocol == _UDP and packet.payload[2:4] == b"\x01\xb2" and packet.payload[8:9] != b"\x04"


@contextmanager
def captured(site: Site, host: str, interface: str) -> Iterator[list[Packet]]:
    """IPv4 packets that arrive on an interface; complete when the block is left."""
    packets: list[Packet] = []
    name = f"capture-{host}"
    capture = site.spawn(name, host, [sys.executable, "-c", _CAPTURE, interface])
    assert capture.stdout is not None
    assert capture.stdout.readline() == b"ready\n"
    try:
        yield packets
        time.sleep(0.3)
    finally:
        site.processes.pop(name)
        capture.kill()
        output, _ = capture.communicate(timeout=10)
        packets += [parsed(bytes.fromhex(line.decode())) for line in output.splitlines() if line]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as site:
        for host in ("mn", "gw"):
            site.run(host, "ip", "link", "set", "esp0", "mtu", str(LINK_MTU))
        site.run("mn", "sysctl", "-qw", "net.ipv4.ip_forward=0")  # as on a laptop
        yield site


def by(site: Site, network: str, where: str, encapsulation: str | None) -> None:
    """Go there, and wait until the node has its registration."""
    site.move(network)

    def is_there() -> bool:
        shown = site.show("mn", "location")
        return (shown["location"], shown["path"]["encapsulation"]) == (where, encapsulation)

    until(is_there, 15, what=f"{where} by {encapsulation}: {site.show('mn', 'location')} {site.log('mn')[-1500:]}")


@pytest.fixture
def behind_nat(site: Site) -> Iterator[None]:
    rules = (
        "add table ip behind; add chain ip behind post { type nat hook postrouting priority 100 ; }; "
        "add rule ip behind post oifname dmz ip saddr 198.51.100.10 masquerade"
    )
    site.run("inet", "nft", rules)
    yield
    site.run("inet", "nft", "delete table ip behind")


def check_too_long(site: Site, protocol: int, overhead: int, destination: str) -> None:
    """Ping CN with what is too long for the tunnel; `destination` is where the packets in the tunnel go."""
    room = LINK_MTU - overhead
    with captured(site, "cn", "eth0") as arrived, captured(site, "wires", "mn-eth0") as link:
        # 1 s for an answer that may not come: what the others encapsulate is not this test's.
        site.run("mn", "ping", "-c1", "-W1", "-M", "dont", "-s", str(LINK_MTU - 28), "-I", HOME, CN, check=False)
    carriers = [packet for packet in link if packet.protocol == protocol and not is_registration(packet)]
    assert carriers, link
    assert not [packet for packet in carriers if packet.is_fragment], "fragmented behind the encapsulation"
    assert max(packet.length for packet in carriers) <= LINK_MTU
    carried = [inside(packet) for packet in carriers]
    first, *others = [packet for packet in carried if packet.is_fragment]
    assert (first.source, first.destination, first.offset, first.more) == (HOME, destination, 0, True)
    assert room - 8 < first.length <= room, "what the link has room for is used"
    assert others[-1].offset == first.length - 20
    assert not others[-1].more
    whole = [packet for packet in arrived if packet.source == HOME and packet.protocol == _ICMP and not packet.offset]
    assert whole, "the correspondent got nothing of it"
    # With Don't Fragment the sender is told what fits.
    told = site.run("mn", sys.executable, "-c", _WITHOUT_FRAGMENTS, HOME, destination).stdout.split()
    assert told == [str(room), "EMSGSIZE"]


def test_what_is_too_long_for_ip_in_ip_is_fragmented_first_R3519_4_8_a(site: Site) -> None:
    by(site, "open", "outside", "ipip")
    check_too_long(site, _IPIP, 20, GATEWAY)


@pytest.mark.usefixtures("behind_nat")
def test_what_is_too_long_for_the_udp_tunnel_is_fragmented_before_it_is_encapsulated_R3519_4_8_a(site: Site) -> None:
    by(site, "fa", "outside", None)
    by(site, "open", "outside", "udp")
    check_too_long(site, _UDP, 32, GATEWAY)


def test_inside_all_that_enters_the_tunnel_leaves_room_for_it_R3519_4_8_a(site: Site) -> None:
    by(site, "visited", "inside", "ipip")
    check_too_long(site, _IPIP, 20, CN)


def test_routes_of_the_tunnel_go_with_it_and_are_nobody_elses(site: Site) -> None:
    by(site, "visited", "inside", "ipip")
    table = site.run("mn", "ip", "route", "show", "table", "435").stdout
    assert "default via 192.0.2.33 dev eth0" in table
    assert "mtu 1480" in table
    assert "mtu" not in site.run("mn", "ip", "route", "show", "table", "main").stdout
    by(site, "home", "home", None)
    assert site.run("mn", "ip", "route", "show", "table", "435").stdout == ""


def test_broadcasts_are_not_sent_directly_to_a_foreign_agent_R3024_5_2_a(site: Site) -> None:
    by(site, "fa", "outside", None)
    groups, host = ["255.255.255.255", "224.0.0.251"], "198.51.100.97"

    def dropped() -> int:
        return int(site.show("mn", "drops")["kernel"].get("group_through_agent", 0))

    before = dropped()
    with captured(site, "wires", "mn-eth0") as link:
        site.run("mn", sys.executable, "-c", _TO_EVERYBODY, HOME, *groups, host)
    sent = [packet.destination for packet in link if packet.source == HOME and packet.payload.endswith(b"to everybody")]
    assert sent == [host]
    assert dropped() == before + len(groups)


@contextmanager
def unaware(site: Site) -> Iterator[None]:
    """The node's daemon is busy elsewhere: it hears of nothing."""
    daemon = site.processes["mn"]
    daemon.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.send_signal(signal.SIGCONT)


def test_nothing_leaves_in_clear_before_the_daemon_knows_that_the_node_has_left_home(site: Site) -> None:
    by(site, "home", "home", None)
    site.park(True)
    until(lambda: site.ping() == 3, what="in clear at home")
    dropped = int(site.show("mn", "drops")["kernel"].get("clear_outside", 0))
    with captured(site, "inet", "open") as heard, unaware(site):
        site.move("open")
        site.ping(5)
        # Afterwards the node registers: what it sends is heard here.
        site.park(False)
    until(lambda: site.show("mn", "location")["location"] != "unknown", what="somewhere else")
    ours = [packet for packet in heard if packet.source == HOME and not is_registration(packet)]
    assert ours == []
    assert any(is_registration(packet) for packet in heard)
    assert int(site.show("mn", "drops")["kernel"]["clear_outside"]) >= dropped + 5


def test_at_home_again_everything_leaves_in_clear(site: Site) -> None:
    by(site, "open", "outside", "ipip")
    by(site, "home", "home", None)
    site.park(True)
    with captured(site, "wires", "mn-eth0") as link:
        until(lambda: site.ping() == 3, what="in clear at home")
    site.park(False)
    assert [packet for packet in link if (packet.source, packet.destination) == (HOME, CN)]


def test_lo_forwards_for_the_programs_only_as_long_as_they_are_there(site: Site) -> None:
    def lo_forwards() -> str:
        return site.run("mn", "sysctl", "-n", "net.ipv4.conf.lo.forwarding").stdout.strip()

    by(site, "home", "home", None)
    assert lo_forwards() == "1"
    site.kill("mn")
    assert lo_forwards() == "1"
    site.mobileip("mn", "unload", str(site.directory / "mn.yml"))
    assert lo_forwards() == "0"
