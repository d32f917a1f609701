"""Packages that only guests need: fetched by this machine's apt and unpacked into a tree of their own.

Not installed: strongSwan's packages would start a daemon here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.guest.errors import GuestError

LIST = Path(__file__).with_name("packages.txt")
_BUILD = Path(__file__).resolve().parents[2] / "build/guest"

_MERGED = ("bin", "lib", "lib64", "sbin")


def of_guests() -> Path:
    """The tree that lies over the root of every guest. Raises GuestError when apt cannot bring a package."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return unpacked("packages", [line for line in lines if line and not line.startswith("#")])


def needed(package: str) -> list[str]:
    """What a package without content of its own depends on."""
    lines = _run(["apt-cache", "depends", package], Path("/")).splitlines()
    return [line.split()[1] for line in lines if line.strip().startswith("Depends:")]


def unpacked(name: str, packages: list[str], *, dependencies: bool = True) -> Path:
    """build/guest/NAME-HASH with the content of `packages`, and of what they depend on and this machine lacks.

    Made where it is missing. Raises GuestError when apt cannot bring a package.
    """
    tree = _BUILD / f"{name}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    if tree.exists():
        return tree
    archives, making = tree.with_suffix(".archives"), tree.with_suffix(".new")
    for stale in (archives, making):
        shutil.rmtree(stale, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    making.mkdir()
    if dependencies:
        fetch = ["apt-get", "install", "--yes", "--download-only", "--no-install-recommends", "-o",
                 f"Dir::Cache::archives={archives}", *packages]  # fmt: skip
    else:
        fetch = ["apt-get", "download", *packages]
    _run(["apt-get", "update"], archives)
    _run(fetch, archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(making)], archives)
    for directory in _MERGED:
        # Part of /usr on this machine: as a directory it would hide the link.
        if (making / directory).exists() and (Path("/") / directory).is_symlink():
            shutil.copytree(making / directory, making / "usr" / directory, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(making / directory)
    shutil.rmtree(archives)
    making.rename(tree)
    return tree


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise GuestError(f"{' '.join(command)}: {done.stdout.strip()[-2000:]}")
    return done.stdout
