"""Requests that are out: how often, how much later each, and which reply answers which (RFC 5944 3.6.2.1 and 3.6.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.registration.actions import Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.node_requests import Ask, Target
from mobileip.wire import identification as timestamps
from mobileip.wire.codes import Code
from mobileip.wire.messages import RegistrationReply

LEAST_REQUEST_GAP = 1.0  # seconds between two requests to one agent (RFC 5944 3.6.3)
_BEYOND_ROUND_TRIPS = 0.1  # seconds that a first timeout leaves beyond two round trips (RFC 5944 3.6.3)

_NO_SUCH_ENCAPSULATION = (
    Code.FA_ENCAPSULATION_UNAVAILABLE,
    Code.ENCAPSULATION_UNAVAILABLE,
    Code.UDP_ENCAPSULATION_UNAVAILABLE,
)


@dataclass(frozen=True)
class Outstanding:
    """The last request to a target, while its reply is awaited. `sent` in Unix seconds, of the first copy."""

    target: Target
    ask: Ask
    sent: float
    message: Send

    @property
    def identification(self) -> int:
        """The request's."""
        return self.ask.identification

    @property
    def lifetime(self) -> int:
        """What it asks for, in seconds."""
        return self.ask.lifetime


@dataclass
class Wishes:
    """What requests ask for here. A denial may take some of it back, a move restores it."""

    lifetime: int
    simultaneous: bool
    encapsulation: Encapsulation = Encapsulation.IPIP
    udp_tunnel: bool = True

    def give_up(self, reply: RegistrationReply) -> None:
        """Ask for less of what this reply denies."""
        if reply.code == Code.FA_LIFETIME_TOO_LONG and reply.lifetime:
            self.lifetime = min(self.lifetime, reply.lifetime)  # RFC 5944 3.6.2.3
        elif reply.code in _NO_SUCH_ENCAPSULATION and self.encapsulation is not Encapsulation.IPIP:
            self.encapsulation = Encapsulation.IPIP  # which everybody has (RFC 5944 4.1)
        elif reply.code == Code.UDP_ENCAPSULATION_UNAVAILABLE:
            self.udp_tunnel = False  # RFC 3519 3.5
        elif reply.code == Code.TOO_MANY_BINDINGS:
            self.simultaneous = False


class Attempts:
    """The requests to one target, and to a companion beside it, from the first to the one that is answered."""

    def __init__(self, first_timeout: float, longest_timeout: float) -> None:
        self._first_timeout = first_timeout
        self._longest_timeout = longest_timeout
        self._timeout = first_timeout
        self._outstanding: dict[int, Outstanding] = {}  # by the low half of the identification
        self._last_sent: dict[IPv4Address, float] = {}
        self._round_trip = 0.0
        self.count = 0
        self.resynchronisations = 0
        self.redirections = 0
        self.since: float | None = None
        """When the first of them was sent, in Unix seconds."""

    def begin(self) -> None:
        """Another target, or a renewal: waiting times start anew."""
        self.patience_anew()
        self.count = 0
        self.resynchronisations = 0
        self.redirections = 0
        self.since = None

    def patience_anew(self) -> None:
        """The first timeout again: two round trips and a bit at least (RFC 5944 3.6.3)."""
        self._timeout = max(self._first_timeout, 2 * self._round_trip + _BEYOND_ROUND_TRIPS)

    def forget_link(self) -> None:
        """RFC 5944 3.6.3 bounds repetition; a move asks anew."""
        self._last_sent.clear()

    def forget(self) -> None:
        """No reply is awaited any more."""
        self._outstanding.clear()

    def earliest(self, target: Target) -> float:
        """When the agent may get its next request, in Unix seconds."""
        return self._last_sent.get(target.destination, -math.inf) + LEAST_REQUEST_GAP

    def patience(self, lifetime: int) -> float:
        """Seconds until the request that is sent now is repeated. The next one gets twice that.

        Never longer than the lifetime that it asks for (RFC 5944 3.6.3).
        """
        ceiling = min(self._longest_timeout, lifetime or math.inf)
        patience = min(self._timeout, ceiling)
        self._timeout = min(2 * patience, ceiling)
        return patience

    def pause(self) -> float:
        """Seconds to wait behind a denial: as long as the request would have waited for its reply."""
        return max(self._timeout / 2, LEAST_REQUEST_GAP)

    def sent(self, request: Outstanding, now: float) -> None:
        """Only the last request to a target can be answered (RFC 5944 3.6.2.1)."""
        self._outstanding = {key: other for key, other in self._outstanding.items() if other.target != request.target}
        self._outstanding[timestamps.low(request.identification)] = request
        self._last_sent[request.target.destination] = now
        if self.since is None:
            self.since = now

    def to(self, target: Target) -> Outstanding | None:
        """The request that `target` has not answered."""
        return next((request for request in self._outstanding.values() if request.target == target), None)

    def find(self, identification: int) -> Outstanding | None:
        """The request that a reply with this Identification answers."""
        return self._outstanding.get(timestamps.low(identification))

    def answered(self, request: Outstanding, now: float) -> None:
        """It has its reply; how long that took says how long to wait for the next."""
        self._outstanding.pop(timestamps.low(request.identification), None)
        self._round_trip = max(0.0, now - request.sent)
