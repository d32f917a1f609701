"""Gratuitous ARP: tell a link who answers for an address from now on (RFC 5944 4.6, RFC 5227 3)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_REQUEST, _REPLY = 1, 2
_NOTHING = 0
"""The protocol of a packet socket that is to receive nothing."""


def announcement(operation: int, sender: bytes, mac: bytes, address: IPv4Address) -> bytes:
    """An Ethernet frame of `sender` with an ARP message that says: `address` is at `mac`, for sender and target."""
    target = _BROADCAST if operation == _REPLY else bytes(6)
    header = _BROADCAST + sender + struct.pack("!H", _ETHERTYPE_ARP)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address.packed + target + address.packed


class Announcer:
    """Sends announcements from one socket, kept from the first on.

    To close a packet socket takes the kernel 10 to 15 ms (it waits until no processor looks at it any more), and what
    waits is the reply of a registration, or the path of a node that has come home.
    """

    def __init__(self) -> None:
        self._channel: socket.socket | None = None

    def announce(self, interface: str, address: IPv4Address, mac: bytes | None = None) -> None:
        """Send both forms, request and reply: neighbours differ in which one they believe. Raises OSError.

        `mac`: whose the address is from now on, None for ours. The frame is ours in any case, or switches would look
        for the other station here.
        """
        if self._channel is None:
            self._channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NOTHING)
        self._channel.bind((interface, _NOTHING))
        own = self._channel.getsockname()[4][:6]
        for operation in (_REQUEST, _REPLY):
            frame = announcement(operation, own, mac or own, address)
            self._channel.sendto(frame, (interface, _ETHERTYPE_ARP))

    def close(self) -> None:
        """Let go of the socket."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
