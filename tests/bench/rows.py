"""The rows of the bench: name, unit, goal. One place, so that report and table cannot disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row's name, the unit of its value, and the goal it is held against; None: it is told beside another one."""

    name: str
    unit: str
    goal: float | None
    at_most: bool = True

    def met(self, value: float) -> bool | None:
        """Return whether `value` reaches the goal; None without one."""
        if self.goal is None:
            return None
        return value <= self.goal if self.at_most else value >= self.goal


@dataclass(frozen=True, slots=True)
class Measured:
    """A value and how it was measured: enough for someone else to repeat it. `each`: what the value is the worst of."""

    value: float
    how: str
    each: dict[str, float] | None = None


Measurement = Callable[[Callable[[str], None]], dict[str, Measured]]
"""Measures a group of rows; is given a function that prints progress. Raises when a row could not be measured."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that come out of one measurement. `needs_hosts`: it runs on the rolled-out hosts of the lab.

    `minutes` are the most it may take, on two processors with nothing else to do.
    """

    rows: tuple[Row, ...]
    measure: Measurement
    minutes: float
    needs_hosts: bool = True

    @property
    def names(self) -> list[str]:
        """The names of its rows."""
        return [row.name for row in self.rows]


def entry(row: Row, measured: Measured) -> dict[str, Any]:
    """Return the row as the report holds it."""
    each = {} if measured.each is None else {"each": measured.each}
    return {
        "value": measured.value,
        "unit": row.unit,
        "goal": row.goal,
        "met": row.met(measured.value),
        "how": measured.how,
        **each,
    }
