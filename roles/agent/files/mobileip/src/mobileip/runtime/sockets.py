"""UDP and raw ICMP sockets that know what plain ones hide: the address asked, the interface, the TTL.

A registration reply leaves from the address that was asked (RFC 5944 3.8.3.1), a foreign agent checks TTL 255
(RFC 3024 4.2.1), and inside is told from outside by the interface, so every datagram carries all three.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from mobileip.wire.address import address, compiled
from mobileip.wire.messages import MAXIMUM_MESSAGE

# linux/in.h; the socket module of Python 3.11 names only some of them.
_IP_TTL = 2
_IP_PKTINFO = 8
_IP_RECVTTL = 12
_ICMP_FILTER = 1
_PKTINFO = struct.Struct("=i4s4s")  # struct in_pktinfo: ifindex, local address (spec_dst), destination of the header
_INT = struct.Struct("=i")

_ANCILLARY = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(_INT.size)
_BATCH = 128
"""Datagrams taken in one turn of the loop: others get their turn even while the socket never runs dry."""

_COMPILED_BATCH = 64
"""Datagrams that the compiled part takes with one call; fewer mean that there are no more."""

_LONGEST = 2 * MAXIMUM_MESSAGE
"""Bytes that are taken of a datagram: one that is cut here is still seen to be too long for a registration."""

_ANY = IPv4Address("0.0.0.0")


class Arrival(NamedTuple):
    """A datagram with its circumstances. For a raw socket `payload` is the ICMP message and the ports are 0."""

    payload: bytes
    source: IPv4Address
    source_port: int
    destination: IPv4Address
    interface: str
    ttl: int | None


_SO_ATTACH_FILTER = 26  # linux/asm-generic/socket.h

Instruction = tuple[int, int, int, int]
"""Of a socket filter (linux/filter.h: struct sock_filter): operation, jumps if true and if false, operand."""

# Offsets count from the UDP header.
_LACKS_CHECKSUM: list[Instruction] = [
    (0x28, 0, 0, 6),  # the checksum
    (0x15, 0, 1, 0),  # 0: there is none
    (0x06, 0, 0, 0),  # drop it
]
_HOLDS_TUNNEL_DATA: list[Instruction] = [
    (0x80, 0, 0, 0),  # the length
    (0x35, 0, 3, 9),
    (0x30, 0, 0, 8),  # the message's type
    (0x15, 0, 1, 4),
    (0x06, 0, 0, 0),
]
_TAKE: list[Instruction] = [(0x06, 0, 0, 0xFFFF)]


def attach_filter(channel: socket.socket, instructions: Sequence[Instruction]) -> None:
    """Have the kernel pass each datagram through a filter."""
    count = len(instructions)
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in instructions), 8 * count)
    channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", count, ctypes.addressof(program)))


class Departure(NamedTuple):
    """A datagram to send, see `DatagramSocket.send`."""

    payload: bytes
    source: IPv4Address
    destination: IPv4Address
    port: int = 0
    interface: str | None = None
    ttl: int | None = None


class DatagramSocket:
    """A non-blocking socket; `received` is called for each datagram while the socket is watched."""

    def __init__(self, channel: socket.socket, received: Callable[[Arrival], None]) -> None:
        channel.setblocking(False)
        channel.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        channel.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        self._channel = channel
        self._received = received
        self._raw = channel.type == socket.SOCK_RAW

    @classmethod
    def udp(
        cls,
        address: IPv4Address,
        port: int,
        received: Callable[[Arrival], None],
        *,
        without_checksum: bool = True,
        tunnel_data: bool = True,
    ) -> DatagramSocket:
        """A UDP socket bound to `address` (0.0.0.0: all). Raises OSError when address or port is not to be had.

        The kernel drops datagrams with a wrong checksum; `without_checksum` False drops those that have none as well,
        `tunnel_data` False those of tunnels, which another socket takes.
        """
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            # A burst of registrations after a network outage must not overflow the default of about 200 KiB.
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            refused = ([] if without_checksum else _LACKS_CHECKSUM) + ([] if tunnel_data else _HOLDS_TUNNEL_DATA)
            if refused:
                attach_filter(channel, refused + _TAKE)
            channel.bind((str(address), port))
            return cls(channel, received)
        except OSError:
            channel.close()
            raise

    @classmethod
    def icmp(cls, types: frozenset[int], received: Callable[[Arrival], None]) -> DatagramSocket:
        """A raw ICMP socket that sees only messages of `types`. Needs CAP_NET_RAW."""
        channel = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP)
        try:
            blocked = 0xFFFFFFFF & ~sum(1 << kind for kind in types)
            # SOL_RAW is IPPROTO_RAW.
            channel.setsockopt(socket.IPPROTO_RAW, _ICMP_FILTER, struct.pack("=I", blocked))
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            return cls(channel, received)
        except OSError:
            channel.close()
            raise

    def join(self, group: IPv4Address, interface: str) -> None:
        """Receive what is sent to a multicast group on an interface; joining twice is no error. Raises OSError."""
        request = struct.pack("=4s4si", group.packed, _ANY.packed, socket.if_nametoindex(interface))
        try:
            self._channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call `received` from the loop for what arrives."""
        loop.add_reader(self._channel, self._readable)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._channel)
        self._channel.close()

    def send(
        self,
        payload: bytes,
        *,
        source: IPv4Address,
        destination: IPv4Address,
        port: int = 0,
        interface: str | None = None,
        ttl: int | None = None,
    ) -> None:
        """Send from `source` (0.0.0.0: the kernel chooses), through `interface` if given. Raises OSError.

        With an interface the kernel looks up routes of that interface only, and where there is none takes the
        destination to be on the link: that is how a foreign agent reaches a visitor with an alien address.
        """
        index = socket.if_nametoindex(interface) if interface else 0
        control = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(index, source.packed, _ANY.packed))]
        if ttl is not None:
            control.append((socket.IPPROTO_IP, _IP_TTL, _INT.pack(ttl)))
            if destination.is_multicast:
                self._channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        self._channel.sendmsg([payload], control, socket.MSG_DONTWAIT, (str(destination), port))

    def send_many(self, departures: Sequence[Departure]) -> list[tuple[int, OSError]]:
        """Send them in their order. Returns which did not go out, and why; the others did."""
        failures: list[tuple[int, OSError]] = []
        if compiled is None or any(departure.ttl is not None for departure in departures):
            for at, (payload, source, destination, port, interface, ttl) in enumerate(departures):
                try:
                    self.send(payload, source=source, destination=destination, port=port, interface=interface, ttl=ttl)
                except OSError as exc:
                    failures.append((at, exc))
            return failures
        rows: list[tuple[bytes, IPv4Address, IPv4Address, int, int]] = []
        places: list[int] = []
        for at, (payload, source, destination, port, interface, _) in enumerate(departures):
            try:
                index = socket.if_nametoindex(interface) if interface else 0
            except OSError as exc:
                failures.append((at, exc))
                continue
            rows.append((payload, source, destination, port, index))
            places.append(at)
        done, number = 0, self._channel.fileno()
        while done < len(rows):
            try:
                done += compiled.send(number, rows[done : done + _BATCH])
            except OSError as exc:
                failures.append((places[done], exc))
                done += 1
        return failures

    def _readable(self) -> None:
        if compiled is not None and not self._raw:
            self._read_batches()
            return
        for _ in range(_BATCH):
            try:
                payload, ancillary, _flags, peer = self._channel.recvmsg(_LONGEST, _ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # An ICMP error about an earlier datagram of ours (ECONNREFUSED and its kin): taken note of, gone.
                continue
            arrival = self._arrival(payload, ancillary, peer)
            if arrival is not None:
                self._received(arrival)

    def _read_batches(self) -> None:
        assert compiled is not None
        names: dict[int, str] = {}  # for a moment only: interfaces are renamed
        taken = 0
        while taken < _BATCH:
            arrivals = compiled.receive(self._channel.fileno())
            for payload, source, port, destination, index, ttl in arrivals:
                name = names.get(index)
                if name is None:
                    name = names[index] = _interface_name(index)
                self._received(Arrival(payload, source, port, destination, name, ttl))
            taken += len(arrivals)
            if len(arrivals) < _COMPILED_BATCH:
                return

    def _arrival(
        self, payload: bytes, ancillary: list[tuple[int, int, bytes]], peer: tuple[str, int]
    ) -> Arrival | None:
        destination, interface, ttl = _ANY, "", None
        for level, kind, data in ancillary:
            if level != socket.IPPROTO_IP:
                continue
            if kind == _IP_PKTINFO and len(data) >= _PKTINFO.size:
                index, _local, header_destination = _PKTINFO.unpack_from(data)
                destination, interface = address(int.from_bytes(header_destination, "big")), _interface_name(index)
            elif kind == _IP_TTL and len(data) >= _INT.size:
                ttl = _INT.unpack_from(data)[0]
        if self._raw:
            header = (payload[0] & 0x0F) * 4 if payload else 0
            if header < 20 or len(payload) < header:
                return None
            payload = payload[header:]
        source = address(int.from_bytes(socket.inet_aton(peer[0]), "big"))
        return Arrival(payload, source, peer[1] if not self._raw else 0, destination, interface, ttl)


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""  # the interface went away between arrival and now
