"""What becomes of a packet: the model that the programs in `bpf/` are held to, byte by byte.

`decide` takes an Ethernet frame as an interface saw it and the contents of the tables, and says what happens. It is
written from the rules, one function a row of the table, not from the C: a property test feeds both the same frames.

How it reads: a rule that fails raises `_Drop` with the name of its reason (bpf/reasons.h); `_Stack` leaves the frame
to the host's own stack. Whatever comes to an end is a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

from mobileip.forwarding.entries import (
    MIP_PORT,
    Encapsulation,
    ForeignAgentForwarding,
    Gateway,
    HomeAgentForwarding,
    NodeMode,
    NodePath,
    Passes,
    PathMtu,
    ProxyForwarding,
    Tunnel,
    TunnelPolicy,
    Visitor,
)

ETHERNET = 14
IP_HEADER = 20
UDP_HEADER = 8
MIP_HEADER = 4
GRE_HEADER, GRE_WORD = 4, 4
MINIMAL_SHORT, MINIMAL_LONG = 8, 12
TUNNEL_TTL = 64
COPY_MARK = 0x4D495000

_ICMP, _IPIP, _TCP, _UDP, _GRE, _MINIMAL = 1, 4, 6, 17, 47, 55
_TUNNEL_DATA, _REQUEST, _REPLY = 4, 1, 3
_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION = 9, 10  # ICMP types
_DF, _MF, _OFFSET = 0x4000, 0x2000, 0x1FFF
_SYN = 2
_MOST_TCP_OPTIONS = 4  # that are looked at: stacks put the MSS first
_ICMP_ERRORS = (3, 4, 5, 11, 12)
_ERROR_TOS = 0xC0
_LEAST_MTU = 68
_QUOTED, _QUOTED_LITTLE, _QUOTED_AT_LEAST = 528, 40, 60
_LONGEST_PIECE = 4 * 4088
_UDP_CHECKSUM, _TCP_CHECKSUM = 6, 16  # where they stand
_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE = 0x8000, 0x2000, 0x1000
_GRE_REFUSED = 0x4C00 | 0x0007  # RFC 2784 2.3: bits 1 to 5 without those of RFC 2890, and the version
_ETHERTYPE_IPV4 = 0x0800
_MINIMAL_SOURCE = 0x80
# The closest miss is reported where several bindings or care-of addresses were tried: later in this row is closer.
_MISSES = (
    "no_binding",
    "binding_expired",
    "care_of_mismatch",
    "encapsulation_mismatch",
    "port_mismatch",
    "half_bound",
    "gre_key",
    "home_agent_mismatch",
)

# Found when all is decided, and the copies for other care-of addresses are on their way.
_AFTER_COPIES = ("no_route", "too_big", "unfit_for_minimal")


def overhead(encapsulation: Encapsulation, *, gre_key: bool = False) -> int:
    """Bytes by which a tunnel makes a packet longer; of minimal encapsulation with the source, as from a node."""
    outside = UDP_HEADER + MIP_HEADER if encapsulation.in_udp else 0
    if encapsulation.next_header == _MINIMAL:
        return outside + MINIMAL_LONG
    inside = (GRE_HEADER + GRE_WORD * gre_key) if encapsulation.next_header == _GRE else 0
    return outside + IP_HEADER + inside


class Action(Enum):
    """What the program returns; the value is tc's number."""

    STACK = 0xFFFFFFFF
    """Not ours, unchanged (TC_ACT_UNSPEC)."""
    CHANGED = 0
    """Decapsulated, to the host's own stack (TC_ACT_OK)."""
    DROP = 2
    REDIRECT = 7


@dataclass(frozen=True)
class Verdict:
    """What happens to one frame."""

    action: Action
    reason: str | None = None
    """Of a drop."""
    outcome: str | None = None
    frame: bytes = b""
    """Afterwards; MAC addresses are those it came with, the kernel's neighbour table fills in others."""
    ifindex: int = 0
    next_hop: IPv4Address | None = None
    """Neighbour on `ifindex`; None: by the kernel's route to the destination."""
    copies: tuple[int, ...] = ()
    """Tunnels of the binding that get a copy, by index; each is decided anew with its mark."""
    front: bytes = b""
    """Of what was cut: the frame that comes in anew before `frame`; what its header does not cover is padding."""
    mark: int = 0
    """Of both of them."""
    learnt: tuple[tuple[IPv4Address, IPv4Address], int, Tunnel] | None = None
    """Binding and index of a half-bound tunnel that this keepalive completed, and the tunnel now."""
    stray: tuple[tuple[IPv4Address, IPv4Address], IPv4Address, int] | None = None
    """Binding whose node's packet came from another address or UDP port, and those."""


@dataclass(frozen=True)
class Link:
    """An interface of the host."""

    mac: bytes
    mtu: int = 1500


@dataclass(frozen=True)
class Bound:
    """A binding as both proxy and home agent keep it."""

    home_agent: IPv4Address
    tunnels: tuple[Tunnel, ...]
    home_agent_encapsulation: Encapsulation = Encapsulation.IPIP

    def is_live(self, now: float) -> bool:
        """Whether any care-of address is within its lifetime."""
        return any(tunnel.expires > now for tunnel in self.tunnels)


Key = tuple[IPv4Address, IPv4Address]


@dataclass(frozen=True)
class Snapshot:
    """Contents of the tables, and what the kernel knows that a rule depends on."""

    links: Mapping[int, Link]
    route: Callable[[IPv4Address], int | None] = lambda _destination: None
    """Interface towards an address, None without a route."""
    proxy: ProxyForwarding | None = None
    home_agent: HomeAgentForwarding | None = None
    foreign_agent: ForeignAgentForwarding | None = None
    mobile_node: NodePath | None = None
    bindings: Mapping[Key, Bound] = field(default_factory=dict)
    """By (gateway, home address) on a proxy, by (own address, home address) on a home agent."""
    visitors: Mapping[IPv4Address, Visitor] = field(default_factory=dict)
    path_mtus: Mapping[IPv4Address, PathMtu] = field(default_factory=dict)
    """By the tunnel's end."""
    policy: TunnelPolicy = field(default_factory=TunnelPolicy)


class _Stack(Exception):  # noqa: N818 (not an error)
    """Not ours."""


class _Drop(Exception):  # noqa: N818 (not an error)
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stray: tuple[Key, IPv4Address, int] | None = None


