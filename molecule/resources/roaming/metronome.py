"""A clock hand that only sleeps: what it misses, the machine itself missed.

A measurement in milliseconds means nothing while a busy machine runs nobody. Standard input is the leash. Prints one
JSON line a pause: when it ended (Unix seconds) and how long it was beyond the sleep that was asked for.
"""

from __future__ import annotations

import json
import select
import sys
import time

TICK = 0.002
"""Seconds between looks."""

NOTEWORTHY = 0.004
"""Seconds of lateness from which on a pause is told."""


def main() -> None:
    """Tick until standard input closes."""
    print(json.dumps({"event": "ticking", "t": time.time()}), flush=True)
    before = time.monotonic()
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], TICK)
        if ready and not sys.stdin.readline():
            return
        now = time.monotonic()
        late = now - before - TICK
        before = now
        if late >= NOTEWORTHY:
            print(json.dumps({"event": "pause", "t": time.time(), "seconds": late}), flush=True)


if __name__ == "__main__":
    main()
