"""Keeps every message that the four parties emit while tests run, as captures that other decoders can judge.

RECORD_EMITTED=DIRECTORY turns it on: the state machines' answers are watched, and each party's messages are left in
DIRECTORY/PARTY.pcap as IPv4 packets. The same message is kept once, and of messages built of the same extensions a
few, so that a fuzzer's millions stay a capture.

A message that a party passed on is not of its making: what it received is left in DIRECTORY/relayed/PARTY.pcap, at the
same second as what it sent, so that one can tell whose fault is in it.
"""

from __future__ import annotations

import functools
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mobileip.registration.actions import Action, Advertise, Send, Solicit
from mobileip.registration.events import DatagramReceived
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
_FIXED: dict[int, int] = {MessageType.REQUEST: REQUEST_SIZE, MessageType.REPLY: REPLY_SIZE}
_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 101)  # 101: raw IP


class Recorder:
    """A pytest plugin; one session's messages."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._packets: dict[str, dict[tuple[bytes, bytes | None], None]] = {party: {} for party in PARTIES}
        self._shapes: Counter[tuple[object, ...]] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        for party, machine in PARTIES.items():
            for name in ("feed", "handle_timer"):
                setattr(machine, name, self._watched(party, getattr(machine, name)))

    def pytest_sessionfinish(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for party, packets in self._packets.items():
            write_capture(self._directory / f"{party}.pcap", dict(enumerate(sent for sent, _ in packets)))
            passed_on = {number: received for number, (_, received) in enumerate(packets) if received is not None}
            write_capture(self._directory / "relayed" / f"{party}.pcap", passed_on)

    def _watched(self, party: str, method: Callable[..., list[Action]]) -> Callable[..., list[Action]]:
        @functools.wraps(method)
        def watched(*arguments: Any, **named: Any) -> list[Action]:
            actions = method(*arguments, **named)
            event = next((each for each in arguments if isinstance(each, DatagramReceived)), None)
            for action in actions:
                if isinstance(action, Send | Advertise | Solicit):
                    self._keep(party, action, event)
            return actions

        return watched

    def _keep(self, party: str, action: Send | Advertise | Solicit, event: DatagramReceived | None) -> None:
        shape = (party, type(action), *_shape(action.payload))
        if self._shapes[shape] >= OF_ONE_SHAPE:
            return
        received = None
        if event is not None and is_relayed(event.payload, action.payload):
            ports = (event.source.port, event.destination.port)
            datagram = UdpDatagram(*ports, event.payload).serialize()
            received = IPv4Packet(event.source.address, event.destination.address, IPPROTO_UDP, datagram).serialize()
        packet = (packet_of(action).serialize(), received)
        if packet not in self._packets[party]:
            self._packets[party][packet] = None
            self._shapes[shape] += 1


def is_relayed(received: bytes, sent: bytes) -> bool:
    """Whether a registration message was passed on: its fixed part, the Identification included, is what came in."""
    size = _FIXED.get(received[0]) if received else None
    return size is not None and len(received) >= size and received[:size] == sent[:size]


def packet_of(action: Send | Advertise | Solicit) -> IPv4Packet:
    """The packet that an action puts on the wire."""
    if isinstance(action, Send):
        ports = (action.source.port, action.destination.port)
        datagram = UdpDatagram(*ports, action.payload).serialize()
        return IPv4Packet(action.source.address, action.destination.address, IPPROTO_UDP, datagram)
    if isinstance(action, Advertise):
        return IPv4Packet(action.source, action.destination, IPPROTO_ICMP, action.payload, ttl=1)
    return IPv4Packet(_NOBODY, _ALL_ROUTERS, IPPROTO_ICMP, action.payload, ttl=1)


def write_capture(path: Path, packets: Mapping[int, bytes]) -> None:
    """Writes a pcap file of IPv4 packets, each at its second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as capture:
        capture.write(_PCAP_HEADER)
        for second, packet in packets.items():
            capture.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)


def read_capture(path: Path) -> Iterator[tuple[int, IPv4Packet]]:
    """The packets of a file that `write_capture` made, each with its second."""
    content = path.read_bytes()
    at = len(_PCAP_HEADER)
    while at < len(content):
        second, _, size = struct.unpack_from("<III", content, at)
        yield second, IPv4Packet.parse(content[at + 16 : at + 16 + size])
        at += 16 + size


def _shape(payload: bytes) -> tuple[object, ...]:
    """What messages have in common that differ in addresses and times only."""
    kind = payload[0] if payload else -1
    fixed = _FIXED.get(kind)
    if fixed is None:
        return (kind, len(payload))
    extensions, defect = read_extensions(payload, fixed)
    return (*payload[:2], types_of(extensions), defect is None)
