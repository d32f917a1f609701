"""What a foreign agent wants of a request before it relays it (RFC 5944 3.7.2, RFC 3024 4.2, RFC 4721 3.2).

Each check answers with a code and a reason for people, or with nothing. Which denial wins when two apply is the order
of `CHECKS`: the form first, then who asks, then what is asked for. The agent's room is checked last, by the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.challenges import Challenges
from mobileip.registration.events import DatagramReceived
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings, KnownNode
from mobileip.registration.security import verify_extension, verify_mn_aaa
from mobileip.registration.visits import NodeName, PendingVisit
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RegistrationReply, RegistrationRequest
from mobileip.wire.typed_extensions import MessageString, MessageStringOrigin

REQUEST_TTL = 255  # of a request that asks for a reverse tunnel: its sender is on the link (RFC 3024 4.2.1)
AUTHORIZATION = (ExtensionType.MN_HA_AUTHENTICATION, ExtensionType.GENERALIZED_AUTHENTICATION)

_UNSPECIFIED = IPv4Address(0)
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class Refusal:
    """A request or reply that is not passed on: the code, and the reason for people."""

    code: Code
    reason: str

    def message(self) -> Extension:
        """The reason as a Message String (RFC 4917 3)."""
        return MessageString(self.reason, MessageStringOrigin.FOREIGN_AGENT).extension()


@dataclass(frozen=True)
class Visit:
    """A request that a node makes of the agent. `defect`: why bytes at its end could not be read, if so.

    `is_repeated`: the same request waits for its reply already, so its challenge has been used by this very request.
    """

    request: RegistrationRequest
    event: DatagramReceived
    settings: ForeignAgentSettings
    known: KnownNode | None
    defect: Malformed | None = None
    is_repeated: bool = False

    @property
    def name(self) -> NodeName:
        """Who asks."""
        return name_of(self.request)

    @property
    def challenge(self) -> Extension | None:
        """The challenge that the node answers: it stands behind the MN-HA extension (RFC 4721 4)."""
        return next((each for each in self.trailing if each.type == ExtensionType.CHALLENGE), None)

    @property
    def trailing(self) -> tuple[Extension, ...]:
        """What follows the first authorization-enabling extension: meant for us, or for both of us (RFC 4721)."""
        return behind_authorization(self.request.extensions)

    def pending(self, now: float) -> PendingVisit:
        """What is kept of it until its reply comes."""
        challenge, relayed = self.challenge, len(up_to_authorization(self.request))
        return PendingVisit(
            request=replace(self.request, extensions=(), raw=b""),
            nai=self.name.nai,
            source=self.event.source,
            destination=self.event.destination,
            relayed=now,
            encapsulating_delivery=self.wants_encapsulating_delivery,
            challenge=challenge.data if challenge is not None and challenge.start < relayed else None,
            answered=challenge.data if challenge is not None else None,
        )

    @property
    def is_co_located(self) -> bool:
        """The node has an address of its own and registers here because the agent demands it (RFC 5944 2.1.1, R)."""
        return self.request.decapsulates and self.request.care_of_address != self.settings.care_of_address

    @property
    def wants_encapsulating_delivery(self) -> bool:
        """The node encapsulates what it sends to the agent (RFC 3024 3.3)."""
        return find(self.request.extensions, ExtensionType.ENCAPSULATING_DELIVERY) is not None


def name_of(request: RegistrationRequest) -> NodeName:
    """Who sent the request, by its own account."""
    nai = find(request.extensions, ExtensionType.NAI)
    return NodeName(request.home_address, nai.data if nai is not None and nai.data else None)


def behind_authorization(extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """The extensions behind the first authorization-enabling one."""
    for position, extension in enumerate(extensions):
        if extension.type in AUTHORIZATION:
            return extensions[position + 1 :]
    return ()


def up_to_authorization(message: RegistrationRequest | RegistrationReply) -> bytes:
    """The message as received, up to and with the last extension that authorizes it: what nobody may change."""
    ends = [extension.end for extension in message.extensions if extension.type in AUTHORIZATION]
    return message.raw[: max(ends, default=0)]


def own_addresses(settings: ForeignAgentSettings) -> tuple[IPv4Address, IPv4Address]:
    """The agent's addresses: on its link and towards the home agents."""
    return (settings.link_address, settings.care_of_address)


def is_servable(home_address: IPv4Address, settings: ForeignAgentSettings) -> bool:
    """Whether it can be a node's: a visitor's home address gets a route to the link."""
    return not (
        home_address.is_multicast
        or home_address.is_loopback
        or home_address in (_UNSPECIFIED, _BROADCAST, *own_addresses(settings))
    )


