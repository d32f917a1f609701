"""The mobile node's rules."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.forwarding.entries import NodeMode, NodePath, Tunnel
from mobileip.forwarding.rules.binding import has_key, is_as_negotiated, may_pass
from mobileip.forwarding.rules.headers import Header, is_group
from mobileip.forwarding.rules.keepalive import is_echo_reply
from mobileip.forwarding.rules.packet import Drop, Packet, Stack, leave
from mobileip.forwarding.rules.parse import enter_tunnel_packet, is_discovery, is_registration, is_tunnel
from mobileip.forwarding.rules.tunnel import decapsulate, encapsulate
from mobileip.wire.encapsulation import IPPROTO_ICMP


def _node_allows(path: NodePath, address: IPv4Address) -> bool:
    return path.encapsulate_all or address in path.gateways


def node_egress(packet: Packet) -> None:
    path, outer = packet.tables.mobile_node, packet.outer
    if path is None or outer.source != path.home_address or is_registration(packet) or is_discovery(packet):
        raise Stack
    if path.mode is NodeMode.HOME:
        if path.home_link_only and packet.tables.on_link(path.home_address) != packet.ifindex:
            raise Drop("clear_outside")
        raise Stack
    # To a gateway, too, only what its VPN protects: all else would be clear on the foreign link.
    allowed = path.encapsulate_all or (
        outer.destination in path.gateways and may_pass(path.passes, packet, outer, port=1)
    )
    is_keepalive = (
        path.encapsulation.in_udp
        and outer.destination == path.peer
        and outer.protocol == IPPROTO_ICMP
        and not outer.is_fragment
        and packet.head[:2] == b"\x08\x00"
    )
    is_probe_answer = outer.destination == path.peer and is_echo_reply(packet, outer)
    if path.mode is NodeMode.FOREIGN_AGENT and (allowed or is_probe_answer):
        if is_group(outer.destination):
            raise Drop("group_through_agent")  # RFC 3024 5.2
        raise Stack
    if path.mode is not NodeMode.TUNNEL or not (allowed or is_keepalive or is_probe_answer):
        raise Drop("clear_outside")
    packet.before_hop = packet.frame
    leave(packet, "stack_to_tunnel", packet.ifindex)
    end = Tunnel(path.peer, packet.now, path.encapsulation, path.peer_port, gre_key=path.gre_key)
    encapsulate(packet, path.care_of, end, path.local_port)


def node_ingress(packet: Packet) -> None:
    path, outer = packet.tables.mobile_node, packet.outer
    if path is None or path.mode in (NodeMode.HOME, NodeMode.FOREIGN_AGENT):
        raise Stack
    if path.mode is NodeMode.TUNNEL and outer.destination == path.care_of and is_tunnel(packet):
        _node_from_tunnel(packet, path, enter_tunnel_packet(packet))
    elif outer.destination == path.home_address and not (
        is_registration(packet) or is_discovery(packet) or _is_out_of_sa(packet, path)
    ):
        raise Drop("clear_outside")
    else:
        raise Stack


def _is_out_of_sa(packet: Packet, path: NodePath) -> bool:
    """Whether the gateway's SA has protected it up to here; the kernel's policies see to it that it was to."""
    return packet.decrypted_from is not None and _node_allows(path, packet.decrypted_from)


def _node_from_tunnel(packet: Packet, path: NodePath, inner: Header) -> None:
    if packet.outer.source != path.peer:
        raise Drop("care_of_mismatch")
    if not is_as_negotiated(packet, path.encapsulation, accepts_ipip=True):
        raise Drop("encapsulation_mismatch")
    if path.encapsulation.in_udp and packet.port != path.peer_port:
        raise Drop("port_mismatch")
    if not has_key(packet, path.gre_key):
        raise Drop("gre_key")
    if inner.destination != path.home_address:
        raise Drop("inner_destination")
    if inner.source != path.peer and not _node_allows(path, inner.source):
        raise Drop("unknown_gateway")
    decapsulate(packet)
    packet.outcome = "tunnel_to_stack"
