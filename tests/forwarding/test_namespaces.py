"""Packets on wires: node, proxy, gateway and home agent in namespaces of their own, joined by veth pairs.

node --- internet --- proxy --- gateway        clear packets for the node:
            |  pub      | priv    |            cn --- home agent --- inside --- proxy --- gateway
            +-----------+---------+-- inside

Each of these is tried with two boxes and with one, where the gateway is in the proxy's namespace behind the wire.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mobileip.forwarding import loader
from mobileip.forwarding import one_box as one_box_wire
from mobileip.forwarding.entries import (
    Encapsulation,
    ForeignAgentForwarding,
    Gateway,
    HomeAgentForwarding,
    HomeBinding,
    NodeMode,
    NodePath,
    Passes,
    ProxyBinding,
    ProxyForwarding,
    Tunnel,
    Visitor,
)
from mobileip.forwarding.one_box import WIRE_MAC
from mobileip.forwarding.tables import ForeignAgentTables, HomeAgentTables, MobileNodeTables, ProxyTables
from tests.forwarding import frames
from tests.forwarding.conftest import Namespace

pytestmark = pytest.mark.namespaces

HOME, CARE_OF = "192.0.2.69", "198.51.100.10"
MIPP_PUB, MIPP_PRIV, VPNGW_PUB, VPNGW_PRIV = "203.0.113.10", "192.0.2.10", "203.0.113.20", "192.0.2.20"
HOME_AGENT, CN_HOME, FOREIGN_AGENT = "192.0.2.30", "192.0.2.80", "198.51.100.100"
ESP = 50
HOSTS = ("node", "internet", "proxy", "gateway", "agent", "cn", "visited")
# (host, interface, peer's host, peer's interface)
WIRES = (
    ("node", "eth0", "internet", "node0"),
    ("visited", "uplink", "internet", "fa0"),
    ("proxy", "pub", "internet", "p1"),
    ("gateway", "pub", "internet", "p2"),
    ("proxy", "priv", "cn", "q1"),
    ("gateway", "priv", "cn", "q2"),
    ("agent", "core", "cn", "q3"),
    ("agent", "home", "cn", "eth0"),
)
ADDRESSES = {
    "node": """
        ip address add 198.51.100.10/27 dev eth0
        ip address add 192.0.2.69/32 dev lo
        ip route add default via 198.51.100.1""",
    "visited": """
        ip address add 198.51.100.100/27 dev uplink
        ip route add default via 198.51.100.97""",
    "internet": """
        ip link add dmz type bridge
        ip link set p1 master dmz
        ip link set p2 master dmz
        ip link set dmz up
        ip address add 203.0.113.1/26 dev dmz
        ip address add 198.51.100.1/27 dev node0
        ip address add 198.51.100.97/27 dev fa0""",
    "proxy": """
        ip address add 203.0.113.10/26 dev pub
        ip address add 192.0.2.10/27 dev priv
        ip route add default via 203.0.113.1""",
    "gateway": """
        ip address add 203.0.113.20/26 dev pub
        ip address add 192.0.2.20/27 dev priv
        ip route add 192.0.2.64/27 via 203.0.113.10""",
    # The correspondent node's namespace also holds the bridge of the private segment, without an address there.
    "cn": """
        ip link add inside type bridge
        ip link set q1 master inside
        ip link set q2 master inside
        ip link set q3 master inside
        ip link set inside up
        ip address add 192.0.2.80/27 dev eth0
        ip route add 192.0.2.69/32 via 192.0.2.65""",
    "agent": """
        ip address add 192.0.2.30/27 dev core
        ip address add 192.0.2.65/27 dev home""",
}
# In one box: the gateway's addresses on the proxy's interfaces, and the wire for its way to the nodes.
GATEWAY_IN_THE_BOX = """
    ip address add 203.0.113.20/26 dev pub
    ip address add 192.0.2.20/27 dev priv
    ip route add 192.0.2.64/27 dev mip0"""


@dataclass
class Site:
    """The hosts, with programs loaded and tables open."""

    hosts: dict[str, Namespace]
    bpf_object: Path
    bpffs: Path
    loaded: list[tuple[str, list[loader.Attachment]]] = field(default_factory=list)
    path_now: NodePath | None = None
    one_box: bool = False

    @property
    def way_to_node(self) -> str:
        """The gateway's, in the words of `ip route`."""
        return "dev mip0" if self.one_box else f"via {MIPP_PUB}"

    @property
    def inside(self) -> tuple[str, str, str]:
        """Where the gateway gets what is for nodes: its interface, whose address that has, and who hands it over."""
        macs = (WIRE_MAC, WIRE_MAC) if self.one_box else (self.mac("gateway", "priv"), self.mac("proxy", "priv"))
        return "mip0" if self.one_box else "priv", *macs

    def proxy_attachments(self) -> list[loader.Attachment]:
        return loader.proxy_attachments("pub", "priv", "mip1" if self.one_box else None)

    def pin_dir(self, host: str) -> Path:
        return self.bpffs / f"site-{host}"

    def load(self, host: str, attachments: list[loader.Attachment]) -> None:
        self.hosts[host].run(loader.load, self.bpf_object, self.pin_dir(host), attachments, max_bindings=1024)
        self.loaded.append((host, attachments))

    def index(self, host: str, interface: str) -> int:
        return self.hosts[host].run(socket.if_nametoindex, interface)

    def mac(self, host: str, interface: str) -> str:
        return self.hosts[host].shell(f"ip -br link show {interface}").split()[2]

    def proxy(self) -> ProxyTables:
        return ProxyTables(self.pin_dir("proxy"))

    def bind(self, *tunnels: Tunnel) -> None:
        """One binding at the proxy, one at the home agent that names the proxy."""
        self.proxy().put(ProxyBinding(ip(VPNGW_PUB), ip(HOME), ip(HOME_AGENT), tunnels))
        agent = HomeAgentTables(self.pin_dir("agent"))
        agent.put(HomeBinding(ip(HOME), (Tunnel(ip(MIPP_PRIV), later()),)))

    def path(self, path: NodePath) -> None:
        self.path_now = path
        MobileNodeTables(self.pin_dir("node")).set_path(path)

    def move(self, encapsulation: Encapsulation, port: int = 434) -> None:
        """The node at its own care-of address, by this encapsulation."""
        port = port if encapsulation.in_udp else 0
        self.bind(Tunnel(ip(CARE_OF), later(), encapsulation, port))
        self.path(
            NodePath(ip(HOME), NodeMode.TUNNEL, ip(CARE_OF), ip(MIPP_PUB), encapsulation, gateways=(ip(VPNGW_PUB),))
        )

    def clear(self) -> None:
        for host, attachments in self.loaded:
            self.hosts[host].run(loader.unload, self.pin_dir(host), attachments)


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


