"""Which Identification is new: timestamps, nonces, and what a surrogate may say about either."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count

import pytest

from mobileip.registration.actions import PersistIdentification
from mobileip.registration.bindings import NodeKey
from mobileip.registration.replay import (
    Freshness,
    NonceCheck,
    ReplayGuard,
    ReplayMode,
    ReplayPolicy,
    no_nonces,
)
from mobileip.wire.authentication import ReplayStyle
from mobileip.wire.identification import high, low, to_unix
from tests.unit.registration.parties import GATEWAY, HOME, NODE_SA, NOW, at

NODE = NodeKey(GATEWAY, HOME)
OTHER_SPI = replace(NODE_SA, spi=2002)
NONCE_SA = replace(NODE_SA, replay=ReplayStyle.NONCE)
ROLL_OVER = 2_085_978_496.0  # 2036-02-07T06:28:16Z


def issuing() -> ReplayGuard:
    """A home agent's guard; its nonces are 0xA0000001, 0xA0000002 and so on."""
    numbers = count(0xA000_0001)
    return ReplayGuard(ReplayPolicy(), lambda: next(numbers))


def nonce(number: int, request: int = 7) -> int:
    """An Identification with the `number`th nonce of `issuing`."""
    return 0xA000_0000 + number << 32 | request


# -- timestamps ---------------------------------------------------------------------------------------------------


def test_timestamp_is_fresh_once_R5944_5_7_1_a() -> None:
    guard = ReplayGuard(ReplayPolicy())
    assert guard.judge(NODE, NODE_SA, at(NOW), NOW) is Freshness.FRESH
    assert guard.accept(NODE, NODE_SA, at(NOW)) == [PersistIdentification(NODE, 2001, at(NOW))]
    verdicts = [guard.judge(NODE, NODE_SA, at(NOW) + offset, NOW) for offset in (0, -1, 1)]
    assert verdicts == [Freshness.STALE, Freshness.STALE, Freshness.FRESH]
    other = NodeKey(GATEWAY, IPv4Address("192.0.2.70"))
    assert guard.judge(other, NODE_SA, at(NOW), NOW) is Freshness.FRESH


def test_timestamp_is_above_those_of_every_spi_R5944_5_7_1_a() -> None:
    guard = ReplayGuard(ReplayPolicy())
    guard.accept(NODE, NODE_SA, at(NOW))
    assert guard.judge(NODE, OTHER_SPI, at(NOW), NOW) is Freshness.STALE


@pytest.mark.parametrize("window", [3.0, 7.0, 300.0])
def test_window_is_as_configured_and_on_both_sides_R5944_5_7_1_a_and_AMB_6(window: float) -> None:
    guard = ReplayGuard(ReplayPolicy(window=window))
    offsets = (-window - 0.5, -window, window, window + 0.5)
    verdicts = [guard.judge(NODE, NODE_SA, at(NOW + offset), NOW) for offset in offsets]
    assert verdicts == [Freshness.STALE, Freshness.FRESH, Freshness.FRESH, Freshness.STALE]


@pytest.mark.parametrize("mode", list(ReplayMode))
def test_timestamps_rise_through_2036_in_either_mode_R5944_5_7_1_d(mode: ReplayMode) -> None:
    guard = ReplayGuard(ReplayPolicy(mode=mode))
    for moment in (ROLL_OVER - 1, ROLL_OVER, ROLL_OVER + 1):
        assert guard.judge(NODE, NODE_SA, at(moment), moment) is Freshness.FRESH
        guard.accept(NODE, NODE_SA, at(moment))
    assert high(at(ROLL_OVER)) == 0
    for old in (ROLL_OVER - 1, ROLL_OVER, ROLL_OVER + 1):
        assert guard.judge(NODE, NODE_SA, at(old), ROLL_OVER + 1) is Freshness.STALE


def test_monotonic_leaves_closeness_to_the_home_agent_AMB_6() -> None:
    guard = ReplayGuard(ReplayPolicy(mode=ReplayMode.MONOTONIC))
    assert guard.judge(NODE, NODE_SA, at(NOW - 3600), NOW) is Freshness.FRESH
    guard.accept(NODE, NODE_SA, at(NOW - 3600))
    assert guard.judge(NODE, NODE_SA, at(NOW - 3600), NOW) is Freshness.STALE
    assert guard.judge(NODE, NODE_SA, at(NOW - 3599), NOW) is Freshness.FRESH


