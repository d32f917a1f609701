"""The little of rtnetlink(7) that the daemon needs, synchronous and in microseconds.

The performer must not wait in the middle of a list of actions, and pyroute2's plain calls refuse to run inside an
event loop; so this file speaks to the kernel itself. The kernel answers a request before sendmsg returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_LINK = struct.Struct("=BxHiII")  # ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg
_NEIGHBOUR = struct.Struct("=B3xiHBB")  # ndmsg
_RULE = struct.Struct("=BBBBB2xBI")  # fib_rule_hdr
_NEIGHBOUR_TABLE = struct.Struct("=B3x")  # ndtmsg
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_I32 = struct.Struct("=i")

_REQUEST, _ACK, _ROOT_MATCH, _REPLACE, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x100, 0x400, 0x200
_ERROR, _DONE = 2, 3
_NEW_LINK, _GET_LINK, _SET_LINK = 16, 18, 19
_IFLA_AF_SPEC, _IFLA_INET_CONF, _DEVCONF_FORWARDING, _DEVCONF_ARP_IGNORE = 26, 1, 1, 19
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_NEIGHBOUR, _DELETE_NEIGHBOUR, _GET_NEIGHBOUR = 28, 29, 30
_NEW_RULE, _DELETE_RULE, _GET_RULE = 32, 33, 34
_GET_NEIGHBOUR_TABLE, _SET_NEIGHBOUR_TABLE = 66, 67

GROUP_LINK, GROUP_NEIGHBOUR, GROUP_ADDRESS, GROUP_ROUTE = 0x1, 0x4, 0x10, 0x40
GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE = 0x100, 0x400

_IFF_UP, _IFF_RUNNING, _IFF_LOWER_UP = 0x1, 0x40, 0x10000
_RUNNING = _IFF_UP | _IFF_RUNNING | _IFF_LOWER_UP
TABLE_MAIN = 254
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_UNICAST = 1
_RTA_METRICS, _RTAX_MTU = 8, 2
_NUD_NONE, _NUD_VALID = 0x00, 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08
_NUD_PERMANENT = 0x80
_NTF_USE, _NTF_PROXY = 0x01, 0x08
_NTF_EXT_MANAGED = 0x1
_NDA_DST, _NDA_LLADDR, _NDA_FLAGS_EXT = 1, 2, 15
_NDTA_NAME, _NDTA_PARAMETERS = 1, 6
_NDTPA_INTERFACE, _NDTPA_RETRANSMISSION, _NDTPA_PROBES = 1, 5, 11

_DUMP_ATTEMPTS = 10

PROTOCOL = 0x4D
"""Marks the routes that the daemon made (`proto 77` in `ip route`), so that it never touches another's."""


@dataclass(frozen=True)
class Link:
    """A network interface. `mtu` in bytes.

    `running`: administratively up, with a carrier, and operationally up (RFC 2863). The carrier alone is not enough:
    until the kernel has taken note of it packets are dropped without a word.
    """

    index: int
    name: str
    mac: bytes
    running: bool
    mtu: int = 1500


@dataclass(frozen=True)
class InterfaceAddress:
    """An IPv4 address on an interface."""

    index: int
    address: IPv4Address
    prefix_length: int
    scope: int


@dataclass(frozen=True)
class Route:
    """A unicast IPv4 route."""

    destination: IPv4Network
    gateway: IPv4Address | None
    index: int
    metric: int
    protocol: int
    scope: int = _SCOPE_UNIVERSE
    source: IPv4Address | None = None


class ArpRepetition(NamedTuple):
    """How soon an ARP request that nobody answers is repeated, and how often it is sent in all."""

    milliseconds: int
    times: int


@dataclass(frozen=True)
class Neighbour:
    """An entry of the ARP table; `mac` is None where it is not resolved. `proxy`: we answer for this address.
    `permanent`: somebody wrote it, and no ARP changes it."""

    index: int
    address: IPv4Address
    mac: bytes | None
    proxy: bool
    permanent: bool = False


