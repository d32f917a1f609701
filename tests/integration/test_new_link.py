"""What the node asks of the kernel on a link that it has just come to."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mobileip.runtime.arp import Announcer, announcement
from mobileip.runtime.rtnetlink import ArpRepetition, Rtnetlink
from tests.forwarding.conftest import Namespace

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

HOME, ROUTER = IPv4Address("192.0.2.69"), IPv4Address("198.51.100.1")
MAC = bytes.fromhex("020000000007")
ETHERTYPE_ARP = 0x0806


@pytest.fixture
def node() -> Iterator[Namespace]:
    """A node whose link `eth0` ends in `far`, where nobody answers ARP."""
    made = Namespace()
    made.shell(
        """
        ip link add eth0 address 02:00:00:00:00:07 type veth peer name far
        ip link set far arp off up
        ip link set eth0 up
        ip address add 198.51.100.10/24 dev eth0
        """
    )
    yield made
    made.close()


def listen() -> socket.socket:
    """Where the frames of the node arrive."""
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    channel.bind(("far", ETHERTYPE_ARP))
    channel.settimeout(0.5)
    return channel


def arrived(channel: socket.socket) -> list[bytes]:
    """The ARP frames so far, in order."""
    frames: list[bytes] = []
    channel.setblocking(False)
    while True:
        try:
            frame, (_, _, kind, *_) = channel.recvfrom(2048)
        except BlockingIOError:
            return frames
        if kind != socket.PACKET_OUTGOING:
            frames.append(frame)


def packet_sockets() -> int:
    return len(Path("/proc/thread-self/net/packet").read_text(encoding="ascii").splitlines()) - 1


def test_announcements_leave_from_one_socket_that_stays_open(node: Namespace) -> None:
    def announce() -> None:
        with listen() as channel:
            before = packet_sockets()
            announcer = Announcer()
            try:
                for _ in range(2):
                    announcer.announce("eth0", HOME)
                assert packet_sockets() == before + 1
            finally:
                announcer.close()
            assert arrived(channel) == [announcement(kind, MAC, MAC, HOME) for kind in (1, 2, 1, 2)]

    node.run(announce)


def test_a_carrier_that_is_not_in_operation_yet_is_no_link(node: Namespace) -> None:
    def running() -> bool:
        kernel = Rtnetlink()
        try:
            link = kernel.link("eth0")
            assert link is not None
            return link.running
        finally:
            kernel.close()

    def until(expected: bool) -> None:
        deadline = time.monotonic() + 5
        while running() is not expected:
            assert time.monotonic() < deadline, f"running is not {expected}"
            time.sleep(0.02)

    node.run(until, True)
    node.shell("ip link set eth0 down\nip link set eth0 mode dormant\nip link set eth0 up")  # as before 802.1X is done
    assert "LOWER_UP" in node.shell("ip link show eth0")
    node.run(until, False)
    node.shell("ip link set eth0 state up")
    node.run(until, True)


def test_an_unanswered_question_for_the_router_is_asked_again_at_once_and_often(node: Namespace) -> None:
    def ask() -> None:
        kernel = Rtnetlink()
        with listen() as channel, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            kernel.repeat_arp("eth0", ArpRepetition(milliseconds=100, times=30))
            client.sendto(b"", (str(ROUTER), 9))
            assert len(arrived(channel)) == 1
            kernel.ask_again("eth0", ROUTER)
            client.sendto(b"", (str(ROUTER), 9))
            assert len(arrived(channel)) == 1, "it waits for no timer"
            time.sleep(0.7)
            assert len(arrived(channel)) >= 2, "and the kernel repeats it sooner than after a second"
        kernel.close()

    node.run(ask)
