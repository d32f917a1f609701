"""Every key of the proxy's and the home agent's file has a variable of its role, and every variable moves a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mobileip.config import load_config

ROOT = Path(__file__).parents[3]
KEY = "5a" * 16

# Paths follow from the instance's name.
NOT_BY_ROLE = {"bpf_object", "state", "control_socket", "pin_directory"}

PROXY = {
    "mip_proxy_instance": "proxy2",
    "mip_proxy_udp_zero_checksum": "discard",
    "mip_proxy_tunnels_icmp_errors": 50,
    "mip_proxy_tunnels_reassembly": 0,
    "mip_proxy_tunnels_least_path_mtu": 552,
    "mip_proxy_tunnels_dscp": 46,
    "mip_proxy_tunnels_tcp_mss": 1300,
    "mip_proxy_datapath_attach": "xdp-generic",
    "mip_proxy_pub": {"address": "203.0.113.10", "interface": "pub"},
    "mip_proxy_priv": {"address": "192.0.2.10", "interface": "priv"},
    "mip_proxy_vpn_gateways": [
        {"name": "one", "vpngw_pub": "203.0.113.20", "vpngw_priv": "192.0.2.20", "home_networks": ["192.0.2.64/27"],
         "macs": ["02:00:00:00:00:14"], "mobility_delivery": "reverse_tunnel", "other_sources": ["192.0.2.160/27"]},
        {"name": "two", "vpngw_pub": "203.0.113.21", "vpngw_priv": "192.0.2.21", "home_networks": ["192.0.2.96/27"]},
    ],
    "mip_proxy_home_agents": [
        {"address": "192.0.2.40", "home_networks": ["192.0.2.64/27"], "fa_ha_spi": 6001, "assignable": True,
         "nai": True, "fa_ha_algorithm": "hmac-sha1"},
        {"address": "192.0.2.41", "home_networks": ["192.0.2.96/27"]},
    ],
    "mip_proxy_default_home_agent": "192.0.2.41",
    "mip_proxy_mobile_nodes": [
        {"name": "a", "home_address": "192.0.2.69", "proxy_spi": 2001, "home_agent_spi": 3001, "replay": "nonce",
         "proxy_algorithm": "hmac-sha256", "home_agent_algorithm": "hmac-sha1", "home_agent": "192.0.2.40",
         "aaa_spi": 7001, "aaa_algorithm": "hmac-sha1"},
        {"name": "b", "nai": "b@home.example", "gateway": "two", "proxy_spi": 2002, "home_agent_spi": 3002},
    ],
    "mip_proxy_internal_prefixes": ["192.0.2.0/24"],
    "mip_proxy_node_keys": {"a": KEY, "b": KEY},
    "mip_proxy_home_agent_keys": {"a": KEY, "b": KEY},
    "mip_proxy_passes": ["esp", "udp/51820"],
    "mip_proxy_mobility_subnets": ["192.0.2.128/27"],
    "mip_proxy_mobility_delivery": "direct",
    "mip_proxy_location_mode": "interface",
    "mip_proxy_max_lifetime": 1000,
    "mip_proxy_replay_window": 5,
    "mip_proxy_replay_mode": "monotonic",
    "mip_proxy_replay_nonce_check": "local",
    "mip_proxy_replay_learn_home_agent_clock": True,
    "mip_proxy_auth_fail_reply": "131",
    "mip_proxy_reply_limit_rate": 2,
    "mip_proxy_reply_limit_burst": 6,
    "mip_proxy_reply_limit_known": [{"network": "198.51.100.40/32", "rate": 10, "burst": 20}],
    "mip_proxy_strict_reserved_bits": True,
    "mip_proxy_vendor_extensions": [{"vendor": 32473, "type": 3}],
    "mip_proxy_foreign_agents": [{"name": "cafe", "address": "198.51.100.100", "spi": 5001, "algorithm": "hmac-sha1"}],
    "mip_proxy_foreign_agent_keys": {"cafe": KEY},
    "mip_proxy_fa_ha_keys": {"192.0.2.40": KEY},
    "mip_proxy_aaa_keys": {"a": KEY},
    "mip_proxy_haleg_unauthenticated_denials": "relay",
    "mip_proxy_haleg_encapsulation": "gre",
    "mip_proxy_haleg_gre_key": 7,
    "mip_proxy_encapsulations": ["gre"],
    "mip_proxy_gre_key": 8,
    "mip_proxy_haleg_other_acceptances": "bind",
    "mip_proxy_pending_timeout": 8,
    "mip_proxy_pending_max_per_node": 6,
    "mip_proxy_haleg_source_ports": 4,
    "mip_proxy_haleg_first_source_port": 30434,
    "mip_proxy_icmp_grace": 100,
    "mip_proxy_revocation": False,
    "mip_proxy_max_bindings": 1000,
    "mip_proxy_max_registrations_per_second": 100,
    "mip_proxy_home_network_limits": [{"network": "192.0.2.64/27", "max_bindings": 10, "max_per_second": 5}],
    "mip_proxy_revocation_home_agents": False,
    "mip_proxy_nat_keepalive": 60,
    "mip_proxy_nat_max_lifetime": 90,
    "mip_proxy_nat_allowed": False,
    "mip_proxy_nat_forced_allowed": False,
    "mip_proxy_simultaneous": 3,
    "mip_proxy_lifetime_jitter": 10,
    "mip_proxy_haleg_broadcast": False,
    "mip_proxy_haleg_d_bit": "unless-b",
    "mip_proxy_haleg_copy_encapsulation_bits": True,
    "mip_proxy_haleg_copy_reserved_bits": True,
    "mip_proxy_haleg_dereg_all_coa": "home-address",
    "mip_proxy_hap": {"encoding": "exp-skippable", "type": 254, "subtype": 3},
    "mip_proxy_hap_accept": [{"encoding": "cvse", "vendor": 32473, "vendor_type": 5}],
    "mip_proxy_hap_in_reply": "always",
    "mip_proxy_extensions": {151: "strip"},
    "mip_proxy_reply_code_profile": "rfc",
    "mip_proxy_reply_proxy_cannot_service_code": 133,
    "mip_proxy_probe_interval": 10,
    "mip_proxy_probe_timeout": 2,
    "mip_proxy_probe_attempts": 4,
    "mip_proxy_probe_max_per_second": 500,
    "mip_proxy_on_206": "keep",
    "mip_proxy_on_local_failure": "deregister",
}  # fmt: skip

# What two boxes cannot have, with the one gateway that one box can.
WIRE = {"mip_proxy_one_box": {"gateway_interface": "veth0", "proxy_interface": "veth1"}}
ONE_BOX = PROXY | WIRE | {
    "mip_proxy_vpn_gateways": [
        {"name": "two", "vpngw_pub": "203.0.113.20", "vpngw_priv": "192.0.2.20",
         "home_networks": ["192.0.2.64/27", "192.0.2.96/27"]},
    ],
}  # fmt: skip

HOME_AGENT = {
    "home_agent_instance": "home_agent2",
    "home_agent_udp_zero_checksum": "discard",
    "home_agent_tunnels_icmp_errors": 50,
    "home_agent_tunnels_reassembly": 0,
    "home_agent_tunnels_least_path_mtu": 552,
    "home_agent_tunnels_dscp": 46,
    "home_agent_tunnels_tcp_mss": 1300,
    "home_agent_datapath_attach": "xdp-generic",
    "home_agent_address": "192.0.2.40",
    "home_agent_interface": "core",
    "home_agent_home_links": [
        {"interface": "home", "network": "192.0.2.64/27", "pool": {"first": "192.0.2.80", "last": "192.0.2.85"}}
    ],
    "home_agent_mobile_nodes": [
        {"name": "a", "home_address": "192.0.2.69", "nai": "a@home.example", "home_agent_spi": 3001, "replay": "nonce",
         "home_agent_algorithm": "hmac-sha1", "direct_spi": 4001, "direct_algorithm": "hmac-sha256", "aaa_spi": 7001,
         "aaa_algorithm": "hmac-sha1"},
    ],
    "home_agent_proxy_keys": {"a": KEY},
    "home_agent_direct_keys": {"a": KEY},
    "home_agent_max_lifetime": 1000,
    "home_agent_replay_window": 5,
    "home_agent_auth_fail_reply": "131",
    "home_agent_reply_limit_rate": 2,
    "home_agent_reply_limit_burst": 6,
    "home_agent_reply_limit_known": [{"network": "198.51.100.40/32", "rate": 10, "burst": 20}],
    "home_agent_strict_reserved_bits": True,
    "home_agent_vendor_extensions": [{"vendor": 32473, "type": 3}],
    "home_agent_foreign_agents": [{"name": "cafe", "address": "192.0.2.10", "spi": 5001, "algorithm": "hmac-sha1"}],
    "home_agent_foreign_agent_keys": {"cafe": KEY},
    "home_agent_aaa_keys": {"a": KEY},
    "home_agent_encapsulations": ["gre"],
    "home_agent_gre_key": 8,
    "home_agent_nat_keepalive": 60,
    "home_agent_nat_max_lifetime": 90,
    "home_agent_nat_allowed": False,
    "home_agent_nat_forced_allowed": False,
    "home_agent_revocation": False,
    "home_agent_simultaneous": 3,
    "home_agent_reverse_tunnel": "required",
    "home_agent_hap": {"encoding": "exp-skippable", "type": 254, "subtype": 3},
    "home_agent_hap_accept": [{"encoding": "cvse", "vendor": 32473, "vendor_type": 5}],
    "home_agent_hap_in_reply": "always",
    "home_agent_broadcast_forward": False,
    "home_agent_broadcast_rate": 60,
    "home_agent_multicast_groups": ["239.1.1.1"],
    "home_agent_trusted_networks": ["192.0.2.128/27"],
    "home_agent_proxies": ["192.0.2.10"],
    "home_agent_untrusted": "drop",
    "home_agent_dynamic": False,
    "home_agent_redirect": "192.0.2.41",
}  # fmt: skip

ROLES = [("mip_proxy", "proxy.yml.j2", PROXY | WIRE), ("home_agent", "home_agent.yml.j2", HOME_AGENT)]
FILES = [("mip_proxy", "proxy.yml.j2", [PROXY, ONE_BOX]), ("home_agent", "home_agent.yml.j2", [HOME_AGENT])]


def options(role: str) -> dict[str, Any]:
    text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return found


def rendered(role: str, template: str, known: dict[str, Any]) -> str:
    text = (ROOT / f"roles/{role}/templates/{template}").read_text(encoding="utf-8")
    variables = {"ansible_managed": "Ansible managed", **known}
    return str(Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text)))


def leaves(model: BaseModel, path: str = "") -> Iterator[tuple[str, bool]]:
    """Each key below the model, lists as one, and whether it has another value than if it were left out."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        inner = value if isinstance(value, list) else [value]
        models = [one for one in inner if isinstance(one, BaseModel)]
        if models:
            for one in models:
                yield from leaves(one, f"{path}{name}.")
            yield f"{path}{name}", True
        default = field.get_default(call_default_factory=True)
        if not models:
            # One form of the HA Parameter extension is as good as another: no single one can have all keys.
            yield f"{path}{name}".replace("hap.accept.", "hap."), default is PydanticUndefined or value != default


