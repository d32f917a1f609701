"""The arithmetic of the bench, and what its report and table say."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from roaming.report import MoveResult

from tests.bench import __main__ as bench
from tests.bench import handoff
from tests.bench.datapath.rows import in_turn
from tests.bench.rows import Group, Measured, Row, entry

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

    def side(name: str, values: list[float]) -> Callable[[], float]:
        left = iter(values)

        def measure() -> float:
            order.append(name)
            return next(left)

        return measure

    ours = side("ours", [1.0, 9.0, 2.0])
    other = side("other", [5.0, 4.0, 100.0])
    assert in_turn([ours, other], rounds=3) == [2.0, 5.0]
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


def moved(rtt: float, outage: float, one_way: tuple[float, float], stall: float) -> MoveResult:
    return MoveResult(
        origin="open",
        target="nat",
        outage_ms=outage,
        registration_rtt_ms=rtt,
        ike_messages=1,
        tcp_bytes_lost=0,
        encapsulation="mip-udp",
        exchanges=1,
        esp_frames=9,
        tcp_stall_ms=stall,
        own_outage_ms=outage,
        one_way_ms={"node": one_way[0], "correspondent": one_way[1]},
    )


def test_the_outage_is_the_longer_direction_beyond_the_registration_of_the_worst_move() -> None:
    moves = [(0, moved(10, 60, (30, 40), 70)), (50, moved(100, 300, (190, 150), 400)), (0, moved(10, 20, (9, 8), 50))]
    rows = handoff.judged(moves)
    assert rows["handoff_outage_over_rtt_ms"].value == 70  # 190 less 120
    assert rows["handoff_outage_over_rtt_ms"].each == {
        "1 open -> nat, 0 ms": 28,
        "2 open -> nat, 50 ms": 70,
        "3 open -> nat, 0 ms": -3,
    }
    how = rows["handoff_outage_over_rtt_ms"].how
    assert "an echo, which also waits for the path there and back: 48.0 ms beyond at 0 ms, 180.0 ms beyond at 50" in how
    assert rows["handoff_ike_messages"].value == 3
    assert rows["handoff_tcp_stall_ms"].value == 70, "the stall counts without path delay only"


def test_clients_are_compared_by_the_medians_of_their_outages() -> None:
    rows = handoff.compared({"mobileip": [50, 10, 30], "mobike": [120, 100, 2000], "plain": [300, 300, 90]})
    assert rows["handoff_vs_mobike_ratio"].value == 0.25
    assert rows["handoff_vs_reestablish_ratio"].value == 0.1


def test_all_groups_end_within_the_minutes_of_the_whole() -> None:
    assert sum(group.minutes for group in bench.GROUPS) + bench.ROLLOUT_MINUTES <= bench.MINUTES


def test_a_row_that_cannot_be_measured_is_named_loses_its_old_number_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "REPORT", tmp_path / "report.json")

    def hangs(_: object) -> dict[str, Measured]:
        time.sleep(5)
        raise AssertionError("nobody stopped it")

    def breaks(_: object) -> dict[str, Measured]:
        raise RuntimeError("no wire")

    def measures(_: object) -> dict[str, Measured]:
        return {BESIDE.name: Measured(1.0, "so")}

    bench.keep(Group((LOW,), measures, 1), {LOW.name: Measured(3.0, "before")})
    groups = [
        Group((LOW,), hangs, 0.001, needs_hosts=False),
        Group((HIGH,), breaks, 1, needs_hosts=False),
        Group((BESIDE,), measures, 1, needs_hosts=False),
    ]
    assert bench.measure(groups) == ["low", "high"]
    assert set(json.loads((tmp_path / "report.json").read_text())) == {"beside", "_run"}
    said = capsys.readouterr().out
    assert "NOT MEASURED: low: low: not done within 0.001 minutes" in said
    assert "NOT MEASURED: high: no wire" in said


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_whoever_is_told_to_end_cleans_up_even_when_told_twice(name: str, status: int) -> None:
    program = f"""
import os, signal, time
from tests.bench.__main__ import clean_up_when_told_to_end
clean_up_when_told_to_end()
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(5)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print("clean", flush=True)
"""
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **paths},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == "clean"
