"""Nodes behind a NAT: several with one address, and what becomes of a session when the NAT is not what it was."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from roaming import report, wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures, conversation

from tests.scenario.plays import play
from tests.scenario.traffic import traffic

NODES = ("mn", "mn2")
SPI = re.compile(r"\b(?:in|out) +([0-9a-f]{8})\b")
OTHER_PORTS = """\
table ip other_ports { }
delete table ip other_ports
table ip other_ports {
  chain post {
    type nat hook postrouting priority srcnat - 1;
    oifname "outside" ip protocol udp masquerade to :42000-42099
  }
}
"""
OTHER_ADDRESS = "198.51.100.41"
NOTICED_WITHIN = 12.0
"""Seconds: two without an answer, two for a keepalive that has none, and the registration; see
docs/how-to/a-path-that-dies-quietly.md. The rest is for a machine that is busy."""
KEEPALIVE, FORGOTTEN_AFTER, IDLE = 12, 20, 50
"""Seconds: between keepalives, until the NAT forgets a flow without packets, and that the node says nothing."""


@pytest.fixture(scope="module", autouse=True)
def both_nodes_behind_nat(hosts: LabHosts) -> None:
    hosts.run(
        "nat", ["sh", "-c", "apt-get -q update && apt-get -q -y --no-install-recommends install conntrack nftables"]
    )
    for node in NODES:
        hosts.ensure_at(node, "nat")
        hosts.wait_for_sa(node)


def sources(hosts: LabHosts) -> dict[str, tuple[str, int]]:
    """Return by home address where the proxy sends a node's packets, address and port."""
    said = hosts.run("mipp", ["/opt/mobileip/bin/mobileip", "show", "bindings", "--json", "-i", "proxy"]).stdout
    rows = {row["home_address"]: row for row in json.loads(said)}
    assert {row["encapsulation"] for row in rows.values()} == {"udp"}
    return {
        home: (row["source"].rpartition(":")[0], int(row["source"].rpartition(":")[2])) for home, row in rows.items()
    }


def spis(hosts: LabHosts, node: str) -> list[str]:
    return sorted(SPI.findall(hosts.run(node, ["swanctl", "--list-sas"]).stdout))


def assert_only_mip_udp(frames: list[wire.Frame], nat: str, proxy: str) -> None:
    """What the NAT carries between itself and MIPP-Pub is UDP 434, ESP in it, and nothing else."""
    carried = [frame for frame in frames if proxy in frame.outer]
    assert {frame.outer for frame in carried if frame.spi} == {(nat, proxy), (proxy, nat)}
    assert [frame for frame in carried if not frame.udp_ports or wire.MIP_PORT not in frame.udp_ports[0]] == []


def test_two_nodes_behind_one_nat_stream_through_ports_of_their_own(hosts: LabHosts, tmp_path: Path) -> None:
    nat, proxy, server = hosts.address("nat", "outside"), hosts.address("mipp", "pub"), hosts.address("cn", "eth0")
    with captures(hosts, ("nat_outside",), tmp_path) as files, ExitStack() as stack:
        talks = [
            stack.enter_context(
                conversation(hosts, tmp_path, (node, hosts.home_address(node)), ("cn", server), 5051 + number)
            )
            for number, node in enumerate(NODES)
        ]
        time.sleep(3)
        known = sources(hosts)
        stack.close()
    for ends in talks:
        assert report.session_verdict({name: program.events() for name, program in ends.items()}) == ""
    frames = wire.read(files["nat_outside"])
    assert_only_mip_udp(frames, nat, proxy)
    assert {address for address, _ in known.values()} == {nat}
    ports = {hosts.home_address(node): known[hosts.home_address(node)][1] for node in NODES}
    assert len(set(ports.values())) == len(NODES)
    for home, port in ports.items():
        # Outwards from the port that the proxy knows, inwards to it, and to no other node's.
        esp = [frame for frame in frames if frame.spi and home in (*frame.sources, *frame.destinations)]
        assert {frame.udp_ports[0] for frame in esp} == {(port, wire.MIP_PORT), (wire.MIP_PORT, port)}


@contextmanager
def forgetting(hosts: LabHosts) -> Iterator[None]:
    """Have the NAT lose its memory, and give other ports from then on."""
    hosts.run("nat", ["sh", "-c", 'printf "%s" "$1" | nft -f - && conntrack -F', "sh", OTHER_PORTS])
    try:
        yield
    finally:
        hosts.run("nat", ["nft", "delete", "table", "ip", "other_ports"])


