"""Interfaces by name, and what to say when one is not there."""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16si20x")  # struct ifreq with its union as an integer


class StartError(Exception):
    """The daemon cannot start; the text names the key, the value and what to do."""


def index_of(interface: str, key: str) -> int:
    """The kernel's number of an interface; `key` is where the configuration names it. Raises `StartError`."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        present = ", ".join(name for _, name in socket.if_nameindex())
        raise StartError(f"{key}: there is no interface {interface!r} on this host; it has {present}") from None


def name_of(index: int) -> str:
    """An interface's name, for people; of one that is gone, its number."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"#{index}"


def mtu_of(interface: str) -> int:
    """Bytes that an IP packet on the interface may have. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        answer = fcntl.ioctl(channel, _SIOCGIFMTU, _IFREQ.pack(interface.encode(), 0))
    return int(_IFREQ.unpack(answer)[1])
