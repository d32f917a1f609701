"""What whoever plays a home agent does with a request before its own rules come (RFC 5944 3.8.2.1).

The order is the contract, since a check that answers before authentication makes a reflector:

    size, parse, unknown extensions   silent
    security association              silent
    MN-HA authenticator               silent (131 behind a valid FA-HA authenticator, or where so configured)
    Identification                    133; from here on the timestamp is used up, and durably so
    FA-HA authenticator               132, or silent where none was agreed on
    form of the message               134, 140
    addressed to us                   136
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Count, Level, Log, Send
from mobileip.registration.bindings import NodeKey
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.rate_limit import RateLimit
from mobileip.registration.security import (
    Associations,
    AuthenticationFailure,
    AuthenticRequest,
    ReplayGuard,
    authenticate_request,
    verify_extension,
)
from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import append
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import (
    AUTHENTICATION_TYPES,
    Extension,
    ExtensionType,
    find,
    first_unrecognised,
    serialize_extensions,
)
from mobileip.wire.messages import (
    MAXIMUM_MESSAGE,
    REGISTRATION_PORT,
    RegistrationReply,
    RegistrationRequest,
    read_request,
)
from mobileip.wire.typed_extensions import MessageString

_LIMITED_CODES = frozenset(
    {
        Code.NODE_FAILED_AUTHENTICATION,
        Code.IDENTIFICATION_MISMATCH,
        Code.POORLY_FORMED_REQUEST,
        Code.UNKNOWN_HOME_AGENT,
    }
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that may register: which one it is, and what we share with it. `nai` if it may call itself so."""

    key: NodeKey
    associations: Associations
    nai: str | None = None


