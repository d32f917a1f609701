"""Is a request new? Replay protection by timestamps or nonces (RFC 5944 5.7), for whoever plays a home agent.

Timestamps: within the window of the clock, and newer than every one accepted from the node before. A value is accepted
only after its request authenticated, and made durable before anything is done with the request.

Nonces: the home agent puts a fresh one into each reply, and the node's next request must have it. The one who issues
them (`draw_nonce`) judges. A surrogate cannot invent any: it passes the home agent's on, remembers the last, and either
leaves the judgement to the home agent or compares for itself (AMB-6). The home agent may have talked to the node behind
the surrogate's back, so what it remembers may be stale: by default it defers.

The Identification of a node's requests is checked by surrogate and home agent, each by its own clock. `monotonic`
leaves closeness to the home agent; `learn_clock` takes the home agent's clock from its denials with code 133.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from mobileip.registration.actions import PersistIdentification
from mobileip.registration.bindings import NodeKey
from mobileip.wire import identification as ids
from mobileip.wire.authentication import ReplayStyle, SecurityAssociation

_MOST_REFUSED = 8
"""Timestamps of one node that are remembered as refused by the home agent."""


class ReplayMode(StrEnum):
    """How timestamps are judged."""

    STRICT = "strict"  # RFC 5944 5.7.1
    MONOTONIC = "monotonic"  # newer than the last is enough: the home agent enforces closeness


class NonceCheck(StrEnum):
    """What a surrogate does with a nonce that is not the last one it passed on."""

    DEFER = "defer-to-ha"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """How strict to be. `window` in seconds, on both sides of the clock."""

    window: float = 7.0
    mode: ReplayMode = ReplayMode.STRICT
    nonce_check: NonceCheck = NonceCheck.DEFER
    learn_clock: bool = False


class Freshness(Enum):
    """The verdict on an Identification. UNPROVEN: the home agent will judge; nothing may be ended on its strength."""

    FRESH = "fresh"
    UNPROVEN = "unproven"
    STALE = "stale"


def no_nonces() -> int:
    """The random source of an agent that was given none. Raises LookupError: a guessable nonce protects nothing."""
    raise LookupError("no random source for nonces: hand one to the agent, or use timestamps")


class ReplayGuard:
    """What has been accepted from each node, and the nonces that are due, by SPI.

    `draw_nonce` gives 32 random bits; None for a surrogate, which takes nonces from the home agent's replies.
    """

    def __init__(self, policy: ReplayPolicy, draw_nonce: Callable[[], int] | None = None) -> None:
        self._policy = policy
        self._draw = draw_nonce
        self._accepted: dict[NodeKey, dict[int, int]] = {}
        self._nonces: dict[NodeKey, dict[int, int]] = {}
        self._relayed: dict[tuple[NodeKey, int], int] = {}  # a surrogate's last request with a nonce
        self._clock_offset: dict[NodeKey, float] = {}
        self._refused: dict[NodeKey, tuple[int, ...]] = {}

    @property
    def clock_offsets(self) -> Mapping[NodeKey, float]:
        """What home agents' clocks were found to be ahead of ours, in seconds, by the node that we learned it from."""
        return self._clock_offset

    def judge(self, node: NodeKey, association: SecurityAssociation, identification: int, now: float) -> Freshness:
        """Is the Identification new? Asked of authentic requests only, in the context that their SPI names."""
        if association.replay is ReplayStyle.NONCE:
            return self._judge_nonce(node, association.spi, identification)
        return Freshness.FRESH if self._is_fresh(node, identification, now) else Freshness.STALE

    def accept(
        self, node: NodeKey, association: SecurityAssociation, identification: int
    ) -> list[PersistIdentification]:
        """Use the Identification up; what makes that durable is returned."""
        if association.replay is ReplayStyle.TIMESTAMP:
            self._accepted.setdefault(node, {})[association.spi] = identification
            return [PersistIdentification(node, association.spi, identification)]
        if self._draw is not None:
            return self._expect(node, association.spi, self._draw())
        self._relayed[node, association.spi] = identification
        return []

    def reply_identification(self, node: NodeKey, association: SecurityAssociation, identification: int) -> int:
        """Identification of a reply of ours: the request's, with the nonce that is due in its high half."""
        if association.replay is ReplayStyle.TIMESTAMP:
            return identification
        nonce = self._nonces.get(node, {}).get(association.spi)
        # A surrogate that knows no nonce copies: an invented one would be refused by the home agent.
        return identification if nonce is None else nonce << 32 | ids.low(identification)

    def resynchronising(
        self, node: NodeKey, association: SecurityAssociation, identification: int, now: float
    ) -> tuple[int, list[PersistIdentification]]:
        """Identification of a reply with code 133 (RFC 5944 5.7), and what must be durable before it leaves."""
        if association.replay is ReplayStyle.TIMESTAMP:
            return ids.resynchronising(identification, now + self._clock_offset.get(node, 0.0)), []
        drawn = [] if self._draw is None else self._expect(node, association.spi, self._draw())
        return self.reply_identification(node, association, identification), drawn

    def hear(
        self, node: NodeKey, association: SecurityAssociation, asked: int, answered: int, refused: bool, now: float
    ) -> list[PersistIdentification]:
        """A surrogate's lesson from an authentic reply of the home agent: its nonce, or its clock if it `refused` one.

        `association` is the one with the node, `asked` the request's Identification, `answered` the reply's.
        """
        if association.replay is ReplayStyle.NONCE:
            return self._expect(node, association.spi, ids.high(answered))
        if not refused:
            return []
        seconds = ids.high(answered) << 32
        if self._policy.learn_clock:
            self._clock_offset[node] = ids.to_unix(seconds | 1 << 31, near=now) - now
        elif self._policy.mode is ReplayMode.STRICT:
            return []
        return self._go_back(node, asked, seconds)

    def records(self) -> Iterator[PersistIdentification]:
        """Everything that must outlive the process."""
        for node, by_spi in self._accepted.items():
            for spi, identification in by_spi.items():
                yield PersistIdentification(node, spi, identification)
        for node, by_spi in self._nonces.items():
            for spi, nonce in by_spi.items():
                yield PersistIdentification(node, spi, nonce << 32, nonce=True)

    def restore(self, record: PersistIdentification) -> None:
        """Remember what was durable; an older timestamp never replaces a newer one."""
        if record.nonce:
            self._nonces.setdefault(record.node, {})[record.spi] = ids.high(record.identification)
            return
        by_spi = self._accepted.setdefault(record.node, {})
        earlier = by_spi.get(record.spi)
        if earlier is None or ids.is_newer(record.identification, earlier):
            by_spi[record.spi] = record.identification

    def _is_fresh(self, node: NodeKey, identification: int, now: float) -> bool:
        offset = self._clock_offset.get(node, 0.0) if self._clock_offset else 0.0
        if self._policy.mode is ReplayMode.STRICT and not ids.is_close(
            identification, now + offset, self._policy.window
        ):
            return False
        if self._refused and identification in self._refused.get(node, ()):
            return False
        # Newer than all, whichever SPI they used (RFC 5944 5.7.1).
        return all(ids.is_newer(identification, earlier) for earlier in self._accepted.get(node, {}).values())

    def _judge_nonce(self, node: NodeKey, spi: int, identification: int) -> Freshness:
        due = self._nonces.get(node, {}).get(spi)
        if due is not None and due == ids.high(identification):
            return Freshness.FRESH
        if self._draw is not None:
            return Freshness.STALE
        # A surrogate without a nonce has nothing to compare with, and an unanswered request comes again byte by byte.
        unknown = due is None or self._relayed.get((node, spi)) == identification
        return Freshness.UNPROVEN if unknown or self._policy.nonce_check is NonceCheck.DEFER else Freshness.STALE

    def _expect(self, node: NodeKey, spi: int, nonce: int) -> list[PersistIdentification]:
        self._nonces.setdefault(node, {})[spi] = nonce
        return [PersistIdentification(node, spi, nonce << 32, nonce=True)]

    def _go_back(self, node: NodeKey, asked: int, seconds: int) -> list[PersistIdentification]:
        """The home agent has refused `asked`, by its clock: what it will accept may be older than what we have.

        So we go back to that clock with it, or a node whose own was ahead once were never new again. The refused value
        itself stays used up, or it would pass for new when that clock gets there.
        """
        by_spi = self._accepted.setdefault(node, {})
        self._refused[node] = (*self._refused.get(node, ())[1 - _MOST_REFUSED :], asked)
        ahead = [each for each, accepted in by_spi.items() if ids.is_newer(accepted, seconds)]
        by_spi.update(dict.fromkeys(ahead, seconds))
        return [PersistIdentification(node, each, seconds) for each in ahead]
