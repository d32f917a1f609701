"""What a gateway with a routing daemon says of its routes, and of what its neighbours learn of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .ground import GATEWAY, HOME, OTHER, Ground, ground

pytestmark = pytest.mark.namespaces
# What no strongSwan and no packet filter say here.
SILENT = ("charon: cannot be asked", "table inet mobileip_gateway: is not there", "sysctl: ")


def exported(site: Ground) -> tuple[dict[str, Any], list[str]]:
    """The variables, and the remarks on routes."""
    file = site.gateway.directory / "state.json"
    places = {name: str(site.gateway.directory / name) for name in ("control_sockets", "configurations", "vici")}
    played = site.play(
        {"mobileip.vpn.host_state": places, "register": "found"},
        {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(file), "mode": "0644"}},
    )
    assert not played.failed, played.output
    found = json.loads(file.read_text(encoding="utf-8"))
    return found["variables"], [remark for remark in found["remarks"] if not remark.startswith(SILENT)]


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_routes_come_back_and_what_a_neighbour_learns_of_them_is_a_remark(kind: str) -> None:
    with ground(kind) as site:
        site.learn(OTHER)
        assert not site.play("kernel_routes.yml").failed
        guarded, remarks = exported(site)
        assert remarks == []
        assert guarded == {
            "vpn_gateway_home_networks": [HOME],
            "vpn_gateway_leak_guard": True,
            "vpn_gateway_mipp_pub": GATEWAY["vpn_gateway_mipp_pub"],
            "vpn_gateway_pub_address": GATEWAY["vpn_gateway_pub_address"],
            "vpn_gateway_pub_interface": "pub",
            "vpn_gateway_route_protocol": 143,
            "vpn_gateway_route_table": 434,
            "vpn_gateway_routing_daemons": [kind],
            "vpn_gateway_rule_preference": 434,
        }
        # By hand, where a routing daemon finds it.
        site.gateway.ip("route", "add", HOME, "via", "203.0.113.10", "proto", "143")
        site.learn(HOME)
        _, remarks = exported(site)
        for protocol in ("OSPF", "BGP"):
            assert any(HOME in remark and protocol in remark for remark in remarks), remarks
