"""Whatever would not work is found before anything changes, and the message says which variable to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from roaming.lab_hosts import LabHosts

from tests.scenario.plays import Play, play

# 16 and 32 characters; no host has them, and none may be printed.
SHORT_KEY = "badc0ffee0ddf00d"
KEY = "badc0ffee0ddf00dbadc0ffee0ddf00d"
CLOCK_AHEAD = 20
WITHOUT_NAI = "a home agent that may be assigned knows no NAI"
TOOLS = "/var/tmp/mobileip-preflight"

# Programs that stand in for the target's Python: the role's probe does its real checks in them.
WITHOUT_BPF = f"{TOOLS}/without-bpf"
OLD_KERNEL = f"{TOOLS}/old-kernel"
OLD_PYTHON = f"{TOOLS}/old-python"
CLOCK = f"{TOOLS}/clock-ahead"
PROGRAMS = {
    # bpf(2) as a kernel without it answers: a seccomp filter, ENOSYS (38).
    WITHOUT_BPF: """#!/usr/bin/python3
import ctypes, os, platform, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, struct.pack("HP", len(steps), ctypes.addressof(code)), 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execv("/usr/bin/python3", ["python3", *sys.argv[1:]])
""",
    # uname(2) says 2.6 in this personality.
    OLD_KERNEL: '#!/bin/sh\nexec setarch --uname-2.6 /usr/bin/python3 "$@"\n',
    # No distribution has an older one beside its own.
    OLD_PYTHON: """#!/usr/bin/python3
import runpy, sys
sys.argv.pop(0)
sys.version_info = (3, 9, 2, "final", 0)
runpy.run_path(sys.argv[0], run_name="__main__")
""",
    CLOCK: f'#!/bin/sh\nexec faketime -f +{CLOCK_AHEAD}s /usr/bin/python3 "$@"\n',
}


@dataclass(frozen=True)
class Case:
    """One mistake: the variables that make it, and on which host it is told in which words."""

    host: str
    says: tuple[str, ...]
    variables: dict[str, Any] = field(default_factory=dict)
    limit: str = ""
    host_variables: dict[str, Any] = field(default_factory=dict)
    """Variables of one host alone, by its name."""


CASES = {
    "MIPP-Pub is not on the gateway's subnet": Case(
        "vpngw", ("vpn_gateway_mipp_pub:", "203.0.113.70", "203.0.113.20/26"), {"site_mipp_pub": "203.0.113.70"}
    ),
    "VPNGW-Pub is not on the proxy's subnet": Case(
        "mipp",
        ("mip_proxy_vpn_gateways[].vpngw_pub:", "203.0.113.70", "203.0.113.0/26", "mip_proxy_pub.address"),
        {"site_vpngw_pub": "203.0.113.70"},
    ),
    "VPNGW-Priv is not on the proxy's subnet": Case(
        "mipp",
        ("mip_proxy_vpn_gateways[].vpngw_priv:", "192.0.2.50", "192.0.2.0/27", "mip_proxy_priv.address"),
        {"site_vpngw_priv": "192.0.2.50"},
    ),
    "VPNGW-Pub is MIPP-Pub": Case(
        "mipp", ("mip_proxy_vpn_gateways[].vpngw_pub:", "203.0.113.10"), {"site_vpngw_pub": "203.0.113.10"}
    ),
    "MIPP-Pub is missing": Case(
        "mipp",
        ("missing required arguments: address found in mip_proxy_pub",),
        {"mip_proxy_pub": {"interface": "pub"}},
    ),
    "VPNGW-Priv is missing": Case(
        "mipp",
        ("missing required arguments: home_networks, vpngw_priv found in mip_proxy_vpn_gateways",),
        {"mip_proxy_vpn_gateways": [{"name": "vpngw", "vpngw_pub": "203.0.113.20"}]},
    ),
    "MIPP-Pub is not on its interface": Case(
        "mipp",
        ("mip_proxy_pub.address:", "203.0.113.11", "pub", "203.0.113.10/26"),
        {"site_mipp_pub": "203.0.113.11"},
    ),
    "VPNGW-Pub is not on its interface": Case(
        "vpngw",
        ("vpn_gateway_pub_address:", "203.0.113.21", "pub", "203.0.113.20"),
        {"site_vpngw_pub": "203.0.113.21"},
    ),
    "OSPF would announce the route to the proxy": Case(
        "vpngw",
        ("FRR: OSPF would announce 192.0.2.64/27", "router ospf: redistribute kernel", "Set leak_guard"),
        {"vpn_gateway_leak_guard": False},
    ),
    "the home agent's address is not on its interface": Case(
        "ha",
        ("home_agent_address:", "192.0.2.40", "home", "192.0.2.65/27"),
        {"home_agent_interface": "home"},
    ),
    "the foreign agent has no such interface": Case(
        "fa",
        ("foreign_agent_uplink.interface:", "eth9", "expected one of", "uplink"),
        {"foreign_agent_uplink": {"interface": "eth9", "care_of_address": "198.51.100.100"}},
    ),
    WITHOUT_NAI: Case(
        "mipp",
        ("mip_proxy_home_agents[].assignable:", "192.0.2.40", "without nai"),
        {"mip_proxy_home_agents": [{"address": "192.0.2.40", "home_networks": ["192.0.2.64/27"], "assignable": True}]},
    ),
    "a key of the proxy is too short, and one is missing": Case(
        "mipp",
        ("mip_proxy_node_keys:", "'mn': 16", "no key for mn2", "32 hexadecimal digits"),
        {"mip_proxy_node_keys": {"mn": SHORT_KEY}},
    ),
    "a key of the home agent is too short": Case(
        "ha",
        ("home_agent_direct_keys:", "'mn2': 16", "32 hexadecimal digits"),
        {"home_agent_direct_keys": {"mn": KEY, "mn2": SHORT_KEY}},
    ),
    "a key of the node is too short": Case(
        "mn",
        ("mobile_node_direct_key: 16 characters", "32 hexadecimal digits"),
        {"mobile_node_proxy_key": KEY, "mobile_node_direct_key": SHORT_KEY},
    ),
    "a key of the gateway is too short": Case(
        "vpngw",
        ("vpn_gateway_ike_secrets:", "mn", "24 or more"),
        {"vpn_gateway_ike_secrets": {"mn": SHORT_KEY, "mn2": KEY}},
    ),
    "the node's clock is ahead": Case(
        "mipp",
        ("mip_proxy_replay_window:", "expected less than 7 s", "'mn': ", "timedatectl"),
        limit="mipp,ha,mn",
        host_variables={"mn": {"agent_python": CLOCK}},
    ),
    "the kernel loads no BPF program": Case(
        "mn", ("kernel ", "Function not implemented", "expected CONFIG_NET_CLS_BPF"), {"agent_python": WITHOUT_BPF}
    ),
    "the kernel is too old": Case("mn", ("kernel 2.6.", "expected 5.14 or newer"), {"agent_python": OLD_KERNEL}),
    "Python is too old": Case(
        "mn", ("agent_python:", "is Python 3.9.2", "expected 3.11 or newer"), {"agent_python": OLD_PYTHON}
    ),
    "Python is not there": Case(
        "mn", ("agent_python:", "/opt/python3.99", "not found", "expected"), {"agent_python": "/opt/python3.99"}
    ),
}


@pytest.fixture(scope="module")
def tools(hosts: LabHosts) -> Iterator[None]:
    """Put the programs on the node, with the faketime they need, and take all away again."""
    had = hosts.run("mn", ["dpkg-query", "--show", "faketime"], check=False).returncode == 0
    hosts.run("mn", ["mkdir", "-p", TOOLS])
    try:
        for path, text in PROGRAMS.items():
            hosts.run("mn", ["sh", "-c", 'printf %s "$1" >"$2"; chmod 0755 "$2"', "sh", text, path])
        if not had:
            hosts.run("mn", ["sh", "-c", "apt-get -qq update && apt-get -qq install --no-install-recommends faketime"])
        yield
    finally:
        hosts.run("mn", ["rm", "-rf", TOOLS])
        if not had:
            hosts.run("mn", ["apt-get", "-qq", "purge", "--autoremove", "faketime"])


@pytest.fixture(scope="module")
def runs(tools: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Play]:
    """All cases, a few at a time: what a run waits for is mostly a host's answer."""
    directory: Path = tmp_path_factory.mktemp("inventories")

    def run(name: str) -> Play:
        case = CASES[name]
        # Inventories of one host's variables; its connection and groups are said by the others.
        extra = directory / f"{sorted(CASES).index(name)}.yml"
        extra.write_text(json.dumps({"all": {"hosts": case.host_variables}}), encoding="utf-8")
        limit = f"--limit={case.limit or case.host}"
        return play("preflight.yml", "-i", str(extra), limit, variables=case.variables)

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(run, CASES), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_preflight_fails_before_any_change_and_names_variable_value_and_expectation(
    runs: dict[str, Play], name: str
) -> None:
    run, case = runs[name], CASES[name]
    assert run.hosts_with("failed") == [case.host], run.output
    assert run.status == 2
    assert [text for text in case.says if text not in run.failures[case.host]] == [], run.failures[case.host]
    assert run.hosts_with("changed") == []


