"""What each role declares that it touches is what its tasks touch: a checkpoint misses nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import Touches, matches, touches_of

from mobileip.runtime import home_agent, node_routes, rtnetlink, swan

CHECKOUT = Path(__file__).parents[3]
ROLES = sorted(path.parents[1].name for path in (CHECKOUT / "roles").glob("*/tasks/main.yml"))
_LISTS = re.compile(r"\[('[a-z0-9][a-z0-9.+-]+'(?:, '[a-z0-9][a-z0-9.+-]+')*)\]")
FILE_MODULES = ("template", "copy", "file")


def declared(role: str) -> Touches:
    document = yaml.safe_load((CHECKOUT / "roles" / role / "vars" / "touches.yml").read_text(encoding="utf-8"))
    return touches_of(document[f"__{role}_touches"])


def tasks(role: str) -> Iterator[dict[str, Any]]:
    def flat(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            yield entry
            for key in ("block", "rescue", "always"):
                yield from flat(entry.get(key, []))

    for path in sorted((CHECKOUT / "roles" / role).glob("tasks/*.yml")):
        yield from flat(yaml.safe_load(path.read_text(encoding="utf-8")) or [])


def said(role: str, text: str, **more: Any) -> str:
    """Render a path or name of a task; what only a host knows becomes `x`."""

    class Placeholder(jinja2.Undefined):
        def __str__(self) -> str:
            return "x"

    environment = jinja2.Environment(undefined=Placeholder, autoescape=False)
    environment.filters["dirname"] = os.path.dirname
    known: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        path = CHECKOUT / "roles" / role / name / "main.yml"
        if path.exists():
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            known |= {key: value for key, value in found.items() if isinstance(value, str) and "{{" not in value}
    rendered = environment.from_string(text).render(**known, **more)
    # What a loop hands over may be an expression itself.
    return said(role, rendered) if "{{" in rendered else rendered


def paths(role: str) -> Iterator[str]:
    for task in tasks(role):
        for name in FILE_MODULES:
            options = task.get(f"ansible.builtin.{name}")
            if options:
                items = task.get("loop", [None])
                for item in items if isinstance(items, list) else [None]:
                    yield said(role, options.get("dest") or options["path"], item=item)
        if options := task.get("mobileip.vpn.kernel_file"):
            yield said(role, options["path"])


def units(role: str) -> Iterator[str]:
    for task in tasks(role):
        options = task.get("ansible.builtin.systemd_service")
        if options and "name" in options:
            yield said(role, options["name"])
        for name in task.get("mobileip.vpn.units", {}).get("names", []):
            yield said(role, name)


@pytest.mark.parametrize("role", ROLES)
def test_every_path_of_a_task_is_declared(role: str) -> None:
    touches = declared(role) | declared("agent")
    found = sorted(set(paths(role)))
    assert found, "no path found: has the form of the tasks changed?"

    def covered(path: str) -> bool:
        return (
            any(matches(path, pattern) for pattern in touches.files)
            or any(path == root or path.startswith(f"{root}/") for root in touches.trees)
            or path in touches.directories
        )

    assert [path for path in found if not covered(path)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_unit_of_a_task_is_declared(role: str) -> None:
    names = [unit.name for unit in declared(role).units]
    found = sorted(set(units(role)))
    assert [unit for unit in found if not any(matches(unit, name) for name in names)] == []
    shipped = {path.name.removesuffix(".j2") for path in (CHECKOUT / "roles" / role).glob("templates/*.service.j2")}
    assert {name.replace("@.", "@*.") for name in shipped} <= set(names)


def of_platforms(role: str) -> Iterator[list[str]]:
    """What a role installs on the distributions from which apt can take it away again."""
    for path in (CHECKOUT / "roles/agent/vars/platforms").glob("*.yml"):
        platform = yaml.safe_load(path.read_text(encoding="utf-8"))["__agent_platform"]
        ipsec = ["ciphers", "libipsec", "passwords", "radius"]
        kinds = [role, *{"mobile_node": ipsec, "vpn_gateway": [*ipsec, "l2tp"]}.get(role, [])]
        if platform["manager"] == "apt":
            yield from (platform["packages"].get(kind, []) for kind in kinds)


@pytest.mark.parametrize("role", ROLES)
def test_every_package_is_declared(role: str) -> None:
    known: dict[str, Any] = {}
    for name in ("defaults", "vars"):
        path = CHECKOUT / "roles" / role / name / "main.yml"
        known |= yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    given = [value for key, value in known.items() if key.endswith("packages")]
    # Those that depend on the host stand in an expression, as lists of names in quotes.
    chosen = [
        re.findall(r"'([^']+)'", found) for text in given if isinstance(text, str) for found in _LISTS.findall(text)
    ]
    lists = [value for value in given if isinstance(value, list)] + chosen + list(of_platforms(role))
    assert sorted({package for some in lists for package in some}) == sorted(set(declared(role).packages))


def test_every_table_of_a_template_is_declared() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "templates/firewall").glob("*.j2"))
    found = set(re.findall(r"(?m)^delete table (\w+ \w+)$", templates))
    assert found == {table for role in ROLES for table in declared(role).tables}


def test_the_daemons_routes_and_rules_are_known_by_its_own_numbers() -> None:
    touches = declared("agent")
    assert touches.protocols == (rtnetlink.PROTOCOL,)
    assert touches.rules == (
        f"preference {node_routes.TUNNEL_PREFERENCE} * lookup {node_routes.TUNNEL_TABLE}",
        f"preference {swan.PARK_PREFERENCE} from all lookup *",
        f"preference {home_agent.CLAIMED_TABLE} * iif * lookup {home_agent.CLAIMED_TABLE}",
    )
