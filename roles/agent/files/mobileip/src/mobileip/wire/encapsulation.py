"""Headers of tunnels: IPv4, MIP tunnel data (RFC 3519 3.3), minimal forwarding (RFC 2004), GRE (RFC 2784), UDP, ICMP.

What a tunnel carries is built and taken apart here by the daemon for keepalives, and by the model of forwarding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from mobileip.wire.errors import Malformed
from mobileip.wire.messages import MessageType

IPPROTO_ICMP = 1
IPPROTO_IPIP = 4
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_GRE = 47
IPPROTO_ESP = 50
IPPROTO_MINIMAL = 55

TUNNEL_PROTOCOLS = frozenset({IPPROTO_IPIP, IPPROTO_GRE, IPPROTO_MINIMAL})

_IPV4 = struct.Struct("!BBHHHBBHII")
_UDP = struct.Struct("!HHHH")
_GRE = struct.Struct("!HH")
_ETHERTYPE_IPV4 = 0x0800
_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE = 0x8000, 0x2000, 0x1000
# Bits 1 to 5 without those to which RFC 2890 gave a meaning: routing, strict source route, recursion of RFC 1701.
_GRE_REFUSED = 0x4C00
_GRE_VERSION = 0x0007
_ECHO = struct.Struct("!BBHHH")
_ECHO_REPLY = 0
_ECHO_REQUEST = 8
_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`; 0 over a header that holds its own right one."""
    if len(data) % 2:
        data += b"\0"
    # The one's complement sum of 16-bit words is the number modulo 65535; 0 and 65535 are the same there.
    total = int.from_bytes(data, "big")
    return ~(total % 0xFFFF or (0xFFFF if total else 0)) & 0xFFFF


@dataclass(frozen=True, slots=True)
class IPv4Packet:
    """An IPv4 packet. `fragment_offset` in bytes; `payload` ends where the total length says."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    options: bytes = b""

    @property
    def is_fragment(self) -> bool:
        """It is a piece of a packet."""
        return self.more_fragments or self.fragment_offset > 0

    @classmethod
    def parse(cls, data: bytes) -> IPv4Packet:
        """Decode, header checksum included; bytes behind the total length are padding. Raises `Malformed`."""
        if len(data) < _IPV4.size:
            raise Malformed("IPv4 header", at=len(data), expected=f"{_IPV4.size} bytes or more")
        version, tos, total, identification, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
        if version >> 4 != 4:
            raise Malformed("IP version", at=0, expected=f"4, got {version >> 4}")
        header = (version & 0xF) * 4
        if not _IPV4.size <= header <= total:
            raise Malformed("IPv4 header length", at=0, expected=f"20 to total length {total}, got {header}")
        if total > len(data):
            raise Malformed("IPv4 total length", at=2, expected=f"{len(data)} or less, got {total}")
        if checksum(data[:header]):
            raise Malformed("IPv4 header checksum", at=10, expected="the right one")
        return cls(
            IPv4Address(source),
            IPv4Address(destination),
            protocol,
            data[header:total],
            ttl,
            tos,
            identification,
            bool(fragment & _DONT_FRAGMENT),
            bool(fragment & _MORE_FRAGMENTS),
            (fragment & 0x1FFF) * 8,
            data[_IPV4.size : header],
        )

    def serialize(self) -> bytes:
        """The packet's bytes with its header checksum. Raises ValueError if a field does not fit: our own mistake."""
        if len(self.options) % 4 or len(self.options) > 40:
            raise ValueError(f"IPv4 options: {len(self.options)} bytes, expected a multiple of 4 up to 40")
        header = _IPV4.size + len(self.options)
        if header + len(self.payload) > 0xFFFF:
            raise ValueError(f"IPv4 payload: {len(self.payload)} bytes, expected at most {0xFFFF - header}")
        fragment = (
            (_DONT_FRAGMENT if self.dont_fragment else 0)
            | (_MORE_FRAGMENTS if self.more_fragments else 0)
            | self.fragment_offset // 8
        )
        start = _IPV4.pack(
            0x40 | header // 4,
            self.tos,
            header + len(self.payload),
            self.identification,
            fragment,
            self.ttl,
            self.protocol,
            0,
            int(self.source),
            int(self.destination),
        )
        start += self.options
        return start[:10] + checksum(start).to_bytes(2, "big") + start[12:] + self.payload

    def fragments(self, mtu: int) -> tuple[IPv4Packet, ...]:
        """The packet in pieces of at most `mtu` bytes (RFC 791 3.2); none if it must not be cut, or has options."""
        room = mtu - _IPV4.size
        if len(self.options) + len(self.payload) <= room:
            return (self,)
        step = room & ~7
        if self.dont_fragment or self.options or step <= 0:
            return ()
        last = len(self.payload) - step
        return tuple(
            replace(
                self,
                payload=self.payload[at : at + step],
                fragment_offset=self.fragment_offset + at,
                more_fragments=self.more_fragments or at < last,
            )
            for at in range(0, len(self.payload), step)
        )


