"""The MIP Proxy on a host: its sockets, the tables of `proxy_pub` and `proxy_priv`, the gateways' MAC addresses."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from mobileip.config import Loaded, ProxyConfig
from mobileip.config.proxy import HaLeg
from mobileip.forwarding.entries import Gateway, ProxyBinding, ProxyForwarding, Tunnel
from mobileip.forwarding.one_box import WIRE_MAC
from mobileip.forwarding.paths import Probing
from mobileip.forwarding.tables import ProxyTables
from mobileip.registration.actions import Action, Bind, Record, Unbind
from mobileip.registration.bindings import Binding, BindingKey
from mobileip.registration.events import Endpoint
from mobileip.registration.proxy import Proxy
from mobileip.runtime.control import Command
from mobileip.runtime.fast_path import FastPath
from mobileip.runtime.forwarders import ProxyForwarder
from mobileip.runtime.interfaces import StartError, index_of
from mobileip.runtime.journal import log
from mobileip.runtime.listing import Legs, binding_rows, counts, request_row
from mobileip.runtime.party import Inbox, Party, put_datagram, put_unreachable, revoke_command
from mobileip.runtime.paths import Elsewhere, Node, PathReport, Probes, report
from mobileip.runtime.rtnetlink import GROUP_NEIGHBOUR, Rtnetlink, RtnetlinkWatcher
from mobileip.runtime.settings import passes, proxy_settings
from mobileip.runtime.slowpath import SlowPath, policy_of
from mobileip.runtime.sockets import DatagramSocket
from mobileip.runtime.tunnels import Bound, learnt_port, towards_home_agent, tunnel
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.unreachable import DESTINATION_UNREACHABLE

_PROBE_INTERVAL = 10.0
"""Seconds between two looks at the gateways (and probes, where the kernel keeps no neighbour by itself), and at the
UDP ports that keepalives have shown the kernel."""


class ProxyParty(Party):
    """See the module."""

    role = "proxy"
    durable = True

    def __init__(self, loaded: Loaded, config: ProxyConfig) -> None:
        self._tables = ProxyTables(loaded.paths.pin_directory)
        super().__init__(self._tables)
        self._fast_path = FastPath(loaded.paths.pin_directory)
        self._config = config
        self.machine: Proxy = Proxy(proxy_settings(loaded, config), draw=random.random)
        self._bound = Bound()
        self._kernel = Rtnetlink()
        self._watcher = RtnetlinkWatcher(GROUP_NEIGHBOUR, self._learn_macs)
        self._macs: dict[IPv4Address, set[str]] = {}
        self._probe: asyncio.TimerHandle | None = None
        self._icmp: DatagramSocket | None = None
        self._elsewhere = Elsewhere(self._tables, self._tunnels_of, self.count)
        self._probes: Probes | None = None
        probe = config.probe
        if probe.interval:
            probing = Probing(float(probe.interval), float(probe.timeout), probe.attempts)
            self._probes = Probes(
                self._tables, config.mipp_pub.address, probing, probe.max_per_second, self._tunnels_of, self.count
            )

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        self.orders["revoke"] = revoke_command(inbox, lambda: self.machine.bindings)
        config = self._config
        forwarding = self._configure_tables()
        without_checksum = config.takes_datagrams_without_checksum
        for side in (config.mipp_pub, config.mipp_priv):
            socket = DatagramSocket.udp(
                side.address,
                REGISTRATION_PORT,
                partial(put_datagram, inbox),
                without_checksum=without_checksum,
                tunnel_data=not config.tunnels.reassembly,
            )
            self.sockets[side.address] = socket
            socket.watch(loop)
        for port in config.haleg.ports:
            received = partial(put_datagram, inbox, port=port)
            socket = DatagramSocket.udp(config.mipp_priv.address, port, received, without_checksum=without_checksum)
            self.source_ports[Endpoint(config.mipp_priv.address, port)] = socket
            socket.watch(loop)
        self._icmp = DatagramSocket.icmp(
            frozenset({DESTINATION_UNREACHABLE}), partial(put_unreachable, inbox, self.counters)
        )
        self._icmp.watch(loop)
        forwarder = ProxyForwarder(self._tables, forwarding)
        self.slow_path = SlowPath(self._tables, config.tunnels, forwarder, self.count)
        self.slow_path.open(loop)
        self._watcher.watch(loop)
        self._look_regularly(loop, inbox)
        self._elsewhere.open(loop)
        if self._probes is not None:
            self._probes.open(loop)
        self._fast_path.watch(loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        super().close(loop)
        self._fast_path.close()
        if self._icmp is not None:
            self._icmp.close(loop)
        if self._probe is not None:
            self._probe.cancel()
        self._elsewhere.close()
        if self._probes is not None:
            self._probes.close()
        self._watcher.close(loop)
        self._kernel.close()

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Make the kernel's table equal to what is bound: packets of bindings that stay are never without one."""
        actions = self.machine.restore(records, now)
        self.resync()
        return [action for action in actions if not isinstance(action, Bind | Unbind)]

    def fill_tables(self, records: Iterable[Record], now: float) -> int:
        self._configure_tables()
        self._tables.set_policy(policy_of(self._config.tunnels, is_served=False))
        self._learn_macs()
        self.restore(records, now)
        return len(self.machine.bindings)

    def resync(self) -> None:
        self._bound = Bound(self.machine.bindings)
        self._tables.sync(self._entry(bindings) for bindings in self._bound.nodes().values())
        if self._probes is not None:
            self._probes.keep((gateway, home) for gateway, home in self._bound.nodes() if gateway is not None)
            for (gateway, home), bindings in self._bound.nodes().items():
                assert gateway is not None
                self._probes.registered((gateway, home), self._entry(bindings).tunnels)

    def bind(self, action: Bind) -> None:
        self.bind_many([action])

    def bind_many(self, actions: Iterable[Bind]) -> None:
        self._put([self._entry(self._bound.add(action.binding, action.replaces)) for action in actions])

    def _entry(self, bindings: tuple[Binding, ...]) -> ProxyBinding:
        return _entry(bindings, self._config.haleg, self._config.encapsulations.gre_key)

    def unbind(self, key: BindingKey) -> None:
        left = self._bound.remove(key)
        if left:
            self._put([self._entry(left)])
        elif key.gateway is not None:
            self._tables.delete(key.gateway, key.home_address)
            if self._probes is not None:
                self._probes.ended((key.gateway, key.home_address))

    def _put(self, entries: list[ProxyBinding]) -> None:
        self._tables.put_many(entries)
        for entry in entries:
            node = (entry.gateway, entry.home_address)
            self._elsewhere.registered(node)
            if self._probes is not None:
                self._probes.registered(node, entry.tunnels)

    def _tunnels_of(self, node: Node) -> tuple[Tunnel, ...]:
        return tuple(tunnel(binding, self._config.encapsulations.gre_key) for binding in self._bound.of(node))

    def commands(self) -> Mapping[str, Command]:
        return {
            "bindings": self._show_bindings,
            "pending": lambda _: [request_row(request, time.time()) for request in self.machine.waiting],
        }

    def _show_bindings(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        counted = self._tables.traffic() if counts(request) else None
        now = time.time()

        def path_of(binding: Binding) -> PathReport:
            node = None if binding.gateway is None else (binding.gateway, binding.home_address)
            return report(node, self._elsewhere, self._probes, now)

        return binding_rows(self.machine.bindings, now, self._legs_of, path_of, counted)

    def _legs_of(self, binding: Binding) -> Legs:
        config = self._config
        style = towards_home_agent(binding, config.haleg)
        return Legs(config.mipp_pub.address, config.mipp_priv.address, style.value)

    def describe(self) -> Mapping[str, object]:
        return {
            "datapath": self._fast_path.describe(),
            "bindings": len(self.machine.bindings),
            "nodes_bound": len(self._bound.nodes()),
            "simultaneous": self._config.simultaneous,
            "code_profile": self._config.reply.code_profile,
            "pending": self.machine.pending,
            "revocations_unacknowledged": self.machine.unacknowledged,
            "learned_clocks": _clocks(self.machine.clock_offsets.values()),
            "admission": {row.pop("of"): row for row in self.machine.admission.rows()},
            "paths_lost": None if self._probes is None else self._probes.lost,
            "gateway_macs": {str(gateway): sorted(macs) for gateway, macs in self._macs.items()},
        }

    def _configure_tables(self) -> ProxyForwarding:
        config, wire = self._config, self._config.one_box
        # What was known before a restart stays known until ARP says otherwise: not one packet is refused for it.
        self._macs = {
            gateway.vpngw_pub: {*gateway.macs, *self._tables.gateway_macs(gateway.vpngw_pub)}
            if wire is None
            else {WIRE_MAC}
            for gateway in config.vpn_gateways
        }
        forwarding = ProxyForwarding(
            public_address=config.mipp_pub.address,
            private_address=config.mipp_priv.address,
            public_ifindex=index_of(config.mipp_pub.interface, "mipp_pub.interface"),
            private_ifindex=index_of(config.mipp_priv.interface, "mipp_priv.interface"),
            gateways=tuple(
                Gateway(
                    gateway.vpngw_pub,
                    gateway.vpngw_priv,
                    frozenset(self._macs[gateway.vpngw_pub]),
                    direct_delivery=(gateway.mobility_delivery or config.mobility_delivery) == "direct",
                    other_sources=tuple(gateway.other_sources),
                )
                for gateway in config.vpn_gateways
            ),
            home_networks=config.home_networks,
            mobility_subnets=config.effective_mobility_subnets,
            home_agent_gre_key=config.haleg.gre_key,
            wire_ifindex=None if wire is None else index_of(wire.proxy_interface, "one_box.proxy_interface"),
            passes=passes(config),
        )
        self._tables.configure(forwarding)
        return forwarding

    def _look_regularly(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        self._probe = loop.call_later(_PROBE_INTERVAL, self._look_regularly, loop, inbox)
        self._keep_next_hops()
        for binding in self._bound.half_bound():
            entry = self._tables.get(binding.gateway, binding.home_address) if binding.gateway else None
            if entry is not None and (learnt := learnt_port(binding, entry.tunnels)) is not None:
                inbox(learnt)

    def _keep_next_hops(self) -> None:
        """Have the kernel keep resolved whoever gets packets by layer 2; an entry that somebody flushed is made anew.

        What XDP sends uses no neighbour entry up: without this, one would grow stale, and a router that changes its MAC
        address would be sent to the old one for ever.
        """
        try:
            hops = self._next_hops()
        except (OSError, StartError) as exc:  # tables that change while they are read, an interface that is gone
            log("warning", "routes_unreadable", error=exc)
            return
        for interface, address in sorted(hops):
            try:
                self._kernel.keep_neighbour(interface, address)
            except OSError as exc:
                log("warning", "neighbour_failed", interface=interface, address=address, error=exc)
        if self._config.one_box is None:
            self._learn_macs()

    def _next_hops(self) -> set[tuple[str, IPv4Address]]:
        """Gateways, the routers of both interfaces, and home agents on the link, but for entries written by hand."""
        config = self._config
        names = {index_of(side.interface, "interface"): side.interface for side in (config.mipp_pub, config.mipp_priv)}
        hops = set()
        if config.one_box is None:
            for gateway in config.vpn_gateways:
                hops |= {(config.mipp_pub.interface, gateway.vpngw_pub)}
                hops |= {(config.mipp_priv.interface, gateway.vpngw_priv)}
        for route in self._kernel.routes():
            if (interface := names.get(route.index)) is None:
                continue
            if route.gateway is not None:
                hops.add((interface, route.gateway))
            else:
                hops |= {(interface, each.address) for each in config.home_agents if each.address in route.destination}
        fixed = {(names.get(entry.index), entry.address) for entry in self._kernel.neighbours() if entry.permanent}
        return hops - fixed

    def _learn_macs(self) -> None:
        """A gateway may send from what ARP shows now and from what is configured; what is stale goes.

        In one box it sends from the wire, and nobody asks for it.
        """
        if self._config.one_box is not None:
            return
        try:
            public = index_of(self._config.mipp_pub.interface, "mipp_pub.interface")
            shown = {entry.address: entry.mac for entry in self._kernel.neighbours() if entry.index == public}
        except Exception as exc:  # an interface that is gone: what was learned stays
            log("warning", "neighbours_unreadable", error=exc)
            return
        for gateway in self._config.vpn_gateways:
            mac = shown.get(gateway.vpngw_pub)
            if not mac:
                continue
            macs = {*gateway.macs, mac.hex(":")}
            if macs != self._macs.get(gateway.vpngw_pub):
                self._macs[gateway.vpngw_pub] = macs
                self._tables.set_gateway_macs(gateway.vpngw_pub, macs)
                log("info", "gateway_macs", gateway=gateway.name, macs=",".join(sorted(macs)))


def _entry(bindings: tuple[Binding, ...], haleg: HaLeg, gre_key: int | None = None) -> ProxyBinding:
    """All of a node's tunnels, the newest first: it gets the packet itself, the others get copies."""
    newest = bindings[-1]
    if newest.gateway is None:
        raise ValueError(f"binding of {newest.home_address} names no VPN gateway")
    tunnels = tuple(tunnel(each, gre_key) for each in reversed(bindings))
    style = towards_home_agent(newest, haleg)
    return ProxyBinding(newest.gateway, newest.home_address, newest.home_agent, tunnels, style)


def _clocks(offsets: Collection[float]) -> Mapping[str, object]:
    """How many nodes are judged by their home agent's clock, and how far that is from ours at most, in seconds."""
    return {"nodes": len(offsets), "furthest": round(max((abs(offset) for offset in offsets), default=0.0), 1)}
