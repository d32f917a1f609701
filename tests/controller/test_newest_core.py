"""The newest ansible-core that we support, on its own Debian 13 controller: everything lints and rolls out.

The roll-out builds the daemon's release with that controller's Python and compiler, and goes to the lab's hosts.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import hosts, names, topology
from lab.controller import Controller
from tests.controller.said import INVENTORIES, checked, deprecations

pytestmark = pytest.mark.timeout(1800)

CHECKOUT = names.CHECKOUT
LOGS = CHECKOUT / "build" / "logs"


@dataclass(frozen=True)
class Play:
    """How a run of ansible-playbook ended: its exit status, and for each host what its line of the recap counts."""

    status: int
    output: str
    recap: dict[str, dict[str, int]]

    def hosts_with(self, *counts: str) -> dict[str, dict[str, int]]:
        """The hosts that count any of these, with the counts."""
        found = {host: {name: counted[name] for name in counts} for host, counted in self.recap.items()}
        return {host: counted for host, counted in found.items() if any(counted.values())}


def play(newest: Controller, name: str) -> Play:
    """Runs site.yml against the lab; what it says stays in build/logs/newest-core-NAME.log."""
    done = newest.run("ansible-playbook", *INVENTORIES, "playbooks/site.yml", timeout=800)
    said = done.stderr + done.stdout
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"newest-core-{name}.log").write_text(said, encoding="utf-8")
    recap = {}
    for line in done.stdout.partition("PLAY RECAP")[2].splitlines():
        if counted := re.findall(r"(\w+)=(\d+)", line):
            recap[line.split()[0]] = {key: int(number) for key, number in counted}
    return Play(done.returncode, said, recap)


@pytest.fixture(scope="module")
def lab_hosts() -> Iterator[None]:
    """The hosts, as `make demo` starts them. Those that were up stay up."""
    before = hosts.existing().keys() & topology.load().hosts.keys()
    lab = [sys.executable, str(CHECKOUT / "molecule/resources/lab")]
    subprocess.run([*lab, "up"], check=True, timeout=600)
    yield
    if not before:
        subprocess.run([*lab, "down"], check=True, timeout=300)


@pytest.fixture(scope="module")
def plays(newest: Controller, lab_hosts: None) -> tuple[Play, Play]:
    """site.yml twice, one right after the other."""
    return play(newest, "first"), play(newest, "second")


def test_the_controller_is_debian_13_with_python_3_13_and_core_2_21(newest: Controller) -> None:
    assert 'VERSION_ID="13"' in checked(newest, "cat", "/etc/os-release")
    said = checked(newest, "ansible", "--version")
    assert re.search(r"ansible \[core 2\.21\.\d+\]", said)
    assert re.search(r"python version = 3\.13\.", said)


def test_lint(newest: Controller) -> None:
    checked(newest, "ansible-lint", "--offline", "--profile", "production", timeout=600)


def test_the_first_roll_out_does_not_fail(plays: tuple[Play, Play]) -> None:
    first, _ = plays
    assert first.hosts_with("failed", "unreachable") == {}
    assert first.status == 0, first.output[-6000:]
    deployed = {"mipp", "vpngw", "outer_fw", "inner_fw", "ha", "fa", "mn", "mn2"}
    assert deployed <= set(first.recap) <= set(topology.load().hosts)


def test_the_second_roll_out_changes_nothing(plays: tuple[Play, Play]) -> None:
    _, second = plays
    assert second.hosts_with("changed", "failed", "unreachable") == {}
    assert second.status == 0, second.output[-6000:]


def test_no_roll_out_uses_what_is_deprecated(plays: tuple[Play, Play]) -> None:
    assert [line for run in plays for line in deprecations(run.output)] == []
