"""What these tests share: the compiled object, a bpffs, and network namespaces that die with their thread."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from mobileip.forwarding.build import build_both

P = ParamSpec("P")
T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
"""What timeouts are multiplied by: more than 1 on a slow machine, such as a guest whose processor is emulated."""


class Namespace:
    """A network namespace of its own for everything that `run` runs; nothing of it is left behind."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1)
        self.path = self.run(self._enter)

    @staticmethod
    def _enter() -> Path:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        return Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net")

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in the namespace and wait."""
        return self._worker.submit(function, *args, **kwargs).result(timeout=110 * PATIENCE)

    def run_long(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what takes minutes."""
        return self._worker.submit(function, *args, **kwargs).result(timeout=850 * PATIENCE)

    def shell(self, commands: str) -> str:
        """Commands, one a line; the first that fails ends the test."""
        script = "set -e\n" + commands
        done = self.run(subprocess.run, ["bash", "-c", script], capture_output=True, text=True, timeout=60 * PATIENCE,
                        check=False)  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return str(done.stdout)

    def close(self) -> None:
        """The thread ends, and with it the namespace."""
        self._worker.shutdown()


@pytest.fixture(scope="session")
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces and loads BPF programs: needs root")


@pytest.fixture(scope="session")
def bpf_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both objects; BPF_OBJECT names ready ones where a compiler is slow."""
    if ready := os.environ.get("BPF_OBJECT"):
        return Path(ready)
    return build_both(tmp_path_factory.mktemp("bpf") / "mobileip.bpf.o")


@pytest.fixture(scope="session")
def bpffs(needs_root: None) -> Iterator[Path]:
    """A bpffs that no other test, and no installed daemon, sees anything of."""
    path = Path("/run") / f"fwdt-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)
    path.rmdir()


@pytest.fixture
def pin_dir(bpffs: Path) -> Path:
    return bpffs / uuid.uuid4().hex[:8]


@pytest.fixture
def namespace(needs_root: None) -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()
