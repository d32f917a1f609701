"""Secrets are declared as such, and every task that uses one is silent. What is said: tests/long/secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/meta"))
SECRET = re.compile(r"(?:[._]|^)(?:keys?|secrets?|passwords?|passphrases?|psks?)$")
# The key of a GRE tunnel (RFC 2890) stands in every packet; it keeps nothing secret.
NOT_SECRET = re.compile(r"_gre_key$")
WRITERS = ("template", "copy", "lineinfile", "blockinfile", "kernel_file")
# An assertion prints its message and the text of its conditions, not what they evaluate to.
JUDGES = ("assert",)
KEYWORDS = {"name", "register", "notify", "tags"}


def options(role: str) -> dict[str, Any]:
    text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return found


def declared(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, bool]]:
    """Each option, a nested one as `.NAME`, and whether it is declared a secret."""
    for name, option in found.items():
        yield before + name, bool(option.get("no_log"))
        yield from declared(option.get("options", {}), ".")


def secrets(role: str) -> set[str]:
    return {name for name, secret in declared(options(role)) if secret}


def printed(template: str) -> str:
    """What of a template can put a value into its output: not the conditions."""
    return re.sub(r"\{%-?\s*(?:el)?if\b.*?%\}|\{#.*?#\}", "", template, flags=re.DOTALL)


def carriers(role: str) -> set[str]:
    """The secret variables of a role, the variables that are made from them, and the templates that print them."""
    texts: dict[str, str] = {}
    for path in [*(ROOT / "roles" / role / "templates").glob("*.j2"), *(ROOT / "templates").rglob("*.j2")]:
        texts[path.name if role in path.parts else str(path.relative_to(ROOT / "templates"))] = printed(
            path.read_text(encoding="utf-8")
        )
    for path in (ROOT / "roles" / role / "vars").glob("*.yml"):
        for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            texts[name] = " ".join(values_of(value))
    found = secrets(role)
    while more := {name for name, text in texts.items() if name not in found and mentions(text, found)}:
        found |= more
    return found


def mentions(text: str, names: set[str]) -> bool:
    # Between quotes stands a name, of which a message may speak.
    before = {name: "" if name.startswith(".") else r"(?<![\w'\"])" for name in names}
    return any(re.search(rf"{before[name]}{re.escape(name)}(?![\w'\"])", text) for name in names)


def values_of(value: Any) -> Iterator[str]:
    """The texts in a value, but for the keys of its maps."""
    if isinstance(value, dict):
        for one in value.values():
            yield from values_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from values_of(one)
    else:
        yield str(value)


def tasks(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in found:
        inner = [one for part in ("block", "rescue", "always") for one in task.get(part, [])]
        if inner:
            yield from tasks(inner)
        else:
            yield task


def using(role: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks and handlers of a role that use a secret, by where they are."""
    names = carriers(role)
    for path in [*(ROOT / "roles" / role / "tasks").glob("*.yml"), *(ROOT / "roles" / role / "handlers").glob("*.yml")]:
        for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            used = " ".join(text for key, value in task.items() if key not in KEYWORDS for text in values_of(value))
            if mentions(used, names):
                yield f"{path.parent.name}/{path.name}: {task['name']}", task


def module(task: dict[str, Any]) -> str:
    return next(key.rpartition(".")[2] for key in task if re.fullmatch(r"\w+\.\w+\.\w+", key))


@pytest.mark.parametrize("role", ROLES)
def test_what_is_named_like_a_secret_is_declared_one(role: str) -> None:
    for name, secret in declared(options(role)):
        assert secret == bool(SECRET.search(name) and not NOT_SECRET.search(name)), name


@pytest.mark.parametrize("role", ROLES)
def test_every_task_that_uses_a_secret_is_silent(role: str) -> None:
    talking = [
        where
        for where, task in using(role)
        if module(task) not in JUDGES
        and not (task.get("no_log") is True and (module(task) not in WRITERS or task.get("diff") is False))
    ]
    assert talking == []


@pytest.mark.parametrize("role", ROLES)
def test_no_judgement_repeats_a_secret(role: str) -> None:
    # An item of a loop is printed as a whole.
    for where, task in using(role):
        if module(task) in JUDGES:
            assert not mentions(" ".join(values_of(task.get("loop", ""))), carriers(role)), where


@pytest.mark.parametrize("role", [role for role in ROLES if role not in {"agent", "dmz_firewall", "package"}])
def test_the_secrets_of_a_role_are_found(role: str) -> None:
    assert secrets(role)
    assert [where for where, task in using(role) if task.get("no_log") is True], carriers(role)
