"""Where everything of a deployment stands in its picture. No file, no clock, no XML: a deployment in, shapes out.

Three bands below each other. The segments, with each host's interfaces and addresses between them. Then who sends what
to whom: a column a party, a lane a flow, and on the lane the numbers of the rules that let it through. Then the rules.
All lengths are in pixels at the picture's own size; y grows downwards.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ansible_collections.mobileip.vpn.plugins.plugin_utils.deployment import (
    Deployment,
    Firewall,
    Gateway,
    HomeAgent,
    Port,
    Proxy,
)

WIDTH = 1500
MARGIN = 20
SHOWN = 6
"""So many nodes, agents and networks of a kind are drawn; the rest is a number. A picture is no list."""

Anchor = Literal["start", "middle", "end"]
FONTS = {  # style: size, weight, monospace
    "title": (22, "bold", False),
    "heading": (16, "bold", False),
    "name": (14, "bold", False),
    "label": (12, "bold", False),
    "text": (12, "normal", False),
    "note": (11, "normal", False),
    "address": (12, "normal", True),
    "rule": (11, "normal", True),
    "tag": (11, "bold", False),
}
"""What each style of text looks like."""
_MONOSPACE, _NARROW, _SMALL, _LARGE, _WIDE = 0.62, 0.45, 0.64, 0.84, 1.02
"""Widths of characters in parts of the size, at least those of the wider of the usual fonts (DejaVu Sans, Verdana)."""
_BOLD = 1.13


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    style: str


@dataclass(frozen=True)
class Line:
    """A line through points, with an arrowhead at its end or at both ends."""

    points: tuple[tuple[float, float], ...]
    style: str
    arrows: Literal["", "end", "both"] = ""


@dataclass(frozen=True)
class Text:
    """One line of text on the baseline `y`. `full` is the text before it was cut to its place."""

    x: float
    y: float
    text: str
    style: str
    anchor: Anchor = "start"
    full: str = ""

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The rectangle that it takes at most: left, top, right, bottom."""
        size, width = FONTS[self.style][0], text_width(self.text, self.style)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - 0.8 * size, left + width, self.y + 0.22 * size


@dataclass(frozen=True)
class Tag:
    """The number of a rule, in a frame around `x`, `y`."""

    x: float
    y: float
    text: str
    style: str

    @property
    def width(self) -> float:
        return text_width(self.text, "tag") + 10

    @property
    def extent(self) -> tuple[float, float, float, float]:
        return self.x - self.width / 2, self.y - 9, self.x + self.width / 2, self.y + 9


@dataclass(frozen=True)
class Dot:
    """An interface, or the end of a flow."""

    x: float
    y: float
    style: str


Shape = Box | Line | Text | Tag | Dot


@dataclass(frozen=True)
class Picture:
    """All shapes in the order in which they are painted, and what somebody who cannot see them is told."""

    width: float
    height: float
    title: str
    description: str
    shapes: tuple[Shape, ...]


def text_width(text: str, style: str) -> float:
    """How wide the text is at most, whichever of the usual fonts it is set in."""
    size, weight, monospace = FONTS[style]
    return size * (_BOLD if weight == "bold" else 1.0) * sum(_character_width(one, monospace) for one in text)


def _character_width(character: str, monospace: bool) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 2 * _MONOSPACE if monospace else _WIDE
    if monospace:
        return _MONOSPACE
    if character in "iIjlrtf.,:;|!'()[]/-· ":
        return _NARROW
    if character in "mwMW@%—…":
        return _WIDE
    return _SMALL if character.islower() or character.isdigit() else _LARGE


def cut(x: float, y: float, text: str, style: str, room: float, anchor: Anchor = "start") -> Text:
    """The text, shortened where it is wider than `room`; what is cut away stays in `full`."""
    if text_width(text, style) <= room:
        return Text(x, y, text, style, anchor)
    kept = text
    while kept and text_width(kept + "…", style) > room:
        kept = kept[:-1]
    return Text(x, y, kept.rstrip() + "…", style, anchor, full=text)


