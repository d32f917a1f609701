"""Which binding a packet belongs to, and what may pass."""

from __future__ import annotations

from mobileip.forwarding.entries import Encapsulation, Passes, Tunnel
from mobileip.forwarding.rules.headers import Header
from mobileip.forwarding.rules.packet import COPY_MARK, Drop, Packet
from mobileip.forwarding.rules.verdict import Bound, Key
from mobileip.wire.encapsulation import IPPROTO_GRE, IPPROTO_TCP, IPPROTO_UDP

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


def check_tunnel(packet: Packet, tunnel: Tunnel, *, learns: bool, accepts_ipip: bool = False) -> str | None:
    """Why this tunnel is not the one that the packet came through; None if it is (RFC 3024 4.3.2, RFC 3519 4.3).

    `accepts_ipip`: whatever was negotiated, as every end of a home agent's tunnel should (RFC 5944 4.1).
    """
    source = tunnel.source or tunnel.care_of
    if tunnel.expires <= packet.now:
        return "binding_expired"
    if packet.outer.source not in (tunnel.care_of, source):
        return "care_of_mismatch"
    if not is_as_negotiated(packet, tunnel.encapsulation, accepts_ipip=accepts_ipip):
        return "encapsulation_mismatch"
    if tunnel.encapsulation.in_udp and not (tunnel.port and packet.port == tunnel.port):
        if not tunnel.half_bound:
            return "port_mismatch"
        if not learns or packet.outer.source != source:
            return "half_bound"
    return None if has_key(packet, tunnel.gre_key) else "gre_key"


def is_as_negotiated(packet: Packet, encapsulation: Encapsulation, *, accepts_ipip: bool) -> bool:
    """Whether the packet came encapsulated as the binding says."""
    if packet.tunnel is encapsulation:
        return True
    # What minimal encapsulation cannot carry comes by IP-in-IP (RFC 2004 3).
    accepts_ipip = accepts_ipip or encapsulation is Encapsulation.MINIMAL
    return packet.tunnel is Encapsulation.IPIP and accepts_ipip and not encapsulation.in_udp


def has_key(packet: Packet, gre_key: int | None) -> bool:
    """Whether a packet in GRE has this key, or none where None is configured (RFC 2890 2.1)."""
    assert packet.tunnel is not None
    return packet.tunnel.next_header != IPPROTO_GRE or packet.gre_key == gre_key


def closest(misses: list[str]) -> Drop:
    """The drop for the miss that came closest to a match."""
    return Drop(max(misses, key=_MISSES.index, default="no_binding"))


def match_tunnel(packet: Packet, keys: list[Key], *, learns: bool) -> tuple[Key, int, Tunnel]:
    """The tunnel that the packet came through, among these bindings."""
    misses: list[tuple[str, Key]] = []
    for key in keys:
        bound = packet.tables.bindings.get(key)
        for index, tunnel in enumerate(bound.tunnels if bound else ()):
            miss = check_tunnel(packet, tunnel, learns=learns)
            if miss is None:
                return key, index, tunnel
            misses.append((miss, key))
    drop = closest([miss for miss, _ in misses])
    if drop.reason in ("care_of_mismatch", "port_mismatch"):
        claimed = next(key for miss, key in misses if miss == drop.reason)
        drop.stray = claimed, packet.outer.source, packet.port
    raise drop


def tunnel_to_node(packet: Packet, bound: Bound) -> Tunnel:
    """The first live tunnel, or the one that a copy is for; the other live ones get copies (RFC 5944 3.8)."""
    only = packet.mark & 0xFF if packet.mark & 0xFFFFFF00 == COPY_MARK else None
    live = [
        (index, tunnel)
        for index, tunnel in enumerate(bound.tunnels)
        if tunnel.expires > packet.now and only in (None, index)
    ]
    ready = [(index, tunnel) for index, tunnel in live if tunnel.port or not tunnel.half_bound]
    if not ready:
        raise Drop("half_bound" if live else "binding_expired")
    packet.copies = tuple(index for index, _ in ready[1:])
    packet.chosen, tunnel = ready[0]
    return tunnel


def may_pass(passes: Passes, packet: Packet, header: Header, port: int) -> bool:
    """On the list, or a later fragment of what may be; `port` selects source (0) or destination (1)."""
    if header.protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        return header.protocol in passes.protocols
    ports = {number for protocol, number in passes.ports if protocol == header.protocol}
    if header.offset:
        return bool(ports)
    return bool(packet.head) and int.from_bytes(packet.head[2 * port : 2 * port + 2]) in ports
