"""What the kernel's tables say of IPv6 beyond the links."""

from __future__ import annotations

from ipaddress import IPv6Address

from mobileip.registration.events import Ipv6Seen
from mobileip.runtime.ipv6 import seen

LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
LINK = "fe800000000000000000000000000007 02 40 20 80     eth0\n"
LOCAL = "fd000000000000000000000000000007 02 40 00 80     eth0\n"
GLOBAL = "20010db8000000000000000000000010 02 40 00 00     eth0\n"
ON_LOOPBACK = "20010db8000000000000000000000011 01 80 00 80       lo\n"

ANY = "00000000000000000000000000000000"


def route(destination: str = ANY, length: str = "00", flags: str = "00000003", interface: str = "eth0") -> str:
    router = "fe800000000000000000000000000001"
    return f"{destination} {length} {ANY} 00 {router} 00000400 00000001 00000000 {flags} {interface:>8}\n"


def test_addresses_of_global_scope_count_and_no_others() -> None:
    found = seen(LOOPBACK + LINK + LOCAL + ON_LOOPBACK + GLOBAL, "")
    assert found == Ipv6Seen((IPv6Address("2001:db8::10"),), ())


def test_default_routes_that_lead_somewhere_count_and_no_others() -> None:
    unreachable = route(flags="00200200", interface="lo")
    down = route(flags="00000002")
    network = route(destination="20010db8000000000000000000000000", length="40")
    assert seen("", unreachable + down + network) == Ipv6Seen((), ())
    assert seen("", route(interface="wlan0") + route() + route()) == Ipv6Seen((), ("eth0", "wlan0"))


def test_host_without_ipv6_has_none() -> None:
    assert seen("", "") == Ipv6Seen((), ())
