"""The model and the programs decide alike: the same frames through both, verdict, reason and bytes compared.

FORWARDING_FRAMES says how many (default 12000), FORWARDING_SEED which.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mobileip.forwarding import rules
from mobileip.forwarding._libbpf import Program
from mobileip.forwarding.build import SOURCE, build
from mobileip.forwarding.entries import Counters, Tunnel
from mobileip.forwarding.loader import load, unload
from mobileip.forwarding.reasons import OUTCOMES, REASONS
from mobileip.forwarding.tables import HomeAgentTables, ProxyTables
from tests.forwarding import worlds
from tests.forwarding.conftest import Namespace
from tests.forwarding.frames import Case, Generator

pytestmark = pytest.mark.namespaces
FRAMES = int(os.environ.get("FORWARDING_FRAMES", "12000"))
SEED = int(os.environ.get("FORWARDING_SEED", "434"))
# `struct __sk_buff` as BPF_PROG_TEST_RUN takes it: mark at 8, ifindex at 40.
CONTEXT = struct.Struct("=8xI28xI148x")


class Differs(AssertionError):  # noqa: N818
    """Model and program do not agree."""


@dataclass
class Bench:
    """The loaded programs and one world."""

    pin_dir: Path
    world: worlds.World
    ifindex: dict[str, int]
    now: float

    def __post_init__(self) -> None:
        self.world.write(self.pin_dir, self.now)
        self._programs = {name: Program(self.pin_dir / "programs" / name) for name in self.ifindex}
        self._proxy = ProxyTables(self.pin_dir)
        self._agent = HomeAgentTables(self.pin_dir)

    def compare(self, case: Case) -> rules.Verdict:
        """Run one frame through both. Raises Differs with all there is to see."""
        ifindex = self.ifindex[case.program]
        want = rules.decide(case.program, case.frame, self.world.tables, self.now, ifindex=ifindex, mark=case.mark)
        before = self._proxy.counters()
        code, frame = self._programs[case.program].test_run(case.frame, CONTEXT.pack(case.mark, ifindex))
        counted = difference(before, self._proxy.counters())
        expected = {name: 1 for name in (want.reason, want.outcome) if name is not None}
        problems = []
        if code != want.action.value:
            problems.append(f"action: model {want.action.name}, program {code}")
        if counted != expected:
            problems.append(f"counted: model {expected}, program {counted}")
        if want.action is not rules.Action.DROP and frame != want.frame:
            problems.append(f"frame: model   {want.frame.hex()}\n       program {frame.hex()}")
        problems += self._compare_learnt(want)
        if want.reason in ("care_of_mismatch", "port_mismatch"):
            problems += self._compare_stray(want)
        if problems:
            raise Differs("\n".join([f"{case.program} mark {case.mark:#x} {case.frame.hex()}", *problems]))
        return want

    def _compare_learnt(self, want: rules.Verdict) -> list[str]:
        """Half-bound tunnels: what the keepalive completed, and that nothing else completes one."""
        problems = []
        for key, bound in self.world.tables.bindings.items():
            if not any(tunnel.half_bound for tunnel in bound.tunnels):
                continue
            expected = list(bound.tunnels)
            if want.learnt is not None and want.learnt[0] == key:
                expected[want.learnt[1]] = want.learnt[2]
            found = self._tunnels(key)
            if found != expected:
                problems.append(f"binding {key}: model {expected}, program {found}")
            if found != list(bound.tunnels):
                self.world.restore(self.pin_dir, key, bound)
        return problems

    def _compare_stray(self, want: rules.Verdict) -> list[str]:
        """Where a bound node's packet came from instead; what another packet had noted is found here as well."""
        noted = [((each.gateway, each.home_address), each.address, each.port) for each in self._proxy.strays()]
        for key, _, _ in noted:
            self._proxy.forget_stray(*key)
        expected = [] if want.stray is None else [want.stray]
        return [] if noted == expected else [f"stray: model {expected}, program {noted}"]

    def _tunnels(self, key: rules.Key) -> list[Tunnel]:
        agent = self.world.tables.home_agent
        is_agent = agent is not None and key[0] == agent.address
        entry = self._agent.get(key[1]) if is_agent else self._proxy.get(*key)
        assert entry is not None
        found = entry.tunnels
        expiry = [tunnel.expires for tunnel in self.world.tables.bindings[key].tunnels]
        return [replace(tunnel, expires=expires) for tunnel, expires in zip(found, expiry, strict=True)]


def difference(before: Counters, after: Counters) -> dict[str, int]:
    found = {}
    for old, new in ((before.drops, after.drops), (before.packets, after.packets)):
        found.update({name: new[name] - old[name] for name in new if new[name] != old[name]})
    return found


