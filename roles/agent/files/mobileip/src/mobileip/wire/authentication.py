"""Authentication extensions 32, 33 and 34 (RFC 5944 3.5, 5.1): SPI and authenticator over the bytes before it.

Covered are the UDP payload from its first byte, every extension before, and this one's type, length and SPI.
RFC 2002 3.5.1 left the SPI out: `md5-prefix-suffix` comes in both coverages, for peers of that age.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType

FIRST_USABLE_SPI = 256
"""SPI 0 to 255 are reserved and in no Mobility Security Association (RFC 5944 1.6)."""


class Algorithm(StrEnum):
    """How an authenticator is computed; both ends are configured alike."""

    HMAC_MD5 = "hmac-md5"  # RFC 5944 5.1: the default
    MD5_PREFIX_SUFFIX = "md5-prefix-suffix"  # RFC 3220 and later: SPI covered; weak
    MD5_PREFIX_SUFFIX_RFC2002 = "md5-prefix-suffix-rfc2002"  # SPI not covered; weak
    HMAC_SHA1 = "hmac-sha1"  # no RFC assigns it to extension 32
    HMAC_SHA256 = "hmac-sha256"  # no RFC assigns it to extension 32


class ReplayStyle(StrEnum):
    """What the Identification is (RFC 5944 5.7); both ends are configured alike."""

    TIMESTAMP = "timestamp"
    NONCE = "nonce"


AUTHENTICATOR_SIZE: dict[Algorithm, int] = {
    Algorithm.HMAC_MD5: 16,
    Algorithm.MD5_PREFIX_SUFFIX: 16,
    Algorithm.MD5_PREFIX_SUFFIX_RFC2002: 16,
    Algorithm.HMAC_SHA1: 20,
    Algorithm.HMAC_SHA256: 32,
}
"""Bytes of each algorithm's authenticator."""

_HMAC_DIGEST = {Algorithm.HMAC_MD5: "md5", Algorithm.HMAC_SHA1: "sha1", Algorithm.HMAC_SHA256: "sha256"}


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """A Mobility Security Association: what two parties share. The key never shows in a log or a test's diff."""

    spi: int
    key: bytes = field(repr=False)
    algorithm: Algorithm = Algorithm.HMAC_MD5
    replay: ReplayStyle = ReplayStyle.TIMESTAMP


@dataclass(frozen=True, slots=True)
class Authentication:
    """The content of an authentication extension. `start` is its offset in the message it came from."""

    type: int
    spi: int
    authenticator: bytes
    start: int = field(default=-1, compare=False)

    @classmethod
    def of(cls, extension: Extension) -> Authentication:
        """Read extension 32, 33 or 34. Raises `Malformed` if SPI or authenticator are missing."""
        if len(extension.data) <= 4:
            raise Malformed(
                f"extension {extension.type}",
                at=extension.start,
                expected=f"5 bytes or more, got {len(extension.data)}",
            )
        return cls(extension.type, int.from_bytes(extension.data[:4], "big"), extension.data[4:], extension.start)


def compute(association: SecurityAssociation, covered: bytes) -> bytes:
    """The authenticator over `covered`: everything up to and with the SPI of the extension it goes into."""
    digest = _HMAC_DIGEST.get(association.algorithm)
    if digest is not None:
        return hmac.digest(association.key, covered, digest)
    if association.algorithm is Algorithm.MD5_PREFIX_SUFFIX_RFC2002:
        covered = covered[:-4]
    return hashlib.md5(association.key + covered + association.key, usedforsecurity=False).digest()


def append(payload: bytes, association: SecurityAssociation, kind: int = ExtensionType.MN_HA_AUTHENTICATION) -> bytes:
    """`payload` with an authentication extension of type `kind` behind it."""
    size = 4 + AUTHENTICATOR_SIZE[association.algorithm]
    covered = payload + bytes((kind, size)) + association.spi.to_bytes(4, "big")
    return covered + compute(association, covered)


def verify(payload: bytes, authentication: Authentication, association: SecurityAssociation) -> bool:
    """Does the extension, read from `payload` as received, hold the right authenticator? Compares in constant time."""
    if authentication.spi != association.spi:
        return False
    covered = payload[: authentication.start + 6]
    return hmac.compare_digest(compute(association, covered), authentication.authenticator)
