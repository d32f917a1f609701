"""The variables of the roles that run a daemon, from the configuration that the daemon says it runs with."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import Witness

ROLES = {
    "proxy": "mip_proxy",
    "home_agent": "home_agent",
    "foreign_agent": "foreign_agent",
    "mobile_node": "mobile_node",
}
"""The role that runs a party, by the party's name in its configuration."""

_SECONDS = 10.0
_TUNNELS = {
    "udp_zero_checksum": "udp.zero_checksum",
    "tunnels_icmp_errors": "tunnels.icmp_errors",
    "tunnels_reassembly": "tunnels.reassembly",
    "tunnels_least_path_mtu": "tunnels.least_path_mtu",
    "tunnels_dscp": "tunnels.dscp",
    "tunnels_tcp_mss": "tunnels.tcp_mss",
}
_AGENT = {
    **_TUNNELS,
    "datapath_attach": "datapath.attach",
    "encapsulations": "encapsulations.granted",
    "gre_key": "encapsulations.gre_key",
    "vendor_extensions": "vendor_extensions",
}
_ANSWERING = {
    **_AGENT,
    "max_lifetime": "max_lifetime",
    "replay_window": "replay.window",
    "auth_fail_reply": "auth.fail_reply",
    "reply_limit_rate": "reply_limits.rate",
    "reply_limit_burst": "reply_limits.burst",
    "reply_limit_known": "reply_limits.known",
    "strict_reserved_bits": "strict_reserved_bits",
    "nat_keepalive": "nat.keepalive",
    "nat_max_lifetime": "nat.max_lifetime",
    "nat_allowed": "nat.allowed",
    "nat_forced_allowed": "nat.forced_allowed",
    "revocation": "revocation.enabled",
    "simultaneous": "simultaneous",
    "hap_in_reply": "hap.in_reply",
}
VALUES: Mapping[str, Mapping[str, str]] = {
    "mip_proxy": {
        **_ANSWERING,
        "pub": "mipp_pub",
        "priv": "mipp_priv",
        "one_box": "one_box",
        "passes": "passes",
        "mobility_subnets": "mobility_subnets",
        "mobility_delivery": "mobility_delivery",
        "location_mode": "location.mode",
        "internal_prefixes": "location.internal_prefixes",
        "default_home_agent": "default_home_agent",
        "replay_mode": "replay.mode",
        "replay_nonce_check": "replay.nonce_check",
        "replay_learn_home_agent_clock": "replay.learn_home_agent_clock",
        "pending_timeout": "pending.timeout",
        "pending_max_per_node": "pending.max_per_node",
        "haleg_source_ports": "haleg.source_ports",
        "haleg_first_source_port": "haleg.first_source_port",
        "haleg_unauthenticated_denials": "haleg.unauthenticated_denials",
        "haleg_other_acceptances": "haleg.other_acceptances",
        "haleg_broadcast": "haleg.broadcast",
        "haleg_d_bit": "haleg.d_bit",
        "haleg_copy_encapsulation_bits": "haleg.copy_encapsulation_bits",
        "haleg_encapsulation": "haleg.encapsulation",
        "haleg_gre_key": "haleg.gre_key",
        "haleg_copy_reserved_bits": "haleg.copy_reserved_bits",
        "haleg_dereg_all_coa": "haleg.dereg_all_coa",
        "icmp_grace": "icmp.grace",
        "max_bindings": "admission.max_bindings",
        "max_registrations_per_second": "admission.max_per_second",
        "revocation_home_agents": "revocation.home_agents",
        "lifetime_jitter": "lifetime_jitter",
        "extensions": "extensions",
        "reply_code_profile": "reply.code_profile",
        "reply_proxy_cannot_service_code": "reply.proxy_cannot_service_code",
        "probe_interval": "probe.interval",
        "probe_timeout": "probe.timeout",
        "probe_attempts": "probe.attempts",
        "probe_max_per_second": "probe.max_per_second",
        "on_206": "on_206",
        "on_local_failure": "on_local_failure",
    },
    "home_agent": {
        **_ANSWERING,
        "address": "address",
        "interface": "interface",
        "reverse_tunnel": "reverse_tunnel",
        "broadcast_forward": "broadcast.forward",
        "broadcast_rate": "broadcast.rate",
        "multicast_groups": "broadcast.multicast_groups",
        "trusted_networks": "trusted_networks.networks",
        "proxies": "trusted_networks.proxies",
        "untrusted": "trusted_networks.untrusted",
        "dynamic": "dynamic_home_agent.accept",
        "redirect": "dynamic_home_agent.redirect",
    },
    "foreign_agent": {
        **_AGENT,
        "uplink": "uplink",
        "link": "link",
        "advertisement_interval": "advertisement.interval",
        "advertisement_lifetime": "advertisement.lifetime",
        "registration_lifetime": "advertisement.registration_lifetime",
        "nai": "advertisement.nai",
        "registration_required": "advertisement.registration_required",
        "challenge": "challenge.mode",
        "challenge_size": "challenge.size",
        "reverse_tunnelling": "reverse_tunnelling",
        "reverse_tunnel_required": "reverse_tunnel_required",
        "encapsulating_delivery": "encapsulating_delivery",
        "udp_tunnelling": "udp_tunnelling",
        "zero_home_address": "zero_home_address",
        "fa_error": "fa_error",
        "legacy": "legacy",
        "known_extensions": "known_extensions",
        "pending_timeout": "pending.timeout",
        "pending_max_per_node": "pending.max_per_node",
        "pending_max": "pending.max",
        "max_visitors": "max_visitors",
        "allowed_home_agents": "allowed_home_agents",
    },
    "mobile_node": {
        **_TUNNELS,
        "nai": "nai",
        "home_address": "home_address",
        "home_network": "home_network",
        "home_agent": "home_agent",
        "mipp_pub": "mipp_pub",
        "vpn_gateways": "vpn_gateways",
        "interface": "interface",
        "proxy_spi": "proxy_sa.spi",
        "proxy_algorithm": "proxy_sa.algorithm",
        "direct_spi": "home_agent_sa.spi",
        "direct_algorithm": "home_agent_sa.algorithm",
        "replay": "proxy_sa.replay",
        "aaa_spi": "aaa_sa.spi",
        "aaa_algorithm": "aaa_sa.algorithm",
        "lifetime": "lifetime",
        "simultaneous": "simultaneous",
        "broadcasts": "broadcasts",
        "retry_first_timeout": "retry.first_timeout",
        "retry_longest_timeout": "retry.longest_timeout",
        "location_monitor": "location.monitor",
        "location_require_tnc": "location.require_tnc",
        "trusted_agent_nais": "trusted_agents.nais",
        "trusted_agent_addresses": "trusted_agents.addresses",
        "replay_window": "replay.window",
        "nat_keepalive": "nat.keepalive",
        "revocation": "revocation.enabled",
        "sa_at_home": "sa.at_home",
        "sa_keepalive_timeout": "sa.keepalive_timeout",
        "ipsec_backend": "sa.backend",
        "ipv6": "ipv6",
        "encapsulate": "encapsulate",
        "encapsulation": "encapsulation",
        "gre_key": "gre_key",
        "passes": "passes",
    },
}
"""Where a role's variables, without the role's name, stand in the configuration."""

