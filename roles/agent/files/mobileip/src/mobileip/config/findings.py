"""What no single field can know, as far as several roles ask it: repetitions, overlaps, hosts of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from mobileip.config.problems import KeyPath, dotted

Finding = tuple[KeyPath, object, str, str]
"""Key path, value, expectation, advice."""

T = TypeVar("T")


def repeated(values: Sequence[tuple[KeyPath, T]], what: str) -> Iterator[Finding]:
    seen: dict[T, KeyPath] = {}
    for path, value in values:
        if value in seen:
            yield path, value, f"is already used at {dotted(seen[value])}", f"give each {what} one of its own"
        seen.setdefault(value, path)


def overlapping(networks: Sequence[tuple[KeyPath, IPv4Network]], where: str) -> Iterator[Finding]:
    for index, (path, network) in enumerate(networks):
        for other_path, other in networks[:index]:
            if network.overlaps(other):
                yield (
                    path,
                    network,
                    f"overlaps {other} at {dotted(other_path)} {where}",
                    "home networks may overlap only behind different gateways: remove or shrink one of the two",
                )


def host_in_network(
    path: KeyPath, address: IPv4Address, networks: Sequence[IPv4Network], where: str
) -> Iterator[Finding]:
    network = next((network for network in networks if address in network), None)
    if network is None:
        listed = ", ".join(str(network) for network in networks)
        yield path, address, f"is in no home network of {where} ({listed})", "correct the address or add its network"
    elif network.prefixlen < 31 and address in {network.network_address, network.broadcast_address}:
        yield path, address, f"is the network or broadcast address of {network}", "choose the address of a host"
