"""The table of rules, `tests/conformance/rules.yml`, and how the name of a test carries a rule's id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

TABLE = Path(__file__).resolve().parents[2] / "conformance" / "rules.yml"

LEVELS = ("must", "must not", "should", "may", "declared")
PARTIES = ("P", "MN", "HA", "FA", "DEP")

_ID = re.compile(r"D-[1-7](\.\d+)*-[a-z]|R\d{4}-\d+(\.\d+)*-[a-z]")
_AMBIGUITY = re.compile(r"AMB-[1-9]\d*")
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_IN_NAME = re.compile(
    r"(?<![A-Za-z0-9])(D|R\d{4})((?:_\d+)+)_([a-z])(?![A-Za-z0-9])|(?<![A-Za-z0-9])AMB_(\d+)(?![0-9])"
)


@dataclass(frozen=True)
class Rule:
    """One rule: how binding it is, on whom, where it stands, and the configuration keys of what was left open."""

    id: str
    level: str
    who: tuple[str, ...]
    section: str
    text: str
    config: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ambiguity:
    """A choice that the draft leaves open to some rules: what was chosen, and the keys that choose otherwise."""

    id: str
    rules: tuple[str, ...]
    text: str
    chosen: str
    config: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """All rules and ambiguities, in the order of the file."""

    rules: tuple[Rule, ...]
    ambiguities: tuple[Ambiguity, ...]


_Entry = TypeVar("_Entry", Rule, Ambiguity)


def load(path: Path = TABLE) -> Table:
    """Reads and checks a table of rules. Raises ValueError with every entry that is wrong, and why."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules = tuple(_made(Rule, entry) for entry in content["rules"])
    ambiguities = tuple(_made(Ambiguity, entry) for entry in content["ambiguities"])
    problems = [*_duplicates(rules), *_duplicates(ambiguities)]
    for rule in rules:
        problems += [f"{rule.id}: {problem}" for problem in _problems(rule)]
    for ambiguity in ambiguities:
        if not _AMBIGUITY.fullmatch(ambiguity.id):
            problems.append(f"{ambiguity.id}: an ambiguity's id is AMB-number")
        unknown = sorted(set(ambiguity.rules) - {rule.id for rule in rules})
        problems += [f"{ambiguity.id}: there is no rule {rule}" for rule in unknown]
        problems += [f"{ambiguity.id}: {key!r} is no configuration key" for key in _no_keys(ambiguity.config)]
    if problems:
        raise ValueError(f"{path.name}: " + "; ".join(problems))
    return Table(rules, ambiguities)


def ids_in(name: str) -> tuple[str, ...]:
    """The ids that a test's name carries, `test_x_D_2_3_1_g_and_AMB_8` those of D-2.3.1-g and AMB-8."""
    found = []
    for match in _IN_NAME.finditer(name.partition("[")[0]):
        document, section, letter, ambiguity = match.groups()
        if ambiguity:
            found.append(f"AMB-{ambiguity}")
        else:
            found.append(f"{document}-{section[1:].replace('_', '.')}-{letter}")
    return tuple(dict.fromkeys(found))


def _made(kind: Callable[..., _Entry], entry: Mapping[str, Any]) -> _Entry:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{entry.get('id', entry)}: {error}") from error


def _duplicates(entries: Iterable[Rule] | Iterable[Ambiguity]) -> list[str]:
    ids = [entry.id for entry in entries]
    return [f"{each}: twice" for each in dict.fromkeys(ids) if ids.count(each) > 1]


def _problems(rule: Rule) -> list[str]:
    problems = []
    if not _ID.fullmatch(rule.id):
        problems.append("an id is D-section-letter or Rnumber-section-letter")
    if rule.level not in LEVELS:
        problems.append(f"level {rule.level!r}, expected one of {', '.join(LEVELS)}")
    if unknown := [party for party in rule.who if party not in PARTIES]:
        problems.append(f"who {', '.join(unknown)}, expected some of {', '.join(PARTIES)}")
    document, section, _ = rule.id.split("-") if rule.id.count("-") == 2 else ("", "", "")
    if rule.section != (section if document == "D" else f"RFC {document[1:]} {section}"):
        problems.append(f"section {rule.section!r} is not that of its id")
    if not 20 <= len(rule.text) <= 150:
        problems.append(f"a text of {len(rule.text)} characters, expected 20 to 150")
    problems += [f"{key!r} is no configuration key" for key in _no_keys(rule.config)]
    return problems


def _no_keys(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if not _KEY.fullmatch(key)]