def objection(visit: Visit, challenges: Challenges) -> Refusal | None:
    """The first check that the request fails, or None."""
    for check in CHECKS:
        if (refusal := check(visit, challenges)) is not None:
            return refusal
    return None


def critical_vendor_extension(
    extensions: tuple[Extension, ...], understood: frozenset[tuple[int, int]]
) -> Extension | None:
    """The first critical vendor extension (RFC 3115 2.1) of a vendor and type that are not among `understood`."""
    for extension in extensions:
        if extension.type == ExtensionType.CRITICAL_VENDOR:
            vendor, kind = int.from_bytes(extension.data[:4]), int.from_bytes(extension.data[4:6])
            if len(extension.data) < 6 or (vendor, kind) not in understood:
                return extension
    return None


def _check_form(visit: Visit, challenges: Challenges) -> Refusal | None:
    request = visit.request
    if visit.defect is not None:
        return Refusal(Code.FA_POORLY_FORMED_REQUEST, str(visit.defect))
    if critical_vendor_extension(request.extensions, visit.settings.vendor_extensions) is not None:
        return Refusal(Code.FA_UNKNOWN_VENDOR_EXTENSION_OF_NODE, "critical vendor extension is unknown here")
    if not any(extension.type in AUTHORIZATION for extension in request.extensions):
        # RFC 5944 3.6.1.3: nothing that a home agent could check.
        return Refusal(Code.FA_POORLY_FORMED_REQUEST, "no authorization-enabling extension")
    if visit.wants_encapsulating_delivery and not _is_delivery_style_in_place(visit):
        reason = "Encapsulating Delivery Style: expected empty, with T set, behind MN-HA authentication"
        return Refusal(Code.FA_POORLY_FORMED_REQUEST, reason)
    if request.decapsulates and request.care_of_address == visit.settings.care_of_address:
        # RFC 5944 3.3: the D bit says that the care-of address is the node's own.
        return Refusal(Code.FA_POORLY_FORMED_REQUEST, "D bit is set with the agent's care-of address")
    return None


def _is_delivery_style_in_place(visit: Visit) -> bool:
    """Empty, with T, and behind all that authorizes: what stands before goes to the home agent (RFC 3024 3.3)."""
    style = find(visit.request.extensions, ExtensionType.ENCAPSULATING_DELIVERY)
    is_behind = style is not None and style.start >= len(up_to_authorization(visit.request))
    return is_behind and style is not None and not style.data and visit.request.reverse_tunnel


def _check_home_address(visit: Visit, challenges: Challenges) -> Refusal | None:
    home_address = visit.request.home_address
    if home_address == _UNSPECIFIED:
        if visit.name.nai is None or not visit.settings.zero_home_address:
            return Refusal(Code.NONZERO_HOME_ADDRESS_REQUIRED, "home address 0 is served with an NAI only, if at all")
        return None
    if not is_servable(home_address, visit.settings):
        return Refusal(Code.FA_POORLY_FORMED_REQUEST, f"home address {home_address} cannot be a node's")
    return None


def _check_challenge(visit: Visit, challenges: Challenges) -> Refusal | None:
    mode, challenge = visit.settings.challenge, visit.challenge
    if mode is ChallengeMode.NONE:
        return None
    if challenge is None:
        if mode is ChallengeMode.REQUIRED:
            return Refusal(Code.MISSING_CHALLENGE, "a challenge of this agent's advertisements is required")
        return None
    code = challenges.objection(visit.name, visit.event.source.address, challenge.data)
    if code is not None and not visit.is_repeated:
        return Refusal(code, f"challenge is {'used up' if code == Code.STALE_CHALLENGE else 'none of this agent'}")
    answers = (ExtensionType.MN_FA_AUTHENTICATION, ExtensionType.GENERALIZED_AUTHENTICATION)
    if not any(each.type in answers and each.start > challenge.start for each in visit.request.extensions):
        return Refusal(Code.FA_NODE_FAILED_AUTHENTICATION, "no authentication behind the challenge")
    return None


