"""Challenges: which may be answered, and once (RFC 4721 3.2)."""

from __future__ import annotations

from itertools import count

from mobileip.registration.challenges import CHALLENGE_WINDOW, Challenges
from mobileip.wire.codes import Code


def challenges(capacity: int = 65536) -> Challenges:
    numbers = count(1)
    return Challenges(4, lambda size: next(numbers).to_bytes(size), capacity=capacity)


def test_advertised_challenge_may_be_answered_while_it_is_among_the_last_two_R4721_3_2_a() -> None:
    made = challenges()
    first, second = made.advertise(), made.advertise()
    assert CHALLENGE_WINDOW == 2
    assert [made.objection("node", "there", each) for each in (first, second)] == [None, None]
    made.advertise()
    assert made.objection("node", "there", first) is Code.UNKNOWN_CHALLENGE
    assert made.objection("node", "there", second) is None


def test_used_challenge_is_stale_for_the_node_that_used_it_and_for_no_other_R4721_3_2_a() -> None:
    made = challenges()
    challenge = made.advertise()
    made.use("node", challenge)
    assert made.objection("node", "there", challenge) is Code.STALE_CHALLENGE
    assert made.objection("other", "there", challenge) is None
    made.advertise()
    made.advertise()
    assert made.objection("node", "there", challenge) is Code.STALE_CHALLENGE  # not unknown: it was known once


def test_challenge_offered_to_one_node_is_nobody_elses_and_the_next_replaces_it_R4721_3_2_a() -> None:
    made = challenges()
    mine = made.offer("node")
    assert made.objection("node", "there", mine) is None
    assert made.objection("other", "there", mine) is Code.UNKNOWN_CHALLENGE
    made.offer("node")
    assert made.objection("node", "there", mine) is Code.UNKNOWN_CHALLENGE


def test_challenge_of_an_advertisement_to_one_address_is_for_who_asks_from_there_R4721_3_2_a() -> None:
    made = challenges()
    to_address = made.offer("there")
    assert made.objection("node", "there", to_address) is None
    assert made.objection("node", "elsewhere", to_address) is Code.UNKNOWN_CHALLENGE


def test_longest_silent_node_is_forgotten_first() -> None:
    made = challenges(capacity=2)
    first, second = made.offer("first"), made.offer("second")
    made.offer("third")
    assert made.objection("first", "there", first) is Code.UNKNOWN_CHALLENGE
    assert made.objection("second", "there", second) is None


def test_strangers_who_are_offered_challenges_push_out_nothing_that_was_used() -> None:
    made = challenges(capacity=2)
    challenge = made.advertise()
    made.use("node", challenge)
    for stranger in range(9):
        made.offer(stranger)
    assert made.objection("node", "there", challenge) is Code.STALE_CHALLENGE
