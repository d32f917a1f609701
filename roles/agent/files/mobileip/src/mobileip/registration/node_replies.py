"""Which replies a mobile node believes, and what they tell it to do (RFC 5944 3.6.2): no state in here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from mobileip.registration.actions import NodePath, PathMode
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import DatagramReceived
from mobileip.registration.keepalives import interval_of
from mobileip.registration.node_requests import MobileNodeSettings, Target, Through, in_udp
from mobileip.wire.authentication import Authentication, SecurityAssociation, verify
from mobileip.wire.codes import Code, describe, is_foreign_agent_verdict
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RegistrationReply
from mobileip.wire.typed_extensions import FaError, MessageString, UdpTunnelReply

_REDIRECTED = 2  # sub-type of the Dynamic HA extension (RFC 4433 3.4)


class Verdict(Enum):
    """What a reply means for the node, whichever profile of codes its agent speaks (draft 2.4.1 or the RFCs')."""

    ACCEPTED = "accepted"
    INSIDE = "inside"  # the proxy: register with the home agent yourself
    MISMATCH = "mismatch"  # of Identifications: take the agent's and ask again
    ELSEWHERE = "elsewhere"  # the home agent: ask the one that I name
    DENIED = "denied"


_NEW_HOME = frozenset({Code.ADMINISTRATIVELY_PROHIBITED, Code.UNKNOWN_HOME_AGENT, Code.SERVICE_AUTHORIZATION_FAILED})
"""Denials that end what was assigned: this home address or home agent is not ours any more."""


@dataclass(frozen=True)
class Believed:
    """A reply that was checked. `covered` are the extensions that its agent vouches for, `trailing` those behind.

    `by_foreign_agent`: the denial of the agent on the link, which vouches for nothing.
    """

    reply: RegistrationReply
    covered: tuple[Extension, ...]
    trailing: tuple[Extension, ...] = ()
    by_foreign_agent: bool = False

    @property
    def is_trusted_network(self) -> bool:
        """The agent is sure that the node is inside (RFC 5265 3.4)."""
        return find(self.covered, ExtensionType.TRUSTED_NETWORKS) is not None

    @property
    def ends_assignment(self) -> bool:
        """An assigned home address or home agent is not ours any more."""
        return self.reply.code in _NEW_HOME

    def redirected(self) -> IPv4Address | None:
        """The home agent of a Redirected HA extension (RFC 4433 3.4), in either layout."""
        extension = find(self.covered, ExtensionType.DYNAMIC_HOME_AGENT)
        if extension is None:
            return None
        subtype, data = extension.subtype, extension.data
        if subtype is None:
            subtype, data = (data[0] if data else None), data[1:]
        return IPv4Address(data) if subtype == _REDIRECTED and len(data) == 4 else None

    def other_home_agent(self) -> IPv4Address | None:
        """The home agent that a denying one names instead of itself (codes 136 and 143)."""
        named = self.redirected() if self.reply.code == Code.REDIRECT_HOME_AGENT else self.reply.home_agent
        return named if named is not None and is_host(named) else None

    def foreign_agent_error(self) -> int | None:
        """The foreign agent does not serve what the home agent accepted (RFC 4636 3); its reason."""
        extension = find(self.trailing, ExtensionType.FA_ERROR)
        return FaError.of(extension).status if extension is not None else None

    def challenge(self) -> bytes | None:
        """The foreign agent's next challenge, behind the one that the home agent echoes (RFC 4721 3.2 and 3.4)."""
        challenges = [extension.data for extension in self.trailing if extension.type == ExtensionType.CHALLENGE]
        return challenges[-1] or None if challenges else None

    def reason(self) -> str:
        """What the agent says for people to read (RFC 4917); empty if it says nothing."""
        extension = find(self.covered, ExtensionType.MESSAGE_STRING)
        try:
            return MessageString.of(extension).text if extension is not None else ""
        except Malformed:
            return ""

    def in_words(self) -> str:
        """Code, name and reason, for `show`."""
        words = f"{self.reply.code} {describe(self.reply.code)}"
        return f"{words} ({self.reason()})" if self.reason() else words


def is_host(address: IPv4Address) -> bool:
    """Can a host have it?"""
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or int(address) == 0xFFFF_FFFF)


def verdict(believed: Believed, asked: Target) -> Verdict:
    """What the reply to `asked` means."""
    code = believed.reply.code
    if believed.reply.accepted:
        return Verdict.ACCEPTED
    if code == Code.IDENTIFICATION_MISMATCH:
        return Verdict.MISMATCH
    if not asked.inside and code in (Code.ASSIGNED_HOME_AGENT, Code.REDIRECT_HOME_AGENT):
        return Verdict.INSIDE  # 206 of the draft, 143 in the profile of the RFCs
    if asked.inside and code in (Code.UNKNOWN_HOME_AGENT, Code.REDIRECT_HOME_AGENT):
        other = believed.other_home_agent()
        if other is not None and other != asked.home_agent:
            return Verdict.ELSEWHERE
    return Verdict.DENIED


def authentication_of(
    reply: RegistrationReply, association: SecurityAssociation, kind: int = ExtensionType.MN_HA_AUTHENTICATION
) -> Authentication | None:
    """The one authentication of the reply of this kind, if it is right (RFC 5944 3.6.2.1 b)."""
    found = [each for each in reply.extensions if each.type == kind]
    if len(found) != 1:
        return None
    try:
        authentication = Authentication.of(found[0])
    except Malformed:
        return None
    return authentication if verify(reply.raw, authentication, association) else None


def is_word_of_foreign_agent(reply: RegistrationReply, event: DatagramReceived, target: Target) -> bool:
    """A denial by the agent on our link needs no authentication (RFC 5944 3.6.2.1), and can only delay us."""
    return target.is_by_agent and is_foreign_agent_verdict(reply.code) and event.source.address == target.destination


def granted_path(
    reply: RegistrationReply,
    tunnel: UdpTunnelReply | None,
    target: Target,
    encapsulation: Encapsulation,
    settings: MobileNodeSettings,
) -> tuple[NodePath, int]:
    """How packets travel after an accepted reply, and the interval of keepalives in seconds (0: none).

    A reply does not say which encapsulation it grants: the one that was asked for, or it would be a denial.
    """
    if target.through is Through.FOREIGN_AGENT:
        path = NodePath(PathMode.FOREIGN_AGENT, target.interface, gateway=target.destination, inside=target.inside)
        return path, 0
    by_udp = tunnel is not None and tunnel.assents
    path = NodePath(
        PathMode.TUNNEL,
        target.interface,
        local=target.care_of_address,
        peer=reply.home_agent,  # RFC 3024 5.1.2
        encapsulation=in_udp(settings, encapsulation) if by_udp else encapsulation,
        inside=target.inside,
    )
    return path, interval_of(tunnel, settings.keepalive) if tunnel is not None and by_udp else 0
