"""The fast path decides like the model or leaves the frame to tc: the property test's frames through XDP's programs.

FORWARDING_FRAMES and FORWARDING_SEED as in test_rules_equal_programs.py.
"""

from __future__ import annotations

import shutil
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

import pytest

from mobileip.forwarding import layouts, rules, xdp
from mobileip.forwarding._libbpf import Map, Program
from mobileip.forwarding.build import SOURCE, build_both
from mobileip.forwarding.loader import load, unload
from tests.forwarding import worlds
from tests.forwarding.comparison import BATCH, Answer, Bench, Differs, Hook, Judgement
from tests.forwarding.conftest import PATIENCE, Namespace
from tests.forwarding.frames import Case, Generator
from tests.forwarding.test_rules_equal_programs import ENOUGH_TO_FIND_A_PLANT, FRAMES, SEED

pytestmark = pytest.mark.namespaces
# `struct xdp_md` as BPF_PROG_TEST_RUN takes it: data_end at 4, ingress_ifindex at 12.
CONTEXT = struct.Struct("=4xI4xI8x")
DROP, PASS, REDIRECT = 1, 2, 4
# All next hops resolved, and GRO, which gives a veth the receive queue that a test run asks for.
RESOLVED = {
    "pub": ("203.0.113.1", "203.0.113.20", "203.0.113.21"),
    "priv": ("192.0.2.11", "192.0.2.20", "192.0.2.21", "192.0.2.40", "192.0.2.41"),
    "mip1": ("192.0.2.20", "203.0.113.20"),
}
ROUTES = {"198.51.100.0/24": "203.0.113.1", "192.0.2.32/27": "192.0.2.11", "192.0.2.64/26": "192.0.2.11"}
# What the fast path is for: it does (nearly) all of these by itself.
FAST = {
    "node_to_gateway",
    "keepalive_answered",
    "home_agent_to_gateway",
    "gateway_to_node",
    "gateway_to_home_agent",
    "gateway_to_subnet",
    "home_agent_to_node",
    "node_to_node",
    "truncated",
    "outer_checksum",
    "inner_malformed",
    "unknown_gateway",
    "no_binding",
    "binding_expired",
    "care_of_mismatch",
    "encapsulation_mismatch",
    "port_mismatch",
    "half_bound",
    "home_agent_mismatch",
    "inner_protocol",
    "gateway_mac",
    "no_sa_at_gateway",
    "not_mobility_subnet",
    "wrong_interface",
}
# What is tc's alone. "to_stack": a decapsulated packet would be looked at by tc's program as if it had come so.
ONLY_TC = {"stack", "copies", "to_stack", "to_wire", "too_big", "too_big_answered", "cut_in_two", "outer_fragment"}


def neighbour(address: IPv4Address) -> bytes:
    return b"\x02\xaa" + address.packed


def interfaces_script() -> str:
    lines = [worlds.INTERFACES]
    for interface, addresses in RESOLVED.items():
        lines.append(f"ethtool -K {interface} gro on")
        for address in addresses:
            mac = neighbour(IPv4Address(address)).hex(":")
            lines.append(f"ip neighbour replace {address} lladdr {mac} nud permanent dev {interface}")
    lines += [f"ip route replace {network} via {router}" for network, router in ROUTES.items()]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def interfaces(needs_root: None) -> Iterator[tuple[Namespace, dict[str, int]]]:
    made = Namespace()
    made.shell(interfaces_script())
    names = ("pub", "priv", "mip1")
    yield made, {name: int(made.shell(f"ip -o link show {name}").split(":")[0]) for name in names}
    made.close()


def write_links(pin_dir: Path, world: worlds.World) -> None:
    """Every interface takes redirected frames."""
    flags = int(xdp.Flags.NATIVE | xdp.Flags.TAKES_FRAMES | xdp.Flags.TAKES_BUFFERS)
    rows = [
        layouts.LINK.pack(ifindex=index, mac=link.mac, flags=flags, why=1) for index, link in world.tables.links.items()
    ]
    Map(pin_dir / "maps" / "links").put(bytes(4), b"".join(rows).ljust(layouts.LINKS.size, b"\0"))


def expected_macs(world: worlds.World, want: rules.Verdict) -> bytes:
    """The Ethernet addresses of what leaves: the next hop's, and the interface's own."""
    hop = want.next_hop
    if hop is None:
        hop = IPv4Address(want.frame[30:34])
        for network, router in ROUTES.items():
            if hop in IPv4Network(network):
                hop = IPv4Address(router)
    return neighbour(hop) + world.tables.links[want.ifindex].mac


