"""Hears the broadcasts of the home links and sends them to the nodes that set B; `forwarding.broadcast` decides.

Broadcasts are few and copies go to several nodes, so this is done here and not by the programs of the data path. How
many a second is limited: a storm on the home link must not become one of the tunnels, times the number of nodes.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address

from mobileip.forwarding.broadcast import BroadcastDomain, Listener
from mobileip.registration.bindings import Binding, BindingKey
from mobileip.registration.rate_limit import RateLimit
from mobileip.runtime.interfaces import mtu_of
from mobileip.runtime.tunnels import tunnel
from mobileip.wire.encapsulation import IPPROTO_UDP, IPv4Packet
from mobileip.wire.errors import Malformed
from mobileip.wire.messages import Flag

_ETHERTYPE_IPV4 = 0x0800
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=I16x")  # struct tpacket_auxdata: the status comes first
_CHECKSUM_NOT_READY = 8
_BATCH = 64
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

_GROUP_FRAMES = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x20, 0, 0, 0xFFFFF004),  # load the packet's type (SKF_AD_OFF + SKF_AD_PKTTYPE)
        (0x15, 1, 0, 1),  # PACKET_BROADCAST: take it
        (0x15, 0, 1, 2),  # PACKET_MULTICAST: take it; others, our own among them, leave
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
)


class BroadcastRelay:
    """The sockets, and the bindings that broadcasts go to. `count` is told what became of each packet."""

    def __init__(
        self,
        domains: dict[str, BroadcastDomain],
        uplink: str,
        rate: int,
        count: Callable[[str], None],
        gre_key: int | None = None,
    ) -> None:
        self._domains = domains
        self._gre_key = gre_key
        self._uplink = uplink
        self._limit = RateLimit(rate=float(rate), burst=rate)
        self._count = count
        self._listeners: dict[BindingKey, Binding] = {}
        self._identification = itertools.count(int(time.monotonic() * 1000))
        self._heard: list[socket.socket] = []
        self._sender: socket.socket | None = None

    @property
    def listeners(self) -> int:
        """How many bindings get broadcasts."""
        return len(self._listeners)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen on every home link. Raises OSError; needs CAP_NET_RAW."""
        if not self._domains:
            return
        # IPPROTO_RAW: the header is ours, and nothing is ever received.
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        self._sender.setblocking(False)
        for interface, domain in self._domains.items():
            channel = _group_frames_of(interface)
            self._heard.append(channel)
            for group in sorted(domain.groups):
                self._join(group, interface)
            loop.add_reader(channel, partial(self._readable, channel, interface))

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        for channel in self._heard:
            loop.remove_reader(channel)
            channel.close()
        self._heard.clear()
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def put(self, binding: Binding, replaces: Iterable[BindingKey] = ()) -> None:
        """A binding was made, in place of others; it gets broadcasts if its node set B."""
        for key in (*replaces, binding.key):
            self._listeners.pop(key, None)
        if binding.flags & Flag.BROADCAST:
            self._listeners[binding.key] = binding

    def remove(self, key: BindingKey) -> None:
        """A binding has ended."""
        self._listeners.pop(key, None)

    def replace(self, bindings: Iterable[Binding]) -> None:
        """These are all the bindings there are."""
        self._listeners.clear()
        for binding in bindings:
            self.put(binding)

    def _join(self, group: IPv4Address, interface: str) -> None:
        """Have the interface, and the switches before it, let the group's packets through."""
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._heard.append(channel)
        request = struct.pack("=4s4si", group.packed, bytes(4), socket.if_nametoindex(interface))
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def _readable(self, channel: socket.socket, interface: str) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, _flags, _peer = channel.recvmsg(0xFFFF, socket.CMSG_SPACE(_AUXDATA.size))
            except OSError:
                return  # nothing is left, or the interface is down
            if self._listeners:
                self._relay(interface, data, any(_is_unfinished(item) for item in ancillary))

    def _relay(self, interface: str, data: bytes, unfinished: bool) -> None:
        domain = self._domains[interface]
        try:
            packet = IPv4Packet.parse(_without_checksum(data) if unfinished else data)
        except Malformed:
            self._count("broadcast_malformed")
            return
        if not domain.concerns(packet):
            return
        now = time.time()
        if not self._limit.allows(interface, now):
            self._count("broadcast_rate_limited")
            return
        for binding in self._listeners.values():
            if binding.expires > now and binding.home_address in domain.network:
                listener = Listener(
                    binding.home_address, tunnel(binding, self._gre_key), bool(binding.flags & Flag.DECAPSULATES)
                )
                self._send(domain.copies(packet, listener, mtu_of(self._uplink), next(self._identification)))

    def _send(self, copies: tuple[IPv4Packet, ...]) -> None:
        assert self._sender is not None, "nothing is heard before it is open"
        if not copies:
            self._count("broadcast_withheld")
        for copy in copies:
            try:
                self._sender.sendto(copy.serialize(), (str(copy.destination), 0))
            except OSError:
                self._count("broadcast_not_sent")
            else:
                self._count("broadcast_tunnelled")


def _group_frames_of(interface: str) -> socket.socket:
    """A socket that gets the IPv4 packets of the broadcast and multicast frames that an interface receives."""
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        code = ctypes.create_string_buffer(_GROUP_FRAMES)
        program = struct.pack("HL", len(_GROUP_FRAMES) // _INSTRUCTION.size, ctypes.addressof(code))
        channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        channel.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        channel.setblocking(False)
        channel.bind((interface, _ETHERTYPE_IPV4))
    except OSError:
        channel.close()
        raise
    return channel


def _is_unfinished(item: tuple[int, int, bytes]) -> bool:
    """Was the packet made on this machine, with a transport checksum that its device was still to fill in?"""
    level, kind, data = item
    if (level, kind) != (_SOL_PACKET, _PACKET_AUXDATA) or len(data) < _AUXDATA.size:
        return False
    return bool(_AUXDATA.unpack_from(data)[0] & _CHECKSUM_NOT_READY)


def _without_checksum(data: bytes) -> bytes:
    """A UDP packet with checksum 0, "none" (RFC 768): a wrong one would be the end of it."""
    header = (data[0] & 0x0F) * 4 if data else 0
    if len(data) < header + 8 or header < 20 or data[9] != IPPROTO_UDP:
        return data
    return data[: header + 6] + b"\0\0" + data[header + 8 :]
