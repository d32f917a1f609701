"""Into a tunnel and out of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.forwarding.entries import MIP_PORT, Encapsulation, Tunnel
from mobileip.forwarding.rules.headers import (
    DF,
    ETHERNET,
    ETHERTYPE_IPV4,
    GRE_HEADER,
    GRE_KEY,
    GRE_WORD,
    IP_HEADER,
    MINIMAL_LONG,
    MINIMAL_SOURCE,
    MIP_HEADER,
    TUNNEL_DATA,
    UDP_HEADER,
    Header,
    checksum,
    with_checksum,
)
from mobileip.forwarding.rules.mss import clamp_mss
from mobileip.forwarding.rules.packet import TUNNEL_TTL, Drop, Packet, TooLong, replace_word
from mobileip.wire.encapsulation import IPPROTO_GRE, IPPROTO_MINIMAL, IPPROTO_TCP, IPPROTO_UDP

_MOST_ROOM, _LEAST_SEGMENT = 4088, 256


def overhead(encapsulation: Encapsulation, *, gre_key: bool = False) -> int:
    """Bytes by which a tunnel makes a packet longer; of minimal encapsulation with the source, as from a node."""
    outside = UDP_HEADER + MIP_HEADER if encapsulation.in_udp else 0
    if encapsulation.next_header == IPPROTO_MINIMAL:
        return outside + MINIMAL_LONG
    inside = (GRE_HEADER + GRE_WORD * gre_key) if encapsulation.next_header == IPPROTO_GRE else 0
    return outside + IP_HEADER + inside


def way_back(packet: Packet) -> Tunnel:
    """The tunnel that the packet came by, from its other end."""
    assert packet.tunnel is not None
    return Tunnel(packet.outer.source, packet.now, packet.tunnel, packet.port, gre_key=packet.gre_key)


def _merged_ecn(outer: int, inner: int) -> int:
    """RFC 6040 figure 4: rows inner, columns outer."""
    table: dict[int, dict[int, int | None]] = {
        0b00: {0b00: 0b00, 0b01: 0b00, 0b10: 0b00, 0b11: None},
        0b10: {0b00: 0b10, 0b01: 0b01, 0b10: 0b10, 0b11: 0b11},
        0b01: {0b00: 0b01, 0b01: 0b01, 0b10: 0b01, 0b11: 0b11},
        0b11: {0b00: 0b11, 0b01: 0b11, 0b10: 0b11, 0b11: 0b11},
    }
    merged = table[inner & 3][outer & 3]
    if merged is None:
        raise Drop("ecn")
    return inner & 0xFC | merged


def decapsulate(packet: Packet) -> None:
    """Outer headers and padding off; ECN merged."""
    inner, tunnel, start = packet.inner, packet.tunnel, packet.inner_at
    assert inner is not None
    assert tunnel is not None
    tos = _merged_ecn(packet.outer.tos, inner.tos)
    if tunnel.next_header == IPPROTO_MINIMAL:  # the header that the packet had is not among its bytes
        payload = packet.frame[start + IP_HEADER : start + inner.total]
        packet.frame = packet.frame[:ETHERNET] + inner.raw + payload
        return
    packet.frame = packet.frame[:ETHERNET] + packet.frame[start : start + inner.total]
    replace_word(packet, 0, bytes([packet.frame[ETHERNET], tos]))


def check_fit(packet: Packet, tunnel: Tunnel | None = None, overhead: int = 0) -> None:
    """Whether the packet behind Ethernet fits the way that it leaves by, and through a tunnel fits the tunnel's path.

    Merged segments need no room for the tunnel's headers: the kernel makes them that much shorter.
    """
    header = Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    link = packet.tables.links.get(packet.out)
    if link is None:
        raise Drop("helper_failed")
    mtu = link.mtu
    if tunnel is not None:
        path = packet.tables.path_mtus.get(tunnel.care_of)
        if path is not None and path.expires > packet.now:
            mtu = min(mtu, path.mtu)
    surplus = _travelling_length(packet, header) - (mtu - (0 if packet.segment else overhead))
    if header.total + overhead > 0xFFFF or (surplus > 0 and not _can_be_shorter(packet, header, surplus)):
        raise TooLong(max(0, mtu - overhead))


def _can_be_shorter(packet: Packet, header: Header, surplus: int) -> bool:
    """Merged TCP segments without DF: the kernel cuts them anew, each by so much shorter."""
    is_merged = packet.segment and header.protocol == IPPROTO_TCP and not header.dont_fragment
    return bool(is_merged) and surplus <= _MOST_ROOM and packet.segment >= surplus + _LEAST_SEGMENT


def _travelling_length(packet: Packet, header: Header) -> int:
    """Of merged segments the length of one."""
    at = ETHERNET + header.length
    if packet.segment and header.protocol == IPPROTO_UDP:
        return int(header.length + UDP_HEADER + packet.segment)
    if packet.segment and header.protocol == IPPROTO_TCP and len(packet.frame) > at + 12:
        return int(header.length + (packet.frame[at + 12] >> 4) * 4 + packet.segment)
    return int(header.total)


def encapsulate(packet: Packet, local: IPv4Address, tunnel: Tunnel, local_port: int = MIP_PORT) -> None:
    """RFC 2003 3.1, RFC 2004 3.1, RFC 2784 2.1, RFC 3519 3.3. `packet.out` is set: it has to fit there."""
    inner = Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    tunnel = replace(tunnel, encapsulation=_carrier(packet, tunnel.encapsulation, inner))
    if packet.segment and packet.tunnel not in (None, tunnel.encapsulation):
        raise Drop("merged_segments")
    packet.carrier, packet.growth = tunnel.encapsulation, len(_tunnel_headers(inner, local, tunnel, local_port))
    check_fit(packet, tunnel, packet.growth)
    clamp_mss(packet)
    push_headers(packet, local, tunnel, local_port)


def push_headers(packet: Packet, local: IPv4Address, tunnel: Tunnel, local_port: int = MIP_PORT) -> None:
    """All of the tunnel's headers; with minimal encapsulation in place of the packet's own."""
    original = packet.frame[ETHERNET:]
    inner = Header(original[:IP_HEADER])
    between = _tunnel_headers(inner, local, tunnel, local_port)
    total = inner.total + len(between)
    addresses = local.packed + tunnel.care_of.packed
    if tunnel.encapsulation.next_header == IPPROTO_MINIMAL:
        outer = inner.raw[:2] + total.to_bytes(2) + inner.raw[4:9] + bytes([tunnel.encapsulation.protocol, 0, 0])
        packet.frame = packet.frame[:ETHERNET] + with_checksum(outer + addresses) + between
        packet.frame += original[IP_HEADER : inner.total]
        return
    dscp = packet.tables.policy.dscp
    tos = inner.tos if dscp is None else dscp << 2 | inner.tos & 3
    outer = bytes([0x45, tos]) + total.to_bytes(2)
    outer += (inner.identification + inner.offset & 0xFFFF).to_bytes(2) + (DF if inner.dont_fragment else 0).to_bytes(2)
    outer += bytes([TUNNEL_TTL, tunnel.encapsulation.protocol, 0, 0])
    header = with_checksum(outer + addresses)
    packet.frame = packet.frame[:ETHERNET] + header + between[IP_HEADER:] + original[: inner.total]


def _carrier(packet: Packet, negotiated: Encapsulation, inner: Header) -> Encapsulation:
    """As negotiated, but for what minimal encapsulation cannot carry (RFC 2004 3): it goes by IP-in-IP.

    Options would be the outer header's, and merged segments nobody could cut again. In UDP the next header is the
    negotiated one or none (RFC 3519 4.3). Towards a node, merged segments that came by IP-in-IP go on by it: the kernel
    has noted how they are to be cut.
    """
    came_by_ipip = packet.tunnel is Encapsulation.IPIP and packet.chosen is not None
    if packet.segment and came_by_ipip and not negotiated.in_udp:
        return Encapsulation.IPIP
    if negotiated.next_header != IPPROTO_MINIMAL:
        return negotiated
    if not (inner.is_fragment or inner.length != IP_HEADER or packet.segment):
        return negotiated
    if negotiated.in_udp:
        raise Drop("unfit_for_minimal")
    return Encapsulation.IPIP


def _tunnel_headers(inner: Header, local: IPv4Address, tunnel: Tunnel, local_port: int) -> bytes:
    """What a tunnel makes a packet longer by; an outer IP header, where there is one more than before, is blank."""
    encapsulation = tunnel.encapsulation
    blank, headers = bytes(IP_HEADER), b""
    if encapsulation.next_header == IPPROTO_MINIMAL:
        blank, headers = b"", _minimal_header(inner, local)
    elif encapsulation.next_header == IPPROTO_GRE:
        flags = 0 if tunnel.gre_key is None else GRE_KEY
        key = b"" if tunnel.gre_key is None else tunnel.gre_key.to_bytes(4)
        headers = flags.to_bytes(2) + ETHERTYPE_IPV4.to_bytes(2) + key
    if encapsulation.in_udp:
        carried = inner.total - (IP_HEADER if encapsulation.next_header == IPPROTO_MINIMAL else 0)
        length = UDP_HEADER + MIP_HEADER + len(headers) + carried
        ports = local_port.to_bytes(2) + tunnel.port.to_bytes(2)
        data = bytes([TUNNEL_DATA, encapsulation.next_header, 0, 0])
        headers = ports + (length & 0xFFFF).to_bytes(2) + b"\0\0" + data + headers
    return blank + headers


def _minimal_header(inner: Header, local: IPv4Address) -> bytes:
    """RFC 2004 3.1: the original source only where it is not the tunnel's end itself."""
    source = b"" if inner.source == local else inner.source.packed
    header = bytes([inner.protocol, MINIMAL_SOURCE if source else 0, 0, 0]) + inner.destination.packed + source
    return header[:2] + checksum(header).to_bytes(2) + header[4:]