@contextmanager
def readdressed(hosts: LabHosts) -> Iterator[None]:
    """Have the NAT get another address, as from a provider at night."""
    gateway = hosts.address("internet", "nat")

    def change(old: str, new: str) -> None:
        script = (
            'ip addr del "$1/27" dev outside && ip addr add "$2/27" dev outside'
            ' && ip route replace default via "$3" && conntrack -F'
        )
        hosts.run("nat", ["sh", "-c", script, "sh", old, new, gateway])

    change(hosts.address("nat", "outside"), OTHER_ADDRESS)
    try:
        yield
    finally:
        change(OTHER_ADDRESS, hosts.address("nat", "outside"))


@pytest.mark.parametrize("rebinding", [forgetting, readdressed], ids=["forgets", "gets another address"])
def test_session_goes_on_when_the_nat(
    hosts: LabHosts, tmp_path: Path, rebinding: Callable[[LabHosts], AbstractContextManager[None]]
) -> None:
    home, gateway = hosts.home_address("mn"), hosts.address("vpngw", "pub")
    before, sa = sources(hosts)[home], spis(hosts, "mn")
    assert len(sa) == 2
    with (
        captures(hosts, ("nat_outside", "dmz_public"), tmp_path) as files,
        traffic(hosts, "mn", "cn", tmp_path) as talking,
    ):
        time.sleep(1)
        changed = time.time()
        with rebinding(hosts):
            hosts.wait_until("the proxy knows the node's new place", lambda: sources(hosts)[home] != before, 30)
            time.sleep(3)
            ended, after = time.time(), sources(hosts)[home]
            missed = talking.missed(changed, ended)
            verdict = talking.finish_session()
    print(f"{before} -> {after}: {missed}")
    assert verdict == ""
    assert missed.gap < NOTICED_WITHIN
    # Who sent from there, and to whom the proxy sends: as registered, never as seen.
    outside = wire.read(files["nat_outside"])
    asked = [
        frame.udp_ports[0][0] for frame in outside if frame.registration == wire.REQUEST and frame.outer[0] == after[0]
    ]
    assert after[1] in asked
    late = [frame for frame in wire.within(outside, ended - 1, ended) if frame.spi]
    answers = {(frame.destinations[0], frame.udp_ports[0][1]) for frame in late if home in frame.destinations}
    assert answers == {after}
    # And IPsec has heard nothing of it.
    dmz = wire.read(files["dmz_public"])
    assert wire.esp_frames(dmz, gateway)
    assert wire.ike_messages(dmz, gateway) == []
    assert spis(hosts, "mn") == sa
    # As it was for the next test, and registered so.
    hosts.ensure_at("mn", "open")
    hosts.ensure_at("mn", "nat")


def test_idle_node_is_reached_because_keepalives_hold_the_nat_open(hosts: LabHosts, tmp_path: Path) -> None:
    done = play("site.yml", "--limit=mipp", "--tags=proxy", variables={"mip_proxy_nat_keepalive": KEEPALIVE})
    assert done.status == 0, done.output[-3000:]
    for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
        hosts.run("nat", ["sysctl", "-q", "-w", f"net.netfilter.{name}={FORGOTTEN_AFTER}"])
    # A registration tells the node how often (RFC 3519 3.2).
    hosts.ensure_at("mn", "open")
    hosts.ensure_at("mn", "nat")
    home, proxy, care_of = hosts.home_address("mn"), hosts.address("mipp", "pub"), hosts.care_of("mn", "nat")
    with captures(hosts, ("nat_inside",), tmp_path) as files:
        began = time.time()
        time.sleep(IDLE)
        idle = time.time()
        said = hosts.run("cn", ["ping", "-c", "3", "-i", "0.2", "-W", "2", home]).stdout
    assert "3 received" in said
    frames = list(wire.within(wire.read(files["nat_inside"]), began, idle))
    tunnelled = [frame for frame in frames if len(frame.protocols) > 1]
    asked = [frame for frame in tunnelled if (frame.sources, frame.destinations) == ((care_of, home), (proxy, proxy))]
    answered = [
        frame for frame in tunnelled if (frame.sources, frame.destinations) == ((proxy, proxy), (care_of, home))
    ]
    assert len(asked) == len(answered) >= IDLE // KEEPALIVE - 1
    pauses = [later.time - sooner.time for sooner, later in itertools.pairwise(asked)]
    assert max(pauses) < FORGOTTEN_AFTER
    # Nothing else has held it open: of the node's SA there was no packet.
    assert [frame for frame in tunnelled if frame.spi and home in (*frame.sources, *frame.destinations)] == []
