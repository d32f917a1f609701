"""RFC 3519 at the home agent, request bytes in and reply bytes out: each row of its error matrix (4.6.1), D-2.6.1-g."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.nat import NatPolicy
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest
from mobileip.wire.typed_extensions import UdpTunnelReply, UdpTunnelRequest
from tests.unit.registration.parties import (
    CO_LOCATED,
    DIRECT_REQUEST,
    DIRECT_SA,
    HOME_AGENT_SETTINGS,
    NOW,
    VISITED,
    at,
    only_reply,
    sends,
    signed,
    to_home_agent,
)

NAT = Endpoint(IPv4Address("192.0.2.150"), 40000)
PRIVATE = IPv4Address("10.9.8.7")
ASKED = UdpTunnelRequest().extension()
FORCED = UdpTunnelRequest(forced=True).extension()
AGENT_FLAGS = Flag.REVERSE_TUNNEL


@pytest.fixture
def agent() -> HomeAgent:
    return HomeAgent(HOME_AGENT_SETTINGS)


def forbidding(**policy: bool) -> HomeAgent:
    return HomeAgent(replace(HOME_AGENT_SETTINGS, nat=NatPolicy(**policy)))


def from_nat(*extensions: Extension, **changes: Any) -> DatagramReceived:
    """A request whose source is not its care-of address."""
    message = replace(DIRECT_REQUEST, care_of_address=PRIVATE, extensions=extensions)
    return to_home_agent(replace(message, **changes), NAT)


def plain(*extensions: Extension, **changes: Any) -> DatagramReceived:
    """A request from its care-of address."""
    return to_home_agent(replace(DIRECT_REQUEST, extensions=extensions, **changes))


def from_agent(message: RegistrationRequest, source: Endpoint = NAT) -> DatagramReceived:
    """A request that a foreign agent has put a UDP Tunnel Request behind."""
    return to_home_agent(signed(message, DIRECT_SA, behind=(ASKED,)), source)


def reply(agent: HomeAgent, received: DatagramReceived) -> RegistrationReply:
    return only_reply(agent.feed(received, NOW))


def answer(agent: HomeAgent, received: DatagramReceived) -> UdpTunnelReply | None:
    """The UDP Tunnel Reply of an accepted registration, None without one."""
    message = reply(agent, received)
    assert message.code == 1, message
    extension = find(message.extensions, ExtensionType.UDP_TUNNEL_REPLY)
    return None if extension is None else UdpTunnelReply.of(extension)


def test_source_elsewhere_is_a_nat_and_the_tunnel_goes_there_R3519_4_6_a_and_R3519_4_6_b(agent: HomeAgent) -> None:
    assert answer(agent, from_nat(ASKED)) == UdpTunnelReply(0, False, 110)
    (binding,) = agent.bindings
    assert (binding.encapsulation, binding.tunnel_peer, binding.care_of_address) == (Encapsulation.UDP, NAT, PRIVATE)


def test_nat_moves_with_the_next_request_R3519_4_10_a(agent: HomeAgent) -> None:
    agent.feed(from_nat(ASKED), NOW)
    moved = replace(from_nat(ASKED, identification=at(NOW + 1)), source=NAT._replace(port=40001))
    agent.feed(moved, NOW + 1)
    (binding,) = agent.bindings
    assert binding.tunnel_peer == NAT._replace(port=40001)


def test_nat_against_policy_is_129_R3519_4_6_1_a() -> None:
    agent = forbidding(allowed=False)
    assert (reply(agent, from_nat(ASKED)).code, agent.bindings) == (129, ())


def test_no_nat_is_declined_and_registered_R3519_4_6_1_b(agent: HomeAgent) -> None:
    assert answer(agent, plain(ASKED)) == UdpTunnelReply(64)
    (binding,) = agent.bindings
    assert (binding.encapsulation, binding.tunnel_peer.address) == (Encapsulation.IPIP, VISITED)


def test_question_of_a_node_without_d_is_134_R3519_4_6_1_c(agent: HomeAgent) -> None:
    assert (reply(agent, from_nat(ASKED, flags=AGENT_FLAGS)).code, agent.bindings) == (134, ())


def test_question_of_an_agent_with_d_is_134_R3519_4_6_1_d(agent: HomeAgent) -> None:
    message = replace(DIRECT_REQUEST, care_of_address=PRIVATE)
    assert (reply(agent, from_agent(message)).code, agent.bindings) == (134, ())


@pytest.mark.parametrize("encapsulation", [47, 55, 6])
def test_encapsulation_that_we_lack_is_142_R3519_4_6_1_e(agent: HomeAgent, encapsulation: int) -> None:
    asked = UdpTunnelRequest(encapsulation=encapsulation).extension()
    assert (reply(agent, from_nat(asked)).code, agent.bindings) == (142, ())


def test_nat_without_a_question_is_129_R3519_4_6_1_f(agent: HomeAgent) -> None:
    assert (reply(agent, from_nat()).code, agent.bindings) == (129, ())


def test_forced_without_nat_is_granted_with_f_or_129_R3519_4_6_1_g(agent: HomeAgent) -> None:
    assert answer(agent, plain(FORCED)) == UdpTunnelReply(0, True, 110)
    assert agent.bindings[0].encapsulation is Encapsulation.UDP
    refusing = forbidding(forced_allowed=False)
    assert (reply(refusing, plain(FORCED)).code, refusing.bindings) == (129, ())
    assert answer(refusing, from_nat(ASKED, identification=at(NOW + 1))) == UdpTunnelReply(0, False, 110)


def test_question_with_reserved3_is_as_none_R3519_3_1_b(agent: HomeAgent) -> None:
    odd = Extension(ExtensionType.UDP_TUNNEL_REQUEST, bytes.fromhex("000000040001"))
    assert reply(agent, from_nat(odd)).code == 129
    assert answer(agent, plain(odd, identification=at(NOW + 1))) is None


def test_nobody_is_answered_who_did_not_ask_R3519_3_2_b(agent: HomeAgent) -> None:
    assert answer(agent, plain()) is None
    refused = reply(agent, from_nat(identification=at(NOW + 1)))
    assert find(refused.extensions, ExtensionType.UDP_TUNNEL_REPLY) is None


@pytest.mark.parametrize(("asked", "granted"), [(600, 60), (60, 60), (30, 30), (0xFFFF, 60)])
def test_binding_behind_a_nat_is_short_R3519_5_2_a(agent: HomeAgent, asked: int, granted: int) -> None:
    assert reply(agent, from_nat(ASKED, lifetime=asked)).lifetime == granted
    assert agent.next_deadline() == NOW + granted


def test_agent_behind_a_nat_asks_for_its_node_R3519_4_6_b(agent: HomeAgent) -> None:
    message = replace(DIRECT_REQUEST, care_of_address=PRIVATE, flags=AGENT_FLAGS)
    assert answer(agent, from_agent(message)) == UdpTunnelReply(0, False, 110)
    assert agent.bindings[0].tunnel_peer == NAT


def test_reply_goes_back_through_the_nat_R5944_3_8_2_2_d_and_R5944_3_8_3_1_a(agent: HomeAgent) -> None:
    (send,) = sends(agent.feed(from_nat(ASKED), NOW))
    assert (send.source, send.destination) == (Endpoint(HOME_AGENT_SETTINGS.address, 434), NAT)


def test_deregistration_from_behind_a_nat_needs_no_question(agent: HomeAgent) -> None:
    agent.feed(from_nat(ASKED), NOW)
    over = reply(agent, from_nat(lifetime=0, identification=at(NOW + 1), flags=CO_LOCATED))
    assert (over.code, over.lifetime, agent.bindings) == (0, 0, ())
