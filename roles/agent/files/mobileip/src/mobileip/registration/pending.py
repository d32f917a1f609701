"""Requests that the proxy has relayed and whose reply it waits for (draft 2.2, 2.6.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import field
from ipaddress import IPv4Address
from itertools import islice, takewhile
from typing import NamedTuple

from mobileip.registration.actions import Send
from mobileip.registration.assignment import Assignment
from mobileip.registration.bindings import NodeKey
from mobileip.registration.events import DatagramReceived
from mobileip.registration.nat import Tunnel
from mobileip.registration.peers import nai_of
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.address import number
from mobileip.wire.authentication import ReplayStyle
from mobileip.wire.codes import LAST_ACCEPTANCE
from mobileip.wire.identification import low
from mobileip.wire.messages import RegistrationReply
from mobileip.wire.record import record
from mobileip.wire.typed_extensions import HomeAgentParameterFormat


class PendingKey(NamedTuple):
    """What tells pending requests apart: who is asked, for which node, and the Identification.

    `name` is the home address of the request, or the NAI where that is 0 (D-2.6.3-b).
    """

    home_agent: IPv4Address
    gateway: IPv4Address | None
    name: IPv4Address | str
    identification: int


@record(frozen=True, slots=True)
class PendingRequest:
    """A relayed request: what its reply will need.

    `lifetime` is what the node may get at most, `at_home_agent` what the home agent was asked for, both in seconds;
    `tunnel` is None for a deregistration. `adds`: the binding stands beside others, instead of in their place.
    `parameter` is the format in which the node sent its HA Parameter extension, None if it sent none.
    `sent` is the request to the home agent. `fresh` False: it may be a copy of an earlier one.
    """

    request: AuthenticRequest
    received: DatagramReceived
    node: NodeKey
    home_agent: IPv4Address
    tunnel: Tunnel | None
    lifetime: int
    at_home_agent: int
    relayed_at: float
    parameter: HomeAgentParameterFormat | None
    sent: Send
    adds: bool = False
    fresh: bool = True
    answer: bytes | None = field(default=None, compare=False, repr=False)
    """The extensions of the reply, if it turns out to be a plain acceptance (see `renewals`)."""
    key: PendingKey = field(init=False, compare=False, repr=False)
    """What tells it from other requests."""

    def __post_init__(self) -> None:
        message = self.request.message
        name = message.home_address if number(message.home_address) else self.node.name
        key = PendingKey(self.home_agent, self.node.gateway, name, message.identification)
        object.__setattr__(self, "key", key)

    @property
    def assignment(self) -> Assignment:
        """Who was asked, and the form in which the node spoke of it."""
        return Assignment(self.home_agent, self.parameter)

    @property
    def replaces_all(self) -> bool:
        """Whatever the node had before is over with it: a registration that does not add, or the end of all."""
        message = self.request.message
        return message.deregisters_all if message.deregisters else not self.adds

    def is_answered_by(self, reply: RegistrationReply) -> bool:
        """Is this the reply for the node of the request, by home address or, where that is 0, by NAI (AMB-12)?

        A node whose clock has whole seconds sends the same low half each time. So an acceptance must repeat the whole
        timestamp, as it does (RFC 5944 5.7.1); a denial may have the home agent's clock in its high half.
        """
        message = self.request.message
        if (
            reply.code <= LAST_ACCEPTANCE
            and self.request.association.replay is ReplayStyle.TIMESTAMP
            and reply.identification != message.identification
        ):
            return False
        asked, nai = message.home_address, nai_of(message)
        if nai is None:
            return reply.home_address == asked
        if nai_of(reply) not in (None, nai):
            return False
        return asked.is_unspecified or reply.home_address in (asked, IPv4Address(0))


_MOST_OF_PORT = 1024
"""Requests of one source port that an ICMP error is compared with: the work that a forged one may cause."""


class PendingList:
    """Pending requests, each for `timeout` seconds, at most `per_node` of one node."""

    def __init__(self, timeout: float, per_node: int) -> None:
        self._timeout = timeout
        self._per_node = per_node
        self._by_key: dict[PendingKey, PendingRequest] = {}
        # By identity below, since hashing a key costs more than all else. A request lives as long as it waits or is in
        # `_order`, so no other one has its identity.
        self._of_node: dict[NodeKey, dict[int, PendingRequest]] = {}  # in the order of relaying
        self._by_reply: dict[tuple[IPv4Address, int], dict[int, PendingRequest]] = {}
        self._of_port: dict[int, dict[int, PendingRequest]] = {}
        self._reported: set[PendingKey] = set()
        self._order: deque[PendingRequest] = deque()  # by age: the timeout is one for all

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[PendingRequest]:
        return iter(self._by_key.values())

    def has_room(self, node: NodeKey, *, fresh: bool = True) -> bool:
        """May the node have one more? One that is new takes the place of what may be a copy."""
        waiting = self._of_node.get(node)
        return (
            waiting is None
            or len(waiting) < self._per_node
            or (fresh and not all(request.fresh for request in waiting.values()))
        )

    def of_node(self, node: NodeKey) -> list[PendingRequest]:
        """The requests of one node, in the order in which they were relayed."""
        return list(self._of_node.get(node, {}).values())

    def last_of(self, node: NodeKey) -> PendingRequest | None:
        """The request of this node that was relayed last."""
        waiting = self._of_node.get(node)
        return next(reversed(waiting.values())) if waiting else None

    def is_awaited(self, node: NodeKey) -> bool:
        """Does any request of this node wait?"""
        return node in self._of_node

    def before(self, request: PendingRequest) -> list[PendingRequest]:
        """Those of the same node that were relayed before this one."""
        waiting = self._of_node.get(request.node, {})
        if next(iter(waiting.values()), request) is request:
            return []
        return list(takewhile(lambda other: other is not request, waiting.values()))

    def find(self, key: PendingKey, now: float) -> PendingRequest | None:
        """The request with this key, unless it has timed out."""
        request = self._by_key.get(key)
        if request is None or self._is_over(request, now):
            return None
        return request

    def awaiting(self, home_agent: IPv4Address, low_identification: int, now: float) -> list[PendingRequest]:
        """The requests that a reply from this home agent with this half of the Identification may answer."""
        found = self._by_reply.get((home_agent, low_identification), {})
        return [request for request in found.values() if not self._is_over(request, now)]

    def add(self, request: PendingRequest) -> None:
        """Wait for the reply to this request; one with the same key gives way."""
        key = request.key
        self.remove(key)
        self._by_key[key] = request
        waiting = self._of_node.setdefault(request.node, {})
        if len(waiting) >= self._per_node:
            for other in [other for other in waiting.values() if not other.fresh][:1]:
                self.remove(other.key)
            waiting = self._of_node.setdefault(request.node, {})
        waiting[id(request)] = request
        self._by_reply.setdefault(_reply_key(key), {})[id(request)] = request
        self._of_port.setdefault(request.sent.source.port, {})[id(request)] = request
        self._order.append(request)

    def sent_from(self, port: int, now: float) -> Iterator[PendingRequest]:
        """The latest requests that went out from this port of ours, newest first."""
        latest = islice(reversed(self._of_port.get(port, {}).values()), _MOST_OF_PORT)
        return (request for request in latest if not self._is_over(request, now))

    def report(self, key: PendingKey) -> bool:
        """Somebody says that this request did not arrive; True the first time."""
        if key not in self._by_key or key in self._reported:
            return False
        self._reported.add(key)
        return True

    def remove(self, key: PendingKey) -> None:
        """Wait no more."""
        request = self._by_key.pop(key, None)
        if request is not None:
            del self._of_port[request.sent.source.port][id(request)]
            if self._reported:
                self._reported.discard(key)
            reply_key = _reply_key(key)
            awaiting = self._by_reply[reply_key]
            del awaiting[id(request)]
            if not awaiting:
                del self._by_reply[reply_key]
            of_node = self._of_node[request.node]
            del of_node[id(request)]
            if not of_node:
                del self._of_node[request.node]

    def remove_node(self, node: NodeKey) -> None:
        """Wait no more for any reply to this node."""
        for request in self.of_node(node):
            self.remove(request.key)

    def next_deadline(self) -> float | None:
        """When the oldest one times out (Unix seconds)."""
        while self._order:
            request = self._order[0]
            if id(request) in self._of_port[request.sent.source.port]:
                return request.relayed_at + self._timeout
            self._order.popleft()
        return None

    def expire(self, now: float) -> list[PendingRequest]:
        """Take out those that have timed out by `now`."""
        expired: list[PendingRequest] = []
        while self._order and self._is_over(self._order[0], now) and self.next_deadline() is not None:
            if not self._is_over(self._order[0], now):
                break
            request = self._order.popleft()
            self.remove(request.key)
            expired.append(request)
        return expired

    def _is_over(self, request: PendingRequest, now: float) -> bool:
        """Also one that was relayed far in the future, before our clock was set back: it would wait until then."""
        return not -self._timeout < now - request.relayed_at < self._timeout


def _reply_key(key: PendingKey) -> tuple[IPv4Address, int]:
    return key.home_agent, low(key.identification)
