"""Registration revocation (RFC 3543): an agent ends a registration before its time, and says so.

It is offered by an authenticated extension in the request and taken up by one in the reply, for one leg: the proxy
does both sides, each for itself. Every message is authenticated, by 32 with a node that registered itself, by 34
with a foreign agent. What is revoked is over at once; the message about it is repeated until it is acknowledged, ever
more slowly, and not beyond the time when the registration would have ended anyway.

A revocation counts only if it is authentic, comes from the other side (the A bit says which it is) and is younger than
the registration that it ends, by the clock of whoever sent both. One that was obeyed is acknowledged again when it
comes again, since the acknowledgement may have been lost, and nothing else is done about it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log, Send
from mobileip.registration.bindings import Binding, BindingKey, RevocationPeer
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.security import Associations, AuthenticRequest, verify_extension
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find, first_unrecognised
from mobileip.wire.messages import MAXIMUM_MESSAGE, REGISTRATION_PORT
from mobileip.wire.revocation import (
    Revocation,
    RevocationAcknowledgement,
    RevocationSupport,
    is_later,
    parse_acknowledgement,
    parse_revocation,
)

FIRST_REPETITION = 1.0
"""Seconds until a revocation is repeated, doubled each time; also the least between two of one binding (3.3)."""
_LONGEST_REPETITION = 64.0
_MOST_REPETITIONS = 10
"""Of a binding without end; any other one's end comes first, or soon after."""
_MOST_REMEMBERED = 65536
"""Revocations whose repetition is known as such; the oldest gives way."""

_UNDERSTOOD = frozenset({int(ExtensionType.MN_HA_AUTHENTICATION), int(ExtensionType.FA_HA_AUTHENTICATION)})


def support_in(extensions: tuple[Extension, ...]) -> RevocationSupport | None:
    """What the Revocation Support extension among these says; None if there is none that can be read."""
    extension = find(extensions, ExtensionType.REVOCATION_SUPPORT)
    try:
        return None if extension is None else RevocationSupport.of(extension)
    except Malformed:
        return None


def peer_of(request: AuthenticRequest, *, foreign_agent: bool) -> RevocationPeer | None:
    """Who can be told of a revocation: the node, or, where its FA-HA authenticator was right, the foreign agent."""
    if (support := support_in(request.covered)) is not None:
        return RevocationPeer(int(ExtensionType.MN_HA_AUTHENTICATION), support.timestamp)
    trailing = request.trailing
    end = next((n for n, each in enumerate(trailing) if each.type == ExtensionType.FA_HA_AUTHENTICATION), 0)
    if foreign_agent and (support := support_in(trailing[:end])) is not None:
        return RevocationPeer(int(ExtensionType.FA_HA_AUTHENTICATION), support.timestamp)
    return None


class Timestamps:
    """Our 32-bit clock in seconds: a revocation is later than any extension before it, none behind it is earlier."""

    def __init__(self) -> None:
        self._offered = 0
        self._revoked = 0

    def of_support(self, now: float) -> int:
        """For an extension: not before the last revocation, so that that one cannot end what is registered now."""
        self._offered = max(int(now), self._offered, self._revoked)
        return self._offered & 0xFFFF_FFFF

    def of_revocation(self, now: float) -> int:
        """For a revocation: later than all extensions."""
        self._revoked = max(int(now), self._revoked, self._offered + 1)
        return self._revoked & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class _Unacknowledged:
    send: Send
    identifier: int
    association: SecurityAssociation
    kind: int
    until: float
    next_at: float
    pause: float
    left: int


