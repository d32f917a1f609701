"""Chains of packet filters as data, and what they do to a packet of which only some things are known.

A condition holds, does not hold, or cannot be told: then both ways are followed. So `drop` alone means that the packet
is dropped for certain, and whatever this does not understand makes nothing certain.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

ACCEPT, DROP, THROUGH = "accept", "drop", "through"
_EITHER = frozenset({ACCEPT, DROP, THROUGH})
_WITH_PORTS = (6, 17, 33, 132, 136)
# As deep as the kernel lets chains jump.
_DEEPEST = 16

Range = tuple[int, int]
NumberKey = Literal["source", "destination", "protocol", "source_port", "destination_port"]


@dataclass(frozen=True)
class Flow:
    """First packets that must get through; what is not known of them is None. Numbers are ranges, ends included."""

    reason: str
    hook: Literal["input", "forward"]
    from_interface: str | None = None
    to_interface: str | None = None
    source: Range | None = None
    destination: Range | None = None
    protocol: int | None = None
    source_port: Range | None = None
    destination_port: Range | None = None
    # Of connection tracking: new, or untracked.
    state: str = "new"


class Condition(Protocol):
    """What must hold of a packet for a rule to decide on it."""

    def holds(self, flow: Flow) -> bool | None:
        """Return whether it does; None if that cannot be told."""


@dataclass(frozen=True)
class Numbers:
    """A number of the packet is in one of `ranges`; with `of`, in a packet of that protocol."""

    key: NumberKey
    ranges: tuple[Range, ...]
    of: int | None = None

    def holds(self, flow: Flow) -> bool | None:
        """Return whether it does; None if that cannot be told."""
        has_no_such_port = flow.protocol not in (None, *_WITH_PORTS) or self.of not in (None, flow.protocol)
        if self.key.endswith("_port") and flow.protocol is not None and has_no_such_port:
            return False
        if self.key == "protocol":
            given = None if flow.protocol is None else (flow.protocol, flow.protocol)
        else:
            given = getattr(flow, self.key)
        if given is None or (self.of is not None and flow.protocol is None):
            return None
        first, last = given
        if any(low <= first and last <= high for low, high in self.ranges):
            return True
        return None if any(low <= last and first <= high for low, high in self.ranges) else False


@dataclass(frozen=True)
class Interfaces:
    """The packet comes in by one of `patterns`, or leaves by one; `*` stands for the rest of a name."""

    key: Literal["from_interface", "to_interface"]
    patterns: tuple[str, ...]

    def holds(self, flow: Flow) -> bool | None:
        """Return whether it does; None if that cannot be told."""
        name = flow.from_interface if self.key == "from_interface" else flow.to_interface
        return None if name is None else any(fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class States:
    """Connection tracking calls the packet one of `names`."""

    names: tuple[str, ...]

    def holds(self, flow: Flow) -> bool | None:
        """Return whether it does."""
        return flow.state in self.names


@dataclass(frozen=True)
class DestinationTypes:
    """The destination is one of `names` to this host: LOCAL, UNICAST, MULTICAST and so on."""

    names: tuple[str, ...]

    def holds(self, flow: Flow) -> bool | None:
        """Return whether it is; what must get through goes to one address."""
        return ("LOCAL" if flow.hook == "input" else "UNICAST") in self.names


@dataclass(frozen=True)
class Never:
    """Nothing that must get through here: IPv6, and what was translated to another address."""

    def holds(self, flow: Flow) -> bool | None:
        """Return False."""
        return False


@dataclass(frozen=True)
class Unknown:
    """What this does not understand."""

    def holds(self, flow: Flow) -> bool | None:
        """Return None."""
        return None


@dataclass(frozen=True)
class Not:
    """The condition does not hold."""

    condition: Condition

    def holds(self, flow: Flow) -> bool | None:
        """Return the opposite; None if that cannot be told."""
        held = self.condition.holds(flow)
        return None if held is None else not held


@dataclass(frozen=True)
class Verdict:
    """What a rule does; `jump` and `goto` name a chain."""

    action: Literal["accept", "drop", "return", "jump", "goto", "continue", "unknown"]
    chain: str = ""


@dataclass(frozen=True)
class Rule:
    """Conditions that all must hold, and then a verdict."""

    conditions: tuple[Condition, ...]
    verdict: Verdict

    def holds(self, flow: Flow) -> bool | None:
        """Return whether all of them do; None if that cannot be told."""
        held = [condition.holds(flow) for condition in self.conditions]
        if False in held:
            return False
        return None if None in held else True


@dataclass(frozen=True)
class Chain:
    """Rules in order; with a hook, the kernel begins here, and what gets through has the policy."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    policy: str = ACCEPT


@dataclass(frozen=True)
class Table:
    """Chains that may jump to each other."""

    family: str
    name: str
    chains: Mapping[str, Chain] = field(default_factory=dict)

    def outcomes(self, chain: Chain, flow: Flow) -> frozenset[str]:
        """Return what may become of such packets in this base chain: `accept`, `drop` or both."""
        found = self._outcomes(chain.name, flow, 0)
        return (found - {THROUGH}) | ({chain.policy} if THROUGH in found else frozenset())

    def _outcomes(self, name: str, flow: Flow, depth: int) -> frozenset[str]:
        if depth > _DEEPEST or name not in self.chains:
            return _EITHER
        found: frozenset[str] = frozenset()
        for rule in self.chains[name].rules:
            held = rule.holds(flow)
            if held is False:
                continue
            ends, goes_on = self._verdict(rule.verdict, flow, depth)
            found |= ends
            if held and not goes_on:
                return found
        return found | {THROUGH}

    def _verdict(self, verdict: Verdict, flow: Flow, depth: int) -> tuple[frozenset[str], bool]:
        """Return how packets may end here, and whether some may go on to the next rule."""
        if verdict.action in (ACCEPT, DROP):
            return frozenset({verdict.action}), False
        if verdict.action == "return":
            return frozenset({THROUGH}), False
        if verdict.action == "continue":
            return frozenset(), True
        if verdict.action == "unknown":
            return _EITHER, True
        below = self._outcomes(verdict.chain, flow, depth + 1)
        return (below, False) if verdict.action == "goto" else (below - {THROUGH}, THROUGH in below)
