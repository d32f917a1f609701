"""What the proxy's shell shows of bindings, and what the kernel's tables are given of them."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.forwarding.entries import Tunnel
from mobileip.registration.bindings import Binding, Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.runtime.listing import binding_row
from mobileip.runtime.proxy import _entry
from mobileip.runtime.tunnels import Bound

NOW = 1_700_000_000.0
GATEWAY, OTHER_GATEWAY = IPv4Address("203.0.113.20"), IPv4Address("203.0.113.21")
FIRST = Binding(
    home_address=IPv4Address("192.0.2.69"),
    home_agent=IPv4Address("192.0.2.40"),
    care_of_address=IPv4Address("198.51.100.10"),
    source=Endpoint(IPv4Address("198.51.100.10"), 434),
    interface="pub",
    encapsulation=Encapsulation.IPIP,
    flags=0x22,
    identification=1,
    granted=300,
    expires=NOW + 300,
    gateway=GATEWAY,
    registered=NOW,
    home_agent_expires=NOW + 900,
)
SECOND = replace(FIRST, care_of_address=IPv4Address("198.51.100.140"), expires=NOW + 500, nai="mn@home.example")


def test_every_binding_of_a_node_has_its_tunnel_in_the_table_the_newest_first_D_2_6_2_a() -> None:
    bound = Bound([FIRST])
    entry = _entry(bound.add(SECOND))
    assert (entry.gateway, entry.home_address, entry.home_agent) == (GATEWAY, FIRST.home_address, FIRST.home_agent)
    assert entry.tunnels == (
        Tunnel(SECOND.care_of_address, NOW + 500),
        Tunnel(FIRST.care_of_address, NOW + 300),
    )
    assert _entry(bound.add(replace(FIRST, expires=NOW + 600))).tunnels[0].care_of == FIRST.care_of_address
    assert [one.care_of for one in _entry(bound.remove(FIRST.key)).tunnels] == [SECOND.care_of_address]


def test_one_home_address_behind_two_gateways_has_two_entries_D_1_4_a() -> None:
    twin = replace(FIRST, gateway=OTHER_GATEWAY, home_agent=IPv4Address("192.0.2.41"))
    entries = [_entry(bindings) for bindings in Bound([FIRST, twin]).nodes().values()]
    assert [(entry.gateway, entry.home_agent, len(entry.tunnels)) for entry in entries] == [
        (GATEWAY, FIRST.home_agent, 1),
        (OTHER_GATEWAY, twin.home_agent, 1),
    ]


def test_binding_without_gateway_is_no_entry_of_a_proxy() -> None:
    with pytest.raises(ValueError, match="names no VPN gateway"):
        _entry((replace(FIRST, gateway=None),))


def test_show_says_who_behind_what_and_what_the_home_agent_has() -> None:
    row = binding_row(SECOND, NOW + 100)
    assert (row["nai"], row["gateway"]) == ("mn@home.example", str(GATEWAY))
    assert (row["granted"], row["remaining"], row["home_agent_remaining"]) == (300, 400.0, 800.0)
    endless = replace(SECOND, expires=math.inf, home_agent_expires=math.inf)
    assert (binding_row(endless, NOW)["remaining"], binding_row(endless, NOW)["home_agent_remaining"]) == (None, None)


def test_show_at_a_home_agent_knows_of_no_other_leg() -> None:
    assert binding_row(replace(FIRST, gateway=None, registered=0.0), NOW)["home_agent_remaining"] is None
