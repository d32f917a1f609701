"""The MIP Proxy: towards nodes a home agent, towards home agents a node (draft 2.2 to 2.7).

A request passes the gate (authentic, fresh, well-formed, for us) and then the proxy's own rules, in this order:

    T bit          138: all traffic of a node outside comes back through the tunnel
    location       inside: 206, and the binding outside is over; a spoofed inside source is dropped
    home agent     the HA Parameter extension, else the configured mapping, else the present binding; 200, 201, 136
    tunnel         NAT and encapsulation (see `nat`); 129, 134, 139, 142
    capacity       135 for one care-of address too many, 130
    relay          a new request from MIPP-Priv with the same Identification; its reply is awaited

A reply counts only if it matches a pending request by home agent, home address and low Identification, and is
authentic. Then: binding durable, binding in the kernel, reply to where the request came from. Of two requests of one
node that are pending at once, the one relayed last wins whichever is answered first. A node may have several
bindings here, whatever its home agent can do (draft 2.6.2). Nothing is ever renewed or originated here
(draft 3): a lost message is repaired by the node, an expired binding just ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from itertools import cycle

from mobileip.registration.actions import (
    Action,
    Bind,
    Count,
    ForgetBinding,
    Level,
    Log,
    PersistBinding,
    PersistIdentification,
    Record,
    Send,
    Unbind,
)
from mobileip.registration.assignment import Assignment, AssignmentRule, parameter_extension
from mobileip.registration.bindings import Binding, BindingTable, Encapsulation, NodeKey, expiry
from mobileip.registration.events import DatagramReceived, Endpoint, Event, TunnelPortLearned, UnreachableReceived
from mobileip.registration.extension_policy import UNDERSTOOD_IN_REPLY, UNDERSTOOD_IN_REQUEST, relayed
from mobileip.registration.gate import Admitted, Gate, GatePolicy, GateSettings, Peer, Peers, registration_endpoint
from mobileip.registration.lifetimes import jittered, toward_home_agent
from mobileip.registration.location import Location, LocationMode, LocationRule
from mobileip.registration.nat import CARRIED, Denied, NatPolicy, Tunnel, negotiate
from mobileip.registration.pending import PendingKey, PendingList, PendingRequest
from mobileip.registration.replay import ReplayGuard
from mobileip.registration.security import (
    AuthenticationFailure,
    AuthenticReply,
    authenticate_reply,
)
from mobileip.registration.unreachable import Verdicts, request_quoted_in
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, first_unrecognised
from mobileip.wire.identification import low
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    REGISTRATION_PORT,
    Flag,
    MessageType,
    RegistrationRequest,
    parse_reply,
)
from mobileip.wire.typed_extensions import TRUSTED_NETWORKS, HomeAgentParameterFormat
from mobileip.wire.unreachable import FRAGMENTATION_NEEDED


@dataclass(frozen=True, slots=True)
class ProxyNode:
    """A mobile node of the proxy.

    `gateway` is VPNGW-Pub of the gateway that serves its home network. `node_associations` are shared with the node,
    `home_agent_association` with its home agent. `home_agent` serves it if it names none.
    """

    home_address: IPv4Address
    gateway: IPv4Address
    node_associations: tuple[SecurityAssociation, ...]
    home_agent_association: SecurityAssociation
    home_agent: IPv4Address | None = None

    @property
    def key(self) -> NodeKey:
        """Which node it is, among those with overlapping addresses too."""
        return NodeKey(self.gateway, self.home_address)


class DeregisterAll(StrEnum):
    """The care-of address of a relayed request that ends all bindings (AMB-11)."""

    MIPP_PRIV = "mipp-priv"
    HOME_ADDRESS = "home-address"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What the proxy is told. Times and lifetimes in seconds.

    `home_agents` is the allow-list, with the home networks of each. `home_agent_parameter` lists the forms of the HA
    Parameter extension that are accepted; an answer has the form received. `reverse_tunnel` asks home agents to accept
    nodes' packets for mobility subnets through the tunnel. Requests to home agents leave from
    `source_ports` in turn; `unreachable_grace` is how long a reply may yet come after an ICMP error.
    `simultaneous` is how many bindings a node may have at once; 0: one, and no S bit.
    `deregister_all_care_of_address`: that in which the home agent is told that all bindings are over, MIPP-Priv or, to
    end also those that the node made without us, its home address. `lifetime_jitter` is the share by which a granted
    lifetime is shortened at most.
    """

    public_address: IPv4Address
    private_address: IPv4Address
    public_interface: str
    private_interface: str
    nodes: tuple[ProxyNode, ...]
    home_agents: Mapping[IPv4Address, tuple[IPv4Network, ...]]
    internal_prefixes: tuple[IPv4Network, ...] = ()
    location_mode: LocationMode = LocationMode.ADDRESS_AND_INTERFACE
    pending_timeout: float = 7.0
    pending_per_node: int = 5
    source_ports: tuple[int, ...] = (REGISTRATION_PORT,)
    unreachable_grace: float = 0.5
    max_lifetime: int = 1800
    nat: NatPolicy = field(default_factory=NatPolicy)
    encapsulations: frozenset[Encapsulation] = CARRIED
    reverse_tunnel: bool = True
    broadcast: bool = True
    home_agent_parameter: tuple[HomeAgentParameterFormat, ...] = (HomeAgentParameterFormat(),)
    checks: GatePolicy = field(default_factory=GatePolicy)
    simultaneous: int = 0
    deregister_all_care_of_address: DeregisterAll = DeregisterAll.MIPP_PRIV
    lifetime_jitter: float = 0.0


