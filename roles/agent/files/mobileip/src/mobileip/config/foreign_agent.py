"""The foreign agent's file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Association, Datapath, Encapsulations, Party, SecurityAssociation
from mobileip.config.trust import AaaAssociation, VendorExtension
from mobileip.config.values import Interface, Model, Seconds, Unicast


class Uplink(Model):
    interface: Interface = Field(description="network interface towards the Internet")
    care_of_address: Unicast = Field(description="address on that interface that visitors use as care-of address")


class VisitorLink(Model):
    interface: Interface = Field(description="network interface on which visitors are")
    address: Unicast = Field(description="the foreign agent's address on that interface")


class Advertisement(Model):
    interval: float = Field(
        default=1.0,
        ge=0.05,
        le=600,
        strict=False,
        description="seconds between agent advertisements (RFC 5944 2.3: about 1)",
    )
    lifetime: int | None = Field(
        default=None, ge=1, le=9000, description="seconds an advertisement is valid; 3 intervals"
    )
    registration_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds accepted, 1 to 65534")
    nai: str | None = Field(
        default=None,
        pattern=r"^[^\s@]*@[^\s@]+$",
        max_length=254,
        description="name by which nodes know a trusted agent, such as fa1@example.org (draft 5.7.2)",
    )
    registration_required: bool = Field(
        default=False, description="true or false: nodes with an address of their own must register here, too (R bit)"
    )


class Challenge(Model):
    """Proof that a request is no replay (RFC 4721)."""

    mode: Literal["none", "offered", "required"] = Field(
        default="none",
        description="none; offered: an answer is checked; required: a request without one is denied",
    )
    size: int = Field(default=16, ge=4, le=255, description="bytes of a challenge, 4 to 255 (RFC 4721 2)")


class Pending(Model):
    """Requests that wait for the home agent's reply (RFC 5944 3.7.1)."""

    timeout: float = Field(default=7.0, ge=1, le=60, strict=False, description="seconds until a request is given up")
    max_per_node: int = Field(default=5, ge=1, le=100, description="requests of one node that may wait at once")
    max: int = Field(default=4096, ge=1, le=65536, description="requests that may wait at once")


class KnownHomeAgent(Model):
    """A home agent that shares a key with this agent (RFC 5944 3.5.4); at an outside agent, the proxy."""

    address: Unicast = Field(description="the address that requests name as home agent")
    security_association: SecurityAssociation = Field(description="FA-HA security association")


class VisitingNode(Model):
    """A node that shares a key with this agent."""

    home_address: Unicast | None = Field(default=None, description="the node's home address, if it is known by that")
    nai: str | None = Field(default=None, min_length=1, max_length=255, description="the node's NAI, if known by that")
    foreign_sa: SecurityAssociation | None = Field(
        default=None, description="MN-FA security association (RFC 5944 3.5.3)"
    )
    aaa_sa: AaaAssociation | None = Field(default=None, description="MN-AAA security association (RFC 4721 5)")