# What these say when the configuration has nothing; others are left out then, as in an inventory.
_NOTHING = {
    "home_agent_redirect": "",
    "mobile_node_home_address": "",
    "mobile_node_home_agent": "",
    "mobile_node_nai": "",
    "mobile_node_sa_keepalive_timeout": 0,
}
_DEFAULT_ALGORITHM = "hmac-md5"


class DaemonError(Exception):
    """A daemon that gives no answer; the text says which and why."""


def ask(control_socket: Path, command: str) -> dict[str, Any]:
    """Return a daemon's answer. Raises `DaemonError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(_SECONDS)
        try:
            channel.connect(str(control_socket))
            channel.sendall(json.dumps({"command": command}).encode() + b"\n")
            with channel.makefile("rb") as stream:
                said = json.loads(stream.readline())
        except (OSError, ValueError) as exc:
            raise DaemonError(f"{control_socket}: {exc}") from exc
    if not said.get("ok"):
        raise DaemonError(f"{control_socket}: {command}: {said.get('error', 'no reason was given')}")
    result: dict[str, Any] = said["result"]
    return result


def witnesses(instance: str, configuration: Mapping[str, Any]) -> Iterator[Witness]:
    """Yield each variable that a daemon's configuration shows. Raises `DaemonError` for a party that no role runs."""
    role = ROLES.get(str(configuration.get("role")))
    if role is None:
        raise DaemonError(f"{instance}: role {configuration.get('role')}; expected one of {', '.join(ROLES)}")
    source = f"mobileip@{instance}"
    yield Witness(f"{role}_instance", instance, source)
    for name, path in VALUES[role].items():
        variable = f"{role}_{name}"
        value = _at(configuration, path)
        if value is None:
            value = _NOTHING.get(variable)
        if value is not None:
            yield Witness(variable, value, source)
    for name, value in _BUILT[role](configuration):
        yield Witness(f"{role}_{name}", value, source)


