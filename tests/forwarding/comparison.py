"""Programs held to the model: generated frames through both, verdict, bytes, counters and learnt ports compared.

A frame costs one BPF_PROG_TEST_RUN; counters and half-bound bindings are looked at once a batch, and if they differ the
batch runs again one by one, to name the frame. What differs between tc and other hooks is in a `Hook`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from mobileip.forwarding import rules
from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.entries import Counters, Tunnel
from mobileip.forwarding.tables import HomeAgentTables, ProxyTables
from tests.forwarding.classes import classes_of
from tests.forwarding.frames import Case
from tests.forwarding.worlds import World

BATCH = 64
# `struct __sk_buff` as BPF_PROG_TEST_RUN takes it: mark at 8, ifindex at 40, gso_segs at 164, gso_size at 176.
CONTEXT = struct.Struct("=8xI28xI120xI8xI12x")
# What is found after a tunnel packet's headers have gone.
_BEHIND_A_TUNNEL = ("no_route", "too_big", "ttl_expired", "unfit_for_minimal")
_STRAYING = ("care_of_mismatch", "port_mismatch")
_TUNNELS = (4, 17, 47, 55)
_PROTOCOL_AT, _FLAGS_AT = 23, 20
_IPV4, _SO_RCVBUFFORCE = 0x0800, 33


class Differs(AssertionError):  # noqa: N818 - a finding, no error of the test's
    """Model and program do not agree."""


@dataclass(frozen=True)
class Answer:
    """What a program said of a frame, and the frame afterwards."""

    code: int
    frame: bytes


@dataclass
class Judgement:
    """What is wrong with an answer, and what it should have left behind."""

    problems: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    is_decided: bool = True
    """Not if the frame is left to another program: what that one will learn or note may have been already."""


class Hook(ABC):
    """One kind of program: how it is run, and which of its answers are right."""

    pinned_in = "programs"
    """The directory below the pins where its programs are."""

    @abstractmethod
    def run(self, program: Program, case: Case, ifindex: int) -> Answer:
        """One frame through the program."""

    @abstractmethod
    def judge(self, case: Case, want: rules.Verdict, answer: Answer) -> Judgement:
        """The answer against the model's."""


class Tc(Hook):
    """The programs for tc: they decide every frame, exactly as the model does."""

    def run(self, program: Program, case: Case, ifindex: int) -> Answer:
        """With mark and merged segments, as its context has them."""
        segments = 2 if case.gso_size else 0
        return Answer(*program.test_run(case.frame, CONTEXT.pack(case.mark, ifindex, segments, case.gso_size)))

    def judge(self, case: Case, want: rules.Verdict, answer: Answer) -> Judgement:
        """Every frame is decided here."""
        counted = {name: 1 for name in (want.reason, want.outcome) if name is not None}
        if case.gso_size and answer.code == rules.Action.DROP.value and _ends_early(case, want):
            return Judgement(counted={"helper_failed": 1})
        problems = []
        if answer.code != want.action.value:
            problems.append(f"action: model {want.action.name}, program {answer.code}")
        if want.action is not rules.Action.DROP and answer.frame != want.frame:
            problems.append(f"frame: model   {want.frame.hex()}\n       program {answer.frame.hex()}")
        return Judgement(problems, counted)


def _ends_early(case: Case, want: rules.Verdict) -> bool:
    """The kernel changes the room in merged TCP only, and a test run cannot say that it is TCP: up to there only."""
    may_be_shortened = not case.frame[_FLAGS_AT] & 0x40
    if want.outcome is None:
        return want.reason == "merged_segments"
    return want.outcome != "gateway_to_subnet" or may_be_shortened


class Copies:
    """What programs send back to their own interfaces, to come in anew: copies, and first pieces of what is cut."""

    def __init__(self, interfaces: set[int]) -> None:
        self._interfaces = {socket.if_indextoname(index) for index in interfaces}
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_IPV4))
        self._wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def taken(self) -> Counter[bytes]:
        """Those since the last call, as they were when they came."""
        found = Counter[bytes]()
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (interface, _, kind, *_) = self._wire.recvfrom(1 << 16)
                if interface in self._interfaces and kind != socket.PACKET_OUTGOING:
                    found[frame] += 1
        return found


