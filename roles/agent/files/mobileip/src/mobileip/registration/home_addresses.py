"""Whose home address is which: nodes that have one, and nodes known by a NAI that are assigned one.

A request for home address 0 gets the node's own, or one of the pools of the home links (RFC 2794 3, RFC 5944 3.8.3.2).
From there on it is handled as if the node had asked for that address, so no reply that accepts one says 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.address_pool import AddressPool, AddressRange, PoolUse
from mobileip.registration.bindings import Binding, NodeKey
from mobileip.registration.gate import Admitted
from mobileip.registration.nat import Denied
from mobileip.registration.peers import Peer, Peers
from mobileip.registration.request_form import is_usable_care_of_address
from mobileip.registration.security import associations_of
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.codes import Code


@dataclass(frozen=True, slots=True)
class HomeLink:
    """A network whose nodes we serve, our interface on it, and its addresses for nodes that have none."""

    interface: str
    network: IPv4Network
    pool: AddressRange | None = None


@dataclass(frozen=True, slots=True)
class HomeNode:
    """A mobile node: its home address or its NAI, or both, and a security association for each way to register.

    `aaa` is what it shares with its AAA server, for MN-AAA authentication that ends here (RFC 4721).
    """

    home_address: IPv4Address | None
    associations: tuple[SecurityAssociation, ...]
    nai: str | None = None
    aaa: SecurityAssociation | None = None

    @property
    def peer(self) -> Peer:
        """As the gate knows it. Raises ValueError for a node without a name."""
        name = self.home_address or self.nai
        if name is None:
            raise ValueError("node: neither home address nor NAI, expected one of the two")
        return Peer(NodeKey(None, name), associations_of(*self.associations), self.nai, associations_of(self.aaa))


class HomeAddresses:
    """The home links, the nodes, and who has which address of the pools."""

    def __init__(self, links: tuple[HomeLink, ...], nodes: Iterable[HomeNode]) -> None:
        self._links = links
        self._pool = AddressPool(link.pool for link in links if link.pool is not None)
        self.peers = Peers(node.peer for node in nodes)

    @property
    def use(self) -> PoolUse:
        """What is used of the pools, for `show`."""
        return self._pool.use

    def link_of(self, home_address: IPv4Address) -> HomeLink | None:
        """The home link that an address is on, None if it is on none."""
        return next((link for link in self._links if home_address in link.network), None)

    def resolve(self, admitted: Admitted) -> Admitted | Denied:
        """The request with the home address that it is about, or why there is none."""
        message, name = admitted.request.message, admitted.peer.key.name
        asked = message.home_address
        if isinstance(name, IPv4Address):
            address = name if asked.is_unspecified else asked
            if address != name:
                return Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"{asked} is not this node's home address")
        elif asked.is_unspecified:
            assigned = self._pool.address_of(name) if message.deregisters else self._pool.assign(name)
            if assigned is None:
                return Denied(Code.INSUFFICIENT_RESOURCES, "no home address is left")
            address = assigned
        elif self._pool.claim(name, asked):
            address = asked
        else:
            return Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"{asked} is not for this node to have")
        if address == asked:
            return admitted
        message = replace(message, home_address=address)
        if not message.deregisters and not is_usable_care_of_address(message):
            return Denied(Code.POORLY_FORMED_REQUEST, f"care-of address {message.care_of_address}")
        return replace(admitted, request=replace(admitted.request, message=message))

    def serve(self, binding: Binding) -> bool:
        """Is this a binding of a node of ours, for an address that it may have? For those of an earlier run."""
        if self.link_of(binding.home_address) is None:
            return False
        if binding.nai is not None and NodeKey(None, binding.nai) in self.peers:
            return self._pool.claim(binding.nai, binding.home_address)
        return NodeKey(None, binding.home_address) in self.peers

    def bound(self, binding: Binding) -> None:
        """The node has a binding: its address is nobody else's."""
        if binding.nai is not None:
            self._pool.bound(binding.nai)

    def unbound(self, binding: Binding) -> None:
        """This was the node's last binding."""
        if binding.nai is not None:
            self._pool.idle(binding.nai)
