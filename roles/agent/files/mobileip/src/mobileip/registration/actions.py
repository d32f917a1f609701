"""What a party wants done. Plain frozen data; the list's order is the order in which `runtime` does it.

`Persist…` and `Forget…` of a burst are made durable in one commit before anything that stands behind them is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.bindings import Binding, BindingKey, Encapsulation, NodeKey, Visitor
from mobileip.registration.events import Endpoint
from mobileip.wire.record import record


@record(frozen=True, slots=True)
class Send:
    """Send a UDP datagram. `interface` None: as the routes say. `ttl` None: the system's default."""

    payload: bytes
    source: Endpoint
    destination: Endpoint
    interface: str | None = None
    ttl: int | None = None


@record(frozen=True, slots=True)
class PersistIdentification:
    """Make durable, per SPI: the last Identification accepted from a node. A crash must not let a replay in.

    `nonce`: instead, the nonce that the node's next request must have, in the high half.
    """

    node: NodeKey
    spi: int
    identification: int
    nonce: bool = False


@record(frozen=True, slots=True)
class PersistBinding:
    """Make durable: a binding, instead of the one with the same key."""

    binding: Binding


@record(frozen=True, slots=True)
class ForgetBinding:
    """Delete a binding from what is durable."""

    key: BindingKey


Record = PersistIdentification | PersistBinding
"""Durable state is what the Persist actions, less the Forget ones, have left: `snapshot()` and `restore()` speak it."""


@record(frozen=True, slots=True)
class Bind:
    """Put a binding into the kernel's table, instead of the one with the same key.

    `replaces`: other keys whose bindings end at the same moment, so that a move opens no gap.
    """

    binding: Binding
    replaces: tuple[BindingKey, ...] = ()


@record(frozen=True, slots=True)
class Unbind:
    """Take a binding out of the kernel's table."""

    key: BindingKey


@record(frozen=True, slots=True)
class ClaimHome:
    """Home agent: answer ARP for the node on its home link and announce it (RFC 5944 4.6)."""

    home_address: IPv4Address
    interface: str


@record(frozen=True, slots=True)
class ReleaseHome:
    """Home agent: stop answering ARP for the node on its home link (RFC 5944 4.6). `returned`: it is there again."""

    home_address: IPv4Address
    interface: str
    returned: bool = False


@record(frozen=True, slots=True)
class BindVisitor:
    """Foreign agent: serve this node, also in the kernel's table."""

    visitor: Visitor


@record(frozen=True, slots=True)
class UnbindVisitor:
    """Foreign agent: serve this node no more."""

    home_address: IPv4Address
    home_agent: IPv4Address


@record(frozen=True, slots=True)
class Advertise:
    """Foreign agent: send this ICMP message (agent advertisement, checksum included), TTL 1, on the link."""

    interface: str
    source: IPv4Address
    destination: IPv4Address
    payload: bytes


@record(frozen=True, slots=True)
class Solicit:
    """Mobile node: send this ICMP message (router solicitation, checksum included), TTL 1, on the link."""

    interface: str
    payload: bytes


class PathMode(StrEnum):
    """What the node's kernel does with packets from the home address."""

    BLOCKED = "blocked"  # place unknown: nothing leaves in clear
    HOME = "home"  # on the home link: as if there were no Mobile IP
    TUNNEL = "tunnel"  # encapsulated to `peer`
    FOREIGN_AGENT = "foreign_agent"  # to the agent on the link, which encapsulates


@record(frozen=True, slots=True)
class NodePath:
    """How the node's packets travel. `peer` and `local` are the tunnel's ends, `gateway` the next hop on the link.

    A blocked path with a `gateway` carries nothing, but the node hears that foreign agent, which it is asking.

    `inside`: all packets may take the path; outside, only those to the VPN gateways. `port` is the tunnel's UDP port.
    """

    mode: PathMode
    interface: str | None = None
    local: IPv4Address | None = None
    peer: IPv4Address | None = None
    encapsulation: Encapsulation | None = None
    port: int = 434
    gateway: IPv4Address | None = None
    inside: bool = False


@record(frozen=True, slots=True)
class SetPath:
    """Mobile node: from now on packets travel so."""

    path: NodePath


@record(frozen=True, slots=True)
class SetLocation:
    """Mobile node: where it is, for `show` and the SA. `through` is whom it registered with, None at home."""

    inside: bool
    at_home: bool
    through: IPv4Address | None = None


@record(frozen=True, slots=True)
class EstablishSecurityAssociation:
    """Mobile node: the tunnel to the VPN gateway is there to be used; bring up or unpark the IPsec SA.

    `anew`: the gateway has dropped its half of the SA by now (draft 5.5), so what we hold of it is worth nothing.
    """

    anew: bool = False


@record(frozen=True, slots=True)
class ParkSecurityAssociation:
    """Mobile node: inside; packets go in clear, the IPsec SA stays for the next time outside."""


@record(frozen=True, slots=True)
class UnparkSecurityAssociation:
    """Mobile node: about to leave the inside, or no longer sure: nothing may go in clear from here on."""


@record(frozen=True, slots=True)
class AssumeHomeAddress:
    """Mobile node: this home address was assigned to us (RFC 2794); carry it from now on."""

    home_address: IPv4Address


@record(frozen=True, slots=True)
class AnnounceHome:
    """Mobile node: gratuitous ARP for the home address on the home link (RFC 5944 4.6)."""

    interface: str
    home_address: IPv4Address


@record(frozen=True, slots=True)
class Count:
    """Add one to a counter. Every silent drop has its own reason."""

    reason: str


class Level(StrEnum):
    """How much a log entry matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@record(frozen=True, slots=True)
class Log:
    """Write a structured log entry; no key and no authenticator is ever among `fields`."""

    level: Level
    event: str
    fields: Mapping[str, str | int | float | bool] = field(default_factory=dict)


Action = (
    Send
    | PersistIdentification
    | PersistBinding
    | ForgetBinding
    | Bind
    | Unbind
    | ClaimHome
    | ReleaseHome
    | BindVisitor
    | UnbindVisitor
    | Advertise
    | Solicit
    | SetPath
    | SetLocation
    | EstablishSecurityAssociation
    | ParkSecurityAssociation
    | UnparkSecurityAssociation
    | AssumeHomeAddress
    | AnnounceHome
    | Count
    | Log
)
