"""Frames for the property test: mostly sound ones that match a table entry, spoilt in one or another way."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeVar

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation, Gateway, ProxyForwarding, Tunnel, Visitor

ESP, UDP, TCP, ICMP, IPIP, GRE, MINIMAL, L2TP = 50, 17, 6, 1, 4, 47, 55, 115
STRANGERS = [
    IPv4Address(address)
    for address in (
        "198.51.100.200", "192.0.2.40", "192.0.2.41", "203.0.113.20", "203.0.113.10", "192.0.2.10", "192.0.2.90",
    )
]  # fmt: skip
_T = TypeVar("_T")
GROUPS = [IPv4Address("224.0.0.251"), IPv4Address("239.255.255.250"), IPv4Address("255.255.255.255")]
STRANGE_MAC = bytes.fromhex("02eeeeeeeeee")
# How often one field of a frame is not what the tables say. Some twelve fields: about half of all frames are right.
SPOILT = 0.05


@dataclass(frozen=True)
class Case:
    """One frame for one program."""

    program: str
    frame: bytes
    mark: int = 0
    gso_size: int = 0
    """Bytes of data in each of the segments that GRO merged into this frame; 0: it is one packet."""
    spoilt: str = ""
    """What was done to a sound frame: cut, pad, byte or length."""


def ip(
    source: IPv4Address,
    destination: IPv4Address,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet with the right lengths and checksum. `fragment`: flags and offset as in the header."""
    length = 20 + len(options)
    words = struct.pack(
        "!BBHHHBBH", 0x40 | length // 4, tos, length + len(payload), identification, fragment, ttl, protocol, 0
    )
    header = words + source.packed + destination.packed + options
    return header[:10] + rules.checksum(header).to_bytes(2) + header[12:] + payload


def udp(source_port: int, destination_port: int, payload: bytes, checksum: int = 0) -> bytes:
    """A UDP datagram; a tunnel's checksum is not looked at (a veth leaves it unfinished)."""
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), checksum) + payload


def echo(kind: int = 8, payload: bytes = b"keepalive") -> bytes:
    """An ICMP echo message."""
    body = struct.pack("!BBHI", kind, 0, 0, 0x12340001) + payload
    return body[:2] + rules.checksum(body + b"\0" * (len(body) % 2)).to_bytes(2) + body[4:]


def ethernet(destination: bytes, source: bytes, packet: bytes, kind: int = 0x0800) -> bytes:
    """A frame, without padding."""
    return destination + source + kind.to_bytes(2) + packet


def tunnelled(
    encapsulation: Encapsulation,
    source: IPv4Address,
    destination: IPv4Address,
    port: int,
    inner: bytes,
    checksum: int = 0,
    **outer: Any,
) -> bytes:
    """An inner packet in a tunnel, as its other end would send it; for GRE and minimal `inner` has their header."""
    if not encapsulation.in_udp:
        return ip(source, destination, encapsulation.next_header, inner, **outer)
    data = bytes([4, encapsulation.next_header, 0, 0]) + inner
    return ip(source, destination, UDP, udp(port, 434, data, checksum), **outer)


def gre(
    inner: bytes,
    key: int | None = None,
    *,
    flags: int = 0,
    kind: int = 0x0800,
    sequence: int | None = None,
    summed: bool = False,
    spoilt: int = 0,
) -> bytes:
    """A GRE header (RFC 2784, RFC 2890) and what it carries. `spoilt`: what the checksum is wrong by."""
    flags |= (0x8000 if summed else 0) | (0x2000 if key is not None else 0) | (0x1000 if sequence is not None else 0)
    words = b"".join(word.to_bytes(4) for word in (key, sequence) if word is not None)
    start = struct.pack("!HH", flags, kind)
    if not summed:
        return start + words + inner
    covered = start + bytes(4) + words + inner
    right = rules.checksum(covered + b"\0" * (len(covered) % 2))
    return start + (right ^ spoilt).to_bytes(2) + b"\0\0" + words + inner


def minimal(inner: bytes, outer_source: IPv4Address, *, reserved: int = 0, spoilt: int = 0) -> bytes:
    """A minimal forwarding header (RFC 2004 3.1) and what follows the inner packet's header, which is not sent."""
    source = b"" if inner[12:16] == outer_source.packed else inner[12:16]
    header = bytes([inner[9], (0x80 if source else 0) | reserved, 0, 0]) + inner[16:20] + source
    right = rules.checksum(header)
    return header[:2] + (right ^ spoilt).to_bytes(2) + header[4:] + inner[(inner[0] & 15) * 4 :]


