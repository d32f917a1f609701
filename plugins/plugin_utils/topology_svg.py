"""A picture of a deployment as SVG. What comes from the inventory is text, and never markup, style or link."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

from ansible_collections.mobileip.vpn.plugins.plugin_utils.topology_layout import (
    FONTS,
    Box,
    Dot,
    Line,
    Picture,
    Shape,
    Tag,
    Text,
)

_NAMESPACE = "http://www.w3.org/2000/svg"
_SHOWN = r"\x20-\x7e\xa0-\u200a\u2010-\u2027\u2030-\u205f\u2070-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
_NOT_SHOWN = re.compile(f"[^{_SHOWN}]")
"""What XML does not allow, and what would turn the direction of the text around it."""
_SANS = "DejaVu Sans, Verdana, Arial, sans-serif"
_MONOSPACE = "DejaVu Sans Mono, Menlo, Consolas, monospace"
_HEAD = 9
"""Length of an arrowhead."""

_INK, _GREY, _FAINT = "#1f2937", "#4b5563", "#9ca3af"
_BLUE, _GREEN, _VIOLET, _ORANGE, _RED = "#1d4ed8", "#15803d", "#6d28d9", "#b45309", "#b91c1c"
_BOXES = {  # fill, stroke, dashes
    "zone": ("#f6f7f9", "#d1d5db", ""),
    "card": ("#ffffff", _GREY, ""),
    "stranger": ("#ffffff", _FAINT, "5 4"),
    "host": ("#eef2f7", _INK, ""),
    "head": ("#ffffff", _GREY, ""),
    "tunnel": ("#dbeafe", _BLUE, ""),
}
_LINES = {  # stroke, width, dashes
    "segment": (_GREY, 5, ""),
    "cable": (_GREY, 1.5, ""),
    "wire": (_INK, 3, ""),
    "lifeline": ("#cbd5e1", 1.5, ""),
    "absent": ("#cbd5e1", 1.5, "3 5"),
    "rule-off": ("#e5e7eb", 1, ""),
    "signal": (_VIOLET, 2, "2 3"),
    "sa": (_GREEN, 4, ""),
    "pipe": (_BLUE, 5, ""),
    "clear": (_ORANGE, 2, "8 4"),
    "errors": (_GREY, 1.5, "1 3"),
    "never": (_RED, 2, "4 4"),
}
_TAGS = {"accept": _GREEN, "drop": _RED}
_DOTS = {"interface": _INK, "plug": _GREY}


def draw(picture: Picture) -> str:
    """The picture as the text of an SVG file. The same picture gives the same text."""
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _NAMESPACE,
            "width": _number(picture.width),
            "height": _number(picture.height),
            "viewBox": f"0 0 {_number(picture.width)} {_number(picture.height)}",
            "role": "img",
            "aria-labelledby": "title description",
            "font-family": _SANS,
        },
    )
    _child(root, "title", {"id": "title"}, picture.title)
    _child(root, "desc", {"id": "description"}, picture.description)
    _child(root, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    for shape in picture.shapes:
        _draw(root, shape)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _draw(root: ElementTree.Element, shape: Shape) -> None:
    if isinstance(shape, Box):
        fill, stroke, dashes = _BOXES[shape.style]
        size = {"x": shape.x, "y": shape.y, "width": shape.width, "height": shape.height, "rx": 5}
        place = {name: _number(value) for name, value in size.items()}
        _child(root, "rect", place | _stroke(stroke, 1.2, dashes, fill))
    elif isinstance(shape, Line):
        _line(root, shape)
    elif isinstance(shape, Dot):
        place = {"cx": _number(shape.x), "cy": _number(shape.y), "r": "4", "fill": _DOTS[shape.style]}
        _child(root, "circle", place)
    elif isinstance(shape, Tag):
        size = {"x": shape.x - shape.width / 2, "y": shape.y - 8.5, "width": shape.width, "height": 17, "rx": 8}
        colour = _TAGS[shape.style]
        _child(root, "rect", {name: _number(value) for name, value in size.items()} | {"fill": colour})
        _text(root, Text(shape.x, shape.y + 4, shape.text, "tag", "middle"), "#ffffff", halo=False)
    else:
        _text(root, shape, _GREY if shape.style == "note" else _INK, halo=True)


def _line(root: ElementTree.Element, line: Line) -> None:
    stroke, width, dashes = _LINES[line.style]
    points = list(line.points)
    for at, towards in ((0, 1), (-1, -2)):
        if line.arrows == "both" or (line.arrows == "end" and at == -1):
            tip, back = points[at], _towards(line.points[at], line.points[towards], _HEAD)
            points[at] = back
            aside = _HEAD / 2
            length = math.dist(tip, back)
            across = ((tip[1] - back[1]) / length * aside, (back[0] - tip[0]) / length * aside)
            corners = (tip, (back[0] + across[0], back[1] + across[1]), (back[0] - across[0], back[1] - across[1]))
            _child(root, "polygon", {"points": _points(corners), "fill": stroke})
    _child(root, "polyline", {"points": _points(points)} | _stroke(stroke, width, dashes, "none"))


def _towards(start: tuple[float, float], end: tuple[float, float], length: float) -> tuple[float, float]:
    share = length / math.dist(start, end)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _text(root: ElementTree.Element, text: Text, colour: str, *, halo: bool) -> None:
    size, weight, monospace = FONTS[text.style]
    look = {"x": _number(text.x), "y": _number(text.y), "font-size": str(size), "fill": colour}
    if weight != "normal":
        look["font-weight"] = weight
    if monospace:
        look["font-family"] = _MONOSPACE
    if text.anchor != "start":
        look["text-anchor"] = text.anchor
    if halo:  # what passes behind does not run into the letters
        look |= {"paint-order": "stroke", "stroke": "#ffffff", "stroke-width": "3", "stroke-linejoin": "round"}
    element = _child(root, "text", look, text.text)
    if text.full:
        title = _child(element, "title", {}, text.full)
        title.tail, element.text = element.text, None


def _stroke(colour: str, width: float, dashes: str, fill: str) -> dict[str, str]:
    look = {"fill": fill, "stroke": colour, "stroke-width": _number(width)}
    return look | {"stroke-dasharray": dashes} if dashes else look


def _child(parent: ElementTree.Element, name: str, attributes: dict[str, str], text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, attributes)
    if text:
        element.text = _NOT_SHOWN.sub("\ufffd", text)
    return element


def _points(points: list[tuple[float, float]] | tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """At most two digits behind the point, none where there is nothing to say."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
