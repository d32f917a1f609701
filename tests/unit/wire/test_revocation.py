"""Registration revocation on the wire (RFC 3543): sizes, fields, flags."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, read_extensions
from mobileip.wire.revocation import (
    Revocation,
    RevocationAcknowledgement,
    RevocationSupport,
    is_later,
    parse_acknowledgement,
    parse_revocation,
)

HOME, AGENT, CARE_OF = IPv4Address("192.0.2.69"), IPv4Address("192.0.2.40"), IPv4Address("198.51.100.10")
# By hand from RFC 3543 3.2, 3.3 and 3.4.
SUPPORT = bytes.fromhex("890680006553f100")
MESSAGE = bytes.fromhex("0700c000c0000245c0000228c633640a6553f101")
ANSWER = bytes.fromhex("0f008000c00002456553f101")
IDENTIFIER = 0x6553F101


def test_support_extension_is_137_with_flag_and_timestamp_R3543_3_2_a() -> None:
    assert RevocationSupport(0x6553F100, inform=True).extension().serialize() == SUPPORT
    (extension,), defect = read_extensions(SUPPORT, 0)
    assert defect is None
    assert RevocationSupport.of(extension) == RevocationSupport(0x6553F100, inform=True)
    assert RevocationSupport(1).extension().serialize() == bytes.fromhex("8906000000000001")


def test_reserved_bits_of_the_extension_are_ignored_R3543_3_2_a() -> None:
    assert RevocationSupport.of(Extension(137, bytes.fromhex("7fff00000001"))) == RevocationSupport(1)


@pytest.mark.parametrize("length", [0, 5, 7])
def test_support_extension_of_another_length_is_malformed_R3543_3_2_a(length: int) -> None:
    with pytest.raises(Malformed):
        RevocationSupport.of(Extension(137, bytes(length)))


def test_revocation_is_type_7_of_20_bytes_R3543_3_3_b() -> None:
    message = Revocation(HOME, AGENT, CARE_OF, IDENTIFIER, by_home_agent=True, inform=True)
    assert message.serialize() == MESSAGE
    assert len(MESSAGE) == 20
    assert parse_revocation(MESSAGE) == message


@pytest.mark.parametrize(
    ("flags", "by_home_agent", "inform"), [(0x80, True, False), (0x40, False, True), (0x3F, False, False)]
)
def test_flags_of_a_revocation_R3543_3_3_b(flags: int, by_home_agent: bool, inform: bool) -> None:
    message = parse_revocation(MESSAGE[:2] + bytes((flags, 0xFF)) + MESSAGE[4:])
    assert (message.by_home_agent, message.inform) == (by_home_agent, inform)


def test_acknowledgement_is_type_15_of_12_bytes_R3543_3_4_a() -> None:
    message = RevocationAcknowledgement(HOME, IDENTIFIER, inform=True)
    assert message.serialize() == ANSWER
    assert len(ANSWER) == 12
    assert parse_acknowledgement(ANSWER) == message


@pytest.mark.parametrize("length", range(21))
def test_cut_revocation_is_malformed_R3543_3_3_b(length: int) -> None:
    with nullcontext() if length == 20 else pytest.raises(Malformed):
        parse_revocation(MESSAGE[:length])


@pytest.mark.parametrize("length", range(13))
def test_cut_acknowledgement_is_malformed_R3543_3_4_a(length: int) -> None:
    with nullcontext() if length == 12 else pytest.raises(Malformed):
        parse_acknowledgement(ANSWER[:length])


def test_extensions_follow_and_what_was_received_is_kept_R3543_3_3_c() -> None:
    payload = MESSAGE + SUPPORT
    message = parse_revocation(payload)
    assert [extension.type for extension in message.extensions] == [137]
    assert message.raw == payload
    with pytest.raises(Malformed):
        parse_revocation(MESSAGE + b"\x20\x14")
    with pytest.raises(Malformed):
        parse_acknowledgement(ANSWER + b"\x20\x14")


def test_timestamps_compare_across_the_roll_over_R3543_3_3_c() -> None:
    assert is_later(1, 0)
    assert not is_later(5, 5)
    assert not is_later(4, 5)
    assert is_later(3, 0xFFFF_FFFE)
    assert not is_later(0xFFFF_FFFE, 3)


@given(st.sampled_from([b"\x07", b"\x0f", b""]), st.binary(max_size=60))
def test_any_bytes_are_read_or_malformed(kind: bytes, data: bytes) -> None:
    for parse in (parse_revocation, parse_acknowledgement):
        with suppress(Malformed):
            parse(kind + data)
