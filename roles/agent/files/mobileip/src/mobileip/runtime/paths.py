"""Watches over the paths of bound nodes: asks the silent ones, and notices packets of theirs that come from elsewhere.

`forwarding.paths` decides whom to ask; what was heard of a node is in its binding's counter in the kernel. A packet
from another address or port than the registered ones was dropped there and noted. Neither ends or moves a binding: a
node that has got another port of its NAT says so itself, in a registration that is authenticated (RFC 3519 4.10).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.forwarding.entries import Stray, Tunnel
from mobileip.forwarding.paths import Finding, Path, Paths, Probing
from mobileip.forwarding.tables import ProxyTables, Tables
from mobileip.forwarding.tunnelling import is_ready, tunnelled
from mobileip.runtime.journal import log
from mobileip.wire.encapsulation import IPPROTO_ICMP, Echo, IPv4Packet

Node = tuple[IPv4Address, IPv4Address]
"""Gateway, at a home agent its own address, and home address: the key of the kernel's table."""

_TICK = 0.25
"""Seconds between two turns of the probes; so many times fewer of them go out in one than in a second."""
_STRAY_INTERVAL = 2.0
"""Seconds between two looks at what was noted."""
_FORGET = 600.0
"""Seconds until a packet from elsewhere is history."""


@dataclass(frozen=True)
class PathReport:
    """What `mobileip show bindings` says of a path; `heard` and `elsewhere` are None where nothing is known."""

    state: str | None = None
    heard: float | None = None
    elsewhere: str | None = None


UNKNOWN = PathReport()


