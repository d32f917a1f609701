"""Formats of the headers that the rules look at and write, in network order."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

ETHERNET = 14
IP_HEADER = 20
UDP_HEADER = 8
MIP_HEADER = 4
GRE_HEADER, GRE_WORD = 4, 4
MINIMAL_SHORT, MINIMAL_LONG = 8, 12
TUNNEL_DATA = 4
DF, MF, OFFSET = 0x4000, 0x2000, 0x1FFF
UDP_CHECKSUM, TCP_CHECKSUM = 6, 16  # where they stand
GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE = 0x8000, 0x2000, 0x1000
GRE_REFUSED = 0x4C00 | 0x0007  # RFC 2784 2.3: bits 1 to 5 without those of RFC 2890, and the version
ETHERTYPE_IPV4 = 0x0800
MINIMAL_SOURCE = 0x80


@dataclass(frozen=True)
class Header:
    """An IPv4 header, from bytes of at least 20."""

    raw: bytes

    def _word(self, at: int) -> int:
        return int.from_bytes(self.raw[at : at + 2])

    version = property(lambda self: self.raw[0] >> 4)
    length = property(lambda self: (self.raw[0] & 15) * 4)
    tos = property(lambda self: self.raw[1])
    total = property(lambda self: self._word(2))
    identification = property(lambda self: self._word(4))
    dont_fragment = property(lambda self: bool(self._word(6) & DF))
    is_fragment = property(lambda self: bool(self._word(6) & (MF | OFFSET)))
    offset = property(lambda self: self._word(6) & OFFSET)
    ttl = property(lambda self: self.raw[8])
    protocol = property(lambda self: self.raw[9])

    @property
    def source(self) -> IPv4Address:
        return IPv4Address(self.raw[12:16])

    @property
    def destination(self) -> IPv4Address:
        return IPv4Address(self.raw[16:20])

    def is_sound(self, room: int) -> bool:
        """Whether version and lengths make sense in `room` bytes."""
        return bool(self.version == 4 and self.length >= IP_HEADER and self.length <= self.total <= room)


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_checksum(raw: bytes) -> bytes:
    """A header of 20 bytes with its checksum in place of whatever stands there."""
    return raw[:10] + checksum(raw).to_bytes(2) + raw[12:]


def adjusted(old_checksum: bytes, old: bytes, new: bytes) -> bytes:
    """RFC 1624: a wrong checksum stays wrong for the receiver to find."""
    total = sum(
        (int.from_bytes(old_checksum) ^ 0xFFFF, int.from_bytes(old) ^ 0xFFFF, int.from_bytes(new)),
    )
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2)


def is_group(address: IPv4Address) -> bool:
    """Whether this is a multicast group or the limited broadcast address."""
    return address.is_multicast or address == IPv4Address("255.255.255.255")
