"""What each party knows of its own data path: for the model of the programs, on the kernel's own tables, and to judge
whether an ICMP error can be about a packet that went into one of its tunnels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from mobileip.forwarding import entries, rules
from mobileip.forwarding.slowpath import TunnelError
from mobileip.forwarding.tables import ForeignAgentTables, HomeAgentTables, ProxyTables

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Way:
    """Where a packet leaves: an interface, and a neighbour on it; without one, as the kernel's routes say."""

    ifindex: int = 0
    next_hop: IPv4Address | None = None


class _Looked(Mapping[K, V]):
    """A table of the kernel, each entry read when it is asked for."""

    def __init__(self, one: Callable[[K], V | None], every: Callable[[], Iterable[K]]) -> None:
        self._one = one
        self._every = every

    def __getitem__(self, key: K) -> V:
        found = self._one(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._every())

    def __len__(self) -> int:
        return sum(1 for _ in self._every())


class Forwarder(ABC):
    """Base of the four. `programs`: by the index of the interface that each sits on."""

    def __init__(self, programs: Mapping[int, str]) -> None:
        self.programs = programs

    @abstractmethod
    def snapshot(self, route: Callable[[IPv4Address], int | None]) -> rules.Snapshot:
        """The tables for the model, but for links, paths and policy, which are the same for all parties."""

    @abstractmethod
    def sent(self, error: TunnelError) -> bool:
        """Whether the quoted packet can be one of ours, as far as it is quoted."""

    def way_to_source(self, error: TunnelError) -> Way:
        """Where the source of the quoted packet is told."""
        return Way()

    def path_changed(self) -> None:  # noqa: B027 (most have nothing to do then)
        """Something new is known of a path, or nothing any more."""


def _has_end(tunnels: Iterable[entries.Tunnel], remote: IPv4Address) -> bool:
    return any(tunnel.care_of == remote for tunnel in tunnels)


class ProxyForwarder(Forwarder):
    """See `Forwarder`."""

    def __init__(self, tables: ProxyTables, settings: entries.ProxyForwarding) -> None:
        super().__init__({settings.public_ifindex: "proxy_pub", settings.private_ifindex: "proxy_priv"})
        self._tables = tables
        self._settings = settings

    def snapshot(self, route: Callable[[IPv4Address], int | None]) -> rules.Snapshot:
        return rules.Snapshot({}, route, proxy=self._settings, bindings=_Looked(self._bound, self._keys))

    def sent(self, error: TunnelError) -> bool:
        """Rows 4 and 5 of the packet table are what goes into a tunnel."""
        settings = self._settings
        if error.local not in (settings.public_address, settings.private_address):
            return False
        if error.ends is None:
            return True
        source, destination = error.ends
        if error.local == settings.public_address:
            to_node = self._tables.get(source, destination)
            return to_node is not None and _has_end(to_node.tunnels, error.remote)
        return self._gateway_of(source, error.remote) is not None

    def way_to_source(self, error: TunnelError) -> Way:
        """A node is told through its gateway, which has the SA; the gateway by its address."""
        if error.local == self._settings.public_address or error.ends is None:
            return Way()
        gateway = self._gateway_of(error.ends[0], error.remote)
        return Way(self._settings.gateway_public_ifindex, gateway)

    def _gateway_of(self, home_address: IPv4Address, home_agent: IPv4Address) -> IPv4Address | None:
        for gateway in self._settings.gateways:
            found = self._tables.get(gateway.public_address, home_address)
            if found is not None and found.home_agent == home_agent:
                return gateway.public_address
        return None

    def _bound(self, key: rules.Key) -> rules.Bound | None:
        found = self._tables.get(*key)
        return None if found is None else rules.Bound(found.home_agent, found.tunnels, found.home_agent_encapsulation)

    def _keys(self) -> list[rules.Key]:
        return [(each.gateway, each.home_address) for each in self._tables.bindings()]


class HomeAgentForwarder(Forwarder):
    """See `Forwarder`."""

    def __init__(
        self, tables: HomeAgentTables, settings: entries.HomeAgentForwarding, core: int, home_links: Iterable[int]
    ) -> None:
        super().__init__({**dict.fromkeys(home_links, "ha_home"), core: "ha_core"})
        self._tables = tables
        self._settings = settings

    def snapshot(self, route: Callable[[IPv4Address], int | None]) -> rules.Snapshot:
        return rules.Snapshot({}, route, home_agent=self._settings, bindings=_Looked(self._bound, self._keys))

    def sent(self, error: TunnelError) -> bool:
        if error.local != self._settings.address:
            return False
        if error.ends is None:
            return True
        found = self._tables.get(error.ends[1])
        return found is not None and _has_end(found.tunnels, error.remote)

    def _bound(self, key: rules.Key) -> rules.Bound | None:
        found = self._tables.get(key[1]) if key[0] == self._settings.address else None
        return None if found is None else rules.Bound(self._settings.address, found.tunnels)

    def _keys(self) -> list[rules.Key]:
        return [(self._settings.address, each.home_address) for each in self._tables.bindings()]


class ForeignAgentForwarder(Forwarder):
    """See `Forwarder`."""

    def __init__(self, tables: ForeignAgentTables, settings: entries.ForeignAgentForwarding) -> None:
        super().__init__({settings.uplink_ifindex: "fa_uplink", settings.link_ifindex: "fa_link"})
        self._tables = tables
        self._settings = settings

    def snapshot(self, route: Callable[[IPv4Address], int | None]) -> rules.Snapshot:
        visitors = _Looked(self._tables.get, lambda: [each.home_address for each in self._tables.visitors()])
        return rules.Snapshot({}, route, foreign_agent=self._settings, visitors=visitors)

    def sent(self, error: TunnelError) -> bool:
        if error.local != self._settings.care_of:
            return False
        if error.ends is None:
            return True
        visitor = self._tables.get(error.ends[0])
        return visitor is not None and visitor.home_agent == error.remote


class NodeForwarder(Forwarder):
    """See `Forwarder`. `path` is what the programs have; `changed` is told when a path became another."""

    def __init__(self, ifindex: int, path: Callable[[], entries.NodePath], changed: Callable[[], None]) -> None:
        super().__init__({ifindex: "mn_ingress"})
        self._path = path
        self._changed = changed

    def snapshot(self, route: Callable[[IPv4Address], int | None]) -> rules.Snapshot:
        return rules.Snapshot({}, route, mobile_node=self._path())

    def sent(self, error: TunnelError) -> bool:
        path = self._path()
        if path.mode is not entries.NodeMode.TUNNEL or (error.local, error.remote) != (path.care_of, path.peer):
            return False
        return error.ends is None or error.ends[0] == path.home_address

    def path_changed(self) -> None:
        self._changed()
