"""The variables behind our routes and rules, and whose addresses are on which interface, from what `ip -j` says."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import Remark, Said, Witness
from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import (
    BEFORE_STRONGSWAN,
    MAIN_TABLE,
    Route,
    Routing,
    Rule,
    Wish,
    ours,
    wanted,
)

_REGISTRATION_PORT = 434
# Protocol numbers of routes that others lay: the kernel, at boot, by hand, and the daemons of rt_protos.
_OTHERS = frozenset({0, 1, 2, 3, 4, *range(8, 20), 42, *range(186, 193)})
_EVERYWHERE = "0.0.0.0/0"
_SOURCE = "routes and rules"


@dataclass(frozen=True)
class Kernel:
    """What the kernel has."""

    routing: Routing
    registration_rules: tuple[int, ...]
    """Protocol numbers of rules that keep UDP 434 in the main table."""
    addresses: tuple[tuple[str, str], ...]
    """Each IPv4 address with its interface."""
    neighbours: tuple[tuple[str, str, str], ...]
    """Each IPv4 neighbour: its interface, its Ethernet address, its address."""

    def interface_of(self, address: str) -> str | None:
        """Return which interface has an address; None if none has."""
        return next((interface for each, interface in self.addresses if each == address), None)


def kernel(routes: str, rules: str, addresses: str, neighbours: str) -> Kernel:
    """Return what `ip -j` says of routes (`-N`, of all tables), rules (`-N`), addresses and neighbours (`-4`)."""
    listed = json.loads(rules or "[]")
    return Kernel(
        Routing(tuple(sorted(_routes(json.loads(routes or "[]")))), tuple(sorted(_rules(listed)))),
        tuple(int(each.get("protocol", 0)) for each in listed if _keeps_registrations(each)),
        tuple(
            (each["local"], link["ifname"])
            for link in json.loads(addresses or "[]")
            for each in link["addr_info"]
            if each["family"] == "inet"
        ),
        tuple(
            (each["dev"], each["lladdr"], each["dst"])
            for each in json.loads(neighbours or "[]")
            if "lladdr" in each and ":" not in each["dst"]
        ),
    )


def _routes(listed: Iterable[dict[str, str]]) -> Iterator[Route]:
    for each in listed:
        if each.get("type", "1") in ("1", "unicast") and "dev" in each and ":" not in each["dst"]:
            yield Route(
                int(each.get("table", MAIN_TABLE)),
                _prefix(each["dst"]),
                each.get("gateway", ""),
                each["dev"],
                int(each.get("protocol", 0)),
            )


def _rules(listed: Iterable[dict[str, str]]) -> Iterator[Rule]:
    for each in listed:
        if each["src"] != "all" and "dst" in each and "table" in each:
            yield Rule(
                int(each["priority"]),
                f"{each['src']}/{each.get('srclen', 32)}",
                f"{each['dst']}/{each.get('dstlen', 32)}",
                int(each["table"]),
                int(each.get("protocol", 0)),
            )


def _prefix(destination: str) -> str:
    if destination == "default":
        return _EVERYWHERE
    return destination if "/" in destination else f"{destination}/32"


def _keeps_registrations(rule: dict[str, str]) -> bool:
    # With -N the number of a protocol has a prefix.
    udp = str(rule.get("ipproto", "")).removeprefix("ipproto-") in ("17", "udp")
    return udp and int(rule.get("dport", 0)) == _REGISTRATION_PORT


def gateway(found: Kernel, home_networks: Iterable[str]) -> Iterator[Said]:
    """Yield what routes and rules say of the role `vpn_gateway`; `home_networks` are those that its guard names."""
    protocol = _protocol(found.routing, set(home_networks))
    if protocol is None:
        return
    have = ours(found.routing, protocol)
    tables = {route.table for route in have.routes}
    guarded = MAIN_TABLE not in tables
    networks = sorted({route.destination for route in have.routes})
    yield Witness("vpn_gateway_route_protocol", protocol, _SOURCE)
    if networks:
        yield Witness("vpn_gateway_leak_guard", guarded, _SOURCE)
        yield Witness("vpn_gateway_home_networks", networks, "routes")
    for route in have.routes:
        yield from _way(route)
    first = [rule for rule in have.rules if rule.preference != BEFORE_STRONGSWAN and rule.source.endswith("/32")]
    for rule in have.rules:
        if rule.preference == BEFORE_STRONGSWAN:
            yield Witness("vpn_gateway_mipp_pub", rule.source.removesuffix("/32"), "rules")
    for rule in first:
        yield Witness("vpn_gateway_rule_preference", rule.preference, "rules")
        yield Witness("vpn_gateway_pub_address", rule.source.removesuffix("/32"), "rules")
    yield from _compared(have, guarded, first)


def _protocol(routing: Routing, home_networks: set[str]) -> int | None:
    """Return the protocol number of our routes: that of `from HOME to HOME`, or of routes to home networks."""
    for rule in routing.rules:
        if rule.source == rule.destination and rule.protocol not in _OTHERS:
            return rule.protocol
    for route in routing.routes:
        if route.destination in home_networks and route.protocol not in _OTHERS:
            return route.protocol
    return None


def _way(route: Route) -> Iterator[Witness]:
    if route.table != MAIN_TABLE:
        yield Witness("vpn_gateway_route_table", route.table, "routes")
    if route.via:
        yield Witness("vpn_gateway_mipp_pub", route.via, "routes")
        yield Witness("vpn_gateway_pub_interface", route.interface, "routes")
    else:
        yield Witness("vpn_gateway_wire_interface", route.interface, "routes")


def _compared(have: Routing, guarded: bool, first: list[Rule]) -> Iterator[Remark]:
    """Yield what the role would have laid besides, and what it would not have."""
    if not have.routes or (guarded and not first):
        yield Remark(_SOURCE, f"incomplete: {'; '.join(have.text.splitlines()) or 'nothing'}")
        return
    route = have.routes[0]
    proxies = [rule.source for rule in have.rules if rule.preference == BEFORE_STRONGSWAN]
    whole = wanted(
        Wish(
            home_networks=tuple(each.destination for each in have.routes),
            via=route.via,
            interface=route.interface,
            source=first[0].source.removesuffix("/32") if first else "",
            table=route.table,
            preference=first[0].preference if first else 0,
            protocol=route.protocol,
            leak_guard=guarded,
            present=True,
            proxy=proxies[0].removesuffix("/32") if proxies else "",
        )
    )
    for entry in (*whole.routes, *whole.rules):
        if entry not in have.routes and entry not in have.rules:
            yield Remark(_SOURCE, f"without {entry}")
    for entry in (*have.routes, *have.rules):
        if entry not in whole.routes and entry not in whole.rules:
            yield Remark(_SOURCE, f"{entry}, which no variable lays")


def node(found: Kernel) -> Iterator[Said]:
    """Yield what rules say of the role `mobile_node`."""
    for protocol in found.registration_rules:
        yield Witness("mobile_node_route_protocol", protocol, "rules")
