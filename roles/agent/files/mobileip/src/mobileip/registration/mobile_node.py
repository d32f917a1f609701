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

States; `node_state` has the moves between them:

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

The parts share one `NodeState`, and each has one question: `node_link` where the node is attached, `node_requester`
whom to ask and when again, `node_reader` which answer to believe, `node_outcomes` what it means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from mobileip.registration.actions import Action, Count, Level, Log
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Detached,
    Event,
    Ipv6Seen,
    TunnelProbeAnswered,
    TunnelSilent,
)
from mobileip.registration.keepalives import LEAST_KEEPALIVE, PROBE_TIMEOUT
from mobileip.registration.node_ipv6 import Ipv6Beside
from mobileip.registration.node_link import NodeLink
from mobileip.registration.node_outcomes import Outcomes
from mobileip.registration.node_reader import Answer, ReplyReader
from mobileip.registration.node_requester import Requester
from mobileip.registration.node_requests import MobileNodeSettings, association_of
from mobileip.registration.node_state import NodeState, NodeStatus, State, Timer
from mobileip.registration.revocation import RevocationReader
from mobileip.wire.extensions import ExtensionType
from mobileip.wire.messages import MAXIMUM_MESSAGE, MessageType

__all__ = ["MobileNode", "NodeStatus", "State"]


class MobileNode:
    """The state machine: `feed` events, act on what it returns, wake it at `next_deadline`."""

    def __init__(self, settings: MobileNodeSettings) -> None:
        self._node = NodeState(settings)
        self._requester = Requester(self._node)
        self._link = NodeLink(self._node, self._requester)
        self._ipv6 = Ipv6Beside()
        self._reader = ReplyReader(self._node)
        self._outcomes = Outcomes(self._node, self._requester)
        self._revocations = RevocationReader(from_home_agents=True)
        self._on_timer: Mapping[Timer, Callable[[float], list[Action]]] = {
            Timer.AGENT_GONE: self._link.lose_agent,
            Timer.EXPIRY: self._requester.expire,
            Timer.MONITOR: self._requester.doubt,
            Timer.REQUEST: self._requester.request_due,
            Timer.SOLICITATION: self._link.solicit,
            Timer.PROBE: self._send_probe,
        }

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about `event`, in this order. `now` in Unix seconds."""
        match event:
            case Attached():
                return self._link.attach(event, now)
            case Detached():
                return self._link.detach(event, now)
            case AdvertisementReceived():
                return self._link.hear(event, now)
            case DatagramReceived():
                return self._receive(event, now)
            case TunnelProbeAnswered():
                return self._probe_answered(event, now)
            case TunnelSilent():
                return self._suspect_tunnel(now)
            case Ipv6Seen():
                return self._ipv6.see(event)
            case _:
                raise TypeError(f"a mobile node has no use for {type(event).__name__}")

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called next, in Unix seconds; None for never."""
        return min(self._node.timers.values(), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Repeat, renew, expire, solicit, probe: whatever is due at `now`."""
        timers = self._node.timers
        actions: list[Action] = []
        for timer in Timer:
            if timers.get(timer, math.inf) <= now:
                del timers[timer]
                actions += self._on_timer[timer](now)
        return actions

    def status(self) -> NodeStatus:
        """Where the node is, through whom, since when and why."""
        return replace(self._node.status(), ipv6_outside_sa=self._ipv6.warning)

    def _receive(self, event: DatagramReceived, now: float) -> list[Action]:
        if len(event.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        if event.payload[:1] == bytes([MessageType.REVOCATION]):
            return self._revoked(event, now)
        if event.payload[:1] != bytes([MessageType.REPLY]):
            return [Count("unexpected_message")]
        answer = self._reader.read(event)
        return self._outcomes.decide(answer, now) if isinstance(answer, Answer) else answer

    def _revoked(self, event: DatagramReceived, now: float) -> list[Action]:
        """RFC 3543: our agent ends the registration. Acknowledge, and ask anew; a node revokes nothing itself."""
        node = self._node
        message = self._revocations.read(event)
        if isinstance(message, list):
            return message
        registration = node.registration
        if (
            registration is None
            or message.home_address != node.home_address
            or message.home_domain != registration.target.home_agent
            or message.foreign_domain != registration.target.care_of_address
            or message.home_domain != event.source.address
        ):
            return [Count("revocation_of_no_binding")]
        association = association_of(node.settings, registration.target)
        keys = {int(ExtensionType.MN_HA_AUTHENTICATION): {association.spi: association}}
        answer = self._revocations.obey(message, event, registration.revocation, keys)
        if isinstance(answer, list):
            return answer
        why = f"{message.home_domain} revoked the registration"
        forgotten = node.forget_place(why, now, node.attempts.since)
        log = Log(Level.WARNING, "registration_revoked", {"agent": str(message.home_domain)})
        return [*forgotten, answer, log, *self._requester.find_place(now)]

    # Keepalives (RFC 3519 4.9)

    def _send_probe(self, now: float) -> list[Action]:
        node = self._node
        registration = node.registration
        assert registration is not None
        if node.keepalives.is_tunnel_lost:
            return self._requester.renew(now, "keepalives are not answered")
        node.timers[Timer.PROBE] = now + PROBE_TIMEOUT
        return [node.keepalives.next(registration.path)]

    def _suspect_tunnel(self, now: float) -> list[Action]:
        """A NAT may have forgotten us: ask at once, but no sooner than 10 s after the last time (RFC 3519 4.10)."""
        node = self._node
        registration, due = node.registration, node.timers.get(Timer.PROBE)
        if registration is None or not registration.keepalive or due is None or node.keepalives.is_waiting:
            return []
        if now < due - registration.keepalive + LEAST_KEEPALIVE:
            return []
        node.keepalives.suspect()
        return self._send_probe(now)

    def _probe_answered(self, event: TunnelProbeAnswered, now: float) -> list[Action]:
        node = self._node
        registration = node.registration
        if registration is None or not registration.keepalive or not node.keepalives.is_answer(event):
            return []
        node.timers[Timer.PROBE] = now + registration.keepalive
        return []