def lay_out(deployment: Deployment, name: str = "") -> Picture:
    """The picture of a deployment; `name` is what the site calls it."""
    boxes = "one box" if deployment.one_box else "two boxes"
    title = ": ".join(part for part in (name, f"MIP Proxy and VPN gateway, {boxes}") if part)
    shapes: list[Shape] = [cut(MARGIN, 38, title, "title", WIDTH - 2 * MARGIN)]
    shapes.append(cut(MARGIN, 60, _summary(deployment), "text", WIDTH - 2 * MARGIN))
    segments, bottom = _segments(deployment, 84)
    lanes, bottom = _flows(deployment, bottom + 34)
    shapes += segments
    shapes += lanes
    rules, bottom = _rules(deployment, bottom + 34)
    shapes += rules
    return Picture(WIDTH, bottom + MARGIN, title, _description(deployment), tuple(shapes))


def _summary(deployment: Deployment) -> str:
    parts = (
        (len(deployment.proxies), "MIP Proxy", "MIP Proxies"),
        (len(deployment.gateways), "VPN gateway", "VPN gateways"),
        (len(deployment.home_agents), "home agent", "home agents"),
        (len(deployment.foreign_agents), "foreign agent", "foreign agents"),
        (len(deployment.nodes), "mobile node", "mobile nodes"),
        (len(deployment.firewalls), "packet filter", "packet filters"),
    )
    return ", ".join(f"{count} {one if count == 1 else several}" for count, one, several in parts if count)


def _description(deployment: Deployment) -> str:
    """In words: who is there with which addresses, and each rule."""
    words = [f"{_summary(deployment)}."]
    for proxy in deployment.proxies:
        words.append(f"Proxy {proxy.host}: MIPP-Pub {proxy.pub.address}, MIPP-Priv {proxy.priv.address}.")
    for gateway in deployment.gateways:
        words.append(f"Gateway {gateway.name}: VPNGW-Pub {gateway.pub.address}, VPNGW-Priv {gateway.priv.address}.")
    for agent in deployment.home_agents[:SHOWN]:
        networks = ", ".join(link.address for link in agent.home_links)
        words.append(f"Home agent {agent.core.address} of {networks}.")
    for firewall in deployment.firewalls:
        words += [f"{firewall.host} {rule.number}: {rule.verdict} {rule.reason}." for rule in firewall.rules]
    return " ".join(words)


# The segments and the hosts on them


_BARE = Port("", "")
"""A place on a segment of which nothing is known."""


@dataclass(frozen=True)
class _Card:
    """A host: what stands above, its interfaces at the left and at the right, notes below."""

    name: str
    kind: str
    left: tuple[Port, ...] = ()
    right: tuple[Port, ...] = ()
    notes: tuple[str, ...] = ()
    known: bool = True
    """Whether it is a host of the inventory."""

    @property
    def compact(self) -> bool:
        """Whether name and interfaces stand side by side."""
        return bool(self.right) and not self.left

    @property
    def height(self) -> float:
        ports = max(len(self.left), len(self.right)) if self.left != (_BARE,) else 0
        above = 12 if self.compact else 46
        return max(above + 36 * ports + (6 if ports else 0), 52) + 16 * len(self.notes)


@dataclass(frozen=True)
class _Column:
    """Cards below each other between two segments."""

    x: float
    width: float
    left: float
    """The segment (x of its line) to which the interfaces at the left lead."""
    right: float


_FOREIGN = _Column(32, 262, 0, 326)
_OUTER = _Column(358, 160, 326, 550)
_DMZ = _Column(578, 344, 550, 950)
_INNER = _Column(982, 160, 950, 1174)
_INTRANET = _Column(1206, 262, 1174, 0)
_WIRE = 58
"""Between proxy and gateway on one host."""


