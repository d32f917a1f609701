"""Bindings of the registration as entries of the forwarding tables: one entry a node, one tunnel a care-of address."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from mobileip.config.proxy import HaLeg
from mobileip.forwarding import entries
from mobileip.registration.bindings import Binding, BindingKey, Encapsulation
from mobileip.registration.events import Endpoint, TunnelPortLearned
from mobileip.wire.messages import Flag

_GRE = (Encapsulation.GRE, Encapsulation.UDP_GRE)
NodeKey = tuple[IPv4Address | None, IPv4Address]
"""Gateway and home address."""


def tunnel(binding: Binding, gre_key: int | None = None) -> entries.Tunnel:
    """The tunnel that a binding stands for; with `gre_key` if it is one of GRE."""
    peer = binding.tunnel_peer
    source = binding.tunnel_source
    return entries.Tunnel(
        care_of=peer.address,
        expires=binding.expires,
        encapsulation=entries.Encapsulation(binding.encapsulation.value),
        port=0 if binding.half_bound else peer.port,  # the request's is the foreign agent's (RFC 3519 4.4)
        source=None if source == peer.address else source,
        half_bound=binding.half_bound,
        gre_key=gre_key if binding.encapsulation in _GRE else None,
    )


def towards_home_agent(binding: Binding, haleg: HaLeg) -> entries.Encapsulation:
    """What the home agent was asked for when this binding was made; both bits: GRE, as it is preferred here."""
    if not haleg.copy_encapsulation_bits:
        return entries.Encapsulation(haleg.encapsulation)
    if binding.flags & Flag.GRE:
        return entries.Encapsulation.GRE
    return entries.Encapsulation.MINIMAL if binding.flags & Flag.MINIMAL else entries.Encapsulation.IPIP


def learnt_port(binding: Binding, in_kernel: Iterable[entries.Tunnel]) -> TunnelPortLearned | None:
    """What a keepalive has told the kernel about a half-bound binding; None if there was none yet."""
    for tunnel in in_kernel:
        if not tunnel.half_bound and tunnel.port and tunnel.care_of == binding.source.address:
            return TunnelPortLearned(binding.home_address, Endpoint(tunnel.care_of, tunnel.port), binding.gateway)
    return None


class Bound:
    """The bindings that are in the kernel, by node: a table's entry holds all of a node's care-of addresses."""

    def __init__(self, bindings: Iterable[Binding] = ()) -> None:
        self._by_node: dict[NodeKey, dict[BindingKey, Binding]] = {}
        self._half_bound: dict[BindingKey, Binding] = {}
        for binding in bindings:
            self.add(binding)

    def add(self, binding: Binding, replaces: Iterable[BindingKey] = ()) -> tuple[Binding, ...]:
        """Put a binding in, in place of others; returns what its node has now."""
        of_node = self._by_node.setdefault((binding.gateway, binding.home_address), {})
        for key in (*replaces, binding.key):
            of_node.pop(key, None)
            self._half_bound.pop(key, None)
        of_node[binding.key] = binding
        if binding.half_bound:
            self._half_bound[binding.key] = binding
        return tuple(of_node.values())

    def remove(self, key: BindingKey) -> tuple[Binding, ...]:
        """Take a binding out; returns what its node still has."""
        node = (key.gateway, key.home_address)
        of_node = self._by_node.get(node, {})
        of_node.pop(key, None)
        self._half_bound.pop(key, None)
        if not of_node:
            self._by_node.pop(node, None)
        return tuple(of_node.values())

    def of(self, node: NodeKey) -> tuple[Binding, ...]:
        """What a node has."""
        return tuple(self._by_node.get(node, {}).values())

    def half_bound(self) -> list[Binding]:
        """Those whose UDP port no keepalive has shown yet, as far as the machine knows."""
        return list(self._half_bound.values())

    def nodes(self) -> dict[NodeKey, tuple[Binding, ...]]:
        """All bindings by node."""
        return {node: tuple(bindings.values()) for node, bindings in self._by_node.items()}