@pytest.mark.parametrize(("role", "template", "others"), FILES)
def test_every_key_of_the_file_can_be_had_by_a_variable(
    tmp_path: Path, role: str, template: str, others: list[dict[str, Any]]
) -> None:
    file, keys = tmp_path / "party.yml", tmp_path / "keys.yml"
    moved: dict[str, bool] = {}
    for other in others:
        file.write_text(rendered(role, template, other), encoding="utf-8")
        keys.write_text(rendered(role, "keys.yml.j2", other), encoding="utf-8")
        for path, differs in leaves(load_config(file, keys).config):
            moved[path] = moved.get(path, False) or differs
    assert len(moved) > 50
    assert {path for path, differs in moved.items() if not differs} - NOT_BY_ROLE == set()


@pytest.mark.parametrize(("role", "template", "other"), ROLES)
def test_every_variable_is_described_has_its_default_and_is_written(
    role: str, template: str, other: dict[str, Any]
) -> None:
    described = options(role)
    assert set(other) == set(described)
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults == {name: one["default"] for name, one in described.items() if "default" in one}
    written = [rendered(role, each, other) for each in (template, "keys.yml.j2")]
    for name, one in described.items():
        if name.endswith("_instance"):
            continue
        if "default" in one:
            changed = {**other, name: one["default"]}
        else:
            changed = {each: value for each, value in other.items() if each != name}
        try:
            same = [rendered(role, each, changed) for each in (template, "keys.yml.j2")] == written
        except Exception:  # required, or looked up by another: it is used
            same = False
        assert not same, f"{name} is written nowhere"
