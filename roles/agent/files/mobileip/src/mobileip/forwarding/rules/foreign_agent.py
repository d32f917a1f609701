"""The foreign agent's rules."""

from __future__ import annotations

from mobileip.forwarding.entries import ForeignAgentForwarding, Tunnel, Visitor
from mobileip.forwarding.rules.binding import check_tunnel, has_key
from mobileip.forwarding.rules.headers import Header, is_group
from mobileip.forwarding.rules.packet import Drop, Packet, Refusal, Stack, decrement_ttl, leave
from mobileip.forwarding.rules.parse import enter_tunnel_packet, is_discovery, is_registration, is_tunnel
from mobileip.forwarding.rules.tunnel import check_fit, decapsulate, encapsulate
from mobileip.wire.encapsulation import IPPROTO_IPIP


def foreign_agent_uplink(packet: Packet) -> None:
    agent = packet.tables.foreign_agent
    if agent is None:
        raise Drop("not_configured") if is_tunnel(packet) else Stack
    if packet.outer.destination != agent.care_of or not is_tunnel(packet):
        raise Stack
    inner = enter_tunnel_packet(packet)
    visitor = packet.tables.visitors.get(inner.destination)
    if visitor is None:
        raise Drop("no_binding")
    miss = check_tunnel(packet, _tunnel_of(visitor), learns=False, accepts_ipip=True)
    if miss is not None:
        raise Drop(miss)
    decapsulate(packet)
    packet.refusal = Refusal(agent.care_of)
    decrement_ttl(packet)
    leave(packet, "foreign_agent_to_visitor", agent.link_ifindex, inner.destination)
    check_fit(packet)


def foreign_agent_link(packet: Packet) -> None:
    """Delivery styles of RFC 3024 5: direct for unicast, encapsulating for whatever the node wraps for the agent."""
    agent, outer = packet.tables.foreign_agent, packet.outer
    visitor = packet.tables.visitors.get(outer.source)
    if visitor is None:
        raise Stack
    if agent is None:
        raise Drop("not_configured")
    to_agent = outer.destination == agent.link_address
    # IP-in-IP, or as negotiated (RFC 3024 5.1.2).
    styles = (IPPROTO_IPIP, visitor.encapsulation.next_header)
    wrapped = to_agent and visitor.encapsulating_delivery and outer.protocol in styles
    if (to_agent and not wrapped) or is_registration(packet) or is_discovery(packet):
        raise Stack
    if visitor.expires <= packet.now:
        raise Drop("binding_expired")
    if wrapped:
        inner = enter_tunnel_packet(packet)
        if inner.source != visitor.home_address:
            raise Drop("no_binding")
        if not has_key(packet, visitor.gre_key):
            raise Drop("gre_key")
        _into_reverse_tunnel(packet, agent, visitor, inner)
        return
    if not visitor.reverse_tunnel or visitor.encapsulating_delivery or is_group(outer.destination):
        raise Stack
    _into_reverse_tunnel(packet, agent, visitor, outer)


def _tunnel_of(visitor: Visitor) -> Tunnel:
    return Tunnel(visitor.home_agent, visitor.expires, visitor.encapsulation, visitor.port, gre_key=visitor.gre_key)


def _into_reverse_tunnel(packet: Packet, agent: ForeignAgentForwarding, visitor: Visitor, header: Header) -> None:
    if header.destination == agent.care_of:
        raise Drop("tunnel_loop")
    packet.refusal, packet.cuttable = Refusal(agent.care_of), header is packet.outer
    if header is packet.inner:
        decapsulate(packet)
    decrement_ttl(packet)
    leave(packet, "visitor_to_home_agent", agent.uplink_ifindex)
    encapsulate(packet, agent.care_of, _tunnel_of(visitor))
