"""How many bindings, and how many registrations a second, an agent takes on: in all, and for each home network.

Whoever has a binding comes first. Its renewals and moves need no room, and of each second's registrations half is kept
for them; only what they leave is given to others. A deregistration makes room and is never refused. The rest is told
"insufficient resources" (130) and tries again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

_KEPT_FOR_RENEWALS = 0.5


@dataclass(frozen=True, slots=True)
class Limit:
    """What is taken on at most: `bindings` at a time, registrations `per_second`. None: as many as come."""

    bindings: int | None = None
    per_second: int | None = None


@dataclass(frozen=True, slots=True)
class AdmissionPolicy:
    """The limit of all together, and those of home networks besides."""

    total: Limit = Limit()
    networks: Mapping[IPv4Network, Limit] = field(default_factory=dict)


class _Bucket:
    """Tokens for one second; the kept share is for those who renew."""

    def __init__(self, per_second: int) -> None:
        self._size = float(per_second)
        self._kept = min(_KEPT_FOR_RENEWALS * self._size, self._size - 1.0)
        self._tokens = self._size
        self._since = 0.0

    def has_token(self, now: float, *, renews: bool) -> bool:
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._since) * self._size)
        self._since = now
        return self._tokens >= 1.0 + (0.0 if renews else self._kept)

    def take(self) -> None:
        self._tokens -= 1.0


class _Share:
    """One limit and what is used of it."""

    def __init__(self, name: str, limit: Limit) -> None:
        self.name = name
        self.limit = limit
        self.bindings = 0
        self.refused = 0
        self.bucket = None if limit.per_second is None else _Bucket(limit.per_second)

    @property
    def is_full(self) -> bool:
        return self.limit.bindings is not None and self.bindings >= self.limit.bindings


class Admission:
    """Counts bindings and registrations. Only what has been authenticated may use up any of it."""

    def __init__(self, policy: AdmissionPolicy) -> None:
        self._total = _Share("all home networks", policy.total)
        self._networks = {
            network: _Share(f"home network {network}", limit) for network, limit in policy.networks.items()
        }
        self._limits = policy.total != Limit() or bool(policy.networks)

    def added(self, home_address: IPv4Address) -> None:
        """There is one more binding of this home address."""
        for share in self._shares(home_address):
            share.bindings += 1

    def removed(self, home_address: IPv4Address) -> None:
        """There is one less."""
        for share in self._shares(home_address):
            share.bindings -= 1

    def refuses(self, home_address: IPv4Address, now: float, *, renews: bool, adds: bool) -> str | None:
        """Why a registration is not taken on at `now` (seconds), or None: then it is counted.

        `renews`: its node has a binding. `adds`: it makes one more than there are. An unassigned home address (0.0.0.0)
        belongs to no home network yet.
        """
        if not self._limits:
            return None
        shares = list(self._shares(home_address))
        for share in shares:
            if adds and share.is_full:
                return _refusal(share, f"{share.limit.bindings} bindings, as many as it may have")
            if share.bucket is not None and not share.bucket.has_token(now, renews=renews):
                return _refusal(share, f"more than {share.limit.per_second} registrations a second")
        for share in shares:
            if share.bucket is not None:
                share.bucket.take()
        return None

    def is_full(self, home_address: IPv4Address) -> str | None:
        """Why one more binding of this home address has no room, or None."""
        for share in self._shares(home_address) if self._limits else ():
            if share.is_full:
                return _refusal(share, f"{share.limit.bindings} bindings, as many as it may have")
        return None

    def rows(self) -> list[dict[str, str | int | None]]:
        """Limits and use, for `show`."""
        return [
            {
                "of": share.name,
                "bindings": share.bindings,
                "most_bindings": share.limit.bindings,
                "most_per_second": share.limit.per_second,
                "refused": share.refused,
            }
            for share in (self._total, *self._networks.values())
        ]

    def _shares(self, home_address: IPv4Address) -> Iterable[_Share]:
        yield self._total
        for network, share in self._networks.items():
            if home_address in network:
                yield share


def _refusal(share: _Share, why: str) -> str:
    share.refused += 1
    return f"{share.name}: {why}"
