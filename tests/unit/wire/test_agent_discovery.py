"""Agent discovery messages against vectors that tshark decodes field by field, and against every cut of them."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mobileip.wire.agent_discovery import (
    AgentAdvertisement,
    AgentFlags,
    RouterAddress,
    agent_rebooted,
    next_sequence,
    parse_advertisement,
    parse_solicitation,
    serialize_solicitation,
)
from mobileip.wire.encapsulation import checksum
from mobileip.wire.errors import Malformed

# Checked with tshark 4.0.17: "Mobility Agent Advertisement Extension", every flag and address named, checksum correct.
ADVERTISEMENT = AgentAdvertisement(
    sequence=300,
    registration_lifetime=1800,
    flags=AgentFlags.REGISTRATION_REQUIRED | AgentFlags.FOREIGN_AGENT | AgentFlags.REVERSE_TUNNELLING,
    care_of_addresses=(IPv4Address("198.51.100.100"),),
    lifetime=3,
    router_addresses=(RouterAddress(IPv4Address("198.51.100.129"), -1),),
    prefix_lengths=(27,),
)
VECTOR = bytes.fromhex(
    "0910c95d01020003"  # router advertisement, code 16, one address of two words, lifetime 3
    "c6336481ffffffff"  # 198.51.100.129, preference -1
    "100a012c07089100c6336464"  # extension 16: sequence 300, 1800 s, R F T, care-of 198.51.100.100
    "13011b"  # extension 19: /27
    "00"  # padding to an even length
)
SOLICITATION_VECTOR = bytes.fromhex("0a00f5ff00000000")


def with_checksum(message: bytes) -> bytes:
    zeroed = message[:2] + b"\0\0" + message[4:]
    return message[:2] + checksum(zeroed).to_bytes(2, "big") + message[4:]


def test_advertisement_is_serialized_as_RFC_5944_2_1_draws_it() -> None:
    assert ADVERTISEMENT.serialize() == VECTOR


def test_advertisement_is_read_back_whole() -> None:
    assert parse_advertisement(VECTOR) == ADVERTISEMENT


def test_every_flag_and_several_care_of_addresses_survive_the_wire() -> None:
    everything = AgentFlags(0xFFE0) & ~AgentFlags.RESERVED
    advertisement = AgentAdvertisement(
        sequence=0,
        registration_lifetime=0xFFFF,
        flags=everything,
        care_of_addresses=(IPv4Address("198.51.100.100"), IPv4Address("198.51.100.101")),
        routes_common_traffic=True,
    )
    assert parse_advertisement(advertisement.serialize()) == advertisement


def test_reserved_bits_are_ignored_on_receipt() -> None:
    message = bytearray(VECTOR)
    message[22] |= 0x02  # r
    message[23] |= 0x1F
    assert parse_advertisement(with_checksum(bytes(message))) == ADVERTISEMENT


def test_plain_router_advertisement_is_no_agents() -> None:
    assert parse_advertisement(with_checksum(bytes.fromhex("0900000001020708c633648100000000"))) is None


def test_router_entries_longer_than_two_words_are_stepped_over_RFC_1256_6_2() -> None:
    long_entry = VECTOR[:5] + b"\x03" + VECTOR[6:16] + b"\xaa" * 4 + VECTOR[16:]
    assert parse_advertisement(with_checksum(long_entry)) == ADVERTISEMENT


def test_unknown_extension_of_128_or_more_is_skipped_RFC_5944_1_8() -> None:
    assert parse_advertisement(with_checksum(VECTOR + bytes.fromhex("c80312345600"))) == ADVERTISEMENT


def test_unknown_extension_below_128_voids_the_message_RFC_5944_1_8() -> None:
    with pytest.raises(Malformed, match="extension 99"):
        parse_advertisement(with_checksum(VECTOR + bytes.fromhex("63021234")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: m[:1] + b"\x05" + m[2:], "code"),
        (lambda m: b"\x08" + m[1:], "type"),
        (lambda m: m[:5] + b"\x01" + m[6:], "entry size"),
        (lambda m: m[:17] + b"\x09" + m[18:], "mobility agent extension|extension"),
        (lambda m: m[:22] + b"\x01" + m[23:], "flag F or H"),
        (lambda m: m[:22] + b"\xa1" + m[23:], "B or R"),
        (lambda m: m + m[16:28], "extension 16"),
        (lambda m: m[:30] + b"\x21" + m[31:], "prefix lengths of 32"),
        (lambda m: m[:16] + bytes.fromhex("1006012c07081000") + m[28:], "care-of address"),
    ],
)
def test_contradictory_advertisement_is_malformed(change: Callable[[bytes], bytes], field: str) -> None:
    with pytest.raises(Malformed, match=field):
        parse_advertisement(with_checksum(change(VECTOR)))


# Extension 24 with 8 bytes, extension 136 of sub-type 3, behind the vector's prefix lengths.
TRUSTED = replace(ADVERTISEMENT, challenge=bytes(range(8)), nai=b"fa@example.org")
TRUSTED_VECTOR = with_checksum(
    VECTOR[:-1] + bytes.fromhex("18080001020304050607") + bytes.fromhex("880f03") + b"fa@example.org"
)


def test_challenge_and_nai_are_serialized_as_R4721_2_a_and_D_5_7_2_a_draw_them() -> None:
    assert TRUSTED.serialize() == TRUSTED_VECTOR
    assert parse_advertisement(TRUSTED_VECTOR) == TRUSTED


def test_nai_is_read_plain_as_well_and_among_others() -> None:
    plain = with_checksum(VECTOR[:-1] + b"\x83\x05fa@ex\0")
    assert parse_advertisement(plain) == replace(ADVERTISEMENT, nai=b"fa@ex")
    gateway_first = with_checksum(VECTOR[:-1] + b"\x88\x03\x04gw" + b"\x88\x03\x03fa\0")
    assert parse_advertisement(gateway_first) == replace(ADVERTISEMENT, nai=b"fa")
    nobody = with_checksum(VECTOR[:-1] + b"\x88\x01\x03" + b"\x83\x00")
    assert parse_advertisement(nobody) == ADVERTISEMENT


@pytest.mark.parametrize("extension", ["1800", "180401020304" * 2], ids=["empty", "two"])
def test_challenge_that_is_none_is_malformed_R4721_2_a(extension: str) -> None:
    with pytest.raises(Malformed):
        parse_advertisement(with_checksum(VECTOR[:-1] + bytes.fromhex(extension)))


def test_wrong_checksum_is_malformed() -> None:
    with pytest.raises(Malformed, match="checksum"):
        parse_advertisement(VECTOR[:-2] + b"\x01\x00")


# At 16 a plain router advertisement is left, at 28 and 31 whole messages without what was cut off.
@pytest.mark.parametrize("length", sorted(set(range(len(VECTOR))) - {16, 28, 31}))
def test_cut_advertisement_is_malformed_unless_cut_between_extensions(length: int) -> None:
    cut = VECTOR[:length]
    with pytest.raises(Malformed):
        parse_advertisement(with_checksum(cut) if length >= 8 else cut)


def test_solicitation_is_a_router_solicitation_RFC_5944_2_2() -> None:
    assert serialize_solicitation() == SOLICITATION_VECTOR
    parse_solicitation(SOLICITATION_VECTOR)


@pytest.mark.parametrize("message", [b"", SOLICITATION_VECTOR[:7], VECTOR, bytes.fromhex("0a01f5fe00000000")])
def test_other_messages_are_no_solicitation(message: bytes) -> None:
    with pytest.raises(Malformed):
        parse_solicitation(message)


def test_random_bytes_raise_malformed_and_nothing_else() -> None:
    source = random.Random(5944)
    for _ in range(5000):
        message = bytearray(VECTOR + source.randbytes(source.randrange(12)))
        for _ in range(source.randrange(1, 4)):
            message[source.randrange(len(message))] = source.randrange(256)
        try:
            parse_advertisement(with_checksum(bytes(message)))
        except Malformed:
            continue


def test_unsendable_advertisement_is_our_mistake() -> None:
    nameless = AgentAdvertisement(0, 1800, AgentFlags.FOREIGN_AGENT, care_of_addresses=())
    with pytest.raises(ValueError, match="care-of address"):
        nameless.serialize()


def test_sequence_starts_at_zero_and_rolls_over_to_256_RFC_5944_2_3_2() -> None:
    assert [next_sequence(previous) for previous in (None, 0, 255, 0xFFFE, 0xFFFF)] == [0, 1, 256, 0xFFFF, 256]


@pytest.mark.parametrize(
    ("previous", "current", "rebooted"),
    [(300, 301, False), (300, 0, True), (300, 255, True), (0xFFFF, 256, False), (7, 8, False), (7, 7, False)],
)
def test_smaller_number_below_256_says_the_agent_rebooted_RFC_5944_2_3_2(
    previous: int, current: int, rebooted: bool
) -> None:
    assert agent_rebooted(previous, current) is rebooted


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is the oracle")
def test_tshark_reads_what_we_wrote(tmp_path: Path) -> None:
    total = 20 + len(VECTOR)
    header = bytes.fromhex("4500") + total.to_bytes(2, "big") + bytes.fromhex("0000000001010000c6336481e0000001")
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    packet = header + VECTOR
    capture = tmp_path / "advertisement.pcap"
    capture.write_bytes(  # classic pcap, link type 101 = raw IP
        bytes.fromhex("d4c3b2a1020004000000000000000000ffff000065000000")
        + bytes(8)
        + len(packet).to_bytes(4, "little") * 2
        + packet
    )
    # `icmp.mip.*` as tshark 4.0 names them.
    names = ["icmp.mip.seq", "icmp.mip.life", "icmp.mip.r", "icmp.mip.f", "icmp.mip.b", "icmp.mip.coa"]
    names += ["icmp.mip.prefixlength", "icmp.checksum.status"]
    arguments = [argument for name in names for argument in ("-e", name)]
    decoded = subprocess.run(
        ["tshark", "-r", str(capture), "-T", "fields", *arguments], capture_output=True, text=True, check=True
    )
    assert decoded.stdout.strip().split("\t") == ["300", "1800", "1", "1", "0", "198.51.100.100", "27", "1"]