class Rtnetlink:
    """Requests to the kernel. Every method raises OSError with the kernel's errno."""

    def __init__(self) -> None:
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._channel.bind((0, 0))
        self._channel.settimeout(2.0)
        self._sequence = 0

    def close(self) -> None:
        self._channel.close()

    # What there is

    def links(self) -> list[Link]:
        found = []
        for body in self._dump(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(body)
            attributes = _attributes(body, _LINK.size)
            running = flags & _RUNNING == _RUNNING
            name = attributes.get(3, b"").rstrip(b"\0").decode(errors="replace")
            (mtu,) = _U32.unpack(attributes[4])
            found.append(Link(index, name, attributes.get(1, b""), running, mtu))
        return found

    def link(self, interface: str) -> Link | None:
        """One interface by name, None if there is no such."""
        return next((link for link in self.links() if link.name == interface), None)

    def addresses(self) -> list[InterfaceAddress]:
        found = []
        for body in self._dump(_GET_ADDRESS, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix_length, _, scope, index = _ADDRESS.unpack_from(body)
            attributes = _attributes(body, _ADDRESS.size)
            local = attributes.get(2) or attributes.get(1)
            if local is not None:
                found.append(InterfaceAddress(index, IPv4Address(local), prefix_length, scope))
        return found

    def routes(self, table: int = TABLE_MAIN) -> list[Route]:
        """The unicast routes of one table."""
        found = []
        for body in self._dump(_GET_ROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, number, protocol, scope, kind, _ = _ROUTE.unpack_from(body)
            attributes = _attributes(body, _ROUTE.size)
            if 15 in attributes:
                (number,) = _U32.unpack(attributes[15])
            if number != table or kind != _UNICAST or 4 not in attributes:
                continue
            found.append(
                Route(
                    destination=IPv4Network((IPv4Address(attributes.get(1, bytes(4))), length)),
                    gateway=IPv4Address(attributes[5]) if 5 in attributes else None,
                    index=_I32.unpack(attributes[4])[0],
                    metric=_U32.unpack(attributes[6])[0] if 6 in attributes else 0,
                    protocol=protocol,
                    scope=scope,
                    source=IPv4Address(attributes[7]) if 7 in attributes else None,
                )
            )
        return found

    def interface_towards(self, destination: IPv4Address) -> int | None:
        """Index of the interface by which the kernel reaches an address, None if by none."""
        body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + _attribute(1, destination.packed)
        self._send(_GET_ROUTE, _REQUEST | _ACK, body)
        try:
            found = [_attributes(answer, _ROUTE.size).get(4) for answer in self._answers()]
        except OSError as exc:
            if exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES):
                return None
            raise
        return next((int(_I32.unpack(index)[0]) for index in found if index is not None), None)

    def neighbours(self, *, proxies: bool = False) -> list[Neighbour]:
        flags = _NTF_PROXY if proxies else 0
        found = []
        for body in self._dump(_GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_INET, 0, 0, flags, 0)):
            _, index, state, entry_flags, _ = _NEIGHBOUR.unpack_from(body)
            attributes = _attributes(body, _NEIGHBOUR.size)
            if _NDA_DST not in attributes:
                continue
            mac = attributes.get(_NDA_LLADDR) if state & _NUD_VALID else None
            address = IPv4Address(attributes[_NDA_DST])
            proxy, permanent = bool(entry_flags & _NTF_PROXY), bool(state & _NUD_PERMANENT)
            found.append(Neighbour(index, address, mac, proxy, permanent))
        return found

    # What there shall be

    def keep_neighbour(self, interface: str, address: IPv4Address) -> bool:
        """Have the kernel resolve a neighbour and keep it resolved; False where the kernel cannot (before 5.16).

        Without managed entries this resolves once, and the caller asks again from time to time.
        """
        body = _NEIGHBOUR.pack(socket.AF_INET, socket.if_nametoindex(interface), _NUD_NONE, 0, 0)
        body += _attribute(_NDA_DST, address.packed)
        managed = body + _attribute(_NDA_FLAGS_EXT, _U32.pack(_NTF_EXT_MANAGED))
        try:
            self._change(_NEW_NEIGHBOUR, _CREATE | _REPLACE, managed)
        except OSError:
            index = socket.if_nametoindex(interface)
            use = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_NONE, _NTF_USE, 0) + body[_NEIGHBOUR.size :]
            self._change(_NEW_NEIGHBOUR, _CREATE | _REPLACE, use)
            return False
        return True

    def arp_repetition(self, interface: str | None) -> ArpRepetition:
        """How soon an ARP request on `interface` is repeated; None: what new interfaces get. Raises OSError."""
        index = None if interface is None else socket.if_nametoindex(interface)
        for body in self._dump(_GET_NEIGHBOUR_TABLE, _NEIGHBOUR_TABLE.pack(socket.AF_INET)):
            parameters = _attributes(_attributes(body, _NEIGHBOUR_TABLE.size).get(_NDTA_PARAMETERS, b""), 0)
            found = parameters.get(_NDTPA_INTERFACE)
            if parameters and (None if found is None else _U32.unpack(found)[0]) == index:
                milliseconds, times = parameters[_NDTPA_RETRANSMISSION], parameters[_NDTPA_PROBES]
                return ArpRepetition(_U64.unpack(milliseconds)[0], _U32.unpack(times)[0])
        raise OSError(errno.ENODEV, "the kernel's ARP table tells nothing", interface)

    def repeat_arp(self, interface: str, repetition: ArpRepetition) -> None:
        """Have ARP requests on `interface` repeated so. Raises OSError."""
        milliseconds, times = repetition
        parameters = _attribute(_NDTPA_INTERFACE, _U32.pack(socket.if_nametoindex(interface)))
        parameters += _attribute(_NDTPA_RETRANSMISSION, _U64.pack(milliseconds))
        parameters += _attribute(_NDTPA_PROBES, _U32.pack(times))
        body = _NEIGHBOUR_TABLE.pack(socket.AF_INET) + _attribute(_NDTA_NAME, b"arp_cache\0")
        self._change(_SET_NEIGHBOUR_TABLE, 0, body + _attribute(_NDTA_PARAMETERS, parameters))

    def ask_again(self, interface: str, address: IPv4Address) -> None:
        """Forget a neighbour that has not answered yet, so that the next packet asks at once and not a second later."""
        index = socket.if_nametoindex(interface)
        for neighbour in self.neighbours():
            if (neighbour.index, neighbour.address, neighbour.mac) == (index, address, None):
                body = _NEIGHBOUR.pack(socket.AF_INET, index, _NUD_NONE, 0, 0) + _attribute(_NDA_DST, address.packed)
                with contextlib.suppress(FileNotFoundError):
                    self._change(_DELETE_NEIGHBOUR, 0, body)

    def put_address(self, interface: str, address: IPv4Address) -> None:
        """Give the interface this address, as a host's (/32); one that is there already is no error."""
        self._change(_NEW_ADDRESS, _CREATE | _REPLACE, _host_address(interface, address))

    def delete_address(self, interface: str, address: IPv4Address) -> None:
        with contextlib.suppress(OSError):
            self._change(_DELETE_ADDRESS, 0, _host_address(interface, address))

    def answer_arp(self, interface: str, *, for_any_address: bool) -> None:
        """Answer ARP requests on `interface` for every address of this host, or only for those of the interface."""
        self._configure(interface, _DEVCONF_ARP_IGNORE, 0 if for_any_address else 1)

    def forward_what_loops(self, *, forwards: bool) -> None:
        """Let lo forward, or not. It changes nothing for packets, but makes the kernel tell programs its routes."""
        self._configure("lo", _DEVCONF_FORWARDING, int(forwards))

    def put_proxy(self, interface: str, address: IPv4Address) -> None:
        """Answer ARP requests for `address` on `interface`."""
        self._change(_NEW_NEIGHBOUR, _CREATE | _REPLACE, _proxy(interface, address))

    def delete_proxy(self, interface: str, address: IPv4Address) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._change(_DELETE_NEIGHBOUR, 0, _proxy(interface, address))

    def put_route(
        self,
        destination: IPv4Network,
        interface: str,
        *,
        gateway: IPv4Address | None = None,
        source: IPv4Address | None = None,
        mtu: int | None = None,
        table: int = TABLE_MAIN,
    ) -> None:
        """Add or replace a route of ours; without a gateway the destination is on the link.

        `mtu` in bytes: the longest packet that may go there, None for what the interface takes.
        """
        body = _route(destination, interface, _SCOPE_UNIVERSE if gateway else _SCOPE_LINK, gateway, source, table)
        if mtu is not None:
            body += _attribute(_RTA_METRICS, _attribute(_RTAX_MTU, _U32.pack(mtu)))
        self._change(_NEW_ROUTE, _CREATE | _REPLACE, body)

    def delete_route(self, destination: IPv4Network, interface: str, *, table: int = TABLE_MAIN) -> None:
        """Delete a route of ours; one that is not there, or went with its interface, is no error."""
        try:
            self._change(_DELETE_ROUTE, 0, _route(destination, interface, 255, None, None, table))
        except OSError as exc:
            if exc.errno not in (errno.ESRCH, errno.ENODEV, errno.ENXIO):
                raise

    def put_rule(
        self,
        preference: int,
        *,
        table: int = TABLE_MAIN,
        interface: str | None = None,
        source: IPv4Address | None = None,
    ) -> None:
        """`ip rule add pref N [iif I] [from S] lookup T`; one that is there already is no error."""
        with contextlib.suppress(FileExistsError):
            self._change(_NEW_RULE, _CREATE | _EXCLUSIVE, _rule(preference, table, interface, source))

    def delete_rule(
        self,
        preference: int,
        *,
        table: int = TABLE_MAIN,
        interface: str | None = None,
        source: IPv4Address | None = None,
    ) -> None:
        """Delete what `put_rule` has put; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._change(_DELETE_RULE, 0, _rule(preference, table, interface, source))

    # The protocol

    def _configure(self, interface: str, setting: int, value: int) -> None:
        """One of the IPv4 settings of an interface, as below /proc/sys/net/ipv4/conf."""
        attribute = _attribute(_IFLA_INET_CONF, _attribute(setting, _U32.pack(value)))
        nested = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET, attribute))
        self._change(_SET_LINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(interface), 0, 0) + nested)

    def _change(self, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, _REQUEST | _ACK | flags, body)
        for _ in self._answers():
            pass

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """All entries of a table. InterruptedError if it changes under every attempt: no answer is no empty table."""
        for _attempt in range(_DUMP_ATTEMPTS - 1):
            with contextlib.suppress(InterruptedError):  # the table changed under the dump (NLM_F_DUMP_INTR)
                return self._dump_once(kind, body)
        return self._dump_once(kind, body)

    def _dump_once(self, kind: int, body: bytes) -> list[bytes]:
        self._send(kind, _REQUEST | _ROOT_MATCH, body)
        return list(self._answers())

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._channel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)

    def _answers(self) -> Iterator[bytes]:
        while True:
            data = self._channel.recv(1 << 17)
            offset = 0
            while offset + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
                body = data[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # the late answer to a request that timed out
                if kind == _ERROR:
                    (code,) = _I32.unpack_from(body)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return
                if kind == _DONE:
                    if flags & 0x10:
                        raise InterruptedError(errno.EINTR, "the table changed while it was read")
                    return
                yield body


class RtnetlinkWatcher:
    """Calls `changed` from the loop when links, addresses, routes or neighbours change: once a burst of messages.

    What has changed is not said: whoever is called looks at the kernel's state, so that a lost message loses nothing.
    """

    def __init__(self, groups: int, changed: Callable[[], None]) -> None:
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._channel.setblocking(False)
        self._channel.bind((0, groups))
        self._changed = changed

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._channel, self._readable)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._channel)
        self._channel.close()

    def _readable(self) -> None:
        for _ in range(256):
            try:
                self._channel.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                break  # ENOBUFS: messages were lost, the state is looked at anyway
        self._changed()


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(body: bytes, offset: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _host_address(interface: str, address: IPv4Address) -> bytes:
    body = _ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, socket.if_nametoindex(interface))
    return body + _attribute(1, address.packed) + _attribute(2, address.packed)


def _proxy(interface: str, address: IPv4Address) -> bytes:
    body = _NEIGHBOUR.pack(socket.AF_INET, socket.if_nametoindex(interface), _NUD_PERMANENT, _NTF_PROXY, 0)
    return body + _attribute(_NDA_DST, address.packed)


def _route(
    destination: IPv4Network,
    interface: str,
    scope: int,
    gateway: IPv4Address | None,
    source: IPv4Address | None,
    table: int,
) -> bytes:
    kind = 0 if scope == 255 else _UNICAST
    small = table if table < 256 else 0
    body = _ROUTE.pack(socket.AF_INET, destination.prefixlen, 0, 0, small, PROTOCOL, scope, kind, 0)
    body += _attribute(15, _U32.pack(table))
    if destination.prefixlen:
        body += _attribute(1, destination.network_address.packed)
    body += _attribute(4, _I32.pack(socket.if_nametoindex(interface)))
    if gateway is not None:
        body += _attribute(5, gateway.packed)
    if source is not None:
        body += _attribute(7, source.packed)
    return body


def _rule(preference: int, table: int, interface: str | None, source: IPv4Address | None) -> bytes:
    # FR_ACT_TO_TBL is 1; FRA_PRIORITY is 6, FRA_SRC 2, FRA_IIFNAME 3, FRA_TABLE 15.
    body = _RULE.pack(socket.AF_INET, 0, 32 if source is not None else 0, 0, table if table < 256 else 0, 1, 0)
    body += _attribute(6, _U32.pack(preference)) + _attribute(15, _U32.pack(table))
    if interface is not None:
        body += _attribute(3, interface.encode() + b"\0")
    if source is not None:
        body += _attribute(2, source.packed)
    return body
