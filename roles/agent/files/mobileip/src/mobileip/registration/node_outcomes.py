"""What an answer that the mobile node believes means for it (RFC 5944 3.6.2, draft 2.6.1).

accepted    a path for packets, timers for its end, or the return home
inside      from the proxy: ask the home agent itself
mismatch    of Identifications: take the agent's and ask again
elsewhere   from a home agent: ask the one that it names
denied      say why, wait, ask again; a registration that still lasts goes on lasting
"""

from __future__ import annotations

import math
from dataclasses import replace

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
    SetLocation,
    SetPath,
)
from mobileip.registration.bindings import expiry
from mobileip.registration.keepalives import PROBE_TIMEOUT
from mobileip.registration.node_attempts import Outstanding
from mobileip.registration.node_place import Location
from mobileip.registration.node_reader import Answer
from mobileip.registration.node_replies import Believed, Verdict, granted_path, is_host, verdict
from mobileip.registration.node_requester import Requester
from mobileip.registration.node_requests import UNASSIGNED, Target, Through
from mobileip.registration.node_state import NodeState, Registration, State, Timer
from mobileip.registration.revocation import support_in
from mobileip.wire.codes import Code, describe
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.messages import RegistrationReply
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelReply, find_home_agent_parameter

RENEWAL = 0.75  # of a lifetime, or of the time that we are believed to be inside, is over when the node asks again
MOST_RESYNCHRONISATIONS = 3  # codes 133 in a row that are answered by adjusting the clock
MOST_REDIRECTIONS = 3  # home agents in a row that name another one

_MAY_TELL_THE_TIME = (Code.UNKNOWN_HOME_AGENT, Code.REDIRECT_HOME_AGENT)
"""Denials, beside 133, in which the agent's own clock may stand (RFC 5944 5.7.1)."""


