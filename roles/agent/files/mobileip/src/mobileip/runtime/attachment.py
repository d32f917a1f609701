"""Where the moving interface is attached, as the kernel sees it: link, address, default router.

A move is a burst of kernel messages in whatever order: carrier lost, carrier back, old address gone, new address there,
default route there. Loss is believed at once. What comes after it is believed when it is complete, or when it has
stayed incomplete for a moment: a link without an address may only be a link whose address is about to be set.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.events import Attached, Detached
from mobileip.runtime.journal import log
from mobileip.runtime.rtnetlink import (
    GROUP_ADDRESS,
    GROUP_LINK,
    GROUP_ROUTE,
    PROTOCOL,
    InterfaceAddress,
    Link,
    Route,
    Rtnetlink,
    RtnetlinkWatcher,
)

SETTLE_COMPLETE = 0.001
"""Seconds of quiet before a complete attachment is believed: the old address may still be there."""
SETTLE_BARE = 0.003
"""Seconds of quiet before a link without address is believed. Should the address come later all the same, it is a move
like any other, and a solicitation has been sent in vain."""
SETTLE_INCOMPLETE = 0.012
"""Seconds of quiet before an address without router is believed: a request without a way there would be lost."""
LOOK_AGAIN = 0.02
"""Seconds until the kernel is asked again when it could not be read."""

_SCOPE_UNIVERSE = 0
_DEFAULT = IPv4Network("0.0.0.0/0")


def attachment(
    interface: str,
    home_address: IPv4Address | None,
    links: list[Link],
    addresses: list[InterfaceAddress],
    routes: list[Route],
) -> Attached | Detached:
    """What the tables say of `interface`. A home address with a host mask is no attachment: the node carries it."""
    link = next((link for link in links if link.name == interface), None)
    if link is None or not link.running:
        return Detached(interface)
    usable = [
        address
        for address in addresses
        if address.index == link.index
        and address.scope == _SCOPE_UNIVERSE
        and not (address.address == home_address and address.prefix_length == 32)
    ]
    if not usable:
        return Attached(interface, None, 0, None)
    first = usable[0]
    defaults = [
        route
        for route in routes
        if route.destination == _DEFAULT and route.index == link.index and route.protocol != PROTOCOL
    ]
    gateway = min(defaults, key=lambda route: route.metric).gateway if defaults else None
    return Attached(interface, first.address, first.prefix_length, gateway)


def _settling_time(seen: Attached) -> float:
    if seen.address is None:
        return SETTLE_BARE
    return SETTLE_COMPLETE if seen.gateway is not None else SETTLE_INCOMPLETE


class AttachmentWatcher:
    """Reports `Attached` and `Detached` as the interface moves; each once, the first right after `start`."""

    def __init__(
        self, interface: str, home_address: IPv4Address | None, moved: Callable[[Attached | Detached], None]
    ) -> None:
        self._interface = interface
        self._home_address = home_address
        self._moved = moved
        self._kernel = Rtnetlink()
        self._watcher = RtnetlinkWatcher(GROUP_LINK | GROUP_ADDRESS | GROUP_ROUTE, self._look)
        self._reported: Attached | Detached | None = None
        self._candidate: Attached | Detached | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watcher.watch(loop)
        self._look()

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        self._cancel()
        self._watcher.close(loop)
        self._kernel.close()

    def _look(self) -> None:
        assert self._loop is not None
        kernel = self._kernel
        try:
            seen = attachment(self._interface, self._home_address, kernel.links(), kernel.addresses(), kernel.routes())
        except OSError as exc:  # the tables change faster than they can be read: look a moment later
            log("warning", "attachment_unreadable", interface=self._interface, error=exc)
            self._cancel()
            self._settling = self._loop.call_later(LOOK_AGAIN, self._look_again)
            return
        if seen == self._candidate and self._settling is not None:
            return  # still settling; what others change elsewhere must not put it off
        self._cancel()
        self._candidate = seen
        if isinstance(seen, Detached):
            self._report()
        elif seen != self._reported:
            self._settling = self._loop.call_later(_settling_time(seen), self._report)

    def _look_again(self) -> None:
        self._settling = None
        self._look()

    def _report(self) -> None:
        self._settling = None
        seen = self._candidate
        if seen is not None and seen != self._reported:
            self._reported = seen
            if isinstance(seen, Attached) and seen.gateway is not None:
                self._ask_again(seen.gateway)
            self._moved(seen)

    def _ask_again(self, gateway: IPv4Address) -> None:
        """What others sent in the first moments of a link may have asked for the router when nobody could hear it."""
        with contextlib.suppress(OSError):
            self._kernel.ask_again(self._interface, gateway)

    def _cancel(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
