"""What agents do about revocation (RFC 3543): which bindings end, and who is told.

Towards nodes and foreign agents, proxy and home agent are alike: they take up an offer, tell whoever registered what
they end, and end what a foreign agent gives up. Towards home agents the proxy is who registered: it makes the offer,
ends what a home agent revokes, acknowledges that, and tells the node. Each leg has its own offers, timestamps and keys.
The proxy never revokes at a home agent: for that one it is a node, and nodes do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log
from mobileip.registration.bindings import Binding, RevocationPeer
from mobileip.registration.events import DatagramReceived
from mobileip.registration.revocation import RevocationReader, Revocations, Timestamps, peer_of, support_in
from mobileip.registration.security import Associations, AuthenticReply, AuthenticRequest
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.revocation import RevocationSupport, is_later

Keys = Mapping[int, Associations]
"""Associations with one peer, by the type of the authentication extension: 32 a node, 34 a foreign or home agent."""


class AgentRevocation:
    """Towards nodes. `bindings_of` are those of a home address, and `end` ends one, kernel included.

    `keys_of` are those shared with whoever registered a binding. `enabled` False takes up no offer.
    """

    def __init__(
        self,
        address: IPv4Address,
        bindings_of: Callable[[IPv4Address], list[Binding]],
        end: Callable[[Binding], list[Action]],
        keys_of: Callable[[Binding], Keys],
        *,
        enabled: bool = True,
    ) -> None:
        self._address = address
        self._bindings_of = bindings_of
        self._end = end
        self._keys_of = keys_of
        self._enabled = enabled
        self._revocations = Revocations(address, Timestamps())
        self._from_foreign_agents = RevocationReader(from_home_agents=False)

    @property
    def unacknowledged(self) -> int:
        """How many revocations wait for their acknowledgement."""
        return len(self._revocations)

    def peer(self, request: AuthenticRequest, *, foreign_agent: bool) -> RevocationPeer | None:
        """Who is to be told if what this request registers is revoked. `foreign_agent`: 34 was there, and right."""
        return peer_of(request, foreign_agent=foreign_agent) if self._enabled else None

    def taken_up(self, binding: Binding, now: float) -> tuple[Extension, ...]:
        """What the reply says to an offer; nothing where there was none (RFC 3543 3.2). The node is registered anew."""
        self._revocations.registered_anew(binding)
        return () if binding.node_revocation is None else (self._revocations.support(now),)

    def revoke(self, home_address: IPv4Address, now: float) -> list[Action]:
        """End all bindings of a home address and tell whoever registered them, as the operator wants."""
        actions: list[Action] = []
        for binding in self._bindings_of(home_address):
            actions += [*self.end_and_tell(binding, now), Log(Level.INFO, "binding_revoked", _fields(binding))]
        return actions or [Count("revocation_of_no_binding")]

    def end_and_tell(self, binding: Binding, now: float) -> list[Action]:
        """End one binding before its time."""
        association = self._association_of(binding)
        return [*self._end(binding), *self._revocations.revoke(binding, association, now)]

    def receive(self, received: DatagramReceived) -> list[Action]:
        """A foreign agent gives up a node: the binding at its care-of address ends."""
        message = self._from_foreign_agents.read(received)
        if isinstance(message, list):
            return message
        for binding in self._bindings_of(message.home_address):
            at_its_place = binding.care_of_address == message.foreign_domain
            if at_its_place and binding.source.address == received.source.address:
                # RFC 3543 3.3: a node does not revoke, so only what 34 protects counts.
                peer = binding.node_revocation
                by_agent = peer is not None and peer.kind == ExtensionType.FA_HA_AUTHENTICATION
                since = peer.timestamp if peer is not None and by_agent else None
                kind = int(ExtensionType.FA_HA_AUTHENTICATION)
                keys = {kind: self._keys_of(binding).get(kind, {})}
                answer = self._from_foreign_agents.obey(message, received, since, keys)
                if isinstance(answer, list):
                    return answer
                log = Log(Level.INFO, "binding_revoked_by_foreign_agent", _fields(binding))
                return [*self._end(binding), answer, log, Count("revocation_obeyed")]
        return [Count("revocation_of_no_binding")]

    def acknowledged(self, received: DatagramReceived) -> list[Action]:
        """A Revocation Acknowledgement came."""
        return self._revocations.acknowledged(received)

    def next_deadline(self) -> float | None:
        """When a revocation is to be repeated (Unix seconds); None: never."""
        return self._revocations.next_deadline()

    def handle_timer(self, now: float) -> list[Action]:
        """Repeat what is due."""
        return self._revocations.handle_timer(now)

    def _association_of(self, binding: Binding) -> SecurityAssociation | None:
        if binding.node_revocation is None:
            return None
        shared = self._keys_of(binding).get(binding.node_revocation.kind, {})
        return shared.get(binding.spi) or next(iter(shared.values()), None)


class ProxyRevocation(AgentRevocation):
    """Both legs of the proxy. `home_agent_keys_of` are those shared with the home agent that holds a binding."""

    def __init__(
        self,
        address: IPv4Address,
        bindings_of: Callable[[IPv4Address], list[Binding]],
        end: Callable[[Binding], list[Action]],
        keys_of: Callable[[Binding], Keys],
        home_agent_keys_of: Callable[[Binding], Keys],
        *,
        nodes: bool,
        home_agents: bool,
    ) -> None:
        super().__init__(address, bindings_of, end, keys_of, enabled=nodes)
        self._home_agent_keys_of = home_agent_keys_of
        self._offers = home_agents
        self._own = Timestamps()
        self._offered: tuple[int, tuple[Extension, ...]] = (-1, ())  # the last one: a second has the same for all
        self._from_home_agents = RevocationReader(from_home_agents=True)

    def offer(self, now: float) -> tuple[Extension, ...]:
        """The extension for a request to a home agent."""
        if not self._offers:
            return ()
        timestamp = self._own.of_support(now)
        if timestamp != self._offered[0]:
            self._offered = timestamp, (RevocationSupport(timestamp).extension(),)
        return self._offered[1]

    def agreed(self, reply: AuthenticReply) -> int | None:
        """The home agent's timestamp, if it has taken up our offer."""
        support = support_in(reply.covered) if self._offers and reply.covered else None
        return None if support is None else support.timestamp

    def receive_from_inside(self, received: DatagramReceived, now: float) -> list[Action]:
        """A home agent revokes: its one binding for the node is over, so all of ours are, and the node hears of it."""
        message = self._from_home_agents.read(received)
        if isinstance(message, list):
            return message
        if message.home_domain != received.source.address:
            return [Count("revocation_of_another_agent")]
        bound = [
            binding for binding in self._bindings_of(message.home_address) if binding.home_agent == message.home_domain
        ]
        if not bound:
            return [Count("revocation_of_no_binding")]
        since = _latest(binding.agent_revocation for binding in bound)
        answer = self._from_home_agents.obey(message, received, since, self._home_agent_keys_of(bound[0]))
        if isinstance(answer, list):
            return answer
        actions: list[Action] = []
        for binding in bound:
            log = Log(Level.INFO, "binding_revoked_by_home_agent", _fields(binding))
            actions += [*self.end_and_tell(binding, now), log]
        return [*actions, answer, Count("revocation_obeyed")]


def _latest(timestamps: Iterable[int | None]) -> int | None:
    """The home agent's clock when it was last heard of the node; None: it never agreed."""
    found: int | None = None
    for timestamp in timestamps:
        if timestamp is not None and (found is None or is_later(timestamp, found)):
            found = timestamp
    return found


def _fields(binding: Binding) -> dict[str, str | int | float | bool]:
    return {
        "home_address": str(binding.home_address),
        "care_of_address": str(binding.care_of_address),
        "told": binding.node_revocation is not None,
    }
