"""The MIP Proxy's file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mobileip.config.findings import Finding, host_in_network, overlapping, repeated
from mobileip.config.hap import ONE_HOP_EXTENSIONS, HapForms, hap_findings
from mobileip.config.problems import KeyPath, dotted
from mobileip.config.shared import (
    AgentNat,
    Association,
    Datapath,
    Encapsulations,
    GreKey,
    Revocation,
    SecurityAssociation,
    SurrogateReplay,
)
from mobileip.config.trust import AaaAssociation, AnsweringParty, HomeAgentFaHa
from mobileip.config.values import Interface, Mac, Model, Nai, Network, Passing, Seconds, Unicast

MobilityDelivery = Literal["reverse_tunnel", "direct"]


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
    mobility_delivery: MobilityDelivery | None = Field(
        default=None, description="as mobility_delivery, for this gateway's nodes; left out: as that says"
    )
    other_sources: list[Network] = Field(
        default_factory=list,
        description="addresses of its other VPN users, if its route to the proxy brings their packets along",
    )


class OneBox(Model):
    """The VPN gateway is on this host: a veth pair that `mobileip load` makes is the segment between the two."""

    gateway_interface: Interface = Field(
        default="mip0", description="the wire's end at the VPN gateway, which routes packets for nodes into it"
    )
    proxy_interface: Interface = Field(default="mip1", description="the wire's end at the proxy")


class ProxyHomeAgent(Model):
    address: Unicast = Field(description="address of the home agent")
    home_networks: list[Network] = Field(min_length=1, description="home networks that this home agent serves")
    assignable: bool = Field(
        default=False, description="true if nodes that ask for any home agent may get it; needs nai: true"
    )
    nai: bool = Field(default=False, description="true if it knows the NAI extension (RFC 2794)")


class ProxyMobileNode(Model):
    home_address: Unicast | None = Field(
        default=None, description="MN-Perm, the node's home address; left out, the node is known by its nai"
    )
    nai: Nai | None = Field(default=None, description="what the node calls itself, such as user@realm (RFC 2794)")
    gateway: str | None = Field(
        default=None, description="name of the VPN gateway that serves it, where the home address does not say which"
    )
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

    broadcast: bool = Field(default=True, description="true if home agents are asked for broadcasts when the node asks")
    d_bit: Literal["never", "unless-b"] = Field(
        default="never", description="when home agents are told that the proxy decapsulates itself"
    )
    copy_encapsulation_bits: bool = Field(default=False, description="true to pass on the node's M and G bits")
    encapsulation: Literal["ipip", "gre", "minimal"] = Field(
        default="ipip", description="what home agents are asked for where the node's bits are not passed on"
    )
    gre_key: GreKey | None = Field(
        default=None, description="key of GRE tunnels with home agents (RFC 2890), 0 to 4294967295; left out: none"
    )
    copy_reserved_bits: bool = Field(default=False, description="true to pass on the node's r and x bits")
    dereg_all_coa: Literal["mipp-priv", "home-address"] = Field(
        default="mipp-priv", description="care-of address by which home agents are told that all bindings are over"
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


def _number(value: object) -> object:
    """Keys are text in the file, whatever they look like."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


ExtensionNumber = Annotated[int, BeforeValidator(_number)]


class Hap(HapForms):
    """The HA Parameter extension of this deployment."""

    in_reply: Literal["if-requested", "always", "206-only"] = Field(
        default="if-requested", description="which replies to nodes carry the extension"
    )


class LocationDetection(Model):
    """Who is inside (draft 2.6.1)."""

    mode: Literal["address+interface", "address", "interface"] = Field(
        default="address+interface", description="what must say that a node is inside; `address` for one interface"
    )
    internal_prefixes: list[Network] = Field(default_factory=list, description="prefixes of the intranet")


class Probe(Model):
    """Whether nodes are still there: an echo request through the tunnel of those who send nothing."""

    interval: int = Field(
        default=0, ge=0, le=3600, description="seconds of silence after which a node is asked, 1 to 3600; 0: never"
    )
    timeout: int = Field(default=1, ge=1, le=60, description="seconds until it is asked again, 1 to 60")
    attempts: int = Field(default=3, ge=1, le=10, description="unanswered probes until its path counts as lost")
    max_per_second: int = Field(default=1000, ge=4, le=100_000, description="looks at nodes a second, of all of them")