class Outcomes:
    """`decide` is the surface; one method an outcome."""

    def __init__(self, node: NodeState, requester: Requester) -> None:
        self._node = node
        self._requester = requester

    def decide(self, answer: Answer, now: float) -> list[Action]:
        """Act on a reply that was believed."""
        node = self._node
        believed, request = answer
        if believed.by_foreign_agent:
            return self._denied(believed, request, now)
        reply, covered = believed.reply, believed.covered
        try:
            parameter = find_home_agent_parameter(covered, (node.settings.home_agent_parameter,))
            extension = find(covered, ExtensionType.UDP_TUNNEL_REPLY)
            tunnel = UdpTunnelReply.of(extension) if extension is not None else None
            refused = believed.foreign_agent_error() if request.target.is_by_agent else None
        except Malformed:
            return [Count("malformed_reply")]
        node.identifications.answered(reply.identification)
        if reply.code in _MAY_TELL_THE_TIME and reply.identification != request.identification:
            node.identifications.adjust(reply.identification, now)
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
            case Verdict.MISMATCH if node.attempts.resynchronisations < MOST_RESYNCHRONISATIONS:
                return self._resynchronise(reply, request, now)
            case Verdict.ELSEWHERE if node.attempts.redirections < MOST_REDIRECTIONS:
                return self._redirected(believed, request, now)
            case _:
                return self._denied(believed, request, now)

    def _accepted(
        self, believed: Believed, tunnel: UdpTunnelReply | None, request: Outstanding, now: float
    ) -> list[Action]:
        node = self._node
        reply, target = believed.reply, request.target
        lifetime = min(reply.lifetime, request.lifetime)  # RFC 5944 3.4
        if request.lifetime == 0 and target.through is not Through.HOME_LINK and not target.at_home:
            node.attempts.answered(request, now)  # what we took back ourselves
            return []
        if lifetime == 0 and target.through is not Through.HOME_LINK:
            return self._denied(believed, request, now, "accepted_without_lifetime")  # no binding came of it
        if node.home_address is None and reply.home_address == UNASSIGNED:
            return self._denied(believed, request, now, "accepted_without_home_address")  # RFC 2794 3
        if not is_host(reply.home_agent):
            return self._denied(believed, request, now, "accepted_without_home_agent")  # the tunnel has no other end
        if target.inside and not self._is_trusted_network(believed):
            return self._denied(believed, request, now, "inside_without_trusted_network")
        node.attempts.answered(request, now)
        node.attempts.forget()
        node.identifications.accepted(request.identification)
        node.last_denial = None
        node.attempts.begin()
        node.target = target  # a late reply may be another's than the one that we ask by now (D-2.6.1-i)
        node.timers.pop(Timer.REQUEST, None)
        assigned = self._assume_home_address(reply)
        self._stay_inside(lifetime, request)
        if target.through is Through.HOME_LINK:
            return self._arrive_home(target, now)
        path, interval = granted_path(reply, tunnel, target, request.ask.encapsulation, node.settings)
        expires = expiry(lifetime, request.sent)  # RFC 5944 3.6.2.2: counted from the sending of the request
        simultaneous = request.ask.simultaneous and reply.code == Code.ACCEPTED
        offer = support_in(believed.covered) if request.ask.revocation is not None else None
        agreed = None if offer is None else offer.timestamp
        known, node.registration = (
            node.registration,
            Registration(target, path, expires, interval, simultaneous, agreed),
        )
        self._set_lifetime_timers(lifetime, request.sent, interval, now)
        node.enter(State.BOUND)
        unchanged = known is not None and known.path == path  # a renewal that changed nothing
        return [*assigned, *([] if unchanged else self._travel(path, target, now)), *self._bind_port(target, now)]

    def _is_trusted_network(self, believed: Believed) -> bool:
        """RFC 5265 3.2, where so configured: the SA is not given up before somebody says so on this link."""
        node = self._node
        if believed.is_trusted_network:
            node.place.is_trusted_network = True
        return node.place.is_trusted_network or not node.settings.require_trusted_networks

    def _assume_home_address(self, reply: RegistrationReply) -> list[Action]:
        """RFC 2794 3: what was zero in the request is ours from here on."""
        node = self._node
        if node.home_address is not None:
            return []
        node.assume_home_address(reply.home_address)
        return [AssumeHomeAddress(reply.home_address)]

    def _set_lifetime_timers(self, lifetime: int, sent: float, interval: int, now: float) -> None:
        node = self._node
        expires = expiry(lifetime, sent)
        node.timers.pop(Timer.EXPIRY, None)
        node.timers.pop(Timer.PROBE, None)
        if expires != math.inf:
            node.timers[Timer.EXPIRY] = expires
        if interval:
            node.keepalives.start()
            node.timers[Timer.PROBE] = now + interval

    def _stay_inside(self, lifetime: int, request: Outstanding) -> None:
        """When to ask again: before the lifetime ends, and inside before the word of it is too old."""
        node = self._node
        spans = [math.inf if expiry(lifetime, 0.0) == math.inf else lifetime] if lifetime else []
        if request.target.inside:
            spans.append(node.settings.monitor)
            node.timers[Timer.MONITOR] = request.sent + node.settings.monitor
        if (span := min(spans, default=math.inf)) != math.inf:
            node.timers[Timer.REQUEST] = request.sent + RENEWAL * span

    def _bind_port(self, target: Target, now: float) -> list[Action]:
        """RFC 3519 4.4: behind an agent that relays for us, only a keepalive shows the tunnel's port."""
        node = self._node
        registration = node.registration
        if target.through is not Through.DEMANDING_AGENT or registration is None or not registration.keepalive:
            return []
        node.timers[Timer.PROBE] = now + PROBE_TIMEOUT
        return [node.keepalives.next(registration.path)]

    def _travel(self, path: NodePath, target: Target, now: float) -> list[Action]:
        """Packets may leave: by the path just granted."""
        node = self._node
        location = Location.INSIDE if target.inside else Location.OUTSIDE
        node.place.enter(location, f"{target.home_agent} accepted the registration", now)
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
        unheard = self._node.place.regain_sa(now)
        return EstablishSecurityAssociation(anew=unheard > self._node.settings.sa_keepalive)

    def _arrive_home(self, target: Target, now: float) -> list[Action]:
        node = self._node
        if node.state is State.HOME:
            return []  # still
        node.enter(State.HOME)
        node.companion = None
        node.place.enter(Location.HOME, f"{target.home_agent} took back all bindings", now)
        assert node.home_address is not None
        return [
            AnnounceHome(target.interface, node.home_address),  # RFC 5944 4.6: after the home agent let go
            SetPath(NodePath(PathMode.HOME, target.interface, inside=True)),
            SetLocation(inside=True, at_home=True),
            ParkSecurityAssociation(),
            Log(Level.INFO, "at_home", {"home_agent": str(target.home_agent)}),
        ]

    def _learn_home_agent(self, parameter: HomeAgentParameter | None, asked: Target) -> None:
        """D-2.6.1-c to -e: the reply says who our home agent is, for the next time we ask it ourselves."""
        if not asked.inside and parameter is not None and not parameter.address.is_unspecified:
            self._node.home_agent = parameter.address

    def _told_inside(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """Code 206, or 143. Known to be inside, but packets wait for the home agent's word."""
        node = self._node
        if (redirected := believed.redirected()) is not None and believed.reply.code == Code.REDIRECT_HOME_AGENT:
            node.home_agent = redirected
        if node.home_agent is None:
            return self._denied(believed, request, now, "inside_without_home_agent")
        if not self._is_trusted_network(believed):
            return self._denied(believed, request, now, "inside_without_trusted_network")
        actions: list[Action] = []
        if node.state is not State.REGISTERING:  # a renewal: the proxy learned something; what we had is void
            actions = node.forget_place("the proxy changed its mind", now)
        node.attempts.answered(request, now)
        node.identifications.accepted(request.identification)  # the proxy has taken note of it
        why = f"{request.target.home_agent} answered {believed.reply.code} (inside)"
        node.place.enter(Location.INSIDE, why, now)
        log = Log(Level.INFO, "inside", {"proxy": str(request.target.home_agent), "home_agent": str(node.home_agent)})
        return [*actions, log, *self._requester.ask_home_agent(now)]

    def _resynchronise(self, reply: RegistrationReply, request: Outstanding, now: float) -> list[Action]:
        """Code 133: take the agent's clock from the high half (RFC 5944 5.7.1), or its nonce, and ask again."""
        node = self._node
        node.attempts.resynchronisations += 1
        node.attempts.answered(request, now)
        node.identifications.adjust(reply.identification, now)
        node.attempts.patience_anew()
        log = Log(Level.WARNING, "clock_adjusted", {"offset_seconds": round(node.identifications.clock_offset, 3)})
        return [log, *self._requester.register(now)]

    def _redirected(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """Codes 136 and 143 of a home agent that names another one (RFC 5944 3.6.2.3, RFC 4433)."""
        node = self._node
        node.attempts.answered(request, now)
        other = believed.other_home_agent()
        assert other is not None
        log = Log(Level.INFO, "redirected", {"home_agent": str(request.target.home_agent), "to": str(other)})
        node.home_agent = other
        redirections = node.attempts.redirections + 1
        actions: list[Action] = []
        if node.state is not State.REGISTERING:
            actions = node.forget_place(f"{request.target.home_agent} named {other} instead of itself", now)
        actions += [log, *self._requester.ask_home_agent(now)]
        node.attempts.redirections = redirections
        return actions

    def _refused_by_agent(self, believed: Believed, request: Outstanding, now: float) -> list[Action]:
        """RFC 4636 3: the home agent has a binding that the foreign agent does not serve. Take it back, try again."""
        node = self._node
        actions: list[Action] = []
        if node.state is not State.REGISTERING:
            actions = node.forget_place(f"foreign agent {request.target.destination} serves us no more", now)
            node.enter(State.REGISTERING)
        node.target = request.target
        node.undo = replace(request.target, lifetime=0)
        node.identifications.accepted(request.identification)
        return [*actions, *self._denied(believed, request, now)]

    def _denied(self, believed: Believed, request: Outstanding, now: float, name: str | None = None) -> list[Action]:
        """Say why, wait, and try again; a registration that still lasts goes on lasting."""
        node = self._node
        reply = believed.reply
        node.attempts.answered(request, now)
        node.wishes.give_up(reply)
        if believed.ends_assignment:
            node.give_back_assigned()
        node.last_denial = believed.in_words() if name is None else f"{reply.code} {name}"
        if node.place.location is Location.UNKNOWN:
            node.place.why = f"{request.target.home_agent} answered {node.last_denial}"
        pause = node.attempts.pause()
        node.timers[Timer.REQUEST] = now + pause
        fields: dict[str, str | int | float | bool] = {
            "agent": str(request.target.destination),
            "code": reply.code,
            "name": name or describe(reply.code),
            "reason": believed.reason(),
            "retry_seconds": pause,
        }
        return [Log(Level.WARNING, "registration_denied", fields)]
