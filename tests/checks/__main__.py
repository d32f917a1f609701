"""`python -m tests.checks lint|unit|fuzz|conformance|short|long [PART]`: runs steps, ends with 'N passed, N failed'."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

from tests.checks import conformance, steps
from tests.checks.step import CHECKOUT, JUNIT, Outcome, Step, failures, run, summary

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


def _run_with_rules(wanted: list[Step]) -> tuple[list[Outcome], str]:
    """Runs steps and judges the rules by these alone: what an earlier run left says nothing about this one."""
    shutil.rmtree(JUNIT, ignore_errors=True)
    outcomes = [run(step) for step in wanted]
    judgement = conformance.judge()
    outcomes.append(conformance.outcome(judgement))
    return outcomes, judgement.figures


def main(argv: list[str]) -> int:
    """Runs what is asked for; 0 when nothing failed."""
    sets = {"lint": steps.lint, "unit": steps.unit, "fuzz": steps.fuzz}
    judged = {"short": steps.short, "conformance": steps.conformance}
    what = argv[0] if argv else ""
    started = time.monotonic()
    figures = ""
    if what == "long":
        outcomes = _run_long(argv[1] if len(argv) > 1 else "")
    elif what in sets:
        outcomes = [run(step) for step in sets[what]()]
    elif what in judged:
        outcomes, figures = _run_with_rules(judged[what]())
    else:
        print(f"usage: python -m tests.checks {'|'.join([*sets, *judged])}|long [PART]", file=sys.stderr)
        return 2
    print(f"\n{'step':24} {'seconds':>8}  result")
    for outcome in outcomes:
        result = f"{len(outcome.failed)} failed" if outcome.failed else "passed"
        print(f"{outcome.name:24} {outcome.seconds:8.0f}  {result}")
    if what == "conformance":
        conformance.write_document()
    print(*filter(None, [f"all of it took {time.monotonic() - started:.0f} s", figures]), sep="\n")
    # Last, since a run is often seen by its last lines only.
    print("\n".join([*failures(outcomes), summary(outcomes)]))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
