"""Reads topology.yml into types, and refuses what does not fit together."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from lab import names
from lab.errors import LabError

SHIPPED = names.RESOURCES / "topology.yml"


@dataclass(frozen=True)
class Port:
    """One interface of a host. A mobile port has a network instead of a segment and an address."""

    name: str
    segment: str
    address: IPv4Interface | None
    further: tuple[IPv4Interface, ...] = ()
    """Addresses besides, of a host that is part of this one."""


@dataclass(frozen=True)
class Route:
    """A route of the main table: `to` is a prefix or `default`."""

    to: str
    via: IPv4Address


@dataclass(frozen=True)
class Attachment:
    """How a mobile node is configured in a network; no address where a foreign agent is to be found."""

    segment: str
    address: IPv4Interface | None
    gateway: IPv4Address | None


@dataclass(frozen=True)
class OtherPlug:
    """Another segment that a fixed port can be plugged into (the foreign agent behind the NAT)."""

    port: str
    segment: str
    address: IPv4Interface
    gateway: IPv4Address


@dataclass(frozen=True)
class Frr:
    """What FRR does on a host: OSPF on one interface."""

    router_id: IPv4Address
    interface: str
    redistribute: tuple[str, ...]
    static: tuple[Route, ...]


@dataclass(frozen=True)
class Host:
    """One host, as it is before any role has touched it."""

    name: str
    ports: tuple[Port, ...]
    routes: tuple[Route, ...]
    forward: bool
    sysctls: dict[str, str]
    frr: Frr | None
    masquerade: tuple[str, str] | None
    attachments: dict[str, Attachment]
    start_network: str | None
    behind_nat: OtherPlug | None

    @property
    def mobile_port(self) -> str:
        """The port that moves. Raises LabError for a host that stays where it is."""
        if not self.attachments:
            raise LabError(f"{self.name} does not move: only hosts with `attachments` in topology.yml do")
        return self.ports[0].name


@dataclass(frozen=True)
class Wire:
    """A wire inside a host: what is captured there is seen on no segment."""

    host: str
    interface: str


@dataclass(frozen=True)
class Topology:
    """All of topology.yml, as one deployment has it."""

    deployment: str
    segments: dict[str, IPv4Network]
    hosts: dict[str, Host]
    """The machines."""
    parts: dict[str, tuple[Host, str]]
    """Hosts that are part of another one here, as the file describes them, and whose part they are."""
    wire: Wire | None

    def host(self, name: str) -> Host:
        """The machine; for a part, the one that it is part of. Raises LabError with the names there are for another."""
        _, whole = self.parts.get(name, (None, name))
        if whole not in self.hosts:
            raise LabError(f"no host {name!r} in topology.yml; there are: {', '.join(self.hosts)}")
        return self.hosts[whole]

    def port(self, host: str, name: str) -> Port:
        """A port with the host's address on it, be the host a machine or a part of one. Raises LabError for none."""
        described, _ = self.parts.get(host, (self.host(host), host))
        for port in described.ports:
            if port.name == name:
                return port
        raise LabError(f"{host} has no port {name!r}; there are: {', '.join(port.name for port in described.ports)}")


def _routes(entries: list[dict[str, str]]) -> tuple[Route, ...]:
    return tuple(Route(entry["to"], IPv4Address(entry["via"])) for entry in entries)


def _host(name: str, entry: dict[str, Any], common: dict[str, Any], networks: dict[str, str]) -> Host:
    attachments = {
        network: Attachment(
            segment=networks[network],
            address=IPv4Interface(how["address"]) if "address" in how else None,
            gateway=IPv4Address(how["gateway"]) if "gateway" in how else None,
        )
        for network, how in entry.get("attachments", {}).items()
    }
    ports = []
    start_network = None
    for port, how in entry["ports"].items():
        if "network" in how:
            start_network = how["network"]
            ports.append(Port(port, networks[start_network], attachments[start_network].address))
        else:
            ports.append(Port(port, how["segment"], IPv4Interface(how["address"])))
    frr = entry.get("frr")
    masquerade = entry.get("masquerade")
    behind = entry.get("behind_nat")
    return Host(
        name=name,
        ports=tuple(ports),
        routes=_routes(entry.get("routes", [])),
        forward=entry.get("forward", False),
        sysctls={key: str(value) for key, value in {**common, **entry.get("sysctls", {})}.items()},
        frr=Frr(IPv4Address(frr["router_id"]), frr["interface"], tuple(frr["redistribute"]), _routes(frr["static"]))
        if frr
        else None,
        masquerade=(masquerade["inside"], masquerade["outside"]) if masquerade else None,
        attachments=attachments,
        start_network=start_network,
        behind_nat=OtherPlug(
            behind["port"], behind["segment"], IPv4Interface(behind["address"]), IPv4Address(behind["gateway"])
        )
        if behind
        else None,
    )


