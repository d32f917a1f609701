"""What a party keeps about a node: bindings (proxy, home agent) and visitors (foreign agent)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from ipaddress import IPv4Address
from itertools import chain
from typing import NamedTuple

from mobileip.registration.events import Endpoint
from mobileip.wire.messages import INFINITE_LIFETIME
from mobileip.wire.record import record


class Encapsulation(StrEnum):
    """How data travels in a tunnel."""

    IPIP = "ipip"  # IP protocol 4, RFC 2003
    MINIMAL = "minimal"  # IP protocol 55, RFC 2004
    GRE = "gre"  # IP protocol 47, RFC 2784
    UDP = "udp"  # UDP port 434, MIP tunnel data with next header 4, RFC 3519
    UDP_MINIMAL = "udp-minimal"  # the same with next header 55
    UDP_GRE = "udp-gre"  # the same with next header 47

    @property
    def next_header(self) -> int:
        """IP protocol of what is around the inner packet: 4, 47 or 55."""
        return _NEXT_HEADER[self]

    @property
    def in_udp(self) -> bool:
        """The tunnel is one of RFC 3519: addresses and port are what a NAT made them."""
        return self in _IN_UDP


_NEXT_HEADER = {
    Encapsulation.IPIP: 4,
    Encapsulation.MINIMAL: 55,
    Encapsulation.GRE: 47,
    Encapsulation.UDP: 4,
    Encapsulation.UDP_MINIMAL: 55,
    Encapsulation.UDP_GRE: 47,
}
_IN_UDP = frozenset({Encapsulation.UDP, Encapsulation.UDP_MINIMAL, Encapsulation.UDP_GRE})


class NodeKey(NamedTuple):
    """Which node is meant. Home addresses may overlap behind different VPN gateways, and only so.

    `gateway` is VPNGW-Pub of the home network at the proxy, None at a home agent. `name` is the home address of a node
    configured with one, the NAI of a node whose home address is assigned.
    """

    gateway: IPv4Address | None
    name: IPv4Address | str


class BindingKey(NamedTuple):
    """What tells bindings apart. Home addresses may overlap behind different VPN gateways, and only so.

    `gateway` is VPNGW-Pub of the home network at the proxy, None at a home agent.
    """

    gateway: IPv4Address | None
    home_address: IPv4Address
    care_of_address: IPv4Address


class RevocationPeer(NamedTuple):
    """Who is told when a binding is revoked (RFC 3543): by which authentication (32 the node, 34 its foreign agent).

    `timestamp` is that of its Revocation Support extension.
    """

    kind: int
    timestamp: int


@record(frozen=True, slots=True)
class Binding:
    """A home address, where it is now, and how to reach it there.

    `care_of_address` is the field of the request. `source` is where the request came from: replies go there, and with
    UDP encapsulation, or a foreign agent before the node, the tunnel's packets come from its address.
    `expires` is Unix time in seconds, infinity for a lifetime of 0xFFFF. `granted` is the lifetime in seconds that
    the node was told, `identification` the one of the request that made the binding. `nai` is what a node called itself
    that said so (RFC 2794). `registered` is when its request was relayed, `home_agent_expires` until when the home
    agent has its own binding for the node, both Unix time in seconds; a home agent leaves them out.
    `node_revocation` and `agent_revocation` are what was agreed on about revocation with who registered it, and, at the
    proxy, with the home agent (its timestamp).
    """

    home_address: IPv4Address
    home_agent: IPv4Address
    care_of_address: IPv4Address
    source: Endpoint
    interface: str
    encapsulation: Encapsulation
    flags: int
    identification: int
    granted: int
    expires: float
    gateway: IPv4Address | None = None
    via_foreign_agent: bool = False
    half_bound: bool = False
    keepalive: int = 0
    spi: int = 0
    nai: str | None = None
    registered: float = 0.0
    home_agent_expires: float = 0.0
    node_revocation: RevocationPeer | None = None
    agent_revocation: int | None = None

    @property
    def key(self) -> BindingKey:
        """What tells it from other bindings."""
        return BindingKey(self.gateway, self.home_address, self.care_of_address)

    @property
    def tunnel_peer(self) -> Endpoint:
        """The other end of the tunnel: with UDP the request's source (RFC 3519 4.2), else the care-of address."""
        if self.encapsulation.in_udp:
            return self.source
        return Endpoint(self.care_of_address, 0)

    @property
    def tunnel_source(self) -> IPv4Address:
        """Outer source of the node's packets.

        The care-of address; behind a foreign agent the address that its request came from, which need not be the
        care-of address (draft 2.7.2); with UDP the NAT's.
        """
        if self.via_foreign_agent or self.encapsulation.in_udp:
            return self.source.address
        return self.care_of_address

    def learn(self, endpoint: Endpoint) -> Binding | None:
        """The whole binding of a half-bound one, from the endpoint of its first keepalive (RFC 3519 4.4).

        None if it is not half bound, or if the address is not the one its request came from.
        """
        if not self.half_bound or endpoint.address != self.source.address:
            return None
        return replace(self, source=endpoint, half_bound=False)


