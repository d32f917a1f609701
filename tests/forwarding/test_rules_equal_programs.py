"""The model and the programs decide alike: the same frames through both, verdict, reason and bytes compared.

FORWARDING_FRAMES says how many (default 100,000), FORWARDING_SEED which.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobileip.forwarding.build import SOURCE, build
from mobileip.forwarding.loader import load, unload
from mobileip.forwarding.reasons import OUTCOMES, REASONS
from tests.forwarding import worlds
from tests.forwarding.classes import missing
from tests.forwarding.comparison import Bench, Differs
from tests.forwarding.conftest import PATIENCE, Namespace
from tests.forwarding.frames import Generator
from tests.forwarding.plants import PLANTED, PLANTED_IN_THE_MODEL

pytestmark = pytest.mark.namespaces
FRAMES = int(os.environ.get("FORWARDING_FRAMES", "100000"))
SEED = int(os.environ.get("FORWARDING_SEED", "434"))
ENOUGH_TO_FIND_A_PLANT = 12_000
# Of 100,000 frames so many at least end in each way.
OFTEN = 10


def compare_all(
    object_path: Path, pin_dir: Path, interfaces: dict[str, int], count: int
) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Compare `count` frames over all worlds: how often each program came to each end, and how many of each class."""
    now = time.time()
    load(object_path, pin_dir, [], programs=list(worlds.PROGRAMS), max_bindings=1024)
    seen: Counter[tuple[str, str]] = Counter()
    reached: Counter[str] = Counter()
    try:
        every = list(worlds.worlds(now, interfaces["pub"], interfaces["priv"], interfaces["mip1"]))
        share = -(-count // len(every))
        for number, world in enumerate(every):
            ifindex = {program: interfaces[name] for program, name in world.programs.items()}
            bench = Bench(pin_dir, world, ifindex, now)
            generator = Generator(SEED + number, every[1].tables if number == 0 else world.tables, ifindex)
            seen += bench.compare(generator.cases(share))
            reached += bench.reached
    finally:
        unload(pin_dir, [])
    return seen, reached


@pytest.fixture(scope="module")
def interfaces(needs_root: None) -> Iterator[tuple[Namespace, dict[str, int]]]:
    made = Namespace()
    made.shell(worlds.INTERFACES)
    names = ("pub", "priv", "mip1")
    yield made, {name: int(made.shell(f"ip -o link show {name}").split(":")[0]) for name in names}
    made.close()


@pytest.mark.timeout(900 * PATIENCE)
def test_model_and_programs_agree_on_generated_frames(
    interfaces: tuple[Namespace, dict[str, int]], bpf_object: Path, pin_dir: Path
) -> None:
    namespace, indices = interfaces
    started = time.monotonic()
    seen, reached = namespace.run_long(compare_all, bpf_object, pin_dir, indices, FRAMES)
    ends, programs = Counter[str](), Counter[str]()
    for (program, end), times in seen.items():
        ends[end] += times
        programs[program] += times
    print(f"{seen.total()} frames in {time.monotonic() - started:.0f} s: {dict(ends.most_common())}")
    assert seen.total() >= FRAMES
    often = OFTEN * FRAMES // 100_000
    assert {name: ends[name] for name in (entry.name for entry in REASONS + OUTCOMES) if ends[name] < often} == {}
    assert missing(reached, often) == {}, "of these the generator makes too few that are forwarded"
    assert {name: programs[name] for name in worlds.PROGRAMS if programs[name] < FRAMES // 10} == {}


# A few of them; all: make test-long PART=planted_datapath
@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED[::12], ids=range(len(PLANTED[::12])))
def test_a_planted_bug_is_caught(
    interfaces: tuple[Namespace, dict[str, int]], pin_dir: Path, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    copy = shutil.copytree(SOURCE.parent, tmp_path / "bpf")
    text = (copy / name).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (copy / name).write_text(text.replace(right, wrong), encoding="utf-8")
    spoilt = build(tmp_path / "spoilt.bpf.o", copy / SOURCE.name)
    namespace, indices = interfaces
    with pytest.raises(Differs):
        namespace.run_long(compare_all, spoilt, pin_dir, indices, ENOUGH_TO_FIND_A_PLANT)


@pytest.mark.parametrize(
    ("name", "right", "wrong"), PLANTED_IN_THE_MODEL[::24], ids=range(len(PLANTED_IN_THE_MODEL[::24]))
)
def test_a_planted_bug_of_the_model_is_caught(
    needs_root: None, bpf_object: Path, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    """In a process of its own, which finds the spoilt model before the sound one."""
    sources = SOURCE.parents[3]
    copy = shutil.copytree(sources, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "mobileip" / "forwarding" / "rules" / name
    text = file.read_text(encoding="utf-8")
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    test = f"{__file__}::{test_model_and_programs_agree_on_generated_frames.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-o", f"pythonpath={copy} .", test],
        check=False, capture_output=True, text=True, timeout=280, cwd=Path(__file__).parents[2],
        env={**os.environ, "BPF_OBJECT": str(bpf_object), "FORWARDING_FRAMES": str(ENOUGH_TO_FIND_A_PLANT)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{Differs.__name__}: " in done.stdout, done.stdout
