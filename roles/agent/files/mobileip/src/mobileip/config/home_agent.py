"""The home agent's file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding, host_in_network, overlapping, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Nat, Party, Replay, SecurityAssociation
from mobileip.config.values import Interface, Model, Network, Seconds, Unicast


class HomeLink(Model):
    interface: Interface = Field(description="network interface on the home network")
    network: Network = Field(description="the home network on that interface")


class HomeMobileNode(Model):
    home_address: Unicast = Field(description="the node's home address")
    security_associations: list[SecurityAssociation] = Field(
        min_length=1, description="one security association a peer that may register this node: proxy, node itself"
    )


class HomeAgentConfig(Party):
    """The home agent (RFC 5944), for a site that has none."""

    role: Literal["home_agent"]
    address: Unicast = Field(description="address of the home agent")
    interface: Interface = Field(description="network interface where tunnels arrive")
    home_links: list[HomeLink] = Field(min_length=1, description="the home networks, at least one")
    mobile_nodes: list[HomeMobileNode] = Field(default_factory=list, description="the mobile nodes")
    replay: Replay = Field(default_factory=Replay)
    nat: Nat = Field(default_factory=Nat)
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")

    def associations(self) -> Iterator[tuple[KeyPath, SecurityAssociation]]:
        for index, node in enumerate(self.mobile_nodes):
            for number, association in enumerate(node.security_associations):
                yield ("mobile_nodes", index, "security_associations", number), association

    def findings(self) -> Iterator[Finding]:
        return _check(self)

    def summary(self) -> str:
        return f"home agent {self.address}, {len(self.home_links)} home links, {len(self.mobile_nodes)} mobile nodes"


def _check(config: HomeAgentConfig) -> Iterator[Finding]:
    links = list(enumerate(config.home_links))
    yield from repeated([(("home_links", i, "interface"), link.interface) for i, link in links], "home link")
    yield from overlapping([(("home_links", i, "network"), link.network) for i, link in links], "of this home agent")
    nodes = list(enumerate(config.mobile_nodes))
    yield from repeated([(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes], "mobile node")
    networks = [link.network for link in config.home_links]
    for index, node in nodes:
        home: KeyPath = ("mobile_nodes", index, "home_address")
        yield from host_in_network(home, node.home_address, networks, "this home agent")
        if node.home_address == config.address:
            yield home, node.home_address, "is the home agent's own address", "correct one of the two"
        associations = list(enumerate(node.security_associations))
        base = ("mobile_nodes", index, "security_associations")
        yield from repeated([((*base, i, "spi"), sa.spi) for i, sa in associations], "security association of a node")
