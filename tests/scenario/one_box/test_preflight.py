"""What only one box can get wrong is found before anything changes, and told with variable, value and expectation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenario.plays import play

CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "one address for both": (
        {"site_vpngw_pub": "203.0.113.10"},
        ("mip_proxy_vpn_gateways[].vpngw_pub:", "203.0.113.10"),
    ),
    "the gateway's address is not this host's": (
        {"site_vpngw_pub": "203.0.113.21"},
        ("mip_proxy_vpn_gateways[].vpngw_pub:", "203.0.113.21", "pub", "203.0.113.20"),
    ),
    "the gateway's private address is not this host's": (
        {"site_vpngw_priv": "192.0.2.21"},
        ("mip_proxy_vpn_gateways[].vpngw_priv:", "192.0.2.21", "priv", "192.0.2.20"),
    ),
    "the gateway's end of the wire has two names": (
        {"vpn_gateway_wire_interface": "mip7"},
        ("mip_proxy_one_box:", "'vpn_gateway_wire_interface': 'mip7'", "mip0"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_preflight_fails_before_any_change_and_names_variable_value_and_expectation(name: str) -> None:
    variables, says = CASES[name]
    run = play("preflight.yml", "--limit=mipp", variables=variables)
    assert run.hosts_with("failed") == ["mipp"], run.output
    assert [text for text in says if text not in run.failures["mipp"]] == [], run.failures["mipp"]
    assert run.hosts_with("changed") == []
