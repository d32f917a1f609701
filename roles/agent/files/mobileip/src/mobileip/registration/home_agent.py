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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

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
from mobileip.registration.assignment import AssignmentRule, parameter_extension
from mobileip.registration.bindings import Binding, BindingTable, NodeKey, expiry
from mobileip.registration.events import DatagramReceived, Event, TunnelPortLearned
from mobileip.registration.gate import Admitted, Gate, GateSettings, Peer, Peers
from mobileip.registration.nat import Denied, NatPolicy, Tunnel, negotiate
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.security import Associations, ReplayGuard
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import MessageType, RegistrationRequest
from mobileip.wire.typed_extensions import HomeAgentParameterFormat

_UNDERSTOOD = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
        ExtensionType.CRITICAL_VENDOR,
    }
)


@dataclass(frozen=True, slots=True)
class HomeLink:
    """A network whose nodes we serve, and our interface on it."""

    interface: str
    network: IPv4Network


@dataclass(frozen=True, slots=True)
class HomeNode:
    """A mobile node: its security associations, one for each way to register (direct, through the proxy)."""

    home_address: IPv4Address
    associations: tuple[SecurityAssociation, ...]


class ReverseTunnel(StrEnum):
    """Who may have packets of the node tunnelled to us (T bit, RFC 3024 4.3.1)."""

    OPTIONAL = "optional"  # whoever asks
    REQUIRED = "required"  # everybody: without T it is 138
    UNAVAILABLE = "unavailable"  # nobody: with T it is 137


@dataclass(frozen=True, slots=True)
class HomeAgentSettings:
    """What the home agent is told. Times and lifetimes in seconds.

    `simultaneous` is how many bindings a node may have at once; with 1 the S bit is not honoured.
    """

    address: IPv4Address
    home_links: tuple[HomeLink, ...]
    nodes: tuple[HomeNode, ...]
    window: float = 7.0
    max_lifetime: int = 1800
    simultaneous: int = 1
    reverse_tunnel: ReverseTunnel = ReverseTunnel.OPTIONAL
    nat: NatPolicy = field(default_factory=NatPolicy)
    home_agent_parameter: tuple[HomeAgentParameterFormat, ...] = (HomeAgentParameterFormat(),)
    reply_on_failed_authentication: bool = False
    foreign_agents: Mapping[IPv4Address, Associations] = field(default_factory=dict)


