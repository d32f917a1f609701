"""Tests on IPv4 addresses and networks, for assertions that name a wrong value before anything changes."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError


def is_address(value: object) -> bool:
    """Whether `value` is the text of an IPv4 address in dotted decimal."""
    try:
        IPv4Address(str(value))
    except AddressValueError:
        return False
    return True


def is_network(value: object) -> bool:
    """Whether `value` is the text of an IPv4 network with a prefix length and no host bits set."""
    text = str(value)
    if "/" not in text:
        return False
    try:
        IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        return False
    return True


def is_in(value: object, networks: str | Iterable[str]) -> bool:
    """Whether the address `value` is in one of `networks`; host bits of those may be set."""
    if not is_address(value):
        return False
    several = [networks] if isinstance(networks, str) else networks
    address = IPv4Address(str(value))
    return any(address in IPv4Network(str(network), strict=False) for network in several)


class TestModule:
    """What Ansible asks a file of tests for."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        """Return each test by its name in playbooks."""
        return {"ipv4_address": is_address, "ipv4_network": is_network, "ipv4_in": is_in}
