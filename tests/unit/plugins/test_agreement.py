"""What hosts of one inventory say of each other."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mobileip.vpn.plugins.plugin_utils.agreement import disagreements

from .test_topology import DEFAULTS, KEY, site

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a gateway that the proxy does not know": (
        "vpngw",
        {"vpn_gateway_pub_address": "203.0.113.21"},
        "vpngw: vpn_gateway_pub_address: '203.0.113.21'; expected vpngw_pub of one of mip_proxy_vpn_gateways "
        "(203.0.113.20)",
    ),
    "a gateway that asks for another proxy": (
        "vpngw",
        {"vpn_gateway_mipp_pub": "203.0.113.11"},
        "vpngw: vpn_gateway_mipp_pub: '203.0.113.11'; expected MIPP-Pub of a proxy (203.0.113.10)",
    ),
    "a gateway with another home network": (
        "vpngw",
        {"vpn_gateway_home_networks": ["192.0.2.96/27"]},
        "vpngw: vpn_gateway_home_networks: '192.0.2.96/27'; expected home_networks of this gateway in "
        "mip_proxy_vpn_gateways (192.0.2.64/27)",
    ),
    "a home agent that the proxy does not know": (
        "ha",
        {"home_agent_address": "192.0.2.41"},
        "ha: home_agent_address: '192.0.2.41'; expected an address of mip_proxy_home_agents (192.0.2.40)",
    ),
    "a node that asks another proxy": (
        "mn",
        {"mobile_node_mipp_pub": "203.0.113.11"},
        "mn: mobile_node_mipp_pub: '203.0.113.11'; expected MIPP-Pub of a proxy (203.0.113.10)",
    ),
    "a firewall that lets through to another host": (
        "outer_fw",
        {"dmz_firewall_mipp_pub": "203.0.113.11"},
        "outer_fw: dmz_firewall_mipp_pub: '203.0.113.11'; expected MIPP-Pub of a proxy (203.0.113.10)",
    ),
    "a firewall that expects another proxy inside": (
        "inner_fw",
        {"dmz_firewall_mipp_priv": "192.0.2.11"},
        "inner_fw: dmz_firewall_mipp_priv: '192.0.2.11'; expected MIPP-Priv of a proxy (192.0.2.10)",
    ),
    "a firewall that expects another gateway": (
        "inner_fw",
        {"dmz_firewall_vpngw_priv": "192.0.2.21"},
        "inner_fw: dmz_firewall_vpngw_priv: '192.0.2.21'; expected vpngw_priv of mip_proxy_vpn_gateways (192.0.2.20)",
    ),
    "a firewall that does not know a home agent": (
        "inner_fw",
        {"dmz_firewall_home_agents": ["192.0.2.41"]},
        "inner_fw: dmz_firewall_home_agents: '192.0.2.41'; expected all of mip_proxy_home_agents, also 192.0.2.40",
    ),
    "a firewall that does not know a home network": (
        "inner_fw",
        {"dmz_firewall_home_networks": ["192.0.2.96/27"]},
        "inner_fw: dmz_firewall_home_networks: '192.0.2.96/27'; expected all home networks of mip_proxy_vpn_gateways, "
        "also 192.0.2.64/27",
    ),
    "a firewall that stops a tunnel": (
        "outer_fw",
        {"dmz_firewall_tunnel_protocols": [4, 55]},
        "outer_fw: dmz_firewall_tunnel_protocols: '4, 55'; expected also gre (47), which mip_proxy_encapsulations "
        "grants to nodes",
    ),
    "a firewall that stops direct delivery": (
        "mipp",
        {"mip_proxy_mobility_delivery": "direct"},
        "inner_fw: dmz_firewall_direct_delivery: False; expected true, since mipp has mip_proxy_mobility_delivery: "
        "direct",
    ),
    "what is no list": (
        "mipp",
        {"mip_proxy_home_agents": "192.0.2.40"},
        "mipp: mip_proxy_home_agents: '192.0.2.40'; expected a list",
    ),
}


def problems(**changed: Any) -> list[str]:
    hosts, groups = site(**changed)
    members = {"home_agents": [host for host in hosts if host == "ha"], "mobile_nodes": [h for h in hosts if h == "mn"]}
    return disagreements(hosts, groups | members, DEFAULTS)


def test_hosts_that_agree_are_told_nothing() -> None:
    agreeing = {
        "vpngw": {"vpn_gateway_mipp_pub": "203.0.113.10"},
        "ha": {"home_agent_address": "192.0.2.40"},
        "mn": {"mobile_node_mipp_pub": "203.0.113.10"},
        # A larger prefix has the home network in it; a firewall may know more home agents than this proxy uses.
        "inner_fw": {"dmz_firewall_home_networks": ["192.0.2.0/24"],
                     "dmz_firewall_home_agents": ["192.0.2.41", "192.0.2.40"], "dmz_firewall_vpngw_priv": "192.0.2.20"},
    }  # fmt: skip
    assert problems(**agreeing) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_contradiction_is_told_with_host_variable_value_and_expectation(name: str) -> None:
    host, changed, said = WRONG[name]
    assert said in problems(**{host: changed})
    assert len(set(problems(**{host: changed}))) <= 3  # one value can contradict several hosts, and is told for each


def test_a_host_in_both_groups_is_one_box() -> None:
    hosts, groups = site()
    hosts["mipp"] |= hosts.pop("vpngw")
    groups |= {"vpn_gateways": ["mipp"]}
    (said,) = disagreements(hosts, groups, DEFAULTS)
    assert said.startswith("mipp: mip_proxy_one_box: not set; expected a section ({} for the usual names)")
    assert disagreements(hosts | {"mipp": hosts["mipp"] | {"mip_proxy_one_box": {}}}, groups, DEFAULTS) == []


def test_without_a_proxy_there_is_nothing_to_compare() -> None:
    hosts, groups = site()
    assert disagreements(hosts, groups | {"mip_proxies": []}, DEFAULTS) == []


def test_no_key_is_told() -> None:
    assert KEY not in " ".join(problems(mipp={"mip_proxy_node_keys": {"mn": KEY}}, vpngw={"vpn_gateway_mipp_pub": "x"}))
