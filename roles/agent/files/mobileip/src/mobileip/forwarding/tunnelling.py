"""What the daemon itself sends into a tunnel: broadcasts of the home link, and probes of a path."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.forwarding.entries import MIP_PORT, Encapsulation, Tunnel
from mobileip.forwarding.rules import overhead as overhead_of
from mobileip.wire.encapsulation import (
    IPPROTO_GRE,
    IPPROTO_IPIP,
    IPPROTO_MINIMAL,
    Gre,
    IPv4Packet,
    MinimalForwarding,
    TunnelData,
    UdpDatagram,
)


def is_ready(tunnel: Tunnel) -> bool:
    """Whether a packet can be sent: a half-bound one has no port before its first keepalive (RFC 3519 4.5)."""
    return not tunnel.half_bound or bool(tunnel.port)


def overhead(tunnel: Tunnel) -> int:
    """Bytes of the headers that are put before a packet."""
    return overhead_of(tunnel.encapsulation, gre_key=tunnel.gre_key is not None)


def tunnelled(inner: IPv4Packet, local: IPv4Address, tunnel: Tunnel, identification: int) -> IPv4Packet:
    """`inner` in the tunnel from `local` (RFC 2003 3.1, RFC 2004 3.1, RFC 2784 2.1, RFC 3519 3.3), with its DF and TOS.

    What minimal encapsulation cannot carry goes by IP in IP (RFC 2004 3).
    """
    encapsulation = tunnel.encapsulation
    if encapsulation is Encapsulation.MINIMAL and (inner.is_fragment or inner.options):
        encapsulation = Encapsulation.IPIP
    outer = wrapped(inner, local, tunnel.care_of, identification)
    payload = outer.payload
    if encapsulation.next_header == IPPROTO_GRE:
        payload = Gre(payload, tunnel.gre_key).serialize()
    elif encapsulation.next_header == IPPROTO_MINIMAL:
        source = None if inner.source == local else inner.source
        payload = MinimalForwarding(inner.protocol, inner.destination, source, inner.payload).serialize()
        outer = replace(outer, identification=inner.identification, ttl=inner.ttl)
    if encapsulation.in_udp:
        data = TunnelData(encapsulation.next_header, payload).serialize()
        payload = UdpDatagram(MIP_PORT, tunnel.port, data).serialize()
    return replace(outer, protocol=encapsulation.protocol, payload=payload)


def wrapped(inner: IPv4Packet, source: IPv4Address, destination: IPv4Address, identification: int) -> IPv4Packet:
    """IP in IP (RFC 2003 3.1) between any two addresses."""
    return IPv4Packet(
        source=source,
        destination=destination,
        protocol=IPPROTO_IPIP,
        payload=inner.serialize(),
        tos=inner.tos,
        identification=identification,
        dont_fragment=inner.dont_fragment,
    )
