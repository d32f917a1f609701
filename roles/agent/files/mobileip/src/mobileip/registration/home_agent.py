"""The home agent (RFC 5944 3.8): keeps where its nodes are, and has their packets tunnelled there.

A request passes the gate (authentic, fresh, well-formed, for us). Then a lifetime of 0 ends one binding, or all of
them if the care-of address is the home address; any other makes one: beside the others of the node if the S bit is set
and simultaneous bindings are offered, else instead of them (code 1 says that they are not). Which tunnel it is follows
from RFC 3519 (see `nat`): a node behind a NAT inside is reached by UDP. Whether it may do without a reverse tunnel is
configured (RFC 3024 4.3.1).

While a node has a binding, its address is claimed on the home link (proxy and gratuitous ARP, 4.6). An expired binding
ends in silence. Requests come from nodes inside, and from the proxy on behalf of nodes outside: for the home agent
that is a foreign agent at MIPP-Priv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.actions import (
    Action,
    Bind,
    ClaimHome,
    Count,
    ForgetBinding,
    Level,
    Log,
    PersistBinding,
    PersistIdentification,
    Record,
    ReleaseHome,
    Unbind,
)
from mobileip.registration.address_pool import PoolUse
from mobileip.registration.agent_revocation import AgentRevocation, Keys
from mobileip.registration.assignment import AssignmentRule, parameter_extension
from mobileip.registration.bindings import Binding, BindingTable, Encapsulation, NodeKey, expiry
from mobileip.registration.events import DatagramReceived, Event, RevokeRequested, TunnelPortLearned
from mobileip.registration.gate import Admitted, Gate, GatePolicy, GateSettings
from mobileip.registration.home_addresses import HomeAddresses, HomeLink, HomeNode
from mobileip.registration.nat import CARRIED, Denied, NatPolicy, Tunnel, negotiate
from mobileip.registration.peers import nai_of
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.replay import ReplayGuard, no_nonces
from mobileip.registration.request_form import leaves_home_agent_open
from mobileip.registration.trusted_networks import TrustedNetworks, Untrusted
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import MessageType, RegistrationRequest
from mobileip.wire.typed_extensions import (
    TRUSTED_NETWORKS,
    DynamicHomeAgent,
    HomeAgentParameterFormat,
    requested_home_agent,
)

_UNDERSTOOD = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
        ExtensionType.CRITICAL_VENDOR,
        ExtensionType.OBSOLETE_CRITICAL_VENDOR,
    }
)


class ReverseTunnel(StrEnum):
    """Who may have packets of the node tunnelled to us (T bit, RFC 3024 4.3.1)."""

    OPTIONAL = "optional"  # whoever asks
    REQUIRED = "required"  # everybody: without T it is 138
    UNAVAILABLE = "unavailable"  # nobody: with T it is 137


class ParameterInReply(StrEnum):
    """Which replies carry the HA Parameter extension with our address (D-2.6.1-e, AMB-7)."""

    IF_REQUESTED = "if-requested"  # those to requests that had one
    ALWAYS = "always"  # all: a node that does not know the extension drops them
    NEVER = "never"  # none: the proxy alone speaks of it


@dataclass(frozen=True, slots=True)
class HomeAgentSettings:
    """What the home agent is told. Times and lifetimes in seconds.

    `simultaneous` is how many bindings a node may have at once; with 1 the S bit is not honoured.
    A node with a NAI may leave the home agent open (RFC 4433): with `dynamic_home_agent` it gets us, or is sent on to
    the agent `redirect`.
    """

    address: IPv4Address
    home_links: tuple[HomeLink, ...]
    nodes: tuple[HomeNode, ...]
    max_lifetime: int = 1800
    simultaneous: int = 1
    reverse_tunnel: ReverseTunnel = ReverseTunnel.OPTIONAL
    nat: NatPolicy = field(default_factory=NatPolicy)
    encapsulations: frozenset[Encapsulation] = CARRIED
    home_agent_parameter: tuple[HomeAgentParameterFormat, ...] = (HomeAgentParameterFormat(),)
    parameter_in_reply: ParameterInReply = ParameterInReply.IF_REQUESTED
    trusted: TrustedNetworks = field(default_factory=TrustedNetworks)
    dynamic_home_agent: bool = True
    redirect: IPv4Address | None = None
    checks: GatePolicy = field(default_factory=GatePolicy)
    revocation: bool = False


class HomeAgent:
    """The home agent's state: bindings, accepted Identifications, nonces. `draw_nonce` gives 32 random bits."""

    def __init__(self, settings: HomeAgentSettings, draw_nonce: Callable[[], int] = no_nonces) -> None:
        self._settings = settings
        self._parameter = AssignmentRule({}, settings.home_agent_parameter)
        self._homes = HomeAddresses(settings.home_links, settings.nodes)
        ours = {(form.vendor, form.vendor_type) for form in settings.home_agent_parameter if form.vendor}
        self._guard = ReplayGuard(settings.checks.replay, draw_nonce)
        self._gate = Gate(
            GateSettings(
                address=settings.address,
                peers=self._homes.peers,
                understood=_UNDERSTOOD | self._parameter.types,
                policy=replace(settings.checks, vendors=settings.checks.vendors | ours),
                dynamic_home_agent=settings.dynamic_home_agent,
            ),
            self._guard,
        )
        self._untrusted_logs = RateLimit()
        self._bindings = BindingTable()
        self._revocation = AgentRevocation(
            settings.address, self._bindings.of_node, self._end, self._keys_of, enabled=settings.revocation
        )

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings there are, for `show`."""
        return tuple(self._bindings)

    @property
    def address_pool(self) -> PoolUse:
        """What is used of the pools of home addresses, for `show`."""
        return self._homes.use

    @property
    def unacknowledged(self) -> int:
        """How many revocations wait for their acknowledgement, for `show`."""
        return self._revocation.unacknowledged

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about an event at `now` (Unix seconds)."""
        actions = self.handle_timer(now)
        if isinstance(event, TunnelPortLearned):
            return actions + self._learn_port(event)
        if isinstance(event, RevokeRequested):
            return actions + self._revocation.revoke(event.home_address, now)
        if not isinstance(event, DatagramReceived):
            return actions
        kind = event.payload[0] if event.payload else None
        if kind == MessageType.REQUEST:
            return actions + self._request(event, now)
        if kind == MessageType.REVOCATION:
            return actions + self._revocation.receive(event)
        if kind == MessageType.REVOCATION_ACKNOWLEDGEMENT:
            return actions + self._revocation.acknowledged(event)
        if kind == MessageType.TUNNEL_DATA:
            return [*actions, Count("tunnel_data_not_forwarded")]
        return [*actions, Count("unknown_message" if event.payload else "empty")]

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do (Unix seconds); None: never."""
        deadlines = (self._bindings.next_expiry(), self._revocation.next_deadline())
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """End the bindings that are over at `now`. In silence (RFC 5944 3.8)."""
        actions: list[Action] = self._revocation.handle_timer(now)
        for binding in self._bindings.expire(now):
            actions += self._ended(binding)
            fields = {"home_address": str(binding.home_address), "care_of_address": str(binding.care_of_address)}
            actions.append(Log(Level.INFO, "binding_expired", fields))
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
            link = self._homes.link_of(binding.home_address)
            if not self._homes.serve(binding) or link is None or binding.expires <= now:
                over += self._ended(binding)
            else:
                self._bindings.put(binding)
                self._homes.bound(binding)
                bound += [Bind(binding), ClaimHome(binding.home_address, link.interface)]
        return over + bound

    def _request(self, received: DatagramReceived, now: float) -> list[Action]:
        verdict = self._settings.trusted.verdict(received.source.address)
        noted = self._note_untrusted(received, now) if verdict is not Untrusted.SERVE else []
        if verdict is Untrusted.DROP:
            return noted
        admitted = self._gate.admit(received, now)
        return noted + (admitted if isinstance(admitted, list) else self._admitted(admitted, now))

    def _note_untrusted(self, received: DatagramReceived, now: float) -> list[Action]:
        """RFC 5265 4.3: worth a log entry, though not one for each datagram that somebody cares to send."""
        noted: list[Action] = [Count("untrusted_source")]
        if self._untrusted_logs.allows(received.source.address, now):
            noted.append(Log(Level.WARNING, "untrusted_source", {"source": str(received.source)}))
        return noted

    def _admitted(self, admitted: Admitted, now: float) -> list[Action]:
        open_to_all = leaves_home_agent_open(admitted.request.message)
        resolved = self._not_for_us(admitted, open_to_all) or self._homes.resolve(admitted)
        if isinstance(resolved, Denied):
            return admitted.actions + self._deny(admitted, resolved, now)
        message = resolved.request.message
        link = self._homes.link_of(message.home_address)
        if link is None:
            denied = Denied(Code.ADMINISTRATIVELY_PROHIBITED, "no home network of ours")  # RFC 5944 3.8.3.2
            return admitted.actions + self._deny(resolved, denied, now)
        if message.deregisters:
            return admitted.actions + self._deregister(resolved)
        refused = self._refused(message)
        tunnel = refused or negotiate(
            resolved.request, resolved.received.source.address, self._settings.nat, self._settings.encapsulations
        )
        if isinstance(tunnel, Denied):
            return admitted.actions + self._deny(resolved, tunnel, now)
        return admitted.actions + self._register(resolved, tunnel, link, now)

    def _not_for_us(self, admitted: Admitted, open_to_all: bool) -> Denied | None:
        """RFC 4433: a node that wants another agent, or any, where we are to send such nodes on."""
        try:
            wanted = requested_home_agent(admitted.request.covered)
        except Malformed as defect:
            return Denied(Code.POORLY_FORMED_REQUEST, str(defect))
        if wanted is not None and wanted != self._settings.address:
            return Denied(Code.UNKNOWN_HOME_AGENT, f"home agent {wanted} was asked for")
        if open_to_all and wanted is None and self._settings.redirect is not None:
            return Denied(Code.REDIRECT_HOME_AGENT, f"home agent {self._settings.redirect} has room")
        return None

    def _refused(self, message: RegistrationRequest) -> Denied | None:
        """What we do not do for this node: reverse tunnels (RFC 3024 4.3.1), one more binding (RFC 5944 3.8.3.2)."""
        mode = self._settings.reverse_tunnel
        if mode is ReverseTunnel.UNAVAILABLE and message.reverse_tunnel:
            return Denied(Code.REVERSE_TUNNEL_UNAVAILABLE, "no reverse tunnels here")
        if mode is ReverseTunnel.REQUIRED and not message.reverse_tunnel:
            return Denied(Code.REVERSE_TUNNEL_MANDATORY, "the T bit must be set")
        if message.care_of_address == self._settings.address:
            return Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"{message.care_of_address} is our own address")
        kept = self._kept(message)
        if kept and len(kept) >= self._settings.simultaneous:
            return Denied(Code.TOO_MANY_BINDINGS, f"{len(kept)} bindings already, as many as a node may have")
        return None

    def _kept(self, message: RegistrationRequest) -> list[Binding]:
        """The node's other bindings that this registration leaves alone (RFC 5944 3.8.2.2): with S, all of them."""
        if not message.simultaneous or self._settings.simultaneous == 1:
            return []
        bindings = self._bindings.of_node(message.home_address)
        return [binding for binding in bindings if binding.care_of_address != message.care_of_address]

    def _register(self, admitted: Admitted, tunnel: Tunnel, link: HomeLink, now: float) -> list[Action]:
        message, received = admitted.request.message, admitted.received
        lifetime = min(message.lifetime, self._settings.max_lifetime)  # RFC 5944 3.8.3.2: never more than asked
        if tunnel.encapsulation.in_udp:
            lifetime = min(lifetime, self._settings.nat.max_lifetime)  # RFC 3519 5.2
        before = self._bindings.of_node(message.home_address)
        binding = Binding(
            home_address=message.home_address,
            home_agent=self._settings.address,
            care_of_address=message.care_of_address,
            source=received.source,
            interface=received.interface,
            encapsulation=tunnel.encapsulation,
            flags=message.flags,
            identification=message.identification,
            granted=lifetime,
            expires=expiry(lifetime, now),
            via_foreign_agent=not message.decapsulates,
            half_bound=tunnel.half_bound,
            keepalive=0 if tunnel.answer is None else tunnel.answer.keepalive,
            spi=admitted.request.association.spi,
            nai=nai_of(message),
            node_revocation=self._revocation.peer(
                admitted.request, foreign_agent=received.source.address in self._settings.checks.foreign_agents
            ),
        )
        stay = {binding.key, *(other.key for other in self._kept(message))}
        replaced = tuple(other.key for other in before if other.key not in stay)
        actions: list[Action] = []
        for key in replaced:
            self._bindings.remove(key)
            actions.append(ForgetBinding(key))
        self._bindings.put(binding)
        self._homes.bound(binding)
        actions += [PersistBinding(binding), Bind(binding, replaced)]
        if not before:
            actions.append(ClaimHome(message.home_address, link.interface))
        extensions = self._said_of_us(admitted) + self._revocation.taken_up(binding, now)
        if tunnel.answer is not None:
            extensions += (tunnel.answer.extension(),)
        # RFC 5944 3.8.2.2: code 1 says what we can do, whether or not S was set.
        code = Code.ACCEPTED if self._settings.simultaneous > 1 else Code.ACCEPTED_NO_SIMULTANEOUS
        reply = self._gate.answer(admitted.request, received, code, lifetime=lifetime, extensions=extensions)
        return [*actions, reply, Count("registered")]

    def _deregister(self, admitted: Admitted) -> list[Action]:
        """RFC 5944 3.8.2.2: all bindings, or the one with this care-of address. None there is no error."""
        message = admitted.request.message
        returned = message.deregisters_all and admitted.received.source.address == message.home_address
        actions: list[Action] = []
        for binding in self._bindings.of_node(message.home_address):
            if _is_given_up(binding, message):
                self._bindings.remove(binding.key)
                actions += self._ended(binding, returned)
        reply = self._gate.answer(
            admitted.request, admitted.received, Code.ACCEPTED, lifetime=0, extensions=self._said_of_us(admitted)
        )
        return [*actions, reply, Count("deregistered")]

    def _end(self, binding: Binding) -> list[Action]:
        self._bindings.remove(binding.key)
        return self._ended(binding)

    def _keys_of(self, binding: Binding) -> Keys:
        """What we share with whoever registered a binding."""
        peer = self._homes.peers.get(NodeKey(None, binding.home_address))
        if peer is None and binding.nai is not None:
            peer = self._homes.peers.get(NodeKey(None, binding.nai))
        return {
            ExtensionType.MN_HA_AUTHENTICATION: peer.associations if peer is not None else {},
            ExtensionType.FA_HA_AUTHENTICATION: self._settings.checks.foreign_agents.get(binding.source.address, {}),
        }

    def _ended(self, binding: Binding, returned: bool = False) -> list[Action]:
        """What follows when a binding has been taken out; the last one of a node gives its address back."""
        actions: list[Action] = [ForgetBinding(binding.key), Unbind(binding.key)]
        if not self._bindings.of_node(binding.home_address):
            self._homes.unbound(binding)
            link = self._homes.link_of(binding.home_address)
            if link is not None:
                actions.append(ReleaseHome(binding.home_address, link.interface, returned))
        return actions

    def _deny(self, admitted: Admitted, denied: Denied, now: float) -> list[Action]:
        extensions = self._said_of_us(admitted)
        if denied.code is Code.REDIRECT_HOME_AGENT and self._settings.redirect is not None:
            extensions += (DynamicHomeAgent(self._settings.redirect, redirected=True).extension(),)
        return self._gate.deny(
            admitted.request,
            admitted.received,
            denied.code,
            now,
            denied.reason,
            extensions=extensions,
        )

    def _said_of_us(self, admitted: Admitted) -> tuple[Extension, ...]:
        """What a reply says besides its verdict: our address (D-2.6.1-j), and "inside" (RFC 5265 4.3)."""
        form = self._parameter.asked_in(admitted.request.covered)
        match self._settings.parameter_in_reply:
            case ParameterInReply.ALWAYS:
                form = form or self._settings.home_agent_parameter[0]
            case ParameterInReply.NEVER:
                form = None
        said = parameter_extension(self._settings.address, form)
        return (*said, TRUSTED_NETWORKS) if self._settings.trusted.vouch_for(admitted.received.source.address) else said

    def _learn_port(self, event: TunnelPortLearned) -> list[Action]:
        """RFC 3519 4.4, R flag: the first keepalive says the port; the address must be the request's. Once."""
        for binding in self._bindings.of_node(event.home_address):
            whole = binding.learn(event.endpoint)
            if whole is not None:
                self._bindings.put(whole)
                return [PersistBinding(whole), Bind(whole)]
        return [Count("port_of_no_half_bound_node")]


def _is_given_up(binding: Binding, request: RegistrationRequest) -> bool:
    return request.deregisters_all or request.care_of_address == binding.care_of_address
