"""The home agent on a host: its socket, the tables of `ha_core` and `ha_home`, and ARP on the home links.

The kernel answers ARP for an address that is not on the link asked (a proxy neighbour entry) only if its route leads
elsewhere. Home addresses are on the home link by the route table, so packets from a home link, and those alone, are
looked up in a table of ours first, where each claimed address points away. All other lookups still see it at home.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mobileip.config import HomeAgentConfig, Loaded
from mobileip.forwarding.entries import HomeBinding, Tunnel
from mobileip.forwarding.tables import HomeAgentTables
from mobileip.registration.actions import Action, Bind, ClaimHome, Record, ReleaseHome, Unbind
from mobileip.registration.bindings import Binding, BindingKey
from mobileip.registration.home_agent import HomeAgent
from mobileip.runtime.arp import Announcer
from mobileip.runtime.broadcast import BroadcastRelay
from mobileip.runtime.control import Command
from mobileip.runtime.fast_path import FastPath
from mobileip.runtime.forwarders import HomeAgentForwarder
from mobileip.runtime.interfaces import index_of
from mobileip.runtime.journal import log
from mobileip.runtime.listing import Legs, binding_rows, counts, plain
from mobileip.runtime.party import Inbox, Party, put_datagram, revoke_command
from mobileip.runtime.paths import Elsewhere, Node, PathReport, report
from mobileip.runtime.rtnetlink import PROTOCOL, Rtnetlink
from mobileip.runtime.settings import broadcast_domains, home_agent_forwarding, home_agent_settings
from mobileip.runtime.slowpath import SlowPath, policy_of
from mobileip.runtime.sockets import DatagramSocket
from mobileip.runtime.tunnels import Bound, learnt_port, tunnel
from mobileip.wire.messages import REGISTRATION_PORT

CLAIMED_TABLE = 434
"""Routing table and rule preference of claimed home addresses."""
_LIMITED_BROADCAST = IPv4Address("255.255.255.255")
_LOOK_INTERVAL = 10.0
"""Seconds between two looks at the UDP ports that keepalives have shown the kernel."""
_ANNOUNCEMENTS = (0.5, 2.0)
"""Seconds after the first when the announcement is repeated: it may get lost (RFC 5944 4.6)."""


class HomeAgentParty(Party):
    """See the module."""

    role = "home_agent"
    durable = True

    def __init__(self, loaded: Loaded, config: HomeAgentConfig) -> None:
        self._tables = HomeAgentTables(loaded.paths.pin_directory)
        super().__init__(self._tables)
        self._fast_path = FastPath(loaded.paths.pin_directory)
        self._config = config
        self.machine: HomeAgent = HomeAgent(home_agent_settings(loaded, config), partial(secrets.randbits, 32))
        self._bound = Bound()
        self._broadcasts = BroadcastRelay(
            broadcast_domains(config),
            config.interface,
            config.broadcast.rate,
            self.count,
            config.encapsulations.gre_key,
        )
        self._claimed: dict[IPv4Address, str] = {}
        self._kernel = Rtnetlink()
        self._announcer = Announcer()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look: asyncio.TimerHandle | None = None
        self._elsewhere = Elsewhere(self._tables, self._tunnels_of, self.count)

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        self.orders["revoke"] = revoke_command(inbox, lambda: self.machine.bindings)
        config = self._config
        self._loop = loop
        core = index_of(config.interface, "interface")
        home_links = []
        for number, link in enumerate(config.home_links):
            home_links.append(index_of(link.interface, f"home_links[{number}].interface"))
            self._kernel.put_rule(CLAIMED_TABLE, table=CLAIMED_TABLE, interface=link.interface)
        forwarding = home_agent_forwarding(config)
        self._tables.configure(forwarding)
        forwarder = HomeAgentForwarder(self._tables, forwarding, core, home_links)
        self.slow_path = SlowPath(self._tables, config.tunnels, forwarder, self.count)
        self.slow_path.open(loop)
        # A request may come by broadcast, to be told our address (RFC 5944 3.6.1.2): replies leave from that one only.
        broadcast = {link.network.broadcast_address for link in config.home_links} | {_LIMITED_BROADCAST}
        for address in (config.address, *sorted(broadcast)):
            self.sockets[address] = DatagramSocket.udp(
                address,
                REGISTRATION_PORT,
                partial(put_datagram, inbox),
                without_checksum=config.takes_datagrams_without_checksum,
                tunnel_data=not config.tunnels.reassembly,
            )
            self.sockets[address].watch(loop)
        self._broadcasts.open(loop)
        self._look_for_ports(loop, inbox)
        self._elsewhere.open(loop)
        self._fast_path.watch(loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        super().close(loop)
        self._fast_path.close()
        if self._look is not None:
            self._look.cancel()
        self._elsewhere.close()
        self._broadcasts.close(loop)
        self._announcer.close()
        self._kernel.close()

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Make table and claims equal to what is bound; what another run claimed and nobody holds is released."""
        actions = self.machine.restore(records, now)
        self._sync_table()
        held = {binding.home_address for binding in self.machine.bindings}
        for address, interface in self._claimed_before():
            if address not in held:
                self._release(address, interface)
        return [action for action in actions if not isinstance(action, Bind | Unbind)]

    def fill_tables(self, records: Iterable[Record], now: float) -> int:
        self._tables.configure(home_agent_forwarding(self._config))
        self._tables.set_policy(policy_of(self._config.tunnels, is_served=False))
        self.machine.restore(records, now)
        self._sync_table()
        return len(self.machine.bindings)

    def resync(self) -> None:
        self._sync_table()
        for binding in self.machine.bindings:
            link = next((link for link in self._config.home_links if binding.home_address in link.network), None)
            if link is not None and binding.home_address not in self._claimed:
                self.claim_home(ClaimHome(binding.home_address, link.interface))

    def _sync_table(self) -> None:
        self._bound = Bound(self.machine.bindings)
        self._tables.sync(
            _entry(bindings, self._config.encapsulations.gre_key) for bindings in self._bound.nodes().values()
        )
        self._broadcasts.replace(self.machine.bindings)

    def bind(self, action: Bind) -> None:
        self._tables.put(_entry(self._bound.add(action.binding, action.replaces), self._config.encapsulations.gre_key))
        self._elsewhere.registered((self._config.address, action.binding.home_address))
        self._broadcasts.put(action.binding, action.replaces)

    def unbind(self, key: BindingKey) -> None:
        self._broadcasts.remove(key)
        left = self._bound.remove(key)
        if left:
            self._tables.put(_entry(left, self._config.encapsulations.gre_key))
        else:
            self._tables.delete(key.home_address)

    def claim_home(self, action: ClaimHome) -> None:
        self._claimed[action.home_address] = action.interface
        away = IPv4Network((action.home_address, 32))
        self._kernel.put_route(away, self._config.interface, table=CLAIMED_TABLE)
        self._kernel.put_proxy(action.interface, action.home_address)
        self._repeat(self._announce, action.home_address, action.interface)

    def release_home(self, action: ReleaseHome) -> None:
        self._release(action.home_address, action.interface)
        if action.returned:
            self._repeat(self._announce_returned, action.home_address, action.interface)

    def commands(self) -> Mapping[str, Command]:
        return {"bindings": self._show_bindings}

    def _show_bindings(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        legs = Legs(self._config.address)
        counted = ((None, *row) for row in self._tables.traffic()) if counts(request) else None
        now = time.time()

        def path_of(binding: Binding) -> PathReport:
            return report((self._config.address, binding.home_address), self._elsewhere, None, now)

        return binding_rows(self.machine.bindings, now, lambda _: legs, path_of, counted)

    def describe(self) -> Mapping[str, object]:
        return {
            "datapath": self._fast_path.describe(),
            "bindings": len(self.machine.bindings),
            "nodes_away": len(self._bound.nodes()),
            "simultaneous_bindings": self._config.simultaneous,
            "home_addresses_to_assign": plain(self.machine.address_pool),
            "revocations_unacknowledged": self.machine.unacknowledged,
            "broadcasts_to": self._broadcasts.listeners,
            "claimed": {str(address): interface for address, interface in sorted(self._claimed.items())},
        }

    def _tunnels_of(self, node: Node) -> tuple[Tunnel, ...]:
        return tuple(
            tunnel(binding, self._config.encapsulations.gre_key) for binding in self._bound.of((None, node[1]))
        )

    def _look_for_ports(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        """What keepalives have shown the kernel about half-bound nodes is to be known here, and durable, as well."""
        self._look = loop.call_later(_LOOK_INTERVAL, self._look_for_ports, loop, inbox)
        for binding in self._bound.half_bound():
            entry = self._tables.get(binding.home_address)
            if entry is not None and (learnt := learnt_port(binding, entry.tunnels)) is not None:
                inbox(learnt)

    def _repeat(self, announcing: Callable[[IPv4Address, str], None], address: IPv4Address, interface: str) -> None:
        assert self._loop is not None
        announcing(address, interface)
        for delay in _ANNOUNCEMENTS:
            self._loop.call_later(delay, announcing, address, interface)

    def _announce(self, address: IPv4Address, interface: str) -> None:
        """The address is here, unless it has been given back meanwhile."""
        if self._claimed.get(address) == interface:
            self._say(address, interface, None)

    def _announce_returned(self, address: IPv4Address, interface: str) -> None:
        """The address is at the node again: some who hear us may not hear the node itself (RFC 5944 4.6)."""
        if address in self._claimed:
            return  # it has left once more
        try:
            index = socket.if_nametoindex(interface)
            neighbours = self._kernel.neighbours()
        except OSError as exc:
            log("warning", "announcement_failed", address=address, interface=interface, error=exc)
            return
        for neighbour in neighbours:
            if (neighbour.index, neighbour.address) == (index, address) and neighbour.mac is not None:
                self._say(address, interface, neighbour.mac)

    def _say(self, address: IPv4Address, interface: str, mac: bytes | None) -> None:
        try:
            self._announcer.announce(interface, address, mac)
        except OSError as exc:
            log("warning", "announcement_failed", address=address, interface=interface, error=exc)

    def _release(self, address: IPv4Address, interface: str) -> None:
        self._claimed.pop(address, None)
        self._kernel.delete_proxy(interface, address)
        self._kernel.delete_route(IPv4Network((address, 32)), self._config.interface, table=CLAIMED_TABLE)

    def _claimed_before(self) -> list[tuple[IPv4Address, str]]:
        """Addresses whose routes bear our mark: claims of an earlier run."""
        links = self._config.home_links
        return [
            (route.destination.network_address, link.interface)
            for route in self._kernel.routes(CLAIMED_TABLE)
            if route.protocol == PROTOCOL and route.destination.prefixlen == 32
            for link in links
            if route.destination.network_address in link.network
        ]


def _entry(bindings: tuple[Binding, ...], gre_key: int | None) -> HomeBinding:
    return HomeBinding(bindings[0].home_address, tuple(tunnel(binding, gre_key) for binding in bindings))
