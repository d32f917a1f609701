"""The home agent's rules."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.forwarding.rules.binding import match_tunnel, tunnel_to_node
from mobileip.forwarding.rules.headers import Header
from mobileip.forwarding.rules.keepalive import answer_keepalive
from mobileip.forwarding.rules.packet import Drop, Packet, Refusal, Stack, decrement_ttl, leave
from mobileip.forwarding.rules.parse import enter_tunnel_packet, is_tunnel
from mobileip.forwarding.rules.tunnel import decapsulate, encapsulate
from mobileip.forwarding.rules.verdict import Bound


def home_agent_packet(packet: Packet) -> None:
    if packet.tables.home_agent is None:
        raise Drop("not_configured") if is_tunnel(packet) else Stack
    local = packet.tables.home_agent.address
    if packet.outer.destination == local:
        if not is_tunnel(packet):
            raise Stack
        _home_agent_from_node(packet, local, enter_tunnel_packet(packet))
        return
    bound = packet.tables.bindings.get((local, packet.outer.destination))
    if bound is None or not bound.is_live(packet.now):
        raise Stack
    _home_agent_to_node(packet, local, bound, packet.outer, "home_agent_to_node")


def _home_agent_from_node(packet: Packet, local: IPv4Address, inner: Header) -> None:
    assert packet.tunnel is not None
    is_keepalive = packet.tunnel.in_udp and inner.destination == local
    found = match_tunnel(packet, [(local, inner.source)], learns=is_keepalive)
    if is_keepalive:
        answer_keepalive(packet, found, packet.ifindex)
        return
    decapsulate(packet)
    packet.outcome = "node_to_home_agent"
    bound = packet.tables.bindings.get((local, inner.destination))
    if bound is not None and bound.is_live(packet.now):
        _home_agent_to_node(packet, local, bound, inner, "node_to_node")


def _home_agent_to_node(packet: Packet, local: IPv4Address, bound: Bound, header: Header, outcome: str) -> None:
    tunnel = tunnel_to_node(packet, bound)
    if header.source in (local, tunnel.care_of):
        raise Drop("tunnel_loop")
    packet.refusal, packet.cuttable = Refusal(local, through_tunnel=packet.tunnel is not None), True
    decrement_ttl(packet)
    ifindex = packet.tables.route(tunnel.care_of)
    if ifindex is None:
        raise Drop("no_route")
    leave(packet, outcome, ifindex)
    encapsulate(packet, local, tunnel)