def _segments(deployment: Deployment, top: float) -> tuple[list[Shape], float]:
    """The band of hosts; returns its shapes and its lower edge."""
    first = top + 52
    ends: dict[float, list[float]] = {}
    shapes: list[Shape] = []
    bottoms = [first]
    columns = (
        (_FOREIGN, list(_foreign(deployment))),
        (_OUTER, list(_walls(deployment, "outer"))),
        (_INNER, list(_walls(deployment, "inner"))),
        (_INTRANET, list(_inside(deployment))),
    )
    for column, cards in columns:
        y = first
        for card in cards:
            shapes += _drawn(column, y, card, ends)
            y += card.height + 14
        bottoms.append(y - 14)
    middle, bottom = _dmz(deployment, first, ends)
    shapes += middle
    lower = max(*bottoms, bottom) + 14
    zones: list[Shape] = []
    for name, left, right in (("foreign networks", 16, 340), ("DMZ", 536, 964), ("intranet", 1160, 1484)):
        zones.append(Box(left, top, right - left, lower - top, "zone"))
        zones.append(Text(left + 14, top + 20, name, "heading"))
    bars: list[Shape] = []
    named: tuple[tuple[float, str, Anchor], ...] = (
        (_FOREIGN.right, "Internet", "end"),
        (_DMZ.left, _named("public", deployment.public_networks), "start"),
        (_DMZ.right, "private", "end"),
        (_INTRANET.left, "inside", "start"),
    )
    for x, name, anchor in named:
        places = ends.get(x, [first + 20])
        bars.append(Line(((x, min(first, *places)), (x, max(places) + 14)), "segment"))
        bars.append(cut(x, top + 42, name, "label", 190, anchor))
    return [*zones, *bars, *shapes], lower


def _named(name: str, networks: Sequence[str]) -> str:
    return f"{name} {networks[0]}" if len(networks) == 1 else name


def _foreign(deployment: Deployment) -> Iterator[_Card]:
    agents = {agent.core.address: agent.host for agent in deployment.home_agents}
    for node in deployment.nodes[:SHOWN]:
        home = Port(node.interface, node.home_address, "MN-Perm")
        notes = (f"home agent {agents.get(node.home_agent) or node.home_agent}",) if node.home_agent else ()
        yield _Card(node.name, "mobile node", right=(home,), notes=notes, known=bool(node.host))
    yield from _more(len(deployment.nodes), "mobile nodes")
    for agent in deployment.foreign_agents[:SHOWN]:
        uplink = replace(agent.uplink, name="care-of")
        notes = (f"its link: {agent.link.interface} {agent.link.address}",)
        yield _Card(agent.host, "foreign agent", right=(uplink,), notes=notes)
    yield from _more(len(deployment.foreign_agents), "foreign agents")


def _more(count: int, name: str) -> Iterator[_Card]:
    if count > SHOWN:
        yield _Card(f"and {count - SHOWN} more", name)


def _walls(deployment: Deployment, kind: str) -> Iterator[_Card]:
    found = deployment.of_kind(kind)
    name = f"{kind} firewall"
    if not found:
        yield _Card(name, "", (_BARE,), (_BARE,), known=False)
    for firewall in found[:SHOWN]:
        right = tuple(Port(interface, "") for interface in firewall.inside)
        yield _Card(firewall.host, name, (Port(firewall.outside, ""),), right)
    yield from _more(len(found), f"{name}s")


def _inside(deployment: Deployment) -> Iterator[_Card]:
    for agent in deployment.home_agents[:SHOWN]:
        name = agent.host or agent.core.address
        links = tuple(
            f"serves {link.address}" + (f" on {link.interface}" if link.interface else "")
            for link in agent.home_links[:SHOWN]
        )
        yield _Card(name, "home agent", (agent.core,), notes=links, known=bool(agent.host))
    yield from _more(len(deployment.home_agents), "home agents")
    networks = deployment.intranet_networks
    if networks:
        shown = networks[:SHOWN] + ((f"and {len(networks) - SHOWN} more",) if len(networks) > SHOWN else ())
        yield _Card("intranet", "networks that nodes reach", (_BARE,), notes=shown)


