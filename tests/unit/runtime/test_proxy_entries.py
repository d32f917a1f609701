"""What the proxy's shell shows of bindings, and what the kernel's tables are given of them."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.config.proxy import HaLeg
from mobileip.forwarding import entries
from mobileip.forwarding.entries import Tunnel
from mobileip.registration.bindings import Binding, Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.runtime.listing import Legs, binding_row
from mobileip.runtime.proxy import _entry
from mobileip.runtime.tunnels import Bound
from mobileip.wire.messages import Flag

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
LEGS = Legs(IPv4Address("203.0.113.10"), IPv4Address("192.0.2.10"), "gre")
SECOND = replace(FIRST, care_of_address=IPv4Address("198.51.100.140"), expires=NOW + 500, nai="mn@home.example")


def test_every_binding_of_a_node_has_its_tunnel_in_the_table_the_newest_first_D_2_6_2_a() -> None:
    bound = Bound([FIRST])
    entry = _entry(bound.add(SECOND), HaLeg())
    assert (entry.gateway, entry.home_address, entry.home_agent) == (GATEWAY, FIRST.home_address, FIRST.home_agent)
    assert entry.tunnels == (
        Tunnel(SECOND.care_of_address, NOW + 500),
        Tunnel(FIRST.care_of_address, NOW + 300),
    )
    assert _entry(bound.add(replace(FIRST, expires=NOW + 600)), HaLeg()).tunnels[0].care_of == FIRST.care_of_address
    assert [one.care_of for one in _entry(bound.remove(FIRST.key), HaLeg()).tunnels] == [SECOND.care_of_address]


def test_one_home_address_behind_two_gateways_has_two_entries_D_1_4_a() -> None:
    twin = replace(FIRST, gateway=OTHER_GATEWAY, home_agent=IPv4Address("192.0.2.41"))
    entries = [_entry(bindings, HaLeg()) for bindings in Bound([FIRST, twin]).nodes().values()]
    assert [(entry.gateway, entry.home_agent, len(entry.tunnels)) for entry in entries] == [
        (GATEWAY, FIRST.home_agent, 1),
        (OTHER_GATEWAY, twin.home_agent, 1),
    ]


def test_binding_without_gateway_is_no_entry_of_a_proxy() -> None:
    with pytest.raises(ValueError, match="names no VPN gateway"):
        _entry((replace(FIRST, gateway=None),), HaLeg())


def test_show_says_who_behind_what_and_what_the_home_agent_has() -> None:
    row = binding_row(SECOND, NOW + 100, LEGS)
    assert (row["nai"], row["gateway"]) == ("mn@home.example", str(GATEWAY))
    assert (row["granted"], row["remaining"], row["home_agent_remaining"]) == (300, 400.0, 800.0)
    endless = replace(SECOND, expires=math.inf, home_agent_expires=math.inf)
    row = binding_row(endless, NOW, LEGS)
    assert (row["remaining"], row["home_agent_remaining"]) == (None, None)


def test_show_says_the_encapsulation_and_the_ends_of_both_legs() -> None:
    row = binding_row(replace(SECOND, encapsulation=Encapsulation.UDP), NOW, LEGS)
    assert (row["encapsulation"], row["tunnel_local"], row["tunnel_peer"]) == (
        "udp",
        "203.0.113.10",
        str(SECOND.source),
    )
    assert (row["home_agent_encapsulation"], row["home_agent_tunnel_local"]) == ("gre", "192.0.2.10")
    assert row["home_agent"] == str(SECOND.home_agent)
    half_bound = binding_row(replace(SECOND, encapsulation=Encapsulation.UDP, half_bound=True), NOW, LEGS)
    assert half_bound["tunnel_peer"] == str(SECOND.source.address), "its port is not known yet"
    assert binding_row(FIRST, NOW, LEGS)["tunnel_peer"] == str(FIRST.tunnel_peer.address)


def test_show_at_a_home_agent_knows_of_no_other_leg() -> None:
    row = binding_row(replace(FIRST, gateway=None, registered=0.0), NOW, Legs(IPv4Address("192.0.2.40")))
    assert (row["home_agent_remaining"], row["home_agent_encapsulation"], row["home_agent_tunnel_local"]) == (None,) * 3


@pytest.mark.parametrize("style", list(Encapsulation))
def test_the_kernel_gets_every_encapsulation_and_the_key_of_gre_only_R5944_4_1_b(style: Encapsulation) -> None:
    (tunnel,) = _entry((replace(FIRST, encapsulation=style),), HaLeg(), gre_key=7).tunnels
    assert tunnel.encapsulation.value == style.value
    assert tunnel.gre_key == (7 if style in (Encapsulation.GRE, Encapsulation.UDP_GRE) else None)


@pytest.mark.parametrize(
    ("haleg", "flags", "expected"),
    [
        (HaLeg(), Flag.GRE, "ipip"),
        (HaLeg(encapsulation="minimal"), 0, "minimal"),
        (HaLeg(copy_encapsulation_bits=True, encapsulation="minimal"), 0, "ipip"),
        (HaLeg(copy_encapsulation_bits=True), Flag.MINIMAL, "minimal"),
        (HaLeg(copy_encapsulation_bits=True), Flag.MINIMAL | Flag.GRE, "gre"),
    ],
)
def test_packets_to_a_home_agent_go_by_what_it_was_asked_for(haleg: HaLeg, flags: int, expected: str) -> None:
    entry = _entry((replace(FIRST, flags=int(flags)),), haleg)
    assert entry.home_agent_encapsulation is entries.Encapsulation(expected)
