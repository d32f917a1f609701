"""The foreign agent (RFC 5944 3.7, RFC 3024 4.2): stands between a node without an address and its home agent.

It tells its link who it is (advertisements), checks what nodes ask, passes requests on untouched, and keeps two lists:

    pending    requests that were relayed and have no reply yet; at most five a node, each for seven seconds
    visitors   nodes whose home agent accepted; each until its lifetime, counted from relaying the reply, is over

A pending request never changes the visitor it may belong to; only an accepted reply does (3.7.2). The agent shares no
key with anyone: it cannot tell a forged request from a true one, so it vouches for nothing, bounds what strangers can
make it hold, and answers a node with at most one denial a second.

Nothing is kept over a restart. The sequence number of the advertisements starts at 0 then, and nodes register again
(2.3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import islice

from mobileip.registration.actions import (
    Action,
    Advertise,
    BindVisitor,
    Count,
    Level,
    Log,
    Send,
    UnbindVisitor,
)
from mobileip.registration.bindings import Encapsulation, Visitor, expiry
from mobileip.registration.events import DatagramReceived, Endpoint, Event, SolicitationReceived
from mobileip.registration.keepalives import interval_of
from mobileip.registration.rate_limit import RateLimit
from mobileip.wire.agent_discovery import ALL_SYSTEMS, AgentAdvertisement, AgentFlags, RouterAddress, next_sequence
from mobileip.wire.codes import Code, describe
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find, first_unrecognised
from mobileip.wire.identification import low
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    REGISTRATION_PORT,
    MessageType,
    RegistrationReply,
    RegistrationRequest,
    parse_reply,
    read_request,
)
from mobileip.wire.typed_extensions import HomeAgentParameterFormat, UdpTunnelReply, UdpTunnelRequest

LEAST_ADVERTISEMENT_GAP = 1.0  # seconds between two multicast advertisements (RFC 5944 2.3)
LEAST_DENIAL_GAP = 1.0  # seconds between two denials to one node (RFC 5944 3.7.2)
REQUEST_TTL = 255  # of a request that asks for a reverse tunnel: its sender is on the link (RFC 3024 4.2.1)

_UNSPECIFIED = IPv4Address(0)
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class ForeignAgentSettings:
    """What a foreign agent is told. Times in seconds."""

    uplink_interface: str
    care_of_address: IPv4Address
    link_interface: str
    link_address: IPv4Address
    advertisement_interval: float = 1.0
    advertisement_lifetime: int = 3
    registration_lifetime: int = 1800
    reverse_tunnelling: bool = True
    reverse_tunnel_required: bool = False
    udp_tunnelling: bool = False  # asks home agents for a UDP tunnel: where a NAT is between them and us
    pending_timeout: float = 7.0
    pending_per_node: int = 5
    most_pending: int = 4096
    most_visitors: int = 4096
    home_agent_parameter: tuple[HomeAgentParameterFormat, ...] = (HomeAgentParameterFormat(),)


@dataclass(frozen=True)
class PendingRequest:
    """A relayed request: what it takes to check its reply and to pass it on (RFC 5944 3.7.1).

    Its bytes and extensions are not kept: nobody has vouched for them, and they may be long.
    """

    request: RegistrationRequest
    source: Endpoint  # where the node sent it from
    destination: Endpoint  # where the node sent it to
    relayed: float


_Key = tuple[IPv4Address, int]  # home address, low 32 bits of the identification


class ForeignAgent:
    """The state machine: `feed` events, act on what it returns, wake it at `next_deadline`."""

    def __init__(self, settings: ForeignAgentSettings) -> None:
        self._settings = settings
        self._pending: dict[_Key, PendingRequest] = {}
        self._visitors: dict[IPv4Address, Visitor] = {}
        self._next_keepalive: dict[IPv4Address, float] = {}
        self._echoes = 0
        self._denials = RateLimit(rate=1.0 / LEAST_DENIAL_GAP, burst=1)
        self._sequence: int | None = None
        self._last_multicast = -math.inf
        self._next_advertisement = -math.inf
        self._understood = frozenset(
            {
                ExtensionType.MN_HA_AUTHENTICATION,
                ExtensionType.MN_FA_AUTHENTICATION,
                ExtensionType.FA_HA_AUTHENTICATION,
                ExtensionType.GENERALIZED_AUTHENTICATION,
            }
        ) | {form.type for form in settings.home_agent_parameter}

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about `event`, in this order. `now` in Unix seconds."""
        if isinstance(event, SolicitationReceived):
            return self._answer_solicitation(event, now)
        if isinstance(event, DatagramReceived):
            if len(event.payload) > MAXIMUM_MESSAGE:
                return [Count("oversized")]
            kind = event.payload[0] if event.payload else None
            if kind == MessageType.REQUEST and event.interface == self._settings.link_interface:
                return self._take_request(event, now)
            if kind == MessageType.REPLY and event.interface == self._settings.uplink_interface:
                return self._take_reply(event, now)
            return [Count("unexpected_message")]
        raise TypeError(f"a foreign agent has no use for {type(event).__name__}")

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called next, in Unix seconds; in the past means at once."""
        ends = [self._next_advertisement]
        ends += [entry.relayed + self._settings.pending_timeout for entry in islice(self._pending.values(), 1)]
        ends += [visitor.expires for visitor in self._visitors.values()]
        ends += self._next_keepalive.values()
        return min(ends)

    def handle_timer(self, now: float) -> list[Action]:
        """Advertise, give up pending requests, let visitors expire: whatever is due at `now`."""
        actions: list[Action] = []
        for key, entry in list(self._pending.items()):
            if entry.relayed + self._settings.pending_timeout <= now:
                del self._pending[key]
                actions.append(Count("request_timed_out"))
                actions += self._deny(entry.request, entry.source, entry.destination, Code.FA_REGISTRATION_TIMEOUT, now)
        for home_address, visitor in list(self._visitors.items()):
            if visitor.expires <= now:
                actions += self._dismiss(home_address)
                actions.append(Log(Level.INFO, "visitor_expired", {"home_address": str(home_address)}))
        actions += self._keep_tunnels_alive(now)
        if self._next_advertisement <= now:
            actions.append(self._advertise(ALL_SYSTEMS, now))
        return actions

    def visitors(self) -> tuple[Visitor, ...]:
        """The nodes that are bound, for whoever looks in."""
        return tuple(self._visitors.values())

    def pending(self) -> tuple[PendingRequest, ...]:
        """The requests that wait for a reply, oldest first."""
        return tuple(self._pending.values())

    # Advertisements (RFC 5944 2.3)

    def _answer_solicitation(self, event: SolicitationReceived, now: float) -> list[Action]:
        settings = self._settings
        if event.interface != settings.link_interface:
            return [Count("solicitation_elsewhere")]
        if now - self._last_multicast >= LEAST_ADVERTISEMENT_GAP:
            return [self._advertise(ALL_SYSTEMS, now)]
        if event.source != _UNSPECIFIED:
            return [self._advertise(event.source, now)]
        # Nowhere to answer to alone: everyone hears it as soon as the rate allows.
        self._next_advertisement = min(self._next_advertisement, self._last_multicast + LEAST_ADVERTISEMENT_GAP)
        return []

    def _advertise(self, destination: IPv4Address, now: float) -> Action:
        settings = self._settings
        self._sequence = next_sequence(self._sequence)
        if destination == ALL_SYSTEMS:
            self._last_multicast = now
            self._next_advertisement = now + max(settings.advertisement_interval, LEAST_ADVERTISEMENT_GAP)
        flags = AgentFlags.FOREIGN_AGENT
        if settings.reverse_tunnelling:
            flags |= AgentFlags.REVERSE_TUNNELLING
        if settings.udp_tunnelling:
            flags |= AgentFlags.UDP_TUNNELLING
        if len(self._visitors) >= settings.most_visitors:
            flags |= AgentFlags.BUSY
        advertisement = AgentAdvertisement(
            sequence=self._sequence,
            registration_lifetime=settings.registration_lifetime,
            flags=flags,
            care_of_addresses=(settings.care_of_address,),
            lifetime=settings.advertisement_lifetime,
            router_addresses=(RouterAddress(settings.link_address),),
        )
        return Advertise(settings.link_interface, settings.link_address, destination, advertisement.serialize())

    # Requests (RFC 5944 3.7.2)

    def _take_request(self, event: DatagramReceived, now: float) -> list[Action]:
        try:
            request, defect = read_request(event.payload)
        except Malformed:
            return [Count("malformed_request")]
        if first_unrecognised(request.extensions, self._understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: silent
        if _after_authorization(request.extensions, {ExtensionType.MN_FA_AUTHENTICATION}):
            return [Count("unshared_authentication")]  # RFC 5944 3.7.2.1: no association with this node
        code = Code.FA_POORLY_FORMED_REQUEST if defect is not None else self._objection(request, event)
        if code is not None:
            return [
                Count(f"denied_{describe(code)}"),
                *self._deny(request, event.source, event.destination, code, now),
            ]
        return self._relay_request(request, event, now)

    def _objection(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        """The first of the checks, in the order of the table, that the request fails."""
        for check in _CHECKS:
            if (code := check(self, request, event)) is not None:
                return code
        return None

    def _check_form(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        if find(request.extensions, ExtensionType.MN_HA_AUTHENTICATION) is None:
            return Code.FA_POORLY_FORMED_REQUEST  # RFC 5944 3.6.1.3: nothing a home agent could check
        style = find(request.extensions, ExtensionType.ENCAPSULATING_DELIVERY)
        if style is not None and (
            style.data
            or not request.reverse_tunnel
            or not _after_authorization(request.extensions, {ExtensionType.ENCAPSULATING_DELIVERY})
        ):
            return Code.FA_POORLY_FORMED_REQUEST  # RFC 3024 3.3: empty, with T only, behind MN-HA
        if request.home_address == _UNSPECIFIED:
            return Code.NONZERO_HOME_ADDRESS_REQUIRED  # RFC 2794 5
        home_address = request.home_address  # a visitor's gets a route to the link: only what can be a node's
        if (
            home_address.is_multicast
            or home_address.is_loopback
            or home_address in (_BROADCAST, *self._own_addresses())
        ):
            return Code.FA_POORLY_FORMED_REQUEST
        return None

    def _check_distance(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        if request.reverse_tunnel and event.ttl != REQUEST_TTL:
            return Code.FA_NODE_TOO_DISTANT  # RFC 3024 4.2.1
        return None

    def _check_reverse_tunnel(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        if request.reverse_tunnel and not self._settings.reverse_tunnelling:
            return Code.FA_REVERSE_TUNNEL_UNAVAILABLE
        if not request.reverse_tunnel and self._settings.reverse_tunnel_required and not request.deregisters:
            return Code.FA_REVERSE_TUNNEL_MANDATORY
        if find(request.extensions, ExtensionType.ENCAPSULATING_DELIVERY) is not None:
            return Code.FA_DELIVERY_STYLE_UNSUPPORTED  # direct delivery is what we do
        return None

    def _check_encapsulation(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        return Code.FA_ENCAPSULATION_UNAVAILABLE if request.minimal or request.gre else None

    def _check_lifetime(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        return Code.FA_LIFETIME_TOO_LONG if request.lifetime > self._settings.registration_lifetime else None

    def _check_addresses(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        if request.care_of_address != self._settings.care_of_address:
            return Code.FA_INVALID_CARE_OF_ADDRESS
        agent = request.home_agent
        if agent.is_multicast or agent.is_loopback or agent in (_UNSPECIFIED, _BROADCAST, *self._own_addresses()):
            return Code.FA_INVALID_HOME_AGENT
        return None

    def _check_room(self, request: RegistrationRequest, event: DatagramReceived) -> Code | None:
        settings = self._settings
        of_node = sum(1 for home_address, _ in self._pending if home_address == request.home_address)
        newcomer = request.home_address not in self._visitors
        if (
            (of_node >= settings.pending_per_node and _key(request) not in self._pending)
            or len(self._pending) >= settings.most_pending
            or (newcomer and not request.deregisters and len(self._visitors) >= settings.most_visitors)
        ):
            return Code.FA_INSUFFICIENT_RESOURCES
        return None

    def _relay_request(self, request: RegistrationRequest, event: DatagramReceived, now: float) -> list[Action]:
        settings = self._settings
        self._pending.pop(_key(request), None)  # repeated: it waits its time anew, at the list's end
        kept = replace(request, extensions=(), raw=b"")
        self._pending[_key(request)] = PendingRequest(kept, event.source, event.destination, now)
        return [
            Send(
                payload=_up_to_authorization(request) + self._own_extensions(),
                source=Endpoint(settings.care_of_address, REGISTRATION_PORT),
                destination=Endpoint(request.home_agent, REGISTRATION_PORT),
            )
        ]

    def _own_extensions(self) -> bytes:
        """What we add behind the authentication (RFC 5944 3.7.2.2, RFC 3519 4.5): the plea for a UDP tunnel."""
        return UdpTunnelRequest().extension().serialize() if self._settings.udp_tunnelling else b""

    # Replies (RFC 5944 3.7.3)

    def _take_reply(self, event: DatagramReceived, now: float) -> list[Action]:
        try:
            reply = parse_reply(event.payload)
        except Malformed:
            return [Count("malformed_reply")]
        if first_unrecognised(reply.extensions, self._understood | {ExtensionType.UDP_TUNNEL_REPLY}) is not None:
            return [Count("unknown_extension")]
        entry = self._pending.get((reply.home_address, low(reply.identification)))
        # The reply comes from where the request went (3.8.3.1): a stranger who guesses the rest is not believed.
        if entry is None or event.source.address != entry.request.home_agent:
            return [Count("reply_without_request")]  # RFC 5944 3.7.3.1: silent
        if find(reply.extensions, ExtensionType.FA_HA_AUTHENTICATION) is not None:
            return [Count("unshared_authentication")]  # RFC 5944 3.7.3.1
        del self._pending[_key(entry.request)]
        if find(reply.extensions, ExtensionType.MN_HA_AUTHENTICATION) is None:
            code = Code.FA_POORLY_FORMED_REPLY  # the node would have to throw it away
            return [
                Count(f"denied_{describe(code)}"),
                *self._deny(entry.request, entry.source, entry.destination, code, now),
            ]
        return [*self._settle(reply, entry, now), self._relay_reply(reply, entry)]

    def _settle(self, reply: RegistrationReply, entry: PendingRequest, now: float) -> list[Action]:
        """Make the visitor list say what an accepted reply says; a denial leaves it alone (RFC 5944 3.7.3.2)."""
        request = entry.request
        home_address = request.home_address
        if not reply.accepted:
            return []
        lifetime = min(reply.lifetime, request.lifetime)
        if lifetime == 0:
            return self._dismiss(home_address)
        tunnel = self._granted_tunnel(reply)
        visitor = Visitor(
            home_address=home_address,
            home_agent=request.home_agent,
            care_of_address=request.care_of_address,
            node=entry.source,
            interface=self._settings.link_interface,
            encapsulation=Encapsulation.IPIP if tunnel is None else Encapsulation.UDP,
            reverse_tunnel=request.reverse_tunnel,
            encapsulating_delivery=False,
            identification=request.identification,
            granted=lifetime,
            expires=expiry(lifetime, now),  # RFC 5944 3.7.3.2: counted from here
            keepalive=0 if tunnel is None else interval_of(tunnel),
        )
        self._visitors[home_address] = visitor
        self._next_keepalive.pop(home_address, None)
        if visitor.encapsulation is Encapsulation.UDP:
            self._next_keepalive[home_address] = now + visitor.keepalive
        return [BindVisitor(visitor)]

    def _dismiss(self, home_address: IPv4Address) -> list[Action]:
        self._next_keepalive.pop(home_address, None)
        visitor = self._visitors.pop(home_address, None)
        return [] if visitor is None else [UnbindVisitor(home_address, visitor.home_agent)]

    def _keep_tunnels_alive(self, now: float) -> list[Action]:
        """Keepalives that are due (RFC 3519 4.9): on behalf of the node, from our end of its tunnel."""
        actions: list[Action] = []
        for home_address, due in self._next_keepalive.items():
            if due > now:
                continue
            visitor = self._visitors[home_address]
            self._next_keepalive[home_address] = now + visitor.keepalive
            self._echoes = (self._echoes + 1) & 0xFFFF
            actions.append(
                Send(
                    keepalive(home_address, visitor.home_agent, 0, self._echoes),
                    source=Endpoint(self._settings.care_of_address, REGISTRATION_PORT),
                    destination=Endpoint(visitor.home_agent, REGISTRATION_PORT),
                )
            )
        return actions

    def _granted_tunnel(self, reply: RegistrationReply) -> UdpTunnelReply | None:
        """The UDP tunnel that we asked for and got (RFC 3519 4.5)."""
        extension = find(reply.extensions, ExtensionType.UDP_TUNNEL_REPLY)
        if extension is None or not self._settings.udp_tunnelling:
            return None
        try:
            tunnel = UdpTunnelReply.of(extension)
        except Malformed:
            return None
        return tunnel if tunnel.assents else None

    def _relay_reply(self, reply: RegistrationReply, entry: PendingRequest) -> Send:
        return Send(
            payload=_up_to_authorization(reply),
            source=self._answering_from(entry.destination),
            destination=Endpoint(entry.request.home_address, entry.source.port),
            interface=self._settings.link_interface,
        )

    def _deny(
        self, request: RegistrationRequest, source: Endpoint, destination: Endpoint, code: Code, now: float
    ) -> list[Action]:
        """Our own denial; nothing if the node had one less than a second ago (RFC 5944 3.7.2, RFC 3024 4.2.1)."""
        if not self._denials.allows(request.home_address, now):
            return [Count("denial_withheld")]
        lifetime = self._settings.registration_lifetime if code == Code.FA_LIFETIME_TOO_LONG else request.lifetime
        reply = RegistrationReply(
            code, lifetime, request.home_address, request.home_agent, request.identification
        )  # RFC 5944 3.7.2.3: copied from the request
        node = Endpoint(_BROADCAST if request.home_address == _UNSPECIFIED else source.address, source.port)
        return [
            Send(
                reply.serialize(),
                source=self._answering_from(destination),
                destination=node,
                interface=self._settings.link_interface,
            )
        ]

    def _answering_from(self, destination: Endpoint) -> Endpoint:
        """Where the node sent its request to, or our address on its link if that was no address of ours."""
        if destination.address in self._own_addresses():
            return Endpoint(destination.address, REGISTRATION_PORT)
        return Endpoint(self._settings.link_address, REGISTRATION_PORT)

    def _own_addresses(self) -> tuple[IPv4Address, IPv4Address]:
        return (self._settings.link_address, self._settings.care_of_address)


_Check = Callable[[ForeignAgent, RegistrationRequest, DatagramReceived], Code | None]

# Which denial wins when two apply: the form first, then what costs nothing to find out, room last.
_CHECKS: tuple[_Check, ...] = (
    ForeignAgent._check_form,
    ForeignAgent._check_distance,
    ForeignAgent._check_reverse_tunnel,
    ForeignAgent._check_encapsulation,
    ForeignAgent._check_lifetime,
    ForeignAgent._check_addresses,
    ForeignAgent._check_room,
)

_AUTHORIZATION = (ExtensionType.MN_HA_AUTHENTICATION, ExtensionType.GENERALIZED_AUTHENTICATION)


def _key(request: RegistrationRequest) -> _Key:
    return (request.home_address, low(request.identification))


def _up_to_authorization(message: RegistrationRequest | RegistrationReply) -> bytes:
    """The message as received, up to and with the last extension that authorizes it."""
    return message.raw[: max(extension.end for extension in message.extensions if extension.type in _AUTHORIZATION)]


def _after_authorization(extensions: tuple[Extension, ...], kinds: set[ExtensionType]) -> bool:
    """Whether one of `kinds` stands behind the first authorization-enabling extension."""
    seen = False
    for extension in extensions:
        if seen and extension.type in kinds:
            return True
        seen = seen or extension.type in _AUTHORIZATION
    return False
