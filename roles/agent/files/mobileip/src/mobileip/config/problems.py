"""What is wrong in a file: where, what stands there, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """A key path as people write it: `vpn_gateways[0].macs[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: where, what stands there, what was expected, what to do."""

    file: str
    line: int
    key: str
    value: str | None
    expected: str
    advice: str = ""

    def __str__(self) -> str:
        got = "" if self.value is None else f"{self.value}: "
        advice = f"; {self.advice}" if self.advice else ""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{got}{self.expected}{advice}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
