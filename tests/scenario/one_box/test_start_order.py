"""The wire and the routes into it are there whenever packets need them, whoever of proxy and gateway starts first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from roaming.lab_hosts import LabHosts

from tests.scenario.shared.test_reachability import node, stream
from tests.scenario.shared.test_survival import probe_ends

PROXY = "mobileip@proxy.service"
ROUTES = "mobileip-gateway-routes.service"
STRONGSWAN = "strongswan.service"


def systemctl(hosts: LabHosts, *words: str) -> str:
    return hosts.run("mipp", ["systemctl", *words], check=False).stdout.strip()


def way_to_node(hosts: LabHosts) -> str:
    """The interface by which the gateway's ESP for the node leaves, as strongSwan sends it: with its mark."""
    route = [
        "ip",
        "-json",
        "route",
        "get",
        hosts.home_address("mn"),
        "from",
        hosts.address("vpngw", "pub"),
        "mark",
        "0x42",
    ]
    (found,) = json.loads(hosts.run("mipp", route).stdout)
    return str(found["dev"])


def wire_is_there(hosts: LabHosts) -> bool:
    return hosts.run("mipp", ["ip", "link", "show", "dev", "mip0"], check=False).returncode == 0


def assert_node_works(hosts: LabHosts, directory: Path, port: int) -> None:
    """A TCP session of the node's, each way."""
    assert way_to_node(hosts) == "mip0"
    hosts.ensure_at("mn", "open")
    server = ("cn", hosts.address("cn", "eth0"))
    ping = ["ping", "-c", "1", "-W", "1", "-I", hosts.home_address("mn"), server[1]]
    # The gateway has forgotten the SA, or the first attempts met no proxy: strongSwan repeats them ever more slowly.
    hosts.wait_until("the node has an SA that works", lambda: hosts.run("mn", ping, check=False).returncode == 0, 90)
    assert stream(hosts, directory, node(hosts, "mn"), server, port) == ""
    assert stream(hosts, directory, server, node(hosts, "mn"), port + 1) == ""


@pytest.fixture(autouse=True)
def node_outside(hosts: LabHosts) -> None:
    hosts.ensure_at("mn", "open")
    hosts.wait_for_sa("mn")


def test_after_a_reboot_the_box_serves_its_nodes_again_D_1_4_e(hosts: LabHosts, tmp_path: Path) -> None:
    hosts.restart("mipp")
    hosts.wait_until("the routes lead into the wire", lambda: way_to_node(hosts) == "mip0", 60)
    for unit in (PROXY, ROUTES, STRONGSWAN):
        hosts.wait_until(f"{unit} is up", lambda: systemctl(hosts, "is-active", unit) == "active", 60)  # noqa: B023 - called at once
    assert_node_works(hosts, tmp_path, 5041)


def test_gateway_that_starts_before_the_proxy_finds_the_wire_when_it_comes_D_1_4_e(
    hosts: LabHosts, tmp_path: Path
) -> None:
    systemctl(hosts, "stop", PROXY, STRONGSWAN)
    hosts.run("mipp", ["/opt/mobileip/bin/mobileip", "unload", "/etc/mobileip/proxy.yml"])
    assert not wire_is_there(hosts)
    systemctl(hosts, "start", STRONGSWAN)
    # Without a wire there is nothing to lead the routes into: it tries again and again.
    systemctl(hosts, "restart", "--no-block", ROUTES)
    hosts.wait_until(
        "the routes' unit has failed once", lambda: int(systemctl(hosts, "show", "-P", "NRestarts", ROUTES)) > 0, 20
    )
    systemctl(hosts, "start", PROXY)
    hosts.wait_until("the routes lead into the wire", lambda: way_to_node(hosts) == "mip0", 20)
    hosts.wait_until("their unit is content", lambda: systemctl(hosts, "is-active", ROUTES) == "active", 20)
    assert_node_works(hosts, tmp_path, 5043)


def test_routes_come_back_with_a_wire_that_is_made_anew(hosts: LabHosts, tmp_path: Path) -> None:
    systemctl(hosts, "stop", PROXY)
    assert way_to_node(hosts) == "mip0", "a stop leaves the wire and all that is attached"
    hosts.run("mipp", ["/opt/mobileip/bin/mobileip", "unload", "/etc/mobileip/proxy.yml"])
    assert not wire_is_there(hosts)
    systemctl(hosts, "start", PROXY)
    hosts.wait_until("the routes lead into the wire", lambda: way_to_node(hosts) == "mip0", 20)
    assert_node_works(hosts, tmp_path, 5045)


def test_restart_of_the_proxy_takes_no_route_away_and_loses_no_packet(hosts: LabHosts, tmp_path: Path) -> None:
    echo, probe = probe_ends(hosts, tmp_path)
    systemctl(hosts, "restart", PROXY)
    hosts.wait_until("the routes' unit is up", lambda: systemctl(hosts, "is-active", ROUTES) == "active", 20)
    probe.finish()
    echo.finish()
    summary = probe.events()[-1]
    assert summary["event"] == "summary"
    assert summary["sent"] > 50
    assert summary["received"] == summary["sent"]