def _check(topology: Topology) -> None:
    seen: dict[str, str] = {}
    for host in topology.hosts.values():
        for port in host.ports:
            if port.segment not in topology.segments:
                raise LabError(f"topology.yml: port {port.name} of {host.name} names no segment: {port.segment!r}")
            if port.address and port.address.network != topology.segments[port.segment]:
                raise LabError(f"topology.yml: {host.name}:{port.name} {port.address} is not in {port.segment}")
            peer = names.of_peer(host.name, port.name)
            if peer in seen:
                raise LabError(f"topology.yml: {host.name}:{port.name} and {seen[peer]} would share the name {peer}")
            seen[peer] = f"{host.name}:{port.name}"


def _merged(whole: Host, part: Host) -> Host:
    """A machine that is another host as well: with that one's addresses besides, and its routes instead."""
    theirs = {port.name: port for port in part.ports}
    if theirs.keys() != {port.name for port in whole.ports}:
        raise LabError(f"topology.yml: {part.name} cannot be part of {whole.name}: they have different ports")
    ports = []
    for port in whole.ports:
        other = theirs[port.name]
        if other.segment != port.segment or other.address is None:
            raise LabError(f"topology.yml: {part.name}:{port.name} is not on the segment of {whole.name}:{port.name}")
        ports.append(replace(port, further=(*port.further, other.address)))
    return replace(whole, ports=tuple(ports), routes=part.routes, frr=part.frr)


def _deployed(hosts: dict[str, Host], part_of: dict[str, str]) -> tuple[dict[str, Host], dict[str, tuple[Host, str]]]:
    """Machines and parts."""
    if strangers := {*part_of, *part_of.values()} - hosts.keys():
        raise LabError(f"topology.yml: part_of names no host: {', '.join(sorted(strangers))}")
    parts = {part: (hosts[part], whole) for part, whole in part_of.items()}
    machines = {name: host for name, host in hosts.items() if name not in parts}
    for part, whole in parts.values():
        machines[whole] = _merged(machines[whole], part)
    return machines, parts


def current() -> str:
    """The deployment that LAB_DEPLOYMENT names; else that of the hosts that are up; else none: the first there is."""
    return os.environ.get("LAB_DEPLOYMENT") or names.recorded_deployment()


def load(deployment: str | None = None, path: Path = SHIPPED) -> Topology:
    """Reads the topology as a deployment has it, `current` where none is named.

    Raises LabError naming host and port where the file contradicts itself, and with the deployments there are for an
    unknown one.
    """
    return _load(path, current() if deployment is None else deployment)


@cache
def _load(path: Path, deployment: str) -> Topology:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    deployments = document["deployments"]
    deployment = deployment or next(iter(deployments))
    if deployment not in deployments:
        raise LabError(f"no deployment {deployment!r} in topology.yml; there are: {', '.join(deployments)}")
    differs = deployments[deployment]
    hosts = {
        name: _host(name, entry, document["common_sysctls"], document["networks"])
        for name, entry in document["hosts"].items()
    }
    machines, parts = _deployed(hosts, differs.get("part_of", {}))
    topology = Topology(
        deployment=deployment,
        segments={name: IPv4Network(prefix) for name, prefix in document["segments"].items()},
        hosts=machines,
        parts=parts,
        wire=Wire(**differs["wire"]) if "wire" in differs else None,
    )
    _check(topology)
    return topology
