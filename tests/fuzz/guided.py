"""Coverage-guided fuzzing of one target by libFuzzer (Atheris).

`python -m tests.fuzz.guided TARGET SECONDS` starts from tests/fuzz/corpus/TARGET.txt, keeps what it finds in
build/fuzz/TARGET/, and leaves an input that raised as build/fuzz/TARGET-crash-…
`python -m tests.fuzz.guided TARGET FILE` repeats one input.
`python -m tests.fuzz.guided TARGET keep` writes the corpus anew: the fewest inputs that reach all that was reached.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = CHECKOUT / "build" / "fuzz"
LONGEST = 600
"""Bytes of an input: a few messages with all that they may carry."""

_Arc = tuple[str, int, int]


def kept(target: str) -> list[bytes]:
    """The inputs that the repository keeps for a target, one a line in hexadecimal."""
    return [bytes.fromhex(line) for line in (CORPUS / f"{target}.txt").read_text(encoding="ascii").split()]


def command(target: str, what: str) -> list[str]:
    """The command line that does `what` with a target, to be run with `environment()`."""
    return [sys.executable, "-m", "tests.fuzz.guided", target, what]


def environment() -> dict[str, str]:
    """Where the command finds what it imports."""
    sources = [str(CHECKOUT), str(CHECKOUT / "roles/agent/files/mobileip/src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}


def main(target: str, what: str) -> None:
    """Does what the command line says; fuzzing ends the process, with 0 when nothing was found."""
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    if what == "keep":
        _keep(target, found)
    elif Path(what).exists():
        _libfuzzer(target, what)
    else:
        for data in kept(target):
            (found / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        _libfuzzer(target, f"-max_total_time={max(1, int(float(what)))}", str(found))


def _libfuzzer(target: str, *arguments: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["mobileip"], enable_loader_override=False):
        targets = importlib.import_module("tests.fuzz.targets")
    options = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=1024", f"-artifact_prefix={FOUND}/{target}-"]
    atheris.Setup([sys.argv[0], *options, *arguments], targets.TARGETS[target])
    atheris.Fuzz()


def _keep(target: str, found: Path) -> None:
    """Keeps the shortest inputs first, and of the longer ones those that take a step no other has taken."""
    run = importlib.import_module("tests.fuzz.targets").TARGETS[target]
    reached: set[_Arc] = set()
    lines = []
    inputs = {*kept(target), *(path.read_bytes() for path in found.iterdir())}
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        arcs = _arcs(run, data)
        if not arcs <= reached:
            reached |= arcs
            lines.append(data.hex())
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines if line), encoding="ascii")
    print(f"{target}: {len(lines)} inputs of {len(inputs)} reach {len(reached)} steps from line to line")


def _arcs(run: Callable[[bytes], None], data: bytes) -> set[_Arc]:
    """From which line to which the daemon's code went."""
    arcs: set[_Arc] = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if "/mobileip/src/" not in name:
            return None
        before = 0

        def step(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
            nonlocal before
            if event == "line":
                arcs.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return arcs


if __name__ == "__main__":
    main(*sys.argv[1:])
