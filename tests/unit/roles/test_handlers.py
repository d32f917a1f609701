"""Every handler that a task of a role notifies is the role's own, and every handler is notified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
NAMES = sorted(path.parent.parent.name for path in ROLES.glob("*/tasks/main.yml"))


def tasks(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield item
        for part in ("block", "rescue", "always"):
            yield from tasks(item.get(part, []))


def read(role: str, folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((ROLES / role / folder).glob("*.yml")):
        yield from tasks(yaml.safe_load(path.read_text(encoding="utf-8")))


def texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("role", NAMES)
def test_handlers_and_who_notifies_them_go_together(role: str) -> None:
    handlers = list(read(role, "handlers"))
    notifiers = [*read(role, "tasks"), *handlers]
    notified = {name for task in notifiers for name in texts(task.get("notify", []))}
    known = {name for handler in handlers for name in [handler["name"], *texts(handler.get("listen", []))]}
    assert notified - known == set()
    assert [each["name"] for each in handlers if not notified & {each["name"], *texts(each.get("listen", []))}] == []
