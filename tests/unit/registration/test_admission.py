"""Admission control: most bindings, most registrations a second, in all and of a home network; renewals first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.actions import Action
from mobileip.registration.admission import Admission, AdmissionPolicy, Limit
from mobileip.registration.events import RevokeRequested
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode
from mobileip.wire.codes import Code
from mobileip.wire.extensions import find
from mobileip.wire.messages import RegistrationReply, RegistrationRequest, parse_reply
from mobileip.wire.typed_extensions import MessageString
from tests.unit.registration.parties import (
    GATEWAY,
    HOME,
    MIPP_PUB,
    NODE_SA,
    NOW,
    PROXY,
    PROXY_SA,
    REQUEST,
    at,
    codes,
    from_home_agent,
    from_node,
    reply_to,
    sends,
)

NETWORK, OTHER_NETWORK = IPv4Network("192.0.2.64/27"), IPv4Network("192.0.2.96/27")
HOMES = [HOME + n for n in range(8)]
CROWD = replace(PROXY, nodes=tuple(ProxyNode(home, GATEWAY, (NODE_SA,), PROXY_SA) for home in HOMES))


def limited(**limits: int | None) -> Proxy:
    return Proxy(replace(CROWD, admission=AdmissionPolicy(Limit(**limits))))


def asking(number: int, now: float, **changes: Any) -> RegistrationRequest:
    request = replace(REQUEST, home_address=HOMES[number], identification=at(now))
    return replace(request, **changes)


def registered(proxy: Proxy, number: int, now: float, **changes: Any) -> list[int]:
    """Codes that the node gets for a registration that the home agent accepts."""
    request = asking(number, now, **changes)
    asked = proxy.feed(from_node(request), now)
    relayed = [send for send in sends(asked) if send.payload[0] == 1]
    answered = proxy.feed(from_home_agent(reply_to(request, lifetime=request.lifetime)), now) if relayed else []
    return codes(asked) + codes(answered)


def replies(actions: Iterable[Action]) -> list[RegistrationReply]:
    return [parse_reply(send.payload) for send in sends(actions) if send.payload[0] == 3]


def test_one_binding_too_many_is_refused_with_130_and_the_reason_D_2_4_a_and_AMB_1() -> None:
    proxy = limited(bindings=2)
    assert [registered(proxy, number, NOW + number) for number in range(3)] == [[0], [0], [130]]
    (reply,) = replies(proxy.feed(from_node(asking(3, NOW + 3)), NOW + 3))
    said = find(reply.extensions, 145)
    assert said is not None
    assert MessageString.of(said).text == "all home networks: 2 bindings, as many as it may have"
    assert (reply.home_agent, reply.lifetime) == (MIPP_PUB, 0)
    assert len(proxy.bindings) == 2


def test_renewal_and_move_need_no_room_AMB_1() -> None:
    proxy = limited(bindings=1)
    assert registered(proxy, 0, NOW) == [0]
    assert registered(proxy, 0, NOW + 1) == [0]
    assert registered(proxy, 0, NOW + 2, care_of_address=IPv4Address("198.51.100.11")) == [129]  # source is elsewhere
    elsewhere = asking(0, NOW + 3, care_of_address=IPv4Address("198.51.100.11"))
    proxy.feed(from_node(elsewhere, elsewhere.care_of_address), NOW + 3)
    assert codes(proxy.feed(from_home_agent(reply_to(elsewhere)), NOW + 3)) == [0]
    assert [binding.care_of_address for binding in proxy.bindings] == [elsewhere.care_of_address]


@pytest.mark.parametrize("how", ["deregistration", "expiry", "revocation"])
def test_binding_that_ends_makes_room_AMB_1(how: str) -> None:
    proxy = limited(bindings=1)
    assert registered(proxy, 0, NOW) == [0]
    assert registered(proxy, 1, NOW + 1) == [130]
    if how == "deregistration":
        assert registered(proxy, 0, NOW + 2, lifetime=0) == [0]
    elif how == "expiry":
        proxy.handle_timer(NOW + 600)
    else:
        proxy.feed(RevokeRequested(HOME), NOW + 2)
    assert registered(proxy, 1, NOW + 601) == [0]


def test_room_that_others_took_meanwhile_is_told_when_the_home_agent_has_accepted_D_2_3_1_b() -> None:
    proxy = limited(bindings=1)
    first, second = asking(0, NOW), asking(1, NOW)
    for request in (first, second):
        assert codes(proxy.feed(from_node(request), NOW)) == []
    assert codes(proxy.feed(from_home_agent(reply_to(first)), NOW)) == [0]
    assert codes(proxy.feed(from_home_agent(reply_to(second)), NOW)) == [130]
    assert len(proxy.bindings) == 1


def test_code_of_a_proxy_that_cannot_serve_is_configured_AMB_1() -> None:
    policy = AdmissionPolicy(Limit(bindings=1))
    settings = replace(CROWD, admission=policy, cannot_service_code=Code.IDENTIFICATION_MISMATCH)
    proxy = Proxy(settings)
    assert [registered(proxy, number, NOW + number) for number in range(2)] == [[0], [133]]


def test_registrations_beyond_a_seconds_number_are_refused_and_the_next_second_has_more_AMB_1() -> None:
    proxy = limited(per_second=4)
    # Of four, two are kept for whoever has a binding.
    assert [registered(proxy, number, NOW) for number in range(4)] == [[0], [0], [130], [130]]
    assert registered(proxy, 2, NOW + 0.25) == [0]


def test_renewals_come_before_others_AMB_1() -> None:
    proxy = limited(per_second=4)
    for number in range(2):
        registered(proxy, number, NOW)
    assert registered(proxy, 4, NOW + 0.125) == [130]
    assert [registered(proxy, number, NOW + 0.125) for number in range(2)] == [[0], [0]]


def test_deregistration_is_never_refused_AMB_1() -> None:
    proxy = limited(per_second=1, bindings=1)
    assert registered(proxy, 0, NOW) == [0]
    assert registered(proxy, 1, NOW) == [130]
    assert registered(proxy, 0, NOW + 0.01, lifetime=0) == [0]
    assert proxy.bindings == ()


def test_one_a_second_is_one_a_second() -> None:
    proxy = limited(per_second=1)
    assert [registered(proxy, number, NOW + number / 2) for number in range(4)] == [[0], [130], [0], [130]]


def test_home_networks_have_limits_of_their_own_and_one_does_not_cost_the_other_AMB_1() -> None:
    admission = Admission(AdmissionPolicy(Limit(bindings=3), {NETWORK: Limit(bindings=1), OTHER_NETWORK: Limit()}))
    inside, outside = HOME, IPv4Address("192.0.2.100")
    admission.added(inside)
    assert admission.refuses(HOMES[1], NOW, renews=False, adds=True) == (
        "home network 192.0.2.64/27: 1 bindings, as many as it may have"
    )
    assert admission.refuses(outside, NOW, renews=False, adds=True) is None
    admission.added(outside)
    admission.added(outside)
    assert admission.refuses(outside, NOW, renews=False, adds=True) is not None  # all together are three
    admission.removed(inside)
    assert admission.refuses(outside, NOW, renews=False, adds=True) is None


def test_refused_registration_uses_up_nothing_of_the_others_share() -> None:
    policy = AdmissionPolicy(Limit(per_second=4), {NETWORK: Limit(per_second=1)})
    admission = Admission(policy)
    for _ in range(10):
        admission.refuses(HOME, NOW, renews=False, adds=True)
    assert admission.refuses(IPv4Address("192.0.2.100"), NOW, renews=False, adds=True) is None


def test_show_has_limits_use_and_refusals() -> None:
    admission = Admission(AdmissionPolicy(Limit(bindings=1, per_second=10), {NETWORK: Limit()}))
    admission.added(HOME)
    admission.refuses(HOME, NOW, renews=False, adds=True)
    assert admission.rows() == [
        {"of": "all home networks", "bindings": 1, "most_bindings": 1, "most_per_second": 10, "refused": 1},
        {
            "of": "home network 192.0.2.64/27",
            "bindings": 1,
            "most_bindings": None,
            "most_per_second": None,
            "refused": 0,
        },
    ]


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_never_more_than_two_seconds_worth_in_a_second(per_second: int, arrivals: list[tuple[float, bool]]) -> None:
    """A full bucket and what flows in meanwhile; and never more than that for those without a binding."""
    admission = Admission(AdmissionPolicy(Limit(per_second=per_second)))
    taken = [
        moment
        for moment, renews in sorted(arrivals)
        if admission.refuses(HOME, NOW + moment, renews=renews, adds=not renews) is None
    ]
    for start in taken:
        assert sum(start <= moment < start + 1 for moment in taken) <= 2 * per_second
