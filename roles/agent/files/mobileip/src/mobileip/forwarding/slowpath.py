"""What the programs leave to the daemon: ICMP errors about tunnels, and tunnel packets that came in pieces.

An ICMP error about a tunnel packet reaches us, not who sent what is inside. What it says of the path's MTU is kept for
each end of a tunnel (RFC 2003 5.1, RFC 1191): the programs tell the next one who sends too much. Where the quotation
reaches into the inner packet, its source is told at once, in the terms of RFC 2003 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.forwarding.entries import MIP_PORT, PathMtu
from mobileip.forwarding.rules import checksum as header_checksum
from mobileip.wire.encapsulation import (
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_IPIP,
    IPPROTO_MINIMAL,
    IPPROTO_UDP,
    TUNNEL_PROTOCOLS,
    IPv4Packet,
    checksum,
)
from mobileip.wire.errors import Malformed
from mobileip.wire.messages import MessageType

UNREACHABLE, TIME_EXCEEDED = 3, 11
FRAGMENTATION_NEEDED = 4
ERRORS = frozenset({UNREACHABLE, TIME_EXCEEDED})
"""ICMP types that are taken note of: RFC 2003 4 has all others handled here, or relayed by nobody."""

PATH_MTU_LIFETIME = 600.0
"""Seconds; RFC 1191 6.3."""
LEAST_LEARNT = 576
"""Bytes: what is said to be shorter is no MTU that one meets, but a way to make us send dwarfs."""
_MOST_PATHS = 4096
"""Entries of the programs' table (bpf/maps.h: PATH_MTUS)."""
_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006)
"""RFC 1191 7.1: what a router that names no MTU may have meant."""

_ICMP = struct.Struct("!BBHBBH")  # type, code, checksum, unused, length of the quotation (RFC 4884), MTU
_IP_HEADER = 20
_UDP_TUNNEL = 12  # UDP and MIP tunnel data header
_MINIMAL_SOURCE = 0x80
_DF, _OFFSET = 0x4000, 0x1FFF
_LONGEST_ERROR = 576  # RFC 1812 4.3.2.3
_ERROR_TOS = 0xC0
_ICMP_ERRORS = (3, 4, 5, 11, 12)
_ANSWERS = {0: 0, 1: 1, 2: 1, 4: 4, 6: 0, 7: 1, 8: 1, 9: 9, 10: 10, 11: 0, 12: 1, 13: 13}
"""RFC 2003 4: code of destination unreachable that the inner source is told; others it is not told at all."""


@dataclass(frozen=True, slots=True)
class TunnelError:
    """An ICMP error about a tunnel packet of ours."""

    kind: int
    code: int
    mtu: int
    """Next-hop MTU of fragmentation needed, 0 where the router names none."""
    local: IPv4Address
    remote: IPv4Address
    length: int
    """Of the packet that the error is about, headers of the tunnel included."""
    overhead: int
    """Of them the tunnel's."""
    inner: bytes
    """What is quoted of the inner packet, as it went into the tunnel."""

    @classmethod
    def parse(cls, message: bytes) -> TunnelError | None:
        """Decode an ICMP message; None if it is about anything else than a tunnel. Raises `Malformed`, only that."""
        if len(message) < _ICMP.size:
            raise Malformed("ICMP message", at=len(message), expected=f"{_ICMP.size} bytes or more")
        kind, code, _, _, words, mtu = _ICMP.unpack_from(message)
        if kind not in ERRORS:
            return None
        if checksum(message):
            raise Malformed("ICMP checksum", at=2, expected="the right one")
        quoted = message[_ICMP.size :]
        if words and _ICMP.size + 4 * words <= len(message):
            quoted = quoted[: 4 * words]  # RFC 4884: extensions follow
        if len(quoted) < _IP_HEADER + 8 or quoted[0] != 0x45:
            return None  # ours have no options, and routers quote eight bytes at least
        if int.from_bytes(quoted[6:8]) & _OFFSET:
            return None
        found = _inner_of(quoted)
        if found is None:
            return None
        inner, overhead = found
        named = mtu if kind == UNREACHABLE and code == FRAGMENTATION_NEEDED else 0
        length = int.from_bytes(quoted[2:4])
        local, remote = IPv4Address(quoted[12:16]), IPv4Address(quoted[16:20])
        return cls(kind, code, named, local, remote, length, overhead, inner)

    @property
    def is_consistent(self) -> bool:
        """Whether what is quoted can be of a packet of ours: who makes an error up has to know that much."""
        if len(self.inner) < 4:
            return True
        total = int.from_bytes(self.inner[2:4])
        return self.inner[0] >> 4 == 4 and self.inner[0] & 15 >= 5 and total + self.overhead == self.length

    @property
    def ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        """Source and destination of the inner packet; None where so much is not quoted."""
        if len(self.inner) < _IP_HEADER:
            return None
        return IPv4Address(self.inner[12:16]), IPv4Address(self.inner[16:20])


