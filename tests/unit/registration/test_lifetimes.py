"""Lifetimes between node and home agent, in numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.registration.bindings import Binding
from mobileip.registration.lifetimes import jittered, remaining, toward_home_agent
from mobileip.wire.messages import Flag
from tests.unit.registration.parties import CARE_OF, CO_LOCATED, HOME, NOW, OTHER_CARE_OF, REQUEST
from tests.unit.registration.test_proxy import BINDING

OTHER = replace(BINDING, care_of_address=OTHER_CARE_OF, expires=NOW + 900)
ADDS = replace(REQUEST, flags=CO_LOCATED | Flag.SIMULTANEOUS)


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [(NOW + 300, 300), (NOW + 299.01, 300), (NOW, 0), (NOW - 5, 0), (math.inf, 0xFFFF), (NOW + 1e6, 0xFFFE)],
)
def test_begun_second_counts_as_whole_and_only_infinity_is_infinite_R5944_3_3(expires: float, seconds: int) -> None:
    assert remaining(expires, NOW) == seconds


@pytest.mark.parametrize(
    ("bound", "lifetime", "expected"),
    [
        ([], 600, 600),
        ([OTHER], 600, 900),
        ([OTHER], 1200, 1200),
        ([replace(OTHER, expires=math.inf)], 600, 0xFFFF),
        ([OTHER], 0xFFFF, 0xFFFF),
        ([BINDING, OTHER], 200, 900),
        ([BINDING], 200, 200),  # its own former lifetime is over with the new one
    ],
)
def test_request_with_s_carries_the_longest_lifetime_D_2_6_2_c(
    bound: list[Binding], lifetime: int, expected: int
) -> None:
    assert toward_home_agent(ADDS, lifetime, bound, True, NOW) == expected


def test_refresh_of_one_of_several_carries_the_longest_without_s_too_D_2_6_2_d() -> None:
    assert toward_home_agent(REQUEST, 200, [BINDING, OTHER], True, NOW) == 900


def test_without_s_from_a_new_place_others_do_not_count_AMB_8() -> None:
    assert toward_home_agent(REQUEST, 200, [OTHER], True, NOW) == 200


def test_without_support_it_is_the_nodes_lifetime_D_2_2_2_a() -> None:
    assert toward_home_agent(ADDS, 200, [OTHER], False, NOW) == 200


@pytest.mark.parametrize("simultaneous", [True, False])
def test_giving_up_one_of_several_refreshes_for_the_others_AMB_8(simultaneous: bool) -> None:
    gone = replace(REQUEST, lifetime=0)
    assert toward_home_agent(gone, 0, [BINDING, OTHER], simultaneous, NOW) == 900
    assert toward_home_agent(gone, 0, [BINDING], simultaneous, NOW) == 0
    assert toward_home_agent(replace(gone, care_of_address=HOME), 0, [BINDING, OTHER], simultaneous, NOW) == 0
    assert BINDING.care_of_address == CARE_OF


@given(st.integers(1, 0xFFFE), st.floats(0, 0.5), st.floats(0, 1))
def test_jitter_only_shortens_and_by_no_more_than_its_share(lifetime: int, jitter: float, draw: float) -> None:
    granted = jittered(lifetime, jitter, draw)
    assert max(1, lifetime * (1 - jitter) - 1e-6) <= granted <= lifetime


def test_jitter_leaves_deregistration_and_infinity_alone() -> None:
    assert [jittered(lifetime, 0.5, 1.0) for lifetime in (0, 0xFFFF, 600)] == [0, 0xFFFF, 300]
