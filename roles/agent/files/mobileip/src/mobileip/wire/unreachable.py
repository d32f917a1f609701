"""ICMP destination unreachable (RFC 792): which UDP datagram of ours did not arrive, and why.

The quotation is the start of the datagram's IP packet: all routers quote the UDP header, hosts and newer routers more
of it (RFC 1812 4.3.2.3), and some put extensions behind (RFC 4884). What is quoted tells datagrams apart; where only
the header is, its checksum has to do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.wire.encapsulation import IPPROTO_UDP, checksum
from mobileip.wire.errors import Malformed

DESTINATION_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
"""Code of a datagram that was too long for the path: the kernel takes note, and the next one fits."""

_ICMP = struct.Struct("!BBHBBH")  # type, code, checksum, unused, length of the quotation (RFC 4884), unused or MTU
_UDP = struct.Struct("!HHHH")  # source port, destination port, length, checksum
_PSEUDO = struct.Struct("!4s4sBBH")  # source, destination, zero, protocol, length
_IPV4_SIZE = 20
_OFFSET = 0x1FFF

_NAMES = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    5: "source route failed",
    9: "network administratively prohibited",
    10: "host administratively prohibited",
    13: "communication administratively prohibited",
}


@dataclass(frozen=True, slots=True)
class Unreachable:
    """What an ICMP destination unreachable says. `payload` is as much of the UDP payload as is quoted.

    `length` is the quoted UDP length, header included; `checksum` the quoted UDP checksum, 0 if there was none.
    """

    code: int
    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    length: int
    checksum: int
    payload: bytes

    def describe(self) -> str:
        """Type, code and meaning, for people."""
        return f"ICMP {DESTINATION_UNREACHABLE}/{self.code} {_NAMES.get(self.code, 'unreachable')}"


def parse_unreachable(message: bytes) -> Unreachable | None:
    """Decode an ICMP message about a UDP datagram; None if it is about anything else. Raises `Malformed`, only that."""
    if len(message) < _ICMP.size:
        raise Malformed("ICMP message", at=len(message), expected=f"{_ICMP.size} bytes or more")
    kind, code, _, _, words, _ = _ICMP.unpack_from(message)
    if kind != DESTINATION_UNREACHABLE:
        raise Malformed("ICMP type", at=0, expected=f"{DESTINATION_UNREACHABLE}, got {kind}")
    if checksum(message):
        raise Malformed("ICMP checksum", at=2, expected="the right one")
    quoted = message[_ICMP.size :]
    if words and _ICMP.size + 4 * words <= len(message):
        quoted = quoted[: 4 * words]  # RFC 4884: extensions follow
    if len(quoted) < _IPV4_SIZE or quoted[0] >> 4 != 4:
        raise Malformed("quoted packet", at=_ICMP.size, expected="an IPv4 header")
    header = (quoted[0] & 0xF) * 4
    if header < _IPV4_SIZE:
        raise Malformed("quoted header length", at=_ICMP.size, expected=f"{_IPV4_SIZE} or more, got {header}")
    if quoted[9] != IPPROTO_UDP or int.from_bytes(quoted[6:8], "big") & _OFFSET:
        return None
    if len(quoted) < header + _UDP.size:
        raise Malformed("quoted UDP header", at=_ICMP.size + header, expected=f"{_UDP.size} bytes (RFC 792)")
    source_port, destination_port, length, udp_checksum = _UDP.unpack_from(quoted, header)
    return Unreachable(
        code,
        IPv4Address(quoted[12:16]),
        source_port,
        IPv4Address(quoted[16:20]),
        destination_port,
        length,
        udp_checksum,
        quoted[header + _UDP.size : header + max(length, _UDP.size)],  # a link's padding is none of it
    )


def udp_checksum(
    source: IPv4Address, source_port: int, destination: IPv4Address, destination_port: int, payload: bytes
) -> int:
    """The checksum that the datagram has on the wire (RFC 768); never 0, which stands for none."""
    length = _UDP.size + len(payload)
    pseudo = _PSEUDO.pack(source.packed, destination.packed, 0, IPPROTO_UDP, length)
    return checksum(pseudo + _UDP.pack(source_port, destination_port, length, 0) + payload) or 0xFFFF
