"""Whether nodes are still there: who has been silent is asked through the tunnel, who does not answer is told of.

Any packet out of a node's tunnel is a sign of life, so only those who send nothing are asked. The question is an echo
request from this end of the tunnel to the home address: a node that answers it is alive whichever way the answer takes,
through the tunnel or through its VPN in the tunnel. Nothing ends with a path: the registration decides about that.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class OneWay:
    """A node's own view of its tunnel: packets leave, and none comes back. Counts are the data path's."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds that an answer may take."""
        self._patience = patience
        self._sent = self._received = 0
        self._since: float | None = None

    def look(self, sent: int, received: int, now: float) -> bool:
        """Whether what was sent has waited for an answer too long."""
        if received != self._received:
            self._sent, self._received, self._since = sent, received, None
            return False
        if sent == self._sent:
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self._patience


class Finding(Enum):
    """What a look at a path says."""

    QUIET = auto()
    """Nothing to do."""
    ASK = auto()
    """Silent: send a probe."""
    LOST = auto()
    """As many probes as are allowed went unanswered; ask on."""
    BACK = auto()
    """A lost one that carries packets again."""


@dataclass(frozen=True)
class Probing:
    """Seconds of silence until a node is asked, seconds until it is asked again, and how often in a row."""

    interval: float
    timeout: float = 1.0
    attempts: int = 3

    @property
    def glance(self) -> float:
        """Seconds between two looks at a node that is heard: so much later than it fell silent it may be noticed."""
        return max(self.interval / 4, self.timeout)


@dataclass
class Path:
    """What is known of a node's path. Times are Unix seconds."""

    since: float
    """When the node registered from where it is."""
    packets: int
    """Out of its tunnels, when last looked at."""
    heard: float | None = None
    """When the count was last seen to have grown; None: not since then."""
    asked: int = 0
    lost: float | None = None
    """Since when it is silent, once that is known to mean something."""
    due: float = 0.0

    @property
    def sign(self) -> float:
        """The last sign of life, be it the registration."""
        return self.since if self.heard is None else max(self.heard, self.since)


class Paths(Generic[K]):
    """The paths of all nodes, and whose turn it is."""

    def __init__(self, probing: Probing) -> None:
        self._probing = probing
        self._paths: dict[K, Path] = {}
        self._turns: list[tuple[float, int, K]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._paths)

    def lost(self) -> int:
        """How many are taken to be dead."""
        return sum(path.lost is not None for path in self._paths.values())

    def get(self, key: K) -> Path | None:
        """What is known of a node's path."""
        return self._paths.get(key)

    def put(self, key: K, packets: int, now: float) -> None:
        """A node has registered from somewhere else than before; its tunnels have carried so many packets so far."""
        self._paths[key] = Path(since=now, packets=packets)
        self._put_off(key, now + self._probing.glance)

    def remove(self, key: K) -> None:
        """It has no binding any more."""
        self._paths.pop(key, None)

    def due(self, now: float, most: int) -> list[K]:
        """Whose turn it is, at most so many; each is to be looked at next."""
        found: list[K] = []
        while self._turns and self._turns[0][0] <= now and len(found) < most:
            due, _, key = heapq.heappop(self._turns)
            path = self._paths.get(key)
            if path is not None and path.due == due:
                found.append(key)
        return found

    def look(self, key: K, packets: int, now: float) -> Finding:
        """What so many packets out of the node's tunnels say, and when to look again."""
        path, probing = self._paths[key], self._probing
        if packets != path.packets:
            was_lost, path.packets = path.lost is not None, packets
            path.heard, path.asked, path.lost = now, 0, None
            self._put_off(key, now + probing.glance)
            return Finding.BACK if was_lost else Finding.QUIET
        if now < path.sign + probing.interval:
            self._put_off(key, min(path.sign + probing.interval, now + probing.glance))
            return Finding.QUIET
        path.asked += 1
        if path.asked <= probing.attempts:
            self._put_off(key, now + probing.timeout)
            return Finding.ASK
        self._put_off(key, now + max(probing.interval, probing.timeout))
        if path.lost is None:
            path.lost = path.sign
            return Finding.LOST
        return Finding.ASK

    def _put_off(self, key: K, due: float) -> None:
        self._order += 1
        self._paths[key].due = due
        heapq.heappush(self._turns, (due, self._order, key))
