"""Keeps every message that the four parties emit while tests run, as captures that other decoders can judge.

RECORD_EMITTED=DIRECTORY turns it on: the state machines' answers are watched, and each party's messages are left in
DIRECTORY/PARTY.pcap as IPv4 packets. The same message is kept once, and of messages built of the same extensions a
few, so that a fuzzer's millions stay a capture.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mobileip.registration.actions import Action, Advertise, Send, Solicit
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.mobile_node import MobileNode
from mobileip.registration.proxy import Proxy
from mobileip.wire.encapsulation import IPPROTO_ICMP, IPPROTO_UDP, IPv4Packet, UdpDatagram
from mobileip.wire.extensions import read_extensions
from mobileip.wire.messages import REPLY_SIZE, REQUEST_SIZE, MessageType, types_of

PARTIES: dict[str, type[Any]] = {
    "proxy": Proxy,
    "home_agent": HomeAgent,
    "foreign_agent": ForeignAgent,
    "mobile_node": MobileNode,
}
OF_ONE_SHAPE = 200

_ALL_ROUTERS = IPv4Address("224.0.0.2")
_NOBODY = IPv4Address(0)
_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 101)  # 101: raw IP


class Recorder:
    """A pytest plugin; one session's messages."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._packets: dict[str, dict[bytes, None]] = {party: {} for party in PARTIES}
        self._shapes: Counter[tuple[object, ...]] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        for party, machine in PARTIES.items():
            for name in ("feed", "handle_timer"):
                setattr(machine, name, self._watched(party, getattr(machine, name)))

    def pytest_sessionfinish(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for party, packets in self._packets.items():
            write_capture(self._directory / f"{party}.pcap", list(packets))

    def _watched(self, party: str, method: Callable[..., list[Action]]) -> Callable[..., list[Action]]:
        @functools.wraps(method)
        def watched(*arguments: Any, **named: Any) -> list[Action]:
            actions = method(*arguments, **named)
            for action in actions:
                if isinstance(action, Send | Advertise | Solicit):
                    self._keep(party, action)
            return actions

        return watched

    def _keep(self, party: str, action: Send | Advertise | Solicit) -> None:
        shape = (party, type(action), *_shape(action.payload))
        if self._shapes[shape] >= OF_ONE_SHAPE:
            return
        packet = packet_of(action).serialize()
        if packet not in self._packets[party]:
            self._packets[party][packet] = None
            self._shapes[shape] += 1


def packet_of(action: Send | Advertise | Solicit) -> IPv4Packet:
    """The packet that an action puts on the wire."""
    if isinstance(action, Send):
        ports = (action.source.port, action.destination.port)
        datagram = UdpDatagram(*ports, action.payload).serialize()
        return IPv4Packet(action.source.address, action.destination.address, IPPROTO_UDP, datagram)
    if isinstance(action, Advertise):
        return IPv4Packet(action.source, action.destination, IPPROTO_ICMP, action.payload, ttl=1)
    return IPv4Packet(_NOBODY, _ALL_ROUTERS, IPPROTO_ICMP, action.payload, ttl=1)


def write_capture(path: Path, packets: list[bytes]) -> None:
    """Writes a pcap file of IPv4 packets; number N stands at N seconds."""
    with path.open("wb") as capture:
        capture.write(_PCAP_HEADER)
        for number, packet in enumerate(packets):
            capture.write(struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet)


def read_capture(path: Path) -> Iterator[IPv4Packet]:
    """The packets of a file that `write_capture` made."""
    content = path.read_bytes()
    at = len(_PCAP_HEADER)
    while at < len(content):
        (size,) = struct.unpack_from("<I", content, at + 8)
        yield IPv4Packet.parse(content[at + 16 : at + 16 + size])
        at += 16 + size


def _shape(payload: bytes) -> tuple[object, ...]:
    """What messages have in common that differ in addresses and times only."""
    kind = payload[0] if payload else -1
    fixed = {MessageType.REQUEST: REQUEST_SIZE, MessageType.REPLY: REPLY_SIZE}.get(kind)  # type: ignore[call-overload]
    if fixed is None:
        return (kind, len(payload))
    extensions, defect = read_extensions(payload, fixed)
    return (*payload[:2], types_of(extensions), defect is None)