def _dmz(deployment: Deployment, top: float, ends: dict[float, list[float]]) -> tuple[list[Shape], float]:
    """Proxies and gateways; in one box both in one frame, with the wire between them."""
    shapes: list[Shape] = []
    y = top
    in_box = {proxy.host for proxy in deployment.proxies if proxy.wire}
    for proxy in deployment.proxies[:SHOWN]:
        card = _Card(proxy.host, "MIP Proxy", (proxy.pub,), (proxy.priv,))
        gateways = [gateway for gateway in deployment.gateways if proxy.wire and gateway.host in ("", proxy.host)]
        if not gateways or proxy.wire is None:
            shapes += _drawn(_DMZ, y, card, ends)
            y += card.height + 14
            continue
        inner = replace(_DMZ, x=_DMZ.x + 10, width=_DMZ.width - 20)
        lower = _gateway_card(gateways[0])
        start = y + 28
        wire_top, wire_bottom = start + card.height, start + card.height + _WIRE
        height = 28 + card.height + _WIRE + lower.height + 14
        centre = _DMZ.x + _DMZ.width / 2
        shapes.append(Box(_DMZ.x, y, _DMZ.width, height, "host"))
        shapes.append(cut(_DMZ.x + 12, y + 19, f"{proxy.host}: one host", "name", _DMZ.width - 24))
        shapes += _drawn(inner, start, replace(card, name="MIP Proxy", kind=proxy.host), ends)
        shapes += _drawn(inner, wire_bottom, replace(lower, name="VPN gateway", kind=lower.name), ends)
        shapes += [
            Line(((centre, wire_top), (centre, wire_bottom)), "wire"),
            Dot(centre, wire_top, "interface"),
            Dot(centre, wire_bottom, "interface"),
            cut(centre + 12, wire_top + 18, proxy.wire[1], "label", 130),
            cut(centre + 12, wire_bottom - 10, proxy.wire[0], "label", 130),
            Text(centre - 12, wire_top + 34, "wire (veth pair)", "note", "end"),
        ]
        y += height + 14
    for gateway in [one for one in deployment.gateways if not in_box or one.host not in ("", *in_box)][:SHOWN]:
        card = _gateway_card(gateway)
        shapes += _drawn(_DMZ, y, card, ends)
        y += card.height + 14
    return shapes, y - 14


def _gateway_card(gateway: Gateway) -> _Card:
    notes = tuple(_lines("home networks", gateway.home_networks))
    name = gateway.host or gateway.name
    return _Card(name, "VPN gateway", (gateway.pub,), (gateway.priv,), notes, bool(gateway.host))


def _lines(name: str, networks: Sequence[str]) -> Iterator[str]:
    """The networks behind the name, two in a line; of many the first."""
    for at in range(0, min(len(networks), SHOWN), 2):
        more = f" and {len(networks) - SHOWN} more" if len(networks) > SHOWN and at + 2 >= SHOWN else ""
        yield f"{name} {', '.join(networks[at : at + 2])}{more}"


def _drawn(column: _Column, y: float, card: _Card, ends: dict[float, list[float]]) -> Iterator[Shape]:
    """The card's shapes with the wires to its segments; notes in `ends` where those arrive."""
    x, right = column.x, column.x + column.width
    kind = ", ".join(part for part in (card.kind, "" if card.known else "not in this inventory") if part)
    yield Box(x, y, column.width, card.height, "card" if card.known else "stranger")
    room = column.width - 24 if not card.compact else column.width * 0.46 - 16
    yield cut(x + 12, y + 20, card.name, "name", room)
    yield cut(x + 12, y + 37, kind, "note", room)
    first = y + (22 if card.compact or card.left == (_BARE,) else 62)
    half = column.width * 0.54 - 12 if card.compact else column.width / 2 - 16 if card.right else column.width - 24
    sides: tuple[tuple[tuple[Port, ...], float, float, int, Anchor], ...] = (
        (card.left, x, column.left, 1, "start"),
        (card.right, right, column.right, -1, "end"),
    )
    for ports, edge, segment, inward, anchor in sides:
        for number, port in enumerate(ports):
            at = first + 36 * number
            yield Line(((edge, at), (segment, at)), "cable")
            yield Dot(edge, at, "interface")
            yield Dot(segment, at, "plug")
            ends.setdefault(segment, []).append(at)
            label = " · ".join(part for part in (port.name, port.interface) if part)
            if label:
                yield cut(edge + 12 * inward, at + (-2 if port.address else 4), label, "label", half, anchor)
            if port.address:
                yield cut(edge + 12 * inward, at + (14 if label else 4), port.address, "address", half, anchor)
    for number, note in enumerate(reversed(card.notes)):
        yield cut(x + 12, y + card.height - 10 - 16 * number, note, "note", column.width - 24)