@dataclass(frozen=True, slots=True)
class TunnelData:
    """MIP Tunnel Data (RFC 3519 3.3): UDP payload of port 434. `next_header` is 4, 47 or 55."""

    next_header: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> TunnelData:
        """Decode a UDP payload; the reserved bytes are ignored. Raises `Malformed`."""
        if len(data) < 4:
            raise Malformed("tunnel data", at=len(data), expected="4 bytes or more")
        if data[0] != MessageType.TUNNEL_DATA:
            raise Malformed("type", at=0, expected=f"{MessageType.TUNNEL_DATA:d}, got {data[0]}")
        if data[1] not in TUNNEL_PROTOCOLS:
            raise Malformed("next header", at=1, expected=f"4, 47 or 55, got {data[1]}")
        return cls(data[1], data[4:])

    def serialize(self) -> bytes:
        """The UDP payload."""
        return bytes((MessageType.TUNNEL_DATA, self.next_header, 0, 0)) + self.payload


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """A UDP datagram inside an IPv4 packet. Built without a checksum (0), which RFC 768 permits."""

    source_port: int
    destination_port: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> UdpDatagram:
        """Decode; the checksum is not looked at, a tunnel leaves it 0. Raises `Malformed`."""
        if len(data) < _UDP.size:
            raise Malformed("UDP header", at=len(data), expected=f"{_UDP.size} bytes or more")
        source, destination, length, _ = _UDP.unpack_from(data)
        if not _UDP.size <= length <= len(data):
            raise Malformed("UDP length", at=4, expected=f"8 to {len(data)}, got {length}")
        return cls(source, destination, data[_UDP.size : length])

    def serialize(self) -> bytes:
        """The datagram's bytes."""
        length = _UDP.size + len(self.payload)
        return _UDP.pack(self.source_port, self.destination_port, length, 0) + self.payload


@dataclass(frozen=True, slots=True)
class Echo:
    """ICMP echo request, or the reply to one."""

    identifier: int
    sequence: int
    data: bytes = b""
    reply: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Echo:
        """Decode an ICMP message, checksum included. Raises `Malformed`, also for every other ICMP type."""
        if len(data) < _ECHO.size:
            raise Malformed("ICMP echo", at=len(data), expected=f"{_ECHO.size} bytes or more")
        kind, code, _, identifier, sequence = _ECHO.unpack_from(data)
        if kind not in (_ECHO_REPLY, _ECHO_REQUEST) or code:
            raise Malformed("ICMP type", at=0, expected=f"0/0 or 8/0, got {kind}/{code}")
        if checksum(data):
            raise Malformed("ICMP checksum", at=2, expected="the right one")
        return cls(identifier, sequence, data[_ECHO.size :], kind == _ECHO_REPLY)

    def serialize(self) -> bytes:
        """The ICMP message with its checksum."""
        kind = _ECHO_REPLY if self.reply else _ECHO_REQUEST
        message = _ECHO.pack(kind, 0, 0, self.identifier, self.sequence) + self.data
        return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


