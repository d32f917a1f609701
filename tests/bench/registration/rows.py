"""The rows of registration through the proxy, and what has to be done to fill them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from ..rows import Group, Measured, Row
from .bed import Bed, Outcome

RATE = Row("registrations_per_second", "1/s", 20_000, at_most=False)
PURE = Row("registrations_per_second_pure", "1/s", 12_000, at_most=False)
ADDED = Row("registration_added_p99_ms", "ms", 10)
RATIO = Row("registration_cost_ratio_1m_to_1k", "ratio", 1.5)
NODES = 100_000
FEW, MANY = 1_000, 1_000_000
ROUNDS = 5
SECONDS = 30
TRIAL_SECONDS = 5
WINDOW = 256
"""Registrations under way in the closed loop that looks for the rate to try first."""
PROBE_SECONDS = 8
HALVINGS = 5
STEP = 0.95

Say = Callable[[str], None]


def sustained(bed: Bed, say: Say) -> Outcome:
    """The highest rate at which the arrivals of an open loop are all answered for 30 s, and no queue grows.

    Short runs halve the range up to a fifth above what a closed loop gets; what they find is run for the whole time,
    less of it as often as that is too much. Raises only if a tenth of the closed loop's rate is too much.
    """
    first = bed.run(-WINDOW, TRIAL_SECONDS).rate
    closed = bed.run(-WINDOW, 2 * bed.nodes / first).rate  # every node has a binding from here on
    say(f"closed loop, {WINDOW} under way: {closed:.0f} a second")
    least, most = 0.0, 1.2 * closed
    for _ in range(HALVINGS):
        rate = (least + most) / 2
        if _open_loop(bed, rate, PROBE_SECONDS, say).kept_up:
            least = rate
        else:
            most = rate
    rate, floor = least or most, closed / 10
    while rate > floor:
        outcome = _open_loop(bed, rate, SECONDS, say)
        if outcome.kept_up:
            return outcome
        rate *= STEP
    raise RuntimeError(f"the proxy does not keep up with {rate / STEP:.0f} registrations a second")


def _open_loop(bed: Bed, rate: float, seconds: float, say: Say) -> Outcome:
    outcome = bed.run(round(rate), seconds)
    say(
        f"open loop, {rate:.0f} a second for {seconds} s: {outcome.accepted} of {outcome.sent} accepted, "
        f"p50 {outcome.p50_ms:.1f} ms, p99 {outcome.p99_ms:.1f} ms, grown by {outcome.growth_ms:.0f} ms, "
        f"CPU {outcome.cpu_seconds:.1f} s, {'kept up' if outcome.kept_up else 'too much'}"
    )
    return outcome


def ceiling(bed: Bed, say: Say) -> float:
    """What the load itself can do, with a bare relay in the proxy's place."""
    with bed.relay():
        rate = bed.run(-WINDOW, TRIAL_SECONDS).rate
    say(f"the load's own ceiling: {rate:.0f} a second")
    return rate


def _how(bed: Bed, outcome: Outcome, most: float, implementation: str) -> str:
    """Enough for someone else to repeat it."""
    return (
        f"{implementation}, {1e6 * outcome.cpu_seconds / outcome.accepted:.0f} us of CPU a registration; "
        f"{NODES} nodes with keys of their own, Poisson arrivals at the highest rate found that is answered "
        f"for {SECONDS} s without a growing queue: {outcome.accepted} of {outcome.sent} accepted, "
        f"p50 {outcome.p50_ms:.1f} ms, p99 {outcome.p99_ms:.1f} ms; the daemon with its BPF tables on one pinned core "
        f"in a namespace; SQLite on a "
        f"disk, {outcome.syncs} syncs, two durable writes a registration; nodes and home agent in C on another core, "
        f"every authenticator made and checked, their own ceiling {most:.0f} a second ({most / outcome.rate:.1f} "
        f"times); load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def measure_shipped(say: Say) -> dict[str, Measured]:
    """The daemon as it is installed: rate, and at half of it what it adds to a registration's time."""
    with Bed(NODES) as bed:
        most = ceiling(bed, say)
        with bed.proxy():
            implementation = str(bed.show("status")["implementation"])
            best = sustained(bed, say)
            half = bed.run(round(best.rate / 2), SECONDS)
        with bed.relay():
            bare = bed.run(round(best.rate / 2), SECONDS)
    say(f"at half the rate: p99 {half.p99_ms:.2f} ms with the proxy, {bare.p99_ms:.2f} ms with the bare relay")
    return {
        RATE.name: Measured(round(best.rate), _how(bed, best, most, implementation)),
        ADDED.name: Measured(
            round(half.p99_ms - bare.p99_ms, 2),
            f"p99 of {half.accepted} registrations at {half.rate:.0f} a second for {SECONDS} s, each from when it was "
            f"due: {half.p99_ms:.2f} ms, less {bare.p99_ms:.2f} ms with a bare relay in C in the proxy's place "
            f"(p50 {half.p50_ms:.2f} and {bare.p50_ms:.2f} ms); {implementation}; bed as for {RATE.name}",
        ),
    }


def measure_pure(say: Say) -> dict[str, Measured]:
    """The daemon without compiled parts."""
    with Bed(NODES, pure=True) as bed:
        most = ceiling(bed, say)
        with bed.proxy():
            implementation = str(bed.show("status")["implementation"])
            best = sustained(bed, say)
    return {PURE.name: Measured(round(best.rate), _how(bed, best, most, implementation))}


def measure_ratio(say: Say) -> dict[str, Measured]:
    """CPU time of a registration with many bindings and with few, in turn; both daemons run all the time."""
    cost: dict[int, list[float]] = {FEW: [], MANY: []}
    with ExitStack() as stack:
        beds = {}
        for bindings in cost:
            say(f"a proxy with {bindings} bindings")
            beds[bindings] = stack.enter_context(Bed(bindings))
            stack.enter_context(beds[bindings].proxy_with_bindings())
            beds[bindings].run(-WINDOW, TRIAL_SECONDS)
        for _ in range(ROUNDS):
            for bindings, bed in beds.items():
                outcome = bed.run(-WINDOW, TRIAL_SECONDS)
                cost[bindings].append(outcome.cpu_seconds / outcome.accepted * 1e6)
    few, many = median(cost[FEW]), median(cost[MANY])
    say(f"{few:.0f} us of CPU a registration with {FEW} bindings, {many:.0f} us with {MANY}")
    return {
        RATIO.name: Measured(
            round(many / few, 2),
            f"CPU time of the daemon's process for a registration: median of {ROUNDS} runs of {TRIAL_SECONDS} s, in "
            f"turn, {WINDOW} under way, nodes in an order that strides through all of them: {many:.1f} us with {MANY} "
            f"bindings in machine, store and kernel table, {few:.1f} us with {FEW}; bed as for {RATE.name}, nodes made "
            f"by million.py instead of read from a file",
        )
    }


SHIPPED_GROUP = Group((RATE, ADDED), measure_shipped, minutes=5.5, needs_hosts=False)
PURE_GROUP = Group((PURE,), measure_pure, minutes=6, needs_hosts=False)
RATIO_GROUP = Group((RATIO,), measure_ratio, minutes=5, needs_hosts=False)
