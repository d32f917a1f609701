"""The mobile node (RFC 5944 3.6, draft 2.5 and 2.6.1): finds out where it is and keeps itself reachable.

The node does not judge its own place, the proxy does (draft 2.5.1). Wherever the node arrives it asks the proxy, and
until the answer is there nothing leaves from the home address:

    accepted    it is outside; packets go to the VPN gateways only, through the proxy
    code 206    it is inside; it registers with its home agent itself, or on the home link takes its bindings back

How it asks depends on what the link gives it:

    an address      a co-located care-of address: the request goes to MIPP-Pub itself, with D set and a plea for a UDP
                    tunnel, for the case that a NAT is in between
    none            a foreign agent: solicit until one advertises, then the request goes to it, with D clear

Where the link gives it the home address itself, the node asks its home agent in the same breath: as long as that one
has a binding it tunnels the proxy's answer away, so that 206 could not arrive. Both requests are deregistrations, since
there is no care-of address at home (RFC 5944 3.6.1.2), and the home agent's word alone is enough to be home.

States, and the moves between them (`_MOVES`):

    DETACHED      no link
    SEARCHING     a link without an address, and no foreign agent known
    REGISTERING   a request is out, or waits for its turn; packets are blocked
    BOUND         registered; packets travel
    RENEWING      registered, and a request to the same agent is out
    HOME          on the home link, all bindings taken back

Which rule wins: a move of the link over everything; then the loss of the foreign agent; then the end of the
registration; then whatever a reply says. A change of care-of address always asks the proxy (D-2.6.1-h), a mere renewal
goes to whoever registered last (D-2.6.1-i). No agent gets two requests within a second, unless a move is in between.

A reply is believed if it answers the last request and carries exactly one MN-HA authentication, a right one; a foreign
agent's own denial carries none and can only make the node try again. What stands behind the authentication is not the
agent's word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Address

from mobileip.registration.actions import (
    Action,
    AnnounceHome,
    Count,
    EstablishSecurityAssociation,
    Level,
    Log,
    NodePath,
    ParkSecurityAssociation,
    PathMode,
    Send,
    SetLocation,
    SetPath,
    Solicit,
    UnparkSecurityAssociation,
)
from mobileip.registration.bindings import Encapsulation, expiry
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Detached,
    Event,
    TunnelProbeAnswered,
)
from mobileip.registration.keepalives import PROBE_TIMEOUT, Keepalives, interval_of
from mobileip.registration.node_requests import (
    Identifications,
    MobileNodeSettings,
    Target,
    Through,
    association_of,
    authentication_of,
    build_request,
    is_word_of_foreign_agent,
    reason_of,
)
from mobileip.wire import identification as timestamps
from mobileip.wire.agent_discovery import agent_rebooted, serialize_solicitation
from mobileip.wire.codes import Code, describe
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find, first_unrecognised
from mobileip.wire.messages import MAXIMUM_MESSAGE, MessageType, RegistrationReply, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelReply, find_home_agent_parameter

LEAST_REQUEST_GAP = 1.0  # seconds between two requests to one agent (RFC 5944 3.6.3)
FIRST_TIMEOUT = 1.0  # seconds until a request is repeated, doubled each time (RFC 5944 3.6.3)
LONGEST_TIMEOUT = 32.0
RENEWAL = 0.75  # of a lifetime is over when the node renews
MOST_RESYNCHRONISATIONS = 3  # codes 133 in a row that are answered by adjusting the clock
ATTEMPTS_INSIDE = 5  # unanswered requests to the home agent before the proxy is asked again where we are
QUICK_SOLICITATIONS = 3  # one a second, then ever slower (RFC 5944 2.4)
LONGEST_SOLICITATION_GAP = 60.0


class State(StrEnum):
    """Where the node is in its registration."""

    DETACHED = "detached"
    SEARCHING = "searching"
    REGISTERING = "registering"
    BOUND = "bound"
    RENEWING = "renewing"
    HOME = "home"


_MOVES: Mapping[State, frozenset[State]] = {
    State.DETACHED: frozenset({State.SEARCHING, State.REGISTERING}),
    State.SEARCHING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING}),
    State.REGISTERING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.BOUND, State.HOME}),
    State.BOUND: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.RENEWING}),
    State.RENEWING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.BOUND}),
    State.HOME: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING}),
}


class Location(StrEnum):
    """What the node knows of its place."""

    UNKNOWN = "unknown"
    OUTSIDE = "outside"
    INSIDE = "inside"
    HOME = "home"


class _Timer(Enum):
    """What the node waits for; the order is the order in which due ones are served."""

    AGENT_GONE = 0
    EXPIRY = 1
    REQUEST = 2
    SOLICITATION = 3
    PROBE = 4


@dataclass(frozen=True)
class _Outstanding:
    """The last request, while its reply is awaited."""

    target: Target
    identification: int
    lifetime: int
    sent: float


@dataclass(frozen=True)
class Registration:
    """What the last accepted reply gave. `expires` in Unix seconds, `keepalive` in seconds, 0 without a UDP tunnel."""

    target: Target
    path: NodePath
    expires: float
    keepalive: int = 0


@dataclass(frozen=True)
class NodeStatus:
    """Where the node is, through whom, since when and why, for `show location` and `show status`."""

    state: State
    location: Location
    since: float | None
    why: str
    interface: str | None
    through: Through | None
    agent: IPv4Address | None
    home_agent: IPv4Address
    care_of_address: IPv4Address | None
    encapsulation: Encapsulation | None
    expires: float | None
    clock_offset: float
    last_denial: str | None


class MobileNode:
    """The state machine: `feed` events, act on what it returns, wake it at `next_deadline`."""

    def __init__(self, settings: MobileNodeSettings) -> None:
        self._settings = settings
        self._state = State.DETACHED
        self._location = Location.UNKNOWN
        self._since: float | None = None
        self._why = "started"
        self._timers: dict[_Timer, float] = {}
        self._attachment: Attached | None = None
        self._agent: AdvertisementReceived | None = None
        self._target: Target | None = None
        self._companion: Target | None = None  # asked together with the target
        self._outstanding: dict[int, _Outstanding] = {}  # by the low half of the identification
        self._registration: Registration | None = None
        self._home_agent = settings.home_agent
        self._last_sent: dict[IPv4Address, float] = {}
        self._timeout = FIRST_TIMEOUT
        self._attempts = 0
        self._resynchronisations = 0
        self._solicitations = 0
        self._identifications = Identifications()
        self._lifetime_cap = settings.lifetime
        self._keepalives = Keepalives(settings.home_address)
        self._last_denial: str | None = None
        self._understood = frozenset(
            {
                int(ExtensionType.MN_HA_AUTHENTICATION),
                int(ExtensionType.UDP_TUNNEL_REPLY),
                settings.home_agent_parameter.type,
            }
        )

    # The surface

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about `event`, in this order. `now` in Unix seconds."""
        match event:
            case Attached():
                return self._attach(event, now)
            case Detached():
                return self._detach(event, now)
            case AdvertisementReceived():
                return self._hear(event, now)
            case DatagramReceived():
                return self._receive(event, now)
            case TunnelProbeAnswered():
                return self._probe_answered(event, now)
            case _:
                raise TypeError(f"a mobile node has no use for {type(event).__name__}")

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called next, in Unix seconds; None for never."""
        return min(self._timers.values(), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Repeat, renew, expire, solicit, probe: whatever is due at `now`."""
        actions: list[Action] = []
        for timer in _Timer:
            if self._timers.get(timer, math.inf) <= now:
                del self._timers[timer]
                actions += _ON_TIMER[timer](self, now)
        return actions

    def status(self) -> NodeStatus:
        """Where the node is, through whom, since when and why."""
        target = self._target
        registration = self._registration
        return NodeStatus(
            state=self._state,
            location=self._location,
            since=self._since,
            why=self._why,
            interface=self._attachment.interface if self._attachment else None,
            through=target.through if target else None,
            agent=target.destination if target else None,
            home_agent=self._home_agent,
            care_of_address=target.care_of_address if target else None,
            encapsulation=registration.path.encapsulation if registration else None,
            expires=registration.expires if registration else None,
            clock_offset=self._identifications.clock_offset,
            last_denial=self._last_denial,
        )

    # The link

    def _attach(self, event: Attached, now: float) -> list[Action]:
        if event == self._attachment:
            return []  # said again; nothing has moved
        actions = self._move(f"attached to {event.interface}", now)
        self._attachment = event
        if event.address is None:
            return [*actions, *self._search(now)]
        return [*actions, *self._ask_proxy(now)]

    def _detach(self, event: Detached, now: float) -> list[Action]:
        if self._attachment is None or event.interface != self._attachment.interface:
            return []
        actions = self._move(f"{event.interface} lost its link or address", now)
        self._enter(State.DETACHED)
        self._attachment = None
        return actions

    def _move(self, why: str, now: float) -> list[Action]:
        """Forget the link."""
        self._agent = None
        self._timers.pop(_Timer.AGENT_GONE, None)
        self._last_sent.clear()  # RFC 5944 3.6.3 bounds repetition; a move asks anew
        self._lifetime_cap = self._settings.lifetime
        return self._forget_place(why, now)

    def _forget_place(self, why: str, now: float) -> list[Action]:
        """Nothing leaves in clear from here on, whatever the next steps find."""
        for timer in (_Timer.EXPIRY, _Timer.REQUEST, _Timer.SOLICITATION, _Timer.PROBE):
            self._timers.pop(timer, None)
        self._target = None
        self._companion = None
        self._outstanding.clear()
        self._registration = None
        self._place(Location.UNKNOWN, why, now)
        return [self._block(), UnparkSecurityAssociation()]

    def _block(self) -> SetPath:
        """Nothing leaves in clear, while the foreign agent that we ask, if it is one, can be heard."""
        if self._agent is None:
            return SetPath(NodePath(PathMode.BLOCKED))
        return SetPath(NodePath(PathMode.BLOCKED, self._agent.interface, gateway=self._agent.agent))

    def _place(self, location: Location, why: str, now: float) -> None:
        self._location, self._why, self._since = location, why, now

    def _enter(self, state: State) -> None:
        if state is not self._state and state not in _MOVES[self._state]:
            raise RuntimeError(f"mobile node: no way leads from {self._state} to {state}")
        self._state = state

    # Agent discovery (RFC 5944 2.4)

    def _search(self, now: float) -> list[Action]:
        self._enter(State.SEARCHING)
        self._solicitations = 0
        return self._solicit(now)

    def _solicit(self, now: float) -> list[Action]:
        assert self._attachment is not None
        self._solicitations += 1
        slower = max(0, self._solicitations - QUICK_SOLICITATIONS)
        self._timers[_Timer.SOLICITATION] = now + min(2.0 ** min(slower, 16), LONGEST_SOLICITATION_GAP)
        return [Solicit(self._attachment.interface, serialize_solicitation())]

    def _hear(self, event: AdvertisementReceived, now: float) -> list[Action]:
        attachment = self._attachment
        if attachment is None or attachment.address is not None or event.interface != attachment.interface:
            return []  # nothing to decide: no link, or an address of our own
        if self._agent is None:
            return self._choose(event, now)
        if event.agent != self._agent.agent:
            return []  # one agent is enough while it lasts
        known, self._agent = self._agent, event
        self._timers[_Timer.AGENT_GONE] = now + event.lifetime
        assert self._target is not None
        if self._target.care_of_address not in event.care_of_addresses:
            return self._lose_agent(now)
        if agent_rebooted(known.sequence, event.sequence):
            return self._renew(now, f"foreign agent {event.agent} has started anew")  # RFC 5944 2.4.2.3
        return []

    def _choose(self, event: AdvertisementReceived, now: float) -> list[Action]:
        if event.busy or not (event.foreign_agent and event.care_of_addresses and event.reverse_tunnelling):
            return [Count("advertisement_unusable")]
        # Packets to the agent stay on the link from here on: nobody may speak so for those whom we ask.
        known = (self._settings.mipp_pub, self._home_agent, self._settings.home_address)
        if event.agent in known or event.agent.is_unspecified or event.agent.is_multicast or event.agent.is_loopback:
            return [Count("advertisement_unusable")]
        self._agent = event
        self._timers.pop(_Timer.SOLICITATION, None)
        self._timers[_Timer.AGENT_GONE] = now + event.lifetime
        self._lifetime_cap = min(self._settings.lifetime, event.registration_lifetime)
        return [self._block(), *self._ask_proxy(now)]

    def _lose_agent(self, now: float) -> list[Action]:
        assert self._agent is not None
        return [*self._move(f"foreign agent {self._agent.agent} is gone", now), *self._search(now)]

    # Requests (RFC 5944 3.6.1)

    def _ask_proxy(self, now: float) -> list[Action]:
        """D-2.6.1-h: after every change of care-of address."""
        at_home = self._attachment is not None and self._attachment.address == self._settings.home_address
        self._companion = self._target_at(self._home_agent, inside=True) if at_home else None
        return self._aim(self._target_at(self._settings.mipp_pub, inside=False), now)

    def _ask_home_agent(self, now: float) -> list[Action]:
        """D-2.6.1-f: the proxy said that we are inside."""
        self._companion = None
        return self._aim(self._target_at(self._home_agent, inside=True), now)

    def _target_at(self, home_agent: IPv4Address, *, inside: bool) -> Target:
        """The way to an agent from where we are attached."""
        attachment, settings = self._attachment, self._settings
        assert attachment is not None
        if attachment.address is None:
            assert self._agent is not None
            return Target(
                Through.FOREIGN_AGENT,
                attachment.interface,
                source=settings.home_address,
                destination=self._agent.agent,
                home_agent=home_agent,
                care_of_address=self._agent.care_of_addresses[0],
                lifetime=settings.lifetime,
                inside=inside,
            )
        at_home = attachment.address == settings.home_address
        through = Through.PROXY if not inside else Through.HOME_LINK if at_home else Through.HOME_AGENT
        return Target(
            through,
            attachment.interface,
            source=attachment.address,
            destination=home_agent,
            home_agent=home_agent,
            care_of_address=attachment.address,
            lifetime=0 if at_home else settings.lifetime,
            inside=inside,
        )

    def _aim(self, target: Target, now: float) -> list[Action]:
        self._enter(State.REGISTERING)
        self._target = target
        self._timeout = FIRST_TIMEOUT
        self._attempts = 0
        self._resynchronisations = 0
        return self._register(now)

    def _register(self, now: float) -> list[Action]:
        """Send a request to the target, and to its companion, or wait until their second is over."""
        target = self._target
        assert target is not None
        earliest = self._earliest(target)
        if now < earliest:
            self._timers[_Timer.REQUEST] = earliest
            return []
        self._attempts += 1
        self._timers[_Timer.REQUEST] = now + self._timeout
        self._timeout = min(2 * self._timeout, LONGEST_TIMEOUT)
        companion = self._companion
        if companion is None or now < self._earliest(companion):
            return [self._request(target, now)]
        return [self._request(target, now), self._request(companion, now)]

    def _earliest(self, target: Target) -> float:
        return self._last_sent.get(target.destination, -math.inf) + LEAST_REQUEST_GAP

    def _request(self, target: Target, now: float) -> Send:
        identification = self._identifications.next(now)
        lifetime = min(target.lifetime, self._lifetime_cap)
        # RFC 5944 3.6.2.1: only the last request to an agent can be answered.
        self._outstanding = {key: other for key, other in self._outstanding.items() if other.target != target}
        self._outstanding[timestamps.low(identification)] = _Outstanding(target, identification, lifetime, now)
        self._last_sent[target.destination] = now
        return build_request(self._settings, target, self._home_agent, lifetime, identification)

    def _request_due(self, now: float) -> list[Action]:
        """No reply in time, the end of a pause, or time to renew."""
        assert self._target is not None
        if self._state is State.BOUND:
            return self._renew(now, "the lifetime nears its end")
        if self._state is State.REGISTERING and self._target.inside and self._attempts >= ATTEMPTS_INSIDE:
            return self._ask_proxy(now)  # what it said of our place does not hold any more
        return self._register(now)

    def _renew(self, now: float, why: str) -> list[Action]:
        """D-2.6.1-i: with whoever registered last."""
        if self._state is not State.BOUND:
            return []  # a request is out, or there is nothing to renew
        self._enter(State.RENEWING)
        self._timers.pop(_Timer.PROBE, None)
        self._timeout = FIRST_TIMEOUT
        self._attempts = 0
        self._resynchronisations = 0
        return [Log(Level.DEBUG, "renewing", {"why": why}), *self._register(now)]

    def _expire(self, now: float) -> list[Action]:
        """The agent has forgotten us; where we are is open again."""
        return [*self._forget_place("the registration expired", now), *self._ask_proxy(now)]

    # Replies (RFC 5944 3.6.2)

    def _receive(self, event: DatagramReceived, now: float) -> list[Action]:
        if len(event.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        if event.payload[:1] != bytes([MessageType.REPLY]):
            return [Count("unexpected_message")]
        try:
            reply = parse_reply(event.payload)
        except Malformed:
            return [Count("malformed_reply")]
        if first_unrecognised(reply.extensions, self._understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: silent
        request = self._outstanding.get(timestamps.low(reply.identification))
        if request is None or reply.home_address != self._settings.home_address:
            return [Count("reply_without_request")]
        if is_word_of_foreign_agent(reply, event, request.target):
            return self._denied(reply, request, now)
        authentication = authentication_of(reply, association_of(self._settings, request.target))
        if authentication is None:
            return [Count("reply_unauthenticated")]  # RFC 5944 3.6.2.1: silent
        believed = tuple(extension for extension in reply.extensions if extension.start < authentication.start)
        return self._decide(reply, believed, request, now)

    def _decide(
        self, reply: RegistrationReply, believed: tuple[Extension, ...], request: _Outstanding, now: float
    ) -> list[Action]:
        try:
            parameter = find_home_agent_parameter(believed, (self._settings.home_agent_parameter,))
            answer = find(believed, ExtensionType.UDP_TUNNEL_REPLY)
            tunnel = UdpTunnelReply.of(answer) if answer is not None else None
        except Malformed:
            return [Count("malformed_reply")]
        if (reply.accepted or reply.code == Code.ASSIGNED_HOME_AGENT) and not request.target.inside:
            self._learn_home_agent(parameter)
        if reply.accepted:
            return self._accepted(reply, tunnel, request, now)
        if reply.code == Code.IDENTIFICATION_MISMATCH and self._resynchronisations < MOST_RESYNCHRONISATIONS:
            return self._resynchronise(reply, request, now)
        if reply.code == Code.ASSIGNED_HOME_AGENT and not request.target.inside:
            return self._told_inside(request, now)
        return self._denied(reply, request, now, reason=reason_of(believed))

    def _accepted(
        self, reply: RegistrationReply, tunnel: UdpTunnelReply | None, request: _Outstanding, now: float
    ) -> list[Action]:
        lifetime = min(reply.lifetime, request.lifetime)  # RFC 5944 3.4
        target = request.target
        if lifetime == 0 and target.through is not Through.HOME_LINK:
            return self._denied(reply, request, now, "accepted_without_lifetime")  # no binding came of it
        self._outstanding.clear()
        self._identifications.accepted(request.identification)
        self._last_denial = None
        self._resynchronisations = 0
        self._timers.pop(_Timer.REQUEST, None)
        if target.through is Through.HOME_LINK:
            return self._arrive_home(target, now)
        path, interval = self._path(reply, tunnel, target)
        expires = expiry(lifetime, request.sent)  # RFC 5944 3.6.2.2: counted from the sending of the request
        known, self._registration = self._registration, Registration(target, path, expires, interval)
        self._set_lifetime_timers(lifetime, request.sent, interval, now)
        self._enter(State.BOUND)
        if known is not None and known.path == path:
            return []  # a renewal that changed nothing
        return self._travel(path, target, now)

    def _path(self, reply: RegistrationReply, tunnel: UdpTunnelReply | None, target: Target) -> tuple[NodePath, int]:
        """How packets travel from here, and the interval of keepalives in seconds."""
        if target.through is Through.FOREIGN_AGENT:
            path = NodePath(PathMode.FOREIGN_AGENT, target.interface, gateway=target.destination, inside=target.inside)
            return path, 0
        by_udp = tunnel is not None and tunnel.assents
        path = NodePath(
            PathMode.TUNNEL,
            target.interface,
            local=target.care_of_address,
            peer=reply.home_agent,  # RFC 3024 5.1.2
            encapsulation=Encapsulation.UDP if by_udp else Encapsulation.IPIP,
            inside=target.inside,
        )
        if tunnel is None or not by_udp:
            return path, 0
        return path, interval_of(tunnel, self._settings.keepalive)

    def _set_lifetime_timers(self, lifetime: int, sent: float, interval: int, now: float) -> None:
        expires = expiry(lifetime, sent)
        self._timers.pop(_Timer.EXPIRY, None)
        self._timers.pop(_Timer.PROBE, None)
        if expires != math.inf:
            self._timers[_Timer.EXPIRY] = expires
            self._timers[_Timer.REQUEST] = sent + RENEWAL * lifetime
        if interval:
            self._keepalives.start()
            self._timers[_Timer.PROBE] = now + interval

    def _travel(self, path: NodePath, target: Target, now: float) -> list[Action]:
        """Packets may leave: by the path just granted."""
        location = Location.INSIDE if target.inside else Location.OUTSIDE
        self._place(location, f"{target.home_agent} accepted the registration", now)
        through = target.destination
        return [
            SetPath(path),
            SetLocation(inside=target.inside, at_home=False, through=through),
            ParkSecurityAssociation() if target.inside else EstablishSecurityAssociation(),
            Log(
                Level.INFO,
                "registered",
                {
                    "location": location.value,
                    "through": target.through.value,
                    "agent": str(through),
                    "care_of_address": str(target.care_of_address),
                    "encapsulation": path.encapsulation.value if path.encapsulation else "none",
                },
            ),
        ]

    def _arrive_home(self, target: Target, now: float) -> list[Action]:
        self._enter(State.HOME)
        self._target = target
        self._companion = None
        self._place(Location.HOME, f"{target.home_agent} took back all bindings", now)
        return [
            AnnounceHome(target.interface, self._settings.home_address),  # RFC 5944 4.6: after the home agent let go
            SetPath(NodePath(PathMode.HOME, target.interface, inside=True)),
            SetLocation(inside=True, at_home=True),
            ParkSecurityAssociation(),
            Log(Level.INFO, "at_home", {"home_agent": str(target.home_agent)}),
        ]

    def _learn_home_agent(self, parameter: HomeAgentParameter | None) -> None:
        """D-2.6.1-c to -e: the reply says who our home agent is, for the next time we ask it ourselves."""
        if parameter is not None and not parameter.address.is_unspecified:
            self._home_agent = parameter.address

    def _told_inside(self, request: _Outstanding, now: float) -> list[Action]:
        """Code 206. Known to be inside, but packets wait for the home agent's word."""
        actions: list[Action] = []
        if self._state is not State.REGISTERING:  # a renewal: the proxy learned something; what we had is void
            actions = self._forget_place("the proxy changed its mind", now)
        self._forget(request)
        self._identifications.accepted(request.identification)  # the proxy has taken note of it
        why = f"{request.target.home_agent} answered {Code.ASSIGNED_HOME_AGENT:d} (inside)"
        self._place(Location.INSIDE, why, now)
        log = Log(Level.INFO, "inside", {"proxy": str(request.target.home_agent), "home_agent": str(self._home_agent)})
        return [*actions, log, *self._ask_home_agent(now)]

    def _resynchronise(self, reply: RegistrationReply, request: _Outstanding, now: float) -> list[Action]:
        """Code 133: take the agent's clock from the high half (RFC 5944 5.7.1) and ask again."""
        self._resynchronisations += 1
        self._forget(request)
        self._identifications.adjust(reply.identification, now)
        self._timeout = FIRST_TIMEOUT
        log = Log(Level.WARNING, "clock_adjusted", {"offset_seconds": round(self._identifications.clock_offset, 3)})
        return [log, *self._register(now)]

    def _forget(self, request: _Outstanding) -> None:
        """It has its reply."""
        self._outstanding.pop(timestamps.low(request.identification), None)

    def _denied(
        self, reply: RegistrationReply, request: _Outstanding, now: float, name: str | None = None, reason: str = ""
    ) -> list[Action]:
        """Say why, wait, and try again; a registration that still lasts goes on lasting."""
        self._forget(request)
        name = name or describe(reply.code)
        self._last_denial = f"{reply.code} {name}"
        if reply.code == Code.FA_LIFETIME_TOO_LONG and reply.lifetime:
            self._lifetime_cap = min(self._lifetime_cap, reply.lifetime)  # RFC 5944 3.6.2.3
        pause = max(self._timeout / 2, LEAST_REQUEST_GAP)
        self._timers[_Timer.REQUEST] = now + pause
        fields: dict[str, str | int | float | bool] = {
            "agent": str(request.target.destination),
            "code": reply.code,
            "name": name,
            "reason": reason,
            "retry_seconds": pause,
        }
        return [Log(Level.WARNING, "registration_denied", fields)]

    # Keepalives (RFC 3519 4.9)

    def _send_probe(self, now: float) -> list[Action]:
        registration = self._registration
        assert registration is not None
        if self._keepalives.is_tunnel_lost:
            return self._renew(now, "keepalives are not answered")
        self._timers[_Timer.PROBE] = now + PROBE_TIMEOUT
        return [self._keepalives.next(registration.path)]

    def _probe_answered(self, event: TunnelProbeAnswered, now: float) -> list[Action]:
        registration = self._registration
        if registration is None or not registration.keepalive or not self._keepalives.is_answer(event):
            return []
        if self._state is State.BOUND:
            self._timers[_Timer.PROBE] = now + registration.keepalive
        return []


_ON_TIMER: Mapping[_Timer, Callable[[MobileNode, float], list[Action]]] = {
    _Timer.AGENT_GONE: MobileNode._lose_agent,
    _Timer.EXPIRY: MobileNode._expire,
    _Timer.REQUEST: MobileNode._request_due,
    _Timer.SOLICITATION: MobileNode._solicit,
    _Timer.PROBE: MobileNode._send_probe,
}
