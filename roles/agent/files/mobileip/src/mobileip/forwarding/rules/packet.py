"""A frame on its way through the rules, and the exceptions that end a rule."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.forwarding.entries import Encapsulation, Tunnel
from mobileip.forwarding.rules.headers import ETHERNET, IP_HEADER, Header, adjusted
from mobileip.forwarding.rules.verdict import Key, Snapshot

TUNNEL_TTL = 64
COPY_MARK = 0x4D495000


class Stack(Exception):  # noqa: N818 (not an error)
    """Not ours."""


class Drop(Exception):  # noqa: N818 (not an error)
    """A rule failed: the name of its reason, and of a stray packet the binding that it claimed, its source and port."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stray: tuple[Key, IPv4Address, int] | None = None


class TooLong(Exception):  # noqa: N818 (not an error)
    """Does not fit; `most` bytes would."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Expired(Exception):  # noqa: N818 (not an error)
    """Its TTL ends here."""


@dataclass
class Packet:
    """A frame on its way: what it was, what it is to be, and where it goes."""

    frame: bytes
    program: str
    tables: Snapshot
    now: float
    ifindex: int
    mark: int
    outer: Header
    inner: Header | None = None
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
    refusal: Refusal | None = None
    cuttable: bool = False
    """Its fragments can come in anew in its place."""
    front: bytes = b""
    """Of what was cut, the first piece's frame."""
    carrier: Encapsulation | None = None
    """How the tunnel that it enters carries it, and by how much that makes it longer."""
    growth: int = 0
    segment: int = 0
    """Payload bytes of each segment that GRO merged; 0: one packet."""
    decrypted_from: IPv4Address | None = None
    """Source of the kernel's ESP tunnel that it has come out of."""


@dataclass(frozen=True)
class Refusal:
    """In whose name the source of what goes no further is told, and whether through the tunnel that it came by."""

    by: IPv4Address
    through_tunnel: bool = False


def first_bytes(frame: bytes, at: int, header: Header) -> bytes:
    """The first four behind an IP header at `at`; none where options or a fragment leave nothing to rely on."""
    if header.length != IP_HEADER or header.offset or header.total < IP_HEADER + 8:
        return b""
    return frame[at + IP_HEADER : at + IP_HEADER + 4]


def replace_word(packet: Packet, at: int, new: bytes) -> None:
    """Two bytes of the header behind Ethernet, checksum included."""
    start = ETHERNET + at
    old, sum_at = packet.frame[start : start + 2], ETHERNET + 10
    amended = bytearray(packet.frame)
    amended[start : start + 2] = new
    if old != new:
        amended[sum_at : sum_at + 2] = adjusted(packet.frame[sum_at : sum_at + 2], old, new)
    packet.frame = bytes(amended)


def decrement_ttl(packet: Packet) -> None:
    """One hop less; the frame as it was is kept. Raises Expired where a router may not send it on (RFC 1812 5.3.1)."""
    packet.before_hop = packet.frame
    at = ETHERNET + 8
    if packet.frame[at] <= 1:
        raise Expired
    replace_word(packet, 8, bytes([packet.frame[at] - 1, packet.frame[at + 1]]))


def leave(packet: Packet, outcome: str, ifindex: int, next_hop: IPv4Address | None = None) -> None:
    """Towards `next_hop` on an interface, or as the kernel's route there says."""
    packet.redirect, packet.outcome, packet.out, packet.next_hop = True, outcome, ifindex, next_hop
