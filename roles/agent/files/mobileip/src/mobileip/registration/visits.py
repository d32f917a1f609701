"""The two lists of a foreign agent (RFC 5944 3.7.1): requests that wait for a reply, and visitors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import islice
from typing import NamedTuple

from mobileip.registration.events import Endpoint
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.identification import low
from mobileip.wire.messages import REQUEST_SIZE, RegistrationReply, RegistrationRequest, read_request
from mobileip.wire.unreachable import Unreachable

_UNSPECIFIED = IPv4Address(0)


class NodeName(NamedTuple):
    """Who asks: the home address that it has or 0, and the NAI that tells equal home addresses apart (RFC 2794 3)."""

    home_address: IPv4Address
    nai: bytes | None


class VisitorKey(NamedTuple):
    """What tells visitors apart: home addresses are unique at one home agent, or where they come with an NAI."""

    home_address: IPv4Address
    home_agent: IPv4Address
    nai: str | None


@dataclass(frozen=True)
class PendingVisit:
    """A relayed request: what it takes to check its reply and to pass it on (RFC 5944 3.7.1).

    Its bytes and extensions are not kept: nobody has vouched for them, and they may be long. `challenge` is the one
    that went to the home agent with it and must come back (RFC 4721 3.2), `answered` the one that the node used here.
    """

    request: RegistrationRequest
    nai: bytes | None
    source: Endpoint  # where the node sent it from
    destination: Endpoint  # where the node sent it to
    relayed: float
    encapsulating_delivery: bool = False
    challenge: bytes | None = None
    answered: bytes | None = None
    length: int = 0  # of the UDP datagram that went to the home agent, and its checksum: what an ICMP error quotes
    checksum: int = 0
    is_told: bool = False  # the node heard that the home agent is out of reach; a reply that comes still counts

    def is_repeated_by(self, other: PendingVisit) -> bool:
        """The same request once more, and an answer to the same challenge (RFC 4721 3.2)."""
        return (self.request, self.nai, self.answered) == (other.request, other.nai, other.answered)

    @property
    def name(self) -> NodeName:
        """Who asked."""
        return NodeName(self.request.home_address, self.nai)

    @property
    def key(self) -> tuple[NodeName, int]:
        """What a repeated request has in common with this one."""
        return (self.name, low(self.request.identification))

    def visitor_key(self, home_address: IPv4Address) -> VisitorKey:
        """Which visitor the node will be under this home address."""
        nai = self.nai.decode(errors="backslashreplace") if self.nai is not None else None
        return VisitorKey(home_address, self.request.home_agent, nai)

    def is_answered_by(self, reply: RegistrationReply, source: IPv4Address) -> bool:
        """Whether the reply is this request's.

        It comes from where the request went (RFC 5944 3.8.3.1), so that a stranger who guesses the rest is not
        believed, and names the node: by its home address, or by its NAI while it has none (RFC 2794 3).
        """
        if low(reply.identification) != low(self.request.identification) or source != self.request.home_agent:
            return False
        nai = find(reply.extensions, ExtensionType.NAI)
        if nai is not None and nai.data != self.nai:
            return False
        return self.request.home_address in (reply.home_address, _UNSPECIFIED)


class PendingVisits:
    """Pending requests, each for `timeout` seconds, oldest first."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._by_key: dict[tuple[NodeName, int], PendingVisit] = {}
        self._by_identification: dict[int, list[PendingVisit]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[PendingVisit]:
        return iter(self._by_key.values())

    def get(self, name: NodeName, identification: int) -> PendingVisit | None:
        """The request of this node with this Identification (its low half), or None."""
        return self._by_key.get((name, low(identification)))

    def of_node(self, name: NodeName) -> int:
        """How many requests of the node wait."""
        return sum(1 for each, _ in self._by_key if each == name)

    def add(self, entry: PendingVisit) -> None:
        """Wait for the reply; a repeated request waits its time anew, at the list's end."""
        if (earlier := self._by_key.get(entry.key)) is not None:
            self.remove(earlier)
        self._by_key[entry.key] = entry
        self._by_identification.setdefault(low(entry.request.identification), []).append(entry)

    def remove(self, entry: PendingVisit) -> None:
        """Wait no more."""
        del self._by_key[entry.key]
        identification = low(entry.request.identification)
        left = [each for each in self._by_identification[identification] if each is not entry]
        if left:
            self._by_identification[identification] = left
        else:
            del self._by_identification[identification]

    def match(self, reply: RegistrationReply, source: IPv4Address) -> PendingVisit | None:
        """The request that a reply from `source` answers; one whose NAI the reply repeats before one without."""
        candidates = [
            entry
            for entry in self._by_identification.get(low(reply.identification), ())
            if entry.is_answered_by(reply, source)
        ]
        nai = find(reply.extensions, ExtensionType.NAI)
        exact = [entry for entry in candidates if entry.nai == (nai.data if nai is not None else None)]
        return next(iter(exact or candidates), None)

    def quoted_in(self, error: Unreachable) -> PendingVisit | None:
        """The request that did not arrive, or None: an ICMP error proves nothing, so all that it quotes must fit.

        By the fixed part where that much is quoted, else by length and UDP checksum, if only one has them (RFC 792).
        """
        fits = [
            entry
            for entry in self
            if (entry.request.home_agent, entry.length) == (error.destination, error.length) and not entry.is_told
        ]
        if len(error.payload) < REQUEST_SIZE:
            fits = [entry for entry in fits if entry.checksum == error.checksum]
            return fits[0] if len(fits) == 1 else None
        try:
            quoted, _ = read_request(error.payload)
        except Malformed:
            return None
        fixed = replace(quoted, extensions=(), raw=b"")
        return next((entry for entry in fits if entry.request == fixed), None)

    def tell(self, entry: PendingVisit) -> None:
        """The node has heard about this one; it goes on waiting, silently, at its place in the list."""
        told = replace(entry, is_told=True)
        self._by_key[entry.key] = told
        waiting = self._by_identification[low(entry.request.identification)]
        waiting[waiting.index(entry)] = told

    def next_deadline(self) -> float | None:
        """When the oldest one has waited long enough (Unix seconds)."""
        return next((entry.relayed + self._timeout for entry in islice(self._by_key.values(), 1)), None)

    def expire(self, now: float) -> list[PendingVisit]:
        """Take out those that have waited long enough."""
        expired = [entry for entry in self if entry.relayed + self._timeout <= now]
        for entry in expired:
            self.remove(entry)
        return expired
