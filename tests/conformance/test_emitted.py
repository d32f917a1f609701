"""Every message that a party emitted in a test is read by decoders that are not ours: tshark, and Scapy's fixed part.

The captures below build/emitted are left by the steps that run the machines; without one, the machines' own tests
are run here to make it. Of what a party passed on as it came, only what the same decoder reads well on its way in says
anything about the party: tests feed it random bytes, and it must not touch what others have authenticated.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.mobileip import MobileIP

from mobileip.wire.encapsulation import IPPROTO_UDP, IPv4Packet, UdpDatagram
from mobileip.wire.extensions import LONG_FORMAT, ExtensionType, read_extensions, serialize_extensions
from mobileip.wire.messages import REPLY_SIZE, REQUEST_SIZE, MessageType, parse_reply, parse_request
from tests.checks.step import CHECKOUT
from tests.recording import PARTIES, is_relayed, read_capture, write_capture

EMITTED = CHECKOUT / "build" / "emitted"

# What tshark is known to get wrong, by name, and the extensions that lead it there.
DECODER_FAULTS: dict[str, frozenset[int]] = {
    "padding is read as an extension with a length": frozenset({ExtensionType.PAD}),
    "the long layout is read as the simple one": LONG_FORMAT - {36, 37, 38, 47},
    "the layout of RFC 4433 is read as the short one": frozenset({ExtensionType.DYNAMIC_HOME_AGENT}),
}
_FAULTY = frozenset[int]().union(*DECODER_FAULTS.values())

# How many different messages there must be for this to prove anything: of each party, by type and code.
LEAST: dict[tuple[str, int, int | None], int] = {
    ("proxy", 1, None): 100,
    **{("proxy", 3, code): 1 for code in (0, 1, 128, 129, 130, 131, 133, 134, 136, 138, 142, 200, 201, 202, 206)},
    **{("home_agent", 3, code): 1 for code in (0, 1, 129, 131, 132, 133, 134, 135, 136, 137, 138, 139)},
    ("foreign_agent", 1, None): 50,
    **{("foreign_agent", 3, code): 1 for code in (0, 66, 69, 70, 71, 72, 74, 75, 76, 77, 78, 79, 194)},
    ("mobile_node", 1, None): 100,
    ("mobile_node", 4, None): 10,
}


@dataclass(frozen=True)
class Emitted:
    """A packet that a party emitted, and the fields that tshark saw in it.

    `spoilt`: it was passed on, and tshark found it malformed when it came in.
    """

    party: str
    packet: IPv4Packet
    theirs: dict[str, str]
    relayed: bool = False
    spoilt: bool = False

    @property
    def payload(self) -> bytes:
        """What is in the UDP datagram; nothing for other protocols."""
        return UdpDatagram.parse(self.packet.payload).payload if self.packet.protocol == IPPROTO_UDP else b""

    @property
    def kind(self) -> tuple[str, int, int | None]:
        """Party, message type, and code of a reply."""
        code = self.payload[1] if self.payload[:1] == b"\x03" else None
        return self.party, self.payload[0], code


FIELDS = (
    *("_ws.malformed", "mip.type", "mip.flags", "mip.code", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.coa"),
    *("mip.ext.type", "mip.auth.spi", "icmp.type", "icmp.checksum.status"),
)


def _tshark(capture: Path) -> list[dict[str, str]]:
    command = ["tshark", "-r", str(capture), "-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "occurrence=a"]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]


def _captures() -> list[Path]:
    """The captures of every step that ran since the sources changed: what is older says nothing about these."""
    unit = EMITTED / "unit"
    sources = [*(CHECKOUT / "roles/agent/files/mobileip/src").rglob("*.py"), *(CHECKOUT / "tests/unit").rglob("*.py")]
    newest = max(path.stat().st_mtime for path in [*sources, CHECKOUT / "tests/recording.py"])

    def recent(directory: Path) -> list[Path]:
        made = sorted(directory.glob("*.pcap"))
        return made if len(made) == len(PARTIES) and min(path.stat().st_mtime for path in made) >= newest else []

    if not recent(unit):
        command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/unit/registration"]
        environment = {**os.environ, "RECORD_EMITTED": str(unit)}
        subprocess.run(command, check=True, cwd=CHECKOUT, env=environment, capture_output=True, timeout=300)
    return [capture for directory in sorted(EMITTED.glob("*/")) for capture in recent(directory)]


@pytest.fixture(scope="module")
def emitted() -> list[Emitted]:
    """All that any party emitted in any test that left a capture."""
    return [message for capture in _captures() for message in _emitted_in(capture)]


def _emitted_in(capture: Path) -> Iterator[Emitted]:
    """The messages of one capture, and what is known of those that were passed on."""
    received = _decoded(capture.parent / "relayed" / capture.name)
    for number, (packet, seen) in _decoded(capture).items():
        came_in = received.get(number)
        spoilt = came_in is not None and bool(came_in[1]["_ws.malformed"])
        yield Emitted(capture.stem, packet, seen, came_in is not None, spoilt)


def _decoded(capture: Path) -> dict[int, tuple[IPv4Packet, dict[str, str]]]:
    """By its second each packet of a capture, and what tshark sees in it."""
    packets, seen = list(read_capture(capture)), _tshark(capture)
    assert len(packets) == len(seen), f"tshark reads {len(seen)} of {len(packets)} packets in {capture}"
    return {second: (packet, fields) for (second, packet), fields in zip(packets, seen, strict=True)}


def _extensions_of(payload: bytes) -> tuple[int, ...]:
    start = REQUEST_SIZE if payload[0] == MessageType.REQUEST else REPLY_SIZE
    extensions, defect = read_extensions(payload, start)
    assert defect is None, f"{payload.hex()}: {defect}"
    return tuple(extension.type for extension in extensions)


def _is_registration(message: Emitted) -> bool:
    return message.payload[:1] in (b"\x01", b"\x03")


def test_there_are_messages_of_every_party_type_and_code(emitted: list[Emitted]) -> None:
    counted = Counter(message.kind for message in emitted if message.payload)
    wanting = {kind: counted[kind] for kind, least in LEAST.items() if counted[kind] < least}
    assert wanting == {}
    intact = Counter((message.kind[:2], message.spoilt) for message in emitted if message.relayed)
    assert all(intact[("foreign_agent", kind), False] >= 20 for kind in (1, 3)), intact
    assert {party for (party, _), _ in intact} == {"foreign_agent"}, "nobody else passes on what it received"
    assert sum(message.theirs["icmp.type"] == "9" for message in emitted) >= 10, "agent advertisements"
    assert sum(message.theirs["icmp.type"] == "10" for message in emitted) >= 1, "agent solicitations"


def test_tshark_finds_none_malformed_but_for_its_known_faults(emitted: list[Emitted], tmp_path: Path) -> None:
    malformed = [message for message in emitted if message.theirs["_ws.malformed"] and not message.spoilt]
    unexplained = [message for message in malformed if not _FAULTY & set(_extensions_of(message.payload))]
    assert [(message.party, message.payload.hex()) for message in unexplained] == []
    # The fault is in reading these extensions and nothing else: without them the same messages are well formed.
    spared = [_without_faulty(message) for message in malformed]
    write_capture(tmp_path / "spared.pcap", dict(enumerate(packet.serialize() for packet in spared)))
    assert [row["_ws.malformed"] for row in _tshark(tmp_path / "spared.pcap")] == [""] * len(spared)


def test_a_fault_that_is_not_in_the_table_is_seen(tmp_path: Path) -> None:
    payload = bytes.fromhex("0300012c0a010005cb00710ae8754e0012345678") + b"\x20\xff\x00\x00"
    packet = IPv4Packet.parse(bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=17, id=1) / _datagram(payload)))
    write_capture(tmp_path / "cut.pcap", {0: packet.serialize()})
    assert _tshark(tmp_path / "cut.pcap")[0]["_ws.malformed"] != ""


def test_what_was_malformed_when_it_came_in_is_told_from_what_a_party_made_so(tmp_path: Path) -> None:
    fixed = bytes.fromhex("0100012cc0000245c0000228c633640a") + bytes(8)
    authentication = b"\x20\x14" + (2001).to_bytes(4) + bytes(16)
    # Extension 33 without anything in it: not for a relay to mend, and nothing that one may make.
    sound, odd = fixed + authentication, fixed + b"\x21\0" + authentication
    ends = IPv4Address("198.51.100.10"), IPv4Address("203.0.113.10")
    packets = {each: IPv4Packet(*ends, IPPROTO_UDP, _datagram(each)).serialize() for each in (sound, odd)}
    emitted = tmp_path / "foreign_agent.pcap"
    write_capture(emitted, {0: packets[sound], 1: packets[odd], 2: packets[odd], 3: packets[odd]})
    write_capture(tmp_path / "relayed/foreign_agent.pcap", {0: packets[sound], 1: packets[odd], 2: packets[sound]})
    seen = [(each.relayed, each.spoilt, bool(each.theirs["_ws.malformed"])) for each in _emitted_in(emitted)]
    assert seen == [(True, False, False), (True, True, True), (True, False, True), (False, False, True)]
    assert is_relayed(odd, sound)
    assert not is_relayed(odd, odd[:23] + b"\x01" + odd[24:])


def test_fixed_parts_read_the_same_by_tshark_scapy_and_ourselves(emitted: list[Emitted]) -> None:
    readers: dict[int, Callable[[Emitted], None]] = {1: _compare_request, 3: _compare_reply}
    compared = Counter[int]()
    for message in emitted:
        if _is_registration(message):
            readers[message.payload[0]](message)
            compared[message.payload[0]] += 1
    assert compared[1] > 200
    assert compared[3] > 200


def test_tshark_walks_the_extensions_as_we_do(emitted: list[Emitted]) -> None:
    walked = Counter[int]()
    for message in filter(_is_registration, emitted):
        if message.spoilt:
            continue
        ours = _extensions_of(message.payload)
        if not _FAULTY & set(ours):
            assert message.theirs["mip.ext.type"] == ",".join(map(str, ours)), message.payload.hex()
            walked.update(ours)
    # What the parties make themselves.
    assert {32, 34, 44, 126, 131, 144, 145} <= set(walked), walked


def test_advertisements_and_solicitations_have_a_right_checksum(emitted: list[Emitted]) -> None:
    states = [message.theirs["icmp.checksum.status"] for message in emitted if message.theirs["mip.type"] == ""]
    assert set(states) == {"1"}


def _compare_request(message: Emitted) -> None:
    ours = parse_request(message.payload)
    scapy = MobileIP(message.payload)
    fixed = (ours.flags, ours.lifetime, str(ours.home_address), str(ours.home_agent), str(ours.care_of_address))
    assert (scapy.flags, scapy.lifetime, scapy.homeaddr, scapy.haaddr, scapy.coaddr) == fixed
    assert scapy.id == ours.identification
    seen = message.theirs
    addresses = (seen["mip.homeaddr"], seen["mip.haaddr"], seen["mip.coa"])
    assert (int(seen["mip.flags"], 0), int(seen["mip.life"]), *addresses) == fixed


def _compare_reply(message: Emitted) -> None:
    ours = parse_reply(message.payload)
    scapy = MobileIP(message.payload)
    fixed = (ours.code, ours.lifetime, str(ours.home_address), str(ours.home_agent))
    assert (scapy.code, scapy.lifetime, scapy.homeaddr, scapy.haaddr) == fixed
    assert scapy.id == ours.identification
    seen = message.theirs
    assert (int(seen["mip.code"]), int(seen["mip.life"]), seen["mip.homeaddr"], seen["mip.haaddr"]) == fixed


def _without_faulty(message: Emitted) -> IPv4Packet:
    start = REQUEST_SIZE if message.payload[0] == MessageType.REQUEST else REPLY_SIZE
    extensions, _ = read_extensions(message.payload, start)
    kept = serialize_extensions(extension for extension in extensions if extension.type not in _FAULTY)
    datagram = _datagram(message.payload[:start] + kept)
    return IPv4Packet(message.packet.source, message.packet.destination, IPPROTO_UDP, datagram)


def _datagram(payload: bytes) -> bytes:
    return UdpDatagram(434, 434, payload).serialize()
