"""What the captures say: every statement of the report about packets comes from here, through tshark.

A frame is read once, into `Frame`: all its IP headers from the outside in, and what the innermost known protocol is.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FIELDS = (
    "frame.time_epoch",
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "udp.srcport",
    "udp.dstport",
    "mip.type",
    "mip.code",
    "mip.ident",
    "mip.homeaddr",
    "esp.spi",
    "isakmp.exchangetype",
    "isakmp.messageid",
    "_ws.malformed",
    "frame.protocols",
    "ip.checksum.status",
)
UDP, ESP = 17, 50
IP_IN_IP = 4
MIP_PORT = 434
REQUEST, REPLY, TUNNEL_DATA = 1, 3, 4


class CaptureError(RuntimeError):
    """tshark could not read a capture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame; addresses and protocols from the outermost IP header inwards."""

    time: float
    eth_source: str
    eth_destination: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    protocols: tuple[int, ...]
    udp_ports: tuple[tuple[int, int], ...]
    mip_types: tuple[int, ...]
    mip_code: int | None
    identification: str
    home_address: str
    spi: str
    ike: bool
    ike_message: str
    malformed: bool
    stack: str

    @property
    def registration(self) -> int | None:
        """Type of the registration message that it is: none for one quoted in an ICMP error, or in a tunnel."""
        kind = self.mip_types[0] if self.mip_types and self.protocols == (UDP,) else None
        return kind if kind in (REQUEST, REPLY) else None

    @property
    def outer(self) -> tuple[str, str]:
        """Source and destination of the outermost IP header."""
        return (self.sources[0], self.destinations[0]) if self.sources else ("", "")

    @property
    def is_esp(self) -> bool:
        """Whether native ESP is what the frame carries innermost (as far as anyone on the wire can see)."""
        return bool(self.protocols) and self.protocols[-1] == ESP

    @property
    def encapsulation(self) -> str:
        """How a tunnelled frame is wrapped: `ip-in-ip`, `mip-udp`, or `none`."""
        if len(self.protocols) > 1 and self.protocols[0] == IP_IN_IP:
            return "ip-in-ip"
        if len(self.protocols) > 1 and self.protocols[0] == UDP and TUNNEL_DATA in self.mip_types:
            return "mip-udp"
        return "none"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part, 0) for part in text.split(",") if part)


def _frame(line: str) -> Frame:
    value = dict(zip(FIELDS, line.rstrip("\n").split("\t"), strict=True))
    codes = _numbers(value["mip.code"])
    return Frame(
        time=float(value["frame.time_epoch"]),
        eth_source=value["eth.src"].split(",")[0],
        eth_destination=value["eth.dst"].split(",")[0],
        sources=tuple(part for part in value["ip.src"].split(",") if part),
        destinations=tuple(part for part in value["ip.dst"].split(",") if part),
        protocols=_numbers(value["ip.proto"]),
        udp_ports=tuple(zip(_numbers(value["udp.srcport"]), _numbers(value["udp.dstport"]), strict=True)),
        mip_types=_numbers(value["mip.type"]),
        mip_code=codes[0] if codes else None,
        identification=value["mip.ident"],
        home_address=value["mip.homeaddr"],
        spi=value["esp.spi"],
        ike=bool(value["isakmp.exchangetype"]),
        ike_message=value["isakmp.messageid"] + "/" + value["isakmp.exchangetype"],
        malformed=bool(value["_ws.malformed"]) or "_ws.malformed" in value["frame.protocols"],
        stack=value["frame.protocols"],
    )


def _tshark(capture: Path, *arguments: str) -> list[str]:
    command = ["tshark", "-n", "-r", str(capture), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0 and "cut short" not in done.stderr:
        raise CaptureError(f"{capture}: tshark says: {done.stderr.strip()}")
    return done.stdout.splitlines()


def _decode_as_mip(capture: Path) -> list[str]:
    """Name every port that spoke with port 434.

    A NAT gives a second node behind it another source port, from 1 to 511 as the first was, and tshark would take the
    frames for the protocol that owns that one.
    """
    # The first of each alone: what travels inside the tunnel (IKE, from port 500) keeps its own decoder.
    fields = ("-T", "fields", "-E", "occurrence=f", "-e", "udp.srcport", "-e", "udp.dstport")
    lines = set(_tshark(capture, "-Y", f"udp.port == {MIP_PORT}", *fields))
    ports = {port for line in lines for port in line.split("\t") if port}
    return [argument for port in sorted(ports) for argument in ("-d", f"udp.port=={port},mip")]


def read(capture: Path, display_filter: str = "ip") -> list[Frame]:
    """Decode `capture` with tshark, oldest frame first.

    Raises `CaptureError` with tshark's words when it fails for another reason than a last frame cut by our own stop.
    """
    fields = [argument for name in FIELDS for argument in ("-e", name)]
    lines = _tshark(
        capture, *_decode_as_mip(capture), "-Y", display_filter, "-T", "fields", "-E", "occurrence=a", *fields
    )
    return [_frame(line) for line in lines]


def within(frames: Iterable[Frame], start: float, end: float) -> Iterator[Frame]:
    """Frames captured from `start` up to, not including, `end` (Unix seconds)."""
    return (frame for frame in frames if start <= frame.time < end)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A registration request and the reply that answers it."""

    requested: float
    replied: float
    code: int
    agent: str
    """The address that the request was sent to."""

    @property
    def round_trip(self) -> float:
        """Seconds from the request to its reply."""
        return self.replied - self.requested