class Peers:
    """The nodes that may register, by what a request calls them: its home address, or its NAI (RFC 5944 1.6, 2794 3).

    Several may have one home address, each behind a VPN gateway of its own: SPI and authenticator tell which it is.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        """Raises ValueError for two peers that no request could be told apart by."""
        self._by_key: dict[NodeKey, Peer] = {}
        self._by_home_address: dict[IPv4Address, list[Peer]] = {}
        self._by_nai: dict[str, list[Peer]] = {}
        for peer in peers:
            if peer.key in self._by_key:
                raise ValueError(f"node {peer.key.name}: two nodes behind the same gateway have this name")
            self._by_key[peer.key] = peer
            if isinstance(peer.key.name, IPv4Address):
                _file(self._by_home_address.setdefault(peer.key.name, []), peer)
            nai = peer.nai if isinstance(peer.key.name, IPv4Address) else peer.key.name
            if nai is not None:
                _file(self._by_nai.setdefault(nai, []), peer)

    def __contains__(self, key: NodeKey) -> bool:
        return key in self._by_key

    def candidates(self, request: RegistrationRequest) -> Sequence[Peer]:
        """Who may have sent this: those with its home address, else those with its NAI. Nothing is proven yet."""
        by_home_address = self._by_home_address.get(request.home_address)
        if by_home_address:
            return by_home_address
        nai = nai_of(request)
        return () if nai is None else self._by_nai.get(nai, ())


def nai_of(request: RegistrationRequest) -> str | None:
    """What the node calls itself: its NAI extension, which stands before the authenticator (RFC 2794 3)."""
    for extension in request.extensions:
        if extension.type == ExtensionType.NAI:
            return extension.data.decode(errors="surrogateescape")
        if extension.type in AUTHENTICATION_TYPES:
            return None
    return None


def _file(peers: list[Peer], peer: Peer) -> None:
    """Add one to those of the same name, unless the same key under the same SPI would make it two of them."""
    for other in peers:
        for spi, association in peer.associations.items():
            if other.associations.get(spi) == association:
                raise ValueError(f"node {peer.key.name}: SPI {spi} means two nodes with the same key")
    peers.append(peer)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that is authentic, fresh, well-formed and meant for us. `actions` come before all others."""

    request: AuthenticRequest
    received: DatagramReceived
    peer: Peer
    actions: list[Action]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the checks need to know. `understood`: extension types below 128 that the agent handles.

    `dynamic_home_agent`: a node with a NAI may leave the home agent open (RFC 4433).
    """

    address: IPv4Address
    peers: Peers
    understood: frozenset[int]
    foreign_agents: Mapping[IPv4Address, Associations] = field(default_factory=dict)
    reply_on_failed_authentication: bool = False
    dynamic_home_agent: bool = False


class Gate:
    """The checks, in their order, and the replies of those that fail."""

    def __init__(self, settings: GateSettings, guard: ReplayGuard, limit: RateLimit) -> None:
        self._settings = settings
        self._guard = guard
        self._limit = limit

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
        if not self._guard.is_fresh(peer.key, request.identification, now):
            identification = timestamps.resynchronising(request.identification, now)
            return self.deny(
                checked, received, Code.IDENTIFICATION_MISMATCH, now, "clock or replay", identification=identification
            )
        used_up = self._guard.accept(peer.key, checked.association.spi, request.identification)
        refused = self._refuse(checked, received, now)
        if refused is not None:
            return [used_up, *refused]
        return Admitted(checked, received, peer, [used_up])

    def deny(
        self,
        request: AuthenticRequest,
        received: DatagramReceived,
        code: Code,
        now: float,
        reason: str,
        *,
        extensions: Iterable[Extension] = (),
        identification: int | None = None,
    ) -> list[Action]:
        """Answer an authentic request with a denial; codes that anybody can provoke are rationed for each node."""
        home = request.message.home_address
        if code in _LIMITED_CODES and not self._limit.allows(("denial", home), now):
            return [Count("reply_rate_limited")]
        send = self.answer(
            request,
            received,
            code,
            lifetime=0,
            extensions=(*extensions, MessageString(reason).extension()),
            identification=identification,
        )
        fields: dict[str, str | int | float | bool] = {
            "home_address": str(home),
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
        comes back behind the authenticator (RFC 4721 3.4), a node's NAI before it (RFC 2794 3).
        """
        message = request.message
        extensions = tuple(extensions)
        nai = find(request.covered, ExtensionType.NAI)
        if nai is not None and find(extensions, ExtensionType.NAI) is None:
            extensions = (nai, *extensions)
        reply = RegistrationReply(
            code,
            lifetime,
            message.home_address,
            self._settings.address,
            message.identification if identification is None else identification,
            extensions,
        )
        payload = append(reply.serialize(), request.association)
        challenge = find(request.trailing, ExtensionType.CHALLENGE)
        if challenge is not None:
            payload += serialize_extensions([challenge])
        foreign_agent = self._settings.foreign_agents.get(received.source.address)
        if foreign_agent is not None and find(request.trailing, ExtensionType.FA_HA_AUTHENTICATION) is not None:
            payload = append(payload, next(iter(foreign_agent.values())), ExtensionType.FA_HA_AUTHENTICATION)
        return Send(payload, Endpoint(self._settings.address, received.destination.port), received.source)

    def _refuse(self, request: AuthenticRequest, received: DatagramReceived, now: float) -> list[Action] | None:
        """The checks behind the Identification."""
        message = request.message
        foreign_agent = self._settings.foreign_agents.get(received.source.address)
        given = find(request.trailing, ExtensionType.FA_HA_AUTHENTICATION) is not None
        if foreign_agent is None and given:
            return [
                Count("unexpected_fa_ha_authentication"),
                Log(Level.WARNING, "unexpected_fa_ha_authentication", {"source": str(received.source)}),
            ]
        registers = not message.deregisters and message.care_of_address != message.home_address
        if foreign_agent is not None and (given or registers):
            kind = ExtensionType.FA_HA_AUTHENTICATION
            failure = verify_extension(message.raw, message.extensions, foreign_agent, kind)
            if failure is not None:
                return self.deny(request, received, Code.FA_FAILED_AUTHENTICATION, now, f"FA-HA: {failure}")
        if request.defect is not None:
            return self.deny(request, received, Code.POORLY_FORMED_REQUEST, now, str(request.defect))
        if find(request.trailing, ExtensionType.MN_HA_AUTHENTICATION) is not None:
            return self.deny(request, received, Code.POORLY_FORMED_REQUEST, now, "a second MN-HA authentication")
        if find(message.extensions, ExtensionType.CRITICAL_VENDOR) is not None:
            return self.deny(request, received, Code.UNKNOWN_VENDOR_EXTENSION_OF_NODE, now, "vendor extension")
        if not message.deregisters and not is_usable_care_of_address(message):
            reason = f"care-of address {message.care_of_address}"
            return self.deny(request, received, Code.POORLY_FORMED_REQUEST, now, reason)
        open_to_us = self._settings.dynamic_home_agent and leaves_home_agent_open(message)
        for_us = message.home_agent == self._settings.address or open_to_us
        if received.destination.address != self._settings.address or not for_us:
            reason = f"home agent {message.home_agent} asked at {received.destination.address}"
            return self.deny(request, received, Code.UNKNOWN_HOME_AGENT, now, reason)
        return None

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
        foreign_agent = self._settings.foreign_agents.get(received.source.address)
        vouched = (
            foreign_agent is not None
            and verify_extension(request.raw, request.extensions, foreign_agent, ExtensionType.FA_HA_AUTHENTICATION)
            is None
        )
        # By node, since there are only so many; by source too, so that one stranger does not use up what others get.
        rations = (("failure from", received.source.address), ("failure of", request.home_address))
        if not all(self._limit.allows(ration, now) for ration in rations):
            return actions
        fields = {"home_address": str(request.home_address), "source": str(received.source)}
        actions.append(Log(Level.WARNING, "authentication_failed", fields))
        if vouched or self._settings.reply_on_failed_authentication:
            reply = RegistrationReply(
                Code.NODE_FAILED_AUTHENTICATION,
                0,
                request.home_address,
                self._settings.address,
                request.identification,
            )
            payload = append(reply.serialize(), next(iter(peer.associations.values())))
            source = Endpoint(self._settings.address, received.destination.port)
            actions.append(Send(payload, source, received.source))
        return actions


def _authenticated(
    request: RegistrationRequest, candidates: Sequence[Peer], defect: Malformed | None
) -> tuple[Peer, AuthenticRequest | AuthenticationFailure]:
    """The candidate whose key made the authenticator; if none, one who shares the SPI it names, and what is wrong."""
    best: tuple[Peer, AuthenticRequest | AuthenticationFailure] | None = None
    for peer in candidates:
        checked = authenticate_request(request, peer.associations, defect)
        if isinstance(checked, AuthenticRequest):
            return peer, checked
        if best is None or checked is AuthenticationFailure.WRONG:
            best = peer, checked
    assert best is not None, "there are candidates"
    return best


def is_usable_care_of_address(request: RegistrationRequest) -> bool:
    """Can a tunnel end there? Not at the home address itself (it would loop), nor at an address of nobody."""
    address = request.care_of_address
    return not (
        address == request.home_address
        or address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or int(address) == 0xFFFF_FFFF
    )


def leaves_home_agent_open(request: RegistrationRequest) -> bool:
    """Does a node that says its NAI want any home agent (0.0.0.0), or one at home (255.255.255.255; RFC 4433 3.1)?"""
    return int(request.home_agent) in (0, 0xFFFF_FFFF) and nai_of(request) is not None


def registration_endpoint(address: IPv4Address) -> Endpoint:
    """Port 434 of an agent."""
    return Endpoint(address, REGISTRATION_PORT)
