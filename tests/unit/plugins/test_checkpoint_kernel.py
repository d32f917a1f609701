"""Routes, rules, neighbours, packet filters and settings of a real kernel: taken away, and put back."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils import checkpoint_host
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import State, Touches, plan
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint_host import Performer

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace; run as root"),
]

TOUCHES = Touches(
    tables=("inet mobileip_gateway",),
    protocols=(77, 143),
    rules=(
        "preference 199 * lookup 435",
        "preference 200 from all lookup *",
        "preference 434 * iif * lookup 434",
    ),
)
NAMED = ("net.ipv4.ip_forward", "net.ipv4.conf.pub.rp_filter")
_NETWORK = 0x40000000  # CLONE_NEWNET

HOST = """
link add pub type veth peer name inside
link set pub up
link set inside up
link set lo up
address add 203.0.113.20/26 dev pub
address add 192.0.2.65/27 dev inside
"""
# Somebody else's: it stays, whatever happens.
THEIRS = """
route add 198.51.100.0/24 via 203.0.113.12 proto 99
rule add preference 434 from 198.51.100.7 lookup 434 protocol 99
neighbour add proxy 192.0.2.99 dev inside
"""
OURS = """
route add 192.0.2.64/27 via 203.0.113.10 dev pub table 434 proto 143
route add 10.0.0.0/8 dev pub table 435 proto 77 scope link mtu 1400
route add 10.1.0.0/16 via 203.0.113.11 proto 77 src 203.0.113.20
rule add preference 434 from 203.0.113.20 to 192.0.2.64/27 lookup 434 protocol 143
rule add preference 435 from 192.0.2.64/27 to 192.0.2.64/27 lookup 434 protocol 143
rule add preference 210 ipproto udp dport 434 lookup main protocol 143
rule add preference 199 from 192.0.2.69 lookup 435
rule add preference 200 lookup main
rule add preference 434 iif inside lookup 434
neighbour add proxy 192.0.2.70 dev inside
"""
TABLE = """
table inet mobileip_gateway {
  set home { type ipv4_addr; flags interval; elements = { 192.0.2.64/27 }; }
  chain refuse { counter drop; }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "pub" ip daddr @home udp dport { 434, 20434-20449 } counter accept
    tcp flags syn tcp option maxseg size > 1360 tcp option maxseg size set 1360
    ip saddr @home goto refuse
  }
}
"""


def ip(lines: str) -> None:
    for line in lines.strip().splitlines():
        subprocess.run(["ip", *line.split()], check=True, timeout=10)


def kernel() -> State:
    rules, routes, neighbours = checkpoint_host._routing(TOUCHES)
    return State(
        touches=TOUCHES,
        rules=rules,
        routes=routes,
        neighbours=neighbours,
        tables=checkpoint_host._tables(TOUCHES.tables),
        settings=checkpoint_host._settings(),
        named=NAMED,
    )


def go(then: State, now: State) -> None:
    for step in plan(then, now, purge=False):
        Performer(then, Path("/nowhere")).perform(step)


@pytest.fixture
def fresh() -> Iterator[State]:
    """A host of its own, before anything of ours: this thread is in it until the test ends."""
    name = f"checkpoint-{os.getpid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert libc.setns(there, _NETWORK) == 0, os.strerror(ctypes.get_errno())
        # Values of its own, whatever this machine's are.
        checkpoint_host._setting_path("net.ipv4.ip_forward").write_text("0", encoding="ascii")
        ip(HOST)
        ip(THEIRS)
        yield kernel()
    finally:
        libc.setns(home, _NETWORK)
        os.close(there)
        os.close(home)
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


@pytest.fixture
def deployed(fresh: State) -> State:
    ip(OURS)
    subprocess.run(["nft", "-f", "-"], input=TABLE, text=True, check=True, timeout=10)
    for key, value in (("net.ipv4.ip_forward", "1"), ("net.ipv4.conf.pub.rp_filter", "2")):
        checkpoint_host._setting_path(key).write_text(value, encoding="ascii")
    return kernel()


def test_all_of_ours_is_seen_and_nothing_of_others(fresh: State, deployed: State) -> None:
    assert (fresh.routes, fresh.rules, fresh.tables) == ((), (), {})
    assert (len(deployed.routes), len(deployed.rules), len(deployed.tables)) == (3, 6, 1)
    assert set(deployed.neighbours) - set(fresh.neighbours) == {"proxy 192.0.2.70 dev inside"}


def test_back_leaves_nothing_of_ours_and_all_of_others(fresh: State, deployed: State) -> None:
    go(fresh, deployed)
    assert kernel() == fresh
    shown = subprocess.run(["ip", "route", "show", "proto", "99"], capture_output=True, text=True, check=True).stdout
    assert "198.51.100.0/24" in shown


def test_and_forth_again(fresh: State, deployed: State) -> None:
    go(fresh, deployed)
    go(deployed, kernel())
    # Neighbours are the daemon's: it adds them when it starts.
    assert replace(kernel(), neighbours=deployed.neighbours) == deployed


def test_table_that_was_changed_is_what_it_was(deployed: State) -> None:
    subprocess.run(["nft", "flush", "chain", "inet", "mobileip_gateway", "forward"], check=True, timeout=10)
    go(deployed, kernel())
    assert kernel().tables == deployed.tables


def test_forwarding_of_each_interface_is_what_it_was(fresh: State) -> None:
    checkpoint_host._setting_path("net.ipv4.conf.inside.forwarding").write_text("1", encoding="ascii")
    then = kernel()
    checkpoint_host._setting_path("net.ipv4.ip_forward").write_text("1", encoding="ascii")
    assert kernel().settings["net.ipv4.conf.pub.forwarding"] == "1"
    go(then, kernel())
    assert kernel().settings == then.settings
    assert then.settings != fresh.settings
