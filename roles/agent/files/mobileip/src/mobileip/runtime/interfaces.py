"""Interfaces by name, and what to say when one is not there."""

from __future__ import annotations

import socket


class StartError(Exception):
    """The daemon cannot start; the text names the key, the value and what to do."""


def index_of(interface: str, key: str) -> int:
    """The kernel's number of an interface; `key` is where the configuration names it. Raises `StartError`."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        present = ", ".join(name for _, name in socket.if_nameindex())
        raise StartError(f"{key}: there is no interface {interface!r} on this host; it has {present}") from None
