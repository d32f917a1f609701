"""What the model is told and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from mobileip.forwarding.entries import (
    Encapsulation,
    ForeignAgentForwarding,
    HomeAgentForwarding,
    NodePath,
    PathMtu,
    ProxyForwarding,
    Tunnel,
    TunnelPolicy,
    Visitor,
)


class Action(Enum):
    """What the program returns; the value is tc's number."""

    STACK = 0xFFFFFFFF
    """Not ours, unchanged (TC_ACT_UNSPEC)."""
    CHANGED = 0
    """Decapsulated, to the host's own stack (TC_ACT_OK)."""
    DROP = 2
    REDIRECT = 7


@dataclass(frozen=True)
class Verdict:
    """What happens to one frame."""

    action: Action
    reason: str | None = None
    """Of a drop."""
    outcome: str | None = None
    frame: bytes = b""
    """Afterwards; MAC addresses are those it came with, the kernel's neighbour table fills in others."""
    ifindex: int = 0
    next_hop: IPv4Address | None = None
    """Neighbour on `ifindex`; None: by the kernel's route to the destination."""
    copies: tuple[int, ...] = ()
    """Tunnels of the binding that get a copy, by index; each is decided anew with its mark."""
    front: bytes = b""
    """Of what was cut: the frame that comes in anew before `frame`; what its header does not cover is padding."""
    mark: int = 0
    """Of both of them."""
    learnt: tuple[tuple[IPv4Address, IPv4Address], int, Tunnel] | None = None
    """Binding and index of a half-bound tunnel that this keepalive completed, and the tunnel now."""
    stray: tuple[tuple[IPv4Address, IPv4Address], IPv4Address, int] | None = None
    """Binding whose node's packet came from another address or UDP port, and those."""


@dataclass(frozen=True)
class Link:
    """An interface of the host."""

    mac: bytes
    mtu: int = 1500


@dataclass(frozen=True)
class Bound:
    """A binding as both proxy and home agent keep it."""

    home_agent: IPv4Address
    tunnels: tuple[Tunnel, ...]
    home_agent_encapsulation: Encapsulation = Encapsulation.IPIP

    def is_live(self, now: float) -> bool:
        """Whether any care-of address is within its lifetime."""
        return any(tunnel.expires > now for tunnel in self.tunnels)


Key = tuple[IPv4Address, IPv4Address]


@dataclass(frozen=True)
class Snapshot:
    """Contents of the tables, and what the kernel knows that a rule depends on."""

    links: Mapping[int, Link]
    route: Callable[[IPv4Address], int | None] = lambda _destination: None
    """Interface towards an address, None without a route."""
    on_link: Callable[[IPv4Address], int | None] = lambda _address: None
    """Interface on whose link the table main has an address, None for one behind a router or without a route."""
    proxy: ProxyForwarding | None = None
    home_agent: HomeAgentForwarding | None = None
    foreign_agent: ForeignAgentForwarding | None = None
    mobile_node: NodePath | None = None
    bindings: Mapping[Key, Bound] = field(default_factory=dict)
    """By (gateway, home address) on a proxy, by (own address, home address) on a home agent."""
    visitors: Mapping[IPv4Address, Visitor] = field(default_factory=dict)
    path_mtus: Mapping[IPv4Address, PathMtu] = field(default_factory=dict)
    """By the tunnel's end."""
    policy: TunnelPolicy = field(default_factory=TunnelPolicy)
