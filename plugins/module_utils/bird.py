"""Ask BIRD what it announces: what birdc prints, as data, and where the route to the proxy is in it.

Verified with BIRD 2.0. A route in the kernel reaches a neighbour through a kernel protocol with `learn` (of the main
table, or of `kernel table N`), tables and pipes, and an export filter that lets it pass.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from ansible_collections.mobileip.vpn.plugins.module_utils.bird_configuration import MAIN_TABLE, Configuration
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

_ANNOUNCING = ("BGP", "OSPF", "RIP", "Babel")
_PROTOCOL = re.compile(r"^(?P<name>[A-Za-z_']\S*) +(?P<kind>\S+) +\S+ +(?P<state>up|start|stop|down|flush)\b")
_CHANNEL = re.compile(r"^    (?P<key>Table|Output filter): +(?P<value>.+?) *$")
_ROUTE = re.compile(r"^(?P<prefix>\d\S*)?\s+[a-z]+(?: \S+)? \[(?P<source>\S+) ")
_HOP = re.compile(r"^\tvia (?P<via>\S+) on (?P<interface>\S+)|^\tdev (?P<link>\S+)")
_NUMBER = re.compile(r"^\s+(?:Kernel\.source|krt_source): (?P<number>\d+)")
_DOWN = "No valid tables"


class Channel(NamedTuple):
    """A table that a protocol is attached to, and the filter by which routes leave it."""

    table: str
    output: str


@dataclass(frozen=True)
class Protocol:
    """One protocol as birdc shows it."""

    name: str
    kind: str
    up: bool
    channels: tuple[Channel, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})"


def read(ask: Ask, daemon: str, question: Question, configuration: Configuration) -> Reading:
    """Ask for the routes to the proxy and, of each protocol with neighbours, for what passes its export filter.

    `daemon` names the instance in messages. Raises `DaemonError` on an answer that is none.
    """
    protocols = parse_protocols(ask("show protocols all"))
    held = [
        route
        for network in question.home_networks
        for route in parse_routes(ask(f"show route in {network} table all all"))
    ]
    suspects = [route for route in held if question.concerns(route)]
    leaks: set[Leak] = set()
    others: set[str] = set()
    announcing = [protocol for protocol in protocols if protocol.kind.startswith(_ANNOUNCING)]
    for protocol in announcing:
        exported = _exported(ask, protocol, question)
        for route in _once_up(protocol, suspects) if exported is None else exported:
            if question.concerns(route):
                does = "may announce, once it is up," if exported is None else "announces"
                leaks.add(_leak(daemon, protocol, does, route, question, configuration))
            elif not question.leads_to_proxy(route):
                others.add(f"{protocol}: {route.prefix}")
    leaks.update(_private_table_read(daemon, question, configuration))
    leaks.update(_announced_when_laid(daemon, protocols, question, configuration))
    return Reading(
        daemon,
        protocols=tuple(map(str, announcing)),
        leaks=tuple(sorted(leaks)),
        others=tuple(sorted(others)),
        suspects=tuple(sorted({str(route) for route in suspects})),
    )


def parse_protocols(text: str) -> list[Protocol]:
    """Read `show protocols all`. Raises `DaemonError` where it shows none."""
    found: list[Protocol] = []
    table = ""
    for line in text.splitlines():
        if opened := _PROTOCOL.match(line):
            found.append(Protocol(opened["name"], opened["kind"], opened["state"] == "up"))
        elif (said := _CHANNEL.match(line)) and found:
            if said["key"] == "Table":
                table = said["value"]
            else:
                last = found[-1]
                found[-1] = replace(last, channels=(*last.channels, Channel(table, said["value"])))
    if not found:
        raise DaemonError(f"BIRD: `show protocols all` says {text[:200]!r}; expected a table of protocols")
    return found


def parse_routes(text: str) -> Iterator[Held]:
    """Read `show route … all`. A second route to a prefix stands below the first, without the prefix."""
    table, prefix = "", ""
    route: Held | None = None
    for line in text.splitlines():
        if line.startswith("Table "):
            table = line.removeprefix("Table ").rstrip(":")
        elif begun := _ROUTE.match(line):
            if route is not None:
                yield route
            prefix = begun["prefix"] or prefix
            route = Held(prefix, (), begun["source"], table)
        elif route is not None and (hop := _HOP.match(line)):
            next_hop = NextHop(hop["via"] or "", hop["interface"] or hop["link"])
            route = replace(route, next_hops=(*route.next_hops, next_hop))
        elif route is not None and (number := _NUMBER.match(line)):
            route = replace(route, number=int(number["number"]))
    if route is not None:
        yield route


def _exported(ask: Ask, protocol: Protocol, question: Question) -> list[Held] | None:
    """Return what passes the protocol's export filter; nothing of a protocol that is down, which BIRD does not tell."""
    if not protocol.up:
        return None
    found: list[Held] = []
    for network in question.home_networks:
        try:
            found.extend(parse_routes(ask(f"show route in {network} export {protocol.name} all")))
        except DaemonError as error:
            if _DOWN in str(error):  # since it was asked for its state
                return None
            raise
    return found


def _once_up(protocol: Protocol, suspects: Iterable[Held]) -> list[Held]:
    """Return the routes that wait in the tables of a protocol that is down, for its filter cannot be asked."""
    waiting = {channel.table for channel in protocol.channels if channel.output != "REJECT"}
    return [route for route in suspects if route.table in waiting]


def _leak(
    daemon: str, protocol: Protocol, does: str, route: Held, question: Question, configuration: Configuration
) -> Leak:
    source = route.source
    kernel = configuration.kernels.get(source)
    line = configuration.lines.get(source, f"protocol {source}")
    if kernel is None:
        remedy = f"Remove the route from protocol {source}: the private table {question.table} holds the gateway's own."
    elif kernel.table == question.table:
        remedy = remedy_for_private_table(question, f"`learn` from protocol {source}")
    else:
        remedy = remedy_for_kernel_route(question, route.prefix)
    return Leak(daemon, str(protocol), str(route), line, does, remedy)


def _private_table_read(daemon: str, question: Question, configuration: Configuration) -> Iterator[Leak]:
    if question.leak_guard:
        for name, kernel in configuration.kernels.items():
            if kernel.table == question.table and kernel.takes:
                does = f"reads table {kernel.table}, where the route to the proxy is kept private"
                remedy = remedy_for_private_table(question, f"`learn` from protocol {name}")
                yield Leak(daemon, "", "", configuration.lines[name], does, remedy)


def _announced_when_laid(
    daemon: str, protocols: Iterable[Protocol], question: Question, configuration: Configuration
) -> Iterator[Leak]:
    """Without the guard the route will be in the main table: tell who will announce it, no filter being in the way."""
    if question.leak_guard or not question.planned:
        return
    takers = {name for name, kernel in configuration.kernels.items() if kernel.table == MAIN_TABLE and kernel.takes}
    tables = {
        channel.table: protocol.name
        for protocol in protocols
        if protocol.name in takers
        for channel in protocol.channels
    }
    for protocol in protocols:
        for channel in protocol.channels:
            if protocol.kind.startswith(_ANNOUNCING) and channel.output == "ACCEPT" and channel.table in tables:
                line = configuration.lines[tables[channel.table]]
                for network in question.home_networks:
                    remedy = remedy_for_kernel_route(question, str(network))
                    yield Leak(daemon, str(protocol), str(network), line, "would announce", remedy)