@dataclass(frozen=True, slots=True)
class MinimalForwarding:
    """Minimal forwarding header (RFC 2004 3.1), directly behind the IP header. `source` None: S is clear."""

    protocol: int
    destination: IPv4Address
    source: IPv4Address | None
    payload: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, data: bytes) -> MinimalForwarding:
        """Decode, checksum included; the reserved bits are ignored. Raises `Malformed`."""
        size = 12 if len(data) > 1 and data[1] & 0x80 else 8
        if len(data) < size:
            raise Malformed("minimal forwarding header", at=len(data), expected=f"{size} bytes or more")
        if checksum(data[:size]):
            raise Malformed("minimal forwarding checksum", at=2, expected="the right one")
        source = IPv4Address(data[8:12]) if size == 12 else None
        return cls(data[0], IPv4Address(data[4:8]), source, data[size:])

    def serialize(self) -> bytes:
        """The header with its checksum, and the payload."""
        source = self.source.packed if self.source is not None else b""
        header = bytes((self.protocol, 0x80 if source else 0, 0, 0)) + self.destination.packed + source
        return header[:2] + checksum(header).to_bytes(2, "big") + header[4:] + self.payload


@dataclass(frozen=True, slots=True)
class Gre:
    """GRE header (RFC 2784 2.1) around an IPv4 packet, with RFC 2890's key and sequence number (None: not there)."""

    payload: bytes = field(repr=False)
    key: int | None = None
    sequence: int | None = None
    checksummed: bool = False

    @classmethod
    def parse(cls, data: bytes) -> Gre:
        """Decode, checksum included where there is one; reserved bits 6 to 12 are ignored. Raises `Malformed`."""
        if len(data) < _GRE.size:
            raise Malformed("GRE header", at=len(data), expected=f"{_GRE.size} bytes or more")
        flags, protocol = _GRE.unpack_from(data)
        if flags & _GRE_REFUSED:
            raise Malformed("GRE flags", at=0, expected=f"bits 1, 4 and 5 clear, got {flags:#06x}")
        if flags & _GRE_VERSION:
            raise Malformed("GRE version", at=1, expected=f"0, got {flags & _GRE_VERSION}")
        if protocol != _ETHERTYPE_IPV4:
            raise Malformed("GRE protocol type", at=2, expected=f"{_ETHERTYPE_IPV4:#06x}, got {protocol:#06x}")
        present = [bool(flags & bit) for bit in (_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE)]
        size = _GRE.size + 4 * sum(present)
        if len(data) < size:
            raise Malformed("GRE header", at=len(data), expected=f"{size} bytes or more")
        # Over the payload as well, and to be looked at by every receiver.
        if present[0] and checksum(data):
            raise Malformed("GRE checksum", at=4, expected="the right one")
        at = _GRE.size + 4 * present[0]
        key = int.from_bytes(data[at : at + 4]) if present[1] else None
        sequence = int.from_bytes(data[size - 4 : size]) if present[2] else None
        return cls(data[size:], key, sequence, present[0])

    def serialize(self) -> bytes:
        """The header and the payload. Raises ValueError if a number does not fit: our own mistake."""
        numbers = ((_GRE_KEY, self.key), (_GRE_SEQUENCE, self.sequence))
        flags = _GRE_CHECKSUM if self.checksummed else 0
        optional = b""
        for bit, number in numbers:
            if number is not None:
                if not 0 <= number <= 0xFFFFFFFF:
                    raise ValueError(f"GRE key or sequence number: {number}, expected 32 bits")
                flags |= bit
                optional += number.to_bytes(4)
        start = _GRE.pack(flags, _ETHERTYPE_IPV4)
        rest = optional + self.payload
        if not self.checksummed:
            return start + rest
        return start + checksum(start + bytes(4) + rest).to_bytes(2) + bytes(2) + rest


def keepalive(
    home_address: IPv4Address,
    agent: IPv4Address,
    identifier: int,
    sequence: int,
    next_header: int = IPPROTO_IPIP,
    gre_key: int | None = None,
) -> bytes:
    """UDP payload of a keepalive (RFC 3519 4.9): an echo request from the node to its agent, as tunnel data."""
    echo = Echo(identifier, sequence).serialize()
    if next_header == IPPROTO_MINIMAL:
        return TunnelData(
            next_header, MinimalForwarding(IPPROTO_ICMP, agent, home_address, echo).serialize()
        ).serialize()
    packet = IPv4Packet(home_address, agent, IPPROTO_ICMP, echo).serialize()
    payload = Gre(packet, gre_key).serialize() if next_header == IPPROTO_GRE else packet
    return TunnelData(next_header, payload).serialize()
