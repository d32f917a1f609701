"""Token buckets."""

from __future__ import annotations

from mobileip.registration.rate_limit import RateLimit


def test_burst_then_rate() -> None:
    limit = RateLimit(rate=1, burst=2)
    assert [limit.allows("a", now) for now in (0, 0, 0, 0.5, 1.0, 1.5, 9, 9, 9)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
        True,
        False,
    ]


def test_keys_do_not_share() -> None:
    limit = RateLimit(burst=1)
    assert [limit.allows(key, 0) for key in "aabb"] == [True, False, True, False]


def test_clock_that_goes_back_gives_nothing() -> None:
    limit = RateLimit(burst=1)
    assert [limit.allows("a", now) for now in (10, 5, 5)] == [True, False, False]


def test_memory_is_bounded_and_the_longest_unused_key_gives_way() -> None:
    limit = RateLimit(burst=1, capacity=2)
    assert [limit.allows(key, 0) for key in "abac"] == [True, True, False, True]
    assert limit.allows("a", 0) is False  # used after b, so it is still known
    assert limit.allows("b", 0) is True
