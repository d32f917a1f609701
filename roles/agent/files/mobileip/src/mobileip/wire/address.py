"""IPv4 addresses that are quick to make, hash and compare: every table of the parties is keyed by them.

`address(number)` is an `ipaddress.IPv4Address` equal to any other with this number, and hashes like it. The compiled
part makes it where there is one; what stands here is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from operator import attrgetter
from types import ModuleType

compiled: ModuleType | None
"""The optional module with the compiled parts of the package (`native/`)."""
try:
    import _mobileip
except ImportError:
    compiled = None
else:
    compiled = _mobileip

IMPLEMENTATION = "pure Python" if compiled is None else "Python with compiled parts"
"""Which of the two runs, for `mobileip show`."""

number: Callable[[IPv4Address], int] = attrgetter("_ip")
"""What `int` says of an address, of whichever kind, without running Python. The library keeps it under this name."""

_KEPT = 1 << 18


class PureAddress(IPv4Address):
    """Knows its hash, which the library would compute from a text each time, and compares by number."""

    __slots__ = ("_hash",)

    def __init__(self, number: int | str) -> None:
        super().__init__(number)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if type(other) is PureAddress:
            return number(self) == number(other)
        return super().__eq__(other)

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0"""
        return number(self) == 0


_kept: dict[int, PureAddress] = {}


def pure_address(number: int) -> IPv4Address:
    """The address with this number; one that was made lately is not made again. Raises ValueError."""
    found = _kept.get(number)
    if found is None:
        if len(_kept) >= _KEPT:
            _kept.clear()
        found = _kept[number] = PureAddress(number)
    return found


address: Callable[[int], IPv4Address] = pure_address if compiled is None else compiled.address


class Prefixes:
    """Several networks as one: `address in prefixes`."""

    def __init__(self, networks: Iterable[IPv4Network]) -> None:
        self._rows = tuple((int(network.network_address), int(network.netmask)) for network in networks)

    def __contains__(self, address: IPv4Address) -> bool:
        asked = number(address)
        for base, mask in self._rows:  # noqa: SIM110 - a generator would take three times as long
            if asked & mask == base:
                return True
        return False
