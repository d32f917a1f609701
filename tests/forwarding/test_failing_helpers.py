"""A helper that fails lets nothing pass: each is made to fail in turn, and every frame is either treated as the model
says or dropped and counted. XDP may also leave it to tc, unchanged and uncounted."""

from __future__ import annotations

import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from mobileip.forwarding import rules, xdp
from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.build import SOURCE, build_both
from mobileip.forwarding.loader import load, unload
from mobileip.forwarding.reasons import REASON_NAMES
from mobileip.forwarding.rules import too_long
from mobileip.forwarding.tables import ProxyTables
from tests.forwarding import test_xdp_equals_rules as fast
from tests.forwarding import worlds
from tests.forwarding.comparison import CONTEXT, Tc, difference
from tests.forwarding.conftest import Namespace
from tests.forwarding.frames import Case, Generator

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
    "bpf_fib_lookup": (-22, {"no_route", "clear_outside"}),
    "bpf_clone_redirect": (-12, {"helper_failed"}),
    "bpf_redirect_neigh": (_SHOT, {"helper_failed"}),
    "bpf_redirect": (_SHOT, {"helper_failed"}),
    "bpf_l4_csum_replace": (-22, {"helper_failed"}),
}
# The same of XDP. "left to tc": nothing is written before it is known to be possible.
XDP_HELPERS = {
    "bpf_xdp_load_bytes": (-22, {"truncated"}),
    "bpf_xdp_adjust_head": (-22, {"helper_failed"}),
    "bpf_xdp_adjust_tail": (-22, {"helper_failed"}),
    "bpf_fib_lookup": (-22, {"left to tc"}),
    "bpf_redirect": (0, {"helper_failed"}),
}
NOISE = ("unused-variable", "unused-but-set-variable", "unused-function", "unused-value", "constant-logical-operand")
"""What the compiler says of arguments that go nowhere, and of a result that is a constant."""


BOUNDS = ("rewrite.h", "if (to + length > packet_end(ctx))", "if (length)")
"""What is to be written is never within reach."""
# Of each hook: where its context is, and the line behind which its helpers are known.
TC, XDP = ("context_tc.h", "typedef struct __sk_buff ctx_t;"), ("context_xdp.h", "typedef struct xdp_md ctx_t;")


def spoil(directory: Path, hook: tuple[str, str], helper: str | None, result: int = 0) -> Path:
    """The programs with one helper that always fails; None: no packet can be brought within reach."""
    if helper is None:
        # The short way has nothing to drop: it is not there.
        replace_line(directory, "shortcut.h", "__u32 bytes = simple_length(ctx);", "__u32 bytes = 0;")
        replace_line(directory, TC[0], "LOAD_FIELD(data, ctx, data);", "return (void *)(long)ctx->data;")
        return spoil_line(directory, TC[0], "LOAD_FIELD(end, ctx, data_end);", "return (void *)(long)ctx->data;")
    silence = "".join(f'#pragma clang diagnostic ignored "-W{each}"\n' for each in NOISE)
    # The context is still taken: the verifier checks that a function which has it as its argument gets one.
    fails = f'#define {helper}(first, ...) ({{ asm volatile("" : : "r"(first)); ({result}); }})'
    # What does not use its argument any more would get none, and the verifier wants one: weak functions are left alone.
    replace_line(
        directory, "parse.h", "#define GLOBAL_FUNCTION __noinline", "#define GLOBAL_FUNCTION __weak __noinline"
    )
    return spoil_line(directory, *hook, f"{hook[1]}\n{silence}{fails}\n")


def spoil_line(directory: Path, name: str, old: str, new: str) -> Path:
    return build_both(directory / "spoilt.bpf.o", replace_line(directory, name, old, new))


