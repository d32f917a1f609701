"""IPv6 that comes to a node and goes, as its daemon sees it, and the packet filter that refuses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from mobileip.registration.events import Ipv6Seen
from mobileip.runtime.ipv6 import Ipv6Watcher
from tests.forwarding.conftest import PATIENCE, Namespace
from tests.unit.templates.test_templates import defaults, render

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

NODE, BEYOND = IPv6Address("2001:db8::10"), "2001:db8:ffff::1"
PORT = 4433


@pytest.fixture
def router() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


@pytest.fixture
def node(router: Namespace) -> Iterator[Namespace]:
    """A node whose link `eth0` ends in `far` of the router."""
    made = Namespace()
    made.shell(
        f"""
        ip link set lo up
        ip link add eth0 type veth peer name far netns {router.path}
        ip link set eth0 up
        """
    )
    router.shell(
        f"""
        ip link set lo up
        ip address add 2001:db8::1/64 dev far nodad
        ip address add {BEYOND}/128 dev lo nodad
        ip link set far up
        """
    )
    yield made
    made.close()


CHANGES = (
    ("ip address add 2001:db8::10/64 dev eth0 nodad", Ipv6Seen((NODE,), ())),
    ("ip route add default via 2001:db8::1", Ipv6Seen((NODE,), ("eth0",))),
    ("ip address add fd00::10/64 dev eth0 nodad", None),
    ("ip route del default via 2001:db8::1", Ipv6Seen((NODE,), ())),
    ("ip address del 2001:db8::10/64 dev eth0", Ipv6Seen((), ())),
)


def test_address_and_default_route_are_seen_as_they_come_and_go(node: Namespace) -> None:
    async def watch() -> None:
        reports: asyncio.Queue[Ipv6Seen] = asyncio.Queue()
        watcher = Ipv6Watcher(reports.put_nowait)
        loop = asyncio.get_running_loop()
        watcher.start(loop)
        try:
            for command, expected in CHANGES:
                process = await asyncio.create_subprocess_exec(*command.replace("ip ", "ip -6 ", 1).split())
                assert await process.wait() == 0
                if expected is not None:
                    assert await asyncio.wait_for(reports.get(), 5 * PATIENCE) == expected
            assert reports.empty()
        finally:
            watcher.close(loop)

    node.run(asyncio.run, watch())


def listening(address: str) -> socket.socket:
    channel = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    channel.bind((address, PORT))
    channel.settimeout(0.2 * PATIENCE)
    return channel


def send(address: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as channel, contextlib.suppress(PermissionError):
        channel.sendto(b"data", (address, PORT))


def reached(node: Namespace, end: Namespace, address: str) -> bool:
    """Whether a datagram of the node gets to a socket at `end`."""
    with end.run(listening, address) as channel:
        node.run(send, address)
        try:
            return channel.recv(64) == b"data"
        except TimeoutError:
            return False


def filtered(node: Namespace, policy: str) -> None:
    text = render("firewall/node-ipv6.nft.j2", {**defaults("mobile_node"), "mobile_node_ipv6": policy})
    node.run(subprocess.run, ["nft", "-f", "-"], input=text, text=True, check=True, timeout=20)


def test_block_refuses_what_leaves_the_link_and_nothing_else(node: Namespace, router: Namespace) -> None:
    node.shell("ip -6 address add 2001:db8::10/64 dev eth0 nodad\nip -6 route add default via 2001:db8::1")
    # A link that has just come up takes a moment.
    assert any(reached(node, router, BEYOND) for _ in range(20))
    filtered(node, "block")
    assert not reached(node, router, BEYOND)
    assert reached(node, node, "::1")
    for policy in ("warn", "allow"):
        filtered(node, policy)
        assert reached(node, router, BEYOND)
        assert "mobileip_node" not in node.shell("nft list tables")
