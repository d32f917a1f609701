"""Revocation (RFC 3543) of proxy and home agent: offers, revocations, acknowledgements, on each leg for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mobileip.registration.actions import Action, Count, ForgetBinding, ReleaseHome, Send, Unbind
from mobileip.registration.bindings import RevocationPeer
from mobileip.registration.events import DatagramReceived, Endpoint, RevokeRequested
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxySettings
from mobileip.store.sqlite import Change, SqliteStore
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import RegistrationRequest, types_of
from mobileip.wire.revocation import (
    Revocation,
    RevocationAcknowledgement,
    RevocationSupport,
    parse_acknowledgement,
    parse_revocation,
)
from mobileip.wire.typed_extensions import UdpTunnelRequest
from tests.unit.registration.parties import (
    CARE_OF,
    CO_LOCATED,
    DIRECT_REQUEST,
    DIRECT_SA,
    FOREIGN_AGENT,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    MIPP_PUB,
    NAT,
    NODE_SA,
    NOW,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    PROXY_SA,
    REQUEST,
    STRANGER_SA,
    VISITED,
    at,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    sends,
    signed,
    to_home_agent,
)

CLOCK = int(NOW)
OFFER = RevocationSupport(CLOCK - 3).extension()
TAKEN_UP = RevocationSupport(CLOCK + 40).extension()  # a home agent whose clock is not ours
FA_SA = SecurityAssociation(5001, bytes(range(48, 64)))

WILLING = replace(PROXY, revocation_of_nodes=True, revocation_by_home_agents=True)
WILLING_HOME_AGENT = replace(HOME_AGENT_SETTINGS, revocation=True)
OFFERING = replace(REQUEST, extensions=(OFFER, PARAMETER))


def bound(
    request: RegistrationRequest | None = None,
    source: IPv4Address | Endpoint = CARE_OF,
    taken_up: tuple[Extension, ...] = (TAKEN_UP,),
    settings: ProxySettings = WILLING,
) -> Proxy:
    """A proxy through which the node has registered at NOW; by default it offers, and so do proxy and home agent."""
    request = request or OFFERING
    proxy = Proxy(settings)
    proxy.feed(from_node(request, source), NOW)
    proxy.feed(from_home_agent(reply_to(request, extensions=taken_up)), NOW + 0.1)
    assert len(proxy.bindings) == 1
    return proxy


def from_agent(
    identifier: int = CLOCK + 41,
    association: SecurityAssociation = PROXY_SA,
    source: IPv4Address = HOME_AGENT,
    interface: str = "priv",
    **changes: Any,
) -> DatagramReceived:
    """The home agent's revocation as the proxy receives it."""
    message = Revocation(HOME, HOME_AGENT, MIPP_PRIV, identifier, by_home_agent=True)
    payload = append(replace(message, **changes).serialize(), association)
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(MIPP_PRIV, 434), interface)


def revocations(actions: Iterable[Action]) -> list[Send]:
    return [send for send in sends(actions) if send.payload[0] == 7]


def acknowledgements(actions: Iterable[Action]) -> list[Send]:
    return [send for send in sends(actions) if send.payload[0] == 15]


# -- offers, each leg for itself ----------------------------------------------------------------------------------


def test_proxy_offers_revocation_to_the_home_agent_under_its_own_clock_R3543_3_2_a_and_AMB_10() -> None:
    relayed = only_request(Proxy(WILLING).feed(from_node(OFFERING), NOW))
    extension = find(relayed.extensions, ExtensionType.REVOCATION_SUPPORT)
    assert extension is not None
    assert RevocationSupport.of(extension) == RevocationSupport(CLOCK)
    # One, ours, and where the authenticator covers it.
    assert types_of(relayed.extensions) == (137, 32)


def test_nothing_of_revocation_crosses_the_proxy_AMB_10() -> None:
    proxy = Proxy(PROXY)  # takes no part
    assert types_of(only_request(proxy.feed(from_node(OFFERING), NOW)).extensions) == (32,)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(OFFERING, extensions=(TAKEN_UP,))), NOW))
    assert 137 not in types_of(reply.extensions)
    (binding,) = proxy.bindings
    assert (binding.node_revocation, binding.agent_revocation) == (None, None)


