"""The MIP Proxy's file."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding, host_in_network, overlapping, repeated
from mobileip.config.problems import KeyPath
from mobileip.config.shared import Association, Nat, Revocation, SecurityAssociation, SurrogateReplay
from mobileip.config.trust import AaaAssociation, AnsweringParty, HomeAgentFaHa
from mobileip.config.values import Interface, Mac, Model, Network, Seconds, Unicast


class ProxyInterface(Model):
    address: Unicast = Field(description="IPv4 address of the MIP Proxy on this side")
    interface: Interface = Field(description="network interface that has this address")


class VpnGateway(Model):
    name: str = Field(min_length=1, max_length=64, description="name of the gateway, used in logs")
    vpngw_pub: Unicast = Field(description="VPNGW-Pub, the gateway's address on the DMZ-public segment")
    vpngw_priv: Unicast = Field(description="VPNGW-Priv, the gateway's address on the DMZ-private segment")
    macs: list[Mac] = Field(
        default_factory=list, description="Ethernet addresses the gateway sends from, besides the one that ARP shows"
    )
    home_networks: list[Network] = Field(min_length=1, description="home networks whose nodes use this gateway")


class ProxyHomeAgent(Model):
    address: Unicast = Field(description="address of the home agent")
    home_networks: list[Network] = Field(min_length=1, description="home networks that this home agent serves")


class ProxyMobileNode(Model):
    home_address: Unicast = Field(description="MN-Perm, the node's home address")
    node_sa: SecurityAssociation = Field(description="security association between node and proxy")
    home_agent_sa: SecurityAssociation = Field(description="security association between proxy and home agent")
    home_agent: Unicast | None = Field(
        default=None, description="home agent where the node sends no HA Parameter extension"
    )
    aaa_sa: AaaAssociation | None = Field(
        default=None, description="what the node shares with its AAA server, for MN-AAA authentication checked here"
    )


class Pending(Model):
    timeout: int = Field(
        default=7, ge=1, le=300, description="seconds to wait for the home agent's reply (RFC 5944 3.7.1: 7)"
    )
    max_per_node: int = Field(default=5, ge=1, le=64, description="requests of one node that may wait at a time")


class HaLeg(Model):
    """The leg between proxy and home agents."""

    source_ports: int = Field(
        default=16,
        ge=0,
        le=256,
        description="number of UDP ports, 0 to 256, that requests to home agents leave from; 0: port 434 alone",
    )
    first_source_port: int = Field(
        default=20434, ge=1024, le=65280, description="the first of these ports, 1024 to 65280; the others follow it"
    )
    fa_ha_sa: list[HomeAgentFaHa] = Field(
        default_factory=list, description="home agents that want FA-HA authentication from MIPP-Priv"
    )
    unauthenticated_denials: Literal["drop", "relay"] = Field(
        default="drop", description="what happens to a home agent's denial without authentication; relay: as a hint"
    )
    other_acceptances: Literal["relay", "bind"] = Field(
        default="relay", description="codes 2 to 8 of a home agent: relay without a binding, or bind as for code 0"
    )

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports besides 434, in their order."""
        return tuple(range(self.first_source_port, self.first_source_port + self.source_ports))


class Icmp(Model):
    """ICMP errors about requests to home agents (draft 2.6.7)."""

    grace: int = Field(
        default=500,
        ge=0,
        le=5000,
        description="milliseconds, 0 to 5000, to wait for a reply after an ICMP error",
    )


class ProxyRevocation(Revocation):
    """On the proxy, each leg for itself."""

    home_agents: bool = Field(default=True, description="true to offer revocation to home agents")


class AdmissionLimit(Model):
    """What is taken on at most; 0 where it is as many as come."""

    max_bindings: int = Field(default=0, ge=0, le=1 << 20, description="bindings at a time, 0 (no limit) to 1048576")
    max_per_second: int = Field(default=0, ge=0, le=1_000_000, description="registrations a second, 0 for no limit")


class NetworkAdmission(AdmissionLimit):
    network: Network = Field(description="the home network that the limit is for")


class Admission(AdmissionLimit):
    """Limits of all home networks together, and of single ones."""

    max_bindings: int = Field(
        default=1 << 20, ge=0, le=1 << 20, description="bindings at a time, 0 (no limit) to 1048576, the kernel's table"
    )
    home_networks: list[NetworkAdmission] = Field(default_factory=list, description="limits of single home networks")


