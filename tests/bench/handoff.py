"""Hand-off rows: the roaming session with a 2 ms probe each way, at 0 and at 50 ms of path delay; and what the same
moves cost VPN clients without Mobile IP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from roaming import report, wire
from roaming.lab_hosts import LabHosts
from roaming.session import Plan, Program, record

from . import rivals
from .delay import path_delay
from .rivals import Rival
from .rows import Group, Measured, Row

OUTAGE = Row("handoff_outage_over_rtt_ms", "ms", 20)
IKE = Row("handoff_ike_messages", "messages", 0)
STALL = Row("handoff_tcp_stall_ms", "ms", 250)
VS_MOBIKE = Row("handoff_vs_mobike_ratio", "ratio", 0.5)
VS_REESTABLISH = Row("handoff_vs_reestablish_ratio", "ratio", 0.2)
ROUTE = ("home", "open", "nat", "fa", "open", "home", "open")
PROBE_SECONDS = 0.002
DELAYS_MS = (0, 50)
OUTPUT = Path("build/bench/handoff")
RIVAL_ROUTE = ("nat", "open")
"""A client without Mobile IP needs an address of its own, and has no business inside."""
RIVAL_ROUNDS = 3
DWELL = 5.0
LONGEST_WAIT = 30.0
"""Seconds after a move in which a client may recover."""

Say = Callable[[str], None]


def excess(move: report.MoveResult) -> float:
    """The longer of both directions' outages, in milliseconds beyond 1.2 times the registration's round trip."""
    return max(move.one_way_ms.values()) - 1.2 * move.registration_rtt_ms


def measure(say: Say) -> dict[str, Measured]:
    """Roam once at each delay; all moves but the first count.

    Raises when a session breaks or a capture shows no ESP: a silent wire proves nothing.
    """
    hosts = LabHosts()
    moves: list[tuple[int, report.MoveResult]] = []
    for delay in DELAYS_MS:
        hosts.ensure_at("mn", ROUTE[0])
        plan = Plan(
            home_address=hosts.home_address("mn"),
            correspondent=hosts.address("cn", "eth0"),
            networks=ROUTE,
            probe_interval=PROBE_SECONDS,
            each_way=True,
            everywhere=False,
        )
        with path_delay(hosts.lab, milliseconds=delay):
            recording = record(hosts, plan, OUTPUT / f"{delay}ms", say)
        analysis = report.analyse(recording, hosts.address("vpngw", "pub"))
        print(report.table(analysis))
        if not analysis.tcp_session_survived:
            raise RuntimeError(f"the TCP session broke at {delay} ms: {analysis.why_not}")
        for move in analysis.moves:
            if move.target in report.OUTSIDE and not move.esp_frames:
                raise RuntimeError(f"{move.origin} -> {move.target} at {delay} ms: the capture shows no ESP")
            if not move.exchanges:
                raise RuntimeError(f"{move.origin} -> {move.target} at {delay} ms: no registration was answered")
        moves += [(delay, move) for move in analysis.moves[1:]]
    return judged(moves)


def judged(moves: list[tuple[int, report.MoveResult]]) -> dict[str, Measured]:
    """The rows of a session's moves, each with the one-way path delay at which it was made."""
    names = [f"{number} {move.origin} -> {move.target}, {delay} ms" for number, (delay, move) in enumerate(moves, 1)]
    worst = max(range(len(moves)), key=lambda index: excess(moves[index][1]))
    move = moves[worst][1]
    echoes = {
        path: max(move.outage_ms - 1.2 * move.registration_rtt_ms for delay, move in moves if delay == path)
        for path, _ in moves
    }
    stalls = {name: move.tcp_stall_ms for name, (delay, move) in zip(names, moves, strict=True) if delay == 0}
    return {
        OUTAGE.name: Measured(
            round(excess(move), 1),
            f"longest time in which nothing of a 2 ms UDP probe arrived, by the time of sending, each direction for "
            f"itself, less 1.2 x registration round trip on the node's link, worst of {len(moves)} moves "
            f"({', '.join(ROUTE)}; at 0 and 50 ms one way between Internet and outer firewall): {names[worst]}: "
            f"{max(move.one_way_ms.values())} ms less 1.2 x {move.registration_rtt_ms} ms. The longest silence of an "
            f"echo, which also waits for the path there and back: "
            + ", ".join(f"{beyond:.1f} ms beyond at {path} ms" for path, beyond in echoes.items()),
            {name: round(excess(move), 1) for name, (_, move) in zip(names, moves, strict=True)},
        ),
        IKE.name: Measured(
            sum(move.ike_messages for _, move in moves),
            "IKE messages on the public DMZ segment over the same moves; the capture shows ESP in each stay outside",
        ),
        STALL.name: Measured(
            max(stalls.values()),
            "longest time without data at the node's end of the TCP stream over the same moves at 0 ms delay",
            stalls,
        ),
    }


