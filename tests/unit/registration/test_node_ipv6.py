"""IPv6 beside an SA that carries IPv4 only: one warning when it comes, one word when it is gone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

from mobileip.registration.actions import Level, Log
from mobileip.registration.events import Ipv6Seen
from mobileip.registration.mobile_node import MobileNode
from tests.unit.registration.node import NOW, SETTINGS

ADDRESS, OTHER = IPv6Address("2001:db8::10"), IPv6Address("2001:db8:1::10")
MEANS = "IPv6 goes past the SA, which carries IPv4 only; mobile_node_ipv6: block stops it, allow accepts it"


def test_address_is_warned_of_once_and_kept_for_show() -> None:
    node = MobileNode(SETTINGS)
    warning = Log(Level.WARNING, "ipv6_outside_sa", {"found": "address 2001:db8::10", "means": MEANS})
    assert node.feed(Ipv6Seen((ADDRESS,), ()), NOW) == [warning]
    assert node.feed(Ipv6Seen((ADDRESS, OTHER), ("eth0",)), NOW + 1) == []
    found = "address 2001:db8::10, address 2001:db8:1::10, default route by eth0"
    assert node.status().ipv6_outside_sa == f"{found}: {MEANS}"


def test_default_route_alone_is_warned_of() -> None:
    node = MobileNode(SETTINGS)
    (log,) = node.feed(Ipv6Seen((), ("eth0",)), NOW)
    assert isinstance(log, Log)
    assert (log.level, log.fields["found"]) == (Level.WARNING, "default route by eth0")


def test_end_is_said_and_the_next_time_is_warned_of_again() -> None:
    node = MobileNode(SETTINGS)
    first = node.feed(Ipv6Seen((ADDRESS,), ()), NOW)
    assert node.feed(Ipv6Seen((), ()), NOW + 1) == [Log(Level.INFO, "ipv6_gone")]
    assert node.status().ipv6_outside_sa is None
    assert node.feed(Ipv6Seen((ADDRESS,), ()), NOW + 2) == first


def test_it_moves_nothing() -> None:
    node = MobileNode(SETTINGS)
    before = node.status()
    node.feed(Ipv6Seen((ADDRESS,), ("eth0",)), NOW)
    assert replace(node.status(), ipv6_outside_sa=None) == before
    assert node.next_deadline() is None
