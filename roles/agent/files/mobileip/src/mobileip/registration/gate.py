"""What whoever plays a home agent does with a request before its own rules come (RFC 5944 3.8.2.1).

The order is the contract (AMB-25), since a check that answers before authentication makes a reflector:

    size, parse, unknown extensions   silent
    security association              silent
    MN-HA authenticator               silent; 131 behind a valid FA-HA authenticator, or where so configured
    MN-AAA authenticator              144; silent without an MN-HA one, as above
    Identification                    133; from here on the Identification is used up, and durably so
    FA-HA authenticator               132, or silent where none was agreed on
    form of the message               134
    critical vendor extensions        140, 141
    addressed to us                   136

What anybody can provoke, by a copy of what a node once sent or by the name of a node alone, is rationed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log, Send
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.peers import Peer, Peers, name_of
from mobileip.registration.rate_limit import ReplyAllowances, ReplyLimit
from mobileip.registration.replay import Freshness, ReplayGuard, ReplayPolicy
from mobileip.registration.request_form import defects, leaves_home_agent_open, unknown_vendors
from mobileip.registration.security import (
    Associations,
    AuthenticationFailure,
    AuthenticRequest,
    authenticate_request,
    is_mn_aaa,
    verify_extension,
    verify_mn_aaa,
)
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import (
    Extension,
    ExtensionType,
    find,
    first_unrecognised,
    serialize_extensions,
)
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    RegistrationReply,
    RegistrationRequest,
    read_request,
)
from mobileip.wire.record import record
from mobileip.wire.typed_extensions import MessageString

_NAI = int(ExtensionType.NAI)
_LIMITED_CODES = frozenset(
    {
        Code.NODE_FAILED_AUTHENTICATION,
        Code.BAD_AAA_AUTHENTICATION,
        Code.IDENTIFICATION_MISMATCH,
        Code.POORLY_FORMED_REQUEST,
        Code.UNKNOWN_HOME_AGENT,
    }
)


@record(frozen=True, slots=True)
class Admitted:
    """A request that is authentic, well-formed and meant for us. `actions` come before all others.

    `fresh` is False where the home agent is left to say whether the request is new: it may be a copy.
    """

    request: AuthenticRequest
    received: DatagramReceived
    peer: Peer
    actions: list[Action]
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a user decides about the checks.

    `foreign_agents` are those that FA-HA authentication was agreed on with, by the address their requests come from.
    `reply_on_failed_authentication`: 131 also where no foreign agent vouches for the request (AMB-26).
    `strict_reserved_bits`: 134 for the bits r and x, which RFC 5944 3.3 ignores. `vendors`: vendor and type of the
    critical vendor extensions that are known here (RFC 3115).
    """

    replay: ReplayPolicy = field(default_factory=ReplayPolicy)
    foreign_agents: Mapping[IPv4Address, Associations] = field(default_factory=dict)
    reply_on_failed_authentication: bool = False
    strict_reserved_bits: bool = False
    vendors: frozenset[tuple[int, int]] = frozenset()
    allowances: ReplyAllowances = field(default_factory=ReplyAllowances)


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the checks need to know. `understood`: extension types below 128 that the agent handles.

    `dynamic_home_agent`: a node with a NAI may leave the home agent open (RFC 4433). `in_denials` is what the gate's
    own denials carry besides the reason.
    """

    address: IPv4Address
    peers: Peers
    understood: frozenset[int]
    policy: GatePolicy = field(default_factory=GatePolicy)
    dynamic_home_agent: bool = False
    in_denials: Callable[[AuthenticRequest], tuple[Extension, ...]] = lambda _: ()


class Gate:
    """The checks, in their order, and the replies of those that fail."""

    def __init__(self, settings: GateSettings, guard: ReplayGuard) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._guard = guard
        self._limit = ReplyLimit(settings.policy.allowances)

    def admit(self, received: DatagramReceived, now: float) -> Admitted | list[Action]:
        """The request if it passes all checks, else what to do about it."""
        if len(received.payload) > MAXIMUM_MESSAGE:
            return [Count("oversized")]
        try:
            request, defect = read_request(received.payload)
        except Malformed:
            return [Count("malformed")]
        if first_unrecognised(request.extensions, self._settings.understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: the whole message, in silence
        candidates = self._settings.peers.candidates(request)
        if not candidates:
            # D-2.6.3-d, -e: silent also for the home address 0, which only a NAI can stand for.
            return [Count("zero_home_address" if request.home_address.is_unspecified else "unknown_node")]
        peer, checked = _authenticated(request, candidates, defect)
        if isinstance(checked, AuthenticationFailure):
            return self._unauthenticated(checked, request, defect, received, peer, now)
        return self._admit_authentic(checked, received, peer, now)

    def deny(
        self,
        request: AuthenticRequest,
        received: DatagramReceived,
        code: Code,
        now: float,
        reason: str,
        *,
        extensions: Iterable[Extension] | None = None,
        rationed: bool = False,
    ) -> list[Action]:
        """Answer an authentic request with a denial; what anybody can provoke is rationed.

        That are some codes, and with `rationed` any: to a request that may be a copy.
        """
        if (rationed or code in _LIMITED_CODES) and not self._may_deny(request.message, received, now):
            return [Count("reply_rate_limited")]
        if extensions is None:
            extensions = self._settings.in_denials(request)
        send = self.answer(
            request, received, code, lifetime=0, extensions=(*extensions, MessageString(reason).extension())
        )
        fields: dict[str, str | int | float | bool] = {
            "home_address": str(request.message.home_address),
            "source": str(received.source),
            "code": int(code),
            "reason": reason,
        }
        return [send, Count(f"denied_{code:d}"), Log(Level.INFO, "registration_denied", fields)]

    def answer(
        self,
        request: AuthenticRequest,
        received: DatagramReceived,
        code: int,
        *,
        lifetime: int,
        extensions: Iterable[Extension] = (),
        identification: int | None = None,
    ) -> Send:
        """A reply made for `request`, authenticated with the association that the node used.

        It goes from where the request went to, to where it came from (RFC 5944 3.8.3.1). A foreign agent's challenge
        comes back behind the authenticator (RFC 4721 3.4), a node's NAI before it (RFC 2794 3), and FA-HA
        authentication behind all where it was agreed on.
        """
        message = request.message
        extensions = tuple(extensions)
        nai = find(request.covered, _NAI)
        if nai is not None and find(extensions, ExtensionType.NAI) is None:
            extensions = (nai, *extensions)
        if identification is None:
            identification = request.reply_identification
        reply = RegistrationReply(
            code,
            lifetime,
            message.home_address,
            self._settings.address,
            message.identification if identification is None else identification,
            extensions,
        )
        payload = append(reply.serialize(), request.association)
        challenge = find(request.trailing, ExtensionType.CHALLENGE) if request.trailing else None
        if challenge is not None:
            payload += serialize_extensions([challenge])
        return self._send(payload, message, received)

    def _send(self, payload: bytes, request: RegistrationRequest, received: DatagramReceived) -> Send:
        """The reply `payload` on its way back, with FA-HA authentication if its request was due one."""
        foreign_agent = self._foreign_agent_of(request, received)
        if foreign_agent is not None:
            payload = append(payload, foreign_agent, ExtensionType.FA_HA_AUTHENTICATION)
        return Send(payload, Endpoint(self._settings.address, received.destination.port), received.source)

    def _foreign_agent_of(self, request: RegistrationRequest, received: DatagramReceived) -> SecurityAssociation | None:
        """What we share with the foreign agent that sent this registration, under the SPI that it used if it did.

        Found by the source address (RFC 5944 3.5.4). Deregistrations carry no FA-HA authentication, either way.
        """
        foreign_agents = self._policy.foreign_agents
        associations = foreign_agents.get(received.source.address) if foreign_agents else None
        if not associations or not _registers(request):
            return None
        given = find(request.extensions, ExtensionType.FA_HA_AUTHENTICATION)
        spi = int.from_bytes(given.data[:4], "big") if given is not None else 0
        return associations.get(spi) or next(iter(associations.values()))

    def _admit_authentic(
        self, request: AuthenticRequest, received: DatagramReceived, peer: Peer, now: float
    ) -> Admitted | list[Action]:
        message = request.message
        if peer.aaa and any(is_mn_aaa(extension) for extension in message.extensions):
            failure = verify_mn_aaa(message, peer.aaa)
            if failure is not None:
                return self.deny(request, received, Code.BAD_AAA_AUTHENTICATION, now, f"MN-AAA: {failure}")
        freshness = self._guard.judge(peer.key, request.association, message.identification, now)
        if freshness is Freshness.STALE:
            return self._resynchronise(request, received, peer, now)
        actions: list[Action] = [*self._guard.accept(peer.key, request.association, message.identification)]
        answered = self._guard.reply_identification(peer.key, request.association, message.identification)
        if answered != (request.reply_identification or message.identification):
            request = replace(request, reply_identification=answered)
        fresh = freshness is Freshness.FRESH
        for refused in self._refusals(request, received, now, rationed=not fresh):
            return actions + refused
        return Admitted(request, received, peer, actions, fresh=fresh)

    def _resynchronise(
        self, request: AuthenticRequest, received: DatagramReceived, peer: Peer, now: float
    ) -> list[Action]:
        """133, with what the node's next request must go by. Nothing else is done with this one."""
        if not self._may_deny(request.message, received, now):
            return [Count("reply_rate_limited")]  # and no nonce is drawn, or copies would keep the node from any
        identification, drawn = self._guard.resynchronising(
            peer.key, request.association, request.message.identification, now
        )
        request = replace(request, reply_identification=identification)
        code, reason = Code.IDENTIFICATION_MISMATCH, f"{request.association.replay} not accepted: clock or replay"
        extensions = (*self._settings.in_denials(request), MessageString(reason).extension())
        send = self.answer(request, received, code, lifetime=0, extensions=extensions)
        fields: dict[str, str | int | float | bool] = {
            "home_address": str(request.message.home_address),
            "source": str(received.source),
            "code": int(code),
            "reason": reason,
        }
        return [*drawn, send, Count(f"denied_{code:d}"), Log(Level.WARNING, "registration_denied", fields)]

    def _refusals(
        self, request: AuthenticRequest, received: DatagramReceived, now: float, *, rationed: bool
    ) -> Iterator[list[Action]]:
        """What the checks behind the Identification say, each that fails, in their order."""
        yield from self._check_fa_ha(request, received, now, rationed=rationed)
        denials = (
            *defects(request, strict_reserved_bits=self._policy.strict_reserved_bits),
            *unknown_vendors(request, self._policy.vendors),
            *self._addressing(request, received),
        )
        for code, reason in denials:
            yield self.deny(request, received, code, now, reason, rationed=rationed)

    def _check_fa_ha(
        self, request: AuthenticRequest, received: DatagramReceived, now: float, *, rationed: bool
    ) -> Iterator[list[Action]]:
        """RFC 5944 3.8.2.1 c: 132 for a wrong or missing one; silence where none was agreed on."""
        message = request.message
        associations = self._policy.foreign_agents.get(received.source.address)
        given = find(message.extensions, ExtensionType.FA_HA_AUTHENTICATION) is not None
        if associations is None:
            if given:
                fields = {"source": str(received.source)}
                yield [
                    Count("unexpected_fa_ha_authentication"),
                    Log(Level.WARNING, "unexpected_fa_ha_authentication", fields),
                ]
        elif given or _registers(message):
            failure = self._fa_ha_failure(message, associations)
            if failure is not None:
                code, reason = Code.FA_FAILED_AUTHENTICATION, f"FA-HA: {failure}"
                yield self.deny(request, received, code, now, reason, rationed=rationed)

    def _fa_ha_failure(self, request: RegistrationRequest, associations: Associations) -> AuthenticationFailure | None:
        kind = ExtensionType.FA_HA_AUTHENTICATION
        return verify_extension(request.raw, request.extensions, associations, kind)

    def _addressing(self, request: AuthenticRequest, received: DatagramReceived) -> Iterator[tuple[Code, str]]:
        message = request.message
        open_to_us = self._settings.dynamic_home_agent and leaves_home_agent_open(message)
        for_us = message.home_agent == self._settings.address or open_to_us
        if received.destination.address != self._settings.address or not for_us:
            yield (
                Code.UNKNOWN_HOME_AGENT,
                f"home agent {message.home_agent} asked at {received.destination.address}",
            )

    def _may_deny(self, request: RegistrationRequest, received: DatagramReceived, now: float) -> bool:
        return self._limit.allows("denial", received.source.address, name_of(request), now)

    def _unauthenticated(
        self,
        failure: AuthenticationFailure,
        request: RegistrationRequest,
        defect: Malformed | None,
        received: DatagramReceived,
        peer: Peer,
        now: float,
    ) -> list[Action]:
        """Silence and a count; 131 where a foreign agent vouches for the datagram, or where so configured."""
        if failure is AuthenticationFailure.NO_EXTENSION and defect is not None:
            return [Count("malformed")]
        actions: list[Action] = [Count(failure.value)]
        if failure is not AuthenticationFailure.WRONG:
            return actions
        foreign_agent = self._policy.foreign_agents.get(received.source.address)
        if foreign_agent is None:
            answers = self._policy.reply_on_failed_authentication
        else:
            answers = self._fa_ha_failure(request, foreign_agent) is None
        if not self._limit.allows("failure", received.source.address, name_of(request), now):
            return actions
        fields = {"home_address": str(request.home_address), "source": str(received.source)}
        actions.append(Log(Level.WARNING, "authentication_failed", fields))
        if answers:
            actions.append(self._not_authentic(request, received, peer))
        return actions

    def _not_authentic(self, request: RegistrationRequest, received: DatagramReceived, peer: Peer) -> Send:
        """131, or 144 to a node that has no MN-HA authentication; signed with what the node named, so that it knows it.

        The Identification is the request's: nothing is given away to whoever is not the node.
        """
        given = find(request.extensions, ExtensionType.MN_HA_AUTHENTICATION)
        spi = int.from_bytes(given.data[:4], "big") if given is not None else 0
        association = peer.associations.get(spi) or next(iter(peer.associations.values()))
        code = Code.BAD_AAA_AUTHENTICATION if given is None else Code.NODE_FAILED_AUTHENTICATION
        reply = RegistrationReply(
            code,
            0,
            request.home_address,
            self._settings.address,
            request.identification,
            (MessageString("the authenticator is wrong: compare keys and algorithms").extension(),),
        )
        return self._send(append(reply.serialize(), association), request, received)


def _registers(request: RegistrationRequest) -> bool:
    """Neither Lifetime 0 nor the home address as care-of address: what FA-HA authentication is for (RFC 5944 3.5.4)."""
    return not request.deregisters and request.care_of_address != request.home_address


def _authenticated(
    request: RegistrationRequest, candidates: Sequence[Peer], defect: Malformed | None
) -> tuple[Peer, AuthenticRequest | AuthenticationFailure]:
    """The candidate whose key made the authenticator; if none, one who shares the SPI it names, and what is wrong."""
    best: tuple[Peer, AuthenticRequest | AuthenticationFailure] | None = None
    for peer in candidates:
        checked = authenticate_request(request, peer.associations, defect, peer.aaa)
        if isinstance(checked, AuthenticRequest):
            return peer, checked
        if best is None or checked is AuthenticationFailure.WRONG:
            best = peer, checked
    assert best is not None, "there are candidates"
    return best
