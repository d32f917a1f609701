"""The daemon's share of the data path: ICMP errors about tunnels, and tunnel packets that came in pieces.

The kernel puts pieces together for raw sockets, within its own limits of memory and time (net.ipv4.ipfrag_*). What is
whole is decided by the model of the programs (`forwarding.rules`) on the same tables, and sent on. How many a second is
limited: this is for the few that a path forces to be cut, not for a flood.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

from mobileip.config.shared import Tunnels
from mobileip.forwarding import rules
from mobileip.forwarding.entries import PathMtu, TunnelPolicy
from mobileip.forwarding.slowpath import ERRORS, FRAGMENTATION_NEEDED, PathMtus, TunnelError, answer, whole_frame
from mobileip.forwarding.tables import Tables
from mobileip.registration.rate_limit import RateLimit
from mobileip.runtime.forwarders import Forwarder, Way
from mobileip.runtime.journal import log
from mobileip.runtime.rtnetlink import Rtnetlink
from mobileip.runtime.sockets import Arrival, DatagramSocket, Instruction, attach_filter
from mobileip.wire.encapsulation import TUNNEL_PROTOCOLS, IPv4Packet
from mobileip.wire.errors import Malformed

_PKTINFO = struct.Struct("=i4s4s")
_IP_PKTINFO, _IP_RECVFRAGSIZE = 8, 25
_ANCILLARY = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(4)
_LONGEST = 0xFFFF
_BATCH = 64
_ROOM = 1 << 20
"""Bytes of a raw socket's queue: more than a second's worth is not kept."""
_LINKS_LIFETIME = 1.0
"""Seconds for which interfaces and neighbours are taken to be as they were."""
_SWEEP_INTERVAL = 30.0
"""Seconds between two looks at what is known of paths for too long."""
_ERRORS_AT_ONCE = 100
"""ICMP errors a second that are looked at: a router repeats its word."""
_ETHERTYPE_IPV4 = 0x0800
_IP_HEADER = 20

_TUNNEL_DATA: list[Instruction] = [  # a raw socket's packet begins with IP
    (0xB1, 0, 0, 0),  # index register: length of the IP header
    (0x48, 0, 0, 2),  # the UDP destination port
    (0x15, 0, 3, 434),
    (0x50, 0, 0, 8),  # the message's type
    (0x15, 0, 1, 4),  # MIP tunnel data: take it
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
]


def policy_of(config: Tunnels, *, is_served: bool) -> TunnelPolicy:
    """What the programs are told of all tunnels; `is_served`: somebody puts pieces together."""
    return TunnelPolicy(
        errors_per_second=config.icmp_errors,
        dscp=None if config.dscp == "copy" else config.dscp,
        tcp_mss=config.tcp_mss,
        reassembly=is_served and bool(config.reassembly),
    )


class SlowPath:
    """The sockets, and what is known of paths. `count` is told what became of each packet."""

    def __init__(self, tables: Tables, config: Tunnels, forwarder: Forwarder, count: Callable[[str], None]) -> None:
        self._tables = tables
        self._config = config
        self._forwarder = forwarder
        self._count = count
        self._paths = PathMtus(config.least_path_mtu)
        self._errors = RateLimit(rate=float(_ERRORS_AT_ONCE), burst=_ERRORS_AT_ONCE)
        self._wholes = RateLimit(rate=float(config.reassembly), burst=max(1, config.reassembly))
        self._kernel = Rtnetlink()
        self._links: tuple[float, dict[int, rules.Link]] = (0.0, {})
        self._macs: tuple[float, dict[tuple[int, IPv4Address], bytes]] = (0.0, {})
        self._icmp: DatagramSocket | None = None
        self._raw: list[socket.socket] = []
        self._sender: socket.socket | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._policy = TunnelPolicy()

    @property
    def path_mtus(self) -> list[tuple[IPv4Address, PathMtu]]:
        """What is known of paths, by the tunnel's end."""
        return self._paths.items()

    def path_mtu(self, remote: IPv4Address) -> int | None:
        """Bytes that a packet to this end of a tunnel may have, None where its first link alone says."""
        now = time.time()
        return next((path.mtu for end, path in self._paths.items() if end == remote and path.expires > now), None)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the sockets, and tell the programs. Raises OSError; needs CAP_NET_RAW."""
        config = self._config
        self._paths.restore(self._tables.path_mtus())
        self._icmp = DatagramSocket.icmp(ERRORS, self._told)
        self._icmp.watch(loop)
        # IPPROTO_RAW: the header is ours, and nothing is ever received.
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        self._sender.setblocking(False)
        if config.reassembly:
            for protocol in (socket.IPPROTO_UDP, *sorted(TUNNEL_PROTOCOLS)):
                channel = _raw_socket(protocol)
                self._raw.append(channel)
                loop.add_reader(channel, partial(self._readable, channel))
        self._policy = policy_of(config, is_served=True)
        self._tables.set_policy(self._policy)
        self._look_for_old_paths(loop)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody puts pieces together any more; what is known of paths stays with the programs."""
        with contextlib.suppress(OSError):
            self._tables.set_policy(policy_of(self._config, is_served=False))
        for channel in self._raw:
            loop.remove_reader(channel)
            channel.close()
        self._raw.clear()
        if self._icmp is not None:
            self._icmp.close(loop)
        if self._sender is not None:
            self._sender.close()
        if self._sweep is not None:
            self._sweep.cancel()
        self._kernel.close()

    # What routers say

    def _told(self, arrival: Arrival) -> None:
        now = time.time()
        if not self._errors.allows("errors", now):
            self._count("tunnel_error_rate_limited")
            return
        try:
            error = TunnelError.parse(arrival.payload)
        except Malformed:
            self._count("malformed_tunnel_error")
            return
        if error is None:
            return
        if not error.is_consistent or not self._forwarder.sent(error):
            self._count("foreign_tunnel_error")
            return
        self._count("tunnel_error")
        if (path := self._paths.learn(error, now)) is not None:
            self._put(error.remote, path)
        self._tell_source(error)

    def _put(self, remote: IPv4Address, path: PathMtu) -> None:
        try:
            self._forget(time.time())
            self._tables.put_path_mtu(remote, path)
        except OSError as exc:
            log("warning", "path_mtu_not_kept", remote=remote, error=exc)
            return
        log("info", "path_mtu", remote=remote, mtu=path.mtu)
        self._forwarder.path_changed()

    def _tell_source(self, error: TunnelError) -> None:
        if error.code == FRAGMENTATION_NEEDED:
            mtu = self.path_mtu(error.remote)
            if mtu is None:
                return
            packet = answer(error, error.local, max(mtu - error.overhead, 68))
        else:
            packet = answer(error, error.local, 0)
        if packet is None:
            return
        if self._send(packet.serialize(), self._forwarder.way_to_source(error)):
            self._count("tunnel_error_relayed")

    def _look_for_old_paths(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = loop.call_later(_SWEEP_INTERVAL, self._look_for_old_paths, loop)
        try:
            forgotten = self._forget(time.time())
        except OSError as exc:
            log("warning", "path_mtus_not_swept", error=exc)
            return
        if forgotten:
            self._forwarder.path_changed()

    def _forget(self, now: float) -> int:
        forgotten = list(self._paths.forget(now))
        for remote in forgotten:
            self._tables.delete_path_mtu(remote)
        return len(forgotten)

    # What came in pieces

    def _readable(self, channel: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                packet, ancillary, _flags, _peer = channel.recvmsg(_LONGEST, _ANCILLARY)
            except OSError:
                return
            found = {kind: data for level, kind, data in ancillary if level == socket.IPPROTO_IP}
            ifindex = _PKTINFO.unpack_from(found[_IP_PKTINFO])[0] if _IP_PKTINFO in found else 0
            program = self._forwarder.programs.get(ifindex)
            came_in_pieces, has_options = _IP_RECVFRAGSIZE in found, packet[:1] > b"\x45"
            if program is None or not (came_in_pieces or has_options):
                if channel.proto == socket.IPPROTO_UDP:  # else it may be another's, whom the programs let have it
                    self._count("tunnel_data_not_forwarded")
                continue
            if not self._wholes.allows("wholes", time.time()):
                self._count("reassembly_rate_limited")
                continue
            try:
                self._forward(program, ifindex, packet)
            except OSError as exc:
                log("warning", "reassembled_not_sent", error=exc)
                self._count("reassembled_not_sent")

    def _forward(self, program: str, ifindex: int, packet: bytes) -> None:
        link = self._known_links().get(ifindex)
        frame = whole_frame(packet, link.mac) if link is not None else None
        if frame is None:
            return
        tables = replace(
            self._forwarder.snapshot(self._kernel.interface_towards),
            links=self._known_links(),
            path_mtus=dict(self._paths.items()),
            policy=self._policy,
        )
        boundless = replace(tables, links={index: replace(link, mtu=_LONGEST) for index, link in tables.links.items()})
        pieces = [(frame, 0)]
        while pieces:
            piece, mark = pieces.pop(0)
            verdict = rules.decide(program, piece, tables, time.time(), ifindex=ifindex, mark=mark)
            if verdict.reason == "too_big":
                # The programs cannot cut what they take out of a tunnel; here it is cut as it is sent.
                verdict = rules.decide(program, piece, boundless, time.time(), ifindex=ifindex, mark=mark)
            if verdict.action is rules.Action.STACK:
                continue  # nothing of ours after all
            if verdict.action is rules.Action.DROP:
                self._count(f"reassembled_dropped_{verdict.reason}")
                continue
            pieces += [(piece, rules.COPY_MARK | index) for index in verdict.copies]
            if verdict.front:
                pieces += [(verdict.front, verdict.mark), (verdict.frame, verdict.mark)]
            elif self._send(verdict.frame[rules.ETHERNET :], Way(verdict.ifindex, verdict.next_hop)):
                self._count("reassembled")

    def _known_links(self) -> dict[int, rules.Link]:
        now = time.monotonic()
        read, links = self._links
        if now - read > _LINKS_LIFETIME:
            links = {link.index: rules.Link(link.mac, link.mtu) for link in self._kernel.links()}
            self._links = now, links
        return links

    def _mac_of(self, way: Way) -> bytes | None:
        now = time.monotonic()
        read, macs = self._macs
        if now - read > _LINKS_LIFETIME:
            macs = {(each.index, each.address): each.mac for each in self._kernel.neighbours() if each.mac}
            self._macs = now, macs
        return macs.get((way.ifindex, way.next_hop)) if way.next_hop is not None else None

    # Sending

    def _send(self, packet: bytes, way: Way) -> bool:
        """Send an IP packet; by its destination where the neighbour is just that. False, counted, if it cannot be."""
        total = int.from_bytes(packet[2:4])
        packet = packet[:total]
        try:
            if way.next_hop is None or way.next_hop.packed == packet[16:20]:
                self._send_by_route(packet)
            else:
                mac = self._mac_of(way)
                if mac is None:
                    self._count("slow_path_no_neighbour")
                    return False
                link = self._known_links().get(way.ifindex)
                for piece in _cut(packet, link.mtu if link is not None else _LONGEST):
                    _send_to_neighbour(piece, way.ifindex, mac)
        except OSError as exc:
            self._count("slow_path_not_sent")
            log("debug", "slow_path_not_sent", error=exc)
            return False
        return True

    def _send_by_route(self, packet: bytes) -> None:
        assert self._sender is not None, "nothing is heard before it is open"
        to = (socket.inet_ntoa(packet[16:20]), 0)
        try:
            self._sender.sendto(packet, to)
        except OSError as exc:
            if exc.errno != errno.EMSGSIZE:
                raise
            self._send_in_pieces(packet, to)

    def _send_in_pieces(self, packet: bytes, to: tuple[str, int]) -> None:
        """A raw socket does not cut by itself."""
        assert self._sender is not None
        ifindex = self._kernel.interface_towards(IPv4Address(packet[16:20]))
        link = self._known_links().get(ifindex) if ifindex is not None else None
        for piece in _cut(packet, link.mtu if link is not None else 0):
            self._sender.sendto(piece, to)


def _cut(packet: bytes, mtu: int) -> list[bytes]:
    """An IP packet in pieces that fit. Raises OSError where it must not be cut."""
    if len(packet) <= mtu:
        return [packet]
    pieces = IPv4Packet.parse(packet).fragments(mtu)
    if not pieces:
        raise OSError(errno.EMSGSIZE, f"{len(packet)} bytes, expected {mtu} at most, and it must not be cut")
    return [piece.serialize() for piece in pieces]


def _raw_socket(protocol: int) -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        if protocol == socket.IPPROTO_UDP:
            attach_filter(channel, _TUNNEL_DATA)
        channel.setblocking(False)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        channel.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        channel.setsockopt(socket.IPPROTO_IP, _IP_RECVFRAGSIZE, 1)
    except OSError:
        channel.close()
        raise
    return channel


def _send_to_neighbour(packet: bytes, ifindex: int, mac: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as channel:
        channel.sendto(packet, (socket.if_indextoname(ifindex), _ETHERTYPE_IPV4, 0, 0, mac))
