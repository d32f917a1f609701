"""Every planted bug of the data path is found by the comparison with the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forwarding.conftest import Namespace
from tests.forwarding.plants import PLANTED, PLANTED_IN_THE_MODEL
from tests.forwarding.test_rules_equal_programs import test_a_planted_bug_is_caught as finds
from tests.forwarding.test_rules_equal_programs import test_a_planted_bug_of_the_model_is_caught as finds_in_the_model

pytestmark = pytest.mark.namespaces


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED, ids=range(len(PLANTED)))
def test_the_comparison_finds(
    interfaces: tuple[Namespace, dict[str, int]], pin_dir: Path, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    finds(interfaces, pin_dir, tmp_path, name, right, wrong)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED_IN_THE_MODEL, ids=range(len(PLANTED_IN_THE_MODEL)))
def test_the_comparison_finds_in_the_model(
    needs_root: None, bpf_object: Path, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    finds_in_the_model(needs_root, bpf_object, tmp_path, name, right, wrong)
