"""Clear packets from the VPN gateway to a mobility subnet (draft figure 5.2b), past the inner firewall that we render.

Two boxes and one: a node's own by the reverse tunnel or directly, and those of VPN users that are no mobile nodes,
whose gateway has a route to the home network that catches everybody's packets.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.integration.site import GATEWAY, HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

ROOT = Path(__file__).parents[2]
OPEN, AT_HOME, MIPP_PRIV, VPNGW_PRIV, HOME_AGENT = (
    "198.51.100.10",
    "192.0.2.80",
    "192.0.2.10",
    "192.0.2.20",
    "192.0.2.40",
)
USER, USERS = "192.0.2.129", "192.0.2.128/27"
"""A VPN user that is no mobile node."""

_SERVE = """
import socket
with socket.create_server(("192.0.2.80", 7)) as server:
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)
"""
_ASK = """
import socket, sys, threading
data = bytes(range(256)) * 800
with socket.create_connection(("192.0.2.80", 7), timeout=10, source_address=(sys.argv[1], 0)) as stream:
    threading.Thread(target=stream.sendall, args=(data,)).start()
    with stream.makefile("rb") as answer:
        print(answer.read(len(data)) == data)
"""


@pytest.fixture(scope="module", params=[False, True], ids=["two boxes", "one box"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("subnets"), one_box=request.param) as site:
        site.run(site.gateway, "ip", "addr", "add", f"{USER}/32", "dev", "lo")
        site.run("inner", "ip", "route", "add", USERS, "via", VPNGW_PRIV)
        served = site.spawn("serve", "cnhome", [sys.executable, "-c", _SERVE])
        assert served.stdout is not None
        served.stdout.readline()
        until(lambda: site.bindings("mipp") == [(HOME, OPEN)], what=site.log("mn")[-2000:])
        yield site


def guard(site: Site, **variables: Any) -> None:
    """Load the inner firewall on the host where one would be."""
    macs = {name: [_mac(site, name)] for name in (site.gateway, "mipp")}
    known = {
        **yaml.safe_load((ROOT / "roles/dmz_firewall/defaults/main.yml").read_text(encoding="utf-8")),
        "ansible_managed": "test",
        "dmz_firewall_mipp_pub": "203.0.113.10",
        "dmz_firewall_mipp_priv": MIPP_PRIV,
        "dmz_firewall_dmz_interface": "dmz",
        "dmz_firewall_inside_interfaces": ["core"],
        "dmz_firewall_home_agents": [HOME_AGENT],
        "dmz_firewall_home_networks": ["192.0.2.64/27"],
        "dmz_firewall_intranet_networks": ["192.0.2.32/27"],
        "__dmz_firewall_vpngw_priv_macs": macs[site.gateway],
        "__dmz_firewall_mipp_priv_macs": macs["mipp"],
        **variables,
    }
    text = (ROOT / "templates/firewall/inner.nft.j2").read_text(encoding="utf-8")
    rules = site.directory / "inner.nft"
    rules.write_text(str(Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))))
    site.run("inner", "nft", "-f", str(rules))


def _mac(site: Site, host: str) -> str:
    return site.run(host, "ip", "-br", "link", "show", "dev", "priv").stdout.split()[2]


def accepted(site: Site, words: str) -> int:
    """Packets that the inner firewall's rule with these words in it has counted."""
    listed = site.run("inner", "nft", "list", "table", "inet", "mobileip_dmz").stdout
    found = [line for line in listed.splitlines() if words in line and "counter" in line]
    assert found, listed
    return sum(int(count) for line in found for count in re.findall(r"counter packets (\d+)", line))


@contextmanager
def seen_at_the_firewall(site: Site) -> Iterator[list[str]]:
    """Lines of tcpdump for what goes between the private segment and the firewall; filled when the block ends."""
    log = site.directory / "capture-inner.log"
    log.unlink(missing_ok=True)
    command = ["tcpdump", "-i", "inner-dmz", "-nn", "-e", "-l", "--immediate-mode", "ip"]
    process = site.spawn("capture-inner", "wires", command)
    until(lambda: "listening on" in site.log("capture-inner"))
    lines: list[str] = []
    try:
        yield lines
    finally:
        process.terminate()
        assert process.stdout is not None
        lines += process.stdout.read().decode().splitlines()
        process.wait(10)
        del site.processes["capture-inner"]


def streams(site: Site, host: str, source: str) -> bool:
    """200 kB to the home link and back by TCP."""
    return site.run(host, sys.executable, "-c", _ASK, source).stdout == "True\n"


def kernel(site: Site, kind: str, name: str) -> int:
    shown = site.show("mipp", kind)["kernel"]
    return int((shown["packets"] if kind == "counters" else shown).get(name, 0))


