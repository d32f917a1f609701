"""Registration revocation (RFC 3543): the extension that offers it, the message that does it, the acknowledgement."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, read_extensions, serialize_extensions
from mobileip.wire.messages import MessageType

_SUPPORT = struct.Struct("!HI")  # flags, timestamp
_REVOCATION = struct.Struct("!BBHIIII")  # type, reserved, flags, home address, home domain, foreign domain, identifier
_ACKNOWLEDGEMENT = struct.Struct("!BBHII")  # type, reserved, flags, home address, identifier
REVOCATION_SIZE = _REVOCATION.size
ACKNOWLEDGEMENT_SIZE = _ACKNOWLEDGEMENT.size

_SUPPORTS_INFORM = 0x8000  # I, in the extension and the acknowledgement
_BY_HOME_AGENT = 0x8000  # A
_INFORM = 0x4000  # I
_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class RevocationSupport:
    """Revocation Support extension (RFC 3543 3.2): its sender takes part. `timestamp` is its clock, 32 bits."""

    timestamp: int
    inform: bool = False

    @classmethod
    def of(cls, extension: Extension) -> RevocationSupport:
        """Read extension 137; reserved bits are ignored. Raises `Malformed` on another length."""
        if len(extension.data) != _SUPPORT.size:
            expected = f"length {_SUPPORT.size}, got {len(extension.data)}"
            raise Malformed("Revocation Support", at=extension.start, expected=expected)
        flags, timestamp = _SUPPORT.unpack(extension.data)
        return cls(timestamp, bool(flags & _SUPPORTS_INFORM))

    def extension(self) -> Extension:
        """As an extension."""
        data = _SUPPORT.pack(_SUPPORTS_INFORM if self.inform else 0, self.timestamp)
        return Extension(ExtensionType.REVOCATION_SUPPORT, data)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Registration Revocation (RFC 3543 3.3): whose binding ends.

    `home_domain` is the home agent, `foreign_domain` the foreign agent or the care-of address of a node on its own.
    `by_home_agent` is the A bit: who speaks. `identifier` is a timestamp of the sender's clock. `raw` as received.
    """

    home_address: IPv4Address
    home_domain: IPv4Address
    foreign_domain: IPv4Address
    identifier: int
    by_home_agent: bool
    inform: bool = False
    extensions: tuple[Extension, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    def serialize(self) -> bytes:
        """The message's bytes, extensions included (without any authenticator that is not among them)."""
        return _REVOCATION.pack(
            MessageType.REVOCATION,
            0,
            (_BY_HOME_AGENT if self.by_home_agent else 0) | (_INFORM if self.inform else 0),
            int(self.home_address),
            int(self.home_domain),
            int(self.foreign_domain),
            self.identifier,
        ) + serialize_extensions(self.extensions)


@dataclass(frozen=True, slots=True)
class RevocationAcknowledgement:
    """Revocation Acknowledgement (RFC 3543 3.4): `identifier` is that of the revocation. `raw` as received."""

    home_address: IPv4Address
    identifier: int
    inform: bool = False
    extensions: tuple[Extension, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    def serialize(self) -> bytes:
        """The message's bytes, extensions included (without any authenticator that is not among them)."""
        flags = _SUPPORTS_INFORM if self.inform else 0
        fixed = _ACKNOWLEDGEMENT.pack(
            MessageType.REVOCATION_ACKNOWLEDGEMENT, 0, flags, int(self.home_address), self.identifier
        )
        return fixed + serialize_extensions(self.extensions)


def parse_revocation(payload: bytes) -> Revocation:
    """Decode a UDP payload as a Registration Revocation (RFC 3543 3.3). Raises `Malformed`, nothing else."""
    _check_fixed("revocation", payload, MessageType.REVOCATION, REVOCATION_SIZE)
    _, _, flags, home, home_domain, foreign_domain, identifier = _REVOCATION.unpack_from(payload)
    return Revocation(
        IPv4Address(home),
        IPv4Address(home_domain),
        IPv4Address(foreign_domain),
        identifier,
        bool(flags & _BY_HOME_AGENT),
        bool(flags & _INFORM),
        _extensions(payload, REVOCATION_SIZE),
        bytes(payload),
    )


def parse_acknowledgement(payload: bytes) -> RevocationAcknowledgement:
    """Decode a UDP payload as a Revocation Acknowledgement (RFC 3543 3.4). Raises `Malformed`, nothing else."""
    kind = MessageType.REVOCATION_ACKNOWLEDGEMENT
    _check_fixed("revocation acknowledgement", payload, kind, ACKNOWLEDGEMENT_SIZE)
    _, _, flags, home, identifier = _ACKNOWLEDGEMENT.unpack_from(payload)
    extensions = _extensions(payload, ACKNOWLEDGEMENT_SIZE)
    inform = bool(flags & _SUPPORTS_INFORM)
    return RevocationAcknowledgement(IPv4Address(home), identifier, inform, extensions, bytes(payload))


def is_later(timestamp: int, than: int) -> bool:
    """Greater in serial arithmetic of 32 bits; equal is not later."""
    return 0 < (timestamp - than) % _MODULUS < _MODULUS // 2


def _extensions(payload: bytes, start: int) -> tuple[Extension, ...]:
    extensions, defect = read_extensions(payload, start)
    if defect is not None:
        raise defect
    return extensions


def _check_fixed(name: str, payload: bytes, kind: MessageType, size: int) -> None:
    if len(payload) < size:
        raise Malformed(name, at=len(payload), expected=f"{size} bytes or more")
    if payload[0] != kind:
        raise Malformed("type", at=0, expected=f"{kind:d}, got {payload[0]}")
