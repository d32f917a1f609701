"""A mobile node that is known by its NAI: home address and home agent are assigned and kept (RFC 2794, draft 2.6.4)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Action, AssumeHomeAddress, Count, Log, PathMode, Send, SetPath
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.wire.authentication import append
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import RegistrationReply, parse_request
from mobileip.wire.typed_extensions import HomeAgentParameter, Nai, UdpTunnelReply
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AT_AGENT,
    AT_OPEN,
    AT_VISITED,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SA,
    MIPP_PUB,
    NOW,
    PROXY_SA,
    SETTINGS,
)

NAI = b"mn@home.example"
NAMED = replace(SETTINGS, home_address=None, home_agent=None, nai=NAI)
ASSIGNED = HomeAgentParameter(HOME_AGENT).extension()
ZERO = IPv4Address(0)
OURS = Nai(NAI).extension()


def request_of(actions: list[Action]) -> Send:
    (sent,) = [action for action in actions if isinstance(action, Send)]
    return sent


def reply_to(
    actions: list[Action],
    code: int = 0,
    home_address: IPv4Address = HOME,
    extensions: tuple[Extension, ...] = (OURS, ASSIGNED),
) -> DatagramReceived:
    sent = request_of(actions)
    request = parse_request(sent.payload)
    reply = RegistrationReply(code, 300, home_address, request.home_agent, request.identification, extensions)
    key = PROXY_SA if request.home_agent == MIPP_PUB else HOME_AGENT_SA
    return DatagramReceived(append(reply.serialize(), key), sent.destination, sent.source, "eth0")


def assigned() -> MobileNode:
    node = MobileNode(NAMED)
    node.feed(reply_to(node.feed(AT_OPEN, NOW)), NOW + 0.1)
    assert node.status().state is State.BOUND
    return node


def test_request_has_zero_addresses_and_the_nai_before_the_authentication_D_2_5_3_b_and_R2794_2_a() -> None:
    sent = request_of(MobileNode(NAMED).feed(AT_OPEN, NOW))
    assert sent.payload[4:8] == ZERO.packed
    assert sent.payload[24:41] == b"\x83\x0f" + NAI
    assert sent.payload[41:49] == bytes.fromhex("7e06000000000000")  # which home agent is for the network to say
    assert [extension.type for extension in parse_request(sent.payload).extensions] == [131, 126, 144, 32]


def test_assigned_addresses_are_assumed_before_packets_travel_R2794_3_g() -> None:
    node = MobileNode(NAMED)
    actions = node.feed(reply_to(node.feed(AT_OPEN, NOW)), NOW + 0.1)
    assert actions[0] == AssumeHomeAddress(HOME)
    assert isinstance(actions[1], SetPath)
    assert actions[1].path.mode is PathMode.TUNNEL
    assert (node.status().home_address, node.status().home_agent) == (HOME, HOME_AGENT)


def test_what_was_assigned_is_kept_for_the_session_D_2_6_4_c() -> None:
    node = assigned()
    for at, event in ((NOW + 5, replace(AT_OPEN, address=IPv4Address("198.51.100.75"))), (NOW + 9, AT_OPEN)):
        request = parse_request(request_of(actions := node.feed(event, at)).payload)
        assert request.home_address == HOME
        assert HomeAgentParameter(HOME_AGENT).extension() in request.extensions
        assert node.feed(reply_to(actions), at + 0.1)[0] != AssumeHomeAddress(HOME)
    sent = request_of(node.handle_timer(NOW + 9 + 225))
    assert parse_request(sent.payload).home_address == HOME
    assert OURS in parse_request(sent.payload).extensions


def test_assigned_home_agent_is_asked_inside_D_2_6_1_f() -> None:
    node = assigned()
    actions = node.feed(reply_to(node.feed(AT_VISITED, NOW + 5), Code.ASSIGNED_HOME_AGENT), NOW + 5.1)
    sent = request_of(actions)
    assert sent.destination == Endpoint(HOME_AGENT, 434)
    assert [extension.type for extension in parse_request(sent.payload).extensions] == [131, 144, 32]


def test_node_that_starts_inside_gets_its_home_agent_from_206_and_its_address_from_that_one_D_2_6_1_f() -> None:
    node = MobileNode(NAMED)
    told = reply_to(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT, ZERO)
    asked = node.feed(told, NOW + 0.1)
    assert parse_request(request_of(asked).payload).home_address == ZERO
    assert AssumeHomeAddress(HOME) in node.feed(reply_to(asked, extensions=(OURS,)), NOW + 0.2)
    assert node.status().location is Location.INSIDE


def test_206_that_names_no_home_agent_helps_nobody() -> None:
    node = MobileNode(NAMED)
    (log,) = node.feed(reply_to(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT, ZERO, (OURS,)), NOW + 0.1)
    assert isinstance(log, Log)
    assert log.fields["name"] == "inside_without_home_agent"


def test_acceptance_without_a_home_address_is_none_R2794_3_g() -> None:
    node = MobileNode(NAMED)
    (log,) = node.feed(reply_to(node.feed(AT_OPEN, NOW), home_address=ZERO), NOW + 0.1)
    assert isinstance(log, Log)
    assert log.fields["name"] == "accepted_without_home_address"


def test_reply_for_another_nai_is_not_ours_R2794_3_g() -> None:
    node = MobileNode(NAMED)
    reply = reply_to(node.feed(AT_OPEN, NOW), extensions=(Nai(b"other@home.example").extension(), ASSIGNED))
    assert node.feed(reply, NOW + 0.1) == [Count("reply_without_request")]


@pytest.mark.parametrize("code", [Code.ADMINISTRATIVELY_PROHIBITED, Code.UNKNOWN_HOME_AGENT])
def test_denial_of_what_was_assigned_asks_for_new_ones(code: Code) -> None:
    node = assigned()
    node.feed(reply_to(node.feed(replace(AT_OPEN, prefix_length=26), NOW + 5), code), NOW + 5.1)
    assert (node.status().home_address, node.status().home_agent) == (None, None)
    request = parse_request(request_of(node.handle_timer(NOW + 6.1)).payload)
    assert request.home_address == ZERO
    assert HomeAgentParameter(ZERO).extension() in request.extensions
    other = IPv4Address("192.0.2.70")
    reply = RegistrationReply(0, 300, other, MIPP_PUB, request.identification, (OURS, ASSIGNED))
    payload = append(reply.serialize(), PROXY_SA)
    received = DatagramReceived(payload, Endpoint(MIPP_PUB, 434), Endpoint(HOME, 434), "eth0")
    assert AssumeHomeAddress(other) in node.feed(received, NOW + 6.2)


def test_configured_addresses_outlive_every_denial() -> None:
    node = MobileNode(replace(SETTINGS, nai=NAI))
    node.feed(reply_to(node.feed(AT_OPEN, NOW), Code.ADMINISTRATIVELY_PROHIBITED), NOW + 0.1)
    assert (node.status().home_address, node.status().home_agent) == (HOME, HOME_AGENT)


def test_request_to_a_foreign_agent_comes_from_nobody_until_an_address_is_assigned_R5944_3_6_1_1_b() -> None:
    node = MobileNode(NAMED)
    node.feed(AT_AGENT, NOW)
    sent = request_of(asked := node.feed(ADVERTISEMENT, NOW))
    assert (sent.source, sent.destination) == (Endpoint(ZERO, 434), Endpoint(FOREIGN_AGENT, 434))
    reply = replace(reply_to(asked), destination=Endpoint(IPv4Address("255.255.255.255"), 434))
    assert AssumeHomeAddress(HOME) in node.feed(reply, NOW + 0.1)


def test_keepalives_come_from_the_assigned_address_R3519_4_9_a() -> None:
    node = MobileNode(NAMED)
    asked = node.feed(AT_OPEN, NOW)
    node.feed(reply_to(asked, extensions=(OURS, ASSIGNED, UdpTunnelReply(0, False, 25).extension())), NOW + 0.1)
    (probe,) = node.handle_timer(NOW + 25.1)
    assert isinstance(probe, Send)
    assert probe.payload[4 + 12 : 4 + 20] == HOME.packed + MIPP_PUB.packed


def test_nai_goes_beside_a_configured_address_too_R2794_2_a() -> None:
    request = parse_request(request_of(MobileNode(replace(SETTINGS, nai=NAI)).feed(AT_OPEN, NOW)).payload)
    assert (request.home_address, request.extensions[0]) == (HOME, OURS)
    assert request.extensions[0].type == ExtensionType.NAI
