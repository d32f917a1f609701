"""What the daemon itself sends into a tunnel: broadcasts of the home link, and probes of a path."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.forwarding.entries import MIP_PORT, Encapsulation, Tunnel
from mobileip.wire.encapsulation import IPPROTO_IPIP, IPPROTO_UDP, IPv4Packet, TunnelData, UdpDatagram

_IP_HEADER = 20
_UDP_TUNNEL_HEADERS = _IP_HEADER + 8 + 4


def is_ready(tunnel: Tunnel) -> bool:
    """Whether a packet can be sent: a half-bound one has no port before its first keepalive (RFC 3519 4.5)."""
    return not tunnel.half_bound or bool(tunnel.port)


def overhead(tunnel: Tunnel) -> int:
    """Bytes of the headers that are put before a packet."""
    return _UDP_TUNNEL_HEADERS if tunnel.encapsulation is Encapsulation.UDP else _IP_HEADER


def tunnelled(inner: IPv4Packet, local: IPv4Address, tunnel: Tunnel, identification: int) -> IPv4Packet:
    """`inner` in the tunnel from `local` (RFC 2003 3.1, RFC 3519 3.3), with its type of service and DF."""
    payload, protocol = inner.serialize(), IPPROTO_IPIP
    if tunnel.encapsulation is Encapsulation.UDP:
        data = TunnelData(IPPROTO_IPIP, payload).serialize()
        payload, protocol = UdpDatagram(MIP_PORT, tunnel.port, data).serialize(), IPPROTO_UDP
    return replace(wrapped(inner, local, tunnel.care_of, identification), protocol=protocol, payload=payload)


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
