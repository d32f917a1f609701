"""Requests whose home agent cannot be reached: from an ICMP error to the answer that the node gets (draft 2.6.7).

An ICMP error has no authenticator, so it proves nothing (AMB-14): it must quote a request that is pending, with its
addresses, its ports and whatever else is quoted of it. The answer waits for a grace, since the home agent may reply
all the same; and the request stays pending behind the answer, so that a reply which comes later still counts.
"""

from __future__ import annotations

from collections import deque

from mobileip.registration.pending import PendingList, PendingRequest
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.identification import low
from mobileip.wire.messages import REQUEST_SIZE, read_request
from mobileip.wire.unreachable import Unreachable, udp_checksum

_CODES = {
    0: Code.FA_HOME_NETWORK_UNREACHABLE,
    1: Code.FA_HOME_AGENT_HOST_UNREACHABLE,
    3: Code.FA_HOME_AGENT_PORT_UNREACHABLE,
}


def unreachable_code(icmp_code: int) -> Code:
    """The code of RFC 5944 3.7.3 for an ICMP destination unreachable: 80, 81, 82, and 88 for all others."""
    return _CODES.get(icmp_code, Code.FA_HOME_AGENT_UNREACHABLE)


def request_quoted_in(error: Unreachable, pending: PendingList, now: float) -> PendingRequest | None:
    """The pending request that did not arrive, or None.

    By the quoted bytes where the fixed part is among them; else by port, length and UDP checksum, if only one fits.
    """
    if len(error.payload) < REQUEST_SIZE:
        fits = [request for request in pending.sent_from(error.source_port, now) if _is_checksum_of(request, error)]
        return fits[0] if len(fits) == 1 else None
    try:
        message, _ = read_request(error.payload)
    except Malformed:
        return None
    awaiting = pending.awaiting(error.destination, low(message.identification), now)
    return next((request for request in awaiting if _is_quoted(request, error)), None)


def _is_quoted(request: PendingRequest, error: Unreachable) -> bool:
    """Are these the addresses, ports, length and first bytes of what was sent?

    The checksum is left out: on a virtual network it is not yet the right one when a host quotes it.
    """
    sent = request.sent
    return (
        (error.source, error.source_port) == sent.source
        and (error.destination, error.destination_port) == sent.destination
        and error.length == len(sent.payload) + 8
        and sent.payload.startswith(error.payload)
    )


def _is_checksum_of(request: PendingRequest, error: Unreachable) -> bool:
    sent = request.sent
    return _is_quoted(request, error) and error.checksum == udp_checksum(
        *sent.source, *sent.destination, payload=sent.payload
    )


class Verdicts:
    """Errors that wait out their grace (seconds) before the node is told."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._waiting: deque[tuple[float, PendingRequest, Unreachable]] = deque()  # by age: one grace for all

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, request: PendingRequest, error: Unreachable, now: float) -> None:
        """Tell the node of this error when the grace is over."""
        self._waiting.append((now + self._grace, request, error))

    def next_deadline(self) -> float | None:
        """When the oldest grace is over (Unix seconds)."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, pending: PendingList, now: float) -> list[tuple[PendingRequest, Unreachable]]:
        """Requests that nobody has answered within the grace, each with the error about it."""
        over: list[tuple[PendingRequest, Unreachable]] = []
        while self._waiting:
            at, request, error = self._waiting[0]
            awaited = pending.find(request.key, now) is request
            if awaited and at > now:
                break
            self._waiting.popleft()
            if awaited:
                over.append((request, error))
        return over
