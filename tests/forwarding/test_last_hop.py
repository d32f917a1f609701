"""A packet whose TTL ends at a layer-2 hand-over or at a tunnel's beginning: its source is told, through its tunnel if
it has one. On wires, with one box and two."""

from __future__ import annotations

import socket

import pytest

from mobileip.forwarding.entries import Encapsulation, TunnelPolicy
from mobileip.forwarding.tables import HomeAgentTables
from tests.forwarding import frames
from tests.forwarding.test_namespaces import (
    ESP,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    VPNGW_PUB,
    Site,
    exchange_esp,
    ip,
    pytest_generate_tests,
    raw_socket,
    received,
    site,
)

__all__ = ["pytest_generate_tests", "site"]  # fixtures, and the two kinds of site
pytestmark = pytest.mark.namespaces
CN = "192.0.2.80"
TIME_EXCEEDED = b"\x0b\x00"
TOLD = TunnelPolicy(errors_per_second=100)


def told(site: Site, host: str, address: str, protocol: int, to: str, hops: int) -> tuple[str, bytes] | None:
    """Who says of a packet with so few hops that its time is over, and the quoted one."""
    marker = b"how far?" * 12
    sender = site.hosts[host].run(raw_socket, protocol, address)
    listener = site.hosts[host].run(raw_socket, socket.IPPROTO_ICMP, address)
    with sender, listener:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        payload = frames.udp(7, 7, marker) if protocol == socket.IPPROTO_UDP else marker
        sender.sendto(payload, (to, 0))
        error = received(listener, TIME_EXCEEDED)
    if error is None or error[20:22] != TIME_EXCEEDED:
        return None
    return socket.inet_ntoa(error[12:16]), error[28:]


@pytest.mark.parametrize("encapsulation", [Encapsulation.IPIP, Encapsulation.UDP_GRE, Encapsulation.MINIMAL])
def test_a_node_is_told_through_its_tunnel_R1812_5_3_1(site: Site, encapsulation: Encapsulation) -> None:
    site.move(encapsulation)
    site.proxy().set_policy(TOLD)
    hops = 2 if encapsulation.next_header == 55 else 1  # RFC 2004: the tunnel's way counts
    found = told(site, "node", HOME, ESP, VPNGW_PUB, hops)
    assert found is not None
    by, quoted = found
    assert by == MIPP_PUB
    assert (quoted[8], quoted[9], quoted[12:20]) == (1, ESP, ip(HOME).packed + ip(VPNGW_PUB).packed)
    counters = site.proxy().counters()
    assert (counters.packets["ttl_expired_answered"], counters.drops["ttl_expired"]) == (1, 0)
    assert None not in exchange_esp(site, b"with enough hops")


def test_the_gateway_is_told_by_the_proxy_R1812_5_3_1(site: Site) -> None:
    site.move(Encapsulation.UDP)
    site.proxy().set_policy(TOLD)
    found = told(site, "gateway", VPNGW_PUB, ESP, HOME, 1)
    assert found is not None
    assert found[0] == MIPP_PUB
    assert site.proxy().counters().packets["ttl_expired_answered"] == 1


def test_a_correspondent_sees_home_agent_and_proxy_on_the_way_R2003_3_1(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    for tables in (site.proxy(), HomeAgentTables(site.pin_dir("agent"))):
        tables.set_policy(TOLD)
    found = [told(site, "cn", CN, socket.IPPROTO_UDP, HOME, hops) for hops in (1, 2)]
    assert [each[0] if each else None for each in found] == [HOME_AGENT, MIPP_PRIV]


def test_nobody_is_told_where_that_is_off_and_the_packet_counts(site: Site) -> None:
    site.move(Encapsulation.IPIP)
    assert told(site, "gateway", VPNGW_PUB, ESP, HOME, 1) is None
    counters = site.proxy().counters()
    assert (counters.packets["ttl_expired_answered"], counters.drops["ttl_expired"]) == (0, 1)
