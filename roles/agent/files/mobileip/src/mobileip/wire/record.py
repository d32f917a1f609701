"""Frozen dataclasses that are quick to make: a registration makes some thirty of them.

`record` is `dataclasses.dataclass` for the type checker, which so refuses to assign to a frozen one. When the program
runs nothing else does: a dataclass that refuses by itself is made five times as slowly, field by field past its own
refusal (1.0 us against 0.2 us for six fields). Equality, hash, `replace` and `match` are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, slots: bool) -> Any:
        """`@record(frozen=True, slots=True)`: a dataclass that is frozen as far as the type checker can see."""
        assert frozen, "what may change is no record"
        return dataclass(slots=slots, unsafe_hash=True)
