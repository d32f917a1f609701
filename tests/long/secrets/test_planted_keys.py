"""Planted secrets turn up where the daemons read them, and nowhere else: in no output, log, process or left file.

On booted hosts: everything that the playbooks do there with a secret, said as loudly as Ansible can. The tests build on
each other, in this order.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from roaming.lab_hosts import LabHosts

from lab import names
from tests.long.secrets import planted
from tests.long.undo.ground import fresh_hosts
from tests.scenario.plays import Play, play

pytestmark = pytest.mark.timeout(900)

HOSTS = ("mipp", "vpngw", "ha", "fa", "mn")
# Where a secret may stand: what daemons read, and what a rollback puts back. Only root reads any of it.
SECRET_FILES = ("/etc/mobileip/keys/", "/etc/swanctl/conf.d/mobileip-secrets.conf")
KEPT = ("/var/backups/mobileip/",)
# systemd hands a service its credentials here, in memory.
CREDENTIALS = ("/run/credentials/mobileip@",)
LOOKED_AT = ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var")
NEEDLES = planted.Needles(planted.every(1) | planted.every(2) | planted.every(3))
HOST_OF = {"mip_proxy": "mipp", "vpn_gateway": "vpngw", "home_agent": "ha", "foreign_agent": "fa", "mobile_node": "mn"}


@dataclass
class Runs:
    """What the runs said so far, by their name."""

    directory: Path
    said: dict[str, Play] = field(default_factory=dict)

    def play(self, name: str, playbook: str, generation: int, *arguments: str, **more: object) -> Play:
        """Runs a playbook with the secrets of a generation, by a file: a command line is seen by everybody."""
        variables = self.directory / "variables.json"
        variables.write_text(json.dumps(planted.variables(generation) | more), encoding="utf-8")
        done = play(
            playbook, "--diff", "-vvv", "--limit=" + ",".join(HOSTS), "--extra-vars", f"@{variables}", *arguments
        )
        variables.unlink()
        self.said[name] = done
        return done


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    with fresh_hosts(*HOSTS) as found:
        yield found


@pytest.fixture(scope="module")
def processes(hosts: LabHosts) -> Iterator[dict[str, set[str]]]:
    with planted.watched(NEEDLES) as seen:
        yield seen


@pytest.fixture(scope="module")
def runs(hosts: LabHosts, processes: dict[str, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    directory = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANSIBLE_LOG_PATH", str(directory / "ansible.log"))
        environment.setenv("ANSIBLE_LOCAL_TEMP", str(directory / "temporary"))
        yield Runs(directory)


def holding(hosts: LabHosts, host: str) -> set[str]:
    """The files of a host in which a planted secret stands."""
    listed = subprocess.run(
        hosts.command(host, ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--file=-", *LOOKED_AT]),
        input=NEEDLES.lines(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return set(listed.stdout.split("\n")) - {""}


def test_a_secret_is_planted_for_every_variable_that_holds_one() -> None:
    declared = set()
    for path in (names.CHECKOUT / "roles").glob("*/meta/argument_specs.yml"):
        options = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
        for name, option in options.items():
            declared |= {name} if option.get("no_log") else set()
            declared |= {f"{name}.{key}" for key, one in option.get("options", {}).items() if one.get("no_log")}
    assert declared == set(planted.HOLDERS)


def test_a_process_that_shows_one_is_noticed(hosts: LabHosts, processes: dict[str, set[str]]) -> None:
    hosts.run("mn", ["sh", "-c", 'sleep 0.5; : "$0"', planted.secret("mip_proxy_aaa_keys", "mn", 3)])
    assert set().union(*processes.values()) == {"mip_proxy_aaa_keys mn 3"}
    time.sleep(0.2)
    processes.clear()


def test_runs_that_use_them(runs: Runs) -> None:
    foretold = runs.play("foretold", "site.yml", 1, "--check")
    assert foretold.status == 0, foretold.output[-3000:]
    first = runs.play("first", "site.yml", 1)
    assert first.status == 0, first.output[-3000:]
    # A digit too few.
    short = {name: planted.secret("mip_proxy_node_keys", name, 3)[:-1] for name in ("mn", "mn2")}
    refused = runs.play("refused", "site.yml", 2, mip_proxy_node_keys=short)
    assert "mip_proxy_node_keys: wrong number of characters" in refused.output, refused.output[-3000:]
    assert refused.hosts_with("changed") == []
    changed = runs.play("changed", "site.yml", 2)
    assert changed.status == 0, changed.output[-3000:]
    assert set(changed.hosts_with("changed")) == set(HOSTS)


def test_every_secret_is_in_force_and_stands_where_only_root_reads_it(hosts: LabHosts, runs: Runs) -> None:
    in_force: dict[str, set[str]] = {}
    for host in HOSTS:
        found = holding(hosts, host)
        assert planted.unexpected(found, SECRET_FILES + KEPT + CREDENTIALS) == [], host
        files = sorted(path for path in found if path.startswith(SECRET_FILES))
        kept = [KEPT[0]] if any(path.startswith(KEPT) for path in found) else []
        for line in hosts.run(host, ["stat", "--format=%a %U %n", *files, *kept]).stdout.splitlines():
            mode, owner, path = line.split()
            assert (int(mode, 8) & 0o077, owner) == (0, "root"), f"{host}: {path}"
        in_force[host] = NEEDLES.found_in(hosts.run(host, ["cat", *files]).stdout)
    for variable, holders in planted.HOLDERS.items():
        host = next(host for role, host in HOST_OF.items() if variable.startswith(f"{role}_"))
        wanted = {planted.name_of(variable, holder, 2) for holder in holders or ("",)}
        assert wanted & in_force[host] == (set() if variable in planted.UNUSED else wanted), variable


def test_going_back_shows_none_either(runs: Runs) -> None:
    back = runs.play("back", "rollback.yml", 2, "--extra-vars", "mobileip_backup=latest")
    assert back.status == 0, back.output[-3000:]
    gone = runs.play("gone", "remove.yml", 2, "--extra-vars", "mobileip_remove=true")
    assert gone.status == 0, gone.output[-3000:]


def test_no_run_said_one(runs: Runs) -> None:
    assert len(runs.said) == 6
    for name, done in runs.said.items():
        assert NEEDLES.found_in(done.output) == set(), name
    # The runs were loud: each shows the tasks' results, and a difference of what is no secret.
    assert '"diff"' in runs.said["first"].output or "+++ after" in runs.said["first"].output
    assert "censored" in runs.said["first"].output


def test_no_log_has_one(hosts: LabHosts, runs: Runs) -> None:
    assert NEEDLES.found_in((runs.directory / "ansible.log").read_bytes()) == set()
    for host in HOSTS:
        # Some of what programs say is no text.
        command = hosts.command(host, ["journalctl", "--output=export", "--no-pager"])
        journal = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout
        assert b"ansible" in journal, host
        assert NEEDLES.found_in(journal) == set(), host


def test_no_process_showed_one(processes: dict[str, set[str]]) -> None:
    assert processes == {}


def test_nothing_is_left_behind(hosts: LabHosts, runs: Runs) -> None:
    left = [path for path in runs.directory.rglob("*") if path.is_file() and path.name != "ansible.log"]
    assert [path for path in left if NEEDLES.found_in(path.read_bytes())] == []
    for host in HOSTS:
        assert planted.unexpected(holding(hosts, host), KEPT) == [], host
