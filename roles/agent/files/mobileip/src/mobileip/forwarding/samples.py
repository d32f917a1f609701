"""Samples of what the programs drop, headers and all, for an operator who watches.

Sampling is off until somebody watches, and ends by itself some seconds after the watcher has died. A packet that passes
pays nothing for it; of those dropped for one reason at most one an interval is taken. There is one watcher at a time:
the kernel hands each sample out once.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mobileip.forwarding import layouts
from mobileip.forwarding._libbpf import SAMPLE_CALLBACK, Map, check, library
from mobileip.forwarding.reasons import REASON_NAMES

_FIRST = struct.pack("=I", 0)
_NS = 1_000_000_000
_LEASE = 5 * _NS
"""How long sampling goes on without its watcher."""


class BusyError(RuntimeError):
    """Somebody else watches."""


@dataclass(frozen=True)
class DroppedFrame:
    """One sample. `frame` is the beginning of a frame of `length` bytes, as it was when it was dropped."""

    time: float
    """Unix seconds."""
    reason: str
    ifindex: int
    length: int
    frame: bytes


class DropWatch:
    """Context manager: samples while it is open. Needs root, or the daemon's user."""

    def __init__(self, pin_dir: Path | str, per_second: float = 1.0) -> None:
        """`per_second`: samples of each reason at most."""
        if not 0.001 <= per_second <= 1_000_000:
            raise ValueError(f"{per_second} samples a second, expected 0.001 to 1000000")
        self._directory = Path(pin_dir) / "maps"
        self._interval = round(_NS / per_second)
        self._frames: list[DroppedFrame] = []

    def __enter__(self) -> Self:
        for name in ("drop_sampling", "drop_events"):
            if not (self._directory / name).exists():
                raise FileNotFoundError(f"{self._directory / name}: no such table; load the programs first")
        self._lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise BusyError(f"{self._directory}: somebody else watches drops; one watcher at a time") from error
        self._settings = Map(self._directory / "drop_sampling")
        self._events = Map(self._directory / "drop_events")
        # Kept: libbpf calls it as long as the buffer is open.
        self._callback = SAMPLE_CALLBACK(self._take)
        self._buffer: Any = library().ring_buffer__new(self._events.fd, self._callback, None, None)
        if not self._buffer:
            os.close(self._lock)
            raise OSError(ctypes.get_errno(), f"open {self._events.path}")
        self._poll(0)
        self._frames.clear()  # left over from a watcher that died
        self._renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settings.put(_FIRST, layouts.DROP_SAMPLING.pack())
        library().ring_buffer__free(self._buffer)
        os.close(self._lock)

    def frames(self, timeout: float) -> list[DroppedFrame]:
        """What was dropped, after waiting at most `timeout` seconds (1 at most) for the first. To be called again and
        again: each call keeps sampling alive."""
        self._renew()
        self._poll(round(1000 * min(timeout, 1.0)))
        found, self._frames = self._frames, []
        return found

    def _renew(self) -> None:
        until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + _LEASE
        self._settings.put(_FIRST, layouts.DROP_SAMPLING.pack(interval_ns=self._interval, until_ns=until))

    def _poll(self, milliseconds: int) -> None:
        check(library().ring_buffer__poll(self._buffer, milliseconds), f"read {self._events.path.name}")

    def _take(self, _: Any, data: int, size: int) -> int:
        event = layouts.DROP_EVENT.unpack(ctypes.string_at(data, layouts.DROP_EVENT.size))
        ago = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - event["time_ns"]) / _NS
        self._frames.append(
            DroppedFrame(
                time=time.time() - ago,
                reason=REASON_NAMES.get(event["reason"], str(event["reason"])),
                ifindex=event["ifindex"],
                length=event["length"],
                frame=event["frame"][: event["captured"]],
            )
        )
        return 0
