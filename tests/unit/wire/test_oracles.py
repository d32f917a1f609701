"""Decoders that are not ours read what we write: tshark for messages and extensions, Scapy for the fixed parts."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.mobileip import MobileIP
from scapy.utils import wrpcap

from mobileip.wire.authentication import Algorithm, SecurityAssociation, append
from mobileip.wire.encapsulation import IPPROTO_ESP, IPPROTO_MINIMAL, IPv4Packet, MinimalForwarding, keepalive
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest
from mobileip.wire.typed_extensions import (
    ENCAPSULATING_DELIVERY,
    TRUSTED_NETWORKS,
    HomeAgentParameter,
    MessageString,
    Nai,
    UdpTunnelReply,
    UdpTunnelRequest,
)
from tests.unit.wire.vectors import ASSOCIATION, CARE_OF, HOME, HOME_AGENT, IDENTIFICATION, MIPP_PUB

FA_HA = SecurityAssociation(300, b"f" * 16, Algorithm.HMAC_SHA256)


def request() -> bytes:
    """A request with everything in it that a node and a foreign agent may send, in RFC 5944 3.6.1.3's order."""
    message = RegistrationRequest(
        Flag.SIMULTANEOUS | Flag.BROADCAST | Flag.REVERSE_TUNNEL,
        600,
        HOME,
        MIPP_PUB,
        CARE_OF,
        IDENTIFICATION,
        (
            Nai(b"mn@example.org").extension(),
            HomeAgentParameter(HOME_AGENT).extension(),
            UdpTunnelRequest().extension(),
            Extension(ExtensionType.NORMAL_VENDOR, bytes.fromhex("0000000000090001ff")),
        ),
    )
    payload = append(message.serialize(), ASSOCIATION) + ENCAPSULATING_DELIVERY.serialize()
    payload = append(payload, ASSOCIATION, ExtensionType.MN_FA_AUTHENTICATION)
    return append(payload, FA_HA, ExtensionType.FA_HA_AUTHENTICATION)


def reply() -> bytes:
    """A reply with everything in it that a proxy may send."""
    message = RegistrationReply(
        206,
        60,
        HOME,
        MIPP_PUB,
        IDENTIFICATION,
        (
            HomeAgentParameter(HOME_AGENT).extension(),
            UdpTunnelReply(0, True, 110).extension(),
            TRUSTED_NETWORKS,
            MessageString("inside").extension(),
        ),
    )
    return append(message.serialize(), ASSOCIATION)


def tshark(directory: Path, *payloads: bytes, fields: tuple[str, ...]) -> list[list[str]]:
    """One row of `fields` for each payload; all values of a field joined by commas."""
    capture = directory / "messages.pcap"
    frames = [IP(src=str(CARE_OF), dst=str(MIPP_PUB)) / UDP(sport=434, dport=434) / payload for payload in payloads]
    wrpcap(str(capture), frames)
    command = ["tshark", "-r", str(capture), "-T", "fields", "-E", "occurrence=a"]
    for field in ("_ws.malformed", *fields):
        command += ["-e", field]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == [""] * len(payloads), "tshark marks a message malformed"
    return [row[1:] for row in rows]


def test_tshark_reads_what_we_wrote(tmp_path: Path) -> None:
    fields = (
        "mip.type",
        "mip.life",
        "mip.homeaddr",
        "mip.haaddr",
        "mip.coa",
        "mip.code",
        "mip.ext.type",
        "mip.auth.spi",
    )
    rows = tshark(tmp_path, request(), reply(), keepalive(HOME, MIPP_PUB, 1, 1), fields=fields)
    assert rows[0] == [
        "1",
        "600",
        str(HOME),
        str(MIPP_PUB),
        str(CARE_OF),
        "",
        "131,126,144,134,32,130,33,34",
        "0x00000100,0x00000100,0x0000012c",
    ]
    assert rows[1] == ["3", "60", str(HOME), str(MIPP_PUB), "", "206", "126,44,149,145,32", "0x00000100"]
    assert rows[2][0] == "4"


def test_tshark_sees_the_bits_that_we_set_R5944_3_3_a_and_R3024_3_2_a(tmp_path: Path) -> None:
    names = ("mip.s", "mip.b", "mip.d", "mip.m", "mip.g", "mip.t")
    messages = [RegistrationRequest(flag, 1, HOME, MIPP_PUB, CARE_OF, 0).serialize() for flag in Flag]
    rows = tshark(tmp_path, *messages, fields=names)
    for position, row in enumerate(rows):
        assert [value in ("1", "True") for value in row] == [index == position for index in range(6)]


def test_scapy_reads_the_fixed_parts() -> None:
    theirs = MobileIP(request())
    assert theirs.type == 1
    assert (theirs.flags, theirs.lifetime, theirs.homeaddr, theirs.haaddr, theirs.coaddr) == (
        0xC2,
        600,
        str(HOME),
        str(MIPP_PUB),
        str(CARE_OF),
    )
    assert theirs.id == IDENTIFICATION
    theirs = MobileIP(reply())
    assert (theirs.type, theirs.code, theirs.lifetime) == (3, 206, 60)
    inner = MobileIP(keepalive(HOME, MIPP_PUB, 1, 1))[IP]
    assert (IPv4Address(inner.src), IPv4Address(inner.dst)) == (HOME, MIPP_PUB)


def test_tcpdump_reads_minimal_encapsulation_R2004_3_a(tmp_path: Path) -> None:
    gateway = IPv4Address("203.0.113.20")
    with_source = MinimalForwarding(IPPROTO_ESP, gateway, HOME, b"x" * 24).serialize()
    without = MinimalForwarding(IPPROTO_ESP, gateway, None, b"x" * 24).serialize()
    spoilt = with_source[:2] + b"\0\0" + with_source[4:]
    packets = [IPv4Packet(CARE_OF, MIPP_PUB, IPPROTO_MINIMAL, data) for data in (with_source, without, spoilt)]
    wrpcap(str(tmp_path / "minimal.pcap"), [IP(packet.serialize()) for packet in packets])
    command = ["tcpdump", "-nn", "-t", "-v", "-r", str(tmp_path / "minimal.pcap")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert [line.strip() for line in said[1::2]] == [
        f"{CARE_OF} > {MIPP_PUB}: mobile: [S] {HOME} > {gateway} (oproto=50)",
        f"{CARE_OF} > {MIPP_PUB}: mobile: [] > {gateway} (oproto=50)",
        f"{CARE_OF} > {MIPP_PUB}: mobile: [S] {HOME} > {gateway} (oproto=50) (bad checksum 0)",
    ]
