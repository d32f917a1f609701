"""Ask FRR what it announces: what vtysh prints, as data, and where the route to the proxy is in it.

Verified with FRR 8.4 and 10.3. Ways for a kernel route to reach a neighbour: `redistribute kernel` (the main table),
`ip import-table N` with `redistribute table N` (tables 1 to 252; it puts the route into the main table, too), and
`redistribute table-direct N` of BGP (FRR 10, any table).
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import (
    Ask,
    DaemonError,
    Held,
    Leak,
    NextHop,
    Question,
    Reading,
    remedy_for_kernel_route,
    remedy_for_private_table,
)

_NAMES = {
    "babel": "Babel",
    "bgp": "BGP",
    "eigrp": "EIGRP",
    "isis": "IS-IS",
    "openfabric": "OpenFabric",
    "ospf": "OSPF",
    "rip": "RIP",
}
"""The routing protocols of FRR that carry IPv4, by their word in `router WORD`."""
_MAX_AGE = 3600
"""Seconds; a withdrawn advertisement stays in the database with this age (RFC 2328 14.1)."""


@dataclass(frozen=True)
class Redistribution:
    """One `redistribute` or `network` line of a routing protocol in the default VRF."""

    protocol: str
    """`bgp`, `ospf`, …: the word after `router`."""
    source: str
    """`kernel`, `static`, `table 200`, …; `network PREFIX`, whoever gave zebra the route."""
    filtered: bool
    """By a route map, which only the daemon can evaluate."""
    line: str
    """With the block that it stands in."""


@dataclass(frozen=True)
class Configuration:
    """What of the running configuration decides over announcements."""

    protocols: tuple[str, ...]
    redistributions: tuple[Redistribution, ...]
    tables: tuple[tuple[int, str], ...]
    """Kernel tables that are read, each with its line."""


def read(ask: Ask, daemon: str, question: Question) -> Reading:
    """Ask zebra for its routes, OSPF and BGP for what they originate; the other protocols are judged by their lines.

    `daemon` names the instance in messages. Raises `DaemonError` on an answer that is none.
    """
    running = ask("show daemons").split()
    configuration = parse_configuration(ask("show running-config"))
    held = [
        route
        for network in question.home_networks
        for answer in _json(ask, f"show ip route {network} longer-prefixes json")
        for route in parse_routes(answer)
    ]
    originated = {
        "ospf": _of_ospf(ask, question) if "ospfd" in running and "ospf" in configuration.protocols else [],
        "bgp": _of_bgp(ask, question) if "bgpd" in running and "bgp" in configuration.protocols else [],
    }
    suspects = [route for route in held if question.concerns(route)]
    leaks = {
        *_private_table_read(daemon, configuration, question),
        *_announced(daemon, configuration, suspects, originated, question),
        *_announced_when_laid(daemon, configuration, question),
    }
    leaking = {leak.route.split()[0] for leak in leaks if leak.route}
    others = {
        f"{_NAMES[protocol]}: {route.prefix}"
        for protocol, routes in originated.items()
        for route in routes
        if route.prefix not in leaking
    }
    return Reading(
        daemon,
        protocols=tuple(_NAMES[protocol] for protocol in configuration.protocols),
        leaks=tuple(sorted(leaks)),
        others=tuple(sorted(others)),
        suspects=tuple(sorted(map(str, suspects))),
    )


def parse_configuration(text: str) -> Configuration:
    """Read `show running-config`; what belongs to other VRFs or to IPv6 is left out.

    Raises `DaemonError` where it is none: an empty one would announce nothing.
    """
    if "\nfrr version " not in text:
        raise DaemonError(f"FRR: `show running-config` says {text[:200]!r}; expected FRR's version and what is set")
    protocols: list[str] = []
    redistributions: list[Redistribution] = []
    tables: list[tuple[int, str]] = []
    block, family = "", ""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if not line.startswith(" "):
            block, family = _block(words), ""
            if block:
                protocols.append(block.split()[1])
            if words[:2] == ["ip", "import-table"]:
                tables.append((int(words[2]), line.strip()))
        elif words[0] == "address-family":
            family = words[1]
        elif words[0] == "exit-address-family":
            family = ""
        elif block and family in ("", "ipv4") and (found := _redistribution(block, words)):
            redistributions.append(found)
            if found.source.startswith("table-direct "):
                tables.append((int(found.source.split()[1]), found.line))
    return Configuration(tuple(dict.fromkeys(protocols)), tuple(redistributions), tuple(tables))


def parse_routes(answer: dict[str, Any]) -> Iterator[Held]:
    """Read `show ip route … json`: what zebra has chosen, which is what is redistributed."""
    for prefix, entries in answer.items():
        for entry in entries:
            if not entry.get("selected"):
                continue
            source = entry["protocol"]
            if source == "table":
                source = f"table {entry['instance']}"
            hops = (NextHop(hop.get("ip", ""), hop.get("interfaceName", "")) for hop in entry.get("nexthops", []))
            yield Held(prefix, tuple(hops), source)


def parse_external(answer: object) -> Iterator[str]:
    """Read `show ip ospf database external|nssa-external … json`: the prefixes of advertisements that live.

    Their shape differs between releases, the advertisement itself does not. Host bits of a Link State ID are no part
    of the prefix (RFC 2328 appendix E).
    """
    if isinstance(answer, dict) and "linkStateId" in answer:
        if int(answer["lsaAge"]) < _MAX_AGE:
            yield str(IPv4Network((answer["linkStateId"], int(answer["networkMask"])), strict=False))
    elif isinstance(answer, (dict, list)):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from parse_external(part)


def parse_bgp(answer: dict[str, Any]) -> Iterator[Held]:
    """Read `show bgp ipv4 unicast … json`: the paths that began on this host."""
    for prefix, paths in answer.get("routes", {}).items():
        for path in paths:
            if path.get("peerId") == "(unspec)":
                # A path without a next hop has this address (one that leads into an interface, a `network` line).
                hops = (NextHop(hop["ip"].replace("0.0.0.0", ""), "") for hop in path.get("nexthops", []))
                yield Held(prefix, tuple(hops), "bgp")


def _block(words: list[str]) -> str:
    """Return the line that opens a block of a routing protocol in the default VRF, or nothing."""
    return " ".join(words) if words[0] == "router" and words[1] in _NAMES and "vrf" not in words else ""


def _redistribution(block: str, words: list[str]) -> Redistribution | None:
    if block.startswith("router bgp") and words[0] == "network":
        return Redistribution("bgp", f"network {words[1]}", "route-map" in words, f"{block}: {' '.join(words)}")
    if words[0] != "redistribute":
        return None
    rest = words[2:] if words[1] == "ipv4" else words[1:]
    if rest[0] == "ipv6":
        return None
    source = " ".join(rest[:2]) if rest[0] in ("table", "table-direct") else rest[0]
    return Redistribution(block.split()[1], source, "route-map" in rest, f"{block}: {' '.join(words)}")


def _of_ospf(ask: Ask, question: Question) -> list[Held]:
    found: set[str] = set()
    for kind in ("external", "nssa-external"):
        found.update(parse_external(_json(ask, f"show ip ospf database {kind} self-originate json")))
    inside = (prefix for prefix in found if _within(prefix, question.home_networks))
    return [Held(prefix, (), "ospf") for prefix in sorted(inside)]


def _of_bgp(ask: Ask, question: Question) -> list[Held]:
    return [
        route
        for network in question.home_networks
        for answer in _json(ask, f"show bgp ipv4 unicast {network} longer-prefixes json")
        for route in parse_bgp(answer)
    ]


def _announced(
    daemon: str,
    configuration: Configuration,
    suspects: Iterable[Held],
    originated: dict[str, list[Held]],
    question: Question,
) -> Iterator[Leak]:
    """Tell what is announced: what a daemon originates, and what a line without a filter hands on."""
    suspected = {route.prefix: route for route in suspects}
    for route in suspected.values():
        for way in configuration.redistributions:
            # What a filter or an area makes of it only OSPF and BGP are asked.
            if way.source == route.source and not (way.filtered and way.protocol in originated):
                yield _leak(daemon, way.protocol, route, way.line, question)
    for protocol, routes in originated.items():
        for seen in routes:
            route = suspected.get(seen.prefix, seen)
            if not question.concerns(route):
                continue
            ways = [way for way in configuration.redistributions if way.protocol == protocol]
            if not any(way.source == route.source and not way.filtered for way in ways):
                candidates = (route.source, f"network {route.prefix}", f"table-direct {question.table}")
                lines = [way.line for candidate in candidates for way in ways if way.source == candidate]
                yield _leak(daemon, protocol, route, "".join(lines[:1]), question)


def _leak(daemon: str, protocol: str, route: Held, line: str, question: Question) -> Leak:
    return Leak(daemon, _NAMES[protocol], str(route), line, "announces", _remedy(route, line, question))


def _remedy(route: Held, line: str, question: Question) -> str:
    if route.source == "static":
        hop = route.next_hops[0] if route.next_hops else NextHop(question.via, question.interface)
        return (
            f"Remove `ip route {route.prefix} {hop.via or hop.interface}` from FRR's configuration: the private table "
            f"{question.table} holds the gateway's own route."
        )
    if route.source.startswith("table ") and route.source != f"table {question.table}":
        return f"Remove the route from {route.source}, which FRR imports."
    if route.source.startswith("table "):
        return remedy_for_private_table(question, f"`ip import-table {question.table}`")
    if "table-direct" in line:
        return remedy_for_private_table(question, "the line")
    return remedy_for_kernel_route(question, route.prefix)


def _private_table_read(daemon: str, configuration: Configuration, question: Question) -> Iterator[Leak]:
    if question.leak_guard:
        for table, line in configuration.tables:
            if table == question.table:
                does = f"reads table {table}, where the route to the proxy is kept private"
                yield Leak(daemon, "", "", line, does, remedy_for_private_table(question, "the line"))


def _announced_when_laid(daemon: str, configuration: Configuration, question: Question) -> Iterator[Leak]:
    """Without the guard the route will be in the main table: tell which lines will announce it."""
    if question.leak_guard or not question.planned:
        return
    for way in configuration.redistributions:
        if way.source == "kernel" and not way.filtered:
            for network in question.home_networks:
                remedy = remedy_for_kernel_route(question, str(network))
                yield Leak(daemon, _NAMES[way.protocol], str(network), way.line, "would announce", remedy)


def _within(prefix: str, networks: Iterable[IPv4Network]) -> bool:
    return any(IPv4Network(prefix).subnet_of(network) for network in networks)


def _json(ask: Ask, command: str) -> list[dict[str, Any]]:
    """Return what a command prints as JSON: one object, or one for each instance of its daemon.

    Raises `DaemonError` where it is none.
    """
    text, objects, decoder = ask(command).strip(), [], json.JSONDecoder()
    try:
        while text:
            answer, end = decoder.raw_decode(text)
            objects.append(answer)
            text = text[end:].strip()
    except ValueError:
        raise DaemonError(f"FRR: `{command}` says {text[:200]!r}; expected JSON") from None
    return objects
