"""`python -m tests.interop.prepare DIRECTORY`: what the tests of this package take with them into a guest."""

from __future__ import annotations

import sys
from pathlib import Path

from mobileip.forwarding.build import build_both


def prepare(directory: Path) -> dict[str, str]:
    """Build the programs into `directory`; the environment that says where they are."""
    return {"BPF_OBJECT": str(build_both(directory.resolve() / "mobileip.bpf.o"))}


if __name__ == "__main__":
    for name, value in prepare(Path(sys.argv[1])).items():
        print(f"{name}={value}")
