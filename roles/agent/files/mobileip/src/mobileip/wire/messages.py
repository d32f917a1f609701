"""Registration Request (RFC 5944 3.3) and Registration Reply (RFC 5944 3.4): UDP payloads of port 434."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import field
from enum import IntEnum
from ipaddress import IPv4Address

from mobileip.wire.address import address, number
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, read_extensions, serialize_extensions
from mobileip.wire.record import record

REGISTRATION_PORT = 434
INFINITE_LIFETIME = 0xFFFF
MAXIMUM_MESSAGE = 4096
"""Bytes. A longer datagram is no registration; relayed ones must still fit a UDP datagram."""
_REQUEST = struct.Struct("!BBHIIIQ")  # type, flags, lifetime, home address, home agent, care-of address, identification
_REPLY = struct.Struct("!BBHIIQ")  # type, code, lifetime, home address, home agent, identification
REQUEST_SIZE = _REQUEST.size
REPLY_SIZE = _REPLY.size


class MessageType(IntEnum):
    """First byte of the UDP payload."""

    REQUEST = 1
    REPLY = 3
    TUNNEL_DATA = 4  # RFC 3519 3.3
    REVOCATION = 7  # RFC 3543
    REVOCATION_ACKNOWLEDGEMENT = 15  # RFC 3543


_REQUEST_TYPE, _REPLY_TYPE = int(MessageType.REQUEST), int(MessageType.REPLY)


class Flag(IntEnum):
    """Bits of a request's second byte; `r` (0x04) and `x` (0x01) are sent 0 and ignored."""

    SIMULTANEOUS = 0x80  # S: keep the bindings that exist
    BROADCAST = 0x40  # B: forward the home network's broadcasts
    DECAPSULATES = 0x20  # D: the node itself ends the tunnel (co-located care-of address)
    MINIMAL = 0x10  # M: minimal encapsulation wanted
    GRE = 0x08  # G: GRE wanted
    REVERSE_TUNNEL = 0x02  # T: RFC 3024


RESERVED_FLAGS = 0x05
"""The bits r and x: sent as 0, ignored on receipt (RFC 5944 3.3)."""


