"""What a foreign agent is told, and whom it shares keys with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.security import Associations


class ChallengeMode(StrEnum):
    """Whether challenges (RFC 4721) are part of the agent's advertisements, and of its nodes' requests."""

    NONE = "none"
    OFFERED = "offered"  # an answer is checked, none is asked for
    REQUIRED = "required"


@dataclass(frozen=True)
class KnownNode:
    """A node that shares keys with the agent: MN-FA (RFC 5944 3.5.3), MN-AAA (RFC 4721 5) or both, by SPI.

    It is known by its NAI if it has one here, else by its home address.
    """

    home_address: IPv4Address | None = None
    nai: str | None = None
    foreign: Associations = field(default_factory=dict)
    aaa: Associations = field(default_factory=dict)


@dataclass(frozen=True)
class ForeignAgentSettings:
    """Times in seconds.

    `encapsulations` are what is offered, `gre_key` is the one of keepalives (RFC 2890). `overlapping_home_addresses`:
    it can tell visitors with equal home addresses apart. `home_agents` are the FA-HA associations (RFC 5944 3.5.4) by
    the address that requests name.
    `known_extensions` are non-skippable types besides those of the RFCs that may pass, such as the HA Parameter's;
    `vendor_extensions` the critical ones (RFC 3115), vendor and type.
    """

    uplink_interface: str
    care_of_address: IPv4Address
    link_interface: str
    link_address: IPv4Address
    advertisement_interval: float = 1.0
    advertisement_lifetime: int = 3
    nai: str | None = None
    challenge: ChallengeMode = ChallengeMode.NONE
    challenge_size: int = 16
    registration_required: bool = False  # the R bit: nodes with an address of their own register here, too
    registration_lifetime: int = 1800
    encapsulations: frozenset[Encapsulation] = frozenset({Encapsulation.IPIP, Encapsulation.UDP})
    gre_key: int | None = None
    reverse_tunnelling: bool = True
    reverse_tunnel_required: bool = False
    encapsulating_delivery: bool = True
    udp_tunnelling: bool = False  # asks home agents for a UDP tunnel: where a NAT is between them and us
    zero_home_address: bool = True  # serves nodes that have an NAI and are yet to be given a home address
    overlapping_home_addresses: bool = False
    fa_error: bool = True  # names its own verdict beside the home agent's reply (RFC 4636), not in place of it
    legacy: bool = False  # knows the extensions of RFC 5944 and no others
    pending_timeout: float = 7.0
    pending_per_node: int = 5
    most_pending: int = 4096
    most_visitors: int = 4096
    known_extensions: frozenset[int] = frozenset({126})
    vendor_extensions: frozenset[tuple[int, int]] = frozenset()
    allowed_home_agents: frozenset[IPv4Address] = frozenset()  # whom visitors may name; empty: any
    nodes: tuple[KnownNode, ...] = ()
    home_agents: dict[IPv4Address, Associations] = field(default_factory=dict)