class Reply(Model):
    """What nodes are told."""

    code_profile: Literal["draft", "rfc"] = Field(
        default="draft",
        description="whose numbers the proxy's verdicts have: the draft's 200 to 206, or the RFCs'",
    )
    proxy_cannot_service_code: Literal[130, 133] = Field(
        default=130, description="code for a node that its home agent accepted and the proxy cannot serve"
    )


class ProxyConfig(AnsweringParty):
    """The MIP Proxy: surrogate home agent to the node, surrogate mobile node to the home agent."""

    role: Literal["proxy"]
    datapath: Datapath = Field(default_factory=Datapath)
    mipp_pub: ProxyInterface
    mipp_priv: ProxyInterface
    vpn_gateways: list[VpnGateway] = Field(min_length=1, description="the VPN gateways, at least one")
    one_box: OneBox | None = Field(
        default=None, description="the VPN gateway is on this host, `{}` for the usual names; left out: it is another"
    )
    passes: list[Passing] = Field(
        default=["esp", "udp/500", "udp/4500"],
        min_length=1,
        description="what passes between nodes and gateways: esp, ah, gre, a protocol number, udp/PORT or tcp/PORT",
    )
    mobility_subnets: list[Network] | None = Field(
        default=None, description="subnets reached by clear packets (draft 5.2)"
    )
    mobility_delivery: MobilityDelivery = Field(
        default="reverse_tunnel",
        description="how these packets go on: through the node's reverse tunnel to its home agent, or directly",
    )
    location: LocationDetection = Field(default_factory=LocationDetection)
    home_agents: list[ProxyHomeAgent] = Field(min_length=1, description="the home agents allowed, at least one")
    default_home_agent: Unicast | None = Field(
        default=None, description="home agent of nodes that name none and for which none is known"
    )
    mobile_nodes: list[ProxyMobileNode] = Field(default_factory=list, description="the mobile nodes")
    simultaneous: Literal[False, 2, 3, 4] = Field(
        default=False, description="bindings that a node may have at once (2 to 4), or false for one"
    )
    replay: SurrogateReplay = Field(default_factory=SurrogateReplay)
    pending: Pending = Field(default_factory=Pending)
    nat: AgentNat = Field(default_factory=AgentNat)
    encapsulations: Encapsulations = Field(default_factory=Encapsulations)
    haleg: HaLeg = Field(default_factory=HaLeg)
    icmp: Icmp = Field(default_factory=Icmp)
    revocation: ProxyRevocation = Field(default_factory=ProxyRevocation)
    admission: Admission = Field(default_factory=Admission)
    max_lifetime: Seconds = Field(default=1800, description="longest lifetime in seconds that is granted, 1 to 65534")
    lifetime_jitter: int = Field(
        default=0, ge=0, le=50, description="percent by which a granted lifetime is shortened at most, at random"
    )
    hap: Hap = Field(default_factory=Hap)
    extensions: dict[ExtensionNumber, Literal["relay", "strip", "reject", "discard"]] = Field(
        default_factory=dict, description="what is done with extensions of a type, by its number"
    )
    probe: Probe = Field(default_factory=Probe)
    reply: Reply = Field(default_factory=Reply)
    on_206: Literal["purge", "keep"] = Field(
        default="purge", description="what becomes of the bindings of a node that turns up inside"
    )
    on_local_failure: Literal["let-expire", "deregister"] = Field(
        default="let-expire", description="what becomes of a binding at the home agent that the proxy cannot serve"
    )

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

    def gateway_of(self, node: ProxyMobileNode) -> VpnGateway | None:
        """The VPN gateway of a node: the one it names, or the only one there can be; None if that is not clear."""
        if node.gateway is not None:
            return next((gateway for gateway in self.vpn_gateways if gateway.name == node.gateway), None)
        address = node.home_address
        fits = [
            gateway
            for gateway in self.vpn_gateways
            if address is None or any(address in network for network in gateway.home_networks)
        ]
        return fits[0] if len(fits) == 1 else None

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        yield from _check_addresses(self)
        yield from _check_other_sources(self)
        yield from _check_one_box(self)
        yield from _check_home_agents(self)
        yield from _check_nodes(self)
        yield from _check_admission(self)
        yield from _check_fa_ha(self)
        yield from _check_extensions(self)

    def summary(self) -> str:
        return (
            f"proxy {self.mipp_pub.address} / {self.mipp_priv.address}, {len(self.vpn_gateways)} gateways, "
            f"{len(self.home_agents)} home agents, {len(self.mobile_nodes)} mobile nodes"
        )


