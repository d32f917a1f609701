"""The mobile node where only a real host can show it: leases of a DHCP server, and the wire when nobody answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.site import GATEWAY, HOME, MIPP_PUB, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

MONITOR = 4
"""Seconds that the node of this site believes that it is inside."""

_CAPTURE = """
import socket, sys, time
channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
channel.bind((sys.argv[1], 3)); print("ready", flush=True)
home = socket.inet_aton(sys.argv[2])
while True:
    packet, (_, protocol, kind, *_) = channel.recvfrom(2048)
    if protocol != 0x0800 or kind == socket.PACKET_OUTGOING:
        continue
    if packet[12:16] == home:
        registers = packet[9] == 17 and packet[22:24] == bytes((1, 178))
        print(time.time(), "registration" if registers else "clear", socket.inet_ntoa(packet[16:20]), flush=True)
    elif packet[9] == 4 and packet[32:36] == home:
        print(time.time(), "tunnelled", socket.inet_ntoa(packet[16:20]), flush=True)
"""

_ASK_ARP = """
import socket, sys, time
interface, address, seconds = sys.argv[1], socket.inet_aton(sys.argv[2]), float(sys.argv[3])
channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
channel.bind((interface, 0x0806)); channel.settimeout(0.2)
own = channel.getsockname()[4]
ask = b"\\xff" * 6 + own + bytes.fromhex("0806 0001 0800 0604 0001") + own + socket.inet_aton("198.51.100.1")
ask += bytes(6) + address
end = time.monotonic() + seconds
while time.monotonic() < end:
    channel.send(ask)
    try:
        frame = channel.recv(100)
    except TimeoutError:
        continue
    if frame[28:32] == address:
        print("told"); break
"""

_HEAR_IKE = """
import socket
channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
channel.bind(("pub", 0x0800)); print("ready", flush=True)
while True:
    packet = channel.recv(2048)
    if packet[9] == 17 and packet[22:24] == bytes((1, 244)):
        print("ike", socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), flush=True)
"""
_SAY_IKE = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
channel.bind((sys.argv[1], 500))
channel.sendto(b"IKE_SA_INIT", (sys.argv[2], 500))
"""

