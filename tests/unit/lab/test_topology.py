"""The lab's data file is read whole, and refused where it contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import names, topology
from lab.errors import LabError


@pytest.fixture(autouse=True)
def nothing_is_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor hosts that are up say which deployment is meant."""
    monkeypatch.delenv("LAB_DEPLOYMENT", raising=False)
    monkeypatch.setattr(names, "DEPLOYMENT", tmp_path / "deployment")


def _altered(tmp_path: Path, alter: Callable[[dict[str, Any]], None]) -> Path:
    document = yaml.safe_load(topology.SHIPPED.read_text(encoding="utf-8"))
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
        topology.load(path=_altered(tmp_path, alter))


def test_an_unknown_segment_is_refused_with_host_and_port(tmp_path: Path) -> None:
    def alter(document: dict[str, Any]) -> None:
        document["hosts"]["cn"]["ports"]["eth0"]["segment"] = "cellar"

    with pytest.raises(LabError, match="port eth0 of cn names no segment: 'cellar'"):
        topology.load(path=_altered(tmp_path, alter))


def test_an_unknown_host_is_named_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no host 'moon' in topology\.yml; there are: internet, outer_fw"):
        topology.load().host("moon")


def test_a_host_that_stays_has_no_mobile_port() -> None:
    with pytest.raises(LabError, match="cn does not move"):
        _ = topology.load().host("cn").mobile_port


def deployments() -> list[str]:
    return list(yaml.safe_load(topology.SHIPPED.read_text(encoding="utf-8"))["deployments"])


def test_the_makefile_offers_the_deployments_that_there_are() -> None:
    offered = re.search(
        r"^DEPLOYMENTS := (.*)$", (names.CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert offered is not None
    assert offered[1].split() == deployments()


@pytest.mark.parametrize("deployment", deployments())
def test_each_deployment_has_the_hosts_of_its_inventory(deployment: str) -> None:
    inventory = yaml.safe_load((names.CHECKOUT / "inventories" / deployment / "hosts.yml").read_text(encoding="utf-8"))
    groups = inventory["all"]["children"].values()
    assert {host for group in groups for host in group["hosts"]} <= topology.load(deployment).hosts.keys()


def test_one_box_is_one_machine_with_the_addresses_of_both_and_the_gateways_routes() -> None:
    two, one = topology.load("two_box"), topology.load("one_box")
    assert two.hosts.keys() - one.hosts.keys() == {"vpngw"}
    box = one.host("vpngw")
    assert box is one.host("mipp")
    assert [(port.name, port.address, *port.further) for port in box.ports] == [
        ("pub", IPv4Interface("203.0.113.10/26"), IPv4Interface("203.0.113.20/26")),
        ("priv", IPv4Interface("192.0.2.10/27"), IPv4Interface("192.0.2.20/27")),
    ]
    assert (box.routes, box.frr) == (two.host("vpngw").routes, two.host("vpngw").frr)
    assert {(host, port): one.port(host, port).address for host in ("mipp", "vpngw") for port in ("pub", "priv")} == {
        (host, port): two.port(host, port).address for host in ("mipp", "vpngw") for port in ("pub", "priv")
    }


def test_what_is_named_counts_before_what_is_up_and_that_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert topology.load().deployment == "two_box"
    names.DEPLOYMENT.write_text("one_box", encoding="ascii")
    assert topology.load().deployment == "one_box"
    monkeypatch.setenv("LAB_DEPLOYMENT", "two_box")
    assert topology.load().deployment == "two_box"


def test_an_unknown_deployment_is_named_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no deployment 'three_box' in topology\.yml; there are: two_box, one_box"):
        topology.load("three_box")


def test_a_part_without_the_ports_of_its_machine_is_refused(tmp_path: Path) -> None:
    def alter(document: dict[str, Any]) -> None:
        document["hosts"]["vpngw"]["ports"].pop("priv")

    with pytest.raises(LabError, match="vpngw cannot be part of mipp: they have different ports"):
        topology.load("one_box", path=_altered(tmp_path, alter))
