"""Identifications of a mobile node's requests: timestamps (RFC 5944 5.7.1) or nonces (5.7.2)."""

from __future__ import annotations

from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import ReplayStyle

_COUNTED = 0x3FF  # low bits of an Identification that number the requests
_MODULUS = 1 << 64


class Identifications:
    """By timestamps: each newer than any that was accepted, with a low half of its own.

    `clock_offset` in seconds is what the agents' clock is ahead of ours.
    """

    def __init__(self) -> None:
        self.clock_offset = 0.0
        self._requests = 0
        self._accepted: int | None = None

    def next(self, now: float) -> int:
        """The one for a request that is sent at `now`.

        The bits a float has no room for count requests. Without that, two requests whole seconds apart would have one
        low half, and a reply to the first would pass for one to the second.
        """
        number = self._number()
        stamp = timestamps.from_unix(now + self.clock_offset) & ~_COUNTED | number
        if self._accepted is None or timestamps.is_newer(stamp, self._accepted):
            return stamp
        return (self._accepted + 1 + number) % _MODULUS  # the clock went back; what was accepted did not

    def is_repeatable(self, identification: int) -> bool:
        """Whether an unanswered request that bears this one is repeated byte by byte."""
        return False

    def accepted(self, identification: int) -> None:
        """An agent has taken note of this request's: all that come after it are newer."""
        if self._accepted is None or timestamps.is_newer(identification, self._accepted):
            self._accepted = identification

    def answered(self, identification: int) -> None:
        """An authentic reply, whatever its code, carried this one."""

    def adjust(self, identification: int, now: float) -> None:
        """Take the agent's clock from the Identification of its reply with code 133: seconds in the high half."""
        middle_of_second = timestamps.high(identification) << 32 | 1 << 31
        self.clock_offset = timestamps.to_unix(middle_of_second, near=now) - now

    def _number(self) -> int:
        number = self._requests & _COUNTED
        self._requests += 1
        return number


class Nonces(Identifications):
    """By nonces: every authentic reply brings the high half of the next request; the low half is ours.

    Before the first reply it is zero; the code 133 that answers it brings a nonce.
    """

    def __init__(self) -> None:
        super().__init__()
        self._nonce = 0

    def next(self, now: float) -> int:
        """The agent's last nonce over a low half that no recent request had."""
        return self._nonce << 32 | timestamps.from_unix(now) >> 10 & 0xFFFF_FC00 | self._number()

    def is_repeatable(self, identification: int) -> bool:
        """As long as no reply has brought another nonce (RFC 5944 5.7.2)."""
        return timestamps.high(identification) == self._nonce

    def accepted(self, identification: int) -> None:
        """Nonces have no order."""

    def answered(self, identification: int) -> None:
        """Take the nonce for the next request."""
        self._nonce = timestamps.high(identification)

    def adjust(self, identification: int, now: float) -> None:
        """Code 133 carries the nonce that is wanted, like every reply."""
        self.answered(identification)


def identifications(style: ReplayStyle) -> Identifications:
    """The kind that the node and its agents have agreed on."""
    return Nonces() if style is ReplayStyle.NONCE else Identifications()
