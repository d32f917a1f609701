"""Which message may be believed: Mobility Security Associations, authenticators, replay protection.

What has been authenticated has a type of its own (`AuthenticRequest`, `AuthenticReply`), so that a rule which needs an
authentic message cannot be given another. Replay protection is by timestamps (RFC 5944 5.7.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mobileip.registration.actions import PersistIdentification
from mobileip.registration.bindings import NodeKey
from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import FIRST_USABLE_SPI, Authentication, SecurityAssociation, verify
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RegistrationReply, RegistrationRequest

Associations = Mapping[int, SecurityAssociation]
"""The security associations with one peer, by SPI."""


class AuthenticationFailure(StrEnum):
    """Why a message is not believed. The values are names of counters."""

    NO_EXTENSION = "authentication_missing"
    MALFORMED = "authentication_malformed"
    RESERVED_SPI = "reserved_spi"
    UNKNOWN_SPI = "unknown_spi"
    WRONG = "authentication_failed"
    REPEATED = "authentication_repeated"


@dataclass(frozen=True, slots=True)
class AuthenticRequest:
    """A request whose MN-HA authenticator is right. `defect`: why bytes behind it could not be read, if so."""

    message: RegistrationRequest
    association: SecurityAssociation
    position: int
    defect: Malformed | None = None

    @property
    def covered(self) -> tuple[Extension, ...]:
        """The extensions that the node authenticated: those before the authenticator."""
        return self.message.extensions[: self.position]

    @property
    def trailing(self) -> tuple[Extension, ...]:
        """What follows the authenticator: a foreign agent's, or anybody's."""
        return self.message.extensions[self.position + 1 :]


@dataclass(frozen=True, slots=True)
class AuthenticReply:
    """A reply whose MN-HA authenticator is right."""

    message: RegistrationReply
    association: SecurityAssociation
    position: int

    @property
    def covered(self) -> tuple[Extension, ...]:
        """The extensions that the home agent authenticated."""
        return self.message.extensions[: self.position]


def authenticate_request(
    request: RegistrationRequest, associations: Associations, defect: Malformed | None = None
) -> AuthenticRequest | AuthenticationFailure:
    """Check the first MN-HA authentication extension (RFC 5944 3.8.2.1 a). A second one is left to the caller."""
    checked = _check(request.raw, request.extensions, associations, ExtensionType.MN_HA_AUTHENTICATION)
    if isinstance(checked, AuthenticationFailure):
        return checked
    association, position = checked
    return AuthenticRequest(request, association, position, defect)


def authenticate_reply(reply: RegistrationReply, associations: Associations) -> AuthenticReply | AuthenticationFailure:
    """Check the one MN-HA authentication extension of a reply; two are as bad as none (RFC 5944 3.6.2.1 b)."""
    kind = ExtensionType.MN_HA_AUTHENTICATION
    checked = _check(reply.raw, reply.extensions, associations, kind)
    if isinstance(checked, AuthenticationFailure):
        return checked
    association, position = checked
    if find(reply.extensions[position + 1 :], kind) is not None:
        return AuthenticationFailure.REPEATED
    return AuthenticReply(reply, association, position)


def verify_extension(
    raw: bytes, extensions: tuple[Extension, ...], associations: Associations, kind: ExtensionType
) -> AuthenticationFailure | None:
    """Check that there is exactly one extension of type `kind` (33 or 34) and that it is right. None: it is."""
    if sum(extension.type == kind for extension in extensions) > 1:
        return AuthenticationFailure.REPEATED
    checked = _check(raw, extensions, associations, kind)
    return checked if isinstance(checked, AuthenticationFailure) else None


def _check(
    raw: bytes, extensions: tuple[Extension, ...], associations: Associations, kind: ExtensionType
) -> tuple[SecurityAssociation, int] | AuthenticationFailure:
    position = next((at for at, extension in enumerate(extensions) if extension.type == kind), None)
    if position is None:
        return AuthenticationFailure.NO_EXTENSION
    extension = extensions[position]
    try:
        authentication = Authentication.of(extension)
    except Malformed:
        return AuthenticationFailure.MALFORMED
    if authentication.spi < FIRST_USABLE_SPI:
        return AuthenticationFailure.RESERVED_SPI
    association = associations.get(authentication.spi)
    if association is None:
        return AuthenticationFailure.UNKNOWN_SPI
    if not verify(raw, authentication, association):
        return AuthenticationFailure.WRONG
    return association, position


class ReplayGuard:
    """Timestamps accepted so far, for each node. `window` in seconds, on both sides of our clock.

    A timestamp must be newer than every one accepted from the node before, whichever SPI it used (RFC 5944 5.7.1).
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._accepted: dict[NodeKey, dict[int, int]] = {}

    def is_fresh(self, node: NodeKey, identification: int, now: float) -> bool:
        """Is the timestamp close to `now`, and newer than all accepted ones?"""
        accepted = self._accepted.get(node, {}).values()
        return timestamps.is_close(identification, now, self._window) and all(
            timestamps.is_newer(identification, earlier) for earlier in accepted
        )

    def accept(self, node: NodeKey, spi: int, identification: int) -> PersistIdentification:
        """Remember the timestamp of an authentic request; what makes that durable is returned."""
        self._accepted.setdefault(node, {})[spi] = identification
        return PersistIdentification(node, spi, identification)

    def records(self) -> Iterator[PersistIdentification]:
        """Everything that is remembered."""
        for node, by_spi in self._accepted.items():
            for spi, identification in by_spi.items():
                yield PersistIdentification(node, spi, identification)

    def restore(self, record: PersistIdentification) -> None:
        """Remember what was made durable before; an older value never replaces a newer one."""
        by_spi = self._accepted.setdefault(record.node, {})
        earlier = by_spi.get(record.spi)
        if earlier is None or timestamps.is_newer(record.identification, earlier):
            by_spi[record.spi] = record.identification
