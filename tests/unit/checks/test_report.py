from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.checks.conformance import document, report, rules
from tests.checks.conformance.rules import Ambiguity, Rule, Table
from tests.checks.junit import Case
from tests.checks.step import CHECKOUT

LEGS = Rule("D-2.7.1-a", "declared", ("P",), "2.7.1", "Request to the home agent: from MIPP-Priv")
KEYS = Rule("D-2.1-c", "declared", (), "2.1", "How keys reach the parties is out of scope")


def _case(name: str, result: Literal["passed", "failed", "skipped"]) -> Case:
    return Case(f"tests/unit/test_x.py::{name}", result)


@pytest.mark.parametrize(
    ("cases", "result"),
    [
        ([_case("test_a_D_2_7_1_a", "passed"), _case("test_b_D_2_7_1_a", "skipped")], "pass"),
        ([_case("test_a_D_2_7_1_a[1]", "passed"), _case("test_a_D_2_7_1_a[2]", "failed")], "fail"),
        ([_case("test_a_D_2_7_1_a", "skipped")], "untested"),
        ([_case("test_each_rule[D_2_7_1_a]", "passed")], "untested"),
        ([_case("test_a_D_2_7_1_b", "passed")], "untested"),
        ([], "untested"),
    ],
)
def test_a_rule_passes_where_a_test_that_carries_its_id_has_and_none_has_failed(cases: list[Case], result: str) -> None:
    (verdict,) = report.verdicts([LEGS], cases)
    assert verdict.result == result
    assert (verdict in report.wanting([verdict])) is (result != "pass")


def test_only_what_nobody_is_named_for_is_not_ours() -> None:
    (verdict,) = report.verdicts([KEYS], [_case("test_a_D_2_1_c", "failed")])
    assert verdict.result == "not ours"
    assert report.wanting([verdict]) == []


def test_tests_are_listed_once_without_their_parameters_and_misspelt_ids_are_told() -> None:
    cases = [
        _case("test_a_D_2_7_1_a[1]", "passed"),
        _case("test_a_D_2_7_1_a[2]", "passed"),
        _case("test_D_9_9_z", "passed"),
    ]
    (verdict,) = report.verdicts([LEGS], cases)
    assert verdict.tests == ("tests/unit/test_x.py::test_a_D_2_7_1_a",)
    assert report.unknown_ids([LEGS], ["AMB-1"], cases) == ["tests/unit/test_x.py::test_D_9_9_z: D-9.9-z"]


def test_every_id_in_the_name_of_a_test_is_in_the_table() -> None:
    table = rules.load()
    known = {rule.id for rule in table.rules} | {ambiguity.id for ambiguity in table.ambiguities}
    assert document.named_in(CHECKOUT / "tests") - known == set()


def test_the_page_shows_rules_by_section_and_what_was_chosen_for_them(tmp_path: Path) -> None:
    choice = Ambiguity("AMB-24", ("D-2.7.1-a",), "A NAT is not detected", "off", ("haleg.nat_traversal",))
    (tmp_path / "test_x.py").write_text("class TestX:\n    def test_b_D_2_7_1_a(self) -> None: ...\n", encoding="utf-8")
    page = document.render(Table((KEYS, LEGS), (choice,)), document.named_in(tmp_path))
    assert "| D-2.1-c | declared | - | How keys reach the parties is out of scope | not ours |" in page
    assert (
        "## Draft 2.7.1\n\n"
        "| rule | level | who | what | test |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| D-2.7.1-a | declared | P | Request to the home agent: from MIPP-Priv | yes |\n\n"
        "- AMB-24 (D-2.7.1-a): A NAT is not detected.\n"
        "  Chosen: off. Keys: `haleg.nat_traversal`.\n"
    ) in page
