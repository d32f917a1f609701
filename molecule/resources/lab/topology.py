"""Reads topology.yml into types, and refuses what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from lab import names
from lab.errors import LabError


@dataclass(frozen=True)
class Port:
    """One interface of a host. A mobile port has a network instead of a segment and an address."""

    name: str
    segment: str
    address: IPv4Interface | None


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
class Topology:
    """All of topology.yml."""

    segments: dict[str, IPv4Network]
    hosts: dict[str, Host]

    def host(self, name: str) -> Host:
        """Raises LabError with the names there are when there is no such host."""
        if name not in self.hosts:
            raise LabError(f"no host {name!r} in topology.yml; there are: {', '.join(self.hosts)}")
        return self.hosts[name]


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


@cache
def load(path: Path = names.RESOURCES / "topology.yml") -> Topology:
    """Reads the topology. Raises LabError naming host and port where the file contradicts itself."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    topology = Topology(
        segments={name: IPv4Network(prefix) for name, prefix in document["segments"].items()},
        hosts={
            name: _host(name, entry, document["common_sysctls"], document["networks"])
            for name, entry in document["hosts"].items()
        },
    )
    _check(topology)
    return topology