@record(frozen=True, slots=True)
class Visitor:
    """A node that a foreign agent serves. `home_agent` is what the node named: at an outside agent, MIPP-Pub.

    `node` is where the node's requests come from on the link. `expires` is Unix time in seconds. `nai` is what a node
    called itself that said so. A co-located one ends its tunnel itself: the agent only registers it.
    """

    home_address: IPv4Address
    home_agent: IPv4Address
    care_of_address: IPv4Address
    node: Endpoint
    interface: str
    encapsulation: Encapsulation
    reverse_tunnel: bool
    encapsulating_delivery: bool
    identification: int
    granted: int
    expires: float
    keepalive: int = 0
    nai: str | None = None
    co_located: bool = False


def expiry(lifetime: int, since: float) -> float:
    """Unix time when a lifetime that began at `since` is over; infinity for 0xFFFF (RFC 5944 3.3)."""
    return math.inf if lifetime == INFINITE_LIFETIME else since + lifetime


class BindingTable:
    """Bindings by key, with their expiry. Never tells anybody that one has expired (RFC 5944 3.8)."""

    def __init__(self) -> None:
        self._by_node: dict[tuple[IPv4Address | None, IPv4Address], list[Binding]] = {}
        self._size = 0
        self._heap: list[tuple[float, BindingKey]] = []  # for each that ends, an entry at its expiry or before

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Binding]:
        return chain.from_iterable(self._by_node.values())

    def get(self, key: BindingKey) -> Binding | None:
        """The binding with this key, or None."""
        for binding in self._by_node.get(key[:2], ()):
            if binding.care_of_address == key.care_of_address:
                return binding
        return None

    def of_node(self, home_address: IPv4Address, gateway: IPv4Address | None = None) -> list[Binding]:
        """All bindings of one node, oldest first."""
        return list(self._by_node.get((gateway, home_address), ()))

    def put(self, binding: Binding) -> bool:
        """Add the binding, or replace the one with its key; True: it was added."""
        key = binding.key
        of_node = self._by_node.setdefault(key[:2], [])
        before = math.inf
        for place, other in enumerate(of_node):
            if other.care_of_address == key.care_of_address:
                of_node[place] = binding
                before, added = other.expires, False
                break
        else:
            of_node.append(binding)
            self._size += 1
            added = True
        if binding.expires < before:  # else its entry in the heap is put off when that is due
            heapq.heappush(self._heap, (binding.expires, key))
        return added

    def remove(self, key: BindingKey) -> Binding | None:
        """Take the binding out; None if there is none."""
        of_node = self._by_node.get(key[:2], [])
        for place, binding in enumerate(of_node):
            if binding.care_of_address == key.care_of_address:
                del of_node[place]
                self._size -= 1
                if not of_node:
                    del self._by_node[key[:2]]
                return binding
        return None

    def next_expiry(self) -> float | None:
        """When the next binding expires (Unix seconds), None if none ever does."""
        while self._heap:
            expires, key = self._heap[0]
            binding = self.get(key)
            if binding is not None and binding.expires == expires:
                return expires
            entry = heapq.heappop(self._heap)
            while self._heap and self._heap[0] == entry:
                heapq.heappop(self._heap)
            if binding is not None and binding.expires != math.inf:
                heapq.heappush(self._heap, (binding.expires, key))
        return None

    def expire(self, now: float) -> list[Binding]:
        """Take out what has expired by `now`, in the order of expiry."""
        expired: list[Binding] = []
        if not self._heap or self._heap[0][0] > now:
            return expired
        while (due := self.next_expiry()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            binding = self.remove(key)
            if binding is not None:
                expired.append(binding)
        return expired