def test_a_nodes_packets_take_the_reverse_tunnel_to_its_home_agent_D_5_3_g(site: Site) -> None:
    guard(site)
    site.reconfigure("mipp", mobility_delivery="reverse_tunnel")
    with seen_at_the_firewall(site) as lines:
        assert until(lambda: site.ping(to=AT_HOME) == 3, what=f"the home link; {site.show('mipp', 'drops')}")
        assert streams(site, "mn", HOME)
    there = [line for line in lines if f"{HOME} > {AT_HOME}" in line]
    assert there
    assert all(f"{MIPP_PRIV} > {HOME_AGENT}: {HOME}" in line for line in there), there[0]
    assert accepted(site, f"ip saddr {MIPP_PRIV} ip daddr @home_agents ip protocol") > 3
    assert kernel(site, "counters", "gateway_to_home_agent") > 3


@pytest.mark.parametrize("everywhere", [True, False], ids=["all gateways", "this gateway"])
def test_a_nodes_packets_go_directly_where_that_is_chosen_D_5_3_g(site: Site, everywhere: bool) -> None:
    guard(site, dmz_firewall_direct_delivery=True)
    gateway = {"name": "gw", "vpngw_pub": GATEWAY, "vpngw_priv": VPNGW_PRIV, "home_networks": ["192.0.2.64/27"]}
    if everywhere:
        site.reconfigure("mipp", mobility_delivery="direct", vpn_gateways=[gateway])
    else:
        site.reconfigure(
            "mipp", mobility_delivery="reverse_tunnel", vpn_gateways=[{**gateway, "mobility_delivery": "direct"}]
        )
    before = kernel(site, "counters", "gateway_to_home_agent"), kernel(site, "counters", "gateway_to_subnet")
    with seen_at_the_firewall(site) as lines:
        assert until(lambda: site.ping(to=AT_HOME) == 3, what=f"the home link; {site.show('mipp', 'drops')}")
        assert streams(site, "mn", HOME)
    after = kernel(site, "counters", "gateway_to_home_agent"), kernel(site, "counters", "gateway_to_subnet")
    there = [line for line in lines if re.search(rf" {HOME}(\.\d+)? > {AT_HOME}\b", line)]
    assert there
    assert all(line.split()[1] == _mac(site, "mipp") for line in there), "from the proxy, not from the gateway"
    assert not any(f"{HOME_AGENT}: " in line for line in there), "in no tunnel"
    assert after[0] == before[0]
    assert after[1] > before[1] + 3
    # The firewall tells the proxy from anybody else on the segment by its Ethernet address.
    guard(site, dmz_firewall_direct_delivery=True, __dmz_firewall_mipp_priv_macs=["02:00:00:00:00:99"],
          __dmz_firewall_vpngw_priv_macs=["02:00:00:00:00:98"])  # fmt: skip
    assert site.ping(to=AT_HOME) == 0


def test_other_vpn_users_behind_a_gateway_that_routes_by_destination_reach_the_home_network_D_5_7_a(site: Site) -> None:
    gateway = {"name": "gw", "vpngw_pub": GATEWAY, "vpngw_priv": VPNGW_PRIV, "home_networks": ["192.0.2.64/27"]}
    site.reconfigure("mipp", mobility_delivery="reverse_tunnel", vpn_gateways=[gateway])
    guard(site, dmz_firewall_other_sources=[USERS])
    rule = ["pref", "90", "from", USERS, "to", "192.0.2.64/27", "lookup", "100"]
    site.run(site.gateway, "ip", "rule", "add", *rule)
    try:
        assert _user_ping(site) == 0
        assert kernel(site, "drops", "no_binding") >= 3
        site.reconfigure("mipp", vpn_gateways=[{**gateway, "other_sources": [USERS]}])
        with seen_at_the_firewall(site) as lines:
            assert _user_ping(site) == 3, site.show("mipp", "drops")
            assert streams(site, site.gateway, USER)
        there = [line for line in lines if f" {USER} > {AT_HOME}: ICMP" in line]
        assert len(there) == 3
        assert all(line.split()[1] == _mac(site, "mipp") for line in there)
        assert kernel(site, "counters", "other_source_to_subnet") > 3
        assert accepted(site, "ip saddr @other_sources ip daddr @home_networks counter packets") > 3
        # A node that is away is reached by its SA alone: in clear it is refused, and the home agent never sees it.
        refused = kernel(site, "drops", "no_sa_at_gateway")
        assert _user_ping(site, HOME) == 0
        assert kernel(site, "drops", "no_sa_at_gateway") >= refused + 3
        # Nobody else of the segment speaks for a VPN user, neither to the proxy nor to the firewall.
        guard(site, dmz_firewall_other_sources=[USERS], __dmz_firewall_mipp_priv_macs=["02:00:00:00:00:99"])
        assert _user_ping(site) == 0
    finally:
        site.run(site.gateway, "ip", "rule", "del", *rule)


def _user_ping(site: Site, to: str = AT_HOME) -> int:
    command = ["ping", "-q", "-c", "3", "-i", "0.05", "-W", "1", "-I", USER, to]
    answer = site.run(site.gateway, *command, check=False).stdout
    return int(answer.split(" received")[0].split()[-1])
