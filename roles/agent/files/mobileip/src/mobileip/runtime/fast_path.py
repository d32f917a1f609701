"""The fast path while the daemon runs: what is attached is said once, and what changes below it is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from mobileip.forwarding import xdp
from mobileip.runtime.journal import log

_INTERVAL = 10.0
"""Seconds between two looks at the interfaces: their MAC addresses, and whether they take frames of XDP programs."""


class FastPath:
    """Keeps the table of interfaces true. Without the daemon it stays as it was, and tc does what XDP then leaves."""

    def __init__(self, pin_directory: Path) -> None:
        self._directory = pin_directory
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say what is attached, and begin to look."""
        log("info", "datapath", **self.describe())
        self._look(loop)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def describe(self) -> Mapping[str, str]:
        """What sees packets first, and why, by interface."""
        return {
            each.interface: f"{each.attach} ({each.why.text.format(interface=each.interface)})"
            for each in xdp.chosen(self._directory)
        }

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_INTERVAL, self._look, loop)
        try:
            if xdp.refresh(self._directory):
                log("info", "interfaces_changed")
        except OSError as exc:
            log("warning", "interfaces_unreadable", error=exc)