def test_restored_timestamps_never_go_back_AMB_6() -> None:
    guard = ReplayGuard(ReplayPolicy())
    for moment in (NOW, NOW - 5):
        guard.restore(PersistIdentification(NODE, 2001, at(moment)))
    assert list(guard.records()) == [PersistIdentification(NODE, 2001, at(NOW))]


def test_denials_copy_a_valid_timestamp_and_133_has_our_seconds_R5944_5_7_1_b_and_R5944_5_7_1_c() -> None:
    guard = ReplayGuard(ReplayPolicy())
    stale = at(NOW - 60.25)
    assert guard.reply_identification(NODE, NODE_SA, at(NOW)) == at(NOW)
    answered, durable = guard.resynchronising(NODE, NODE_SA, stale, NOW)
    assert (high(answered), low(answered), durable) == (high(at(NOW)), low(stale), [])


# -- a home agent's clock, learned from its 133 -------------------------------------------------------------------


def learn(guard: ReplayGuard, offset: float, asked: int = at(NOW)) -> list[PersistIdentification]:
    """The home agent refuses what the proxy has accepted: its clock is `offset` seconds ahead."""
    guard.accept(NODE, NODE_SA, asked)
    answered = high(at(NOW + offset)) << 32 | low(asked)
    return guard.hear(NODE, NODE_SA, asked, answered, refused=True, now=NOW)


@pytest.mark.parametrize("offset", [100.0, -100.0])
def test_clock_of_the_home_agent_is_learned_from_its_133_where_so_configured_AMB_6(offset: float) -> None:
    guard = ReplayGuard(ReplayPolicy(learn_clock=True))
    durable = learn(guard, offset)
    again = at(NOW + offset + 1.5)
    assert guard.judge(NODE, NODE_SA, again, NOW + 1) is Freshness.FRESH
    assert guard.judge(NODE, NODE_SA, at(NOW + 1), NOW + 1) is Freshness.STALE
    assert abs(guard.clock_offsets[NODE] - offset) < 1
    answered, _ = guard.resynchronising(NODE, NODE_SA, at(NOW), NOW + 1)
    assert abs(to_unix(answered, NOW) - (NOW + offset)) < 2
    # Behind: what was accepted by our clock must not bar what the home agent wants. That is durable, too.
    assert durable == ([] if offset > 0 else [PersistIdentification(NODE, 2001, high(at(NOW + offset)) << 32)])


def test_without_the_option_a_133_teaches_no_clock_AMB_6() -> None:
    guard = ReplayGuard(ReplayPolicy())
    assert learn(guard, 100.0) == []
    assert guard.judge(NODE, NODE_SA, at(NOW + 101), NOW + 1) is Freshness.STALE
    assert guard.judge(NODE, NODE_SA, at(NOW + 1), NOW + 1) is Freshness.FRESH


def test_what_a_slower_home_agent_refused_does_not_pass_for_new_when_its_clock_gets_there_AMB_6() -> None:
    guard = ReplayGuard(ReplayPolicy(learn_clock=True))
    learn(guard, -100.0)
    guard.accept(NODE, NODE_SA, at(NOW - 98))
    assert guard.judge(NODE, NODE_SA, at(NOW), NOW + 100) is Freshness.STALE
    assert guard.judge(NODE, NODE_SA, at(NOW + 1), NOW + 100) is Freshness.FRESH


# -- nonces, at the one who issues them ---------------------------------------------------------------------------


def test_each_reply_has_a_new_nonce_that_the_next_request_must_have_R5944_5_7_2_a_and_R5944_5_7_2_b() -> None:
    guard = issuing()
    assert guard.judge(NODE, NONCE_SA, nonce(9), NOW) is Freshness.STALE  # nothing was issued yet
    answered, durable = guard.resynchronising(NODE, NONCE_SA, nonce(9), NOW)
    assert (answered, durable) == (nonce(1), [PersistIdentification(NODE, 2001, nonce(1, 0), nonce=True)])
    assert guard.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is Freshness.FRESH
    assert guard.accept(NODE, NONCE_SA, nonce(1, 8)) == [PersistIdentification(NODE, 2001, nonce(2, 0), nonce=True)]
    assert guard.reply_identification(NODE, NONCE_SA, nonce(1, 8)) == nonce(2, 8)
    for used in (nonce(1, 8), nonce(1, 9)):
        assert guard.judge(NODE, NONCE_SA, used, NOW) is Freshness.STALE
    assert guard.judge(NODE, NONCE_SA, nonce(2, 9), NOW) is Freshness.FRESH