def test_proxy_takes_up_the_nodes_offer_under_its_own_clock_R3543_3_2_a_and_R3543_3_2_b() -> None:
    proxy = Proxy(WILLING)
    proxy.feed(from_node(OFFERING), NOW)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(OFFERING, extensions=(TAKEN_UP,))), NOW + 2))
    extension = find(reply.extensions, ExtensionType.REVOCATION_SUPPORT)
    assert extension is not None
    assert RevocationSupport.of(extension).timestamp == CLOCK + 2
    assert types_of(reply.extensions)[-1] == 32
    (binding,) = proxy.bindings
    assert binding.node_revocation == RevocationPeer(32, CLOCK - 3)
    assert binding.agent_revocation == CLOCK + 40


def test_reply_has_no_support_where_the_request_had_none_R3543_3_2_b() -> None:
    proxy = Proxy(WILLING)
    proxy.feed(from_node(REQUEST), NOW)
    assert 137 not in types_of(only_reply(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)).extensions)
    agent = HomeAgent(WILLING_HOME_AGENT)
    assert 137 not in types_of(only_reply(agent.feed(to_home_agent(DIRECT_REQUEST), NOW)).extensions)


def test_denial_and_deregistration_take_up_nothing_R3543_3_2_b() -> None:
    proxy = Proxy(WILLING)
    proxy.feed(from_node(OFFERING), NOW)
    assert 137 not in types_of(only_reply(proxy.feed(from_home_agent(reply_to(OFFERING, 129)), NOW)).extensions)
    leaving = replace(OFFERING, lifetime=0, identification=at(NOW + 1))
    proxy.feed(from_node(leaving), NOW + 1)
    assert 137 not in types_of(
        only_reply(proxy.feed(from_home_agent(reply_to(leaving, lifetime=0)), NOW + 1)).extensions
    )


def test_offer_behind_the_authenticator_is_nobodys_R3543_3_3_c() -> None:
    proxy = Proxy(WILLING)
    proxy.feed(from_node(signed(REQUEST, behind=(OFFER,))), NOW)
    proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)
    (binding,) = proxy.bindings
    assert binding.node_revocation is None


def test_home_agents_support_that_is_not_authenticated_does_not_count_R3543_3_3_c() -> None:
    proxy = Proxy(WILLING)
    proxy.feed(from_node(OFFERING), NOW)
    payload = signed(reply_to(OFFERING), PROXY_SA, behind=(TAKEN_UP,))
    proxy.feed(from_home_agent(payload), NOW)
    (binding,) = proxy.bindings
    assert binding.agent_revocation is None


# -- the home agent revokes at the proxy --------------------------------------------------------------------------


def test_home_agents_revocation_ends_the_binding_and_is_acknowledged_R3543_3_3_d_and_R3543_3_4_a() -> None:
    proxy = bound(REQUEST)
    (binding,) = proxy.bindings
    actions = proxy.feed(from_agent(), NOW + 5)
    assert actions[:2] == [ForgetBinding(binding.key), Unbind(binding.key)]
    assert proxy.bindings == ()
    answer = append(RevocationAcknowledgement(HOME, CLOCK + 41).serialize(), PROXY_SA)
    assert sends(actions) == [Send(answer, Endpoint(MIPP_PRIV, 434), Endpoint(HOME_AGENT, 434))]


def test_node_is_told_on_its_own_leg_R3543_3_3_d() -> None:
    actions = bound().feed(from_agent(), NOW + 5)
    told = append(Revocation(HOME, MIPP_PUB, CARE_OF, CLOCK + 5, by_home_agent=True).serialize(), NODE_SA)
    assert revocations(actions) == [Send(told, Endpoint(MIPP_PUB, 434), Endpoint(CARE_OF, 434))]
    assert len(acknowledgements(actions)) == 1


def test_node_behind_a_nat_is_told_where_its_request_came_from_R3543_3_3_d() -> None:
    request = replace(OFFERING, extensions=(OFFER, PARAMETER, UdpTunnelRequest().extension()))
    (send,) = revocations(bound(request, NAT).feed(from_agent(), NOW + 5))
    assert (send.source, send.destination) == (Endpoint(MIPP_PUB, 434), NAT)


