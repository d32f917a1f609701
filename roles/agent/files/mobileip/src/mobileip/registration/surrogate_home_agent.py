"""The proxy as nodes see it, a home agent: what becomes of their requests (draft 2.2, 2.4, 2.6).

A request has passed the gate. Then come the proxy's own rules, in this order:

    extensions     silence for one that the configuration discards
    T bit          138: all traffic of a node outside comes back through the tunnel
    location       inside: 206, and the binding outside is over; 129 where interface and address contradict each other
    extensions     134 for one that the configuration rejects
    home agent     the HA Parameter extension, else what is known for the node (see `assignment`); 200, 201, 136
    tunnel         NAT and encapsulation (see `nat`); 129, 134, 139, 142
    capacity       135 for one care-of address too many, 130
    relay          a new request from MIPP-Priv with the same Identification; its reply is awaited
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count
from mobileip.registration.agent_revocation import ProxyRevocation
from mobileip.registration.assignment import Assignment, AssignmentRule
from mobileip.registration.bindings import Binding
from mobileip.registration.extension_policy import ExtensionPolicy, Treatment
from mobileip.registration.gate import Admitted
from mobileip.registration.home_agent_leg import HomeAgentLeg
from mobileip.registration.lifetimes import toward_home_agent
from mobileip.registration.location import Location, LocationMode
from mobileip.registration.nat import Denied, Tunnel, negotiate
from mobileip.registration.peers import nai_of
from mobileip.registration.pending import PendingRequest
from mobileip.registration.proxy_answers import ProxyAnswers
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings, WhenInside
from mobileip.registration.sessions import ProxyLists
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension
from mobileip.wire.messages import RegistrationRequest
from mobileip.wire.typed_extensions import TRUSTED_NETWORKS


class SurrogateHomeAgent:
    """Decides on authentic requests; `lists` are filled by both sides of the proxy."""

    def __init__(
        self,
        settings: ProxySettings,
        lists: ProxyLists,
        answers: ProxyAnswers,
        assignment: AssignmentRule,
        policy: ExtensionPolicy,
        leg: HomeAgentLeg,
        revocation: ProxyRevocation,
    ) -> None:
        self._settings = settings
        times = Counter(node.home_address for node in settings.nodes)
        self._shared = {address for address, nodes in times.items() if address is not None and nodes > 1}
        own = {settings.public_address, settings.private_address}
        self._not_outside = own | {node.gateway for node in settings.nodes} | set(settings.home_agents)
        self._pending = lists.pending
        self._sessions = lists.sessions
        self._admission = lists.admission
        self._answers = answers
        self._assignment = assignment
        self._policy = policy
        self._leg = leg
        self._revocation = revocation

    def decide(self, admitted: Admitted, node: ProxyNode, location: Location, now: float) -> list[Action]:
        """What becomes of an authentic request of `node`: the proxy's own rules, in AMB-25's order."""
        request, message = admitted.request, admitted.request.message
        if self._policy.forbidden(request.covered, Treatment.DISCARD) is not None:
            return [Count("discarded_extension")]
        assignment = self._assignment.assign(request, self._known_home_agents(node), nai_of(message))
        if not message.reverse_tunnel:
            denied = Denied(Code.REVERSE_TUNNEL_MANDATORY, "reverse tunnel required")  # D-2.2.4-c
            return self._answers.deny(admitted, denied, assignment, now)
        if location is Location.INSIDE:
            return self._inside(admitted, node, assignment, now)
        if location is Location.CONTRADICTORY:
            reason = f"{admitted.received.source.address} is no inside address, but came from inside"
            return self._answers.deny(admitted, Denied(Code.ADMINISTRATIVELY_PROHIBITED, reason), assignment, now)
        rejected = self._policy.forbidden(request.covered, Treatment.REJECT)
        if rejected is not None:
            denied = Denied(Code.POORLY_FORMED_REQUEST, f"extension {rejected.type} is not allowed here")
            return self._answers.deny(admitted, denied, assignment, now)
        if isinstance(assignment, Denied):
            return self._answers.deny(admitted, assignment, assignment, now)
        if not self._may_have(node, message.home_address):
            denied = Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"{message.home_address} is another node's home address")
            return self._answers.deny(admitted, denied, assignment, now)  # RFC 5944 3.8.3.2
        if node.home_address in self._shared and node.home_agent not in (None, assignment.home_agent):
            # There another node may have the address: the home agent's tunnel is all that tells their packets apart.
            denied = Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"{assignment.home_agent} is not this node's home agent")
            return self._answers.deny(admitted, denied, assignment, now)
        tunnel = None
        if not message.deregisters:
            chosen = negotiate(
                request, admitted.received.source.address, self._settings.nat, self._settings.encapsulations
            )
            if isinstance(chosen, Denied):
                return self._answers.deny(admitted, chosen, assignment, now)
            tunnel = chosen
            elsewhere = message.care_of_address != admitted.received.source.address
            if elsewhere and not tunnel.encapsulation.in_udp and self._is_no_place_outside(message.care_of_address):
                denied = Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"no tunnel to {message.care_of_address} from here")
                return self._answers.deny(admitted, denied, assignment, now)
        bound = self._sessions.of_node(node.key)
        refused = self._beyond_capacity(admitted, node, bound, now)
        if refused is not None:
            return self._answers.deny(admitted, refused, assignment, now)
        return self._relay(admitted, node, bound, assignment, tunnel, now)

    def _may_have(self, node: ProxyNode, home_address: IPv4Address) -> bool:
        """Its own, or for a node known by NAI one that nobody has; some home agents have one key for all nodes."""
        if home_address is node.home_address or home_address.is_unspecified:
            return True
        if node.home_address is not None:
            return home_address == node.home_address
        return self._sessions.holder(node.gateway, home_address) in (None, node.key)

    def _is_no_place_outside(self, care_of_address: IPv4Address) -> bool:
        """Ours, a gateway's, or inside: whoever named it has packets sent where they could not send them."""
        inside = any(care_of_address in prefix for prefix in self._settings.internal_prefixes)
        return inside or care_of_address in self._not_outside

    def _beyond_capacity(self, admitted: Admitted, node: ProxyNode, bound: list[Binding], now: float) -> Denied | None:
        message = admitted.request.message
        joins = self._adds(message)
        if joins and not message.deregisters:
            # Those whose reply is on its way count, too (AMB-9).
            on_their_way = [
                pending.request.message.care_of_address
                for pending in self._pending.of_node(node.key)
                if pending.tunnel and (pending.fresh or not admitted.fresh)
            ]
            places = {binding.care_of_address for binding in bound}.union(on_their_way)
            if len(places | {message.care_of_address}) > self._settings.simultaneous:
                return Denied(Code.TOO_MANY_BINDINGS, f"{self._settings.simultaneous} bindings at most")
        if not self._pending.has_room(node.key, fresh=admitted.fresh):
            # AMB-1: 130, since 133 makes a node set its clock by us.
            return Denied(Code.INSUFFICIENT_RESOURCES, "too many requests without reply")
        if message.deregisters:
            return None
        adds = not bound or (joins and all(one.care_of_address != message.care_of_address for one in bound))
        why = self._admission.refuses(message.home_address, now, renews=bool(bound), adds=adds)
        return None if why is None else Denied(self._settings.cannot_service_code, why)

    def _relay(
        self,
        admitted: Admitted,
        node: ProxyNode,
        bound: list[Binding],
        assignment: Assignment,
        tunnel: Tunnel | None,
        now: float,
    ) -> list[Action]:
        """D-2.2-a: note the request, then send a new one of our own to the home agent."""
        settings, message = self._settings, admitted.request.message
        lifetime = min(message.lifetime, settings.max_lifetime)
        if tunnel is not None and tunnel.encapsulation.in_udp:
            lifetime = min(lifetime, settings.nat.max_lifetime)  # RFC 3519 5.2
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
                fresh=admitted.fresh,
            )
        )
        return [send, Count("request_relayed")]

    def _adds(self, message: RegistrationRequest) -> bool:
        """Does the node want to keep its other bindings, and may it?"""
        return message.simultaneous and self._settings.simultaneous > 0

    def _inside(self, admitted: Admitted, node: ProxyNode, assignment: Assignment | Denied, now: float) -> list[Action]:
        """D-2.6.1-c: the node registers with its home agent itself; what we bound for it outside is over (AMB-11)."""
        if isinstance(assignment, Denied) and assignment.code is not Code.MISSING_HOME_AGENT_PARAMETER:
            return self._answers.deny(admitted, assignment, assignment, now)
        actions: list[Action] = []
        # A copy, which only the home agent could tell from the node, ends nothing.
        if admitted.fresh and self._settings.when_inside is WhenInside.PURGE:
            self._pending.remove_node(node.key)  # a reply on its way would bring the binding back
            actions = self._sessions.retire(node.key, now, now)
        extensions: tuple[Extension, ...] = ()
        if isinstance(assignment, Assignment):
            extensions += self._settings.code_profile.redirection(assignment.home_agent)
        if self._settings.location_mode is LocationMode.ADDRESS_AND_INTERFACE:
            extensions += (TRUSTED_NETWORKS,)  # RFC 5265 4.3: only where we are sure
        denied = Denied(Code.ASSIGNED_HOME_AGENT, "inside")
        return actions + self._answers.deny(admitted, denied, assignment, now, extensions)

    def _known_home_agents(self, node: ProxyNode) -> Iterator[IPv4Address]:
        """Home agents to fall back on: the configured mapping, then those of the session as it is."""
        if node.home_agent is not None:
            yield node.home_agent
        for binding in self._sessions.of_node(node.key):
            yield binding.home_agent
        for pending in self._pending.of_node(node.key):
            yield pending.home_agent
