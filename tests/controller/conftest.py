"""One controller for all tests of a run, made from its image as it is now."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lab import controller, image, machine, names
from lab.controller import Controller

PYTHON = "3.13"


def _build_release() -> ModuleType:
    path = names.CHECKOUT / "roles" / "agent" / "files" / "build_release.py"
    spec = importlib.util.spec_from_file_location("build_release", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller without a network: this machine's pip fetches what its pip will ask for."""
    machine.require()
    machine.prepare()
    if not image.CONTROLLER.exists():
        image.CONTROLLER.build()
    wheels: Path = tmp_path_factory.mktemp("wheels")
    _build_release().libraries(PYTHON, platform.machine(), wheels)
    with controller.started(wheels) as running:
        yield running