# Who sends what to whom

_COLUMNS = {
    "node": 290.0,
    "outer": 480.0,
    "proxy": 680.0,
    "gateway": 880.0,
    "inner": 1060.0,
    "agent": 1230.0,
    "intranet": 1400.0,
}


def _flows(deployment: Deployment, top: float) -> tuple[list[Shape], float]:
    """The lanes; returns their shapes and their lower edge."""
    shapes: list[Shape] = [Text(MARGIN, top + 16, "Who sends what to whom", "heading")]
    shapes += _heads(deployment, top + 30)
    y = first = top + 92
    for name, lanes in (
        ("Registration", _registration),
        ("Data", _data),
        ("Errors of paths", _errors),
        ("Never", _refused),
    ):
        drawn = list(lanes(deployment))
        if not drawn:
            continue
        shapes.append(Line(((MARGIN, y), (WIDTH - MARGIN, y)), "rule-off"))
        shapes.append(Text(MARGIN, y + 24, name, "name"))
        for lane in drawn:
            shapes += lane.shapes(y)
            y += lane.height
        y += 8
    absent = {kind for kind in ("outer", "inner") if not deployment.of_kind(kind)}
    lifelines: list[Shape] = [
        Line(((x, first - 8), (x, y)), "absent" if name in absent else "lifeline") for name, x in _COLUMNS.items()
    ]
    return [*lifelines, *shapes], y


def _heads(deployment: Deployment, y: float) -> Iterator[Shape]:
    """What each column stands for."""
    heads = (
        ("node", "mobile nodes", [node.name for node in deployment.nodes]),
        ("outer", "outer firewall", [wall.host for wall in deployment.of_kind("outer")]),
        ("proxy", "MIP Proxy", [proxy.host for proxy in deployment.proxies]),
        ("gateway", "VPN gateway", [gateway.host or gateway.name for gateway in deployment.gateways]),
        ("inner", "inner firewall", [wall.host for wall in deployment.of_kind("inner")]),
        ("agent", "home agents", [agent.host or agent.core.address for agent in deployment.home_agents]),
        ("intranet", "intranet", list(deployment.intranet_networks)),
    )
    for column, name, members in heads:
        x = _COLUMNS[column]
        listed = ", ".join(members) or ("the site's own" if column in ("outer", "inner") else "")
        yield Box(x - 76, y, 152, 46, "head")
        yield cut(x, y + 19, name, "label", 140, "middle")
        if listed:
            yield cut(x, y + 36, listed, "note", 140, "middle")


