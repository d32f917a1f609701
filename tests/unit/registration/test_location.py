"""Inside or outside (draft 2.6.1, AMB-21)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from mobileip.registration.location import Location, LocationMode, LocationRule

INSIDE, OUTSIDE = IPv4Address("192.0.2.140"), IPv4Address("198.51.100.10")
MODES = list(LocationMode)


@pytest.mark.parametrize(
    ("source", "interface", "by_mode"),
    [
        (INSIDE, "priv", ["inside", "inside", "inside"]),
        (INSIDE, "pub", ["spoofed", "inside", "spoofed"]),
        (OUTSIDE, "priv", ["contradictory", "outside", "inside"]),
        (OUTSIDE, "pub", ["outside", "outside", "outside"]),
    ],
)
def test_every_case_in_every_mode_D_2_6_1_a(source: IPv4Address, interface: str, by_mode: list[str]) -> None:
    prefixes = (IPv4Network("192.0.2.0/24"),)
    found = [LocationRule("priv", prefixes, mode).locate(source, interface).value for mode in MODES]
    assert MODES == [LocationMode.ADDRESS_AND_INTERFACE, LocationMode.ADDRESS, LocationMode.INTERFACE]
    assert found == by_mode


def test_nothing_is_inside_by_default_AMB_21() -> None:
    assert LocationRule("priv").locate(INSIDE, "priv") is Location.CONTRADICTORY
