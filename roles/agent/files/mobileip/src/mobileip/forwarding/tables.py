"""The pinned tables of each party, typed. Opened from the pin directory; closing or dying changes no packet's way.

Each method is one or a few system calls and raises `OSError` naming the table. Entries are in `entries`.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path
from typing import Any

from mobileip.forwarding import layouts
from mobileip.forwarding._libbpf import BATCH, Map
from mobileip.forwarding.entries import (
    BindingTraffic,
    Counters,
    Encapsulation,
    ForeignAgentForwarding,
    HomeAgentForwarding,
    HomeBinding,
    InterfaceTraffic,
    NodePath,
    Passes,
    PathMtu,
    ProxyBinding,
    ProxyForwarding,
    Stray,
    Synchronised,
    Traffic,
    Tunnel,
    TunnelPolicy,
    Visitor,
)
from mobileip.forwarding.reasons import OUTCOME_NAMES, REASON_NAMES

_FIRST = struct.pack("=I", 0)
_HALF_BOUND = 1
_REVERSE_TUNNEL = 1
_ENCAPSULATING_DELIVERY = 2
_ENCAPSULATE_ALL = 1
_HOME_LINK_ONLY = 2
_SET_DSCP = 1
_REASSEMBLY = 2
_IN_UDP = 0x40
_GRE_KEY = 0x80
_PREFIX_HOME = 1
_PREFIX_MOBILITY = 2
_PREFIX_OTHER_SOURCES = 0x10000
_COUNT = struct.Struct("=Q")
_TRAFFIC = struct.Struct("=QQ")
_BINDING_TRAFFIC = struct.Struct("=4Q")
_INTERFACE = struct.Struct("=II6Q")
_NS = 1_000_000_000
_NEVER = (1 << 64) - 1


_CLOCK_STEP = 0.2
"""Seconds that the two clocks may come apart before expiries are reckoned anew."""


def _expiry(expires: float, boot: float) -> int:
    """Nanoseconds of CLOCK_BOOTTIME; the last one there is for what never ends."""
    return _NEVER if expires == math.inf else max(0, int((expires - boot) * _NS))


def _unix(expires_ns: int, boot: float) -> float:
    return math.inf if expires_ns == _NEVER else expires_ns / _NS + boot


_COUNTED = slice(0, 32)
"""Of `struct binding`: from_node and to_node."""
NOTHING_COUNTED = bytes(32)
_pack_one = layouts.BINDING_OF_ONE.pack_row


def _tunnel_row(tunnel: Tunnel, boot: float) -> tuple[bytes, bytes, bytes, int, int, bytes, int]:
    """The fields of `struct tunnel` in order."""
    care_of, source, expires = tunnel.care_of.packed, tunnel.source, tunnel.expires
    next_header, flags, key = _carriage(tunnel.encapsulation, tunnel.gre_key)
    return (
        care_of,
        care_of if source is None else source.packed,
        tunnel.port.to_bytes(2),
        next_header,
        flags | _HALF_BOUND if tunnel.half_bound else flags,
        key,
        _expiry(expires, boot),
    )


_WITHOUT_KEY = {each: (each.next_header, _IN_UDP if each.in_udp else 0, bytes(4)) for each in Encapsulation}


def _carriage(encapsulation: Encapsulation, gre_key: int | None) -> tuple[int, int, bytes]:
    """How a tunnel carries packets, as the structs say it: next header, flags, GRE key."""
    found = _WITHOUT_KEY[encapsulation]
    if gre_key is None:
        return found
    return found[0], found[1] | _GRE_KEY, gre_key.to_bytes(4)


def _carried(raw: dict[str, Any]) -> tuple[Encapsulation, int | None]:
    """The reverse of `_carriage`, from an unpacked struct."""
    encapsulation = Encapsulation.of(raw["encapsulation"], in_udp=bool(raw["flags"] & _IN_UDP))
    return encapsulation, int.from_bytes(raw["gre_key"]) if raw["flags"] & _GRE_KEY else None


def pack_tunnel(tunnel: Tunnel, boot: float) -> bytes:
    """`struct tunnel`; `boot` is the Unix time of boot."""
    return layouts.TUNNEL.pack_row(*_tunnel_row(tunnel, boot))


def unpack_tunnel(data: bytes, boot: float) -> Tunnel:
    """The reverse of `pack_tunnel`."""
    raw = layouts.TUNNEL.unpack(data)
    care_of, source = IPv4Address(raw["care_of"]), IPv4Address(raw["source"])
    encapsulation, gre_key = _carried(raw)
    return Tunnel(
        care_of=care_of,
        expires=_unix(raw["expires_ns"], boot),
        encapsulation=encapsulation,
        port=int.from_bytes(raw["port"]),
        source=None if source == care_of else source,
        half_bound=bool(raw["flags"] & _HALF_BOUND),
        gre_key=gre_key,
    )


def pack_binding(
    home_agent: IPv4Address,
    tunnels: tuple[Tunnel, ...],
    boot: float,
    home_agent_encapsulation: Encapsulation = Encapsulation.IPIP,
    counted: bytes = NOTHING_COUNTED,
) -> bytes:
    """`struct binding`; `counted` is what its counters hold by now.

    Raises ValueError for more care-of addresses than a binding holds, or none.
    """
    count, style = len(tunnels), home_agent_encapsulation.next_header
    if count == 1:
        row = _tunnel_row(tunnels[0], boot)
        return _pack_one(counted[:16], counted[16:], home_agent.packed, 1, style, 0, *row, b"")
    if not 1 <= count <= layouts.MAX_CARE_OF:
        raise ValueError(f"{count} care-of addresses, expected 1 to {layouts.MAX_CARE_OF}")
    packed = b"".join([pack_tunnel(tunnel, boot) for tunnel in tunnels])
    return layouts.BINDING.pack_row(counted[:16], counted[16:], home_agent.packed, count, style, 0, packed)


def counted_in(value: bytes) -> bytes:
    """The counters of a packed binding, as `pack_binding` takes them."""
    return value[_COUNTED]


def _unpack_binding(data: bytes, boot: float) -> tuple[IPv4Address, tuple[Tunnel, ...], Encapsulation]:
    raw = layouts.BINDING.unpack(data)
    step = layouts.TUNNEL.size
    tunnels = tuple(
        unpack_tunnel(raw["tunnels"][at : at + step], boot) for at in range(0, raw["tunnel_count"] * step, step)
    )
    towards_home_agent = Encapsulation.of(raw["home_agent_encapsulation"], in_udp=False)
    return IPv4Address(raw["home_agent"]), tunnels, towards_home_agent


def pack_mac(mac: str) -> bytes:
    """Six bytes of aa:bb:cc:dd:ee:ff. Raises ValueError."""
    try:
        packed = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6:
        raise ValueError(f"MAC address {mac!r}, expected six bytes as aa:bb:cc:dd:ee:ff")
    return packed


def prefix_flags(
    home_networks: Iterable[IPv4Network],
    mobility_subnets: Iterable[IPv4Network],
    other_sources: Iterable[Iterable[IPv4Network]] = (),
) -> dict[IPv4Network, int]:
    """What each prefix is. The longest match alone counts in the kernel, so each one carries what covers it.

    `other_sources` are those of each gateway, in the gateways' order.
    """
    marked = [(network, _PREFIX_HOME) for network in home_networks]
    marked += [(network, _PREFIX_MOBILITY) for network in mobility_subnets]
    for place, networks in enumerate(other_sources):
        marked += [(network, _PREFIX_OTHER_SOURCES << place) for network in networks]
    flags: dict[IPv4Network, int] = {}
    for network, _ in marked:
        flags[network] = 0
        for other, flag in marked:
            if network.subnet_of(other):
                flags[network] |= flag
    return flags


def _key(gateway: IPv4Address, home_address: IPv4Address) -> bytes:
    return gateway.packed + home_address.packed


class Tables:
    """What all parties have: counters, and tables opened by name."""

    def __init__(self, pin_dir: Path | str) -> None:
        self._directory = Path(pin_dir) / "maps"
        self._drops = self._open("drops")
        self._outcomes = self._open("outcomes")
        self._interfaces = self._open("interfaces")
        self._epoch = self._open("epoch")
        self._boot_ns: int | None = layouts.EPOCH.unpack(self._epoch.get(_FIRST) or bytes(8))["boot_ns"] or None
        self._policy = self._open("tunnel_policy")
        self._path_mtus = self._open("path_mtus")

    def _open(self, name: str) -> Map:
        path = self._directory / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such table; load the programs first (mobileip load)")
        return Map(path)

    def _boot(self) -> float:
        """Unix seconds at boot, for what is written: CLOCK_BOOTTIME, which the programs read, starts there.

        It is kept beside the tables: reckoned anew by each process, it would differ by microseconds, and so would every
        expiry, with nothing changed. It is reckoned anew when the wall clock was set.
        """
        now = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if self._boot_ns is None or abs(now - self._boot_ns) > _CLOCK_STEP * _NS:
            self._boot_ns = now
            self._epoch.put(_FIRST, layouts.EPOCH.pack(boot_ns=now))
        return self._boot_ns / _NS

    def _known_boot(self) -> float:
        """The same for what is read: nothing is written for it."""
        if self._boot_ns is not None:
            return self._boot_ns / _NS
        return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / _NS

    def interfaces(self) -> dict[int, InterfaceTraffic]:
        """What came in on each interface, by its index, summed over the CPUs."""
        found: dict[int, list[int]] = {}
        for _, slots in self._interfaces.items():
            for ifindex, _, *counts in _INTERFACE.iter_unpack(slots):
                if ifindex:
                    known = found.get(ifindex, [0] * 6)
                    found[ifindex] = [old + more for old, more in zip(known, counts, strict=True)]
        return {
            ifindex: InterfaceTraffic(*(Traffic(*each[at : at + 2]) for at in (0, 2, 4)))
            for ifindex, each in sorted(found.items())
        }

    def set_policy(self, policy: TunnelPolicy) -> None:
        """Write what all tunnels have in common."""
        flags = (0 if policy.dscp is None else _SET_DSCP) | (_REASSEMBLY if policy.reassembly else 0)
        packed = layouts.TUNNEL_POLICY.pack(
            errors_per_second=policy.errors_per_second, flags=flags, dscp=policy.dscp or 0, tcp_mss=policy.tcp_mss
        )
        if self._policy.get(_FIRST) != packed:
            self._policy.put(_FIRST, packed)

    def put_path_mtu(self, remote: IPv4Address, path: PathMtu) -> None:
        """Packets to this end of a tunnel have so many bytes at most from now on."""
        expires_ns = _expiry(path.expires, self._boot())
        self._path_mtus.put(remote.packed, layouts.PATH_MTU.pack(mtu=path.mtu, expires_ns=expires_ns))

    def delete_path_mtu(self, remote: IPv4Address) -> bool:
        """Forget what was said of a path; False if nothing was."""
        return self._path_mtus.delete(remote.packed)

    def path_mtus(self) -> dict[IPv4Address, PathMtu]:
        """What is known of paths, by the tunnel's end; expired entries included."""
        boot = self._known_boot()
        found = {}
        for key, value in self._path_mtus.items():
            raw = layouts.PATH_MTU.unpack(value)
            found[IPv4Address(key)] = PathMtu(raw["mtu"], _unix(raw["expires_ns"], boot))
        return found

    def counters(self) -> Counters:
        """Drops by reason and traffic by outcome, summed over the CPUs. Nothing is stopped for it."""
        drops, outcomes = dict(self._drops.items()), dict(self._outcomes.items())
        counters = Counters()
        for number, name in REASON_NAMES.items():
            slots = drops[struct.pack("=I", number)]
            counters.drops[name] = sum(value for (value,) in _COUNT.iter_unpack(slots))
        for number, name in OUTCOME_NAMES.items():
            rows = list(_TRAFFIC.iter_unpack(outcomes[struct.pack("=I", number)]))
            counters.packets[name] = sum(packets for packets, _ in rows)
            counters.bytes[name] = sum(octets for _, octets in rows)
        return counters

    def _allow(self, passes: Passes) -> None:
        """Proxy and mobile node: what may travel between nodes and VPN gateways."""
        bits = {layouts.PASSES_PORTS[protocol] + port for protocol, port in passes.ports}
        bits |= {layouts.PASSES_PROTOCOLS + protocol for protocol in passes.protocols | {p for p, _ in passes.ports}}
        words = [0] * layouts.PASSES_WORDS
        for bit in bits:
            words[bit // 64] |= 1 << bit % 64
        table = self._open("passes")
        have = dict(table.items())
        want = {struct.pack("=I", number): struct.pack("=Q", word) for number, word in enumerate(words)}
        table.put_many([(key, value) for key, value in want.items() if have[key] != value])

    def strays(self) -> list[Stray]:
        """Proxy and home agent: nodes whose packets came from elsewhere since their last registration."""
        boot, found = self._known_boot(), []
        for key, value in self._open("strays").items():
            stray = layouts.STRAY.unpack(value)
            found.append(
                Stray(
                    IPv4Address(key[:4]),
                    IPv4Address(key[4:]),
                    IPv4Address(stray["address"]),
                    int.from_bytes(stray["port"]),
                    stray["packets"],
                    _unix(stray["last_ns"], boot),
                )
            )
        return found

    def forget_stray(self, gateway: IPv4Address, home_address: IPv4Address) -> bool:
        """The node has registered; False if nothing was noted of it. `gateway`: of a home agent its own address."""
        return self._open("strays").delete(_key(gateway, home_address))


def _replace(table: Map, want: dict[bytes, bytes]) -> None:
    """Make a small table hold exactly this: additions first, so nothing that stays is ever missing."""
    for key, value in want.items():
        if table.get(key) != value:
            table.put(key, value)
    for key in table.keys():  # noqa: SIM118 (a table is no dict)
        if key not in want:
            table.delete(key)


class ProxyTables(Tables):
    """Tables of the programs `proxy_pub` and `proxy_priv`."""

    def __init__(self, pin_dir: Path | str) -> None:
        super().__init__(pin_dir)
        self._settings = self._open("proxy_settings")
        self._bindings = self._open("bindings")
        self._macs = self._open("gateway_macs")
        self._prefixes = self._open("prefixes")

    def configure(self, settings: ProxyForwarding) -> None:
        """Write addresses, interfaces, gateways with their MAC addresses, and prefixes. Bindings stay."""
        if len(settings.gateways) > layouts.MAX_GATEWAYS:
            raise ValueError(f"{len(settings.gateways)} VPN gateways, expected {layouts.MAX_GATEWAYS} at most")
        self._allow(settings.passes)
        others = [gateway.other_sources for gateway in settings.gateways]
        flags = prefix_flags(settings.home_networks, settings.mobility_subnets, others)
        _replace(
            self._prefixes,
            {
                layouts.PREFIX.pack(length=network.prefixlen, address=network.network_address.packed): struct.pack(
                    "=I", value
                )
                for network, value in flags.items()
            },
        )
        _replace(
            self._macs,
            {
                self._mac_key(gateway.public_address, mac): struct.pack("=I", 1)
                for gateway in settings.gateways
                for mac in gateway.macs
            },
        )
        gateways = b"".join(
            layouts.GATEWAY.pack(
                public_address=gateway.public_address.packed, private_address=gateway.private_address.packed
            )
            for gateway in settings.gateways
        )
        packed = layouts.PROXY_SETTINGS.pack(
            public_address=settings.public_address.packed,
            private_address=settings.private_address.packed,
            public_ifindex=settings.public_ifindex,
            private_ifindex=settings.private_ifindex,
            gateway_public_ifindex=settings.gateway_public_ifindex,
            gateway_private_ifindex=settings.gateway_private_ifindex,
            direct_delivery=sum(gateway.direct_delivery << place for place, gateway in enumerate(settings.gateways)),
            home_agent_flags=0 if settings.home_agent_gre_key is None else _GRE_KEY,
            home_agent_gre_key=(settings.home_agent_gre_key or 0).to_bytes(4),
            gateway_count=len(settings.gateways),
            gateways=gateways,
        )
        if self._settings.get(_FIRST) != packed:
            self._settings.put(_FIRST, packed)

    def set_gateway_macs(self, gateway: IPv4Address, macs: Iterable[str]) -> None:
        """From which MAC addresses this gateway may send, replacing what was known. Raises ValueError."""
        want = {self._mac_key(gateway, mac) for mac in macs}
        for key in want:
            self._macs.put(key, struct.pack("=I", 1))
        for key in self._macs.keys():  # noqa: SIM118 (a table is no dict)
            if key[:4] == gateway.packed and key not in want:
                self._macs.delete(key)

    def gateway_macs(self, gateway: IPv4Address) -> set[str]:
        """MAC addresses that are accepted from this gateway."""
        rows = [layouts.GATEWAY_MAC.unpack(key) for key in self._macs.keys()]  # noqa: SIM118 (a table is no dict)
        return {row["mac"].hex(":") for row in rows if row["gateway"] == gateway.packed}

    def put(self, binding: ProxyBinding) -> None:
        """Add or replace a binding: from now on packets follow it."""
        key, home_agent, tunnels, style = _row(binding)
        self._bindings.put(key, _pack_over(self._bindings.get(key), home_agent, tunnels, self._boot(), style))

    def put_many(self, bindings: Iterable[ProxyBinding]) -> None:
        """Add or replace bindings in order, with one system call for a burst beside one look at each old entry."""
        _put_bindings(self._bindings, self._boot(), map(_row, bindings))

    def delete(self, gateway: IPv4Address, home_address: IPv4Address) -> bool:
        """Remove a binding; False if there was none."""
        return self._bindings.delete(_key(gateway, home_address))

    def delete_many(self, nodes: Iterable[tuple[IPv4Address, IPv4Address]]) -> int:
        """Remove bindings by gateway and home address; how many were there."""
        return self._bindings.delete_many([_key(*node) for node in nodes])

    def traffic(self) -> Iterator[tuple[IPv4Address, IPv4Address, BindingTraffic]]:
        """Gateway, home address and counters of each binding. Nothing is stopped for it."""
        for key, value in self._bindings.items():
            yield IPv4Address(key[:4]), IPv4Address(key[4:]), unpack_traffic(value)

    def traffic_of(self, gateway: IPv4Address, home_address: IPv4Address) -> BindingTraffic | None:
        """Counters of one binding; None without it."""
        value = self._bindings.get(_key(gateway, home_address))
        return None if value is None else unpack_traffic(value)

    def get(self, gateway: IPv4Address, home_address: IPv4Address) -> ProxyBinding | None:
        """One binding, with the port that a half-bound tunnel has learnt."""
        value = self._bindings.get(_key(gateway, home_address))
        if value is None:
            return None
        return ProxyBinding(gateway, home_address, *_unpack_binding(value, self._known_boot()))

    def bindings(self) -> list[ProxyBinding]:
        """All bindings, expired ones included, in no order."""
        boot = self._known_boot()
        return [
            ProxyBinding(IPv4Address(key[:4]), IPv4Address(key[4:]), *_unpack_binding(value, boot))
            for key, value in self._bindings.items()
        ]

    def sync(self, bindings: Iterable[ProxyBinding]) -> Synchronised:
        """Make the table hold exactly these, as after a restart: what forwards meanwhile goes on forwarding, and
        the port that a half-bound tunnel has learnt from a keepalive stays known. Only differences are written."""
        return _sync_bindings(self._bindings, self._boot(), map(_row, bindings))

    @staticmethod
    def _mac_key(gateway: IPv4Address, mac: str) -> bytes:
        return layouts.GATEWAY_MAC.pack(gateway=gateway.packed, mac=pack_mac(mac))


Row = tuple[bytes, IPv4Address, tuple[Tunnel, ...], Encapsulation]
"""A binding on its way into the table: key, home agent, tunnels, encapsulation towards the home agent."""


def _row(binding: ProxyBinding) -> Row:
    key = _key(binding.gateway, binding.home_address)
    return key, binding.home_agent, binding.tunnels, binding.home_agent_encapsulation


def unpack_traffic(value: bytes) -> BindingTraffic:
    """The counters of a packed binding."""
    packets_from, bytes_from, packets_to, bytes_to = _BINDING_TRAFFIC.unpack(value[_COUNTED])
    return BindingTraffic(Traffic(packets_from, bytes_from), Traffic(packets_to, bytes_to))


def _pack_over(
    known: bytes | None,
    home_agent: IPv4Address,
    tunnels: tuple[Tunnel, ...],
    boot: float,
    home_agent_encapsulation: Encapsulation,
) -> bytes:
    """A binding in place of the entry `known`. What that has counted goes on in the new one, but for the packets of the
    microseconds between the look at it and its replacement."""
    if known is None:
        return pack_binding(home_agent, tunnels, boot, home_agent_encapsulation)
    if any(tunnel.half_bound and not tunnel.port for tunnel in tunnels):
        tunnels = _with_former_ports(tunnels, _unpack_binding(known, boot)[1])
    return pack_binding(home_agent, tunnels, boot, home_agent_encapsulation, counted_in(known))


def _put_bindings(table: Map, boot: float, rows: Iterable[Row]) -> None:
    written: dict[bytes, bytes] = {}
    for key, home_agent, tunnels, style in rows:
        written[key] = _pack_over(written.get(key) or table.get(key), home_agent, tunnels, boot, style)
    table.put_many(list(written.items()))


def _sync_bindings(table: Map, boot: float, wanted: Iterable[Row]) -> Synchronised:
    """One pass over the kernel's entries, one over what is wanted: neither is held as objects, and of the kernel's only
    what was not wanted yet."""
    have = _without_counters(table)
    changed: list[tuple[bytes, bytes]] = []
    written = 0
    for key, home_agent, tunnels, style in wanted:
        value = pack_binding(home_agent, tunnels, boot, style)
        known = have.pop(key, None)
        if known is not None:
            if known == _essence(value):
                continue
            if any(tunnel.half_bound for tunnel in tunnels):
                tunnels = _with_learnt_ports(tunnels, _unpack_binding(_whole(known), boot)[1])
                value = pack_binding(home_agent, tunnels, boot, style)
                if known == _essence(value):
                    continue
            value = pack_binding(home_agent, tunnels, boot, style, counted_in(table.get(key) or value))
        changed.append((key, value))
        if len(changed) == BATCH:
            table.put_many(changed)
            written += len(changed)
            changed.clear()
    table.put_many(changed)
    table.delete_many(list(have))
    return Synchronised(written + len(changed), len(have))


def _essence(value: bytes) -> bytes:
    """A packed binding without its counters and without the zeros of the tunnels that it has not."""
    return value[_COUNTED.stop :].rstrip(b"\0")


def _whole(essence: bytes) -> bytes:
    return (NOTHING_COUNTED + essence).ljust(layouts.BINDING.size, b"\0")


def _without_counters(table: Map) -> dict[bytes, bytes]:
    """The essence of each entry."""
    keys_of = struct.Struct(f"={layouts.BINDING_KEY.size}s")
    values_of = struct.Struct(f"={_COUNTED.stop}x{layouts.BINDING.size - _COUNTED.stop}s")
    found: dict[bytes, bytes] = {}
    for count, keys, values in table.batches():
        rows = zip(keys_of.iter_unpack(keys), values_of.iter_unpack(values), strict=True)
        for (key,), (value,) in islice(rows, count):
            found[key] = value.rstrip(b"\0")
    return found


def _with_former_ports(tunnels: tuple[Tunnel, ...], known: tuple[Tunnel, ...]) -> tuple[Tunnel, ...]:
    """Half-bound tunnels with the port that the node had in its last registration from there, until it shows one."""
    ports = {tunnel.source or tunnel.care_of: tunnel.port for tunnel in known}
    return tuple(
        replace(tunnel, port=ports.get(tunnel.source or tunnel.care_of, 0))
        if tunnel.half_bound and not tunnel.port
        else tunnel
        for tunnel in tunnels
    )


def _with_learnt_ports(tunnels: tuple[Tunnel, ...], known: tuple[Tunnel, ...]) -> tuple[Tunnel, ...]:
    """Half-bound tunnels as the kernel completed them, if it did."""
    complete = {tunnel.source or tunnel.care_of: tunnel for tunnel in known if not tunnel.half_bound}
    return tuple(
        replace(tunnel, care_of=found.care_of, port=found.port, source=found.source, half_bound=False)
        if tunnel.half_bound and (found := complete.get(tunnel.source or tunnel.care_of)) and found.port
        else tunnel
        for tunnel in tunnels
    )


class HomeAgentTables(Tables):
    """Tables of the programs `ha_core` and `ha_home`."""

    def __init__(self, pin_dir: Path | str) -> None:
        super().__init__(pin_dir)
        self._settings = self._open("home_agent_settings")
        self._bindings = self._open("bindings")
        self._address = IPv4Address((self._settings.get(_FIRST) or bytes(4))[:4])

    def configure(self, settings: HomeAgentForwarding) -> None:
        """Write the agent's address. It is part of each binding's key: another address starts with none."""
        self._settings.put(_FIRST, layouts.HOME_AGENT_SETTINGS.pack(address=settings.address.packed))
        self._address = settings.address

    def put(self, binding: HomeBinding) -> None:
        """Add or replace a binding: its home address is intercepted from now on."""
        key, home_agent, tunnels, style = self._row(binding)
        self._bindings.put(key, _pack_over(self._bindings.get(key), home_agent, tunnels, self._boot(), style))

    def put_many(self, bindings: Iterable[HomeBinding]) -> None:
        """Add or replace bindings in order, with one system call for a burst beside one look at each old entry."""
        _put_bindings(self._bindings, self._boot(), map(self._row, bindings))

    def delete_many(self, home_addresses: Iterable[IPv4Address]) -> int:
        """Remove bindings; how many were there."""
        return self._bindings.delete_many([_key(self._address, each) for each in home_addresses])

    def traffic(self) -> Iterator[tuple[IPv4Address, BindingTraffic]]:
        """Home address and counters of each binding. Nothing is stopped for it."""
        for key, value in self._bindings.items():
            if key[:4] == self._address.packed:
                yield IPv4Address(key[4:]), unpack_traffic(value)

    def _row(self, binding: HomeBinding) -> Row:
        return _key(self._address, binding.home_address), self._address, binding.tunnels, Encapsulation.IPIP

    def delete(self, home_address: IPv4Address) -> bool:
        """Remove a binding; False if there was none."""
        return self._bindings.delete(_key(self._address, home_address))

    def get(self, home_address: IPv4Address) -> HomeBinding | None:
        """One binding, with the port that a half-bound tunnel has learnt."""
        value = self._bindings.get(_key(self._address, home_address))
        return None if value is None else HomeBinding(home_address, _unpack_binding(value, self._known_boot())[1])

    def bindings(self) -> list[HomeBinding]:
        """All bindings, expired ones included, in no order."""
        boot = self._known_boot()
        return [
            HomeBinding(IPv4Address(key[4:]), _unpack_binding(value, boot)[1])
            for key, value in self._bindings.items()
            if key[:4] == self._address.packed
        ]

    def sync(self, bindings: Iterable[HomeBinding]) -> Synchronised:
        """Make the table hold exactly these, without an interruption for those that stay."""
        return _sync_bindings(self._bindings, self._boot(), map(self._row, bindings))


class ForeignAgentTables(Tables):
    """Tables of the programs `fa_uplink` and `fa_link`."""

    def __init__(self, pin_dir: Path | str) -> None:
        super().__init__(pin_dir)
        self._settings = self._open("foreign_agent_settings")
        self._visitors = self._open("visitors")

    def configure(self, settings: ForeignAgentForwarding) -> None:
        """Write addresses and interfaces. Visitors stay."""
        packed = layouts.FOREIGN_AGENT_SETTINGS.pack(
            care_of=settings.care_of.packed,
            link_address=settings.link_address.packed,
            uplink_ifindex=settings.uplink_ifindex,
            link_ifindex=settings.link_ifindex,
        )
        self._settings.put(_FIRST, packed)

    def put(self, visitor: Visitor) -> None:
        """Add or replace a visitor."""
        self._visitors.put(visitor.home_address.packed, pack_visitor(visitor, self._boot()))

    def delete(self, home_address: IPv4Address) -> bool:
        """Remove a visitor; False if there was none."""
        return self._visitors.delete(home_address.packed)

    def visitors(self) -> list[Visitor]:
        """All visitors, expired ones included, in no order."""
        boot = self._known_boot()
        return [_unpack_visitor(key, value, boot) for key, value in self._visitors.items()]

    def get(self, home_address: IPv4Address) -> Visitor | None:
        """One visitor, None if there is no such."""
        value = self._visitors.get(home_address.packed)
        return None if value is None else _unpack_visitor(home_address.packed, value, self._known_boot())


def _unpack_visitor(key: bytes, value: bytes, boot: float) -> Visitor:
    raw = layouts.VISITOR.unpack(value)
    encapsulation, gre_key = _carried(raw)
    return Visitor(
        home_address=IPv4Address(key),
        home_agent=IPv4Address(raw["home_agent"]),
        expires=_unix(raw["expires_ns"], boot),
        encapsulation=encapsulation,
        port=int.from_bytes(raw["port"]),
        reverse_tunnel=bool(raw["flags"] & _REVERSE_TUNNEL),
        encapsulating_delivery=bool(raw["flags"] & _ENCAPSULATING_DELIVERY),
        gre_key=gre_key,
    )


def pack_visitor(visitor: Visitor, boot: float) -> bytes:
    """`struct visitor`; `boot` is the Unix time of boot."""
    next_header, flags, key = _carriage(visitor.encapsulation, visitor.gre_key)
    return layouts.VISITOR.pack(
        home_agent=visitor.home_agent.packed,
        port=visitor.port.to_bytes(2),
        encapsulation=next_header,
        flags=flags
        | (_REVERSE_TUNNEL if visitor.reverse_tunnel else 0)
        | (_ENCAPSULATING_DELIVERY if visitor.encapsulating_delivery else 0),
        gre_key=key,
        expires_ns=_expiry(visitor.expires, boot),
    )


class MobileNodeTables(Tables):
    """Tables of the programs `mn_ingress` and `mn_egress`."""

    def __init__(self, pin_dir: Path | str) -> None:
        super().__init__(pin_dir)
        self._settings = self._open("mobile_node_settings")
        self._passes: Passes | None = None

    def set_path(self, path: NodePath) -> None:
        """Change how packets of the home address travel, all at once for every packet."""
        if path.passes != self._passes:
            self.allow(path.passes)
        self._settings.put(_FIRST, pack_path(path))

    def allow(self, passes: Passes) -> None:
        """What may travel between the node and VPN gateways; where it goes stays as it is."""
        self._allow(passes)
        self._passes = passes

    def path(self) -> bytes | None:
        """The packed settings as they stand, or None before the first `set_path`."""
        return self._settings.get(_FIRST)


def pack_path(path: NodePath) -> bytes:
    """`struct mobile_node_settings`. Raises ValueError for more gateways than it holds."""
    if len(path.gateways) > layouts.MAX_GATEWAYS:
        raise ValueError(f"{len(path.gateways)} VPN gateways, expected {layouts.MAX_GATEWAYS} at most")
    next_header, flags, key = _carriage(path.encapsulation, path.gre_key)
    return layouts.MOBILE_NODE_SETTINGS.pack(
        home_address=path.home_address.packed,
        care_of=path.care_of.packed,
        peer=path.peer.packed,
        peer_port=path.peer_port.to_bytes(2),
        local_port=path.local_port.to_bytes(2),
        mode=int(path.mode),
        encapsulation=next_header,
        flags=flags
        | (_ENCAPSULATE_ALL if path.encapsulate_all else 0)
        | (_HOME_LINK_ONLY if path.home_link_only else 0),
        gre_key=key,
        gateway_count=len(path.gateways),
        gateways=b"".join(address.packed for address in path.gateways),
    )
