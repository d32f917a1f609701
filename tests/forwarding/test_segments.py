"""Clear TCP and UDP on the home agent's leg as hosts really send it: merged segments, checksums left to the device; and
what GRO makes of the datagrams of a node's tunnel.

cn --- home agent === proxy --- gateway, which here has the node's address itself, and sends back past the proxy's
public side. Nothing is switched off on the wires.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mobileip.forwarding import loader
from mobileip.forwarding.entries import (
    Counters,
    Encapsulation,
    HomeBinding,
    NodeMode,
    NodePath,
    PathMtu,
    Tunnel,
    TunnelPolicy,
)
from mobileip.forwarding.tables import HomeAgentTables, MobileNodeTables
from tests.forwarding import frames
from tests.forwarding.test_namespaces import (
    CARE_OF,
    CN_HOME,
    ESP,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    VPNGW_PUB,
    Site,
    ip,
    later,
    packet_socket,
    raw_socket,
    received,
    site,
    udp_socket,
)

__all__ = ["site"]
pytestmark = pytest.mark.namespaces

SIZE = 24 << 20
UDP_SEGMENT = 103


@pytest.fixture
def legs(site: Site) -> Site:
    """The site with the node's address on the gateway, and errors sent."""
    site.bind(Tunnel(ip(CARE_OF), later()))
    for tables in (site.proxy(), HomeAgentTables(site.pin_dir("agent"))):
        tables.set_policy(TunnelPolicy(errors_per_second=100))
    site.hosts["gateway"].shell(
        f"ip address add {HOME}/32 dev lo\n"
        f"ip route add 192.0.2.80/32 via {MIPP_PUB} dev pub src {HOME} table 100\n"
        f"ip rule add from {HOME} lookup 100"
    )
    return site


