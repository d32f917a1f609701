"""Private routes to home networks as data: what is wanted, what is there, and the steps from one to the other.

On a gateway with a routing daemon, a route to a home network in the main table is announced to the intranet by the next
`redistribute kernel`. So it goes into a table that no daemon reads, and two rules lead there:

- from VPNGW-Pub to the home network: ESP and IKE to nodes;
- from a home network to the home network: clear packets of nodes for a host in a mobility subnet.

A plain rule `to` the home network would also catch what other VPN users send there. Ours is what carries our protocol
number; whatever else is in the kernel is never touched, and refused where it is in the way.

In one box the proxy speaks from this host, too. What it says to a node at home is no business of an SA that the node
keeps there: a rule for its address comes before strongSwan's.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Literal

MAIN_TABLE = 254
BEFORE_STRONGSWAN = 210
"""Preference of rules that keep packets from the routes into strongSwan's TUN (rule 220)."""


class RoutingError(Exception):
    """A value that cannot be, or a kernel that does not obey; the text says which and what was expected."""


@dataclass(frozen=True, order=True)
class Route:
    """One IPv4 route; `interface` is a name. Without `via` it leads into the interface as it is."""

    table: int
    destination: str
    via: str
    interface: str
    protocol: int

    def __str__(self) -> str:
        table = "main" if self.table == MAIN_TABLE else str(self.table)
        way = f"via {self.via} dev {self.interface}" if self.via else f"dev {self.interface}"
        return f"route {self.destination} {way} table {table} proto {self.protocol}"


@dataclass(frozen=True, order=True)
class Rule:
    """One IPv4 policy rule by source and destination prefix."""

    preference: int
    source: str
    destination: str
    table: int
    protocol: int

    def __str__(self) -> str:
        return (
            f"rule {self.preference}: from {self.source} to {self.destination} "
            f"lookup {self.table} proto {self.protocol}"
        )


@dataclass(frozen=True)
class Routing:
    """The routes and rules that matter, in a stable order."""

    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def text(self) -> str:
        """One line an entry, for a diff."""
        return "".join(f"{entry}\n" for entry in (*self.routes, *self.rules))


@dataclass(frozen=True)
class Wish:
    """What the user asked for; numbers as the kernel counts them.

    No `via`: the proxy is at the other end of a wire, and `proxy` is its address on this host.
    """

    home_networks: tuple[str, ...]
    via: str
    interface: str
    source: str
    table: int
    preference: int
    protocol: int
    leak_guard: bool
    present: bool
    proxy: str = ""


@dataclass(frozen=True)
class Step:
    """One change of the kernel; `replace` is for routes whose destination is there with another next hop."""

    action: Literal["add", "replace", "delete"]
    entry: Route | Rule

    def __str__(self) -> str:
        return f"{self.action} {self.entry}"


def check(wish: Wish) -> None:
    """Refuse what the kernel would take and do something else with. Raises `RoutingError` naming the option."""
    given = (("via", wish.via), ("proxy", wish.proxy))
    addresses = [*((option, value) for option, value in given if value), ("source", wish.source)]
    for option, value in addresses:
        _address(option, value)
    networks = [_network(value) for value in wish.home_networks]
    if not networks:
        raise RoutingError("home_networks: is empty; expected one prefix or more, such as 192.0.2.64/27")
    for option, value in addresses:
        for network in networks:
            if IPv4Address(value) in network:
                raise RoutingError(
                    f"{option}: {value} is in the home network {network}; expected an address of the DMZ"
                )
    if not 1 <= wish.table <= 0xFFFFFFFF or wish.table in (253, MAIN_TABLE, 255):
        raise RoutingError(f"table: {wish.table}; expected a number that is not the system's (0, 253, 254, 255)")
    if not 1 <= wish.preference < 32765:
        raise RoutingError(f"preference: {wish.preference}; expected 1 to 32764, before the rule that leads to main")
    if not 5 <= wish.protocol < 186:
        raise RoutingError(f"protocol: {wish.protocol}; expected 5 to 185, a number that no other program here uses")


