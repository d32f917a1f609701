"""State as JSON data, for the control socket. No key is in any of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from mobileip.forwarding.entries import BindingTraffic
from mobileip.registration.bindings import Binding, Visitor
from mobileip.registration.events import Endpoint
from mobileip.registration.peers import nai_of
from mobileip.registration.pending import PendingRequest
from mobileip.registration.visits import PendingVisit
from mobileip.runtime.paths import UNKNOWN, PathReport
from mobileip.wire.messages import Flag


def plain(value: Any) -> Any:
    """Dataclasses, addresses and enums as JSON data; a time without end as None."""
    if isinstance(value, Endpoint | IPv4Address | IPv4Network | Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


@dataclasses.dataclass(frozen=True)
class Legs:
    """Our end of the node's tunnel; at a proxy also of the one to the home agent, and how that carries packets."""

    local: IPv4Address
    home_agent_local: IPv4Address | None = None
    home_agent_encapsulation: str | None = None


def binding_row(binding: Binding, now: float, legs: Legs, path: PathReport = UNKNOWN) -> dict[str, Any]:
    """One line of `show bindings`. `remaining` in seconds, None for ever; `heard` in seconds ago.

    At a proxy, `home_agent_remaining` is what is left of the one binding that the home agent has for the node.
    """
    peer = binding.tunnel_peer
    return {
        "home_address": str(binding.home_address),
        "nai": binding.nai,
        "care_of_address": str(binding.care_of_address),
        "home_agent": str(binding.home_agent),
        "gateway": plain(binding.gateway) if binding.gateway else None,
        "source": str(binding.source),
        "interface": binding.interface,
        "encapsulation": binding.encapsulation.value,
        "tunnel_local": str(legs.local),
        "tunnel_peer": str(peer if binding.encapsulation.in_udp and not binding.half_bound else peer.address),
        "home_agent_encapsulation": legs.home_agent_encapsulation,
        "home_agent_tunnel_local": plain(legs.home_agent_local),
        "via_foreign_agent": binding.via_foreign_agent,
        "half_bound": binding.half_bound,
        "broadcasts": bool(binding.flags & Flag.BROADCAST),
        "revocable": binding.node_revocation is not None,
        "granted": binding.granted,
        "expires": plain(binding.expires),
        "remaining": _remaining(binding.expires, now),
        "home_agent_remaining": _remaining(binding.home_agent_expires, now) if binding.registered else None,
        "path": path.state,
        "heard": path.heard,
        "elsewhere": path.elsewhere,
    }


def counts(request: Mapping[str, Any]) -> bool:
    """Whether `show bindings` is asked for counters, too."""
    return request.get("counters") is True


def binding_rows(
    bindings: Collection[Binding],
    now: float,
    legs_of: Callable[[Binding], Legs],
    path_of: Callable[[Binding], PathReport],
    counted: Iterable[tuple[IPv4Address | None, IPv4Address, BindingTraffic]] | None = None,
) -> list[dict[str, Any]]:
    """`show bindings`; `counted`: VPN gateway (None at a home agent), home address, counters. None leaves them out."""
    rows = [binding_row(binding, now, legs_of(binding), path_of(binding)) for binding in bindings]
    if counted is not None:
        by_node = {(gateway, home): traffic for gateway, home, traffic in counted}
        for binding, row in zip(bindings, rows, strict=True):
            row |= traffic_row(by_node.get((binding.gateway, binding.home_address), BindingTraffic()))
    return rows


def traffic_row(traffic: BindingTraffic) -> dict[str, int]:
    """What `show bindings --counters` adds to a line. It is the node's, over all its care-of addresses."""
    return {
        "from_node_packets": traffic.from_node.packets,
        "from_node_bytes": traffic.from_node.bytes,
        "to_node_packets": traffic.to_node.packets,
        "to_node_bytes": traffic.to_node.bytes,
    }


def _remaining(expires: float, now: float) -> float | None:
    return round(expires - now, 1) if math.isfinite(expires) else None


def visitor_row(visitor: Visitor, now: float) -> dict[str, Any]:
    """One line of `show bindings` at a foreign agent."""
    return {
        "home_address": str(visitor.home_address),
        "care_of_address": str(visitor.care_of_address),
        "home_agent": str(visitor.home_agent),
        "node": str(visitor.node),
        "interface": visitor.interface,
        "encapsulation": visitor.encapsulation.value,
        "reverse_tunnel": visitor.reverse_tunnel,
        "encapsulating_delivery": visitor.encapsulating_delivery,
        "co_located": visitor.co_located,
        "nai": visitor.nai,
        "granted": visitor.granted,
        "expires": plain(visitor.expires),
        "remaining": plain(round(visitor.expires - now, 1)) if math.isfinite(visitor.expires) else None,
    }


def request_row(pending: PendingRequest, now: float) -> dict[str, Any]:
    """One line of `show pending` at a proxy. `asked_from`: where our request went out; `waiting` in seconds."""
    message = pending.request.message
    return {
        "home_address": str(message.home_address),
        "nai": nai_of(message),
        "care_of_address": str(message.care_of_address),
        "home_agent": str(pending.home_agent),
        "source": str(pending.received.source),
        "asked_from": str(pending.sent.source),
        "lifetime": pending.at_home_agent,
        "waiting": round(now - pending.relayed_at, 1),
    }


def pending_row(entry: PendingVisit, now: float) -> dict[str, Any]:
    """One line of `show pending` at a foreign agent. `waiting` in seconds."""
    return {
        "home_address": str(entry.request.home_address),
        "nai": entry.nai.decode(errors="backslashreplace") if entry.nai is not None else None,
        "home_agent": str(entry.request.home_agent),
        "node": str(entry.source),
        "lifetime": entry.request.lifetime,
        "waiting": round(now - entry.relayed, 1),
    }