class _TooLong(Exception):  # noqa: N818 (not an error)
    """Does not fit; `most` bytes would."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


@dataclass(frozen=True)
class _Header:
    """An IPv4 header, from bytes of at least 20."""

    raw: bytes

    def _word(self, at: int) -> int:
        return int.from_bytes(self.raw[at : at + 2])

    version = property(lambda self: self.raw[0] >> 4)
    length = property(lambda self: (self.raw[0] & 15) * 4)
    tos = property(lambda self: self.raw[1])
    total = property(lambda self: self._word(2))
    identification = property(lambda self: self._word(4))
    dont_fragment = property(lambda self: bool(self._word(6) & _DF))
    is_fragment = property(lambda self: bool(self._word(6) & (_MF | _OFFSET)))
    offset = property(lambda self: self._word(6) & _OFFSET)
    ttl = property(lambda self: self.raw[8])
    protocol = property(lambda self: self.raw[9])

    @property
    def source(self) -> IPv4Address:
        return IPv4Address(self.raw[12:16])

    @property
    def destination(self) -> IPv4Address:
        return IPv4Address(self.raw[16:20])

    def is_sound(self, room: int) -> bool:
        return bool(self.version == 4 and self.length >= IP_HEADER and self.length <= self.total <= room)


@dataclass
class _Packet:
    """A frame on its way: what it was, what it is to be, and where it goes."""

    frame: bytes
    program: str
    tables: Snapshot
    now: float
    ifindex: int
    mark: int
    outer: _Header
    inner: _Header | None = None
    tunnel: Encapsulation | None = None
    inner_at: int = 0
    """Where the inner packet begins, or, with minimal encapsulation, would begin."""
    port: int = 0
    """UDP source port of the tunnel."""
    gre_key: int | None = None
    head: bytes = b""
    """First four bytes behind the innermost header, where there are any to rely on."""
    outcome: str = ""
    redirect: bool = False
    out: int = 0
    next_hop: IPv4Address | None = None
    copies: tuple[int, ...] = ()
    chosen: int | None = None
    """Index of the binding's tunnel that it goes to itself."""
    learnt: tuple[Key, int, Tunnel] | None = None
    before_hop: bytes = b""
    """The frame as it was before its TTL went down: what an ICMP error quotes."""
    refusal: _Refusal | None = None
    cuttable: bool = False
    """Its fragments can come in anew in its place."""
    front: bytes = b""
    """Of what was cut, the first piece's frame."""
    carrier: Encapsulation | None = None
    """How the tunnel that it enters carries it, and by how much that makes it longer."""
    growth: int = 0
    segment: int = 0
    """Payload bytes of each segment that GRO merged; 0: one packet."""


@dataclass(frozen=True)
class _Refusal:
    """In whose name the source of what does not fit is told, and whether through the tunnel that it came by."""

    by: IPv4Address
    through_tunnel: bool = False


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def decide(
    program: str, frame: bytes, tables: Snapshot, now: float, *, ifindex: int, mark: int = 0, segment: int = 0
) -> Verdict:
    """What becomes of `frame`, seen by `program` on the interface `ifindex` at Unix time `now`.

    `segment`: payload bytes of each of the segments that GRO merged into it; 0: it is one packet.
    """
    rules = {
        "proxy_pub": _proxy_public,
        "proxy_priv": _proxy_private,
        "ha_core": _home_agent,
        "ha_home": _home_agent,
        "fa_uplink": _foreign_agent_uplink,
        "fa_link": _foreign_agent_link,
        "mn_ingress": _node_ingress,
        "mn_egress": _node_egress,
    }
    is_copy = mark & 0xFFFFFF00 == COPY_MARK
    packet: _Packet | None = None
    try:
        packet = _receive(program, frame, tables, now, ifindex, mark)
        packet.segment = segment
        try:
            rules[program](packet)
            if packet.tunnel is not None and packet.outcome != "keepalive_answered":
                _clamp_mss(packet)
        except _TooLong as too_long:
            _does_not_fit(packet, too_long.most)
    except _Stack:
        if is_copy:
            return Verdict(Action.DROP, "helper_failed")
        return Verdict(Action.STACK, frame=frame)
    except _Drop as drop:
        if packet is None:
            return Verdict(Action.DROP, drop.reason)
        copies = packet.copies if drop.reason in _AFTER_COPIES else ()
        return Verdict(Action.DROP, drop.reason, copies=copies, learnt=packet.learnt, stray=drop.stray)
    action = Action.REDIRECT if packet.redirect else Action.CHANGED
    return Verdict(
        action,
        outcome=packet.outcome,
        frame=packet.frame,
        ifindex=packet.out,
        next_hop=packet.next_hop,
        copies=packet.copies,
        front=packet.front,
        mark=packet.mark if packet.front else 0,
        learnt=packet.learnt,
    )


# Reading


def _receive(program: str, frame: bytes, tables: Snapshot, now: float, ifindex: int, mark: int) -> _Packet:
    if len(frame) < ETHERNET + IP_HEADER or frame[12:14] != b"\x08\x00":
        raise _Stack
    outer = _Header(frame[ETHERNET : ETHERNET + IP_HEADER])
    if not outer.is_sound(len(frame) - ETHERNET):
        raise _Stack
    if program != "mn_egress" and frame[:6] != tables.links[ifindex].mac:
        raise _Stack
    packet = _Packet(frame, program, tables, now, ifindex, mark, outer)
    packet.head = _head(frame, ETHERNET, outer)
    return packet


def _head(frame: bytes, at: int, header: _Header) -> bytes:
    if header.length != IP_HEADER or header.offset or header.total < IP_HEADER + 8:
        return b""
    return frame[at + IP_HEADER : at + IP_HEADER + 4]


def _is_tunnel(packet: _Packet) -> bool:
    outer = packet.outer
    if outer.protocol != _UDP:
        return outer.protocol in (_IPIP, _GRE, _MINIMAL)
    if outer.offset or outer.total < outer.length + UDP_HEADER + 1:
        return False
    at = ETHERNET + outer.length
    return int.from_bytes(packet.frame[at + 2 : at + 4]) == MIP_PORT and packet.frame[at + 8] == _TUNNEL_DATA


def _is_registration(packet: _Packet) -> bool:
    if packet.outer.protocol != _UDP or not packet.head or packet.outer.total < IP_HEADER + UDP_HEADER + 1:
        return False
    ports = int.from_bytes(packet.head[:2]), int.from_bytes(packet.head[2:])
    return MIP_PORT in ports and packet.frame[ETHERNET + IP_HEADER + UDP_HEADER] in (_REQUEST, _REPLY)


def _is_discovery(packet: _Packet) -> bool:
    """Agent discovery (RFC 5944 2): TTL 1, so it never leaves its link."""
    outer = packet.outer
    return (
        outer.protocol == _ICMP
        and not outer.is_fragment
        and bool(packet.head)
        and outer.ttl == 1
        and packet.head[0] in (_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION)
    )


