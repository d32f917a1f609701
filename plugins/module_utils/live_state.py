"""What a host says of the roles' variables: each source for itself, and where two of them disagree.

A variable may show in more than one place: the home networks of a gateway are in its routes, in its rules and in its
packet filter. Each place is a witness. What they agree on is the value; where they do not, somebody has changed one.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses, summarize_address_range
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Witness:
    """What one source says of one variable."""

    variable: str
    value: Any
    source: str


@dataclass(frozen=True)
class Remark:
    """What a source shows that no variable of the roles can say, or misses that one of them says."""

    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


Said: TypeAlias = "Witness | Remark"


def variables(witnesses: Iterable[Witness]) -> dict[str, Any]:
    """Return each variable with what its first witness says."""
    found: dict[str, Any] = {}
    for witness in witnesses:
        found.setdefault(witness.variable, witness.value)
    return dict(sorted(found.items()))


def conflicts(witnesses: Iterable[Witness]) -> list[dict[str, Any]]:
    """Return the variables on which witnesses disagree, with the word of each; the order of a list does not count."""
    said: dict[str, list[Witness]] = {}
    for witness in witnesses:
        said.setdefault(witness.variable, []).append(witness)
    return [
        {"variable": variable, "values": [{"source": one.source, "value": one.value} for one in heard]}
        for variable, heard in sorted(said.items())
        if any(_unordered(one.value) != _unordered(heard[0].value) for one in heard)
    ]


def _unordered(value: Any) -> Any:
    return sorted(map(repr, value)) if isinstance(value, list) else value


def networks(elements: Iterable[str]) -> list[str]:
    """Return networks, in order, of addresses, networks and ranges `FIRST-LAST`; adjacent ones stay apart."""
    found: set[IPv4Network] = set()
    for element in elements:
        first, dash, last = element.partition("-")
        if dash:
            found.update(summarize_address_range(IPv4Address(first), IPv4Address(last)))
        else:
            found.add(IPv4Network(element))
    return [str(network) for network in sorted(found)]


def without(whole: Iterable[str], part: Iterable[str]) -> list[str]:
    """Return what of some networks is in none of others, as the fewest networks."""
    left = [IPv4Network(network) for network in whole]
    for other in map(IPv4Network, part):
        left = [piece for network in left for piece in _cut(network, other)]
    return [str(network) for network in sorted(collapse_addresses(left))]


def _cut(network: IPv4Network, other: IPv4Network) -> Iterable[IPv4Network]:
    if network.subnet_of(other):
        return []
    return network.address_exclude(other) if other.subnet_of(network) else [network]
