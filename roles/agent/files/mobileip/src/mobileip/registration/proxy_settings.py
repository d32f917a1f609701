"""What the proxy is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.admission import AdmissionPolicy
from mobileip.registration.bindings import Encapsulation, NodeKey
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.extension_policy import Treatment
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.location import LocationMode
from mobileip.registration.nat import CARRIED, NatPolicy
from mobileip.registration.peers import Peer
from mobileip.registration.security import associations_of
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.codes import Code
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.typed_extensions import HomeAgentParameterFormat


@dataclass(frozen=True, slots=True)
class ProxyNode:
    """A mobile node of the proxy: by home address, or by NAI if its home address is assigned by its home agent.

    `gateway` is VPNGW-Pub of the gateway that serves its home network. `node_associations` are shared with the node,
    `home_agent_association` with its home agent, `aaa_association` with its AAA server, for MN-AAA authentication that
    ends here. `home_agent` serves it if it names none.
    """

    home_address: IPv4Address | None
    gateway: IPv4Address
    node_associations: tuple[SecurityAssociation, ...]
    home_agent_association: SecurityAssociation
    home_agent: IPv4Address | None = None
    nai: str | None = None
    aaa_association: SecurityAssociation | None = None
    key: NodeKey = field(init=False, compare=False, repr=False)
    """Which node it is, among those with overlapping addresses too."""

    def __post_init__(self) -> None:
        if self.home_address is None and self.nai is None:
            raise ValueError(f"node behind {self.gateway}: neither home address nor NAI, expected one of the two")

        object.__setattr__(self, "key", NodeKey(self.gateway, self.home_address or self.nai or ""))

    @property
    def peer(self) -> Peer:
        """As the gate knows it."""
        return Peer(self.key, associations_of(*self.node_associations), self.nai, associations_of(self.aaa_association))


class DeregisterAll(StrEnum):
    """The care-of address of a relayed request that ends all bindings (AMB-11)."""

    MIPP_PRIV = "mipp-priv"
    HOME_ADDRESS = "home-address"


class DecapsulatesBit(StrEnum):
    """When a home agent is told that MIPP-Priv decapsulates by itself (AMB-4)."""

    NEVER = "never"  # broadcasts and multicasts come nested, and so say whose they are
    UNLESS_BROADCAST = "unless-b"


class WhenInside(StrEnum):
    """What becomes of the bindings of a node that turns up inside (AMB-11)."""

    PURGE = "purge"
    KEEP = "keep"


class WhichReplies(StrEnum):
    """Which replies carry an HA Parameter extension (AMB-7)."""

    IF_REQUESTED = "if-requested"  # to nodes that sent one
    ALWAYS = "always"  # to all: a node that does not know the extension drops such a reply
    ON_206 = "206-only"  # to nodes that sent one and turn up inside


class OnLocalFailure(StrEnum):
    """What becomes of a binding that the home agent has made and the proxy cannot serve (AMB-1)."""

    LET_EXPIRE = "let-expire"
    DEREGISTER = "deregister"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """See the module. Times and lifetimes in seconds.

    `home_agents` is the allow-list, with the home networks of each; those in `home_agent_pool` may be assigned, and
    `default_home_agent` serves nodes of which nothing better is known. `gateway_networks` are the home networks behind
    each VPN gateway, for home addresses that are assigned.

    `home_agent_parameter` lists the forms of the HA Parameter extension that are accepted; an answer has the form
    received, else the first. `extensions` changes the table of `extension_policy`.

    Toward home agents: `reverse_tunnel` asks them to accept nodes' packets for mobility subnets through the tunnel,
    `copy_encapsulation` passes the node's M and G on, else `home_agent_encapsulation` is asked for;
    `copy_reserved_bits` passes its r and x on. Requests leave from `source_ports` in turn; `unreachable_grace` is how
    long a reply may yet come after an ICMP error.

    `simultaneous` is how many bindings a node may have at once; 0: one, and no S bit. `lifetime_jitter` is the share by
    which a granted lifetime is shortened at most. `cannot_service_code` is what a node is told whose home agent
    accepted it when the proxy cannot serve it, 130 or the draft's 133.

    `revocation_of_nodes` takes up offers of nodes and foreign agents (RFC 3543), `revocation_by_home_agents` makes ours
    to home agents.
    """

    public_address: IPv4Address
    private_address: IPv4Address
    public_interface: str
    private_interface: str
    nodes: tuple[ProxyNode, ...]
    home_agents: Mapping[IPv4Address, tuple[IPv4Network, ...]]
    home_agent_pool: tuple[IPv4Address, ...] = ()
    default_home_agent: IPv4Address | None = None
    gateway_networks: Mapping[IPv4Address, tuple[IPv4Network, ...]] = field(default_factory=dict)
    internal_prefixes: tuple[IPv4Network, ...] = ()
    location_mode: LocationMode = LocationMode.ADDRESS_AND_INTERFACE
    pending_timeout: float = 7.0
    pending_per_node: int = 5
    source_ports: tuple[int, ...] = (REGISTRATION_PORT,)
    unreachable_grace: float = 0.5
    max_lifetime: int = 1800
    lifetime_jitter: float = 0.0
    nat: NatPolicy = field(default_factory=NatPolicy)
    encapsulations: frozenset[Encapsulation] = CARRIED
    reverse_tunnel: bool = True
    broadcast: bool = True
    decapsulates: DecapsulatesBit = DecapsulatesBit.NEVER
    copy_encapsulation: bool = False
    home_agent_encapsulation: Encapsulation = Encapsulation.IPIP
    copy_reserved_bits: bool = False
    deregister_all_care_of_address: DeregisterAll = DeregisterAll.MIPP_PRIV
    home_agent_parameter: tuple[HomeAgentParameterFormat, ...] = (HomeAgentParameterFormat(),)
    parameter_in_reply: WhichReplies = WhichReplies.IF_REQUESTED
    extensions: Mapping[int, Treatment] = field(default_factory=dict)
    checks: GatePolicy = field(default_factory=GatePolicy)
    replies: HomeAgentReplies = field(default_factory=HomeAgentReplies)
    simultaneous: int = 0
    when_inside: WhenInside = WhenInside.PURGE
    code_profile: CodeProfile = CodeProfile.DRAFT
    cannot_service_code: Code = Code.INSUFFICIENT_RESOURCES
    on_local_failure: OnLocalFailure = OnLocalFailure.LET_EXPIRE
    admission: AdmissionPolicy = field(default_factory=AdmissionPolicy)
    revocation_of_nodes: bool = False
    revocation_by_home_agents: bool = False