class HaParameter(Model):
    type: int = Field(default=126, ge=1, le=255, description="type number of the HA Parameter extension (draft 4.1)")
    subtype: int = Field(default=0, ge=0, le=255, description="sub-type number of the HA Parameter extension")


class ProxyConfig(AnsweringParty):
    """The MIP Proxy: surrogate home agent to the node, surrogate mobile node to the home agent."""

    role: Literal["proxy"]
    mipp_pub: ProxyInterface
    mipp_priv: ProxyInterface
    vpn_gateways: list[VpnGateway] = Field(min_length=1, description="the VPN gateways, at least one")
    mobility_subnets: list[Network] | None = Field(
        default=None, description="subnets reached by clear packets (draft 5.2)"
    )
    mobility_delivery: Literal["reverse_tunnel", "direct"] = "reverse_tunnel"
    internal_prefixes: list[Network] = Field(min_length=1, description="prefixes of the intranet, at least one")
    location_mode: Literal["address+interface", "address", "interface"] = "address+interface"
    home_agents: list[ProxyHomeAgent] = Field(min_length=1, description="the home agents allowed, at least one")
    mobile_nodes: list[ProxyMobileNode] = Field(default_factory=list, description="the mobile nodes")
    replay: SurrogateReplay = Field(default_factory=SurrogateReplay)
    pending: Pending = Field(default_factory=Pending)
    nat: Nat = Field(default_factory=Nat)
    haleg: HaLeg = Field(default_factory=HaLeg)
    icmp: Icmp = Field(default_factory=Icmp)
    revocation: ProxyRevocation = Field(default_factory=ProxyRevocation)
    admission: Admission = Field(default_factory=Admission)
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")
    ha_parameter: HaParameter = Field(default_factory=HaParameter)

    @property
    def home_networks(self) -> tuple[IPv4Network, ...]:
        return tuple(network for gateway in self.vpn_gateways for network in gateway.home_networks)

    @property
    def effective_mobility_subnets(self) -> tuple[IPv4Network, ...]:
        return self.home_networks if self.mobility_subnets is None else tuple(self.mobility_subnets)

    def associations(self) -> Iterator[tuple[KeyPath, Association]]:
        yield from super().associations()
        for index, node in enumerate(self.mobile_nodes):
            yield ("mobile_nodes", index, "node_sa"), node.node_sa
            yield ("mobile_nodes", index, "home_agent_sa"), node.home_agent_sa
            if node.aaa_sa is not None:
                yield ("mobile_nodes", index, "aaa_sa"), node.aaa_sa
        for index, association in enumerate(self.haleg.fa_ha_sa):
            yield ("haleg", "fa_ha_sa", index), association

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        yield from _check_addresses(self)
        yield from _check_home_agents(self)
        yield from _check_nodes(self)
        yield from _check_admission(self)
        yield from _check_fa_ha(self)

    def summary(self) -> str:
        return (
            f"proxy {self.mipp_pub.address} / {self.mipp_priv.address}, {len(self.vpn_gateways)} gateways, "
            f"{len(self.home_agents)} home agents, {len(self.mobile_nodes)} mobile nodes"
        )


def _check_addresses(config: ProxyConfig) -> Iterator[Finding]:
    pub, priv = config.mipp_pub, config.mipp_priv
    own = {pub.address: "MIPP-Pub", priv.address: "MIPP-Priv"}
    if priv.address == pub.address:
        yield ("mipp_priv", "address"), priv.address, "is MIPP-Pub, too", "the proxy needs an address on each side"
    if priv.interface == pub.interface and config.location_mode != "address":
        yield (
            ("mipp_priv", "interface"),
            priv.interface,
            "is the interface of MIPP-Pub, too",
            "the proxy tells inside from outside by the interface: use two, or location_mode: address",
        )
    gateways = list(enumerate(config.vpn_gateways))
    for index, gateway in gateways:
        base = ("vpn_gateways", index)
        for name, address in (("vpngw_pub", gateway.vpngw_pub), ("vpngw_priv", gateway.vpngw_priv)):
            if address in own:
                yield (
                    (*base, name),
                    address,
                    f"is {own[address]}, too",
                    "proxy and gateway need an address each, on one host also",
                )
        if gateway.vpngw_pub == gateway.vpngw_priv:
            yield (*base, "vpngw_priv"), gateway.vpngw_priv, "is VPNGW-Pub, too", "name the gateway's inside address"
        numbered = [((*base, "home_networks", n), network) for n, network in enumerate(gateway.home_networks)]
        yield from overlapping(numbered, f"behind the same gateway {gateway.name!r}")
        for path, network in numbered:
            if config.location_mode != "interface" and not any(network.subnet_of(p) for p in config.internal_prefixes):
                yield (
                    path,
                    network,
                    "is inside none of internal_prefixes",
                    "a node at home would be taken to be outside: add the prefix",
                )
            for address, name in (*own.items(), (gateway.vpngw_pub, "VPNGW-Pub"), (gateway.vpngw_priv, "VPNGW-Priv")):
                if address in network:
                    yield path, network, f"contains {name} {address}", "a home network lies behind the home agent"
    yield from repeated([(("vpn_gateways", i, "name"), g.name) for i, g in gateways], "gateway")
    yield from repeated([(("vpn_gateways", i, "vpngw_pub"), g.vpngw_pub) for i, g in gateways], "gateway")
    yield from repeated([(("vpn_gateways", i, "vpngw_priv"), g.vpngw_priv) for i, g in gateways], "gateway")


