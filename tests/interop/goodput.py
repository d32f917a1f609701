"""TCP goodput with the kernel's ESP, with the proxy and without, in one guest.

`measure()` boots the guest and returns medians of five in bits of payload a second, the two sides in turn after a run
of each that does not count. With the proxy: the node's ESP from its home address in an IP-in-IP tunnel to MIPP-Pub;
what is for the node goes through the home agent's tunnel. Without: the node's ESP from its care-of address, the
gateway's own routes. Node, gateway, `office`, MTUs, cipher (AES-GCM), generator (iperf3) and sink are the same; the
tunnels' headers, hops and programs are the difference.

Two things can limit a stream, and each is measured in both directions:

- `link`: the node's access link carries LINK bits a second each way, which every host can fill on either side. What a
  user gets.
- `work`: nothing but one processor, which all hosts share: the work of a packet on all of them together. More than what
  a user loses, since proxy and home agent are hosts of their own, but it shows every instruction.

Time is counted instructions (`Guest.counted_time`), so neither depends on how busy the machine is, nor on how dear
ciphers are to an emulator. Rates mean nothing outside the guest; ratios do. docs/decisions/goodput.md says more.

`python -m tests.interop.goodput` prints the same as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TextIO

from mobileip.forwarding.entries import Encapsulation
from tests.guest import Guest, GuestError
from tests.interop.ground import CARE_OF, HOME, OFFICE, Ground, Stream, ground
from tests.interop.prepare import prepare

RUNS = 5
LINK = 20_000_000
"""Bits a second of the access link, headers down to Ethernet's included."""
_QUEUE = "1s"
_LENGTH = {"link": "-t 1 -w 208K", "work": "-n 4M"}
"""Of a stream, as iperf3 takes it. A link's queue need hold no more than a window that fills it, and never drops."""
_MOST_IN_A_PACKET = 1460
_THERE, _BACK, _INSIDE = "node_to_gateway", "gateway_to_node", "home_agent_to_gateway"
_BESIDE = 0.02
"""Share of the packets that may be counted at one place and not at the other: on their way, or answered by ICMP."""
_MADE = Path(__file__).resolve().parents[2] / "build/guest/made"


@dataclass(frozen=True)
class Goodput:
    """Medians of one direction, in bits of payload a second."""

    through_proxy: float
    without_proxy: float

    @property
    def ratio(self) -> float:
        """1 when the proxy costs nothing."""
        return self.through_proxy / self.without_proxy


@dataclass(frozen=True)
class Limited:
    """Both directions under the same limit."""

    from_node: Goodput
    to_node: Goodput

    @property
    def worst(self) -> float:
        """The ratio that counts."""
        return min(self.from_node.ratio, self.to_node.ratio)


def measure(*, minutes: float = 14, output: TextIO | None = None) -> dict[str, Limited]:
    """By what limits: `link` and `work`.

    Raises GuestError when the guest does not come to an end in `minutes`, or a run did not take the intended path.
    """
    command = [sys.executable, "-m", "tests.interop.goodput", "inside"]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    guest = Guest(cpus=1, counted_time=True)
    done = guest.run("goodput", command, minutes=minutes, environment={**prepare(_MADE), **paths}, output=output)
    if done.status:
        raise GuestError(f"goodput: ended with {done.status}:\n{done.output[-2000:]}")
    report = json.loads((done.results / "goodput.json").read_text(encoding="utf-8"))
    return {
        limit: Limited(**{direction: Goodput(**medians) for direction, medians in directions.items()})
        for limit, directions in report.items()
    }


def _inside(results: Path) -> None:
    bpffs = Path("/sys/fs/bpf/goodput")
    bpffs.mkdir()
    # What udev would have loaded: ciphers by the processor's instructions for them.
    subprocess.run(["modprobe", "aesni_intel"], check=True)
    with ground(Path(os.environ["BPF_OBJECT"]), bpffs) as site:
        site.agent_device(Encapsulation.IPIP)
        measured = _medians(site)
    if "rfc4106-gcm-aesni" not in Path("/proc/crypto").read_text(encoding="utf-8"):
        raise RuntimeError("/proc/crypto: no rfc4106-gcm-aesni; ESP was not what it is on a user's processor")
    slowest = min(side.through_proxy for side in measured["work"].values())
    if slowest < 1.5 * LINK:
        raise RuntimeError(f"the link is no limit: {LINK} bit/s, and the processor carries {slowest:.0f}")
    report = {limit: {way: asdict(side) for way, side in ways.items()} for limit, ways in measured.items()}
    (results / "goodput.json").write_text(json.dumps(report), encoding="utf-8")


