"""The security associations as the hosts have them: the tunnel's inner address, and who shares which key with whom."""

from __future__ import annotations

import hashlib
import re
import subprocess
from typing import Any

import pytest
import yaml
from roaming.lab_hosts import LabHosts

NODES = ("mn", "mn2")


@pytest.fixture(scope="module", autouse=True)
def both_nodes_outside(hosts: LabHosts) -> None:
    for node in NODES:
        hosts.ensure_at(node, "open")
        hosts.wait_for_sa(node)


def child_of(hosts: LabHosts, host: str, peer: str) -> dict[str, str]:
    """Return of the one installed IPsec association with `peer` its mode and both traffic selectors."""
    listed = hosts.run(host, ["swanctl", "--list-sas"]).stdout
    found = [part for part in re.split(r"(?m)^(?=\S+: #)", listed) if re.search(rf"\b{re.escape(peer)}\b", part)]
    children = [child for part in found for child in re.findall(r"(?ms)^  \S+: #\d+, reqid.*?(?=^  \S+: #|\Z)", part)]
    installed = [child for child in children if " INSTALLED," in child]
    assert len(installed) == 1, listed
    mode = re.search(r"INSTALLED, (\w+)", installed[0])
    ends = re.findall(r"(?m)^    (local|remote) +(\S.*?)\s*$", installed[0])
    assert mode is not None, installed[0]
    return {"mode": mode[1], **dict(ends)}


@pytest.mark.parametrize("node", NODES)
def test_inner_address_of_the_ipsec_tunnel_is_the_home_address_D_5_2_a_and_D_1_4_1_a(
    hosts: LabHosts, node: str
) -> None:
    home = hosts.home_address(node)
    at_gateway = child_of(hosts, "vpngw", home)
    assert (at_gateway["mode"], at_gateway["remote"]) == ("TUNNEL", f"{home}/32")
    at_node = child_of(hosts, node, hosts.address("vpngw", "pub"))
    assert (at_node["mode"], at_node["local"]) == ("TUNNEL", f"{home}/32")
    assert (at_node["remote"], at_gateway["local"]) == (at_gateway["local"], at_node["remote"])
    assert at_gateway["local"], "no network is reached through the association"


def read(hosts: LabHosts, host: str, path: str) -> Any:
    """Return what a YAML file of the role's holds."""
    done = subprocess.run(
        hosts.command(host, ["cat", f"/etc/mobileip/{path}"]), capture_output=True, timeout=60, check=True
    )
    return yaml.safe_load(done.stdout)


def fingerprints(hosts: LabHosts, host: str, instance: str) -> dict[str, str]:
    """Return by its name the digest of each key: a failing test shall print no key."""
    keys = read(hosts, host, f"keys/{instance}.yml")
    return {name: hashlib.sha256(str(key).encode()).hexdigest() for name, key in keys.items()}


def test_proxy_home_agents_and_nodes_are_under_one_administration_D_1_4_b(hosts: LabHosts) -> None:
    at_proxy, at_agent = read(hosts, "mipp", "proxy.yml"), read(hosts, "ha", "home_agent.yml")
    # The proxy talks with no home agent and serves no node but those that the same roll-out configured.
    assert [agent["address"] for agent in at_proxy["home_agents"]] == [at_agent["address"]]
    served = {node["home_address"] for node in at_proxy["mobile_nodes"]}
    assert served == {hosts.home_address(node) for node in NODES}
    assert {node["home_address"] for node in at_agent["mobile_nodes"]} == served
    # And on each leg both ends hold the same key, so that whoever gave it to one gave it to the other.
    proxy, agent = fingerprints(hosts, "mipp", "proxy"), fingerprints(hosts, "ha", "home_agent")
    for node in NODES:
        own = fingerprints(hosts, node, "node")
        assert own["proxy"] == proxy[f"{node}-proxy"]
        assert own["home-agent"] == agent[f"{node}-direct"]
        assert proxy[f"{node}-home-agent"] == agent[f"{node}-home-agent"]
    assert len({*proxy.values(), *agent.values()}) == 3 * len(NODES), "no key is used twice"