_NETWORKD = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/network /run/systemd/networkd.conf.d /run/dbus
cp "$1"/*.network /run/systemd/network/
printf '[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\\n' >/run/systemd/networkd.conf.d/t.conf
chown -R systemd-network: /run/systemd/netif
mount -t sysfs -o ro sysfs /sys
exec env SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-networkd
"""
_SERVER = """
[Match]
Name=open
[Network]
Address=198.51.100.1/27
DHCPServer=yes
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPServer]
PoolOffset=9
PoolSize=10
EmitDNS=no
EmitNTP=no
EmitRouter=yes
DefaultLeaseTimeSec=8
MaxLeaseTimeSec=8
"""
_CLIENT = """
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
UseDNS=no
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as site:
        file = site.directory / "mn.yml"
        file.write_text(json.dumps({**json.loads(file.read_text()), "location": {"monitor": MONITOR}}))
        site.kill("mn")
        site.start("mn")
        yield site


def location(site: Site) -> dict[str, Any]:
    shown: dict[str, Any] = site.show("mn", "location")
    return shown


def placed(site: Site, where: str) -> None:
    until(lambda: location(site)["location"] == where, 15, what=f"{where}; {location(site)} {site.log('mn')[-1500:]}")


@contextmanager
def at_home(site: Site) -> Iterator[None]:
    """On the home link, in clear, as strongSwan's parked SA would have it."""
    site.move("home")
    site.park(True)
    try:
        placed(site, "home")
        yield
    finally:
        site.park(False)


class Wire:
    """What the node puts on its wire from the home address, in a tunnel or not, while it pings a host inside."""

    def __init__(self, site: Site) -> None:
        self._site = site
        command = [sys.executable, "-c", _CAPTURE, "mn-eth0", HOME]
        self._capture = site.spawn("wire", "wires", command)
        assert self._capture.stdout is not None
        assert self._capture.stdout.readline() == b"ready\n"
        site.spawn("pinging", "mn", ["ping", "-q", "-i", "0.05", "-I", HOME, "192.0.2.50"])

    def stop(self) -> list[tuple[float, str, str]]:
        """Time, kind and destination of each packet since the beginning."""
        self._site.kill("pinging")
        self._site.processes.pop("wire")
        self._capture.kill()
        output, _ = self._capture.communicate(timeout=10)
        rows = [line.split() for line in output.decode().splitlines()]
        return [(float(at), kind, to) for at, kind, to in (row for row in rows if len(row) == 3)]


def test_nothing_leaves_in_clear_once_nobody_says_that_this_is_inside_R5265_3_2_a(site: Site) -> None:
    with at_home(site):
        wire = Wire(site)
        time.sleep(1.0)
        silenced = time.time()
        for agent in ("ha", "mipp"):
            site.kill(agent)  # packets go on: only the word is missing
        until(lambda: location(site)["location"] == "unknown", MONITOR + 4, what=f"doubt; {location(site)}")
        assert "nobody said" in location(site)["why"] or "registration" in location(site)["why"]
        doubted = time.time()
        time.sleep(1.5)
        seen = wire.stop()
        for agent in ("ha", "mipp"):
            site.start(agent)
        clear = [at for at, kind, _ in seen if kind == "clear"]
        assert any(at < silenced for at in clear), "the capture saw no clear packet at home"
        assert any(at > silenced + 0.5 for at in clear), "the word held no time at all"
        assert clear[-1] <= silenced + MONITOR + 0.5
        assert not [at for at in clear if at > doubted]
        assert [to for at, kind, to in seen if kind == "registration" and at > silenced], "the node did not ask"
        placed(site, "home")
        assert until(lambda: site.ping() == 3, what="clear packets at home again")


def test_change_of_the_link_stops_clear_packets_before_the_place_is_known_R5265_3_2_c(site: Site) -> None:
    with at_home(site):
        wire = Wire(site)
        time.sleep(0.5)
        site.kill("mipp")  # nobody will say where the next place is
        moved = time.time()
        site.move("open")
        time.sleep(2.5)
        assert location(site)["location"] == "unknown"
        routes = site.run("mn", "ip", "route", "get", "192.0.2.50", "from", HOME).stdout
        seen = wire.stop()
        site.start("mipp")
        assert "eth0" in routes  # there is a way that they could have taken
        assert any(at < moved for at, kind, _ in seen if kind == "clear"), "the capture saw no clear packet at home"
        # The old link is cut some milliseconds after the move begins.
        assert not [at for at, kind, _ in seen if kind == "clear" and at > moved + 0.3]
    placed(site, "outside")


def test_nobody_on_a_foreign_link_is_told_the_home_address_by_arp_R5944_4_6_d(site: Site) -> None:
    site.move("open")
    placed(site, "outside")
    care_of = location(site)["care_of_address"]

    def asks_for(address: str) -> str:
        return site.run("inet", sys.executable, "-c", _ASK_ARP, "open", address, "2").stdout.strip()

    assert (asks_for(care_of), asks_for(HOME)) == ("told", "")
    with at_home(site):
        pass
    site.move("fa")
    placed(site, "outside")  # the agent on the link may know
    site.move("open")
    placed(site, "outside")
    assert asks_for(HOME) == ""


def test_outside_data_waits_for_ipsec_which_is_set_up_through_the_proxy_D_5_1_a_and_D_5_1_c(site: Site) -> None:
    file = site.directory / "mn.yml"
    before = file.read_text()
    site.kill("mn")
    file.write_text(json.dumps({**json.loads(before), "encapsulate": "gateways"}))
    site.start("mn")
    try:
        site.move("open")
        placed(site, "outside")
        watcher = site.spawn("ike", "gw", [sys.executable, "-c", _HEAR_IKE])
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == b"ready\n"
        wire = Wire(site)
        dropped = site.show("mn", "drops")["kernel"].get("clear_outside", 0)
        # By the main table, past the tunnel of this site's IPsec.
        site.run("mn", "ping", "-q", "-c", "3", "-i", "0.1", "-W", "1", "-I", HOME, "198.51.100.97", check=False)
        for _ in range(5):
            site.run("mn", sys.executable, "-c", _SAY_IKE, HOME, GATEWAY)
            time.sleep(0.1)
        heard = watcher.stdout.readline().split()
        seen = wire.stop()
        site.kill("ike")
        assert heard == [b"ike", HOME.encode(), GATEWAY.encode()]
        # On the wire of the node nothing has the home address for its source: IKE is inside the tunnel to MIPP-Pub.
        assert {(kind, to) for _, kind, to in seen} == {("tunnelled", MIPP_PUB)}
        assert len(seen) >= 5
        assert site.show("mn", "drops")["kernel"]["clear_outside"] >= dropped + 3
        assert site.show("mn", "counters")["kernel"]["packets"]["stack_to_tunnel"] >= 5
    finally:
        site.kill("mn")
        file.write_text(before)
        site.start("mn")
        placed(site, "outside")


def test_show_says_where_the_node_is_through_whom_since_when_and_why(site: Site) -> None:
    before = time.time()
    site.move("fa")
    site.move("open")
    placed(site, "outside")
    socket_ = str(site.directory / "mn.sock")
    for topic in (["location"], []):  # `mobileip show` alone tells it, too
        lines = site.mobileip("mn", "show", *topic, "--socket", socket_).stdout.splitlines()
        said = dict(line.strip().split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
        assert (said["location"], said["through"], said["agent"]) == ("outside", "proxy", "203.0.113.10")
        assert said["why"] == "203.0.113.10 accepted the registration"
        since = datetime.fromisoformat(said["since"])
        assert before - 1 <= since.timestamp() <= time.time()
    site.kill("ha")
    try:
        site.kill("mipp")
        site.move("fa")
        until(lambda: location(site)["location"] == "unknown", what="an unknown place")
        assert location(site)["through"] in (None, "foreign_agent")
    finally:
        for agent in ("ha", "mipp"):
            site.start(agent)
    site.move("open")
    placed(site, "outside")


def networkd(site: Site, name: str, host: str, network: str) -> None:
    """systemd-networkd on a host, beside nothing else of systemd."""
    directory: Path = site.directory / name
    directory.mkdir(exist_ok=True)
    (directory / "10-test.network").write_text(network)
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _NETWORKD, "networkd", str(directory)]
    site.spawn(name, host, command)


def serve(site: Site) -> None:
    """A DHCP server on the open network; it wants to put its address there itself."""
    site.run("inet", "ip", "address", "del", "198.51.100.1/27", "dev", "open")
    networkd(site, "dhcp-server", "inet", _SERVER)


def leased(site: Site) -> str | None:
    """The address that the client has put on the interface."""
    shown = json.loads(site.run("mn", "ip", "-j", "-4", "address", "show", "dev", "eth0", "scope", "global").stdout)
    return next((entry["local"] for link in shown for entry in link.get("addr_info", []) if entry.get("dynamic")), None)


def test_lease_is_a_care_of_address_and_a_lost_lease_is_none(site: Site) -> None:
    site.move("open")
    subprocess.run(["ip", "-n", f"{site.prefix}-mn", "addr", "flush", "dev", "eth0", "scope", "global"], check=True)
    serve(site)
    networkd(site, "dhcp-client", "mn", _CLIENT)
    try:
        address = until(lambda: leased(site), 20, what=f"a lease; {site.log('dhcp-client')} {site.log('dhcp-server')}")
        assert address.startswith("198.51.100.")
        placed(site, "outside")
        assert location(site)["care_of_address"] == address
        assert site.bindings("mipp") == [(HOME, address)]
        assert until(lambda: site.ping() == 3, what="ping by the leased address")
        site.kill("dhcp-server")
        until(lambda: leased(site) is None, 15, what="the end of the lease")
        placed(site, "unknown")
        assert (location(site)["care_of_address"], location(site)["path"]["mode"]) == (None, "blocked")
        assert site.ping(2) == 0
        serve(site)
        again = until(lambda: leased(site), 20, what=f"a lease again; {site.log('dhcp-client')}")
        until(lambda: site.bindings("mipp") == [(HOME, again)], 10, what=f"a binding again; {location(site)}")
    finally:
        for name in ("dhcp-client", "dhcp-server"):
            if name in site.processes:
                site.kill(name)