def test_home_agent_that_may_be_assigned_must_be_said_to_know_nais_D_2_6_4_b(runs: dict[str, Play]) -> None:
    run = runs[WITHOUT_NAI]
    assert (run.hosts_with("failed"), run.hosts_with("changed")) == (["mipp"], [])
    assert "expected nai: true" in run.failures["mipp"]


def test_no_message_shows_a_key(runs: dict[str, Play]) -> None:
    with_keys = [name for name, case in CASES.items() if SHORT_KEY in json.dumps(case.variables)]
    assert len(with_keys) == 4
    assert [name for name in with_keys if SHORT_KEY in runs[name].output] == []


def test_clocks_are_measured_not_only_compared(runs: dict[str, Play]) -> None:
    told = runs["the node's clock is ahead"].failures["mipp"]
    offsets = json.loads(told.partition("controller: ")[2].partition("}")[0].replace("'", '"') + "}")
    assert offsets.keys() == {"mipp", "ha", "mn"}
    assert offsets["mn"] - max(offsets["mipp"], offsets["ha"]) > CLOCK_AHEAD - 7


def test_one_host_that_fails_stops_site_yml_on_every_host_before_the_roll_out() -> None:
    variables = {"home_agent_direct_keys": {"mn": KEY, "mn2": SHORT_KEY}}
    run = play("site.yml", "--limit=mipp,ha,outer_fw", variables=variables)
    # One of the others says in the end why nothing comes after it.
    assert run.hosts_with("failed") == ["ha", "mipp"], run.output
    assert run.failures["mipp"].endswith("See above what is wrong with ha.")
    assert {"mipp", "outer_fw"} <= run.recap.keys()
    assert run.hosts_with("changed") == []
    assert run.plays() == ["Preflight", "Preflight of the whole"]


def test_without_a_mistake_preflight_passes_and_changes_nothing() -> None:
    run = play("preflight.yml", "--limit=mipp,ha,mn,vpngw")
    assert run.status == 0, run.output
    assert run.hosts_with("changed") == []
