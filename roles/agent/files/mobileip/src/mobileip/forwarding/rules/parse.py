"""Reading: what a frame is, and what is in its tunnel."""

from __future__ import annotations

from mobileip.forwarding.entries import MIP_PORT, Encapsulation
from mobileip.forwarding.rules.headers import (
    ETHERNET,
    ETHERTYPE_IPV4,
    GRE_CHECKSUM,
    GRE_HEADER,
    GRE_KEY,
    GRE_REFUSED,
    GRE_SEQUENCE,
    GRE_WORD,
    IP_HEADER,
    MINIMAL_LONG,
    MINIMAL_SHORT,
    MINIMAL_SOURCE,
    MIP_HEADER,
    TUNNEL_DATA,
    UDP_HEADER,
    Header,
    checksum,
    with_checksum,
)
from mobileip.forwarding.rules.packet import Drop, Packet, Stack, first_bytes
from mobileip.forwarding.rules.verdict import Snapshot
from mobileip.wire.encapsulation import IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_MINIMAL, IPPROTO_UDP

_REQUEST, _REPLY = 1, 3
_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION = 9, 10  # ICMP types


def receive(program: str, frame: bytes, tables: Snapshot, now: float, ifindex: int, mark: int) -> Packet:
    """The frame with its IP header read. Raises Stack for what is none of the program's business."""
    if len(frame) < ETHERNET + IP_HEADER or frame[12:14] != b"\x08\x00":
        raise Stack
    outer = Header(frame[ETHERNET : ETHERNET + IP_HEADER])
    if not outer.is_sound(len(frame) - ETHERNET):
        raise Stack
    if program != "mn_egress" and frame[:6] != tables.links[ifindex].mac:
        raise Stack
    packet = Packet(frame, program, tables, now, ifindex, mark, outer)
    packet.head = first_bytes(frame, ETHERNET, outer)
    return packet


def is_tunnel(packet: Packet) -> bool:
    """Whether the outer header is one of a tunnel; nothing inside is looked at yet."""
    outer = packet.outer
    if outer.protocol != IPPROTO_UDP:
        return outer.protocol in (IPPROTO_IPIP, IPPROTO_GRE, IPPROTO_MINIMAL)
    if outer.offset or outer.total < outer.length + UDP_HEADER + 1:
        return False
    at = ETHERNET + outer.length
    return int.from_bytes(packet.frame[at + 2 : at + 4]) == MIP_PORT and packet.frame[at + 8] == TUNNEL_DATA


def is_registration(packet: Packet) -> bool:
    """Whether it is a registration request or reply, which daemons send and receive."""
    if packet.outer.protocol != IPPROTO_UDP or not packet.head or packet.outer.total < IP_HEADER + UDP_HEADER + 1:
        return False
    ports = int.from_bytes(packet.head[:2]), int.from_bytes(packet.head[2:])
    return MIP_PORT in ports and packet.frame[ETHERNET + IP_HEADER + UDP_HEADER] in (_REQUEST, _REPLY)


def is_discovery(packet: Packet) -> bool:
    """Agent discovery (RFC 5944 2): TTL 1, so it never leaves its link."""
    outer = packet.outer
    return (
        outer.protocol == IPPROTO_ICMP
        and not outer.is_fragment
        and bool(packet.head)
        and outer.ttl == 1
        and packet.head[0] in (_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION)
    )