@contextmanager
def _access_link(site: Ground, limit: str) -> Iterator[None]:
    """The node's wire, as slow as LINK says, both ways, where that is the limit."""
    ends = (("node", "eth0"), ("internet", "node0")) if limit == "link" else ()
    for host, interface in ends:
        site.shell(host, f"tc qdisc add dev {interface} root tbf rate {LINK}bit burst 16kb latency {_QUEUE}")
    yield
    for host, interface in ends:
        site.shell(host, f"tc qdisc del dev {interface} root")


def _medians(site: Ground) -> dict[str, dict[str, Goodput]]:
    """By what limits, and direction. All take turns; what each says first does not count."""
    found: dict[tuple[str, str, str], list[float]] = {
        case: [] for case in product(_LENGTH, ("from_node", "to_node"), ("through_proxy", "without_proxy"))
    }
    for _ in range(RUNS + 1):
        for (limit, direction, side), rates in found.items():
            with _access_link(site, limit):
                stream = _run(site, limit, side == "through_proxy", direction == "to_node")
            rates.append(stream.bits_per_second)
            print(
                f"{limit}, {direction}, {side}: {stream.bits_per_second / 1e6:.2f} Mbit/s, "
                f"{stream.segment} bytes a segment, {stream.retransmits} sent again",
                flush=True,
            )
    medians = {case: statistics.median(rates[1:]) for case, rates in found.items()}
    return {
        limit: {
            way: Goodput(medians[limit, way, "through_proxy"], medians[limit, way, "without_proxy"])
            for way in ("from_node", "to_node")
        }
        for limit in _LENGTH
    }


def _run(site: Ground, limit: str, through_proxy: bool, reverse: bool) -> Stream:
    """One stream. Raises RuntimeError if it did not take the intended path."""
    if through_proxy:
        site.tunnel(Encapsulation.IPIP)
    else:
        site.no_tunnel()
    source = HOME if through_proxy else CARE_OF
    site.protect(source)
    before = site.tables().counters()
    stream = site.stream("office", OFFICE, source=source, length=_LENGTH[limit], reverse=reverse)
    after = site.tables().counters()
    packets = Counter(after.packets)
    packets.subtract(before.packets)
    # The gateway is told once in a run how much fits.
    drops = {why: times - before.drops[why] for why, times in after.drops.items() if why != "too_big"}
    esp = dict(zip((_THERE, _BACK), site.decrypted_and_encrypted(), strict=True))
    problems = []
    if esp[_BACK if reverse else _THERE] * _MOST_IN_A_PACKET < stream.received:
        problems.append(f"{stream.received} bytes arrived, ESP carried {esp} packets")
    for row, expected in esp.items():
        wanted = expected if through_proxy else 0
        if abs(packets[row] - wanted) > _BESIDE * expected + 3:
            problems.append(f"the proxy carried {packets[row]} packets {row}, ESP {expected}")
    from_agent = after.bytes[_INSIDE] - before.bytes[_INSIDE]
    if through_proxy and reverse and from_agent < stream.received:
        problems.append(f"{stream.received} bytes arrived, the home agent's tunnel carried {from_agent}")
    if any(drops.values()):
        problems.append(f"dropped: {drops}")
    if problems:
        raise RuntimeError(f"{'with' if through_proxy else 'without'} the proxy, not the intended path: {problems}")
    return stream


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        _inside(Path(os.environ["GUEST_RESULTS"]))
    else:
        measured = measure(output=sys.stderr)
        print(json.dumps({limit: {**asdict(both), "ratio": both.worst} for limit, both in measured.items()}, indent=2))
