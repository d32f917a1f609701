"""Hand-off rows: the roaming session with a 2 ms probe, at 0 and at 50 ms of path delay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roaming import report
from roaming.lab_hosts import LabHosts
from roaming.session import Plan, record

from .delay import path_delay
from .rows import Group, Measured, Row

OUTAGE = Row("handoff_outage_over_rtt_ms", "ms", 20)
IKE = Row("handoff_ike_messages", "messages", 0)
ROUTE = ("home", "open", "nat", "fa", "open", "home", "open")
PROBE_SECONDS = 0.002
DELAYS_MS = (0, 50)
OUTPUT = Path("build/bench/handoff")


def _excess(move: report.MoveResult) -> float:
    return move.outage_ms - 1.2 * move.registration_rtt_ms


def measure(say: Callable[[str], None]) -> dict[str, Measured]:
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
        )
        with path_delay(hosts.lab, milliseconds=delay):
            recording = record(hosts, plan, OUTPUT / f"{delay}ms", say)
        analysis = report.analyse(recording, hosts.address("vpngw", "pub"))
        print(report.table(analysis))
        for move in analysis.moves:
            if move.target in report.OUTSIDE and not move.esp_frames:
                raise RuntimeError(f"{move.origin} -> {move.target} at {delay} ms: the capture shows no ESP")
            if not move.exchanges:
                raise RuntimeError(f"{move.origin} -> {move.target} at {delay} ms: no registration was answered")
        moves += [(delay, move) for move in analysis.moves[1:]]
    delay, worst = max(moves, key=lambda pair: _excess(pair[1]))
    where = f"{worst.origin} -> {worst.target} at {delay} ms one-way path delay"
    how = (
        f"longest gap of a 2 ms UDP probe less 1.2 x registration round trip on the node's link, worst of {len(moves)} "
        f"moves ({', '.join(ROUTE)}; at 0 and 50 ms one way between Internet and outer firewall): {where}, "
        f"{worst.outage_ms} ms less 1.2 x {worst.registration_rtt_ms} ms"
    )
    return {
        OUTAGE.name: Measured(round(_excess(worst), 1), how),
        IKE.name: Measured(
            sum(move.ike_messages for _, move in moves),
            "IKE messages on the public DMZ segment over the same moves; the capture shows ESP in each stay outside",
        ),
    }


GROUP = Group((OUTAGE, IKE), measure)
