"""Coverage-guided fuzzing of the codec and the four machines, from the corpus that the repository keeps."""

from __future__ import annotations

import subprocess

import pytest

from tests.fuzz.guided import CHECKOUT, FOUND, command, environment
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_guided(target: str, request: pytest.FixtureRequest) -> None:
    seconds = dict(request.node.user_properties)["seconds"]
    for crash in FOUND.glob(f"{target}-*-*"):
        crash.unlink()
    done = subprocess.run(
        command(target, f"{seconds:g}"),
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    left = [str(path.relative_to(CHECKOUT)) for path in FOUND.glob(f"{target}-*-*")]
    again = " ".join(command(target, left[0] if left else "FILE"))
    assert (done.returncode, left) == (0, []), f"repeat it with: {again}\n{done.stderr[-3000:]}"
    assert "Done" in done.stderr, done.stderr[-3000:]