@dataclass(frozen=True, slots=True)
class _Side:
    """Who moves: the probe's own address, and the host and address that answer it."""

    source: str
    host: str
    address: str


def _outages(hosts: LabHosts, side: _Side, directory: Path) -> list[float]:
    """Move through `RIVAL_ROUTE` under an echo probe; what each move cost, in milliseconds.

    A client that has not recovered by the end of `LONGEST_WAIT` is taken at that.
    """
    directory.mkdir(parents=True, exist_ok=True)
    windows = []
    with ExitStack() as stack:
        echo = Program(hosts, side.host, "probe.py", ("echo",), directory / "echo.jsonl")
        stack.callback(echo.finish)
        echo.wait_for("listening", 10)
        where = ("send", "--address", side.address, "--source", side.source, "--interval", str(PROBE_SECONDS))
        probe = Program(hosts, "mn", "probe.py", where, directory / "probe.jsonl")
        stack.callback(probe.finish)
        probe.wait_for("reply", 20)
        time.sleep(1)
        for network in RIVAL_ROUTE:
            started = time.time()
            hosts.move("mn", network)
            while time.time() < started + LONGEST_WAIT:
                time.sleep(DWELL)
                if any(float(event["t"]) > time.time() - 1 for event in probe.events() if event["event"] == "reply"):
                    break
            windows.append((started, time.time()))
        replies = [float(event["t"]) for event in probe.events() if event["event"] == "reply"]
    # A window's end counts as a reply: whoever has not recovered by then has been silent at least so long.
    return [1000 * wire.longest_gap([*replies, end - 1e-6], started, end) for started, end in windows]


def measure_rivals(say: Say) -> dict[str, Measured]:
    """The mobile node, a MOBIKE client and a plain IKE client, in turn, through the same two networks."""
    hosts = LabHosts()
    ours = _Side(hosts.home_address("mn"), "cn", hosts.address("cn", "eth0"))
    other = _Side(rivals.INNER, "vpngw", rivals.TARGET)
    taken: dict[str, list[float]] = {"mobileip": [], "mobike": [], "plain": []}

    def take(name: str, side: _Side) -> None:
        found = _outages(hosts, side, OUTPUT / name)
        say(f"{name}: " + ", ".join(f"{outage:.0f} ms" for outage in found))
        taken[name] += found

    for _ in range(RIVAL_ROUNDS):
        hosts.ensure_at("mn", "open")
        hosts.wait_for_sa("mn")
        take("mobileip", ours)
        for rival in Rival:
            with rivals.client(hosts, rival):
                take(rival.name.lower(), other)
    return compared(taken)


def compared(taken: dict[str, list[float]]) -> dict[str, Measured]:
    """The rows of three kinds of client, from the outages in milliseconds of each."""
    medians = {name: median(values) for name, values in taken.items()}

    def row(name: str, client: str) -> Measured:
        return Measured(
            round(medians["mobileip"] / medians[name], 2),
            f"median of {len(taken['mobileip'])} moves between networks {' and '.join(RIVAL_ROUTE)}, silence of a 2 ms "
            f"echo probe: {medians['mobileip']:.0f} ms ({_list(taken['mobileip'])}) against {medians[name]:.0f} ms "
            f"({_list(taken[name])}) of {client} (strongSwan, userspace ESP, on the same hosts, moved in the same way)",
        )

    return {
        VS_MOBIKE.name: row("mobike", "a MOBIKE client"),
        VS_REESTABLISH.name: row("plain", "a plain IKE client, which begins anew"),
    }


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


GROUP = Group((OUTAGE, IKE, STALL), measure, minutes=4)
RIVALS_GROUP = Group((VS_MOBIKE, VS_REESTABLISH), measure_rivals, minutes=3)
