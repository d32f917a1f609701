"""The foreign agent (RFC 5944 3.7, RFC 3024 4.2): stands between a node without an address and its home agent.

It tells its link who it is (`advertiser`), checks what nodes ask (`visit_checks`, `challenges`), passes requests on
untouched, and keeps two lists (`visits`):

    pending    requests that were relayed and have no reply yet; at most five a node, each for seven seconds
    visitors   nodes whose home agent accepted; each until its lifetime, counted from relaying the reply, is over

A pending request never changes the visitor it may belong to; only an accepted reply does (3.7.2). Where the agent
shares a key with a node or a home agent, what they send must carry it; where it shares none it cannot tell a forged
message from a true one. So it vouches for nothing, bounds what strangers can make it hold, and answers a node with at
most one denial a second.

What a home agent said is never altered, for the node could not check it any more: what the agent itself finds wrong
with a reply stands beside it, in an FA Error extension (RFC 4636). Only a reply that the node could make nothing of is
replaced by one of ours.

Nothing is kept over a restart. The sequence number of the advertisements starts at 0 then, and nodes register again
(2.3.2).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, BindVisitor, Count, Level, Log, Send, UnbindVisitor
from mobileip.registration.advertiser import Advertiser
from mobileip.registration.bindings import Encapsulation, Visitor, expiry
from mobileip.registration.challenges import Challenges
from mobileip.registration.events import DatagramReceived, Endpoint, Event, SolicitationReceived, UnreachableReceived
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings, KnownNode
from mobileip.registration.keepalives import interval_of
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.security import verify_extension
from mobileip.registration.unreachable import unreachable_code
from mobileip.registration.visit_checks import (
    Refusal,
    Visit,
    behind_authorization,
    critical_vendor_extension,
    is_servable,
    name_of,
    objection,
    own_addresses,
    up_to_authorization,
    wanted_encapsulation,
)
from mobileip.registration.visits import NodeName, PendingVisit, PendingVisits, VisitorKey
from mobileip.wire.agent_discovery import ALL_SYSTEMS
from mobileip.wire.authentication import append
from mobileip.wire.codes import Code, describe
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find, first_unrecognised, serialize_extensions
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    REGISTRATION_PORT,
    MessageType,
    RegistrationReply,
    RegistrationRequest,
    parse_reply,
    read_request,
)
from mobileip.wire.typed_extensions import FaError, UdpTunnelReply, UdpTunnelRequest
from mobileip.wire.unreachable import udp_checksum

LEAST_DENIAL_GAP = 1.0  # seconds between two denials to one node (RFC 5944 3.7.2)

_UDP_HEADER = 8  # bytes

_UNSPECIFIED = IPv4Address(0)
_BROADCAST = IPv4Address("255.255.255.255")

_TIMED_OUT = Refusal(Code.FA_REGISTRATION_TIMEOUT, "no answer from the home agent")

FA_ERROR_STATUSES = frozenset(
    {
        Code.FA_UNSPECIFIED,
        Code.FA_ADMINISTRATIVELY_PROHIBITED,
        Code.FA_INSUFFICIENT_RESOURCES,
        Code.FA_HOME_AGENT_FAILED_AUTHENTICATION,
        Code.FA_POORLY_FORMED_REPLY,
        Code.FA_INVALID_CARE_OF_ADDRESS,
        Code.FA_REGISTRATION_TIMEOUT,
        Code.HOME_AGENT_WRONG_CHALLENGE,
    }
)
"""What an FA Error extension may say (RFC 4636 3; 109 for RFC 4721)."""

_RFC_5944: frozenset[int] = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
    }
)


class ForeignAgent:
    """The state machine: `feed` events, act on what it returns, wake it at `next_deadline`.

    `entropy` gives as many unpredictable bytes as it is asked for: challenges are made of them.
    """

    def __init__(self, settings: ForeignAgentSettings, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._settings = settings
        self._challenges = Challenges(settings.challenge_size, entropy)
        self._advertiser = Advertiser(settings, self._challenges)
        self._pending = PendingVisits(settings.pending_timeout)
        self._visitors: dict[VisitorKey, Visitor] = {}
        self._next_keepalive: dict[VisitorKey, float] = {}
        self._echoes = 0
        self._denials = RateLimit(rate=1.0 / LEAST_DENIAL_GAP, burst=1)
        self._warnings = RateLimit(rate=1.0 / LEAST_DENIAL_GAP, burst=1)  # log entries that strangers can cause
        self._known_by_address = {node.home_address: node for node in settings.nodes if node.nai is None}
        self._known_by_nai = {node.nai.encode(): node for node in settings.nodes if node.nai is not None}
        self._understood: frozenset[int] = _RFC_5944
        if not settings.legacy:
            self._understood |= {ExtensionType.CRITICAL_VENDOR, *settings.known_extensions}

    def feed(self, event: Event, now: float) -> list[Action]:
        """What to do about `event`, in this order. `now` in Unix seconds."""
        if isinstance(event, SolicitationReceived):
            return self._advertiser.answer(event, now, busy=self._is_busy)
        if isinstance(event, DatagramReceived):
            if len(event.payload) > MAXIMUM_MESSAGE:
                return [Count("oversized")]
            kind = event.payload[0] if event.payload else None
            if kind == MessageType.REQUEST and event.interface == self._settings.link_interface:
                return self._take_request(event, now)
            if kind == MessageType.REPLY and event.interface == self._settings.uplink_interface:
                return self._take_reply(event, now)
            return [Count("unexpected_message")]
        if isinstance(event, UnreachableReceived):
            return self._take_unreachable(event, now)
        raise TypeError(f"a foreign agent has no use for {type(event).__name__}")

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called next, in Unix seconds; in the past means at once."""
        ends = [self._advertiser.next_due, *self._next_keepalive.values()]
        if (deadline := self._pending.next_deadline()) is not None:
            ends.append(deadline)
        ends += [visitor.expires for visitor in self._visitors.values()]
        return min(ends)

    def handle_timer(self, now: float) -> list[Action]:
        """Advertise, give up pending requests, let visitors expire: whatever is due at `now`."""
        actions: list[Action] = []
        for entry in self._pending.expire(now):
            actions.append(Count("request_timed_out"))
            actions += [] if entry.is_told else self._deny(entry, _TIMED_OUT, now)
        for key, visitor in list(self._visitors.items()):
            if visitor.expires <= now:
                actions += self._dismiss(key)
                actions.append(Log(Level.INFO, "visitor_expired", {"home_address": str(visitor.home_address)}))
        actions += self._keep_tunnels_alive(now)
        if self._advertiser.next_due <= now:
            actions.append(self._advertiser.advertise(ALL_SYSTEMS, now, busy=self._is_busy))
        return actions

    def visitors(self) -> tuple[Visitor, ...]:
        """The nodes that are bound, for whoever looks in."""
        return tuple(self._visitors.values())

    def pending(self) -> tuple[PendingVisit, ...]:
        """The requests that wait for a reply, oldest first."""
        return tuple(self._pending)

    @property
    def _is_busy(self) -> bool:
        return len(self._visitors) >= self._settings.most_visitors

    # Requests (RFC 5944 3.7.2)

    def _take_request(self, event: DatagramReceived, now: float) -> list[Action]:
        try:
            request, defect = read_request(event.payload)
        except Malformed:
            return [Count("malformed_request")]
        if first_unrecognised(request.extensions, self._understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: silent
        known = self._known(name_of(request))
        foreign = find(behind_authorization(request.extensions), ExtensionType.MN_FA_AUTHENTICATION)
        if foreign is not None and (known is None or not known.foreign):
            return self._discard_unshared(event, now)
        visit = Visit(request, event, self._settings, known, defect)
        entry = visit.pending(now)
        earlier = self._pending.get(entry.name, request.identification)
        visit = replace(visit, is_repeated=earlier is not None and earlier.is_repeated_by(entry))
        refusal = objection(visit, self._challenges) or self._lack_of_room(entry)
        if refusal is not None:
            return [Count(f"denied_{describe(refusal.code)}"), *self._deny(entry, refusal, now)]
        if entry.answered is not None:
            self._challenges.use(entry.name, entry.answered)
        sent = self._relay_request(request)
        check = udp_checksum(*sent.source, *sent.destination, payload=sent.payload)
        self._pending.add(replace(entry, length=_UDP_HEADER + len(sent.payload), checksum=check))
        return [sent]

    def _known(self, name: NodeName) -> KnownNode | None:
        """The node that shares keys with us, by its NAI or by its home address."""
        if name.nai is not None and (node := self._known_by_nai.get(name.nai)) is not None:
            return node
        return self._known_by_address.get(name.home_address)

    def _discard_unshared(self, event: DatagramReceived, now: float) -> list[Action]:
        """Authentication for us where we have no association: silence, and a log entry (RFC 5944 3.7.2.1, 3.7.3.1)."""
        actions: list[Action] = [Count("unshared_authentication")]
        if self._warnings.allows("unshared_authentication", now):
            actions.append(Log(Level.WARNING, "unshared_authentication", {"source": str(event.source)}))
        return actions

    def _lack_of_room(self, entry: PendingVisit) -> Refusal | None:
        settings = self._settings
        is_pending = self._pending.get(entry.name, entry.request.identification) is not None
        if self._pending.of_node(entry.name) >= settings.pending_per_node and not is_pending:
            return Refusal(Code.FA_INSUFFICIENT_RESOURCES, f"{settings.pending_per_node} requests wait for an answer")
        if len(self._pending) >= settings.most_pending:
            return Refusal(Code.FA_INSUFFICIENT_RESOURCES, "too many requests wait for an answer")
        if entry.request.deregisters:
            return None
        return self._lack_of_place(entry.visitor_key(entry.request.home_address))

    def _lack_of_place(self, key: VisitorKey) -> Refusal | None:
        """Why there is no place for this visitor, who may be here already."""
        if key in self._visitors:
            return None
        if self._is_busy:
            return Refusal(Code.FA_INSUFFICIENT_RESOURCES, "too many visitors")
        if not self._settings.overlapping_home_addresses and any(
            each.home_address == key.home_address for each in self._visitors
        ):
            # Its packets could not be told from the visitor's, and a stranger would get them.
            reason = f"home address {key.home_address} is a visitor's of another home agent or name"
            return Refusal(Code.FA_ADMINISTRATIVELY_PROHIBITED, reason)
        return None

    def _relay_request(self, request: RegistrationRequest) -> Send:
        settings = self._settings
        payload = up_to_authorization(request)
        if settings.udp_tunnelling and not request.decapsulates:
            # RFC 3519 4.5: behind the node's authentication. A node with an address of its own asks for itself.
            payload += UdpTunnelRequest(encapsulation=self._in_udp(request).next_header).extension().serialize()
        shared = settings.home_agents.get(request.home_agent)
        if shared and not request.deregisters and request.care_of_address != request.home_address:
            # RFC 5944 3.5.4: never on a deregistration.
            payload = append(payload, next(iter(shared.values())), ExtensionType.FA_HA_AUTHENTICATION)
        return Send(
            payload,
            source=Endpoint(settings.care_of_address, REGISTRATION_PORT),
            destination=Endpoint(request.home_agent, REGISTRATION_PORT),
        )

    # Replies (RFC 5944 3.7.3)

    def _take_reply(self, event: DatagramReceived, now: float) -> list[Action]:
        try:
            reply = parse_reply(event.payload)
        except Malformed:
            return [Count("malformed_reply")]
        if first_unrecognised(reply.extensions, self._understood | {ExtensionType.UDP_TUNNEL_REPLY}) is not None:
            return [Count("unknown_extension")]
        entry = self._pending.match(reply, event.source.address)
        if entry is None:
            return [Count("reply_without_request")]  # RFC 5944 3.7.3.1: silent
        shared = self._settings.home_agents.get(entry.request.home_agent)
        if not shared and find(reply.extensions, ExtensionType.FA_HA_AUTHENTICATION) is not None:
            return self._discard_unshared(event, now)
        self._pending.remove(entry)
        refusal = self._objection_to_reply(reply, entry)
        if refusal is not None:
            return [Count(f"denied_{describe(refusal.code)}"), *self._pass_denied(reply, entry, refusal, now)]
        return [*self._settle(reply, entry, now), self._relay_reply(reply, entry)]

    def _objection_to_reply(self, reply: RegistrationReply, entry: PendingVisit) -> Refusal | None:
        """What is wrong with the home agent's reply (RFC 5944 3.7.3.1, RFC 2794 3, RFC 3115 2.3, RFC 4721 3.2)."""
        if find(reply.extensions, ExtensionType.MN_HA_AUTHENTICATION) is None:
            # The node would have to throw it away.
            return Refusal(Code.FA_POORLY_FORMED_REPLY, "home agent's reply has no MN-HA authentication")
        if critical_vendor_extension(reply.extensions, self._settings.vendor_extensions) is not None:
            code = Code.FA_UNKNOWN_VENDOR_EXTENSION_OF_HOME_AGENT
            return Refusal(code, "critical vendor extension of the home agent is unknown here")
        if (failure := self._failure_of_home_agent(reply, entry)) is not None:
            return Refusal(Code.FA_HOME_AGENT_FAILED_AUTHENTICATION, f"FA-HA: {failure}")
        if entry.challenge is not None:
            echoed = find(behind_authorization(reply.extensions), ExtensionType.CHALLENGE)
            if echoed is None or echoed.data != entry.challenge:
                return Refusal(Code.HOME_AGENT_WRONG_CHALLENGE, "home agent returned another challenge, or none")
        if reply.accepted and entry.nai is not None:
            if find(reply.extensions, ExtensionType.NAI) is None:
                return Refusal(Code.FA_MISSING_NAI, "home agent's reply lacks the NAI")
            if reply.home_agent == _UNSPECIFIED:
                return Refusal(Code.FA_MISSING_HOME_AGENT, "home agent's reply has home agent 0")
            if reply.home_address == _UNSPECIFIED:
                return Refusal(Code.FA_MISSING_HOME_ADDRESS, "home agent's reply has home address 0")
        return self._objection_to_visitor(reply, entry)

    def _objection_to_visitor(self, reply: RegistrationReply, entry: PendingVisit) -> Refusal | None:
        """What became of our room meanwhile, and whether an address that was assigned can be a visitor's."""
        if not reply.accepted or min(reply.lifetime, entry.request.lifetime) == 0:
            return None
        if not is_servable(reply.home_address, self._settings):
            return Refusal(Code.FA_POORLY_FORMED_REPLY, f"home address {reply.home_address} cannot be a node's")
        return self._lack_of_place(entry.visitor_key(reply.home_address))

    def _failure_of_home_agent(self, reply: RegistrationReply, entry: PendingVisit) -> str | None:
        """Why the reply is not the home agent's; a deregistration need not be signed (RFC 5944 3.5.4)."""
        kind = ExtensionType.FA_HA_AUTHENTICATION
        shared = self._settings.home_agents.get(entry.request.home_agent)
        if not shared or (entry.request.deregisters and find(reply.extensions, kind) is None):
            return None
        failure = verify_extension(reply.raw, reply.extensions, shared, kind)
        return None if failure is None else failure.value

    def _pass_denied(self, reply: RegistrationReply, entry: PendingVisit, refusal: Refusal, now: float) -> list[Action]:
        """Say what is wrong beside the reply, where RFC 4636 3 has it so and the node can check it; else instead."""
        is_checkable = find(reply.extensions, ExtensionType.MN_HA_AUTHENTICATION) is not None
        if self._settings.fa_error and is_checkable and refusal.code in FA_ERROR_STATUSES:
            return [self._relay_reply(reply, entry, refusal)]
        return self._deny(entry, refusal, now)

    def _settle(self, reply: RegistrationReply, entry: PendingVisit, now: float) -> list[Action]:
        """Make the visitor list say what an accepted reply says; a denial leaves it alone (RFC 5944 3.7.3.2)."""
        request = entry.request
        if not reply.accepted:
            return []
        key = entry.visitor_key(reply.home_address)
        lifetime = min(reply.lifetime, request.lifetime)
        if lifetime == 0:
            return self._dismiss(key)
        tunnel = None if request.decapsulates else self._granted_tunnel(reply)
        carried = wanted_encapsulation(request, self._settings.encapsulations) or Encapsulation.IPIP
        visitor = Visitor(
            home_address=reply.home_address,
            home_agent=request.home_agent,
            care_of_address=request.care_of_address,
            node=entry.source,
            interface=self._settings.link_interface,
            encapsulation=carried if tunnel is None else self._in_udp(request),
            reverse_tunnel=request.reverse_tunnel,
            encapsulating_delivery=entry.encapsulating_delivery,
            identification=request.identification,
            granted=lifetime,
            expires=expiry(lifetime, now),  # RFC 5944 3.7.3.2: counted from here
            keepalive=0 if tunnel is None else interval_of(tunnel),
            nai=key.nai,
            co_located=request.decapsulates,
        )
        self._visitors[key] = visitor
        self._next_keepalive.pop(key, None)
        if visitor.encapsulation.in_udp:
            self._next_keepalive[key] = now + visitor.keepalive
        return [BindVisitor(visitor)]

    def _in_udp(self, request: RegistrationRequest) -> Encapsulation:
        """What goes into UDP where there is a NAT (RFC 3519 3.1): as M and G say, if we have it there."""
        wanted = wanted_encapsulation(request, self._settings.encapsulations)
        same = {Encapsulation.GRE: Encapsulation.UDP_GRE, Encapsulation.MINIMAL: Encapsulation.UDP_MINIMAL}
        found = same.get(wanted) if wanted is not None else None
        return found if found in self._settings.encapsulations and found is not None else Encapsulation.UDP

    def _dismiss(self, key: VisitorKey) -> list[Action]:
        self._next_keepalive.pop(key, None)
        visitor = self._visitors.pop(key, None)
        return [] if visitor is None else [UnbindVisitor(visitor.home_address, visitor.home_agent)]

    def _keep_tunnels_alive(self, now: float) -> list[Action]:
        """Keepalives that are due (RFC 3519 4.9): on behalf of the node, from our end of its tunnel."""
        actions: list[Action] = []
        for key, due in self._next_keepalive.items():
            if due > now:
                continue
            visitor = self._visitors[key]
            self._next_keepalive[key] = now + visitor.keepalive
            self._echoes = (self._echoes + 1) & 0xFFFF
            actions.append(
                Send(
                    keepalive(
                        visitor.home_address,
                        visitor.home_agent,
                        0,
                        self._echoes,
                        visitor.encapsulation.next_header,
                        self._settings.gre_key,
                    ),
                    source=Endpoint(self._settings.care_of_address, REGISTRATION_PORT),
                    destination=Endpoint(visitor.home_agent, REGISTRATION_PORT),
                )
            )
        return actions

    def _granted_tunnel(self, reply: RegistrationReply) -> UdpTunnelReply | None:
        """The UDP tunnel that we asked for and got (RFC 3519 4.5)."""
        extension = find(reply.extensions, ExtensionType.UDP_TUNNEL_REPLY)
        if extension is None or not self._settings.udp_tunnelling:
            return None
        try:
            tunnel = UdpTunnelReply.of(extension)
        except Malformed:
            return None
        return tunnel if tunnel.assents else None

    def _take_unreachable(self, event: UnreachableReceived, now: float) -> list[Action]:
        """ICMP says that a request did not arrive (RFC 5944 3.7.3). Nobody vouches for it: a reply still counts."""
        error = event.error
        is_ours = (error.source, error.source_port) == (self._settings.care_of_address, REGISTRATION_PORT)
        entry = self._pending.quoted_in(error) if is_ours else None
        if entry is None:
            return [Count("unreachable_without_request")]
        self._pending.tell(entry)
        refusal = Refusal(unreachable_code(error.code), error.describe())
        return [Count(f"denied_{describe(refusal.code)}"), *self._deny(entry, refusal, now)]

    # What goes to nodes

    def _relay_reply(self, reply: RegistrationReply, entry: PendingVisit, refusal: Refusal | None = None) -> Send:
        """The home agent's reply with its code, and what we add for the node; what was for us stays here (3.7.3.2)."""
        payload = up_to_authorization(reply)
        if refusal is not None:
            payload += serialize_extensions((FaError(refusal.code).extension(), refusal.message()))
        home_address = entry.request.home_address
        address = entry.source.address if entry.request.decapsulates else home_address
        return self._to_node(payload, entry, _BROADCAST if home_address == _UNSPECIFIED else address)

    def _deny(self, entry: PendingVisit, refusal: Refusal, now: float) -> list[Action]:
        """Our own denial; nothing if the node had one less than a second ago (RFC 5944 3.7.2, RFC 3024 4.2.1)."""
        is_limited_to_all = refusal.code == Code.FA_NODE_TOO_DISTANT  # RFC 3024 4.2.1
        if not self._denials.allows(refusal.code if is_limited_to_all else entry.name, now):
            return [Count("denial_withheld")]
        request, address = entry.request, entry.source.address
        is_too_long = refusal.code == Code.FA_LIFETIME_TOO_LONG
        reply = RegistrationReply(
            refusal.code,
            self._settings.registration_lifetime if is_too_long else request.lifetime,
            request.home_address,
            request.home_agent,
            request.identification,
            (refusal.message(),),
        )  # RFC 5944 3.7.2.3: copied from the request
        is_nowhere = _UNSPECIFIED in (request.home_address, address)
        return [self._to_node(reply.serialize(), entry, _BROADCAST if is_nowhere else address)]

    def _to_node(self, payload: bytes, entry: PendingVisit, address: IPv4Address) -> Send:
        """A reply on its way: with the node's next challenge (RFC 4721 3.3), and signed where we share a key."""
        if self._settings.challenge is not ChallengeMode.NONE:
            payload += Extension(ExtensionType.CHALLENGE, self._challenges.offer(entry.name)).serialize()
        known = self._known(entry.name)
        if known is not None and known.foreign:
            payload = append(payload, next(iter(known.foreign.values())), ExtensionType.MN_FA_AUTHENTICATION)
        return Send(
            payload,
            source=self._answering_from(entry.destination),
            destination=Endpoint(address, entry.source.port),
            interface=self._settings.link_interface,
        )

    def _answering_from(self, destination: Endpoint) -> Endpoint:
        """Where the node sent its request to, or our address on its link if that was no address of ours."""
        if destination.address in own_addresses(self._settings):
            return Endpoint(destination.address, REGISTRATION_PORT)
        return Endpoint(self._settings.link_address, REGISTRATION_PORT)