def _check_authentication(visit: Visit, challenges: Challenges) -> Refusal | None:
    """RFC 5944 3.7.2.1 for MN-FA, RFC 4721 3.2 for MN-AAA: where there is an association, exactly one valid one."""
    known, request = visit.known, visit.request
    if known is None:
        return None
    if known.foreign:
        failure = verify_extension(request.raw, request.extensions, known.foreign, ExtensionType.MN_FA_AUTHENTICATION)
        if failure is not None:
            return Refusal(Code.FA_NODE_FAILED_AUTHENTICATION, f"MN-FA: {failure.value}")
    if known.aaa and (failure := verify_mn_aaa(request, known.aaa)) is not None:
        return Refusal(Code.FA_BAD_AAA_AUTHENTICATION, f"MN-AAA: {failure.value}")
    return None


def _check_distance(visit: Visit, challenges: Challenges) -> Refusal | None:
    if visit.request.reverse_tunnel and visit.event.ttl != REQUEST_TTL:
        return Refusal(Code.FA_NODE_TOO_DISTANT, f"TTL of the request is {visit.event.ttl}, expected {REQUEST_TTL}")
    return None


def _check_reverse_tunnel(visit: Visit, challenges: Challenges) -> Refusal | None:
    request, settings = visit.request, visit.settings
    if request.reverse_tunnel and not settings.reverse_tunnelling:
        return Refusal(Code.FA_REVERSE_TUNNEL_UNAVAILABLE, "reverse tunnelling is switched off")
    if not request.reverse_tunnel and settings.reverse_tunnel_required and not request.deregisters:
        return Refusal(Code.FA_REVERSE_TUNNEL_MANDATORY, "reverse tunnelling is mandatory, T is clear")
    if visit.wants_encapsulating_delivery and not settings.encapsulating_delivery:
        return Refusal(Code.FA_DELIVERY_STYLE_UNSUPPORTED, "only direct delivery is available")
    return None


def wanted_encapsulation(request: RegistrationRequest, available: frozenset[Encapsulation]) -> Encapsulation | None:
    """What the M and G bits ask for, as far as it is available: GRE before minimal; None if nothing is."""
    wanted = [
        encapsulation
        for encapsulation, is_asked in ((Encapsulation.GRE, request.gre), (Encapsulation.MINIMAL, request.minimal))
        if is_asked
    ] or [Encapsulation.IPIP]
    return next((encapsulation for encapsulation in wanted if encapsulation in available), None)


def _check_encapsulation(visit: Visit, challenges: Challenges) -> Refusal | None:
    if visit.is_co_located or wanted_encapsulation(visit.request, visit.settings.encapsulations) is not None:
        return None
    return Refusal(Code.FA_ENCAPSULATION_UNAVAILABLE, "the encapsulation of the M and G bits is not available")


def _check_lifetime(visit: Visit, challenges: Challenges) -> Refusal | None:
    longest = visit.settings.registration_lifetime
    if visit.request.lifetime > longest:
        return Refusal(Code.FA_LIFETIME_TOO_LONG, f"lifetime is {visit.request.lifetime} s, at most {longest} s")
    return None


def _check_care_of_address(visit: Visit, challenges: Challenges) -> Refusal | None:
    care_of, settings = visit.request.care_of_address, visit.settings
    if care_of == settings.care_of_address:
        return None
    # A node with an address of its own registers here only where the agent demands it, and from that address
    # (RFC 5944 3.6.1.1). One that is back home deregisters without any agent.
    if visit.request.decapsulates and settings.registration_required and visit.event.source.address == care_of:
        return None
    return Refusal(Code.FA_INVALID_CARE_OF_ADDRESS, f"care-of address {care_of} is none of this agent's")


def _check_home_agent(visit: Visit, challenges: Challenges) -> Refusal | None:
    agent = visit.request.home_agent
    if agent in (_UNSPECIFIED, _BROADCAST) and visit.name.nai is not None:
        return Refusal(Code.NONZERO_HOME_AGENT_REQUIRED, "this agent assigns no home agents")  # RFC 4433 7
    if agent.is_multicast or agent.is_loopback or agent in (_UNSPECIFIED, _BROADCAST, *own_addresses(visit.settings)):
        return Refusal(Code.FA_INVALID_HOME_AGENT, f"home agent {agent} cannot be an agent's address")
    if visit.settings.allowed_home_agents and agent not in visit.settings.allowed_home_agents:
        return Refusal(Code.FA_ADMINISTRATIVELY_PROHIBITED, f"home agent {agent} is not among those served here")
    return None


_Check = Callable[[Visit, Challenges], Refusal | None]

CHECKS: tuple[_Check, ...] = (
    _check_form,
    _check_home_address,
    _check_challenge,
    _check_authentication,
    _check_distance,
    _check_reverse_tunnel,
    _check_encapsulation,
    _check_lifetime,
    _check_care_of_address,
    _check_home_agent,
)