@dataclass
class Xdp(Hook):
    """XDP's programs: they do what the model says, or leave the frame to tc as it came."""

    world: worlds.World
    pinned_in = "xdp"
    seen: Counter[str] = field(default_factory=Counter)
    """How often the model said what, and how often XDP did it by itself; of what tc alone does, never."""
    done: Counter[str] = field(default_factory=Counter)

    def run(self, program: Program, case: Case, ifindex: int) -> Answer:
        """Without mark and merged segments, of which XDP knows nothing."""
        return Answer(*program.test_run(case.frame, CONTEXT.pack(len(case.frame), ifindex)))

    def judge(self, case: Case, want: rules.Verdict, answer: Answer) -> Judgement:
        """Nothing is counted of what is left to tc."""
        kind = _kind(self.world, want)
        self.seen[kind] += 1
        if answer.code == PASS:
            return Judgement([] if answer.frame == case.frame else ["passed, but changed"], is_decided=False)
        self.done[kind] += 1
        problems = [f"action: {kind} is tc's, program {answer.code}"] if kind in ONLY_TC else []
        if (answer.code, want.action) == (REDIRECT, rules.Action.REDIRECT):
            right = expected_macs(self.world, want) + want.frame[12:]
            if answer.frame != right:
                problems.append(f"frame: model   {right.hex()}\n       program {answer.frame.hex()}")
        elif (answer.code, want.action) != (DROP, rules.Action.DROP):
            problems.append(f"action: model {want.action.name} {want.reason or want.outcome}, program {answer.code}")
        return Judgement(problems, {name: 1 for name in (want.reason, want.outcome) if name is not None})


def _kind(world: worlds.World, want: rules.Verdict) -> str:
    if want.copies:
        return "copies"
    if want.action is rules.Action.CHANGED:
        return "to_stack"
    if world.tables.proxy is not None and want.ifindex == world.tables.proxy.wire_ifindex is not None:
        return "to_wire"  # one box: the gateway is this host, and no route leads to it
    if want.outcome == "keepalive_answered" and world.tables.route(IPv4Address(want.frame[30:34])) != want.ifindex:
        return "no_way_back"  # it came in by an interface that does not lead to its sender
    return want.reason or want.outcome or "stack"


def compare_all(
    object_path: Path, pin_dir: Path, interfaces: dict[str, int], count: int
) -> tuple[Counter[str], Counter[str]]:
    """Compare `count` frames over all worlds: how often the model said what, and how often XDP did it by itself.

    Both not counted where segments are limited, which is tc's.
    """
    now = time.time()
    load(object_path, pin_dir, [], programs=sorted(xdp.PROGRAMS), max_bindings=1024)
    seen: Counter[str] = Counter()
    done: Counter[str] = Counter()
    try:
        every = list(worlds.worlds(now, interfaces["pub"], interfaces["priv"], interfaces["mip1"]))
        share = -(-count // len(every))
        for number, world in enumerate(every):
            ifindex = {name: interfaces[world.programs[name]] for name in sorted(xdp.PROGRAMS)}
            hook = Xdp(world)
            bench = Bench(pin_dir, world, ifindex, now, hook)
            write_links(pin_dir, world)
            generator = Generator(SEED + number, every[1].tables if number == 0 else world.tables, ifindex)
            bench.compare(islice(of_the_wire(generator), share))
            if not world.tables.policy.tcp_mss:
                seen += hook.seen
                done += hook.done
    finally:
        unload(pin_dir, [])
    return seen, done


def of_the_wire(generator: Generator) -> Iterator[Case]:
    """What XDP can be given: no copies that tc made, and nothing merged."""
    while True:
        for case in generator.cases(BATCH):
            if case.mark in (0, 7):
                yield replace(case, mark=0, gso_size=0)


@pytest.mark.timeout(900 * PATIENCE)
def test_xdp_does_what_the_model_says_or_leaves_it_to_tc(
    interfaces: tuple[Namespace, dict[str, int]], bpf_object: Path, pin_dir: Path
) -> None:
    namespace, indices = interfaces
    started = time.monotonic()
    seen, done = namespace.run_long(compare_all, bpf_object, pin_dir, indices, FRAMES)
    took = time.monotonic() - started
    print(f"{FRAMES} frames in {took:.0f} s, by XDP {done.total()} of {seen.total()}: {dict(seen.most_common())}")
    # The rest does not fit.
    for kind in FAST:
        assert 0.8 * seen[kind] <= done[kind] > 0, f"{kind}: {done[kind]} of {seen[kind]} by XDP"


# (file, what stands there, what a careless hand might write)
PLANTED = [
    ("context_xdp.h", "destination[0] == own->mac[0] && destination[1] == own->mac[1] &&", "1 || "),
    ("finish_xdp.h", "plan->copies ||", "0 ||"),
    ("finish_xdp.h", "length > (known ? known : 0xffff)", "length > 0xffff + known"),
    ("finish_xdp.h", "fib->smac, ETH_ALEN", "fib->dmac, ETH_ALEN"),
    ("proxy.h", "b->home_agent != p->outer.saddr", "0"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), PLANTED, ids=range(len(PLANTED)))
def test_a_planted_bug_of_the_fast_path_is_caught(
    interfaces: tuple[Namespace, dict[str, int]], pin_dir: Path, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    copy = shutil.copytree(SOURCE.parent, tmp_path / "bpf")
    text = (copy / name).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (copy / name).write_text(text.replace(right, wrong), encoding="utf-8")
    spoilt = build_both(tmp_path / "spoilt.bpf.o", copy)
    namespace, indices = interfaces
    with pytest.raises(Differs):
        namespace.run_long(compare_all, spoilt, pin_dir, indices, ENOUGH_TO_FIND_A_PLANT)
