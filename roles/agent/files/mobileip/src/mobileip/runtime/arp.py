"""Gratuitous ARP: tell a link who answers for an address from now on (RFC 5944 4.6, RFC 5227 3)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_REQUEST, _REPLY = 1, 2


def announcement(operation: int, sender: bytes, mac: bytes, address: IPv4Address) -> bytes:
    """An Ethernet frame of `sender` with an ARP message that says: `address` is at `mac`, for sender and target."""
    target = _BROADCAST if operation == _REPLY else bytes(6)
    header = _BROADCAST + sender + struct.pack("!H", _ETHERTYPE_ARP)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address.packed + target + address.packed


def announce(interface: str, address: IPv4Address, mac: bytes | None = None) -> None:
    """Send both forms, request and reply: neighbours differ in which one they believe. Raises OSError.

    `mac`: whose the address is from now on, None for ours. The frame is ours in any case, or switches would look for
    the other station here.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as channel:
        channel.bind((interface, _ETHERTYPE_ARP))
        own = channel.getsockname()[4][:6]
        for operation in (_REQUEST, _REPLY):
            channel.send(announcement(operation, own, mac or own, address))