def _check_home_agents(config: ProxyConfig) -> Iterator[Finding]:
    agents = list(enumerate(config.home_agents))
    yield from repeated([(("home_agents", i, "address"), agent.address) for i, agent in agents], "home agent")
    for index, agent in agents:
        if agent.address in {config.mipp_pub.address, config.mipp_priv.address}:
            yield ("home_agents", index, "address"), agent.address, "is the proxy's own address", "name the actual one"
        for number, network in enumerate(agent.home_networks):
            if not any(network.overlaps(home) for home in config.home_networks):
                yield (
                    ("home_agents", index, "home_networks", number),
                    network,
                    "is a home network of no VPN gateway",
                    "add it to vpn_gateways[].home_networks or remove it here",
                )


def _check_nodes(config: ProxyConfig) -> Iterator[Finding]:
    nodes = list(enumerate(config.mobile_nodes))
    yield from repeated([(("mobile_nodes", i, "home_address"), n.home_address) for i, n in nodes], "mobile node")
    agents = {agent.address: agent for agent in config.home_agents}
    taken = dict.fromkeys(agents, "a home agent")
    for index, node in nodes:
        path: KeyPath = ("mobile_nodes", index)
        home: KeyPath = (*path, "home_address")
        yield from host_in_network(home, node.home_address, config.home_networks, "any VPN gateway")
        if node.home_address in taken:
            yield home, node.home_address, f"is the address of {taken[node.home_address]}", "correct one of the two"
        if node.home_agent_sa.replay != node.node_sa.replay:
            yield (
                (*path, "home_agent_sa", "replay"),
                node.home_agent_sa.replay,
                f"is not {node.node_sa.replay} as in node_sa",
                "the Identification passes through the proxy unchanged, so both associations need the same style",
            )
        if node.home_agent is not None and node.home_agent not in agents:
            yield (
                (*path, "home_agent"),
                node.home_agent,
                "is not in home_agents",
                "add it there: the proxy talks to listed home agents only",
            )
        elif not any(node.home_address in network for agent in agents.values() for network in agent.home_networks):
            advice = "add its network to home_agents[].home_networks"
            yield home, node.home_address, "is served by no home agent", advice


def _check_admission(config: ProxyConfig) -> Iterator[Finding]:
    limited = list(enumerate(config.admission.home_networks))
    yield from repeated([(("admission", "home_networks", n, "network"), one.network) for n, one in limited], "limit")
    for number, one in limited:
        if not any(one.network.subnet_of(home) for home in config.home_networks):
            path: KeyPath = ("admission", "home_networks", number, "network")
            yield path, one.network, "is inside no home network of a VPN gateway", "name one of vpn_gateways[]"


def _check_fa_ha(config: ProxyConfig) -> Iterator[Finding]:
    paths: list[tuple[KeyPath, IPv4Address]] = [
        (("haleg", "fa_ha_sa", index, "home_agent"), association.home_agent)
        for index, association in enumerate(config.haleg.fa_ha_sa)
    ]
    yield from repeated(paths, "home agent")
    listed = {agent.address for agent in config.home_agents}
    for path, home_agent in paths:
        if home_agent not in listed:
            yield path, home_agent, "is not in home_agents", "add it there, or remove it here"
