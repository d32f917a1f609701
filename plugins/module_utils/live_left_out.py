"""The variables of the roles that no host can tell, and why."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Collection, Mapping

_SECRET = "a secret: keys and passwords stay where they are"
_CONTROLLER = "about the controller, which no host knows"
_PLAY = "about how a roll-out goes, which leaves no trace on a host"
_FILE = "in a file of its own, which is not read"

LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "agent": {
        "agent_cache_dir": _CONTROLLER,
        "agent_packages": "packages that were asked for cannot be told from others that are there",
        "agent_probe_addresses": "set by the other roles",
        "agent_wheelhouse": _CONTROLLER,
    },
    "mip_proxy": {
        "mip_proxy_aaa_keys": _SECRET,
        "mip_proxy_fa_ha_keys": _SECRET,
        "mip_proxy_foreign_agent_keys": _SECRET,
        "mip_proxy_home_agent_keys": _SECRET,
        "mip_proxy_node_keys": _SECRET,
    },
    "vpn_gateway": {
        "vpn_gateway_allow_restart": _PLAY,
        "vpn_gateway_ca_certificate": _FILE,
        "vpn_gateway_certificate": _FILE,
        "vpn_gateway_confirm_seconds": _PLAY,
        "vpn_gateway_ike_secrets": _SECRET,
        "vpn_gateway_l2tp_address": _FILE,
        "vpn_gateway_l2tp_mtu": _FILE,
        "vpn_gateway_l2tp_retries": _FILE,
        "vpn_gateway_passwords": _SECRET,
        "vpn_gateway_private_key": _SECRET,
        "vpn_gateway_radius_secret": _SECRET,
        "vpn_gateway_radius_server": _FILE,
        "vpn_gateway_retransmit_tries": _FILE,
        "vpn_gateway_trusted_agent_secrets": _SECRET,
    },
    "dmz_firewall": {
        "dmz_firewall_confirm_reach": _PLAY,
        "dmz_firewall_confirm_seconds": _PLAY,
        "dmz_firewall_dmz_prefixes": "in one set with dmz_firewall_internal_prefixes, which has both here",
    },
    "home_agent": {
        "home_agent_aaa_keys": _SECRET,
        "home_agent_direct_keys": _SECRET,
        "home_agent_foreign_agent_keys": _SECRET,
        "home_agent_proxy_keys": _SECRET,
    },
    "foreign_agent": {
        "foreign_agent_aaa_keys": _SECRET,
        "foreign_agent_home_agent_keys": _SECRET,
        "foreign_agent_node_keys": _SECRET,
    },
    "mobile_node": {
        "mobile_node_aaa_key": _SECRET,
        "mobile_node_ca_certificate": _FILE,
        "mobile_node_certificate": _FILE,
        "mobile_node_confirm_seconds": _PLAY,
        "mobile_node_direct_key": _SECRET,
        "mobile_node_ike_secret": _SECRET,
        "mobile_node_password": _SECRET,
        "mobile_node_private_key": _SECRET,
        "mobile_node_proxy_key": _SECRET,
        "mobile_node_retransmit_tries": _FILE,
    },
}


def roles(variables: Collection[str]) -> list[str]:
    """Return the roles that variables are of."""
    return [role for role in LEFT_OUT if any(variable.startswith(f"{role}_") for variable in variables)]


def left_out(variables: Collection[str]) -> dict[str, str]:
    """Return what is left out of the roles that there are, and why."""
    found = {variable: why for role in roles(variables) for variable, why in LEFT_OUT[role].items()}
    if "dmz_firewall_vpngw_priv_macs" in variables and "dmz_firewall_vpngw_priv" not in variables:
        found["dmz_firewall_vpngw_priv"] = "no one neighbour has a MAC of dmz_firewall_vpngw_priv_macs now"
    return dict(sorted(found.items()))
