"""The two messages of a plain registration, each read and made in one step.

Plain is a message with one MN-HA authentication extension of 16 bytes at its end: then all that stands between the
fixed part and the authenticator can be compared as a whole. What is read here is read by `messages` as well, with the
same result; this is only the quicker way. The compiled part does the same.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from ipaddress import IPv4Address

from mobileip.wire.address import address, compiled, number
from mobileip.wire.authentication import Algorithm, SecurityAssociation, compute, hmac_md5
from mobileip.wire.messages import REPLY_SIZE, REQUEST_SIZE

AUTHENTICATION_SIZE = 22
"""Bytes of the extension at the end: type, length, SPI, authenticator."""
_AUTHENTICATION = b"\x20\x14"
_DIGEST_SIZE = 16
_REQUEST = struct.Struct("!4xI4xIQ")  # home address, care-of address, identification
_REPLY = struct.Struct("!xBHI4xQ")  # code, lifetime, home address, identification
_FIXED = {2: struct.Struct("!BBHIIQ"), 3: struct.Struct("!BBHIIIQ")}
"""The fixed part with two addresses or three."""
_TRAILER = struct.Struct("!2sI")

Split = tuple[bytes, IPv4Address, IPv4Address, int]
"""Of a request: its form, home address, care-of address, Identification. The form is everything else but the
authenticator: flags, lifetime, home agent, extensions, SPI."""


def pure_split_request(payload: bytes) -> Split | None:
    """A request that ends with its authenticator, in parts; None for all others."""
    size = len(payload)
    if size < REQUEST_SIZE + AUTHENTICATION_SIZE or payload[0] != 1 or payload[-22:-20] != _AUTHENTICATION:
        return None
    home, care_of, identification = _REQUEST.unpack_from(payload)
    return payload[1:4] + payload[8:12] + payload[24:-16], address(home), address(care_of), identification


def pure_split_reply(payload: bytes) -> tuple[int, int, IPv4Address, int, int] | None:
    """Code, lifetime, home address, Identification and SPI of a reply with nothing but its authenticator."""
    if len(payload) != REPLY_SIZE + AUTHENTICATION_SIZE or payload[0] != 3 or payload[20:22] != _AUTHENTICATION:
        return None
    code, lifetime, home, identification = _REPLY.unpack_from(payload)
    return code, lifetime, address(home), identification, int.from_bytes(payload[22:26], "big")


def pure_is_signed(payload: bytes, association: SecurityAssociation) -> bool:
    """Are the last 16 bytes the authenticator over all before? Compares in constant time."""
    return hmac.compare_digest(compute(association, payload[:-_DIGEST_SIZE]), payload[-_DIGEST_SIZE:])


def make_request(
    flags: int,
    lifetime: int,
    addresses: tuple[IPv4Address, IPv4Address, IPv4Address],
    identification: int,
    extensions: bytes,
    association: SecurityAssociation,
) -> bytes:
    """A request with `extensions` and its MN-HA authenticator; `addresses`: home, home agent, care-of."""
    return _make(1, flags, lifetime, addresses, identification, extensions, association.spi, association.key)


def make_reply(
    code: int,
    lifetime: int,
    addresses: tuple[IPv4Address, IPv4Address],
    identification: int,
    extensions: bytes,
    association: SecurityAssociation,
) -> bytes:
    """A reply with `extensions` and its MN-HA authenticator; `addresses`: home, home agent."""
    return _make(3, code, lifetime, addresses, identification, extensions, association.spi, association.key)


def pure_make(
    kind: int,
    second: int,
    lifetime: int,
    addresses: tuple[IPv4Address, ...],
    identification: int,
    extensions: bytes,
    spi: int,
    key: bytes,
) -> bytes:
    """A message of type `kind` with its authenticator; `second` is its second byte, flags or code."""
    fixed = _FIXED[len(addresses)].pack(kind, second, lifetime, *map(number, addresses), identification)
    covered = fixed + extensions + _TRAILER.pack(_AUTHENTICATION, spi)
    return covered + hmac_md5(key, covered)


def is_plain(association: SecurityAssociation) -> bool:
    """Does it make authenticators as they are here?"""
    return association.algorithm is Algorithm.HMAC_MD5


def _compiled_is_signed(payload: bytes, association: SecurityAssociation) -> bool:
    assert compiled is not None
    right: bool = compiled.is_signed(association.key, payload)
    return right


split_request: Callable[[bytes], Split | None] = pure_split_request if compiled is None else compiled.split_request
split_reply: Callable[[bytes], tuple[int, int, IPv4Address, int, int] | None] = (
    pure_split_reply if compiled is None else compiled.split_reply
)
is_signed: Callable[[bytes, SecurityAssociation], bool] = pure_is_signed if compiled is None else _compiled_is_signed
_make: Callable[..., bytes] = pure_make if compiled is None else compiled.make
