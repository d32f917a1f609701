"""Contents of the tables for the property test, each with every kind of binding, in a namespace with two interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from mobileip.forwarding import rules
from mobileip.forwarding.entries import (
    Encapsulation,
    ForeignAgentForwarding,
    Gateway,
    HomeAgentForwarding,
    HomeBinding,
    NodeMode,
    NodePath,
    Passes,
    PathMtu,
    ProxyBinding,
    ProxyForwarding,
    Tunnel,
    TunnelPolicy,
    Visitor,
)
from mobileip.forwarding.one_box import WIRE_MAC
from mobileip.forwarding.tables import ForeignAgentTables, HomeAgentTables, MobileNodeTables, ProxyTables

PUBLIC_MAC, PRIVATE_MAC = bytes.fromhex("020000000010"), bytes.fromhex("020000000011")
PUBLIC_MTU, PRIVATE_MTU = 1500, 1400
UNLIMITED = 1_000_000_000
"""ICMP errors a second: more than a test can ask for."""
INTERFACES = """
ip link add pub address 02:00:00:00:00:10 mtu 1500 type veth peer name pub_peer
ip link add priv address 02:00:00:00:00:11 mtu 1400 type veth peer name priv_peer
ip link add mip0 address 02:4d:49:50:00:01 type veth peer name mip1 address 02:4d:49:50:00:01
ip link set pub up
ip link set priv up
ip link set pub_peer up
ip link set priv_peer up
ip link set mip0 up
ip link set mip1 up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1
ip address add 203.0.113.10/26 dev pub
ip address add 192.0.2.10/27 dev priv
ip route add 198.51.100.0/24 via 203.0.113.1
ip rule add preference 199 lookup 435
"""
# Which interface a program is tried on.
PROGRAMS = {
    "proxy_pub": "pub",
    "proxy_priv": "priv",
    "ha_core": "priv",
    "ha_home": "pub",
    "fa_uplink": "pub",
    "fa_link": "priv",
    "mn_ingress": "pub",
    "mn_egress": "pub",
}


def address(text: str) -> IPv4Address:
    return IPv4Address(text)


GATEWAY, OTHER_GATEWAY = address("203.0.113.20"), address("203.0.113.21")
HOME_AGENT, OTHER_HOME_AGENT = address("192.0.2.40"), address("192.0.2.41")
CARE_OF, OTHER_CARE_OF = address("198.51.100.10"), address("198.51.100.11")
NAT, FOREIGN_AGENT, ROUTED = address("198.51.100.40"), address("198.51.100.100"), address("198.51.100.140")


OTHER_USERS = IPv4Network("192.0.2.128/27")
WIREGUARD = Passes(frozenset(), frozenset({(17, 51820), (6, 51820)}))


KEY, AGENT_KEY = 0x0A0B0C0D, 434
# What the home agent was asked for, where it was not IP-in-IP.
TOWARDS_HOME_AGENT = {"192.0.2.81": Encapsulation.GRE, "192.0.2.83": Encapsulation.MINIMAL}


def tunnels(now: float) -> dict[str, tuple[Tunnel, ...]]:
    """Tunnels of each kind of binding, by the home address that has them."""
    later, past = now + 3000, now - 1
    plain = Tunnel(CARE_OF, later)
    behind_nat = Tunnel(NAT, later, Encapsulation.UDP, 40000)
    half = Tunnel(ROUTED, later, Encapsulation.UDP, source=NAT, half_bound=True)
    return {
        "192.0.2.69": (plain,),
        "192.0.2.70": (behind_nat,),
        "192.0.2.71": (half,),
        "192.0.2.72": (replace(plain, expires=past),),
        "192.0.2.73": (replace(plain, care_of=FOREIGN_AGENT, source=ROUTED),),
        "192.0.2.74": (replace(plain, expires=past), replace(plain, care_of=OTHER_CARE_OF), behind_nat, half),
        "192.0.2.66": (replace(plain, care_of=GATEWAY),),
        "192.0.2.79": (replace(half, port=40001),),  # the port it had before
        "192.0.2.75": (behind_nat, plain, replace(plain, care_of=OTHER_CARE_OF)),
        "192.0.2.81": (replace(plain, encapsulation=Encapsulation.GRE),),
        "192.0.2.82": (replace(plain, encapsulation=Encapsulation.GRE, gre_key=KEY),),
        "192.0.2.83": (replace(plain, encapsulation=Encapsulation.MINIMAL),),
        "192.0.2.84": (replace(behind_nat, encapsulation=Encapsulation.UDP_GRE),),
        "192.0.2.85": (replace(behind_nat, encapsulation=Encapsulation.UDP_GRE, gre_key=KEY),),
        "192.0.2.86": (replace(behind_nat, encapsulation=Encapsulation.UDP_MINIMAL),),
        "192.0.2.87": (replace(half, encapsulation=Encapsulation.UDP_GRE, gre_key=KEY),),
        "192.0.2.88": (replace(half, encapsulation=Encapsulation.UDP_MINIMAL),),
        "192.0.2.89": (
            replace(behind_nat, encapsulation=Encapsulation.UDP_MINIMAL),
            replace(plain, encapsulation=Encapsulation.MINIMAL),
            replace(plain, care_of=OTHER_CARE_OF, encapsulation=Encapsulation.GRE, gre_key=KEY),
        ),
    }


@dataclass(frozen=True)
class World:
    """Tables as the model sees them; `write` puts the same into the kernel."""

    tables: rules.Snapshot
    programs: Mapping[str, str] = field(default_factory=lambda: PROGRAMS)
    """Which interface each program is tried on."""

    def write(self, pin_dir: Path, now: float) -> None:
        """Make the pinned tables hold this."""
        tables = self.tables
        proxy, agent = ProxyTables(pin_dir), HomeAgentTables(pin_dir)
        proxy.set_policy(tables.policy)
        for remote in proxy.path_mtus():
            proxy.delete_path_mtu(remote)
        for remote, path in tables.path_mtus.items():
            proxy.put_path_mtu(remote, path)
        if tables.proxy is not None:
            proxy.configure(tables.proxy)
        if tables.home_agent is not None:
            agent.configure(tables.home_agent)
        for key, bound in tables.bindings.items():
            self.restore(pin_dir, key, bound)
        foreign = ForeignAgentTables(pin_dir)
        if tables.foreign_agent is not None:
            foreign.configure(tables.foreign_agent)
        for visitor in tables.visitors.values():
            foreign.put(visitor)
        if tables.mobile_node is not None:
            MobileNodeTables(pin_dir).set_path(tables.mobile_node)

    def restore(self, pin_dir: Path, key: rules.Key, bound: rules.Bound) -> None:
        """Write one binding anew; without the port that a half-bound tunnel keeps over a renewal."""
        if self.tables.home_agent is not None and key[0] == self.tables.home_agent.address:
            agent = HomeAgentTables(pin_dir)
            agent.delete(key[1])
            agent.put(HomeBinding(key[1], bound.tunnels))
        else:
            proxy = ProxyTables(pin_dir)
            proxy.delete(*key)
            proxy.put(ProxyBinding(*key, bound.home_agent, bound.tunnels, bound.home_agent_encapsulation))


def worlds(now: float, public: int, private: int, wire: int) -> Iterator[World]:
    """One after the other; bindings and visitors are the same, settings differ. `wire`: the proxy's end in one box."""
    links = {
        public: rules.Link(PUBLIC_MAC, PUBLIC_MTU),
        private: rules.Link(PRIVATE_MAC, PRIVATE_MTU),
        wire: rules.Link(bytes.fromhex(WIRE_MAC.replace(":", ""))),
    }

    def route(destination: IPv4Address) -> int | None:
        if destination in IPv4Network("198.51.100.0/24") or destination in IPv4Network("203.0.113.0/26"):
            return public
        return private if destination in IPv4Network("192.0.2.0/27") else None

    def on_link(destination: IPv4Address) -> int | None:
        if destination in IPv4Network("203.0.113.0/26"):
            return public
        return private if destination in IPv4Network("192.0.2.0/27") else None

    yield World(
        rules.Snapshot(links, route, on_link, bindings=_bindings(now), visitors=_visitors(now), mobile_node=_paths()[0])
    )
    proxy = ProxyForwarding(
        public_address=address("203.0.113.10"),
        private_address=address("192.0.2.10"),
        public_ifindex=public,
        private_ifindex=private,
        gateways=(
            Gateway(GATEWAY, address("192.0.2.20"), frozenset({"02:00:00:00:00:20", "02:00:00:00:00:2a"})),
            Gateway(
                OTHER_GATEWAY,
                address("192.0.2.21"),
                frozenset({"02:00:00:00:00:21"}),
                other_sources=(OTHER_USERS, IPv4Network("198.18.0.0/15")),
            ),
        ),
        home_networks=(IPv4Network("192.0.2.64/27"),),
        mobility_subnets=(IPv4Network("192.0.2.64/28"), IPv4Network("192.0.2.80/28"), IPv4Network("192.0.2.96/27")),
    )
    everything = rules.Snapshot(
        links,
        route,
        on_link,
        proxy=proxy,
        home_agent=HomeAgentForwarding(HOME_AGENT),
        foreign_agent=ForeignAgentForwarding(FOREIGN_AGENT, address("198.51.100.129"), public, private),
        bindings=_bindings(now),
        visitors=_visitors(now),
        path_mtus={
            CARE_OF: PathMtu(1280, now + 3000),
            NAT: PathMtu(1420, now + 3000),
            OTHER_CARE_OF: PathMtu(576, now - 1),
            HOME_AGENT: PathMtu(9000, now + 3000),
        },
        policy=TunnelPolicy(errors_per_second=UNLIMITED),
    )
    direct = (replace(proxy.gateways[0], direct_delivery=True), proxy.gateways[1])
    settings = (
        proxy,
        replace(proxy, gateways=direct, mobility_subnets=(IPv4Network("192.0.2.80/28"),)),
        replace(proxy, home_agent_gre_key=AGENT_KEY),
    )
    policies = (everything.policy, TunnelPolicy(UNLIMITED, dscp=46, tcp_mss=1200, reassembly=True), TunnelPolicy())
    for number, path in enumerate(_paths()):
        policy = policies[number // 3 % 3]
        yield World(replace(everything, proxy=settings[number % 3], mobile_node=path, policy=policy))
    # Another VPN than IPsec: WireGuard's port, one of TCP, a whole protocol; and no UDP at all.
    for passes in (WIREGUARD, Passes(frozenset({50, 115}), frozenset({(6, 1194)}))):
        yield World(
            replace(everything, proxy=replace(proxy, passes=passes), mobile_node=replace(_paths()[0], passes=passes))
        )
    # One box: the gateway is listened to on the wire, and on the segment whatever MAC address a frame has is nobody's.
    here = Gateway(GATEWAY, address("192.0.2.20"), frozenset({WIRE_MAC}))
    one_box = replace(everything, proxy=replace(proxy, gateways=(here,), wire_ifindex=wire), mobile_node=_paths()[0])
    yield World(one_box, {**PROGRAMS, "proxy_pub": "mip1"})
    yield World(one_box)


def _bindings(now: float) -> dict[rules.Key, rules.Bound]:
    found = {
        (GATEWAY, address(home)): rules.Bound(HOME_AGENT, each, TOWARDS_HOME_AGENT.get(home, Encapsulation.IPIP))
        for home, each in tunnels(now).items()
    }
    # The same home address behind the other gateway is another node.
    found[OTHER_GATEWAY, address("192.0.2.69")] = rules.Bound(OTHER_HOME_AGENT, (Tunnel(OTHER_CARE_OF, now + 3000),))
    found[OTHER_GATEWAY, address("192.0.2.76")] = rules.Bound(OTHER_HOME_AGENT, tunnels(now)["192.0.2.70"])
    for home, each in tunnels(now).items():
        found[HOME_AGENT, address(home)] = rules.Bound(HOME_AGENT, each)
    proxied = (Tunnel(address("192.0.2.11"), now + 3000),)
    found[HOME_AGENT, address("192.0.2.77")] = rules.Bound(HOME_AGENT, proxied)
    unreachable = (Tunnel(address("233.252.0.1"), now + 3000),)
    found[HOME_AGENT, address("192.0.2.78")] = rules.Bound(HOME_AGENT, unreachable)
    return found


def _visitors(now: float) -> dict[IPv4Address, Visitor]:
    proxy = address("203.0.113.10")
    plain = Visitor(address("192.0.2.69"), proxy, now + 3000)
    visitors = [
        plain,
        replace(plain, home_address=address("192.0.2.70"), encapsulation=Encapsulation.UDP),
        replace(plain, home_address=address("192.0.2.72"), expires=now - 1),
        replace(plain, home_address=address("192.0.2.73"), reverse_tunnel=False),
        replace(plain, home_address=address("192.0.2.74"), encapsulating_delivery=True),
        replace(
            plain,
            home_address=address("192.0.2.75"),
            encapsulating_delivery=True,
            encapsulation=Encapsulation.UDP,
        ),
        replace(plain, home_address=address("192.0.2.81"), encapsulation=Encapsulation.GRE),
        replace(plain, home_address=address("192.0.2.82"), encapsulation=Encapsulation.GRE, gre_key=KEY),
        replace(plain, home_address=address("192.0.2.83"), encapsulation=Encapsulation.MINIMAL),
        replace(plain, home_address=address("192.0.2.85"), encapsulation=Encapsulation.UDP_GRE, gre_key=KEY),
        replace(plain, home_address=address("192.0.2.86"), encapsulation=Encapsulation.UDP_MINIMAL),
    ]
    visitors += [
        replace(plain, home_address=address(home), encapsulating_delivery=True, encapsulation=style, gre_key=key)
        for home, style, key in (
            ("192.0.2.87", Encapsulation.GRE, None),
            ("192.0.2.88", Encapsulation.UDP_GRE, KEY),
            ("192.0.2.89", Encapsulation.MINIMAL, None),
        )
    ]
    return {visitor.home_address: visitor for visitor in visitors}


def _paths() -> list[NodePath]:
    home, proxy = address("192.0.2.69"), address("203.0.113.10")
    tunnel = NodePath(home, NodeMode.TUNNEL, CARE_OF, proxy, gateways=(GATEWAY, OTHER_GATEWAY))
    udp = replace(tunnel, encapsulation=Encapsulation.UDP, local_port=434)
    styles = [
        replace(tunnel, encapsulation=Encapsulation.GRE),
        replace(tunnel, encapsulation=Encapsulation.GRE, gre_key=KEY),
        replace(tunnel, encapsulation=Encapsulation.MINIMAL, encapsulate_all=True),
        replace(udp, encapsulation=Encapsulation.UDP_GRE, gre_key=KEY),
        replace(udp, encapsulation=Encapsulation.UDP_MINIMAL),
    ]
    direct = replace(tunnel, peer=HOME_AGENT, gateways=(), encapsulate_all=True)
    modes = [replace(tunnel, mode=mode) for mode in (NodeMode.BLOCKED, NodeMode.HOME, NodeMode.FOREIGN_AGENT)]
    by_agent = replace(direct, mode=NodeMode.FOREIGN_AGENT)
    # At home: the link's own address, and where the node has left for: behind a router, by another link, no way at all.
    at_home = [
        replace(direct, mode=NodeMode.HOME, home_link_only=True, home_address=address(host))
        for host in ("203.0.113.10", "198.51.100.69", "192.0.2.5", "192.0.2.69")
    ]
    return [tunnel, udp, direct, *modes, by_agent, *styles, *at_home]
