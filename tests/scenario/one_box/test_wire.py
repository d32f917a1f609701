"""One box on its wires: outside are tunnels and registrations only; what two boxes hand each other is inside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts

from tests.scenario.conftest import Roamed

SEGMENTS = {"pub": "dmz_public", "priv": "dmz_private"}
TCP = 6


@pytest.fixture(scope="module")
def home(hosts: LabHosts) -> str:
    return hosts.home_address("mn")


@pytest.fixture(scope="module")
def gateway(hosts: LabHosts) -> str:
    return hosts.address("vpngw", "pub")


def arp(capture: Path) -> list[list[str]]:
    """Return of each ARP packet in a capture the source's MAC address and the sender's IP address."""
    fields = ("-T", "fields", "-e", "eth.src", "-e", "arp.src.proto_ipv4")
    command = ["tshark", "-n", "-r", str(capture), "-Y", "arp", *fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 2), done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_public_segment_shows_a_node_in_tunnels_of_mipp_pub_and_in_registrations_only_D_1_4_e(
    roamed: Roamed, hosts: LabHosts, home: str, gateway: str
) -> None:
    proxy, tunnelled = hosts.address("mipp", "pub"), 0
    for frame in roamed.analysis.frames["dmz_public"]:
        assert gateway not in frame.outer, f"the gateway itself has no business here: {frame}"
        if home not in frame.sources + frame.destinations:
            continue
        assert proxy in frame.outer, frame
        assert frame.registration or len(frame.sources) > 1, frame
        tunnelled += frame.is_esp
    assert tunnelled > 1000


def test_private_segment_shows_what_is_for_a_node_outside_in_the_home_agents_tunnel_only(
    roamed: Roamed, hosts: LabHosts, home: str
) -> None:
    correspondent, box = hosts.address("cn", "eth0"), hosts.mac("mipp", "priv")
    tunnel = (hosts.address("ha", "core"), hosts.address("mipp", "priv"))
    for network in ("open", "nat", "fa"):
        frames = list(wire.within(roamed.analysis.frames["dmz_private"], *roamed.stay(network)))
        assert any(frame.outer == tunnel and frame.destinations[-1] == home for frame in frames)
        assert [frame for frame in frames if frame.outer[1] == home] == []
        decrypted = [frame for frame in frames if frame.outer == (home, correspondent)]
        assert {frame.protocols for frame in decrypted} == {(TCP,), (wire.UDP,)}
        assert {frame.eth_source for frame in decrypted} == {box}


def test_wire_inside_carries_esp_and_ike_and_what_is_handed_over_and_nothing_else_AMB_23(
    roamed: Roamed, hosts: LabHosts, home: str, gateway: str
) -> None:
    correspondent = hosts.address("cn", "eth0")
    seen = {
        (frame.outer, "ike" if frame.ike else frame.protocols)
        for frame in roamed.analysis.frames[roamed.recording.gateway_wire]
    }
    both = ((home, gateway), (gateway, home))
    protected = {(ends, kind) for ends in both for kind in ("ike", (wire.ESP,))}
    # For the SA to take: the kernel gives it what came by this wire, and it leaves by this wire as ESP.
    handed_over = {((correspondent, home), (protocol,)) for protocol in (TCP, wire.UDP)}
    assert seen == protected | handed_over


@pytest.mark.parametrize("side", SEGMENTS)
def test_box_speaks_arp_for_its_own_four_addresses_only_D_3_b_and_D_3_c(
    roamed: Roamed, hosts: LabHosts, side: str
) -> None:
    own = {hosts.address(host, side) for host in ("mipp", "vpngw")}
    said = {
        sender for source, sender in arp(roamed.recording.captures[SEGMENTS[side]]) if source == hosts.mac("mipp", side)
    }
    assert said
    assert said <= own


def test_nobody_asks_for_addresses_on_the_wire_inside(roamed: Roamed) -> None:
    assert arp(roamed.recording.captures[roamed.recording.gateway_wire]) == []