@dataclass(frozen=True)
class _Lane:
    """One flow: what it is, between which columns, in which style, and what lets it through where."""

    what: str
    ends: tuple[str, str]
    style: str
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    arrows: Literal["", "end", "both"] = "both"
    inside: tuple[str, str, str] | None = None
    """What the tunnel carries: the column where that ends, its style, and what it is."""
    addresses: tuple[str, str] = ("", "")
    """Of both ends, below the line."""
    verdict: Literal["accept", "drop"] = "accept"

    @property
    def height(self) -> float:
        return (62 if self.inside else 42) + (12 if any(self.addresses) else 0)

    def shapes(self, y: float) -> Iterator[Shape]:
        start, end = (_COLUMNS[name] for name in self.ends)
        left, right = min(start, end), max(start, end)
        line = y + (34 if self.inside else 28)
        yield cut(left + 10, y + 15, self.what, "text", WIDTH - MARGIN - left - 10)
        if self.inside:
            column, style, carried = self.inside
            yield Box(left, line - 13, right - left, 26, self.style)
            yield Line(((left, line), (_COLUMNS[column], line)), style, "both")
            yield cut(_COLUMNS[column] + 14, line + 4, carried, "text", WIDTH - MARGIN - _COLUMNS[column] - 14)
        elif left != right:
            yield Line(((start, line), (end, line)), self.style, self.arrows)
        below = line + (27 if self.inside else 20)
        room = (right - left) / 2 - 20
        if self.addresses[0]:
            yield cut(left + 10, below, self.addresses[0], "address", room)
        if self.addresses[1]:
            yield cut(right - 10, below, self.addresses[1], "address", room, "end")
        for column, numbers in self.tags:
            yield from _tags(_COLUMNS[column], line, numbers, self.verdict)


def _tags(x: float, y: float, numbers: Sequence[str], style: str) -> Iterator[Tag]:
    """The numbers side by side, their middle at `x`."""
    shown = [*numbers[:3], f"+{len(numbers) - 3}"] if len(numbers) > 4 else list(numbers)
    tags = [Tag(0, y, number, style) for number in shown]
    left = x - (sum(tag.width for tag in tags) + 4 * (len(tags) - 1)) / 2
    for tag in tags:
        yield replace(tag, x=left + tag.width / 2)
        left += tag.width + 4


def _numbers(deployment: Deployment, kind: str, *keys: str) -> tuple[str, ...]:
    found = (number for firewall in deployment.of_kind(kind) for number in firewall.numbers(*keys))
    return tuple(dict.fromkeys(found))


