"""The counts at the end of `make test` are those of what ran, and a failure is never counted away."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.checks import step
from tests.checks.step import Failure, Outcome, Step, failures, run, summary


@pytest.fixture(autouse=True)
def _logs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "CHECKOUT", tmp_path)
    monkeypatch.setattr(step, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(step, "JUNIT", tmp_path / "junit")


def test_counts_of_pytest_are_taken_and_its_failures_named(tmp_path: Path) -> None:
    body = "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2\ndef test_c(): pytest.skip('no')\n"
    (tmp_path / "test_sample.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_sample.py"]
    outcome = run(Step("sample", (command,), 1, directory=tmp_path))
    broken = Failure("test_sample.py::test_b", "assert 1 == 2")
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, (broken,), 1)


def test_tests_that_run_below_another_command_are_counted_from_the_file_they_leave(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text("def test_a(): pass\ndef test_b(): assert 1 == 2\n", encoding="utf-8")
    below = f"{sys.executable} -m pytest -q -p no:cacheprovider --rootdir . --junitxml=junit/hosts.xml test_sample.py"
    outcome = run(Step("hosts", (["true"], ["sh", "-c", below]), 1, directory=tmp_path))
    assert (outcome.passed, outcome.failed) == (2, (Failure("test_sample.py::test_b", "assert 1 == 2"),))


def test_results_of_an_earlier_run_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "junit").mkdir()
    (tmp_path / "junit" / "late.xml").write_text("<testsuite><testcase classname='t' name='old'/></testsuite>")
    outcome = run(Step("late", (["true"],), 1, directory=tmp_path))
    assert (outcome.passed, outcome.failed) == (1, ())


def test_a_directory_is_empty_when_its_step_starts(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "old").touch()
    outcome = run(Step("pair", (["test", "!", "-e", "record/old"],), 1, directory=tmp_path, fresh=tmp_path / "record"))
    assert outcome.failed == ()


def test_a_command_that_fails_ends_its_step_and_is_named(tmp_path: Path) -> None:
    outcome = run(Step("pair", (["true"], ["false"], ["touch", "never"]), 1, directory=tmp_path))
    assert (outcome.passed, outcome.failed) == (1, (Failure("pair: exit status 1 from false"),))
    assert not (tmp_path / "never").exists()


def test_a_pytest_that_collects_nothing_has_failed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    outcome = run(Step("empty", (command,), 1, directory=tmp_path))
    assert len(outcome.failed) == 1


def test_a_step_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_PROGRESS_EVERY", 0.1)
    outcome = run(Step("slow", (["sleep", "30"],), 0.3 / 60, directory=tmp_path))
    assert outcome.failed == (Failure("slow: exit status 124 from sleep 30"),)
    assert outcome.seconds < 5


def test_summary_adds_up_and_shows_what_was_skipped() -> None:
    outcomes = [Outcome("a", 1, 5, (), 2), Outcome("b", 1, 0, (Failure("x"), Failure("y")), 0)]
    assert summary(outcomes) == "5 passed, 2 failed, 2 skipped"
    assert summary(outcomes[1:]) == "0 passed, 2 failed"


def test_failures_are_named_with_why_and_are_no_more_than_a_screen() -> None:
    broken = tuple(Failure(f"test_x.py::test_{number}", "assert 1 == 2") for number in range(12))
    lines = failures([Outcome("a", 1, 0, (Failure("ruff: exit status 1"),), 0), Outcome("b", 1, 0, broken, 0)])
    assert lines[:3] == ["FAILED ruff: exit status 1", "FAILED test_x.py::test_0", "       assert 1 == 2"]
    assert lines[-1] == "and 3 more: see junit and the logs"
    assert len(lines) == 20