def _enter_tunnel_packet(packet: _Packet) -> _Header:
    """Check the outer headers of what is addressed to us, and read the inner one."""
    outer, at = packet.outer, ETHERNET + IP_HEADER
    if packet.tables.policy.reassembly and (outer.length != IP_HEADER or outer.is_fragment):
        raise _Stack  # for the daemon, once it is whole
    if outer.length != IP_HEADER:
        raise _Drop("outer_options")
    if outer.is_fragment:
        raise _Drop("outer_fragment")
    if checksum(outer.raw):
        raise _Drop("outer_checksum")
    room, next_header = outer.total - IP_HEADER, outer.protocol
    if outer.protocol == _UDP:
        length = int.from_bytes(packet.frame[at + 4 : at + 6])
        if not UDP_HEADER + MIP_HEADER <= length <= room:
            raise _Drop("truncated")
        packet.port, next_header = int.from_bytes(packet.frame[at : at + 2]), packet.frame[at + 9]
        room, at = length - UDP_HEADER - MIP_HEADER, at + UDP_HEADER + MIP_HEADER
    if next_header not in (_IPIP, _GRE, _MINIMAL):
        raise _Drop("unsupported_encapsulation")
    packet.tunnel = Encapsulation.of(next_header, in_udp=outer.protocol == _UDP)
    if next_header == _MINIMAL:
        header = _read_minimal(packet, at, room)
        inner, at = _Header(_original(outer, header, room)), at + len(header) - IP_HEADER
    else:
        if next_header == _GRE:
            length = _read_gre(packet, at, room)
            room, at = room - length, at + length
        inner = _read_inner(packet, at, room)
    if inner.ttl == 0:
        raise _Drop("ttl_expired")
    packet.inner, packet.inner_at, packet.head = inner, at, _head(packet.frame, at, inner)
    return inner


def _read_inner(packet: _Packet, at: int, room: int) -> _Header:
    if room < IP_HEADER:
        raise _Drop("truncated")
    inner = _Header(packet.frame[at : at + IP_HEADER])
    if not inner.is_sound(room):
        raise _Drop("inner_malformed")
    return inner


def _read_gre(packet: _Packet, at: int, room: int) -> int:
    """Length of the header (RFC 2784 2.1, RFC 2890 2). A sequence number is passed over (RFC 2890 2.2)."""
    if room < GRE_HEADER + 3 * GRE_WORD:  # the longest; behind a shorter one an IP header follows
        raise _Drop("truncated")
    flags = int.from_bytes(packet.frame[at : at + 2])
    if flags & _GRE_REFUSED or int.from_bytes(packet.frame[at + 2 : at + 4]) != _ETHERTYPE_IPV4:
        raise _Drop("gre_header")
    length = GRE_HEADER
    if flags & _GRE_CHECKSUM:
        covered = packet.frame[at : at + room]
        # GRO looked at the checksum of each segment, and left the one of the first.
        if not packet.segment and checksum(covered + b"\0" * (room % 2)):
            raise _Drop("gre_checksum")
        length += GRE_WORD
    if flags & _GRE_KEY:
        packet.gre_key = int.from_bytes(packet.frame[at + length : at + length + GRE_WORD])
        length += GRE_WORD
    return length + GRE_WORD * bool(flags & _GRE_SEQUENCE)


def _read_minimal(packet: _Packet, at: int, room: int) -> bytes:
    """The minimal forwarding header (RFC 2004 3.1), with or without the original source."""
    if room < MINIMAL_SHORT:
        raise _Drop("truncated")
    length = MINIMAL_LONG if packet.frame[at + 1] & _MINIMAL_SOURCE else MINIMAL_SHORT
    if room < length:
        raise _Drop("truncated")
    header = packet.frame[at : at + length]
    if checksum(header):
        raise _Drop("minimal_checksum")
    return header


def _original(outer: _Header, minimal: bytes, room: int) -> bytes:
    """The IP header as it was before minimal encapsulation (RFC 2004 3.2), from the outer one; `room` holds both."""
    raw, source = outer.raw, minimal[MINIMAL_SHORT:] or outer.source.packed
    total = IP_HEADER + room - len(minimal)
    start = raw[:2] + total.to_bytes(2) + raw[4:9] + minimal[:1] + b"\0\0"
    return _with_checksum(start + source + minimal[4:8])


# Rules that several parties share


def _check_tunnel(packet: _Packet, tunnel: Tunnel, *, learns: bool, accepts_ipip: bool = False) -> str | None:
    """Why this tunnel is not the one that the packet came through; None if it is (RFC 3024 4.3.2, RFC 3519 4.3).

    `accepts_ipip`: whatever was negotiated, as every end of a home agent's tunnel should (RFC 5944 4.1).
    """
    source = tunnel.source or tunnel.care_of
    if tunnel.expires <= packet.now:
        return "binding_expired"
    if packet.outer.source not in (tunnel.care_of, source):
        return "care_of_mismatch"
    if not _is_as_negotiated(packet, tunnel.encapsulation, accepts_ipip=accepts_ipip):
        return "encapsulation_mismatch"
    if tunnel.encapsulation.in_udp and not (tunnel.port and packet.port == tunnel.port):
        if not tunnel.half_bound:
            return "port_mismatch"
        if not learns or packet.outer.source != source:
            return "half_bound"
    return None if _has_key(packet, tunnel.gre_key) else "gre_key"


def _is_as_negotiated(packet: _Packet, encapsulation: Encapsulation, *, accepts_ipip: bool) -> bool:
    if packet.tunnel is encapsulation:
        return True
    # What minimal encapsulation cannot carry comes by IP-in-IP (RFC 2004 3).
    accepts_ipip = accepts_ipip or encapsulation is Encapsulation.MINIMAL
    return packet.tunnel is Encapsulation.IPIP and accepts_ipip and not encapsulation.in_udp


def _has_key(packet: _Packet, gre_key: int | None) -> bool:
    assert packet.tunnel is not None
    return packet.tunnel.next_header != _GRE or packet.gre_key == gre_key


def _closest(misses: list[str]) -> _Drop:
    return _Drop(max(misses, key=_MISSES.index, default="no_binding"))


def _match(packet: _Packet, keys: list[Key], *, learns: bool) -> tuple[Key, int, Tunnel]:
    """The tunnel that the packet came through, among these bindings."""
    misses: list[tuple[str, Key]] = []
    for key in keys:
        bound = packet.tables.bindings.get(key)
        for index, tunnel in enumerate(bound.tunnels if bound else ()):
            miss = _check_tunnel(packet, tunnel, learns=learns)
            if miss is None:
                return key, index, tunnel
            misses.append((miss, key))
    drop = _closest([miss for miss, _ in misses])
    if drop.reason in ("care_of_mismatch", "port_mismatch"):
        claimed = next(key for miss, key in misses if miss == drop.reason)
        drop.stray = claimed, packet.outer.source, packet.port
    raise drop


def _is_echo_reply(packet: _Packet, header: _Header) -> bool:
    return header.protocol == _ICMP and not header.is_fragment and packet.head[:2] == b"\0\0"


