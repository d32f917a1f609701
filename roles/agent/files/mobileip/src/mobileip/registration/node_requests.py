"""What a mobile node asks, and which answers it believes (RFC 5944 3.6.1 and 3.6.2.1): messages without a state."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.actions import Send
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.keepalives import DEFAULT_KEEPALIVE
from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import Authentication, SecurityAssociation, append, verify
from mobileip.wire.codes import is_foreign_agent_verdict
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import REGISTRATION_PORT, Flag, RegistrationReply, RegistrationRequest
from mobileip.wire.typed_extensions import (
    HomeAgentParameter,
    HomeAgentParameterFormat,
    MessageString,
    UdpTunnelRequest,
)

REQUEST_TTL_ON_LINK = 255  # to a foreign agent, when a reverse tunnel is asked for (RFC 3024 3.2)
_COUNTED = 0x3FF  # low bits of an Identification that number the requests


@dataclass(frozen=True)
class MobileNodeSettings:
    """What a node is told. `lifetime` in seconds is what it asks for."""

    home_address: IPv4Address
    home_agent: IPv4Address
    mipp_pub: IPv4Address
    proxy_association: SecurityAssociation
    home_agent_association: SecurityAssociation
    lifetime: int = 300
    keepalive: int = DEFAULT_KEEPALIVE
    home_agent_parameter: HomeAgentParameterFormat = field(default_factory=HomeAgentParameterFormat)


class Through(StrEnum):
    """The ways to register."""

    PROXY = "proxy"  # co-located care-of address, to MIPP-Pub
    FOREIGN_AGENT = "foreign_agent"  # the agent's care-of address, to MIPP-Pub (or, inside, to the home agent)
    HOME_AGENT = "home_agent"  # co-located care-of address on a visited network inside
    HOME_LINK = "home_link"  # deregistration on the home link


@dataclass(frozen=True)
class Target:
    """Whom to register with, and how. `inside`: the home agent itself is the one who decides."""

    through: Through
    interface: str
    source: IPv4Address
    destination: IPv4Address
    home_agent: IPv4Address
    care_of_address: IPv4Address
    lifetime: int
    inside: bool

    @property
    def is_co_located(self) -> bool:
        """The care-of address is ours, and is one: a deregistration at home names the home address there."""
        return self.through is not Through.FOREIGN_AGENT and self.lifetime > 0


class Identifications:
    """Timestamps for requests, each newer than any that was accepted, with a low half of its own (RFC 5944 5.7.1).

    `clock_offset` in seconds is what the agents' clock is ahead of ours.
    """

    def __init__(self) -> None:
        self.clock_offset = 0.0
        self._requests = 0
        self._accepted: int | None = None

    def next(self, now: float) -> int:
        """The one for a request that is sent at `now`.

        The bits a float has no room for count requests. Without that, two requests whole seconds apart would have one
        low half, and a reply to the first would pass for one to the second.
        """
        number = self._requests & _COUNTED
        self._requests += 1
        stamp = timestamps.from_unix(now + self.clock_offset) & ~_COUNTED | number
        if self._accepted is None or timestamps.is_newer(stamp, self._accepted):
            return stamp
        return (self._accepted + 1 + number) % (1 << 64)  # the clock went back; what was accepted did not

    def accepted(self, identification: int) -> None:
        """An agent has taken note of this one: all that come after it are newer."""
        self._accepted = identification

    def adjust(self, identification: int, now: float) -> None:
        """Take the agent's clock from the Identification of its reply with code 133: seconds in the high half."""
        middle_of_second = timestamps.high(identification) << 32 | 1 << 31
        self.clock_offset = timestamps.to_unix(middle_of_second, near=now) - now


def build_request(
    settings: MobileNodeSettings, target: Target, home_agent: IPv4Address, lifetime: int, identification: int
) -> Send:
    """The request to `target`, authenticated. `home_agent` is what a proxy is told; `lifetime` in seconds."""
    request = RegistrationRequest(
        # T always: the way out is the way in (draft 2.2.4). D only with a care-of address of our own.
        flags=Flag.REVERSE_TUNNEL | (Flag.DECAPSULATES if target.is_co_located else 0),
        lifetime=lifetime,
        home_address=settings.home_address,
        home_agent=target.home_agent,
        care_of_address=target.care_of_address,
        identification=identification,
        extensions=_extensions(settings, target, home_agent),
    )
    on_link = target.through is Through.FOREIGN_AGENT
    return Send(
        append(request.serialize(), association_of(settings, target)),
        source=Endpoint(target.source, REGISTRATION_PORT),
        destination=Endpoint(target.destination, REGISTRATION_PORT),
        interface=target.interface if on_link else None,
        ttl=REQUEST_TTL_ON_LINK if on_link else None,
    )


def _extensions(settings: MobileNodeSettings, target: Target, home_agent: IPv4Address) -> tuple[Extension, ...]:
    extensions: list[Extension] = []
    if not target.inside:  # D-2.5.3-a; a home agent that does not know it would drop the request
        extensions.append(HomeAgentParameter(home_agent, settings.home_agent_parameter).extension())
    if target.is_co_located:  # RFC 3519 3.1: before the authentication, with D only
        extensions.append(UdpTunnelRequest().extension())
    return tuple(extensions)


def association_of(settings: MobileNodeSettings, target: Target) -> SecurityAssociation:
    """What we share with the agent that decides: the home agent inside, else the proxy."""
    return settings.home_agent_association if target.inside else settings.proxy_association


def authentication_of(reply: RegistrationReply, association: SecurityAssociation) -> Authentication | None:
    """The one MN-HA authentication of the reply, if it is right (RFC 5944 3.6.2.1 b)."""
    found = [each for each in reply.extensions if each.type == ExtensionType.MN_HA_AUTHENTICATION]
    if len(found) != 1:
        return None
    try:
        authentication = Authentication.of(found[0])
    except Malformed:
        return None
    return authentication if verify(reply.raw, authentication, association) else None


def is_word_of_foreign_agent(reply: RegistrationReply, event: DatagramReceived, target: Target) -> bool:
    """A denial by the agent on our link needs no authentication (RFC 5944 3.6.2.1), and can only delay us."""
    return (
        target.through is Through.FOREIGN_AGENT
        and is_foreign_agent_verdict(reply.code)
        and event.source.address == target.destination
    )


def reason_of(believed: tuple[Extension, ...]) -> str:
    """What the agent says for people to read (RFC 4917); empty if it says nothing."""
    extension = find(believed, ExtensionType.MESSAGE_STRING)
    try:
        return MessageString.of(extension).text if extension is not None else ""
    except Malformed:
        return ""
