"""The 64-bit Identification as a timestamp (RFC 5944 5.7.1): NTP seconds in the high half, a fraction in the low half.

NTP seconds start again from 0 on 2036-02-07T06:28:16Z. So nothing here compares two values with `<`: it asks for the
signed distance modulo 2^64, which is right as long as the two are less than 68 years apart.
"""

from __future__ import annotations

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900-01-01, where NTP begins, to 1970-01-01, where Unix time begins."""

_FRACTION = 1 << 32
_MODULUS = 1 << 64
_HALF = 1 << 63


def from_unix(now: float) -> int:
    """Unix seconds as a timestamp. A float keeps some 2^-22 s of the fraction."""
    seconds = int(now)
    fraction = int((now - seconds) * _FRACTION)
    return ((seconds + NTP_EPOCH) % _FRACTION) << 32 | fraction


def to_unix(identification: int, near: float) -> float:
    """A timestamp as Unix seconds, in the NTP era that is nearest to `near`."""
    return near + distance(identification, from_unix(near)) / _FRACTION


def distance(later: int, earlier: int) -> int:
    """`later` minus `earlier` as a signed number of 2^-32 s, right across the roll-over of 2036."""
    return (later - earlier + _HALF) % _MODULUS - _HALF


def is_newer(identification: int, than: int) -> bool:
    """Greater in serial arithmetic; equal is not newer."""
    return distance(identification, than) > 0


def is_close(identification: int, now: float, window: float) -> bool:
    """Is the timestamp within `window` seconds of `now`, on either side?"""
    return abs(distance(identification, from_unix(now))) <= window * _FRACTION


def low(identification: int) -> int:
    """The half by which a reply is matched to its request."""
    return identification & 0xFFFF_FFFF


def high(identification: int) -> int:
    """The half that says the seconds."""
    return identification >> 32


def resynchronising(identification: int, now: float) -> int:
    """Identification of a reply with code 133: the request's low half below our own seconds (RFC 5944 5.7.1)."""
    return (int(now) + NTP_EPOCH) % _FRACTION << 32 | low(identification)
