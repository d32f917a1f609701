"""Galaxy's tools in a virtual environment of their own, made when it is first asked for."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.checks.step import CHECKOUT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_CACHE = CHECKOUT / "build" / "galaxy"


def run(
    *command: str, directory: Path, environment: Mapping[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Runs one of the tools in `directory`; what it prints to both outputs is `stdout`."""
    programs = _programs()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    found = {**kept, "PATH": f"{programs}:{kept['PATH']}", **(environment or {})}
    return subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=directory,
        env=found,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def _programs() -> Path:
    """The directory of the programs: a new one for new pins or another Python."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    place = _CACHE / digest
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            install = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
            subprocess.run([*install, "--requirement", str(REQUIREMENTS)], check=True, timeout=600)
            (place / "complete").touch()
    return place / "bin"
