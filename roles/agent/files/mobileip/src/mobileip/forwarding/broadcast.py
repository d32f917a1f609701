"""Broadcasts of a home link, as the nodes that are away and set B get them (RFC 5944 4.3); multicast likewise (4.4).

A node that decapsulates by itself (D) finds the packet in its tunnel. One behind a foreign agent, and for a home agent
a MIP Proxy is one, would not be found by the agent, which knows nodes by the inner destination: there the packet is
first wrapped in one from the home agent to the home address, then tunnelled.

What arrives here is not forwarded but handed on as it was on the link, so its TTL stays, and 1 is enough (RFC 2003
3.1). What is too long is cut before it is wrapped, since all the ends have to put it together is what it was.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mobileip.forwarding.entries import Tunnel
from mobileip.forwarding.tunnelling import is_ready, overhead, tunnelled, wrapped
from mobileip.wire.encapsulation import IPv4Packet

_IP_HEADER = 20
_LIMITED_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class Listener:
    """A tunnel to a node that set B. `co_located`: the D bit, the node itself is at its end."""

    home_address: IPv4Address
    tunnel: Tunnel
    co_located: bool


@dataclass(frozen=True)
class BroadcastDomain:
    """A home link: its network, the groups that are treated as broadcast, and the home agent's address."""

    home_agent: IPv4Address
    network: IPv4Network
    groups: Set[IPv4Address] = frozenset()

    def concerns(self, packet: IPv4Packet) -> bool:
        """Is this a broadcast of the link, or for one of the groups?"""
        return (
            packet.destination in (_LIMITED_BROADCAST, self.network.broadcast_address)
            or packet.destination in self.groups
        )

    def copies(self, packet: IPv4Packet, listener: Listener, mtu: int, identification: int) -> tuple[IPv4Packet, ...]:
        """What to send to a listener: one packet, several where one exceeds `mtu` bytes, none where it may not go.

        `identification` is of the packets made here; several count up from it.
        """
        tunnel = listener.tunnel
        # What the node itself sent, or an end of its tunnel, would come back to where it is from (RFC 2003 3.2).
        looping = packet.source in (self.home_agent, listener.home_address, tunnel.care_of, tunnel.source)
        if looping or not is_ready(tunnel) or packet.ttl == 0:
            return ()
        headers = overhead(tunnel) + (0 if listener.co_located else _IP_HEADER)
        return tuple(
            self._tunnelled(piece, listener, (identification + number) & 0xFFFF)
            for number, piece in enumerate(packet.fragments(mtu - headers))
        )

    def _tunnelled(self, piece: IPv4Packet, listener: Listener, identification: int) -> IPv4Packet:
        inner = piece
        if not listener.co_located:
            inner = wrapped(piece, self.home_agent, listener.home_address, identification)
        return tunnelled(inner, self.home_agent, listener.tunnel, identification)
