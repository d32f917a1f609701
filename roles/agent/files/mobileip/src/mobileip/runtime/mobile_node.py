"""The mobile node on a host: the moving interface, agent discovery, the tables of `mn_ingress` and `mn_egress`, the SA.

The home address is on the loopback interface for good, so sockets bound to it survive every move. Requests leave from
the care-of address through the moving interface, whatever the routes of an IPsec tunnel say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address

from mobileip.config import Loaded, MobileNodeConfig
from mobileip.forwarding import entries
from mobileip.forwarding.paths import OneWay
from mobileip.forwarding.tables import MobileNodeTables
from mobileip.registration.actions import AnnounceHome, NodePath, PathMode, Record, Send, SetLocation, Solicit
from mobileip.registration.events import AdvertisementReceived, TunnelProbeAnswered, TunnelSilent
from mobileip.registration.mobile_node import MobileNode
from mobileip.runtime.arp import Announcer
from mobileip.runtime.attachment import AttachmentWatcher
from mobileip.runtime.control import Command
from mobileip.runtime.forwarders import NodeForwarder
from mobileip.runtime.interfaces import index_of
from mobileip.runtime.ipv6 import Ipv6Watcher
from mobileip.runtime.journal import log
from mobileip.runtime.listing import plain
from mobileip.runtime.node_routes import NodeRoutes
from mobileip.runtime.party import Inbox, Party, put_datagram
from mobileip.runtime.rtnetlink import ArpRepetition, Rtnetlink
from mobileip.runtime.settings import mobile_node_settings, passes
from mobileip.runtime.slowpath import SlowPath, policy_of
from mobileip.runtime.sockets import Arrival, DatagramSocket
from mobileip.runtime.swan import SaKeeper, SaSettings
from mobileip.wire.agent_discovery import (
    ALL_ROUTERS,
    DISCOVERY_TTL,
    AgentFlags,
    IcmpType,
    parse_advertisement,
)
from mobileip.wire.encapsulation import Echo
from mobileip.wire.errors import Malformed
from mobileip.wire.messages import REGISTRATION_PORT

_ANY = IPv4Address("0.0.0.0")
_ECHO_REPLY = 0
_MODES = {
    PathMode.BLOCKED: entries.NodeMode.BLOCKED,
    PathMode.HOME: entries.NodeMode.HOME,
    PathMode.TUNNEL: entries.NodeMode.TUNNEL,
    PathMode.FOREIGN_AGENT: entries.NodeMode.FOREIGN_AGENT,
}
_LISTEN_INTERVAL = 1.0
"""Seconds between two looks at what came out of the tunnel."""
_PATIENCE = 2.0
"""Seconds that packets into the tunnel may go without any out of it."""
_ARP = ArpRepetition(milliseconds=100, times=30)
"""A new link may lose the first ARP request, and everything waits for its answer. The kernel would ask again a second
later, three times in all; this asks for as long."""
_ANNOUNCEMENTS = (0.2, 1.0)
"""Seconds after the first when the return home is announced again."""


class MobileNodeParty(Party):
    """See the module."""

    role = "mobile_node"

    def __init__(self, loaded: Loaded, config: MobileNodeConfig) -> None:
        self._tables = MobileNodeTables(loaded.paths.pin_directory)
        super().__init__(self._tables)
        self._config = config
        self.machine: MobileNode = MobileNode(mobile_node_settings(loaded, config))
        self._kernel = Rtnetlink()
        self._announcer = Announcer()
        self._arp_before: ArpRepetition | None = None
        self._routes = NodeRoutes(self._kernel, config.interface, config.vpn_gateways)
        self._watcher: AttachmentWatcher | None = None
        self._ipv6_watcher: Ipv6Watcher | None = None
        self._icmp: DatagramSocket | None = None
        self._passes = passes(config)
        self._one_way = OneWay(_PATIENCE)
        self._listening: asyncio.TimerHandle | None = None
        self._path = NodePath(PathMode.BLOCKED)
        self._forwarding = entries.NodePath(config.home_address or _ANY)
        self._location: SetLocation | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home_address = config.home_address or _ANY
        sa = config.sa
        self._sa: SaKeeper | None = None
        if sa is not None:
            self._sa = SaKeeper(SaSettings(sa.connection, sa.child, sa.at_home, sa.backend), self._kernel)

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        config = self._config
        self._loop = loop
        interface = index_of(config.interface, "interface")
        self.set_path(NodePath(PathMode.BLOCKED))  # whatever an earlier run knew, we do not know it yet
        self.unpark_sa()
        with contextlib.suppress(OSError):
            self._hurry_arp()
        socket = DatagramSocket.udp(
            _ANY,
            REGISTRATION_PORT,
            partial(put_datagram, inbox),
            without_checksum=self._config.takes_datagrams_without_checksum,
            tunnel_data=not self._config.tunnels.reassembly,
        )
        self.sockets[_ANY] = socket
        self._icmp = DatagramSocket.icmp(
            frozenset({IcmpType.ROUTER_ADVERTISEMENT, _ECHO_REPLY}), partial(self._control_message, inbox)
        )
        socket.watch(loop)
        self._icmp.watch(loop)
        forwarder = NodeForwarder(interface, lambda: self._forwarding, self._path_mtu_changed)
        self.slow_path = SlowPath(self._tables, config.tunnels, forwarder, self.count)
        self.slow_path.open(loop)
        self._watcher = AttachmentWatcher(config.interface, config.home_address, inbox)
        self._watcher.start(loop)
        if config.sa is not None and config.ipv6 == "warn":
            self._ipv6_watcher = Ipv6Watcher(inbox)
            self._ipv6_watcher.start(loop)
        self._listen(loop, inbox)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        super().close(loop)
        if self._listening is not None:
            self._listening.cancel()
        if self._icmp is not None:
            self._icmp.close(loop)
        if self._watcher is not None:
            self._watcher.close(loop)
        if self._ipv6_watcher is not None:
            self._ipv6_watcher.close(loop)
        self._announcer.close()
        if self._arp_before is not None:
            with contextlib.suppress(OSError):  # the interface is gone
                self._kernel.repeat_arp(self._config.interface, self._arp_before)
        self._kernel.close()

    def fill_tables(self, records: Iterable[Record], now: float) -> int:
        self._tables.allow(self._passes)
        self._tables.set_policy(policy_of(self._config.tunnels, is_served=False))
        return 0

    async def finish(self) -> None:
        if self._sa is not None:
            await self._sa.close()

    def interface_for(self, action: Send) -> str | None:
        """Always the interface that moves: routes of an IPsec tunnel must not catch a registration."""
        return self._config.interface

    def set_path(self, path: NodePath) -> None:
        """What may leave first, then where it goes, so that no failure with a route keeps a path open."""
        # RFC 5944 4.6: away, nobody is told our home address by ARP, but for the foreign agent that we are to hear.
        with contextlib.suppress(OSError):
            self._kernel.answer_arp(self._config.interface, for_any_address=path.gateway is not None)
        if path.mode is PathMode.FOREIGN_AGENT:
            assert path.gateway is not None
            self._routes.through_agent(path.gateway, self._home_address)
            self._write_path(path)
            return
        self._write_path(path)
        self._routes.drop()
        if path.mode is PathMode.TUNNEL:
            self._routes.into_tunnel(path, self._home_address, self._path_mtu(path))
        elif path.gateway is not None:
            # Replies of the agent must get past the reverse path filter, on a link where we have no address.
            self._routes.to_agent(path.gateway)

    def _write_path(self, path: NodePath) -> None:
        config = self._config
        self._forwarding = entries.NodePath(
            home_address=self._home_address,
            mode=_MODES[path.mode],
            care_of=path.local or entries.ANY,
            # Behind a foreign agent nothing is wrapped here; a probe of the proxy's is answered all the same.
            peer=path.peer or (config.mipp_pub if path.mode is PathMode.FOREIGN_AGENT else entries.ANY),
            encapsulation=entries.Encapsulation(path.encapsulation.value if path.encapsulation else "ipip"),
            peer_port=path.port,
            local_port=REGISTRATION_PORT,
            gateways=tuple(config.vpn_gateways),
            encapsulate_all=path.inside or config.encapsulate == "all",
            passes=self._passes,
            gre_key=config.gre_key,
            home_link_only=path.mode is PathMode.HOME and self._can_see_home_link(),
        )
        self._tables.set_path(self._forwarding)
        self._path = path

    def _can_see_home_link(self) -> bool:
        """Whether the programs can see by the kernel's routes that the node leaves, which they do before we hear of it.

        Not where the routes do not show the home network even at home: then they would stop everything there.
        """
        try:
            seen = self._routes.can_see_home_link(self._home_address)
        except OSError as exc:
            log("warning", "home_link_unseen", interface=self._config.interface, error=exc)
            return False
        if not seen:
            log("warning", "home_link_unseen", interface=self._config.interface, error="no route to the home network")
        return seen

    def _path_mtu(self, path: NodePath) -> int | None:
        return None if self.slow_path is None or path.peer is None else self.slow_path.path_mtu(path.peer)

    def _path_mtu_changed(self) -> None:
        """The node's own kernel keeps packets short enough: it cuts, or tells its sockets, before the tunnel."""
        if self._path.mode is PathMode.TUNNEL:
            self._routes.into_tunnel(self._path, self._home_address, self._path_mtu(self._path))

    def set_location(self, action: SetLocation) -> None:
        self._location = action

    def establish_sa(self, anew: bool) -> None:
        if self._sa is not None:
            self._sa.establish(anew)

    def park_sa(self) -> None:
        if self._sa is not None:
            self._sa.park()

    def unpark_sa(self) -> None:
        if self._sa is not None:
            self._sa.unpark()

    def solicit(self, action: Solicit) -> None:
        if self._icmp is None:
            raise RuntimeError("solicitation before the socket is open")
        # The agent that hears this asks by ARP where to send its advertisement.
        with contextlib.suppress(OSError):
            self._kernel.answer_arp(action.interface, for_any_address=True)
        self._icmp.send(
            action.payload,
            source=self._home_address,
            destination=ALL_ROUTERS,
            interface=action.interface,
            ttl=DISCOVERY_TTL,
        )

    def assume_home_address(self, home_address: IPv4Address) -> None:
        """Carry it on the loopback interface, where a configured one is from the start."""
        if self._home_address not in (_ANY, home_address):
            self._kernel.delete_address("lo", self._home_address)
        self._kernel.put_address("lo", home_address)
        self._home_address = home_address

    def announce_home(self, action: AnnounceHome) -> None:
        self._announce(action)
        assert self._loop is not None
        for delay in _ANNOUNCEMENTS:
            self._loop.call_later(delay, self._announce_if_home, action)

    def commands(self) -> Mapping[str, Command]:
        return {"location": lambda _: self._status()}

    def describe(self) -> Mapping[str, object]:
        return self._status()

    def _status(self) -> dict[str, object]:
        status: dict[str, object] = plain(self.machine.status())
        status["path"] = plain(self._path)
        status["sa"] = self._sa.status if self._sa is not None else "none configured"
        return status

    # What arrives

    def _hurry_arp(self) -> None:
        """What was set before comes back with `close`; where a run that died left ours, what new interfaces get."""
        before = self._kernel.arp_repetition(self._config.interface)
        self._arp_before = self._kernel.arp_repetition(None) if before == _ARP else before
        self._kernel.repeat_arp(self._config.interface, _ARP)

    def _listen(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        """Whether packets come back through the tunnel: one that a NAT has closed looks open from here."""
        self._listening = loop.call_later(_LISTEN_INTERVAL, self._listen, loop, inbox)
        if self._path.mode is not PathMode.TUNNEL:
            return
        try:
            packets = self._tables.counters().packets
        except OSError as exc:
            log("warning", "counters_unreadable", error=exc)
            return
        if self._one_way.look(packets["stack_to_tunnel"], packets["tunnel_to_stack"], loop.time()):
            inbox(TunnelSilent())

    def _control_message(self, inbox: Inbox, arrival: Arrival) -> None:
        if arrival.interface != self._config.interface:
            return
        if arrival.payload[:1] == bytes([_ECHO_REPLY]):
            self._echoed(inbox, arrival)
        else:
            self._advertised(inbox, arrival)

    def _echoed(self, inbox: Inbox, arrival: Arrival) -> None:
        """The answer to a keepalive (RFC 3519 4.9), which the kernel's program has taken out of the tunnel."""
        if arrival.source != self._path.peer or arrival.destination != self._home_address:
            return
        try:
            echo = Echo.parse(arrival.payload)
        except Malformed:
            self.counters["malformed_echo"] += 1
            return
        inbox(TunnelProbeAnswered(echo.identifier, echo.sequence))

    def _advertised(self, inbox: Inbox, arrival: Arrival) -> None:
        try:
            advertisement = parse_advertisement(arrival.payload)
        except Malformed:
            self.counters["malformed_advertisement"] += 1
            return
        if advertisement is None:
            return  # a plain router
        flags = advertisement.flags
        inbox(
            AdvertisementReceived(
                agent=arrival.source,
                interface=arrival.interface,
                care_of_addresses=advertisement.care_of_addresses,
                lifetime=advertisement.lifetime,
                registration_lifetime=advertisement.registration_lifetime,
                sequence=advertisement.sequence,
                registration_required=bool(flags & AgentFlags.REGISTRATION_REQUIRED),
                busy=bool(flags & AgentFlags.BUSY),
                home_agent=bool(flags & AgentFlags.HOME_AGENT),
                foreign_agent=bool(flags & AgentFlags.FOREIGN_AGENT),
                reverse_tunnelling=bool(flags & AgentFlags.REVERSE_TUNNELLING),
                udp_tunnelling=bool(flags & AgentFlags.UDP_TUNNELLING),
                minimal_encapsulation=bool(flags & AgentFlags.MINIMAL_ENCAPSULATION),
                gre=bool(flags & AgentFlags.GRE),
                challenge=advertisement.challenge,
                nai=advertisement.nai,
            )
        )

    # The return home

    def _announce_if_home(self, action: AnnounceHome) -> None:
        if self._path.mode is PathMode.HOME:
            self._announce(action)

    def _announce(self, action: AnnounceHome) -> None:
        try:
            self._announcer.announce(action.interface, action.home_address)
        except OSError as exc:
            log("warning", "announcement_failed", interface=action.interface, error=exc)
