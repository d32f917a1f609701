"""Names of drop reasons and outcomes, read from `bpf/reasons.h`, which is their only source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HEADER = Path(__file__).parent / "bpf" / "reasons.h"


@dataclass(frozen=True)
class Counted:
    """One counter: its slot, its name, and what it means to an operator."""

    number: int
    name: str
    text: str


def parse(header: str, macro: str) -> tuple[Counted, ...]:
    """The entries `MACRO(number, name, "text")` of a header. Raises ValueError on a number or name used twice."""
    found = re.findall(rf'^\s+{macro}\((\d+), (\w+), "([^"]*)"\)', header, re.MULTILINE)
    entries = tuple(Counted(int(number), name, text) for number, name, text in found)
    for what in ({entry.number for entry in entries}, {entry.name for entry in entries}):
        if len(what) != len(entries):
            raise ValueError(f"reasons.h: a number or a name of {macro} is used twice")
    return entries


_TEXT = HEADER.read_text(encoding="utf-8")
REASONS = parse(_TEXT, "REASON")
OUTCOMES = parse(_TEXT, "OUTCOME")
REASON_NAMES = {entry.number: entry.name for entry in REASONS}
OUTCOME_NAMES = {entry.number: entry.name for entry in OUTCOMES}
