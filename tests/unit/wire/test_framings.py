"""The framing of every extension type that a document assigns, as a table written down from the documents."""

from __future__ import annotations

import pytest

from mobileip.wire.extensions import LONG_FORMAT, Extension, ExtensionType, parse_extensions

# One byte of length behind the type, counting what follows it (RFC 5944 1.9).
SIMPLE = {
    32: "RFC 5944 3.5.2",
    33: "RFC 5944 3.5.3",
    34: "RFC 5944 3.5.4",
    44: "RFC 3519 3.2",
    45: "RFC 4636 3",
    46: "RFC 4857 9.1",
    49: "RFC 6521 10",
    129: "RFC 2356",
    130: "RFC 3024 3.3",
    131: "RFC 2794 2",
    132: "RFC 4721 4",
    133: "RFC 3025",
    134: "RFC 3115 2.2",
    137: "RFC 3543 3.2",
    140: "RFC 4857 9",
    141: "RFC 4857 9",
    142: "RFC 4857 9",
    144: "RFC 3519 3.1",
    151: "RFC 5446 3",
}
# The same with a sub-type as the first byte of the data (RFC 5944 1.11).
SHORT = {
    136: "RFC 3846 3",
    138: "RFC 4881 9",
    145: "RFC 4917 3",
    147: "RFC 5563 5",
    148: "RFC 5177",
    149: "RFC 5265 3.4",
    152: "RFC 5454",
    153: "RFC 6521",
    255: "RFC 4064 4.3",
}
# Sub-type, then two bytes of length (RFC 5944 1.10); 154 although it is skippable.
LONG = {
    36: "RFC 4721 5",
    37: "RFC 3025",
    38: "RFC 3115 2.1",
    40: "RFC 3957 6",
    41: "RFC 3957 6",
    42: "RFC 3957 6",
    43: "RFC 3957 6",
    47: "RFC 5563 5.1",
    48: "RFC 6245 5",
    50: "RFC 6521 10",
    127: "RFC 4064 4.1",
    154: "RFC 7629 4",
}
NEXT = b"\x83\x02mn"


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("size", [0, 1, 6, 255])
def test_simple_extensions_have_one_byte_of_length_R5944_1_9_a(kind: int, size: int) -> None:
    framed = bytes((kind, size)) + bytes(range(size))
    assert parse_extensions(framed + NEXT, 0) == (Extension(kind, bytes(range(size))), Extension(131, b"mn"))
    assert Extension(kind, bytes(range(size))).serialize() == framed


@pytest.mark.parametrize("kind", SHORT)
@pytest.mark.parametrize("size", [0, 4, 254])
def test_short_extensions_count_their_sub_type_R5944_1_11_a_and_R3846_3_a(kind: int, size: int) -> None:
    framed = bytes((kind, 1 + size, 9)) + bytes(range(size))
    assert parse_extensions(framed + NEXT, 0) == (Extension(kind, b"\x09" + bytes(range(size))), Extension(131, b"mn"))


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("size", [0, 4, 255, 256, 1000])
def test_long_extensions_have_two_bytes_of_length_R5944_1_10_a(kind: int, size: int) -> None:
    data = bytes(number & 0xFF for number in range(size))
    framed = bytes((kind, 9, size >> 8, size & 0xFF)) + data
    assert parse_extensions(framed + NEXT, 0) == (Extension(kind, data, 9), Extension(131, b"mn"))
    assert Extension(kind, data, 9).serialize() == framed


@pytest.mark.parametrize("subtype", [1, 2])
def test_dynamic_home_agent_is_framed_in_both_layouts_R4433_3_4_a(subtype: int) -> None:
    address = bytes((192, 0, 2, 40))
    by_its_text = bytes((139, subtype, 0, 4)) + address
    as_decoders_expect = bytes((139, 5, subtype)) + address
    assert parse_extensions(by_its_text + NEXT, 0) == (Extension(139, address, subtype), Extension(131, b"mn"))
    assert parse_extensions(as_decoders_expect + NEXT, 0) == (
        Extension(139, bytes((subtype,)) + address),
        Extension(131, b"mn"),
    )


def test_experimental_types_are_long_below_128_and_short_above_R4064_4_1_a() -> None:
    assert parse_extensions(b"\x7f\x06\x00\x00" + NEXT, 0) == (Extension(127, b"", 6), Extension(131, b"mn"))
    assert parse_extensions(b"\xff\x01\x06" + NEXT, 0) == (Extension(255, b"\x06"), Extension(131, b"mn"))


def test_every_type_that_has_a_name_here_is_in_the_table() -> None:
    assert set(LONG) == LONG_FORMAT
    assert {int(kind) for kind in ExtensionType} == {0, 139, 129, *SIMPLE, *SHORT, *LONG} - {129}
