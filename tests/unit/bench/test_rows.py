"""The arithmetic of the bench, and what its report and table say."""

from __future__ import annotations

import itertools

from tests.bench import __main__ as bench
from tests.bench.datapath.rows import in_turn
from tests.bench.rows import Measured, Row, entry

LOW, HIGH, BESIDE = Row("low", "ms", 20), Row("high", "ratio", 4.0, at_most=False), Row("beside", "s", None)


def test_a_goal_is_met_at_its_own_value_from_either_side() -> None:
    assert [LOW.met(value) for value in (19.9, 20, 20.1)] == [True, True, False]
    assert [HIGH.met(value) for value in (3.9, 4.0, 4.1)] == [False, True, True]
    assert BESIDE.met(1) is None


def test_a_row_keeps_what_its_value_is_the_worst_of() -> None:
    assert entry(LOW, Measured(3.0, "so")) == {"value": 3.0, "unit": "ms", "goal": 20, "met": True, "how": "so"}
    assert entry(HIGH, Measured(2.0, "so", {"a": 2.0, "b": 5.0}))["each"] == {"a": 2.0, "b": 5.0}


def test_sides_are_measured_in_turn_and_each_has_its_median() -> None:
    order: list[str] = []

    def side(name: str, values: list[float]) -> object:
        left = iter(values)

        def measure() -> float:
            order.append(name)
            return next(left)

        return measure

    ours = side("ours", [1.0, 9.0, 2.0])
    other = side("other", [5.0, 4.0, 100.0])
    assert in_turn([ours, other], rounds=3) == [2.0, 5.0]  # type: ignore[list-item]
    assert order == ["ours", "other"] * 3


def test_the_table_shows_every_measured_row_with_its_goal_and_parts() -> None:
    names = bench.known()
    rows = [row for group in bench.GROUPS for row in group.rows]
    assert len(set(names)) == len(names)
    report = {row.name: entry(row, Measured(1.5, "so")) for row in rows}
    report[rows[0].name] = entry(rows[0], Measured(1.5, "so", {"a part": 0.5}))
    lines = bench.table(report).splitlines()
    assert lines[2].split() == ["a", "part", "0.5"]
    del lines[2]
    for row, line in zip(rows, itertools.islice(lines, 1, None), strict=True):
        goal = "-" if row.goal is None else f"{row.goal:g}"
        met = {True: "yes", False: "NO", None: "-"}[row.met(1.5)]
        assert line.split() == [row.name, "1.5", goal, *row.unit.split(), met]
