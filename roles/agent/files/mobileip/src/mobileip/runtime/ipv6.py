"""What the host has of IPv6 beyond its links: addresses of global scope, and default routes.

The kernel's tables under /proc say it in a line each; rtnetlink says when to look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

from mobileip.registration.events import Ipv6Seen
from mobileip.runtime.rtnetlink import GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE, RtnetlinkWatcher

_TABLES = Path("/proc/thread-self/net")
_ADDRESSES, _ROUTES = "if_inet6", "ipv6_route"
_SCOPE_GLOBAL = 0
_ROUTE_UP, _ROUTE_REJECTS = 0x0001, 0x0200
_LOCAL = IPv6Network("fc00::/7")
"""Unique local addresses (RFC 4193) have global scope for the kernel, and lead nowhere outside."""


def seen(addresses: str, routes: str) -> Ipv6Seen:
    """What `if_inet6` and `ipv6_route` say."""
    found = set()
    for line in addresses.splitlines():
        packed, _index, _length, scope, _flags, interface = line.split()
        address = IPv6Address(bytes.fromhex(packed))
        if int(scope, 16) == _SCOPE_GLOBAL and interface != "lo" and address not in _LOCAL:
            found.add(address)
    defaults = set()
    for line in routes.splitlines():
        destination, length, *_, flags, interface = line.split()
        leads = int(flags, 16) & (_ROUTE_UP | _ROUTE_REJECTS) == _ROUTE_UP and interface != "lo"
        if leads and not int(destination, 16) and not int(length, 16):
            defaults.add(interface)
    return Ipv6Seen(tuple(sorted(found)), tuple(sorted(defaults)))


class Ipv6Watcher:
    """Reports `Ipv6Seen` when it has changed; the first right after `start`, if there is anything."""

    def __init__(self, changed: Callable[[Ipv6Seen], None]) -> None:
        self._changed = changed
        self._watcher = RtnetlinkWatcher(GROUP_IPV6_ADDRESS | GROUP_IPV6_ROUTE, self._look)
        self._reported = Ipv6Seen((), ())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher.watch(loop)
        self._look()

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher.close(loop)

    def _look(self) -> None:
        found = seen(_table(_ADDRESSES), _table(_ROUTES))
        if found != self._reported:
            self._reported = found
            self._changed(found)


def _table(name: str) -> str:
    """One of the kernel's tables; empty where the kernel has no IPv6."""
    try:
        return (_TABLES / name).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""
