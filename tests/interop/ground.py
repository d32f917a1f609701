"""The proxy's programs between peers that are the kernel's own: tunnel devices, ESP, forwarding. No daemon, no IKE.

    node --- fa --- internet === proxy      node, or fa for it: a tunnel device to MIPP-Pub (IPIP, GRE)
                       |      \\  |  pub     node and gateway: ESP in the kernel, keys by hand
                       |       gateway      agent: a tunnel device to MIPP-Priv
                       |         |  priv
          cn --- agent +-- inside --- office

The node speaks from HOME to `cn` on its home link: gateway, proxy and home agent's tunnel, both ways. `office` is
inside, where the gateway's own route leads; answers still come by the home agent.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from pathlib import Path

from mobileip.forwarding import loader
from mobileip.forwarding.entries import Encapsulation, Gateway, ProxyBinding, ProxyForwarding, Tunnel, TunnelPolicy
from mobileip.forwarding.tables import ProxyTables
from tests.forwarding.conftest import Namespace

HOME, CARE_OF, FOREIGN_AGENT = "192.0.2.69", "198.51.100.10", "198.51.100.100"
MIPP_PUB, MIPP_PRIV, VPNGW_PUB, VPNGW_PRIV = "203.0.113.10", "192.0.2.10", "203.0.113.20", "192.0.2.20"
HOME_AGENT, CN, OFFICE = "192.0.2.30", "192.0.2.80", "192.0.2.50"
GRE_KEY = 434
DEVICE = {Encapsulation.IPIP: "ipip", Encapsulation.GRE: f"gre key {GRE_KEY}"}
"""The kernel's device for an encapsulation, as `ip link add` takes it. RFC 2004 has none."""

# (host, interface, peer's host, peer's interface)
_WIRES = (
    ("node", "eth0", "internet", "node0"),
    ("node", "eth1", "fa", "visitors"),
    ("fa", "uplink", "internet", "fa0"),
    ("proxy", "pub", "internet", "p1"),
    ("gateway", "pub", "internet", "p2"),
    ("proxy", "priv", "office", "q1"),
    ("gateway", "priv", "office", "q2"),
    ("agent", "core", "office", "q3"),
    ("agent", "home", "cn", "eth0"),
)
_ADDRESSES = {
    "node": f"""
        ip address add {CARE_OF}/27 dev eth0
        ip address add {HOME}/32 dev lo
        ip route add default via 198.51.100.1""",
    "fa": f"""
        ip address add {FOREIGN_AGENT}/27 dev uplink
        ip address add 198.51.100.129/27 dev visitors
        ip route add default via 198.51.100.97""",
    "internet": """
        ip link add dmz type bridge
        ip link set p1 master dmz
        ip link set p2 master dmz
        ip link set dmz up
        ip address add 203.0.113.1/26 dev dmz
        ip address add 198.51.100.1/27 dev node0
        ip address add 198.51.100.97/27 dev fa0""",
    "proxy": f"""
        ip address add {MIPP_PUB}/26 dev pub
        ip address add {MIPP_PRIV}/27 dev priv
        ip route add default via 203.0.113.1""",
    "gateway": f"""
        ip address add {VPNGW_PUB}/26 dev pub
        ip address add {VPNGW_PRIV}/27 dev priv
        ip route add default via 203.0.113.1
        ip route add 192.0.2.32/27 dev priv
        ip route add 192.0.2.64/27 via {HOME_AGENT} dev priv onlink
        ip route add 192.0.2.64/27 via {MIPP_PUB} table 434
        ip rule add from {VPNGW_PUB} to 192.0.2.64/27 lookup 434
        ip rule add from {HOME} to 192.0.2.64/27 lookup 434""",
    "office": f"""
        ip link add inside type bridge
        ip link set q1 master inside
        ip link set q2 master inside
        ip link set q3 master inside
        ip link set inside up
        ip address add {OFFICE}/27 dev inside
        ip route add 192.0.2.0/27 dev inside
        ip route add 192.0.2.64/27 via {HOME_AGENT}
        ip route add 198.51.100.0/24 via {VPNGW_PRIV}""",
    "agent": f"""
        ip address add {HOME_AGENT}/27 dev core
        ip route add 192.0.2.32/27 dev core
        ip address add 192.0.2.65/27 dev home""",
    "cn": f"""
        ip address add {CN}/27 dev eth0
        ip route add {HOME}/32 via 192.0.2.65
        ip route add default via 192.0.2.65""",
}
_INTRANET = ("192.0.2.32/27", "192.0.2.64/27")
"""What the node reaches through the SA."""
STREAM = 500_000
"""Bytes of a stream that arrive at least: some hundred full segments, soon carried by a slow guest, too."""
_TO_SEND = f"-n {2 * STREAM} -w 100K"
"""iperf3 ends with the last byte that the sender's buffer takes: what is in the buffers then it does not count."""
_CIPHER = "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128"


