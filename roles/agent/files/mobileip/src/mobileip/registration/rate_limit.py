"""Token buckets: how often something may happen for one key. Bounded memory."""

from __future__ import annotations

from collections.abc import Hashable


class RateLimit:
    """At most `burst` at once and `rate` a second for each key; `capacity` keys, the longest unused one gives way."""

    def __init__(self, rate: float = 1.0, burst: int = 5, capacity: int = 65536) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._capacity = capacity
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def allows(self, key: Hashable, now: float) -> bool:
        """Take one token of `key` at `now` (seconds); False if it has none."""
        tokens, since = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - since) * self._rate)
        allowed = tokens >= 1.0
        if len(self._buckets) >= self._capacity:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        return allowed
