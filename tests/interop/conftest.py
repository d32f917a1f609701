"""A guest's bpffs, and the programs: built before the boot, since a compiler is slow in a guest."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.ground import Ground, ground


@pytest.fixture(scope="session")
def bpf_object() -> Path:
    """What `python -m tests.interop.prepare` left, by BPF_OBJECT."""
    return Path(os.environ["BPF_OBJECT"])


@pytest.fixture(scope="session")
def bpffs() -> Path:
    path = Path("/sys/fs/bpf") / uuid.uuid4().hex[:8]
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def site(bpf_object: Path, bpffs: Path) -> Iterator[Ground]:
    with ground(bpf_object, bpffs) as made:
        yield made
