"""sd_notify(3) in a few lines: readiness, status and the watchdog of systemd. Does nothing outside a unit."""

from __future__ import annotations

import os
import socket

_WATCHDOG_SHARE = 3
"""Feed the watchdog this many times in its period, so that one late turn of the loop is no reason for a restart."""


def notify(state: str) -> bool:
    """Send `state` (such as `READY=1`) to the service manager; False when there is none or it does not listen."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def watchdog_period() -> float | None:
    """Seconds between two `WATCHDOG=1`, or None when this process has no watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1e6 / _WATCHDOG_SHARE if microseconds > 0 else None
