"""TCP goodput with the kernel's ESP, with the proxy and without, in one guest.

`measure()` boots the guest and returns medians of five in bits of payload a second, the two sides in turn after one run
of each that does not count, by direction. With the proxy: the node's ESP from its home address in an IP-in-IP tunnel to
MIPP-Pub, what is for the node through the home agent's tunnel. Without: the node's ESP from its care-of address, the
gateway's own routes. Node, gateway, `office`, MTUs, cipher (AES-GCM) and generator (iperf3) are the same; the tunnels'
headers and hops are the difference.

What limits the rate: all hosts share the processors of a guest, which are emulated, ciphers included. No wire is one,
and time is the machine's. So this is the work a packet takes on all hosts together; rates mean nothing outside a guest.

`python -m tests.interop.goodput` prints the same as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from mobileip.forwarding.entries import Encapsulation
from tests.guest import Guest, GuestError
from tests.interop.ground import CARE_OF, HOME, OFFICE, Ground, ground
from tests.interop.prepare import prepare

RUNS = 5
_MADE = Path(__file__).resolve().parents[2] / "build/guest/made"


@dataclass(frozen=True)
class Goodput:
    """Medians for one direction, in bits of payload a second."""

    through_proxy: float
    without_proxy: float

    @property
    def ratio(self) -> float:
        """1 when the proxy costs nothing."""
        return self.through_proxy / self.without_proxy


def measure(*, seconds: float = 3, minutes: float = 15, output: TextIO | None = None) -> dict[str, Goodput]:
    """`from_node` and `to_node`, of streams of `seconds` each.

    Takes two minutes on an idle machine. Raises GuestError when the guest does not come to an end in `minutes`.
    """
    command = [sys.executable, "-m", "tests.interop.goodput", "inside", f"{seconds:g}"]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = Guest().run("goodput", command, minutes=minutes, environment={**prepare(_MADE), **paths}, output=output)
    if done.status:
        raise GuestError(f"goodput: ended with {done.status}:\n{done.output[-2000:]}")
    report = json.loads((done.results / "goodput.json").read_text(encoding="utf-8"))
    return {direction: Goodput(**medians) for direction, medians in report.items()}


def _inside(seconds: float, results: Path) -> None:
    bpffs = Path("/sys/fs/bpf/goodput")
    bpffs.mkdir()
    with ground(Path(os.environ["BPF_OBJECT"]), bpffs) as site:
        site.agent_device(Encapsulation.IPIP)
        report = {name: asdict(_medians(site, seconds, name == "to_node")) for name in ("from_node", "to_node")}
    (results / "goodput.json").write_text(json.dumps(report), encoding="utf-8")


def _medians(site: Ground, seconds: float, reverse: bool) -> Goodput:
    sides: dict[str, tuple[Callable[[], None], str]] = {
        "through_proxy": (lambda: site.tunnel(Encapsulation.IPIP), HOME),
        "without_proxy": (site.no_tunnel, CARE_OF),
    }
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(RUNS + 1):
        for side, (lay, source) in sides.items():
            lay()
            site.protect(source)
            before = site.tables().counters().packets
            stream = site.stream("office", OFFICE, source=source, length=f"-t {seconds:g}", reverse=reverse)
            carried = site.tables().counters().packets["node_to_gateway"] - before["node_to_gateway"]
            if (carried > stream.received // 64000) != (side == "through_proxy"):
                raise RuntimeError(f"{side}: not the intended path: the proxy carried {carried} packets of the node")
            if number:
                found[side].append(stream.bits_per_second)
            print(f"{'to' if reverse else 'from'} node, {side}: {stream.bits_per_second / 1e6:.1f} Mbit/s", flush=True)
    return Goodput(**{side: statistics.median(rates) for side, rates in found.items()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        _inside(float(sys.argv[2]), Path(os.environ["GUEST_RESULTS"]))
    else:
        measured = measure(output=sys.stderr)
        print(json.dumps({name: {**asdict(side), "ratio": side.ratio} for name, side in measured.items()}, indent=2))
