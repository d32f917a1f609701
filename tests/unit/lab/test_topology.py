"""The lab's data file is read whole, and refused where it contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import names, topology
from lab.errors import LabError

SHIPPED = names.RESOURCES / "topology.yml"


def _altered(tmp_path: Path, alter: Callable[[dict[str, Any]], None]) -> Path:
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    alter(document)
    path = tmp_path / "topology.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def test_only_documentation_addresses_are_used() -> None:
    documentation = [IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24"), IPv4Network("203.0.113.0/24")]
    segments = topology.load().segments
    assert [name for name, net in segments.items() if not any(net.subnet_of(block) for block in documentation)] == []


def test_no_two_ports_share_an_address() -> None:
    hosts = topology.load().hosts.values()
    addresses = [port.address.ip for host in hosts for port in host.ports if port.address]
    addresses += [attached.address.ip for host in hosts for attached in host.attachments.values() if attached.address]
    at_home = [host.attachments["home"].address for host in hosts if host.attachments]
    assert len(set(addresses)) == len(addresses) - len(at_home), "each node's home address is listed twice, others once"


def test_every_gateway_and_next_hop_is_on_a_segment_of_its_host() -> None:
    for host in topology.load().hosts.values():
        on_link = [port.address.network for port in host.ports if port.address]
        for route in (*host.routes, *(host.frr.static if host.frr else ())):
            assert any(route.via in network for network in on_link), f"{host.name}: {route.to} via {route.via}"
        for attachment in host.attachments.values():
            if attachment.address and attachment.gateway:
                assert attachment.gateway in attachment.address.network


def test_names_of_interfaces_fit_into_15_bytes() -> None:
    for host in topology.load().hosts.values():
        for port in host.ports:
            assert len(port.name) <= 15
            assert len(names.of_peer(host.name, port.name)) <= 15


def test_mac_addresses_are_locally_administered_unicast_and_all_different() -> None:
    macs = [names.mac_of(host.name, port.name) for host in topology.load().hosts.values() for port in host.ports]
    assert len(set(macs)) == len(macs)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def test_an_address_outside_its_segment_is_refused_with_host_and_port(tmp_path: Path) -> None:
    def alter(document: dict[str, Any]) -> None:
        document["hosts"]["mipp"]["ports"]["pub"]["address"] = "203.0.113.70/26"

    with pytest.raises(LabError, match=r"mipp:pub 203\.0\.113\.70/26 is not in dmz_public"):
        topology.load(_altered(tmp_path, alter))


def test_an_unknown_segment_is_refused_with_host_and_port(tmp_path: Path) -> None:
    def alter(document: dict[str, Any]) -> None:
        document["hosts"]["cn"]["ports"]["eth0"]["segment"] = "cellar"

    with pytest.raises(LabError, match="port eth0 of cn names no segment: 'cellar'"):
        topology.load(_altered(tmp_path, alter))


def test_an_unknown_host_is_named_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no host 'moon' in topology\.yml; there are: internet, outer_fw"):
        topology.load().host("moon")


def test_a_host_that_stays_has_no_mobile_port() -> None:
    with pytest.raises(LabError, match="cn does not move"):
        _ = topology.load().host("cn").mobile_port
