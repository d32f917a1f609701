"""Requests that wait for a reply: matched, counted, timed out."""

from __future__ import annotations

from dataclasses import replace

from mobileip.registration.actions import Send
from mobileip.registration.bindings import NodeKey
from mobileip.registration.events import Endpoint
from mobileip.registration.nat import IPIP
from mobileip.registration.pending import PendingKey, PendingList, PendingRequest
from mobileip.registration.security import AuthenticRequest
from tests.unit.registration.parties import GATEWAY, HOME, HOME_AGENT, MIPP_PRIV, NODE_SA, NOW, REQUEST, at, from_node

NODE = NodeKey(GATEWAY, HOME)


def pending(moment: float) -> PendingRequest:
    """A request relayed at `moment`."""
    message = replace(REQUEST, identification=at(moment))
    request = AuthenticRequest(message, NODE_SA, 1)
    sent = Send(message.serialize(), Endpoint(MIPP_PRIV, 434), Endpoint(HOME_AGENT, 434))
    return PendingRequest(request, from_node(message), NODE, HOME_AGENT, IPIP, 600, 600, moment, None, sent)


FIRST, SECOND = pending(NOW), pending(NOW + 1.25)


def test_reply_is_matched_by_agent_node_and_low_identification_AMB_12() -> None:
    assert FIRST.key == PendingKey(HOME_AGENT, GATEWAY, HOME, at(NOW))
    waiting = PendingList(7, 5)
    waiting.add(FIRST)
    assert waiting.find(FIRST.key, NOW) is FIRST
    assert waiting.find(SECOND.key, NOW) is None


def test_reply_after_the_timeout_finds_nothing_even_before_the_timer_ran() -> None:
    waiting = PendingList(7, 5)
    waiting.add(FIRST)
    assert waiting.find(FIRST.key, NOW + 6.99) is FIRST
    assert waiting.find(FIRST.key, NOW + 7) is None


def test_timeouts_come_in_order_and_free_the_room() -> None:
    waiting = PendingList(7, 2)
    for request in (FIRST, SECOND):
        waiting.add(request)
    assert not waiting.has_room(NODE)
    assert waiting.has_room(NodeKey(None, HOME))
    assert waiting.next_deadline() == NOW + 7
    assert waiting.expire(NOW + 7) == [FIRST]
    assert waiting.has_room(NODE)
    assert (waiting.next_deadline(), len(waiting)) == (NOW + 8.25, 1)
    assert waiting.expire(NOW + 9) == [SECOND]
    assert (waiting.next_deadline(), len(waiting)) == (None, 0)


def test_answered_request_does_not_time_out() -> None:
    waiting = PendingList(7, 5)
    waiting.add(FIRST)
    waiting.remove(FIRST.key)
    waiting.remove(FIRST.key)
    assert waiting.expire(NOW + 99) == []
    assert waiting.has_room(NODE)


def test_same_key_again_replaces_the_older_one() -> None:
    waiting = PendingList(7, 1)
    again = replace(FIRST, relayed_at=NOW + 3)
    waiting.add(FIRST)
    waiting.add(again)
    assert waiting.find(FIRST.key, NOW + 8) is again
    assert waiting.expire(NOW + 9) == []
    assert waiting.expire(NOW + 10) == [again]


def test_node_that_turned_up_inside_waits_for_nothing() -> None:
    waiting = PendingList(7, 5)
    other = replace(SECOND, node=NodeKey(None, HOME))
    for request in (FIRST, other):
        waiting.add(request)
    waiting.remove_node(NODE)
    waiting.remove_node(NODE)
    assert waiting.expire(NOW + 99) == [other]


def test_requests_of_a_port_come_newest_first_and_timed_out_ones_not_at_all() -> None:
    waiting = PendingList(7, 5)
    for request in (FIRST, SECOND):
        waiting.add(request)
    assert list(waiting.sent_from(434, NOW + 2)) == [SECOND, FIRST]
    assert list(waiting.sent_from(434, NOW + 7)) == [SECOND]
    assert list(waiting.sent_from(20434, NOW + 2)) == []


def test_request_is_reported_once_while_it_waits() -> None:
    waiting = PendingList(7, 5)
    assert not waiting.report(FIRST.key)
    waiting.add(FIRST)
    assert [waiting.report(FIRST.key), waiting.report(FIRST.key)] == [True, False]
    waiting.add(FIRST)
    assert waiting.report(FIRST.key)