@dataclass
class Bench:
    """The loaded programs and one world. Raises Differs with all there is to see."""

    pin_dir: Path
    world: World
    ifindex: Mapping[str, int]
    now: float
    hook: Hook = field(default_factory=Tc)
    reached: Counter[str] = field(default_factory=Counter)
    """How many frames of each class (classes.py) were compared."""

    def __post_init__(self) -> None:
        self.world.write(self.pin_dir, self.now)
        self._programs = {name: Program(self.pin_dir / self.hook.pinned_in / name) for name in self.ifindex}
        self._proxy = ProxyTables(self.pin_dir)
        self._agent = HomeAgentTables(self.pin_dir)
        self._half_bound = {
            key: bound
            for key, bound in self.world.tables.bindings.items()
            if any(tunnel.half_bound for tunnel in bound.tunnels)
        }

    def compare(self, cases: Iterable[Case]) -> Counter[tuple[str, str]]:
        """All cases through both; how often each program came to each end."""
        seen: Counter[tuple[str, str]] = Counter()
        batch: list[tuple[Case, rules.Verdict]] = []
        with Copies(set(self.ifindex.values())) as self._copies:
            for case in cases:
                decided = self._decided(case)
                seen[case.program, decided[1].reason or decided[1].outcome or "stack"] += 1
                self.reached.update(classes_of(*decided))
                batch.append(decided)
                if len(batch) == BATCH:
                    self._compare_batch(batch)
                    batch.clear()
            self._compare_batch(batch)
        return seen

    def _compare_batch(self, batch: list[tuple[Case, rules.Verdict]]) -> None:
        before, expected, anew = self._proxy.counters(), Counter[str](), Counter[bytes]()
        for case, want in batch:
            judgement = self._compare(case, want)
            expected.update(judgement.counted)
            anew.update(_anew(case, want, judgement))
        is_counted = difference(before, self._proxy.counters()) == expected and not self._wrongly_learnt()
        if self._copies.taken() == anew and is_counted:
            return
        for key, bound in self._half_bound.items():
            self.world.restore(self.pin_dir, key, bound)
        for case, want in batch:
            before = self._proxy.counters()
            judgement = self._compare(case, want)
            expected = Counter(judgement.counted)
            counted = difference(before, self._proxy.counters())
            if counted != expected:
                raise _differs(case, [f"counted: model {dict(expected)}, program {dict(counted)}"])
            if problems := self._wrongly_learnt():
                raise _differs(case, problems)
            if (taken := self._copies.taken()) != (anew := _anew(case, want, judgement)):
                raise _differs(case, [f"anew: model   {_hex(anew)}\n      program {_hex(taken)}"])
        raise Differs(f"{len(batch)} frames counted other things together than one by one: {batch}")

    def _decided(self, case: Case) -> tuple[Case, rules.Verdict]:
        """The case as it is run, with what the model says. A test run can neither clone nor unpack what is merged."""
        want = self._decide(case)
        is_second = want.reason in _BEHIND_A_TUNNEL and case.frame[_PROTOCOL_AT] in _TUNNELS
        if case.gso_size and (want.copies or is_second):
            case = replace(case, gso_size=0)
            want = self._decide(case)
        return case, want

    def _decide(self, case: Case) -> rules.Verdict:
        return rules.decide(
            case.program,
            case.frame,
            self.world.tables,
            self.now,
            ifindex=self.ifindex[case.program],
            mark=case.mark,
            segment=case.gso_size,
        )

    def _compare(self, case: Case, want: rules.Verdict) -> Judgement:
        """One frame through the program, which has done nothing wrong."""
        answer = self.hook.run(self._programs[case.program], case, self.ifindex[case.program])
        judgement = self.hook.judge(case, want, answer)
        problems = judgement.problems
        if want.learnt is not None:
            key, index, tunnel = want.learnt
            before = list(self.world.tables.bindings[key].tunnels)
            expected = [*before[:index], tunnel, *before[index + 1 :]]
            found = self._tunnels(key)
            if found != expected and (judgement.is_decided or found != before):
                problems.append(f"binding {key}: model {expected}, program {found}")
            self.world.restore(self.pin_dir, key, self.world.tables.bindings[key])
        if want.reason in _STRAYING:
            problems += self._wrongly_noted(want, judgement)
        if problems:
            raise _differs(case, problems)
        return judgement

    def _wrongly_noted(self, want: rules.Verdict, judgement: Judgement) -> list[str]:
        """Where a bound node's packet came from instead; what another packet had noted is found here as well."""
        noted = [((each.gateway, each.home_address), each.address, each.port) for each in self._proxy.strays()]
        for key, _, _ in noted:
            self._proxy.forget_stray(*key)
        expected = [] if want.stray is None else [want.stray]
        is_right = noted == expected or not (noted or judgement.is_decided)
        return [] if is_right else [f"stray: model {expected}, program {noted}"]

    def _wrongly_learnt(self) -> list[str]:
        """Half-bound tunnels that no keepalive completed must be as they were."""
        problems = []
        for key, bound in self._half_bound.items():
            found = self._tunnels(key)
            if found != list(bound.tunnels):
                problems.append(f"binding {key}: model {list(bound.tunnels)}, program {found}")
        return problems

    def _tunnels(self, key: rules.Key) -> list[Tunnel]:
        agent = self.world.tables.home_agent
        is_agent = agent is not None and key[0] == agent.address
        entry = self._agent.get(key[1]) if is_agent else self._proxy.get(*key)
        assert entry is not None
        expiry = [tunnel.expires for tunnel in self.world.tables.bindings[key].tunnels]
        return [replace(tunnel, expires=expires) for tunnel, expires in zip(entry.tunnels, expiry, strict=True)]


def _hex(frames: Counter[bytes]) -> list[str]:
    return [frame.hex() for frame in frames.elements()]


def _anew(case: Case, want: rules.Verdict, judgement: Judgement) -> Counter[bytes]:
    """Frames that come in anew beside this one."""
    if not judgement.is_decided:
        return Counter()
    found = Counter([case.frame] * len(want.copies))
    if want.front:
        found[want.front] += 1
    return found


def _differs(case: Case, problems: list[str]) -> Differs:
    what = f"{case.program} mark {case.mark:#x} segments of {case.gso_size} {case.frame.hex()}"
    return Differs("\n".join([what, *problems]))


def difference(before: Counters, after: Counters) -> Counter[str]:
    """What was counted between the two, by reason and outcome."""
    found: Counter[str] = Counter()
    for old, new in ((before.drops, after.drops), (before.packets, after.packets)):
        found.update({name: new[name] - old[name] for name in new if new[name] != old[name]})
    return found
