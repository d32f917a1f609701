"""The role's scripts as modules: they are files that the controller or a host runs, in no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

FILES = Path(__file__).parents[3] / "roles" / "agent" / "files"


def load(name: str) -> ModuleType:
    """Return a fresh module of `roles/agent/files/NAME.py`."""
    spec = importlib.util.spec_from_file_location(name, FILES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
