"""Each planted violation still fits the sources: `make test-long PART=planted` finds out what it does to the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.forwarding.plants import PLANTED, PLANTED_IN_THE_MODEL

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "roles/agent/files/mobileip/src/mobileip"


def test_what_is_to_be_broken_stands_once_in_its_file() -> None:
    plants = yaml.safe_load((ROOT / "tests/long/planted/plants.yml").read_text(encoding="utf-8"))
    times = {
        (plant["rule"], plant["file"]): (SOURCES / plant["file"]).read_text(encoding="utf-8").count(plant["old"])
        for plant in plants
    }
    assert len(times) >= 40
    assert {plant: found for plant, found in times.items() if found != 1} == {}


@pytest.mark.parametrize(("folder", "planted"), [("bpf", PLANTED), ("rules", PLANTED_IN_THE_MODEL)])
def test_what_is_to_be_broken_of_the_data_path_stands_once_in_its_file(
    folder: str, planted: list[tuple[str, str, str]]
) -> None:
    sources = SOURCES / "forwarding" / folder
    times = {plant: (sources / plant[0]).read_text(encoding="utf-8").count(plant[1]) for plant in planted}
    assert len(times) >= 10
    assert {plant: found for plant, found in times.items() if found != 1} == {}
