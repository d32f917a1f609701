"""Authentication extensions 32, 33, 34 and 36 (RFC 5944 3.5, 5.1; RFC 4721 5): SPI and authenticator.

Covered are the UDP payload from its first byte, every extension before, and this one's type, length and SPI.
RFC 2002 3.5.1 left the SPI out: `md5-prefix-suffix` comes in both coverages, for peers of that age.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import field
from enum import StrEnum

try:
    from _md5 import md5 as _md5  # type: ignore[import-not-found]  # the interpreter's own
except ImportError:  # built without it
    from hashlib import md5 as _md5

from mobileip.wire.address import compiled
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.record import record

FIRST_USABLE_SPI = 256
"""SPI 0 to 255 are reserved and in no Mobility Security Association (RFC 5944 1.6)."""


CHAP_SPI = 2
"""The one reserved SPI with a meaning: MN-AAA authentication as RADIUS servers know it (RFC 4721 8)."""

MN_AAA = 1
"""Sub-type of extension 36 between a node and its AAA server (RFC 4721 6)."""

NO_CHALLENGE = b"\0"
"""What stands for the challenge where no foreign agent gave one: the value 0 (RFC 4721 8)."""

_CHAP_TAIL = 237  # bytes of the challenge at the end: RADIUS attributes hold no more


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

_HMAC_DIGEST = {Algorithm.HMAC_SHA1: "sha1", Algorithm.HMAC_SHA256: "sha256"}


@record(frozen=True, slots=True)
class SecurityAssociation:
    """A Mobility Security Association: what two parties share. The key never shows in a log or a test's diff."""

    spi: int
    key: bytes = field(repr=False)
    algorithm: Algorithm = Algorithm.HMAC_MD5
    replay: ReplayStyle = ReplayStyle.TIMESTAMP


@record(frozen=True, slots=True)
class Authentication:
    """The content of an authentication extension. `start` is its offset in the message it came from.

    `spi_at` is where the SPI stands in it: 36 has a sub-type and a longer length field.
    """

    type: int
    spi: int
    authenticator: bytes
    start: int = field(default=-1, compare=False)
    spi_at: int = field(default=2, compare=False)

    @classmethod
    def of(cls, extension: Extension) -> Authentication:
        """Read extension 32, 33, 34 or 36. Raises `Malformed` if SPI or authenticator are missing."""
        if len(extension.data) <= 4:
            raise Malformed(
                f"extension {extension.type}",
                at=extension.start,
                expected=f"5 bytes or more, got {len(extension.data)}",
            )
        spi_at = 2 if extension.subtype is None else 4
        spi = int.from_bytes(extension.data[:4], "big")
        return cls(extension.type, spi, extension.data[4:], extension.start, spi_at)

    def covered(self, payload: bytes) -> bytes:
        """The bytes of `payload` that the authenticator is over: up to and with the SPI."""
        return payload[: self.start + self.spi_at + 4]


_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def pure_hmac_md5(key: bytes, data: bytes) -> bytes:
    """HMAC-MD5 (RFC 2104). `hmac.digest` takes three times as long: OpenSSL looks the algorithm up each time."""
    if len(key) > 64:
        key = _md5(key).digest()
    key = key.ljust(64, b"\0")
    digest: bytes = _md5(key.translate(_OUTER) + _md5(key.translate(_INNER) + data).digest()).digest()
    return digest


hmac_md5: Callable[[bytes, bytes], bytes] = pure_hmac_md5 if compiled is None else compiled.hmac_md5


def compute(association: SecurityAssociation, covered: bytes) -> bytes:
    """The authenticator over `covered`: everything up to and with the SPI of the extension it goes into."""
    if association.algorithm is Algorithm.HMAC_MD5:
        return hmac_md5(association.key, covered)
    digest = _HMAC_DIGEST.get(association.algorithm)
    if digest is not None:
        return hmac.digest(association.key, covered, digest)
    if association.algorithm is Algorithm.MD5_PREFIX_SUFFIX_RFC2002:
        covered = covered[:-4]
    return hashlib.md5(association.key + covered + association.key, usedforsecurity=False).digest()


def compute_chap(key: bytes, covered: bytes, challenge: bytes) -> bytes:
    """The authenticator under `CHAP_SPI` (RFC 4721 8). `challenge` is the content of extension 132."""
    digest = hashlib.md5(covered, usedforsecurity=False).digest()
    return hashlib.md5(challenge[:1] + key + digest + challenge[-_CHAP_TAIL:], usedforsecurity=False).digest()


def append(payload: bytes, association: SecurityAssociation, kind: int = ExtensionType.MN_HA_AUTHENTICATION) -> bytes:
    """`payload` with an authentication extension of type `kind` (32, 33 or 34) behind it."""
    size = 4 + AUTHENTICATOR_SIZE[association.algorithm]
    covered = payload + bytes((kind, size)) + association.spi.to_bytes(4, "big")
    return covered + compute(association, covered)


def append_mn_aaa(payload: bytes, association: SecurityAssociation, challenge: bytes = NO_CHALLENGE) -> bytes:
    """`payload` with an MN-AAA authentication extension (36, RFC 4721 6) behind it."""
    chap = association.spi == CHAP_SPI
    size = 4 + (16 if chap else AUTHENTICATOR_SIZE[association.algorithm])
    header = bytes((ExtensionType.GENERALIZED_AUTHENTICATION, MN_AAA)) + size.to_bytes(2, "big")
    covered = payload + header + association.spi.to_bytes(4, "big")
    return covered + (compute_chap(association.key, covered, challenge) if chap else compute(association, covered))


def verify(payload: bytes, authentication: Authentication, association: SecurityAssociation) -> bool:
    """Does the extension, read from `payload` as received, hold the right authenticator? Compares in constant time."""
    if authentication.spi != association.spi:
        return False
    ours = compute(association, authentication.covered(payload))
    return hmac.compare_digest(ours, authentication.authenticator)


def verify_chap(
    payload: bytes, authentication: Authentication, association: SecurityAssociation, challenge: bytes
) -> bool:
    """As `verify`, for an extension under `CHAP_SPI`."""
    ours = compute_chap(association.key, authentication.covered(payload), challenge)
    return hmac.compare_digest(ours, authentication.authenticator)