def _receive(server: socket.socket) -> str:
    channel, _ = server.accept()
    digest = hashlib.sha256()
    with channel:
        channel.settimeout(30)
        while data := channel.recv(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def stream(site: Site, sender: str, receiver: str, source: str, to: str) -> None:
    """Carry SIZE bytes from one host to another, and compare them."""
    data = hashlib.sha256(b"stream").digest() * (SIZE // 32)
    server = site.hosts[receiver].run(socket.create_server, (to, 5001))
    with server, ThreadPoolExecutor(1) as beside:
        arrived: Future[str] = beside.submit(_receive, server)
        channel = site.hosts[sender].run(socket.create_connection, (to, 5001), timeout=30, source_address=(source, 0))
        with channel:
            channel.sendall(data)
        assert arrived.result(timeout=60) == hashlib.sha256(data).hexdigest()


def agent_counters(site: Site) -> Counters:
    return HomeAgentTables(site.pin_dir("agent")).counters()


def test_merged_segments_flow_towards_the_node(legs: Site) -> None:
    stream(legs, "cn", "gateway", CN_HOME, HOME)
    counters = agent_counters(legs)
    frames = counters.packets["home_agent_to_node"]
    assert counters.bytes["home_agent_to_node"] / frames > 3000, "segments came merged"
    assert counters.drops["too_big"] == 0


def test_who_sends_one_full_packet_with_df_learns_what_fits(legs: Site) -> None:
    here = legs.hosts["cn"].run(udp_socket, CN_HOME, 7)
    with here:
        here.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
        here.sendto(bytes(1472), (HOME, 7))
        until = time.monotonic() + 2
        while not agent_counters(legs).packets["too_big_answered"] and time.monotonic() < until:
            time.sleep(0.02)
    assert "mtu 1480" in legs.hosts["cn"].shell(f"sleep 0.2\nip route get {HOME}")


def test_merged_segments_flow_from_the_node_through_the_reverse_tunnel(legs: Site) -> None:
    stream(legs, "gateway", "cn", HOME, CN_HOME)
    counters = legs.proxy().counters()
    assert counters.bytes["gateway_to_home_agent"] / counters.packets["gateway_to_home_agent"] > 3000
    assert not any(counters.drops.values()), counters.drops


@pytest.mark.parametrize("way", ["DF", "no DF", "no DF, single"])
def test_a_path_of_1280_bytes_is_kept_to_by_merged_segments_too_and_by_single_ones(legs: Site, way: str) -> None:
    if way != "DF":
        legs.hosts["cn"].shell("sysctl -qw net.ipv4.ip_no_pmtu_disc=1")
    if way == "no DF":
        legs.hosts["cn"].shell("ethtool -K eth0 tx off")
        legs.hosts["agent"].shell("ethtool -K home gro on")
    elif way == "no DF, single":  # each of which is cut, and has left its checksum to the device
        legs.hosts["cn"].shell("ethtool -K eth0 tso off gso off")
    tables = HomeAgentTables(legs.pin_dir("agent"))
    tables.put_path_mtu(ip(MIPP_PRIV), PathMtu(1280, later()))
    legs.hosts["agent"].shell("ethtool -K core tso off gso off")
    wire = legs.hosts["agent"].run(packet_socket, "core", 3)
    longest, stop = [0], threading.Event()

    def measure() -> None:
        wire.settimeout(0.2)
        while not stop.is_set():
            try:
                frame = wire.recv(1 << 16)
            except TimeoutError:
                continue
            if frame[26:30] == ip(HOME_AGENT).packed and frame[23] == 4:
                longest[0] = max(longest[0], int.from_bytes(frame[16:18]))

    beside = threading.Thread(target=measure)
    beside.start()
    stream(legs, "cn", "gateway", CN_HOME, HOME)
    stop.set()
    beside.join()
    wire.close()
    assert 1200 < longest[0] <= 1280
    assert ("mtu 1260" in legs.hosts["cn"].shell(f"ip route get {HOME}")) is (way == "DF")
    assert not any(agent_counters(legs).drops.values()), agent_counters(legs).drops
    if way == "no DF, single":
        assert agent_counters(legs).packets["cut_in_two"] > SIZE // 1500


OTHER, ITS_CARE_OF = "192.0.2.70", "198.51.100.100"
ROOM = 1500 - 36
"""What the node's daemon gives its routes: the headers of the longest tunnel fit, for single segments as well."""


def two_nodes(site: Site, theirs: Encapsulation) -> HomeAgentTables:
    """A second node, by another kind of tunnel perhaps; the proxy only routes here."""
    site.hosts["internet"].shell("ip route add 192.0.2.0/27 via 203.0.113.10")
    site.hosts["agent"].shell("ip route add 198.51.100.0/24 via 192.0.2.10")
    site.hosts["visited"].shell(
        f"ip address add {OTHER}/32 dev lo\nip route add {HOME}/32 via 198.51.100.97 src {OTHER} mtu {ROOM}"
    )
    site.hosts["node"].shell(f"ip route add {OTHER}/32 via 198.51.100.1 src {HOME} mtu {ROOM}")
    # A veth merges only what its other end sends as it is to arrive.
    site.hosts["agent"].shell("ethtool -K core gro on")
    site.hosts["cn"].shell("ethtool -K q3 tso off")
    site.load("visited", loader.mobile_node_attachments("uplink"))
    tables = HomeAgentTables(site.pin_dir("agent"))
    tables.set_policy(TunnelPolicy(errors_per_second=100))
    ends = (("node", HOME, CARE_OF, Encapsulation.IPIP), ("visited", OTHER, ITS_CARE_OF, theirs))
    for host, home, care_of, encapsulation in ends:
        port = 434 if encapsulation.in_udp else 0
        tables.put(HomeBinding(ip(home), (Tunnel(ip(care_of), later(), encapsulation, port),)))
        path = NodePath(ip(home), NodeMode.TUNNEL, ip(care_of), ip(HOME_AGENT), encapsulation, encapsulate_all=True)
        MobileNodeTables(site.pin_dir(host)).set_path(path)
    return tables


@pytest.mark.parametrize("theirs", [Encapsulation.IPIP, Encapsulation.GRE])
def test_merged_segments_flow_from_one_node_to_another(site: Site, theirs: Encapsulation) -> None:
    """Out of a tunnel to the home agent and into another, of the same kind whatever was negotiated."""
    tables = two_nodes(site, theirs)
    stream(site, "node", "visited", HOME, OTHER)
    counters = tables.counters()
    assert counters.bytes["node_to_node"] / counters.packets["node_to_node"] > 1600, "segments came merged"
    assert not any(counters.drops.values()), counters.drops


def test_merged_segments_into_a_tunnel_of_another_kind_are_told_apart_from_failures_and_single_ones_pass(
    site: Site,
) -> None:
    tables = two_nodes(site, Encapsulation.UDP)
    server = site.hosts["visited"].run(socket.create_server, (OTHER, 5001))
    sender = site.hosts["node"].run(socket.create_connection, (OTHER, 5001), timeout=5, source_address=(HOME, 0))
    with server, sender:
        sender.setblocking(False)
        sender.send(bytes(1 << 20))
        until = time.monotonic() + 3
        while not tables.counters().drops["merged_segments"] and time.monotonic() < until:
            time.sleep(0.02)
        counters = tables.counters()
    assert counters.drops["merged_segments"]
    assert counters.drops["helper_failed"] == 0
    assert counters.packets["node_to_node"] >= 3, "the session was opened"
    site.hosts["agent"].shell("ethtool -K core gro off")
    before = tables.counters().drops["merged_segments"]
    stream(site, "node", "visited", HOME, OTHER)
    assert tables.counters().drops["merged_segments"] == before


@pytest.mark.parametrize("size", [1453, 1472])
def test_a_datagram_without_df_is_cut_and_its_checksum_is_right(legs: Site, size: int) -> None:
    payload = bytes(range(251)) * 6
    there = legs.hosts["gateway"].run(udp_socket, HOME, 7)
    here = legs.hosts["cn"].run(udp_socket, CN_HOME, 7)
    with there, here:
        here.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
        here.sendto(payload[:size], (HOME, 7))
        assert received(there, b"") == payload[:size]
    assert agent_counters(legs).packets["cut_in_two"] == 1


def burst(site: Site, count: int) -> int:
    """Packets of the node in a UDP tunnel, all of one length and at once; how many of them come to the gateway."""
    datagram = bytes.fromhex("04040000") + frames.ip(ip(HOME), ip(VPNGW_PUB), ESP, b"burst" + bytes(295))
    segments = struct.pack("=H", len(datagram))
    outside = site.hosts["node"].run(udp_socket, CARE_OF, 434)
    gateway = site.hosts["gateway"].run(raw_socket, ESP, VPNGW_PUB)
    with outside, gateway:
        outside.sendmsg([datagram * count], [(socket.IPPROTO_UDP, UDP_SEGMENT, segments)], 0, (MIPP_PUB, 434))
        came = 0
        while came < count and received(gateway, b"burst", 0.5) is not None:
            came += 1
    return came


@pytest.mark.parametrize("feature", ["rx-udp-gro-forwarding", "rx-gro-list"])
def test_datagrams_of_a_tunnel_are_kept_apart_by_loading_and_never_lost_without_a_word(
    site: Site, feature: str
) -> None:
    proxy, pins = site.hosts["proxy"], site.pin_dir("proxy")

    def is_on() -> bool:
        return f"{feature}: on" in proxy.shell("ethtool -k pub")

    site.move(Encapsulation.UDP)
    site.hosts["internet"].shell("ethtool -K p1 tso off tx-udp-segmentation off")  # one by one, and all at once
    assert burst(site, 20) == 20
    proxy.shell(f"ethtool -K pub gro on {feature} on")
    assert is_on()
    came = burst(site, 20)
    counters = site.proxy().counters()
    assert counters.drops["merged_datagrams"] > 0
    assert came + counters.drops["merged_datagrams"] < 20, "several in each"
    assert not proxy.run(loader.is_loaded, site.bpf_object, pins, site.proxy_attachments())
    assert proxy.run(loader.load, site.bpf_object, pins, site.proxy_attachments())
    assert not is_on()
    assert loader_says(site) == [("pub", feature)]
    assert burst(site, 20) == 20
    proxy.run(loader.unload, pins, site.proxy_attachments())
    assert is_on()


def loader_says(site: Site) -> list[tuple[str, str]]:
    return site.hosts["proxy"].run(loader.kept_apart, site.pin_dir("proxy"))
