"""The MIP Proxy: towards nodes a home agent, towards home agents a node (draft 2.2 to 2.7).

It is both at once, and has a part for each: `surrogate_home_agent` decides on requests of nodes, `surrogate_node` on
replies of home agents. They share the pending list, the binding list and the answers to nodes. Here messages come in,
and what else may happen: time passes, bindings are revoked (RFC 3543), routers say that a home agent is not reached.

A node may have several bindings here, whatever its home agent can do (draft 2.6.2). Nothing is ever renewed here, and
nothing originated unless so configured (draft 3, AMB-1): a lost message is repaired by the node, an expired binding
just ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mobileip.registration.actions import (
    Action,
    Count,
    ForgetBinding,
    Level,
    Log,
    PersistBinding,
    PersistIdentification,
    Record,
    Unbind,
)
from mobileip.registration.admission import Admission
from mobileip.registration.agent_revocation import Keys, ProxyRevocation
from mobileip.registration.assignment import AssignmentRule
from mobileip.registration.bindings import Binding, NodeKey
from mobileip.registration.events import (
    DatagramReceived,
    Event,
    RevokeRequested,
    TunnelPortLearned,
    UnreachableReceived,
)
from mobileip.registration.extension_policy import ExtensionPolicy
from mobileip.registration.gate import Gate, GateSettings
from mobileip.registration.home_agent_leg import HomeAgentLeg
from mobileip.registration.location import Location, LocationRule
from mobileip.registration.peers import Peers
from mobileip.registration.pending import PendingList, PendingRequest
from mobileip.registration.proxy_answers import ParameterInReplies, ProxyAnswers
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.registration.renewals import Renewals
from mobileip.registration.replay import ReplayGuard
from mobileip.registration.security import associations_of
from mobileip.registration.sessions import ProxyLists, Sessions
from mobileip.registration.surrogate_home_agent import SurrogateHomeAgent
from mobileip.registration.surrogate_node import SurrogateNode
from mobileip.registration.unreachable import Verdicts, request_quoted_in
from mobileip.wire.extensions import ExtensionType
from mobileip.wire.messages import MessageType
from mobileip.wire.unreachable import FRAGMENTATION_NEEDED


class Proxy:
    """The proxy's state: pending requests, bindings, accepted Identifications.

    `draw` gives a number from 0 to 1 for each granted lifetime, see `lifetime_jitter`.
    """

    def __init__(self, settings: ProxySettings, draw: Callable[[], float] = lambda: 0.0) -> None:
        self._settings = settings
        self._nodes: dict[NodeKey, ProxyNode] = {node.key: node for node in settings.nodes}
        self._location = LocationRule(settings.private_interface, settings.internal_prefixes, settings.location_mode)
        self._guard = ReplayGuard(settings.checks.replay)
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
        self._assignment = assignment = AssignmentRule(
            settings.home_agents, settings.home_agent_parameter, settings.home_agent_pool, settings.default_home_agent
        )
        policy = ExtensionPolicy(settings.home_agent_parameter, settings.home_agents, settings.extensions)
        parameters = ParameterInReplies(settings, assignment)
        ours = {(form.vendor, form.vendor_type) for form in settings.home_agent_parameter if form.vendor}
        vendors = settings.checks.vendors | ours
        peers = Peers(node.peer for node in settings.nodes)
        self._gate = Gate(
            GateSettings(
                address=settings.public_address,
                peers=peers,
                understood=policy.understood_in_request,
                policy=replace(settings.checks, vendors=vendors),
                in_denials=parameters.of_nobody,
            ),
            self._guard,
        )
        self._answers = ProxyAnswers(settings, self._gate, parameters, policy)
        lists = ProxyLists(self._pending, self._sessions, self._admission)
        leg = HomeAgentLeg(settings, policy)
        self._home_agent = SurrogateHomeAgent(settings, lists, self._answers, assignment, policy, leg, self._revocation)
        self._node = SurrogateNode(
            settings,
            self._nodes,
            lists,
            self._answers,
            assignment,
            policy,
            leg,
            self._revocation,
            self._guard,
            vendors,
            draw,
        )
        self._renewals = Renewals(
            settings,
            self._nodes,
            peers,
            self._location,
            self._guard,
            self._pending,
            self._sessions,
            self._admission,
            assignment,
            leg,
            policy,
            self._revocation,
            self._answers,
            self._node,
            draw,
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
    def waiting(self) -> tuple[PendingRequest, ...]:
        """Those requests, for `show`."""
        return tuple(self._pending)

    @property
    def admission(self) -> Admission:
        """What is taken on, for `show`."""
        return self._admission

    @property
    def unacknowledged(self) -> int:
        """How many revocations wait for their acknowledgement, for `show`."""
        return self._revocation.unacknowledged

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about an event at `now` (Unix seconds)."""
        actions = self.handle_timer(now)
        if isinstance(event, DatagramReceived):
            return actions + self._receive(event, now)
        if isinstance(event, TunnelPortLearned):
            return actions + (self._sessions.learn_port(event) or [Count("port_of_no_half_bound_node")])
        if isinstance(event, UnreachableReceived):
            return actions + self._hear_of_unreachable(event, now)
        if isinstance(event, RevokeRequested):
            return actions + self._revocation.revoke(event.home_address, now)
        return actions

    def _receive(self, event: DatagramReceived, now: float) -> list[Action]:
        kind = event.payload[0] if event.payload else None
        if kind == MessageType.REQUEST:
            return self._renewals.request(event, now) or self._request(event, now)
        if kind == MessageType.REPLY:
            return self._renewals.reply(event, now) or self._node.receive(event, now)
        if kind == MessageType.REVOCATION:
            return self._revoked(event, now)
        if kind == MessageType.REVOCATION_ACKNOWLEDGEMENT:
            return self._revocation.acknowledged(event)
        if kind == MessageType.TUNNEL_DATA:
            return [Count("tunnel_data_not_forwarded")]
        return [Count("unknown_message" if event.payload else "empty")]

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
        actions: list[Action] = self._answer_unreachable(now) if self._verdicts else []
        actions += self._revocation.handle_timer(now)
        for _ in self._pending.expire(now):
            actions.append(Count("pending_timeout"))
        return actions + self._sessions.expire(now)

    def snapshot(self) -> list[Record]:
        """Everything that must outlive the process."""
        return [*self._guard.records(), *(PersistBinding(binding) for binding in self._sessions)]

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Take up what was durable. Bindings that are over, or whose node or home agent is gone, are not."""
        actions: list[Action] = []
        for record in records:
            if isinstance(record, PersistIdentification):
                self._guard.restore(record)
                continue
            binding = record.binding
            if self._assignment.serves(binding.home_agent, binding.home_address):
                actions += self._sessions.restore(binding, now)
            else:
                actions += [ForgetBinding(binding.key), Unbind(binding.key)]
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
        actions = self._home_agent.decide(admitted, node, location, now)
        relayed = self._pending.last_of(node.key)
        if relayed is not None and relayed.received is received:
            self._note(relayed)
        return admitted.actions + actions

    def _note(self, relayed: PendingRequest) -> None:
        """The rules have decided to relay this request: others of its form need not be decided again."""
        self._renewals.learn(relayed)

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
        """32 as the node's surrogate; 34 too where the home agent takes us for a foreign agent (AMB-4)."""
        return {
            ExtensionType.MN_HA_AUTHENTICATION: associations_of(self._node_of(binding).home_agent_association),
            ExtensionType.FA_HA_AUTHENTICATION: associations_of(self._settings.replies.fa_ha.get(binding.home_agent)),
        }

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
            actions += self._answers.unreachable(request, error, now)
        return actions
