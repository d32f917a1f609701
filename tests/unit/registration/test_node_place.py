"""How long a mobile node believes that it is inside, and its SA after a loss (RFC 5265 3.2, draft 5.5)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import (
    Action,
    Count,
    EstablishSecurityAssociation,
    Log,
    ParkSecurityAssociation,
    PathMode,
    Send,
    SetPath,
)
from mobileip.registration.events import Attached, Detached
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.wire.codes import Code
from mobileip.wire.typed_extensions import TRUSTED_NETWORKS
from tests.unit.registration.node import (
    AT_HOME,
    AT_OPEN,
    AT_VISITED,
    BLOCKED,
    HOME_AGENT,
    MIPP_PUB,
    NOW,
    PARAMETER,
    SETTINGS,
    answer,
    at_home,
    bound_at_open,
    farewell,
    to_home_agent,
)

WATCHED = replace(SETTINGS, monitor=60.0)


def visited(settings: MobileNodeSettings = WATCHED) -> MobileNode:
    """Registered with the home agent from a visited network inside; the request was sent at NOW + 0.1."""
    node = MobileNode(settings)
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    node.feed(answer(asked, extensions=()), NOW + 0.2)
    assert (node.status().state, node.status().location) == (State.BOUND, Location.INSIDE)
    return node


def until(node: MobileNode, end: float) -> list[tuple[float, Action]]:
    """Every action of the node's timers before `end`, with its time."""
    done: list[tuple[float, Action]] = []
    while (at := node.next_deadline()) is not None and at < end:
        done += [(at, action) for action in node.handle_timer(at)]
    return done


# T_MONITOR


@pytest.mark.parametrize("where", ["visited", "home"])
def test_silence_from_inside_ends_clear_packets_after_the_monitor_time_R5265_3_2_a(where: str) -> None:
    node = visited() if where == "visited" else at_home(MobileNode(WATCHED))
    sent = NOW + 0.1 if where == "visited" else NOW
    before = until(node, sent + 60)
    assert all(isinstance(action, Send | Log) for _, action in before)  # asked, and open for as long as the word holds
    assert len(before) >= 4
    actions = node.handle_timer(sent + 60)
    assert actions[:2] == BLOCKED
    status = node.status()
    assert (status.state, status.location) == (State.REGISTERING, Location.UNKNOWN)
    assert status.why == "nobody said for 60 s that this is inside"
    assert isinstance(actions[2], Send)
    assert actions[2].destination.address == MIPP_PUB


def test_word_from_inside_holds_from_the_request_that_it_answers_R5265_3_2_a() -> None:
    node = visited()
    asked = node.handle_timer(NOW + 0.1 + 45)
    assert asked[-1] == to_home_agent(NOW + 45.1, 2)
    assert node.feed(answer(asked, extensions=()), NOW + 45.9) == []
    open_until = [at for at, action in until(node, NOW + 200) if action == BLOCKED[0]]
    assert open_until == [NOW + 45.1 + 60]


def test_node_at_home_asks_its_home_agent_alone_and_goes_on_being_home_R5265_3_2_a() -> None:
    node = at_home(MobileNode(WATCHED))
    for round_ in range(1, 20):
        at = node.next_deadline()
        assert at == NOW + 45 * round_
        asked = node.handle_timer(at)
        assert asked == [farewell(at, round_ + 1)]
        assert node.feed(answer(asked, lifetime=0, extensions=()), at + 0.1) == []
        assert node.status().state is State.HOME
    assert node.status().since == NOW + 0.2


def test_infinite_lifetime_inside_is_watched_all_the_same_R5265_3_2_a() -> None:
    node = MobileNode(replace(WATCHED, lifetime=0xFFFF))
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW)
    asked = node.handle_timer(NOW + 1) or asked
    node.feed(answer(asked, lifetime=0xFFFF, extensions=()), NOW + 1.1)
    assert node.status().state is State.BOUND
    blocked = [at for at, action in until(node, NOW + 500) if action == BLOCKED[0]]
    assert blocked
    assert blocked[0] <= NOW + 61


def test_outside_nothing_watches_but_the_lifetime() -> None:
    node = bound_at_open(MobileNode(WATCHED))
    assert node.next_deadline() == NOW + 225


def test_unauthentic_word_from_inside_extends_nothing_R5265_3_2_a() -> None:
    node = visited()
    asked = node.handle_timer(NOW + 45.1)
    forged = answer(asked, extensions=())
    node.feed(replace(forged, payload=forged.payload[:-1] + b"\0"), NOW + 45.2)
    assert next(at for at, action in until(node, NOW + 200) if action == BLOCKED[0]) == NOW + 60.1


# On a change of the link


