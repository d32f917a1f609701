"""Hosts of the lab, what they are, and playbooks that are run on some of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from roaming.lab_hosts import LabHosts

from lab import names
from tests.scenario.plays import Play, play

TARGETS = ("mipp", "vpngw", "mn")
"""A proxy with its packet filter, a gateway and a node."""
BACKUPS = "/var/backups/mobileip"
_FINGERPRINT = Path(__file__).with_name("fingerprint.py").read_text(encoding="utf-8")


def _lab(*words: str) -> None:
    subprocess.run([sys.executable, "molecule/resources/lab", *words], cwd=names.CHECKOUT, check=True, timeout=300)


@contextmanager
def fresh_hosts(*hosts: str) -> Iterator[LabHosts]:
    """Boot hosts, take all down in the end."""
    _lab("down")
    _lab("up", "--hosts", ",".join(hosts))
    try:
        yield LabHosts()
    finally:
        _lab("down")


def fingerprints(hosts: LabHosts, targets: Sequence[str] = TARGETS) -> dict[str, list[str]]:
    """Return what is in each target's files, units, packages, packet filters, routes, settings and hooks."""

    def of(host: str) -> list[str]:
        return hosts.run(host, ["python3", "-c", _FINGERPRINT]).stdout.splitlines()

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(targets, pool.map(of, targets), strict=True))


def differences(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return by host what is gone (-) and what is new (+)."""
    found = {}
    for host, lines in before.items():
        gone, new = sorted(set(lines) - set(after[host])), sorted(set(after[host]) - set(lines))
        if gone or new:
            found[host] = [*(f"- {line}" for line in gone), *(f"+ {line}" for line in new)]
    return found


def run(
    playbook: str, *arguments: str, targets: Sequence[str] = TARGETS, record: Path | None = None, **variables: Any
) -> Play:
    """Run a playbook on the targets."""
    return play(f"{playbook}.yml", "--limit=" + ",".join(targets), *arguments, variables=variables, record=record)


def went_well(done: Play) -> Play:
    """Return a run that went well; show the end of its output where not."""
    assert done.status == 0, done.output[-3000:]
    return done


def backups(hosts: LabHosts, host: str) -> list[str]:
    """Return the names of a host's backups."""
    return sorted(hosts.run(host, ["sh", "-c", f"ls {BACKUPS} 2>/dev/null || true"]).stdout.split())
