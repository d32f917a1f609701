"""Measure the rows, print them as a table and keep them in `build/bench/report.json`.

Exits 0 when every asked row was measured, missed goals included; 1 when one could not be measured; 2 on wrong usage.
`--rows a,b` refreshes those rows and keeps the others of the report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from . import handoff, site
from .datapath import goodput
from .datapath import rows as datapath
from .registration import rows as registration
from .rows import Group, entry

REPORT = Path("build/bench/report.json")
GROUPS: tuple[Group, ...] = (
    handoff.GROUP,
    handoff.RIVALS_GROUP,
    datapath.RATIO_GROUP,
    datapath.XDP_GROUP,
    datapath.TC_GROUP,
    datapath.SCALE_GROUP,
    goodput.GROUP,
    site.GROUP,
    registration.SHIPPED_GROUP,
    registration.PURE_GROUP,
    registration.RATIO_GROUP,
)


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


def main() -> int:
    """Measure; see the module's text for what is returned."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rows", default="", help="comma separated; all when empty")
    arguments = parser.parse_args()
    try:
        groups = chosen(arguments.rows)
    except ValueError as exc:
        parser.error(str(exc))
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    failed: list[str] = []
    if any(group.needs_hosts for group in groups):
        subprocess.run(["make", "--no-print-directory", "rollout"], check=True)
    for group in groups:
        names = [row.name for row in group.rows]
        say(f"measuring {', '.join(names)}")
        try:
            measured = group.measure(say)
        except Exception:
            # One group that cannot be measured must not hide the numbers of the others.
            traceback.print_exc()
            failed += names
            continue
        report.update({row.name: entry(row, measured[row.name]) for row in group.rows})
        report["_run"] = run_facts()
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n" + table(report))
    if failed:
        print(f"could not be measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
