"""IPv4 addresses that are quick to make, hash and compare: every table of the parties is keyed by them.

`address(number)` is an `ipaddress.IPv4Address` equal to any other with this number, and hashes like it. The compiled
part makes it where there is one; what stands here is the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
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

_KEPT = 1 << 16


class PureAddress(IPv4Address):
    """Knows its hash, which the library would compute from a text each time, and compares by number."""

    __slots__ = ("_hash", "_number")

    def __init__(self, number: int | str) -> None:
        super().__init__(number)
        self._number = int(super().__int__())
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if type(other) is PureAddress:
            return self._number == other._number
        return super().__eq__(other)

    def __int__(self) -> int:
        return self._number


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
