"""The mobile node (RFC 5944 3.6, draft 2.5 and 2.6.1): finds out where it is and keeps itself reachable.

The node does not judge its own place, the proxy does (draft 2.5.1). Wherever the node arrives it asks the proxy, and
until the answer is there nothing leaves from the home address:

    accepted    it is outside; packets go to the VPN gateways only, through the proxy
    code 206    it is inside (143 where the proxy speaks the RFCs' codes); it registers with its home agent itself, or
                on the home link takes its bindings back

How it asks depends on what the link gives it:

    an address      a co-located care-of address: the request goes to MIPP-Pub itself, with D set and a plea for a UDP
                    tunnel, for the case that a NAT is in between. Where a foreign agent on the link demands it (R bit),
                    the same request goes by that agent
    none            a foreign agent: solicit until one advertises, then the request goes to it, with D clear
    a trusted one   a foreign agent that we are told to trust has its own way into the intranet: the node leaves the
                    proxy out and registers with its home agent (D-5.7.2)

Where the link gives it the home address itself, the node asks its home agent in the same breath: as long as that one
has a binding it tunnels the proxy's answer away, so that 206 could not arrive. Both requests are deregistrations, since
there is no care-of address at home (RFC 5944 3.6.1.2), and the home agent's word alone is enough to be home.

States, and the moves between them (`_MOVES`):

    DETACHED      no link
    SEARCHING     a link without an address, and no foreign agent known
    REGISTERING   a request is out, or waits for its turn; packets are blocked
    BOUND         registered; packets travel
    RENEWING      registered, and a request to the same agent is out
    HOME          on the home link, all bindings taken back; the home agent is asked now and then whether that holds

Which rule wins: a move of the link over everything; then the loss of the foreign agent; then the end of the
registration, or of the word that we are inside; then whatever a reply says. A change of care-of address always asks
the proxy (D-2.6.1-h), a mere renewal goes to whoever registered last (D-2.6.1-i). No agent gets two requests within a
second, unless a move is in between.

A reply is believed if it answers the last request and carries exactly one MN-HA authentication, a right one; a foreign
agent's own denial carries none and can only make the node try again. What stands behind the authentication is not the
agent's word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.actions import (
    Action,
    AnnounceHome,
    AssumeHomeAddress,
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
from mobileip.registration.keepalives import PROBE_TIMEOUT, Keepalives
from mobileip.registration.node_attempts import Attempts, Outstanding, Wishes
from mobileip.registration.node_discovery import Discovery
from mobileip.registration.node_identifications import identifications
from mobileip.registration.node_place import Location, Place
from mobileip.registration.node_replies import (
    Believed,
    Verdict,
    authentication_of,
    granted_path,
    is_word_of_foreign_agent,
    verdict,
)
from mobileip.registration.node_requests import (
    UNASSIGNED,
    Ask,
    MobileNodeSettings,
    Target,
    Through,
    association_of,
    build_request,
    target_at,
)
from mobileip.registration.revocation import RevocationReader, Timestamps, support_in
from mobileip.wire.agent_discovery import agent_rebooted, serialize_solicitation
from mobileip.wire.codes import Code, describe
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import ExtensionType, find, first_unrecognised
from mobileip.wire.messages import MAXIMUM_MESSAGE, MessageType, RegistrationReply, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelReply, find_home_agent_parameter

RENEWAL = 0.75  # of a lifetime, or of the time that we are believed to be inside, is over when the node asks again
MOST_RESYNCHRONISATIONS = 3  # codes 133 in a row that are answered by adjusting the clock
MOST_REDIRECTIONS = 3  # home agents in a row that name another one
ATTEMPTS_INSIDE = 5  # unanswered requests to the home agent before the proxy is asked again where we are


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


class _Timer(Enum):
    """What the node waits for; the order is the order in which due ones are served."""

    AGENT_GONE = 0
    EXPIRY = 1
    MONITOR = 2
    REQUEST = 3
    SOLICITATION = 4
    PROBE = 5


@dataclass(frozen=True)
class Registration:
    """What the last accepted reply gave. `expires` in Unix seconds, `keepalive` in seconds, 0 without a UDP tunnel.

    `revocation` is the agent's clock, if it will tell us of a revocation (RFC 3543).
    """

    target: Target
    path: NodePath
    expires: float
    keepalive: int = 0
    simultaneous: bool = False
    revocation: int | None = None


@dataclass(frozen=True)
class NodeStatus:
    """Where the node is, through whom, since when and why, for `show location` and `show status`.

    `why` is the last event that decided the place, or the last denial while it is unknown. `home_address` and
    `home_agent` are None until they are assigned. `simultaneous`: earlier bindings live beside this one.
    """

    state: State
    location: Location
    since: float | None
    why: str
    interface: str | None
    through: Through | None
    agent: IPv4Address | None
    home_agent: IPv4Address | None
    care_of_address: IPv4Address | None
    encapsulation: Encapsulation | None
    expires: float | None
    clock_offset: float
    last_denial: str | None
    home_address: IPv4Address | None = None
    simultaneous: bool = False
    trusted_network: bool = False
    trusted_agent: bool = False


class MobileNode:
    """The state machine: `feed` events, act on what it returns, wake it at `next_deadline`."""

    def __init__(self, settings: MobileNodeSettings) -> None:
        self._settings = settings
        self._state = State.DETACHED
        self._place = Place()
        self._timers: dict[_Timer, float] = {}
        self._attachment: Attached | None = None
        self._discovery = Discovery(settings)
        self._target: Target | None = None
        self._companion: Target | None = None  # asked together with the target
        self._undo: Target | None = None  # what the home agent accepted and the foreign agent did not
        self._attempts = Attempts(settings.first_timeout, settings.longest_timeout)
        self._registration: Registration | None = None
        # Assigned ones are kept for as long as an agent takes them (D-2.6.4-c).
        self._home_address = settings.home_address
        self._home_agent = settings.home_agent
        self._identifications = identifications(settings.proxy_association.replay)
        self._wishes = self._all_wishes()
        self._keepalives = Keepalives(settings.home_address or UNASSIGNED)
        self._last_denial: str | None = None
        self._timestamps = Timestamps()
        self._revocations = RevocationReader(from_home_agents=True)
        self._understood = frozenset(
            {
                int(ExtensionType.MN_HA_AUTHENTICATION),
                int(ExtensionType.MN_FA_AUTHENTICATION),
                int(ExtensionType.UDP_TUNNEL_REPLY),
                int(ExtensionType.FA_ERROR),
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
            location=self._place.location,
            since=self._place.since,
            why=self._place.why,
            interface=self._attachment.interface if self._attachment else None,
            through=target.through if target else None,
            agent=target.destination if target else None,
            home_agent=self._home_agent,
            care_of_address=target.care_of_address if target else None,
            encapsulation=registration.path.encapsulation if registration else None,
            expires=registration.expires if registration else None,
            clock_offset=self._identifications.clock_offset,
            last_denial=self._last_denial,
            home_address=self._home_address,
            simultaneous=registration.simultaneous if registration else False,
            trusted_network=self._place.is_trusted_network,
            trusted_agent=self._discovery.is_trusted,
        )

    # The link

    def _attach(self, event: Attached, now: float) -> list[Action]:
        if event == self._attachment:
            return []  # said again; nothing has moved
        actions = self._move(f"attached to {event.interface}", now)
        self._attachment = event
        if event.address is None:
            return [*actions, *self._search(now)]
        return [*actions, *self._find_place(now)]

    def _detach(self, event: Detached, now: float) -> list[Action]:
        if self._attachment is None or event.interface != self._attachment.interface:
            return []
        actions = self._move(f"{event.interface} lost its link or address", now)
        self._enter(State.DETACHED)
        self._attachment = None
        return actions

    def _move(self, why: str, now: float) -> list[Action]:
        """Forget the link."""
        self._discovery.forget()
        self._timers.pop(_Timer.AGENT_GONE, None)
        self._attempts.forget_link()
        self._wishes = self._all_wishes()
        self._place.moved()
        return self._forget_place(why, now)

    def _all_wishes(self) -> Wishes:
        return Wishes(self._settings.lifetime, self._settings.simultaneous)

    def _forget_place(self, why: str, now: float, unheard_since: float | None = None) -> list[Action]:
        """Nothing leaves in clear from here on, whatever the next steps find."""
        for timer in (_Timer.EXPIRY, _Timer.MONITOR, _Timer.REQUEST, _Timer.SOLICITATION, _Timer.PROBE):
            self._timers.pop(timer, None)
        self._target = None
        self._companion = None
        self._undo = None
        self._attempts.forget()
        if self._place.location is not Location.UNKNOWN:
            self._place.lose_sa(now if unheard_since is None else unheard_since)
        self._registration = None
        self._place.enter(Location.UNKNOWN, why, now)
        return [self._block(), UnparkSecurityAssociation()]

    def _block(self) -> SetPath:
        """Nothing leaves in clear, while the foreign agent that we ask, if it is one, can be heard."""
        agent = self._discovery.agent
        if agent is None or (self._attachment is not None and self._attachment.address is not None):
            return SetPath(NodePath(PathMode.BLOCKED))
        return SetPath(NodePath(PathMode.BLOCKED, agent.interface, gateway=agent.agent))

    def _enter(self, state: State) -> None:
        if state is not self._state and state not in _MOVES[self._state]:
            raise RuntimeError(f"mobile node: no way leads from {self._state} to {state}")
        self._state = state

    # Agent discovery (RFC 5944 2.4)

    def _search(self, now: float) -> list[Action]:
        self._enter(State.SEARCHING)
        self._discovery.begin()
        return self._solicit(now)

    def _solicit(self, now: float) -> list[Action]:
        assert self._attachment is not None
        self._timers[_Timer.SOLICITATION] = now + self._discovery.next_gap()
        return [Solicit(self._attachment.interface, serialize_solicitation())]

    def _hear(self, event: AdvertisementReceived, now: float) -> list[Action]:
        attachment = self._attachment
        if attachment is None or event.interface != attachment.interface:
            return []
        known = self._discovery.agent
        if known is None:
            return self._choose(event, attachment, now)
        if event.agent != known.agent:
            return []  # one agent is enough while it lasts
        self._discovery.take(event)
        self._timers[_Timer.AGENT_GONE] = now + event.lifetime
        assert self._target is not None
        if attachment.address is None and self._target.care_of_address not in event.care_of_addresses:
            return self._lose_agent(now)
        if self._discovery.trusts(event) != self._discovery.trusts(known):
            return self._lose_agent(now)  # another name: another agent
        if attachment.address is not None and not self._is_demanded(event, attachment):
            return self._lose_agent(now)  # it demands nothing any more
        if agent_rebooted(known.sequence, event.sequence):
            return self._renew(now, f"foreign agent {event.agent} has started anew")  # RFC 5944 2.4.2.3
        return []

    def _choose(self, event: AdvertisementReceived, attachment: Attached, now: float) -> list[Action]:
        if attachment.address is not None and not self._is_demanded(event, attachment):
            return []  # an address of our own, and nobody on the link minds
        if not self._discovery.can_serve(event, (self._settings.mipp_pub, self._home_agent, self._home_address)):
            return [Count("advertisement_unusable")]
        actions: list[Action] = []
        if attachment.address is not None:
            actions = self._move(f"foreign agent {event.agent} demands registration", now)
        self._discovery.take(event)
        self._timers.pop(_Timer.SOLICITATION, None)
        self._timers[_Timer.AGENT_GONE] = now + event.lifetime
        self._wishes.lifetime = min(self._wishes.lifetime, event.registration_lifetime)
        return [*(actions or [self._block()]), *self._find_place(now)]

    def _is_demanded(self, event: AdvertisementReceived, attachment: Attached) -> bool:
        """R bit: co-located nodes, too, register by this agent (RFC 5944 2.1.1), or it is one to trust (D-5.7.2-b).

        At home there is nothing to register.
        """
        assert attachment.address is not None
        link = IPv4Network((attachment.address, attachment.prefix_length), strict=False)
        wanted = event.registration_required or self._discovery.trusts(event)
        return wanted and attachment.address != self._home_address and event.agent in link

    def _lose_agent(self, now: float) -> list[Action]:
        assert self._discovery.agent is not None
        assert self._attachment is not None
        actions = self._move(f"foreign agent {self._discovery.agent.agent} is gone", now)
        return [*actions, *(self._search(now) if self._attachment.address is None else self._find_place(now))]

    # Requests (RFC 5944 3.6.1)

    def _find_place(self, now: float) -> list[Action]:
        """Ask where we are; whoever knows it is a trusted foreign agent's place needs no proxy (D-5.7.2-b)."""
        if self._discovery.is_trusted:
            return self._ask_home_agent(now)
        return self._ask_proxy(now)

    def _ask_proxy(self, now: float) -> list[Action]:
        """D-2.6.1-h: after every change of care-of address."""
        assert self._attachment is not None
        at_home = self._attachment.address is not None and self._attachment.address == self._home_address
        self._companion = self._target_at(self._home_agent, inside=True) if at_home and self._home_agent else None
        return self._aim(self._target_at(self._settings.mipp_pub, inside=False), now)

    def _ask_home_agent(self, now: float) -> list[Action]:
        """D-2.6.1-f: the proxy said that we are inside."""
        self._companion = None
        return self._aim(self._target_at(self._home_agent or UNASSIGNED, inside=True), now)

    def _target_at(self, home_agent: IPv4Address, *, inside: bool) -> Target:
        """The way to an agent from where we are attached."""
        assert self._attachment is not None
        agent, lifetime = self._discovery.agent, self._settings.lifetime
        return target_at(self._attachment, agent, self._home_address, home_agent, lifetime, inside=inside)

    def _aim(self, target: Target, now: float) -> list[Action]:
        self._enter(State.REGISTERING)
        self._target = target
        self._attempts.begin()
        return self._register(now)

    def _register(self, now: float) -> list[Action]:
        """Send a request to the target, and to its companion, or wait until their second is over."""
        target = self._target
        assert target is not None
        earliest = self._attempts.earliest(target)
        if now < earliest:
            self._timers[_Timer.REQUEST] = earliest
            return []
        self._attempts.count += 1
        self._timers[_Timer.REQUEST] = now + self._attempts.patience(min(target.lifetime, self._wishes.lifetime))
        companion = self._companion
        if companion is None or now < self._attempts.earliest(companion):
            return [self._request(target, now)]
        return [self._request(target, now), self._request(companion, now)]

    def _request(self, target: Target, now: float) -> Send:
        known = self._attempts.to(target)
        if known is not None and self._identifications.is_repeatable(known.identification):
            self._attempts.sent(known, now)
            return known.message
        ask = Ask(
            home_address=self._home_address or UNASSIGNED,
            home_agent=self._home_agent or UNASSIGNED,
            lifetime=min(target.lifetime, self._wishes.lifetime),
            identification=self._identifications.next(now),
            simultaneous=self._wishes.simultaneous and target.lifetime > 0,
            udp_tunnel=self._wishes.udp_tunnel,
            challenge=self._discovery.challenge if target.is_by_agent else None,
            revocation=self._timestamps.of_support(now) if self._settings.revocation else None,
        )
        message = build_request(self._settings, target, ask)
        self._attempts.sent(Outstanding(target, ask, now, message), now)
        return message

    def _request_due(self, now: float) -> list[Action]:
        """No reply in time, the end of a pause, or time to renew."""
        assert self._target is not None
        if self._undo is not None:
            undo, self._undo = self._undo, None
            self._timers[_Timer.REQUEST] = now + self._attempts.pause()
            return [self._request(undo, now)]
        if self._state is State.BOUND:
            return self._renew(now, "the lifetime nears its end")
        tired = self._attempts.count >= ATTEMPTS_INSIDE and not self._discovery.is_trusted
        if self._state is State.REGISTERING and self._target.inside and tired:
            return self._ask_proxy(now)  # what it said of our place does not hold any more
        return self._register(now)

    def _renew(self, now: float, why: str) -> list[Action]:
        """D-2.6.1-i: with whoever registered last."""
        if self._state is not State.BOUND:
            return []  # a request is out, or there is nothing to renew
        self._enter(State.RENEWING)
        self._timers.pop(_Timer.PROBE, None)
        self._attempts.begin()
        return [Log(Level.DEBUG, "renewing", {"why": why}), *self._register(now)]

    def _expire(self, now: float) -> list[Action]:
        """The agent has forgotten us; where we are is open again."""
        return [*self._forget_place("the registration expired", now, self._attempts.since), *self._find_place(now)]

    def _doubt(self, now: float) -> list[Action]:
        """RFC 5265 3.2: too long ago that somebody said we are inside."""
        why = f"nobody said for {self._settings.monitor:g} s that this is inside"
        return [*self._forget_place(why, now, self._attempts.since), *self._find_place(now)]

    # Replies (RFC 5944 3.6.2)

    def _receive(self, event: DatagramReceived, now: float) -> list[Action]:
        if len(event.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        if event.payload[:1] == bytes([MessageType.REVOCATION]):
            return self._revoked(event, now)
        if event.payload[:1] != bytes([MessageType.REPLY]):
            return [Count("unexpected_message")]
        try:
            reply = parse_reply(event.payload)
        except Malformed:
            return [Count("malformed_reply")]
        if first_unrecognised(reply.extensions, self._understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: silent
        request = self._attempts.find(reply.identification)
        if request is None or not self._is_for_us(reply):
            return [Count("reply_without_request")]
        if not self._agent_vouches(reply, request.target):
            return [Count("reply_unauthenticated")]
        if is_word_of_foreign_agent(reply, event, request.target):
            believed = Believed(reply, (), reply.extensions)
            self._take_challenge(believed, request)
            return self._denied(believed, request, now)
        authentication = authentication_of(reply, association_of(self._settings, request.target))
        if authentication is None:
            return [Count("reply_unauthenticated")]  # RFC 5944 3.6.2.1: silent
        covered = tuple(extension for extension in reply.extensions if extension.start < authentication.start)
        trailing = tuple(extension for extension in reply.extensions if extension.start > authentication.start)
        believed = Believed(reply, covered, trailing)
        self._take_challenge(believed, request)
        return self._decide(believed, request, now)

    def _revoked(self, event: DatagramReceived, now: float) -> list[Action]:
        """RFC 3543: our agent ends the registration. Acknowledge, and ask anew; a node revokes nothing itself."""
        message = self._revocations.read(event)
        if isinstance(message, list):
            return message
        registration = self._registration
        if (
            registration is None
            or message.home_address != self._home_address
            or message.home_domain != registration.target.home_agent
            or message.foreign_domain != registration.target.care_of_address
            or message.home_domain != event.source.address
        ):
            return [Count("revocation_of_no_binding")]
        association = association_of(self._settings, registration.target)
        keys = {int(ExtensionType.MN_HA_AUTHENTICATION): {association.spi: association}}
        answer = self._revocations.obey(message, event, registration.revocation, keys)
        if isinstance(answer, list):
            return answer
        why = f"{message.home_domain} revoked the registration"
        forgotten = self._forget_place(why, now, self._attempts.since)
        log = Log(Level.WARNING, "registration_revoked", {"agent": str(message.home_domain)})
        return [*forgotten, answer, log, *self._find_place(now)]

    def _is_for_us(self, reply: RegistrationReply) -> bool:
        """By home address, or by NAI where the reply may bring one (RFC 2794 3)."""
        if self._home_address is not None:
            return reply.home_address == self._home_address
        nai = find(reply.extensions, ExtensionType.NAI)
        return nai is None or nai.data == self._settings.nai

    def _take_challenge(self, believed: Believed, request: Outstanding) -> None:
        """The agent's next one; what only repeats ours is the home agent's echo."""
        challenge = believed.challenge() if request.target.is_by_agent else None
        if challenge not in (None, request.ask.challenge):
            self._discovery.challenge = challenge

    def _agent_vouches(self, reply: RegistrationReply, target: Target) -> bool:
        """RFC 5944 3.6.2.1: exactly one right MN-FA authentication where we share a key with the agent."""
        association = self._settings.agent_associations.get(target.destination) if target.is_by_agent else None
        if association is None:
            return True
        return authentication_of(reply, association, ExtensionType.MN_FA_AUTHENTICATION) is not None

    def _decide(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        reply, covered = believed.reply, believed.covered
        try:
            parameter = find_home_agent_parameter(covered, (self._settings.home_agent_parameter,))
            answer = find(covered, ExtensionType.UDP_TUNNEL_REPLY)
            tunnel = UdpTunnelReply.of(answer) if answer is not None else None
            refused = believed.foreign_agent_error() if request.target.is_by_agent else None
        except Malformed:
            return [Count("malformed_reply")]
        self._identifications.answered(reply.identification)
        match verdict(believed, request.target):
            case Verdict.ACCEPTED if refused is not None:
                refusal = Believed(replace(reply, code=refused), (), believed.trailing)
                return self._refused_by_agent(refusal, request, now)
            case Verdict.ACCEPTED:
                self._learn_home_agent(parameter, request.target)
                return self._accepted(believed, tunnel, request, now)
            case Verdict.INSIDE:
                self._learn_home_agent(parameter, request.target)
                return self._told_inside(believed, request, now)
            case Verdict.MISMATCH if self._attempts.resynchronisations < MOST_RESYNCHRONISATIONS:
                return self._resynchronise(reply, request, now)
            case Verdict.ELSEWHERE if self._attempts.redirections < MOST_REDIRECTIONS:
                return self._redirected(believed, request, now)
            case _:
                return self._denied(believed, request, now)

    def _accepted(
        self, believed: Believed, tunnel: UdpTunnelReply | None, request: Outstanding, now: float
    ) -> list[Action]:
        reply, target = believed.reply, request.target
        lifetime = min(reply.lifetime, request.lifetime)  # RFC 5944 3.4
        if request.lifetime == 0 and target.through is not Through.HOME_LINK and not target.at_home:
            self._attempts.answered(request, now)  # what we took back ourselves
            return []
        if lifetime == 0 and target.through is not Through.HOME_LINK:
            return self._denied(believed, request, now, "accepted_without_lifetime")  # no binding came of it
        if self._home_address is None and reply.home_address == UNASSIGNED:
            return self._denied(believed, request, now, "accepted_without_home_address")  # RFC 2794 3
        if target.inside and not self._is_trusted_network(believed):
            return self._denied(believed, request, now, "inside_without_trusted_network")
        self._attempts.answered(request, now)
        self._attempts.forget()
        self._identifications.accepted(request.identification)
        self._last_denial = None
        self._attempts.begin()
        self._timers.pop(_Timer.REQUEST, None)
        assigned = self._assume_home_address(reply)
        self._stay_inside(lifetime, request)
        if target.through is Through.HOME_LINK:
            return self._arrive_home(target, now)
        path, interval = granted_path(reply, tunnel, target, self._settings.keepalive)
        expires = expiry(lifetime, request.sent)  # RFC 5944 3.6.2.2: counted from the sending of the request
        simultaneous = request.ask.simultaneous and reply.code == Code.ACCEPTED
        offer = support_in(believed.covered) if request.ask.revocation is not None else None
        agreed = None if offer is None else offer.timestamp
        known, self._registration = (
            self._registration,
            Registration(target, path, expires, interval, simultaneous, agreed),
        )
        self._set_lifetime_timers(lifetime, request.sent, interval, now)
        self._enter(State.BOUND)
        unchanged = known is not None and known.path == path  # a renewal that changed nothing
        return [*assigned, *([] if unchanged else self._travel(path, target, now)), *self._bind_port(target, now)]

    def _is_trusted_network(self, believed: Believed) -> bool:
        """RFC 5265 3.2, where so configured: the SA is not given up before somebody says so on this link."""
        if believed.is_trusted_network:
            self._place.is_trusted_network = True
        return self._place.is_trusted_network or not self._settings.require_trusted_networks

    def _assume_home_address(self, reply: RegistrationReply) -> list[Action]:
        """RFC 2794 3: what was zero in the request is ours from here on."""
        if self._home_address is not None:
            return []
        self._home_address = reply.home_address
        self._keepalives = Keepalives(reply.home_address)
        return [AssumeHomeAddress(reply.home_address)]

    def _set_lifetime_timers(self, lifetime: int, sent: float, interval: int, now: float) -> None:
        expires = expiry(lifetime, sent)
        self._timers.pop(_Timer.EXPIRY, None)
        self._timers.pop(_Timer.PROBE, None)
        if expires != math.inf:
            self._timers[_Timer.EXPIRY] = expires
        if interval:
            self._keepalives.start()
            self._timers[_Timer.PROBE] = now + interval

    def _stay_inside(self, lifetime: int, request: Outstanding) -> None:
        """When to ask again: before the lifetime ends, and inside before the word of it is too old."""
        spans = [math.inf if expiry(lifetime, 0.0) == math.inf else lifetime] if lifetime else []
        if request.target.inside:
            spans.append(self._settings.monitor)
            self._timers[_Timer.MONITOR] = request.sent + self._settings.monitor
        if (span := min(spans, default=math.inf)) != math.inf:
            self._timers[_Timer.REQUEST] = request.sent + RENEWAL * span

    def _bind_port(self, target: Target, now: float) -> list[Action]:
        """RFC 3519 4.4: behind an agent that relays for us, only a keepalive shows the tunnel's port."""
        registration = self._registration
        if target.through is not Through.DEMANDING_AGENT or registration is None or not registration.keepalive:
            return []
        self._timers[_Timer.PROBE] = now + PROBE_TIMEOUT
        return [self._keepalives.next(registration.path)]

    def _travel(self, path: NodePath, target: Target, now: float) -> list[Action]:
        """Packets may leave: by the path just granted."""
        location = Location.INSIDE if target.inside else Location.OUTSIDE
        self._place.enter(location, f"{target.home_agent} accepted the registration", now)
        through = target.destination
        return [
            SetPath(path),
            SetLocation(inside=target.inside, at_home=False, through=through),
            ParkSecurityAssociation() if target.inside else self._establish(now),
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

    def _establish(self, now: float) -> EstablishSecurityAssociation:
        """D-5.5-b: anew if the gateway has not heard us for longer than it keeps the SA of a node."""
        return EstablishSecurityAssociation(anew=self._place.regain_sa(now) > self._settings.sa_keepalive)

    def _arrive_home(self, target: Target, now: float) -> list[Action]:
        if self._state is State.HOME:
            return []  # still
        self._enter(State.HOME)
        self._target = target
        self._companion = None
        self._place.enter(Location.HOME, f"{target.home_agent} took back all bindings", now)
        assert self._home_address is not None
        return [
            AnnounceHome(target.interface, self._home_address),  # RFC 5944 4.6: after the home agent let go
            SetPath(NodePath(PathMode.HOME, target.interface, inside=True)),
            SetLocation(inside=True, at_home=True),
            ParkSecurityAssociation(),
            Log(Level.INFO, "at_home", {"home_agent": str(target.home_agent)}),
        ]

    def _learn_home_agent(self, parameter: HomeAgentParameter | None, asked: Target) -> None:
        """D-2.6.1-c to -e: the reply says who our home agent is, for the next time we ask it ourselves."""
        if not asked.inside and parameter is not None and not parameter.address.is_unspecified:
            self._home_agent = parameter.address

    def _told_inside(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """Code 206, or 143. Known to be inside, but packets wait for the home agent's word."""
        if (redirected := believed.redirected()) is not None and believed.reply.code == Code.REDIRECT_HOME_AGENT:
            self._home_agent = redirected
        if self._home_agent is None:
            return self._denied(believed, request, now, "inside_without_home_agent")
        if not self._is_trusted_network(believed):
            return self._denied(believed, request, now, "inside_without_trusted_network")
        actions: list[Action] = []
        if self._state is not State.REGISTERING:  # a renewal: the proxy learned something; what we had is void
            actions = self._forget_place("the proxy changed its mind", now)
        self._attempts.answered(request, now)
        self._identifications.accepted(request.identification)  # the proxy has taken note of it
        why = f"{request.target.home_agent} answered {believed.reply.code} (inside)"
        self._place.enter(Location.INSIDE, why, now)
        log = Log(Level.INFO, "inside", {"proxy": str(request.target.home_agent), "home_agent": str(self._home_agent)})
        return [*actions, log, *self._ask_home_agent(now)]

    def _resynchronise(self, reply: RegistrationReply, request: Outstanding, now: float) -> list[Action]:
        """Code 133: take the agent's clock from the high half (RFC 5944 5.7.1), or its nonce, and ask again."""
        self._attempts.resynchronisations += 1
        self._attempts.answered(request, now)
        self._identifications.adjust(reply.identification, now)
        self._attempts.patience_anew()
        log = Log(Level.WARNING, "clock_adjusted", {"offset_seconds": round(self._identifications.clock_offset, 3)})
        return [log, *self._register(now)]

    def _redirected(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """Codes 136 and 143 of a home agent that names another one (RFC 5944 3.6.2.3, RFC 4433)."""
        self._attempts.answered(request, now)
        if believed.reply.identification != request.identification:  # its own clock stands there
            self._identifications.adjust(believed.reply.identification, now)
        other = believed.other_home_agent()
        assert other is not None
        log = Log(Level.INFO, "redirected", {"home_agent": str(request.target.home_agent), "to": str(other)})
        self._home_agent = other
        redirections = self._attempts.redirections + 1
        actions: list[Action] = []
        if self._state is not State.REGISTERING:
            actions = self._forget_place(f"{request.target.home_agent} named {other} instead of itself", now)
        actions += [log, *self._ask_home_agent(now)]
        self._attempts.redirections = redirections
        return actions

    def _refused_by_agent(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """RFC 4636 3: the home agent has a binding that the foreign agent does not serve. Take it back, try again."""
        actions: list[Action] = []
        if self._state is not State.REGISTERING:
            actions = self._forget_place(f"foreign agent {request.target.destination} serves us no more", now)
            self._enter(State.REGISTERING)
        self._target = request.target
        self._undo = replace(request.target, lifetime=0)
        self._identifications.accepted(request.identification)
        return [*actions, *self._denied(believed, request, now)]

    def _denied(self, believed: Believed, request: Outstanding, now: float, name: str | None = None) -> list[Action]:
        """Say why, wait, and try again; a registration that still lasts goes on lasting."""
        reply = believed.reply
        self._attempts.answered(request, now)
        self._wishes.give_up(reply)
        if believed.ends_assignment:
            self._home_address, self._home_agent = self._settings.home_address, self._settings.home_agent
        self._last_denial = believed.in_words() if name is None else f"{reply.code} {name}"
        if self._place.location is Location.UNKNOWN:
            self._place.why = f"{request.target.home_agent} answered {self._last_denial}"
        pause = self._attempts.pause()
        self._timers[_Timer.REQUEST] = now + pause
        fields: dict[str, str | int | float | bool] = {
            "agent": str(request.target.destination),
            "code": reply.code,
            "name": name or describe(reply.code),
            "reason": believed.reason(),
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
    _Timer.MONITOR: MobileNode._doubt,
    _Timer.REQUEST: MobileNode._request_due,
    _Timer.SOLICITATION: MobileNode._solicit,
    _Timer.PROBE: MobileNode._send_probe,
}
