"""Measure the rows, print them as a table and keep them in `build/bench/report.json`.

Exits 0 when every asked row was measured, missed goals included; 1 when one could not be measured; 2 on wrong usage;
128 and the signal's number when SIGINT or SIGTERM ended it, after cleaning up. `--rows a,b` refreshes those rows and
keeps the others of the report. No group of rows may take longer than its minutes, so that all end in `MINUTES`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from . import handoff, site
from .datapath import goodput
from .datapath import rows as datapath
from .registration import rows as registration
from .rows import Group, Measured, entry

REPORT = Path("build/bench/report.json")
MINUTES = 50
"""In which all rows are measured."""
ROLLOUT_MINUTES = 4
# What needs the hosts comes last: a dozen booted systems are no quiet machine.
GROUPS: tuple[Group, ...] = (
    datapath.RATIO_GROUP,
    datapath.XDP_GROUP,
    datapath.TC_GROUP,
    datapath.SCALE_GROUP,
    registration.SHIPPED_GROUP,
    registration.PURE_GROUP,
    registration.RATIO_GROUP,
    goodput.GROUP,
    handoff.GROUP,
    handoff.RIVALS_GROUP,
    site.GROUP,
)


class TooLongError(Exception):
    """A measurement did not end in the time that it may take."""


def say(words: str) -> None:
    """Print a line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def known() -> list[str]:
    """Return the names of all rows, in the order of the table."""
    return [row.name for group in GROUPS for row in group.rows]


def chosen(asked: str) -> list[Group]:
    """Return the groups that hold the rows named in `asked` (comma separated; empty = all).

    Raises `ValueError` naming the rows that do not exist and those that do.
    """
    if not asked:
        return list(GROUPS)
    names = [name.strip() for name in asked.split(",") if name.strip()]
    unknown = sorted(set(names) - set(known()))
    if unknown:
        raise ValueError(f"--rows: no such row: {', '.join(unknown)}; there are: {', '.join(known())}")
    return [group for group in GROUPS if any(row.name in names for row in group.rows)]


def run_facts() -> dict[str, Any]:
    """Return what the numbers depend on: commit, kernel, processors."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {"commit": commit, "kernel": platform.release(), "cpus": os.cpu_count()}


MET = {True: "yes", False: "NO", None: "-"}


def table(report: dict[str, Any]) -> str:
    """Return the report as a table for the terminal; below a row, what it is the worst of."""
    lines = [f"{'row':40} {'value':>12} {'goal':>10}  {'unit':10} met"]
    for name in known():
        if name in report:
            row = report[name]
            goal = "-" if row["goal"] is None else f"{row['goal']:g}"
            lines.append(f"{name:40} {row['value']:>12g} {goal:>10}  {row['unit']:10} {MET[row['met']]}")
            lines += [f"    {part:36} {value:>12g}" for part, value in row.get("each", {}).items()]
    return "\n".join(lines)


@contextmanager
def at_most(minutes: float, what: str) -> Iterator[None]:
    """Raise `TooLongError` inside the block once it has lasted so long; the main thread's alarm."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"{what}: not done within {minutes:g} minutes")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def clean_up_when_told_to_end() -> None:
    """SIGTERM and SIGINT unwind everything that is open, once: `timeout` and `make` both send theirs."""

    def end(number: int, _frame: FrameType | None) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        # Not by print: what the signal has interrupted may be one.
        os.write(sys.stderr.fileno(), f"{signal.Signals(number).name}: cleaning up\n".encode())
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def roll_out() -> None:
    """Have the lab's hosts up and set up. Raises what says why not."""
    command = ["make", "--no-print-directory", "rollout"]
    with subprocess.Popen(command) as process:
        try:
            with at_most(ROLLOUT_MINUTES, "make rollout"):
                status = process.wait()
        except BaseException:
            process.terminate()  # make ends what it has started
            raise
    if status:
        raise RuntimeError(f"make rollout ended with {status}; see build/logs/site.log")


def load() -> dict[str, Any]:
    """The report as it stands."""
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    return report


def keep(group: Group, measured: Mapping[str, Measured]) -> None:
    """Put the group's rows into the report, beside what it has of others; a row that was not measured has no number."""
    report = load()
    for row in group.rows:
        report.pop(row.name, None)
        if row.name in measured:
            report[row.name] = entry(row, measured[row.name])
    report["_run"] = run_facts()
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(groups: list[Group]) -> list[str]:
    """Measure the groups, each for itself; return the rows that could not be, their reasons printed."""
    failed: list[str] = []
    rolled_out = False
    for number, group in enumerate(groups, 1):
        say(f"{number} of {len(groups)}, {group.minutes:g} minutes at most: {', '.join(group.names)}")
        started = time.monotonic()
        try:
            if group.needs_hosts and not rolled_out:
                roll_out()
                rolled_out = True
            with at_most(group.minutes, ", ".join(group.names)):
                measured = group.measure(say)
            keep(group, {name: measured[name] for name in group.names})
        except Exception as exc:
            # One group that cannot be measured must not hide the numbers of the others.
            traceback.print_exc()
            say(f"NOT MEASURED: {', '.join(group.names)}: {exc}")
            keep(group, {})
            failed += group.names
        say(f"{number} of {len(groups)}: {time.monotonic() - started:.0f} s")
    return failed


def main() -> int:
    """Measure; see the module's text for what is returned."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", default="", help="comma separated; all when empty")
    arguments = parser.parse_args()
    try:
        groups = chosen(arguments.rows)
    except ValueError as exc:
        parser.error(str(exc))
    clean_up_when_told_to_end()
    started = time.monotonic()
    failed = measure(groups)
    print("\n" + table(load()))
    say(f"{(time.monotonic() - started) / 60:.1f} minutes")
    if failed:
        print(f"could not be measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