def test_node_that_did_not_offer_is_not_told_R3543_3_3_d() -> None:
    actions = bound(REQUEST).feed(from_agent(), NOW + 5)
    assert revocations(actions) == []


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (from_agent(association=replace(PROXY_SA, key=b"x" * 16)), "authentication_failed"),
        (from_agent(association=NODE_SA), "authentication_failed"),
        (from_agent(by_home_agent=False), "revocation_reflected"),
        (from_agent(identifier=CLOCK + 40), "revocation_out_of_date"),
        (from_agent(identifier=CLOCK + 39), "revocation_out_of_date"),
        (from_agent(home_address=IPv4Address("192.0.2.70")), "revocation_of_no_binding"),
        (from_agent(source=OTHER_HOME_AGENT), "revocation_of_another_agent"),
        (from_agent(source=OTHER_HOME_AGENT, home_domain=OTHER_HOME_AGENT), "revocation_of_no_binding"),
        (from_agent(interface="pub"), "revocation_not_from_inside"),
        (from_agent(extensions=(Extension(99),)), "unknown_extension"),
        (replace(from_agent(), payload=b"\x07" + bytes(19)), "revocation_reflected"),
        (replace(from_agent(), payload=b"\x07" + bytes(18)), "malformed"),
        (replace(from_agent(), payload=b"\x07" + bytes(4096)), "oversized"),
        (
            replace(from_agent(), payload=Revocation(HOME, HOME_AGENT, MIPP_PRIV, CLOCK + 41, True).serialize()),
            "authentication_failed",
        ),
    ],
)
def test_revocation_that_must_not_be_believed_ends_no_binding_R3543_3_3_c(event: DatagramReceived, count: str) -> None:
    proxy = bound()
    actions = proxy.feed(event, NOW + 5)
    assert Count(count) in actions
    assert sends(actions) == []
    assert len(proxy.bindings) == 1


def test_revocation_that_was_not_agreed_on_ends_no_binding_R3543_3_3_c() -> None:
    proxy = bound(taken_up=())
    assert proxy.feed(from_agent(), NOW + 5) == [Count("revocation_not_agreed_on")]
    assert len(proxy.bindings) == 1


def test_home_agent_that_takes_us_for_a_foreign_agent_revokes_by_34_R3543_3_3_d() -> None:
    shared = replace(WILLING, replies=HomeAgentReplies(fa_ha={HOME_AGENT: FA_SA}))
    kind = ExtensionType.FA_HA_AUTHENTICATION
    proxy = Proxy(shared)
    proxy.feed(from_node(REQUEST), NOW)
    accepted = append(signed(reply_to(REQUEST, extensions=(TAKEN_UP,)), PROXY_SA), FA_SA, kind)
    proxy.feed(from_home_agent(accepted), NOW)
    assert [one.agent_revocation for one in proxy.bindings] == [CLOCK + 40]
    message = Revocation(HOME, HOME_AGENT, MIPP_PRIV, CLOCK + 41, by_home_agent=True)
    forged = replace(from_agent(), payload=append(message.serialize(), replace(FA_SA, key=b"x" * 16), kind))
    assert Count("authentication_failed") in proxy.feed(forged, NOW + 5)
    revoked = replace(from_agent(), payload=append(message.serialize(), FA_SA, kind))
    (answer,) = sends(proxy.feed(revoked, NOW + 5))
    assert answer.payload == append(RevocationAcknowledgement(HOME, CLOCK + 41).serialize(), FA_SA, kind)
    assert [*proxy.bindings] == []


def test_repeated_revocation_is_acknowledged_again_and_does_nothing_R3543_3_3_c() -> None:
    proxy = bound()
    first = acknowledgements(proxy.feed(from_agent(), NOW + 5))
    actions = proxy.feed(from_agent(), NOW + 5.5)
    assert actions == [*first, Count("revocation_repeated")]
    forged = from_agent(association=replace(PROXY_SA, key=b"x" * 16))
    assert sends(proxy.feed(forged, NOW + 5.6)) == []


def test_old_revocation_does_not_end_what_was_registered_since_R3543_3_3_c() -> None:
    proxy = bound()
    proxy.feed(from_agent(), NOW + 5)
    again = replace(OFFERING, identification=at(NOW + 6))
    later = RevocationSupport(CLOCK + 46).extension()
    proxy.feed(from_node(again), NOW + 6)
    proxy.feed(from_home_agent(reply_to(again, extensions=(later,))), NOW + 6)
    assert len(proxy.bindings) == 1
    for identifier in (CLOCK + 41, CLOCK + 45):
        proxy.feed(from_agent(identifier), NOW + 7)
    assert len(proxy.bindings) == 1


