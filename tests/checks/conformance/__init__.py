"""The rules that the product is held to, which tests prove which of them, and the report that says so."""

from __future__ import annotations

from dataclasses import dataclass

from tests.checks import junit
from tests.checks.conformance import document, report, rules
from tests.checks.step import CHECKOUT, JUNIT, Failure, Outcome

REPORT = CHECKOUT / "build" / "conformance" / "report.json"
DOCUMENT = CHECKOUT / "docs" / "conformance.md"


@dataclass(frozen=True)
class Judgement:
    """What a run's tests say about the rules: a verdict each, and ids in names of tests that no table has."""

    verdicts: list[report.Verdict]
    unknown: list[str]

    @property
    def figures(self) -> str:
        """One line of counts."""
        return report.figures(self.verdicts)


def judge() -> Judgement:
    """Judges every rule by the junit files there are, and writes build/conformance/report.json."""
    table = rules.load()
    cases = [case for step in junit.read_all(JUNIT).values() for case in step]
    found = report.verdicts(table.rules, cases)
    report.write(found, REPORT)
    return Judgement(found, report.unknown_ids(table.rules, (each.id for each in table.ambiguities), cases))


def write_document() -> None:
    """Writes docs/conformance.md anew."""
    DOCUMENT.write_text(document.render(rules.load(), document.named_in(CHECKOUT / "tests")), encoding="utf-8")


def outcome(judgement: Judgement) -> Outcome:
    """The judgement as a step of its own: what is failing or untested, and what is misspelt, has failed."""
    failed = [Failure(f"rule {each.id}", f"{each.result}: {each.text}") for each in report.wanting(judgement.verdicts)]
    failed += [Failure("a test names no rule", each) for each in judgement.unknown]
    return Outcome("rules", 0.0, 0, tuple(failed), 0)
