"""Authentication extensions (RFC 5944 3.5, 5.1)."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest

import mobileip
from mobileip.wire.authentication import (
    AUTHENTICATOR_SIZE,
    Algorithm,
    Authentication,
    SecurityAssociation,
    append,
    compute,
    verify,
)
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import parse_request
from tests.unit.wire.vectors import (
    ASSOCIATION,
    KEY,
    REPLY,
    REQUEST,
    REQUEST_MD5_PREFIX_SUFFIX,
    REQUEST_MD5_PREFIX_SUFFIX_RFC2002,
)


def authentication_of(payload: bytes) -> Authentication:
    extension = find(parse_request(payload).extensions, ExtensionType.MN_HA_AUTHENTICATION)
    assert extension is not None
    return Authentication.of(extension)


def test_hmac_md5_gives_the_vectors_R5944_5_1_a() -> None:
    assert append(REQUEST[:32], ASSOCIATION) == REQUEST
    assert append(REPLY[:28], ASSOCIATION) == REPLY
    assert verify(REQUEST, authentication_of(REQUEST), ASSOCIATION)


@pytest.mark.parametrize(
    ("algorithm", "authenticator"),
    [
        (Algorithm.MD5_PREFIX_SUFFIX, REQUEST_MD5_PREFIX_SUFFIX),
        (Algorithm.MD5_PREFIX_SUFFIX_RFC2002, REQUEST_MD5_PREFIX_SUFFIX_RFC2002),
        (Algorithm.HMAC_SHA1, hmac.new(KEY, REQUEST[:32] + bytes.fromhex("201800000100"), hashlib.sha1).digest()),
        (Algorithm.HMAC_SHA256, hmac.new(KEY, REQUEST[:32] + bytes.fromhex("202400000100"), hashlib.sha256).digest()),
    ],
)
def test_other_algorithms_and_both_coverages_R5944_5_1_d_and_R2002_3_5_1_a(
    algorithm: Algorithm, authenticator: bytes
) -> None:
    association = SecurityAssociation(256, KEY, algorithm)
    payload = append(REQUEST[:32], association)
    assert payload[38:] == authenticator
    assert len(authenticator) == AUTHENTICATOR_SIZE[algorithm]
    assert verify(payload, authentication_of(payload), association)
    assert not verify(payload, authentication_of(payload), ASSOCIATION)


@pytest.mark.parametrize("position", range(len(REQUEST)))
def test_one_changed_bit_anywhere_is_noticed_R5944_3_5_1_a(position: int) -> None:
    changed = bytearray(REQUEST)
    changed[position] ^= 0x01
    authentication = Authentication(32, 256, bytes(changed[38:]), start=32)
    assert not verify(bytes(changed), authentication, ASSOCIATION)


def test_bytes_behind_are_not_covered_and_bytes_before_are_R5944_3_5_1_a() -> None:
    assert verify(REQUEST + b"\x82\0", authentication_of(REQUEST + b"\x82\0"), ASSOCIATION)
    padded = REQUEST[:24] + b"\0" + REQUEST[24:]
    assert not verify(padded, authentication_of(padded), ASSOCIATION)


def test_authenticator_of_another_length_or_spi_is_wrong() -> None:
    authentication = authentication_of(REQUEST)
    assert not verify(REQUEST, Authentication(32, 256, authentication.authenticator[:-1], 32), ASSOCIATION)
    assert not verify(REQUEST, authentication, SecurityAssociation(257, KEY))


def test_an_fa_ha_authenticator_covers_the_mn_ha_one_R5944_3_5_4() -> None:
    foreign = SecurityAssociation(300, b"k" * 16)
    payload = append(REQUEST, foreign, ExtensionType.FA_HA_AUTHENTICATION)
    assert payload[54:60] == bytes.fromhex("22140000012c")
    assert payload[60:] == compute(foreign, payload[:60])


@pytest.mark.parametrize("data", [b"", b"\0\0\1\0"])
def test_extension_without_authenticator_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Authentication.of(Extension(32, data))


def test_the_key_is_not_shown() -> None:
    association = SecurityAssociation(256, b"\xab" * 16)
    assert "ab" not in repr(association).replace("SecurityAssociation", "")
    assert "\\xab" not in repr(association)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_key_is_arbitrary_bytes_under_any_spi_with_any_algorithm_R5944_5_1_b_and_R5944_5_1_c(
    algorithm: Algorithm,
) -> None:
    for key in (bytes(16), b"\xff" * 16, bytes(range(256)), b"not a key: \x00\r\n \xc3\x28"):
        for spi in (256, 0x80000000, 0xFFFFFFFF):
            association = SecurityAssociation(spi, key, algorithm)
            payload = append(REQUEST[:32], association)
            assert payload[34:38] == spi.to_bytes(4, "big")
            assert verify(payload, authentication_of(payload), association)
            assert not verify(payload, authentication_of(payload), SecurityAssociation(spi, key[:-1] + b"?", algorithm))


def test_authenticators_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    constant_time = hmac.compare_digest

    def spy(ours: bytes, theirs: bytes) -> bool:
        compared.append((ours, theirs))
        return constant_time(ours, theirs)

    monkeypatch.setattr("mobileip.wire.authentication.hmac.compare_digest", spy)
    right = authentication_of(REQUEST)
    wrong = Authentication(32, 256, bytes(16), right.start)
    assert verify(REQUEST, right, ASSOCIATION)
    assert not verify(REQUEST, wrong, ASSOCIATION)
    assert compared == [(REQUEST[38:], REQUEST[38:]), (REQUEST[38:], bytes(16))]


def test_nothing_else_in_the_program_compares_an_authenticator() -> None:
    sources = Path(mobileip.__file__).parent.rglob("*.py")
    compares = re.compile(r"authenticator\w*\)?\s*[!=]=|[!=]=\s*\w*\.?authenticator")
    assert [file.name for file in sources if compares.search(file.read_text(encoding="utf-8"))] == []


def test_message_that_decodes_the_same_but_has_other_bytes_is_not_authentic_R5944_3_5_1_a() -> None:
    """The reserved byte of a critical vendor extension means nothing, yet it is under the authenticator."""
    vendor = b"\x26\x00\x00\x07\0\0\0\x09\0\x01v"
    payload = append(REQUEST[:24] + vendor, ASSOCIATION)
    other = payload[:25] + b"\x01" + payload[26:]
    assert verify(payload, authentication_of(payload), ASSOCIATION)
    assert not verify(other, authentication_of(other), ASSOCIATION)