def _check_addresses(config: ProxyConfig) -> Iterator[Finding]:
    pub, priv, location = config.mipp_pub, config.mipp_priv, config.location
    own = {pub.address: "MIPP-Pub", priv.address: "MIPP-Priv"}
    if priv.address == pub.address:
        yield ("mipp_priv", "address"), priv.address, "is MIPP-Pub, too", "the proxy needs an address on each side"
    if priv.interface == pub.interface and location.mode != "address":
        yield (
            ("mipp_priv", "interface"),
            priv.interface,
            "is the interface of MIPP-Pub, too",
            "the proxy tells inside from outside by the interface: use two, or location.mode: address",
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
            if location.mode != "interface" and not any(network.subnet_of(p) for p in location.internal_prefixes):
                yield (
                    path,
                    network,
                    "is inside none of location.internal_prefixes",
                    "a node at home would be taken to be outside: add the prefix",
                )
            for address, name in (*own.items(), (gateway.vpngw_pub, "VPNGW-Pub"), (gateway.vpngw_priv, "VPNGW-Priv")):
                if address in network:
                    yield path, network, f"contains {name} {address}", "a home network lies behind the home agent"
    yield from repeated([(("vpn_gateways", i, "name"), g.name) for i, g in gateways], "gateway")
    yield from repeated([(("vpn_gateways", i, "vpngw_pub"), g.vpngw_pub) for i, g in gateways], "gateway")
    yield from repeated([(("vpn_gateways", i, "vpngw_priv"), g.vpngw_priv) for i, g in gateways], "gateway")


def _check_one_box(config: ProxyConfig) -> Iterator[Finding]:
    wire = config.one_box
    if wire is None:
        return
    taken = {config.mipp_pub.interface: "of MIPP-Pub", config.mipp_priv.interface: "of MIPP-Priv"}
    for key, name in (("gateway_interface", wire.gateway_interface), ("proxy_interface", wire.proxy_interface)):
        if name in taken:
            expected = "the wire between gateway and proxy is a veth pair of its own: take two unused names"
            yield ("one_box", key), name, f"is the interface {taken[name]}, too", expected
        taken.setdefault(name, "of the wire's other end")
    for index, gateway in enumerate(config.vpn_gateways):
        if index:
            expected = "one_box means the one VPN gateway on this host: remove this one, or one_box"
            yield ("vpn_gateways", index, "name"), gateway.name, "is a second VPN gateway", expected
        if gateway.macs:
            expected = "in one box the gateway sends from the wire, whose address is known: remove it"
            yield ("vpn_gateways", index, "macs", 0), gateway.macs[0], "is given with one_box", expected


def _check_home_agents(config: ProxyConfig) -> Iterator[Finding]:
    agents = list(enumerate(config.home_agents))
    yield from repeated([(("home_agents", i, "address"), agent.address) for i, agent in agents], "home agent")
    for index, agent in agents:
        # D-2.6.4-b: it is told by the NAI alone for whom it shall find a home address.
        if agent.assignable and not agent.nai:
            advice = "set nai: true if it knows the NAI extension, or do not let it be assigned"
            yield ("home_agents", index, "assignable"), True, f"is set for {agent.address} without nai", advice
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
    agents = {agent.address: agent for agent in config.home_agents}
    if config.default_home_agent is not None and config.default_home_agent not in agents:
        yield ("default_home_agent",), config.default_home_agent, *_NOT_LISTED
    names: list[tuple[KeyPath, tuple[str, object]]] = []
    for index, node in enumerate(config.mobile_nodes):
        path: KeyPath = ("mobile_nodes", index)
        if node.home_address is None and node.nai is None:
            yield path, None, "expected a home_address or a nai", "say which node it is"
            continue
        if node.home_agent is not None and node.home_agent not in agents:
            yield (*path, "home_agent"), node.home_agent, *_NOT_LISTED
        if node.home_agent_sa.replay != node.node_sa.replay:
            yield (
                (*path, "home_agent_sa", "replay"),
                node.home_agent_sa.replay,
                f"is not {node.node_sa.replay} as in node_sa",
                "the Identification passes through the proxy unchanged, so both associations need the same style",
            )
        if node.gateway is not None and node.gateway not in {gateway.name for gateway in config.vpn_gateways}:
            yield (*path, "gateway"), node.gateway, "is the name of no VPN gateway", "correct it or add the gateway"
            continue
        if node.home_address is not None:
            yield from _check_home_address(config, path, node, node.home_address)
        gateway = config.gateway_of(node)
        if gateway is None and (node.home_address is None or _networks_of(config, node.home_address)):
            advice = "name one of them with the key `gateway`"
            yield (*path, "gateway"), None, "several VPN gateways may serve this node", advice
        elif gateway is not None:
            what = "home_address" if node.home_address is not None else "nai"
            names.append(((*path, what), (gateway.name, node.home_address or node.nai)))
    seen: dict[tuple[str, object], KeyPath] = {}
    for path, (gateway_name, name) in names:
        if (gateway_name, name) in seen:
            where = dotted(seen[gateway_name, name])
            advice = "home addresses may overlap only behind different gateways: correct one of the two"
            yield path, name, f"is already used at {where} behind the same gateway {gateway_name!r}", advice
        seen.setdefault((gateway_name, name), path)
    yield from _check_overlaps(config)


_NOT_LISTED = ("is not in home_agents", "add it there: the proxy talks to listed home agents only")


def _networks_of(config: ProxyConfig, address: IPv4Address) -> list[IPv4Network]:
    return [network for network in config.home_networks if address in network]


def _check_home_address(
    config: ProxyConfig, path: KeyPath, node: ProxyMobileNode, address: IPv4Address
) -> Iterator[Finding]:
    home: KeyPath = (*path, "home_address")
    agents = {agent.address: agent for agent in config.home_agents}
    networks, where = config.home_networks, "any VPN gateway"
    if node.gateway is not None:
        (gateway,) = (one for one in config.vpn_gateways if one.name == node.gateway)
        networks, where = tuple(gateway.home_networks), f"the VPN gateway {node.gateway!r}"
    yield from host_in_network(home, address, networks, where)
    if address in agents:
        yield home, address, "is the address of a home agent", "correct one of the two"
    if not any(address in network for agent in agents.values() for network in agent.home_networks):
        advice = "add its network to home_agents[].home_networks"
        yield home, address, "is served by no home agent", advice


def _check_overlaps(config: ProxyConfig) -> Iterator[Finding]:
    """Two nodes with one home address need a home agent each: its tunnel is all that tells their packets apart."""
    seen: dict[tuple[IPv4Address, IPv4Address | None], KeyPath] = {}
    times = Counter(node.home_address for node in config.mobile_nodes)
    for index, node in enumerate(config.mobile_nodes):
        if node.home_address is None or times[node.home_address] < 2 or config.gateway_of(node) is None:
            continue
        path: KeyPath = ("mobile_nodes", index, "home_agent")
        key = (node.home_address, node.home_agent)
        if node.home_agent is None or key in seen:
            expected = f"another node has the home address {node.home_address}, too"
            yield path, node.home_agent, expected, "name a home agent for each of them, and not the same one"
        seen.setdefault(key, path)


def _check_other_sources(config: ProxyConfig) -> Iterator[Finding]:
    """Whom the proxy passes on without a tunnel is nobody that it knows otherwise."""
    known = {config.mipp_pub.address: "MIPP-Pub", config.mipp_priv.address: "MIPP-Priv"}
    known.update({agent.address: "a home agent" for agent in config.home_agents})
    for gateway in config.vpn_gateways:
        known.update({gateway.vpngw_pub: "VPNGW-Pub", gateway.vpngw_priv: "VPNGW-Priv"})
    for index, gateway in enumerate(config.vpn_gateways):
        for number, network in enumerate(gateway.other_sources):
            path: KeyPath = ("vpn_gateways", index, "other_sources", number)
            home = next((home for home in config.home_networks if network.overlaps(home)), None)
            if home is not None:
                expected = f"overlaps the home network {home}"
                yield path, network, expected, "other VPN users have addresses of their own: name those alone"
            for address, name in known.items():
                if address in network:
                    yield path, network, f"contains {address}, {name}", "name the addresses of VPN users alone"


def _check_extensions(config: ProxyConfig) -> Iterator[Finding]:
    for kind in sorted(config.extensions):
        path: KeyPath = ("extensions", str(kind))
        if not 1 <= kind <= 255:
            yield path, kind, "is no type number of an extension", "expected 1 to 255"
        elif kind in ONE_HOP_EXTENSIONS:
            yield path, kind, "ends at the proxy", "no treatment of it can be chosen: remove the line"
    yield from hap_findings(config.hap)


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
