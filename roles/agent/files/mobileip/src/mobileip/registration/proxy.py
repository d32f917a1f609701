"""The MIP Proxy: towards nodes a home agent, towards home agents a node (draft 2.2 to 2.7).

A request passes the gate (authentic, fresh, well-formed, for us) and then the proxy's own rules, in this order:

    T bit          138: all traffic of a node outside comes back through the tunnel
    location       inside: 206, and the binding outside is over; a spoofed inside source is dropped
    extensions     134 for one that the configuration rejects
    home agent     the HA Parameter extension, else what is known for the node (see `assignment`); 200, 201, 136
    tunnel         NAT and encapsulation (see `nat`); 129, 134, 139, 142
    capacity       135 for one care-of address too many, 130
    relay          a new request from MIPP-Priv with the same Identification; its reply is awaited

A reply counts only if it matches a pending request by home agent, home address or NAI, and low Identification, and is
authentic. Then: binding durable, binding in the kernel, reply to where the request came from. Of two requests of one
node that are pending at once, the one relayed last wins whichever is answered first. A node may have several bindings
here, whatever its home agent can do (draft 2.6.2). Nothing is ever renewed here, and nothing originated unless so
configured (draft 3, AMB-1): a lost message is repaired by the node, an expired binding just ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log, PersistBinding, PersistIdentification, Record, Send
from mobileip.registration.admission import Admission
from mobileip.registration.agent_revocation import Keys, ProxyRevocation
from mobileip.registration.assignment import Assignment, AssignmentRule, parameter_extension
from mobileip.registration.bindings import Binding, NodeKey, expiry
from mobileip.registration.events import (
    DatagramReceived,
    Event,
    RevokeRequested,
    TunnelPortLearned,
    UnreachableReceived,
)
from mobileip.registration.extension_policy import ExtensionPolicy, Treatment
from mobileip.registration.gate import Admitted, Gate, GateSettings
from mobileip.registration.home_agent_leg import HomeAgentLeg
from mobileip.registration.home_agent_replies import is_other_acceptance
from mobileip.registration.lifetimes import jittered, toward_home_agent
from mobileip.registration.location import Location, LocationMode, LocationRule
from mobileip.registration.nat import Denied, Tunnel, negotiate
from mobileip.registration.peers import Peer, Peers, nai_of
from mobileip.registration.pending import PendingList, PendingRequest
from mobileip.registration.proxy_settings import (
    OnLocalFailure,
    ProxyNode,
    ProxySettings,
    WhenInside,
    WhichReplies,
)
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.replay import ReplayGuard
from mobileip.registration.request_form import unknown_vendor_extension
from mobileip.registration.security import (
    AuthenticationFailure,
    AuthenticReply,
    AuthenticRequest,
    associations_of,
)
from mobileip.registration.sessions import Sessions
from mobileip.registration.unreachable import Verdicts, request_quoted_in
from mobileip.wire.codes import Code, describe
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, first_unrecognised
from mobileip.wire.identification import low
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    MessageType,
    RegistrationReply,
    RegistrationRequest,
    parse_reply,
)
from mobileip.wire.typed_extensions import TRUSTED_NETWORKS, MessageString
from mobileip.wire.unreachable import FRAGMENTATION_NEEDED


class Proxy:
    """The proxy's state: pending requests, bindings, accepted Identifications.

    `draw` gives a number from 0 to 1 for each granted lifetime, see `lifetime_jitter`.
    """

    def __init__(self, settings: ProxySettings, draw: Callable[[], float] = lambda: 0.0) -> None:
        self._settings = settings
        self._draw = draw
        self._nodes: dict[NodeKey, ProxyNode] = {node.key: node for node in settings.nodes}
        self._assignment = AssignmentRule(
            settings.home_agents, settings.home_agent_parameter, settings.home_agent_pool, settings.default_home_agent
        )
        self._policy = ExtensionPolicy(settings.home_agent_parameter, settings.home_agents, settings.extensions)
        self._location = LocationRule(settings.private_interface, settings.internal_prefixes, settings.location_mode)
        self._guard = ReplayGuard(settings.checks.replay)
        ours = {(form.vendor, form.vendor_type) for form in settings.home_agent_parameter if form.vendor}
        checks = replace(settings.checks, vendors=settings.checks.vendors | ours)
        self._vendors = checks.vendors
        self._gate = Gate(
            GateSettings(
                address=settings.public_address,
                peers=Peers(
                    Peer(
                        node.key,
                        associations_of(*node.node_associations),
                        node.nai,
                        associations_of(node.aaa_association),
                    )
                    for node in settings.nodes
                ),
                understood=self._policy.understood_in_request,
                policy=checks,
                in_denials=self._parameter_of_nobody,
            ),
            self._guard,
        )
        self._leg = HomeAgentLeg(settings, self._policy)
        self._hints = RateLimit(burst=1)
        self._pending = PendingList(settings.pending_timeout, settings.pending_per_node)
        self._verdicts = Verdicts(settings.unreachable_grace)
        self._admission = Admission(settings.admission)
        self._sessions = Sessions(self._nodes, self._admission)
        self._revocation = ProxyRevocation(
            settings.public_address,
            self._sessions.of_home_address,
            self._sessions.end,
            self._keys_of,
            self._home_agent_keys_of,
            nodes=settings.revocation_of_nodes,
            home_agents=settings.revocation_by_home_agents,
        )

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings there are, for `show`."""
        return tuple(self._sessions)

    @property
    def clock_offsets(self) -> Mapping[NodeKey, float]:
        """Seconds that the clocks of nodes' home agents are ahead of ours, where that was learned, for `show`."""
        return self._guard.clock_offsets

    @property
    def pending(self) -> int:
        """How many requests wait for a reply, for `show`."""
        return len(self._pending)

    @property
    def admission(self) -> Admission:
        """What is taken on, for `show`."""
        return self._admission

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about an event at `now` (Unix seconds)."""
        actions = self.handle_timer(now)
        if isinstance(event, TunnelPortLearned):
            return actions + (self._sessions.learn_port(event) or [Count("port_of_no_half_bound_node")])
        if isinstance(event, UnreachableReceived):
            return actions + self._hear_of_unreachable(event, now)
        if isinstance(event, RevokeRequested):
            return actions + self._revocation.revoke(event.home_address, now)
        if not isinstance(event, DatagramReceived):
            return actions
        kind = event.payload[0] if event.payload else None
        if kind == MessageType.REQUEST:
            return actions + self._request(event, now)
        if kind == MessageType.REPLY:
            return actions + self._reply(event, now)
        if kind == MessageType.REVOCATION:
            return actions + self._revoked(event, now)
        if kind == MessageType.REVOCATION_ACKNOWLEDGEMENT:
            return actions + self._revocation.acknowledged(event)
        if kind == MessageType.TUNNEL_DATA:
            return [*actions, Count("tunnel_data_not_forwarded")]
        return [*actions, Count("unknown_message" if event.payload else "empty")]

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do (Unix seconds); None: never."""
        deadlines = (
            self._pending.next_deadline(),
            self._sessions.next_expiry(),
            self._verdicts.next_deadline(),
            self._revocation.next_deadline(),
        )
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """End what is over at `now`. In silence: nobody is told of an expiry (RFC 5944 3.8, AMB-13)."""
        actions: list[Action] = self._answer_unreachable(now) + self._revocation.handle_timer(now)
        actions += [Count("pending_timeout") for _ in self._pending.expire(now)]
        return actions + self._sessions.expire(now)

    def snapshot(self) -> list[Record]:
        """Everything that must outlive the process."""
        return [*self._guard.records(), *(PersistBinding(binding) for binding in self._sessions)]

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Take up what was durable. Bindings that are over, or whose node is gone, are not bound again."""
        actions: list[Action] = []
        for record in records:
            if isinstance(record, PersistIdentification):
                self._guard.restore(record)
            else:
                actions += self._sessions.restore(record.binding, now)
        return actions

    # -- from the node --------------------------------------------------------------------------------------------

    def _request(self, received: DatagramReceived, now: float) -> list[Action]:
        location = self._location.locate(received.source.address, received.interface)
        if location is Location.SPOOFED:
            return [Count("inside_source_on_public_interface")]
        admitted = self._gate.admit(received, now)
        if isinstance(admitted, list):
            return admitted
        node = self._nodes[admitted.peer.key]
        return admitted.actions + self._decide(admitted, node, location, now)

    def _decide(self, admitted: Admitted, node: ProxyNode, location: Location, now: float) -> list[Action]:
        """The proxy's own rules, in AMB-25's order."""
        request, message = admitted.request, admitted.request.message
        if self._policy.forbidden(request.covered, Treatment.DISCARD) is not None:
            return [Count("discarded_extension")]
        assignment = self._assignment.assign(request, self._known_home_agents(node), nai_of(message))
        if not message.reverse_tunnel:
            denied = Denied(Code.REVERSE_TUNNEL_MANDATORY, "reverse tunnel required")  # D-2.2.4-c
            return self._deny(admitted, denied, assignment, now)
        if location is Location.INSIDE:
            return self._inside(admitted, node, assignment, now)
        if location is Location.CONTRADICTORY:
            reason = f"{admitted.received.source.address} is no inside address, but came from inside"
            return self._deny(admitted, Denied(Code.ADMINISTRATIVELY_PROHIBITED, reason), assignment, now)
        rejected = self._policy.forbidden(request.covered, Treatment.REJECT)
        if rejected is not None:
            denied = Denied(Code.POORLY_FORMED_REQUEST, f"extension {rejected.type} is not allowed here")
            return self._deny(admitted, denied, assignment, now)
        if isinstance(assignment, Denied):
            return self._deny(admitted, assignment, assignment, now)
        tunnel = None
        if not message.deregisters:
            chosen = negotiate(
                request, admitted.received.source.address, self._settings.nat, self._settings.encapsulations
            )
            if isinstance(chosen, Denied):
                return self._deny(admitted, chosen, assignment, now)
            tunnel = chosen
        refused = self._beyond_capacity(message, node, now)
        if refused is not None:
            return self._deny(admitted, refused, assignment, now)
        return self._relay(admitted, node, assignment, tunnel, now)

    def _beyond_capacity(self, message: RegistrationRequest, node: ProxyNode, now: float) -> Denied | None:
        if self._adds(message) and not message.deregisters:
            # Those whose reply is on its way count, too (AMB-9).
            on_their_way = [pending.request.message for pending in self._pending.of_node(node.key) if pending.tunnel]
            places = {binding.care_of_address for binding in self._sessions.of_node(node.key)}
            places |= {other.care_of_address for other in on_their_way}
            if len(places | {message.care_of_address}) > self._settings.simultaneous:
                return Denied(Code.TOO_MANY_BINDINGS, f"{self._settings.simultaneous} bindings at most")
        if not self._pending.has_room(node.key):
            # AMB-1: 130, since 133 makes a node set its clock by us.
            return Denied(Code.INSUFFICIENT_RESOURCES, "too many requests without reply")
        if message.deregisters:
            return None
        bound = self._sessions.of_node(node.key)
        adds = not bound or (
            self._adds(message) and all(one.care_of_address != message.care_of_address for one in bound)
        )
        why = self._admission.refuses(message.home_address, now, renews=bool(bound), adds=adds)
        return None if why is None else Denied(self._settings.cannot_service_code, why)

    def _relay(
        self, admitted: Admitted, node: ProxyNode, assignment: Assignment, tunnel: Tunnel | None, now: float
    ) -> list[Action]:
        """D-2.2-a: note the request, then send a new one of our own to the home agent."""
        settings, message = self._settings, admitted.request.message
        lifetime = min(message.lifetime, settings.max_lifetime)
        if tunnel is not None and tunnel.encapsulation.in_udp:
            lifetime = min(lifetime, settings.nat.max_lifetime)  # RFC 3519 5.2
        bound = self._sessions.of_node(node.key)
        at_home_agent = toward_home_agent(message, lifetime, bound, settings.simultaneous > 0, now)
        send = self._leg.request(
            admitted.request,
            assignment.home_agent,
            at_home_agent,
            node.home_agent_association,
            self._revocation.offer(now),
        )
        self._pending.add(
            PendingRequest(
                admitted.request,
                admitted.received,
                node.key,
                assignment.home_agent,
                tunnel,
                lifetime,
                at_home_agent,
                now,
                assignment.parameter,
                send,
                adds=self._adds(message),
            )
        )
        return [send, Count("request_relayed")]

    def _adds(self, message: RegistrationRequest) -> bool:
        """Does the node want to keep its other bindings, and may it?"""
        return message.simultaneous and self._settings.simultaneous > 0

    def _inside(self, admitted: Admitted, node: ProxyNode, assignment: Assignment | Denied, now: float) -> list[Action]:
        """D-2.6.1-c: the node registers with its home agent itself; what we bound for it outside is over (AMB-11)."""
        if isinstance(assignment, Denied) and assignment.code is not Code.MISSING_HOME_AGENT_PARAMETER:
            return self._deny(admitted, assignment, assignment, now)
        actions: list[Action] = []
        # A copy, which only the home agent could tell from the node, ends nothing.
        if admitted.fresh and self._settings.when_inside is WhenInside.PURGE:
            self._pending.remove_node(node.key)  # a reply on its way would bring the binding back
            actions = self._sessions.retire(node.key, now)
        extensions: tuple[Extension, ...] = ()
        if isinstance(assignment, Assignment):
            extensions += self._settings.code_profile.redirection(assignment.home_agent)
        if self._settings.location_mode is LocationMode.ADDRESS_AND_INTERFACE:
            extensions += (TRUSTED_NETWORKS,)  # RFC 5265 4.3: only where we are sure
        denied = Denied(Code.ASSIGNED_HOME_AGENT, "inside")
        return actions + self._deny(admitted, denied, assignment, now, extensions)

    def _deny(
        self,
        admitted: Admitted,
        denied: Denied,
        assignment: Assignment | Denied,
        now: float,
        extensions: tuple[Extension, ...] = (),
    ) -> list[Action]:
        if isinstance(assignment, Denied):
            asked = self._assignment.asked_in(admitted.request.covered)
            assignment = Assignment(IPv4Address(0), asked)  # AMB-7: 0.0.0.0 if there is no home agent
        return self._gate.deny(
            admitted.request,
            admitted.received,
            self._settings.code_profile.code(denied.code),
            now,
            denied.reason,
            extensions=self._parameter(assignment, denied.code) + extensions,
        )

    def _parameter(self, assignment: Assignment, code: int) -> tuple[Extension, ...]:
        """AMB-7: our HA Parameter extension, in replies to nodes that sent one unless otherwise configured."""
        form = assignment.parameter
        if self._settings.parameter_in_reply is WhichReplies.ALWAYS:
            form = form or self._settings.home_agent_parameter[0]
        elif self._settings.parameter_in_reply is WhichReplies.ON_206 and code != Code.ASSIGNED_HOME_AGENT:
            form = None
        return parameter_extension(assignment.home_agent, form)

    def _parameter_of_nobody(self, request: AuthenticRequest) -> tuple[Extension, ...]:
        """The same where the home agent is not looked for, since the gate has refused the request: 0.0.0.0."""
        return self._parameter(Assignment(IPv4Address(0), self._assignment.asked_in(request.covered)), 0)

    def _known_home_agents(self, node: ProxyNode) -> list[IPv4Address]:
        """Home agents to fall back on: the configured mapping, then those of the session as it is."""
        known = [] if node.home_agent is None else [node.home_agent]
        known += [binding.home_agent for binding in self._sessions.of_node(node.key)]
        return known + [pending.home_agent for pending in self._pending.of_node(node.key)]

    # -- from the home agent --------------------------------------------------------------------------------------

    def _reply(self, received: DatagramReceived, now: float) -> list[Action]:
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
        if not candidates:
            return [Count("reply_without_request")]  # RFC 5944 3.6.2.1: silent discard
        pending, checked = self._authenticated(reply, candidates)
        if isinstance(checked, AuthenticationFailure):
            # The request stays pending: whoever forged this must not be able to end it.
            fields = {"home_address": str(reply.home_address), "source": str(received.source), "reason": checked.value}
            actions: list[Action] = [Count(f"reply_{checked.value}")]
            actions.append(Log(Level.WARNING, "reply_not_authentic", fields))
            return actions + self._hint(reply, checked, pending, now)
        if any(self._policy.forbidden(checked.covered, how) for how in (Treatment.REJECT, Treatment.DISCARD)):
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
            binding = self._binding(message, pending, lifetime, at_home_agent_until)
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
            actions = self._sessions.retire(pending.node, at_home_agent_until)
        else:
            actions = self._sessions.retire(
                pending.node, at_home_agent_until, lambda one: one.care_of_address == request.care_of_address
            )
        return [*actions, self._for_node(reply, pending, lifetime, ours), Count("reply_relayed")]

    def _not_accepted(self, reply: AuthenticReply, pending: PendingRequest) -> list[Action]:
        """D-2.3.1-a: a denial as it is; a success of a kind that we do not know is passed on, but binds nothing."""
        message, request = reply.message, pending.request.message
        if not is_other_acceptance(message.code):
            return [self._for_node(reply, pending, message.lifetime), Count(f"home_agent_code_{message.code}")]
        lifetime = 0 if request.deregisters else min(message.lifetime, pending.lifetime)
        fields = {"home_address": str(request.home_address), "code": str(message.code)}
        return [
            self._for_node(reply, pending, lifetime),
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
        parameter = self._parameter(Assignment(pending.home_agent, pending.parameter), reply.code)
        send = self._gate.answer(
            pending.request,
            pending.received,
            reply.code,
            lifetime=0,
            extensions=(*parameter, MessageString(reason).extension()),
        )
        return [send, Count("unauthenticated_denial_relayed")]

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
        denials = self._gate.deny(
            replace(pending.request, reply_identification=reply.message.identification),
            pending.received,
            self._settings.code_profile.code(failure.code),
            now,
            failure.reason,
            extensions=self._parameter(Assignment(pending.home_agent, pending.parameter), failure.code),
        )
        lets_expire = self._settings.on_local_failure is OnLocalFailure.LET_EXPIRE
        if lets_expire or pending.request.message.deregisters or not reply.message.accepted:
            return denials
        association = self._nodes[pending.node].home_agent_association
        return [*denials, self._leg.deregistration(reply, pending, association), Count("deregistered_by_us")]

    def _binding(
        self, reply: RegistrationReply, pending: PendingRequest, lifetime: int, home_agent_expires: float
    ) -> Binding:
        request, tunnel = pending.request.message, pending.tunnel
        assert tunnel is not None, "a request with a lifetime has negotiated a tunnel"
        return Binding(
            home_address=reply.home_address,
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

    def _for_node(
        self, reply: AuthenticReply, pending: PendingRequest, lifetime: int, ours: tuple[Extension, ...] = ()
    ) -> Send:
        """The reply as the node gets it (D-2.3.1): same code and Identification, from MIPP-Pub."""
        request, message = pending.request.message, reply.message
        code = message.code
        if message.accepted and request.simultaneous:  # AMB-9: what the home agent can do is not what we can do
            code = Code.ACCEPTED if self._settings.simultaneous else Code.ACCEPTED_NO_SIMULTANEOUS
        extensions = self._policy.relayed(reply.covered)  # D-2.3.1-h
        extensions += self._parameter(Assignment(pending.home_agent, pending.parameter), code) + ours
        accepted = self._settings.replies.accepts(message)
        if accepted and pending.tunnel is not None and pending.tunnel.answer is not None:
            extensions += (pending.tunnel.answer.extension(),)
        return self._gate.answer(
            _with_home_address(pending.request, message.home_address),  # D-2.3.1-e
            pending.received,
            code,
            lifetime=lifetime,
            extensions=extensions,
            identification=message.identification,
        )

    # -- revocation (RFC 3543) -------------------------------------------------------------------------------------

    def _revoked(self, received: DatagramReceived, now: float) -> list[Action]:
        """From a home agent at MIPP-Priv, from a foreign agent at MIPP-Pub: each leg has its own keys."""
        settings = self._settings
        if received.destination.address != settings.private_address:
            return self._revocation.receive(received)
        if received.interface != settings.private_interface:
            return [Count("revocation_not_from_inside")]
        return self._revocation.receive_from_inside(received, now)

    def _keys_of(self, binding: Binding) -> Keys:
        node = self._node_of(binding)
        return {
            ExtensionType.MN_HA_AUTHENTICATION: {one.spi: one for one in node.node_associations},
            ExtensionType.FA_HA_AUTHENTICATION: self._settings.checks.foreign_agents.get(binding.source.address, {}),
        }

    def _home_agent_keys_of(self, binding: Binding) -> Keys:
        association = self._node_of(binding).home_agent_association
        return {ExtensionType.MN_HA_AUTHENTICATION: {association.spi: association}}

    def _node_of(self, binding: Binding) -> ProxyNode:
        key = self._sessions.holder(binding.gateway, binding.home_address)
        assert key is not None, "a binding has a node"
        return self._nodes[key]

    # -- from routers on the way to the home agent ----------------------------------------------------------------

    def _hear_of_unreachable(self, event: UnreachableReceived, now: float) -> list[Action]:
        """D-2.6.7-a: a request of ours did not arrive, if the error is to be believed (AMB-14)."""
        settings = self._settings
        if event.interface == settings.public_interface != settings.private_interface:
            return [Count("unreachable_from_outside")]
        if event.error.code == FRAGMENTATION_NEEDED:
            return [Count("unreachable_for_size")]  # the kernel has learned the size: the node's next request fits
        request = request_quoted_in(event.error, self._pending, now)
        if request is None:
            return [Count("unreachable_without_request")]
        if not self._pending.report(request.key):
            return [Count("unreachable_repeated")]
        self._verdicts.note(request, event.error, now)
        fields = {"home_agent": str(request.home_agent), "error": event.error.describe(), "from": str(event.reporter)}
        return [Count("home_agent_unreachable"), Log(Level.INFO, "home_agent_unreachable", fields)]

    def _answer_unreachable(self, now: float) -> list[Action]:
        """Tell nodes why nobody answered. Their requests stay pending: a reply that comes yet still counts."""
        actions: list[Action] = []
        for request, error in self._verdicts.due(self._pending, now):
            actions += self._gate.deny(
                request.request,
                request.received,
                self._settings.code_profile.unreachable(error.code),
                now,
                f"home agent {request.home_agent}: {error.describe()}",
                extensions=self._parameter(
                    Assignment(request.home_agent, request.parameter), Code.HOME_AGENT_UNREACHABLE
                ),
            )
        return actions


def _with_home_address(request: AuthenticRequest, home_address: IPv4Address) -> AuthenticRequest:
    """The request as if the node had known the home address that it was assigned."""
    if request.message.home_address == home_address:
        return request
    return replace(request, message=replace(request.message, home_address=home_address))
