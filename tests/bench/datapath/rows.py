"""The rows of the data path, and what has to be done to fill them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from mobileip.forwarding.entries import Encapsulation

from ..rows import Group, Measured, Row
from . import nanoseconds, ways
from .bed import FLOWS, Bed, BedError, Forwarder, Sink
from .nanoseconds import RUNS
from .programs import Yardsticks
from .ways import INNER_LENGTH, Way

RATIO = Row("xdp_ratio_to_fib_forward", "ratio", 1.5)
NANOSECONDS = Row("xdp_ns_per_packet", "ns", None)
XDP = Row("xdp_forward_ratio_to_kernel_forward", "ratio", 4.0, at_most=False)
LOOKUP = Row("lookup_cost_over_bare_hash", "ratio", 1.2)
TC = Row("tc_forward_ratio_to_kernel_forward", "ratio", 1.0, at_most=False)
BYTES = Row("kernel_bytes_per_binding", "bytes", 256)
LOAD = Row("bulk_load_1m_seconds", "s", None)
OUTPUT = Path("build/bench/datapath")
ROUNDS = 5
ROUNDS_NS = 11
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


def measure_xdp(say: Say) -> dict[str, Measured]:
    """Through the proxy by XDP, against the kernel."""
    return _forward_ratio(Forwarder.XDP, Sink.XDP, XDP, say)


def measure_ratio(say: Say) -> dict[str, Measured]:
    """The proxy's XDP programs against one that only asks the FIB; both less an empty one."""
    ratios: dict[str, float] = {}
    costs: dict[str, float] = {}
    yardsticks: dict[str, float] = {}
    with Bed(Forwarder.KERNEL, OUTPUT) as plain, Bed(Forwarder.XDP, OUTPUT) as bed:
        for way in ways.ways():
            bed.bind(way.encapsulation)
            sides = [
                nanoseconds.proxy(bed, way),
                nanoseconds.empty(bed, way),
                nanoseconds.fib_forward(plain, way),
                nanoseconds.empty(plain, way),
            ]
            ours, ours_empty, fib, fib_empty = in_turn(sides, ROUNDS_NS)
            costs[way.name], yardsticks[way.name] = ours - ours_empty, fib - fib_empty
            ratios[way.name] = round(costs[way.name] / yardsticks[way.name], 2)
            say(f"{way.name}: {costs[way.name]:.0f} ns, the FIB alone {yardsticks[way.name]:.0f} ns")
    worst = max(ratios, key=lambda name: ratios[name])
    slowest = max(costs, key=lambda name: costs[name])
    how = (
        f"BPF_PROG_TEST_RUN, {RUNS} runs, medians of {ROUNDS_NS} in turn; a wrapper restores packet and head for one "
        f"of {FLOWS} bindings at random and tail-calls the program; less the same with an empty program; every run "
        "was counted on the intended path"
    )
    return {
        RATIO.name: Measured(
            ratios[worst],
            f"{worst}: {costs[worst]:.0f} ns a packet against {yardsticks[worst]:.0f} ns of an XDP program that only "
            f"asks the FIB and redirects the same frame; {how}; the worst of each encapsulation and direction counts",
            ratios,
        ),
        NANOSECONDS.name: Measured(round(costs[slowest]), f"{slowest}; {how}", {k: round(v) for k, v in costs.items()}),
    }


def measure_scale(say: Say) -> dict[str, Measured]:
    """Fill the kernel's tables with 1,000,000 bindings by the product's own bulk loader; what they cost then."""
    way = ways.way("gateway_to_node", Encapsulation.IPIP)
    with ExitStack() as stack:
        few = stack.enter_context(Bed(Forwarder.XDP, OUTPUT))
        few.bind(way.encapsulation)
        many = stack.enter_context(Bed(Forwarder.XDP, OUTPUT, max_bindings=MANY))
        seconds = [_load(many, way, say) for _ in range(ROUNDS)]
        bytes_of = {name: many.memory(name) for name in PER_BINDING}
        bare = {size: stack.enter_context(Yardsticks(OUTPUT, size)) for size in (FLOWS, MANY)}
        for size, yardsticks in bare.items():
            yardsticks.fill_bare([ways.home(number).packed + bytes(4) for number in range(size)])
        sides = [
            nanoseconds.proxy(few, way),
            nanoseconds.proxy(many, way, MANY),
            nanoseconds.bare_lookup(few, bare[FLOWS], way, FLOWS),
            nanoseconds.bare_lookup(few, bare[MANY], way, MANY),
        ]
        ours_few, ours_many, bare_few, bare_many = in_turn(sides, ROUNDS_NS)
    total = sum(bytes_of.values())
    say("memory: " + ", ".join(f"{name} {size} bytes" for name, size in bytes_of.items()))
    say(f"{ours_few:.0f} and {ours_many:.0f} ns, a bare hash {bare_few:.0f} and {bare_many:.0f} ns")
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
        LOOKUP.name: Measured(
            round((ours_many - ours_few) / (bare_many - bare_few), 2),
            f"{way.name} by XDP, bindings at random: {ours_many:.0f} ns with {MANY} bindings less {ours_few:.0f} with "
            f"{FLOWS}, over {bare_many:.0f} ns less {bare_few:.0f} of a lookup in a BPF hash of 8-byte keys and "
            f"values; BPF_PROG_TEST_RUN, {RUNS} runs, medians of {ROUNDS_NS} in turn, the wrapper's cost in all four; "
            "every run was counted on the intended path",
        ),
    }


def _load(bed: Bed, way: Way, say: Say) -> float:
    """Seconds to fill the emptied table. Raises `BedError` when it does not hold all bindings then."""
    now = time.time()
    bindings = [ways.binding(number, way.encapsulation, now) for number in range(MANY)]
    bed.tables.sync(())
    started = time.monotonic()
    bed.tables.sync(bindings)
    seconds = time.monotonic() - started
    say(f"{MANY} bindings loaded in {seconds:.1f} s")
    held = sum(1 for _ in bed.tables.traffic())
    if held != MANY:
        raise BedError(f"the table holds {held} bindings, expected {MANY}")
    return seconds


RATIO_GROUP = Group((RATIO, NANOSECONDS), measure_ratio, minutes=2, needs_hosts=False)
XDP_GROUP = Group((XDP,), measure_xdp, minutes=2, needs_hosts=False)
TC_GROUP = Group((TC,), measure_tc, minutes=2.5, needs_hosts=False)
SCALE_GROUP = Group((BYTES, LOAD, LOOKUP), measure_scale, minutes=4, needs_hosts=False)