def wanted(wish: Wish) -> Routing:
    """Return the routes and rules that shall be there."""
    if not wish.present:
        return Routing()
    networks = sorted({str(_network(value)) for value in wish.home_networks})
    table = wish.table if wish.leak_guard else MAIN_TABLE
    routes = [Route(table, network, wish.via, wish.interface, wish.protocol) for network in networks]
    rules: list[Rule] = []
    if wish.proxy:
        proxy = f"{wish.proxy}/32"
        rules.extend(Rule(BEFORE_STRONGSWAN, proxy, network, MAIN_TABLE, wish.protocol) for network in networks)
    if wish.leak_guard:
        for network in networks:
            rules.append(Rule(wish.preference, f"{wish.source}/32", network, wish.table, wish.protocol))
            rules.extend(Rule(wish.preference + 1, other, network, wish.table, wish.protocol) for other in networks)
    return Routing(tuple(sorted(routes)), tuple(sorted(rules)))


def ours(seen: Routing, protocol: int) -> Routing:
    """Return what of `seen` carries our protocol number."""
    return Routing(
        tuple(sorted(route for route in seen.routes if route.protocol == protocol)),
        tuple(sorted(rule for rule in seen.rules if rule.protocol == protocol)),
    )


def plan(seen: Routing, want: Routing, protocol: int) -> list[Step]:
    """Return the steps from `seen` to `want`, in an order that leaves no packet without a way in between.

    Routes come before the rules that lead to them, and go after them. Raises `RoutingError` where something that is not
    ours is in the way: the kernel would replace it without a word, or take ours for a duplicate.
    """
    have = ours(seen, protocol)
    _refuse_strangers(seen, want, protocol)
    places = {(route.table, route.destination): route for route in have.routes}
    kept = {(route.table, route.destination) for route in want.routes}
    steps: list[Step] = []
    for route in want.routes:
        before = places.get((route.table, route.destination))
        if before != route:
            steps.append(Step("add" if before is None else "replace", route))
    steps.extend(Step("add", rule) for rule in want.rules if rule not in have.rules)
    steps.extend(Step("delete", rule) for rule in have.rules if rule not in want.rules)
    steps.extend(Step("delete", route) for route in have.routes if (route.table, route.destination) not in kept)
    return steps


def _refuse_strangers(seen: Routing, want: Routing, protocol: int) -> None:
    routes = {(route.table, route.destination): route for route in seen.routes if route.protocol != protocol}
    for route in want.routes:
        # In the main table it is one route beside others, told apart by its metric: the kernel keeps both.
        stranger = routes.get((route.table, route.destination))
        if stranger is not None and route.table != MAIN_TABLE:
            raise RoutingError(
                f"table {route.table} holds a route that is not ours: {stranger}; expected protocol {protocol}. "
                "Remove it, or choose another table"
            )
    for rule in want.rules:
        for other in seen.rules:
            same_place = (other.preference, other.source, other.destination) == (
                rule.preference,
                rule.source,
                rule.destination,
            )
            if same_place and other.protocol != protocol:
                raise RoutingError(
                    f"there is a rule that is not ours: {other}; expected protocol {protocol}. "
                    "Remove it, or choose another preference"
                )


def missing(seen: Routing, want: Routing) -> Iterable[str]:
    """Name what is wanted and not there, for the reading back after a change."""
    for route in want.routes:
        if route not in seen.routes:
            yield str(route)
    for rule in want.rules:
        if rule not in seen.rules:
            yield str(rule)


def _address(option: str, value: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except AddressValueError as exc:
        raise RoutingError(f"{option}: '{value}' is no IPv4 address ({exc})") from None


def _network(value: str) -> IPv4Network:
    try:
        return IPv4Network(value)
    except (AddressValueError, NetmaskValueError, ValueError) as exc:
        raise RoutingError(
            f"home_networks: '{value}' is no IPv4 network ({exc}); expected one such as 192.0.2.64/27"
        ) from None
