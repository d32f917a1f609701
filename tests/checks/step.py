"""A step: commands whose output goes to a log, and the counts that they end with."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOGS = CHECKOUT / "build" / "logs"

_COUNTED = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed)")
_PROGRESS_EVERY = 20.0


@dataclass(frozen=True)
class Step:
    """Commands run one after the other until one fails. Pytest's counts are taken from its closing line."""

    name: str
    commands: tuple[Sequence[str], ...]
    minutes: float
    directory: Path = CHECKOUT
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a step. `failed` names what failed, so that a report can be read without the log."""

    name: str
    seconds: float
    passed: int
    failed: tuple[str, ...]
    skipped: int


def run(step: Step) -> Outcome:
    """Runs a step with its progress on the terminal and everything else in build/logs/NAME.log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{step.name}.log"
    started = time.monotonic()
    passed = skipped = 0
    failed: list[str] = []
    _say(f"{step.name}: started, log in {log.relative_to(CHECKOUT)}")
    with log.open("w", encoding="utf-8") as output:
        for command in step.commands:
            output.write(f"$ {shlex.join(command)}\n")
            output.flush()
            begin = output.tell()
            status = _execute(step, command, output.fileno(), started)
            said = log.read_text(encoding="utf-8", errors="replace")[begin:]
            if "pytest" in command:
                counts = _pytest_counts(said)
                passed += counts.get("passed", 0)
                skipped += counts.get("skipped", 0)
                failed += re.findall(r"^(?:FAILED|ERROR) (\S+)", said, flags=re.MULTILINE)
            elif status == 0:
                passed += 1
            if status != 0:
                if not failed:
                    failed.append(f"{step.name}: exit status {status} from {shlex.join(command)[:120]}")
                break
    outcome = Outcome(step.name, time.monotonic() - started, passed, tuple(failed), skipped)
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


def _pytest_counts(said: str) -> dict[str, int]:
    closing = [line for line in said.splitlines() if re.search(r" in \d+(\.\d+)?s\b", line)]
    counts: dict[str, int] = {}
    for number, what in _COUNTED.findall(closing[-1] if closing else ""):
        counts[what] = counts.get(what, 0) + int(number)
    return counts


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


def python(*arguments: str) -> list[str]:
    """A command line for the interpreter that runs this."""
    return [sys.executable, *arguments]