def test_home_agents_revocation_ends_all_bindings_of_the_node_R3543_3_3_d() -> None:
    settings = replace(WILLING, simultaneous=3)
    proxy = Proxy(settings)
    for number, place in enumerate(("198.51.100.10", "198.51.100.11")):
        request = replace(
            OFFERING,
            flags=CO_LOCATED | 0x80,
            care_of_address=IPv4Address(place),
            identification=at(NOW + number),
        )
        proxy.feed(from_node(request, IPv4Address(place)), NOW + number)
        support = RevocationSupport(CLOCK + 40 + number).extension()
        proxy.feed(from_home_agent(reply_to(request, extensions=(support,))), NOW + number)
    assert sends(proxy.feed(from_agent(CLOCK + 41), NOW + 5)) == []  # not later than the second registration
    assert len(proxy.bindings) == 2
    actions = proxy.feed(from_agent(CLOCK + 42), NOW + 5)
    assert not proxy.bindings
    assert sorted(str(send.destination.address) for send in revocations(actions)) == ["198.51.100.10", "198.51.100.11"]


def test_what_was_agreed_on_outlives_a_restart_R3543_3_3_d(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "proxy.sqlite")
    proxy = Proxy(WILLING)
    for event in (from_node(OFFERING), from_home_agent(reply_to(OFFERING, extensions=(TAKEN_UP,)))):
        store.commit(action for action in proxy.feed(event, NOW) if isinstance(action, Change))
    again = Proxy(WILLING)
    again.restore(store.records(), NOW + 1)
    store.close()
    actions = again.feed(from_agent(), NOW + 5)
    assert (len(acknowledgements(actions)), len(revocations(actions))) == (1, 1)


# -- repetition and acknowledgement -------------------------------------------------------------------------------


def sent_at(proxy: Proxy, until: float) -> list[float]:
    """When the proxy sends revocations if nobody answers, in seconds from NOW."""
    times: list[float] = []
    while (at_time := proxy.next_deadline()) is not None and at_time <= until:
        times += [at_time - NOW for _ in revocations(proxy.handle_timer(at_time))]
    return times


def test_revocation_is_repeated_ever_more_slowly_and_not_beyond_the_end_of_the_registration_R3543_3_3_a() -> None:
    proxy = bound()  # until NOW + 300
    assert len(revocations(proxy.feed(RevokeRequested(HOME), NOW + 150))) == 1
    assert sent_at(proxy, NOW + 1000) == [151, 153, 157, 165, 181, 213, 277]  # the next would be 341
    assert proxy.next_deadline() is None


def test_binding_without_end_is_not_repeated_for_ever_R3543_3_3_a() -> None:
    agent = HomeAgent(replace(WILLING_HOME_AGENT, max_lifetime=0xFFFF))
    request = replace(DIRECT_REQUEST, lifetime=0xFFFF, extensions=(OFFER,))
    agent.feed(to_home_agent(request), NOW)
    agent.feed(RevokeRequested(HOME), NOW)
    count = 0
    while (deadline := agent.next_deadline()) is not None:
        count += len(revocations(agent.handle_timer(deadline)))
    assert count == 9


def test_two_revocations_of_a_binding_are_a_second_apart_R3543_3_3_a() -> None:
    proxy = bound()
    proxy.feed(RevokeRequested(HOME), NOW + 1)
    again = replace(OFFERING, identification=at(NOW + 1.25))
    proxy.feed(from_node(again), NOW + 1.25)
    proxy.feed(from_home_agent(reply_to(again, extensions=(TAKEN_UP,))), NOW + 1.25)
    assert len(proxy.bindings) == 1
    assert revocations(proxy.feed(RevokeRequested(HOME), NOW + 1.5)) == []
    assert not proxy.bindings
    assert proxy.next_deadline() == NOW + 2
    assert len(revocations(proxy.handle_timer(NOW + 2))) == 1


def acknowledgement(
    identifier: int, association: SecurityAssociation = NODE_SA, source: IPv4Address = CARE_OF, home: IPv4Address = HOME
) -> DatagramReceived:
    payload = append(RevocationAcknowledgement(home, identifier).serialize(), association)
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(MIPP_PUB, 434), "pub")


def test_acknowledged_revocation_is_not_repeated_R3543_3_3_a() -> None:
    proxy = bound()
    (send,) = revocations(proxy.feed(RevokeRequested(HOME), NOW + 5))
    identifier = parse_revocation(send.payload).identifier
    assert proxy.unacknowledged == 1
    assert proxy.feed(acknowledgement(identifier), NOW + 5.1) == [Count("revocation_acknowledged")]
    assert (proxy.next_deadline(), proxy.unacknowledged) == (None, 0)
    assert proxy.feed(acknowledgement(identifier), NOW + 5.2) == [Count("revocation_acknowledgement_of_nothing")]


