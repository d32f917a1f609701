"""Fetch on the controller the distribution's packages that a target lacks, with all that they depend on.

The controller's own apt solves it, with the target's state of dpkg, architecture and release in place of its own; it
needs no root. What was fetched stays in the cache; callers at one time wait for each other.

Prints JSON: `{"directory": PATH, "packages": [{"name", "version", "file", "sha256"}, ...]}`, in the order of their
installation. The list is empty if the target has all of them.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FRESH = 3600
"""Seconds that a read index of the archive is good for."""
_SIMULATED = re.compile(
    r"^Inst (?P<name>\S+?)(?::\S+)? (?:\[[^]]*\] )?\((?P<version>\S+) .*\[(?P<architecture>\w+)\]\)"
)
_INDEX = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(RELEASE)|$(SIGNED_BY)"


class FetchFailedError(Exception):
    """A step failed; the text says which, what it said, and what to do."""


def repositories_of(indices: str, distribution: str, own: str, wanted: str) -> list[str]:
    """Return lines for a sources.list of release `wanted`, from what the controller's own apt reads.

    `indices` is what `apt-get indextargets` says by `_INDEX`, `distribution` the target's (`debian`), `own` and
    `wanted` are code names. Besides the archive itself its updates and security updates are taken where the controller
    has them.
    """
    lines = []
    for line in dict.fromkeys(indices.splitlines()):
        origin, label, uri, release, key = (line.split("|") + [""] * 5)[:5]
        if origin.lower() != distribution or not label.lower().startswith(distribution):
            continue
        suite, dash, part = release.partition("-")
        if suite not in (own, "stable", "oldstable", "testing") or part not in ("", "updates", "security"):
            continue
        options = f"[signed-by={key}] " if key.startswith("/") else ""
        lines.append(f"deb {options}{uri} {wanted}{dash}{part} main")
    return list(dict.fromkeys(lines))


def simulated(said: str) -> list[dict[str, str]]:
    """Return what `apt-get --simulate install` would unpack, in its order. Raises FetchFailedError for a removal."""
    removed = re.findall(r"^Remv (\S+)", said, re.MULTILINE)
    if removed:
        raise FetchFailedError(f"package_names: installing them would remove {', '.join(removed)} from the target")
    found = []
    for line in said.splitlines():
        match = _SIMULATED.match(line)
        if match:
            version = match["version"].replace(":", "%3a")
            file = f"{match['name']}_{version}_{match['architecture']}.deb"
            found.append({"name": match["name"], "version": match["version"], "file": file})
    return found


def _run(what: str, command: list[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900, env=environment)
    except FileNotFoundError:
        raise FetchFailedError(
            f"package_source: {command[0]} is not installed on the controller; expected Debian or Ubuntu there. "
            "Without it: package_source: distribution"
        ) from None
    except subprocess.TimeoutExpired:
        raise FetchFailedError(f"{what}: not finished after 900 s") from None
    except subprocess.CalledProcessError as error:
        raise FetchFailedError(f"{what} failed:\n{(error.stderr or error.stdout).strip()[-2000:]}") from None
    return done.stdout


class Archive:
    """The controller's apt, with a target in its place. `root` holds its state and what it has fetched."""

    def __init__(self, root: Path, architecture: str, status: Path) -> None:
        self._root = root
        self.files = root / "archives"
        for folder in ("state/lists/partial", "archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._status = root / "state" / "status"
        shutil.copyfile(status, self._status)
        self._options = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",
            "Dir::State": str(root / "state"),
            "Dir::State::status": str(self._status),
            "Dir::State::extended_states": str(root / "state" / "extended_states"),
            "Dir::Cache": str(root),
            "Dir::Cache::archives": str(self.files),
            "Dir::Etc::sourcelist": str(root / "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
        }

    def _apt_get(self, what: str, *arguments: str) -> str:
        options = [word for key, value in self._options.items() for word in ("-o", f"{key}={value}")]
        return _run(what, ["apt-get", "--quiet", "--yes", "--no-install-recommends", *options, *arguments])

    def read(self, repositories: list[str]) -> None:
        """Read the index of the archive, where it is not fresh. Without a network the one that was read before does."""
        sources = self._root / "sources.list"
        text = "\n".join(repositories) + "\n"
        is_known = sources.exists() and sources.read_text(encoding="utf-8") == text
        if is_known and time.time() - sources.stat().st_mtime < FRESH:
            return
        sources.write_text(text, encoding="utf-8")
        what = "reading the index of " + "; ".join(repositories)
        try:
            self._apt_get(what, "-o", "APT::Update::Error-Mode=any", "update")
        except FetchFailedError as error:
            if not is_known:
                sources.unlink()
                raise
            os.utime(sources, (0, 0))
            print(f"{error}\nGoing on with the index that was read before.", file=sys.stderr)

    def fetch(self, names: list[str]) -> list[dict[str, str]]:
        """Fetch what the target lacks of `names` and of what they depend on."""
        what = f"package_names: finding {', '.join(names)} with all that they depend on"
        packages = simulated(self._apt_get(what, "--simulate", "install", *names))
        if packages:
            self._apt_get("fetching packages", "--download-only", "install", *names)
        for package in packages:
            file = self.files / package["file"]
            if not file.is_file():
                raise FetchFailedError(f"fetching packages: apt did not leave {file}")
            package["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        return packages


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _controllers_codename() -> str:
    match = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    return match[1].strip("\"'") if match else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="PACKAGE", help="what the target is to have")
    parser.add_argument(
        "--status", type=Path, required=True, help="a copy of the target's /var/lib/dpkg/status; - reads it"
    )
    parser.add_argument("--distribution", default="debian", help="the target's, ID of its os-release")
    parser.add_argument("--release", required=True, help="the target's, VERSION_CODENAME of its os-release")
    parser.add_argument("--architecture", required=True, help="the target's, as dpkg names it")
    parser.add_argument("--cache", type=Path, required=True, help="directory for what is read and fetched")
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        help="line of a sources.list; else those of this host's apt, by release",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Return an exit status; what failed goes to stderr."""
    given = _parser().parse_args(arguments)
    root: Path = (
        given.cache.expanduser().resolve() / f"packages-{given.distribution}-{given.release}-{given.architecture}"
    )
    try:
        with _alone(root):
            status = given.status
            if str(status) == "-":
                status = root / "status"
                status.write_bytes(sys.stdin.buffer.read())
            repositories = given.repository or repositories_of(
                _run("asking apt", ["apt-get", "indextargets", "--format", _INDEX, "Created-By: Packages"]),
                given.distribution,
                _controllers_codename(),
                given.release,
            )
            if not repositories:
                raise FetchFailedError(
                    f"package_repositories: empty, and the controller's apt reads no archive of {given.distribution}; "
                    f"expected lines such as 'deb URI {given.release} main'"
                )
            archive = Archive(root, given.architecture, status)
            archive.read(repositories)
            print(json.dumps({"directory": str(archive.files), "packages": archive.fetch(given.names)}))
    except (FetchFailedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
