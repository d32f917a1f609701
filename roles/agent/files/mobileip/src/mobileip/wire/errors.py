"""The one exception that parsing raises."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - it names the state of the bytes, as in RFC 5944
    """Bytes of a peer break a format. Says which field, where, and what was expected there."""

    def __init__(self, field: str, *, at: int, expected: str) -> None:
        super().__init__(f"{field} at byte {at}: expected {expected}")
        self.field = field
        self.at = at
        self.expected = expected
