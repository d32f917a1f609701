"""The controllers at both ends of what we claim: the oldest ansible-core, and the newest on its own Debian."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from lab import controller, image, machine, names
from lab.controller import Controller
from tests.controller.said import Core

PYTHON = "3.13"


class Oldest:
    """The oldest ansible-core of meta/runtime.yml; everything else that it imports is this virtual environment's."""

    def __init__(self, directory: Path) -> None:
        runtime = yaml.safe_load((names.CHECKOUT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
        self.version = re.sub(r"^>=", "", str(runtime["requires_ansible"]))
        self._programs = directory / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=120)
        own = next(directory.glob("lib/python*/site-packages"))
        (own / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        pip = [str(self._programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--ignore-installed"]
        subprocess.run([*pip, *options, f"ansible-core=={self.version}"], check=True, timeout=300)

    def run(self, *command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}", "ANSIBLE_FORCE_COLOR": "false"}
        return subprocess.run(
            [str(self._programs / command[0]), *command[1:]],
            cwd=names.CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


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


@pytest.fixture(scope="session")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Oldest:
    return Oldest(tmp_path_factory.mktemp("oldest") / "venv")


@pytest.fixture(params=["oldest", "newest"])
def core(request: pytest.FixtureRequest) -> Core:
    """Each end in turn."""
    found: Core = request.getfixturevalue(request.param)
    return found
