"""A gateway's connections, by how a node gets its inner address."""

from __future__ import annotations

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import Remark, Witness
from ansible_collections.mobileip.vpn.plugins.module_utils.live_strongswan import Charon, gateway

LOADED = {
    "local_addrs": ["203.0.113.20"],
    "remote_addrs": ["192.0.2.69"],
    "local-1": {"id": "vpngw.example"},
    "remote-1": {"id": "mn@home.example"},
    "children": {"intranet": {"local-ts": ["192.0.2.32/27"]}},
}


@pytest.mark.parametrize(
    ("pools", "way", "remarks"),
    [
        ({}, "static", []),
        ({"pools": "radius"}, "radius", []),
        ({"pools": "mn"}, "pool", ["charon: pool mn: absent; expected 192.0.2.69, as its connection has it"]),
    ],
)
def test_a_pool_is_missed_only_where_the_node_gets_its_address_from_one(
    pools: dict[str, str], way: str, remarks: list[str]
) -> None:
    section = {"remote": {"auth": "psk"}, **pools}
    said = list(gateway(Charon({"mn": LOADED}, {}, ()), {"connections": {"mn": section}}))
    assert [str(each) for each in said if isinstance(each, Remark)] == remarks
    found = [each.value for each in said if isinstance(each, Witness) and each.variable == "vpn_gateway_inner_address"]
    assert found == [way]


def test_a_connection_for_home_agents_is_a_trusted_agents_and_no_nodes() -> None:
    files = {"connections": {"branch": {"remote": {"auth": "psk"}, "children": {"home-agents": {"mode": "tunnel"}}}}}
    loaded = {
        **LOADED,
        "remote_addrs": ["198.51.100.20"],
        "remote-1": {"id": "branch.example"},
        "dpd_delay": "30",
        "children": {"home-agents": {"local-ts": ["192.0.2.40/32"], "remote-ts": ["198.51.100.100/32"]}},
    }
    said = list(gateway(Charon({"branch": loaded}, {}, ()), files))
    agent = {
        "name": "branch",
        "address": "198.51.100.20",
        "identity": "branch.example",
        "dpd_delay": "30s",
        "networks": ["198.51.100.100/32"],
    }
    assert {each.variable: each.value for each in said if isinstance(each, Witness)} == {
        "vpn_gateway_ipsec_backend": "kernel",
        "vpn_gateway_trusted_agents": [agent],
    }
