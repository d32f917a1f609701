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
