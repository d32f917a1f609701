"""What a mobile node asks for where it is told to: MN-AAA authentication, GRE and minimal encapsulation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mobileip.registration.actions import Action, Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.mobile_node import MobileNode
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.registration.security import verify_mn_aaa
from mobileip.wire.authentication import CHAP_SPI, SecurityAssociation, append_mn_aaa
from mobileip.wire.codes import Code
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.messages import Flag, RegistrationRequest, parse_request
from mobileip.wire.typed_extensions import UdpTunnelReply, UdpTunnelRequest
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AT_AGENT,
    AT_OPEN,
    FOREIGN_AGENT,
    NOW,
    PARAMETER,
    SETTINGS,
    answer,
    to_proxy,
)

AGENT_SA = SecurityAssociation(5001, bytes(range(32, 48)))
AAA_SA = SecurityAssociation(7001, b"what the AAA server knows")
CHAP_SA = replace(AAA_SA, spi=CHAP_SPI)
CHALLENGE = b"sixteen bytes ok"
CHALLENGING = replace(ADVERTISEMENT, challenge=CHALLENGE)
ALL = frozenset(Encapsulation)


def request(actions: list[Action]) -> RegistrationRequest:
    sent = actions[-1]
    assert isinstance(sent, Send)
    return parse_request(sent.payload)


def with_aaa(**changes: Any) -> MobileNodeSettings:
    return replace(SETTINGS, aaa_association=AAA_SA, **changes)


def test_mn_aaa_stands_behind_32_and_covers_it_R4721_5_a_and_R4721_5_d() -> None:
    (*_, sent) = MobileNode(with_aaa()).feed(AT_OPEN, NOW)
    assert isinstance(sent, Send)
    assert sent.payload == append_mn_aaa(to_proxy(NOW).payload, AAA_SA)
    assert sent.payload[len(to_proxy(NOW).payload) :][:8] == b"\x24\x01\x00\x14" + (7001).to_bytes(4, "big")


@pytest.mark.parametrize("association", [AAA_SA, CHAP_SA])
def test_mn_aaa_answers_the_agents_challenge_before_it_R4721_3_3_a_and_R4721_8_a(
    association: SecurityAssociation,
) -> None:
    node = MobileNode(replace(SETTINGS, aaa_association=association, agent_associations={FOREIGN_AGENT: AGENT_SA}))
    node.feed(AT_AGENT, NOW)
    asked = request(node.feed(CHALLENGING, NOW))
    assert [extension.type for extension in asked.extensions] == [126, 32, 132, 36, 33]
    assert verify_mn_aaa(asked, {association.spi: association}) is None
    assert verify_mn_aaa(asked, {association.spi: replace(association, key=b"another")}) is not None


def test_under_spi_2_a_node_without_a_foreign_agent_answers_the_challenge_0_R4721_8_a() -> None:
    asked = request(MobileNode(replace(SETTINGS, aaa_association=CHAP_SA)).feed(AT_OPEN, NOW))
    assert verify_mn_aaa(asked, {CHAP_SPI: CHAP_SA}) is None


def test_without_an_association_with_an_aaa_server_there_is_no_36() -> None:
    asked = request(MobileNode(SETTINGS).feed(AT_OPEN, NOW))
    assert find(asked.extensions, ExtensionType.GENERALIZED_AUTHENTICATION) is None


@pytest.mark.parametrize(
    ("encapsulations", "flag", "plain", "in_udp"),
    [
        (ALL, Flag.GRE, Encapsulation.GRE, Encapsulation.UDP_GRE),
        (ALL - {Encapsulation.GRE}, Flag.MINIMAL, Encapsulation.MINIMAL, Encapsulation.UDP_MINIMAL),
        (ALL - {Encapsulation.UDP_GRE}, Flag.GRE, Encapsulation.GRE, Encapsulation.UDP),
        (SETTINGS.encapsulations, 0, Encapsulation.IPIP, Encapsulation.UDP),
    ],
)
def test_m_and_g_ask_for_what_the_data_path_carries_and_for_the_same_in_udp_R3519_3_1_a(
    encapsulations: frozenset[Encapsulation], flag: int, plain: Encapsulation, in_udp: Encapsulation
) -> None:
    settings = replace(SETTINGS, encapsulations=encapsulations)
    for tunnel, granted in ((None, plain), (UdpTunnelReply(64), plain), (UdpTunnelReply(0), in_udp)):
        node = MobileNode(settings)
        asked = node.feed(AT_OPEN, NOW)
        assert request(asked).flags & (Flag.GRE | Flag.MINIMAL) == flag
        plea = find(request(asked).extensions, ExtensionType.UDP_TUNNEL_REQUEST)
        assert plea is not None
        header = {Encapsulation.UDP: 4, Encapsulation.UDP_GRE: 47, Encapsulation.UDP_MINIMAL: 55}[in_udp]
        assert UdpTunnelRequest.of(plea).encapsulation == header
        extensions = (PARAMETER,) if tunnel is None else (PARAMETER, tunnel.extension())
        node.feed(answer(asked, extensions=extensions), NOW + 0.1)
        assert node.status().encapsulation is granted


@pytest.mark.parametrize("code", [Code.ENCAPSULATION_UNAVAILABLE, Code.UDP_ENCAPSULATION_UNAVAILABLE])
def test_what_nobody_grants_is_asked_for_no_more(code: Code) -> None:
    node = MobileNode(replace(SETTINGS, encapsulations=ALL))
    node.feed(answer(node.feed(AT_OPEN, NOW), code), NOW + 0.1)
    at = node.next_deadline()
    assert at is not None
    again = request(node.handle_timer(at))
    assert not again.flags & (Flag.GRE | Flag.MINIMAL)
    plea = find(again.extensions, ExtensionType.UDP_TUNNEL_REQUEST)
    assert plea is not None
    assert UdpTunnelRequest.of(plea).encapsulation == 4


@pytest.mark.parametrize(
    ("encapsulations", "offer", "flag"),
    [
        (ALL, {"gre": True}, Flag.GRE),
        (ALL - {Encapsulation.GRE}, {"minimal_encapsulation": True}, Flag.MINIMAL),
        (ALL, {}, 0),
        (ALL, {"minimal_encapsulation": True}, 0),
        (ALL - {Encapsulation.GRE, Encapsulation.UDP_MINIMAL}, {"minimal_encapsulation": True}, 0),
        (SETTINGS.encapsulations, {"gre": True, "minimal_encapsulation": True}, 0),
    ],
)
def test_of_an_agent_that_ends_the_tunnel_is_asked_what_it_advertises_R5944_4_1_b(
    encapsulations: frozenset[Encapsulation], offer: dict[str, Any], flag: int
) -> None:
    node = MobileNode(replace(SETTINGS, encapsulations=encapsulations))
    node.feed(AT_AGENT, NOW)
    asked = request(node.feed(replace(ADVERTISEMENT, **offer), NOW))
    assert asked.flags == Flag.REVERSE_TUNNEL | flag