class Revocations:
    """The home agent's side: what was revoked and is not acknowledged. `address` is where peers have registered."""

    def __init__(self, address: IPv4Address, timestamps: Timestamps) -> None:
        self._address = address
        self._timestamps = timestamps
        self._waiting: dict[BindingKey, _Unacknowledged] = {}
        self._by_answer: dict[tuple[IPv4Address, int, IPv4Address], BindingKey] = {}
        self._due: list[tuple[float, BindingKey]] = []  # a heap; what is no more waiting for then is passed over
        self._sent_at: dict[BindingKey, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def support(self, now: float) -> Extension:
        """The extension for a reply to a request that had one."""
        return RevocationSupport(self._timestamps.of_support(now)).extension()

    def revoke(self, binding: Binding, association: SecurityAssociation | None, now: float) -> list[Action]:
        """Tell whoever registered this binding that it is over; nobody if revocation was not agreed on.

        `association` is the one shared with that peer.
        """
        peer = binding.node_revocation
        if peer is None or association is None:
            return []
        identifier = self._timestamps.of_revocation(now)
        message = Revocation(
            binding.home_address, self._address, binding.care_of_address, identifier, by_home_agent=True
        )
        payload = append(message.serialize(), association, peer.kind)
        # A NAT lets nothing in but to where the request came from; everybody else listens at 434.
        port = binding.source.port if binding.encapsulation.in_udp else REGISTRATION_PORT
        send = Send(payload, Endpoint(self._address, REGISTRATION_PORT), Endpoint(binding.source.address, port))
        first = max(now, self._sent_at.get(binding.key, -math.inf) + FIRST_REPETITION)
        waiting = _Unacknowledged(
            send, identifier, association, peer.kind, binding.expires, first, FIRST_REPETITION, _MOST_REPETITIONS
        )
        self.forget(binding.key)
        self._by_answer[_answer_to(binding.key, waiting)] = binding.key
        self._wait(binding.key, waiting)
        return self.handle_timer(now)

    def registered_anew(self, binding: Binding) -> None:
        """Repeat nothing about it: the node has registered since."""
        if self._waiting:
            self.forget(binding.key)

    def forget(self, key: BindingKey) -> None:
        """Repeat it no more."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            del self._by_answer[_answer_to(key, waiting)]

    def _wait(self, key: BindingKey, waiting: _Unacknowledged) -> None:
        self._waiting[key] = waiting
        heapq.heappush(self._due, (waiting.next_at, key))

    def acknowledged(self, received: DatagramReceived) -> list[Action]:
        """A Revocation Acknowledgement came (RFC 3543 3.4): if it is authentic, its revocation is not repeated."""
        if len(received.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        try:
            message = parse_acknowledgement(received.payload)
        except Malformed:
            return [Count("malformed")]
        if first_unrecognised(message.extensions, _UNDERSTOOD) is not None:
            return [Count("unknown_extension")]
        key = self._by_answer.get((message.home_address, message.identifier, received.source.address))
        if key is None:
            return [Count("revocation_acknowledgement_of_nothing")]
        waiting = self._waiting[key]
        associations = {waiting.association.spi: waiting.association}
        if verify_extension(message.raw, message.extensions, associations, waiting.kind) is not None:
            return [Count("authentication_failed")]
        self.forget(key)
        return [Count("revocation_acknowledged")]

    def next_deadline(self) -> float | None:
        """When something is to be repeated (Unix seconds); None: never."""
        while self._due:
            at, key = self._due[0]
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.next_at == at:
                return at
            heapq.heappop(self._due)
        return None

    def handle_timer(self, now: float) -> list[Action]:
        """Send and repeat what is due; give up what has ended by itself (RFC 3543 3.3)."""
        actions: list[Action] = []
        if not self._due and not self._sent_at:
            return actions
        while (due := self.next_deadline()) is not None and due <= now:
            _, key = heapq.heappop(self._due)
            waiting = self._waiting[key]
            if now >= waiting.until or not waiting.left:
                self.forget(key)
                actions.append(Count("revocation_not_acknowledged"))
                continue
            pause = min(2 * waiting.pause, _LONGEST_REPETITION)
            self._wait(key, replace(waiting, next_at=now + waiting.pause, pause=pause, left=waiting.left - 1))
            self._sent_at.pop(key, None)
            self._sent_at[key] = now
            actions += [waiting.send, Count("revocation_sent")]
        while self._sent_at and next(iter(self._sent_at.values())) + FIRST_REPETITION <= now:
            del self._sent_at[next(iter(self._sent_at))]
        return actions


def _answer_to(key: BindingKey, waiting: _Unacknowledged) -> tuple[IPv4Address, int, IPv4Address]:
    return key.home_address, waiting.identifier, waiting.send.destination.address


@dataclass(frozen=True, slots=True)
class _Obeyed:
    identifier: int
    associations: Mapping[int, Associations]


class RevocationReader:
    """The other side: revocations that come to us. `from_home_agents`: what the A bit of such a one must say."""

    def __init__(self, *, from_home_agents: bool) -> None:
        self._from_home_agents = from_home_agents
        self._obeyed: dict[tuple[IPv4Address, IPv4Address, IPv4Address], _Obeyed] = {}

    def read(self, received: DatagramReceived) -> Revocation | list[Action]:
        """The message if something may have to be ended, else what to do about it."""
        if len(received.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        try:
            message = parse_revocation(received.payload)
        except Malformed:
            return [Count("malformed")]
        if first_unrecognised(message.extensions, _UNDERSTOOD) is not None:
            return [Count("unknown_extension")]
        if message.by_home_agent is not self._from_home_agents:
            return [Count("revocation_reflected")]  # RFC 3543 3.3: our own, sent back to us
        obeyed = self._obeyed.get(_memory_key(received, message))
        if obeyed is not None and obeyed.identifier == message.identifier:
            answer = _acknowledge(message, received, obeyed.associations)
            return [Count("authentication_failed")] if answer is None else [answer, Count("revocation_repeated")]
        return message

    def obey(
        self,
        message: Revocation,
        received: DatagramReceived,
        since: int | None,
        associations: Mapping[int, Associations],
    ) -> Send | list[Action]:
        """The acknowledgement if the registration is to end, else what to do about the message.

        `since` is the peer's timestamp in the registration, None if revocation was not agreed on. `associations` are
        those with the peer, by the type of the authentication extension (32, 34).
        """
        if since is None:
            return [Count("revocation_not_agreed_on")]
        answer = _acknowledge(message, received, associations)
        if answer is None:
            fields = {"home_address": str(message.home_address), "source": str(received.source)}
            return [Count("authentication_failed"), Log(Level.WARNING, "revocation_not_authentic", fields)]
        if not is_later(message.identifier, since):
            return [Count("revocation_out_of_date")]
        key = _memory_key(received, message)
        self._obeyed.pop(key, None)
        if len(self._obeyed) >= _MOST_REMEMBERED:
            del self._obeyed[next(iter(self._obeyed))]
        self._obeyed[key] = _Obeyed(message.identifier, associations)
        return answer


def _memory_key(received: DatagramReceived, message: Revocation) -> tuple[IPv4Address, IPv4Address, IPv4Address]:
    return (received.source.address, message.home_address, message.foreign_domain)


def _acknowledge(
    message: Revocation, received: DatagramReceived, associations: Mapping[int, Associations]
) -> Send | None:
    """The acknowledgement of an authentic revocation, back where it came from; None if it is not authentic."""
    for kind, shared in associations.items():
        if find(message.extensions, kind) is None:
            continue
        if verify_extension(message.raw, message.extensions, shared, kind) is not None:
            return None
        extension = find(message.extensions, kind)
        assert extension is not None
        association = shared[int.from_bytes(extension.data[:4], "big")]
        reply = RevocationAcknowledgement(message.home_address, message.identifier, message.inform)
        payload = append(reply.serialize(), association, kind)
        return Send(payload, received.destination, received.source)
    return None