@pytest.mark.parametrize(
    "event",
    [
        acknowledgement(CLOCK + 5, STRANGER_SA),
        acknowledgement(CLOCK + 5, PROXY_SA),
        acknowledgement(CLOCK + 6),
        acknowledgement(CLOCK + 5, source=VISITED),
        acknowledgement(CLOCK + 5, home=IPv4Address("192.0.2.70")),
        replace(acknowledgement(CLOCK + 5), payload=RevocationAcknowledgement(HOME, CLOCK + 5).serialize()),
        replace(acknowledgement(CLOCK + 5), payload=b"\x0f" + bytes(10)),
    ],
    ids=["key", "other leg's key", "identifier", "source", "home address", "no authenticator", "cut"],
)
def test_acknowledgement_that_is_not_authentic_or_fits_nothing_stops_no_repetition_R3543_3_3_c(
    event: DatagramReceived,
) -> None:
    proxy = bound()
    proxy.feed(RevokeRequested(HOME), NOW + 5)
    proxy.feed(event, NOW + 5.1)
    assert len(revocations(proxy.handle_timer(NOW + 6))) == 1


def test_registration_since_then_stops_the_repetition_R3543_3_3_a() -> None:
    proxy = bound()
    proxy.feed(RevokeRequested(HOME), NOW + 5)
    again = replace(OFFERING, identification=at(NOW + 5.5))
    proxy.feed(from_node(again), NOW + 5.5)
    proxy.feed(from_home_agent(reply_to(again, extensions=(TAKEN_UP,))), NOW + 5.6)
    assert sent_at(proxy, NOW + 100) == []


def test_revocation_is_younger_than_what_it_ends_and_older_than_what_comes_next_R3543_3_3_c() -> None:
    """Also within one second of the clock: otherwise it would end nothing, or could be replayed."""
    agent = HomeAgent(WILLING_HOME_AGENT)
    stamps: list[int] = []
    for moment in (NOW, NOW + 0.25):
        request = replace(DIRECT_REQUEST, identification=at(moment), extensions=(OFFER,))
        reply = only_reply(agent.feed(to_home_agent(request), moment))
        extension = find(reply.extensions, ExtensionType.REVOCATION_SUPPORT)
        assert extension is not None
        stamps.append(RevocationSupport.of(extension).timestamp)
        (send,) = revocations(agent.feed(RevokeRequested(HOME), moment)) or revocations(agent.handle_timer(NOW + 1))
        stamps.append(parse_revocation(send.payload).identifier)
    assert stamps == [CLOCK, CLOCK + 1, CLOCK + 1, CLOCK + 2]


# -- the operator revokes -----------------------------------------------------------------------------------------


def test_operator_ends_all_bindings_of_a_home_address_at_the_proxy_R3543_3_3_d() -> None:
    proxy = bound()
    (binding,) = proxy.bindings
    actions = proxy.feed(RevokeRequested(HOME), NOW + 5)
    assert actions[:2] == [ForgetBinding(binding.key), Unbind(binding.key)]
    assert [send.destination.address for send in sends(actions)] == [CARE_OF]  # the node, and not the home agent
    assert proxy.feed(RevokeRequested(HOME), NOW + 9.5)[-1] == Count("revocation_of_no_binding")


def test_operator_ends_the_binding_at_the_home_agent_and_the_proxy_follows_R3543_3_3_d() -> None:
    """Both for themselves, over the wire between them."""
    agent, proxy = HomeAgent(WILLING_HOME_AGENT), Proxy(WILLING)
    (relayed,) = sends(proxy.feed(from_node(OFFERING), NOW))
    answers = agent.feed(DatagramReceived(relayed.payload, relayed.source, relayed.destination, "core"), NOW)
    (reply,) = sends(answers)
    proxy.feed(DatagramReceived(reply.payload, reply.source, reply.destination, "priv"), NOW)
    assert (len(agent.bindings), len(proxy.bindings)) == (1, 1)

    actions = agent.feed(RevokeRequested(HOME), NOW + 5)
    assert ReleaseHome(HOME, "home") in actions
    (send,) = sends(actions)
    assert (send.source, send.destination) == (Endpoint(HOME_AGENT, 434), Endpoint(MIPP_PRIV, 434))
    followed = proxy.feed(DatagramReceived(send.payload, send.source, send.destination, "priv"), NOW + 5)
    assert proxy.bindings == ()
    (answer,) = acknowledgements(followed)
    assert agent.feed(DatagramReceived(answer.payload, answer.source, answer.destination, "core"), NOW + 5) == [
        Count("revocation_acknowledged")
    ]
    assert agent.next_deadline() is None
    assert [parse_revocation(told.payload).foreign_domain for told in revocations(followed)] == [CARE_OF]