def later() -> float:
    return time.time() + 300


def raw_socket(protocol: int, address: str) -> socket.socket:
    """Sends and receives packets of an IP protocol for one address."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    made.bind((address, 0))
    return made


def udp_socket(address: str, port: int) -> socket.socket:
    """Sends and receives datagrams of one port."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made


def packet_socket(interface: str, kind: int = 0x0800) -> socket.socket:
    """Receives every IPv4 frame that comes to an interface; of kind 3 (ETH_P_ALL) also what leaves by it."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    made.bind((interface, kind))
    return made


def received(sock: socket.socket, marker: bytes, seconds: float = 2.0, size: int = 2048) -> bytes | None:
    """The first packet that contains `marker`, None if none comes."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            packet = sock.recv(size)
            if marker in packet:
                return packet
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" in metafunc.fixturenames:
        metafunc.parametrize("site", [False, True], indirect=True, ids=["two boxes", "one box"])


@pytest.fixture
def site(request: pytest.FixtureRequest, needs_root: None, bpf_object: Path, bpffs: Path) -> Iterator[Site]:
    """Two boxes, unless the parameter says one."""
    one_box = bool(getattr(request, "param", False))
    hosts = {name: Namespace() for name in HOSTS}
    namespaces = list(hosts.values())
    made = Site(hosts, bpf_object, bpffs, one_box=one_box)
    for host, interface, peer, peer_interface in WIRES:
        hosts[host].shell(
            f"ip link add {interface} type veth peer name {peer_interface}\n"
            f"ip link set {peer_interface} netns {hosts[peer].path}"
        )
    for name, namespace in hosts.items():
        namespace.shell(
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.conf.all.rp_filter=0 "
            f"net.ipv4.ip_forward={int(name not in ('node', 'cn'))}\n"
            "for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do ip link set $i up; "
            "sysctl -qw net.ipv4.conf.$i.rp_filter=0; done\n"
            + ("" if one_box and name == "gateway" else ADDRESSES[name])
        )
    if one_box:
        hosts["proxy"].run(one_box_wire.lay, one_box_wire.Wire("mip0", "mip1", 1500))
        hosts["proxy"].shell(GATEWAY_IN_THE_BOX)
        hosts["gateway"] = hosts["proxy"]
    made.load("node", loader.mobile_node_attachments("eth0"))
    made.load("proxy", made.proxy_attachments())
    made.load("agent", loader.home_agent_attachments("core", ["home"]))
    configure(made)
    HomeAgentTables(made.pin_dir("agent")).configure(HomeAgentForwarding(ip(HOME_AGENT)))
    yield made
    made.clear()
    for namespace in namespaces:
        namespace.close()


