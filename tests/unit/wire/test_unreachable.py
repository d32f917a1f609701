"""ICMP errors about UDP datagrams: what is read of them, and how much may be missing."""

from __future__ import annotations

import logging
from contextlib import nullcontext, suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.wire.encapsulation import checksum
from mobileip.wire.errors import Malformed
from mobileip.wire.unreachable import Unreachable, parse_unreachable, udp_checksum

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.layers.inet import ICMP, IP, UDP  # noqa: E402 - after scapy's warnings are silenced
from scapy.packet import Raw  # noqa: E402 - after scapy's warnings are silenced

PAYLOAD = bytes(range(54))
DATAGRAM = IP(src="192.0.2.10", dst="192.0.2.40") / UDP(sport=20434, dport=434) / Raw(PAYLOAD)
QUOTED = bytes(DATAGRAM)


def icmp(code: int, quoted: bytes, kind: int = 3, length: int = 0) -> bytes:
    """An ICMP error as Scapy builds it."""
    return bytes(ICMP(type=kind, code=code, length=length) / Raw(quoted))


def test_error_names_addresses_ports_checksum_and_what_is_quoted_D_2_6_7_a() -> None:
    assert parse_unreachable(icmp(3, QUOTED)) == Unreachable(
        code=3,
        source=IPv4Address("192.0.2.10"),
        source_port=20434,
        destination=IPv4Address("192.0.2.40"),
        destination_port=434,
        length=62,
        checksum=IP(QUOTED)[UDP].chksum,
        payload=PAYLOAD,
    )


def test_checksum_of_a_datagram_is_the_one_scapy_computes_AMB_14() -> None:
    computed = udp_checksum(IPv4Address("192.0.2.10"), 20434, IPv4Address("192.0.2.40"), 434, PAYLOAD)
    assert computed == IP(QUOTED)[UDP].chksum


@pytest.mark.parametrize("length", range(len(QUOTED)))
def test_quotation_may_end_anywhere_behind_the_udp_header_AMB_14(length: int) -> None:
    with nullcontext() if length >= 28 else pytest.raises(Malformed):
        error = parse_unreachable(icmp(1, QUOTED[:length]))
        assert error is not None
        assert error.payload == PAYLOAD[: length - 28]


def test_extensions_and_padding_behind_the_quotation_are_none_of_it() -> None:
    quoted = QUOTED + bytes(128 - len(QUOTED))  # RFC 4884: padded to 128 bytes, extensions behind
    error = parse_unreachable(icmp(1, quoted + b"\x20\x00\xde\xad" + bytes(8), length=32))
    assert error is not None
    assert error.payload == PAYLOAD


@pytest.mark.parametrize(
    "quoted",
    [
        bytes(IP(src="192.0.2.10", dst="192.0.2.40") / ICMP()),
        bytes(IP(src="192.0.2.10", dst="192.0.2.40", frag=2, proto=17) / Raw(bytes(16))),
    ],
    ids=["another protocol", "a later fragment"],
)
def test_error_about_anything_but_a_udp_header_is_none_of_ours(quoted: bytes) -> None:
    assert parse_unreachable(icmp(1, quoted)) is None


@pytest.mark.parametrize(
    "message",
    [
        icmp(0, QUOTED, kind=11),
        icmp(1, QUOTED)[:-1] + b"\xff",
        icmp(1, b"\x60" + QUOTED[1:]),
        icmp(1, b"\x44" + QUOTED[1:]),
    ],
    ids=["another type", "a wrong checksum", "IPv6", "a short header"],
)
def test_what_is_no_such_error_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        parse_unreachable(message)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_read_or_malformed(data: bytes, right: bool) -> None:
    message = b"\x03\x01\0\0" + data
    if right:
        message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    with suppress(Malformed):
        parse_unreachable(message)