@dataclass
class Ground:
    """The hosts. `tunnel` and `protect` lay the node's way; each can be laid anew."""

    hosts: dict[str, Namespace]
    pin_dir: Path
    _tunnelled: str | None = field(default=None, init=False)

    def shell(self, host: str, commands: str) -> str:
        """Commands on a host, one a line; what they print."""
        return self.hosts[host].shell(commands)

    def tables(self) -> ProxyTables:
        """The proxy's."""
        return ProxyTables(self.pin_dir)

    def tunnel(self, encapsulation: Encapsulation, *, end: str = "node") -> None:
        """Bind the node at its own care-of address or, `end` "fa", at the agent's, with the kernel's device there."""
        self.no_tunnel()
        care_of = CARE_OF if end == "node" else FOREIGN_AGENT
        kind = DEVICE[encapsulation]
        self.shell(
            end,
            f"""
            ip link add tunnel type {kind} local {care_of} remote {MIPP_PUB} ttl 64
            ip link set tunnel up
            sysctl -qw net.ipv4.conf.tunnel.rp_filter=0
            ip route replace {VPNGW_PUB}/32 dev tunnel src {HOME if end == "node" else FOREIGN_AGENT}""",
        )
        if end == "fa":
            self.shell("fa", f"ip route replace {HOME}/32 dev visitors")
            self.shell("node", f"ip route replace {VPNGW_PUB}/32 via 198.51.100.129 dev eth1 onlink src {HOME}")
        self._tunnelled = end
        key = GRE_KEY if encapsulation is Encapsulation.GRE else None
        tunnel = Tunnel(IPv4Address(care_of), time.time() + 3600, encapsulation, gre_key=key)
        gateway, home, agent = IPv4Address(VPNGW_PUB), IPv4Address(HOME), IPv4Address(HOME_AGENT)
        # The home agent's leg likewise: what was asked of it.
        self.tables().put(ProxyBinding(gateway, home, agent, (tunnel,), encapsulation))

    def no_tunnel(self) -> None:
        """Take the node's tunnel away again: what the node sends to the gateway goes by its default route."""
        if self._tunnelled is not None:
            self.shell(self._tunnelled, "ip link del tunnel")
        if self._tunnelled == "fa":
            self.shell("node", f"ip route del {VPNGW_PUB}/32")
        self._tunnelled = None

    def agent_device(self, encapsulation: Encapsulation) -> None:
        """The home agent's end of its tunnel: the kernel's device, to the node and from it."""
        self.shell(
            "agent",
            f"""
            ip link del tunnel 2>/dev/null || true
            ip link add tunnel type {DEVICE[encapsulation]} local {HOME_AGENT} remote {MIPP_PRIV} ttl 64
            ip link set tunnel up
            sysctl -qw net.ipv4.conf.tunnel.rp_filter=0 net.ipv4.conf.home.proxy_arp=1
            ip route replace {HOME}/32 dev tunnel""",
        )

    def protect(self, address: str = HOME) -> None:
        """ESP in tunnel mode between `address` of the node and the gateway, by the kernel, both ways."""
        ways = {"node": {"out": "there", "in": "back"}, "gateway": {"in": "there", "fwd": "there", "out": "back"}}
        for host, directions in ways.items():
            commands = ["xfrm state flush", "xfrm policy flush"]
            for spi, source, target in ((0x100, address, VPNGW_PUB), (0x101, VPNGW_PUB, address)):
                state = f"src {source} dst {target} proto esp spi {spi} reqid 1 mode tunnel"
                commands.append(f"xfrm state add {state} {_CIPHER}")
            for network, (direction, way) in product(_INTRANET, directions.items()):
                ends = (f"{address}/32", network, address, VPNGW_PUB)
                source, target, outer_source, outer_target = ends if way == "there" else (
                    network, f"{address}/32", VPNGW_PUB, address)  # fmt: skip
                template = f"tmpl src {outer_source} dst {outer_target} proto esp reqid 1 mode tunnel"
                commands.append(f"xfrm policy add src {source} dst {target} dir {direction} {template}")
            self.shell(host, "ip -batch - <<'END'\n" + "\n".join(commands) + "\nEND")

    def decrypted_and_encrypted(self) -> tuple[int, int]:
        """Packets of the gateway's ESP since `protect`: from the node, to the node."""
        found = []
        for spi in (0x100, 0x101):
            said = self.shell("gateway", f"ip -s xfrm state list spi {spi:#x}")
            current = re.search(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", said)
            assert current is not None, said
            found.append(int(current.group(1)))
        return found[0], found[1]

    def ping(self, to: str = CN, *, count: int = 3, source: str = HOME, size: int = 56) -> int:
        """Echo replies that the node gets."""
        command = f"ping -q -c {count} -i 0.2 -W 3 -s {size} -I {source} {to} || true"
        found = re.search(r"(\d+) received", self.shell("node", command))
        return int(found.group(1)) if found else 0

    def stream(
        self, server: str, address: str, *, source: str = HOME, length: str = _TO_SEND, reverse: bool = False
    ) -> Stream:
        """TCP between the node and `server` at `address`, as long as iperf3 is told; `reverse`: towards the node."""
        host = self.hosts[server]
        listening = host.run(
            subprocess.Popen, ["iperf3", "-s", "-1", "-B", address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            _until_listening(host)
            way = "-R" if reverse else ""
            said = self.shell("node", f"iperf3 -J -B {source} -c {address} {length} {way}")
        finally:
            listening.kill()
            listening.communicate()
        report = json.loads(said)
        end = report["end"]
        return Stream(
            end["sum_received"]["bits_per_second"],
            int(end["sum_received"]["bytes"]),
            int(end["sum_sent"]["retransmits"]),
            int(report["start"]["tcp_mss_default"]),
        )

    @contextmanager
    def captured(self, host: str, interface: str, most: int = 4000) -> Iterator[list[str]]:
        """What tcpdump says of each packet; the list is filled when the block ends."""
        lines: list[str] = []
        process = self.hosts[host].run(
            subprocess.Popen, ["tcpdump", "-tnv", "-c", str(most), "--immediate-mode", "-l", "-i", interface, "ip"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "listening on" in process.stderr.readline()
        try:
            yield lines
            time.sleep(0.5)
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=30)
            # Each packet is one line and those below it that are indented.
            lines += [" ".join(part.split()) for part in re.split(r"\n(?=\S)", said) if part.strip()]


@dataclass(frozen=True)
class Stream:
    """What came of a TCP stream."""

    bits_per_second: float
    """of payload, as received"""
    received: int
    """bytes"""
    retransmits: int
    segment: int
    """bytes of payload in a full segment"""


def _until_listening(host: Namespace, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while ":5201" not in host.shell("ss -Htln"):
        assert time.monotonic() < deadline, "iperf3 does not listen"
        time.sleep(0.1)


@contextmanager
def ground(bpf_object: Path, bpffs: Path, *, mtu: Mapping[str, int] = {}) -> Iterator[Ground]:
    """The hosts, wired, with the proxy's programs loaded and its gateway known."""
    hosts = {name: Namespace() for name in _ADDRESSES}
    made = Ground(hosts, bpffs / "ground")
    attachments = loader.proxy_attachments("pub", "priv")
    try:
        for host, interface, peer, peer_interface in _WIRES:
            made.shell(
                host,
                f"ip link add {interface} type veth peer name {peer_interface}\n"
                f"ip link set {peer_interface} netns {hosts[peer].path}",
            )
        for name, commands in _ADDRESSES.items():
            forwards = int(name not in ("node", "cn", "office"))
            made.shell(
                name,
                "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 "
                f"net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward={forwards} net.ipv4.conf.all.send_redirects=0 "
                "net.ipv4.conf.default.send_redirects=0\n"
                "for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do ip link set $i up; "
                f"sysctl -qw net.ipv4.conf.$i.rp_filter=0 net.ipv4.conf.$i.send_redirects=0; done\n{commands}",
            )
        for (host, interface), size in ((place.split(":"), size) for place, size in mtu.items()):
            made.shell(host, f"ip link set {interface} mtu {size}")
        hosts["proxy"].run(loader.load, bpf_object, made.pin_dir, attachments, max_bindings=1024)
        _configure(made)
        yield made
    finally:
        if made.pin_dir.exists():
            hosts["proxy"].run(loader.unload, made.pin_dir, attachments)
        for namespace in hosts.values():
            namespace.close()


def _configure(made: Ground) -> None:
    def index(interface: str) -> int:
        return made.hosts["proxy"].run(socket.if_nametoindex, interface)

    macs = frozenset(made.shell("gateway", f"ip -br link show {name}").split()[2] for name in ("pub", "priv"))
    tables = made.tables()
    tables.configure(
        ProxyForwarding(
            IPv4Address(MIPP_PUB),
            IPv4Address(MIPP_PRIV),
            index("pub"),
            index("priv"),
            (Gateway(IPv4Address(VPNGW_PUB), IPv4Address(VPNGW_PRIV), macs),),
            (IPv4Network("192.0.2.64/27"),),
            (IPv4Network("192.0.2.64/27"),),
            home_agent_gre_key=GRE_KEY,
        )
    )
    tables.set_policy(TunnelPolicy(errors_per_second=50))
