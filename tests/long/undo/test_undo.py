"""Whatever fails in a roll-out, every host is as it was; and there is a way back from one that succeeded.

On booted hosts: a proxy with its packet filter, a gateway and a node. A host's fingerprint is what is in its files,
units, packages, packet filters, routes, kernel settings and hooks. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from roaming.lab_hosts import LabHosts

from lab import names
from tests.scenario.two_box.plays import Play, play

pytestmark = pytest.mark.timeout(900)

TARGETS = ("mipp", "vpngw", "mn")
ALL = "--limit=" + ",".join(TARGETS)
BACKUPS = "/var/backups/mobileip"

FINGERPRINT = Path(__file__).with_name("fingerprint.py").read_text(encoding="utf-8")


def lab(*words: str) -> None:
    subprocess.run([sys.executable, "molecule/resources/lab", *words], cwd=names.CHECKOUT, check=True, timeout=300)


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    """Fresh hosts, taken down in the end."""
    lab("down")
    lab("up", "--hosts", ",".join(TARGETS))
    yield LabHosts()
    lab("down")


@pytest.fixture(scope="module", autouse=True)
def fresh(hosts: LabHosts) -> dict[str, list[str]]:
    """What the hosts are before anything was rolled out."""
    return fingerprints(hosts)


def fingerprint(hosts: LabHosts, host: str) -> list[str]:
    return hosts.run(host, ["python3", "-c", FINGERPRINT]).stdout.splitlines()


def fingerprints(hosts: LabHosts) -> dict[str, list[str]]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(TARGETS, pool.map(lambda host: fingerprint(hosts, host), TARGETS), strict=True))


def differences(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return by host what is gone (-) and what is new (+)."""
    found = {}
    for host, lines in before.items():
        gone, new = sorted(set(lines) - set(after[host])), sorted(set(after[host]) - set(lines))
        if gone or new:
            found[host] = [*(f"- {line}" for line in gone), *(f"+ {line}" for line in new)]
    return found


def site(*arguments: str, **variables: Any) -> Play:
    return play("site.yml", ALL, *arguments, variables=variables)


def backups(hosts: LabHosts, host: str) -> list[str]:
    return sorted(hosts.run(host, ["sh", "-c", f"ls {BACKUPS} 2>/dev/null || true"]).stdout.split())


@contextmanager
def drop_in(hosts: LabHosts, host: str, unit: str, text: str) -> Iterator[None]:
    """Give a unit of a host a drop-in, which is there before the roll-out and after it."""
    folder = f"/etc/systemd/system/{unit}.d"
    script = 'mkdir -p "$1"; printf "[Service]\\n%s\\n" "$2" >"$1/broken.conf"; systemctl daemon-reload'
    hosts.run(host, ["sh", "-c", script, "sh", folder, text])
    try:
        yield
    finally:
        hosts.run(host, ["sh", "-c", 'rm -r "$1"; systemctl daemon-reload', "sh", folder])


def assert_told(run: Play, host: str, task: str) -> None:
    """The run failed, and says the host and the task, and that all were restored."""
    assert run.status == 2, run.output[-3000:]
    said = " ".join(run.failures.values())
    assert f"Failed: {host}, {task}" in said, run.output[-3000:]
    assert "Not restored" not in said, said


def test_full_disk_leaves_fresh_hosts_as_they_were(hosts: LabHosts) -> None:
    hosts.run("mipp", ["sh", "-c", "mkdir /opt/mobileip && mount -t tmpfs -o size=1m,mode=755 tmpfs /opt/mobileip"])
    try:
        before = fingerprints(hosts)
        run = play("site.yml", "--limit=mipp,vpngw")
        after = fingerprints(hosts)
    finally:
        hosts.run("mipp", ["sh", "-c", "umount /opt/mobileip && rmdir /opt/mobileip"])
    assert_told(run, "mipp", "Install | Copy the release")
    assert "No space left on device" in run.output
    assert run.recap["vpngw"]["changed"] > 0, "nothing had been changed that could have been put back"
    assert differences(before, after) == {}
    assert backups(hosts, "mipp") == []


def test_service_that_does_not_start_leaves_fresh_hosts_as_they_were(hosts: LabHosts) -> None:
    with drop_in(hosts, "mipp", "mobileip@proxy.service", "ExecStartPre=/bin/false"):
        before = fingerprints(hosts)
        run = site()
        after = fingerprints(hosts)
    assert_told(run, "mipp", "Run | Enable and start the proxy")
    assert set(run.hosts_with("rescued")) == {"mipp"}
    assert len(run.hosts_with("changed")) == len(TARGETS)
    assert differences(before, after) == {}


