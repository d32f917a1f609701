"""Which message is believed."""

from __future__ import annotations

from mobileip.registration.security import (
    AuthenticationFailure,
    AuthenticReply,
    AuthenticRequest,
    authenticate_reply,
    authenticate_request,
    verify_extension,
)
from mobileip.wire.authentication import append
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import parse_reply, parse_request
from tests.unit.registration.parties import NODE_SA, REQUEST, STRANGER_SA, reply_to, signed

KNOWN = {NODE_SA.spi: NODE_SA}


def test_authentic_request_tells_what_is_covered_from_what_is_not() -> None:
    request = parse_request(signed(REQUEST, behind=(Extension(132, b"c"),)))
    checked = authenticate_request(request, KNOWN)
    assert isinstance(checked, AuthenticRequest)
    assert checked.covered == REQUEST.extensions
    assert checked.trailing == (Extension(132, b"c"),)


def test_request_is_not_believed_without_the_right_key() -> None:
    request = parse_request(signed(REQUEST, STRANGER_SA))
    assert authenticate_request(request, KNOWN) is AuthenticationFailure.WRONG
    assert authenticate_request(request, {}) is AuthenticationFailure.UNKNOWN_SPI


def test_reply_has_exactly_one_authenticator_R5944_3_6_2_1_b() -> None:
    once = signed(reply_to(REQUEST))
    assert isinstance(authenticate_reply(parse_reply(once), KNOWN), AuthenticReply)
    assert authenticate_reply(parse_reply(append(once, NODE_SA)), KNOWN) is AuthenticationFailure.REPEATED
    none = parse_reply(reply_to(REQUEST).serialize())
    assert authenticate_reply(none, KNOWN) is AuthenticationFailure.NO_EXTENSION


def test_other_authenticators_are_checked_alike() -> None:
    kind = ExtensionType.FA_HA_AUTHENTICATION
    once = append(signed(REQUEST), NODE_SA, kind)
    twice = append(once, NODE_SA, kind)
    request, repeated = parse_request(once), parse_request(twice)
    assert verify_extension(request.raw, request.extensions, KNOWN, kind) is None
    assert verify_extension(request.raw, request.extensions, {}, kind) is AuthenticationFailure.UNKNOWN_SPI
    assert verify_extension(repeated.raw, repeated.extensions, KNOWN, kind) is AuthenticationFailure.REPEATED
