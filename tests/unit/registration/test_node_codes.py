"""What each reply code makes of a mobile node, in both profiles of codes (RFC 5944 3.6.2.3, draft 2.4.1, AMB-2)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Action, Count, Level, Log, PathMode, Send, SetPath
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import ReplayStyle, append
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import Flag, RegistrationReply, parse_request
from mobileip.wire.typed_extensions import FaError, HomeAgentParameter, MessageString
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AGENT_CARE_OF,
    AT_AGENT,
    AT_HOME,
    AT_OPEN,
    AT_VISITED,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SA,
    MIPP_PUB,
    NOW,
    PARAMETER,
    PROXY_SA,
    SETTINGS,
    answer,
    bound_at_agent,
    bound_at_open,
    to_home_agent,
)

OTHER = IPv4Address("192.0.2.41")


@pytest.fixture
def node() -> MobileNode:
    return MobileNode(SETTINGS)


def requests(actions: list[Action]) -> list[Send]:
    return [action for action in actions if isinstance(action, Send)]


def next_request(node: MobileNode) -> Send:
    """What the node sends when it next wants to."""
    for _ in range(10):
        at = node.next_deadline()
        assert at is not None
        if sent := requests(node.handle_timer(at)):
            return sent[-1]
    raise AssertionError("no request in ten deadlines")


def redirected(to: IPv4Address, long: bool) -> Extension:
    """The Redirected HA extension as RFC 4433 draws it, or as decoders expect it."""
    kind = ExtensionType.DYNAMIC_HOME_AGENT
    return Extension(kind, to.packed, subtype=2) if long else Extension(kind, b"\x02" + to.packed)


# Inside, in the words of either profile


@pytest.mark.parametrize("long", [True, False], ids=["RFC 4433 layout", "short layout"])
def test_code_143_of_the_proxy_says_inside_and_names_the_home_agent_AMB_2(node: MobileNode, long: bool) -> None:
    asked = node.feed(AT_VISITED, NOW)
    actions = node.feed(answer(asked, Code.REDIRECT_HOME_AGENT, extensions=(redirected(OTHER, long),)), NOW + 0.1)
    assert requests(actions)[-1].destination == Endpoint(OTHER, 434)
    assert (node.status().location, node.status().home_agent) == (Location.INSIDE, OTHER)


def test_code_143_without_an_address_names_the_home_agent_by_the_parameter_AMB_2(node: MobileNode) -> None:
    asked = node.feed(AT_VISITED, NOW)
    actions = node.feed(answer(asked, Code.REDIRECT_HOME_AGENT), NOW + 0.1)
    assert actions[-1] == to_home_agent(NOW + 0.1)


@pytest.mark.parametrize(
    "code",
    [
        *range(2, 9), *range(64, 128), 128, 129, 130, 131, 132, 134, 135, 136, 137, 138, 139, 140, 141, 142, 144, 151,
        194, 200, 201, 202, 203, 204, 205, 250,
    ],
)  # fmt: skip
def test_every_other_code_of_either_profile_is_a_denial_that_blocks_and_is_tried_again_AMB_2(
    node: MobileNode, code: int
) -> None:
    actions = node.feed(AT_OPEN, NOW)
    (log,) = node.feed(answer(actions, code), NOW + 0.1)
    assert isinstance(log, Log)
    assert (log.event, log.fields["code"]) == ("registration_denied", code)
    assert node.status().state is State.REGISTERING
    assert next_request(node).destination == Endpoint(MIPP_PUB, 434)


@pytest.mark.parametrize("code", [Code.FA_POORLY_FORMED_REQUEST, Code.POORLY_FORMED_REQUEST])
def test_codes_70_and_134_may_refuse_a_reverse_tunnel_and_the_node_asks_on_R3024_3_4_b(
    node: MobileNode, code: int
) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(ADVERTISEMENT, NOW)
    assert [type(action) for action in node.feed(answer(asked, code), NOW + 0.1)] == [Log]
    again = parse_request(next_request(node).payload)
    assert again.reverse_tunnel


def test_denial_says_why_in_show_with_the_agents_own_words_R4917_3_a(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    told = MessageString("home agent does not answer: host unreachable").extension()
    node.feed(answer(asked, Code.HOME_AGENT_UNREACHABLE, extensions=(told,)), NOW + 0.1)
    status = node.status()
    words = "202 home_agent_unreachable (home agent does not answer: host unreachable)"
    assert (status.last_denial, status.why) == (words, f"203.0.113.10 answered {words}")
    assert status.location is Location.UNKNOWN


def test_denied_renewal_keeps_the_reason_of_the_place(node: MobileNode) -> None:
    bound_at_open(node)
    asked = node.handle_timer(NOW + 225)
    node.feed(answer(asked, Code.INSUFFICIENT_RESOURCES), NOW + 225.1)
    assert node.status().why == "203.0.113.10 accepted the registration"
    assert node.status().last_denial == "130 insufficient_resources"


# Simultaneous bindings


def test_simultaneous_bindings_are_asked_for_on_request_only(node: MobileNode) -> None:
    assert not parse_request(requests(node.feed(AT_OPEN, NOW))[0].payload).simultaneous
    wanting = MobileNode(replace(SETTINGS, simultaneous=True))
    asked = wanting.feed(AT_OPEN, NOW)
    request = parse_request(requests(asked)[0].payload)
    assert request.flags == Flag.SIMULTANEOUS | Flag.DECAPSULATES | Flag.REVERSE_TUNNEL
    wanting.feed(answer(asked), NOW + 0.1)
    assert wanting.status().simultaneous


def test_code_1_is_an_acceptance_that_replaced_the_other_bindings() -> None:
    node = MobileNode(replace(SETTINGS, simultaneous=True))
    actions = node.feed(answer(node.feed(AT_OPEN, NOW), Code.ACCEPTED_NO_SIMULTANEOUS), NOW + 0.1)
    assert isinstance(actions[0], SetPath)
    assert actions[0].path.mode is PathMode.TUNNEL
    assert (node.status().state, node.status().simultaneous) == (State.BOUND, False)


def test_broadcasts_are_asked_for_on_request_and_of_the_proxy(node: MobileNode) -> None:
    assert not parse_request(requests(node.feed(AT_OPEN, NOW))[0].payload).broadcast
    wanting = MobileNode(replace(SETTINGS, broadcasts=True))
    (asked,) = requests(wanting.feed(AT_OPEN, NOW))
    assert parse_request(asked.payload).broadcast
    at_home = requests(MobileNode(replace(SETTINGS, broadcasts=True)).feed(AT_HOME, NOW))
    assert not any(parse_request(sent.payload).broadcast for sent in at_home), "nothing to come by a tunnel"


def test_deregistration_at_home_asks_for_no_simultaneous_binding() -> None:
    node = MobileNode(replace(SETTINGS, simultaneous=True))
    assert not any(parse_request(sent.payload).simultaneous for sent in requests(node.feed(AT_HOME, NOW)))


def test_code_135_is_answered_without_the_wish_for_simultaneous_bindings() -> None:
    node = MobileNode(replace(SETTINGS, simultaneous=True))
    node.feed(answer(node.feed(AT_OPEN, NOW), Code.TOO_MANY_BINDINGS), NOW + 0.1)
    assert not parse_request(next_request(node).payload).simultaneous
    other = replace(AT_OPEN, address=IPv4Address("198.51.100.75"))
    assert parse_request(requests(node.feed(other, NOW + 20))[0].payload).simultaneous  # a move asks anew


def test_code_142_is_answered_without_the_plea_for_a_udp_tunnel_R3519_3_5_a(node: MobileNode) -> None:
    node.feed(answer(node.feed(AT_OPEN, NOW), Code.UDP_ENCAPSULATION_UNAVAILABLE), NOW + 0.1)
    kinds = [extension.type for extension in parse_request(next_request(node).payload).extensions]
    assert ExtensionType.UDP_TUNNEL_REQUEST not in kinds


# Another home agent


def inside(node: MobileNode) -> list[Action]:
    """Told 206, and the request to the home agent is out."""
    return node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)


def test_code_136_leads_to_the_home_agent_that_it_names_R5944_3_6_2_3_b(node: MobileNode) -> None:
    request = parse_request(requests(inside(node))[-1].payload)
    reply = RegistrationReply(136, 0, HOME, OTHER, request.identification)
    received = DatagramReceived(append(reply.serialize(), HOME_AGENT_SA), Endpoint(HOME_AGENT, 434),
                                Endpoint(request.care_of_address, 434), "eth0")  # fmt: skip
    actions = node.feed(received, NOW + 0.2)
    assert actions[0] == Log(Level.INFO, "redirected", {"home_agent": "192.0.2.40", "to": "192.0.2.41"})
    assert requests(actions)[0].destination == Endpoint(OTHER, 434)


def test_code_136_takes_the_clock_of_an_agent_that_sent_its_own_R5944_3_6_2_3_b(node: MobileNode) -> None:
    request = parse_request(requests(inside(node))[-1].payload)
    theirs = timestamps.high(timestamps.from_unix(NOW + 100)) << 32 | timestamps.low(request.identification)
    reply = RegistrationReply(136, 0, HOME, OTHER, theirs)
    payload = append(reply.serialize(), HOME_AGENT_SA)
    node.feed(DatagramReceived(payload, Endpoint(HOME_AGENT, 434), Endpoint(HOME, 434), "eth0"), NOW + 0.1)
    assert node.status().clock_offset == pytest.approx(100, abs=1)


def test_code_136_that_names_nobody_else_is_a_denial(node: MobileNode) -> None:
    actions = node.feed(answer(inside(node), Code.UNKNOWN_HOME_AGENT, extensions=()), NOW + 0.2)
    assert [action.event for action in actions if isinstance(action, Log)] == ["registration_denied"]


def test_code_136_of_the_proxy_never_sends_the_node_to_the_proxy_as_its_home_agent(node: MobileNode) -> None:
    node.feed(answer(node.feed(AT_OPEN, NOW), Code.UNKNOWN_HOME_AGENT), NOW + 0.1)
    assert node.status().home_agent == HOME_AGENT
    assert parse_request(next_request(node).payload).home_agent == MIPP_PUB


def test_code_136_of_the_proxy_takes_its_clock_too_R5944_3_6_2_3_b(node: MobileNode) -> None:
    request = parse_request(requests(node.feed(AT_OPEN, NOW))[-1].payload)
    theirs = timestamps.high(timestamps.from_unix(NOW + 100)) << 32 | timestamps.low(request.identification)
    reply = append(RegistrationReply(136, 0, HOME, MIPP_PUB, theirs).serialize(), PROXY_SA)
    node.feed(DatagramReceived(reply, Endpoint(MIPP_PUB, 434), Endpoint(OTHER, 434), "eth0"), NOW + 0.1)
    assert node.status().clock_offset == pytest.approx(100, abs=1)


def test_accepted_registration_without_a_home_agent_is_none_R3024_5_1_2_a(node: MobileNode) -> None:
    request = parse_request(requests(node.feed(AT_OPEN, NOW))[-1].payload)
    reply = append(RegistrationReply(0, 300, HOME, IPv4Address(0), request.identification).serialize(), PROXY_SA)
    actions = node.feed(DatagramReceived(reply, Endpoint(MIPP_PUB, 434), Endpoint(OTHER, 434), "eth0"), NOW + 0.1)
    assert [action.fields["name"] for action in actions if isinstance(action, Log)] == ["accepted_without_home_agent"]
    assert node.status().state is State.REGISTERING


def test_code_143_of_a_home_agent_leads_to_the_one_that_it_names_RFC_4433(node: MobileNode) -> None:
    actions = node.feed(
        answer(inside(node), Code.REDIRECT_HOME_AGENT, extensions=(redirected(OTHER, True),)), NOW + 0.2
    )
    assert requests(actions)[0].destination == Endpoint(OTHER, 434)


def test_home_agents_that_name_each_other_are_left_after_three(node: MobileNode) -> None:
    actions = inside(node)
    events = []
    at = NOW + 0.1
    for number in range(5):
        sent = requests(actions)[-1]
        request = parse_request(sent.payload)
        other = HOME_AGENT if request.home_agent == OTHER else OTHER
        reply = RegistrationReply(143, 0, HOME, request.home_agent, request.identification, (redirected(other, True),))
        payload = append(reply.serialize(), HOME_AGENT_SA)
        actions = node.feed(DatagramReceived(payload, sent.destination, sent.source, "eth0"), at + 0.1)
        events += [action.event for action in actions if isinstance(action, Log)]
        if number == 3:
            break
        if not requests(actions):
            deadline = node.next_deadline()
            assert deadline is not None
            at = deadline
            actions = node.handle_timer(at)
    assert events == ["redirected"] * 3 + ["registration_denied"]


# Accepted by the home agent, refused by the foreign agent (RFC 4636)


def with_error(reply: DatagramReceived, status: int) -> DatagramReceived:
    return replace(reply, payload=reply.payload + FaError(status).extension().serialize())


def test_acceptance_with_an_fa_error_is_taken_back_and_tried_again_R4636_3_b(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(replace(ADVERTISEMENT, lifetime=600), NOW)
    (log,) = node.feed(with_error(answer(asked), Code.FA_INSUFFICIENT_RESOURCES), NOW + 0.1)
    assert isinstance(log, Log)
    assert log.fields["name"] == "fa_insufficient_resources"
    assert node.status().state is State.REGISTERING
    undo = parse_request(next_request(node).payload)
    assert (undo.lifetime, undo.care_of_address, undo.home_agent) == (0, AGENT_CARE_OF, MIPP_PUB)
    again = parse_request(next_request(node).payload)
    assert (again.lifetime, again.care_of_address) == (300, AGENT_CARE_OF)


def test_answer_to_what_was_taken_back_changes_nothing_and_the_node_asks_again_R4636_3_b(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(replace(ADVERTISEMENT, lifetime=600), NOW)
    node.feed(with_error(answer(asked), 66), NOW + 0.1)
    undo = next_request(node)
    assert node.feed(answer([undo], lifetime=0), NOW + 2) == []
    assert parse_request(next_request(node).payload).lifetime == 300


def test_renewal_with_an_fa_error_closes_the_path_at_once_R4636_3_b(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    node.feed(answer(node.feed(replace(ADVERTISEMENT, lifetime=600), NOW)), NOW + 0.1)
    asked = node.handle_timer(NOW + 225)
    actions = node.feed(with_error(answer(asked), 66), NOW + 225.1)
    assert isinstance(actions[0], SetPath)
    assert actions[0].path.mode is PathMode.BLOCKED
    assert node.status().state is State.REGISTERING


def test_fa_error_is_the_word_of_an_agent_on_the_link_only(node: MobileNode) -> None:
    actions = node.feed(with_error(answer(node.feed(AT_OPEN, NOW)), 66), NOW + 0.1)
    assert isinstance(actions[0], SetPath)


def test_defective_fa_error_voids_the_reply(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    good = answer(node.feed(ADVERTISEMENT, NOW))
    bad = replace(good, payload=good.payload + Extension(ExtensionType.FA_ERROR, b"x").serialize())
    assert node.feed(bad, NOW) == [Count("malformed_reply")]


@pytest.mark.parametrize("code", [*range(64, 128), 194])
def test_every_denial_of_an_agent_on_the_link_is_believed_without_authentication_R5944_3_6_2_1_c(
    node: MobileNode, code: int
) -> None:
    bound_at_agent(node)
    asked = node.feed(replace(ADVERTISEMENT, sequence=0), NOW + 2)  # it has started anew
    reply = answer(asked, code, extensions=())
    (log,) = node.feed(replace(reply, payload=reply.payload[:-22]), NOW + 2.1)
    assert isinstance(log, Log)
    assert (log.fields["agent"], log.fields["code"]) == (str(FOREIGN_AGENT), code)


# Nonces (RFC 5944 5.7.2)

BY_NONCE = replace(
    SETTINGS,
    proxy_association=replace(PROXY_SA, replay=ReplayStyle.NONCE),
    home_agent_association=replace(HOME_AGENT_SA, replay=ReplayStyle.NONCE),
)


def with_nonce(actions: list[Action], code: int, nonce: int) -> DatagramReceived:
    """An authentic reply that carries this nonce for the next request."""
    request = parse_request(requests(actions)[-1].payload)
    stamp = nonce << 32 | timestamps.low(request.identification)
    reply = RegistrationReply(code, 300, HOME, request.home_agent, stamp, (PARAMETER,))
    sent = requests(actions)[-1]
    return DatagramReceived(append(reply.serialize(), PROXY_SA), sent.destination, sent.source, "eth0")


def test_unanswered_request_is_repeated_byte_by_byte_R5944_5_7_2_c() -> None:
    node = MobileNode(BY_NONCE)
    first = requests(node.feed(AT_OPEN, NOW))[0]
    assert [node.handle_timer(NOW + 1), node.handle_timer(NOW + 3)] == [[first], [first]]


def test_every_reply_brings_the_nonce_of_the_next_request_R5944_5_7_2_d() -> None:
    node = MobileNode(BY_NONCE)
    asked = node.feed(AT_OPEN, NOW)
    assert timestamps.high(parse_request(requests(asked)[0].payload).identification) == 0
    node.feed(with_nonce(asked, Code.IDENTIFICATION_MISMATCH, 0xAAAA0001), NOW + 0.1)
    asked = node.handle_timer(NOW + 1)
    second = parse_request(requests(asked)[0].payload).identification
    assert timestamps.high(second) == 0xAAAA0001
    node.feed(with_nonce(asked, Code.ACCEPTED, 0xAAAA0002), NOW + 1.1)
    renewal = next_request(node)
    third = parse_request(renewal.payload).identification
    assert timestamps.high(third) == 0xAAAA0002
    assert timestamps.low(third) != timestamps.low(second)


def test_nonce_of_a_denial_counts_too_R5944_5_7_2_d() -> None:
    node = MobileNode(BY_NONCE)
    node.feed(with_nonce(node.feed(AT_OPEN, NOW), Code.INSUFFICIENT_RESOURCES, 7), NOW + 0.1)
    assert timestamps.high(parse_request(next_request(node).payload).identification) == 7


def test_clock_offset_is_nothing_to_nonces() -> None:
    node = MobileNode(BY_NONCE)
    node.feed(with_nonce(node.feed(AT_OPEN, NOW), Code.IDENTIFICATION_MISMATCH, 7), NOW + 0.1)
    assert node.status().clock_offset == 0.0


def test_home_agent_parameter_of_a_denial_is_not_learnt(node: MobileNode) -> None:
    told = HomeAgentParameter(OTHER).extension()
    node.feed(answer(node.feed(AT_OPEN, NOW), Code.INSUFFICIENT_RESOURCES, extensions=(told,)), NOW + 0.1)
    assert node.status().home_agent == HOME_AGENT
