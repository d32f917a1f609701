from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.checks.conformance import rules


def test_the_table_is_well_formed_and_holds_every_rule_of_the_draft_once() -> None:
    table = rules.load()
    of_draft = [rule for rule in table.rules if rule.id.startswith("D-")]
    assert len(of_draft) == 137
    assert [ambiguity.id for ambiguity in table.ambiguities] == [f"AMB-{number}" for number in range(1, 27)]
    assert [rule.id for rule in table.rules if not rule.who] == ["D-2.1-c", "D-4.1.1-a"]


def test_each_key_of_a_rule_is_a_key_of_an_ambiguity() -> None:
    table = rules.load()
    known = {key for ambiguity in table.ambiguities for key in ambiguity.config}
    assert {key for rule in table.rules for key in rule.config} <= known


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_reply_keeps_the_identification_D_2_3_1_g", ("D-2.3.1-g",)),
        ("test_two_legs_D_2_7_1_a_and_D_2_7_2_a[draft-1]", ("D-2.7.1-a", "D-2.7.2-a")),
        ("test_mismatch_is_133_R5944_3_8_2_1_b", ("R5944-3.8.2.1-b",)),
        ("test_no_advertisement_D_3_a_D_3_b", ("D-3-a", "D-3-b")),
        ("test_shortest_lifetime_AMB_8_and_D_2_3_1_c", ("AMB-8", "D-2.3.1-c")),
        ("test_a_plan_of_3_a_is_none[D_3_a]", ()),
        ("test_words_that_D_2_3_1_go_on", ()),
    ],
)
def test_ids_are_read_from_the_name_of_a_test(name: str, ids: tuple[str, ...]) -> None:
    assert rules.ids_in(name) == ids


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{id: D-2.3, level: must, who: [P], section: '2.3', text: A text long enough to be read}", "an id is"),
        ("{id: D-2.3-a, level: shall, who: [P], section: '2.3', text: A text long enough to be read}", "level 'shall'"),
        ("{id: D-2.3-a, level: must, who: [X], section: '2.3', text: A text long enough to be read}", "who X"),
        ("{id: D-2.3-a, level: must, who: [P], section: '2.4', text: A text long enough to be read}", "section '2.4'"),
        ("{id: D-2.3-a, level: must, who: [P], section: '2.3', text: short}", "a text of 5 characters"),
        (
            "{id: D-2.3-a, level: must, who: [P], section: '2.3', text: A text long enough to be read, config: [A-B]}",
            "'A-B' is no configuration key",
        ),
        ("{id: D-2.3-a, level: must, who: [P], section: '2.3', text: A text long enough to be read, why: x}", "'why'"),
    ],
)
def test_a_wrong_entry_is_named_with_what_was_expected(entry: str, complaint: str, tmp_path: Path) -> None:
    table = tmp_path / "rules.yml"
    table.write_text(
        textwrap.dedent(f"""\
            rules:
              - {entry}
            ambiguities: []
            """),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"D-2\.3") as refused:
        rules.load(table)
    assert complaint in str(refused.value)
