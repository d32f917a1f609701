"""The home agent cannot be reached: from an ICMP error to the node's answer (draft 2.6.7, AMB-14)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from mobileip.registration.actions import Bind, Count, PersistBinding, Send
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.events import DatagramReceived, Endpoint, UnreachableReceived
from mobileip.registration.proxy import Proxy
from mobileip.registration.unreachable import unreachable_code
from mobileip.wire.extensions import find
from mobileip.wire.messages import RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter, MessageString
from mobileip.wire.unreachable import Unreachable, udp_checksum
from tests.unit.registration.parties import (
    CARE_OF,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    NODE_SA,
    NOW,
    OTHER_HOME_AGENT,
    PROXY,
    REQUEST,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    reply_to,
    sends,
)

ROUTER = IPv4Address("192.0.2.33")
PORTS = (20434, 20435, 20436)


def proxy_with_ports() -> Proxy:
    return Proxy(replace(PROXY, source_ports=PORTS))


def relayed(proxy: Proxy, request: RegistrationRequest = REQUEST, now: float = NOW) -> Send:
    """What the proxy sends to the home agent for a node's request."""
    (send,) = sends(proxy.feed(from_node(request), now))
    return send


def error_about(sent: Send, code: int = 1, quoted: int = 548, **changes: Any) -> UnreachableReceived:
    """The ICMP error of a router that quotes `quoted` bytes of the UDP payload."""
    error = Unreachable(
        code,
        *sent.source,
        *sent.destination,
        len(sent.payload) + 8,
        udp_checksum(*sent.source, *sent.destination, payload=sent.payload),
        sent.payload[:quoted],
    )
    return UnreachableReceived(replace(error, **changes), ROUTER, "priv")


def test_node_is_told_202_and_why_when_the_grace_is_over_D_2_6_7_a_and_D_2_4_1_c_and_AMB_14() -> None:
    proxy = proxy_with_ports()
    sent = relayed(proxy)
    assert sends(proxy.feed(error_about(sent), NOW + 0.1)) == []
    assert proxy.next_deadline() == NOW + 0.6
    (send,) = sends(proxy.handle_timer(NOW + 0.6))
    assert (send.source, send.destination) == (Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434))
    reply = parse_reply(send.payload)
    assert (reply.code, reply.lifetime, reply.home_address, reply.identification) == (202, 0, HOME, at(NOW))
    said = find(reply.extensions, 145)
    assert said is not None
    assert MessageString.of(said).text == "home agent 192.0.2.40: ICMP 3/1 host unreachable"
    assert reply.extensions[0] == HomeAgentParameter(HOME_AGENT).extension()  # D-2.6.1-j: in this one, too
    assert reply.extensions[-1].data[:4] == NODE_SA.spi.to_bytes(4, "big")


@pytest.mark.parametrize(("icmp_code", "code"), [(0, 80), (1, 81), (2, 88), (3, 82), (9, 88), (10, 88), (13, 88)])
def test_codes_of_a_foreign_agent_R5944_3_7_3_a_and_AMB_14(icmp_code: int, code: int) -> None:
    assert unreachable_code(icmp_code) == code


@pytest.mark.parametrize("icmp_code", [0, 1, 2, 3, 5, 9, 10, 13])
def test_every_kind_of_unreachable_is_told_with_its_number_D_2_6_7_a(icmp_code: int) -> None:
    proxy = proxy_with_ports()
    proxy.feed(error_about(relayed(proxy), icmp_code), NOW)
    reply = only_reply(proxy.handle_timer(NOW + 1))
    said = find(reply.extensions, 145)
    assert reply.code == 202
    assert said is not None
    assert f"ICMP 3/{icmp_code} " in MessageString.of(said).text


@pytest.mark.parametrize(("icmp_code", "code"), [(0, 80), (1, 81), (3, 82), (2, 88), (13, 88)])
def test_profile_of_the_rfcs_has_a_code_for_each_AMB_2_and_AMB_14(icmp_code: int, code: int) -> None:
    proxy = Proxy(replace(PROXY, code_profile=CodeProfile.RFC))
    proxy.feed(error_about(relayed(proxy), icmp_code), NOW)
    assert only_reply(proxy.handle_timer(NOW + 1)).code == code


def test_reply_within_the_grace_wins_and_nobody_hears_of_the_error_AMB_14() -> None:
    proxy = proxy_with_ports()
    proxy.feed(error_about(relayed(proxy)), NOW + 0.1)
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 0.2)) == [0]
    assert sends(proxy.handle_timer(NOW + 5)) == []


