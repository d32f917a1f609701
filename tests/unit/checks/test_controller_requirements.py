"""The two controllers that we test on: each has its ansible-core, and of everything else both have the same."""

from __future__ import annotations

import re
from pathlib import Path

from lab import names


def _pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line)] == []
    return dict(line.split("==") for line in lines)


MACHINE = _pins(names.CHECKOUT / "requirements-dev.txt")
CONTROLLER = _pins(names.RESOURCES / "image" / "controller" / "requirements.txt")


def test_each_controller_has_its_ansible_core() -> None:
    assert MACHINE["ansible-core"].startswith("2.19.")
    assert CONTROLLER["ansible-core"].startswith("2.21.")


def test_both_lint_by_the_same_rules_and_share_their_libraries() -> None:
    assert {"ansible-lint", "yamllint"} <= CONTROLLER.keys()
    differ = {name for name, version in CONTROLLER.items() if MACHINE.get(name) != version}
    assert differ == {"ansible-core"}