def _answer_keepalive(packet: _Packet, found: tuple[Key, int, Tunnel], ifindex: int) -> None:
    """RFC 3519 4.9, through the tunnel that it came by; the first one tells the port of a half-bound tunnel."""
    key, index, tunnel = found
    inner = packet.inner
    assert inner is not None
    if inner.length != IP_HEADER:
        raise _Drop("inner_options")
    if inner.protocol != _ICMP or inner.is_fragment or packet.head[:2] != b"\x08\x00":
        raise _Drop("inner_protocol")
    if checksum(inner.raw):
        raise _Drop("inner_malformed")
    _decapsulate(packet)
    learnt = None
    if tunnel.half_bound:
        source = tunnel.source or tunnel.care_of
        learnt = key, index, replace(tunnel, care_of=source, port=packet.port, half_bound=False, source=None)
    packet.learnt = learnt
    _turn_echo(packet)
    _leave(packet, "keepalive_answered", ifindex)
    _push_headers(packet, packet.outer.destination, _back(packet))


def _back(packet: _Packet) -> Tunnel:
    """The tunnel that the packet came by, from its other end."""
    assert packet.tunnel is not None
    return Tunnel(packet.outer.source, packet.now, packet.tunnel, packet.port, gre_key=packet.gre_key)


def _turn_echo(packet: _Packet) -> None:
    """The reply to a request that has left its tunnel."""
    frame, at = packet.frame, ETHERNET + IP_HEADER
    icmp = b"\0" + frame[at + 1 : at + 2] + _adjusted(frame[at + 2 : at + 4], frame[at : at + 2], b"\0\0")
    packet.frame = frame[:ETHERNET] + _turned(_Header(frame[ETHERNET:at])) + icmp + frame[at + 4 :]


def _turned(header: _Header) -> bytes:
    raw = header.raw
    return _with_checksum(raw[:8] + bytes([TUNNEL_TTL]) + raw[9:10] + b"\0\0" + raw[16:20] + raw[12:16])


def _with_checksum(raw: bytes) -> bytes:
    return raw[:10] + checksum(raw).to_bytes(2) + raw[12:]


def _adjusted(old_checksum: bytes, old: bytes, new: bytes) -> bytes:
    """RFC 1624: a wrong checksum stays wrong for the receiver to find."""
    total = sum(
        (int.from_bytes(old_checksum) ^ 0xFFFF, int.from_bytes(old) ^ 0xFFFF, int.from_bytes(new)),
    )
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2)


def _replace_word(packet: _Packet, at: int, new: bytes) -> None:
    """Two bytes of the header behind Ethernet, checksum included."""
    start = ETHERNET + at
    old, sum_at = packet.frame[start : start + 2], ETHERNET + 10
    amended = bytearray(packet.frame)
    amended[start : start + 2] = new
    if old != new:
        amended[sum_at : sum_at + 2] = _adjusted(packet.frame[sum_at : sum_at + 2], old, new)
    packet.frame = bytes(amended)


def _merged_ecn(outer: int, inner: int) -> int:
    """RFC 6040 figure 4: rows inner, columns outer."""
    table: dict[int, dict[int, int | None]] = {
        0b00: {0b00: 0b00, 0b01: 0b00, 0b10: 0b00, 0b11: None},
        0b10: {0b00: 0b10, 0b01: 0b01, 0b10: 0b10, 0b11: 0b11},
        0b01: {0b00: 0b01, 0b01: 0b01, 0b10: 0b01, 0b11: 0b11},
        0b11: {0b00: 0b11, 0b01: 0b11, 0b10: 0b11, 0b11: 0b11},
    }
    merged = table[inner & 3][outer & 3]
    if merged is None:
        raise _Drop("ecn")
    return inner & 0xFC | merged


def _decapsulate(packet: _Packet) -> None:
    """Outer headers and padding off; ECN merged."""
    inner, tunnel, start = packet.inner, packet.tunnel, packet.inner_at
    assert inner is not None
    assert tunnel is not None
    tos = _merged_ecn(packet.outer.tos, inner.tos)
    if tunnel.next_header == _MINIMAL:  # the header that the packet had is not among its bytes
        payload = packet.frame[start + IP_HEADER : start + inner.total]
        packet.frame = packet.frame[:ETHERNET] + inner.raw + payload
        return
    packet.frame = packet.frame[:ETHERNET] + packet.frame[start : start + inner.total]
    _replace_word(packet, 0, bytes([packet.frame[ETHERNET], tos]))


def _check_ttl(header: _Header) -> None:
    if header.ttl <= 1:
        raise _Drop("ttl_expired")


def _decrement_ttl(packet: _Packet) -> None:
    packet.before_hop = packet.frame
    at = ETHERNET + 8
    _replace_word(packet, 8, bytes([packet.frame[at] - 1, packet.frame[at + 1]]))


def _clamp_mss(packet: _Packet) -> None:
    """The MSS option of a SYN, no larger than configured. What cannot be read is left alone."""
    most, header = packet.tables.policy.tcp_mss, _Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    if not most or header.protocol != _TCP or header.offset or header.length != IP_HEADER:
        return
    start = ETHERNET + IP_HEADER
    tcp = packet.frame[start:]
    if len(tcp) < 14 or not tcp[13] & _SYN:
        return
    at, end = 20, (tcp[12] >> 4) * 4
    for _ in range(_MOST_TCP_OPTIONS):
        if at + 4 > end or at + 2 > len(tcp):
            return
        kind, length = tcp[at], tcp[at + 1]
        if (kind, length) == (2, 4):
            _lower_mss(packet, start, at + 2, most)
            return
        if kind == 0 or (kind != 1 and length < 2):
            return
        at += 1 if kind == 1 else length


def _lower_mss(packet: _Packet, start: int, at: int, most: int) -> None:
    tcp = bytearray(packet.frame[start:])
    old, new = bytes(tcp[at : at + 2]), most.to_bytes(2)
    if len(old) < 2 or int.from_bytes(old) <= most:
        return
    tcp[at : at + 2] = new
    if at % 2:  # options are not aligned: the bytes count in the other halves of the checksum's words
        old, new = old[::-1], new[::-1]
    tcp[_TCP_CHECKSUM : _TCP_CHECKSUM + 2] = _adjusted(bytes(tcp[_TCP_CHECKSUM : _TCP_CHECKSUM + 2]), old, new)
    packet.frame = packet.frame[:start] + bytes(tcp)


def _fits(packet: _Packet, tunnel: Tunnel | None = None, overhead: int = 0) -> None:
    """Whether the packet behind Ethernet fits the way that it leaves by, and through a tunnel fits the tunnel's path.

    Merged segments need no room for the tunnel's headers: the kernel makes them that much shorter.
    """
    header = _Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    link = packet.tables.links.get(packet.out)
    if link is None:
        raise _Drop("helper_failed")
    mtu = link.mtu
    if tunnel is not None:
        path = packet.tables.path_mtus.get(tunnel.care_of)
        if path is not None and path.expires > packet.now:
            mtu = min(mtu, path.mtu)
    if _travelling_length(packet, header) > mtu - (0 if packet.segment else overhead):
        raise _TooLong(max(0, mtu - overhead))
    if header.total + overhead > 0xFFFF:
        raise _TooLong(max(0, mtu - overhead))


