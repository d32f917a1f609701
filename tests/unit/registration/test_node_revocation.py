"""A mobile node whose registration is revoked (RFC 3543): offers, obeys, acknowledges, asks anew, and never revokes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from mobileip.registration.actions import Count, Send
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import parse_request, types_of
from mobileip.wire.revocation import Revocation, RevocationAcknowledgement, RevocationSupport
from tests.unit.registration.node import (
    ADVERTISEMENT,
    AT_AGENT,
    AT_HOME,
    AT_OPEN,
    AT_VISITED,
    BLOCKED,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SA,
    MIPP_PUB,
    NOW,
    OPEN,
    PARAMETER,
    PROXY_SA,
    SETTINGS,
    VISITED,
    answer,
    bound_at_open,
)

WILLING = replace(SETTINGS, revocation=True)
CLOCK = 5000  # the agent's, which need not be ours
TAKEN_UP = RevocationSupport(CLOCK).extension()


def bound(extensions: tuple[Extension, ...] = (PARAMETER, TAKEN_UP)) -> MobileNode:
    return bound_at_open(MobileNode(WILLING), extensions=extensions)


def revoked(
    identifier: int = CLOCK + 1,
    association: SecurityAssociation = PROXY_SA,
    source: IPv4Address = MIPP_PUB,
    **changes: Any,
) -> DatagramReceived:
    """The proxy's revocation as the node receives it."""
    message = Revocation(HOME, MIPP_PUB, OPEN, identifier, by_home_agent=True)
    payload = append(replace(message, **changes).serialize(), association)
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(OPEN, 434), "eth0", 60)


def test_node_on_its_own_offers_revocation_before_the_authenticator_R3543_3_2_a() -> None:
    (send,) = [each for each in MobileNode(WILLING).feed(AT_OPEN, NOW) if isinstance(each, Send)]
    request = parse_request(send.payload)
    extension = find(request.extensions, ExtensionType.REVOCATION_SUPPORT)
    assert extension is not None
    assert RevocationSupport.of(extension).timestamp == int(NOW)
    assert types_of(request.extensions)[-1] == 32


def test_node_behind_a_foreign_agent_and_one_that_deregisters_offer_nothing_R3543_3_2_a() -> None:
    node = MobileNode(WILLING)
    node.feed(AT_AGENT, NOW)
    (by_agent,) = [each for each in node.feed(ADVERTISEMENT, NOW) if isinstance(each, Send)]
    at_home = [each for each in MobileNode(WILLING).feed(AT_HOME, NOW) if isinstance(each, Send)]
    for send in (by_agent, *at_home):
        assert 137 not in types_of(parse_request(send.payload).extensions)


def test_revoked_node_blocks_acknowledges_and_asks_anew_R3543_3_3_d_and_R3543_3_4_a() -> None:
    node = bound()
    actions = node.feed(revoked(), NOW + 50)
    acknowledgement = append(RevocationAcknowledgement(HOME, CLOCK + 1).serialize(), PROXY_SA)
    assert actions[: len(BLOCKED)] == BLOCKED
    assert actions[len(BLOCKED)] == Send(acknowledgement, Endpoint(OPEN, 434), Endpoint(MIPP_PUB, 434))
    request = actions[-1]
    assert isinstance(request, Send)
    assert parse_request(request.payload).lifetime == 300
    assert node.status().state is State.REGISTERING
    assert node.status().why == f"{MIPP_PUB} revoked the registration"
    node.feed(answer(actions, extensions=(PARAMETER, TAKEN_UP)), NOW + 50.1)
    assert node.status().state is State.BOUND


def test_home_agent_inside_revokes_with_its_own_key_R3543_3_3_d() -> None:
    node = MobileNode(WILLING)
    asked = node.feed(answer(node.feed(AT_VISITED, NOW), code=206), NOW + 0.1)
    node.feed(answer(asked, extensions=(TAKEN_UP,)), NOW + 0.2)
    assert node.status().state is State.BOUND
    message = Revocation(HOME, HOME_AGENT, VISITED, CLOCK + 1, by_home_agent=True)
    for association, state in ((PROXY_SA, State.BOUND), (HOME_AGENT_SA, State.REGISTERING)):
        payload = append(message.serialize(), association)
        node.feed(DatagramReceived(payload, Endpoint(HOME_AGENT, 434), Endpoint(VISITED, 434), "eth0"), NOW + 50)
        assert node.status().state is state


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (revoked(association=replace(PROXY_SA, key=b"x" * 16)), "authentication_failed"),
        (revoked(association=HOME_AGENT_SA), "authentication_failed"),
        (revoked(by_home_agent=False), "revocation_reflected"),
        (revoked(identifier=CLOCK), "revocation_out_of_date"),
        (revoked(identifier=CLOCK - 1), "revocation_out_of_date"),
        (revoked(home_address=VISITED), "revocation_of_no_binding"),
        (revoked(foreign_domain=VISITED), "revocation_of_no_binding"),
        (revoked(home_domain=HOME_AGENT), "revocation_of_no_binding"),
        (revoked(source=HOME_AGENT), "revocation_of_no_binding"),
        (replace(revoked(), payload=b"\x07" + bytes(7)), "malformed"),
    ],
)
def test_revocation_that_must_not_be_believed_ends_nothing_R3543_3_3_c(event: DatagramReceived, count: str) -> None:
    node = bound()
    actions = node.feed(event, NOW + 50)
    assert Count(count) in actions
    assert not any(isinstance(action, Send) for action in actions)
    assert node.status().state is State.BOUND


def test_revocation_that_was_not_agreed_on_ends_nothing_R3543_3_3_c() -> None:
    for node in (bound((PARAMETER,)), bound_at_open(MobileNode(SETTINGS), extensions=(PARAMETER, TAKEN_UP))):
        assert node.feed(revoked(), NOW + 50) == [Count("revocation_not_agreed_on")]
        assert node.status().state is State.BOUND


def test_repeated_revocation_is_acknowledged_again_and_does_nothing_R3543_3_3_c() -> None:
    node = bound()
    actions = node.feed(revoked(), NOW + 50)
    node.feed(answer(actions, extensions=(PARAMETER, RevocationSupport(CLOCK + 1).extension())), NOW + 50.1)
    again = node.feed(revoked(), NOW + 51)
    assert again == [actions[len(BLOCKED)], Count("revocation_repeated")]
    assert node.status().state is State.BOUND


def test_node_sends_no_revocation_whatever_happens_to_it_R3543_3_3_e() -> None:
    node = bound()
    sent: list[bytes] = []
    for event in (revoked(), AT_VISITED, AT_HOME, AT_OPEN):
        sent += [each.payload for each in node.feed(event, NOW + 50) if isinstance(each, Send)]
    while (deadline := node.next_deadline()) is not None and deadline < NOW + 1000:
        sent += [each.payload for each in node.handle_timer(deadline) if isinstance(each, Send)]
    assert {payload[0] for payload in sent} == {1, 15}
