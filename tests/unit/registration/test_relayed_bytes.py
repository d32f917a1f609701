"""A registration through the proxy, byte by byte: what each side sees of it (draft 2, 2.2, 2.3, 2.7).

Read with `struct` and `hmac`, not with our own codec.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Bind, Send
from mobileip.registration.proxy import Proxy
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.extensions import Extension
from mobileip.wire.messages import Flag, RegistrationRequest
from mobileip.wire.typed_extensions import DynamicHomeAgent, HomeAgentParameter
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    NODE_SA,
    NOW,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    PROXY_SA,
    REQUEST,
    VISITED,
    at,
    from_home_agent,
    from_node,
    reply_to,
    sends,
    signed,
)

SERVICE = Extension(151, b"voice")
ASKED = replace(REQUEST, extensions=(SERVICE, PARAMETER))


def relayed(proxy: Proxy, payload: bytes, source: IPv4Address = CARE_OF, now: float = NOW) -> Send:
    """The one datagram that the proxy sends on."""
    (send,) = sends(proxy.feed(from_node(payload, source), now))
    return send


def answered(proxy: Proxy, lifetime: int = 300, code: int = 0, extensions: tuple[Extension, ...] = ()) -> Send:
    """The one datagram that goes to the node for the home agent's reply."""
    reply = reply_to(ASKED, code, lifetime, extensions=extensions)
    (send,) = sends(proxy.feed(from_home_agent(signed(reply, PROXY_SA)), NOW + 0.1))
    return send


def is_signed_last(payload: bytes, association: SecurityAssociation) -> bool:
    """Is the last extension a Mobile-Home authentication (RFC 5944 3.5.2) by this key over all before it?"""
    covered, digest = payload[:-16], payload[-16:]
    kind, length, spi = struct.unpack("!BBI", covered[-6:])
    right = hmac.new(association.key, covered, hashlib.md5).digest()
    return (kind, length, spi, digest) == (32, 20, association.spi, right)


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(PROXY)


# -- toward the home agent ----------------------------------------------------------------------------------------


def test_new_request_names_home_agent_and_mipp_priv_D_2_2_b_and_D_2_2_2_d_and_D_2_2_2_e(proxy: Proxy) -> None:
    send = relayed(proxy, signed(ASKED))
    kind, _, lifetime, home, agent, care_of, identification = struct.unpack("!BBHIII8s", send.payload[:24])
    assert (kind, lifetime, IPv4Address(home)) == (1, 600, HOME)
    assert IPv4Address(agent) == send.destination.address == HOME_AGENT
    assert IPv4Address(care_of) == send.source.address == MIPP_PRIV
    assert identification == at(NOW).to_bytes(8, "big")
    assert CARE_OF.packed not in send.payload
    assert MIPP_PUB.packed not in send.payload


def test_new_request_is_signed_for_the_home_agent_and_by_nothing_of_the_nodes_D_2_2_3_b_and_D_1_4_1_c(
    proxy: Proxy,
) -> None:
    original = signed(ASKED)
    send = relayed(proxy, original)
    assert is_signed_last(send.payload, PROXY_SA)
    assert original[-16:] not in send.payload  # the node's registration has ended here
    assert struct.pack("!I", NODE_SA.spi) not in send.payload


def test_service_selection_and_what_only_the_ends_know_arrives_as_sent_R5446_3_a_and_R5177_5_a(proxy: Proxy) -> None:
    mobile_network = Extension(148, bytes.fromhex("0000c0000240"))
    send = relayed(proxy, signed(replace(ASKED, extensions=(SERVICE, mobile_network, PARAMETER))))
    assert send.payload[24:-22] == bytes.fromhex("9705") + b"voice" + bytes.fromhex("94060000c0000240")


@pytest.mark.parametrize("target", [OTHER_HOME_AGENT, IPv4Address("192.0.2.99")])
def test_requested_home_agent_does_not_lead_around_the_proxy_R4433_4_a(proxy: Proxy, target: IPv4Address) -> None:
    around = DynamicHomeAgent(target).extension()
    send = relayed(proxy, signed(replace(ASKED, extensions=(around, PARAMETER))))
    assert send.destination.address == HOME_AGENT
    allowed = target in PROXY.home_agents
    assert (target.packed in send.payload) is allowed


def test_home_agent_parameter_is_looked_for_and_says_where_the_request_goes_D_2_2_4_d(proxy: Proxy) -> None:
    both = replace(PROXY, home_agents=dict.fromkeys(PROXY.home_agents, PROXY.home_agents[HOME_AGENT]))
    for home_agent in (HOME_AGENT, OTHER_HOME_AGENT):
        named = replace(REQUEST, extensions=(HomeAgentParameter(home_agent).extension(),))
        send = relayed(Proxy(both), signed(named))
        assert send.destination.address == home_agent
        assert bytes((126, 6)) not in send.payload[24:]  # it ends here


