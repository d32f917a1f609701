"""Drop reasons: numbers are an interface, `bpf/reasons.h` is their only source."""

from __future__ import annotations

import pytest

from mobileip.forwarding.reasons import HEADER, OUTCOMES, REASONS, parse

# Append only: a number that changed its meaning would make an operator's graph lie.
NUMBERS = {
    "truncated": 1,
    "outer_checksum": 3,
    "no_binding": 10,
    "binding_expired": 11,
    "care_of_mismatch": 12,
    "encapsulation_mismatch": 13,
    "port_mismatch": 14,
    "half_bound": 15,
    "home_agent_mismatch": 17,
    "no_sa_at_gateway": 20,
    "too_big": 24,
    "helper_failed": 30,
}


def test_published_numbers_stay() -> None:
    assert {entry.name: entry.number for entry in REASONS if entry.name in NUMBERS} == NUMBERS


def test_every_entry_of_the_header_is_read_and_fits_its_table() -> None:
    text = HEADER.read_text(encoding="utf-8")
    assert len(REASONS) == text.count("\tREASON(")
    assert len(OUTCOMES) == text.count("\tOUTCOME(")
    assert max(entry.number for entry in REASONS) < 64
    assert max(entry.number for entry in OUTCOMES) < 32
    assert all(entry.text for entry in REASONS + OUTCOMES)


def test_a_number_used_twice_is_refused() -> None:
    header = '\tREASON(1, one, "a") \\\n\tREASON(1, two, "b") \\\n'
    with pytest.raises(ValueError, match="used twice"):
        parse(header, "REASON")
