"""Time and dice of the fuzz tests.

FUZZ_SECONDS (default 10) is shared by the tests of this folder that draw from dice, and once more by those that are
guided by coverage. FUZZ_SEED chooses the inputs (default 434): input number N of a test depends on seed, test and N
only, so a failure is repeated by the seed that is printed with it. A guided test leaves the input that failed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("FUZZ_SECONDS", "10"))
SEED = int(os.environ.get("FUZZ_SEED", "434"))
LEAST = 200
"""Inputs that a test tries however short its time is."""


def pytest_report_header() -> str:
    return f"fuzz: seed {SEED}, {SECONDS:g} seconds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test gets an equal share of the seconds, and time to finish its last input."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    guided = [item for item in ours if item.path.stem == "test_guided"]
    diced = [item for item in ours if item not in guided]
    for group in (guided, diced):
        for item in group:
            item.add_marker(pytest.mark.fuzz)
            item.add_marker(pytest.mark.timeout(SECONDS / len(group) + 90))
            item.user_properties.append(("seconds", SECONDS / len(group)))


class Inputs:
    """Dice for one input after the other until the test's time is over."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self.number = -1

    def __iter__(self) -> Iterator[random.Random]:
        end = time.monotonic() + self._seconds
        while self.number < LEAST or time.monotonic() < end:
            self.number += 1
            yield random.Random(f"{SEED} {self._name} {self.number}")


@pytest.fixture
def inputs(request: pytest.FixtureRequest) -> Iterator[Inputs]:
    """What the test draws from; says how far it came, which also names the input of a failure."""
    made = Inputs(request.node.name, dict(request.node.user_properties)["seconds"])
    yield made
    print(f"seed {SEED}: {request.node.name}, {made.number + 1} inputs")
