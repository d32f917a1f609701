"""What the play says beforehand is what it does, and doing it again does nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from tests.scenario.plays import play

RECORD = Path(os.environ.get("RECORD_CHANGES", f"build/scenario/{topology.load().deployment}/changes.jsonl"))


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    """The runs of the scenario's roll-out, oldest first: in check mode on fresh hosts, for real, and again."""
    assert RECORD.exists(), f"{RECORD} is missing: run the scenario's check and converge steps first"
    found = [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
    return [run for run in found if run["playbook"] == "converge.yml"]


def test_check_mode_on_fresh_hosts_predicts_exactly_the_later_changes(runs: list[dict[str, Any]]) -> None:
    predicted = next(run for run in runs if run["check"])
    applied = next(run for run in runs if not run["check"] and run["started"] > predicted["started"])
    assert predicted["failed"] == []
    foretold, done = ({tuple(pair) for pair in run["changed"]} for run in (predicted, applied))
    assert done, "the first roll-out changed nothing: these hosts were not fresh"
    assert {"only foretold": sorted(foretold - done), "not foretold": sorted(done - foretold)} == {
        "only foretold": [],
        "not foretold": [],
    }


def test_second_run_changes_nothing(runs: list[dict[str, Any]]) -> None:
    real = [run for run in runs if not run["check"]]
    assert len(real) >= 2
    assert real[1]["changed"] == []


def test_check_mode_on_deployed_hosts_foretells_nothing() -> None:
    run = play("site.yml", "--check", "--diff")
    assert run.status == 0, run.output[-3000:]
    assert run.recap, "no host took part"
    assert run.hosts_with("changed") == []