def _at(configuration: Mapping[str, Any], path: str) -> Any:
    value: Any = configuration
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _entry(defaults: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Return an entry of a list without what says nothing: no value, or the role's default."""
    return {key: value for key, value in values.items() if value is not None and value != defaults.get(key)}


def _name(association: Mapping[str, Any], suffix: str) -> str:
    """Return whose key an association names: the roles call keys after whom they are for."""
    return str(association["key"]).removesuffix(suffix)


def _forms(hap: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("encoding", "type", "subtype", "vendor", "vendor_type")
    return _entry({"subtype": 0, "vendor_type": 0}, **{key: hap.get(key) for key in keys})


def _hap(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    hap = configuration["hap"]
    yield "hap", _forms(hap)
    yield "hap_accept", [_forms(form) for form in hap["accept"]]


def _foreign_agents(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield (
        "foreign_agents",
        [
            _entry(
                {"algorithm": _DEFAULT_ALGORITHM},
                name=str(association["key"]).removeprefix("fa-"),
                address=agent["address"],
                spi=association["spi"],
                algorithm=association["algorithm"],
            )
            for agent in configuration["foreign_agents"]
            for association in agent["security_associations"]
        ],
    )


def _association(of: str, association: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return SPI and algorithm of an association as entries of a node have them."""
    if association is None:
        return {}
    return {f"{of}_spi": association["spi"], f"{of}_algorithm": association["algorithm"]}


_NODE_DEFAULTS = {
    "replay": "timestamp",
    **{
        f"{of}_algorithm": _DEFAULT_ALGORITHM
        for of in ("proxy", "home_agent", "direct", "aaa", "foreign")
    },
}  # fmt: skip


def _proxy(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    gateway_defaults: dict[str, list[str]] = {"macs": [], "other_sources": []}
    yield "vpn_gateways", [_entry(gateway_defaults, **gateway) for gateway in configuration["vpn_gateways"]]
    keys = {each["home_agent"]: _association("fa_ha", each) for each in configuration["haleg"]["fa_ha_sa"]}
    agent_defaults = {"assignable": False, "nai": False, "fa_ha_algorithm": _DEFAULT_ALGORITHM}
    yield (
        "home_agents",
        [_entry(agent_defaults, **agent, **keys.get(agent["address"], {})) for agent in configuration["home_agents"]],
    )
    yield (
        "mobile_nodes",
        [
            _entry(
                _NODE_DEFAULTS,
                name=_name(node["node_sa"], "-proxy"),
                home_address=node["home_address"],
                nai=node["nai"],
                gateway=node["gateway"],
                home_agent=node["home_agent"],
                replay=node["node_sa"]["replay"],
                **_association("proxy", node["node_sa"]),
                **_association("home_agent", node["home_agent_sa"]),
                **_association("aaa", node["aaa_sa"]),
            )
            for node in configuration["mobile_nodes"]
        ],
    )
    limit_defaults = {"max_bindings": 0, "max_per_second": 0}
    yield (
        "home_network_limits",
        [_entry(limit_defaults, **limit) for limit in configuration["admission"]["home_networks"]],
    )
    yield from _foreign_agents(configuration)
    yield from _hap(configuration)


def _home_agent(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "home_links", [_entry({}, **link) for link in configuration["home_links"]]
    yield "mobile_nodes", [_home_node(node) for node in configuration["mobile_nodes"]]
    yield from _foreign_agents(configuration)
    yield from _hap(configuration)


def _home_node(node: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"-home-agent": "home_agent", "-direct": "direct"}
    name = ""
    values: dict[str, Any] = {}
    for association in node["security_associations"]:
        for suffix, of in kinds.items():
            if association["key"].endswith(suffix):
                name = _name(association, suffix)
                values |= {**_association(of, association), "replay": association["replay"]}
    values |= _association("aaa", node["aaa_sa"])
    return _entry(_NODE_DEFAULTS, name=name, home_address=node["home_address"], nai=node["nai"], **values)


def _foreign_agent(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield (
        "home_agents",
        [
            _entry(
                {"algorithm": _DEFAULT_ALGORITHM},
                address=agent["address"],
                spi=agent["security_association"]["spi"],
                algorithm=agent["security_association"]["algorithm"],
            )
            for agent in configuration["home_agents"]
        ],
    )
    yield "mobile_nodes", [_visiting_node(node) for node in configuration["mobile_nodes"]]


def _visiting_node(node: Mapping[str, Any]) -> dict[str, Any]:
    foreign, aaa = node["foreign_sa"], node["aaa_sa"]
    names = [_name(each, suffix) for each, suffix in ((foreign, "-foreign"), (aaa, "-aaa")) if each is not None]
    return _entry(
        _NODE_DEFAULTS,
        name=names[0] if names else None,
        home_address=node["home_address"],
        nai=node["nai"],
        **_association("foreign", foreign),
        **_association("aaa", aaa),
    )


def _mobile_node(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "ipsec", configuration["sa"] is not None
    defaults = {"algorithm": _DEFAULT_ALGORITHM}
    # Their keys are in the same entries of the variable, and stay where they are.
    yield (
        "foreign_agents",
        [
            _entry(defaults, address=each["agent"], spi=each["spi"], algorithm=each["algorithm"])
            for each in configuration["foreign_agent_sas"]
        ],
    )


_Build = Callable[[Mapping[str, Any]], Iterable[tuple[str, Any]]]
_BUILT: Mapping[str, _Build] = {
    "mip_proxy": _proxy,
    "home_agent": _home_agent,
    "foreign_agent": _foreign_agent,
    "mobile_node": _mobile_node,
}
