"""Identifications of a node's requests where replies come in another order than the requests (RFC 5944 5.7.1)."""

from __future__ import annotations

from mobileip.registration.node_identifications import Identifications
from mobileip.wire import identification as timestamps

NOW = 1_700_000_000.0


def test_each_is_newer_than_any_that_was_accepted_in_whatever_order() -> None:
    ours = Identifications()
    first, second = ours.next(NOW), ours.next(NOW)
    ours.accepted(second)
    ours.accepted(first)  # the other agent's answer, later
    ours.clock_offset = -3600.0
    assert timestamps.is_newer(ours.next(NOW), second)