def exchange_esp(site: Site, marker: bytes) -> tuple[bytes | None, bytes | None]:
    """ESP-like packets from the node to the gateway and back; what each end received."""
    node = site.hosts["node"].run(raw_socket, ESP, HOME)
    gateway = site.hosts["gateway"].run(raw_socket, ESP, VPNGW_PUB)
    with node, gateway:
        node.sendto(b"there" + marker * 5, (VPNGW_PUB, 0))
        there = received(gateway, b"there" + marker)
        gateway.sendto(b"back!" + marker * 5, (HOME, 0))
        return there, received(node, b"back!" + marker)


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
def test_esp_travels_both_ways_and_the_wire_shows_the_tunnel(site: Site, encapsulation: Encapsulation) -> None:
    site.move(encapsulation)
    wire = site.hosts["internet"].run(packet_socket, "node0")
    with wire:
        there, back = exchange_esp(site, b"marker")
        outside = received(wire, b"theremarker")
    assert there is not None
    assert back is not None
    assert (there[12:16], there[16:20]) == (ip(HOME).packed, ip(VPNGW_PUB).packed)
    hops = 2 if encapsulation.next_header == 55 else 1
    assert there[8] == 64 - hops, "the hand-over to the gateway is a hop; minimal encapsulation shows the tunnel's, too"
    assert outside is not None
    assert (outside[26:30], outside[30:34]) == (ip(CARE_OF).packed, ip(MIPP_PUB).packed)
    assert outside[23] == encapsulation.protocol
    counters = site.proxy().counters()
    assert (counters.packets["node_to_gateway"], counters.packets["gateway_to_node"]) == (1, 1)
    assert counters.bytes["node_to_gateway"] == len(outside)
    assert not any(counters.drops.values()), counters.drops


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
def test_esp_in_udp_and_ike_travel_both_ways_through_the_programs_D_5_6_a(
    site: Site, encapsulation: Encapsulation
) -> None:
    site.move(encapsulation)
    # IKE, IKE behind the marker that tells it from ESP, ESP in UDP.
    for port, start in ((500, b"IKE"), (4500, bytes(4) + b"IKE"), (4500, bytes.fromhex("c0ffee01") + b"ESP")):
        node = site.hosts["node"].run(udp_socket, HOME, port)
        gateway = site.hosts["gateway"].run(udp_socket, VPNGW_PUB, port)
        wire = site.hosts["internet"].run(packet_socket, "node0", 3)
        with node, gateway, wire:
            node.sendto(start + b" there", (VPNGW_PUB, port))
            assert received(gateway, start + b" there") == start + b" there"
            gateway.sendto(start + b" back", (HOME, port))
            assert received(node, start + b" back") == start + b" back"
            there, back = received(wire, start + b" there"), received(wire, start + b" back")
        assert there is not None
        assert back is not None
        assert [frame[26:34] for frame in (there, back)] == [
            ip(CARE_OF).packed + ip(MIPP_PUB).packed,
            ip(MIPP_PUB).packed + ip(CARE_OF).packed,
        ]
        assert {frame[23] for frame in (there, back)} == {encapsulation.protocol}
    counters = site.proxy().counters()
    assert (counters.packets["node_to_gateway"], counters.packets["gateway_to_node"]) == (3, 3)
    assert not any(counters.drops.values()), counters.drops


