"""A foreign agent behind a NAT asks for the UDP tunnel itself (RFC 3519 4.5), and the NAT sees nothing else.

Plugs the agent's uplink in behind the NAT, rolls out the agent with the address that it has there, and undoes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures

from lab import wires
from mobileip.wire.extensions import ExtensionType
from mobileip.wire.messages import parse_request, types_of
from tests.scenario.plays import play
from tests.scenario.shared.test_reachability import node, stream

UDP_PORT = 434


def roll_out(agent_address: str) -> None:
    """Have the foreign agent use this care-of address."""
    uplink = {"interface": "uplink", "care_of_address": agent_address}
    done = play("site.yml", "--tags", "parties", "--limit", "fa", variables={"foreign_agent_uplink": uplink})
    assert done.status == 0, done.output[-3000:]


@pytest.fixture(scope="module")
def agent_behind_nat(hosts: LabHosts) -> Iterator[str]:
    """The agent's address behind the NAT; afterwards wiring and agent are as before."""
    agent = hosts.lab.host("fa")
    assert agent.behind_nat is not None
    address = str(agent.behind_nat.address.ip)
    wires.put_behind_nat(agent, True)
    try:
        roll_out(address)
        yield address
    finally:
        hosts.ensure_at("mn", "open")
        wires.put_behind_nat(agent, False)
        roll_out(hosts.address("fa", "uplink"))


def bindings(hosts: LabHosts, host: str, instance: str) -> list[dict[str, object]]:
    done = hosts.run(host, ["/opt/mobileip/bin/mobileip", "show", "bindings", "--json", "-i", instance])
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_agent_behind_a_nat_gets_a_udp_tunnel_and_the_session_streams_through_it_R3519_4_5_a(
    hosts: LabHosts, agent_behind_nat: str, tmp_path: Path
) -> None:
    hosts.ensure_at("mn", "open")
    with captures(hosts, ("nat_inside", "nat_outside"), tmp_path) as files:
        hosts.ensure_at("mn", "fa")
        hosts.wait_for_sa("mn")
        assert stream(hosts, tmp_path, node(hosts, "mn"), ("cn", hosts.address("cn", "eth0")), 5031) == ""
        (visitor,) = bindings(hosts, "fa", "foreign_agent")
        at_proxy = [row for row in bindings(hosts, "mipp", "proxy") if row["home_address"] == hosts.home_address("mn")]
    # What the agent asked on the wire: its own plea behind the node's authentication.
    proxy, nat = hosts.address("mipp", "pub"), hosts.address("nat", "outside")
    to_proxy = f"mip.type == 1 && ip.src == {agent_behind_nat} && ip.dst == {proxy}"
    requests = [parse_request(payload) for payload in hosts.payloads(files["nat_inside"], to_proxy)]
    assert requests
    for request in requests:
        kinds = types_of(request.extensions)
        assert kinds[-2:] == (ExtensionType.MN_HA_AUTHENTICATION, ExtensionType.UDP_TUNNEL_REQUEST)
        assert not request.decapsulates
    # What it got, at both ends.
    assert (visitor["encapsulation"], visitor["care_of_address"]) == ("udp", agent_behind_nat)
    assert [(row["encapsulation"], row["care_of_address"]) for row in at_proxy] == [("udp", agent_behind_nat)]
    assert str(at_proxy[0]["source"]).startswith(f"{nat}:")
    # What the NAT carried: ESP in MIP-UDP both ways between its own address and MIPP-Pub, and no other tunnel.
    carried = [frame for frame in wire.read(files["nat_outside"]) if proxy in frame.outer]
    tunnelled = [frame for frame in carried if frame.spi]
    assert {frame.outer for frame in tunnelled} == {(nat, proxy), (proxy, nat)}
    assert [frame for frame in carried if not frame.udp_ports or UDP_PORT not in frame.udp_ports[0]] == []