class Elsewhere:
    """Nodes whose packets come from another address or port than they registered from."""

    def __init__(
        self, tables: Tables, tunnels_of: Callable[[Node], tuple[Tunnel, ...]], count: Callable[[str], None]
    ) -> None:
        self._tables = tables
        self._tunnels_of = tunnels_of
        self._count = count
        self._noted: dict[Node, Stray] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look from now on, every other second."""
        self._timer = loop.call_later(_STRAY_INTERVAL, self.open, loop)
        try:
            self.look(time.time())
        except OSError as exc:
            log("warning", "paths_unreadable", error=exc)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def registered(self, node: Node) -> None:
        """The node has just said, authenticated, where it is: what was noted before is settled."""
        if self._noted.pop(node, None) is not None:
            self._tables.forget_stray(*node)

    def of(self, node: Node) -> Stray | None:
        """What was noted of a node."""
        return self._noted.get(node)

    def look(self, now: float) -> None:
        """Read what the kernel has noted, and tell once of each new place."""
        noted: dict[Node, Stray] = {}
        for stray in self._tables.strays():
            node = (stray.gateway, stray.home_address)
            tunnels = self._tunnels_of(node)
            if not tunnels or now - stray.last > _FORGET or (stray.address, stray.port) in set(_ends(tunnels)):
                self._tables.forget_stray(*node)
                continue
            noted[node] = stray
            known = self._noted.get(node)
            if known is None or (known.address, known.port) != (stray.address, stray.port):
                self._count("path_elsewhere")
                log(
                    "warning",
                    "path_elsewhere",
                    home_address=stray.home_address,
                    seen_at=_place(stray),
                    registered=",".join(f"{address}:{port}" for address, port in _ends(tunnels[:1])),
                    packets=stray.packets,
                )
        self._noted = noted


def _ends(tunnels: Iterable[Tunnel]) -> list[tuple[IPv4Address, int]]:
    """Where packets of a node may come from; port 0 without UDP."""
    return [(address, each.port) for each in tunnels for address in (each.care_of, each.source) if address is not None]


def _place(stray: Stray) -> str:
    return f"{stray.address}:{stray.port}" if stray.port else str(stray.address)


class Probes:
    """Echo requests through the tunnels of silent nodes, at most so many a second."""

    def __init__(
        self,
        tables: ProxyTables,
        local: IPv4Address,
        probing: Probing,
        most_per_second: int,
        tunnels_of: Callable[[Node], tuple[Tunnel, ...]],
        count: Callable[[str], None],
    ) -> None:
        self._tables = tables
        self._local = local
        self._paths: Paths[Node] = Paths(probing)
        self._most = max(1, round(most_per_second * _TICK))
        self._tunnels_of = tunnels_of
        self._count = count
        self._ends: dict[Node, list[tuple[IPv4Address, int]]] = {}
        self._sequence = itertools.count(1)
        self._sender: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lost(self) -> int:
        """Nodes that do not answer."""
        return self._paths.lost()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask from now on. Raises OSError; needs CAP_NET_RAW."""
        # IPPROTO_RAW: the header is ours, and nothing is ever received.
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        self._sender.setblocking(False)
        self._tick(loop)

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def registered(self, node: Node, tunnels: tuple[Tunnel, ...]) -> None:
        """A node has registered; from somewhere else than before, its path has yet to show that it is alive."""
        ends = _ends(tunnels)
        if self._ends.get(node) != ends:
            self._ends[node] = ends
            self._paths.put(node, self._packets(node), time.time())

    def ended(self, node: Node) -> None:
        """It has no binding any more."""
        self._ends.pop(node, None)
        self._paths.remove(node)

    def keep(self, nodes: Iterable[Node]) -> None:
        """These are all that are bound."""
        for node in self._ends.keys() - set(nodes):
            self.ended(node)

    def of(self, node: Node) -> Path | None:
        """What is known of a node's path."""
        return self._paths.get(node)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_TICK, self._tick, loop)
        now = time.time()
        for node in self._paths.due(now, self._most):
            self._look(node, now)

    def _look(self, node: Node, now: float) -> None:
        finding = self._paths.look(node, self._packets(node), now)
        path = self._paths.get(node)
        assert path is not None
        match finding:
            case Finding.LOST:
                self._count("path_lost")
                heard = "never" if path.heard is None else round(now - path.heard, 1)
                log("warning", "path_lost", home_address=node[1], registered=_written(self._ends[node]), heard=heard)
            case Finding.BACK:
                self._count("path_back")
                log("info", "path_back", home_address=node[1], registered=_written(self._ends[node]))
            case Finding.ASK:
                self._ask(node)
            case Finding.QUIET:
                pass

    def _packets(self, node: Node) -> int:
        try:
            traffic = self._tables.traffic_of(*node)
        except OSError as exc:
            log("warning", "paths_unreadable", error=exc)
            traffic = None
        return 0 if traffic is None else traffic.from_node.packets

    def _ask(self, node: Node) -> None:
        """One to each care-of address: any answer will do."""
        assert self._sender is not None, "nobody is asked before it is open"
        sequence = next(self._sequence) & 0xFFFF
        home_address = node[1]
        echo = Echo(int(home_address) & 0xFFFF, sequence).serialize()
        question = IPv4Packet(self._local, home_address, IPPROTO_ICMP, echo)
        for tunnel in filter(is_ready, self._tunnels_of(node)):
            packet = tunnelled(question, self._local, tunnel, sequence)
            try:
                self._sender.sendto(packet.serialize(), (str(packet.destination), 0))
            except OSError:
                self._count("probe_not_sent")
            else:
                self._count("probe_sent")


def _written(ends: list[tuple[IPv4Address, int]]) -> str:
    return ",".join(f"{address}:{port}" if port else str(address) for address, port in ends)


def report(node: Node | None, elsewhere: Elsewhere, probes: Probes | None, now: float) -> PathReport:
    """What is known of a node's path."""
    if node is None:
        return UNKNOWN
    stray, path = elsewhere.of(node), None if probes is None else probes.of(node)
    place = None if stray is None else _place(stray)
    if path is None:
        return PathReport(elsewhere=place)
    state = "lost" if path.lost is not None else "new" if path.heard is None else "alive"
    return PathReport(state, None if path.heard is None else round(now - path.heard, 1), place)
