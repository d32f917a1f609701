"""The home agent's file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding, host_in_network, overlapping, repeated
from mobileip.config.hap import HapForms, hap_findings
from mobileip.config.problems import KeyPath
from mobileip.config.shared import (
    AgentNat,
    Association,
    Datapath,
    Encapsulations,
    Replay,
    Revocation,
    SecurityAssociation,
)
from mobileip.config.trust import AaaAssociation, AnsweringParty
from mobileip.config.values import Group, Interface, Model, Nai, Network, Seconds, Unicast


class Pool(Model):
    first: Unicast = Field(description="first address that nodes without a home address of their own may get")
    last: Unicast = Field(description="last address that nodes without a home address of their own may get")


class HomeLink(Model):
    interface: Interface = Field(description="network interface on the home network")
    network: Network = Field(description="the home network on that interface")
    pool: Pool | None = Field(default=None, description="addresses for nodes that are known by a NAI only")


class HomeMobileNode(Model):
    home_address: Unicast | None = Field(
        default=None, description="the node's home address; without one the node gets an address of a pool"
    )
    nai: Nai | None = Field(default=None, description="the node's NAI, if it may call itself so (RFC 2794)")
    security_associations: list[SecurityAssociation] = Field(
        min_length=1, description="one security association a peer that may register this node: proxy, node itself"
    )
    aaa_sa: AaaAssociation | None = Field(
        default=None, description="what the node shares with its AAA server, for MN-AAA authentication checked here"
    )


class HomeAgentHap(HapForms):
    """The HA Parameter extension at the home agent."""

    in_reply: Literal["if-requested", "always", "never"] = Field(
        default="if-requested", description="which replies name this home agent in the HA Parameter extension"
    )


class Broadcast(Model):
    """Broadcasts of the home networks, for nodes that set B (RFC 5944 4.3)."""

    forward: bool = Field(default=True, description="true to tunnel broadcasts to nodes that ask, false to ignore B")
    rate: int = Field(default=50, ge=1, le=10000, description="packets a second at most of each home network")
    multicast_groups: list[Group] = Field(
        default_factory=list, description="multicast groups whose packets such nodes get as well"
    )


class TrustedNetworks(Model):
    """Networks that are inside beyond doubt (RFC 5265 4.3)."""

    networks: list[Network] = Field(
        default_factory=list, description="networks whose nodes are told that they are inside; none by default"
    )
    proxies: list[Unicast] = Field(
        default_factory=list, description="MIPP-Priv of each MIP Proxy: what it relays comes from outside"
    )
    untrusted: Literal["serve", "log", "drop"] = Field(
        default="serve", description="what happens to requests from elsewhere"
    )


class DynamicHomeAgent(Model):
    """Requests that leave the home agent open, Home Agent 0.0.0.0 or 255.255.255.255 (RFC 4433)."""

    accept: bool = Field(default=True, description="true to serve nodes with a NAI that leave the home agent open")
    redirect: Unicast | None = Field(default=None, description="home agent to send such nodes to instead (code 143)")


class HomeAgentConfig(AnsweringParty):
    """The home agent (RFC 5944), for a site that has none."""

    role: Literal["home_agent"]
    datapath: Datapath = Field(default_factory=Datapath)
    address: Unicast = Field(description="address of the home agent")
    interface: Interface = Field(description="network interface where tunnels arrive")
    home_links: list[HomeLink] = Field(min_length=1, description="the home networks, at least one")
    mobile_nodes: list[HomeMobileNode] = Field(default_factory=list, description="the mobile nodes")
    replay: Replay = Field(default_factory=Replay)
    nat: AgentNat = Field(default_factory=AgentNat)
    # Not by default next header 55: merged segments of clear TCP, which an agent forwards, do not fit it.
    encapsulations: Encapsulations = Field(
        default_factory=lambda: Encapsulations(granted=["gre", "minimal", "udp-gre"]),
    )
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")
    simultaneous: Literal[False, 2, 3, 4] = Field(
        default=False, description="bindings that a node may have at once (2 to 4), or false for one"
    )
    reverse_tunnel: Literal["optional", "required", "unavailable"] = Field(
        default="optional", description="whether nodes may, must or cannot have a reverse tunnel (RFC 3024)"
    )
    hap: HomeAgentHap = Field(default_factory=HomeAgentHap)
    broadcast: Broadcast = Field(default_factory=Broadcast)
    trusted_networks: TrustedNetworks = Field(default_factory=TrustedNetworks)
    dynamic_home_agent: DynamicHomeAgent = Field(default_factory=DynamicHomeAgent)
    revocation: Revocation = Field(default_factory=Revocation)

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        yield from super().associations()
        for index, node in enumerate(self.mobile_nodes):
            for number, association in enumerate(node.security_associations):
                yield ("mobile_nodes", index, "security_associations", number), association
            if node.aaa_sa is not None:
                yield ("mobile_nodes", index, "aaa_sa"), node.aaa_sa

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        yield from _check(self)

    def summary(self) -> str:
        return f"home agent {self.address}, {len(self.home_links)} home links, {len(self.mobile_nodes)} mobile nodes"


def _check(config: HomeAgentConfig) -> Iterator[Finding]:
    links = list(enumerate(config.home_links))
    yield from repeated([(("home_links", i, "interface"), link.interface) for i, link in links], "home link")
    yield from overlapping([(("home_links", i, "network"), link.network) for i, link in links], "of this home agent")
    yield from _check_pools(config)
    yield from _check_nodes(config)
    yield from hap_findings(config.hap)
    if config.dynamic_home_agent.redirect == config.address:
        advice = "name another home agent, or leave it out to serve the nodes here"
        yield ("dynamic_home_agent", "redirect"), config.address, "is this home agent itself", advice
    trusted = config.trusted_networks
    if trusted.untrusted == "drop" and not trusted.networks and not trusted.proxies:
        advice = "list networks or proxies, or nobody can register"
        yield ("trusted_networks", "untrusted"), "drop", "drops every request: no network is trusted", advice


def _check_pools(config: HomeAgentConfig) -> Iterator[Finding]:
    taken = {node.home_address for node in config.mobile_nodes} | {config.address}
    for index, link in enumerate(config.home_links):
        if link.pool is None:
            continue
        base: KeyPath = ("home_links", index, "pool")
        first, last = link.pool.first, link.pool.last
        for key, address in (("first", first), ("last", last)):
            yield from host_in_network((*base, key), address, [link.network], "this home link")
        if last < first:
            yield (*base, "last"), last, f"is below the first address {first}", "swap the two"
        for address in sorted(one for one in taken if one is not None and first <= one <= last):
            advice = "shrink the pool, or give the node another address"
            yield base, f"{first} to {last}", f"contains {address}, which is taken", advice


def _check_nodes(config: HomeAgentConfig) -> Iterator[Finding]:
    nodes = list(enumerate(config.mobile_nodes))
    homes = [(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes if n.home_address is not None]
    yield from repeated(homes, "mobile node")
    yield from repeated([(("mobile_nodes", i, "nai"), n.nai) for i, n in nodes if n.nai is not None], "mobile node")
    networks = [link.network for link in config.home_links]
    for index, node in nodes:
        home: KeyPath = ("mobile_nodes", index, "home_address")
        if node.home_address is not None:
            yield from host_in_network(home, node.home_address, networks, "this home agent")
        elif node.nai is None:
            yield ("mobile_nodes", index), "{}", "has neither home_address nor nai", "give the node one of the two"
        elif not any(link.pool for link in config.home_links):
            advice = "give a home link a pool, or the node a home_address"
            yield ("mobile_nodes", index, "nai"), node.nai, "has no home address, and there is no pool", advice
        if node.home_address == config.address:
            yield home, node.home_address, "is the home agent's own address", "correct one of the two"
        associations = list(enumerate(node.security_associations))
        base = ("mobile_nodes", index, "security_associations")
        yield from repeated([((*base, i, "spi"), sa.spi) for i, sa in associations], "security association of a node")
