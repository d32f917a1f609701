"""The mobile node's file."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field

from mobileip.config.findings import Finding, host_in_network, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Association, GreKey, Nat, Party, Replay, Revocation, SecurityAssociation
from mobileip.config.trust import AaaAssociation
from mobileip.config.values import Interface, Model, Network, Passing, Seconds, Unicast


class StrongSwanSa(Model):
    connection: str = Field(default="vpngw", min_length=1, description="name of the connection in swanctl.conf")
    child: str = Field(default="intranet", min_length=1, description="name of the child SA in swanctl.conf")
    at_home: Literal["park", "delete"] = Field(
        default="park", description="what becomes of the SA inside: kept for the next move, or deleted"
    )
    keepalive_timeout: int | None = Field(
        default=None,
        ge=1,
        description="seconds after which the gateway drops an SA that it hears nothing of; leave it out for never",
    )
    backend: Literal["auto", "kernel", "libipsec"] = Field(
        default="auto", description="whose ESP: the kernel's, or libipsec, strongSwan's in userspace"
    )


NaiText = Annotated[str, Field(min_length=1, max_length=254)]
"""A network access identifier, user@realm (RFC 4282)."""


class Location(Model):
    """How long the word that the node is inside holds, and whose word it has to be (RFC 5265 3.2)."""

    monitor: int = Field(
        default=60,
        ge=4,
        le=65534,
        description="seconds without a word from inside until nothing leaves in clear, 4 to 65534",
    )
    require_tnc: bool = Field(
        default=False, description="whether an agent has to say Trusted Networks Configured before IPsec is given up"
    )


class Retry(Model):
    """Repetition of requests (RFC 5944 3.6.3): each timeout is twice the one before."""

    first_timeout: float = Field(
        default=1.0, ge=1.0, le=60.0, strict=False, description="seconds until a request is repeated, 1 to 60"
    )
    longest_timeout: float = Field(
        default=32.0, ge=1.0, le=3600.0, strict=False, description="most seconds between two requests, 1 to 3600"
    )


class TrustedAgents(Model):
    """Foreign agents with their own way to the VPN gateway: behind one the node leaves the proxy out (draft 5.7.2)."""

    nais: list[NaiText] = Field(default_factory=list, description="NAIs in advertisements; @realm for all of a realm")
    addresses: list[Unicast] = Field(default_factory=list, description="addresses of trusted foreign agents")


class ForeignAgentSa(SecurityAssociation):
    """What the node shares with a foreign agent (RFC 5944 3.5.3)."""

    agent: Unicast = Field(description="the foreign agent's address on the link")


class MobileNodeConfig(Party):
    """The mobile node (RFC 5944), with strongSwan for its IPsec tunnel."""

    role: Literal["mobile_node"]
    home_address: Unicast | None = Field(
        default=None, description="MN-Perm, this node's home address; with an nai leave it out to be assigned one"
    )
    home_network: Network = Field(description="the home network")
    home_agent: Unicast | None = Field(
        default=None, description="address of the home agent; with an nai leave it out to be assigned one"
    )
    nai: NaiText | None = Field(default=None, description="the node's name, user@realm (RFC 2794)")
    mipp_pub: Unicast = Field(description="MIPP-Pub, the proxy's address as seen from outside")
    vpn_gateways: list[Unicast] = Field(min_length=1, description="VPNGW-Pub addresses, at least one")
    interface: Interface = Field(description="network interface that moves")
    proxy_sa: SecurityAssociation = Field(description="security association between node and proxy")
    home_agent_sa: SecurityAssociation = Field(description="security association between node and home agent")
    lifetime: Seconds = Field(default=300, description="lifetime in seconds to ask for, 1 to 65534")
    simultaneous: bool = Field(default=False, description="whether to ask that earlier bindings stay (S bit)")
    broadcasts: bool = Field(
        default=False, description="whether to ask for broadcasts of the home network while outside (B bit)"
    )
    replay: Replay = Field(default_factory=Replay)
    location: Location = Field(default_factory=Location)
    retry: Retry = Field(default_factory=Retry)
    trusted_agents: TrustedAgents = Field(default_factory=TrustedAgents)
    foreign_agent_sas: list[ForeignAgentSa] = Field(
        default_factory=list, description="security associations with foreign agents, one each"
    )
    aaa_sa: AaaAssociation | None = Field(
        default=None, description="what the node shares with its AAA server; leave it out for no MN-AAA authentication"
    )
    nat: Nat = Field(default_factory=Nat)
    encapsulation: Literal["ipip", "gre", "minimal"] = Field(
        default="ipip",
        description="how packets travel in the tunnel, if the other end grants it; behind a NAT the same in UDP",
    )
    gre_key: GreKey | None = Field(
        default=None,
        description="key of GRE tunnels (RFC 2890), 0 to 4294967295, the same at the proxy; left out: none",
    )
    revocation: Revocation = Field(default_factory=Revocation)
    sa: StrongSwanSa | None = Field(default=None, description="the strongSwan connection; leave it out for no IPsec")
    ipv6: Literal["warn", "block", "allow"] = Field(
        default="warn",
        description="IPv6 beside the SA, which carries IPv4 only: warn of it; or not, since it is blocked or allowed",
    )
    encapsulate: Literal["gateways", "all"] = Field(
        default="gateways", description="what may leave from the home address outside: what is for VPN gateways, or all"
    )
    passes: list[Passing] = Field(
        default=["esp", "udp/500", "udp/4500"],
        min_length=1,
        description="what is for VPN gateways: esp, ah, gre, a protocol number, udp/PORT or tcp/PORT",
    )

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        yield ("proxy_sa",), self.proxy_sa
        yield ("home_agent_sa",), self.home_agent_sa
        for n, association in enumerate(self.foreign_agent_sas):
            yield ("foreign_agent_sas", n), association
        if self.aaa_sa is not None:
            yield ("aaa_sa",), self.aaa_sa

    def findings(self) -> Iterator[Finding]:
        return _check(self)

    def summary(self) -> str:
        node, agent = self.home_address or self.nai, self.home_agent or "to be assigned"
        return f"mobile node {node}, home agent {agent}, proxy {self.mipp_pub}"


def _check(config: MobileNodeConfig) -> Iterator[Finding]:
    for key, assigned in (("home_address", config.home_address), ("home_agent", config.home_agent)):
        if assigned is None and config.nai is None:
            yield (key,), None, "is missing, and so is nai", "set it, or set nai to be assigned one"
    if config.home_address is None and config.sa is not None:
        advice = "the IPsec tunnel begins at the home address: set it, or leave sa out"
        yield ("sa",), config.sa.connection, "stands beside an assigned home address", advice
    if config.proxy_sa.replay != config.home_agent_sa.replay:
        advice = "the proxy passes on Identifications of the home agent: write the same style at both"
        yield ("home_agent_sa", "replay"), config.home_agent_sa.replay, "differs from proxy_sa.replay", advice
    if config.retry.longest_timeout < config.retry.first_timeout:
        longest = config.retry.longest_timeout
        yield ("retry", "longest_timeout"), longest, "is less than first_timeout", "give it the same, or more"
    agents: list[tuple[KeyPath, IPv4Address]] = [
        (("foreign_agent_sas", n, "agent"), association.agent) for n, association in enumerate(config.foreign_agent_sas)
    ]
    yield from repeated(agents, "of foreign agents")
    others: list[tuple[KeyPath, IPv4Address]] = [(("mipp_pub",), config.mipp_pub)]
    if config.home_address is not None:
        yield from host_in_network(("home_address",), config.home_address, [config.home_network], "this node")
        others.append((("home_address",), config.home_address))
    if config.home_agent is not None:
        others.append((("home_agent",), config.home_agent))
    others += [
        *((("vpn_gateways", n), gateway) for n, gateway in enumerate(config.vpn_gateways)),
    ]
    yield from repeated(others, "of these parties")
    for path, address in others:
        if path[0] in ("mipp_pub", "vpn_gateways") and address in config.home_network:
            yield path, address, f"is in the home network {config.home_network}", "this party stands in the DMZ"
