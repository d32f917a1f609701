"""Timestamps (RFC 5944 5.7.1), across the roll-over of NTP seconds too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mobileip.wire.identification import (
    distance,
    from_unix,
    high,
    is_close,
    is_newer,
    low,
    resynchronising,
    to_unix,
)

# 2036-02-07T06:28:16Z: NTP seconds are 0 again.
ROLL_OVER = 2_085_978_496.0
moments = st.floats(0, 4_000_000_000)


def test_ntp_time_is_70_years_ahead_of_unix_time() -> None:
    assert from_unix(0.0) == 0x83AA7E80_00000000
    assert from_unix(1_686_000_000.5) == (1_686_000_000 + 2_208_988_800) << 32 | 0x80000000


def test_seconds_start_again_in_2036() -> None:
    assert from_unix(ROLL_OVER - 1) == 0xFFFFFFFF_00000000
    assert from_unix(ROLL_OVER) == 0
    assert is_newer(from_unix(ROLL_OVER), from_unix(ROLL_OVER - 1))
    assert not is_newer(from_unix(ROLL_OVER - 1), from_unix(ROLL_OVER))
    assert is_close(from_unix(ROLL_OVER + 2), ROLL_OVER - 2, window=7)
    assert to_unix(from_unix(ROLL_OVER + 5), near=ROLL_OVER - 5) == ROLL_OVER + 5


def test_window_is_on_both_sides_and_includes_its_border() -> None:
    now = 1_700_000_000.0
    inside = [is_close(from_unix(now + offset), now, 7) for offset in (-7, -6.5, 0, 6.5, 7)]
    outside = [is_close(from_unix(now + offset), now, 7) for offset in (-8, -7.01, 7.01, 8, 2**31)]
    assert (inside, outside) == ([True] * 5, [False] * 5)


def test_equal_is_not_newer() -> None:
    assert not is_newer(5, 5)
    assert distance(5, 6) == -1


def test_resynchronising_keeps_the_low_half_and_says_our_seconds() -> None:
    identification = resynchronising(0x11112222_33334444, 1_700_000_000.9)
    assert low(identification) == 0x33334444
    assert high(identification) == 1_700_000_000 + 2_208_988_800


@given(moments)
def test_unix_time_survives(now: float) -> None:
    assert abs(to_unix(from_unix(now), near=now) - now) < 1e-6


@given(moments, st.floats(0.001, 1_000_000))
def test_later_is_newer(now: float, later: float) -> None:
    assert is_newer(from_unix(now + later), from_unix(now))
    assert not is_newer(from_unix(now), from_unix(now + later))
