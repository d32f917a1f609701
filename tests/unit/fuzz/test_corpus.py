"""What the guided fuzzer has reached stays reached: its corpus, replayed without it."""

from __future__ import annotations

import pytest

from tests.fuzz.guided import kept
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_raises(target: str) -> None:
    inputs = kept(target)
    assert len(inputs) > 10
    for data in inputs:
        try:
            TARGETS[target](data)
        except Exception as error:
            error.add_note(f"input {data.hex()}")
            raise
