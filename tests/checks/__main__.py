"""`python -m tests.checks lint|unit|short|long [PART]`: runs the steps, ends with 'N passed, N failed'."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from tests.checks import steps
from tests.checks.step import CHECKOUT, Outcome, failures, run, summary

REPORT = CHECKOUT / "build" / "test-long" / "report.json"


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _run_long(part: str) -> list[Outcome]:
    parts = steps.long()
    if part and part not in parts:
        raise SystemExit(f"no part {part!r}; there are: {', '.join(parts) or 'none yet'}")
    outcomes = []
    entries = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else []
    for name in [part] if part else list(parts):
        done = [run(step) for step in parts[name]]
        outcomes += done
        failed = [failure.what for outcome in done for failure in outcome.failed]
        entry = {
            "part": name,
            "commit": _commit(),
            "seconds": round(sum(outcome.seconds for outcome in done), 1),
            "result": "failed" if failed else "passed",
            "failed": failed,
        }
        # Parts run one at a time keep what the others said.
        entries = [other for other in entries if other["part"] != name] + [entry]
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return outcomes


def main(argv: list[str]) -> int:
    """Runs what is asked for; 0 when nothing failed."""
    sets = {"lint": steps.lint, "unit": steps.unit, "short": steps.short}
    what = argv[0] if argv else ""
    started = time.monotonic()
    if what == "long":
        outcomes = _run_long(argv[1] if len(argv) > 1 else "")
    elif what in sets:
        outcomes = [run(step) for step in sets[what]()]
    else:
        print(f"usage: python -m tests.checks {'|'.join(sets)}|long [PART]", file=sys.stderr)
        return 2
    print(f"\n{'step':24} {'seconds':>8}  result")
    for outcome in outcomes:
        result = f"{len(outcome.failed)} failed" if outcome.failed else "passed"
        print(f"{outcome.name:24} {outcome.seconds:8.0f}  {result}")
    print(f"all of it took {time.monotonic() - started:.0f} s")
    # Last, since a run is often seen by its last lines only.
    print("\n".join([*failures(outcomes), summary(outcomes)]))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
