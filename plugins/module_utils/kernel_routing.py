"""Read routes and rules from this host's kernel, and change them, through pyroute2."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import (
    Route,
    Routing,
    RoutingError,
    Rule,
    Step,
    missing,
)

IMPORT_ERROR: str | None = None
try:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
except ImportError as exc:
    IMPORT_ERROR = str(exc)

_UNICAST = 1
_TO_TABLE = 1
_SCOPE_LINK = 253


class KernelRouting:
    """The kernel's IPv4 routes by one interface and its rules by prefix; others are not shown and not touched."""

    def __init__(self, netlink: Any = None) -> None:
        """Open a netlink socket, or use `netlink` (a pyroute2 `IPRoute` or `NetNS`)."""
        self._netlink = netlink if netlink is not None else IPRoute()

    def __enter__(self) -> KernelRouting:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()

    def read(self) -> Routing:
        """Return what is in the kernel now. Raises `RoutingError` when it cannot be read."""
        try:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in self._netlink.get_links()}
            routes = tuple(self._routes(names))
            rules = tuple(self._rules())
        except (NetlinkError, OSError) as exc:
            raise RoutingError(f"the kernel's routes cannot be read: {exc}") from exc
        return Routing(tuple(sorted(routes)), tuple(sorted(rules)))

    def apply(self, steps: Iterable[Step], want: Routing) -> None:
        """Perform `steps` in order and read back. Raises `RoutingError` naming what failed or had no effect."""
        for step in steps:
            try:
                self._perform(step)
            except (NetlinkError, OSError) as exc:
                raise RoutingError(f"{step}: the kernel refuses: {exc}") from exc
        absent = list(missing(self.read(), want))
        if absent:
            raise RoutingError(f"the kernel took the change and does not show it: {'; '.join(absent)}")

    def _routes(self, names: dict[int, str]) -> Iterable[Route]:
        for message in self._netlink.get_routes(family=socket.AF_INET):
            gateway, index = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF")
            if message["type"] != _UNICAST or index is None:
                continue
            destination = message.get_attr("RTA_DST") or "0.0.0.0"
            yield Route(
                table=message.get_attr("RTA_TABLE") or message["table"],
                destination=f"{destination}/{message['dst_len']}",
                via=gateway or "",
                interface=names.get(index, f"index {index}"),
                protocol=message["proto"],
            )

    def _rules(self) -> Iterable[Rule]:
        for message in self._netlink.get_rules(family=socket.AF_INET):
            source, destination = message.get_attr("FRA_SRC"), message.get_attr("FRA_DST")
            if message["action"] != _TO_TABLE or source is None or destination is None:
                continue
            yield Rule(
                preference=message.get_attr("FRA_PRIORITY") or 0,
                source=f"{source}/{message['src_len']}",
                destination=f"{destination}/{message['dst_len']}",
                table=message.get_attr("FRA_TABLE") or message["table"],
                protocol=_number(message.get_attr("FRA_PROTOCOL")),
            )

    def _perform(self, step: Step) -> None:
        if isinstance(step.entry, Route):
            self._change_route(step.action, step.entry)
        else:
            self._change_rule(step.action, step.entry)

    def _change_route(self, action: str, route: Route) -> None:
        found = list(self._netlink.link_lookup(ifname=route.interface))
        if not found:
            raise RoutingError(f"interface: this host has no {route.interface}")
        self._netlink.route(
            "del" if action == "delete" else action,
            dst=route.destination,
            **({"gateway": route.via} if route.via else {"scope": _SCOPE_LINK}),
            oif=found[0],
            table=route.table,
            proto=route.protocol,
        )

    def _change_rule(self, action: str, rule: Rule) -> None:
        source, source_length = rule.source.split("/")
        destination, destination_length = rule.destination.split("/")
        self._netlink.rule(
            "del" if action == "delete" else "add",
            family=socket.AF_INET,
            priority=rule.preference,
            src=source,
            src_len=int(source_length),
            dst=destination,
            dst_len=int(destination_length),
            table=rule.table,
            protocol=rule.protocol,
        )


def _number(value: Any) -> int:
    """Return a protocol number that a release of pyroute2 may hand over as one byte."""
    if isinstance(value, bytes):
        return value[0] if value else 0
    return int(value or 0)
