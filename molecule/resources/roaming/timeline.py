"""Draw a recording as an SVG: where the node was, what the probe felt, what was on the wire, on one time axis."""

from __future__ import annotations

from html import escape

from . import wire
from .report import Analysis
from .session import Recording

WIDTH, LEFT, RIGHT = 1100, 150, 20
NETWORK_COLOURS = {"home": "#9bd19b", "open": "#9cc3e6", "nat": "#f4c98b", "fa": "#cfb3e6", "visited": "#b8dcc6"}
INK, GRID, ALARM, ACCENT = "#222222", "#dddddd", "#c0392b", "#1f618d"


class _Canvas:
    """Collects SVG elements; x is a time in Unix seconds."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.parts: list[str] = []

    def x(self, moment: float) -> float:
        """Return the horizontal position of `moment`."""
        share = (moment - self.start) / (self.end - self.start)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def text(self, x: float, y: float, words: str, size: int = 12, anchor: str = "start", fill: str = INK) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">'
            f"{escape(words)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{fill}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0) -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'
        )


def _lane(canvas: _Canvas, y: float, label: str, moments: list[float], colour: str) -> None:
    canvas.text(LEFT - 10, y + 12, label, anchor="end")
    canvas.line(LEFT, y + 8, WIDTH - RIGHT, y + 8, GRID)
    for moment in moments:
        canvas.line(canvas.x(moment), y, canvas.x(moment), y + 16, colour)


def _rate(canvas: _Canvas, y: float, height: float, label: str, moments: list[float], colour: str, slot: float) -> None:
    canvas.text(LEFT - 10, y + height / 2 + 4, label, anchor="end")
    slots: dict[int, int] = {}
    for moment in moments:
        if canvas.start <= moment < canvas.end:
            index = int((moment - canvas.start) / slot)
            slots[index] = slots.get(index, 0) + 1
    top = max(slots.values(), default=1)
    width = canvas.x(canvas.start + slot) - canvas.x(canvas.start)
    for index, count in slots.items():
        tall = height * count / top
        canvas.box(canvas.x(canvas.start + index * slot), y + height - tall, width, tall, colour)
    canvas.line(LEFT, y + height, WIDTH - RIGHT, y + height, INK)


def draw(recording: Recording, analysis: Analysis, gateway: str) -> str:
    """Return the picture as SVG text."""
    start = recording.moves[0].started - 2.0
    end = recording.moves[-1].ended
    canvas = _Canvas(start, end)
    canvas.text(LEFT, 24, "A mobile node roams; one TCP session, one IPsec SA", size=17)
    stays = [(recording.moves[0].origin, start, recording.moves[0].started)]
    stays += [(move.target, move.started, move.ended) for move in recording.moves]
    canvas.text(LEFT - 10, 62, "network", anchor="end")
    for network, since, until in stays:
        left, right = canvas.x(since), canvas.x(until)
        canvas.box(left, 44, right - left, 28, NETWORK_COLOURS.get(network, GRID))
        canvas.text((left + right) / 2, 62, network, anchor="middle")
    replies = [float(event["t"]) for event in recording.probe if event["event"] == "reply"]
    data = [float(event["t"]) for event in recording.streams["node"] if event["event"] == "data"]
    _rate(canvas, 90, 50, "probe replies", replies, ACCENT, 0.1)
    _rate(canvas, 155, 50, "TCP data", data, "#5d8a66", 0.1)
    links = [
        frame
        for segment in ("home", "open", "nat_inside", "fa_link", "visited")
        for frame in analysis.frames.get(segment, [])
    ]
    registrations = sorted(
        frame.time for frame in links if frame.home_address == recording.home_address and frame.mip_types
    )
    at_gateway = analysis.frames[recording.gateway_wire]
    esp = [frame.time for frame in wire.esp_frames(at_gateway, gateway)]
    _lane(canvas, 220, "registration", registrations, ACCENT)
    _lane(canvas, 250, "IKE messages", [frame.time for frame in wire.ike_messages(at_gateway, gateway)], ALARM)
    _rate(canvas, 280, 40, "ESP at gateway", esp, "#888888", 0.1)
    for move, result in zip(recording.moves, analysis.moves, strict=True):
        place = canvas.x(move.started)
        canvas.line(place, 40, place, 340, ALARM, 0.8)
        canvas.text(place + 4, 352, f"{result.outage_ms:.0f} ms", size=11, fill=ALARM)
        canvas.text(place + 4, 366, f"{result.ike_messages} IKE", size=11)
        canvas.text(place + 4, 380, result.encapsulation, size=11)
    canvas.text(LEFT - 10, 352, "outage", anchor="end", size=11)
    second = 0
    while start + second < end:
        place = canvas.x(start + second)
        canvas.line(place, 392, place, 398, INK)
        canvas.text(place, 411, f"{second - 2} s", size=11, anchor="middle")
        second += 5
    body = "\n".join(canvas.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="425" viewBox="0 0 {WIDTH} 425" '
        f'font-family="sans-serif"><rect width="{WIDTH}" height="425" fill="white"/>\n{body}\n</svg>\n'
    )