def _travelling_length(packet: _Packet, header: _Header) -> int:
    """Of merged segments the length of one."""
    at = ETHERNET + header.length
    if packet.segment and header.protocol == _UDP:
        return int(header.length + UDP_HEADER + packet.segment)
    if packet.segment and header.protocol == _TCP and len(packet.frame) > at + 12:
        return int(header.length + (packet.frame[at + 12] >> 4) * 4 + packet.segment)
    return int(header.total)


def _encapsulate(packet: _Packet, local: IPv4Address, tunnel: Tunnel, local_port: int = MIP_PORT) -> None:
    """RFC 2003 3.1, RFC 2004 3.1, RFC 2784 2.1, RFC 3519 3.3. `packet.out` is set: it has to fit there."""
    inner = _Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    tunnel = replace(tunnel, encapsulation=_carrier(packet, tunnel.encapsulation, inner))
    packet.carrier, packet.growth = tunnel.encapsulation, len(_tunnel_headers(inner, local, tunnel, local_port))
    _fits(packet, tunnel, packet.growth)
    _clamp_mss(packet)
    _push_headers(packet, local, tunnel, local_port)


def _push_headers(packet: _Packet, local: IPv4Address, tunnel: Tunnel, local_port: int = MIP_PORT) -> None:
    """All of the tunnel's headers; with minimal encapsulation in place of the packet's own."""
    original = packet.frame[ETHERNET:]
    inner = _Header(original[:IP_HEADER])
    between = _tunnel_headers(inner, local, tunnel, local_port)
    total = inner.total + len(between)
    addresses = local.packed + tunnel.care_of.packed
    if tunnel.encapsulation.next_header == _MINIMAL:
        outer = inner.raw[:2] + total.to_bytes(2) + inner.raw[4:9] + bytes([tunnel.encapsulation.protocol, 0, 0])
        packet.frame = packet.frame[:ETHERNET] + _with_checksum(outer + addresses) + between
        packet.frame += original[IP_HEADER : inner.total]
        return
    dscp = packet.tables.policy.dscp
    tos = inner.tos if dscp is None else dscp << 2 | inner.tos & 3
    outer = bytes([0x45, tos]) + total.to_bytes(2)
    outer += (inner.identification + inner.offset & 0xFFFF).to_bytes(2) + (_DF if inner.dont_fragment else 0).to_bytes(
        2
    )
    outer += bytes([TUNNEL_TTL, tunnel.encapsulation.protocol, 0, 0])
    header = _with_checksum(outer + addresses)
    packet.frame = packet.frame[:ETHERNET] + header + between[IP_HEADER:] + original[: inner.total]


def _carrier(packet: _Packet, negotiated: Encapsulation, inner: _Header) -> Encapsulation:
    """As negotiated, but for what minimal encapsulation cannot carry (RFC 2004 3): it goes by IP-in-IP.

    Options would be the outer header's, and merged segments nobody could cut again. In UDP the next header is the
    negotiated one or none (RFC 3519 4.3).
    """
    if negotiated.next_header != _MINIMAL:
        return negotiated
    if not (inner.is_fragment or inner.length != IP_HEADER or packet.segment):
        return negotiated
    if negotiated.in_udp:
        raise _Drop("unfit_for_minimal")
    return Encapsulation.IPIP


def _tunnel_headers(inner: _Header, local: IPv4Address, tunnel: Tunnel, local_port: int) -> bytes:
    """What a tunnel makes a packet longer by; an outer IP header, where there is one more than before, is blank."""
    encapsulation = tunnel.encapsulation
    blank, headers = bytes(IP_HEADER), b""
    if encapsulation.next_header == _MINIMAL:
        blank, headers = b"", _minimal_header(inner, local)
    elif encapsulation.next_header == _GRE:
        flags = 0 if tunnel.gre_key is None else _GRE_KEY
        key = b"" if tunnel.gre_key is None else tunnel.gre_key.to_bytes(4)
        headers = flags.to_bytes(2) + _ETHERTYPE_IPV4.to_bytes(2) + key
    if encapsulation.in_udp:
        carried = inner.total - (IP_HEADER if encapsulation.next_header == _MINIMAL else 0)
        length = UDP_HEADER + MIP_HEADER + len(headers) + carried
        ports = local_port.to_bytes(2) + tunnel.port.to_bytes(2)
        data = bytes([_TUNNEL_DATA, encapsulation.next_header, 0, 0])
        headers = ports + (length & 0xFFFF).to_bytes(2) + b"\0\0" + data + headers
    return blank + headers


def _minimal_header(inner: _Header, local: IPv4Address) -> bytes:
    """RFC 2004 3.1: the original source only where it is not the tunnel's end itself."""
    source = b"" if inner.source == local else inner.source.packed
    header = bytes([inner.protocol, _MINIMAL_SOURCE if source else 0, 0, 0]) + inner.destination.packed + source
    return header[:2] + checksum(header).to_bytes(2) + header[4:]


# What does not fit


def _does_not_fit(packet: _Packet, most: int) -> None:
    """With DF the source is told (RFC 2003 5.1); without, two fragments come in anew (RFC 2003 5.1, RFC 3519 4.8)."""
    packet.frame = packet.before_hop
    header = _Header(packet.frame[ETHERNET : ETHERNET + IP_HEADER])
    if packet.program == "fa_uplink":
        packet.redirect, packet.out, packet.next_hop = False, 0, None  # the stack is a router
    elif header.dont_fragment:
        _refuse(packet, header, most)
    elif packet.cuttable:
        _cut(packet, header, most - _lost_by_fragments(packet))
    else:
        raise _Drop("too_big")


def _lost_by_fragments(packet: _Packet) -> int:
    """They go by IP-in-IP where the packet would have gone by minimal encapsulation, and so have less room."""
    if packet.carrier is None or packet.carrier.next_header != _MINIMAL:
        return 0
    if packet.carrier.in_udp:
        raise _Drop("unfit_for_minimal")
    return IP_HEADER - packet.growth


def _refuse(packet: _Packet, header: _Header, most: int) -> None:
    """ICMP fragmentation needed instead of the packet, back to where it came from."""
    refusal = packet.refusal
    policy = packet.tables.policy
    if refusal is None or not policy.errors_per_second or not _may_be_told(packet, header):
        raise _Drop("too_big")
    if header.total < _QUOTED_AT_LEAST:
        raise _Drop("too_big")
    quoted = packet.frame[ETHERNET:][: _QUOTED if header.total >= _QUOTED else _QUOTED_LITTLE]
    message = bytes([3, 4, 0, 0, 0, 0]) + max(most, _LEAST_MTU).to_bytes(2) + quoted
    message = message[:2] + checksum(message).to_bytes(2) + message[4:]
    start = bytes([0x45, _ERROR_TOS]) + (IP_HEADER + len(message)).to_bytes(2) + b"\0\0" + _DF.to_bytes(2)
    start += bytes([TUNNEL_TTL, _ICMP, 0, 0]) + refusal.by.packed + header.source.packed
    ethernet = packet.frame[:ETHERNET] if refusal.through_tunnel else _turned_frame(packet.frame[:ETHERNET])
    packet.frame = ethernet + _with_checksum(start) + message
    _leave(packet, "too_big_answered", packet.ifindex)
    packet.copies = ()
    if refusal.through_tunnel:
        _push_headers(packet, packet.outer.destination, _back(packet))


