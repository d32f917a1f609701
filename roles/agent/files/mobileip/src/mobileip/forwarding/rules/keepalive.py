"""Echoes through a tunnel: RFC 3519 keepalives, and the answers to probes."""

from __future__ import annotations

from dataclasses import replace

from mobileip.forwarding.entries import Tunnel
from mobileip.forwarding.rules.headers import ETHERNET, IP_HEADER, Header, adjusted, checksum, with_checksum
from mobileip.forwarding.rules.packet import TUNNEL_TTL, Drop, Packet, leave
from mobileip.forwarding.rules.tunnel import decapsulate, push_headers, way_back
from mobileip.forwarding.rules.verdict import Key
from mobileip.wire.encapsulation import IPPROTO_ICMP


def is_echo_reply(packet: Packet, header: Header) -> bool:
    """Whether `header` is that of a whole ICMP echo reply."""
    return header.protocol == IPPROTO_ICMP and not header.is_fragment and packet.head[:2] == b"\0\0"


def answer_keepalive(packet: Packet, found: tuple[Key, int, Tunnel], ifindex: int) -> None:
    """RFC 3519 4.9, through the tunnel that it came by; the first one tells the port of a half-bound tunnel."""
    key, index, tunnel = found
    inner = packet.inner
    assert inner is not None
    if inner.length != IP_HEADER:
        raise Drop("inner_options")
    if inner.protocol != IPPROTO_ICMP or inner.is_fragment or packet.head[:2] != b"\x08\x00":
        raise Drop("inner_protocol")
    if checksum(inner.raw):
        raise Drop("inner_malformed")
    decapsulate(packet)
    learnt = None
    if tunnel.half_bound:
        source = tunnel.source or tunnel.care_of
        learnt = key, index, replace(tunnel, care_of=source, port=packet.port, half_bound=False, source=None)
    packet.learnt = learnt
    _turn_echo(packet)
    leave(packet, "keepalive_answered", ifindex)
    push_headers(packet, packet.outer.destination, way_back(packet))


def _turn_echo(packet: Packet) -> None:
    """The reply to a request that has left its tunnel."""
    frame, at = packet.frame, ETHERNET + IP_HEADER
    icmp = b"\0" + frame[at + 1 : at + 2] + adjusted(frame[at + 2 : at + 4], frame[at : at + 2], b"\0\0")
    packet.frame = frame[:ETHERNET] + _turned(Header(frame[ETHERNET:at])) + icmp + frame[at + 4 :]


def _turned(header: Header) -> bytes:
    raw = header.raw
    return with_checksum(raw[:8] + bytes([TUNNEL_TTL]) + raw[9:10] + b"\0\0" + raw[16:20] + raw[12:16])
