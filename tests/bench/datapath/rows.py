"""The rows of the data path, and what has to be done to fill them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from mobileip.forwarding.entries import Encapsulation

from ..rows import Group, Measured, Row
from . import ways
from .bed import FLOWS, Bed, BedError, Forwarder, Sink
from .ways import INNER_LENGTH, Way

TC = Row("tc_forward_ratio_to_kernel_forward", "ratio", 1.0, at_most=False)
BYTES = Row("kernel_bytes_per_binding", "bytes", 256)
LOAD = Row("bulk_load_1m_seconds", "s", None)
OUTPUT = Path("build/bench/datapath")
ROUNDS = 5
PACKETS = 500_000
MANY = 1_000_000
PER_BINDING = ("bindings",)
"""Tables that have an entry for each binding."""

Say = Callable[[str], None]


def in_turn(sides: Iterable[Callable[[], float]], rounds: int = ROUNDS) -> list[float]:
    """Measure each side once a round, and return each one's median: what disturbs the machine disturbs all of them."""
    taken: list[list[float]] = [[side() for side in sides_of_round] for sides_of_round in [list(sides)] * rounds]
    return [median(values) for values in zip(*taken, strict=True)]


def _forward_ratio(forwarder: Forwarder, sink: Sink, row: Row, say: Say) -> dict[str, Measured]:
    """Packets a second by `forwarder` against the kernel's own forwarding of the same frames; the worst way counts."""
    ratios: dict[str, float] = {}
    rates: dict[str, tuple[float, float]] = {}
    with Bed(Forwarder.KERNEL, OUTPUT, sink=sink) as kernel, Bed(forwarder, OUTPUT, sink=sink) as proxy:
        for way in ways.ways():
            proxy.bind(way.encapsulation)
            ours, plain = in_turn([_rate(proxy, way), _rate(kernel, way)])
            ratios[way.name], rates[way.name] = round(ours / plain, 2), (ours, plain)
            say(f"{way.name}: {ours / 1e6:.3f} million a second by {forwarder}, {plain / 1e6:.3f} by the kernel")
    worst = min(ratios, key=lambda name: ratios[name])
    ours, plain = rates[worst]
    how = (
        f"{worst}: {ours / 1e6:.3f} million packets arrived a second through the proxy by {forwarder}, "
        f"{plain / 1e6:.3f} million of the same frames by plain IPv4 forwarding (no nftables, no connection tracking); "
        f"medians of {ROUNDS} runs of {PACKETS} in turn; generator (XDP live frames), forwarder and sink ({sink}) on "
        f"one pinned core, veth between namespaces, {FLOWS} bindings or destinations at random, inner packets of "
        f"{INNER_LENGTH} bytes; every packet that arrived was counted on the intended path; "
        "the worst of each encapsulation and direction counts"
    )
    return {row.name: Measured(ratios[worst], how, ratios)}


def _rate(bed: Bed, way: Way) -> Callable[[], float]:
    return lambda: bed.rate(way, PACKETS)


def measure_tc(say: Say) -> dict[str, Measured]:
    """Through the proxy by tc, against the kernel."""
    return _forward_ratio(Forwarder.TC, Sink.TC, TC, say)


def measure_scale(say: Say) -> dict[str, Measured]:
    """Fill the kernel's tables with 1,000,000 bindings, through the product's own bulk loader."""
    with ExitStack() as stack:
        bed = stack.enter_context(Bed(Forwarder.TC, OUTPUT, max_bindings=MANY))
        now = time.time()
        bindings = [ways.binding(number, Encapsulation.UDP, now) for number in range(MANY)]
        seconds = []
        for _ in range(ROUNDS):
            bed.tables.sync(())
            started = time.monotonic()
            bed.tables.sync(bindings)
            seconds.append(time.monotonic() - started)
            say(f"{MANY} bindings loaded in {seconds[-1]:.1f} s")
        held = len(bed.tables.bindings())
        if held != MANY:
            raise BedError(f"the table holds {held} bindings, expected {MANY}")
        bytes_of = {name: bed.memory(name) for name in PER_BINDING}
    total = sum(bytes_of.values())
    say("memory: " + ", ".join(f"{name} {size} bytes" for name, size in bytes_of.items()))
    return {
        LOAD.name: Measured(
            round(median(seconds), 1),
            f"ProxyTables.sync of {MANY} bindings into empty tables, from the daemon's own objects; median of {ROUNDS} "
            "with all other load of the machine",
        ),
        BYTES.name: Measured(
            round(total / MANY, 1),
            f"memlock of fdinfo, sum of {', '.join(PER_BINDING)} with {MANY} bindings and room for as many: {total} "
            "bytes, buckets of the hash included",
            {name: round(size / MANY, 1) for name, size in bytes_of.items()},
        ),
    }


TC_GROUP = Group((TC,), measure_tc, needs_hosts=False)
SCALE_GROUP = Group((BYTES, LOAD), measure_scale, needs_hosts=False)
