"""The gateway beside the proxy: routes that stay private, and no clear packet for a node without an SA."""

from __future__ import annotations

import json
import time
from pathlib import Path

from roaming import wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures

from tests.scenario.plays import play

OTHER_STATIC = "192.0.2.224"
PINGS = 5


def learnt_from_gateway(hosts: LabHosts) -> set[str]:
    """External prefixes that the OSPF neighbour holds and that the gateway originated."""
    done = hosts.run("inner_fw", ["vtysh", "-c", "show ip ospf database external json"])
    database = json.loads(done.stdout)
    gateway = hosts.ospf_router_id("vpngw")
    return {
        entry["linkStateId"]
        for entry in database.get("asExternalLinkStates", [])
        # A withdrawn one stays in the database for a while, with the age of 3600 s (RFC 2328 14.1).
        if entry.get("advertisingRouter") == gateway and int(entry.get("lsaAge", 0)) < 3600
    }


def home_network(hosts: LabHosts) -> str:
    return hosts.network("home").split("/", maxsplit=1)[0]


def test_neighbour_learns_the_other_static_but_not_the_home_network_D_5_7_b(hosts: LabHosts) -> None:
    learnt = learnt_from_gateway(hosts)
    assert OTHER_STATIC in learnt
    assert home_network(hosts) not in learnt


def test_without_the_guard_the_neighbour_sees_the_leak_D_5_7_b(hosts: LabHosts) -> None:
    gateway, wire_inside = hosts.lab.host("vpngw").name, hosts.lab.wire
    way = ["dev", wire_inside.interface] if wire_inside else ["via", hosts.address("mipp", "pub")]
    route = ["ip", "route", "replace", hosts.network("home"), *way, "metric", "5"]
    try:
        hosts.run("vpngw", route)
        hosts.wait_until("the leak is seen", lambda: home_network(hosts) in learnt_from_gateway(hosts), 20)
        for playbook in ("verify.yml", "preflight.yml"):
            told = play(playbook, f"--limit={gateway}")
            assert told.hosts_with("failed") == [gateway], told.output
            assert f"FRR: OSPF announces {hosts.network('home')} {' '.join(way)}" in told.output
            assert "redistribute kernel" in told.failures[gateway]
    finally:
        hosts.run("vpngw", ["ip", "route", "del", hosts.network("home"), *way, "metric", "5"])
    hosts.wait_until("the leak is gone", lambda: home_network(hosts) not in learnt_from_gateway(hosts), 20)
    assert play("verify.yml", f"--limit={gateway}").status == 0


def test_clear_packet_for_a_registered_node_without_an_sa_goes_nowhere(hosts: LabHosts, tmp_path: Path) -> None:
    hosts.ensure_at("mn", "open")
    hosts.wait_for_sa("mn")
    home, correspondent = hosts.home_address("mn"), hosts.address("cn", "eth0")
    handed_over_on = hosts.handed_over_on("priv")
    hosts.run("mn", ["systemctl", "stop", "mobileip@node.service"])
    hosts.forget_sas("vpngw")
    try:
        segments = dict.fromkeys((handed_over_on, "dmz_public", "dmz_private", "outside"))
        with captures(hosts, tuple(segments), tmp_path) as files:
            hosts.run("cn", ["ping", "-c", str(PINGS), "-i", "0.2", "-W", "1", home], check=False)
            hosts.send_udp("internet", b"", hosts.address("mipp", "pub"), 434)
            time.sleep(0.5)
        frames = {segment: wire.read(file) for segment, file in files.items()}

        def clear(segment: str) -> list[wire.Frame]:
            return [f for f in frames[segment] if (f.sources, f.destinations) == ((correspondent,), (home,))]

        assert len(clear(handed_over_on)) >= PINGS, "the proxy handed the packets to the gateway"
        if handed_over_on != "dmz_private":
            tunnelled = [f for f in frames["dmz_private"] if f.destinations == (hosts.address("mipp", "priv"), home)]
            assert len(tunnelled) >= PINGS, "the segment is seen"
            assert clear("dmz_private") == []
        for segment in ("dmz_public", "outside"):
            assert any(f.outer[1] == hosts.address("mipp", "pub") for f in frames[segment]), f"{segment} is seen"
            assert [f for f in frames[segment] if home in f.destinations and correspondent in f.sources] == [], segment
    finally:
        hosts.run("mn", ["systemctl", "start", "mobileip@node.service"])
    hosts.wait_for_sa("mn")


def test_node_at_home_hears_the_proxy_beside_the_sa_that_it_keeps(hosts: LabHosts, tmp_path: Path) -> None:
    home = hosts.home_address("mn")
    hosts.ensure_at("mn", "open")
    hosts.wait_for_sa("mn")
    hosts.ensure_at("mn", "home")
    with captures(hosts, ("home",), tmp_path) as files:
        # It asks again where it is; the home agent, which has no binding of it any more, lets the answer through.
        hosts.run("mn", ["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "mobileip@node.service"])
        hosts.ensure_at("mn", "home")
        time.sleep(1)
    assert home in hosts.run("vpngw", ["swanctl", "--list-sas"]).stdout, "no SA is left that could swallow it"
    answered = wire.exchanges(wire.read(files["home"]), home)
    assert (hosts.address("mipp", "pub"), 206) in [(pair.agent, pair.code) for pair in answered]


def test_routes_survive_a_reboot_of_the_gateway(hosts: LabHosts) -> None:
    def routes() -> str:
        rules = hosts.run("vpngw", ["ip", "-o", "rule", "show"]).stdout
        table = hosts.run("vpngw", ["ip", "route", "show", "table", "434"], check=False).stdout
        return rules + table

    before = routes()
    assert "lookup 434" in before
    hosts.restart("vpngw")
    # The nodes' SAs are with the gateway that was: nothing would tell them.
    hosts.forget_sas("mn", "mn2")
    hosts.wait_until("routes and rules are back", lambda: sorted(routes().split()) == sorted(before.split()), 60)
    hosts.wait_until(
        "the gateway and its neighbour speak OSPF again", lambda: OTHER_STATIC in learnt_from_gateway(hosts), 60
    )
    assert home_network(hosts) not in learnt_from_gateway(hosts)
