"""What the preflight's probe says about a host."""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

import pytest

from mobileip.forwarding import needs

from .scripts import FILES, load

probe = load("probe")

HAVE = {"lo": ["127.0.0.1/8"], "pub": ["203.0.113.10/26"], "priv": ["192.0.2.10/27", "192.0.2.11/32"], "spare": []}


def want(address: str, interface: str, **same_segment: list[str]) -> dict[str, Any]:
    return {
        "variable": "x.address",
        "interface_variable": "x.interface",
        "address": address,
        "interface": interface,
        "same_segment": same_segment,
    }


@pytest.mark.parametrize(
    ("wanted", "problems"),
    [
        (want("203.0.113.10", "pub"), []),
        (want("192.0.2.11", "priv"), []),
        (want("203.0.113.10", "pub", gateways=["203.0.113.20", "203.0.113.62"]), []),
        (
            want("203.0.113.10", "eth0"),
            ["x.interface: eth0 is no interface of this host, expected one of lo, priv, pub, spare"],
        ),
        (want("203.0.113.11", "pub"), ["x.address: 203.0.113.11 is not on pub, which has 203.0.113.10/26"]),
        (want("203.0.113.10", "spare"), ["x.address: 203.0.113.10 is not on spare, which has no address"]),
        (
            want("203.0.113.10", "pub", gateways=["203.0.113.20", "203.0.113.64"]),
            [
                "gateways: 203.0.113.64 is not in 203.0.113.0/26, the subnet of x.address: "
                "expected both on one segment (hand-over by layer 2)"
            ],
        ),
        (
            want("192.0.2.11", "priv", gateways=["192.0.2.20"]),
            [
                "gateways: 192.0.2.20 is not in 192.0.2.11/32, the subnet of x.address: "
                "expected both on one segment (hand-over by layer 2)"
            ],
        ),
        (want("", "pub"), ["x.address: (not set) is not on pub, which has 203.0.113.10/26"]),
        (
            want("203.0.113.10", ""),
            ["x.interface: (not set) is no interface of this host, expected one of lo, priv, pub, spare"],
        ),
        (
            want("203.0.113.10", "pub", gateways=["", "gw.example"]),
            [
                "gateways: (not set) is no IPv4 address, expected one in 203.0.113.0/26",
                "gateways: gw.example is no IPv4 address, expected one in 203.0.113.0/26",
            ],
        ),
        (
            want("203.0.113.10", "pub", gateways=["203.0.113.10"]),
            ["gateways: 203.0.113.10 is the address of x.address, too: expected two addresses"],
        ),
    ],
)
def test_addresses_are_on_their_interfaces_and_neighbours_on_their_subnet(
    wanted: dict[str, Any], problems: list[str]
) -> None:
    assert probe.address_problems([wanted], HAVE) == problems


def test_every_address_with_a_problem_is_told() -> None:
    found = probe.address_problems(
        [want("192.0.2.1", "pub"), want("192.0.2.1", "none"), want("192.0.2.10", "priv")], HAVE
    )
    assert [text.split(":")[0] for text in found] == ["x.address", "x.interface"]


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 5), (4, 0, 0)])
def test_python_that_the_daemon_runs_on(version: tuple[int, ...]) -> None:
    assert probe.python_problems(version) == []


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 7, 0), (2, 7, 18)])
def test_python_too_old_is_told_with_the_variable_and_both_versions(version: tuple[int, ...]) -> None:
    have = ".".join(map(str, version))
    expected = f"agent_python: {sys.executable} is Python {have}, expected 3.11 or newer"
    assert probe.python_problems(version) == [expected]


def test_a_python_too_old_for_the_daemon_can_still_read_the_probe() -> None:
    ast.parse((FILES / "probe.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_probe_and_program_need_the_same_helpers() -> None:
    assert probe.HELPERS == needs.HELPERS


@pytest.mark.skipif(os.geteuid() != 0, reason="loads BPF programs: needs root")
def test_this_kernel_lacks_nothing() -> None:
    assert probe.kernel_problems() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="loads BPF programs: needs root")
def test_what_an_old_kernel_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HELPERS", {**probe.HELPERS, "bpf_of_the_future": (9999, "9.1")})
    monkeypatch.setattr(probe, "RING_BUFFER", 9999)
    release = platform.release()
    assert probe.kernel_problems() == [
        f"kernel {release}: lacks bpf_of_the_future (Linux 9.1), ring buffers (Linux 5.8); the data path needs it"
    ]
    monkeypatch.setattr(needs, "HELPERS", {"bpf_of_the_future": (9999, "9.1")})
    assert needs.probe() == [
        f"kernel {release}: lacks bpf_of_the_future (Invalid argument), there since Linux 9.1; expected 5.14 or newer"
    ]


def test_one_line_of_json_answers_one_question() -> None:
    question = {"now": time.time() - 100, "addresses": [want("127.0.0.1", "lo"), want("192.0.2.1", "lo")]}
    command = [sys.executable, str(FILES / "probe.py"), json.dumps(question)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    answer = json.loads(done.stdout)
    assert answer["clock_offset"] == pytest.approx(100, abs=20)
    assert answer["python"] == "{}.{}".format(*sys.version_info[:2])
    assert answer["bpf_mount"] in {"ours", "system", "none"}
    assert [text for text in answer["problems"] if text.startswith("x.")] == [
        "x.address: 192.0.2.1 is not on lo, which has 127.0.0.1/8"
    ]
    assert not [text for text in answer["problems"] if text.startswith("agent_python")]
