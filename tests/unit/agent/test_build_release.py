"""The release: the same bytes from the same sources, built once, and nothing but what its lock names."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from .scripts import FILES, load

NAME = "mobileip-py3.13-x86_64.tar"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script beside a small distribution of its own."""
    module = load("build_release")
    source = tmp_path / "files" / "mobileip"
    (source / "src").mkdir(parents=True)
    (source / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (source / "src" / "program.py").write_text("pass\n", encoding="utf-8")
    (tmp_path / "files" / "requirements.txt").write_text("# none\n", encoding="utf-8")
    copy = Path(shutil.copy(FILES / "build_release.py", tmp_path / "files"))
    monkeypatch.setattr(module, "HERE", copy.parent)
    monkeypatch.setattr(module, "DISTRIBUTION", source)
    monkeypatch.setattr(module, "LOCK", copy.parent / "requirements.txt")
    monkeypatch.setattr(module, "__file__", str(copy))
    return module


def test_the_fingerprint_covers_target_sources_lock_and_script(script: ModuleType) -> None:
    seen = {script.fingerprint("3.13", "x86_64", False)}
    for python, machine in (("3.12", "x86_64"), ("3.13", "aarch64")):
        seen.add(script.fingerprint(python, machine, False))
    changed = [script.DISTRIBUTION / "src" / "program.py", script.LOCK, script.HERE / "build_release.py"]
    for path in changed:
        path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        seen.add(script.fingerprint("3.13", "x86_64", False))
    seen.add(script.fingerprint("3.13", "x86_64", True))
    (script.DISTRIBUTION / "src" / "program.py").rename(script.DISTRIBUTION / "src" / "renamed.py")
    seen.add(script.fingerprint("3.13", "x86_64", False))
    assert len(seen) == 8


@pytest.mark.parametrize(
    "left", ["src/__pycache__/program.cpython-313.pyc", "src/program.pyc", "src/x.o", "src/mobileip.egg-info/PKG-INFO"]
)
def test_what_tools_leave_behind_is_no_source(script: ModuleType, left: str) -> None:
    before = script.fingerprint("3.13", "x86_64", False)
    path = script.DISTRIBUTION / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    assert script.fingerprint("3.13", "x86_64", False) == before


def test_caches_of_linters_are_no_source(script: ModuleType) -> None:
    before = script.fingerprint("3.13", "x86_64", False)
    for cache in (".ruff_cache", ".mypy_cache"):
        (script.DISTRIBUTION / cache).mkdir()
        (script.DISTRIBUTION / cache / "CACHEDIR.TAG").write_text("cache", encoding="ascii")
    assert script.fingerprint("3.13", "x86_64", False) == before


def test_the_same_files_pack_to_the_same_bytes(script: ModuleType, tmp_path: Path) -> None:
    packed = []
    for number, order in enumerate((("a", "b/c"), ("b/c", "a"))):
        directory = tmp_path / str(number)
        for name in order:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="ascii")
            path.chmod(0o600 if number else 0o755)
        script.pack(directory, tmp_path / f"{number}.tar")
        packed.append((tmp_path / f"{number}.tar").read_bytes())
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert [(entry.name, entry.mode, entry.uid) for entry in archive] == [("a", 0o644, 0), ("b/c", 0o644, 0)]


def test_compiled_parts_are_made_only_for_the_python_and_machine_that_make_them(script: ModuleType) -> None:
    here, machine = f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine()
    assert not script.can_compile("3.99", machine)
    assert not script.can_compile(here, "mips")
    has_headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    assert script.can_compile(here, machine) <= has_headers


def test_the_lock_allows_the_packed_wheels_and_no_others(script: ModuleType, tmp_path: Path) -> None:
    for name in ("pyyaml-6.0.2-cp313-cp313-manylinux_2_17_x86_64.whl", "mobileip-1.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "notes.txt").write_text("no wheel", encoding="ascii")
    digests = {
        path.name.split("-")[0]: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("*.whl")
    }
    assert script.lock_of(tmp_path) == (
        f"mobileip==1.0 --hash=sha256:{digests['mobileip']}\npyyaml==6.0.2 --hash=sha256:{digests['pyyaml']}\n"
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FILES / "build_release.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_prebuilt_release_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"release")
    done = run("--python=3.13", "--machine=x86_64", f"--prebuilt={tmp_path}", f"--cache={tmp_path / 'cache'}")
    expected = {"release": str(tmp_path / NAME), "built": False, "sha256": hashlib.sha256(b"release").hexdigest()}
    assert json.loads(done.stdout) == expected
    assert not (tmp_path / "cache").exists()


def test_a_prebuilt_release_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "mobileip-py3.11-x86_64.tar").touch()
    done = run("--python=3.13", "--machine=x86_64", f"--prebuilt={tmp_path}")
    assert done.returncode == 1
    assert done.stderr == (
        f"agent_wheelhouse: {tmp_path / NAME} is not there; releases there: mobileip-py3.11-x86_64.tar\n"
    )


def test_a_release_in_the_cache_is_not_built_again(script: ModuleType, tmp_path: Path) -> None:
    real = load("build_release")
    release = tmp_path / real.fingerprint("3.13", "x86_64", False)[:32] / NAME
    release.parent.mkdir()
    release.write_bytes(b"from the cache")
    done = run("--python=3.13", "--machine=x86_64", "--pure", f"--cache={tmp_path}", f"--output={tmp_path / 'out'}")
    found = json.loads(done.stdout)
    assert (found["built"], found["release"]) == (False, str(tmp_path / "out" / NAME))
    assert (tmp_path / "out" / NAME).read_bytes() == b"from the cache"


def test_a_target_python_too_old_is_refused() -> None:
    done = run("--python=3.10", "--machine=x86_64")
    assert (done.returncode, done.stderr) == (1, "Python 3.10: expected 3.11 or newer\n")


def test_a_step_that_fails_is_named_with_what_it_said(script: ModuleType) -> None:
    with pytest.raises(script.BuildFailedError, match=r"^the wheel failed with status 3:\nno such thing$"):
        script.run("the wheel", [sys.executable, "-c", "import sys; sys.stderr.write('no such thing\\n'); sys.exit(3)"])
    with pytest.raises(script.BuildFailedError, match="clang-0 is not installed on the controller"):
        script.run("the BPF object", ["clang-0"])