def test_nonce_that_is_due_outlives_the_process_R5944_5_7_2_b() -> None:
    before, after = issuing(), issuing()
    before.resynchronising(NODE, NONCE_SA, nonce(9), NOW)
    for record in before.records():
        after.restore(record)
    assert after.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is Freshness.FRESH
    assert list(after.records()) == list(before.records())


def test_nonces_and_timestamps_of_one_node_do_not_meet_R5944_3_8_2_1_i() -> None:
    guard = issuing()
    guard.accept(NODE, replace(OTHER_SPI, replay=ReplayStyle.NONCE), nonce(1))
    assert guard.judge(NODE, NODE_SA, at(NOW), NOW) is Freshness.FRESH


def test_agent_without_a_random_source_makes_up_no_nonce() -> None:
    with pytest.raises(LookupError, match="no random source"):
        ReplayGuard(ReplayPolicy(), no_nonces).accept(NODE, NONCE_SA, 0)


# -- nonces, at a surrogate ---------------------------------------------------------------------------------------


def surrogate(check: NonceCheck = NonceCheck.DEFER) -> ReplayGuard:
    """A proxy's guard that has passed the home agent's first nonce on."""
    guard = ReplayGuard(ReplayPolicy(nonce_check=check))
    assert guard.accept(NODE, NONCE_SA, 5) == []
    durable = guard.hear(NODE, NONCE_SA, asked=5, answered=nonce(1, 5), refused=True, now=NOW)
    assert durable == [PersistIdentification(NODE, 2001, nonce(1, 0), nonce=True)]
    return guard


@pytest.mark.parametrize(
    ("check", "verdict"), [(NonceCheck.DEFER, Freshness.UNPROVEN), (NonceCheck.LOCAL, Freshness.STALE)]
)
def test_surrogate_leaves_a_wrong_nonce_to_the_home_agent_or_denies_it_AMB_6(
    check: NonceCheck, verdict: Freshness
) -> None:
    guard = surrogate(check)
    assert guard.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is Freshness.FRESH
    assert guard.judge(NODE, NONCE_SA, nonce(3, 8), NOW) is verdict


@pytest.mark.parametrize("check", list(NonceCheck))
def test_surrogate_that_knows_no_nonce_asks_the_home_agent_AMB_6(check: NonceCheck) -> None:
    guard = ReplayGuard(ReplayPolicy(nonce_check=check))
    assert guard.judge(NODE, NONCE_SA, nonce(1), NOW) is Freshness.UNPROVEN


@pytest.mark.parametrize("check", list(NonceCheck))
def test_the_same_request_byte_by_byte_is_relayed_again_R5944_5_7_2_c_and_AMB_6(check: NonceCheck) -> None:
    guard = surrogate(check)
    guard.accept(NODE, NONCE_SA, nonce(1, 8))
    assert guard.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is not Freshness.STALE  # unanswered
    guard.hear(NODE, NONCE_SA, asked=nonce(1, 8), answered=nonce(2, 8), refused=False, now=NOW)
    assert guard.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is Freshness.UNPROVEN  # the answer was lost on its way on


def test_denial_of_a_surrogate_has_the_last_nonce_or_the_requests_own_AMB_6() -> None:
    forgetful = ReplayGuard(ReplayPolicy())
    assert forgetful.reply_identification(NODE, NONCE_SA, nonce(3, 8)) == nonce(3, 8)
    guard = surrogate()
    assert guard.reply_identification(NODE, NONCE_SA, nonce(3, 8)) == nonce(1, 8)
    assert guard.resynchronising(NODE, NONCE_SA, nonce(3, 8), NOW) == (nonce(1, 8), [])


def test_surrogate_remembers_the_nonce_over_a_restart_AMB_6() -> None:
    after = ReplayGuard(ReplayPolicy(nonce_check=NonceCheck.LOCAL))
    for record in surrogate().records():
        after.restore(record)
    assert after.judge(NODE, NONCE_SA, nonce(1, 8), NOW) is Freshness.FRESH
    assert after.judge(NODE, NONCE_SA, nonce(2, 8), NOW) is Freshness.STALE