def _compare_all(object_path: Path, pin_dir: Path, interfaces: dict[str, int], count: int) -> Counter[str]:
    """Load the object, compare `count` frames over all worlds; how often each reason and outcome was seen."""
    now = time.time()
    load(object_path, pin_dir, [], programs=list(worlds.PROGRAMS), max_bindings=1024)
    seen: Counter[str] = Counter()
    try:
        every = list(worlds.worlds(now, interfaces["pub"], interfaces["priv"], interfaces["mip1"]))
        for number, world in enumerate(every):
            ifindex = {program: interfaces[name] for program, name in world.programs.items()}
            bench = Bench(pin_dir, world, ifindex, now)
            generator = Generator(SEED + number, every[1].tables if number == 0 else world.tables, ifindex)
            for case in generator.cases(max(1, count // len(every))):
                verdict = bench.compare(case)
                seen[verdict.reason or verdict.outcome or "stack"] += 1
    finally:
        unload(pin_dir, [])
    return seen


@pytest.fixture(scope="module")
def interfaces(needs_root: None) -> Iterator[tuple[Namespace, dict[str, int]]]:
    made = Namespace()
    made.shell(worlds.INTERFACES)
    names = ("pub", "priv", "mip1")
    yield made, {name: int(made.shell(f"ip -o link show {name}").split(":")[0]) for name in names}
    made.close()


def test_model_and_programs_agree_on_generated_frames(
    interfaces: tuple[Namespace, dict[str, int]], bpf_object: Path, pin_dir: Path
) -> None:
    namespace, indices = interfaces
    seen = namespace.run(_compare_all, bpf_object, pin_dir, indices, FRAMES)
    print(f"{sum(seen.values())} frames: {dict(seen.most_common())}")
    assert sum(seen.values()) >= min(FRAMES, 3000) - 100
    missing = {entry.name for entry in REASONS + OUTCOMES} - set(seen)
    assert not missing, "the generator reaches every reason and outcome"


# (file, what stands there, what a careless hand might write): each is one check gone or one byte wrong.
PLANTED = [
    ("binding.h", "p->outer.saddr != t->care_of &&", "p->outer.saddr == 0 &&"),
    ("binding.h", "if (t->expires_ns <= now)", "if (t->expires_ns + 3600000000000 <= now)"),
    ("binding.h", "if (t->port && p->source_port == t->port)", "if (t->port)"),
    ("binding.h", "(t->flags & TUNNEL_HALF_BOUND) && !t->port", "t->flags & TUNNEL_HALF_BOUND"),
    (
        "mobile_node.h",
        "(node_allows(s, p->outer.daddr) && may_pass(p, &p->outer, 1))",
        "node_allows(s, p->outer.daddr)",
    ),
    ("binding.h", "if (p->tunnel != t->encapsulation)\n\t\treturn DROP(encapsulation_mismatch);", ""),
    ("proxy.h", "b->home_agent != p->outer.saddr", "0"),
    ("proxy.h", "if (!is_gateway_mac(p->outer.saddr, p))\n\t\treturn DROP(gateway_mac);", ""),
    ("proxy.h", "p->on_gateway_side = interface_of(ctx) == s->gateway_public_ifindex;", "p->on_gateway_side = 1;"),
    ("proxy.h", "if (!may_pass(p, &p->inner, 1))\n\t\treturn DROP(inner_protocol);", ""),
    ("binding.h", "first.port = p->source_port;", ""),
    ("binding.h", "verdict == DROP(care_of_mismatch) || verdict", "verdict"),
    (
        "proxy.h",
        "match_tunnel(gateway, p->inner.saddr, p, now, !is_answer)",
        "match_tunnel(gateway, p->inner.saddr, p, now, 1)",
    ),
    ("passes.h", "|| is_later_fragment(header))", ")"),
    ("passes.h", "*bits >> (bit % 64)", "*bits >> (bit % 32)"),
    ("foreign_agent.h", "if (p->inner.saddr != p->outer.saddr)\n\t\treturn DROP(no_binding);", ""),
    ("foreign_agent.h", "(v->flags & VISITOR_ENCAPSULATING_DELIVERY) ||\n", ""),
    ("foreign_agent.h", "is_group(p->outer.daddr))", "0)"),
    ("plan.h", "return original ? (inner | 3) : DROP(ecn);", "return inner | 3;"),
    ("rewrite.h", "ip->ttl--;", "ip->ttl = TUNNEL_TTL;"),
    ("rewrite.h", ".frag_off = inner->frag_off & bpf_htons(IP_DF),", ".frag_off = 0,"),
    ("rewrite.h", "outer->udp.check = 0;", ""),
    ("path_mtu.h", "known->expires_ns > bpf_ktime_get_boot_ns()", "known->expires_ns"),
    ("mtu.h", "plan->most = mtu > overhead ? mtu - overhead : 0;", "plan->most = mtu;"),
    (
        "mtu.h",
        "fill_fragment(&ip, left, offset + step / 8, more);",
        "fill_fragment(&ip, left, offset + step / 8, more & 0);",
    ),
    ("mtu.h", "unfinished == TCP_CHECKSUM_AT ||", ""),
    ("icmp.h", "if (is_later_fragment(ip) || is_group", "if (is_group"),
    ("icmp.h", "type != ICMP_TIME_EXCEEDED &&", "1 &&"),
    ("rewrite.h", "policy->dscp << 2 | (inner & 3)", "policy->dscp << 2"),
    ("parse.h", "if (sum_header(&p->outer) != 0xffff)\n\t\treturn DROP(outer_checksum);", ""),
]


@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED, ids=range(len(PLANTED)))
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
        namespace.run(_compare_all, spoilt, pin_dir, indices, FRAMES)
