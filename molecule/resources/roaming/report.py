"""From a recording to the report: one row a move, and what held over all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from . import wire
from .session import LINK_OF_NETWORK, Move, Recording

ACCEPTED = (0, 1)
OUTSIDE = ("open", "nat", "fa")


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What one move cost, and how the node's packets travelled afterwards."""

    origin: str
    target: str
    outage_ms: float
    registration_rtt_ms: float
    ike_messages: int
    tcp_bytes_lost: int
    encapsulation: str
    exchanges: int
    esp_frames: int
    tcp_stall_ms: float
    own_outage_ms: float
    """The outage without the time in which the machine itself stood still and ran nobody."""
    one_way_ms: dict[str, float]
    """With a probe each way: the longest time in which nothing got to the node, and to the correspondent."""

    @property
    def within_bound(self) -> bool:
        """Was the outage what registration needs, and a tenth of a second for everything else?"""
        return self.own_outage_ms <= self.registration_rtt_ms * 1.2 + 100

    def as_report(self) -> dict[str, Any]:
        """Return the row as `report.json` holds it."""
        return {
            "from": self.origin,
            "to": self.target,
            "outage_ms": self.outage_ms,
            "registration_rtt_ms": self.registration_rtt_ms,
            "ike_messages": self.ike_messages,
            "tcp_bytes_lost": self.tcp_bytes_lost,
            "encapsulation": self.encapsulation,
        }


@dataclass(slots=True)
class Analysis:
    """All that the recording shows."""

    moves: list[MoveResult]
    tcp_session_survived: bool
    why_not: str
    esp_on_wire: str
    spis: list[str]
    frames: dict[str, list[wire.Frame]]

    def as_report(self, versions: dict[str, str]) -> dict[str, Any]:
        """Return the content of `report.json`."""
        return {
            "moves": [move.as_report() for move in self.moves],
            "tcp_session_survived": self.tcp_session_survived,
            "esp_on_wire": self.esp_on_wire,
            "versions": versions,
        }

    def details(self) -> list[dict[str, Any]]:
        """Return each move with everything that was measured."""
        return [asdict(move) for move in self.moves]


def _registration_ms(exchanges: list[wire.Exchange]) -> float:
    """Sum of the round trips that led to where the node is now.

    Outside that is the last exchange; inside, the proxy's 206 and the registration with the home agent after it.
    """
    if not exchanges:
        return 0.0
    needed = exchanges[-1:] if exchanges[-1].agent == exchanges[0].agent else exchanges[-2:]
    return sum(exchange.round_trip for exchange in needed) * 1000


def _encapsulation(frames: list[wire.Frame]) -> str:
    kinds = Counter(frame.encapsulation for frame in frames if frame.is_esp)
    return kinds.most_common(1)[0][0] if kinds else "none"


def _stream_events(recording: Recording) -> list[dict[str, Any]]:
    return [event for side in recording.streams.values() for event in side if event["event"] == "data"]


def _missing_bytes(recording: Recording, start: float, end: float) -> int:
    return sum(int(event["missing"]) for event in _stream_events(recording) if start <= event["t"] < end)


