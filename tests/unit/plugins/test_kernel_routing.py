"""Routes and rules in a real kernel, read back by a program that is not ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.kernel_routing import KernelRouting
from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import (
    Routing,
    RoutingError,
    ours,
    plan,
    wanted,
)
from pyroute2 import NetNS

from .test_policy_routing import ESP, ROUTE, WANTED, WISH

pytestmark = pytest.mark.namespaces


def ip(namespace: str, *arguments: str) -> str:
    """What `ip` prints in the namespace."""
    command = ["ip", "-n", namespace, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"gw-routing-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        ip(name, "link", "add", "pub", "type", "veth", "peer", "name", "far")
        ip(name, "address", "add", "203.0.113.20/26", "dev", "pub")
        for end in ("pub", "far"):
            ip(name, "link", "set", end, "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


@pytest.fixture
def kernel(namespace: str) -> Iterator[KernelRouting]:
    with KernelRouting(NetNS(namespace, flags=0)) as opened:
        yield opened


def bring(kernel: KernelRouting, want: Routing) -> None:
    """Have the kernel as wanted, by plan."""
    kernel.apply(plan(kernel.read(), want, 143), want)


def test_iproute2_shows_what_was_applied(kernel: KernelRouting, namespace: str) -> None:
    bring(kernel, WANTED)
    assert ip(namespace, "route", "show", "table", "434").strip() == (
        "192.0.2.64/27 via 203.0.113.10 dev pub proto 143"
    )
    rules = [line.expandtabs(1).strip() for line in ip(namespace, "rule").splitlines() if "lookup 434" in line]
    assert rules == [
        "434: from 203.0.113.20 to 192.0.2.64/27 lookup 434 proto 143",
        "435: from 192.0.2.64/27 to 192.0.2.64/27 lookup 434 proto 143",
    ]


def test_what_was_applied_is_read_back_as_it_was_wanted(kernel: KernelRouting) -> None:
    bring(kernel, WANTED)
    assert ours(kernel.read(), 143) == WANTED
    assert plan(kernel.read(), WANTED, 143) == []


def test_the_way_of_a_packet_depends_on_its_source(kernel: KernelRouting, namespace: str) -> None:
    ip(namespace, "route", "add", "default", "via", "203.0.113.1")
    bring(kernel, WANTED)
    assert "via 203.0.113.10" in ip(namespace, "route", "get", "192.0.2.69", "from", "203.0.113.20")
    assert "via 203.0.113.1 " in ip(namespace, "route", "get", "192.0.2.69")


def test_the_guard_off_and_on_moves_the_route_between_tables(kernel: KernelRouting, namespace: str) -> None:
    bring(kernel, WANTED)
    bring(kernel, wanted(replace(WISH, leak_guard=False)))
    assert "192.0.2.64/27 via 203.0.113.10" in ip(namespace, "route", "show", "table", "main")
    assert "434" not in ip(namespace, "rule")
    bring(kernel, WANTED)
    assert "192.0.2.64/27" not in ip(namespace, "route", "show", "table", "main")


def test_absent_leaves_what_others_laid(kernel: KernelRouting, namespace: str) -> None:
    ip(namespace, "rule", "add", "preference", "500", "from", "198.51.100.0/24", "to", "192.0.2.64/27", "lookup", "434")
    ip(namespace, "route", "add", "198.51.100.0/24", "via", "203.0.113.1", "table", "434")
    before = ip(namespace, "rule") + ip(namespace, "route", "show", "table", "434")
    bring(kernel, WANTED)
    bring(kernel, Routing())
    assert ip(namespace, "rule") + ip(namespace, "route", "show", "table", "434") == before


def test_another_next_hop_replaces_the_route(kernel: KernelRouting) -> None:
    bring(kernel, WANTED)
    bring(kernel, wanted(replace(WISH, via="203.0.113.11")))
    assert ours(kernel.read(), 143).routes == (replace(ROUTE, via="203.0.113.11"),)


def test_a_rule_of_somebody_else_in_our_place_is_refused(kernel: KernelRouting, namespace: str) -> None:
    ip(namespace, "rule", "add", "preference", "434", "from", "203.0.113.20", "to", "192.0.2.64/27", "lookup", "99")
    with pytest.raises(RoutingError, match="a rule that is not ours"):
        bring(kernel, WANTED)


def test_an_interface_that_is_not_there_is_named(kernel: KernelRouting) -> None:
    with pytest.raises(RoutingError, match="interface: this host has no eth9"):
        bring(kernel, wanted(replace(WISH, interface="eth9")))


def test_a_next_hop_that_is_not_on_the_link_is_refused_with_its_step(kernel: KernelRouting) -> None:
    with pytest.raises(RoutingError, match=r"add route 192\.0\.2\.64/27 via 198\.51\.100\.1 .*the kernel refuses"):
        bring(kernel, wanted(replace(WISH, via="198.51.100.1")))


def test_what_the_kernel_does_not_show_after_a_change_is_an_error(kernel: KernelRouting) -> None:
    with pytest.raises(RoutingError, match="does not show it"):
        kernel.apply([], Routing((), (ESP,)))


def test_a_route_into_a_wire_takes_the_place_of_one_by_a_next_hop_and_back(
    kernel: KernelRouting, namespace: str
) -> None:
    one_box = wanted(replace(WISH, via="", interface="pub"))
    for want, way in ((WANTED, "via 203.0.113.10 dev pub proto 143"), (one_box, "dev pub proto 143 scope link")) * 2:
        bring(kernel, want)
        assert ip(namespace, "route", "show", "table", "434").strip() == f"192.0.2.64/27 {way}"
        assert plan(kernel.read(), want, 143) == []
    bring(kernel, wanted(replace(WISH, present=False)))
    assert ours(kernel.read(), 143) == Routing()
