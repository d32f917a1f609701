"""Registration Request and Reply, byte by byte (RFC 5944 3.3, 3.4)."""

from __future__ import annotations

from contextlib import nullcontext
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import LONG_FORMAT, Extension
from mobileip.wire.messages import (
    Flag,
    RegistrationReply,
    RegistrationRequest,
    parse_message,
    parse_reply,
    parse_request,
    read_request,
    types_of,
)
from tests.unit.wire.vectors import CARE_OF, HOME, HOME_AGENT, IDENTIFICATION, MIPP_PUB, REPLY, REQUEST

PARAMETER = Extension(126, b"\0\0" + HOME_AGENT.packed)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
long_types = sorted(LONG_FORMAT)
short_types = [kind for kind in range(1, 256) if kind not in LONG_FORMAT and kind != 139]
extensions = st.one_of(
    st.just(Extension(0)),
    st.builds(Extension, st.sampled_from(short_types), st.binary(max_size=40)),
    st.builds(Extension, st.sampled_from(long_types), st.binary(max_size=300), st.integers(0, 255)),
)
requests = st.builds(
    RegistrationRequest,
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    addresses,
    addresses,
    addresses,
    st.integers(0, 2**64 - 1),
    st.lists(extensions, max_size=6).map(tuple),
)
replies = st.builds(
    RegistrationReply,
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    addresses,
    addresses,
    st.integers(0, 2**64 - 1),
    st.lists(extensions, max_size=6).map(tuple),
)


def test_request_is_read_as_the_vector_says_R5944_3_3_a() -> None:
    assert parse_request(REQUEST) == RegistrationRequest(
        flags=Flag.DECAPSULATES | Flag.REVERSE_TUNNEL,
        lifetime=600,
        home_address=HOME,
        home_agent=MIPP_PUB,
        care_of_address=CARE_OF,
        identification=IDENTIFICATION,
        extensions=(PARAMETER, Extension(32, REQUEST[34:])),
    )


def test_reply_is_read_as_the_vector_says_R5944_3_4_a() -> None:
    expected = RegistrationReply(0, 300, HOME, MIPP_PUB, IDENTIFICATION, (PARAMETER, Extension(32, REPLY[30:])))
    assert parse_reply(REPLY) == expected


def test_received_bytes_are_kept_for_the_authenticator() -> None:
    assert parse_request(REQUEST).raw == REQUEST
    assert parse_reply(REPLY).raw == REPLY


def test_messages_serialize_to_their_vectors_R5944_3_3_a_and_R5944_3_4_a() -> None:
    assert parse_request(REQUEST).serialize() == REQUEST
    assert parse_reply(REPLY).serialize() == REPLY


@pytest.mark.parametrize("length", range(len(REQUEST)))
def test_cut_request_is_malformed_unless_cut_between_extensions(length: int) -> None:
    with nullcontext() if length in (24, 32) else pytest.raises(Malformed):
        assert parse_request(REQUEST[:length]).raw == REQUEST[:length]


@pytest.mark.parametrize("length", range(len(REPLY)))
def test_cut_reply_is_malformed_unless_cut_between_extensions(length: int) -> None:
    with nullcontext() if length in (20, 28) else pytest.raises(Malformed):
        assert parse_reply(REPLY[:length]).raw == REPLY[:length]


@pytest.mark.parametrize("behind", [b"\x83", b"\x83\x05nai", b"\x24\x01\x00", b"\x26\x00\xff\xff1234", b"\x63\x01"])
def test_length_past_the_end_is_malformed_and_what_stood_before_can_be_read_R5944_1_8_d(behind: bytes) -> None:
    request, defect = read_request(REQUEST + behind)
    assert types_of(request.extensions) == (126, 32)
    assert defect is not None
    assert defect.at == len(REQUEST)
    with pytest.raises(Malformed):
        parse_request(REQUEST + behind)
    with pytest.raises(Malformed):
        parse_reply(REPLY + behind)


def test_bytes_behind_that_are_extensions_belong_to_the_message() -> None:
    assert types_of(parse_request(REQUEST + bytes.fromhex("0000820000c70178")).extensions) == (
        126,
        32,
        0,
        0,
        130,
        0,
        199,
    )
    assert types_of(parse_reply(REPLY + bytes.fromhex("2d020044")).extensions) == (126, 32, 45)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x02" + REQUEST[1:], b"\x04\x04\0\0", b"\x07" + REQUEST[1:]])
def test_other_messages_are_malformed_here(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse_message(payload)


def test_flags_are_the_bits_of_the_documents_R5944_3_3_a_and_R3024_3_2_a() -> None:
    names = ("simultaneous", "broadcast", "decapsulates", "minimal", "gre", "reverse_tunnel")
    for flag, name in zip(Flag, names, strict=True):
        request = RegistrationRequest(flag, 0, HOME, HOME_AGENT, CARE_OF, 0)
        assert [other for other in names if getattr(request, other)] == [name]
    assert sum(Flag) == 0xFF & ~(0x04 | 0x01)  # r and x are sent 0 and ignored


def test_deregistration_of_one_and_of_all_R5944_3_6_1_2() -> None:
    one = RegistrationRequest(0, 0, HOME, HOME_AGENT, CARE_OF, 0)
    every = RegistrationRequest(0, 0, HOME, HOME_AGENT, HOME, 0)
    none = RegistrationRequest(0, 1, HOME, HOME_AGENT, HOME, 0)
    assert [(request.deregisters, request.deregisters_all) for request in (one, every, none)] == [
        (True, False),
        (True, True),
        (False, False),
    ]


@given(requests)
def test_any_request_survives_the_wire(request: RegistrationRequest) -> None:
    assert parse_message(request.serialize()) == request


@given(replies)
def test_any_reply_survives_the_wire(reply: RegistrationReply) -> None:
    assert parse_message(reply.serialize()) == reply


@given(st.binary(max_size=120), st.sampled_from([b"", REQUEST[:24], REPLY[:20], REQUEST, REPLY]))
def test_any_bytes_are_read_or_malformed(tail: bytes, head: bytes) -> None:
    try:
        message = parse_message(head + tail)
    except Malformed:
        return
    assert message.raw == head + tail
    assert message.serialize() == message.raw
