"""Challenges of a foreign agent (RFC 4721): a node shows by one that its request is no replay of an earlier one.

A challenge is offered to everybody, in an advertisement, or to one node, in a reply or in an advertisement of its own.
It may be answered while it is among the last `window` of the advertised ones or the last one offered to that node, and
once by each node. What a node has used is remembered for longer, so that it hears the truth: stale, not unknown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import TypeVar

from mobileip.wire.codes import Code

CHALLENGE_WINDOW = 2  # RFC 4721 9
_REMEMBERED = 8  # used challenges of one node

_T = TypeVar("_T")


class Challenges:
    """Issues challenges and judges the answers.

    `capacity` nodes are remembered, the longest silent one gives way. Offers and answers are kept apart: a stranger
    gets an offer for nothing, and must not push out by that what somebody else has used.
    """

    def __init__(
        self, size: int, entropy: Callable[[int], bytes], window: int = CHALLENGE_WINDOW, capacity: int = 65536
    ) -> None:
        self._size = size
        self._entropy = entropy
        self._advertised: deque[bytes] = deque(maxlen=window)
        self._offered: OrderedDict[Hashable, bytes] = OrderedDict()
        self._used: OrderedDict[Hashable, tuple[bytes, ...]] = OrderedDict()
        self._capacity = capacity

    def advertise(self) -> bytes:
        """A new challenge for everybody; the oldest of the window goes."""
        challenge = self._entropy(self._size)
        self._advertised.append(challenge)
        return challenge

    def offer(self, node: Hashable) -> bytes:
        """A new challenge for one node; it replaces the one that the node was offered before."""
        challenge = self._entropy(self._size)
        self._keep(self._offered, node, challenge)
        return challenge

    def objection(self, node: Hashable, address: Hashable, challenge: bytes) -> Code | None:
        """Why the node, which asks from `address`, may not answer this challenge (RFC 4721 3.2), or None.

        An advertisement for one node alone offers its challenge to an address, a reply to the node itself.
        """
        if challenge in self._used.get(node, ()):
            return Code.STALE_CHALLENGE
        offered = (self._offered.get(node), self._offered.get(address))
        if challenge not in offered and challenge not in self._advertised:
            return Code.UNKNOWN_CHALLENGE
        return None

    def use(self, node: Hashable, challenge: bytes) -> None:
        """The node has answered it, and never may again."""
        self._keep(self._used, node, (*self._used.get(node, ()), challenge)[-_REMEMBERED:])

    def _keep(self, entries: OrderedDict[Hashable, _T], node: Hashable, value: _T) -> None:
        entries[node] = value
        entries.move_to_end(node)
        if len(entries) > self._capacity:
            entries.popitem(last=False)
