"""Whom a mobile node asks where it is, and when it asks again (RFC 5944 3.6.1 and 3.6.3, draft 2.6.1).

After a move the proxy (D-2.6.1-h); the home agent where the proxy says that we are inside (D-2.6.1-f), or behind a
foreign agent that we trust (D-5.7.2-b); for a renewal whoever registered last (D-2.6.1-i). What is not answered is
repeated, ever slower, and no agent gets two requests within a second, unless a move is in between.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Level, Log, Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.node_attempts import Outstanding
from mobileip.registration.node_requests import UNASSIGNED, Ask, Target, build_request, in_udp, target_at
from mobileip.registration.node_state import NodeState, State, Timer
from mobileip.registration.revocation import Timestamps

ATTEMPTS_INSIDE = 5  # unanswered requests to the home agent before the proxy is asked again where we are


class Requester:
    """Sends the node's requests; every method returns what is to be done now, and sets the timer for what is later."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._timestamps = Timestamps()

    def find_place(self, now: float) -> list[Action]:
        """Ask where we are; whoever knows it is a trusted foreign agent's place needs no proxy (D-5.7.2-b)."""
        if self._node.discovery.is_trusted:
            return self.ask_home_agent(now)
        return self.ask_proxy(now)

    def ask_proxy(self, now: float) -> list[Action]:
        """D-2.6.1-h: after every change of care-of address."""
        node = self._node
        assert node.attachment is not None
        at_home = node.attachment.address is not None and node.attachment.address == node.home_address
        node.companion = self._target_at(node.home_agent, inside=True) if at_home and node.home_agent else None
        return self._aim(self._target_at(node.settings.mipp_pub, inside=False), now)

    def ask_home_agent(self, now: float) -> list[Action]:
        """D-2.6.1-f: the proxy said that we are inside."""
        self._node.companion = None
        return self._aim(self._target_at(self._node.home_agent or UNASSIGNED, inside=True), now)

    def register(self, now: float) -> list[Action]:
        """Send a request to the target, and to its companion, or wait until their second is over."""
        node, attempts = self._node, self._node.attempts
        target = node.target
        assert target is not None
        earliest = attempts.earliest(target)
        if now < earliest:
            node.timers[Timer.REQUEST] = earliest
            return []
        attempts.count += 1
        node.timers[Timer.REQUEST] = now + attempts.patience(min(target.lifetime, node.wishes.lifetime))
        companion = node.companion
        if companion is None or now < attempts.earliest(companion):
            return [self._request(target, now)]
        return [self._request(target, now), self._request(companion, now)]

    def request_due(self, now: float) -> list[Action]:
        """No reply in time, the end of a pause, or time to renew."""
        node = self._node
        assert node.target is not None
        if node.undo is not None:
            undo, node.undo = node.undo, None
            node.timers[Timer.REQUEST] = now + node.attempts.pause()
            return [self._request(undo, now)]
        if node.state is State.BOUND:
            return self.renew(now, "the lifetime nears its end")
        tired = node.attempts.count >= ATTEMPTS_INSIDE and not node.discovery.is_trusted
        if node.state is State.REGISTERING and node.target.inside and tired:
            return self.ask_proxy(now)  # what it said of our place does not hold any more
        return self.register(now)

    def renew(self, now: float, why: str) -> list[Action]:
        """D-2.6.1-i: with whoever registered last."""
        node = self._node
        if node.state is not State.BOUND:
            return []  # a request is out, or there is nothing to renew
        node.enter(State.RENEWING)
        node.attempts.begin()
        return [Log(Level.DEBUG, "renewing", {"why": why}), *self.register(now)]

    def expire(self, now: float) -> list[Action]:
        """The agent has forgotten us; where we are is open again."""
        node = self._node
        return [*node.forget_place("the registration expired", now, node.attempts.since), *self.find_place(now)]

    def doubt(self, now: float) -> list[Action]:
        """RFC 5265 3.2: too long ago that somebody said we are inside."""
        node = self._node
        why = f"nobody said for {node.settings.monitor:g} s that this is inside"
        return [*node.forget_place(why, now, node.attempts.since), *self.find_place(now)]

    def _target_at(self, home_agent: IPv4Address, *, inside: bool) -> Target:
        """The way to an agent from where we are attached."""
        node = self._node
        assert node.attachment is not None
        agent, lifetime = node.discovery.agent, node.settings.lifetime
        return target_at(node.attachment, agent, node.home_address, home_agent, lifetime, inside=inside)

    def _aim(self, target: Target, now: float) -> list[Action]:
        self._node.enter(State.REGISTERING)
        self._node.target = target
        self._node.attempts.begin()
        return self.register(now)

    def _request(self, target: Target, now: float) -> Send:
        node = self._node
        known = node.attempts.to(target)
        if known is not None and node.identifications.is_repeatable(known.identification):
            node.attempts.sent(known, now)
            return known.message
        ask = Ask(
            home_address=node.home_address or UNASSIGNED,
            home_agent=node.home_agent or UNASSIGNED,
            lifetime=min(target.lifetime, node.wishes.lifetime),
            identification=node.identifications.next(now),
            simultaneous=node.wishes.simultaneous and target.lifetime > 0,
            udp_tunnel=node.wishes.udp_tunnel,
            encapsulation=self._encapsulation(target),
            challenge=node.discovery.challenge if target.is_by_agent else None,
            revocation=self._timestamps.of_support(now) if node.settings.revocation else None,
        )
        message = build_request(node.settings, target, ask)
        node.attempts.sent(Outstanding(target, ask, now, message), now)
        return message

    def _encapsulation(self, target: Target) -> Encapsulation:
        """What to ask for; of an agent that ends the tunnel only what it advertises and goes into UDP as well."""
        wished, agent = self._node.wishes.encapsulation, self._node.discovery.agent
        if target.is_co_located:
            return wished
        has = agent is not None and {
            Encapsulation.GRE: agent.gre,
            Encapsulation.MINIMAL: agent.minimal_encapsulation,
        }.get(wished, False)
        return wished if has and in_udp(self._node.settings, wished) is not Encapsulation.UDP else Encapsulation.IPIP