def replace_line(directory: Path, name: str, old: str, new: str) -> Path:
    """In a copy of the sources, which it returns."""
    copy = directory / "bpf"
    if not copy.exists():
        shutil.copytree(SOURCE.parent, copy)
    text = (copy / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    return copy


def compare(object_path: Path, pin_dir: Path, is_brief: bool) -> tuple[Counter[str], list[str]]:
    """Drops by reason where the model has none, and what else than a drop differed from the model.

    `is_brief`: ICMP errors may quote as little as they do of what cannot be made shorter.
    """
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
                decide = partial(
                    rules.decide, case.program, case.frame, world.tables, now,
                    ifindex=here, mark=case.mark, segment=segment,
                )  # fmt: skip
                want = decide()
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
                elif code != want.action.value or frame not in (want.frame, *([briefly(decide).frame] * is_brief)):
                    wrong.append(f"model {want.action.name} {want.reason or want.outcome}, program {code}: {case}")
    finally:
        unload(pin_dir, [])
    return surplus, wrong


def briefly(decide: Callable[[], rules.Verdict]) -> rules.Verdict:
    """The model's decision where no packet is long enough to be quoted at length."""
    with mock.patch.object(too_long, "_QUOTED", 1 << 16):
        return decide()


@pytest.mark.parametrize("helper", [*HELPERS, None])
def test_what_a_failing_helper_has_not_done_is_dropped_and_counted(
    namespace: Namespace, pin_dir: Path, tmp_path: Path, helper: str | None
) -> None:
    namespace.shell(worlds.INTERFACES)
    result, expected = (0, {"helper_failed"}) if helper is None else HELPERS[helper]
    surplus, wrong = namespace.run(
        compare, spoil(tmp_path, TC, helper, result), pin_dir, helper == "bpf_skb_change_tail"
    )
    assert not wrong, f"{len(wrong)}: {wrong[0]}"
    assert surplus.keys() & expected, "it is used, and its failure shows"


def compare_fast(object_path: Path, pin_dir: Path) -> tuple[Counter[str], list[str]]:
    """The same of XDP's programs; `left to tc` is what the model forwards or drops and they do not."""
    index = {name: socket.if_nametoindex(name) for name in ("pub", "priv", "mip1")}
    now, surplus, wrong = time.time(), Counter[str](), []
    load(object_path, pin_dir, [], programs=sorted(xdp.PROGRAMS), max_bindings=1024)
    try:
        every = list(worlds.worlds(now, index["pub"], index["priv"], index["mip1"]))
        for number, world in enumerate(every):
            on = {program: index[world.programs[program]] for program in sorted(xdp.PROGRAMS)}
            world.write(pin_dir, now)
            fast.write_links(pin_dir, world)
            tables = ProxyTables(pin_dir)
            programs = {name: Program(pin_dir / "xdp" / name) for name in on}
            generator = Generator(434 + number, every[1].tables if number == 0 else world.tables, on)
            for case in generator.cases(FRAMES // len(every)):
                if case.mark not in (0, 7):
                    continue  # a copy that tc made
                here = on[case.program]
                want = rules.decide(case.program, case.frame, world.tables, now, ifindex=here)
                before = tables.counters()
                code, frame = programs[case.program].test_run(case.frame, fast.CONTEXT.pack(len(case.frame), here))
                counted = difference(before, tables.counters())
                if want.learnt is not None:
                    world.restore(pin_dir, want.learnt[0], world.tables.bindings[want.learnt[0]])
                surplus.update(shown_by(want, code, counted))
                wrong += wrong_with(world, case, want, code, frame, counted)
    finally:
        unload(pin_dir, [])
    return surplus, wrong


def shown_by(want: rules.Verdict, code: int, counted: Counter[str]) -> Counter[str]:
    if code == fast.PASS and want.action in (rules.Action.DROP, rules.Action.REDIRECT):
        return Counter(["left to tc"])
    return counted if code == fast.DROP and want.action is not rules.Action.DROP else Counter()


def wrong_with(
    world: worlds.World, case: Case, want: rules.Verdict, code: int, frame: bytes, counted: Counter[str]
) -> list[str]:
    """XDP drops and counts, leaves the frame to tc as it came, or does what the model says."""
    if code == fast.DROP and not any(name in REASON_NAMES.values() for name in counted):
        return [f"dropped, counted {counted}: {case}"]
    if code == fast.PASS and (frame != case.frame or counted):
        return [f"left to tc, but changed or counted {counted}: {case}"]
    if code in (fast.DROP, fast.PASS):
        return []
    is_right = code == fast.REDIRECT and want.action is rules.Action.REDIRECT
    if is_right and frame == fast.expected_macs(world, want) + want.frame[12:]:
        return []
    return [f"model {want.action.name} {want.reason or want.outcome}, program {code}: {case}"]


@pytest.mark.parametrize("helper", [*XDP_HELPERS, None])
def test_what_a_failing_helper_has_not_done_is_dropped_or_left_whole_to_tc(
    namespace: Namespace, pin_dir: Path, tmp_path: Path, helper: str | None
) -> None:
    namespace.shell(fast.interfaces_script())
    result, expected = (0, {"helper_failed"}) if helper is None else XDP_HELPERS[helper]
    spoilt = spoil_line(tmp_path, *BOUNDS) if helper is None else spoil(tmp_path, XDP, helper, result)
    surplus, wrong = namespace.run(compare_fast, spoilt, pin_dir)
    assert not wrong, f"{len(wrong)}: {wrong[0]}"
    assert surplus.keys() & expected, "it is used, and its failure shows"


@pytest.mark.parametrize("helper", ["bpf_skb_load_bytes_relative", "bpf_skb_change_head", "bpf_skb_store_bytes"])
def test_a_frame_whose_ethernet_header_cannot_be_put_back_is_dropped_and_counted(
    namespace: Namespace, pin_dir: Path, tmp_path: Path, helper: str
) -> None:
    def run() -> tuple[int, Counter[str]]:
        load(spoilt, pin_dir, [], programs=["restore_ethernet"], max_bindings=1024)
        try:
            tables = ProxyTables(pin_dir)
            before = tables.counters()
            code, _ = Program(pin_dir / "programs" / "restore_ethernet").test_run(bytes(64), CONTEXT.pack(0, 1, 0, 0))
            return code, difference(before, tables.counters())
        finally:
            unload(pin_dir, [])

    spoil(tmp_path, TC, helper, -22)
    # A test run shows all frames from their Ethernet header on.
    spoilt = spoil_line(tmp_path, "generic_xdp.h", "return differs != 0;", "return differs == 0;")
    assert namespace.run(run) == (_SHOT, Counter({"helper_failed": 1}))
