"""Which tunnel a registration gets: the home agent's side of RFC 3519 4.4 and 4.6.1, row by row."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Bind
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.nat import IPIP, Denied, NatPolicy, Tunnel, negotiate
from mobileip.registration.proxy import Proxy
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import Flag, parse_request
from mobileip.wire.typed_extensions import UdpTunnelReply, UdpTunnelRequest
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    FOREIGN_AGENT,
    MIPP_PUB,
    NAT,
    NODE_SA,
    NOW,
    PARAMETER,
    PROXY,
    REQUEST,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    sends,
    signed,
)

POLICY = NatPolicy()
PLAIN = UdpTunnelRequest()
FORCED = UdpTunnelRequest(forced=True)
THROUGH_AGENT = UdpTunnelRequest(through_foreign_agent=True)
UDP = Tunnel(Encapsulation.UDP, answer=UdpTunnelReply(0, False, 110))
DECLINED = Tunnel(Encapsulation.IPIP, answer=UdpTunnelReply(64))


def asked(
    before: UdpTunnelRequest | Extension | None = None,
    behind: UdpTunnelRequest | Extension | None = None,
    flags: int = CO_LOCATED,
    care_of: IPv4Address = CARE_OF,
) -> AuthenticRequest:
    """An authentic request with 144 before or behind its authenticator."""
    first, second = (one.extension() if isinstance(one, UdpTunnelRequest) else one for one in (before, behind))
    message = replace(REQUEST, flags=flags, care_of_address=care_of, extensions=(first,) if first else ())
    request = parse_request(signed(message, behind=(second,) if second else ()))
    return AuthenticRequest(request, NODE_SA, 1 if first else 0)


def code(result: Tunnel | Denied) -> int:
    assert isinstance(result, Denied)
    return result.code


def test_without_nat_and_without_question_it_is_ip_in_ip_R3519_3_2_b() -> None:
    assert negotiate(asked(), CARE_OF, POLICY) == IPIP


def test_nat_without_question_is_129_R3519_4_6_1_f() -> None:
    assert code(negotiate(asked(), NAT.address, POLICY)) == 129


def test_nat_and_question_is_udp_with_our_keepalive_R3519_4_6_a() -> None:
    assert negotiate(asked(PLAIN), NAT.address, NatPolicy(keepalive=30)) == replace(
        UDP, answer=UdpTunnelReply(0, False, 30)
    )


def test_question_without_nat_is_declined_in_so_many_words_R3519_4_6_1_b() -> None:
    assert negotiate(asked(PLAIN), CARE_OF, POLICY) == DECLINED


def test_forced_without_nat_is_udp_with_f_echoed_R3519_4_6_1_g() -> None:
    expected = Tunnel(Encapsulation.UDP, answer=UdpTunnelReply(0, True, 110))
    assert negotiate(asked(FORCED), CARE_OF, POLICY) == expected


def test_what_policy_forbids_is_129_R3519_4_6_1_a() -> None:
    assert code(negotiate(asked(PLAIN), NAT.address, NatPolicy(allowed=False))) == 129
    assert code(negotiate(asked(FORCED), CARE_OF, NatPolicy(forced_allowed=False))) == 129
    assert negotiate(asked(FORCED), NAT.address, NatPolicy(forced_allowed=False)) == replace(
        UDP, answer=UdpTunnelReply(0, True, 110)
    )


def test_registered_through_an_agent_is_half_bound_R3519_4_4() -> None:
    assert negotiate(asked(THROUGH_AGENT), NAT.address, POLICY) == replace(UDP, half_bound=True)


def test_question_on_the_wrong_side_of_the_authenticator_is_134_R3519_4_6_1_c_and_R3519_4_6_1_d() -> None:
    assert code(negotiate(asked(PLAIN, flags=Flag.REVERSE_TUNNEL), CARE_OF, POLICY)) == 134
    assert code(negotiate(asked(behind=PLAIN), NAT.address, POLICY)) == 134


def test_question_behind_the_agents_authenticator_is_nobodys_R3519_4_5_a() -> None:
    message = replace(REQUEST, flags=Flag.REVERSE_TUNNEL, care_of_address=FOREIGN_AGENT, extensions=())
    agent = SecurityAssociation(5001, b"f" * 16)
    vouched_for = append(signed(message), agent, ExtensionType.FA_HA_AUTHENTICATION)
    added = parse_request(vouched_for + PLAIN.extension().serialize())
    assert negotiate(AuthenticRequest(added, NODE_SA, 0), NAT.address, POLICY) == IPIP


def test_foreign_agent_behind_a_nat_asks_behind_the_authenticator_R3519_4_5() -> None:
    request = asked(behind=PLAIN, flags=Flag.REVERSE_TUNNEL, care_of=FOREIGN_AGENT)
    assert negotiate(request, NAT.address, POLICY) == UDP
    assert negotiate(request, FOREIGN_AGENT, POLICY) == DECLINED


def test_foreign_agent_may_send_from_another_address_D_2_7_2() -> None:
    assert negotiate(asked(flags=Flag.REVERSE_TUNNEL, care_of=FOREIGN_AGENT), CARE_OF, POLICY) == IPIP


@pytest.mark.parametrize("encapsulation", [1, 17, 47, 50, 55, 255])
def test_encapsulation_in_udp_that_we_lack_is_142_R3519_4_6_1_e(encapsulation: int) -> None:
    assert code(negotiate(asked(UdpTunnelRequest(encapsulation=encapsulation)), NAT.address, POLICY)) == 142


def test_encapsulation_0_means_the_m_and_g_bits_R3519_3_1() -> None:
    assert negotiate(asked(UdpTunnelRequest(encapsulation=0)), NAT.address, POLICY) == UDP


@pytest.mark.parametrize("bit", [Flag.MINIMAL, Flag.GRE])
def test_encapsulation_that_we_lack_is_139_R3024_4_3_1(bit: Flag) -> None:
    assert code(negotiate(asked(flags=CO_LOCATED | bit), CARE_OF, POLICY)) == 139


ALL = frozenset(Encapsulation)


@pytest.mark.parametrize(
    ("bits", "have", "expected"),
    [
        (Flag.GRE, ALL, Encapsulation.GRE),
        (Flag.MINIMAL, ALL, Encapsulation.MINIMAL),
        (Flag.MINIMAL | Flag.GRE, ALL, Encapsulation.GRE),
        (Flag.MINIMAL | Flag.GRE, ALL - {Encapsulation.GRE}, Encapsulation.MINIMAL),
        (0, ALL, Encapsulation.IPIP),
    ],
)
def test_m_and_g_bits_choose_the_encapsulation_R5944_4_1(
    bits: int, have: frozenset[Encapsulation], expected: Encapsulation
) -> None:
    assert negotiate(asked(flags=CO_LOCATED | bits), CARE_OF, POLICY, have) == Tunnel(expected)
    declined = Tunnel(expected, answer=UdpTunnelReply(64))
    assert negotiate(asked(PLAIN, flags=CO_LOCATED | bits), CARE_OF, POLICY, have) == declined


def test_without_reverse_tunnel_an_encapsulation_that_we_lack_is_ip_in_ip_R5944_4_1() -> None:
    assert negotiate(asked(flags=Flag.DECAPSULATES | Flag.GRE), CARE_OF, POLICY) == IPIP


@pytest.mark.parametrize(
    ("bits", "field", "expected"),
    [
        (0, 47, Encapsulation.UDP_GRE),
        (0, 55, Encapsulation.UDP_MINIMAL),
        (Flag.GRE, 0, Encapsulation.UDP_GRE),
        (Flag.MINIMAL, 0, Encapsulation.UDP_MINIMAL),
        (Flag.MINIMAL | Flag.GRE, 4, Encapsulation.UDP),
        (Flag.MINIMAL | Flag.GRE, 0, Encapsulation.UDP_GRE),
    ],
)
def test_extension_or_else_the_bits_choose_what_is_in_udp_R3519_3_1(
    bits: int, field: int, expected: Encapsulation
) -> None:
    request = asked(UdpTunnelRequest(encapsulation=field), flags=CO_LOCATED | bits)
    assert negotiate(request, NAT.address, POLICY, ALL) == replace(UDP, encapsulation=expected)
    assert expected.in_udp


def test_bits_that_we_lack_in_udp_are_142_R3519_3_5() -> None:
    request = asked(UdpTunnelRequest(encapsulation=0), flags=CO_LOCATED | Flag.GRE)
    assert code(negotiate(request, NAT.address, POLICY)) == 142


def test_question_with_reserved3_does_not_exist_R3519_3_1_b() -> None:
    odd = Extension(144, bytes.fromhex("000080040001"))
    assert negotiate(asked(odd), CARE_OF, POLICY) == IPIP
    assert code(negotiate(asked(odd), NAT.address, POLICY)) == 129
    assert negotiate(asked(odd, flags=Flag.REVERSE_TUNNEL), CARE_OF, POLICY) == IPIP


def test_question_of_another_length_is_134() -> None:
    assert code(negotiate(asked(Extension(144, b"\0")), NAT.address, POLICY)) == 134


# -- the same through the proxy -----------------------------------------------------------------------------------

BEHIND_NAT = replace(REQUEST, care_of_address=IPv4Address("198.51.100.75"), extensions=(PARAMETER, PLAIN.extension()))


def test_proxy_ends_144_and_answers_with_44_of_its_own_D_6_a() -> None:
    proxy = Proxy(PROXY)
    relayed = only_request(proxy.feed(from_node(BEHIND_NAT, NAT), NOW))
    assert [extension.type for extension in relayed.extensions] == [32]
    assert relayed.lifetime == 60  # RFC 3519 5.2
    actions = proxy.feed(from_home_agent(reply_to(BEHIND_NAT, lifetime=60)), NOW)
    assert only_reply(actions).extensions[:-1] == (PARAMETER, UdpTunnelReply(0, False, 110).extension())
    assert only_reply(actions).lifetime == 60


def test_reply_and_tunnel_go_to_the_nats_address_and_port_D_6_b_and_R3519_4_6_b() -> None:
    proxy = Proxy(PROXY)
    proxy.feed(from_node(BEHIND_NAT, NAT), NOW)
    actions = proxy.feed(from_home_agent(reply_to(BEHIND_NAT)), NOW)
    assert [(send.source.address, send.source.port, send.destination) for send in sends(actions)] == [
        (MIPP_PUB, 434, NAT)
    ]
    (binding,) = proxy.bindings
    assert (binding.encapsulation, binding.tunnel_peer, binding.tunnel_source) == (
        Encapsulation.UDP,
        NAT,
        NAT.address,
    )
    assert (binding.keepalive, binding.granted, binding.expires) == (110, 60, NOW + 60)


def test_mapping_moves_with_the_next_request_R3519_4_10() -> None:
    proxy = Proxy(PROXY)
    moved = NAT._replace(port=50000)
    for now, source in ((NOW, NAT), (NOW + 30, moved)):
        request = replace(BEHIND_NAT, identification=at(now))
        proxy.feed(from_node(request, source), now)
        actions = proxy.feed(from_home_agent(reply_to(request)), now)
    assert [(binding.source, binding.expires) for binding in proxy.bindings] == [(moved, NOW + 90)]
    assert [action.replaces for action in actions if isinstance(action, Bind)] == [()]


def test_denied_by_the_home_agent_there_is_no_44() -> None:
    proxy = Proxy(PROXY)
    proxy.feed(from_node(BEHIND_NAT, NAT), NOW)
    assert only_reply(proxy.feed(from_home_agent(reply_to(BEHIND_NAT, 130)), NOW)).extensions[:-1] == (PARAMETER,)


def test_deregistration_from_elsewhere_needs_no_tunnel() -> None:
    proxy = Proxy(PROXY)
    request = replace(REQUEST, lifetime=0)
    assert only_request(proxy.feed(from_node(request, NAT), NOW)).lifetime == 0


def test_nat_without_question_is_denied_by_the_proxy() -> None:
    assert codes(Proxy(PROXY).feed(from_node(REQUEST, NAT), NOW)) == [129]
