"""Challenges of a foreign agent (RFC 4721): a node shows by one that its request is no replay of an earlier one.

A challenge is offered to everybody, in an advertisement, or to one node, in a reply or in an advertisement of its own.
It may be answered while it is among the last `window` of the advertised ones or the last one offered to that node, and
once by each node. What a node has used is remembered for longer, so that it hears the truth: stale, not unknown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from mobileip.wire.codes import Code

CHALLENGE_WINDOW = 2  # RFC 4721 9
_REMEMBERED = 8  # used challenges of one node


@dataclass
class _Dealings:
    """What one node was offered for itself, and what it has used."""

    offered: bytes | None = None
    used: deque[bytes] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Challenges:
    """Issues challenges and judges the answers. `capacity` nodes are remembered, the longest silent one gives way."""

    def __init__(
        self, size: int, entropy: Callable[[int], bytes], window: int = CHALLENGE_WINDOW, capacity: int = 65536
    ) -> None:
        self._size = size
        self._entropy = entropy
        self._advertised: deque[bytes] = deque(maxlen=window)
        self._dealings: OrderedDict[Hashable, _Dealings] = OrderedDict()
        self._capacity = capacity

    def advertise(self) -> bytes:
        """A new challenge for everybody; the oldest of the window goes."""
        challenge = self._entropy(self._size)
        self._advertised.append(challenge)
        return challenge

    def offer(self, node: Hashable) -> bytes:
        """A new challenge for one node; it replaces the one that the node was offered before."""
        challenge = self._entropy(self._size)
        self._of(node).offered = challenge
        return challenge

    def objection(self, node: Hashable, address: Hashable, challenge: bytes) -> Code | None:
        """Why the node, which asks from `address`, may not answer this challenge (RFC 4721 3.2), or None.

        An advertisement for one node alone offers its challenge to an address, a reply to the node itself.
        """
        dealings = self._dealings.get(node, _Dealings())
        if challenge in dealings.used:
            return Code.STALE_CHALLENGE
        offered = (dealings.offered, self._dealings.get(address, _Dealings()).offered)
        if challenge not in offered and challenge not in self._advertised:
            return Code.UNKNOWN_CHALLENGE
        return None

    def use(self, node: Hashable, challenge: bytes) -> None:
        """The node has answered it, and never may again."""
        self._of(node).used.append(challenge)

    def _of(self, node: Hashable) -> _Dealings:
        dealings = self._dealings.setdefault(node, _Dealings())
        self._dealings.move_to_end(node)
        if len(self._dealings) > self._capacity:
            self._dealings.popitem(last=False)
        return dealings