@pytest.mark.parametrize("event", [AT_OPEN, replace(AT_VISITED, address=IPv4Address("192.0.2.141")), Detached("eth0")])
def test_change_of_the_link_stops_packets_until_the_place_is_known_again_R5265_3_2_c(
    event: Attached | Detached,
) -> None:
    node = visited()
    actions = node.feed(event, NOW + 5)
    assert actions[:2] == BLOCKED
    assert not any(isinstance(action, SetPath) and action.path.mode is not PathMode.BLOCKED for action in actions)
    assert node.status().location is Location.UNKNOWN


# Trusted Networks Configured (RFC 5265 3.4)

STRICT = replace(SETTINGS, require_trusted_networks=True)


def test_206_without_trusted_networks_gives_up_nothing_where_it_is_demanded_R5265_3_2_b() -> None:
    node = MobileNode(STRICT)
    (log,) = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    assert isinstance(log, Log)
    assert log.fields["name"] == "inside_without_trusted_network"
    status = node.status()
    assert (status.location, status.trusted_network) == (Location.UNKNOWN, False)


def test_206_with_trusted_networks_is_believed_where_it_is_demanded_R5265_3_2_b() -> None:
    node = MobileNode(STRICT)
    reply = answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT, extensions=(PARAMETER, TRUSTED_NETWORKS))
    asked = node.feed(reply, NOW + 0.1)
    actions = node.feed(answer(asked, extensions=()), NOW + 0.2)
    assert ParkSecurityAssociation() in actions
    assert node.status().trusted_network


def test_trusted_networks_behind_the_authentication_are_nobodys_word_R5265_3_2_b() -> None:
    node = MobileNode(STRICT)
    reply = answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT)
    forged = replace(reply, payload=reply.payload + TRUSTED_NETWORKS.serialize())
    (log,) = node.feed(forged, NOW + 0.1)
    assert isinstance(log, Log)
    assert node.status().location is Location.UNKNOWN


def test_home_agent_without_trusted_networks_is_asked_again_together_with_the_proxy_R5265_3_2_b() -> None:
    node = MobileNode(STRICT)
    asked = node.feed(AT_HOME, NOW)
    (log,) = node.feed(answer(asked, lifetime=0, extensions=()), NOW + 0.1)
    assert isinstance(log, Log)
    assert node.status().state is State.REGISTERING
    again = node.handle_timer(NOW + 1.1)
    assert [action.destination.address for action in again if isinstance(action, Send)] == [MIPP_PUB, HOME_AGENT]
    told = answer(again[:1], Code.ASSIGNED_HOME_AGENT, extensions=(PARAMETER, TRUSTED_NETWORKS))
    node.feed(told, NOW + 1.2)
    (farewell_again,) = [action for action in until(node, NOW + 3) if isinstance(action[1], Send)]
    node.feed(answer([farewell_again[1]], lifetime=0, extensions=()), NOW + 3)
    assert node.status().state is State.HOME


def test_what_was_said_of_the_former_link_is_forgotten_R5265_3_2_b() -> None:
    node = MobileNode(STRICT)
    reply = answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT, extensions=(PARAMETER, TRUSTED_NETWORKS))
    node.feed(reply, NOW + 0.1)
    node.feed(replace(AT_VISITED, address=IPv4Address("192.0.2.141")), NOW + 5)
    assert not node.status().trusted_network


# The SA after a loss (draft 5.5)

KEPT_FOR_A_MINUTE = replace(SETTINGS, sa_keepalive=60.0)


def established(actions: list[Action]) -> list[EstablishSecurityAssociation]:
    return [action for action in actions if isinstance(action, EstablishSecurityAssociation)]


@pytest.mark.parametrize("place", ["proxy", "home agent"])
def test_word_from_another_interface_says_nothing_of_this_link_R5265_3_2_d(place: str) -> None:
    node = MobileNode(SETTINGS)
    asked = node.feed(AT_VISITED, NOW)
    said = answer(asked, Code.ASSIGNED_HOME_AGENT)
    if place == "home agent":
        said = answer(node.feed(said, NOW + 0.1), extensions=())
    before = node.status()
    assert node.feed(replace(said, interface="ipsec0"), NOW + 0.2) == [Count("reply_on_other_interface")]
    assert node.status() == before
    assert node.feed(said, NOW + 0.3)[0] != Count("reply_without_request"), "the right one still counts"


def test_renewal_goes_to_whoever_accepted_late_and_not_to_whom_was_asked_since_D_2_6_1_i() -> None:
    node = MobileNode(SETTINGS)
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), Code.ASSIGNED_HOME_AGENT), NOW + 0.1)
    late, now = asked, NOW + 0.1
    while node.status().agent == HOME_AGENT:  # which is silent, so the proxy is asked again where we are
        at = node.next_deadline()
        assert at is not None
        late, asked, now = asked, node.handle_timer(at), at
    assert node.status().agent == MIPP_PUB
    node.feed(answer(late, extensions=()), now + 0.1)
    assert (node.status().state, node.status().agent) == (State.BOUND, HOME_AGENT)
    due = node.next_deadline()
    assert due is not None
    renewal = node.handle_timer(due)[-1]
    assert isinstance(renewal, Send)
    assert renewal.destination.address == HOME_AGENT


