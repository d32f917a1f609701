"""Home addresses for nodes that are known by a NAI and have none (RFC 5944 3.8.3.2, RFC 2794 3).

An address stays with its node while the node is bound, and afterwards until another needs it: the one that has been
idle longest goes first. So a node that was away for a while mostly finds its address, and its connections, again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class AddressRange:
    """The addresses from `first` to `last`, both of them included."""

    first: IPv4Address
    last: IPv4Address

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return map(IPv4Address, range(int(self.first), int(self.last) + 1))


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How many addresses there are, are bound, and are kept for nodes that are not (others may get those)."""

    addresses: int
    bound: int
    idle: int


class AddressPool:
    """Who has which address of some ranges."""

    def __init__(self, ranges: Iterable[AddressRange]) -> None:
        self._ranges = tuple(ranges)
        self._unused = (address for addresses in self._ranges for address in addresses)
        self._address_of: dict[str, IPv4Address] = {}
        self._node_at: dict[IPv4Address, str] = {}
        self._idle: dict[str, None] = {}  # nodes that have an address and no binding, the longest idle first

    @property
    def use(self) -> PoolUse:
        """What is used of the pool, for `show`."""
        addresses = sum(int(each.last) - int(each.first) + 1 for each in self._ranges)
        return PoolUse(addresses, bound=len(self._address_of) - len(self._idle), idle=len(self._idle))

    def address_of(self, nai: str) -> IPv4Address | None:
        """The address that the node has, bound or not."""
        return self._address_of.get(nai)

    def assign(self, nai: str) -> IPv4Address | None:
        """The node's address: the one it has, else one that nobody is bound to. None: there is none left."""
        if nai in self._address_of:
            return self._address_of[nai]
        address = next((address for address in self._unused if address not in self._node_at), None)
        if address is None and self._idle:
            address = self._address_of[next(iter(self._idle))]
        return address if address is not None and self.claim(nai, address) else None

    def claim(self, nai: str, address: IPv4Address) -> bool:
        """Let the node have this very address; False if it is none of ours, or if somebody else is bound to it."""
        if self._address_of.get(nai) == address:
            return True
        holder = self._node_at.get(address)
        if not any(address in addresses for addresses in self._ranges) or (holder and holder not in self._idle):
            return False
        if nai in self._address_of and nai not in self._idle:
            return False  # it is bound to another
        if holder:
            self._forget(holder)
        self._forget(nai)
        self._address_of[nai] = address
        self._node_at[address] = nai
        self._idle[nai] = None
        return True

    def bound(self, nai: str) -> None:
        """The node has a binding: nobody else gets its address."""
        self._idle.pop(nai, None)

    def idle(self, nai: str) -> None:
        """The node has no binding any more."""
        if nai in self._address_of:
            self._idle[nai] = None

    def _forget(self, nai: str) -> None:
        address = self._address_of.pop(nai, None)
        if address is not None:
            del self._node_at[address]
        self._idle.pop(nai, None)
