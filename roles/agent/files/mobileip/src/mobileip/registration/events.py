"""What happens to a party. Plain frozen data."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from mobileip.wire.record import record
from mobileip.wire.unreachable import Unreachable


class Endpoint(NamedTuple):
    """A UDP address and port."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@record(frozen=True, slots=True)
class DatagramReceived:
    """A datagram with a good UDP checksum came to port 434. `destination` may be a broadcast or multicast address."""

    payload: bytes
    source: Endpoint
    destination: Endpoint
    interface: str
    ttl: int | None = None


@record(frozen=True, slots=True)
class Attached:
    """Mobile node: the interface has a link. `address` None: no address there, look for a foreign agent."""

    interface: str
    address: IPv4Address | None
    prefix_length: int
    gateway: IPv4Address | None


@record(frozen=True, slots=True)
class Detached:
    """Mobile node: the interface lost its link or its address."""

    interface: str


@record(frozen=True, slots=True)
class Ipv6Seen:
    """Mobile node: its IPv6 addresses of global scope, and the interfaces that an IPv6 default route leads to."""

    addresses: tuple[IPv6Address, ...]
    default_interfaces: tuple[str, ...]


@record(frozen=True, slots=True)
class AdvertisementReceived:
    """Mobile node: a foreign or home agent advertises itself (RFC 5944 2.1). Lifetimes in seconds.

    `challenge` (RFC 4721 2) goes into the next request; `nai` is the agent's name, by which a trusted one is known
    (draft 5.7.2). Both None if the advertisement has none.
    """

    agent: IPv4Address
    interface: str
    care_of_addresses: tuple[IPv4Address, ...]
    lifetime: int
    registration_lifetime: int
    sequence: int
    registration_required: bool = False
    busy: bool = False
    home_agent: bool = False
    foreign_agent: bool = True
    reverse_tunnelling: bool = False
    udp_tunnelling: bool = False
    minimal_encapsulation: bool = False
    gre: bool = False
    challenge: bytes | None = None
    nai: bytes | None = None


@record(frozen=True, slots=True)
class SolicitationReceived:
    """Foreign agent: a node asks for an advertisement (RFC 5944 2.2)."""

    source: IPv4Address
    interface: str


@record(frozen=True, slots=True)
class TunnelProbeAnswered:
    """Mobile node: the agent answered a keepalive echo through the tunnel."""

    identifier: int
    sequence: int


@record(frozen=True, slots=True)
class TunnelSilent:
    """Mobile node: packets enter the tunnel, and none has come out of it since."""


@record(frozen=True, slots=True)
class TunnelPortLearned:
    """Proxy, home agent: the first tunnelled packet of a half-bound node came from this endpoint (RFC 3519 4.4)."""

    home_address: IPv4Address
    endpoint: Endpoint
    gateway: IPv4Address | None = None


@record(frozen=True, slots=True)
class UnreachableReceived:
    """An ICMP error came that says that a datagram of ours did not arrive. Nobody has vouched for it."""

    error: Unreachable
    reporter: IPv4Address
    interface: str


@record(frozen=True, slots=True)
class RevokeRequested:
    """Proxy, home agent: the operator wants all bindings of this home address to end now."""

    home_address: IPv4Address


Event = (
    DatagramReceived
    | RevokeRequested
    | UnreachableReceived
    | Attached
    | Detached
    | Ipv6Seen
    | AdvertisementReceived
    | SolicitationReceived
    | TunnelProbeAnswered
    | TunnelSilent
    | TunnelPortLearned
)