@record(frozen=True, slots=True)
class RegistrationRequest:
    """A Registration Request. `lifetime` in seconds; `identification` is the 64-bit field; `flags` a sum of `Flag`.

    `raw` is the payload as received (empty in one made here): authenticators cover it. It plays no part in comparison.
    """

    flags: int
    lifetime: int
    home_address: IPv4Address
    home_agent: IPv4Address
    care_of_address: IPv4Address
    identification: int
    extensions: tuple[Extension, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    @property
    def simultaneous(self) -> bool:
        """S: keep earlier bindings."""
        return bool(self.flags & 0x80)

    @property
    def broadcast(self) -> bool:
        """B: wants broadcasts of the home network."""
        return bool(self.flags & 0x40)

    @property
    def decapsulates(self) -> bool:
        """D: the care-of address is the node's own."""
        return bool(self.flags & 0x20)

    @property
    def minimal(self) -> bool:
        """M: wants minimal encapsulation (RFC 2004)."""
        return bool(self.flags & 0x10)

    @property
    def gre(self) -> bool:
        """G: wants GRE."""
        return bool(self.flags & 0x08)

    @property
    def reverse_tunnel(self) -> bool:
        """T: wants a reverse tunnel (RFC 3024)."""
        return bool(self.flags & 0x02)

    @property
    def deregisters(self) -> bool:
        """Lifetime 0: removes one binding, or all of them (RFC 5944 3.6.1.2)."""
        return self.lifetime == 0

    @property
    def deregisters_all(self) -> bool:
        """Lifetime 0 for the home address itself: removes every binding of the node (RFC 5944 3.6.1.2)."""
        return self.lifetime == 0 and self.care_of_address == self.home_address

    def serialize(self) -> bytes:
        """The message's bytes, extensions included (without any authenticator that is not among them)."""
        return _REQUEST.pack(
            _REQUEST_TYPE,
            self.flags,
            self.lifetime,
            number(self.home_address),
            number(self.home_agent),
            number(self.care_of_address),
            self.identification,
        ) + serialize_extensions(self.extensions)


@record(frozen=True, slots=True)
class RegistrationReply:
    """A Registration Reply. `lifetime` in seconds; `code` is a `Code` or a number that no document defines.

    `raw` is the payload as received (empty in one made here): authenticators cover it. It plays no part in comparison.
    """

    code: int
    lifetime: int
    home_address: IPv4Address
    home_agent: IPv4Address
    identification: int
    extensions: tuple[Extension, ...] = ()
    raw: bytes = field(default=b"", compare=False, repr=False)

    @property
    def accepted(self) -> bool:
        """Code 0 or 1: a binding exists."""
        return self.code in (0, 1)

    def serialize(self) -> bytes:
        """The message's bytes, extensions included (without any authenticator that is not among them)."""
        return _REPLY.pack(
            _REPLY_TYPE,
            self.code,
            self.lifetime,
            number(self.home_address),
            number(self.home_agent),
            self.identification,
        ) + serialize_extensions(self.extensions)


def read_request(payload: bytes) -> tuple[RegistrationRequest, Malformed | None]:
    """Decode a request as far as its extensions can be split; the second value says why the rest could not.

    For receivers that owe a code 134 to an authenticated sender. Raises `Malformed` if the fixed part is cut or of
    another type.
    """
    if len(payload) < REQUEST_SIZE or payload[0] != _REQUEST_TYPE:
        raise _not_fixed("request", payload, MessageType.REQUEST, REQUEST_SIZE)
    _, flags, lifetime, home, agent, care_of, identification = _REQUEST.unpack_from(payload)
    extensions, defect = read_extensions(payload, REQUEST_SIZE)
    request = RegistrationRequest(
        flags,
        lifetime,
        address(home),
        address(agent),
        address(care_of),
        identification,
        extensions,
        bytes(payload),
    )
    return request, defect


def parse_request(payload: bytes) -> RegistrationRequest:
    """Decode a UDP payload as a Registration Request (RFC 5944 3.3). Raises `Malformed`, nothing else."""
    request, defect = read_request(payload)
    if defect is not None:
        raise defect
    return request


def parse_reply(payload: bytes) -> RegistrationReply:
    """Decode a UDP payload as a Registration Reply (RFC 5944 3.4). Raises `Malformed`, nothing else."""
    if len(payload) < REPLY_SIZE or payload[0] != _REPLY_TYPE:
        raise _not_fixed("reply", payload, MessageType.REPLY, REPLY_SIZE)
    _, code, lifetime, home, agent, identification = _REPLY.unpack_from(payload)
    extensions, defect = read_extensions(payload, REPLY_SIZE)
    if defect is not None:
        raise defect
    return RegistrationReply(code, lifetime, address(home), address(agent), identification, extensions, bytes(payload))


def parse_message(payload: bytes) -> RegistrationRequest | RegistrationReply:
    """Decode whichever registration message this is. Raises `Malformed`, also for every other message type."""
    if payload[:1] == b"\x01":
        return parse_request(payload)
    if payload[:1] == b"\x03":
        return parse_reply(payload)
    expected = f"{MessageType.REQUEST:d} or {MessageType.REPLY:d}"
    raise Malformed("type", at=0, expected=f"{expected}, got {payload[0] if payload else 'nothing'}")


def types_of(extensions: Iterable[Extension]) -> tuple[int, ...]:
    """The extension types in their order: what tests and logs show of a message."""
    return tuple(extension.type for extension in extensions)


def _not_fixed(name: str, payload: bytes, kind: MessageType, size: int) -> Malformed:
    if len(payload) < size:
        return Malformed(name, at=len(payload), expected=f"{size} bytes or more")
    return Malformed("type", at=0, expected=f"{kind:d}, got {payload[0]}")
