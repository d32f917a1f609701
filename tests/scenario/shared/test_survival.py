"""What outlives the daemon: packets, bindings, the memory of what was accepted. And what it must survive itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts
from roaming.session import Program, captures, pauses

UNIT = "mobileip@proxy.service"


@pytest.fixture(scope="module", autouse=True)
def node_outside(hosts: LabHosts) -> None:
    hosts.ensure_at("mn", "open")
    hosts.wait_for_sa("mn")


def show(hosts: LabHosts, what: str) -> Any:
    """Return what `mobileip show WHAT --json` says on the proxy."""
    done = hosts.run("mipp", ["/opt/mobileip/bin/mobileip", "show", what, "--json", "-i", "proxy"])
    return json.loads(done.stdout)


def kill(hosts: LabHosts) -> None:
    hosts.run("mipp", ["systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT])


def probe_ends(hosts: LabHosts, directory: Path) -> tuple[Program, Program]:
    """Start a 10 ms probe from the node to the correspondent; returns both ends."""
    echo = Program(hosts, "cn", "probe.py", ["echo", "--port", "5022"], directory / "echo")
    echo.wait_for("listening", 10)
    where = ["--address", hosts.address("cn", "eth0"), "--source", hosts.home_address("mn"), "--port", "5022"]
    probe = Program(hosts, "mn", "probe.py", ["send", *where], directory / "probe")
    probe.wait_for("reply", 10)
    return echo, probe


def test_killing_the_daemon_moves_no_packet_and_loses_no_binding_D_3_4(hosts: LabHosts, tmp_path: Path) -> None:
    before = show(hosts, "bindings")
    assert [entry["home_address"] for entry in before].count(hosts.home_address("mn")) == 1
    metronome = Program(hosts, "mn", "metronome.py", [], tmp_path / "metronome")
    metronome.wait_for("ticking", 10)
    echo, probe = probe_ends(hosts, tmp_path)
    killed = time.time()
    kill(hosts)
    time.sleep(4)
    probe.finish()
    echo.finish()
    metronome.finish()
    replies = [float(event["t"]) for event in probe.events() if event["event"] == "reply"]
    assert wire.longest_gap(replies, killed, killed + 3.5, pauses(metronome)) < 0.1
    summary = probe.events()[-1]
    assert summary["received"] == summary["sent"]
    hosts.run("mipp", ["systemctl", "start", UNIT])
    hosts.wait_until("the proxy answers again", lambda: bool(show(hosts, "bindings")), 15)
    after = show(hosts, "bindings")
    assert {entry["home_address"] for entry in before} <= {entry["home_address"] for entry in after}


def test_a_request_captured_before_the_crash_is_not_accepted_after_it_D_3_4(hosts: LabHosts, tmp_path: Path) -> None:
    home = hosts.home_address("mn")
    with captures(hosts, ("outside",), tmp_path) as files:
        hosts.ensure_at("mn", "nat")
        hosts.ensure_at("mn", "open")
        time.sleep(1)
    request = hosts.payloads(files["outside"], f"mip.type == 1 && mip.homeaddr == {home}")[-1]
    accepted = next(entry for entry in show(hosts, "bindings") if entry["home_address"] == home)
    kill(hosts)
    hosts.run("mipp", ["systemctl", "start", UNIT])
    hosts.wait_until("the proxy answers again", lambda: bool(show(hosts, "bindings")), 15)
    with captures(hosts, ("outside", "dmz_private"), tmp_path) as files:
        hosts.send_udp("internet", request, hosts.address("mipp", "pub"), 434)
        time.sleep(1.5)
        now = next(entry for entry in show(hosts, "bindings") if entry["home_address"] == home)
        # A request of the node's own, so that the captures show what is relayed and answered.
        hosts.ensure_at("mn", "nat")
    hosts.ensure_at("mn", "open")
    outside, private = wire.read(files["outside"]), wire.read(files["dmz_private"])
    replayer = hosts.address("internet", "dmz")
    replies = [frame for frame in outside if frame.registration == wire.REPLY and frame.home_address == home]
    assert [frame.mip_code for frame in replies if frame.outer[1] == replayer] == [133], "Identification mismatch"
    (replayed,) = {f.identification for f in outside if f.registration == wire.REQUEST and f.outer[0] == replayer}
    relayed = [frame.identification for frame in private if frame.registration == wire.REQUEST]
    assert relayed, "the node's own"
    assert replayed not in relayed, "nothing of it is relayed to the home agent"
    assert now["care_of_address"] == accepted["care_of_address"]


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x01", bytes(23), b"\x01" + bytes(23), b"\x03" + bytes(19), b"\xff" * 60, b"\x01\xff" * 700, b"\x63" * 48],
    ids=["empty", "one byte", "short", "zeros", "reply", "ones", "oversized", "unknown type"],
)
def test_bad_datagram_is_dropped_and_counted_and_the_daemon_lives(hosts: LabHosts, datagram: bytes) -> None:
    def drops() -> int:
        return sum(int(count) for place in show(hosts, "drops").values() for count in place.values())

    pid = hosts.run("mipp", ["systemctl", "show", "-p", "MainPID", "--value", UNIT]).stdout
    before = drops()
    hosts.send_udp("internet", datagram, hosts.address("mipp", "pub"), 434)
    hosts.wait_until("the drop is counted", lambda: drops() > before, 5)
    assert hosts.run("mipp", ["systemctl", "show", "-p", "MainPID", "--value", UNIT]).stdout == pid
