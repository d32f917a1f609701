"""What a routing daemon on a VPN gateway must not announce, and how it is told from what it may.

The gateway's route to a home network leads to the MIP Proxy, and no neighbour may learn it (draft 5.7). Other routes
into a home network are the site's: the one that it learns from its own neighbours, or a static one towards the
intranet. So a route counts by where it leads: to the proxy, or not.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

Ask = Callable[[str], str]
"""Puts one command to a daemon's own client and returns what it prints. Raises `DaemonError`."""


class DaemonError(Exception):
    """A daemon that does not answer, or not as expected; the text says which, what was asked and what to do."""


@dataclass(frozen=True, order=True)
class NextHop:
    """Where a route leads: an address, an interface, or both; what a daemon does not tell is empty."""

    via: str
    interface: str

    def __str__(self) -> str:
        return " ".join([f"via {self.via}"] * bool(self.via) + [f"dev {self.interface}"] * bool(self.interface))


@dataclass(frozen=True, order=True)
class Held:
    """A route that a daemon has in a table of its own."""

    prefix: str
    next_hops: tuple[NextHop, ...]
    source: str
    """Who gave it the route, in the daemon's words: `kernel`, `static`, `table 200`, or the name of a protocol."""
    table: str = ""
    number: int | None = None
    """The kernel's protocol number, where the daemon tells it."""

    def __str__(self) -> str:
        return " ".join([self.prefix, *map(str, self.next_hops)])


@dataclass(frozen=True)
class Question:
    """What must not be announced. Numbers as the kernel counts them."""

    home_networks: tuple[IPv4Network, ...]
    via: str
    """MIPP-Pub; empty in one box, where the route leads into `interface` as it is."""
    interface: str
    table: int
    protocol: int
    leak_guard: bool = True
    planned: bool = False
    """Before a roll-out: what is there now, and what the configuration will do."""
    moving: frozenset[str] = frozenset()
    """Prefixes that lie in the main table and that the roll-out takes out of it: not held against anybody before."""

    def leads_to_proxy(self, route: Held) -> bool:
        """Whether this is the route that nobody may learn, by whatever way the daemon came to it."""
        if route.number == self.protocol:
            return True
        if self.via:
            return any(hop.via == self.via for hop in route.next_hops)
        return any(hop.interface == self.interface and not hop.via for hop in route.next_hops)

    def concerns(self, route: Held) -> bool:
        """Whether announcing this route counts: it leads to the proxy, and is not about to be taken away."""
        return self.leads_to_proxy(route) and not (self.planned and route.prefix in self.moving)


@dataclass(frozen=True, order=True)
class Leak:
    """One way in which a neighbour learns the route, now or once it is laid."""

    daemon: str
    protocol: str
    """What announces it, in the daemon's words; empty for a line that reads the private table."""
    route: str
    line: str
    """The line of the daemon's configuration that does it; empty where it cannot be told."""
    does: str
    remedy: str

    def __str__(self) -> str:
        if self.protocol:
            said = f"{self.daemon}: {self.protocol} {self.does} {self.route}" + f", by `{self.line}`" * bool(self.line)
        else:
            said = f"{self.daemon}: `{self.line}` {self.does}"
        return f"{said}; expected: no neighbour learns the way to the proxy (draft 5.7). {self.remedy}"


@dataclass(frozen=True)
class Reading:
    """What one daemon says."""

    daemon: str
    protocols: tuple[str, ...] = ()
    """What could announce a route, in the daemon's words."""
    leaks: tuple[Leak, ...] = ()
    others: tuple[str, ...] = ()
    """What it announces inside the home networks that does not lead to the proxy."""
    suspects: tuple[str, ...] = ()
    """Routes to the proxy that it has, announced or not."""
    notes: tuple[str, ...] = ()


def remedy_for_kernel_route(question: Question, prefix: str) -> str:
    """Say how a route in the kernel's main table is kept from a daemon that reads that table."""
    if not question.leak_guard:
        return "Set leak_guard (the role's vpn_gateway_leak_guard) to true, or filter the route there."
    return (
        f"Remove the route ({_removal(question, prefix)}): "
        f"the private table {question.table} holds the gateway's own, or filter it there."
    )


def remedy_for_private_table(question: Question, what: str) -> str:
    """Say how the private table is kept private. FRR imports tables 1 to 252 only."""
    return f"Remove {what}, or give the role another table (vpn_gateway_route_table), above 252 and read by no daemon."


def _removal(question: Question, prefix: str) -> str:
    way = f"via {question.via}" if question.via else f"dev {question.interface}"
    return f"`ip route del {prefix} {way}`"