def _is_unfinished(header: _Header, payload: bytes) -> bool:
    """Whether a transport checksum was left to the device: it is the sum over addresses, protocol and length then."""
    at = {_UDP: _UDP_CHECKSUM, _TCP: _TCP_CHECKSUM}.get(header.protocol)
    if at is None or header.is_fragment:
        return False
    pseudo = header.source.packed + header.destination.packed
    pseudo += header.protocol.to_bytes(2) + (header.total - IP_HEADER).to_bytes(2)
    return int.from_bytes(payload[at : at + 2]) == checksum(pseudo) ^ 0xFFFF


def _fragment(header: _Header, total: int, flags: int) -> bytes:
    """The header of one fragment."""
    raw = header.raw
    return _with_checksum(raw[:2] + total.to_bytes(2) + raw[4:6] + flags.to_bytes(2) + raw[8:10] + b"\0\0" + raw[12:])


def _turned_frame(ethernet: bytes) -> bytes:
    return ethernet[6:12] + ethernet[:6] + ethernet[12:]


def _may_be_told(packet: _Packet, header: _Header) -> bool:
    """RFC 1812 4.3.2.7."""
    source = int(header.source) >> 24
    if header.offset or _is_group(header.destination) or source in (0, 127) or source >= 224:
        return False
    return bool(header.protocol != _ICMP or (packet.head and packet.head[0] not in _ICMP_ERRORS))