def test_home_agent_tells_a_node_that_registered_itself_R3543_3_3_d() -> None:
    agent = HomeAgent(WILLING_HOME_AGENT)
    agent.feed(to_home_agent(replace(DIRECT_REQUEST, extensions=(OFFER,))), NOW)
    (send,) = sends(agent.feed(RevokeRequested(HOME), NOW + 5))
    told = Revocation(HOME, HOME_AGENT, VISITED, CLOCK + 5, by_home_agent=True)
    assert send == Send(append(told.serialize(), DIRECT_SA), Endpoint(HOME_AGENT, 434), Endpoint(VISITED, 434))


# -- foreign agents ------------------------------------------------------------------------------------------------


def through_foreign_agent(settings: ProxySettings | None = None) -> Proxy:
    """A node registered through a foreign agent that shares a key with the proxy and offers revocation."""
    settings = settings or replace(WILLING, checks=GatePolicy(foreign_agents={FOREIGN_AGENT: {FA_SA.spi: FA_SA}}))
    request = replace(REQUEST, flags=0x02, care_of_address=FOREIGN_AGENT)
    payload = append(signed(request, behind=(OFFER,)), FA_SA, ExtensionType.FA_HA_AUTHENTICATION)
    proxy = Proxy(settings)
    proxy.feed(from_node(payload, FOREIGN_AGENT), NOW)
    proxy.feed(from_home_agent(reply_to(request, extensions=(TAKEN_UP,))), NOW)
    assert len(proxy.bindings) == 1
    return proxy


def given_up(association: SecurityAssociation = FA_SA, kind: int = 34, **changes: Any) -> DatagramReceived:
    """A foreign agent's revocation as the proxy receives it."""
    message = Revocation(HOME, MIPP_PUB, FOREIGN_AGENT, CLOCK, by_home_agent=False)
    payload = append(replace(message, **changes).serialize(), association, kind)
    return DatagramReceived(payload, Endpoint(FOREIGN_AGENT, 434), Endpoint(MIPP_PUB, 434), "pub")


def test_foreign_agent_that_gives_up_a_node_ends_its_binding_R3543_3_3_d() -> None:
    proxy = through_foreign_agent()
    actions = proxy.feed(given_up(), NOW + 5)
    assert proxy.bindings == ()
    (send,) = sends(actions)
    assert send.destination == Endpoint(FOREIGN_AGENT, 434)
    answer = parse_acknowledgement(send.payload)
    assert (answer.home_address, answer.identifier, types_of(answer.extensions)) == (HOME, CLOCK, (34,))


@pytest.mark.parametrize(
    "event",
    [
        given_up(NODE_SA, 32),
        given_up(replace(FA_SA, key=b"x" * 16)),
        given_up(by_home_agent=True),
        given_up(identifier=CLOCK - 3),
        given_up(foreign_domain=CARE_OF),
    ],
    ids=["the node's key", "key", "reflected", "not younger", "another care-of address"],
)
def test_foreign_agents_revocation_that_must_not_be_believed_R3543_3_3_c_and_R3543_3_3_e(
    event: DatagramReceived,
) -> None:
    proxy = through_foreign_agent()
    assert sends(proxy.feed(event, NOW + 5)) == []
    assert len(proxy.bindings) == 1


def test_node_cannot_revoke_R3543_3_3_e() -> None:
    proxy = bound()
    message = Revocation(HOME, MIPP_PUB, CARE_OF, CLOCK + 5, by_home_agent=False)
    payload = append(message.serialize(), NODE_SA)
    event = DatagramReceived(payload, Endpoint(CARE_OF, 434), Endpoint(MIPP_PUB, 434), "pub")
    assert sends(proxy.feed(event, NOW + 5)) == []
    assert len(proxy.bindings) == 1


def test_foreign_agent_is_told_with_its_own_key_R3543_3_3_d() -> None:
    (send,) = revocations(through_foreign_agent().feed(RevokeRequested(HOME), NOW + 5))
    told = parse_revocation(send.payload)
    assert (told.foreign_domain, types_of(told.extensions)) == (FOREIGN_AGENT, (34,))
    assert send.payload == append(replace(told, extensions=()).serialize(), FA_SA, 34)