class ForeignAgentConfig(Party):
    """The foreign agent (RFC 5944)."""

    role: Literal["foreign_agent"]
    datapath: Datapath = Field(default_factory=Datapath)
    uplink: Uplink
    link: VisitorLink
    advertisement: Advertisement = Field(default_factory=Advertisement)
    challenge: Challenge = Field(default_factory=Challenge)
    reverse_tunnelling: bool = Field(default=True, description="true or false: offer reverse tunnelling (RFC 3024)")
    reverse_tunnel_required: bool = Field(
        default=False, description="true or false: deny requests without the T bit with code 75 (RFC 3024 4.2.1)"
    )
    encapsulating_delivery: bool = Field(
        default=True, description="true or false: nodes may tunnel what they send to this agent (RFC 3024 5.2)"
    )
    udp_tunnelling: bool = Field(
        default=True, description="true or false: ask home agents for a UDP tunnel where a NAT is in between (RFC 3519)"
    )
    encapsulations: Encapsulations = Field(default_factory=Encapsulations)

    zero_home_address: bool = Field(
        default=True, description="true or false: serve nodes that have an NAI and no home address yet (RFC 2794)"
    )
    fa_error: bool = Field(
        default=True,
        description="true or false: name an error beside the home agent's reply (RFC 4636), not in place of it",
    )
    legacy: bool = Field(
        default=False,
        description="true or false: discard non-skippable extensions that RFC 5944 does not know, like an old agent",
    )
    known_extensions: list[int] = Field(
        default=[126], description="non-skippable extension types that pass, 1 to 127: the HA Parameter extension's"
    )
    vendor_extensions: list[VendorExtension] = Field(
        default_factory=list, description="critical vendor extensions that pass (RFC 3115); others get code 100 or 101"
    )
    pending: Pending = Field(default_factory=Pending)
    max_visitors: int = Field(default=4096, ge=1, le=65536, description="visitors at once; beyond, the agent is busy")
    allowed_home_agents: list[Unicast] = Field(
        default_factory=list, description="home agents that visitors may name; empty: any"
    )
    home_agents: list[KnownHomeAgent] = Field(
        default_factory=list, description="home agents and proxies that share a key with this agent"
    )
    mobile_nodes: list[VisitingNode] = Field(default_factory=list, description="nodes that share a key with this agent")

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        for index, agent in enumerate(self.home_agents):
            yield ("home_agents", index, "security_association"), agent.security_association
        for index, node in enumerate(self.mobile_nodes):
            for name, association in (("foreign_sa", node.foreign_sa), ("aaa_sa", node.aaa_sa)):
                if association is not None:
                    yield ("mobile_nodes", index, name), association

    def findings(self) -> Iterator[Finding]:
        return _check(self)

    def summary(self) -> str:
        return f"foreign agent {self.uplink.care_of_address}, visitors on {self.link.interface}"


def _check(config: ForeignAgentConfig) -> Iterator[Finding]:
    if config.link.interface == config.uplink.interface:
        yield (
            ("link", "interface"),
            config.link.interface,
            "is the uplink's interface, too",
            "visitors need a link of their own",
        )
    if config.link.address == config.uplink.care_of_address:
        yield ("link", "address"), config.link.address, "is the care-of address, too", "use the link's own address"
    advertisement = config.advertisement
    if advertisement.lifetime is not None and advertisement.lifetime < advertisement.interval:
        yield (
            ("advertisement", "lifetime"),
            advertisement.lifetime,
            f"is shorter than the interval of {advertisement.interval:g} s",
            "RFC 5944 2.3 wants three intervals",
        )
    for number, kind in enumerate(config.known_extensions):
        if not 1 <= kind <= 127:
            yield (
                ("known_extensions", number),
                kind,
                "is no type of a non-skippable extension",
                "give a number from 1 to 127; skippable ones pass anyway",
            )
    agents = list(enumerate(config.home_agents))
    yield from repeated([(("home_agents", i, "address"), agent.address) for i, agent in agents], "home agent")
    yield from _check_nodes(config)


def _check_nodes(config: ForeignAgentConfig) -> Iterator[Finding]:
    nodes = list(enumerate(config.mobile_nodes))
    homes = [(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes if n.nai is None]
    yield from repeated([(path, home) for path, home in homes if home is not None], "mobile node")
    yield from repeated([(("mobile_nodes", i, "nai"), n.nai) for i, n in nodes if n.nai is not None], "mobile node")
    for index, node in nodes:
        if node.home_address is None and node.nai is None:
            yield ("mobile_nodes", index), index, "has no name", "give it a home_address or an nai"
        if node.foreign_sa is None and node.aaa_sa is None:
            yield ("mobile_nodes", index), index, "shares no key", "give it a foreign_sa or an aaa_sa, or leave it out"
