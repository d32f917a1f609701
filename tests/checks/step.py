"""A step: commands whose output goes to a log, and the counts that they end with."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.checks import junit

CHECKOUT = Path(__file__).resolve().parents[2]
LOGS = CHECKOUT / "build" / "logs"
JUNIT = CHECKOUT / "build" / "junit"

_PROGRESS_EVERY = 20.0
# Where a run is shown by its last lines only, these and the summary are what is seen.
_FAILURES_SHOWN = 10


@dataclass(frozen=True)
class Step:
    """Commands run one after the other until one fails.

    What tests ran is read from build/junit/NAME.xml. Pytest is told to leave it; a command that runs pytest
    somewhere below, as a scenario does, must leave it under that name.
    """

    name: str
    commands: tuple[Sequence[str], ...]
    minutes: float
    directory: Path = CHECKOUT
    environment: dict[str, str] = field(default_factory=dict)
    # A directory that is empty when the first command starts.
    fresh: Path | None = None


@dataclass(frozen=True)
class Failure:
    """A test or command that failed, and the first line of why."""

    what: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a step. `failed` names what failed, so that a report can be read without the log."""

    name: str
    seconds: float
    passed: int
    failed: tuple[Failure, ...]
    skipped: int


def run(step: Step) -> Outcome:
    """Runs a step with its progress on the terminal and everything else in build/logs/NAME.log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{step.name}.log"
    results = JUNIT / f"{step.name}.xml"
    results.unlink(missing_ok=True)
    if step.fresh:
        shutil.rmtree(step.fresh, ignore_errors=True)
        step.fresh.mkdir(parents=True)
    started = time.monotonic()
    passed = 0
    failed: list[Failure] = []
    _say(f"{step.name}: started, log in {log.relative_to(CHECKOUT)}")
    with log.open("w", encoding="utf-8") as output:
        for command in step.commands:
            is_pytest = "pytest" in command
            called = [*command, f"--junitxml={results}"] if is_pytest else command
            output.write(f"$ {shlex.join(called)}\n")
            output.flush()
            status = _execute(step, called, output.fileno(), started)
            if status != 0:
                failed.append(Failure(f"{step.name}: exit status {status} from {shlex.join(command)[:120]}"))
                break
            passed += not is_pytest
    cases = junit.read(results)
    broken = [Failure(case.test, case.why) for case in cases if case.result == "failed"]
    # Tests that failed say more than the exit status that they caused.
    failed = broken or failed
    outcome = Outcome(
        step.name,
        time.monotonic() - started,
        passed + sum(case.result == "passed" for case in cases),
        tuple(failed),
        sum(case.result == "skipped" for case in cases),
    )
    _say(f"{step.name}: {'FAILED' if failed else 'passed'} in {outcome.seconds:.0f} s")
    if failed:
        _print_tail(log)
    return outcome


def _execute(step: Step, command: Sequence[str], output: int, started: float) -> int:
    environment = {**os.environ, **step.environment}
    deadline = started + step.minutes * 60
    with subprocess.Popen(
        command,
        cwd=step.directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        while True:
            try:
                return process.wait(timeout=_PROGRESS_EVERY)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    os.killpg(process.pid, signal.SIGKILL)
                    os.write(output, f"\nkilled: took longer than {step.minutes:.0f} minutes\n".encode())
                    return 124
                _say(f"{step.name}: {time.monotonic() - started:.0f} s ...")
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                raise


def _print_tail(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join(f"    {line}" for line in lines[-40:]))


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def summary(outcomes: Sequence[Outcome]) -> str:
    """The closing line: real counts of tests, and of commands where a step is not made of tests."""
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    skipped = sum(outcome.skipped for outcome in outcomes)
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What failed and why, two lines each at most, the first ten of them."""
    found = [failure for outcome in outcomes for failure in outcome.failed]
    lines = []
    for failure in found[:_FAILURES_SHOWN]:
        lines.append(f"FAILED {failure.what}"[:240])
        if failure.why:
            lines.append(f"       {failure.why}"[:240])
    if len(found) > _FAILURES_SHOWN:
        lines.append(f"and {len(found) - _FAILURES_SHOWN} more: see {JUNIT.relative_to(CHECKOUT)} and the logs")
    return lines


def python(*arguments: str) -> list[str]:
    """A command line for the interpreter that runs this."""
    return [sys.executable, *arguments]