def test_request_from_outside_is_forwarded_D_2_6_1_b(proxy: Proxy) -> None:
    assert relayed(proxy, signed(ASKED)).destination.address == HOME_AGENT
    through_agent = replace(ASKED, flags=Flag.REVERSE_TUNNEL, care_of_address=FOREIGN_AGENT, identification=at(NOW + 1))
    assert relayed(proxy, signed(through_agent), FOREIGN_AGENT, NOW + 1).destination.address == HOME_AGENT


# -- toward the node ----------------------------------------------------------------------------------------------


def test_reply_returns_through_the_proxy_from_mipp_pub_D_2_b_and_D_2_3_1_f_and_D_2_3_c(proxy: Proxy) -> None:
    relayed(proxy, signed(ASKED))
    send = answered(proxy)
    kind, code, lifetime, home, agent, identification = struct.unpack("!BBHII8s", send.payload[:20])
    assert (kind, code, lifetime, IPv4Address(home)) == (3, 0, 300, HOME)
    assert IPv4Address(agent) == send.source.address == MIPP_PUB
    assert identification == at(NOW).to_bytes(8, "big")
    assert (send.destination, send.source.port) == ((CARE_OF, 434), 434)


def test_reply_is_signed_for_the_node_and_by_nothing_of_the_home_agents_D_2_3_1_i(proxy: Proxy) -> None:
    relayed(proxy, signed(ASKED))
    send = answered(proxy)
    assert is_signed_last(send.payload, NODE_SA)
    assert struct.pack("!I", PROXY_SA.spi) not in send.payload


@pytest.mark.parametrize(("granted", "told"), [(300, 300), (600, 600), (601, 600), (0xFFFF, 600), (1, 1)])
def test_reply_has_the_home_agents_lifetime_and_never_more_than_was_asked_D_2_3_1_c(
    proxy: Proxy, granted: int, told: int
) -> None:
    relayed(proxy, signed(ASKED))
    assert struct.unpack("!H", answered(proxy, granted).payload[2:4]) == (told,)


@pytest.mark.parametrize(("code", "bound"), [(0, 1), (1, 1), (64, 0), (128, 0), (129, 0), (130, 0), (133, 0), (139, 0)])
def test_bindings_change_on_a_successful_reply_only_D_2_6_6_b(proxy: Proxy, code: int, bound: int) -> None:
    relayed(proxy, signed(ASKED))
    actions = proxy.feed(from_home_agent(reply_to(ASKED, code)), NOW)
    assert len(proxy.bindings) == sum(isinstance(action, Bind) for action in actions) == bound
    assert [send.payload[1] for send in sends(actions)] == [code]


# -- denials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (signed(ASKED) + b"\x83\x09x", 134),  # an extension that ends behind the datagram
        (signed(replace(ASKED, extensions=(PARAMETER, PARAMETER))), 134),
        (signed(replace(ASKED, care_of_address=IPv4Address("127.0.0.1"))), 134),
        (signed(replace(ASKED, identification=at(NOW - 60))), 133),
        (signed(replace(ASKED, home_agent=HOME_AGENT)), 136),
    ],
)
def test_malformed_request_is_answered_as_a_home_agent_would_D_2_2_4_a(proxy: Proxy, payload: bytes, code: int) -> None:
    send = relayed(proxy, payload)
    assert (send.payload[0], send.payload[1], send.destination.address) == (3, code, CARE_OF)
    assert is_signed_last(send.payload, NODE_SA)
    assert proxy.pending == 0


@pytest.mark.parametrize(
    ("request_", "source", "interface", "code"),
    [
        (replace(ASKED, flags=Flag.DECAPSULATES), CARE_OF, "pub", 138),
        (replace(ASKED, extensions=()), CARE_OF, "pub", 200),
        (replace(ASKED, extensions=(HomeAgentParameter(IPv4Address(0)).extension(),)), CARE_OF, "pub", 201),
        (replace(ASKED, care_of_address=VISITED), VISITED, "priv", 206),
        (ASKED, CARE_OF, "priv", 129),
        (replace(ASKED, flags=CO_LOCATED | Flag.GRE), CARE_OF, "pub", 139),
    ],
)
def test_denial_for_a_reason_of_its_own_has_the_code_for_it_D_2_4_b_and_D_2_2_4_c(
    proxy: Proxy, request_: RegistrationRequest, source: IPv4Address, interface: str, code: int
) -> None:
    (send,) = sends(proxy.feed(from_node(request_, source, interface), NOW))
    kind, given, lifetime, home, agent, identification = struct.unpack("!BBHII8s", send.payload[:20])
    assert (kind, given, lifetime, IPv4Address(home), IPv4Address(agent)) == (3, code, 0, HOME, MIPP_PUB)
    assert identification == at(NOW).to_bytes(8, "big")
    assert is_signed_last(send.payload, NODE_SA)
    assert b"\x91" in send.payload[20:]  # and a Message String says why (RFC 4917)
