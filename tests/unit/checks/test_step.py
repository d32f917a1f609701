"""The counts at the end of `make test` are those of what ran, and a failure is never counted away."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.checks import step
from tests.checks.step import Outcome, Step, run, summary


@pytest.fixture(autouse=True)
def _logs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "CHECKOUT", tmp_path)
    monkeypatch.setattr(step, "LOGS", tmp_path / "logs")


def test_counts_of_pytest_are_taken_and_its_failures_named(tmp_path: Path) -> None:
    body = "import pytest\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pytest.skip('no')\n"
    (tmp_path / "test_sample.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_sample.py"]
    outcome = run(Step("sample", (command,), 1, directory=tmp_path))
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, ("test_sample.py::test_b",), 1)


def test_a_command_that_fails_ends_its_step_and_is_named(tmp_path: Path) -> None:
    outcome = run(Step("pair", (["true"], ["false"], ["touch", "never"]), 1, directory=tmp_path))
    assert (outcome.passed, outcome.failed) == (1, ("pair: exit status 1 from false",))
    assert not (tmp_path / "never").exists()


def test_a_pytest_that_collects_nothing_has_failed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    outcome = run(Step("empty", (command,), 1, directory=tmp_path))
    assert len(outcome.failed) == 1


def test_a_step_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_PROGRESS_EVERY", 0.1)
    outcome = run(Step("slow", (["sleep", "30"],), 0.3 / 60, directory=tmp_path))
    assert outcome.failed == ("slow: exit status 124 from sleep 30",)
    assert outcome.seconds < 5


def test_summary_adds_up_and_shows_what_was_skipped() -> None:
    outcomes = [Outcome("a", 1, 5, (), 2), Outcome("b", 1, 0, ("x", "y"), 0)]
    assert summary(outcomes) == "5 passed, 2 failed, 2 skipped"
    assert summary(outcomes[1:]) == "0 passed, 2 failed"