# In UDP, minimal encapsulation carries no fragment (RFC 2004 3, RFC 3519 4.3).
@pytest.mark.parametrize("encapsulation", sorted(set(Encapsulation) - {Encapsulation.UDP_MINIMAL}))
def test_another_vpn_travels_both_ways_whole_and_in_fragments_where_its_port_is_listed_D_5_6_a(
    site: Site, encapsulation: Encapsulation
) -> None:
    site.move(encapsulation)
    wireguard = Passes(frozenset(), frozenset({(17, 51820)}))
    node = site.hosts["node"].run(udp_socket, HOME, 40000)
    gateway = site.hosts["gateway"].run(udp_socket, VPNGW_PUB, 51820)
    handshake, long = b"\1\0\0\0 handshake", b"\4\0\0\0 data" + bytes(3000)
    with node, gateway:
        node.sendto(handshake, (VPNGW_PUB, 51820))
        assert received(gateway, handshake, 0.3) is None, "not on the node's list"
        assert site.path_now is not None
        site.path(replace(site.path_now, passes=wireguard))
        node.sendto(handshake, (VPNGW_PUB, 51820))
        assert received(gateway, handshake, 0.3) is None, "not on the proxy's list"
        configure(site, passes=wireguard)
        # Fragments as a tunnel with less room than the link makes them: RFC 3519 4.8.
        site.hosts["node"].shell(f"ip route add {VPNGW_PUB} via 198.51.100.1 mtu 1400")
        site.hosts["gateway"].shell(f"ip route add {HOME} {site.way_to_node} mtu 1400")
        for payload in (handshake, long):
            node.sendto(payload, (VPNGW_PUB, 51820))
            assert received(gateway, payload, size=4096) == payload
            gateway.sendto(payload, (HOME, 40000))
            assert received(node, payload, size=4096) == payload
    assert exchange_esp(site, b"IPsec") == (None, None), "on neither list"
    assert MobileNodeTables(site.pin_dir("node")).counters().drops["clear_outside"] == 2
    assert site.proxy().counters().drops["inner_protocol"] == 2


