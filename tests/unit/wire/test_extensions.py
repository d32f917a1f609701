"""How extensions are framed, and which unknown ones may be skipped (RFC 5944 1.8 to 1.11)."""

from __future__ import annotations

import pytest

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import (
    Extension,
    find,
    first_unrecognised,
    parse_extensions,
    read_extensions,
    serialize_extensions,
)


def test_padding_is_one_byte_without_length_R5944_1_8_c() -> None:
    framed = bytes.fromhex("00 8200 0000 830161")
    assert parse_extensions(framed, 0) == (
        Extension(0),
        Extension(130),
        Extension(0),
        Extension(0),
        Extension(131, b"a"),
    )


@pytest.mark.parametrize(
    ("framed", "expected"),
    [
        ("2014 00000100 b220b51747533f524a6cfeb3caa30ccd", (32, 20, None)),  # RFC 5944 3.5
        ("2401 0014 00000100 b220b51747533f524a6cfeb3caa30ccd", (36, 20, 1)),  # RFC 4721 5
        ("2600 0008 0000000900010203", (38, 8, 0)),  # RFC 3115 2.1
        ("2801 0002 abcd", (40, 2, 1)),  # RFC 3957 6
        ("2c06 00000000 0000", (44, 6, None)),  # RFC 3519 3.2
        ("3000 0004 00000001", (48, 4, 0)),  # RFC 6245 5
        ("7f06 0000", (127, 0, 6)),  # RFC 4064 4.1: the draft's layout under 127 would be read so
        ("8606 0000 00000009", (134, 6, None)),  # RFC 3115 2.2
        ("8b01 0004 0a010001", (139, 4, 1)),  # RFC 4433 3.4 by its text
        ("8b05 01 0a010001", (139, 5, None)),  # and as decoders expect it
        ("9006 000080040000", (144, 6, None)),  # RFC 3519 3.1
        ("9a01 0002 0102", (154, 2, 1)),  # RFC 7629 4
        ("ff06 0000 0a010001", (255, 6, None)),  # RFC 4064 4.3
    ],
)
def test_framing_of_each_type(framed: str, expected: tuple[int, int, int | None]) -> None:
    payload = bytes.fromhex(framed)
    (extension,) = parse_extensions(payload, 0)
    assert (extension.type, len(extension.data), extension.subtype) == expected
    assert extension.end == len(payload)
    assert extension.serialize() == payload
    # With a neighbour behind it, and cut at every byte.
    assert [one.type for one in parse_extensions(payload + b"\x82\0", 0)] == [expected[0], 130]
    for length in range(1, len(payload)):
        if payload[:length] == b"\x8b\x01\x00":
            continue  # that is a whole 139 in the short layout
        with pytest.raises(Malformed):
            parse_extensions(payload[:length], 0)


def test_what_can_be_read_before_a_defect_is_returned_with_it() -> None:
    found, defect = read_extensions(bytes.fromhex("8200 8305 61"), 0)
    assert found == (Extension(130),)
    assert str(defect) == "extension 131 at byte 2: expected 5 bytes of data, got 1"


def test_unknown_below_128_stops_the_message_and_from_128_is_skipped_R5944_1_8() -> None:
    silent, skipped, pad = Extension(99, b"x"), Extension(199, b"x"), Extension(0)
    assert first_unrecognised((pad, skipped, Extension(32), silent), frozenset({32})) is silent
    assert first_unrecognised((pad, skipped, Extension(32)), frozenset({32})) is None


def test_data_too_long_for_its_length_field_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="one-byte length holds 255"):
        Extension(131, bytes(256)).serialize()
    assert len(Extension(38, bytes(256), 0).serialize()) == 260


def test_extensions_are_found_in_order_and_written_back() -> None:
    first, second = Extension(131, b"a"), Extension(131, b"b")
    assert find((first, second), 131) is first
    assert find((first, second), 132) is None
    assert serialize_extensions((first, second)) == b"\x83\x01a\x83\x01b"
