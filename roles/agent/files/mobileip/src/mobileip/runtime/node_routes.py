"""The mobile node's routes: to and through a foreign agent, and with room for the tunnel's headers.

What enters the tunnel grows by them, so packets of the home address have routes of their own, in a table that only they
look at, whose MTU leaves room: the kernel fragments before the program encapsulates, or tells the sender what fits
where Don't Fragment is set (RFC 3519 4.8, RFC 2003 5.1). Everybody else's routes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from mobileip.forwarding.entries import Encapsulation
from mobileip.forwarding.rules import overhead
from mobileip.registration.actions import NodePath
from mobileip.runtime.journal import log
from mobileip.runtime.rtnetlink import PROTOCOL, TABLE_MAIN, Route, Rtnetlink

TUNNEL_TABLE = 435
"""Routing table of what enters the tunnel."""
TUNNEL_PREFERENCE = 199
"""Preference of the rule that leads there: before the one that parks the SA."""

_DEFAULT = IPv4Network("0.0.0.0/0")


class NodeRoutes:
    """What the daemon adds to the routes of the interface that moves. Methods raise OSError, but for `into_tunnel`."""

    def __init__(self, kernel: Rtnetlink, interface: str, gateways: Sequence[IPv4Address]) -> None:
        self._kernel = kernel
        self._interface = interface
        self._gateways = tuple(gateways)
        self._home_address: IPv4Address | None = None
        self._dropped = False

    def to_agent(self, agent: IPv4Address) -> None:
        """The foreign agent is on the link."""
        self._dropped = False
        self._kernel.put_route(IPv4Network((agent, 32)), self._interface)

    def through_agent(self, agent: IPv4Address, home_address: IPv4Address) -> None:
        """The foreign agent is the default router (RFC 5944 3.6.2.1)."""
        self.to_agent(agent)
        self._kernel.put_route(_DEFAULT, self._interface, gateway=agent, source=home_address)

    def into_tunnel(self, path: NodePath, home_address: IPv4Address, path_mtu: int | None = None) -> None:
        """The ways that packets of the home address take into the tunnel, as they are but for their MTU.

        `path_mtu`: what routers have said of the way to the tunnel's other end, where it is less than the link's.
        Outside these are the ways to the VPN gateways, inside all of them. Without them packets go all the same, but
        those that are too long get lost; so a failure is logged only.
        """
        self._dropped = False
        try:
            assert path.encapsulation is not None
            link = self._kernel.link(self._interface)
            if link is None:
                return
            mtu = min(link.mtu, path_mtu or link.mtu)
            found = [
                route for route in self._kernel.routes() if route.index == link.index and route.protocol != PROTOCOL
            ]
            ways = found if path.inside else ways_to(self._gateways, found)
            # On-link ones first: the others need them.
            for route in sorted(ways, key=lambda route: (route.gateway is not None, route.destination.prefixlen)):
                self._kernel.put_route(
                    route.destination,
                    self._interface,
                    gateway=route.gateway,
                    mtu=mtu - _headers(Encapsulation(path.encapsulation.value)),
                    table=TUNNEL_TABLE,
                )
            self._lead(home_address)
        except OSError as exc:
            log("warning", "tunnel_routes_failed", interface=self._interface, error=exc)

    def can_see_home_link(self, home_address: IPv4Address) -> bool:
        """Whether the table main has the home network on the interface's link; from here on the programs can ask, too.

        For that lo has to forward, and some rule must exist: before the first one the tables local and main are one,
        and what the kernel finds of an address of its own is that it is.
        """
        self._kernel.forward_what_loops(forwards=True)
        self._lead(home_address)
        link = self._kernel.link(self._interface)
        covering = [route for route in self._kernel.routes() if home_address in route.destination]
        if link is None or not covering:
            return False
        best = min(covering, key=_preference)
        return best.gateway is None and best.index == link.index

    def drop(self) -> None:
        """Take back all that the other methods made, and whatever an earlier run left. Once: requests wait for it."""
        if self._dropped:
            return
        link = self._kernel.link(self._interface)
        if link is None:
            return
        for table in (TUNNEL_TABLE, TABLE_MAIN):
            routes = [route for route in self._kernel.routes(table) if route.protocol == PROTOCOL]
            # The default route first: it needs the other one.
            for route in sorted(routes, key=lambda route: route.destination.prefixlen):
                if route.index == link.index:
                    self._kernel.delete_route(route.destination, self._interface, table=table)
        self._dropped = True

    def _lead(self, home_address: IPv4Address) -> None:
        """The rule stays for good: an empty table decides nothing. Another home address has another rule."""
        if self._home_address not in (None, home_address):
            self._kernel.delete_rule(TUNNEL_PREFERENCE, table=TUNNEL_TABLE, source=self._home_address)
        self._kernel.put_rule(TUNNEL_PREFERENCE, table=TUNNEL_TABLE, source=home_address)
        self._home_address = home_address


def _headers(encapsulation: Encapsulation) -> int:
    """Bytes that a tunnel adds at most. What the kernel fragments, minimal encapsulation leaves to IP in IP."""
    carrier = Encapsulation.IPIP if encapsulation is Encapsulation.MINIMAL else encapsulation
    return overhead(carrier, gre_key=True)


def _preference(route: Route) -> tuple[int, int]:
    """Of the routes to an address the kernel takes the least."""
    return -route.destination.prefixlen, route.metric


def ways_to(hosts: Sequence[IPv4Address], routes: Sequence[Route]) -> list[Route]:
    """For each host the route that it is reached by, as a route to it alone; none where no route leads there."""
    ways = []
    for host in hosts:
        matching = [route for route in routes if host in route.destination]
        if matching:
            best = min(matching, key=_preference)
            ways.append(Route(IPv4Network((host, 32)), best.gateway, best.index, 0, PROTOCOL))
    return ways
