"""Handlers of one play share one space of names: of two that are called alike, Ansible runs one, whoever notified."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import yaml

ROLES = Path(__file__).parents[3] / "roles"


def test_no_two_roles_have_a_handler_of_one_name() -> None:
    named = defaultdict(list)
    for file in sorted(ROLES.glob("*/handlers/main.yml")):
        for handler in yaml.safe_load(file.read_text(encoding="utf-8")):
            named[handler["name"]].append(file.parts[-3])
    assert named, "no handler found: have their files moved?"
    assert {name: roles for name, roles in named.items() if len(roles) > 1} == {}
