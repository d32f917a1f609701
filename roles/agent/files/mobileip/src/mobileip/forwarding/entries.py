"""What the forwarding tables hold, as plain data. Times are Unix seconds, addresses `IPv4Address`, ports integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from mobileip.wire.record import record

ANY = IPv4Address(0)
MIP_PORT = 434


class Encapsulation(StrEnum):
    """How packets travel in a tunnel."""

    IPIP = "ipip"
    """IP-in-IP, RFC 2003."""
    GRE = "gre"
    """RFC 2784, with the key of RFC 2890 where one is configured."""
    MINIMAL = "minimal"
    """RFC 2004; by IP-in-IP what is a fragment already."""
    UDP = "udp"
    """IP in MIP-UDP, RFC 3519 with next header 4."""
    UDP_GRE = "udp-gre"
    """The same with next header 47."""
    UDP_MINIMAL = "udp-minimal"
    """The same with next header 55."""

    @property
    def next_header(self) -> int:
        """IP protocol of what is around the inner packet: 4, 47 or 55."""
        return _NEXT_HEADER[self]

    @property
    def in_udp(self) -> bool:
        """It is one of RFC 3519."""
        return self in _IN_UDP

    @property
    def protocol(self) -> int:
        """IP protocol of the outer header: 4, 47, 55 or 17."""
        return 17 if self in _IN_UDP else _NEXT_HEADER[self]

    @classmethod
    def of(cls, next_header: int, *, in_udp: bool) -> Encapsulation:
        """The one with this next header, 4, 47 or 55. Raises ValueError."""
        for each in cls:
            if each.next_header == next_header and each.in_udp == in_udp:
                return each
        raise ValueError(f"next header {next_header}, expected 4, 47 or 55")


_NEXT_HEADER = {
    Encapsulation.IPIP: 4,
    Encapsulation.GRE: 47,
    Encapsulation.MINIMAL: 55,
    Encapsulation.UDP: 4,
    Encapsulation.UDP_GRE: 47,
    Encapsulation.UDP_MINIMAL: 55,
}
_IN_UDP = frozenset({Encapsulation.UDP, Encapsulation.UDP_GRE, Encapsulation.UDP_MINIMAL})


@dataclass(frozen=True)
class Passes:
    """What may travel between nodes and VPN gateways, both ways, besides its own fragments; all else is dropped."""

    protocols: frozenset[int]
    """IP protocols of which everything passes, such as 50 (ESP)."""
    ports: frozenset[tuple[int, int]] = frozenset()
    """(6 or 17, the gateway's port) of what passes by TCP or UDP."""


IPSEC = Passes(frozenset({50}), frozenset({(17, 500), (17, 4500)}))
"""ESP, IKE, and what is on IKE's port behind a NAT: ESP in UDP (RFC 3948)."""


@record(frozen=True, slots=True)
class Tunnel:
    """One care-of address of a binding, with its own lifetime (RFC 5944 3.8: simultaneous bindings)."""

    care_of: IPv4Address
    """Where packets for the node go: the effective care-of address (behind a NAT the request's source)."""
    expires: float
    encapsulation: Encapsulation = Encapsulation.IPIP
    port: int = 0
    """The node's UDP port as seen here; 0 without UDP. Of a half-bound tunnel: the one of the registration before,
    which serves until a keepalive shows another, or 0."""
    source: IPv4Address | None = None
    """Its packets may come from here too: the address that an agent-relayed request came from. None: only `care_of`."""
    half_bound: bool = False
    """RFC 3519 R flag: the port is not known until the first keepalive."""
    gre_key: int | None = None
    """RFC 2890, both ways; None: packets have none, and must have none."""


@dataclass(frozen=True)
class Gateway:
    """A VPN gateway: its two addresses and the MAC addresses (aa:bb:cc:dd:ee:ff) that it may send from."""

    public_address: IPv4Address
    private_address: IPv4Address
    macs: frozenset[str] = frozenset()
    direct_delivery: bool = False
    """Clear packets of its nodes for a mobility subnet straight to it, instead of through the home agent's tunnel."""
    other_sources: tuple[IPv4Network, ...] = ()
    """Its other VPN users, where it routes by destination only: their packets for a mobility subnet come here, too."""


@dataclass(frozen=True)
class ProxyForwarding:
    """Settings of the programs `proxy_pub` and `proxy_priv`."""

    public_address: IPv4Address
    private_address: IPv4Address
    public_ifindex: int
    private_ifindex: int
    gateways: tuple[Gateway, ...]
    home_networks: tuple[IPv4Network, ...]
    mobility_subnets: tuple[IPv4Network, ...]
    home_agent_gre_key: int | None = None
    """GRE key (RFC 2890) of the tunnels to and from home agents; None: they have none."""
    wire_ifindex: int | None = None
    """One box: the proxy's end of the wire to the gateway on this host. None: gateways are on the two segments."""
    passes: Passes = IPSEC

    @property
    def gateway_public_ifindex(self) -> int:
        """Where VPNGW-Pub is, and the only interface on which a gateway is listened to."""
        return self.public_ifindex if self.wire_ifindex is None else self.wire_ifindex

    @property
    def gateway_private_ifindex(self) -> int:
        """Where VPNGW-Priv is."""
        return self.private_ifindex if self.wire_ifindex is None else self.wire_ifindex


@record(frozen=True, slots=True)
class ProxyBinding:
    """A node behind this proxy. Its key is (gateway's public address, home address)."""

    gateway: IPv4Address
    home_address: IPv4Address
    home_agent: IPv4Address
    tunnels: tuple[Tunnel, ...]
    home_agent_encapsulation: Encapsulation = Encapsulation.IPIP
    """What was asked of the home agent. It may answer by IP-in-IP all the same."""


@dataclass(frozen=True)
class HomeAgentForwarding:
    """Settings of the programs `ha_core` and `ha_home`."""

    address: IPv4Address


@dataclass(frozen=True)
class HomeBinding:
    """A node that is away from home."""

    home_address: IPv4Address
    tunnels: tuple[Tunnel, ...]


@dataclass(frozen=True)
class ForeignAgentForwarding:
    """Settings of the programs `fa_uplink` and `fa_link`."""

    care_of: IPv4Address
    link_address: IPv4Address
    uplink_ifindex: int
    link_ifindex: int


@dataclass(frozen=True)
class Visitor:
    """A node that registered through this foreign agent."""

    home_address: IPv4Address
    home_agent: IPv4Address
    """The tunnel's other end: MIPP-Pub for a node that comes through a proxy."""
    expires: float
    encapsulation: Encapsulation = Encapsulation.IPIP
    port: int = MIP_PORT
    reverse_tunnel: bool = True
    encapsulating_delivery: bool = False
    """It tunnels to the agent what is to be reverse-tunnelled (RFC 3024 5.2), and only that."""
    gre_key: int | None = None
    """RFC 2890, both ways; None: packets have none, and must have none."""


class NodeMode(IntEnum):
    """Where the mobile node is, as far as its packets are concerned (bpf/mobile_node.h)."""

    BLOCKED = 0
    HOME = 1
    TUNNEL = 2
    FOREIGN_AGENT = 3


@dataclass(frozen=True)
class NodePath:
    """Settings of the programs `mn_ingress` and `mn_egress`: what the home address may send, and how it travels."""

    home_address: IPv4Address
    mode: NodeMode = NodeMode.BLOCKED
    care_of: IPv4Address = ANY
    peer: IPv4Address = ANY
    """The tunnel's other end: MIPP-Pub, or the home agent when the node asks it directly."""
    encapsulation: Encapsulation = Encapsulation.IPIP
    peer_port: int = MIP_PORT
    local_port: int = MIP_PORT
    gateways: tuple[IPv4Address, ...] = ()
    encapsulate_all: bool = False
    """Any destination may be reached through the tunnel, not the gateways only."""
    gre_key: int | None = None
    """RFC 2890, both ways; None: packets have none, and must have none."""
    passes: Passes = IPSEC
    home_link_only: bool = False
    """At home: nothing leaves on a link that the home network is not on, whatever is known of a move."""


@dataclass(frozen=True)
class PathMtu:
    """What routers have said of the path to a tunnel's end: bytes that a packet may have, until `expires`."""

    mtu: int
    expires: float


@dataclass(frozen=True)
class TunnelPolicy:
    """What all tunnels of a host have in common."""

    errors_per_second: int = 0
    """ICMP errors to one source at most; 0: none are sent."""
    dscp: int | None = None
    """DSCP of the outer header, 0 to 63; None: the inner one's."""
    tcp_mss: int = 0
    """Payload bytes of a TCP segment at most, in the SYNs that pass; 0: as the ends agree."""
    reassembly: bool = False
    """Fragments of tunnel packets go to the stack, which hands the whole to the daemon."""


@dataclass(frozen=True)
class Counters:
    """Packets dropped by reason; packets and bytes (of the frames as they came) by outcome. Zeros included."""

    drops: dict[str, int] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)


class Traffic(NamedTuple):
    """What went one way: packets, and bytes of their frames as they came in."""

    packets: int = 0
    bytes: int = 0


class BindingTraffic(NamedTuple):
    """What the tunnels of a binding have carried since it was made; renewals and moves go on counting."""

    from_node: Traffic = Traffic()
    to_node: Traffic = Traffic()


class Stray(NamedTuple):
    """Where packets that claim to be a bound node's came from, other than its tunnel's end. Nobody has proven it."""

    gateway: IPv4Address
    home_address: IPv4Address
    address: IPv4Address
    port: int
    """0 without UDP."""
    packets: int
    last: float


class InterfaceTraffic(NamedTuple):
    """What came in on an interface, by what became of it; `passed` was left to the kernel's stack."""

    forwarded: Traffic = Traffic()
    dropped: Traffic = Traffic()
    passed: Traffic = Traffic()


class Synchronised(NamedTuple):
    """What it took to make a table equal to what it should hold."""

    written: int = 0
    removed: int = 0
