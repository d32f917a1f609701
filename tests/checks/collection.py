"""Builds the collection, installs it as a user would, and runs ansible-test sanity on what was installed.

`python -m tests.checks.collection` does it below build/collection/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checks.step import CHECKOUT

WORK = CHECKOUT / "build" / "collection"
INSTALLED = WORK / "site" / "ansible_collections" / "mobileip" / "vpn"
# What may never be in a tarball: caches, secrets, and what only the checkout needs.
FORBIDDEN = {".venv", ".ansible", "build", "molecule", "tests", "secrets.yml", "__pycache__", "Makefile"}


def _call(*command: str, directory: Path = WORK, **environment: str) -> None:
    print(f"$ {' '.join(command)}", flush=True)
    subprocess.run(command, cwd=directory, env={**os.environ, **environment}, check=True, timeout=900)


def build() -> Path:
    """Returns the tarball, built from the files that git knows or would add."""
    source = WORK / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = CHECKOUT / name
        if path.is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    _call("ansible-galaxy", "collection", "build", "--force", "--output-path", str(WORK), str(source))
    return next(WORK.glob("mobileip-vpn-*.tar.gz"))


def install(tarball: Path) -> None:
    """Installs the tarball where no ansible.cfg of ours is in force, and resolves its playbooks by name."""
    _call("ansible-galaxy", "collection", "install", str(tarball), "--collections-path", str(WORK / "site"))
    inside = {part for path in INSTALLED.rglob("*") for part in path.relative_to(INSTALLED).parts}
    if inside & FORBIDDEN:
        found = ", ".join(sorted(inside & FORBIDDEN))
        raise SystemExit(f"the tarball holds {found}: add them to build_ignore in galaxy.yml")
    for playbook in ("site", "verify", "rollback", "remove", "topology"):
        if (INSTALLED / "playbooks" / f"{playbook}.yml").exists():
            _call(
                *("ansible-playbook", f"mobileip.vpn.{playbook}", "--syntax-check"),
                *("--inventory", "mipp,vpngw,outer_fw,inner_fw,"),
                ANSIBLE_COLLECTIONS_PATH=str(WORK / "site"),
            )
    for inventory in sorted(path for path in (INSTALLED / "inventories").iterdir() if path.is_dir()):
        _call(
            *("ansible-playbook", "mobileip.vpn.topology", "--inventory", str(inventory)),
            *("--extra-vars", f"topology_file={WORK / inventory.name}.svg"),
            ANSIBLE_COLLECTIONS_PATH=str(WORK / "site"),
        )


def sanity() -> None:
    """Runs ansible-test sanity on the installed files. It wants a git repository, and a pip that needs no download."""
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for script in (CHECKOUT / "tests" / "checks" / "offline").glob("get_pip_*.py"):
        shutil.copy2(script, cache / script.name)
    _call("git", "init", "--quiet", directory=INSTALLED)
    # The virtual environment that ansible-test makes is none of the collection's files.
    (INSTALLED / ".git" / "info").mkdir(exist_ok=True)
    (INSTALLED / ".git" / "info" / "exclude").write_text("/tests/output/\n", encoding="utf-8")
    _call("git", "add", "--all", directory=INSTALLED)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # The daemon is a distribution of its own that no Ansible imports: ruff and mypy --strict judge it instead.
    daemon = ["--exclude", "roles/agent/files/mobileip/"]
    _call("ansible-test", "sanity", "--venv", "--python", version, "--color", "no", *daemon, directory=INSTALLED)


def fresh() -> Path:
    """Builds and installs the collection as it is now. Returns the tarball."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    tarball = build()
    install(tarball)
    return tarball


def main() -> None:
    """Runs all three; a failure is an exit status."""
    fresh()
    sanity()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"exit status {error.returncode} from: {' '.join(error.cmd)}")
