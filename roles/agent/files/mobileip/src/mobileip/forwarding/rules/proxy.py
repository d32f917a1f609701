"""The rows of the packet table that are the proxy's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from mobileip.forwarding.entries import Gateway, ProxyForwarding, Tunnel
from mobileip.forwarding.rules.binding import closest, has_key, is_as_negotiated, match_tunnel, may_pass, tunnel_to_node
from mobileip.forwarding.rules.headers import IP_HEADER, Header
from mobileip.forwarding.rules.keepalive import answer_keepalive, is_echo_reply
from mobileip.forwarding.rules.packet import Drop, Packet, Refusal, Stack, decrement_ttl, leave
from mobileip.forwarding.rules.parse import enter_tunnel_packet, is_tunnel
from mobileip.forwarding.rules.tunnel import check_fit, decapsulate, encapsulate
from mobileip.forwarding.rules.verdict import Bound


def _proxy(packet: Packet) -> ProxyForwarding:
    if packet.tables.proxy is None:
        raise Drop("not_configured") if is_tunnel(packet) else Stack
    return packet.tables.proxy


def proxy_public(packet: Packet) -> None:
    proxy = _proxy(packet)
    if packet.outer.destination == proxy.public_address:
        if not is_tunnel(packet):
            raise Stack
        _proxy_from_node(packet, proxy, enter_tunnel_packet(packet))
    elif packet.outer.destination == proxy.private_address:
        raise Drop("wrong_interface") if is_tunnel(packet) else Stack
    elif any(gateway.public_address == packet.outer.source for gateway in proxy.gateways):
        _proxy_from_gateway(packet, proxy)
    else:
        _proxy_clear(packet, proxy)


def _proxy_from_node(packet: Packet, proxy: ProxyForwarding, inner: Header) -> None:
    """Rows 1 and 2."""
    known = [gateway.public_address for gateway in proxy.gateways]
    if inner.destination == proxy.public_address and is_echo_reply(packet, inner):
        match_tunnel(packet, [(gateway, inner.source) for gateway in known], learns=False)
        decapsulate(packet)
        packet.outcome = "probe_answered"
        return
    assert packet.tunnel is not None
    if packet.tunnel.in_udp and inner.destination == proxy.public_address:
        found = match_tunnel(packet, [(gateway, inner.source) for gateway in known], learns=True)
        answer_keepalive(packet, found, proxy.public_ifindex)
        return
    if inner.destination not in known:
        raise Drop("unknown_gateway")
    match_tunnel(packet, [(inner.destination, inner.source)], learns=False)
    if inner.length != IP_HEADER:
        raise Drop("inner_options")
    if not may_pass(proxy.passes, packet, inner, port=1):
        raise Drop("inner_protocol")
    decapsulate(packet)
    packet.refusal = Refusal(packet.outer.destination, through_tunnel=True)
    decrement_ttl(packet)
    leave(packet, "node_to_gateway", proxy.gateway_public_ifindex, inner.destination)
    check_fit(packet)


def _covers(networks: tuple[IPv4Network, ...], address: IPv4Address) -> bool:
    return any(address in network for network in networks)


def _is_from(packet: Packet, proxy: ProxyForwarding, gateway: IPv4Address) -> bool:
    sender = packet.frame[6:12].hex(":")
    return packet.ifindex == proxy.gateway_public_ifindex and any(
        sender in each.macs for each in proxy.gateways if each.public_address == gateway
    )


def _proxy_from_gateway(packet: Packet, proxy: ProxyForwarding) -> None:
    """Row 4."""
    outer = packet.outer
    bound = packet.tables.bindings.get((outer.source, outer.destination))
    if bound is None:
        if _covers(proxy.home_networks + proxy.mobility_subnets, outer.destination):
            raise Drop("no_binding")
        raise Stack
    if not _is_from(packet, proxy, outer.source):
        raise Drop("gateway_mac")
    if outer.length != IP_HEADER:
        raise Drop("outer_options")
    if not may_pass(proxy.passes, packet, outer, port=0):
        raise Drop("inner_protocol")
    tunnel = tunnel_to_node(packet, bound)
    if tunnel.care_of == outer.source:
        raise Drop("tunnel_loop")
    packet.refusal, packet.cuttable = Refusal(proxy.public_address), True
    decrement_ttl(packet)
    leave(packet, "gateway_to_node", proxy.public_ifindex)
    encapsulate(packet, proxy.public_address, tunnel)


def _proxy_clear(packet: Packet, proxy: ProxyForwarding) -> None:
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
        raise Drop("no_sa_at_gateway" if sent_by_one else "gateway_mac")
    senders = [gateway for gateway in source_gateways if _is_from(packet, proxy, gateway)]
    if senders:
        gateway = next(each for each in proxy.gateways if each.public_address == senders[0])
        _proxy_to_subnet(packet, proxy, gateway, packet.tables.bindings[senders[0], outer.source])
    elif source_gateways:
        raise Drop("gateway_mac")
    elif _covers(proxy.home_networks + proxy.mobility_subnets, outer.destination):
        _proxy_from_other_user(packet, proxy)
    else:
        raise Stack


def _proxy_from_other_user(packet: Packet, proxy: ProxyForwarding) -> None:
    """A VPN user that is no node of ours, behind a gateway whose route to the home network catches everybody."""
    theirs = [gateway for gateway in proxy.gateways if _covers(gateway.other_sources, packet.outer.source)]
    if not theirs:
        raise Drop("no_binding")
    if not any(_is_from(packet, proxy, gateway.public_address) for gateway in theirs):
        raise Drop("gateway_mac")
    if not _covers(proxy.mobility_subnets, packet.outer.destination):
        raise Drop("not_mobility_subnet")
    packet.refusal, packet.cuttable = Refusal(proxy.private_address), True
    decrement_ttl(packet)
    leave(packet, "other_source_to_subnet", proxy.private_ifindex)
    check_fit(packet)


def _proxy_to_subnet(packet: Packet, proxy: ProxyForwarding, gateway: Gateway, sender: Bound) -> None:
    """Row 5."""
    if not _covers(proxy.mobility_subnets, packet.outer.destination):
        raise Drop("not_mobility_subnet")
    packet.refusal, packet.cuttable = Refusal(proxy.private_address), True
    decrement_ttl(packet)
    if gateway.direct_delivery:
        leave(packet, "gateway_to_subnet", proxy.private_ifindex)
        check_fit(packet)
        return
    leave(packet, "gateway_to_home_agent", proxy.private_ifindex)
    end = Tunnel(sender.home_agent, packet.now, sender.home_agent_encapsulation, gre_key=proxy.home_agent_gre_key)
    encapsulate(packet, proxy.private_address, end)


def proxy_private(packet: Packet) -> None:
    """Row 3."""
    proxy = _proxy(packet)
    if packet.outer.destination == proxy.public_address:
        raise Drop("wrong_interface") if is_tunnel(packet) else Stack
    if packet.outer.destination != proxy.private_address or not is_tunnel(packet):
        raise Stack
    inner = enter_tunnel_packet(packet)
    misses: list[str] = []
    for gateway in proxy.gateways:
        bound = packet.tables.bindings.get((gateway.public_address, inner.destination))
        if bound is None:
            continue
        if not bound.is_live(packet.now):
            misses.append("binding_expired")
        elif bound.home_agent != packet.outer.source:
            misses.append("home_agent_mismatch")
        elif not is_as_negotiated(packet, bound.home_agent_encapsulation, accepts_ipip=True):
            misses.append("encapsulation_mismatch")
        elif not has_key(packet, proxy.home_agent_gre_key):
            misses.append("gre_key")
        else:
            decapsulate(packet)
            packet.refusal = Refusal(packet.outer.destination)
            decrement_ttl(packet)
            leave(packet, "home_agent_to_gateway", proxy.gateway_private_ifindex, gateway.private_address)
            check_fit(packet)
            return
    raise closest(misses)
