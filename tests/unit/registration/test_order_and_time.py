"""What time does to registrations: order, delay, moves, clocks. Time is an argument; nothing here waits."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Count
from mobileip.registration.location import LocationMode
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import WhenInside
from mobileip.wire.identification import high, low
from mobileip.wire.messages import RegistrationRequest
from tests.unit.registration.parties import (
    CARE_OF,
    NOW,
    OTHER_CARE_OF,
    PROXY,
    REQUEST,
    VISITED,
    Site,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    sends,
)

THIRD_CARE_OF = IPv4Address("198.51.100.141")
MOVES = [
    replace(REQUEST, care_of_address=care_of, identification=at(NOW + number / 4))
    for number, care_of in enumerate((CARE_OF, OTHER_CARE_OF, THIRD_CARE_OF))
]


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(PROXY)


def asked(proxy: Proxy, request: RegistrationRequest, now: float) -> None:
    assert only_request(proxy.feed(from_node(request, request.care_of_address), now)).identification


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_replies_in_any_order_leave_the_place_that_was_asked_for_last_R5944_3_6_2_1(
    proxy: Proxy, order: tuple[int, ...]
) -> None:
    for number, request in enumerate(MOVES):
        asked(proxy, request, NOW + number / 4)
    for at_, number in enumerate(order):
        proxy.feed(from_home_agent(reply_to(MOVES[number])), NOW + 1 + at_ / 8)
    assert [one.care_of_address for one in proxy.bindings] == [THIRD_CARE_OF]
    assert proxy.pending == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_requests_in_any_order_are_relayed_only_forwards_R5944_5_7_1(proxy: Proxy, order: tuple[int, ...]) -> None:
    newest = -1
    for number in order:
        actions = proxy.feed(from_node(MOVES[number], MOVES[number].care_of_address), NOW + 1)
        assert codes(actions) == ([] if number > newest else [133])
        newest = max(newest, number)


def test_duplicated_request_and_duplicated_reply_change_nothing_R5944_3_8_2_1_b(proxy: Proxy) -> None:
    asked(proxy, REQUEST, NOW)
    assert codes(proxy.feed(from_node(REQUEST), NOW + 0.1)) == [133]
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 0.2)) == [0]
    bound = proxy.bindings
    assert proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 0.3) == [Count("reply_without_request")]
    assert proxy.bindings == bound


def test_reply_after_the_pending_entry_expired_binds_nothing_D_2_6_5_a_and_AMB_13(proxy: Proxy) -> None:
    asked(proxy, REQUEST, NOW)
    late = proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 7)
    assert late == [Count("pending_timeout"), Count("reply_without_request")]
    assert proxy.bindings == ()
    again = replace(REQUEST, identification=at(NOW + 8))
    asked(proxy, again, NOW + 8)
    assert codes(proxy.feed(from_home_agent(reply_to(again)), NOW + 8.1)) == [0]


def test_reply_just_before_the_timeout_counts_from_the_relaying_AMB_13(proxy: Proxy) -> None:
    asked(proxy, REQUEST, NOW)
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW + 6.9)
    assert [one.expires for one in proxy.bindings] == [NOW + 300]


def test_home_agent_that_grants_more_than_asked_gives_what_was_asked_R5944_3_4_and_AMB_8(proxy: Proxy) -> None:
    for number, granted in enumerate((601, 0xFFFE, 0xFFFF)):
        request = replace(REQUEST, identification=at(NOW + number))
        asked(proxy, request, NOW + number)
        assert (
            only_reply(proxy.feed(from_home_agent(reply_to(request, lifetime=granted)), NOW + number)).lifetime == 600
        )
        assert [one.expires for one in proxy.bindings] == [NOW + number + 600]


def test_node_that_moves_while_its_registration_is_pending_is_at_its_new_place_D_2_6_6_d(proxy: Proxy) -> None:
    asked(proxy, MOVES[0], NOW)
    asked(proxy, MOVES[1], NOW + 0.25)
    (first,) = sends(proxy.feed(from_home_agent(reply_to(MOVES[0])), NOW + 0.5))
    assert first.destination.address == CARE_OF  # the node is gone from there, nothing is lost by telling it
    (second,) = sends(proxy.feed(from_home_agent(reply_to(MOVES[1])), NOW + 0.6))
    assert second.destination.address == OTHER_CARE_OF
    assert [one.care_of_address for one in proxy.bindings] == [OTHER_CARE_OF]


def test_denied_move_leaves_the_place_before_R5944_3_8_2_2(proxy: Proxy) -> None:
    asked(proxy, MOVES[0], NOW)
    asked(proxy, MOVES[1], NOW + 0.25)
    proxy.feed(from_home_agent(reply_to(MOVES[1], 130)), NOW + 0.5)
    proxy.feed(from_home_agent(reply_to(MOVES[0])), NOW + 0.6)
    assert [one.care_of_address for one in proxy.bindings] == [CARE_OF]


@pytest.mark.parametrize("skew", [-6.5, 6.5])
def test_clock_within_the_window_is_no_matter_R5944_5_7_1(skew: float) -> None:
    site = Site()
    request = replace(REQUEST, identification=at(NOW + skew))
    (send,) = site.register(request, NOW)
    assert only_reply([send]).code == 1
    assert len(site.proxy.bindings) == 1


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_clock_outside_it_is_set_by_one_133_and_then_fits_R5944_5_7_1_and_AMB_6(skew: float) -> None:
    site = Site()
    (send,) = site.register(replace(REQUEST, identification=at(NOW + skew)), NOW)
    told = only_reply([send])
    assert (told.code, low(told.identification)) == (133, low(at(NOW + skew)))
    corrected = (high(told.identification) + 1) << 32 | 0x4000_0000  # a node that took over our seconds
    (send,) = site.register(replace(REQUEST, identification=corrected), NOW + 1)
    assert only_reply([send]).code == 1


def test_daemons_clock_that_jumps_back_loses_no_binding_early(proxy: Proxy) -> None:
    asked(proxy, REQUEST, NOW)
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)
    assert proxy.handle_timer(NOW - 3600) == []
    assert len(proxy.bindings) == 1


@pytest.mark.parametrize(("jitter", "draw", "granted"), [(0.0, 1.0, 300), (0.1, 0.0, 300), (0.1, 0.5, 285)])
def test_granted_lifetimes_drift_apart_where_configured(jitter: float, draw: float, granted: int) -> None:
    proxy = Proxy(replace(PROXY, lifetime_jitter=jitter), draw=lambda: draw)
    asked(proxy, REQUEST, NOW)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW))
    assert (reply.lifetime, [one.granted for one in proxy.bindings]) == (granted, [granted])
    assert [one.home_agent_expires for one in proxy.bindings] == [NOW + 300]


# -- turning up inside --------------------------------------------------------------------------------------------

INSIDE = replace(REQUEST, care_of_address=VISITED, identification=at(NOW + 10))


@pytest.mark.parametrize(("setting", "left"), [(WhenInside.PURGE, 0), (WhenInside.KEEP, 1)])
def test_206_ends_what_was_bound_outside_or_keeps_it_AMB_11(setting: WhenInside, left: int) -> None:
    proxy = Proxy(replace(PROXY, when_inside=setting))
    asked(proxy, REQUEST, NOW)
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)
    assert codes(proxy.feed(from_node(INSIDE, VISITED, "priv"), NOW + 10)) == [206]
    assert len(proxy.bindings) == left


def test_location_by_interface_alone_needs_no_prefix_D_2_6_1_a_and_AMB_21() -> None:
    proxy = Proxy(replace(PROXY, location_mode=LocationMode.INTERFACE, internal_prefixes=()))
    assert codes(proxy.feed(from_node(INSIDE, VISITED, "priv"), NOW + 10)) == [206]
    assert codes(proxy.feed(from_node(replace(REQUEST, identification=at(NOW + 11))), NOW + 11)) == []