class HomeAgent:
    """The home agent's state: bindings and accepted Identifications."""

    def __init__(self, settings: HomeAgentSettings) -> None:
        self._settings = settings
        self._parameter = AssignmentRule({}, settings.home_agent_parameter)
        self._peers = Peers(
            Peer(NodeKey(None, node.home_address), {one.spi: one for one in node.associations})
            for node in settings.nodes
        )
        self._guard = ReplayGuard(settings.window)
        self._gate = Gate(
            GateSettings(
                address=settings.address,
                peers=self._peers,
                understood=_UNDERSTOOD | self._parameter.types,
                foreign_agents=settings.foreign_agents,
                reply_on_failed_authentication=settings.reply_on_failed_authentication,
            ),
            self._guard,
            RateLimit(),
        )
        self._bindings = BindingTable()

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings there are, for `show`."""
        return tuple(self._bindings)

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about an event at `now` (Unix seconds)."""
        actions = self.handle_timer(now)
        if isinstance(event, TunnelPortLearned):
            return actions + self._learn_port(event)
        if not isinstance(event, DatagramReceived):
            return actions
        kind = event.payload[0] if event.payload else None
        if kind == MessageType.REQUEST:
            return actions + self._request(event, now)
        if kind == MessageType.TUNNEL_DATA:
            return [*actions, Count("tunnel_data_not_forwarded")]
        return [*actions, Count("unknown_message" if event.payload else "empty")]

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do (Unix seconds); None: never."""
        return self._bindings.next_expiry()

    def handle_timer(self, now: float) -> list[Action]:
        """End the bindings that are over at `now`. In silence (RFC 5944 3.8)."""
        actions: list[Action] = []
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
            link = self._link_of(binding.home_address)
            if binding.expires <= now or NodeKey(None, binding.home_address) not in self._peers or link is None:
                over += self._ended(binding)
            else:
                self._bindings.put(binding)
                bound += [Bind(binding), ClaimHome(binding.home_address, link.interface)]
        return over + bound

    def _request(self, received: DatagramReceived, now: float) -> list[Action]:
        admitted = self._gate.admit(received, now)
        if isinstance(admitted, list):
            return admitted
        link = self._link_of(admitted.request.message.home_address)
        if link is None:
            denied = Denied(Code.ADMINISTRATIVELY_PROHIBITED, "no home network of ours")  # RFC 5944 3.8.3.2
            return admitted.actions + self._deny(admitted, denied, now)
        if admitted.request.message.deregisters:
            return admitted.actions + self._deregister(admitted)
        refused = self._refused(admitted.request.message)
        tunnel = refused or negotiate(admitted.request, received.source.address, self._settings.nat)
        if isinstance(tunnel, Denied):
            return admitted.actions + self._deny(admitted, tunnel, now)
        return admitted.actions + self._register(admitted, tunnel, link, now)

    def _refused(self, message: RegistrationRequest) -> Denied | None:
        """What we do not do for this node: reverse tunnels (RFC 3024 4.3.1), one more binding (RFC 5944 3.8.3.2)."""
        mode = self._settings.reverse_tunnel
        if mode is ReverseTunnel.UNAVAILABLE and message.reverse_tunnel:
            return Denied(Code.REVERSE_TUNNEL_UNAVAILABLE, "no reverse tunnels here")
        if mode is ReverseTunnel.REQUIRED and not message.reverse_tunnel:
            return Denied(Code.REVERSE_TUNNEL_MANDATORY, "the T bit must be set")
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
        expires = expiry(lifetime, now)
        before = self._bindings.of_node(message.home_address)
        current = next((one for one in before if one.care_of_address == message.care_of_address), None)
        if current is not None and current.identification == message.identification and current.expires < expires:
            # RFC 5944 3.8.2.2: a request that comes again, which nonces allow, makes nothing last longer.
            expires = current.expires
            lifetime = int(expires - now)
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
            expires=expires,
            via_foreign_agent=not message.decapsulates,
            half_bound=tunnel.half_bound,
            keepalive=0 if tunnel.answer is None else tunnel.answer.keepalive,
            spi=admitted.request.association.spi,
        )
        stay = {binding.key, *(other.key for other in self._kept(message))}
        replaced = tuple(other.key for other in before if other.key not in stay)
        actions: list[Action] = []
        for key in replaced:
            self._bindings.remove(key)
            actions.append(ForgetBinding(key))
        self._bindings.put(binding)
        actions += [PersistBinding(binding), Bind(binding, replaced)]
        if not before:
            actions.append(ClaimHome(message.home_address, link.interface))
        extensions = self._parameter_of(admitted)
        if tunnel.answer is not None:
            extensions += (tunnel.answer.extension(),)
        # RFC 5944 3.8.2.2: code 1 says what we can do, whether or not S was set.
        code = Code.ACCEPTED if self._settings.simultaneous > 1 else Code.ACCEPTED_NO_SIMULTANEOUS
        reply = self._gate.answer(admitted.request, received, code, lifetime=lifetime, extensions=extensions)
        return [*actions, reply, Count("registered")]

    def _deregister(self, admitted: Admitted) -> list[Action]:
        """RFC 5944 3.8.2.2: all bindings, or the one with this care-of address. None there is no error."""
        message = admitted.request.message
        actions: list[Action] = []
        for binding in self._bindings.of_node(message.home_address):
            if _is_given_up(binding, message):
                self._bindings.remove(binding.key)
                actions += self._ended(binding)
        reply = self._gate.answer(
            admitted.request, admitted.received, Code.ACCEPTED, lifetime=0, extensions=self._parameter_of(admitted)
        )
        return [*actions, reply, Count("deregistered")]

    def _ended(self, binding: Binding) -> list[Action]:
        """What follows when a binding has been taken out; the last one of a node gives its address back."""
        actions: list[Action] = [ForgetBinding(binding.key), Unbind(binding.key)]
        link = self._link_of(binding.home_address)
        if link is not None and not self._bindings.of_node(binding.home_address):
            actions.append(ReleaseHome(binding.home_address, link.interface))
        return actions

    def _deny(self, admitted: Admitted, denied: Denied, now: float) -> list[Action]:
        return self._gate.deny(
            admitted.request,
            admitted.received,
            denied.code,
            now,
            denied.reason,
            extensions=self._parameter_of(admitted),
        )

    def _parameter_of(self, admitted: Admitted) -> tuple[Extension, ...]:
        """D-2.6.1-j: the HA Parameter extension with our address for whoever sent one."""
        return parameter_extension(self._settings.address, self._parameter.asked_in(admitted.request.covered))

    def _link_of(self, home_address: IPv4Address) -> HomeLink | None:
        return next((link for link in self._settings.home_links if home_address in link.network), None)

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
