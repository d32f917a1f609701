"""Is a node that asks the proxy inside or outside? (draft 2.6.1)

A wrong "inside" makes the node give up IPsec and leak. So by default the interface on which the request came and the
address it came from must both say so (RFC 5265 4.3; the care-of address is what the node claims, the source is where
the answer goes, and they are one unless a NAT or a foreign agent stands between).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from mobileip.wire.address import Prefixes


class LocationMode(StrEnum):
    """What decides. `address` is for a proxy with one interface, `interface` for networks that guarantee it."""

    ADDRESS_AND_INTERFACE = "address+interface"
    ADDRESS = "address"
    INTERFACE = "interface"


class Location(StrEnum):
    """Where a request came from."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    SPOOFED = "spoofed"  # an inside source on the public interface: dropped
    CONTRADICTORY = "contradictory"  # the private interface, but no inside address: denied


@dataclass(frozen=True, slots=True)
class LocationRule:
    """The decision. No prefix is internal by default."""

    private_interface: str
    internal_prefixes: tuple[IPv4Network, ...] = ()
    mode: LocationMode = LocationMode.ADDRESS_AND_INTERFACE
    _internal: Prefixes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_internal", Prefixes(self.internal_prefixes))

    def locate(self, source: IPv4Address, interface: str) -> Location:
        """Where a request from `source` is that came in on `interface`."""
        internal = source in self._internal
        private = interface == self.private_interface
        if self.mode is LocationMode.ADDRESS:
            return Location.INSIDE if internal else Location.OUTSIDE
        if internal and not private:
            return Location.SPOOFED
        if self.mode is LocationMode.INTERFACE or internal == private:
            return Location.INSIDE if private else Location.OUTSIDE
        return Location.CONTRADICTORY
