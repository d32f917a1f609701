"""Whatever fails in a roll-out, every host is as it was; and there is a way back from one that succeeded.

On booted hosts. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from roaming.lab_hosts import LabHosts

from tests.long.undo.ground import BACKUPS, TARGETS, backups, differences, fingerprints, fresh_hosts, run, went_well
from tests.scenario.plays import Play

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    with fresh_hosts(*TARGETS) as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def fresh(hosts: LabHosts) -> dict[str, list[str]]:
    """What the hosts are before anything was rolled out."""
    return fingerprints(hosts)


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


def assert_told(done: Play, host: str, task: str) -> None:
    """The run failed, and says the host and the task, and that all were restored."""
    assert done.status == 2, done.output[-3000:]
    said = " ".join(done.failures.values())
    assert f"Failed: {host}, {task}" in said, done.output[-3000:]
    assert "Not restored" not in said, said


def test_full_disk_leaves_fresh_hosts_as_they_were(hosts: LabHosts) -> None:
    hosts.run("mipp", ["sh", "-c", "mkdir /opt/mobileip && mount -t tmpfs -o size=1m,mode=755 tmpfs /opt/mobileip"])
    try:
        before = fingerprints(hosts)
        done = run("site", targets=("mipp", "vpngw"))
        after = fingerprints(hosts)
    finally:
        hosts.run("mipp", ["sh", "-c", "umount /opt/mobileip && rmdir /opt/mobileip"])
    assert_told(done, "mipp", "Install | Copy the release")
    assert "No space left on device" in done.output
    assert done.recap["vpngw"]["changed"] > 0, "nothing had been changed that could have been put back"
    assert differences(before, after) == {}
    assert backups(hosts, "mipp") == []


def test_service_that_does_not_start_leaves_fresh_hosts_as_they_were(hosts: LabHosts) -> None:
    with drop_in(hosts, "mipp", "mobileip@proxy.service", "ExecStartPre=/bin/false"):
        before = fingerprints(hosts)
        done = run("site")
        after = fingerprints(hosts)
    assert_told(done, "mipp", "Run | Enable and start the proxy")
    assert set(done.hosts_with("rescued")) == {"mipp"}
    assert len(done.hosts_with("changed")) == len(TARGETS)
    assert differences(before, after) == {}


def test_roll_out_keeps_one_backup_and_a_second_one_none(hosts: LabHosts) -> None:
    went_well(run("site"))
    first = {host: backups(hosts, host) for host in TARGETS}
    assert {len(kept) for kept in first.values()} == {1}
    assert len({kept[0] for kept in first.values()}) == 1, "one roll-out, and several names"
    again = run("site")
    assert (again.status, again.hosts_with("changed")) == (0, [])
    assert {host: backups(hosts, host) for host in TARGETS} == first
    modes = hosts.run("mipp", ["stat", "-c", "%a %U", BACKUPS]).stdout.split()
    assert modes == ["700", "root"]


def test_wrong_key_leaves_deployed_hosts_as_they_were(hosts: LabHosts) -> None:
    before, pids = fingerprints(hosts), daemons(hosts)
    # The node's daemon refuses it. The proxy changes as well.
    agent = {"address": "198.51.100.129", "spi": 5001, "key": "not in hexadecimal"}
    done = run("site", mobile_node_foreign_agents=[agent], mip_proxy_icmp_grace=700)
    assert_told(done, "mn", "Configure | Write the configuration of the mobile node")
    assert "mipp" in done.hosts_with("changed")
    assert differences(before, fingerprints(hosts)) == {}
    assert daemons(hosts)["vpngw"] == pids["vpngw"], "restarted without a reason"


def test_verify_that_fails_leaves_deployed_hosts_as_they_were(hosts: LabHosts) -> None:
    changed = "grep -q grace:.700 /etc/mobileip/proxy.yml"
    emptied = f"ExecStartPost=+/bin/sh -c 'if {changed}; then nft delete table inet mobileip_dmz; fi'"
    with drop_in(hosts, "mipp", "mobileip@proxy.service", emptied):
        before = fingerprints(hosts)
        done = run("site", dmz_firewall_haleg_source_ports=["20434-20450"], mip_proxy_icmp_grace=700)
        after = fingerprints(hosts)
    assert_told(done, "mipp", "Verify | Require the default deny")
    assert "mipp" in done.hosts_with("changed")
    assert differences(before, after) == {}


def daemons(hosts: LabHosts) -> dict[str, str]:
    """Return by host when what serves there was started."""
    units = {"mipp": "mobileip@proxy", "vpngw": "strongswan", "mn": "mobileip@node"}
    asked = ["systemctl", "show", "--value", "-p", "ExecMainStartTimestampMonotonic"]
    return {host: hosts.run(host, [*asked, unit]).stdout for host, unit in units.items()}


def steps(done: Play) -> dict[str, list[str]]:
    """Return by host the steps back that a rollback says it did, or would do."""
    said = re.findall(
        r"^ok: \[(\w+)\] => (\{.*?^\})", done.output.partition("Say what was done")[2], re.MULTILINE | re.DOTALL
    )
    return {host: json.loads(result)["msg"] for host, result in said}


def secrets(hosts: LabHosts) -> set[str]:
    """Return the keys that are in the hosts' files."""
    files = "cat /etc/mobileip/keys/*.yml /etc/swanctl/conf.d/mobileip-secrets.conf 2>/dev/null || true"
    found = {
        each
        for host in TARGETS
        for each in re.findall(r"\b[0-9a-f]{24,}\b", hosts.run(host, ["sh", "-c", files]).stdout)
    }
    assert found, "no key found: has the form of the files changed?"
    return found


