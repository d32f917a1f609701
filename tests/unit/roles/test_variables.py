"""Every variable of a role is described, has the default that is described, is used, and is in the reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checks import reference
from tests.checks.reference import role_variables

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/meta"))
# Where a role's variables may be used: in the role, and in what roles share.
USED_IN = ("tasks", "handlers", "vars", "templates")
SHARED = [path for path in ROOT.glob("templates/**/*.j2") if path.is_file()]


def specs(role: str) -> dict[str, Any]:
    text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["argument_specs"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8")) or {}
    return found


def texts(role: str) -> str:
    """Everything of a role that can use a variable, without comments."""
    files = [path for part in USED_IN for path in (ROOT / "roles" / role / part).rglob("*") if path.is_file()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*files, *SHARED])
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


def mentioned(role: str, text: str) -> set[str]:
    """The names in `text` that begin like a variable of the role, but for those behind a dot (`node.NAME`)."""
    return set(re.findall(rf"(?<![\w./-]){role}_[a-z0-9_]+(?![\w-]|\.(?:ya?ml|j2)\b)", text))


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_readme_an_argument_specification_and_galaxys_facts(role: str) -> None:
    folder = ROOT / "roles" / role
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {role}\n")
    assert f"docs/reference/variables.md#{role})" in readme
    assert specs(role)["main"]["description"]
    facts = yaml.safe_load((folder / "meta" / "main.yml").read_text(encoding="utf-8"))["galaxy_info"]
    assert facts["min_ansible_version"] == "2.19"


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_described_and_begins_with_the_role(role: str) -> None:
    for name, option in specs(role)["main"]["options"].items():
        assert name.startswith(f"{role}_")
        assert option["description"], name
        assert option["type"], name


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_the_one_that_the_description_names(role: str) -> None:
    described = {name: one["default"] for name, one in specs(role)["main"]["options"].items() if "default" in one}
    fixed = {name: value for name, value in defaults(role).items() if "{{" not in str(value)}
    assert fixed == described
    assert set(defaults(role)) <= set(specs(role)["main"]["options"])


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_used_and_every_used_one_described(role: str) -> None:
    text = texts(role)
    options = set(specs(role)["main"]["options"])
    assert options - mentioned(role, text) == set()
    keys_of_entries = set(re.findall(r"C\((\w+)\)", yaml.safe_dump(specs(role)["main"])))
    assert mentioned(role, text) - options - facts_of(role) - keys_of_entries == set()


def facts_of(role: str) -> set[str]:
    """What the role finds out and keeps for itself under a name without underscores before it."""
    names: set[str] = set()
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            names |= set(task.get("ansible.builtin.set_fact", {}))
    return names


@pytest.mark.parametrize("role", ROLES)
def test_an_entry_point_takes_what_the_role_takes(role: str) -> None:
    found = specs(role)
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(found) <= tasks
    assert "preflight" in found
    assert all(one["options"] == found["main"]["options"] for one in found.values())


def test_tasks_are_included_by_the_name_of_their_entry_point() -> None:
    # With the extension Ansible finds the file, but not its argument specification, and checks nothing.
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("molecule/**/*.yml")]
    found = [name for path in files for name in re.findall(r"tasks_from: *(\S+)", path.read_text(encoding="utf-8"))]
    assert found
    assert [name for name in found if name.endswith((".yml", ".yaml"))] == []


def test_the_reference_is_up_to_date() -> None:
    assert reference.VARIABLES.read_text(encoding="utf-8") == role_variables.render(), "write it anew: make reference"
