"""Entries and their bytes: what is packed comes back, what does not fit is refused."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv4Network

import pytest

from mobileip.forwarding import layouts
from mobileip.forwarding.entries import Encapsulation, NodeMode, NodePath, Tunnel, Visitor
from mobileip.forwarding.tables import (
    pack_binding,
    pack_mac,
    pack_path,
    pack_tunnel,
    pack_visitor,
    prefix_flags,
    unpack_tunnel,
)

HOME, CARE_OF, AGENT = IPv4Address("192.0.2.69"), IPv4Address("198.51.100.10"), IPv4Address("192.0.2.40")
BOOT = 1_000_000.0


@pytest.mark.parametrize(
    "tunnel",
    [
        Tunnel(CARE_OF, BOOT + 300),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.UDP, 40000),
        Tunnel(CARE_OF, math.inf),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.GRE, gre_key=0xFFFFFFFF),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.MINIMAL),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.UDP_GRE, 40000, gre_key=0),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.UDP_MINIMAL, 40000),
        Tunnel(CARE_OF, BOOT + 300, Encapsulation.UDP, 434, IPv4Address("198.51.100.40"), half_bound=True),
    ],
)
def test_a_tunnel_comes_back_as_it_was(tunnel: Tunnel) -> None:
    assert unpack_tunnel(pack_tunnel(tunnel, BOOT), BOOT) == tunnel


def test_expiry_is_nanoseconds_since_boot_and_never_negative() -> None:
    assert layouts.TUNNEL.unpack(pack_tunnel(Tunnel(CARE_OF, BOOT + 1.5), BOOT))["expires_ns"] == 1_500_000_000
    assert layouts.TUNNEL.unpack(pack_tunnel(Tunnel(CARE_OF, BOOT - 1), BOOT))["expires_ns"] == 0


@pytest.mark.parametrize("count", [0, layouts.MAX_CARE_OF + 1])
def test_a_binding_has_one_to_four_care_of_addresses(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} care-of addresses, expected 1 to 4"):
        pack_binding(AGENT, (Tunnel(CARE_OF, BOOT),) * count, BOOT)


def test_a_visitor_is_packed_as_the_kernel_reads_it() -> None:
    visitor = Visitor(HOME, AGENT, BOOT + 2, Encapsulation.UDP_GRE, port=434, gre_key=0x01020304)
    packed = bytes([192, 0, 2, 40, 0x01, 0xB2, 47, 0xC1, 1, 2, 3, 4, 0, 0, 0, 0])
    packed += (2_000_000_000).to_bytes(8, "little")
    assert pack_visitor(visitor, BOOT) == packed


def test_a_path_is_packed_as_the_kernel_reads_it() -> None:
    path = NodePath(HOME, NodeMode.TUNNEL, CARE_OF, AGENT, Encapsulation.UDP, 434, 40000, (AGENT,))
    head = (
        HOME.packed
        + CARE_OF.packed
        + AGENT.packed
        + bytes([0x01, 0xB2, 0x9C, 0x40, 2, 4, 0x40, 0, *bytes(4), 1, 0, 0, 0])
    )
    assert pack_path(path) == head + AGENT.packed + bytes(60)


def test_too_many_gateways_are_refused() -> None:
    with pytest.raises(ValueError, match="17 VPN gateways, expected 16 at most"):
        pack_path(NodePath(HOME, gateways=(AGENT,) * 17))


@pytest.mark.parametrize("mac", ["", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:00"])
def test_a_wrong_mac_address_is_named(mac: str) -> None:
    with pytest.raises(ValueError, match="expected six bytes"):
        pack_mac(mac)


def test_the_longest_prefix_carries_what_covers_it() -> None:
    home, subnet = IPv4Network("192.0.2.64/27"), IPv4Network("192.0.2.0/24")
    assert prefix_flags([home], [subnet]) == {home: 3, subnet: 2}
    users, more = IPv4Network("192.0.2.128/27"), IPv4Network("198.18.0.0/15")
    assert prefix_flags([home], [subnet], [[users], [more, users]]) == {
        home: 3,
        subnet: 2,
        users: 0x30002,
        more: 0x20000,
    }
