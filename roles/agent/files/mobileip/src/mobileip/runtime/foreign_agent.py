"""The foreign agent on a host: its sockets on 434 and ICMP, and the tables of `fa_uplink` and `fa_link`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from mobileip.config import ForeignAgentConfig, Loaded
from mobileip.forwarding import entries
from mobileip.forwarding.tables import ForeignAgentTables
from mobileip.registration.actions import Advertise, Record, UnbindVisitor
from mobileip.registration.bindings import Visitor
from mobileip.registration.events import SolicitationReceived
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.runtime.control import Command
from mobileip.runtime.fast_path import FastPath
from mobileip.runtime.forwarders import ForeignAgentForwarder
from mobileip.runtime.listing import pending_row, visitor_row
from mobileip.runtime.party import Inbox, Party, put_datagram, put_unreachable
from mobileip.runtime.rtnetlink import PROTOCOL, Rtnetlink
from mobileip.runtime.settings import foreign_agent_forwarding, foreign_agent_settings
from mobileip.runtime.slowpath import SlowPath, policy_of
from mobileip.runtime.sockets import Arrival, DatagramSocket
from mobileip.wire.agent_discovery import ALL_ROUTERS, DISCOVERY_TTL, IcmpType, parse_solicitation
from mobileip.wire.errors import Malformed
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.unreachable import DESTINATION_UNREACHABLE

_ANY = IPv4Address("0.0.0.0")
_ALL_AGENTS = IPv4Address("224.0.0.11")
"""Where a node may send its request when it does not know the agent's address (RFC 5944 3.3)."""


class ForeignAgentParty(Party):
    """See the module. Nothing is kept over a restart: nodes notice by the advertisements and register again."""

    role = "foreign_agent"

    def __init__(self, loaded: Loaded, config: ForeignAgentConfig) -> None:
        self._tables = ForeignAgentTables(loaded.paths.pin_directory)
        super().__init__(self._tables)
        self._fast_path = FastPath(loaded.paths.pin_directory)
        self._config = config
        self.machine: ForeignAgent = ForeignAgent(foreign_agent_settings(loaded, config))
        self._kernel = Rtnetlink()
        self._icmp: DatagramSocket | None = None

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        link = self._config.link.interface
        forwarding = foreign_agent_forwarding(self._config)
        self._tables.configure(forwarding)
        self._forget_visitors(link)
        socket = DatagramSocket.udp(
            _ANY,
            REGISTRATION_PORT,
            partial(put_datagram, inbox),
            without_checksum=self._config.takes_datagrams_without_checksum,
            tunnel_data=not self._config.tunnels.reassembly,
        )
        socket.join(_ALL_AGENTS, link)
        self.sockets[_ANY] = socket
        types = frozenset({IcmpType.ROUTER_SOLICITATION, DESTINATION_UNREACHABLE})
        self._icmp = DatagramSocket.icmp(types, partial(self._icmp_received, inbox))
        self._icmp.join(ALL_ROUTERS, link)
        forwarder = ForeignAgentForwarder(self._tables, forwarding)
        self.slow_path = SlowPath(self._tables, self._config.tunnels, forwarder, self.count)
        self.slow_path.open(loop)
        socket.watch(loop)
        self._icmp.watch(loop)
        self._fast_path.watch(loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        super().close(loop)
        self._fast_path.close()
        if self._icmp is not None:
            self._icmp.close(loop)
        self._kernel.close()

    def fill_tables(self, records: Iterable[Record], now: float) -> int:
        self._tables.configure(foreign_agent_forwarding(self._config))
        self._tables.set_policy(policy_of(self._config.tunnels, is_served=False))
        return 0

    def bind_visitor(self, visitor: Visitor) -> None:
        if visitor.co_located:
            # Its tunnel ends at the node: nothing is tunnelled here any more, and it is routed like anyone.
            self._forget(visitor.home_address)
            return
        # Its address belongs to another network; on this link it is all the same.
        self._kernel.put_route(IPv4Network((visitor.home_address, 32)), visitor.interface)
        self._tables.put(
            entries.Visitor(
                home_address=visitor.home_address,
                home_agent=visitor.home_agent,
                expires=visitor.expires,
                encapsulation=entries.Encapsulation(visitor.encapsulation.value),
                reverse_tunnel=visitor.reverse_tunnel,
                encapsulating_delivery=visitor.encapsulating_delivery,
                gre_key=self._config.encapsulations.gre_key,
            )
        )

    def unbind_visitor(self, action: UnbindVisitor) -> None:
        self._forget(action.home_address)

    def _forget(self, home_address: IPv4Address) -> None:
        self._tables.delete(home_address)
        self._kernel.delete_route(IPv4Network((home_address, 32)), self._config.link.interface)

    def advertise(self, action: Advertise) -> None:
        if self._icmp is None:
            raise RuntimeError("advertisement before the socket is open")
        self._icmp.send(
            action.payload,
            source=action.source,
            destination=action.destination,
            interface=action.interface,
            ttl=DISCOVERY_TTL,
        )

    def commands(self) -> Mapping[str, Command]:
        return {
            "bindings": lambda _: [visitor_row(visitor, time.time()) for visitor in self.machine.visitors()],
            "pending": lambda _: [pending_row(entry, time.time()) for entry in self.machine.pending()],
        }

    def describe(self) -> Mapping[str, object]:
        return {
            "datapath": self._fast_path.describe(),
            "visitors": len(self.machine.visitors()),
            "pending": len(self.machine.pending()),
        }

    def _icmp_received(self, inbox: Inbox, arrival: Arrival) -> None:
        if arrival.payload[:1] == bytes([DESTINATION_UNREACHABLE]):
            put_unreachable(inbox, self.counters, arrival)
            return
        try:
            parse_solicitation(arrival.payload)
        except Malformed:
            self.counters["malformed_solicitation"] += 1
            return
        inbox(SolicitationReceived(arrival.source, arrival.interface))

    def _forget_visitors(self, link: str) -> None:
        """The machine starts without visitors, and so do table and routes."""
        for visitor in self._tables.visitors():
            self._tables.delete(visitor.home_address)
        for route in self._kernel.routes():
            if route.protocol == PROTOCOL and route.destination.prefixlen == 32:
                self._kernel.delete_route(route.destination, link)
