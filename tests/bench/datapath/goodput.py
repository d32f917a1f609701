"""TCP goodput through the proxy with the kernel's ESP, in a guest."""

from __future__ import annotations

from collections.abc import Callable

from tests.interop import goodput
from tests.interop.goodput import Limited

from ..rows import Group, Measured, Row

GOODPUT = Row("tcp_goodput_ratio_through_proxy", "ratio", 0.95, at_most=False)
WORK = Row("tcp_work_ratio_through_proxy", "ratio", None)

_BOTH = (
    "TCP payload a second with the kernel's ESP in a guest, through the proxy against the same without it; medians of "
    f"{goodput.RUNS} in turn, same generator (iperf3), sink, flow, MTU and cipher; the worse direction counts; "
    "every run took its path by the counters of the proxy's programs and of the SAs. Time is counted instructions. "
)
_LIMITS = {
    GOODPUT: f"Limit: the node's access link of {goodput.LINK // 1_000_000} Mbit/s, which all hosts can fill",
    WORK: "Limit: one processor that all hosts share: a packet's work on node, gateway, proxy, home agent and routers",
}


def measure(say: Callable[[str], None]) -> dict[str, Measured]:
    """Both rows come out of one guest."""
    found = goodput.measure()
    return {row.name: _told(say, row, found[limit]) for row, limit in ((GOODPUT, "link"), (WORK, "work"))}


def _told(say: Callable[[str], None], row: Row, limited: Limited) -> Measured:
    sides = {"from the node": limited.from_node, "to the node": limited.to_node}
    for direction, side in sides.items():
        with_it, without = side.through_proxy / 1e6, side.without_proxy / 1e6
        say(f"{row.name}, {direction}: {with_it:.1f} Mbit/s, {without:.1f} without the proxy")
    ratios = {direction: round(side.ratio, 3) for direction, side in sides.items()}
    return Measured(min(ratios.values()), _BOTH + _LIMITS[row], ratios)


GROUP = Group((GOODPUT, WORK), measure, minutes=7.5, needs_hosts=False)