def _move_result(recording: Recording, frames: dict[str, list[wire.Frame]], move: Move, gateway: str) -> MoveResult:
    window = (move.started, move.ended)
    link = frames[LINK_OF_NETWORK[move.target]]
    pairs = wire.exchanges(wire.within(link, *window), recording.home_address)
    first = [pair for pair in pairs if pair.requested < move.moved + 2.0]
    at_gateway = list(wire.within(frames[recording.gateway_wire], *window))
    settled = max((pair.replied for pair in first), default=move.moved)
    replies = [float(event["t"]) for event in recording.probe if event["event"] == "reply"]
    arrivals = [float(event["t"]) for event in recording.streams["node"] if event["event"] == "data"]
    return MoveResult(
        origin=move.origin,
        target=move.target,
        outage_ms=round(wire.longest_gap(replies, *window) * 1000, 1),
        registration_rtt_ms=round(_registration_ms(first), 1),
        ike_messages=len(wire.ike_messages(at_gateway, gateway)),
        tcp_bytes_lost=_missing_bytes(recording, *window),
        # The second half of the stay: packets of the network before may still be on their way.
        encapsulation=_encapsulation(list(wire.within(frames["outside"], (settled + move.ended) / 2, move.ended))),
        exchanges=len(first),
        esp_frames=len(wire.esp_frames(at_gateway, gateway)),
        tcp_stall_ms=round(wire.longest_gap(arrivals, *window) * 1000, 1),
        own_outage_ms=round(wire.longest_gap(replies, *window, recording.pauses) * 1000, 1),
        one_way_ms={
            end: round(wire.longest_loss(sent, *window) * 1000, 1) for end, sent in recording.delivered.items()
        },
    )


def session_verdict(streams: dict[str, list[dict[str, Any]]]) -> str:
    """Return why a TCP session did not survive, or an empty text; `streams` holds the events of both its ends."""
    ends = {}
    for side, events in streams.items():
        if sum(event["event"] == "established" for event in events) != 1:
            return f"{side}: not exactly one connection"
        summaries = [event for event in events if event["event"] == "summary"]
        if not summaries:
            return f"{side}: no summary, the program did not end in order"
        ends[side] = summaries[0]
        if not summaries[0]["closed_in_order"]:
            return f"{side}: {summaries[0]['error'] or 'the peer did not end its stream'}"
        if summaries[0]["lost"]:
            return f"{side}: {summaries[0]['lost']} bytes missing in the stream"
    one, other = streams
    for here, there in ((one, other), (other, one)):
        if ends[here]["received"] != ends[there]["sent"]:
            return f"{there} sent {ends[there]['sent']} bytes, {here} received {ends[here]['received']}"
    if tuple(ends[one]["local"]) != tuple(ends[other]["peer"]):
        return "the two ends name different addresses or ports"
    return ""


def analyse(recording: Recording, gateway: str) -> Analysis:
    """Read the captures and put the moves together; `gateway` is VPNGW-Pub."""
    frames = {segment: wire.read(path) for segment, path in recording.captures.items()}
    moves = [_move_result(recording, frames, move, gateway) for move in recording.moves]
    outside = frames["outside"]
    native = [frame for frame in outside if frame.is_esp]
    spis = sorted({frame.spi for frame in wire.esp_frames(frames[recording.gateway_wire], gateway)})
    why_not = session_verdict(recording.streams)
    return Analysis(moves, not why_not, why_not, "native" if native else "udp", spis, frames)


COLUMNS = (
    ("move", 16),
    ("outage ms", 10),
    ("registration ms", 16),
    ("IKE", 4),
    ("ESP seen", 9),
    ("TCP bytes lost", 15),
    ("TCP stall ms", 13),
    ("encapsulation", 13),
)


def table(analysis: Analysis) -> str:
    """Return the table for the terminal."""
    rows = [[name for name, _ in COLUMNS]]
    for move in analysis.moves:
        rows.append(
            [
                f"{move.origin} -> {move.target}",
                f"{move.outage_ms:.1f}",
                f"{move.registration_rtt_ms:.1f}",
                str(move.ike_messages),
                str(move.esp_frames),
                str(move.tcp_bytes_lost),
                f"{move.tcp_stall_ms:.1f}",
                move.encapsulation,
            ]
        )
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, (_, width)) in enumerate(zip(row, COLUMNS, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    lines.insert(1, " ".join("-" * width for _, width in COLUMNS))
    survived = "survived all moves" if analysis.tcp_session_survived else f"BROKE: {analysis.why_not}"
    lines += [
        "",
        f"TCP session: {survived}",
        f"ESP on the wire: {analysis.esp_on_wire}, SPIs: {', '.join(analysis.spis)}",
    ]
    return "\n".join(lines)
