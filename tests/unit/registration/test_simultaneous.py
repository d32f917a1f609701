"""Several bindings of one node at the proxy, one at its home agent (draft 2.6.2, AMB-8, AMB-9, AMB-11)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Bind, Count, ForgetBinding, PersistBinding, Unbind
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import DeregisterAll
from mobileip.wire.messages import Flag, RegistrationRequest
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    HOME,
    MIPP_PRIV,
    NOW,
    OTHER_CARE_OF,
    PROXY,
    REQUEST,
    Disk,
    Site,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
)

SEVERAL = replace(PROXY, simultaneous=3)
THIRD_CARE_OF, FOURTH_CARE_OF = IPv4Address("198.51.100.141"), IPv4Address("198.51.100.142")
ADDS = replace(REQUEST, flags=CO_LOCATED | Flag.SIMULTANEOUS)


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(SEVERAL)


def asked(care_of: IPv4Address, now: float, lifetime: int = 600, flags: int = ADDS.flags) -> RegistrationRequest:
    """A request for `care_of`, with S."""
    return replace(REQUEST, flags=flags, care_of_address=care_of, identification=at(now), lifetime=lifetime)


def register(
    proxy: Proxy,
    care_of: IPv4Address,
    now: float,
    lifetime: int = 600,
    granted: int | None = None,
    code: int = 0,
    flags: int = ADDS.flags,
) -> tuple[int, int, int]:
    """Register through; the lifetime that the home agent saw, and code and lifetime that the node was told."""
    request = asked(care_of, now, lifetime, flags)
    relayed = only_request(proxy.feed(from_node(request, care_of), now))
    answer = reply_to(request, code, relayed.lifetime if granted is None else granted)
    reply = only_reply(proxy.feed(from_home_agent(answer), now))
    return relayed.lifetime, reply.code, reply.lifetime


def care_of_addresses(proxy: Proxy) -> list[IPv4Address]:
    return [binding.care_of_address for binding in proxy.bindings]


def test_bindings_stand_beside_each_other_whatever_the_home_agent_can_do_D_2_6_2_a_and_AMB_9(proxy: Proxy) -> None:
    assert register(proxy, CARE_OF, NOW, code=1) == (600, 0, 600)
    assert register(proxy, OTHER_CARE_OF, NOW + 1, code=1) == (600, 0, 600)
    assert care_of_addresses(proxy) == [CARE_OF, OTHER_CARE_OF]


def test_s_never_goes_to_the_home_agent_D_2_6_2_b_and_D_2_2_1_e(proxy: Proxy) -> None:
    for one in (proxy, Proxy(PROXY)):
        relayed = only_request(one.feed(from_node(ADDS), NOW))
        assert not relayed.simultaneous
        assert relayed.care_of_address == MIPP_PRIV


def test_home_agent_is_asked_for_the_longest_and_the_node_gets_what_it_asked_D_2_6_2_c_and_D_2_6_2_e(
    proxy: Proxy,
) -> None:
    register(proxy, CARE_OF, NOW, lifetime=1000)
    assert register(proxy, OTHER_CARE_OF, NOW + 100, lifetime=300) == (900, 0, 300)
    assert [binding.expires for binding in proxy.bindings] == [NOW + 1000, NOW + 400]


def test_every_refresh_counts_anew_D_2_6_2_d(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW, lifetime=1000)
    register(proxy, OTHER_CARE_OF, NOW + 100, lifetime=300)
    assert register(proxy, OTHER_CARE_OF, NOW + 200, lifetime=300)[0] == 800
    assert register(proxy, CARE_OF, NOW + 300, lifetime=100)[0] == 200
    assert register(proxy, OTHER_CARE_OF, NOW + 400, lifetime=700)[0] == 700  # the other's has just run out
    assert care_of_addresses(proxy) == [OTHER_CARE_OF]


def test_binding_lasts_as_granted_or_as_asked_whichever_is_less_D_2_6_2_e(proxy: Proxy) -> None:
    assert register(proxy, CARE_OF, NOW, lifetime=1000, granted=400) == (1000, 0, 400)
    assert register(proxy, OTHER_CARE_OF, NOW + 100, lifetime=200, granted=300) == (300, 0, 200)
    assert [binding.granted for binding in proxy.bindings] == [400, 200]


def test_no_binding_outlives_the_one_at_the_home_agent_AMB_8(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW, lifetime=1000)
    request = asked(OTHER_CARE_OF, NOW + 100, 300)
    proxy.feed(from_node(request, OTHER_CARE_OF), NOW + 100)
    actions = proxy.feed(from_home_agent(reply_to(request, lifetime=200)), NOW + 100)
    first, second = proxy.bindings
    assert (first.expires, first.home_agent_expires) == (NOW + 300, NOW + 300)
    assert actions[:4] == [PersistBinding(first), Bind(first), PersistBinding(second), Bind(second)]


def test_without_support_code_1_and_the_old_binding_gives_way_D_2_6_2_f() -> None:
    proxy = Proxy(PROXY)
    assert register(proxy, CARE_OF, NOW) == (600, 1, 600)
    assert register(proxy, OTHER_CARE_OF, NOW + 1) == (600, 1, 600)
    assert care_of_addresses(proxy) == [OTHER_CARE_OF]


@pytest.mark.parametrize("code", [0, 1])
def test_without_s_the_home_agents_code_passes_AMB_9(proxy: Proxy, code: int) -> None:
    assert register(proxy, CARE_OF, NOW, code=code, flags=CO_LOCATED)[1] == code


def test_without_s_all_others_are_replaced_D_2_6_6_d(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW)
    register(proxy, OTHER_CARE_OF, NOW + 1)
    first, second = (binding.key for binding in proxy.bindings)
    request = asked(THIRD_CARE_OF, NOW + 2, flags=CO_LOCATED)
    proxy.feed(from_node(request, THIRD_CARE_OF), NOW + 2)
    actions = proxy.feed(from_home_agent(reply_to(request)), NOW + 2)
    (binding,) = proxy.bindings
    forgotten = [ForgetBinding(first), ForgetBinding(second)]
    assert actions[:4] == [*forgotten, PersistBinding(binding), Bind(binding, (first, second))]
    assert binding.care_of_address == THIRD_CARE_OF


def test_one_care_of_address_too_many_is_135_AMB_9(proxy: Proxy) -> None:
    for number, care_of in enumerate((CARE_OF, OTHER_CARE_OF, THIRD_CARE_OF)):
        register(proxy, care_of, NOW + number)
    assert codes(proxy.feed(from_node(asked(FOURTH_CARE_OF, NOW + 4), FOURTH_CARE_OF), NOW + 4)) == [135]
    assert register(proxy, OTHER_CARE_OF, NOW + 5)[1] == 0  # one that is there may be renewed
    assert register(proxy, FOURTH_CARE_OF, NOW + 6, flags=CO_LOCATED)[1] == 0  # and one may take the place of all


def test_those_on_their_way_count_AMB_9(proxy: Proxy) -> None:
    for number, care_of in enumerate((CARE_OF, OTHER_CARE_OF, THIRD_CARE_OF)):
        proxy.feed(from_node(asked(care_of, NOW + number / 8), care_of), NOW + number / 8)
    assert codes(proxy.feed(from_node(asked(FOURTH_CARE_OF, NOW + 1), FOURTH_CARE_OF), NOW + 1)) == [135]


def test_giving_up_one_is_a_refresh_at_the_home_agent_and_0_to_the_node_AMB_8_and_D_2_3_1_d(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW, lifetime=1000)
    register(proxy, OTHER_CARE_OF, NOW + 1, lifetime=600)
    given_up = proxy.bindings[0].key
    request = asked(CARE_OF, NOW + 100, 0)
    assert only_request(proxy.feed(from_node(request), NOW + 100)).lifetime == 501
    actions = proxy.feed(from_home_agent(reply_to(request, lifetime=501)), NOW + 100)
    assert actions[:2] == [ForgetBinding(given_up), Unbind(given_up)]
    assert only_reply(actions).lifetime == 0
    assert care_of_addresses(proxy) == [OTHER_CARE_OF]


def test_giving_up_the_last_one_is_the_end_at_the_home_agent_AMB_8(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW)
    assert register(proxy, CARE_OF, NOW + 1, lifetime=0)[0] == 0
    assert proxy.bindings == ()


def test_refresh_for_the_others_that_the_home_agent_answers_with_0_ends_them_AMB_8(proxy: Proxy) -> None:
    register(proxy, CARE_OF, NOW)
    register(proxy, OTHER_CARE_OF, NOW + 1)
    assert register(proxy, CARE_OF, NOW + 2, lifetime=0, granted=0)[2] == 0
    assert proxy.bindings == ()


@pytest.mark.parametrize(
    ("setting", "care_of"), [(DeregisterAll.MIPP_PRIV, MIPP_PRIV), (DeregisterAll.HOME_ADDRESS, HOME)]
)
def test_end_of_all_names_the_care_of_address_that_is_configured_AMB_11(
    setting: DeregisterAll, care_of: IPv4Address
) -> None:
    proxy = Proxy(replace(SEVERAL, deregister_all_care_of_address=setting))
    register(proxy, CARE_OF, NOW)
    register(proxy, OTHER_CARE_OF, NOW + 1)
    request = asked(HOME, NOW + 2, 0)
    relayed = only_request(proxy.feed(from_node(request, CARE_OF), NOW + 2))
    assert (relayed.lifetime, relayed.care_of_address) == (0, care_of)
    assert care_of_addresses(proxy) == [CARE_OF, OTHER_CARE_OF]  # until the home agent has said so
    proxy.feed(from_home_agent(reply_to(request, lifetime=0)), NOW + 2)
    assert care_of_addresses(proxy) == []
    one = asked(CARE_OF, NOW + 3, 0)
    assert only_request(proxy.feed(from_node(one, CARE_OF), NOW + 3)).care_of_address == MIPP_PRIV


# -- order --------------------------------------------------------------------------------------------------------


def test_replies_in_the_wrong_order_bind_both_D_2_6_2_a(proxy: Proxy) -> None:
    first, second = asked(CARE_OF, NOW), asked(OTHER_CARE_OF, NOW + 0.5)
    proxy.feed(from_node(first, CARE_OF), NOW)
    proxy.feed(from_node(second, OTHER_CARE_OF), NOW + 0.5)
    proxy.feed(from_home_agent(reply_to(second)), NOW + 1)
    assert codes(proxy.feed(from_home_agent(reply_to(first)), NOW + 1.1)) == [0]
    assert sorted(care_of_addresses(proxy)) == [CARE_OF, OTHER_CARE_OF]


def test_late_reply_to_a_request_without_s_replaces_only_what_was_there_before_it_D_2_6_6_d(proxy: Proxy) -> None:
    register(proxy, THIRD_CARE_OF, NOW)
    alone, beside = asked(CARE_OF, NOW + 1.25, flags=CO_LOCATED), asked(OTHER_CARE_OF, NOW + 1.5)
    proxy.feed(from_node(alone, CARE_OF), NOW + 1.25)
    proxy.feed(from_node(beside, OTHER_CARE_OF), NOW + 1.5)
    proxy.feed(from_home_agent(reply_to(beside)), NOW + 2.1)
    proxy.feed(from_home_agent(reply_to(alone)), NOW + 2.2)
    assert sorted(care_of_addresses(proxy)) == [CARE_OF, OTHER_CARE_OF]


def test_reply_that_the_end_of_all_has_overtaken_brings_nothing_back_D_2_3_1_d(proxy: Proxy) -> None:
    late, over = asked(CARE_OF, NOW), asked(HOME, NOW + 0.5, 0)
    proxy.feed(from_node(late, CARE_OF), NOW)
    proxy.feed(from_node(over, CARE_OF), NOW + 1)
    proxy.feed(from_home_agent(reply_to(over, lifetime=0)), NOW + 1.1)
    assert proxy.feed(from_home_agent(reply_to(late)), NOW + 1.2) == [Count("reply_without_request")]
    assert proxy.bindings == ()


def test_all_bindings_of_a_node_survive_a_restart_D_2_6_6_a(proxy: Proxy) -> None:
    disk = Disk()
    for number, care_of in enumerate((CARE_OF, OTHER_CARE_OF)):
        request = asked(care_of, NOW + number)
        disk.commit(proxy.feed(from_node(request, care_of), NOW + number))
        disk.commit(proxy.feed(from_home_agent(reply_to(request)), NOW + number))
    restarted = Proxy(SEVERAL)
    assert restarted.restore(disk.records(), NOW + 2) == [Bind(binding) for binding in proxy.bindings]
    assert register(restarted, CARE_OF, NOW + 3, lifetime=100)[0] == 298  # the max counts what was restored


def test_home_agent_without_simultaneous_bindings_serves_a_node_that_has_two_D_2_6_2_a() -> None:
    site = Site(proxy=Proxy(SEVERAL))
    for number, care_of in enumerate((CARE_OF, OTHER_CARE_OF)):
        (send,) = site.register(asked(care_of, NOW + number), NOW + number, care_of)
        assert send.destination.address == care_of
    assert len(site.proxy.bindings) == 2
    assert [binding.care_of_address for binding in site.home_agent.bindings] == [MIPP_PRIV]
