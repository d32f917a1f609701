"""TCP goodput through the proxy with the kernel's ESP, in a guest."""

from __future__ import annotations

from collections.abc import Callable

from tests.interop import goodput

from ..rows import Group, Measured, Row

GOODPUT = Row("tcp_goodput_ratio_through_proxy", "ratio", 0.95, at_most=False)


def measure(say: Callable[[str], None]) -> dict[str, Measured]:
    """Both directions; the worse one counts."""
    ratios = {}
    for direction, found in goodput.measure().items():
        ratios[direction] = round(found.ratio, 2)
        say(f"{direction}: {found.through_proxy / 1e6:.1f} Mbit/s, {found.without_proxy / 1e6:.1f} without the proxy")
    how = (
        "TCP payload a second with the kernel's ESP in a guest, through the proxy against the same without it; medians "
        f"of {goodput.RUNS} in turn, same generator (iperf3), MTU and cipher; the worse direction counts. All hosts "
        "share the guest's emulated processors: the work of a packet on all of them together"
    )
    return {GOODPUT.name: Measured(min(ratios.values()), how, ratios)}


GROUP = Group((GOODPUT,), measure, minutes=4, needs_hosts=False)