def _inner_of(outer: bytes) -> tuple[bytes, int] | None:
    """What is quoted of the inner packet, and the bytes that the tunnel added; None if it is no tunnel packet."""
    protocol, behind = outer[9], outer[_IP_HEADER:]
    added = _IP_HEADER
    if protocol == IPPROTO_UDP:
        if int.from_bytes(behind[:2]) != MIP_PORT and int.from_bytes(behind[2:4]) != MIP_PORT:
            return None
        if len(behind) < _UDP_TUNNEL:
            return b"", added + _UDP_TUNNEL
        if behind[8] != MessageType.TUNNEL_DATA or behind[9] not in TUNNEL_PROTOCOLS:
            return None
        protocol, behind, added = behind[9], behind[_UDP_TUNNEL:], added + _UDP_TUNNEL
    if protocol == IPPROTO_IPIP:
        return behind, added
    if protocol == IPPROTO_GRE and len(behind) >= 4:
        size = 4 + 4 * sum(bool(behind[0] & bit) for bit in (0x80, 0x20, 0x10))
        return behind[size:], added + size
    if protocol == IPPROTO_MINIMAL and len(behind) >= 8:
        return _without_minimal(outer, behind, added - _IP_HEADER)
    return None


def _without_minimal(outer: bytes, behind: bytes, added: int) -> tuple[bytes, int] | None:
    """The original header, which minimal encapsulation has only changed (RFC 2004 3)."""
    size = 12 if behind[1] & _MINIMAL_SOURCE else 8
    if len(behind) < size:
        return b"", added + size
    total = int.from_bytes(outer[2:4]) - added - size
    source = behind[8:12] if size == 12 else outer[12:16]
    start = outer[:2] + max(total, 0).to_bytes(2) + outer[4:9] + behind[:1] + b"\0\0" + source + behind[4:8]
    header = start[:10] + header_checksum(start).to_bytes(2) + start[12:]
    return header + behind[size:], added + size


def answer(error: TunnelError, by: IPv4Address, most: int) -> IPv4Packet | None:
    """The error as the inner packet's source gets it (RFC 2003 4), from `by`; None where it cannot or must not be told.

    `most`: bytes that the inner packet may have, for fragmentation needed.
    """
    code = 1 if error.kind == TIME_EXCEEDED else _ANSWERS.get(error.code)
    quoted = error.inner[: _LONGEST_ERROR - _IP_HEADER - _ICMP.size]
    if code is None or not _may_be_told(quoted):
        return None
    mtu = most if code == FRAGMENTATION_NEEDED else 0
    message = _ICMP.pack(UNREACHABLE, code, 0, 0, 0, mtu) + quoted
    message = message[:2] + checksum(message).to_bytes(2) + message[4:]
    source = IPv4Address(error.inner[12:16])
    return IPv4Packet(by, source, IPPROTO_ICMP, message, tos=_ERROR_TOS, dont_fragment=True)


def _may_be_told(inner: bytes) -> bool:
    """RFC 1812 4.3.2.7; and eight bytes behind the header are what the source needs to know its packet."""
    header = (inner[0] & 15) * 4 if inner else 0
    if header < _IP_HEADER or len(inner) < header + 8 or int.from_bytes(inner[6:8]) & _OFFSET:
        return False
    source, destination = IPv4Address(inner[12:16]), IPv4Address(inner[16:20])
    if destination.is_multicast or int(destination) == 0xFFFFFFFF:
        return False
    if source.is_multicast or source.is_loopback or source.is_reserved or inner[12] == 0:
        return False
    return inner[9] != IPPROTO_ICMP or inner[header] not in _ICMP_ERRORS


class PathMtus:
    """What routers have said of the paths to tunnels' ends. Bounded in number, and none is believed below `least`."""

    def __init__(self, least: int = LEAST_LEARNT) -> None:
        self._least = least
        self._known: dict[IPv4Address, PathMtu] = {}

    def restore(self, known: dict[IPv4Address, PathMtu]) -> None:
        """These are in the kernel's table, from a run before."""
        self._known = dict(known)

    def learn(self, error: TunnelError, now: float) -> PathMtu | None:
        """Take note of fragmentation needed; what is known of the path now, None if the error tells nothing new.

        A path only gets shorter by what routers say, and is as long as its first link again after ten minutes.
        """
        if error.kind != UNREACHABLE or error.code != FRAGMENTATION_NEEDED:
            return None
        said = error.mtu or next((plateau for plateau in _PLATEAUS if plateau < error.length), self._least)
        if said >= error.length:
            return None  # the packet would have fitted
        mtu = max(said, self._least)
        before = self._known.pop(error.remote, None)
        if before is not None and before.expires > now:
            mtu = min(mtu, before.mtu)
        entry = PathMtu(mtu, now + PATH_MTU_LIFETIME)
        self._known[error.remote] = entry
        return entry

    def forget(self, now: float) -> Iterator[IPv4Address]:
        """Drop what is too old or too much, the oldest first; yields whose paths."""
        spare = len(self._known) - _MOST_PATHS
        for remote, path in list(self._known.items()):
            if path.expires <= now or spare > 0:
                spare -= 1
                del self._known[remote]
                yield remote

    def items(self) -> list[tuple[IPv4Address, PathMtu]]:
        """All that is known, the oldest first."""
        return list(self._known.items())


def whole_frame(packet: bytes, mac: bytes) -> bytes | None:
    """A packet that the kernel has put together as the frame that the model decides about; IP options are left out.

    None if it is no tunnel packet that could be whole.
    """
    header = (packet[0] & 15) * 4 if packet else 0
    if header < _IP_HEADER or len(packet) < header:
        return None
    total = len(packet) - header + _IP_HEADER
    start = b"\x45" + packet[1:2] + total.to_bytes(2) + packet[4:6]
    start += (int.from_bytes(packet[6:8]) & _DF).to_bytes(2) + packet[8:10] + b"\0\0" + packet[12:20]
    start = start[:10] + header_checksum(start).to_bytes(2) + start[12:]
    return mac + bytes(6) + b"\x08\x00" + start + packet[header:]
