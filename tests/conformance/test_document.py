"""docs/conformance.md is what the table of rules and the names of the tests make it."""

from __future__ import annotations

from tests.checks import conformance
from tests.checks.conformance import document, rules
from tests.checks.step import CHECKOUT


def test_the_page_in_the_repository_is_up_to_date() -> None:
    made = document.render(rules.load(), document.named_in(CHECKOUT / "tests"))
    assert conformance.DOCUMENT.read_text(encoding="utf-8") == made, "write it anew: python -m tests.checks.conformance"
