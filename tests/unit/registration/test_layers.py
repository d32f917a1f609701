"""The state machines stand on the codec alone: no clock, no socket, no log, nothing of the runtime."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import mobileip

SOURCE = Path(mobileip.__file__).parent
# Clock, chance of the system, network, files, processes, logs: what a pure function does not need.
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "selectors",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "threading",
    "time",
}
MAY_IMPORT = {"wire": {"wire"}, "registration": {"wire", "registration"}}
FILES = [path for layer in MAY_IMPORT for path in sorted((SOURCE / layer).glob("*.py"))]


def imported(path: Path) -> set[str]:
    """Modules that the file imports, ours as `mobileip.layer`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names.add(node.module or "")
    return {".".join(name.split(".")[:2]) if name.startswith("mobileip") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_point_down(path: Path) -> None:
    allowed = (
        (sys.stdlib_module_names - IMPURE)
        | {"_mobileip"}
        | {f"mobileip.{layer}" for layer in MAY_IMPORT[path.parent.name]}
    )
    assert imported(path) - allowed == set()


def test_both_layers_were_looked_at() -> None:
    assert {path.name for path in FILES} >= {"messages.py", "proxy.py", "home_agent.py"}