def _through(
    deployment: Deployment, *asked: tuple[str, str, tuple[str, ...]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For each column, kind of packet filter and keys: the numbers of its rules, where there are any."""
    found = ((column, _numbers(deployment, kind, *keys)) for column, kind, keys in asked)
    return tuple((column, numbers) for column, numbers in found if numbers)


def _registration(deployment: Deployment) -> Iterator[_Lane]:
    outer = _through(deployment, ("outer", "outer", ("register",)))
    inner = _through(deployment, ("inner", "inner", ("register",)))
    for proxy in deployment.proxies[:SHOWN]:
        what = "Mobile IP registration, UDP 434: the node's care-of address is known to the proxy"
        addresses = ("care-of address", f"MIPP-Pub {proxy.pub.address}")
        yield _Lane(what, ("node", "proxy"), "signal", outer, addresses=addresses)
        for agent in deployment.home_agents[:SHOWN]:
            name = f"{agent.host} {agent.core.address}".strip()
            what = f"UDP 434: the proxy registers MIPP-Priv for the node with {name}"
            addresses = (f"MIPP-Priv {proxy.priv.address}", agent.core.address)
            yield _Lane(what, ("proxy", "agent"), "signal", inner, addresses=addresses)
        yield from _rest(deployment, "registrations with")
    inside = _through(deployment, ("inner", "inner", ("inside",)))
    what = "UDP 434: a node inside asks MIPP-Pub where it is, and is told (code 206)"
    yield _Lane(what, ("intranet", "proxy"), "signal", inside)


def _rest(deployment: Deployment, what: str) -> Iterator[_Lane]:
    more = len(deployment.home_agents) - SHOWN
    if more > 0:
        yield _Lane(f"{what} {more} more home agents, likewise", ("proxy", "proxy"), "signal")


def _data(deployment: Deployment) -> Iterator[_Lane]:
    for proxy in deployment.proxies[:SHOWN]:
        for gateway in deployment.gateways[:SHOWN]:
            yield _outside(deployment, proxy, gateway)
    for gateway in deployment.gateways[:SHOWN]:
        yield from _clear(deployment, gateway)
    for proxy in deployment.proxies[:SHOWN]:
        for agent in deployment.home_agents[:SHOWN]:
            yield _home(deployment, proxy, agent)
        yield from _rest(deployment, "tunnels of")
        yield from _handed_over(deployment, proxy)


def _outside(deployment: Deployment, proxy: Proxy, gateway: Gateway) -> _Lane:
    """The node's tunnel to the proxy, and in it its SA with the gateway."""
    names = {"gre": "GRE (47)", "minimal": "minimal (55)"}
    plain = [names[one] for one in ("minimal", "gre") if one in proxy.encapsulations]
    what = f"Mobile IP tunnel: {', '.join(['IP in IP (4)', *plain])}; behind a NAT in UDP 434"
    carried = f"SA, MN-Perm to VPNGW-Pub {gateway.pub.address}: {_passing(proxy.passes)}"
    tags = _through(deployment, ("outer", "outer", ("tunnel", "register")))
    addresses = ("care-of address", f"MIPP-Pub {proxy.pub.address}")
    return _Lane(what, ("node", "proxy"), "tunnel", tags, inside=("gateway", "sa", carried), addresses=addresses)


def _passing(passes: Sequence[str]) -> str:
    """What passes between nodes and gateways, in the words of who runs them."""
    ike = {"udp/500", "udp/4500"}
    words = [one.replace("/", " ").upper() for one in passes if one.lower() not in ike]
    return ", ".join(
        [*words, "IKE"] if ike <= {one.lower() for one in passes} else [*words, *sorted(ike & set(passes))]
    )


def _clear(deployment: Deployment, gateway: Gateway) -> Iterator[_Lane]:
    reached = ", ".join(one for one in gateway.reached if one not in gateway.home_networks)
    what = f"decrypted, home address to {reached or 'the intranet'}: as for any VPN user"
    tags = _through(deployment, ("gateway", "host", ("clear",)), ("inner", "inner", ("clear",)))
    addresses = (f"{gateway.priv.name} {gateway.priv.address}", "")
    yield _Lane(what, ("gateway", "intranet"), "clear", tags, "end", addresses=addresses)
    if gateway.other_sources:
        what = f"other VPN users ({', '.join(gateway.other_sources)}) and home networks, by the proxy"
        others = _through(deployment, ("inner", "inner", ("others",)))
        yield _Lane(what, ("gateway", "intranet"), "clear", others)


def _home(deployment: Deployment, proxy: Proxy, agent: HomeAgent) -> _Lane:
    """The tunnel between a home agent and the proxy."""
    networks = ", ".join(link.address for link in agent.home_links)
    what = f"tunnel of {agent.host or agent.core.address}, IP in IP: what is for nodes of {networks}"
    if not proxy.direct_delivery:
        what += ", and back what nodes send to hosts there"
    tags = _through(deployment, ("inner", "inner", ("tunnel",)))
    addresses = (f"MIPP-Priv {proxy.priv.address}", agent.core.address)
    return _Lane(what, ("proxy", "agent"), "pipe", tags, addresses=addresses)


def _handed_over(deployment: Deployment, proxy: Proxy) -> Iterator[_Lane]:
    way = f"by the wire {proxy.wire[1]} to {proxy.wire[0]}" if proxy.wire else "by layer 2"
    tags = _through(deployment, ("gateway", "host", ("handed",)))
    what = f"out of the home agents' tunnels, handed to VPNGW-Priv {way}: for the node's SA"
    yield _Lane(what, ("proxy", "gateway"), "clear", tags, "end")
    back = _through(deployment, ("gateway", "host", ("clear",)))
    onward = "delivered by the proxy" if proxy.direct_delivery else "into the home agent's tunnel"
    what = f"out of the node's SA, for a host in a home network: to the proxy, and {onward}"
    yield _Lane(what, ("gateway", "proxy"), "clear", back, "end")
    if proxy.direct_delivery:
        what = "delivered by the proxy: home address to a host in a home network"
        direct = _through(deployment, ("inner", "inner", ("direct",)))
        yield _Lane(what, ("proxy", "intranet"), "clear", direct, "end")


def _errors(deployment: Deployment) -> Iterator[_Lane]:
    outer = _through(deployment, ("outer", "outer", ("errors",)))
    inner = _through(deployment, ("inner", "inner", ("errors",)))
    if outer:
        yield _Lane("ICMP: too big, time exceeded", ("node", "proxy"), "errors", outer, "end")
    if inner:
        what = "ICMP: too big, time exceeded; that a home agent is unreachable"
        yield _Lane(what, ("intranet", "proxy"), "errors", inner)


def _refused(deployment: Deployment) -> Iterator[_Lane]:
    guards = _through(deployment, ("gateway", "guard", ("no_sa",)))
    if guards:
        what = "handed over for a node that has no SA: it would go on in clear"
        yield _Lane(what, ("proxy", "gateway"), "never", guards, "end", verdict="drop")
    impostors = _through(deployment, ("gateway", "guard", ("impostor",)))
    if impostors:
        what = "a home source that came by no SA"
        yield _Lane(what, ("proxy", "gateway"), "never", impostors, "end", verdict="drop")
    strangers = _through(deployment, ("proxy", "host", ("strangers",)))
    if strangers:
        what = "Mobile IP to MIPP-Priv from others than home agents"
        yield _Lane(what, ("intranet", "proxy"), "never", strangers, "end", verdict="drop")
    for kind, ends in (("outer", ("node", "outer")), ("inner", ("gateway", "inner"))):
        spoofed = _through(deployment, (kind, kind, ("ipv6", "spoofed")))
        if spoofed:
            where = "outside" if kind == "outer" else "the DMZ, but what is accepted above"
            yield _Lane(f"IPv6; an inside source from {where}", ends, "never", spoofed, "end", verdict="drop")


# The rules

_NUMBER, _VERDICT, _MATCH, _REASON = MARGIN, 70, 136, 1010


def _rules(deployment: Deployment, top: float) -> tuple[list[Shape], float]:
    """Every rule that is written, filter by filter; those that are alike once."""
    shapes: list[Shape] = []
    y = top
    if deployment.firewalls:
        shapes.append(Text(MARGIN, y + 16, "The rules", "heading"))
        y += 28
    for hosts, firewall in _alike(deployment.firewalls):
        shapes.append(Line(((MARGIN, y), (WIDTH - MARGIN, y)), "rule-off"))
        kind = {
            "outer": "outer firewall",
            "inner": "inner firewall",
            "host": "the proxy's host; what its programs move does not come here",
            "guard": "guard of the VPN gateway; as with ESP in the kernel",
        }[firewall.kind]
        shapes.append(cut(MARGIN, y + 20, f"{', '.join(hosts)}: {kind}", "label", WIDTH - 2 * MARGIN))
        y += 28
        for rule in firewall.rules:
            style = "drop" if rule.verdict == "drop" else "accept"
            tag = Tag(0, y + 8, rule.number, style)
            shapes.append(replace(tag, x=_NUMBER + tag.width / 2))
            shapes.append(Text(_VERDICT, y + 12, rule.verdict, "label"))
            shapes.append(cut(_MATCH, y + 12, rule.match, "rule", _REASON - _MATCH - 16))
            shapes.append(cut(_REASON, y + 12, rule.reason, "text", WIDTH - MARGIN - _REASON))
            y += 21
        rest = "everything else that would be forwarded is dropped"
        if firewall.kind != "guard":
            shapes += [Text(_VERDICT, y + 12, "drop", "label"), Text(_MATCH, y + 12, rest, "text")]
            y += 21
        for name, members in firewall.sets:
            shapes.append(cut(_MATCH, y + 12, f"{name} = {members}", "rule", WIDTH - MARGIN - _MATCH))
            y += 19
        y += 10
    return shapes, y


def _alike(firewalls: Iterable[Firewall]) -> Iterator[tuple[list[str], Firewall]]:
    found: dict[Firewall, list[str]] = {}
    for firewall in firewalls:
        found.setdefault(replace(firewall, host=""), []).append(firewall.host)
    for firewall, hosts in found.items():
        yield hosts, firewall