def test_reply_behind_the_answer_still_counts_AMB_14() -> None:
    proxy = proxy_with_ports()
    proxy.feed(error_about(relayed(proxy)), NOW + 0.1)
    assert codes(proxy.handle_timer(NOW + 0.6)) == [202]
    actions = proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 2)
    assert codes(actions) == [0]
    assert [type(action) for action in actions[:2]] == [PersistBinding, Bind]


def test_second_error_about_a_request_changes_nothing_AMB_14() -> None:
    proxy = proxy_with_ports()
    error = error_about(relayed(proxy))
    proxy.feed(error, NOW)
    assert proxy.feed(error, NOW + 0.1) == [Count("unreachable_repeated")]
    assert codes(proxy.handle_timer(NOW + 0.5)) == [202]
    assert proxy.feed(error, NOW + 0.6) == [Count("unreachable_repeated")]
    assert sends(proxy.handle_timer(NOW + 3)) == []


def test_source_ports_take_turns_and_a_pool_of_none_is_port_434_AMB_14() -> None:
    proxy = proxy_with_ports()
    requests = [replace(REQUEST, identification=at(NOW + n / 4)) for n in range(4)]
    assert [relayed(proxy, request).source for request in requests] == [
        Endpoint(MIPP_PRIV, port) for port in (20434, 20435, 20436, 20434)
    ]
    assert relayed(Proxy(PROXY)).source == Endpoint(MIPP_PRIV, 434)


def test_reply_to_the_port_that_asked_is_taken_D_2_3_a() -> None:
    proxy = proxy_with_ports()
    sent = relayed(proxy)
    reply = from_home_agent(reply_to(REQUEST))
    actions = proxy.feed(DatagramReceived(reply.payload, reply.source, sent.source, "priv"), NOW + 0.1)
    assert codes(actions) == [0]


def two_pending(proxy: Proxy) -> tuple[Send, Send]:
    """Two requests of one node, both without reply."""
    first = relayed(proxy)
    return first, relayed(proxy, replace(REQUEST, identification=at(NOW + 0.25)), NOW + 0.25)


@pytest.mark.parametrize("quoted", [0, 20, 24, 40])
def test_error_finds_the_request_it_quotes_among_others_AMB_14(quoted: int) -> None:
    for number in (0, 1):
        proxy = Proxy(PROXY)  # one source port: only the bytes or the checksum tell them apart
        sent = two_pending(proxy)
        proxy.feed(error_about(sent[number], quoted=quoted), NOW + 0.3)
        reply = only_reply(proxy.handle_timer(NOW + 1))
        assert reply.identification == at(NOW + 0.25 * number)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": MIPP_PUB},
        {"source_port": 20435},
        {"destination": OTHER_HOME_AGENT},
        {"destination_port": 435},
        {"length": 9},
        {"payload": b"", "checksum": 1},
        {"payload": b"\x01" + bytes(30)},
        {"payload": b"\x03" + bytes(30)},
    ],
    ids=["source", "source port", "home agent", "port", "length", "checksum", "another request", "no request"],
)
def test_error_that_does_not_fit_a_pending_request_is_not_believed_AMB_14(changes: dict[str, Any]) -> None:
    proxy = proxy_with_ports()
    assert proxy.feed(error_about(relayed(proxy), **changes), NOW) == [Count("unreachable_without_request")]
    assert sends(proxy.handle_timer(NOW + 5)) == []


def test_error_with_one_byte_forged_is_not_believed_AMB_14() -> None:
    proxy = proxy_with_ports()
    sent = relayed(proxy)
    payload = sent.payload[:40] + bytes((sent.payload[40] ^ 1,)) + sent.payload[41:]
    assert proxy.feed(error_about(sent, payload=payload), NOW) == [Count("unreachable_without_request")]


def test_error_from_the_public_side_is_not_believed_AMB_14() -> None:
    proxy = proxy_with_ports()
    error = replace(error_about(relayed(proxy)), interface="pub")
    assert proxy.feed(error, NOW) == [Count("unreachable_from_outside")]


def test_error_for_size_is_the_kernels_business_AMB_14() -> None:
    proxy = proxy_with_ports()
    assert proxy.feed(error_about(relayed(proxy), 4), NOW) == [Count("unreachable_for_size")]


def test_error_after_the_timeout_finds_nothing_AMB_14() -> None:
    proxy = proxy_with_ports()
    error = error_about(relayed(proxy))
    assert proxy.feed(error, NOW + 7) == [Count("pending_timeout"), Count("unreachable_without_request")]


def test_deregistration_that_does_not_arrive_is_answered_too_D_2_6_7_a() -> None:
    proxy = proxy_with_ports()
    sent = relayed(proxy, replace(REQUEST, lifetime=0))
    proxy.feed(error_about(sent), NOW)
    assert only_reply(proxy.handle_timer(NOW + 1)).code == 202