def _cut(packet: _Packet, header: _Header, most: int) -> None:
    """The first `most` bytes come in as a copy of the frame; what is left here comes in after it."""
    step = most - IP_HEADER & ~7
    if header.length != IP_HEADER or packet.segment or not 8 <= step <= _LONGEST_PIECE or most >= header.total:
        raise _Drop("too_big")
    more = int.from_bytes(header.raw[6:8]) & _MF
    ethernet, payload = packet.frame[:ETHERNET], packet.frame[ETHERNET + IP_HEADER :]
    if header.total < _QUOTED_AT_LEAST:
        raise _Drop("too_big")
    if _is_unfinished(header, payload):
        if header.protocol == _TCP:
            raise _Drop("too_big")
        payload = payload[:_UDP_CHECKSUM] + b"\0\0" + payload[_UDP_CHECKSUM + 2 :]
    packet.front = ethernet + _fragment(header, IP_HEADER + step, _MF | header.offset) + payload
    rest = _fragment(header, header.total - step, more | (header.offset + step // 8) & _OFFSET)
    packet.frame = ethernet + rest + payload[step:]
    if packet.chosen is not None:
        packet.mark = COPY_MARK | packet.chosen
    _leave(packet, "cut_in_two", packet.ifindex)


def _leave(packet: _Packet, outcome: str, ifindex: int, next_hop: IPv4Address | None = None) -> None:
    packet.redirect, packet.outcome, packet.out, packet.next_hop = True, outcome, ifindex, next_hop


def _tunnel_to_node(packet: _Packet, bound: Bound) -> Tunnel:
    """The first live tunnel, or the one that a copy is for; the other live ones get copies (RFC 5944 3.8)."""
    only = packet.mark & 0xFF if packet.mark & 0xFFFFFF00 == COPY_MARK else None
    live = [
        (index, tunnel)
        for index, tunnel in enumerate(bound.tunnels)
        if tunnel.expires > packet.now and only in (None, index)
    ]
    ready = [(index, tunnel) for index, tunnel in live if tunnel.port or not tunnel.half_bound]
    if not ready:
        raise _Drop("half_bound" if live else "binding_expired")
    packet.copies = tuple(index for index, _ in ready[1:])
    packet.chosen, tunnel = ready[0]
    return tunnel


def _may_pass(passes: Passes, packet: _Packet, header: _Header, port: int) -> bool:
    """On the list, or a later fragment of what may be; `port` selects source (0) or destination (1)."""
    if header.protocol not in (_TCP, _UDP):
        return header.protocol in passes.protocols
    ports = {number for protocol, number in passes.ports if protocol == header.protocol}
    if header.offset:
        return bool(ports)
    return bool(packet.head) and int.from_bytes(packet.head[2 * port : 2 * port + 2]) in ports


# The proxy


def _proxy(packet: _Packet) -> ProxyForwarding:
    if packet.tables.proxy is None:
        raise _Drop("not_configured") if _is_tunnel(packet) else _Stack
    return packet.tables.proxy


def _proxy_public(packet: _Packet) -> None:
    proxy = _proxy(packet)
    if packet.outer.destination == proxy.public_address:
        if not _is_tunnel(packet):
            raise _Stack
        _proxy_from_node(packet, proxy, _enter_tunnel_packet(packet))
    elif packet.outer.destination == proxy.private_address:
        raise _Drop("wrong_interface") if _is_tunnel(packet) else _Stack
    elif any(gateway.public_address == packet.outer.source for gateway in proxy.gateways):
        _proxy_from_gateway(packet, proxy)
    else:
        _proxy_clear(packet, proxy)


def _proxy_from_node(packet: _Packet, proxy: ProxyForwarding, inner: _Header) -> None:
    """Rows 1 and 2."""
    known = [gateway.public_address for gateway in proxy.gateways]
    if inner.destination == proxy.public_address and _is_echo_reply(packet, inner):
        _match(packet, [(gateway, inner.source) for gateway in known], learns=False)
        _decapsulate(packet)
        packet.outcome = "probe_answered"
        return
    assert packet.tunnel is not None
    if packet.tunnel.in_udp and inner.destination == proxy.public_address:
        found = _match(packet, [(gateway, inner.source) for gateway in known], learns=True)
        _answer_keepalive(packet, found, proxy.public_ifindex)
        return
    if inner.destination not in known:
        raise _Drop("unknown_gateway")
    _match(packet, [(inner.destination, inner.source)], learns=False)
    if inner.length != IP_HEADER:
        raise _Drop("inner_options")
    if not _may_pass(proxy.passes, packet, inner, port=1):
        raise _Drop("inner_protocol")
    _check_ttl(inner)
    _decapsulate(packet)
    packet.refusal = _Refusal(packet.outer.destination, through_tunnel=True)
    _decrement_ttl(packet)
    _leave(packet, "node_to_gateway", proxy.gateway_public_ifindex, inner.destination)
    _fits(packet)


def _covers(networks: tuple[IPv4Network, ...], address: IPv4Address) -> bool:
    return any(address in network for network in networks)


def _is_from(packet: _Packet, proxy: ProxyForwarding, gateway: IPv4Address) -> bool:
    sender = packet.frame[6:12].hex(":")
    return packet.ifindex == proxy.gateway_public_ifindex and any(
        sender in each.macs for each in proxy.gateways if each.public_address == gateway
    )


def _proxy_from_gateway(packet: _Packet, proxy: ProxyForwarding) -> None:
    """Row 4."""
    outer = packet.outer
    bound = packet.tables.bindings.get((outer.source, outer.destination))
    if bound is None:
        if _covers(proxy.home_networks + proxy.mobility_subnets, outer.destination):
            raise _Drop("no_binding")
        raise _Stack
    if not _is_from(packet, proxy, outer.source):
        raise _Drop("gateway_mac")
    if outer.length != IP_HEADER:
        raise _Drop("outer_options")
    if not _may_pass(proxy.passes, packet, outer, port=0):
        raise _Drop("inner_protocol")
    tunnel = _tunnel_to_node(packet, bound)
    _check_ttl(outer)
    if tunnel.care_of == outer.source:
        raise _Drop("tunnel_loop")
    packet.refusal, packet.cuttable = _Refusal(proxy.public_address), True
    _decrement_ttl(packet)
    _leave(packet, "gateway_to_node", proxy.public_ifindex)
    _encapsulate(packet, proxy.public_address, tunnel)


def _proxy_clear(packet: _Packet, proxy: ProxyForwarding) -> None:
    """Rows 5 and 6, and what else names a home address."""
    outer = packet.outer

    def behind(home_address: IPv4Address) -> list[IPv4Address]:
        """Gateways behind which this address has a live binding."""
        return [
            gateway.public_address
            for gateway in proxy.gateways
            if (bound := packet.tables.bindings.get((gateway.public_address, home_address)))
            and bound.is_live(packet.now)
        ]

    destination_gateways, source_gateways = behind(outer.destination), behind(outer.source)
    if destination_gateways:
        sent_by_one = any(_is_from(packet, proxy, gateway) for gateway in destination_gateways)
        raise _Drop("no_sa_at_gateway" if sent_by_one else "gateway_mac")
    senders = [gateway for gateway in source_gateways if _is_from(packet, proxy, gateway)]
    if senders:
        gateway = next(each for each in proxy.gateways if each.public_address == senders[0])
        _proxy_to_subnet(packet, proxy, gateway, packet.tables.bindings[senders[0], outer.source])
    elif source_gateways:
        raise _Drop("gateway_mac")
    elif _covers(proxy.home_networks + proxy.mobility_subnets, outer.destination):
        _proxy_from_other_user(packet, proxy)
    else:
        raise _Stack


def _proxy_from_other_user(packet: _Packet, proxy: ProxyForwarding) -> None:
    """A VPN user that is no node of ours, behind a gateway whose route to the home network catches everybody."""
    theirs = [gateway for gateway in proxy.gateways if _covers(gateway.other_sources, packet.outer.source)]
    if not theirs:
        raise _Drop("no_binding")
    if not any(_is_from(packet, proxy, gateway.public_address) for gateway in theirs):
        raise _Drop("gateway_mac")
    if not _covers(proxy.mobility_subnets, packet.outer.destination):
        raise _Drop("not_mobility_subnet")
    _check_ttl(packet.outer)
    packet.refusal, packet.cuttable = _Refusal(proxy.private_address), True
    _decrement_ttl(packet)
    _leave(packet, "other_source_to_subnet", proxy.private_ifindex)
    _fits(packet)


def _proxy_to_subnet(packet: _Packet, proxy: ProxyForwarding, gateway: Gateway, sender: Bound) -> None:
    """Row 5."""
    if not _covers(proxy.mobility_subnets, packet.outer.destination):
        raise _Drop("not_mobility_subnet")
    _check_ttl(packet.outer)
    packet.refusal, packet.cuttable = _Refusal(proxy.private_address), True
    _decrement_ttl(packet)
    if gateway.direct_delivery:
        _leave(packet, "gateway_to_subnet", proxy.private_ifindex)
        _fits(packet)
        return
    _leave(packet, "gateway_to_home_agent", proxy.private_ifindex)
    end = Tunnel(sender.home_agent, packet.now, sender.home_agent_encapsulation, gre_key=proxy.home_agent_gre_key)
    _encapsulate(packet, proxy.private_address, end)


def _proxy_private(packet: _Packet) -> None:
    """Row 3."""
    proxy = _proxy(packet)
    if packet.outer.destination == proxy.public_address:
        raise _Drop("wrong_interface") if _is_tunnel(packet) else _Stack
    if packet.outer.destination != proxy.private_address or not _is_tunnel(packet):
        raise _Stack
    inner = _enter_tunnel_packet(packet)
    misses: list[str] = []
    for gateway in proxy.gateways:
        bound = packet.tables.bindings.get((gateway.public_address, inner.destination))
        if bound is None:
            continue
        if not bound.is_live(packet.now):
            misses.append("binding_expired")
        elif bound.home_agent != packet.outer.source:
            misses.append("home_agent_mismatch")
        elif not _is_as_negotiated(packet, bound.home_agent_encapsulation, accepts_ipip=True):
            misses.append("encapsulation_mismatch")
        elif not _has_key(packet, proxy.home_agent_gre_key):
            misses.append("gre_key")
        else:
            _check_ttl(inner)
            _decapsulate(packet)
            packet.refusal = _Refusal(packet.outer.destination)
            _decrement_ttl(packet)
            _leave(packet, "home_agent_to_gateway", proxy.gateway_private_ifindex, gateway.private_address)
            _fits(packet)
            return
    raise _closest(misses)


# The home agent


def _home_agent(packet: _Packet) -> None:
    if packet.tables.home_agent is None:
        raise _Drop("not_configured") if _is_tunnel(packet) else _Stack
    local = packet.tables.home_agent.address
    if packet.outer.destination == local:
        if not _is_tunnel(packet):
            raise _Stack
        _home_agent_from_node(packet, local, _enter_tunnel_packet(packet))
        return
    bound = packet.tables.bindings.get((local, packet.outer.destination))
    if bound is None or not bound.is_live(packet.now):
        raise _Stack
    _home_agent_to_node(packet, local, bound, packet.outer, "home_agent_to_node")


def _home_agent_from_node(packet: _Packet, local: IPv4Address, inner: _Header) -> None:
    assert packet.tunnel is not None
    is_keepalive = packet.tunnel.in_udp and inner.destination == local
    found = _match(packet, [(local, inner.source)], learns=is_keepalive)
    if is_keepalive:
        _answer_keepalive(packet, found, packet.ifindex)
        return
    _decapsulate(packet)
    packet.outcome = "node_to_home_agent"
    bound = packet.tables.bindings.get((local, inner.destination))
    if bound is not None and bound.is_live(packet.now):
        _home_agent_to_node(packet, local, bound, inner, "node_to_node")


def _home_agent_to_node(packet: _Packet, local: IPv4Address, bound: Bound, header: _Header, outcome: str) -> None:
    tunnel = _tunnel_to_node(packet, bound)
    _check_ttl(header)
    if header.source in (local, tunnel.care_of):
        raise _Drop("tunnel_loop")
    packet.refusal, packet.cuttable = _Refusal(local, through_tunnel=packet.tunnel is not None), True
    _decrement_ttl(packet)
    ifindex = packet.tables.route(tunnel.care_of)
    if ifindex is None:
        raise _Drop("no_route")
    _leave(packet, outcome, ifindex)
    _encapsulate(packet, local, tunnel)


# The foreign agent


def _foreign_agent_uplink(packet: _Packet) -> None:
    agent = packet.tables.foreign_agent
    if agent is None:
        raise _Drop("not_configured") if _is_tunnel(packet) else _Stack
    if packet.outer.destination != agent.care_of or not _is_tunnel(packet):
        raise _Stack
    inner = _enter_tunnel_packet(packet)
    visitor = packet.tables.visitors.get(inner.destination)
    if visitor is None:
        raise _Drop("no_binding")
    miss = _check_tunnel(packet, _tunnel_of(visitor), learns=False, accepts_ipip=True)
    if miss is not None:
        raise _Drop(miss)
    _check_ttl(inner)
    _decapsulate(packet)
    _decrement_ttl(packet)
    _leave(packet, "foreign_agent_to_visitor", agent.link_ifindex, inner.destination)
    _fits(packet)


def _foreign_agent_link(packet: _Packet) -> None:
    """Delivery styles of RFC 3024 5: direct for unicast, encapsulating for whatever the node wraps for the agent."""
    agent, outer = packet.tables.foreign_agent, packet.outer
    visitor = packet.tables.visitors.get(outer.source)
    if visitor is None:
        raise _Stack
    if agent is None:
        raise _Drop("not_configured")
    to_agent = outer.destination == agent.link_address
    # IP-in-IP, or as negotiated (RFC 3024 5.1.2).
    styles = (_IPIP, visitor.encapsulation.next_header)
    wrapped = to_agent and visitor.encapsulating_delivery and outer.protocol in styles
    if (to_agent and not wrapped) or _is_registration(packet) or _is_discovery(packet):
        raise _Stack
    if visitor.expires <= packet.now:
        raise _Drop("binding_expired")
    if wrapped:
        inner = _enter_tunnel_packet(packet)
        if inner.source != visitor.home_address:
            raise _Drop("no_binding")
        if not _has_key(packet, visitor.gre_key):
            raise _Drop("gre_key")
        _into_reverse_tunnel(packet, agent, visitor, inner)
        return
    if not visitor.reverse_tunnel or visitor.encapsulating_delivery or _is_group(outer.destination):
        raise _Stack
    _into_reverse_tunnel(packet, agent, visitor, outer)


def _tunnel_of(visitor: Visitor) -> Tunnel:
    return Tunnel(visitor.home_agent, visitor.expires, visitor.encapsulation, visitor.port, gre_key=visitor.gre_key)


def _is_group(address: IPv4Address) -> bool:
    return address.is_multicast or address == IPv4Address("255.255.255.255")


def _into_reverse_tunnel(packet: _Packet, agent: ForeignAgentForwarding, visitor: Visitor, header: _Header) -> None:
    if header.destination == agent.care_of:
        raise _Drop("tunnel_loop")
    _check_ttl(header)
    packet.refusal, packet.cuttable = _Refusal(agent.care_of), header is packet.outer
    if header is packet.inner:
        _decapsulate(packet)
    _decrement_ttl(packet)
    _leave(packet, "visitor_to_home_agent", agent.uplink_ifindex)
    _encapsulate(packet, agent.care_of, _tunnel_of(visitor))


# The mobile node


def _node_allows(path: NodePath, address: IPv4Address) -> bool:
    return path.encapsulate_all or address in path.gateways


def _node_egress(packet: _Packet) -> None:
    path, outer = packet.tables.mobile_node, packet.outer
    if path is None or outer.source != path.home_address or path.mode is NodeMode.HOME:
        raise _Stack
    if _is_registration(packet) or _is_discovery(packet):
        raise _Stack
    # To a gateway, too, only what its VPN protects: all else would be clear on the foreign link.
    allowed = path.encapsulate_all or (
        outer.destination in path.gateways and _may_pass(path.passes, packet, outer, port=1)
    )
    is_keepalive = (
        path.encapsulation.in_udp
        and outer.destination == path.peer
        and outer.protocol == _ICMP
        and not outer.is_fragment
        and packet.head[:2] == b"\x08\x00"
    )
    is_probe_answer = outer.destination == path.peer and _is_echo_reply(packet, outer)
    if path.mode is NodeMode.FOREIGN_AGENT and (allowed or is_probe_answer):
        if _is_group(outer.destination):
            raise _Drop("group_through_agent")  # RFC 3024 5.2
        raise _Stack
    if path.mode is not NodeMode.TUNNEL or not (allowed or is_keepalive or is_probe_answer):
        raise _Drop("clear_outside")
    packet.before_hop = packet.frame
    _leave(packet, "stack_to_tunnel", packet.ifindex)
    end = Tunnel(path.peer, packet.now, path.encapsulation, path.peer_port, gre_key=path.gre_key)
    _encapsulate(packet, path.care_of, end, path.local_port)


def _node_ingress(packet: _Packet) -> None:
    path, outer = packet.tables.mobile_node, packet.outer
    if path is None or path.mode in (NodeMode.HOME, NodeMode.FOREIGN_AGENT):
        raise _Stack
    if path.mode is NodeMode.TUNNEL and outer.destination == path.care_of and _is_tunnel(packet):
        _node_from_tunnel(packet, path, _enter_tunnel_packet(packet))
    elif outer.destination == path.home_address and not (_is_registration(packet) or _is_discovery(packet)):
        raise _Drop("clear_outside")
    else:
        raise _Stack


def _node_from_tunnel(packet: _Packet, path: NodePath, inner: _Header) -> None:
    if packet.outer.source != path.peer:
        raise _Drop("care_of_mismatch")
    if not _is_as_negotiated(packet, path.encapsulation, accepts_ipip=True):
        raise _Drop("encapsulation_mismatch")
    if path.encapsulation.in_udp and packet.port != path.peer_port:
        raise _Drop("port_mismatch")
    if not _has_key(packet, path.gre_key):
        raise _Drop("gre_key")
    if inner.destination != path.home_address:
        raise _Drop("inner_destination")
    if inner.source != path.peer and not _node_allows(path, inner.source):
        raise _Drop("unknown_gateway")
    _decapsulate(packet)
    packet.outcome = "tunnel_to_stack"
