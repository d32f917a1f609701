"""Violations of rules, planted one at a time: the tests that carry the rule's id must turn red.

An id in a name proves nothing by itself. For each entry of `plants.yml` a copy of the sources gets the change, and the
tests of that rule run there. Before that they run on the copy as it is, where they must pass: a test that is red
anyhow shows nothing. build/planted/report.json says which test went red for which plant.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import yaml

from tests.checks import junit
from tests.checks.conformance import document, rules
from tests.checks.step import CHECKOUT

WORK = CHECKOUT / "build" / "planted"
SOURCES = "roles/agent/files/mobileip/src/mobileip"
AT_A_TIME = 2
LEAST = 40
# Not where hosts are needed: what is planted there is not rolled out.
TEST_FOLDERS = ("tests/unit", "tests/integration", "tests/forwarding")


@dataclass(frozen=True)
class Plant:
    """A violation: `old` becomes `new` in `file`, and `rule` is broken."""

    rule: str
    file: str
    old: str
    new: str

    def apply(self, copy: Path) -> str:
        """Breaks the rule in a copy; what stood there before. Raises ValueError where the plant no longer fits."""
        path = copy / SOURCES / self.file
        before = path.read_text(encoding="utf-8")
        if before.count(self.old) != 1:
            found = before.count(self.old)
            raise ValueError(f"{self.rule}: {self.old!r} stands {found} times in {self.file}, expected once")
        path.write_text(before.replace(self.old, self.new), encoding="utf-8")
        return before


@dataclass(frozen=True)
class Result:
    """What became of a plant: the tests that ran, and the first that went red."""

    rule: str
    file: str
    tests: int
    red: str = ""
    why: str = ""
    error: str = ""


PLANTS = [Plant(**entry) for entry in yaml.safe_load((Path(__file__).parent / "plants.yml").read_text("utf-8"))]


def _tests_of(rule: str) -> list[str]:
    """The tests that carry the rule's id, the quick ones first."""
    return [test for folder in TEST_FOLDERS for test in document.tests_named(CHECKOUT / folder, rule)]


def _run(copy: Path, tests: list[str], name: str, *options: str) -> list[junit.Case]:
    """The results of these tests in a copy. Raises ValueError if pytest ran none."""
    results = WORK / f"{name}.xml"
    results.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *options,
        "-p",
        "no:cacheprovider",
        f"--junitxml={results}",
        *tests,
    ]
    environment = {key: value for key, value in os.environ.items() if key != "RECORD_EMITTED"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600, check=False)
    cases = junit.read(results)
    if not cases:
        raise ValueError(f"pytest ran no test of {tests}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return cases


def _of(rule: str, cases: list[junit.Case]) -> list[junit.Case]:
    return [case for case in cases if rule in rules.ids_in(case.function.rpartition("::")[2])]


def _tried(plant: Plant, copy: Path) -> Result:
    tests = _tests_of(plant.rule)
    if not tests:
        return Result(plant.rule, plant.file, 0, error="no test carries the rule's id")
    try:
        before = plant.apply(copy)
    except ValueError as misfit:
        return Result(plant.rule, plant.file, len(tests), error=str(misfit))
    try:
        cases = _run(copy, tests, plant.rule, "-x")
    except ValueError as nothing:
        return Result(plant.rule, plant.file, len(tests), error=str(nothing))
    finally:
        (copy / SOURCES / plant.file).write_text(before, encoding="utf-8")
    red = [case for case in cases if case.result == "failed"]
    wanted = _of(plant.rule, red)
    if wanted:
        return Result(plant.rule, plant.file, len(tests), wanted[0].test, wanted[0].why)
    stray = f"; what failed instead: {red[0].test}: {red[0].why}" if red else ""
    return Result(plant.rule, plant.file, len(tests), error=f"no test of the rule went red{stray}")


@contextmanager
def _copies() -> Iterator[queue.Queue[Path]]:
    """Copies of everything that git knows or would add, one for each that runs at a time."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    free: queue.Queue[Path] = queue.Queue()
    shutil.rmtree(WORK, ignore_errors=True)
    for number in range(AT_A_TIME):
        copy = WORK / f"copy-{number}"
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, copy / name)
        plugins = copy / ".ansible" / "collections" / "ansible_collections" / "mobileip" / "vpn"
        plugins.parent.mkdir(parents=True)
        plugins.symlink_to(copy)
        free.put(copy)
    yield free
    shutil.rmtree(WORK / "copy-0")
    shutil.rmtree(WORK / "copy-1")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> dict[int, Result]:
    """What became of every plant whose test is to run, by its number in the file."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = {callspec.params["number"] for callspec in callspecs if callspec is not None}
    plants = [(number, plant) for number, plant in enumerate(PLANTS) if number in chosen]

    def say(words: str) -> None:
        with capture.global_and_fixture_disabled():
            print(words, flush=True)

    with _copies() as free:
        every = list(dict.fromkeys(test for _, plant in plants for test in _tests_of(plant.rule)))
        copy = free.get()
        broken = [case for case in _run(copy, every, "before") if case.result == "failed"]
        free.put(copy)

        def tried(numbered: tuple[int, Plant]) -> tuple[int, Result]:
            number, plant = numbered
            already = _of(plant.rule, broken)
            if already:
                why = f"red before anything was planted: {already[0].test}: {already[0].why}"
                return number, Result(plant.rule, plant.file, 0, error=why)
            copy = free.get()
            try:
                result = _tried(plant, copy)
            finally:
                free.put(copy)
            say(f"  plant {number + 1} of {len(PLANTS)}: {plant.rule:18} {result.error or f'red: {result.red}'}")
            return number, result

        say("")
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            found = dict(pool.map(tried, plants))
    report = json.dumps([asdict(result) for result in found.values()], indent=2)
    (WORK / "report.json").write_text(report + "\n", encoding="utf-8")
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(len(PLANTS)), ids=[plant.rule for plant in PLANTS])
def test_a_planted_violation_turns_its_rules_test_red(number: int, results: dict[int, Result]) -> None:
    assert results[number].error == ""
    assert results[number].red != ""


def test_there_are_enough_plants_one_a_rule_and_in_every_chapter() -> None:
    planted = [plant.rule for plant in PLANTS]
    assert len(set(planted)) == len(planted) >= LEAST
    known = {rule.id for rule in rules.load().rules}
    assert set(planted) <= known
    chapters = ("D-2.2", "D-2.3", "D-2.4", "D-2.5", "D-2.6", "D-2.7", "D-3-", "D-5", "D-6")
    documents = ("R2794", "R3024", "R3519", "R3543", "R4721", "R5944-3.6", "R5944-3.7", "R5944-3.8", "R5944-5.7")
    assert [chapter for chapter in chapters + documents if not any(rule.startswith(chapter) for rule in planted)] == []
