"""The MSS option of TCP (bpf/mss.h)."""

from __future__ import annotations

from mobileip.forwarding.rules.headers import ETHERNET, IP_HEADER, TCP_CHECKSUM, Header, adjusted
from mobileip.forwarding.rules.packet import Packet
from mobileip.wire.encapsulation import IPPROTO_TCP

_SYN = 2
_MOST_TCP_OPTIONS = 4  # that are looked at: stacks put the MSS first


def clamp_mss(packet: Packet) -> None:
    """The MSS option of a SYN, no larger than configured. What cannot be read is left alone."""
    most, header = packet.tables.policy.tcp_mss, Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    if not most or header.protocol != IPPROTO_TCP or header.offset or header.length != IP_HEADER:
        return
    start = ETHERNET + IP_HEADER
    tcp = packet.frame[start:]
    if len(tcp) < 14 or not tcp[13] & _SYN:
        return
    at, end = 20, (tcp[12] >> 4) * 4
    for _ in range(_MOST_TCP_OPTIONS):
        if at + 4 > end or at + 2 > len(tcp):
            return
        kind, length = tcp[at], tcp[at + 1]
        if (kind, length) == (2, 4):
            _lower_mss(packet, start, at + 2, most)
            return
        if kind == 0 or (kind != 1 and length < 2):
            return
        at += 1 if kind == 1 else length


def _lower_mss(packet: Packet, start: int, at: int, most: int) -> None:
    tcp = bytearray(packet.frame[start:])
    old, new = bytes(tcp[at : at + 2]), most.to_bytes(2)
    if len(old) < 2 or int.from_bytes(old) <= most:
        return
    tcp[at : at + 2] = new
    if at % 2:  # options are not aligned: the bytes count in the other halves of the checksum's words
        old, new = old[::-1], new[::-1]
    tcp[TCP_CHECKSUM : TCP_CHECKSUM + 2] = adjusted(bytes(tcp[TCP_CHECKSUM : TCP_CHECKSUM + 2]), old, new)
    packet.frame = packet.frame[:start] + bytes(tcp)