def test_roll_out_keeps_one_backup_and_a_second_one_none(hosts: LabHosts) -> None:
    run = site()
    assert run.status == 0, run.output[-3000:]
    first = {host: backups(hosts, host) for host in TARGETS}
    assert {len(kept) for kept in first.values()} == {1}
    assert len({kept[0] for kept in first.values()}) == 1, "one roll-out, and several names"
    again = site()
    assert (again.status, again.hosts_with("changed")) == (0, [])
    assert {host: backups(hosts, host) for host in TARGETS} == first
    modes = hosts.run("mipp", ["stat", "-c", "%a %U", BACKUPS]).stdout.split()
    assert modes == ["700", "root"]


def test_wrong_key_leaves_deployed_hosts_as_they_were(hosts: LabHosts) -> None:
    before, pids = fingerprints(hosts), daemons(hosts)
    # The algorithm takes 32 bytes, the key has 16: the node's daemon refuses the file. The proxy changes as well.
    run = site(mobile_node_proxy_algorithm="hmac-sha256", mip_proxy_icmp_grace=700)
    assert_told(run, "mn", "Configure | Write the configuration of the mobile node")
    assert "mipp" in run.hosts_with("changed")
    assert differences(before, fingerprints(hosts)) == {}
    assert daemons(hosts)["vpngw"] == pids["vpngw"], "restarted without a reason"
    assert "700" not in hosts.run("mipp", ["grep", "icmp_grace", "/etc/mobileip/proxy.yml"]).stdout


def test_verify_that_fails_leaves_deployed_hosts_as_they_were(hosts: LabHosts) -> None:
    emptied = "ExecReload=\nExecReload=/usr/sbin/nft delete table inet mobileip_dmz"
    with drop_in(hosts, "mipp", "mobileip-dmz-firewall.service", emptied):
        before = fingerprints(hosts)
        run = site(dmz_firewall_haleg_source_ports=["20434-20450"], mip_proxy_icmp_grace=700)
        after = fingerprints(hosts)
    assert_told(run, "mipp", "Verify | Require the default deny")
    assert "mipp" in run.hosts_with("changed")
    assert differences(before, after) == {}


def daemons(hosts: LabHosts) -> dict[str, str]:
    """Return by host when what serves there was started."""
    units = {"mipp": "mobileip@proxy", "vpngw": "strongswan", "mn": "mobileip@node"}
    asked = ["systemctl", "show", "--value", "-p", "ExecMainStartTimestampMonotonic"]
    return {host: hosts.run(host, [*asked, unit]).stdout for host, unit in units.items()}


def test_rollback_lists_and_goes_back_and_forth(hosts: LabHosts) -> None:
    before = fingerprints(hosts)
    assert site(mip_proxy_icmp_grace=600).status == 0
    changed = fingerprints(hosts)
    assert set(differences(before, changed)) == {"mipp"}
    listed = play("rollback.yml", ALL)
    kept = backups(hosts, "mipp")
    assert (listed.status, listed.hosts_with("changed")) == (0, [])
    assert len(kept) == 2
    assert [name for name in kept if name not in listed.output] == []
    # The second between two names.
    time.sleep(1)
    back = play("rollback.yml", ALL, variables={"mobileip_backup": "latest"})
    assert back.status == 0, back.output[-3000:]
    assert back.hosts_with("changed") == ["mipp"]
    assert differences(before, fingerprints(hosts)) == {}
    forth = play("rollback.yml", ALL, variables={"mobileip_backup": "latest"})
    assert forth.status == 0, forth.output[-3000:]
    assert differences(changed, fingerprints(hosts)) == {}
    wrong = play("rollback.yml", ALL, variables={"mobileip_backup": "yesterday"})
    assert "mobileip_backup: yesterday; expected list, latest, pending or one of" in json.dumps(dict(wrong.failures))


def test_remove_asks_first_then_leaves_nothing_and_a_roll_out_works_again(
    hosts: LabHosts, fresh: dict[str, list[str]]
) -> None:
    before = fingerprints(hosts)
    asked = play("remove.yml", ALL, variables={"remove_packages": True})
    assert (asked.status, asked.hosts_with("changed")) == (0, [])
    assert "Nothing was changed. With -e mobileip_remove=true" in asked.output
    assert "stop mobileip@proxy.service" in asked.output
    assert differences(before, fingerprints(hosts)) == {}
    done = play("remove.yml", ALL, variables={"remove_packages": True, "mobileip_remove": True})
    assert done.status == 0, done.output[-3000:]
    assert differences(fresh, fingerprints(hosts)) == {}
    assert {host: backups(hosts, host) for host in TARGETS} == {host: [] for host in TARGETS}
    nothing = play("remove.yml", ALL, variables={"remove_packages": True, "mobileip_remove": True})
    assert (nothing.status, nothing.hosts_with("changed")) == (0, [])
    again = site()
    assert again.status == 0, again.output[-3000:]
    assert site().hosts_with("changed") == []