@pytest.mark.parametrize(("loss", "anew"), [(0.0, False), (59.0, False), (61.0, True), (3600.0, True)])
def test_loss_beyond_the_gateways_keepalive_sets_the_sa_up_anew_D_5_5_b(loss: float, anew: bool) -> None:
    node = bound_at_open(MobileNode(KEPT_FOR_A_MINUTE))
    node.feed(Detached("eth0"), NOW + 5)
    asked = node.feed(AT_OPEN, NOW + 5 + loss)  # into the same subnet or another, it does not matter
    actions = node.feed(answer(asked), NOW + 5 + loss + 0.1)
    assert established(actions) == [EstablishSecurityAssociation(anew=anew)]


def test_silent_loss_counts_from_the_first_request_that_nobody_answered_D_5_5_b() -> None:
    node = bound_at_open(MobileNode(KEPT_FOR_A_MINUTE))
    until(node, NOW + 300.5)  # renewals from 225 on, then the end of the registration
    assert node.status().state is State.REGISTERING
    at = node.next_deadline()
    assert at is not None
    asked = node.handle_timer(at)
    actions = node.feed(answer(asked), at + 0.1)
    assert established(actions) == [EstablishSecurityAssociation(anew=True)]


def test_renewal_and_quick_move_leave_the_sa_alone_D_5_5_b() -> None:
    node = bound_at_open(MobileNode(KEPT_FOR_A_MINUTE))
    asked = node.handle_timer(NOW + 225)
    assert node.feed(answer(asked), NOW + 225.1) == []
    asked = node.feed(replace(AT_OPEN, address=IPv4Address("198.51.100.75")), NOW + 230)
    assert established(node.feed(answer(asked), NOW + 230.1)) == [EstablishSecurityAssociation(anew=False)]


def test_gateway_that_keeps_sas_for_ever_is_asked_for_no_new_one_D_5_5_b() -> None:
    node = bound_at_open(MobileNode(SETTINGS))
    node.feed(Detached("eth0"), NOW + 5)
    asked = node.feed(AT_OPEN, NOW + 1_000_000)
    assert established(node.feed(answer(asked), NOW + 1_000_000)) == [EstablishSecurityAssociation()]


def test_time_at_home_with_a_parked_sa_is_time_without_the_gateway_D_5_5_b() -> None:
    node = bound_at_open(MobileNode(KEPT_FOR_A_MINUTE))
    node.feed(answer(node.feed(AT_HOME, NOW + 10), lifetime=0, extensions=()), NOW + 10.1)
    assert node.status().state is State.HOME
    asked = node.feed(AT_OPEN, NOW + 100)
    assert established(node.feed(answer(asked), NOW + 100.1)) == [EstablishSecurityAssociation(anew=True)]


# Repetition (RFC 5944 3.6.3)


def test_first_timeout_is_two_round_trips_and_a_bit_R5944_3_6_3_b() -> None:
    node = MobileNode(replace(SETTINGS, longest_timeout=600.0))
    asked = node.feed(AT_OPEN, NOW)
    node.feed(answer(asked), NOW + 0.95)  # a satellite
    node.handle_timer(NOW + 225)
    assert node.next_deadline() == pytest.approx(NOW + 225 + 2 * 0.95 + 0.1)


def test_timeouts_end_at_the_ceiling_and_at_the_lifetime_asked_for_R5944_3_6_3_b() -> None:
    for lifetime, longest, expected in ((300, 8.0, [1, 2, 4, 8, 8]), (5, 32.0, [1, 2, 4, 5, 5])):
        node = MobileNode(replace(SETTINGS, lifetime=lifetime, longest_timeout=longest))
        node.feed(AT_OPEN, NOW)
        at, pauses = NOW, []
        for _ in range(5):
            deadline = node.next_deadline()
            assert deadline is not None
            pauses.append(deadline - at)
            at = deadline
            node.handle_timer(at)
        assert pauses == expected


def test_no_agent_gets_two_requests_within_a_second_whatever_it_answers_R5944_3_6_3_a() -> None:
    node = MobileNode(SETTINGS)
    actions = node.feed(AT_OPEN, NOW)
    sent: dict[object, float] = {}
    at = NOW
    for code in [133, 130, 133, 69, 142, 133, 136, 206, 133, 136, 0] * 3:
        for action in actions:
            if isinstance(action, Send):
                assert at - sent.get(action.destination, -9.0) >= 1.0
                sent[action.destination] = at
        asked: list[Action] = [action for action in actions if isinstance(action, Send)]
        if asked:
            actions = node.feed(answer(asked, code), at)
        if not any(isinstance(action, Send) for action in actions):
            deadline = node.next_deadline()
            assert deadline is not None
            at = max(at, deadline)
            actions = node.handle_timer(at)
