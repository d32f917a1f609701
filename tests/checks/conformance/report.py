"""What the tests of a run say about each rule: build/conformance/report.json, and the figures that a run ends with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.checks.conformance.rules import Rule, ids_in
from tests.checks.junit import Case

# The parties whose rules must all be proven. The foreign agent is there to test against.
HELD = ("P", "MN", "HA", "DEP")


@dataclass(frozen=True)
class Verdict:
    """A rule with the tests that carry its id and what they say together."""

    id: str
    level: str
    who: tuple[str, ...]
    text: str
    tests: tuple[str, ...]
    result: Literal["pass", "fail", "untested", "not ours"]
    config: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether the rule is on one of the parties whose rules must all be proven."""
        return any(party in HELD for party in self.who)


def verdicts(rules: Iterable[Rule], cases: Iterable[Case]) -> list[Verdict]:
    """One verdict a rule: a failed test fails it, and one that passed proves it; one that was skipped does neither."""
    by_rule: dict[str, list[Case]] = {}
    for case in cases:
        for rule in ids_in(case.function.rpartition("::")[2]):
            by_rule.setdefault(rule, []).append(case)
    return [_verdict(rule, by_rule.get(rule.id, [])) for rule in rules]


def unknown_ids(rules: Iterable[Rule], ambiguities: Iterable[str], cases: Iterable[Case]) -> list[str]:
    """Ids in names of tests that no table has, each with its test: a slip of the pen proves nothing."""
    known = {rule.id for rule in rules} | set(ambiguities)
    functions = dict.fromkeys(case.function for case in cases)
    return [f"{test}: {each}" for test in functions for each in ids_in(test.rpartition("::")[2]) if each not in known]


def write(found: Iterable[Verdict], path: Path) -> None:
    """Writes the report, one object a rule."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(verdict) for verdict in found], indent=2) + "\n", encoding="utf-8")


def wanting(found: Iterable[Verdict]) -> list[Verdict]:
    """The rules of the parties held to them that are failing or untested."""
    return [verdict for verdict in found if verdict.held and verdict.result in ("fail", "untested")]


def figures(found: Iterable[Verdict]) -> str:
    """One line: how many rules stand how, of the parties held to them and of the rest."""
    held = [verdict.result for verdict in found if verdict.held]
    rest = [verdict.result for verdict in found if not verdict.held]
    return (
        f"rules of {', '.join(HELD)}: {held.count('pass')} pass, {held.count('fail')} fail, "
        f"{held.count('untested')} untested; "
        f"others: {rest.count('pass')} pass, {rest.count('fail')} fail, {rest.count('untested')} untested, "
        f"{rest.count('not ours')} not ours"
    )


def _verdict(rule: Rule, cases: list[Case]) -> Verdict:
    results = {case.result for case in cases}
    result: Literal["pass", "fail", "untested", "not ours"]
    if not rule.who:
        result = "not ours"
    elif "failed" in results:
        result = "fail"
    else:
        result = "pass" if "passed" in results else "untested"
    tests = tuple(dict.fromkeys(case.function for case in cases))
    return Verdict(rule.id, rule.level, rule.who, rule.text, tests, result, rule.config)
