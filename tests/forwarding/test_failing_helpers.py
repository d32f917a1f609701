"""A helper that fails lets nothing pass: each is made to fail in turn, and every frame is either treated as the model
says or dropped and counted."""

from __future__ import annotations

import shutil
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from mobileip.forwarding import rules
from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.build import SOURCE, build
from mobileip.forwarding.loader import load, unload
from mobileip.forwarding.reasons import REASON_NAMES
from mobileip.forwarding.tables import ProxyTables
from tests.forwarding import worlds
from tests.forwarding.comparison import Tc, difference
from tests.forwarding.conftest import Namespace
from tests.forwarding.frames import Generator

pytestmark = pytest.mark.namespaces
FRAMES = 1500
_SHOT = 2
# What each returns when it fails, and by which of the reasons that shows.
HELPERS = {
    "bpf_skb_load_bytes": (-14, {"truncated", "helper_failed"}),
    "bpf_skb_store_bytes": (-14, {"helper_failed"}),
    "bpf_skb_change_tail": (-12, {"helper_failed"}),
    "bpf_skb_adjust_room": (-12, {"helper_failed"}),
    "bpf_check_mtu": (-22, {"helper_failed"}),
    "bpf_fib_lookup": (-22, {"no_route"}),
    "bpf_clone_redirect": (-12, {"helper_failed"}),
    "bpf_redirect_neigh": (_SHOT, {"helper_failed"}),
    "bpf_redirect": (_SHOT, {"helper_failed"}),
}
NOISE = ("unused-variable", "unused-but-set-variable", "unused-function", "unused-value", "constant-logical-operand")
"""What the compiler says of arguments that go nowhere, and of a result that is a constant."""


def spoil(directory: Path, helper: str | None) -> Path:
    """The programs with one helper that always fails; None: no packet can be brought within reach."""
    copy = shutil.copytree(SOURCE.parent, directory / "bpf")
    context = copy / "context_tc.h"
    text = context.read_text(encoding="utf-8")
    if helper is None:
        old, new = "return (void *)(long)ctx->data_end;", "return (void *)(long)ctx->data;"
    else:
        old = "typedef struct __sk_buff ctx_t;"
        silence = "".join(f'#pragma clang diagnostic ignored "-W{each}"\n' for each in NOISE)
        new = f"{old}\n{silence}#define {helper}(...) ({HELPERS[helper][0]})\n"
    assert text.count(old) == 1
    context.write_text(text.replace(old, new), encoding="utf-8")
    return build(directory / "spoilt.bpf.o", copy / SOURCE.name)


def compare(object_path: Path, pin_dir: Path) -> tuple[Counter[str], list[str]]:
    """Drops by reason where the model has none, and what else than a drop differed from the model."""
    index = {name: socket.if_nametoindex(name) for name in ("pub", "priv", "mip1")}
    now, surplus, wrong = time.time(), Counter[str](), []
    load(object_path, pin_dir, [], programs=list(worlds.PROGRAMS), max_bindings=1024)
    try:
        every = list(worlds.worlds(now, index["pub"], index["priv"], index["mip1"]))
        for number, world in enumerate(every):
            on = {program: index[name] for program, name in world.programs.items()}
            world.write(pin_dir, now)
            tables = ProxyTables(pin_dir)
            programs = {name: Program(pin_dir / "programs" / name) for name in on}
            generator = Generator(434 + number, every[1].tables if number == 0 else world.tables, on)
            for case in generator.cases(FRAMES // len(every)):
                here, segment = on[case.program], case.gso_size
                want = rules.decide(
                    case.program, case.frame, world.tables, now, ifindex=here, mark=case.mark, segment=segment
                )
                before = tables.counters()
                answer = Tc().run(programs[case.program], case, here)
                code, frame = answer.code, answer.frame
                counted = difference(before, tables.counters())
                if want.learnt is not None:
                    world.restore(pin_dir, want.learnt[0], world.tables.bindings[want.learnt[0]])
                if code == _SHOT:
                    if not any(name in REASON_NAMES.values() for name in counted):
                        wrong.append(f"dropped, counted {counted}: {case}")
                    if want.action is not rules.Action.DROP:
                        surplus.update(counted)
                elif code != want.action.value or frame != want.frame:
                    wrong.append(f"model {want.action.name} {want.reason or want.outcome}, program {code}: {case}")
    finally:
        unload(pin_dir, [])
    return surplus, wrong


@pytest.mark.parametrize("helper", [*HELPERS, None])
def test_what_a_failing_helper_has_not_done_is_dropped_and_counted(
    namespace: Namespace, pin_dir: Path, tmp_path: Path, helper: str | None
) -> None:
    namespace.shell(worlds.INTERFACES)
    surplus, wrong = namespace.run(compare, spoil(tmp_path, helper), pin_dir)
    assert not wrong, f"{len(wrong)}: {wrong[0]}"
    expected = {"helper_failed"} if helper is None else HELPERS[helper][1]
    assert surplus.keys() & expected, "it is used, and its failure shows"