class Proxy:
    """The proxy's state: pending requests, bindings, accepted Identifications.

    `draw` gives a number from 0 to 1 for each granted lifetime, see `lifetime_jitter`.
    """

    def __init__(self, settings: ProxySettings, draw: Callable[[], float] = lambda: 0.0) -> None:
        self._settings = settings
        self._draw = draw
        self._nodes: dict[NodeKey, ProxyNode] = {node.key: node for node in settings.nodes}
        self._assignment = AssignmentRule(settings.home_agents, settings.home_agent_parameter)
        self._location = LocationRule(settings.private_interface, settings.internal_prefixes, settings.location_mode)
        self._guard = ReplayGuard(settings.checks.replay)
        self._gate = Gate(
            GateSettings(
                address=settings.public_address,
                peers=Peers(
                    Peer(node.key, {one.spi: one for one in node.node_associations}) for node in settings.nodes
                ),
                understood=UNDERSTOOD_IN_REQUEST | self._assignment.types,
                policy=settings.checks,
            ),
            self._guard,
        )
        self._pending = PendingList(settings.pending_timeout, settings.pending_per_node)
        self._source_ports = cycle(settings.source_ports)
        self._verdicts = Verdicts(settings.unreachable_grace)
        self._bindings = BindingTable()

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings there are, for `show`."""
        return tuple(self._bindings)

    @property
    def pending(self) -> int:
        """How many requests wait for a reply, for `show`."""
        return len(self._pending)

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about an event at `now` (Unix seconds)."""
        actions = self.handle_timer(now)
        if isinstance(event, TunnelPortLearned):
            return actions + self._learn_port(event)
        if isinstance(event, UnreachableReceived):
            return actions + self._hear_of_unreachable(event, now)
        if not isinstance(event, DatagramReceived):
            return actions
        kind = event.payload[0] if event.payload else None
        if kind == MessageType.REQUEST:
            return actions + self._request(event, now)
        if kind == MessageType.REPLY:
            return actions + self._reply(event, now)
        if kind == MessageType.TUNNEL_DATA:
            return [*actions, Count("tunnel_data_not_forwarded")]
        return [*actions, Count("unknown_message" if event.payload else "empty")]

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do (Unix seconds); None: never."""
        deadlines = (self._pending.next_deadline(), self._bindings.next_expiry(), self._verdicts.next_deadline())
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """End what is over at `now`. In silence: nobody is told of an expiry (RFC 5944 3.8, AMB-13)."""
        actions: list[Action] = self._answer_unreachable(now)
        actions += [Count("pending_timeout") for _ in self._pending.expire(now)]
        for binding in self._bindings.expire(now):
            actions += [
                ForgetBinding(binding.key),
                Unbind(binding.key),
                Log(Level.INFO, "binding_expired", _fields(binding)),
            ]
        return actions

    def snapshot(self) -> list[Record]:
        """Everything that must outlive the process."""
        return [*self._guard.records(), *(PersistBinding(binding) for binding in self._bindings)]

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Take up what was durable. Bindings that are over, or whose node is gone, are not bound again."""
        over: list[Action] = []
        bound: list[Action] = []
        for record in records:
            if isinstance(record, PersistIdentification):
                self._guard.restore(record)
                continue
            binding = record.binding
            if binding.expires <= now or NodeKey(binding.gateway, binding.home_address) not in self._nodes:
                over += [ForgetBinding(binding.key), Unbind(binding.key)]
            else:
                self._bindings.put(binding)
                bound.append(Bind(binding))
        return over + bound

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
        assignment = self._assignment.assign(request, self._known_home_agents(node))
        if not message.reverse_tunnel:
            denied = Denied(Code.REVERSE_TUNNEL_MANDATORY, "reverse tunnel required")  # D-2.2.4-c
            return self._deny(admitted, denied, assignment, now)
        if location is Location.INSIDE:
            return self._inside(admitted, node, assignment, now)
        if location is Location.CONTRADICTORY:
            reason = f"{admitted.received.source.address} is no inside address, but came from inside"
            return self._deny(admitted, Denied(Code.ADMINISTRATIVELY_PROHIBITED, reason), assignment, now)
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
            if self._is_one_too_many(message, node):
                most = f"{self._settings.simultaneous} bindings at most"
                return self._deny(admitted, Denied(Code.TOO_MANY_BINDINGS, most), assignment, now)
        if not self._pending.has_room(node.key):
            # AMB-1: 130, since 133 makes a node set its clock by us.
            denied = Denied(Code.INSUFFICIENT_RESOURCES, "too many requests without reply")
            return self._deny(admitted, denied, assignment, now)
        return self._relay(admitted, node, assignment, tunnel, now)

    def _relay(
        self, admitted: Admitted, node: ProxyNode, assignment: Assignment, tunnel: Tunnel | None, now: float
    ) -> list[Action]:
        """D-2.2-a: note the request, then send a new one of our own to the home agent."""
        message = admitted.request.message
        bound = self._of_node(node.key)
        lifetime = min(message.lifetime, self._settings.max_lifetime)
        if tunnel is not None and tunnel.encapsulation.in_udp:
            lifetime = min(lifetime, self._settings.nat.max_lifetime)  # RFC 3519 5.2
        at_home_agent = toward_home_agent(message, lifetime, bound, self._settings.simultaneous > 0, now)
        request = RegistrationRequest(
            flags=self._flags(message),
            lifetime=at_home_agent,
            home_address=message.home_address,  # D-2.2.2-c
            home_agent=assignment.home_agent,  # D-2.2.2-d
            care_of_address=self._care_of_address(message),  # D-2.2.2-e
            identification=message.identification,  # D-2.2.2-b
            extensions=relayed(admitted.request.covered, self._assignment.types),  # D-2.2.3-a
        )
        payload = append(request.serialize(), node.home_agent_association)  # D-2.2.3-b
        source = Endpoint(self._settings.private_address, next(self._source_ports))  # D-2.7.1-a
        send = Send(payload, source, registration_endpoint(assignment.home_agent))
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
                # A binding at another home agent is not refreshed with this one, so it does not stay beside it.
                adds=self._adds(message) and all(binding.home_agent == assignment.home_agent for binding in bound),
            )
        )
        return [send, Count("request_relayed")]

    def _flags(self, message: RegistrationRequest) -> int:
        """D-2.2.1: B as the node says, T as we deliver; never S, and never D, so that broadcasts come nested."""
        flags = Flag.REVERSE_TUNNEL if self._settings.reverse_tunnel else 0
        return flags | (Flag.BROADCAST if message.broadcast and self._settings.broadcast else 0)

    def _care_of_address(self, message: RegistrationRequest) -> IPv4Address:
        if message.deregisters_all and self._settings.deregister_all_care_of_address is DeregisterAll.HOME_ADDRESS:
            return message.home_address  # AMB-11
        return self._settings.private_address

    def _adds(self, message: RegistrationRequest) -> bool:
        """Does the node want to keep its other bindings, and may it?"""
        return message.simultaneous and self._settings.simultaneous > 0

    def _is_one_too_many(self, message: RegistrationRequest, node: ProxyNode) -> bool:
        """Would the node have more bindings than it may, counting those whose reply is on its way? (AMB-9)"""
        if not self._adds(message):
            return False
        on_their_way = [pending.request.message for pending in self._pending.of_node(node.key) if pending.tunnel]
        places = {binding.care_of_address for binding in self._of_node(node.key)}
        places |= {other.care_of_address for other in on_their_way}
        return len(places | {message.care_of_address}) > self._settings.simultaneous

    def _of_node(self, node: NodeKey) -> list[Binding]:
        home_address = self._nodes[node].home_address
        return self._bindings.of_node(home_address, node.gateway)

    def _inside(self, admitted: Admitted, node: ProxyNode, assignment: Assignment | Denied, now: float) -> list[Action]:
        """D-2.6.1-c: the node registers with its home agent itself; what we bound for it outside is over (AMB-11)."""
        if isinstance(assignment, Denied) and assignment.code is not Code.MISSING_HOME_AGENT_PARAMETER:
            return self._deny(admitted, assignment, assignment, now)
        actions: list[Action] = []
        if admitted.fresh:  # a copy, which only the home agent could tell from the node, ends nothing
            self._pending.remove_node(node.key)  # a reply on its way would bring the binding back
            for binding in self._bindings.of_node(node.home_address, node.gateway):
                self._bindings.remove(binding.key)
                actions += [ForgetBinding(binding.key), Unbind(binding.key)]
        extensions = self._parameter(admitted, assignment)
        if self._settings.location_mode is LocationMode.ADDRESS_AND_INTERFACE:
            extensions += (TRUSTED_NETWORKS,)  # RFC 5265 4.3: only where we are sure
        denials = self._gate.deny(
            admitted.request, admitted.received, Code.ASSIGNED_HOME_AGENT, now, "inside", extensions=extensions
        )
        return actions + denials

    def _deny(self, admitted: Admitted, denied: Denied, assignment: Assignment | Denied, now: float) -> list[Action]:
        return self._gate.deny(
            admitted.request,
            admitted.received,
            denied.code,
            now,
            denied.reason,
            extensions=self._parameter(admitted, assignment),
        )

    def _parameter(self, admitted: Admitted, assignment: Assignment | Denied) -> tuple[Extension, ...]:
        """AMB-7: our HA Parameter extension in replies to nodes that sent one; 0.0.0.0 if there is no home agent."""
        if isinstance(assignment, Denied):
            asked = self._assignment.asked_in(admitted.request.covered)
            return parameter_extension(IPv4Address(0), asked)
        return parameter_extension(assignment.home_agent, assignment.parameter)

    def _known_home_agents(self, node: ProxyNode) -> list[IPv4Address]:
        """Home agents to fall back on: the configured mapping, then the one of the present binding."""
        known = [] if node.home_agent is None else [node.home_agent]
        return known + [binding.home_agent for binding in self._bindings.of_node(node.home_address, node.gateway)]

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
        understood = UNDERSTOOD_IN_REPLY | self._assignment.types
        if first_unrecognised(reply.extensions, understood) is not None:
            return [Count("unknown_extension")]
        key = PendingKey(received.source.address, reply.home_address, low(reply.identification))
        pending = self._pending.find(key, now)
        if pending is None:
            return [Count("reply_without_request")]  # RFC 5944 3.6.2.1: silent discard
        association = self._nodes[pending.node].home_agent_association
        checked = authenticate_reply(reply, {association.spi: association})
        if isinstance(checked, AuthenticationFailure):
            # The request stays pending: whoever forged this must not be able to end it.
            fields = {"home_address": str(reply.home_address), "source": str(received.source), "reason": checked.value}
            return [Count(f"reply_{checked.value}"), Log(Level.WARNING, "reply_not_authentic", fields)]
        heard = self._guard.hear(
            pending.node,
            pending.request.association,
            asked=pending.request.message.identification,
            answered=reply.identification,
            refused=reply.code == Code.IDENTIFICATION_MISMATCH,
            now=now,
        )
        actions = self._relay_reply(checked, pending, now)
        self._pending.remove(key)
        return [*heard, *actions]

    def _relay_reply(self, reply: AuthenticReply, pending: PendingRequest, now: float) -> list[Action]:
        """D-2.3: update the bindings, then tell the node."""
        message, request = reply.message, pending.request.message
        if not message.accepted:
            return [self._for_node(reply, pending, message.lifetime), Count(f"home_agent_code_{message.code}")]
        self._supersede(pending)
        at_home_agent = min(message.lifetime, pending.at_home_agent)  # never more than was asked (RFC 5944 3.4)
        lifetime = 0 if request.deregisters else min(at_home_agent, pending.lifetime)  # D-2.6.2-e, AMB-8
        if lifetime == 0:  # D-2.3.1-d
            return [*self._retire(pending, at_home_agent), self._for_node(reply, pending, 0), Count("reply_relayed")]
        lifetime = jittered(lifetime, self._settings.lifetime_jitter, self._draw())
        actions = self._bind(pending, self._binding(pending, lifetime, at_home_agent))
        return [*actions, self._for_node(reply, pending, lifetime), Count("reply_relayed")]

    def _supersede(self, pending: PendingRequest) -> None:
        """What this request has overtaken is waited for no more: its late reply would bring back what is over."""
        for earlier in self._pending.before(pending):
            same = earlier.request.message.care_of_address == pending.request.message.care_of_address
            if same or pending.replaces_all:
                self._pending.remove(earlier.key)

    def _binding(self, pending: PendingRequest, lifetime: int, at_home_agent: int) -> Binding:
        request, tunnel = pending.request.message, pending.tunnel
        assert tunnel is not None, "a request with a lifetime has negotiated a tunnel"
        return Binding(
            home_address=request.home_address,
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
            registered=pending.relayed_at,
            home_agent_expires=expiry(at_home_agent, pending.relayed_at),
        )

    def _bind(self, pending: PendingRequest, binding: Binding) -> list[Action]:
        """Beside the others with S (D-2.6.2-a), else instead of all that were there before it (D-2.6.2-f)."""
        others = [other for other in self._of_node(pending.node) if other.key != binding.key]
        stay = [other for other in others if pending.adds or other.registered > pending.relayed_at]
        replaced = tuple(other.key for other in others if other not in stay)
        actions: list[Action] = []
        for key in replaced:
            self._bindings.remove(key)
            actions.append(ForgetBinding(key))
        actions += self._follow_home_agent(stay, binding.home_agent_expires)
        self._bindings.put(binding)
        # D-2.3-b and design rule: durable, then in the kernel, then announced.
        return [*actions, PersistBinding(binding), Bind(binding, replaced)]

    def _follow_home_agent(self, bindings: Iterable[Binding], expires: float) -> list[Action]:
        """The home agent has one binding for the node: none of ours outlives it."""
        actions: list[Action] = []
        for binding in bindings:
            kept = replace(binding, home_agent_expires=expires, expires=min(binding.expires, expires))
            self._bindings.put(kept)
            actions.append(PersistBinding(kept))
            if kept.expires != binding.expires:
                actions.append(Bind(kept))
        return actions

    def _retire(self, pending: PendingRequest, at_home_agent: int) -> list[Action]:
        """RFC 5944 3.8.2.2: the home address as care-of address means all bindings, another one only that.

        So does a home agent that grants lifetime 0 where it was asked for more: its one binding for the node is gone.
        """
        request = pending.request.message
        all_of_them = request.deregisters_all or at_home_agent == 0
        actions: list[Action] = []
        stay: list[Binding] = []
        for binding in self._of_node(pending.node):
            if all_of_them or request.care_of_address == binding.care_of_address:
                self._bindings.remove(binding.key)
                actions += [ForgetBinding(binding.key), Unbind(binding.key)]
            else:
                stay.append(binding)
        return actions + self._follow_home_agent(stay, expiry(at_home_agent, pending.relayed_at))

    def _for_node(self, reply: AuthenticReply, pending: PendingRequest, lifetime: int) -> Send:
        """The reply as the node gets it (D-2.3.1): same code and Identification, from MIPP-Pub."""
        request, message = pending.request.message, reply.message
        code = message.code
        if message.accepted and request.simultaneous:  # AMB-9: what the home agent can do is not what we can do
            code = Code.ACCEPTED if self._settings.simultaneous else Code.ACCEPTED_NO_SIMULTANEOUS
        extensions = relayed(reply.covered, self._assignment.types)  # D-2.3.1-h
        extensions += parameter_extension(pending.home_agent, pending.parameter)
        if message.accepted and pending.tunnel is not None and pending.tunnel.answer is not None:
            extensions += (pending.tunnel.answer.extension(),)
        return self._gate.answer(
            pending.request,
            pending.received,
            code,
            lifetime=lifetime,
            extensions=extensions,
            identification=message.identification,
        )

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
                Code.HOME_AGENT_UNREACHABLE,
                now,
                f"home agent {request.home_agent}: {error.describe()}",
                extensions=parameter_extension(request.home_agent, request.parameter),
            )
        return actions

    # -- from the kernel ------------------------------------------------------------------------------------------

    def _learn_port(self, event: TunnelPortLearned) -> list[Action]:
        """RFC 3519 4.4, R flag: the first keepalive says the port; the address must be the request's. Once."""
        for binding in self._bindings.of_node(event.home_address, event.gateway):
            whole = binding.learn(event.endpoint)
            if whole is not None:
                self._bindings.put(whole)
                return [PersistBinding(whole), Bind(whole)]
        return [Count("port_of_no_half_bound_node")]


def _fields(binding: Binding) -> dict[str, str | int | float | bool]:
    return {
        "home_address": str(binding.home_address),
        "care_of_address": str(binding.care_of_address),
        "home_agent": str(binding.home_agent),
    }
