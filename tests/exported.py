"""What `mobileip.vpn.host_state` has to return for a host as an inventory describes it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.mobileip.vpn.plugins.module_utils.live_left_out import LEFT_OUT

from tests.unit.templates.test_inventories import inventory

ROOT = Path(__file__).parents[1]
RESOLVED = ("vpn_gateway_ipsec_backend", "mobile_node_ipsec_backend", "agent_compiled")
"""What the host decides where the inventory leaves it open."""
ASKED = ("dmz_firewall_vpngw_priv_macs", "dmz_firewall_mipp_priv_macs", "vpn_gateway_routing_daemons")
"""What roles ask the network or the host for where the inventory does not say; the answer is exported."""
WITHOUT = {
    "mobile_node_aaa_spi": "mobile_node_aaa_key",
    "mobile_node_aaa_algorithm": "mobile_node_aaa_key",
    "mobile_node_tcp_mss": "mobile_node_ipsec",
    "mip_proxy_one_box": "mip_proxy_one_box",
}
"""What is in force only with something else."""
OF_KIND = {
    "outer": {"mipp_pub", "outside_interface", "dmz_interface", "internal_prefixes", "tunnel_protocols", "allow"},
    "inner": {
        "mipp_pub", "mipp_priv", "home_agents", "dmz_interface", "inside_interfaces", "home_networks",
        "intranet_networks", "vpngw_priv", "direct_delivery", "other_sources", "tunnel_protocols", "allow",
    },
    "host": {
        "mipp_pub", "mipp_priv", "home_agents", "haleg_source_ports", "tunnel_protocols", "allow",
        "wire_interface", "home_networks",
    },
}  # fmt: skip
"""Which variables of dmz_firewall have an effect, by kind; others have their default, which no host shows."""
_NODE = {"name", "home_address", "nai", "replay", "aaa_spi", "aaa_algorithm"}
READ = {
    "mip_proxy_mobile_nodes": _NODE
    | {"gateway", "home_agent", "proxy_spi", "proxy_algorithm", "home_agent_spi", "home_agent_algorithm"},
    "home_agent_mobile_nodes": _NODE | {"home_agent_spi", "home_agent_algorithm", "direct_spi", "direct_algorithm"},
    "vpn_gateway_mobile_nodes": {"name", "home_address", "identity"},
}
"""What of an entry its role reads; the inventory's has more, for other roles."""
_DEFAULTS = {"hmac-md5", "timestamp"}


def options(role: str) -> dict[str, Any]:
    """The variables of a role, as its argument_specs has them."""
    specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    return found


def given(name: str, host: str, role: str) -> dict[str, Any]:
    """The variables of a role as an example inventory and the role's defaults give them to a host."""
    loader = DataLoader()
    known = loader.load_from_file(str(ROOT / f"roles/{role}/defaults/main.yml"), trusted_as_template=True)
    known = {**known, **inventory(name).variables[host]}
    templar = Templar(loader=loader, variables=known)
    return {variable: templar.template(known[variable]) for variable in options(role) if variable in known}


def expected(role: str, given: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """The variables that the host has to return: all that was given but what no host can tell."""
    effective = OF_KIND.get(given.get("dmz_firewall_kind", ""), set()) | {"kind"}
    found = {}
    for variable, value in given.items():
        needs = WITHOUT.get(variable)
        if variable in LEFT_OUT[role] or (needs and not given.get(needs)):
            continue
        if role == "dmz_firewall" and variable.removeprefix("dmz_firewall_") not in effective:
            continue
        found[variable] = _plain(variable, value)
    for variable in found.keys() & {"vpn_gateway_ipsec_backend", "mobile_node_ipsec_backend"}:
        found[variable] = backend
    if "dmz_firewall_internal_prefixes" in found:
        found["dmz_firewall_internal_prefixes"] += given["dmz_firewall_dmz_prefixes"]
    if backend == "kernel" and role == "mobile_node":
        # Rules that userspace ESP needs.
        del found["mobile_node_route_protocol"]
    return found


def _plain(variable: str, value: Any) -> Any:
    if variable in READ:
        read = READ[variable]
        return [{key: each for key, each in node.items() if key in read and each not in _DEFAULTS} for node in value]
    if variable == "mip_proxy_extensions":
        return {str(key): each for key, each in value.items()}
    return value


def comparable(variable: str, value: Any) -> Any:
    """The value without what does not count: the order of sets and networks, and where adjacent ones were joined."""
    if variable.startswith("dmz_firewall_") and variable.endswith(("_networks", "_prefixes", "_other_sources")):
        return list(collapse_addresses(map(IPv4Network, value)))
    ordered = variable.endswith(("_proposals", "_vpn_gateways", "_passes", "_local_ts", "_remote_ts", "_allow"))
    if isinstance(value, list) and not ordered:
        return sorted(value, key=repr)
    return value


def differences(exported: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What was exported and what was expected, where the two are not the same."""
    nothing = "(not there)"
    found = {}
    for variable in sorted(exported.keys() | wanted.keys()):
        if variable in RESOLVED + ASKED and variable not in wanted:
            continue
        has, wants = exported.get(variable, nothing), wanted.get(variable, nothing)
        if nothing in (has, wants) or comparable(variable, has) != comparable(variable, wants):
            found[variable] = (has, wants)
    return found