def exchanges(frames: Iterable[Frame], home_address: str) -> list[Exchange]:
    """Pair the requests and replies of one node on its own link, in order of the replies: by Identification and agent.

    A retransmission has an Identification of its own (RFC 5944 5.7.1), so each pair is one attempt that was answered.
    tshark shows an Identification to the nanosecond; two requests of one moment to two agents may look alike.
    """
    requests: dict[tuple[str, str], Frame] = {}
    pairs: list[Exchange] = []
    for frame in frames:
        if frame.home_address != home_address:
            continue
        if frame.registration == REQUEST:
            requests.setdefault((frame.identification, frame.outer[1]), frame)
        elif frame.registration == REPLY and frame.mip_code is not None:
            request = requests.pop((frame.identification, frame.outer[0]), None)
            if request is None:
                continue
            pairs.append(Exchange(request.time, frame.time, frame.mip_code, request.outer[1]))
    return pairs


def ike_messages(frames: Iterable[Frame], gateway: str) -> list[Frame]:
    """IKE messages to or from the VPN gateway in the clear form in which they reach its own wire, each counted once."""
    return [frame for frame in frames if frame.ike and gateway in frame.outer and len(frame.protocols) == 1]


def esp_frames(frames: Iterable[Frame], gateway: str) -> list[Frame]:
    """ESP packets to or from the VPN gateway as they reach its own wire."""
    return [frame for frame in frames if gateway in frame.outer and frame.protocols == (ESP,)]


def longest_gap(times: Iterable[float], start: float, end: float, pauses: Sequence[tuple[float, float]] = ()) -> float:
    """Longest silence, in seconds, between events of [start, end) and the last before; to `end` if none comes.

    What of a silence lies in `pauses` (end in Unix seconds, length in seconds) does not count: nobody ran then.
    """
    ordered = sorted(times)
    inside = [moment for moment in ordered if start <= moment < end]
    before = [moment for moment in ordered if moment < start][-1:]
    gaps = itertools.pairwise(before + inside) if inside else [(before[0] if before else start, end)]

    def counted(earlier: float, later: float) -> float:
        overlaps = (min(later, over) - max(earlier, over - length) for over, length in pauses)
        return later - earlier - sum(max(0.0, overlap) for overlap in overlaps)

    return max(itertools.starmap(counted, gaps), default=0.0)


def longest_loss(delivered: Iterable[tuple[int, float]], start: float, end: float) -> float:
    """Longest time, in seconds, in which nothing that was sent arrived; to `end` if nothing did any more.

    `delivered` holds number and time of sending of what arrived. What was sent in [start, end) counts, and how long the
    last before was away. A sender that stood still lost nothing, and whether a path is longer than the one before does
    not matter.
    """
    ordered = sorted(delivered)
    before = [one for one in ordered if one[1] < start][-1:]
    inside = [one for one in ordered if start <= one[1] < end]
    if not inside:
        return end - (before[0][1] if before else start)
    pairs = itertools.pairwise(before + inside)
    return max((later - earlier for (one, earlier), (two, later) in pairs if two > one + 1), default=0.0)
