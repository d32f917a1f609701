"""Tests on addresses and networks, as assertions in playbooks use them."""

from __future__ import annotations

import pytest
from ansible_collections.mobileip.vpn.plugins.test.ipv4 import TestModule as Plugin
from ansible_collections.mobileip.vpn.plugins.test.ipv4 import is_address, is_in, is_network


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.1", True),
        ("192.0.2.256", False),
        ("192.0.2.1/32", False),
        ("2001:db8::1", False),
        ("", False),
        (None, False),
    ],
)
def test_address_is_dotted_decimal(value: object, expected: bool) -> None:
    assert is_address(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.64/27", True),
        ("192.0.2.65/27", False),
        ("192.0.2.64", False),
        ("192.0.2.64/33", False),
        ("x/24", False),
    ],
)
def test_network_has_a_length_and_no_host_bits(value: object, expected: bool) -> None:
    assert is_network(value) is expected


@pytest.mark.parametrize(
    ("value", "networks", "expected"),
    [
        ("192.0.2.69", "192.0.2.64/27", True),
        ("192.0.2.69", ["198.51.100.0/24", "192.0.2.70/27"], True),
        ("192.0.2.96", ["192.0.2.64/27"], False),
        ("192.0.2.69", [], False),
        ("nowhere", ["192.0.2.64/27"], False),
    ],
)
def test_address_in_one_of_the_networks(value: object, networks: str | list[str], expected: bool) -> None:
    assert is_in(value, networks) is expected


def test_names_in_playbooks_have_their_documentation_beside_them() -> None:
    assert set(Plugin().tests()) == {"ipv4_address", "ipv4_network", "ipv4_in"}
