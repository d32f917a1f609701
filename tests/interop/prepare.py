"""`python -m tests.interop.prepare DIRECTORY [sites]`: what the tests of this package take with them into a guest."""

from __future__ import annotations

import compileall
import shutil
import sys
from pathlib import Path

from mobileip.forwarding.build import build_both

_SOURCES = Path(__file__).parents[2] / "roles/agent/files/mobileip/src"


def prepare(directory: Path) -> dict[str, str]:
    """Build the programs into `directory`; the environment that says where they are."""
    return {"BPF_OBJECT": str(build_both(directory.resolve() / "mobileip.bpf.o"))}


def prepare_sites(directory: Path) -> dict[str, str]:
    """Render the roles' files and compile the daemon into `directory`; the environment that says where they are.

    A guest would compile all of it again for each daemon, and take minutes.
    """
    from ansible.plugins.loader import init_plugin_loader

    from tests.interop.rendered import DEPLOYMENTS, render

    init_plugin_loader()
    sites = directory.resolve() / "sites"
    shutil.rmtree(sites, ignore_errors=True)
    for deployment in DEPLOYMENTS:
        render(sites / deployment, deployment)
    shutil.copytree(_SOURCES, sites / "src", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(sites / "src", quiet=1)
    return {"SITE_FILES": str(sites)}


if __name__ == "__main__":
    made = Path(sys.argv[1])
    for name, value in {**prepare(made), **(prepare_sites(made) if sys.argv[2:] == ["sites"] else {})}.items():
        print(f"{name}={value}")
