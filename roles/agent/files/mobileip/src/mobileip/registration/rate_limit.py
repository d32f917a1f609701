"""Token buckets: how often something may happen for one key. Bounded memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `burst` at once, and `rate` a second."""

    rate: float = 1.0
    burst: int = 5


class RateLimit:
    """An allowance for each key; `capacity` keys, the longest unused one gives way."""

    def __init__(self, rate: float = 1.0, burst: int = 5, capacity: int = 65536) -> None:
        self._allowance = Allowance(rate, burst)
        self._capacity = capacity
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def allows(self, key: Hashable, now: float, allowance: Allowance | None = None) -> bool:
        """Take one token of `key` at `now` (seconds); False if it has none. `allowance`: another than for most."""
        given = allowance or self._allowance
        tokens, since = self._buckets.pop(key, (float(given.burst), now))
        tokens = min(float(given.burst), tokens + max(0.0, now - since) * given.rate)
        allowed = tokens >= 1.0
        if len(self._buckets) >= self._capacity:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        return allowed


@dataclass(frozen=True, slots=True)
class ReplyAllowances:
    """How many replies anybody can provoke. `known`: sources that thousands of nodes may share, and what they get."""

    each: Allowance = Allowance()
    known: Mapping[IPv4Network, Allowance] = field(default_factory=dict)


class ReplyLimit:
    """Rations the replies that anybody can provoke, for each source and for each node.

    By node, since there are only so many of them; by source too, so that one stranger does not use up what the others
    get. A foreign agent or NAT that is known has an allowance of its own: thousands may sit behind it.
    """

    def __init__(self, allowances: ReplyAllowances) -> None:
        self._allowances = allowances
        self._sources = RateLimit()
        self._nodes = RateLimit()
        self._narrowest_first = sorted(allowances.known, key=lambda network: -network.prefixlen)

    def allows(self, kind: str, source: IPv4Address, node: Hashable, now: float) -> bool:
        """Take one token for a reply of this kind to `source` about `node`; False if either has none."""
        known = next((network for network in self._narrowest_first if source in network), None)
        allowance = self._allowances.each if known is None else self._allowances.known[known]
        return self._sources.allows((kind, source), now, allowance) and self._nodes.allows(
            (kind, node), now, self._allowances.each
        )