def test_a_care_of_address_change_is_one_table_write(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    assert exchange_esp(site, b"first") != (None, None)
    site.hosts["node"].shell("ip address add 198.51.100.11/27 dev eth0")
    path = NodePath(ip(HOME), NodeMode.TUNNEL, ip("198.51.100.11"), ip(MIPP_PUB), gateways=(ip(VPNGW_PUB),))
    site.path(path)
    assert exchange_esp(site, b"unregistered")[0] is None
    assert site.proxy().counters().drops["care_of_mismatch"] == 1
    site.bind(Tunnel(ip("198.51.100.11"), later()))
    assert None not in exchange_esp(site, b"second")


def test_clear_packets_for_the_node_reach_the_gateways_private_side(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    interface, gateway_mac, proxy_mac = site.inside
    gateway = site.hosts["gateway"].run(packet_socket, interface)
    cn = site.hosts["cn"].run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with gateway, cn:
        cn.sendto(b"to the node", (HOME, 7))
        frame = received(gateway, b"to the node")
    assert frame is not None
    assert (frame[:6].hex(":"), frame[6:12].hex(":")) == (gateway_mac, proxy_mac)
    assert (frame[23], frame[30:34]) == (17, ip(HOME).packed)
    assert frame[22] == 62, "two hops: home agent and proxy"
    assert site.proxy().counters().packets["home_agent_to_gateway"] >= 1


def test_clear_packets_of_the_node_reach_the_home_network_through_the_home_agent(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    cn = site.hosts["cn"].run(raw_socket, 17, CN_HOME)
    gateway = site.hosts["gateway"].run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with cn, gateway:
        gateway.sendto(frames.ip(ip(HOME), ip(CN_HOME), 17, frames.udp(7, 7, b"decrypted")), (CN_HOME, 0))
        packet = received(cn, b"decrypted")
    assert packet is not None
    assert packet[12:16] == ip(HOME).packed
    counters = HomeAgentTables(site.pin_dir("agent")).counters()
    assert counters.packets["node_to_home_agent"] == 1


def test_a_clear_packet_from_the_gateway_for_a_bound_node_is_dropped_and_counted(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    gateway = site.hosts["gateway"].run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    agent = site.hosts["agent"].run(packet_socket, "core")
    with gateway, agent:
        gateway.sendto(frames.ip(ip("192.0.2.50"), ip(HOME), 17, frames.udp(7, 7, b"no SA")), (HOME, 0))
        assert received(agent, b"no SA", 0.3) is None
    assert site.proxy().counters().drops["no_sa_at_gateway"] == 1


def test_a_keepalive_is_answered_by_the_kernel_and_shows_a_half_bound_port(site: Site) -> None:
    site.move(Encapsulation.UDP)
    half = Tunnel(ip(CARE_OF), later(), Encapsulation.UDP, 999, ip(CARE_OF), half_bound=True)
    site.bind(half)
    node = site.hosts["node"].run(raw_socket, socket.IPPROTO_ICMP, HOME)
    with node:
        node.sendto(frames.echo(payload=b"alive?"), (MIPP_PUB, 0))
        reply = received(node, b"alive?")
    assert reply is not None
    assert (reply[12:16], reply[20]) == (ip(MIPP_PUB).packed, 0)
    binding = site.proxy().get(ip(VPNGW_PUB), ip(HOME))
    assert binding is not None
    assert (binding.tunnels[0].port, binding.tunnels[0].half_bound) == (434, False)
    assert None not in exchange_esp(site, b"complete")
    # After a restart of the daemon, what its store says does not undo what the kernel has learnt.
    site.proxy().sync([ProxyBinding(ip(VPNGW_PUB), ip(HOME), ip(HOME_AGENT), (half,))])
    assert None not in exchange_esp(site, b"restarted")
    # And after a renewal the old port serves until a keepalive shows another.
    site.proxy().put(ProxyBinding(ip(VPNGW_PUB), ip(HOME), ip(HOME_AGENT), (replace(half, port=0),)))
    assert None not in exchange_esp(site, b"renewed")
    binding = site.proxy().get(ip(VPNGW_PUB), ip(HOME))
    assert binding is not None
    assert (binding.tunnels[0].port, binding.tunnels[0].half_bound) == (434, True)


def test_every_care_of_address_gets_a_copy(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    site.bind(
        Tunnel(ip(CARE_OF), later()),
        Tunnel(ip("198.51.100.12"), later(), Encapsulation.UDP, 40000),
        Tunnel(ip("198.51.100.13"), time.time() - 1),
        Tunnel(ip("198.51.100.14"), later()),
    )
    wire = site.hosts["internet"].run(packet_socket, "dmz")
    gateway = site.hosts["gateway"].run(raw_socket, ESP, VPNGW_PUB)
    ends = set()
    with wire, gateway:
        gateway.sendto(b"copied" * 4, (HOME, 0))
        while (frame := received(wire, b"copied", 0.5)) is not None:
            if frame[26:30] == ip(MIPP_PUB).packed:
                ends.add((str(ip(".".join(map(str, frame[30:34])))), frame[23]))
    assert ends == {(CARE_OF, 4), ("198.51.100.12", 17), ("198.51.100.14", 4)}
    assert site.proxy().counters().packets["gateway_to_node"] == 3


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
def test_a_visitor_without_an_address_of_its_own_goes_through_the_foreign_agent(
    site: Site, encapsulation: Encapsulation
) -> None:
    site.hosts["visited"].shell(
        f"ip link add visitors type veth peer name eth9\nip link set eth9 netns {site.hosts['node'].path}"
    )
    site.hosts["visited"].shell(
        "ip address add 198.51.100.129/27 dev visitors\nip link set visitors up\nip route add 192.0.2.69 dev visitors"
    )
    site.hosts["node"].shell(
        "ip link set eth9 up\nip route replace default via 198.51.100.129 dev eth9 onlink src 192.0.2.69\n"
        "ip link set eth0 down\nsysctl -qw net.ipv4.conf.eth9.rp_filter=0"
    )
    site.load("visited", loader.foreign_agent_attachments("uplink", "visitors"))
    site.load("node", loader.mobile_node_attachments("eth9"))
    site.path(NodePath(ip(HOME), NodeMode.FOREIGN_AGENT, gateways=(ip(VPNGW_PUB),)))
    agent = ForeignAgentTables(site.pin_dir("visited"))
    uplink, link = site.index("visited", "uplink"), site.index("visited", "visitors")
    agent.configure(ForeignAgentForwarding(ip(FOREIGN_AGENT), ip("198.51.100.129"), uplink, link))
    agent.put(Visitor(ip(HOME), ip(MIPP_PUB), later(), encapsulation))
    port = 434 if encapsulation.in_udp else 0
    site.bind(Tunnel(ip(FOREIGN_AGENT), later(), encapsulation, port))
    assert None not in exchange_esp(site, b"visiting")
    counters = agent.counters()
    assert (counters.packets["visitor_to_home_agent"], counters.packets["foreign_agent_to_visitor"]) == (1, 1)


def test_nothing_clear_leaves_while_the_node_does_not_know_where_it_is(site: Site) -> None:
    site.path(NodePath(ip(HOME), NodeMode.BLOCKED))
    wire = site.hosts["internet"].run(packet_socket, "node0")
    node = site.hosts["node"].run(raw_socket, ESP, HOME)
    with wire, node:
        node.sendto(b"secret" * 4, (VPNGW_PUB, 0))
        assert received(wire, b"secret", 0.3) is None
    assert MobileNodeTables(site.pin_dir("node")).counters().drops["clear_outside"] == 1


def test_the_programs_outlive_the_process_that_loaded_them(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    before = site.proxy().bindings()
    code = (
        "import sys, time; from mobileip.forwarding import loader; "
        "loader.load(sys.argv[1], sys.argv[2], loader.proxy_attachments('pub', 'priv', *sys.argv[3:])); "
        "print('ready', flush=True); time.sleep(60)"
    )
    site.hosts["proxy"].run(loader.unload, site.pin_dir("proxy"), site.proxy_attachments())
    arguments = [sys.executable, "-c", code, str(site.bpf_object), str(site.pin_dir("proxy"))]
    arguments += ["mip1"] if site.one_box else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = site.hosts["proxy"].run(subprocess.Popen, arguments, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    configure(site)
    site.proxy().sync(before)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    assert None not in exchange_esp(site, b"orphaned")


def configure(site: Site, **changes: Any) -> None:
    """What the proxy's daemon writes at its start."""
    site.proxy().configure(replace(proxy_forwarding(site), **changes))


def proxy_forwarding(site: Site) -> ProxyForwarding:
    return ProxyForwarding(
        ip(MIPP_PUB),
        ip(MIPP_PRIV),
        site.index("proxy", "pub"),
        site.index("proxy", "priv"),
        (
            Gateway(
                ip(VPNGW_PUB), ip(VPNGW_PRIV), frozenset({WIRE_MAC if site.one_box else site.mac("gateway", "pub")})
            ),
        ),
        (IPv4Network("192.0.2.64/27"),),
        (IPv4Network("192.0.2.64/27"),),
        wire_ifindex=site.index("proxy", "mip1") if site.one_box else None,
    )
