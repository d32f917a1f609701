"""Which message may be believed: Mobility Security Associations, authenticators, replay protection.

What has been authenticated has a type of its own (`AuthenticRequest`, `AuthenticReply`), so that a rule which needs an
authentic message cannot be given another. Whether it is new as well, `replay` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from mobileip.wire.authentication import (
    CHAP_SPI,
    FIRST_USABLE_SPI,
    MN_AAA,
    NO_CHALLENGE,
    Authentication,
    SecurityAssociation,
    verify,
    verify_chap,
)
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RegistrationReply, RegistrationRequest
from mobileip.wire.record import record

Associations = Mapping[int, SecurityAssociation]
"""The security associations with one peer, by SPI."""

NONE: Associations = MappingProxyType({})


def associations_of(*associations: SecurityAssociation | None) -> Associations:
    """These by their SPI; None stands for one that there is not."""
    return {association.spi: association for association in associations if association is not None}


class AuthenticationFailure(StrEnum):
    """Why a message is not believed. The values are names of counters."""

    NO_EXTENSION = "authentication_missing"
    MALFORMED = "authentication_malformed"
    RESERVED_SPI = "reserved_spi"
    UNKNOWN_SPI = "unknown_spi"
    WRONG = "authentication_failed"
    REPEATED = "authentication_repeated"
    NOT_AGREED = "fa_ha_authentication_not_agreed"


@record(frozen=True, slots=True)
class AuthenticRequest:
    """A request whose authorization-enabling extension is right: MN-HA, or MN-AAA alone.

    `association` is the one that replies are authenticated with, `position` that of the extension. `defect`: why bytes
    behind it could not be read, if so. `reply_identification`: of a reply of our own, None for the request's.
    """

    message: RegistrationRequest
    association: SecurityAssociation
    position: int
    defect: Malformed | None = None
    reply_identification: int | None = None
    covered: tuple[Extension, ...] = field(init=False, compare=False, repr=False)
    """The extensions that the node authenticated: those before the authenticator."""
    trailing: tuple[Extension, ...] = field(init=False, compare=False, repr=False)
    """What follows the authenticator: a foreign agent's, or anybody's."""

    def __post_init__(self) -> None:
        extensions, position = self.message.extensions, self.position
        object.__setattr__(self, "covered", extensions[:position])
        object.__setattr__(self, "trailing", extensions[position + 1 :])


@record(frozen=True, slots=True)
class AuthenticReply:
    """A reply whose MN-HA authenticator is right."""

    message: RegistrationReply
    association: SecurityAssociation
    position: int
    covered: tuple[Extension, ...] = field(init=False, compare=False, repr=False)
    """The extensions that the home agent authenticated."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "covered", self.message.extensions[: self.position])


def authenticate_request(
    request: RegistrationRequest,
    associations: Associations,
    defect: Malformed | None = None,
    aaa: Associations = NONE,
) -> AuthenticRequest | AuthenticationFailure:
    """Check the first MN-HA authentication extension (RFC 5944 3.8.2.1 a); without one, the MN-AAA one.

    Either is authorization-enabling. What stands beside the first is left to the caller.
    """
    checked = _check(request.raw, request.extensions, associations, ExtensionType.MN_HA_AUTHENTICATION)
    if checked is AuthenticationFailure.NO_EXTENSION and aaa:
        failure = verify_mn_aaa(request, aaa)
        if failure is not None:
            return failure
        position = next(at for at, extension in enumerate(request.extensions) if is_mn_aaa(extension))
        return AuthenticRequest(request, next(iter(associations.values())), position, defect)
    if isinstance(checked, AuthenticationFailure):
        return checked
    association, position = checked
    return AuthenticRequest(request, association, position, defect)


def verify_mn_aaa(request: RegistrationRequest, associations: Associations) -> AuthenticationFailure | None:
    """Check the first MN-AAA authentication extension with what the AAA server would know. None: it is right."""
    position = next((at for at, extension in enumerate(request.extensions) if is_mn_aaa(extension)), None)
    if position is None:
        return AuthenticationFailure.NO_EXTENSION
    try:
        authentication = Authentication.of(request.extensions[position])
    except Malformed:
        return AuthenticationFailure.MALFORMED
    if authentication.spi < FIRST_USABLE_SPI and authentication.spi != CHAP_SPI:
        return AuthenticationFailure.RESERVED_SPI
    association = associations.get(authentication.spi)
    if association is None:
        return AuthenticationFailure.UNKNOWN_SPI
    if authentication.spi == CHAP_SPI:
        challenge = find(request.extensions[:position], ExtensionType.CHALLENGE)
        value = challenge.data if challenge is not None and challenge.data else NO_CHALLENGE
        right = verify_chap(request.raw, authentication, association, value)
    else:
        right = verify(request.raw, authentication, association)
    return None if right else AuthenticationFailure.WRONG


def is_mn_aaa(extension: Extension) -> bool:
    """Extension 36 between a node and its AAA server; other sub-types are between other parties (RFC 4721 6)."""
    return extension.type == ExtensionType.GENERALIZED_AUTHENTICATION and extension.subtype == MN_AAA


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
    raw: bytes, extensions: tuple[Extension, ...], associations: Associations, kind: int
) -> AuthenticationFailure | None:
    """Check that there is exactly one extension of type `kind` (33 or 34) and that it is right. None: it is."""
    if sum(extension.type == kind for extension in extensions) > 1:
        return AuthenticationFailure.REPEATED
    checked = _check(raw, extensions, associations, kind)
    return checked if isinstance(checked, AuthenticationFailure) else None


def _check(
    raw: bytes, extensions: tuple[Extension, ...], associations: Associations, kind: int
) -> tuple[SecurityAssociation, int] | AuthenticationFailure:
    for position, extension in enumerate(extensions):  # noqa: B007 - where it stops counts
        if extension.type == kind:
            break
    else:
        return AuthenticationFailure.NO_EXTENSION
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