def test_rollback_lists_and_goes_back_and_forth(hosts: LabHosts) -> None:
    before = fingerprints(hosts)
    assert run("site", mip_proxy_icmp_grace=600).status == 0
    changed = fingerprints(hosts)
    assert set(differences(before, changed)) == {"mipp"}
    listed = run("rollback")
    kept = backups(hosts, "mipp")
    assert (listed.status, listed.hosts_with("changed")) == (0, [])
    assert len(kept) == 2
    assert [name for name in kept if name not in listed.output] == []
    # The second between two names.
    time.sleep(1)
    foretold = went_well(run("rollback", "--check", "--diff", "-vvv", mobileip_backup="latest"))
    assert differences(changed, fingerprints(hosts)) == {}
    assert [secret for secret in secrets(hosts) if secret in foretold.output] == []
    back = went_well(run("rollback", mobileip_backup="latest"))
    assert back.hosts_with("changed") == ["mipp"]
    copy, *others = steps(back)["mipp"]
    assert re.fullmatch(r"remove /etc/mobileip/proxy\.yml\.[0-9].*~", copy), "what the roll-out kept beside the file"
    assert others == ["restore /etc/mobileip/proxy.yml", "restart mobileip@proxy.service"]
    assert steps(foretold) == steps(back)
    assert differences(before, fingerprints(hosts)) == {}
    went_well(run("rollback", mobileip_backup="latest"))
    assert differences(changed, fingerprints(hosts)) == {}
    wrong = run("rollback", mobileip_backup="yesterday")
    assert "mobileip_backup: yesterday; expected list, latest, pending or one of" in json.dumps(dict(wrong.failures))


def test_remove_asks_first_then_leaves_nothing_and_a_roll_out_works_again(
    hosts: LabHosts, fresh: dict[str, list[str]]
) -> None:
    before = fingerprints(hosts)
    asked = run("remove", remove_packages=True)
    assert (asked.status, asked.hosts_with("changed")) == (0, [])
    assert "Nothing was changed. With -e mobileip_remove=true" in asked.output
    assert "stop mobileip@proxy.service" in asked.output
    assert differences(before, fingerprints(hosts)) == {}
    went_well(run("remove", remove_packages=True, mobileip_remove=True))
    assert differences(fresh, fingerprints(hosts)) == {}
    assert {host: backups(hosts, host) for host in TARGETS} == {host: [] for host in TARGETS}
    nothing = run("remove", remove_packages=True, mobileip_remove=True)
    assert (nothing.status, nothing.hosts_with("changed")) == (0, [])
    went_well(run("site"))
    assert run("site").hosts_with("changed") == []