class Generator:
    """Cases for one contents of the tables; the same seed gives the same ones."""

    def __init__(self, seed: int, tables: rules.Snapshot, programs: dict[str, int]) -> None:
        self._random = random.Random(seed)
        self._tables = tables
        self._links = {program: tables.links[index] for program, index in programs.items()}
        self._makers = {
            "proxy_pub": (
                self._probe_answer,
                self._from_node,
                self._from_node,
                self._keepalive,
                self._from_gateway,
                self._clear,
                self._clear,
                self._clear,
                self._too_long,
                self._other,
            ),
            "proxy_priv": (self._from_home_agent, self._from_home_agent, self._from_home_agent, self._other),
            "ha_core": (
                self._to_home_agent,
                self._to_home_agent,
                self._intercepted,
                self._intercepted,
                self._long_intercepted,
                self._other,
            ),
            "ha_home": (self._intercepted, self._intercepted, self._to_home_agent, self._other),
            "fa_uplink": (self._to_visitor, self._to_visitor, self._to_visitor, self._other),
            "fa_link": (self._from_visitor, self._from_visitor, self._from_visitor, self._other),
            "mn_ingress": (self._to_node, self._to_node, self._to_node, self._other),
            "mn_egress": (self._node_sends, self._node_sends, self._node_sends, self._other),
        }

    def cases(self, count: int) -> Iterator[Case]:
        """`count` cases, each program in turn."""
        programs = list(self._links)
        for number in range(count):
            program = programs[number % len(programs)]
            maker = self._random.choice(self._makers[program])
            source_mac, packet = maker(program)
            kind = self._maybe(0x0800, [0x88CC, 0x8100, 0x0806], 0.01)
            mac = self._maybe(self._links[program].mac, [STRANGE_MAC, b"\xff" * 6], 0.02)
            mark = self._maybe(0, [rules.COPY_MARK, rules.COPY_MARK | 1, rules.COPY_MARK | 2, 7], 0.06)
            sound = ethernet(mac, source_mac, packet, kind)
            frame, spoilt = self._spoil(sound)
            # Only what was received whole is merged, and a merged frame has no padding. What is merged and needs no
            # other headers a test run can carry to its end.
            merged = frame is sound and self._random.random() < (0.4 if maker == self._clear else 0.15)
            yield Case(program, frame, mark, 100 if merged else 0, spoilt)

    # Choosing

    def _maybe(self, right: _T, wrong: list[_T], chance: float = SPOILT) -> _T:
        return self._random.choice(wrong) if self._random.random() < chance else right

    def _address(self, right: IPv4Address) -> IPv4Address:
        return self._maybe(right, STRANGERS + self._homes())

    def _homes(self) -> list[IPv4Address]:
        return [home for _, home in self._tables.bindings]

    def _binding(self, *, home_agent: bool) -> tuple[IPv4Address, IPv4Address, rules.Bound]:
        agent = self._tables.home_agent
        keys = [key for key in self._tables.bindings if (agent is not None and key[0] == agent.address) == home_agent]
        gateway, home = self._random.choice(keys)
        return gateway, home, self._tables.bindings[gateway, home]

    def _mac_of(self, gateways: tuple[Gateway, ...], gateway: IPv4Address) -> bytes:
        macs = [mac for each in gateways if each.public_address == gateway for mac in sorted(each.macs)]
        others = [mac for each in gateways for mac in sorted(each.macs)]
        right = bytes.fromhex(self._random.choice(macs).replace(":", "")) if macs else STRANGE_MAC
        return self._maybe(right, [STRANGE_MAC] + [bytes.fromhex(mac.replace(":", "")) for mac in others])

    def _header(self, *, outer: bool = False) -> dict[str, Any]:
        """Fields of a header that are free: mostly unremarkable."""
        fields: dict[str, Any] = {
            "ttl": self._maybe(64, [0, 1, 2, 255], 0.12),
            "tos": self._random.choice([0, 0, 1, 2, 3, 0xB8, 0xFF]),
            "identification": self._random.getrandbits(16),
            "fragment": self._random.choice([0, 0x4000]),
        }
        if outer:
            fields["fragment"] = self._maybe(fields["fragment"], [0x2000, 0x00B9, 0x8000, 0x2001], 0.04)
        options = self._maybe(b"", [b"\x01\x01\x01\x00", b"\x94\x04\x00\x00" * 3], 0.03)
        return {**fields, "options": options}

    def _payload(self) -> bytes:
        length = self._maybe(
            self._random.randint(8, 80), [0, 1, 3, 7, 1300, 1371, 1380, 1391, 1440, 1452, 1460, 1472, 1480], 0.2
        )
        return self._random.randbytes(length)

    def _segment(self) -> bytes:
        """What is behind the IP header of TCP: now and then a SYN, with options that may be spoilt."""
        if self._random.random() < 0.8:
            return self._payload()
        mss = b"\x02\x04" + self._random.choice([535, 536, 1200, 1201, 1460, 8960, 65535]).to_bytes(2)
        others = [
            b"\x01",
            b"\x01\x01",
            b"\x04\x02",
            b"\x08\x0a" + bytes(8),
            b"\x03\x03\x07",
            b"\x1e\x00",
            b"\x00",
            b"\x02\x03\x05",
        ]
        options = b"".join(
            [*self._random.choices(others, k=self._random.randrange(3)), mss, self._random.choice(others)]
        )
        options += bytes(-len(options) % 4)
        words = (20 + len(options)) // 4 + self._maybe(0, [-1, 1, 5, -6], 0.1)
        flags = self._random.choice([2, 2, 2, 0x12, 0x10])
        header = self._random.randbytes(12) + bytes([words % 16 << 4, flags]) + self._random.randbytes(6)
        whole = header + options + self._random.randbytes(self._random.choice([0, 0, 4]))
        return self._maybe(whole, [whole[:21], whole[:24], whole[:12]], 0.05)

    def _ipsec(self, source: IPv4Address, destination: IPv4Address) -> bytes:
        """ESP or IKE, or something that is neither."""
        header = self._header()
        kind = self._maybe("esp", ["ike", "nat", "later", "first", "tcp", "icmp", "udp", "short", "l2tp"], 0.5)
        payload = self._payload()
        if kind in ("later", "first"):
            header["fragment"] = 0x2000 if kind == "first" else self._random.choice([0x00B9, 0x20B9])
        protocol = {"tcp": TCP, "icmp": ICMP, "esp": ESP, "l2tp": L2TP}.get(kind, UDP)
        if kind in ("later", "tcp"):
            protocol = self._random.choice([UDP, TCP])
        if kind in ("ike", "nat", "first"):
            ports = [500, 4500] if kind == "nat" else [500, 500]
            payload = udp(self._maybe(ports[0], [4500, 1024]), self._maybe(ports[1], [500, 1701]), payload)
        elif kind == "udp":
            ports = [53, 500, 1194, 4500, 51820, 51821]
            payload = udp(self._random.choice(ports), self._random.choice(ports), payload)
        elif kind == "tcp":
            payload = struct.pack("!HH", *self._random.choices([51820, 1194, 443], k=2)) + payload
        elif kind == "short":
            payload = payload[:6]
        return ip(source, destination, protocol, payload, **header)

    def _tunnel_packet(self, tunnel: Tunnel, destination: IPv4Address, inner: bytes) -> bytes:
        source = self._address(self._random.choice([tunnel.care_of, tunnel.source or tunnel.care_of]))
        encapsulation = self._maybe(tunnel.encapsulation, [*Encapsulation, Encapsulation.IPIP])
        if encapsulation.next_header == GRE:
            inner = self._gre(inner, tunnel.gre_key)
        elif encapsulation.next_header == MINIMAL:
            inner = self._minimal(inner, source)
        return tunnelled(
            encapsulation,
            source,
            self._address(destination),
            self._maybe(tunnel.port, [434, 40000, 40001]),
            inner,
            self._random.choice([0, 0xBEEF]),
            **self._header(outer=True),
        )

    def _gre(self, inner: bytes, key: int | None) -> bytes:
        return gre(
            inner,
            self._maybe(key, [None, 0, 434, 0x0A0B0C0D]),
            flags=self._maybe(self._random.choice([0, 0, 0x03F8]), [1, 7, 0x0400, 0x0800, 0x4000, 0x0080], 0.08),
            kind=self._maybe(0x0800, [0x86DD, 0x6558, 0], 0.02),
            sequence=self._random.choice([0, 77]) if self._random.random() < 0.1 else None,
            summed=self._random.random() < 0.15,
            spoilt=self._maybe(0, [1, 0x8000], 0.2),
        )

    def _minimal(self, inner: bytes, outer_source: IPv4Address) -> bytes:
        reserved = self._random.choice([0, 0, 0x7F, 1])
        packed = minimal(inner, outer_source, reserved=reserved, spoilt=self._maybe(0, [1, 0x0800]))
        return self._maybe(packed, [packed[:4], packed[:8], packed[:11]], 0.03)

    # One maker a kind of packet: the sender's MAC address and the IP packet

    def _proxy(self) -> ProxyForwarding:
        assert self._tables.proxy is not None
        return self._tables.proxy

    def _from_node(self, _program: str) -> tuple[bytes, bytes]:
        gateway, home, bound = self._binding(home_agent=False)
        inner = self._ipsec(self._address(home), self._address(gateway))
        return STRANGE_MAC, self._tunnel_packet(self._random.choice(bound.tunnels), self._proxy().public_address, inner)

    def _keepalive(self, _program: str) -> tuple[bytes, bytes]:
        _, home, bound = self._binding(home_agent=False)
        tunnels = [tunnel for tunnel in bound.tunnels if tunnel.encapsulation.in_udp] or list(bound.tunnels)
        here = self._proxy().public_address
        return STRANGE_MAC, self._tunnel_packet(self._random.choice(tunnels), here, self._echo(home, here))

    def _probe_answer(self, _program: str) -> tuple[bytes, bytes]:
        """The kernel of a node answers our echo request, by whatever tunnel it has."""
        _, home, bound = self._binding(home_agent=False)
        here = self._proxy().public_address
        return STRANGE_MAC, self._tunnel_packet(self._random.choice(bound.tunnels), here, self._echo(home, here, 0))

    def _echo(self, home: IPv4Address, to: IPv4Address, kind: int = 8) -> bytes:
        message = echo(self._maybe(kind, [0, 8, 13]), self._payload())
        header = self._header()
        header["fragment"] = self._maybe(header["fragment"], [0x2000, 1])
        return ip(self._address(home), to, self._maybe(ICMP, [UDP, ESP]), message, **header)

    def _from_gateway(self, _program: str) -> tuple[bytes, bytes]:
        gateway, home, _ = self._binding(home_agent=False)
        mac = self._mac_of(self._proxy().gateways, gateway)
        return mac, self._ipsec(self._address(gateway), self._address(home))

    def _clear(self, _program: str) -> tuple[bytes, bytes]:
        gateway, home, _ = self._binding(home_agent=False)
        mac = self._mac_of(self._proxy().gateways, gateway)
        destination = IPv4Address(self._random.choice(["192.0.2.80", "192.0.2.100", "192.0.2.50", str(home)]))
        source = self._maybe(home, [IPv4Address("192.0.2.50"), IPv4Address("192.0.2.91")], 0.2)
        if self._random.random() < 0.5:
            source = IPv4Address(self._random.choice(["192.0.2.130", "198.18.0.7", "192.0.2.160"]))
            destination = self._maybe(IPv4Address("192.0.2.80"), [destination], 0.5)
        return mac, ip(source, destination, TCP, self._segment(), **self._header())

    def _too_long(self, _program: str) -> tuple[bytes, bytes]:
        """Of the gateway, ESP for a node or a node's clear packet: what hardly fits, or not."""
        gateway, home, _ = self._binding(home_agent=False)
        mac = self._mac_of(self._proxy().gateways, gateway)
        if self._random.random() < 0.5:
            return mac, self._long(gateway, home, ESP)
        return mac, self._long(home, IPv4Address("192.0.2.80"), TCP)

    def _long_intercepted(self, _program: str) -> tuple[bytes, bytes]:
        _, home, _ = self._binding(home_agent=True)
        return STRANGE_MAC, self._long(IPv4Address("192.0.2.50"), home, TCP)

    def _long(self, source: IPv4Address, destination: IPv4Address, protocol: int) -> bytes:
        """Whole or a fragment, with and without DF; now and then an ICMP message, or of somebody not to be told."""
        payload = self._random.randbytes(self._random.choice([1200, 1229, 1240, 1380, 1400, 1441, 1460, 1480]))
        header = {**self._header(), "ttl": 64}
        header["fragment"] = self._random.choice([0, 0x2000, 0x00B9, 0x20B9, 0x4000, 0x4000, 0x4000, 0x40B9])
        if protocol == TCP and self._random.random() < 0.5:
            protocol = ICMP
            payload = bytes([self._random.choice([0, 3, 4, 5, 8, 11, 12])]) + payload[1:]
        if protocol == TCP and self._random.random() < 0.3:
            protocol = self._random.choice([TCP, UDP])
            payload = self._unfinished(source, destination, protocol, payload)
            header["fragment"] = self._random.choice([0, 0, 0x4000])  # of a fragment nothing is left to the device
        nobody = [IPv4Address("0.0.0.7"), IPv4Address("127.0.0.7"), IPv4Address("224.0.0.7")]
        return ip(self._maybe(source, nobody, 0.1), destination, protocol, payload, **header)

    def _unfinished(self, source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
        """With a checksum that was left to the device."""
        pseudo = source.packed + destination.packed + protocol.to_bytes(2) + len(payload).to_bytes(2)
        at = 6 if protocol == UDP else 16
        return payload[:at] + (rules.checksum(pseudo) ^ 0xFFFF).to_bytes(2) + payload[at + 2 :]

    def _from_home_agent(self, _program: str) -> tuple[bytes, bytes]:
        _, home, bound = self._binding(home_agent=False)
        inner = ip(IPv4Address("192.0.2.50"), self._address(home), TCP, self._segment(), **self._header())
        key = self._proxy().home_agent_gre_key
        end = self._end(bound.home_agent, bound.home_agent_encapsulation, 0, key)
        return STRANGE_MAC, self._tunnel_packet(end, self._proxy().private_address, inner)

    def _to_home_agent(self, _program: str) -> tuple[bytes, bytes]:
        here, home, bound = self._binding(home_agent=True)
        destination = IPv4Address(
            self._random.choice(["192.0.2.80", "192.0.2.50", str(self._random.choice(self._homes()))])
        )
        inner = ip(self._address(home), destination, TCP, self._segment(), **self._header())
        if self._random.random() < 0.3:
            inner = self._echo(home, here)
        return STRANGE_MAC, self._tunnel_packet(self._random.choice(bound.tunnels), here, inner)

    def _intercepted(self, _program: str) -> tuple[bytes, bytes]:
        here, home, bound = self._binding(home_agent=True)
        source = self._maybe(IPv4Address("192.0.2.50"), [here, *(tunnel.care_of for tunnel in bound.tunnels)], 0.1)
        return STRANGE_MAC, ip(source, self._address(home), TCP, self._segment(), **self._header(outer=True))

    def _to_visitor(self, _program: str) -> tuple[bytes, bytes]:
        assert self._tables.foreign_agent is not None
        visitor = self._random.choice(list(self._tables.visitors.values()))
        inner = self._ipsec(IPv4Address("203.0.113.20"), self._address(visitor.home_address))
        end = self._end(visitor.home_agent, visitor.encapsulation, visitor.port, visitor.gre_key)
        return STRANGE_MAC, self._tunnel_packet(end, self._tables.foreign_agent.care_of, inner)

    def _from_visitor(self, _program: str) -> tuple[bytes, bytes]:
        assert self._tables.foreign_agent is not None
        visitor = self._random.choice(list(self._tables.visitors.values()))
        to = self._maybe(
            IPv4Address("203.0.113.20"),
            [self._tables.foreign_agent.link_address, self._tables.foreign_agent.care_of],
            0.1,
        )
        if self._random.random() < 0.1:
            return STRANGE_MAC, ip(visitor.home_address, to, UDP, udp(434, 434, self._registration()))
        if self._random.random() < (0.6 if visitor.encapsulating_delivery else 0.1):
            return STRANGE_MAC, self._wrapped_for_agent(visitor)
        return STRANGE_MAC, self._ipsec(self._address(visitor.home_address), self._maybe(to, GROUPS, 0.1))

    def _end(self, peer: IPv4Address, encapsulation: Encapsulation, port: int, gre_key: int | None) -> Tunnel:
        """The tunnel of a home agent, which may send by IP-in-IP whatever was negotiated."""
        if not encapsulation.in_udp:
            encapsulation = self._maybe(encapsulation, [Encapsulation.IPIP], 0.2)
        return Tunnel(peer, 0, encapsulation, port, gre_key=gre_key)

    def _wrapped_for_agent(self, visitor: Visitor) -> bytes:
        """Encapsulating delivery (RFC 3024 5.2): a unicast or multicast packet in the node's own tunnel."""
        agent = self._tables.foreign_agent
        assert agent is not None
        destinations = [IPv4Address("203.0.113.20"), IPv4Address("224.0.0.251"), IPv4Address("255.255.255.255")]
        destination = self._maybe(self._random.choice(destinations), [agent.care_of, agent.link_address], 0.1)
        home = visitor.home_address
        inner = self._ipsec(self._address(home), destination)
        style = Encapsulation.of(visitor.encapsulation.next_header, in_udp=False)
        end = Tunnel(home, 0, self._random.choice([style, Encapsulation.IPIP]), gre_key=visitor.gre_key)
        return self._tunnel_packet(end, agent.link_address, inner)

    def _to_node(self, _program: str) -> tuple[bytes, bytes]:
        path = self._tables.mobile_node
        assert path is not None
        end = self._end(path.peer, path.encapsulation, path.peer_port, path.gre_key)
        gateway = path.gateways[0] if path.gateways else path.peer
        source = self._address(self._maybe(gateway, [path.peer], 0.2))
        inner = self._ipsec(source, self._address(path.home_address))
        if self._random.random() < 0.2:
            return STRANGE_MAC, self._maybe(
                inner, [ip(path.peer, path.home_address, UDP, udp(434, 434, self._registration()))], 0.5
            )
        return STRANGE_MAC, self._tunnel_packet(end, path.care_of, inner)

    def _node_sends(self, _program: str) -> tuple[bytes, bytes]:
        path = self._tables.mobile_node
        assert path is not None
        gateway = path.gateways[0] if path.gateways else IPv4Address("192.0.2.50")
        kind = self._random.random()
        if kind < 0.1:
            return STRANGE_MAC, ip(path.home_address, gateway, UDP, udp(434, 434, self._registration()))
        if kind < 0.3:
            return STRANGE_MAC, self._echo(path.home_address, path.peer, self._random.choice([0, 8]))
        to = self._maybe(self._address(gateway), GROUPS, 0.1)
        return STRANGE_MAC, self._ipsec(self._address(path.home_address), to)

    def _registration(self) -> bytes:
        return self._random.choice([b"\x01", b"\x03", b"\x04", b"\x12"]) + self._random.randbytes(
            self._random.randint(0, 60)
        )

    def _other(self, program: str) -> tuple[bytes, bytes]:
        """Registrations, other protocols and unsupported encapsulations to addresses of ours."""
        tables = self._tables
        ours = [IPv4Address("203.0.113.10"), IPv4Address("192.0.2.10"), IPv4Address("192.0.2.40")]
        if tables.foreign_agent is not None and program.startswith("fa"):
            ours = [tables.foreign_agent.care_of]
        if tables.mobile_node is not None and program.startswith("mn"):
            ours = [tables.mobile_node.care_of, tables.mobile_node.home_address]
        payload = self._random.choice([udp(434, 434, self._registration()), self._payload(), udp(434, 434, b"")])
        protocol = self._random.choice([UDP, UDP, TCP, ICMP, GRE, MINIMAL, ESP, IPIP])
        source = self._address(IPv4Address("198.51.100.10"))
        return STRANGE_MAC, ip(source, self._random.choice(ours), protocol, payload, **self._header(outer=True))

    # Spoiling

    def _spoil(self, frame: bytes) -> tuple[bytes, str]:
        """One frame in seven: cut, padded, or with bytes changed; its outer checksum is made right again or not."""
        if self._random.random() > 0.15:
            return self._maybe(frame, [frame + b"\0" * 20], 0.1), ""
        kind = self._random.choice(["cut", "pad", "byte", "byte", "length"])
        if kind == "cut":
            # Recent kernels refuse to run a program on an IPv4 frame shorter than its first header.
            frame = frame[: self._random.randint(34, len(frame))]
        elif kind == "pad":
            frame += self._random.randbytes(self._random.randint(1, 40))
        elif kind == "byte":
            changed = bytearray(frame)
            for _ in range(self._random.randint(1, 3)):
                changed[self._random.randrange(14, min(len(frame), 90))] = self._random.getrandbits(8)
            frame = bytes(changed)
        else:  # one of the places where a length stands
            at = self._random.choice([16, 38, 36, 48])
            frame = frame[:at] + self._random.randint(0, 120).to_bytes(2) + frame[at + 2 :]
        if len(frame) >= 34 and self._random.random() < 0.7:
            header = frame[14:24] + b"\0\0" + frame[26:34]
            frame = frame[:24] + rules.checksum(header).to_bytes(2) + frame[26:]
        return frame, kind
