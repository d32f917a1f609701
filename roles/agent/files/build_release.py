"""Build on the controller what the role installs: wheels for one target Python and architecture, and the BPF object.

The product is one file, `mobileip-py3.13-x86_64.tar`: `wheels/*.whl`, `requirements.txt` that locks each of them by its
hash, `mobileip.bpf.o`, `mobileip-xdp.bpf.o`. The daemon's wheel has compiled parts where this controller can make them
for the target, else it is pure Python, which does the same. The same sources give the same bytes. Products stay in a
cache below a hash of their sources, so that a second call only reads them; callers at one time wait for each other.

Prints JSON: `{"release": PATH, "built": bool, "sha256": HEX}`. Needs pip, clang, libbpf's headers, and a
package index for the libraries (pip's own configuration says which).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
DISTRIBUTION = HERE / "mobileip"
LOCK = HERE / "requirements.txt"
# glibc of the oldest target (Debian 12: 2.36) is newer than all of these.
PLATFORMS = ("manylinux_2_17", "manylinux2014", "manylinux_2_28")
OLDEST_PYTHON = (3, 11)
EPOCH = "1577836800"
"""A fixed time stamp (2020-01-01) for all files in wheel and tar: the product depends on the sources only."""


class BuildFailedError(Exception):
    """A step failed; the text says which, what it said, and what to do."""


def sources() -> list[Path]:
    """The distribution's files in a stable order, without what tools leave behind."""
    return sorted(path for path in DISTRIBUTION.rglob("*") if path.is_file() and not _left_behind(path))


def _left_behind(path: Path) -> bool:
    # Below the distribution only: the collection itself may live under a hidden directory.
    inside = path.relative_to(DISTRIBUTION)
    hidden = any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in inside.parts)
    return hidden or inside.suffix in {".pyc", ".o"}


def fingerprint(python: str, machine: str, compiled: bool) -> str:
    """A hash of everything that the product depends on."""
    digest = hashlib.sha256(f"{python} {machine} {compiled}\n".encode())
    for path in [*sources(), LOCK, Path(__file__).resolve()]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(HERE)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def run(what: str, command: list[str], **environment: str) -> None:
    """Run one step. Raises `BuildFailedError` with the end of what it said."""
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
        )
    except FileNotFoundError:
        raise BuildFailedError(f"{what}: {command[0]} is not installed on the controller") from None
    except subprocess.TimeoutExpired:
        raise BuildFailedError(f"{what}: not finished after 600 s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()[-3000:]
        raise BuildFailedError(f"{what} failed with status {error.returncode}:\n{said}") from None


def can_compile(python: str, machine: str) -> bool:
    """Would what this controller compiles run on the target, and has it the means?"""
    same = python == f"{sys.version_info.major}.{sys.version_info.minor}" and machine == platform.machine()
    linux = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    return same and linux and headers and shutil.which(compiler) is not None


def own_wheel(source: Path, wheels: Path, compiled: bool) -> None:
    """The daemon's wheel: with compiled parts for this Python and machine, or pure and good for every target."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if _has_setuptools():
        command.append("--no-build-isolation")
    run(
        "the wheel of mobileip",
        [*command, "--wheel-dir", str(wheels), str(source)],
        SOURCE_DATE_EPOCH=EPOCH,
        MOBILEIP_COMPILED=str(int(compiled)),
    )


def _has_setuptools() -> bool:
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def libraries(python: str, machine: str, wheels: Path) -> None:
    """The libraries' wheels, checked against the hashes of the lock file."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--implementation", "cp", "--python-version", python]
    command += [option for name in PLATFORMS for option in ("--platform", f"{name}_{machine}")]
    run(f"wheels for Python {python} on {machine}", [*command, "--dest", str(wheels), "--requirement", str(LOCK)])


def bpf_objects(source: Path, output: Path) -> None:
    """The BPF objects, for tc and XDP, by the distribution's own recipe: the same for all little-endian targets."""
    recipe = source / "src" / "mobileip" / "forwarding" / "build.py"
    spec = importlib.util.spec_from_file_location("mobileip_bpf_build", recipe)
    if spec is None or spec.loader is None:
        raise BuildFailedError(f"{recipe}: no such recipe")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.build_both(output)
    except module.BuildError as error:
        raise BuildFailedError(f"the BPF objects: {error}") from None


def lock_of(wheels: Path) -> str:
    """Requirements that allow these very files and no others."""
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return "".join(lines)


def pack(directory: Path, output: Path) -> None:
    """A tar file whose bytes depend on names and contents only."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(directory)))
            entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, int(EPOCH)
            with path.open("rb") as stream:
                archive.addfile(entry, stream)
    temporary = output.with_suffix(".part")
    temporary.write_bytes(content.getvalue())
    temporary.replace(output)


def build(python: str, machine: str, compiled: bool, output: Path) -> None:
    """Build the release into `output`. Raises `BuildFailedError`."""
    with tempfile.TemporaryDirectory(prefix="mobileip-release-") as scratch:
        source, release = Path(scratch, "source"), Path(scratch, "release")
        wheels = release / "wheels"
        wheels.mkdir(parents=True)
        for path in sources():  # setuptools writes beside what it builds, and the collection may be read-only
            copy = source / path.relative_to(DISTRIBUTION)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        bpf_objects(source, release / "mobileip.bpf.o")
        libraries(python, machine, wheels)
        own_wheel(source, wheels, compiled)
        (release / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
        pack(release, output)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One builder at a time in this cache."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, metavar="3.N", help="the targets' Python, such as 3.13")
    parser.add_argument("--machine", required=True, help="the targets' architecture as `uname -m` says, such as x86_64")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "mobileip", help="where products stay")
    parser.add_argument("--pure", action="store_true", help="no compiled parts, even where they could be made")
    parser.add_argument("--prebuilt", type=Path, help="take the product from this directory, build nothing")
    parser.add_argument("--output", type=Path, help="copy the product into this directory, for `agent_wheelhouse`")
    arguments = parser.parse_args()
    name = f"mobileip-py{arguments.python}-{arguments.machine}.tar"
    try:
        if tuple(int(part) for part in arguments.python.split(".")) < OLDEST_PYTHON:
            raise BuildFailedError(f"Python {arguments.python}: expected 3.11 or newer")
        if arguments.prebuilt:
            release, built = arguments.prebuilt / name, False
            if not release.exists():
                there = ", ".join(sorted(path.name for path in arguments.prebuilt.glob("mobileip-py*.tar"))) or "none"
                raise BuildFailedError(f"agent_wheelhouse: {release} is not there; releases there: {there}")
        else:
            compiled = not arguments.pure and can_compile(arguments.python, arguments.machine)
            directory = arguments.cache / fingerprint(arguments.python, arguments.machine, compiled)[:32]
            release = directory / name
            with locked(arguments.cache):
                built = not release.exists()
                if built:
                    directory.mkdir(parents=True, exist_ok=True)
                    build(arguments.python, arguments.machine, compiled, release)
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            release = Path(shutil.copyfile(release, arguments.output / name))
    except (BuildFailedError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    checksum = hashlib.sha256(release.read_bytes()).hexdigest()
    print(json.dumps({"release": str(release.resolve()), "built": built, "sha256": checksum}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
