"""The arrows of the layers: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "roles/agent/files/mobileip/src/mobileip"
MAY_IMPORT = {
    "wire": {"wire"},
    "registration": {"registration", "wire"},
    "forwarding": {"forwarding", "wire"},
    "store": {"store", "registration", "wire"},
    "config": {"config"},
    "decode": {"wire"},
    "runtime": {"runtime", "store", "forwarding", "registration", "wire", "config", ""},
    "cli": {"runtime", "store", "forwarding", "registration", "wire", "config", "decode", ""},
    "__init__": set(),
    "__main__": {"cli"},
}  # fmt: skip
"""`""` is the package itself, for its version."""
WITHOUT_IO = {
    "asyncio",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "logging",
    "select",
    "pyroute2",
    "vici",
}


def layer_of(file: Path) -> str:
    part = file.relative_to(SOURCES).parts[0]
    return part.removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "mobileip"}
    return names


def ours(names: set[str]) -> set[str]:
    """The layers among imported names."""
    layers = set()
    for name in names:
        if name == "mobileip" or name == "mobileip.__version__":
            layers.add("")
        elif name.startswith("mobileip."):
            layers.add(name.split(".")[1])
    return layers


FILES = sorted(SOURCES.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCES)))
def test_each_file_imports_only_layers_below_it(file: Path) -> None:
    names = imported(file)
    layers = ours(names) - ({""} if any(name.startswith("mobileip.") for name in names) else set())
    assert layers <= MAY_IMPORT[layer_of(file)]


@pytest.mark.parametrize("layer", ["wire", "registration"])
def test_the_core_touches_no_clock_socket_or_log(layer: str) -> None:
    for file in (SOURCES / layer).rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(file)} & WITHOUT_IO, file


def test_the_store_knows_no_event_loop() -> None:
    for file in (SOURCES / "store").rglob("*.py"):
        assert "asyncio" not in imported(file), file


def test_every_layer_is_in_the_table() -> None:
    assert {layer_of(file) for file in FILES} <= set(MAY_IMPORT)
