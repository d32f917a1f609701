"""docs/conformance.md: the rules by section, each with whether a test carries it, and what was chosen where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.checks.conformance.rules import Ambiguity, Rule, Table, ids_in
from tests.checks.step import CHECKOUT

_INTRODUCTION = """\
# Conformance

<!-- Written by `make conformance`; do not edit. -->

Each rule of draft-adrangi-mobileip-vpn-traversal-02, by its section, then those of the RFCs it stands on, as far as
they concern the parties here: P the MIP Proxy, MN the mobile node, HA the home agent, FA the foreign agent, DEP the
deployment (firewalls, VPN gateway, hosts).

A rule's tests carry its id in their names: those of D-2.3.1-g are found by `grep -rn D_2_3_1_g tests/`. `untested`
stands where there is none. `make conformance` runs them and writes what each says to `build/conformance/report.json`.
"""


def named_in(directory: Path) -> set[str]:
    """The ids that the names of the test functions below a directory carry."""
    return {each for path in directory.rglob("test_*.py") for name in _functions(path) for each in ids_in(name)}


def tests_named(directory: Path, rule: str) -> list[str]:
    """The tests below a directory that carry a rule's id, as one would give them to pytest in the checkout."""
    return [
        f"{path.relative_to(CHECKOUT)}::{name}"
        for path in sorted(directory.rglob("test_*.py"))
        for name in _functions(path)
        if rule in ids_in(name)
    ]


def render(table: Table, named: set[str]) -> str:
    """The page, the same for the same table and names."""
    lines = [_INTRODUCTION]
    for section, rules in groupby(table.rules, key=lambda rule: rule.section):
        lines += _section(section, list(rules), table.ambiguities, named)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: str, rules: list[Rule], ambiguities: tuple[Ambiguity, ...], named: set[str]) -> Iterator[str]:
    yield f"## {section if section.startswith('RFC') else f'Draft {section}'}\n"
    yield "| rule | level | who | what | test |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in rules:
        yield f"| {rule.id} | {rule.level} | {', '.join(rule.who) or '-'} | {rule.text} | {_standing(rule, named)} |"
    yield ""
    here = {rule.id for rule in rules}
    for ambiguity in ambiguities:
        if here & set(ambiguity.rules):
            keys = ", ".join(f"`{key}`" for key in ambiguity.config)
            yield f"- {ambiguity.id} ({', '.join(ambiguity.rules)}): {ambiguity.text}."
            yield f"  Chosen: {ambiguity.chosen}.{f' Keys: {keys}.' if keys else ''}"
    if any(here & set(ambiguity.rules) for ambiguity in ambiguities):
        yield ""


def _standing(rule: Rule, named: set[str]) -> str:
    if not rule.who:
        return "not ours"
    return "yes" if rule.id in named else "untested"


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
