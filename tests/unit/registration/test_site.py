"""Proxy and home agent together, joined by two lists: what a node sees of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Bind
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.proxy import Proxy
from mobileip.registration.security import AuthenticReply, authenticate_reply
from mobileip.wire.messages import Flag, RegistrationRequest, parse_reply, types_of
from mobileip.wire.typed_extensions import UdpTunnelReply, UdpTunnelRequest
from tests.unit.registration.parties import (
    CARE_OF,
    DIRECT_REQUEST,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    MIPP_PUB,
    NAT,
    NODE_SA,
    NOW,
    PARAMETER,
    PROXY,
    REQUEST,
    Site,
    at,
    codes,
    from_node,
    signed,
    to_home_agent,
)

INSIDE_NAT = IPv4Address("198.51.100.75")


@pytest.fixture
def site() -> Site:
    return Site()


def test_registration_binds_on_both_and_the_reply_is_the_proxys_D_2_3(site: Site) -> None:
    (send,) = site.register(REQUEST, NOW)
    reply = parse_reply(send.payload)
    assert (send.source, send.destination) == (Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434))
    assert (reply.code, reply.lifetime, reply.home_agent, reply.identification) == (1, 600, MIPP_PUB, at(NOW))
    assert types_of(reply.extensions) == (126, 32)
    assert isinstance(authenticate_reply(reply, {NODE_SA.spi: NODE_SA}), AuthenticReply)
    (outside,), (inside,) = site.proxy.bindings, site.home_agent.bindings
    assert (outside.care_of_address, inside.care_of_address) == (CARE_OF, MIPP_PRIV)
    assert outside.expires <= inside.expires


def test_roaming_home_open_nat_agent_and_back(site: Site) -> None:
    """The demonstration's tour, as the machines see it."""
    behind_nat = replace(REQUEST, care_of_address=INSIDE_NAT, extensions=(PARAMETER, UdpTunnelRequest().extension()))
    by_agent = replace(REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=FOREIGN_AGENT)
    stops: list[tuple[RegistrationRequest, Endpoint | IPv4Address, Encapsulation, int]] = [
        (REQUEST, CARE_OF, Encapsulation.IPIP, 600),
        (behind_nat, NAT, Encapsulation.UDP, 60),
        (by_agent, FOREIGN_AGENT, Encapsulation.IPIP, 600),
        (REQUEST, CARE_OF, Encapsulation.IPIP, 600),
    ]
    now = NOW
    for request, source, encapsulation, lifetime in stops:
        now += 20.125
        (send,) = site.register(replace(request, identification=at(now)), now, source)
        assert parse_reply(send.payload).lifetime == lifetime
        (binding,) = site.proxy.bindings
        assert (binding.care_of_address, binding.encapsulation) == (request.care_of_address, encapsulation)
        assert len(site.home_agent.bindings) == 1

    # Home: the proxy says 206, the home agent takes the deregistration.
    now += 20.125
    asks = replace(REQUEST, care_of_address=HOME, lifetime=0, identification=at(now))
    assert codes(site.proxy.feed(from_node(asks, HOME, "priv"), now)) == [206]
    assert site.proxy.bindings == ()
    at_home = replace(DIRECT_REQUEST, care_of_address=HOME, lifetime=0, identification=at(now + 0.01))
    assert codes(site.home_agent.feed(to_home_agent(at_home, HOME, "home"), now + 0.01)) == [0]
    assert site.home_agent.bindings == ()

    # And out again: nothing that was inside stands in the way.
    now += 20.125
    (send,) = site.register(replace(REQUEST, identification=at(now)), now)
    assert parse_reply(send.payload).code == 1


def test_udp_tunnelling_ends_at_the_proxy_D_6_a(site: Site) -> None:
    request = replace(REQUEST, care_of_address=INSIDE_NAT, extensions=(PARAMETER, UdpTunnelRequest().extension()))
    (send,) = site.register(request, NOW, NAT)
    assert send.destination == NAT
    assert parse_reply(send.payload).extensions[:2] == (PARAMETER, UdpTunnelReply(0, False, 110).extension())
    assert [binding.encapsulation for binding in site.home_agent.bindings] == [Encapsulation.IPIP]


@pytest.mark.parametrize("care_of", [HOME, CARE_OF])
def test_deregistration_from_outside_ends_both_bindings_AMB_11(site: Site, care_of: IPv4Address) -> None:
    site.register(REQUEST, NOW)
    request = replace(REQUEST, lifetime=0, care_of_address=care_of, identification=at(NOW + 5))
    (send,) = site.register(request, NOW + 5)
    assert (parse_reply(send.payload).code, parse_reply(send.payload).lifetime) == (0, 0)
    assert (site.proxy.bindings, site.home_agent.bindings) == ((), ())


def test_home_agents_clock_reaches_the_node_through_the_proxy_AMB_6(site: Site) -> None:
    site.home_agent.feed(to_home_agent(replace(DIRECT_REQUEST, identification=at(NOW + 3))), NOW + 3)
    (send,) = site.register(REQUEST, NOW + 3)
    assert parse_reply(send.payload).code == 133  # older than what the home agent has seen
    (send,) = site.register(replace(REQUEST, identification=at(NOW + 4)), NOW + 4)
    assert parse_reply(send.payload).code == 1


def test_everything_ends_by_itself_when_the_node_is_gone_D_3_h(site: Site) -> None:
    site.register(REQUEST, NOW)
    while (due := site.proxy.next_deadline()) is not None:
        site.proxy.handle_timer(due)
    while (due := site.home_agent.next_deadline()) is not None:
        site.home_agent.handle_timer(due)
    assert (site.proxy.bindings, site.home_agent.bindings) == ((), ())


def test_both_killed_nothing_is_lost_and_no_replay_accepted(site: Site) -> None:
    site.register(REQUEST, NOW)
    proxy, home_agent = Proxy(PROXY), HomeAgent(HOME_AGENT_SETTINGS)
    restored = proxy.restore(site.proxy_disk.records(), NOW + 1)
    assert [action.binding for action in restored if isinstance(action, Bind)] == list(site.proxy.bindings)
    home_agent.restore(site.home_agent_disk.records(), NOW + 1)
    again = Site(proxy, home_agent, site.proxy_disk, site.home_agent_disk)
    (send,) = again.register(REQUEST, NOW + 1)
    assert parse_reply(send.payload).code == 133
    (send,) = again.register(replace(REQUEST, identification=at(NOW + 2.5)), NOW + 2.5)
    assert parse_reply(send.payload).code == 1


def test_captured_request_with_another_source_is_a_replay(site: Site) -> None:
    site.register(REQUEST, NOW)
    (send,) = site.register(signed(REQUEST), NOW + 0.5, NAT)
    assert parse_reply(send.payload).code == 133
    assert [binding.source.address for binding in site.proxy.bindings] == [CARE_OF]
