"""The proxy as home agents see it, a node: what becomes of their replies (draft 2.3, 2.6).

A reply counts only if it matches a pending request by home agent, home address or NAI, and low Identification, and is
authentic. Then: binding durable, binding in the kernel, reply to where the request came from. Of two requests of one
node that are pending at once, the one relayed last wins whichever is answered first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log
from mobileip.registration.agent_revocation import ProxyRevocation
from mobileip.registration.assignment import AssignmentRule
from mobileip.registration.bindings import Binding, NodeKey, expiry
from mobileip.registration.events import DatagramReceived
from mobileip.registration.extension_policy import ExtensionPolicy, Treatment
from mobileip.registration.home_agent_leg import HomeAgentLeg
from mobileip.registration.home_agent_replies import is_other_acceptance
from mobileip.registration.lifetimes import jittered
from mobileip.registration.nat import Denied
from mobileip.registration.peers import nai_of
from mobileip.registration.pending import PendingRequest
from mobileip.registration.proxy_answers import ProxyAnswers
from mobileip.registration.proxy_settings import OnLocalFailure, ProxyNode, ProxySettings
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.replay import ReplayGuard
from mobileip.registration.request_form import unknown_vendor_extension
from mobileip.registration.security import AuthenticationFailure, AuthenticReply
from mobileip.registration.sessions import ProxyLists
from mobileip.wire.codes import Code, describe
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, first_unrecognised
from mobileip.wire.identification import low
from mobileip.wire.messages import MAXIMUM_MESSAGE, RegistrationReply, parse_reply


class SurrogateNode:
    """Judges replies; `lists` are filled by both sides of the proxy. `draw`: see `Proxy`."""

    def __init__(
        self,
        settings: ProxySettings,
        nodes: Mapping[NodeKey, ProxyNode],
        lists: ProxyLists,
        answers: ProxyAnswers,
        assignment: AssignmentRule,
        policy: ExtensionPolicy,
        leg: HomeAgentLeg,
        revocation: ProxyRevocation,
        guard: ReplayGuard,
        vendors: frozenset[tuple[int, int]],
        draw: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._nodes = nodes
        self._pending = lists.pending
        self._sessions = lists.sessions
        self._admission = lists.admission
        self._answers = answers
        self._assignment = assignment
        self._policy = policy
        self._leg = leg
        self._revocation = revocation
        self._guard = guard
        self._vendors = vendors
        self._draw = draw
        self._hints = RateLimit(burst=1)

    def receive(self, received: DatagramReceived, now: float) -> list[Action]:
        """A reply came: whose it is, whether it may be believed, and what follows."""
        settings = self._settings
        if received.destination.address != settings.private_address or received.interface != settings.private_interface:
            return [Count("reply_not_from_inside")]
        if len(received.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        try:
            reply = parse_reply(received.payload)
        except Malformed:
            return [Count("malformed")]
        if first_unrecognised(reply.extensions, self._policy.understood_in_reply) is not None:
            return [Count("unknown_extension")]
        awaiting = self._pending.awaiting(received.source.address, low(reply.identification), now)
        candidates = [pending for pending in awaiting if pending.is_answered_by(reply)]
        candidates.sort(key=lambda one: one.request.message.identification != reply.identification)
        if not candidates:
            return [Count("reply_without_request")]  # RFC 5944 3.6.2.1: silent discard
        pending, checked = self._authenticated(reply, candidates)
        if isinstance(checked, AuthenticationFailure):
            # The request stays pending: whoever forged this must not be able to end it.
            fields = {"home_address": str(reply.home_address), "source": str(received.source), "reason": checked.value}
            actions: list[Action] = [Count(f"reply_{checked.value}")]
            actions.append(Log(Level.WARNING, "reply_not_authentic", fields))
            return actions + self._hint(reply, checked, pending, now)
        if checked.covered and self._policy.forbidden(checked.covered, Treatment.REJECT, Treatment.DISCARD):
            return [Count("discarded_extension")]
        heard = self._guard.hear(
            pending.node,
            pending.request.association,
            asked=pending.request.message.identification,
            answered=reply.identification,
            refused=reply.code == Code.IDENTIFICATION_MISMATCH,
            now=now,
        )
        actions = self._relay_reply(checked, pending, now)
        self._pending.remove(pending.key)
        return [*heard, *actions]

    def _authenticated(
        self, reply: RegistrationReply, candidates: list[PendingRequest]
    ) -> tuple[PendingRequest, AuthenticReply | AuthenticationFailure]:
        """The request that this reply answers: the authenticator tells nodes apart where addresses do not."""
        for pending in candidates:
            association = self._nodes[pending.node].home_agent_association
            checked = self._settings.replies.authenticate(reply, association, pending.home_agent, pending.at_home_agent)
            if isinstance(checked, AuthenticReply):
                break
        return pending, checked

    def _relay_reply(self, reply: AuthenticReply, pending: PendingRequest, now: float) -> list[Action]:
        """D-2.3: update the bindings, then tell the node."""
        message, request = reply.message, pending.request.message
        accepted = self._settings.replies.accepts(message)
        unknown = unknown_vendor_extension(message.extensions, self._vendors)
        if unknown is not None:  # RFC 3115 2.4: its sender counts on its being understood
            code = self._settings.cannot_service_code if accepted else Code.UNSPECIFIED
            return self._fail(reply, pending, Denied(code, f"home agent: {unknown}"), now)
        if not accepted:
            return self._not_accepted(reply, pending)
        failure = self._cannot_serve(message, pending)
        if failure is not None:
            return self._fail(reply, pending, failure, now)
        self._supersede(pending)
        at_home_agent = min(message.lifetime, pending.at_home_agent)  # never more than was asked (RFC 5944 3.4)
        at_home_agent_until = expiry(at_home_agent, pending.relayed_at)
        lifetime = 0 if request.deregisters else min(at_home_agent, pending.lifetime)  # D-2.6.2-e, AMB-8
        ours: tuple[Extension, ...] = ()
        if lifetime > 0:
            lifetime = jittered(lifetime, self._settings.lifetime_jitter, self._draw())
            binding = self.binding(message.home_address, pending, lifetime, at_home_agent_until)
            of_node = self._revocation.peer(
                pending.request,
                foreign_agent=pending.received.source.address in self._settings.checks.foreign_agents,
            )
            of_agent = self._revocation.agreed(reply)
            if of_node is not None or of_agent is not None:
                binding = replace(binding, node_revocation=of_node, agent_revocation=of_agent)
            ours = self._revocation.taken_up(binding, now)
            actions = self._sessions.bind(pending.node, binding, beside=pending.adds)
        elif request.deregisters_all or at_home_agent == 0:  # D-2.3.1-d; the home agent has nothing for the node
            actions = self._sessions.retire(pending.node, at_home_agent_until, pending.relayed_at)
        else:
            actions = self._sessions.retire(
                pending.node,
                at_home_agent_until,
                pending.relayed_at,
                lambda one: one.care_of_address == request.care_of_address,
            )
        return [*actions, self._answers.relay(reply, pending, lifetime, ours), Count("reply_relayed")]

    def _not_accepted(self, reply: AuthenticReply, pending: PendingRequest) -> list[Action]:
        """D-2.3.1-a: a denial as it is; a success of a kind that we do not know is passed on, but binds nothing."""
        message, request = reply.message, pending.request.message
        if not is_other_acceptance(message.code):
            return [self._answers.relay(reply, pending, message.lifetime), Count(f"home_agent_code_{message.code}")]
        lifetime = 0 if request.deregisters else min(message.lifetime, pending.lifetime)
        fields = {"home_address": str(request.home_address), "code": str(message.code)}
        return [
            self._answers.relay(reply, pending, lifetime),
            Count(f"home_agent_code_{message.code}"),
            Log(Level.WARNING, "accepted_in_an_unknown_way", fields),
        ]

    def _hint(
        self, reply: RegistrationReply, failure: AuthenticationFailure, pending: PendingRequest, now: float
    ) -> list[Action]:
        """An unauthenticated denial in our own words, once a second for each node; nothing follows from it here."""
        if not self._settings.replies.is_hint(reply, failure) or not self._hints.allows(pending.node, now):
            return []
        reason = f"home agent {pending.home_agent} says {describe(reply.code)}, without authentication"
        return [self._answers.hint(pending, reply.code, reason), Count("unauthenticated_denial_relayed")]

    def _supersede(self, pending: PendingRequest) -> None:
        """What this request has overtaken is waited for no more: its late reply would bring back what is over."""
        for earlier in self._pending.before(pending):
            same = earlier.request.message.care_of_address == pending.request.message.care_of_address
            if same or pending.replaces_all:
                self._pending.remove(earlier.key)

    def _cannot_serve(self, reply: RegistrationReply, pending: PendingRequest) -> Denied | None:
        """What an accepted registration lacks to be one here (D-2.6.3-f, -g; D-2.3.1-b)."""
        request, node = pending.request.message, pending.node
        if not request.deregisters and not self._sessions.of_node(node):
            # Others may have taken the room since this one was relayed.
            why = self._admission.is_full(reply.home_address)
            if why is not None:
                return Denied(self._settings.cannot_service_code, why)
        if nai_of(request) is None or request.deregisters:  # AMB-12: else every plain registration would end here
            return None
        if nai_of(reply) is None:
            return Denied(Code.MISSING_NAI, "the home agent's reply has no NAI")
        if reply.home_address.is_unspecified:
            return Denied(Code.MISSING_HOME_ADDRESS, "the home agent has assigned no home address")
        if reply.home_agent.is_unspecified:
            return Denied(Code.MISSING_HOME_AGENT, "the home agent has not said its address")
        gateway, home_address = node.gateway, reply.home_address
        networks = self._settings.gateway_networks.get(gateway) if gateway is not None else None
        outside = networks is not None and not any(home_address in network for network in networks)
        if outside or not self._assignment.serves(pending.home_agent, home_address):
            reason = f"home address {home_address} is in no home network of the node's gateway and home agent"
            return Denied(self._settings.cannot_service_code, reason)
        configured = isinstance(node.name, IPv4Address)
        if self._sessions.holder(gateway, home_address) not in ((node,) if configured else (None, node)):
            return Denied(self._settings.cannot_service_code, f"home address {home_address} is not this node's")
        return None

    def _fail(self, reply: AuthenticReply, pending: PendingRequest, failure: Denied, now: float) -> list[Action]:
        """The home agent has a binding that we do not serve (AMB-1, AMB-12): the node is told, and tries again."""
        denials = self._answers.fail(reply, pending, failure, now)
        takes_back = self._settings.on_local_failure is OnLocalFailure.DEREGISTER
        if not takes_back or pending.request.message.deregisters or not reply.message.accepted:
            return denials
        node = pending.node
        if self._sessions.holder(node.gateway, reply.message.home_address) not in (None, node):
            return denials  # with it, the binding of the node that has the address would go
        association = self._nodes[node].home_agent_association
        ended = self._sessions.retire(node, now, now)
        return [*ended, *denials, self._leg.deregistration(reply, pending, association), Count("deregistered_by_us")]

    @staticmethod
    def binding(
        home_address: IPv4Address, pending: PendingRequest, lifetime: int, home_agent_expires: float
    ) -> Binding:
        """What an accepted request binds, for `lifetime` seconds."""
        request, tunnel = pending.request.message, pending.tunnel
        assert tunnel is not None, "a request with a lifetime has negotiated a tunnel"
        return Binding(
            home_address=home_address,
            home_agent=pending.home_agent,
            care_of_address=request.care_of_address,
            source=pending.received.source,
            interface=pending.received.interface,
            encapsulation=tunnel.encapsulation,
            flags=request.flags,
            identification=request.identification,
            granted=lifetime,
            expires=expiry(lifetime, pending.relayed_at),  # node's expiry <= ours <= the home agent's
            gateway=pending.node.gateway,
            via_foreign_agent=not request.decapsulates,
            half_bound=tunnel.half_bound,
            keepalive=0 if tunnel.answer is None else tunnel.answer.keepalive,
            spi=pending.request.association.spi,
            nai=nai_of(request),
            registered=pending.relayed_at,
            home_agent_expires=home_agent_expires,
        )
