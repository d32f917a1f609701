"""What a program costs a packet, by BPF_PROG_TEST_RUN: no wire, no driver, the packet in the cache.

Every run goes through `restore` (yardsticks.bpf.c), which writes the frame of a binding chosen at random and tail-calls
what is measured. Its own cost is that of an empty program behind it, and is subtracted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import programs
from .bed import CORE, FLOWS, PRIORITY, Bed, BedError
from .programs import Yardsticks
from .ways import Way

RUNS = 100_000
WARM_UP = 20_000
XDP_DROP, XDP_REDIRECT = 1, 4
SAMPLES = 500

Side = Callable[[], float]


def empty(bed: Bed, way: Way, bindings: int = FLOWS) -> Side:
    """Nothing behind `restore`."""
    return _side(bed, bed.yardsticks, "empty", way, bindings, XDP_DROP)


def fib_forward(bed: Bed, way: Way) -> Side:
    """The FIB lookup and the redirect, on a plain router. Raises `BedError` when it does not redirect."""
    program = bed.yardsticks.program("fib_forward")
    with _prepared(bed, bed.yardsticks, program, way, FLOWS) as run:
        if {run(1)[0] for _ in range(SAMPLES)} != {XDP_REDIRECT}:
            raise BedError(f"{way.name}: the plain router by XDP does not redirect every packet")
    return _side(bed, bed.yardsticks, "fib_forward", way, FLOWS, XDP_REDIRECT)


def bare_lookup(bed: Bed, yardsticks: Yardsticks, way: Way, bindings: int) -> Side:
    """A lookup of the home address in the bare hash of `yardsticks`."""
    return _side(bed, yardsticks, "bare_lookup", way, bindings, XDP_DROP)


def proxy(bed: Bed, way: Way, bindings: int = FLOWS) -> Side:
    """The proxy's own program. Raises `BedError` when any run took another path than `way`."""

    def measure() -> float:
        pin = programs.pinned(bed.pin_dir / "xdp" / way.program)
        try:
            before = bed.forwarded(way)
            with _prepared(bed, bed.yardsticks, pin, way, bindings) as run:
                run(WARM_UP)
                verdict, nanoseconds = run(RUNS)
            there = bed.forwarded(way) - before
        finally:
            os.close(pin)
        if there != WARM_UP + RUNS or verdict != XDP_REDIRECT:
            raise BedError(f"{way.name}: {there} of {WARM_UP + RUNS} runs took the intended path, verdict {verdict}")
        return nanoseconds

    return measure


def _side(bed: Bed, yardsticks: Yardsticks, name: str, way: Way, bindings: int, expected: int) -> Side:
    def measure() -> float:
        with _prepared(bed, yardsticks, yardsticks.program(name), way, bindings) as run:
            run(WARM_UP)
            verdict, nanoseconds = run(RUNS)
        if verdict != expected:
            raise BedError(f"{way.name}: {name} returned {verdict}, expected {expected}")
        return nanoseconds

    return measure


@contextmanager
def _prepared(
    bed: Bed, yardsticks: Yardsticks, program: int, way: Way, bindings: int
) -> Iterator[Callable[[int], tuple[int, int]]]:
    """`restore` ends in `program`; yields what runs it so many times and returns verdict and nanoseconds a run."""
    yardsticks.write(way.shape.pack(bindings))
    yardsticks.measure(program)
    restore, index = yardsticks.program("restore"), bed.index(way.interface)

    def run(repeat: int) -> tuple[int, int]:
        return bed.router.run(_run, restore, way.shape.frame, index, repeat)

    yield run


def _run(program: int, frame: bytes, ifindex: int, repeat: int) -> tuple[int, int]:
    """On the measured core, ahead of other processes."""
    os.sched_setaffinity(0, {CORE})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    try:
        return programs.run(program, frame, ifindex, repeat)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
