"""A packet filter that cuts its operator off gives way to what was there before, by itself, and the play says so.

On a booted host. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from roaming.lab_hosts import LabHosts

from lab import names
from tests.scenario.plays import Play, play

pytestmark = pytest.mark.timeout(600)

HOST = "outer_fw"
FILE = "/etc/nftables.d/mobileip_dmz.nft"
SECONDS = 20
# What an operator may well get wrong. The lab's controller comes by the loopback interface.
CUTS_OFF = {
    "dmz_firewall_kind": "host",
    "dmz_firewall_mipp_priv": "127.0.0.1",
    "dmz_firewall_home_agents": ["192.0.2.40"],
    "dmz_firewall_tunnel_protocols": [6],
    "dmz_firewall_confirm_seconds": SECONDS,
}
CUT = "ip daddr 127.0.0.1 ip protocol tcp"


def lab(*words: str) -> None:
    subprocess.run([sys.executable, "molecule/resources/lab", *words], cwd=names.CHECKOUT, check=True, timeout=300)


@pytest.fixture(scope="module")
def hosts() -> Iterator[LabHosts]:
    """One firewall, booted afresh."""
    lab("down")
    lab("up", "--hosts", HOST)
    try:
        yield LabHosts()
    finally:
        lab("down")


def roll_out(*arguments: str, **variables: object) -> Play:
    """Roll out the firewall alone."""
    return play("site.yml", f"--limit={HOST}", "--tags=firewall", *arguments, variables=variables)


def went_well(done: Play) -> Play:
    assert done.status == 0, done.output[-3000:]
    return done


def rules(hosts: LabHosts) -> str:
    """What is loaded of our table, without counters; empty if it is absent."""
    return hosts.run(HOST, ["nft", "-s", "list", "table", "inet", "mobileip_dmz"], check=False).stdout


def written(hosts: LabHosts) -> str:
    return hosts.run(HOST, ["sh", "-c", f"cat {FILE} 2>/dev/null || true"]).stdout


def left_over(hosts: LabHosts) -> str:
    """Timers, services and files of the way back."""
    units = "systemctl list-units --all --plain --no-legend 'mobileip-restore-*' 'mobileip-load-*'"
    files = "ls -A /run/mobileip-restore /etc/nftables.d/.*.new 2>/dev/null || true"
    return hosts.run(HOST, ["sh", "-c", f"{units}; {files}"]).stdout.replace("/run/mobileip-restore:\n", "")


def meanwhile(look: Callable[[], bool], act: Callable[[], Play]) -> tuple[bool, Play]:
    """Return whether `look` held at any time while `act` ran, and what `act` returned."""
    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act)
        held = False
        while not acting.done():
            held = held or look()
            time.sleep(0.3)
        return held, acting.result()


def assert_told_and_restored(done: Play) -> None:
    assert done.status == 2, done.output[-3000:]
    said = " ".join(done.failures.values())
    assert f"no new connection to this host within {SECONDS} s" in said, said
    assert f"dmz_firewall_confirm_seconds: {SECONDS}" in said
    assert re.search(r"the host put back what it had before at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", said), said
    assert f"{FILE} was not written" in said


def test_first_rules_that_cut_off_are_taken_away_again(hosts: LabHosts) -> None:
    assert rules(hosts) == ""
    cut, done = meanwhile(lambda: CUT in rules(hosts), lambda: roll_out(**CUTS_OFF))
    assert cut, "the rules that cut off were never loaded"
    assert_told_and_restored(done)
    assert (rules(hosts), written(hosts), left_over(hosts)) == ("", "", "")


def test_good_rules_are_confirmed_by_a_new_connection_and_written(hosts: LabHosts) -> None:
    foretold = went_well(roll_out("--check", "--diff"))
    assert "+  chain forward {" in foretold.output
    assert rules(hosts) == ""
    done = went_well(roll_out("-v"))
    (confirmed,) = re.findall(r'"confirmed": "(.+?)"', done.output)
    assert re.fullmatch(r"ssh, new connection: 127\.0\.0\.1 \d+ 127\.0\.0\.1 22", confirmed)
    assert "policy drop" in rules(hosts)
    assert "table inet mobileip_dmz" in written(hosts)
    assert left_over(hosts) == ""


def test_second_run_changes_nothing_and_arms_nothing(hosts: LabHosts) -> None:
    done = went_well(roll_out("-v"))
    assert done.hosts_with("changed") == []
    assert re.findall(r'"confirmed": "(.*?)"', done.output) == [""]


def test_rules_changed_by_hand_are_put_right(hosts: LabHosts) -> None:
    before = rules(hosts)
    hosts.run(HOST, ["nft", "insert", "rule", "inet", "mobileip_dmz", "forward", "accept"])
    foretold = went_well(roll_out("--check", "--diff"))
    assert re.search(r"^-\s+accept$", foretold.output, re.MULTILINE)
    assert rules(hosts) != before
    done = went_well(roll_out())
    assert done.recap[HOST]["changed"] == foretold.recap[HOST]["changed"] == 1
    assert rules(hosts) == before


def test_later_rules_that_cut_off_give_way_to_those_before(hosts: LabHosts) -> None:
    before, file = rules(hosts), written(hosts)
    cut, done = meanwhile(lambda: CUT in rules(hosts), lambda: roll_out(**CUTS_OFF))
    assert cut, "the rules that cut off were never loaded"
    assert_told_and_restored(done)
    assert (rules(hosts), written(hosts), left_over(hosts)) == (before, file, "")


def test_host_comes_back_though_the_controller_has_died(hosts: LabHosts) -> None:
    before, file = rules(hosts), written(hosts)
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/site.yml",
        "-i", "inventories/two_box", "-i", "molecule/resources/lab.yml",
        f"--limit={HOST}", "--tags=firewall", "--extra-vars", json.dumps(CUTS_OFF),
    ]  # fmt: skip
    running = subprocess.Popen(command, cwd=names.CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)  # fmt: skip
    try:
        hosts.wait_until("the rules that cut off are loaded", lambda: CUT in rules(hosts), 60)
    finally:
        # With its workers, which would go on.
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)
    hosts.wait_until("the rules from before are back", lambda: rules(hosts) == before, SECONDS + 10)
    assert written(hosts) == file
    done = went_well(roll_out())
    assert done.hosts_with("changed") == []


def test_disk_that_takes_no_file_says_so_before_anything_is_loaded(hosts: LabHosts) -> None:
    before, file = rules(hosts), written(hosts)
    folder = str(Path(FILE).parent)
    hosts.run(HOST, ["sh", "-ec", f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"])
    try:
        loaded, done = meanwhile(lambda: rules(hosts) != before, lambda: roll_out(dmz_firewall_tunnel_protocols=[4]))
    finally:
        hosts.run(HOST, ["umount", folder])
    assert done.status == 2, done.output[-3000:]
    assert "Read-only file system" in " ".join(done.failures.values())
    assert not loaded
    assert (rules(hosts), written(hosts), left_over(hosts)) == (before, file, "")
