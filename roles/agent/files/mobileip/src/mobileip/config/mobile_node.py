"""The mobile node's file."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding, host_in_network, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Nat, Party, Replay, SecurityAssociation
from mobileip.config.values import Interface, Model, Network, Seconds, Unicast


class StrongSwanSa(Model):
    connection: str = Field(default="vpngw", min_length=1, description="name of the connection in swanctl.conf")
    child: str = Field(default="intranet", min_length=1, description="name of the child SA in swanctl.conf")
    at_home: Literal["park", "delete"] = "park"
    backend: Literal["auto", "kernel", "libipsec"] = "auto"


class MobileNodeConfig(Party):
    """The mobile node (RFC 5944), with strongSwan for its IPsec tunnel."""

    role: Literal["mobile_node"]
    home_address: Unicast = Field(description="MN-Perm, this node's home address")
    home_network: Network = Field(description="the home network")
    home_agent: Unicast = Field(description="address of the home agent")
    mipp_pub: Unicast = Field(description="MIPP-Pub, the proxy's address as seen from outside")
    vpn_gateways: list[Unicast] = Field(min_length=1, description="VPNGW-Pub addresses, at least one")
    interface: Interface = Field(description="network interface that moves")
    proxy_sa: SecurityAssociation = Field(description="security association between node and proxy")
    home_agent_sa: SecurityAssociation = Field(description="security association between node and home agent")
    lifetime: Seconds = Field(default=300, description="lifetime in seconds to ask for, 1 to 65534")
    replay: Replay = Field(default_factory=Replay)
    nat: Nat = Field(default_factory=Nat)
    sa: StrongSwanSa | None = Field(default=None, description="the strongSwan connection; leave it out for no IPsec")
    encapsulate: Literal["gateways", "all"] = "gateways"

    def associations(self) -> Iterator[tuple[KeyPath, SecurityAssociation]]:
        yield ("proxy_sa",), self.proxy_sa
        yield ("home_agent_sa",), self.home_agent_sa

    def findings(self) -> Iterator[Finding]:
        return _check(self)

    def summary(self) -> str:
        return f"mobile node {self.home_address}, home agent {self.home_agent}, proxy {self.mipp_pub}"


def _check(config: MobileNodeConfig) -> Iterator[Finding]:
    yield from host_in_network(("home_address",), config.home_address, [config.home_network], "this node")
    others: list[tuple[KeyPath, IPv4Address]] = [
        (("home_address",), config.home_address),
        (("home_agent",), config.home_agent),
        (("mipp_pub",), config.mipp_pub),
        *((("vpn_gateways", n), gateway) for n, gateway in enumerate(config.vpn_gateways)),
    ]
    yield from repeated(others, "of these parties")
    for path, address in others[2:]:
        if address in config.home_network:
            yield path, address, f"is in the home network {config.home_network}", "this party stands in the DMZ"
