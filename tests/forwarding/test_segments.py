"""Clear TCP and UDP on the home agent's leg as hosts really send it: merged segments, checksums left to the device.

cn --- home agent === proxy --- gateway, which here has the node's address itself, and sends back past the proxy's
public side. Nothing is switched off on the wires.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mobileip.forwarding import loader
from mobileip.forwarding.entries import Counters, HomeBinding, NodeMode, NodePath, PathMtu, Tunnel, TunnelPolicy
from mobileip.forwarding.tables import HomeAgentTables, MobileNodeTables
from tests.forwarding.test_namespaces import (
    CARE_OF,
    CN_HOME,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    Site,
    ip,
    later,
    packet_socket,
    received,
    site,
    udp_socket,
)

__all__ = ["site"]
pytestmark = pytest.mark.namespaces

SIZE = 24 << 20


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


@pytest.mark.parametrize("discovery", [True, False], ids=["DF", "no DF"])
def test_a_path_of_1280_bytes_is_kept_to_by_merged_segments_too(legs: Site, discovery: bool) -> None:
    if not discovery:
        # Single segments are cut as fragments, for which their checksum has to be finished; GRO merges them then.
        legs.hosts["cn"].shell("sysctl -qw net.ipv4.ip_no_pmtu_disc=1\nethtool -K eth0 tx off")
        legs.hosts["agent"].shell("ethtool -K home gro on")
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
    assert ("mtu 1260" in legs.hosts["cn"].shell(f"ip route get {HOME}")) is discovery
    assert not any(agent_counters(legs).drops.values()), agent_counters(legs).drops


def test_merged_segments_flow_from_one_node_to_another(site: Site) -> None:
    """Out of a tunnel to the home agent and into another of the same kind, past the proxy, which only routes here."""
    other, its_care_of = "192.0.2.70", "198.51.100.100"
    site.hosts["internet"].shell("ip route add 192.0.2.0/27 via 203.0.113.10")
    site.hosts["agent"].shell("ip route add 198.51.100.0/24 via 192.0.2.10")
    site.hosts["visited"].shell(
        f"ip address add {other}/32 dev lo\nip route add {HOME}/32 via 198.51.100.97 src {other}"
    )
    site.hosts["node"].shell(f"ip route add {other}/32 via 198.51.100.1 src {HOME}")
    # A veth merges only what its other end sends as it is to arrive.
    site.hosts["agent"].shell("ethtool -K core gro on")
    site.hosts["cn"].shell("ethtool -K q3 tso off")
    site.load("visited", loader.mobile_node_attachments("uplink"))
    tables = HomeAgentTables(site.pin_dir("agent"))
    for host, home, care_of in (("node", HOME, CARE_OF), ("visited", other, its_care_of)):
        tables.put(HomeBinding(ip(home), (Tunnel(ip(care_of), later()),)))
        path = NodePath(ip(home), NodeMode.TUNNEL, ip(care_of), ip(HOME_AGENT), encapsulate_all=True)
        MobileNodeTables(site.pin_dir(host)).set_path(path)
    stream(site, "node", "visited", HOME, other)
    counters = tables.counters()
    assert counters.bytes["node_to_node"] / counters.packets["node_to_node"] > 1600, "segments came merged"
    assert not any(counters.drops.values()), counters.drops


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
