"""From an earlier commit to this checkout and back, while a node outside talks through its SA.

Proxy, home agent, gateway and firewalls are upgraded first, then the node: its own daemon holds the node's routes.
The tests build on each other, in this order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts
from roaming.session import captures

from tests.scenario.plays import Play, play
from tests.scenario.traffic import Missed, Traffic, traffic

INFRASTRUCTURE = ("outer_fw", "mipp", "vpngw", "inner_fw", "ha")
NODE = ("mn",)
# By host its daemon's instance, and an interface that its programs are on.
DAEMONS = {"mipp": ("proxy", "pub"), "ha": ("home_agent", "core"), "mn": ("node", "eth0")}
NODE_PAUSE = 1.0
"""Seconds without an answer while the node's own daemon starts again: it takes the routes away and registers anew."""
SPI = re.compile(r"\b(?:in|out) +([0-9a-f]{8})\b")


@dataclass(frozen=True)
class Release:
    """What of a release is at work on a host."""

    installed: str
    objects: str
    pid: str
    programs: tuple[int, ...]
    """The kernel's numbers of the attached programs."""


@dataclass(frozen=True)
class Step:
    """What a run of a playbook did to hosts and traffic."""

    done: Play
    missed: Missed
    before: dict[str, Release]
    after: dict[str, Release]
    ike: int
    esp: int
    spis_on_the_wire: set[str]


def release(hosts: LabHosts, host: str) -> Release:
    instance, interface = DAEMONS[host]
    asked = {
        "installed": "ls /opt/mobileip/share | grep installed",
        "objects": "sha256sum /opt/mobileip/lib/*.bpf.o",
        "pid": f"systemctl show --value -p MainPID mobileip@{instance}",
    }
    said = {name: hosts.run(host, ["sh", "-c", command]).stdout for name, command in asked.items()}
    hooks = "ip -d -j link show dev $1; tc -j filter show dev $1 ingress; tc -j filter show dev $1 egress"
    listed = hosts.run(host, ["sh", "-c", hooks, "sh", interface]).stdout
    programs = sorted(int(number) for number in re.findall(r'"prog":\s*\{[^}]*?"id":\s*(\d+)', listed))
    assert programs, f"no program is attached to {interface} of {host}: {listed}"
    return Release(**said, programs=tuple(programs))


def releases(hosts: LabHosts) -> dict[str, Release]:
    return {host: release(hosts, host) for host in DAEMONS}


def spis(hosts: LabHosts, host: str) -> set[str]:
    return set(SPI.findall(hosts.run(host, ["swanctl", "--list-sas"]).stdout))


@pytest.fixture(scope="module")
def talking(hosts: LabHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    """The node outside, and its traffic, from before the first test to the last."""
    hosts.ensure_at("mn", "open")
    hosts.wait_for_sa("mn")
    with traffic(hosts, "mn", "cn", tmp_path_factory.mktemp("traffic")) as found:
        time.sleep(2)
        yield found


@pytest.fixture(scope="module")
def first_spis(hosts: LabHosts, talking: Traffic) -> set[str]:
    """The SA's SPIs before anything is upgraded."""
    found = spis(hosts, "mn")
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def earlier(hosts: LabHosts) -> dict[str, Release]:
    """What the scenario rolled out."""
    return releases(hosts)


@pytest.fixture
def step(
    hosts: LabHosts, talking: Traffic, tmp_path: Path, record_property: Callable[[str, object], None]
) -> Callable[..., Step]:
    """Runs a playbook on some hosts, and looks at what happens meanwhile; figures go to the report of the tests."""

    def taken(playbook: str, targets: Sequence[str], **variables: object) -> Step:
        before = releases(hosts)
        with captures(hosts, ("dmz_public",), tmp_path) as files:
            started = time.time()
            done = play(f"{playbook}.yml", "--limit=" + ",".join(targets), variables=variables)
            # What a daemon that has just started does comes later.
            time.sleep(3)
            ended = time.time()
            missed = talking.missed(started, ended)
        frames, gateway = wire.read(files["dmz_public"]), hosts.address("vpngw", "pub")
        esp = wire.esp_frames(frames, gateway)
        ike = len(wire.ike_messages(frames, gateway))
        record_property("figures", f"{ended - started:.1f} s, {missed}, {ike} IKE, {len(esp)} ESP")
        return Step(done, missed, before, releases(hosts), ike, len(esp), {f.spi.removeprefix("0x") for f in esp})

    return taken


def assert_sa_untouched(found: Step, first_spis: set[str], hosts: LabHosts) -> None:
    assert found.done.status == 0, found.done.output[-3000:]
    assert found.esp > 0, "the capture saw nothing"
    assert found.ike == 0
    assert found.spis_on_the_wire == first_spis
    assert spis(hosts, "mn") == spis(hosts, "vpngw") == first_spis


def assert_nothing_lost(found: Step) -> None:
    assert found.missed.sent > 100
    assert (found.missed.lost_outwards, found.missed.lost_inwards) == (0, 0)


def assert_other_release(found: Step, targets: Sequence[str]) -> None:
    """Wheel, objects, daemon and programs of `targets` are others than before; those of the other hosts are not."""
    for host, (before, after) in {host: (found.before[host], found.after[host]) for host in DAEMONS}.items():
        if host not in targets:
            assert before == after, host
            continue
        assert before.installed != after.installed, host
        assert before.objects != after.objects, host
        assert before.pid != after.pid, host
        assert set(before.programs).isdisjoint(after.programs), host


def test_upgrade_of_all_but_the_node_loses_no_packet(
    hosts: LabHosts, step: Callable[..., Step], earlier: dict[str, Release], first_spis: set[str]
) -> None:
    found = step("site", INFRASTRUCTURE)
    assert_sa_untouched(found, first_spis, hosts)
    assert_other_release(found, INFRASTRUCTURE)
    assert_nothing_lost(found)


def test_upgrade_of_the_node_keeps_its_sa(hosts: LabHosts, step: Callable[..., Step], first_spis: set[str]) -> None:
    found = step("site", NODE)
    assert_sa_untouched(found, first_spis, hosts)
    assert_other_release(found, NODE)
    assert found.missed.gap < NODE_PAUSE


def test_rollback_of_the_node_keeps_its_sa(
    hosts: LabHosts, step: Callable[..., Step], earlier: dict[str, Release], first_spis: set[str]
) -> None:
    found = step("rollback", NODE, mobileip_backup="latest")
    assert_sa_untouched(found, first_spis, hosts)
    assert_other_release(found, NODE)
    assert found.after["mn"].objects == earlier["mn"].objects
    assert found.missed.gap < NODE_PAUSE


def test_rollback_of_all_but_the_node_loses_no_packet(
    hosts: LabHosts, step: Callable[..., Step], earlier: dict[str, Release], first_spis: set[str]
) -> None:
    found = step("rollback", INFRASTRUCTURE, mobileip_backup="latest")
    assert_sa_untouched(found, first_spis, hosts)
    assert_other_release(found, INFRASTRUCTURE)
    for host in ("mipp", "ha"):
        now = found.after[host]
        assert (now.installed, now.objects) == (earlier[host].installed, earlier[host].objects)
    assert_nothing_lost(found)


def test_session_survived_it_all(talking: Traffic) -> None:
    assert talking.finish_session() == ""
