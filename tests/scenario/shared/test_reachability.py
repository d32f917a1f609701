"""Who can talk to whom through both firewalls at their default deny, and who cannot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from roaming import report, wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures, conversation

STREAM_SECONDS = 2.0


def stream(hosts: LabHosts, directory: Path, client: tuple[str, str], server: tuple[str, str], port: int) -> str:
    """Run a TCP stream both ways for two seconds; return why it failed, or an empty text."""
    with conversation(hosts, directory, client, server, port) as ends:
        time.sleep(STREAM_SECONDS)
    return report.session_verdict({name: program.events() for name, program in ends.items()})


@pytest.fixture(scope="module", autouse=True)
def both_nodes_outside(hosts: LabHosts) -> Iterator[None]:
    hosts.ensure_at("mn", "open")
    hosts.ensure_at("mn2", "nat")
    hosts.wait_for_sa("mn")
    hosts.wait_for_sa("mn2")
    yield
    hosts.ensure_at("mn", "home")


def node(hosts: LabHosts, name: str) -> tuple[str, str]:
    return name, hosts.home_address(name)


@pytest.mark.parametrize("correspondent", ["cn", "cn_home"])
def test_tcp_from_an_outside_node_streams_to_intranet_and_home_network(
    hosts: LabHosts, tmp_path: Path, correspondent: str
) -> None:
    server = (correspondent, hosts.address(correspondent, "eth0"))
    assert stream(hosts, tmp_path, node(hosts, "mn"), server, 5011) == ""


@pytest.mark.parametrize("correspondent", ["cn", "cn_home"])
def test_tcp_to_an_outside_node_streams_from_intranet_and_home_network(
    hosts: LabHosts, tmp_path: Path, correspondent: str
) -> None:
    client = (correspondent, hosts.address(correspondent, "eth0"))
    assert stream(hosts, tmp_path, client, node(hosts, "mn"), 5012) == ""


def test_two_nodes_outside_reach_each_other_from_sa_to_sa(hosts: LabHosts, tmp_path: Path) -> None:
    with captures(hosts, ("dmz_public", "dmz_private"), tmp_path) as files:
        assert stream(hosts, tmp_path, node(hosts, "mn"), node(hosts, "mn2"), 5013) == ""
        # What each of them says to a host inside is seen on the private segment.
        for name, home in (node(hosts, "mn"), node(hosts, "mn2")):
            hosts.run(name, ["ping", "-c", "1", "-W", "2", "-I", home, hosts.address("cn", "eth0")])
    nodes = {hosts.home_address("mn"), hosts.home_address("mn2")}
    public, private = wire.read(files["dmz_public"]), wire.read(files["dmz_private"])
    assert wire.esp_frames(public, hosts.address("vpngw", "pub"))
    assert {frame.sources[-1] for frame in private} >= nodes
    assert [frame for frame in public + private if nodes <= {frame.sources[-1], frame.destinations[-1]}] == []


def test_node_on_a_visited_inside_network_registers_with_its_home_agent_and_needs_no_sa(
    hosts: LabHosts, tmp_path: Path
) -> None:
    server = ("cn", hosts.address("cn", "eth0"))
    with captures(hosts, ("visited", "dmz_public"), tmp_path) as files:
        hosts.ensure_at("mn", "visited")
        try:
            assert stream(hosts, tmp_path, node(hosts, "mn"), server, 5014) == ""
        finally:
            hosts.ensure_at("mn", "open")
    visited = wire.read(files["visited"])
    exchanges = wire.exchanges(visited, hosts.home_address("mn"))
    assert [(pair.agent, pair.code) for pair in exchanges] == [
        (hosts.address("mipp", "pub"), 206),
        (hosts.address("ha", "core"), 1),  # accepted; this home agent keeps one binding a node
    ]
    care_of, agent = hosts.care_of("mn", "visited"), hosts.address("ha", "core")
    assert {f.outer for f in visited if wire.IP_IN_IP in f.protocols} == {(care_of, agent), (agent, care_of)}


def test_outside_cannot_reach_the_intranet(hosts: LabHosts) -> None:
    # As from a host that has a route there: without one nothing would ever reach the firewall.
    before = hosts.firewall_drops("outer_fw")
    route = [hosts.address("cn", "eth0"), "via", hosts.address("outer_fw", "outside")]
    hosts.run("internet", ["ip", "route", "add", *route])
    try:
        done = hosts.run("internet", ["ping", "-c", "2", "-W", "1", hosts.address("cn", "eth0")], check=False)
    finally:
        hosts.run("internet", ["ip", "route", "del", *route])
    assert done.returncode != 0
    assert hosts.firewall_drops("outer_fw") >= before + 2


def test_inside_source_from_outside_is_dropped_and_counted(hosts: LabHosts) -> None:
    before = hosts.firewall_drops("outer_fw")
    spoof = (
        "import socket;s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW);"
        f"s.sendto(bytes.fromhex('4500001c000040004011')+b'\\0\\0'+socket.inet_aton('{hosts.address('cn', 'eth0')}')"
        f"+socket.inet_aton('{hosts.address('mipp', 'pub')}')+bytes.fromhex('01b201b200080000'),"
        f"('{hosts.address('mipp', 'pub')}',0))"
    )
    hosts.run("internet", ["python3", "-c", spoof])
    hosts.wait_until("the drop is counted", lambda: hosts.firewall_drops("outer_fw") > before, 5)
