"""Time and dice of the fuzz tests.

FUZZ_SECONDS is shared by all tests of this folder (default 10), FUZZ_SEED chooses the inputs (default 434). Input
number N of a test depends on seed, test and N only, so a failure is repeated by the seed that is printed with it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

SECONDS = float(os.environ.get("FUZZ_SECONDS", "10"))
SEED = int(os.environ.get("FUZZ_SEED", "434"))
LEAST = 200
"""Inputs that a test tries however short its time is."""


def pytest_report_header() -> str:
    return f"fuzz: seed {SEED}, {SECONDS:g} seconds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test gets an equal share of the seconds, and time to finish its last input."""
    ours = [item for item in items if "fuzz" in item.path.parts]
    for item in ours:
        item.add_marker(pytest.mark.fuzz)
        item.add_marker(pytest.mark.timeout(SECONDS / len(ours) + 90))
        item.user_properties.append(("seconds", SECONDS / len(ours)))


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
