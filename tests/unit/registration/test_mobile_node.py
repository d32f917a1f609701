"""The mobile node's rules, one a test (RFC 5944 3.6, RFC 3519, draft 2.5 and 2.6.1)."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import (
    Action,
    AnnounceHome,
    Count,
    EstablishSecurityAssociation,
    Level,
    Log,
    NodePath,
    ParkSecurityAssociation,
    PathMode,
    Send,
    SetLocation,
    SetPath,
)
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Detached,
    Endpoint,
    Event,
    SolicitationReceived,
    TunnelProbeAnswered,
    TunnelSilent,
)
from mobileip.registration.mobile_node import MobileNode, NodeStatus, State
from mobileip.registration.node_place import Location
from mobileip.registration.node_requests import Through
from mobileip.wire import identification as timestamps
from mobileip.wire.authentication import append
from mobileip.wire.codes import Code
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.extensions import Extension
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_request
from mobileip.wire.typed_extensions import HomeAgentParameter, MessageString, UdpTunnelReply
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AGENT_CARE_OF,
    AT_AGENT,
    AT_HOME,
    AT_OPEN,
    AT_VISITED,
    BLOCKED,
    BLOCKED_AT_AGENT,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SA,
    MIPP_PUB,
    NOW,
    OPEN,
    OUTSIDE_BY_PROXY,
    PARAMETER,
    PROXY_SA,
    SETTINGS,
    SOLICITATION,
    VISITED,
    answer,
    at_home,
    at_home_to_proxy,
    bound_at_agent,
    bound_at_open,
    by_ipip,
    farewell,
    identification,
    registered,
    to_foreign_agent,
    to_home_agent,
    to_proxy,
)


@pytest.fixture
def node() -> MobileNode:
    return MobileNode(SETTINGS)


# Outside, with an address


def test_any_move_blocks_then_asks_the_proxy_D_2_6_1_h_and_D_2_5_3_a(
    node: MobileNode,
) -> None:
    assert node.feed(AT_OPEN, NOW) == [*BLOCKED, to_proxy(NOW)]
    assert node.status().state is State.REGISTERING


def test_accepted_means_outside_by_ipip_and_the_sa_D_5_1_a_and_D_5_1_b_and_D_2_5_1_a(
    node: MobileNode,
) -> None:
    asked = node.feed(AT_OPEN, NOW)
    assert node.feed(answer(asked), NOW + 0.1) == [
        SetPath(by_ipip()),
        *OUTSIDE_BY_PROXY,
        registered("outside", "proxy", MIPP_PUB, OPEN, "ipip"),
    ]


def test_status_tells_where_through_whom_since_when_and_why(node: MobileNode) -> None:
    assert bound_at_open(node).status() == NodeStatus(
        state=State.BOUND,
        location=Location.OUTSIDE,
        since=NOW + 0.1,
        why="203.0.113.10 accepted the registration",
        interface="eth0",
        through=Through.PROXY,
        agent=MIPP_PUB,
        home_agent=HOME_AGENT,
        care_of_address=OPEN,
        encapsulation=Encapsulation.IPIP,
        expires=NOW + 300,
        clock_offset=0.0,
        last_denial=None,
        home_address=HOME,
    )


def test_assented_udp_tunnel_is_used_R3519_4_2_a(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    tunnel = UdpTunnelReply(0, False, 25).extension()
    assert node.feed(answer(asked, lifetime=60, extensions=(PARAMETER, tunnel)), NOW + 0.1) == [
        SetPath(replace(by_ipip(), encapsulation=Encapsulation.UDP)),
        *OUTSIDE_BY_PROXY,
        registered("outside", "proxy", MIPP_PUB, OPEN, "udp"),
    ]


def test_declined_udp_tunnel_leaves_ipip_RFC_3519_3_2(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    actions = node.feed(answer(asked, extensions=(UdpTunnelReply(64).extension(),)), NOW)
    assert actions[0] == SetPath(by_ipip())


def test_tunnel_granted_behind_the_authentication_is_not_the_agents_word(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    reply = answer(asked)
    forged = replace(reply, payload=reply.payload + UdpTunnelReply().extension().serialize())
    assert node.feed(forged, NOW)[0] == SetPath(by_ipip())


def test_lifetime_counts_from_the_sending_of_the_request_R5944_3_6_2_2_a(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    node.feed(answer(asked, lifetime=200), NOW + 0.9)
    assert node.status().expires == NOW + 200


def test_lifetime_is_never_more_than_asked_R5944_3_4_c(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    node.feed(answer(asked, lifetime=1800), NOW + 0.9)
    assert node.status().expires == NOW + 300


def test_infinite_lifetime_needs_no_renewal() -> None:
    node = MobileNode(replace(SETTINGS, lifetime=0xFFFF))
    bound_at_open(node, lifetime=0xFFFF)
    assert node.next_deadline() is None


def test_accepted_with_lifetime_zero_is_no_registration(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    assert isinstance(node.feed(answer(asked, lifetime=0), NOW)[0], Log)
    assert node.status().state is State.REGISTERING


def test_co_located_request_on_the_wire_R5944_3_6_1_1_a_and_R5944_3_6_1_2_a_and_R3519_3_1_5_a(node: MobileNode) -> None:
    (*_, sent) = node.feed(AT_OPEN, NOW)
    assert isinstance(sent, Send)
    assert sent.source == Endpoint(OPEN, 434)
    assert sent.payload[:16] == bytes.fromhex("0122012c") + HOME.packed + MIPP_PUB.packed + OPEN.packed  # D and T
    assert sent.payload[24:40] == bytes.fromhex("7e060000c0000228 9006000000040000")  # HA Parameter, UDP Tunnel Request


# Renewal, expiry, moves


def test_renewal_goes_to_who_registered_last_and_changes_nothing_D_2_6_1_i(node: MobileNode) -> None:
    bound_at_open(node)
    assert node.next_deadline() == NOW + 225
    asked = node.handle_timer(NOW + 225)
    assert asked == [Log(Level.DEBUG, "renewing", {"why": "the lifetime nears its end"}), to_proxy(NOW + 225, 1)]
    assert node.status().state is State.RENEWING
    assert node.feed(answer(asked), NOW + 225.1) == []
    assert node.status().state is State.BOUND
    assert node.status().expires == NOW + 525


def test_renewal_that_meets_a_nat_changes_the_path(node: MobileNode) -> None:
    bound_at_open(node)
    asked = node.handle_timer(NOW + 225)
    actions = node.feed(answer(asked, lifetime=60, extensions=(UdpTunnelReply().extension(),)), NOW + 225.1)
    assert actions[0] == SetPath(replace(by_ipip(), encapsulation=Encapsulation.UDP))


def test_unanswered_renewal_is_repeated_ever_slower_until_the_end_R5944_3_6_3_b(node: MobileNode) -> None:
    bound_at_open(node)
    sent = []
    while (at := node.next_deadline()) is not None and at < NOW + 300:
        sent += [at - NOW for action in node.handle_timer(at) if isinstance(action, Send)]
    assert sent == [225, 226, 228, 232, 240, 256, 288]


def test_expired_registration_blocks_and_asks_the_proxy_again(node: MobileNode) -> None:
    bound_at_open(node)
    node.handle_timer(NOW + 225)
    while (at := node.next_deadline()) is not None and at < NOW + 300:
        node.handle_timer(at)
    assert node.handle_timer(NOW + 300) == [*BLOCKED, to_proxy(NOW + 300, 8)]
    assert node.status().why == "the registration expired"


def test_new_address_asks_the_proxy_at_once_even_within_the_second_D_2_6_1_h(node: MobileNode) -> None:
    bound_at_open(node)
    other = IPv4Address("198.51.100.75")
    assert node.feed(Attached("eth0", other, 27, None), NOW + 0.3) == [*BLOCKED, to_proxy(NOW + 0.3, 1, other)]


def test_same_attachment_said_again_is_no_move(node: MobileNode) -> None:
    bound_at_open(node)
    assert node.feed(AT_OPEN, NOW + 5) == []


def test_lost_link_blocks_and_waits(node: MobileNode) -> None:
    bound_at_open(node)
    assert node.feed(Detached("eth0"), NOW + 5) == BLOCKED
    assert node.next_deadline() is None
    assert node.status().state is State.DETACHED
    assert node.feed(Detached("eth0"), NOW + 6) == []
    assert node.feed(AT_OPEN, NOW + 7) == [*BLOCKED, to_proxy(NOW + 7, 1)]


def test_reply_to_the_request_of_the_former_link_is_dropped(node: MobileNode) -> None:
    late = answer(node.feed(AT_OPEN, NOW))
    node.feed(replace(AT_OPEN, address=IPv4Address("198.51.100.75")), NOW + 0.5)
    assert node.feed(late, NOW + 0.6) == [Count("reply_without_request")]


# Repetition


def test_request_is_repeated_ever_slower_R5944_3_6_3_a_and_R5944_3_6_3_b_and_R5944_5_7_b(
    node: MobileNode,
) -> None:
    node.feed(AT_OPEN, NOW)
    at = NOW
    for number, pause in enumerate((1, 2, 4, 8, 16, 32, 32), start=1):
        at += pause
        assert node.next_deadline() == at
        assert node.handle_timer(at) == [to_proxy(at, number)]


@pytest.mark.parametrize("later", [0.0, 1.0, -5.0])
def test_identification_grows_and_has_its_own_low_half_whatever_the_clock_does_R5944_5_7_b(
    node: MobileNode, later: float
) -> None:
    bound_at_open(node)
    (*_, sent) = node.feed(replace(AT_OPEN, address=IPv4Address("198.51.100.75")), NOW + later)
    assert isinstance(sent, Send)
    second = parse_request(sent.payload).identification
    assert timestamps.is_newer(second, identification(NOW))
    assert timestamps.low(second) != timestamps.low(identification(NOW))


def test_reply_to_an_earlier_request_is_dropped_R5944_3_6_2_1_b(node: MobileNode) -> None:
    first = answer(node.feed(AT_OPEN, NOW))
    node.handle_timer(NOW + 1)
    assert node.feed(first, NOW + 1.1) == [Count("reply_without_request")]


# Inside


def test_code_206_leads_to_the_home_agent_while_the_path_stays_blocked_D_2_6_1_f(node: MobileNode) -> None:
    asked = node.feed(AT_VISITED, NOW)
    assert asked == [*BLOCKED, to_proxy(NOW, care_of=VISITED)]
    assert node.feed(answer(asked, Code.ASSIGNED_HOME_AGENT), NOW + 0.1) == [
        Log(Level.INFO, "inside", {"proxy": "203.0.113.10", "home_agent": "192.0.2.40"}),
        to_home_agent(NOW + 0.1),
    ]
    status = node.status()
    assert (status.state, status.location) == (State.REGISTERING, Location.INSIDE)
    assert status.why == "203.0.113.10 answered 206 (inside)"


def test_visited_network_inside_tunnels_to_the_home_agent_with_the_association_parked(node: MobileNode) -> None:
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    assert node.feed(answer(asked, extensions=()), NOW + 0.2) == [
        SetPath(by_ipip(VISITED, HOME_AGENT, inside=True)),
        SetLocation(inside=True, at_home=False, through=HOME_AGENT),
        ParkSecurityAssociation(),
        registered("inside", "home_agent", HOME_AGENT, VISITED, "ipip"),
    ]
    renewal = node.handle_timer(NOW + 0.1 + 45)
    assert renewal[-1] == to_home_agent(NOW + 0.1 + 45, 2)  # D-2.6.1-i


def test_nat_inside_gives_a_udp_tunnel_to_the_home_agent_D_2_6_1_g(node: MobileNode) -> None:
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    actions = node.feed(answer(asked, extensions=(UdpTunnelReply().extension(),)), NOW + 0.2)
    path = replace(by_ipip(VISITED, HOME_AGENT, inside=True), encapsulation=Encapsulation.UDP)
    assert actions[0] == SetPath(path)


def test_home_agent_of_the_206_reply_is_asked_D_2_6_1_d(node: MobileNode) -> None:
    assigned = IPv4Address("192.0.2.41")
    reply = answer(
        node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT, extensions=(HomeAgentParameter(assigned).extension(),)
    )
    sent = node.feed(reply, NOW + 0.1)[-1]
    assert isinstance(sent, Send)
    assert sent.destination == Endpoint(assigned, 434)
    assert node.status().home_agent == assigned


def test_home_link_asks_the_proxy_and_the_home_agent_in_one_breath_R5944_3_6_1_2_b(node: MobileNode) -> None:
    assert node.feed(AT_HOME, NOW) == [*BLOCKED, at_home_to_proxy(NOW), farewell(NOW)]


ARRIVED_HOME: list[Action] = [
    AnnounceHome("eth0", HOME),
    SetPath(NodePath(PathMode.HOME, "eth0", inside=True)),
    SetLocation(inside=True, at_home=True),
    ParkSecurityAssociation(),
    Log(Level.INFO, "at_home", {"home_agent": "192.0.2.40"}),
]


def test_home_agents_word_is_enough_to_be_home_then_announces_itself_R5944_4_6_e(node: MobileNode) -> None:
    asked = node.feed(AT_HOME, NOW)
    assert node.feed(answer(asked, lifetime=0, extensions=()), NOW + 0.1) == ARRIVED_HOME
    status = node.status()
    assert (status.location, status.through, status.agent) == (Location.HOME, Through.HOME_LINK, HOME_AGENT)
    late = answer(asked[:-1], Code.ASSIGNED_HOME_AGENT)
    assert node.feed(late, NOW + 0.2) == [Count("reply_without_request")]


def test_code_206_at_home_still_waits_for_the_home_agent_D_2_6_1_f(node: MobileNode) -> None:
    asked = node.feed(AT_HOME, NOW)
    assert node.feed(answer(asked[:-1], Code.ASSIGNED_HOME_AGENT), NOW + 0.1) == [
        Log(Level.INFO, "inside", {"proxy": "203.0.113.10", "home_agent": "192.0.2.40"})
    ]
    assert node.next_deadline() == NOW + 1
    assert node.feed(answer(asked, lifetime=0, extensions=()), NOW + 0.2) == ARRIVED_HOME


def test_unanswered_farewell_is_repeated_after_206(node: MobileNode) -> None:
    asked = node.feed(AT_HOME, NOW)
    node.feed(answer(asked[:-1], Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    assert node.handle_timer(NOW + 1) == [farewell(NOW + 1, 2)]


def test_home_address_on_a_foreign_link_does_not_make_it_home(node: MobileNode) -> None:
    asked = node.feed(AT_HOME, NOW)
    (log,) = node.feed(answer(asked[:-1], lifetime=0), NOW + 0.1)  # the proxy sees us outside: no 206
    assert isinstance(log, Log)
    assert log.fields["name"] == "accepted_without_lifetime"
    assert (node.status().state, node.status().location) == (State.REGISTERING, Location.UNKNOWN)


def test_repetition_at_home_asks_both_again(node: MobileNode) -> None:
    node.feed(AT_HOME, NOW)
    assert node.handle_timer(NOW + 1) == [at_home_to_proxy(NOW + 1, 2), farewell(NOW + 1, 3)]


def test_leaving_home_blocks_before_anything_else(node: MobileNode) -> None:
    assert at_home(node).feed(AT_OPEN, NOW + 9) == [*BLOCKED, to_proxy(NOW + 9, 2)]


def test_silent_home_agent_makes_the_node_ask_the_proxy_again_where_it_is(node: MobileNode) -> None:
    node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    asked = []
    for _ in range(5):
        at = node.next_deadline()
        assert at is not None
        asked += [action.destination.address for action in node.handle_timer(at) if isinstance(action, Send)]
    assert asked == [HOME_AGENT] * 4 + [MIPP_PUB]


def test_206_to_a_renewal_blocks_what_was_open(node: MobileNode) -> None:
    bound_at_open(node)
    asked = node.handle_timer(NOW + 225)
    actions = node.feed(answer(asked, Code.ASSIGNED_HOME_AGENT), NOW + 225.1)
    assert actions[:2] == BLOCKED
    assert node.status().state is State.REGISTERING


def test_206_from_the_home_agent_is_a_denial_like_others(node: MobileNode) -> None:
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    assert isinstance(node.feed(answer(asked, Code.ASSIGNED_HOME_AGENT), NOW + 0.2)[0], Log)
    assert node.status().last_denial == "206 assigned_home_agent"


# Denials


def test_code_133_sets_the_clock_and_asks_again_within_the_rate_R5944_3_6_2_3_a(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    reply = answer(asked)
    server = NOW + 3600.25
    low = timestamps.low(identification(NOW))
    mismatch = RegistrationReply(133, 0, HOME, MIPP_PUB, timestamps.high(identification(server)) << 32 | low)
    denied = replace(reply, payload=append(mismatch.serialize(), PROXY_SA))
    assert node.feed(denied, NOW + 0.25) == [Log(Level.WARNING, "clock_adjusted", {"offset_seconds": 3600.25})]
    assert node.next_deadline() == NOW + 1
    assert node.handle_timer(NOW + 1) == [to_proxy(NOW + 1 + 3600.25, 1)]


def test_code_133_is_believed_three_times_in_a_row(node: MobileNode) -> None:
    actions = node.feed(AT_OPEN, NOW)
    events = []
    at = NOW
    for _ in range(4):
        actions = node.feed(answer(actions, Code.IDENTIFICATION_MISMATCH), at + 0.1)
        events += [action.event for action in actions if isinstance(action, Log)]
        deadline = node.next_deadline()
        assert deadline is not None
        assert deadline >= at + 1
        at = deadline
        actions = node.handle_timer(at)
    assert events == ["clock_adjusted"] * 3 + ["registration_denied"]


@pytest.mark.parametrize("code", [128, 129, 130, 131, 134, 136, 138, 200, 202, 250])
def test_denial_is_logged_by_name_and_tried_again_slower(node: MobileNode, code: int) -> None:
    at = NOW
    actions = node.feed(AT_OPEN, at)
    pauses = []
    for _ in range(4):
        (log,) = node.feed(answer(actions, code), at)
        assert isinstance(log, Log)
        assert (log.level, log.event, log.fields["code"]) == (Level.WARNING, "registration_denied", code)
        assert log.fields["name"]
        deadline = node.next_deadline()
        assert deadline is not None
        pauses.append(deadline - at)
        at = deadline
        actions = node.handle_timer(at)
    assert pauses == [1, 2, 4, 8]
    assert node.status().location is Location.UNKNOWN


def test_reason_that_the_agent_gives_is_logged_RFC_4917(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    told = MessageString("too many requests without reply").extension()
    assert node.feed(answer(asked, Code.INSUFFICIENT_RESOURCES, extensions=(told,)), NOW) == [
        Log(
            Level.WARNING,
            "registration_denied",
            {
                "agent": "203.0.113.10",
                "code": 130,
                "name": "insufficient_resources",
                "reason": "too many requests without reply",
                "retry_seconds": 1.0,
            },
        )
    ]


def test_denied_renewal_leaves_the_registration_its_time(node: MobileNode) -> None:
    bound_at_open(node)
    asked = node.handle_timer(NOW + 225)
    node.feed(answer(asked, Code.INSUFFICIENT_RESOURCES), NOW + 225.1)
    assert (node.status().state, node.status().expires) == (State.RENEWING, NOW + 300)


# What is not believed


def altered(reply: DatagramReceived, at: int) -> DatagramReceived:
    payload = bytearray(reply.payload)
    payload[at] ^= 1
    return replace(reply, payload=bytes(payload))


def test_reply_is_dropped_without_exactly_one_right_authentication_R5944_3_6_2_1_c(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    good = answer(asked)
    twice = replace(good, payload=append(good.payload, PROXY_SA))
    without = replace(good, payload=good.payload[:-22])
    foreign = answer(asked, association=HOME_AGENT_SA)
    for reply in (twice, without, foreign, altered(good, -1), altered(good, 1)):
        assert node.feed(reply, NOW + 0.1) == [Count("reply_unauthenticated")]
    assert node.feed(good, NOW + 0.1)[0] == SetPath(by_ipip())


def test_unauthenticated_denial_counts_for_nothing_where_no_foreign_agent_is(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    denial = answer(asked, Code.FA_ADMINISTRATIVELY_PROHIBITED)
    bare = replace(denial, payload=denial.payload[:-22])
    assert node.feed(bare, NOW) == [Count("reply_unauthenticated")]


def test_unknown_extension_below_128_voids_the_reply_RFC_5944_1_8(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    assert node.feed(answer(asked, extensions=(Extension(99, b"x"),)), NOW) == [Count("unknown_extension")]
    assert node.feed(answer(asked, extensions=(Extension(199, b"x"),)), NOW)[0] == SetPath(by_ipip())


def test_defective_tunnel_reply_voids_the_reply(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    assert node.feed(answer(asked, extensions=(Extension(44, b"x"),)), NOW) == [Count("malformed_reply")]


def test_other_datagrams_are_counted(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    reply = answer(asked)
    assert node.feed(replace(reply, payload=b""), NOW) == [Count("unexpected_message")]
    assert node.feed(replace(reply, payload=reply.payload[:19]), NOW) == [Count("malformed_reply")]
    assert node.feed(replace(reply, payload=bytes.fromhex("04040000")), NOW) == [Count("unexpected_message")]
    assert node.feed(replace(reply, payload=reply.payload + bytes(4096)), NOW) == [Count("oversized")]
    other = altered(reply, 7)  # home address
    assert node.feed(other, NOW) == [Count("reply_without_request")]


def test_cut_reply_never_registers(node: MobileNode) -> None:
    reply = answer(node.feed(AT_OPEN, NOW))
    for length in range(len(reply.payload)):
        (count,) = node.feed(replace(reply, payload=reply.payload[:length]), NOW)
        assert isinstance(count, Count)


def test_random_bytes_behind_a_right_key_raise_nothing(node: MobileNode) -> None:
    source = random.Random(3519)
    for step in range(1500):
        (*_, sent) = node.feed(replace(AT_OPEN, prefix_length=step % 32), NOW + step)
        assert isinstance(sent, Send)
        request = parse_request(sent.payload)
        code = source.choice([0, 1, 133, 206, source.randrange(256)])
        reply = RegistrationReply(code, source.randrange(600), HOME, request.home_agent, request.identification)
        body = reply.serialize() + source.choice([b"", PARAMETER.serialize()]) + source.randbytes(source.randrange(12))
        node.feed(DatagramReceived(append(body, PROXY_SA), sent.destination, sent.source, "eth0"), NOW + step)


def test_home_agent_named_by_an_accepted_reply_is_the_one_asked_inside_D_2_6_1_e(node: MobileNode) -> None:
    assigned = IPv4Address("192.0.2.41")
    bound_at_open(node, extensions=(HomeAgentParameter(assigned).extension(),))
    asked = node.feed(AT_VISITED, NOW + 9)
    sent = node.feed(answer(asked, Code.ASSIGNED_HOME_AGENT, extensions=()), NOW + 9)[-1]
    assert isinstance(sent, Send)
    assert sent.destination == Endpoint(assigned, 434)


def test_event_of_another_party_is_refused_aloud(node: MobileNode) -> None:
    with pytest.raises(TypeError, match="SolicitationReceived"):
        node.feed(SolicitationReceived(HOME, "eth0"), NOW)


# Foreign agents


def test_link_without_address_solicits_ever_slower_RFC_5944_2_4(node: MobileNode) -> None:
    assert node.feed(AT_AGENT, NOW) == [*BLOCKED, SOLICITATION]
    sent = []
    for _ in range(8):
        at = node.next_deadline()
        assert at is not None
        assert node.handle_timer(at) == [SOLICITATION]
        sent.append(at - NOW)
    assert sent == [1, 2, 3, 5, 9, 17, 33, 65]
    assert node.status().state is State.SEARCHING


def test_node_registers_by_the_agent_it_hears_R3024_3_2_b_and_R5944_3_6_1_1_b_and_R3519_4_4_a(
    node: MobileNode,
) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(ADVERTISEMENT, NOW + 0.2)
    assert asked == [BLOCKED_AT_AGENT, to_foreign_agent(NOW + 0.2)]
    assert node.feed(answer(asked), NOW + 0.3) == [
        SetPath(NodePath(PathMode.FOREIGN_AGENT, "eth0", gateway=FOREIGN_AGENT)),
        SetLocation(inside=False, at_home=False, through=FOREIGN_AGENT),
        EstablishSecurityAssociation(),
        registered("outside", "foreign_agent", FOREIGN_AGENT, AGENT_CARE_OF, "none"),
    ]


@pytest.mark.parametrize(
    "advertisement",
    [
        replace(ADVERTISEMENT, busy=True),
        replace(ADVERTISEMENT, foreign_agent=False, home_agent=True),
        replace(ADVERTISEMENT, care_of_addresses=()),
        replace(ADVERTISEMENT, registration_lifetime=0),
        replace(ADVERTISEMENT, reverse_tunnelling=False),
        replace(ADVERTISEMENT, agent=MIPP_PUB),
        replace(ADVERTISEMENT, agent=HOME_AGENT),
        replace(ADVERTISEMENT, agent=HOME),
        replace(ADVERTISEMENT, agent=IPv4Address(0)),
    ],
    ids=[
        "busy",
        "home agent only",
        "no care-of",
        "no lifetime",
        "no reverse tunnel",
        "MIPP-Pub",
        "home agent's",
        "ours",
        "nobody",
    ],
)
def test_agent_that_cannot_serve_is_passed_over(node: MobileNode, advertisement: AdvertisementReceived) -> None:
    node.feed(AT_AGENT, NOW)
    assert node.feed(advertisement, NOW) == [Count("advertisement_unusable")]
    assert node.status().state is State.SEARCHING


def test_lifetime_asked_fits_what_the_agent_advertises_RFC_5944_3_6_1_2(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(replace(ADVERTISEMENT, registration_lifetime=120), NOW)
    assert asked == [BLOCKED_AT_AGENT, to_foreign_agent(NOW, lifetime=120)]


def test_code_69_shortens_the_next_request_RFC_5944_3_6_2_3(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    asked = node.feed(ADVERTISEMENT, NOW)
    denial = answer(asked, Code.FA_LIFETIME_TOO_LONG, lifetime=90, extensions=())
    bare = replace(denial, payload=denial.payload[:-22])
    (log,) = node.feed(bare, NOW + 0.1)
    assert isinstance(log, Log)
    assert log.fields["name"] == "fa_lifetime_too_long"
    node.feed(ADVERTISEMENT, NOW + 1)
    assert node.handle_timer(NOW + 1.1) == [to_foreign_agent(NOW + 1.1, 1, lifetime=90)]


@pytest.mark.parametrize("code", [64, 76, 78, 127, 194])
def test_agents_own_denial_needs_no_authentication_RFC_5944_3_6_2_1(node: MobileNode, code: int) -> None:
    node.feed(AT_AGENT, NOW)
    denial = answer(node.feed(ADVERTISEMENT, NOW), code, extensions=())
    bare = replace(denial, payload=denial.payload[:-22])
    stranger = replace(bare, source=Endpoint(IPv4Address("198.51.100.130"), 434))
    assert node.feed(stranger, NOW + 0.1) == [Count("reply_unauthenticated")]
    assert isinstance(node.feed(bare, NOW + 0.1)[0], Log)


def test_acceptance_through_an_agent_needs_authentication(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    reply = answer(node.feed(ADVERTISEMENT, NOW))
    assert node.feed(replace(reply, payload=reply.payload[:-22]), NOW) == [Count("reply_unauthenticated")]


def test_agent_that_falls_silent_is_gone_R5944_2_4_2_1_a(node: MobileNode) -> None:
    bound_at_agent(node)
    node.feed(replace(ADVERTISEMENT, sequence=301), NOW + 1)
    assert node.next_deadline() == NOW + 4
    assert node.handle_timer(NOW + 4) == [*BLOCKED, SOLICITATION]
    assert node.status().why == "foreign agent 198.51.100.129 is gone"
    assert node.feed(ADVERTISEMENT, NOW + 4.1) == [BLOCKED_AT_AGENT, to_foreign_agent(NOW + 4.1, 1)]


def test_expired_registration_blocks_but_still_hears_the_agent(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    lasting = replace(ADVERTISEMENT, lifetime=9000)
    node.feed(answer(node.feed(lasting, NOW), lifetime=10), NOW + 0.1)
    node.feed(lasting, NOW + 5)
    assert node.handle_timer(NOW + 10)[0] == BLOCKED_AT_AGENT


def test_restarted_agent_is_registered_with_again_RFC_5944_2_3_2(node: MobileNode) -> None:
    bound_at_agent(node)
    assert node.feed(replace(ADVERTISEMENT, sequence=0), NOW + 2) == [
        Log(Level.DEBUG, "renewing", {"why": "foreign agent 198.51.100.129 has started anew"}),
        to_foreign_agent(NOW + 2, 1),
    ]


def test_agent_with_other_care_of_addresses_is_another_place(node: MobileNode) -> None:
    bound_at_agent(node)
    moved = replace(ADVERTISEMENT, care_of_addresses=(IPv4Address("198.51.100.101"),), sequence=301)
    assert node.feed(moved, NOW + 1) == [*BLOCKED, SOLICITATION]


def test_other_agent_and_other_interface_do_not_matter_while_one_lasts(node: MobileNode) -> None:
    bound_at_agent(node)
    assert node.feed(replace(ADVERTISEMENT, agent=IPv4Address("198.51.100.130")), NOW + 1) == []
    assert node.feed(replace(ADVERTISEMENT, interface="eth1", sequence=0), NOW + 1) == []


def test_advertisement_does_not_matter_where_the_node_has_an_address(node: MobileNode) -> None:
    bound_at_open(node)
    assert node.feed(ADVERTISEMENT, NOW + 1) == []


def test_inside_behind_an_agent_registers_with_the_home_agent_through_it_D_2_6_1_f(node: MobileNode) -> None:
    node.feed(AT_AGENT, NOW)
    reply = answer(node.feed(ADVERTISEMENT, NOW), Code.ASSIGNED_HOME_AGENT)
    node.feed(reply, NOW + 0.1)
    (sent,) = (action for action in node.handle_timer(NOW + 1) if isinstance(action, Send))
    request = RegistrationRequest(Flag.REVERSE_TUNNEL, 300, HOME, HOME_AGENT, AGENT_CARE_OF, identification(NOW + 1, 1))
    expected = append(request.serialize(), HOME_AGENT_SA)
    assert sent == Send(expected, Endpoint(HOME, 434), Endpoint(FOREIGN_AGENT, 434), interface="eth0", ttl=255)


# Keepalives


def bound_by_udp(node: MobileNode, interval: int) -> MobileNode:
    return bound_at_open(node, extensions=(UdpTunnelReply(0, False, interval).extension(),))


def probe(sequence: int) -> Send:
    payload = keepalive(HOME, MIPP_PUB, int(HOME) & 0xFFFF, sequence)
    return Send(payload, Endpoint(OPEN, 434), Endpoint(MIPP_PUB, 434))


@pytest.mark.parametrize(("said", "interval"), [(0, 110), (25, 25), (3, 10)])
def test_keepalive_interval_is_the_replys_or_110_and_at_least_10_R3519_4_9_a(
    node: MobileNode, said: int, interval: int
) -> None:
    bound_by_udp(node, said)
    assert node.next_deadline() == NOW + 0.1 + interval
    assert node.handle_timer(NOW + 0.1 + interval) == [probe(1)]


def test_requests_and_keepalives_leave_from_one_port_and_the_tunnel_is_told_it_R3519_4_4_b(node: MobileNode) -> None:
    asked = node.feed(AT_OPEN, NOW)
    tunnel = answer(asked, extensions=(PARAMETER, UdpTunnelReply(0, False, 25).extension()))
    (path, *_) = node.feed(tunnel, NOW + 0.1)
    assert isinstance(path, SetPath)
    (keepalive_sent,) = node.handle_timer(NOW + 25.1)
    request = asked[-1]
    assert isinstance(request, Send)
    assert isinstance(keepalive_sent, Send)
    assert request.source == keepalive_sent.source == Endpoint(OPEN, 434)
    assert (path.path.local, path.path.port) == (OPEN, 434)


def test_answered_keepalive_waits_for_the_next(node: MobileNode) -> None:
    bound_by_udp(node, 25)
    node.handle_timer(NOW + 26)
    assert node.feed(TunnelProbeAnswered(int(HOME) & 0xFFFF, 1), NOW + 26.1) == []
    assert node.next_deadline() == NOW + 26.1 + 25
    assert node.handle_timer(NOW + 52) == [probe(2)]


def test_three_lost_keepalives_make_the_node_register_again_R3519_4_9_c(node: MobileNode) -> None:
    bound_by_udp(node, 25)
    assert node.handle_timer(NOW + 26) == [probe(1)]
    assert node.feed(TunnelProbeAnswered(7, 1), NOW + 26.1) == []  # another program's echo
    assert node.handle_timer(NOW + 28) == [probe(2)]
    assert node.handle_timer(NOW + 30) == [probe(3)]
    assert node.handle_timer(NOW + 32) == [
        Log(Level.DEBUG, "renewing", {"why": "keepalives are not answered"}),
        to_proxy(NOW + 32, 1),
    ]


def test_a_silent_tunnel_is_asked_at_once_and_one_lost_keepalive_is_enough_R3519_4_9_c(node: MobileNode) -> None:
    bound_by_udp(node, 110)
    assert node.feed(TunnelSilent(), NOW + 9) == [], "no sooner than 10 s after the registration"
    assert node.feed(TunnelSilent(), NOW + 20) == [probe(1)]
    assert node.feed(TunnelSilent(), NOW + 21) == [], "one is out"
    assert node.handle_timer(NOW + 22) == [
        Log(Level.DEBUG, "renewing", {"why": "keepalives are not answered"}),
        to_proxy(NOW + 22, 1),
    ]


def test_an_answer_clears_the_tunnel_of_suspicion_R3519_4_9_c(node: MobileNode) -> None:
    bound_by_udp(node, 110)
    assert node.feed(TunnelSilent(), NOW + 20) == [probe(1)]
    assert node.feed(TunnelProbeAnswered(int(HOME) & 0xFFFF, 1), NOW + 20.1) == []
    assert node.feed(TunnelSilent(), NOW + 25) == [], "no sooner than 10 s after the last one"
    assert node.handle_timer(NOW + 131) == [probe(2)]
    assert node.handle_timer(NOW + 133) == [probe(3)], "three in a row, as ever"


def test_a_silent_ipip_tunnel_is_no_news(node: MobileNode) -> None:
    assert node.feed(TunnelSilent(), NOW) == []
    bound_at_open(node)
    assert node.feed(TunnelSilent(), NOW + 20) == []


def test_keepalives_go_on_while_a_renewal_is_not_answered_R3519_4_9_a(node: MobileNode) -> None:
    bound_by_udp(node, 25)
    kept = []  # states in which a keepalive left
    while (at := node.next_deadline()) is not None and at < NOW + 300:
        for action in node.handle_timer(at):
            if isinstance(action, Send) and action.payload[0] == 4:
                kept.append(node.status().state)
                assert action == probe(len(kept))
                node.feed(TunnelProbeAnswered(int(HOME) & 0xFFFF, len(kept)), at)
    assert kept == [State.BOUND] * 8 + [State.RENEWING] * 3


def test_ipip_tunnel_has_no_keepalives(node: MobileNode) -> None:
    bound_at_open(node)
    assert node.next_deadline() == NOW + 225
    assert node.feed(TunnelProbeAnswered(1, 1), NOW + 1) == []


def test_whatever_happens_packets_travel_only_while_registered_and_something_is_always_due(node: MobileNode) -> None:
    source = random.Random(265)
    now, actions = NOW, node.feed(AT_OPEN, NOW)
    places: list[Event] = [AT_OPEN, AT_HOME, AT_VISITED, AT_AGENT, Detached("eth0")]
    path = PathMode.BLOCKED
    for _ in range(5000):
        now += source.choice([0.0, 0.1, 1.0, 5.0, 120.0])
        sends = [action for action in actions if isinstance(action, Send) and action.payload[0] == 1]
        choice = source.randrange(10)
        if choice < 5 and sends:
            code = source.choice([0, 0, 1, 69, 130, 133, 206, 206])
            extensions = source.choice([(), (PARAMETER,), (UdpTunnelReply(0, False, 20).extension(),)])
            actions = node.feed(answer([source.choice(sends)], code, source.choice([0, 60, 300]), extensions), now)
        elif choice < 8:
            actions = node.handle_timer(now)
        else:
            event = source.choice([*places, *[replace(ADVERTISEMENT, sequence=source.randrange(600))] * 4])
            actions = node.feed(event, now)
        for action in actions:
            path = action.path.mode if isinstance(action, SetPath) else path
        state = node.status().state
        assert (path is not PathMode.BLOCKED) == (state in (State.BOUND, State.RENEWING, State.HOME))
        assert state in (State.DETACHED, State.HOME) or node.next_deadline() is not None