def enter_tunnel_packet(packet: Packet) -> Header:
    """Check the outer headers of what is addressed to us, and read the inner one."""
    outer, at = packet.outer, ETHERNET + IP_HEADER
    if packet.tables.policy.reassembly and (outer.length != IP_HEADER or outer.is_fragment):
        raise Stack  # for the daemon, once it is whole
    if outer.length != IP_HEADER:
        raise Drop("outer_options")
    if outer.is_fragment:
        raise Drop("outer_fragment")
    if checksum(outer.raw):
        raise Drop("outer_checksum")
    room, next_header = outer.total - IP_HEADER, outer.protocol
    if outer.protocol == IPPROTO_UDP:
        length = int.from_bytes(packet.frame[at + 4 : at + 6])
        if not UDP_HEADER + MIP_HEADER <= length <= room:
            raise Drop("truncated")
        packet.port, next_header = int.from_bytes(packet.frame[at : at + 2]), packet.frame[at + 9]
        room, at = length - UDP_HEADER - MIP_HEADER, at + UDP_HEADER + MIP_HEADER
    if next_header not in (IPPROTO_IPIP, IPPROTO_GRE, IPPROTO_MINIMAL):
        raise Drop("unsupported_encapsulation")
    packet.tunnel = Encapsulation.of(next_header, in_udp=outer.protocol == IPPROTO_UDP)
    if next_header == IPPROTO_MINIMAL:
        header = _read_minimal(packet, at, room)
        inner, at = Header(_original(outer, header, room)), at + len(header) - IP_HEADER
    else:
        if next_header == IPPROTO_GRE:
            length = _read_gre(packet, at, room)
            room, at = room - length, at + length
        inner = _read_inner(packet, at, room)
    if packet.segment and packet.tunnel.in_udp and (next_header == IPPROTO_MINIMAL or room > inner.total):
        raise Drop("merged_datagrams")  # several packets in one, where segments of one are as long as it says
    if inner.ttl == 0:
        raise Drop("ttl_expired")
    packet.inner, packet.inner_at, packet.head = inner, at, first_bytes(packet.frame, at, inner)
    return inner


def _read_inner(packet: Packet, at: int, room: int) -> Header:
    if room < IP_HEADER:
        raise Drop("truncated")
    inner = Header(packet.frame[at : at + IP_HEADER])
    if not inner.is_sound(room):
        raise Drop("inner_malformed")
    return inner


def _read_gre(packet: Packet, at: int, room: int) -> int:
    """Length of the header (RFC 2784 2.1, RFC 2890 2). A sequence number is passed over (RFC 2890 2.2)."""
    if room < GRE_HEADER + 3 * GRE_WORD:  # the longest; behind a shorter one an IP header follows
        raise Drop("truncated")
    flags = int.from_bytes(packet.frame[at : at + 2])
    if flags & GRE_REFUSED or int.from_bytes(packet.frame[at + 2 : at + 4]) != ETHERTYPE_IPV4:
        raise Drop("gre_header")
    length = GRE_HEADER
    if flags & GRE_CHECKSUM:
        covered = packet.frame[at : at + room]
        # GRO looked at the checksum of each segment, and left the one of the first.
        if not packet.segment and checksum(covered + b"\0" * (room % 2)):
            raise Drop("gre_checksum")
        length += GRE_WORD
    if flags & GRE_KEY:
        packet.gre_key = int.from_bytes(packet.frame[at + length : at + length + GRE_WORD])
        length += GRE_WORD
    return length + GRE_WORD * bool(flags & GRE_SEQUENCE)


def _read_minimal(packet: Packet, at: int, room: int) -> bytes:
    """The minimal forwarding header (RFC 2004 3.1), with or without the original source."""
    if room < MINIMAL_SHORT:
        raise Drop("truncated")
    length = MINIMAL_LONG if packet.frame[at + 1] & MINIMAL_SOURCE else MINIMAL_SHORT
    if room < length:
        raise Drop("truncated")
    header = packet.frame[at : at + length]
    if checksum(header):
        raise Drop("minimal_checksum")
    return header


def _original(outer: Header, minimal: bytes, room: int) -> bytes:
    """The IP header as it was before minimal encapsulation (RFC 2004 3.2), from the outer one; `room` holds both."""
    raw, source = outer.raw, minimal[MINIMAL_SHORT:] or outer.source.packed
    total = IP_HEADER + room - len(minimal)
    start = raw[:2] + total.to_bytes(2) + raw[4:9] + minimal[:1] + b"\0\0"
    return with_checksum(start + source + minimal[4:8])
