"""What goes no further: its source is told, or it is cut."""

from __future__ import annotations

from mobileip.forwarding.rules.headers import (
    DF,
    ETHERNET,
    IP_HEADER,
    MF,
    OFFSET,
    TCP_CHECKSUM,
    UDP_CHECKSUM,
    Header,
    checksum,
    is_group,
    with_checksum,
)
from mobileip.forwarding.rules.packet import COPY_MARK, TUNNEL_TTL, Drop, Packet, leave
from mobileip.forwarding.rules.tunnel import push_headers, way_back
from mobileip.wire.encapsulation import IPPROTO_ICMP, IPPROTO_MINIMAL, IPPROTO_TCP, IPPROTO_UDP

_UNREACHABLE, _FRAGMENTATION_NEEDED, _TIME_EXCEEDED = 3, 4, 11
_ICMP_ERRORS = (_UNREACHABLE, 4, 5, _TIME_EXCEEDED, 12)
_ERROR_TOS = 0xC0
_LEAST_MTU = 68
_QUOTED, _QUOTED_LITTLE, _QUOTED_AT_LEAST = 528, 40, 60
_LONGEST_PIECE = 4 * 4088


def answer_expired(packet: Packet) -> None:
    """ICMP time exceeded in transit (RFC 1812 4.3.3.4 and 5.3.1, RFC 2003 3.1)."""
    packet.frame, packet.copies = packet.before_hop, ()
    _refuse(packet, "ttl_expired", bytes([_TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0]))


def answer_too_long(packet: Packet, most: int) -> None:
    """With DF the source is told (RFC 2003 5.1); without, two fragments come in anew (RFC 2003 5.1, RFC 3519 4.8)."""
    packet.frame = packet.before_hop
    header = Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    if packet.program == "fa_uplink":
        packet.redirect, packet.out, packet.next_hop = False, 0, None  # the stack is a router
    elif header.dont_fragment:
        most = max(most, _LEAST_MTU)
        _refuse(packet, "too_big", bytes([_UNREACHABLE, _FRAGMENTATION_NEEDED, 0, 0, 0, 0]) + most.to_bytes(2))
    elif packet.cuttable:
        _cut(packet, header, most - _lost_by_fragments(packet))
    else:
        raise Drop("too_big")


def _lost_by_fragments(packet: Packet) -> int:
    """They go by IP-in-IP where the packet would have gone by minimal encapsulation, and so have less room."""
    if packet.carrier is None or packet.carrier.next_header != IPPROTO_MINIMAL:
        return 0
    if packet.carrier.in_udp:
        raise Drop("unfit_for_minimal")
    return IP_HEADER - packet.growth


def _refuse(packet: Packet, reason: str, message: bytes) -> None:
    """An ICMP error, `message` but for checksum and quotation, instead of the packet, back to where it came from."""
    header = Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    refusal = packet.refusal
    policy = packet.tables.policy
    if refusal is None or not policy.errors_per_second or not _may_be_told(packet, header):
        raise Drop(reason)
    if header.total < _QUOTED_AT_LEAST:
        raise Drop(reason)
    quoted = packet.frame[ETHERNET:][: _QUOTED if header.total >= _QUOTED else _QUOTED_LITTLE]
    message += quoted
    message = message[:2] + checksum(message).to_bytes(2) + message[4:]
    start = bytes([0x45, _ERROR_TOS]) + (IP_HEADER + len(message)).to_bytes(2) + b"\0\0" + DF.to_bytes(2)
    start += bytes([TUNNEL_TTL, IPPROTO_ICMP, 0, 0]) + refusal.by.packed + header.source.packed
    ethernet = packet.frame[:ETHERNET] if refusal.through_tunnel else _turned_frame(packet.frame[:ETHERNET])
    packet.frame = ethernet + with_checksum(start) + message
    leave(packet, f"{reason}_answered", packet.ifindex)
    if refusal.through_tunnel:
        push_headers(packet, packet.outer.destination, way_back(packet))


_CHECKSUMS = {IPPROTO_UDP: UDP_CHECKSUM, IPPROTO_TCP: TCP_CHECKSUM}
"""Where the checksum is behind the IP header, by protocol."""


def _finished(header: Header, payload: bytes) -> bytes:
    """With the checksum that the device would have filled in: over all of it, with what is there in its place."""
    at = _CHECKSUMS[header.protocol]
    whole = payload[: header.total - IP_HEADER]
    found = checksum(whole + b"\0" * (len(whole) % 2)) or 0xFFFF
    return payload[:at] + found.to_bytes(2) + payload[at + 2 :]


def _is_unfinished(header: Header, payload: bytes) -> bool:
    """Whether a transport checksum was left to the device: it is the sum over addresses, protocol and length then."""
    at = _CHECKSUMS.get(header.protocol)
    if at is None or header.is_fragment:
        return False
    pseudo = header.source.packed + header.destination.packed
    pseudo += header.protocol.to_bytes(2) + (header.total - IP_HEADER).to_bytes(2)
    return int.from_bytes(payload[at : at + 2]) == checksum(pseudo) ^ 0xFFFF


def _fragment(header: Header, total: int, flags: int) -> bytes:
    """The header of one fragment."""
    raw = header.raw
    return with_checksum(raw[:2] + total.to_bytes(2) + raw[4:6] + flags.to_bytes(2) + raw[8:10] + b"\0\0" + raw[12:])


def _turned_frame(ethernet: bytes) -> bytes:
    return ethernet[6:12] + ethernet[:6] + ethernet[12:]


def _may_be_told(packet: Packet, header: Header) -> bool:
    """RFC 1812 4.3.2.7."""
    source = int(header.source) >> 24
    if header.offset or is_group(header.destination) or source in (0, 127) or source >= 224:
        return False
    return bool(header.protocol != IPPROTO_ICMP or (packet.head and packet.head[0] not in _ICMP_ERRORS))


def _cut(packet: Packet, header: Header, most: int) -> None:
    """The first `most` bytes come in as a copy of the frame; what is left here comes in after it."""
    step = most - IP_HEADER & ~7
    if header.length != IP_HEADER or packet.segment or not 8 <= step <= _LONGEST_PIECE or most >= header.total:
        raise Drop("too_big")
    more = int.from_bytes(header.raw[6:8]) & MF
    ethernet, payload = packet.frame[:ETHERNET], packet.frame[ETHERNET + IP_HEADER :]
    if header.total < _QUOTED_AT_LEAST:
        raise Drop("too_big")
    if _is_unfinished(header, payload):
        payload = _finished(header, payload)
    packet.front = ethernet + _fragment(header, IP_HEADER + step, MF | header.offset) + payload
    rest = _fragment(header, header.total - step, more | (header.offset + step // 8) & OFFSET)
    packet.frame = ethernet + rest + payload[step:]
    if packet.chosen is not None:
        packet.mark = COPY_MARK | packet.chosen
    leave(packet, "cut_in_two", packet.ifindex)
