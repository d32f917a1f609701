"""Which daemons are found by the processes of a host, and how their clients are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils import routing_daemons
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError, Question
from ansible_collections.mobileip.vpn.plugins.module_utils.routing_daemons import (
    Daemon,
    Process,
    daemons,
    option,
    processes,
)

ZEBRA = ("/usr/lib/frr/zebra", "-d", "-F", "traditional", "-A", "127.0.0.1", "-s", "90000000")


@pytest.mark.parametrize(
    ("process", "shown"),
    [
        (Process(7, "zebra", ZEBRA), "FRR"),
        (Process(7, "zebra", (*ZEBRA, "-N", "blue")), "FRR (blue)"),
        (Process(7, "zebra", (*ZEBRA, "--pathspace=blue")), "FRR (blue)"),
        (Process(7, "zebra", (*ZEBRA, "--vty_socket", "/run/one")), "FRR (/run/one)"),
        (Process(7, "bird", ("/usr/sbin/bird", "-f", "-u", "bird", "-g", "bird")), "BIRD"),
        (Process(7, "bird", ("bird", "-s/run/two.ctl")), "BIRD (/run/two.ctl)"),
    ],
)
def test_an_instance_is_known_by_its_arguments(process: Process, shown: str) -> None:
    assert [str(daemon) for daemon in daemons([process])] == [shown]


def test_whoever_runs_beside_zebra_is_known_by_its_instance_and_missed_where_vtysh_misses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blue = ("-N", "blue")
    (daemon,) = daemons(
        [Process(7, "zebra", ("zebra", *blue)), Process(8, "ospfd", ("ospfd", *blue)), Process(9, "bgpd", ("bgpd",))]
    )
    assert daemon.beside == ("ospfd",)
    monkeypatch.setattr(routing_daemons, "_run", lambda words, what: " zebra bgpd\n")
    with pytest.raises(DaemonError, match="ospfd runs and vtysh does not reach it"):
        daemon.read(Question((), "", "pub", 434, 143))


def test_what_is_no_routing_daemon_that_can_be_asked_is_left_out() -> None:
    others = [
        Process(1, "systemd", ("/sbin/init",)),
        Process(2, "ospfd", ("/usr/lib/frr/ospfd",)),
        Process(3, "gobgpd", ()),
    ]
    assert daemons(others) == []


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["x", "-c", "a"], "a"), (["x", "-ca"], "a"), (["x", "--config", "a"], "a"), (["x", "--config=a"], "a"),
        (["x", "-c"], ""), (["-c", "a"], ""), (["x", "a"], ""),
    ],
)  # fmt: skip
def test_the_value_of_an_option_in_each_of_its_forms(arguments: list[str], value: str) -> None:
    assert option(arguments, "-c", "--config") == value


@pytest.mark.parametrize(
    ("daemon", "command"),
    [
        (Daemon("frr", "", Process(7, "zebra", ())), ["vtysh", "-c", "show daemons"]),
        (Daemon("frr", "blue", Process(7, "zebra", ())), ["vtysh", "-N", "blue", "-c", "show daemons"]),
        (Daemon("frr", "/run/x", Process(7, "zebra", ())), ["vtysh", "--vty_socket", "/run/x", "-c", "show daemons"]),
        (
            Daemon("bird", "/run/b.ctl", Process(7, "bird", (), elsewhere=True)),
            ["nsenter", "--target", "7", "--mount", "--", "birdc", "-r", "-s", "/run/b.ctl", "show daemons"],
        ),
    ],
)
def test_a_daemon_is_asked_by_its_own_client(
    daemon: Daemon, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def record(words: list[str], what: str) -> str:
        called.append(words)
        return what

    monkeypatch.setattr(routing_daemons, "_run", record)
    daemon.ask("show daemons")
    assert called == [command]


def test_a_client_that_is_not_there_or_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    daemon = Daemon("bird", "", Process(os.getpid(), "bird", ()))
    with pytest.raises(DaemonError, match="BIRD: `show status`: birdc is not found"):
        daemon.ask("show status")
    client = tmp_path / "birdc"
    client.write_text("#!/bin/sh\necho 'Unable to connect'; exit 1\n", encoding="ascii")
    client.chmod(0o755)
    with pytest.raises(DaemonError, match="`show status` fails: Unable to connect; expected an answer"):
        daemon.ask("show status")


def test_a_bird_without_its_configuration_is_an_error() -> None:
    daemon = Daemon("bird", "", Process(os.getpid(), "bird", ("bird", "-c", "/nowhere/bird.conf")))
    with pytest.raises(DaemonError, match=r"expected /nowhere/bird\.conf"):
        daemon._configuration()


def test_processes_of_this_network_namespace_are_seen_with_their_arguments() -> None:
    program = [sys.executable, "-c", "print(flush=True); input()", "mark"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        # It runs: before, the kernel may not have its arguments yet.
        child.stdout.readline()
        found = {process.pid: process for process in processes()}
        child.stdin.write(b"\n")
    assert found[child.pid].arguments[-1] == "mark"
    assert not found[child.pid].elsewhere
