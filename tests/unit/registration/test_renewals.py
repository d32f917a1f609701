"""What `renewals` does with a message is what the rules in full do: two proxies are fed the same events."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobileip.registration.actions import Action, Send
from mobileip.registration.admission import AdmissionPolicy, Limit
from mobileip.registration.events import DatagramReceived, Endpoint, Event, RevokeRequested
from mobileip.registration.gate import GatePolicy
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.pending import PendingRequest
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.registration.renewals import Renewals
from mobileip.registration.replay import ReplayMode, ReplayPolicy
from mobileip.wire.authentication import Algorithm, ReplayStyle, SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.exchange import (
    make_reply,
    make_request,
    pure_is_signed,
    pure_split_reply,
    pure_split_request,
    split_reply,
    split_request,
)
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, parse_request
from mobileip.wire.revocation import RevocationSupport
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelRequest

from .parties import (
    CARE_OF,
    FOREIGN_AGENT,
    GATEWAY,
    HOME,
    HOME_AGENT,
    MIPP_PRIV,
    MIPP_PUB,
    NODE_SA,
    NOW,
    OTHER_CARE_OF,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    PROXY_SA,
    at,
    from_home_agent,
    from_node,
    reply_to,
    sends,
)

OTHER_GATEWAY = IPv4Address("203.0.113.21")
SHARED = IPv4Address("192.0.2.70")


def _sa(number: int, **kinds: Any) -> SecurityAssociation:
    return replace(SecurityAssociation(2001, bytes((number,)) * 16), **kinds)


def _node(number: int, home_address: IPv4Address, gateway: IPv4Address = GATEWAY, **kinds: Any) -> ProxyNode:
    return ProxyNode(
        home_address, gateway, (_sa(number, **kinds),), SecurityAssociation(3001, bytes((64 + number,)) * 16)
    )


NODES = (
    ProxyNode(HOME, GATEWAY, (NODE_SA, SecurityAssociation(2002, b"second key......")), PROXY_SA, nai="node@example"),
    _node(1, HOME + 2),
    _node(2, HOME + 3, algorithm=Algorithm.HMAC_SHA1),
    _node(3, HOME + 4, replay=ReplayStyle.NONCE),
    _node(4, SHARED),
    _node(5, SHARED, OTHER_GATEWAY),
    replace(_node(6, HOME + 5), home_agent_association=SecurityAssociation(3001, b"agent", Algorithm.HMAC_SHA256)),
    _node(7, IPv4Address("192.0.2.100")),  # one that the other home agent alone serves
)
_NETWORKS = tuple(network for networks in PROXY.home_agents.values() for network in networks)
_SITE = replace(PROXY, nodes=NODES, home_agents={**PROXY.home_agents, OTHER_HOME_AGENT: _NETWORKS})
VARIANTS: dict[str, ProxySettings] = {
    "plain": _SITE,
    "simultaneous": replace(_SITE, simultaneous=2, lifetime_jitter=0.3),
    "revocation": replace(_SITE, revocation_of_nodes=True, revocation_by_home_agents=True, max_lifetime=200),
    "admission": replace(_SITE, admission=AdmissionPolicy(Limit(bindings=3, per_second=2))),
    "agents": replace(
        _SITE,
        source_ports=(20434, 20435, 20436),
        replies=HomeAgentReplies(fa_ha={OTHER_HOME_AGENT: SecurityAssociation(5000, b"fa-ha")}),
        checks=GatePolicy(
            replay=ReplayPolicy(mode=ReplayMode.MONOTONIC, learn_clock=True),
            foreign_agents={FOREIGN_AGENT: {6000: SecurityAssociation(6000, b"agent key")}},
        ),
    ),
}
EXTENSIONS: dict[str, tuple[Extension, ...]] = {
    "parameter": (PARAMETER,),
    "none": (),
    "other agent": (HomeAgentParameter(OTHER_HOME_AGENT).extension(),),
    "unknown agent": (HomeAgentParameter(IPv4Address("192.0.2.99")).extension(),),
    "any agent": (HomeAgentParameter(IPv4Address(0)).extension(),),
    "damaged parameter": (Extension(126, PARAMETER.data[:-1]),),
    "two": (PARAMETER, PARAMETER),
    "nai": (PARAMETER, Extension(ExtensionType.NAI, b"node@example")),
    "relayed": (PARAMETER, Extension(200, b"for the home agent")),
    "stripped": (PARAMETER, Extension(0), Extension(ExtensionType.MULTIPATH, b"x", 0)),
    "unknown": (PARAMETER, Extension(100, b"?")),
    "udp": (PARAMETER, UdpTunnelRequest().extension()),
    "udp forced": (PARAMETER, UdpTunnelRequest(forced=True).extension()),
    "revocation": (PARAMETER, RevocationSupport(7).extension()),
    "challenge": (PARAMETER, Extension(ExtensionType.CHALLENGE, b"challenge")),
}
CO_LOCATED = int(Flag.DECAPSULATES | Flag.REVERSE_TUNNEL)


PLAIN_REQUEST: dict[str, Any] = {
    "step": "request", "node": 0, "pause": 1.0, "clock": 0.0, "flags": CO_LOCATED, "lifetime": 300,
    "extensions": "parameter", "care_of": CARE_OF, "source": None, "interface": "pub", "asked": MIPP_PUB,
    "destination": MIPP_PUB, "spi": 2001, "damage": None,
}  # fmt: skip
PLAIN_REPLY: dict[str, Any] = {
    "step": "reply", "which": -1, "pause": 0.01, "code": 0, "lifetime": 300, "extensions": (), "changes": {}, "flip": 0,
    "source": None, "interface": "priv", "destination": MIPP_PRIV, "damage": None,
}  # fmt: skip
OTHER_REQUESTS: dict[str, tuple[Any, ...]] = {
    "node": (1, 2, 3, 4, 5, 6, 7),
    "pause": (0.0, 0.001, 8.0, 400.0, -20.0),
    "clock": (-5.0, 9.0, -0.5),
    "flags": (0x02, 0x20, CO_LOCATED | 0x80, CO_LOCATED | 0x40, CO_LOCATED | 0x18, CO_LOCATED | 5),
    "lifetime": (0, 1, 0xFFFF, 7000),
    "extensions": tuple(EXTENSIONS),
    "care_of": (OTHER_CARE_OF, FOREIGN_AGENT, HOME, IPv4Address(0), IPv4Address("224.0.0.9"), MIPP_PUB, GATEWAY),
    "source": (OTHER_CARE_OF, FOREIGN_AGENT, IPv4Address("192.0.2.140")),
    "interface": ("priv",),
    "asked": (MIPP_PRIV, IPv4Address(0)),
    "destination": (MIPP_PRIV,),
    "spi": (2002, 2003, 200),
    "damage": ("authenticator", "cut", "behind", "again"),
}
OTHER_REPLIES: dict[str, tuple[Any, ...]] = {
    "which": (0, -2),
    "pause": (0.0, 8.0, -20.0),
    "code": (1, 2, 130, 133),
    "lifetime": (0, 100, 0xFFFF),
    "extensions": ((Extension(145, b"\x00text"),), (RevocationSupport(9).extension(),)),
    "flip": (1, 1 << 40),
    "changes": ({"home_address": HOME + 2}, {"home_agent": HOME}, {"identification": 5}, {"identification": 1 << 40}),
    "source": (OTHER_HOME_AGENT,),
    "interface": ("pub",),
    "destination": (MIPP_PUB,),
    "damage": ("authenticator", "again", "spi"),
}


def _steps(plain: dict[str, Any], others: dict[str, tuple[Any, ...]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One step: plain, or different in one or two respects."""
    one = st.sampled_from([{name: value} for name, values in others.items() for value in values])
    deviations = st.one_of(st.just({}), one, one, st.builds(lambda a, b: {**a, **b}, one, one))
    return deviations.map(lambda changes: [{**plain, **changes}])


EXCHANGES = st.builds(
    lambda node, pause: [{**PLAIN_REQUEST, "node": node, "pause": pause}, PLAIN_REPLY],
    st.integers(0, len(NODES) - 1),
    st.sampled_from((1.0, 30.0)),
)
REVOCATIONS = st.builds(lambda node: [{"step": "revoke", "node": node, "pause": 0.1}], st.integers(0, 2))
STREAMS = st.lists(
    st.one_of(EXCHANGES, *[_steps(PLAIN_REQUEST, OTHER_REQUESTS)] * 2, _steps(PLAIN_REPLY, OTHER_REPLIES), REVOCATIONS),
    min_size=10,
    max_size=40,
).map(lambda parts: [step for part in [[PLAIN_REQUEST, PLAIN_REPLY], *parts] for step in part])


class InFull(Proxy):
    """The rules in full alone: no form is ever noted."""

    def _note(self, relayed: PendingRequest) -> None:
        """Nothing."""


class Pair:
    """Both proxies, and what lies on the wires to and from them."""

    def __init__(self, chosen: ProxySettings) -> None:
        self.settings = chosen
        draws = (random.Random(1), random.Random(1))
        self.quick, self.full = Proxy(chosen, draws[0].random), InFull(chosen, draws[1].random)
        self.now = NOW
        self.waiting: list[tuple[Send, ProxyNode]] = []
        self.former: dict[str, DatagramReceived] = {}

    def feed(self, event: Event) -> list[Action]:
        """The same to both; they must say the same, and be the same afterwards."""
        said, expected = self.quick.feed(event, self.now), self.full.feed(event, self.now)
        assert said == expected
        assert self.quick.snapshot() == self.full.snapshot()
        assert self.quick.waiting == self.full.waiting
        assert [one.request.covered for one in self.quick.waiting] == [one.request.covered for one in self.full.waiting]
        assert self.quick.next_deadline() == self.full.next_deadline()
        assert list(self.quick.admission.rows()) == list(self.full.admission.rows())
        return said

    def take(self, step: dict[str, Any]) -> None:
        """One step of a stream."""
        self.now += step["pause"]
        if step["step"] == "request":
            self._request(step)
        elif step["step"] == "reply":
            self._reply(step)
        else:
            home_address = NODES[step["node"]].home_address
            assert home_address is not None
            self.feed(RevokeRequested(home_address))

    def _request(self, step: dict[str, Any]) -> None:
        if step["damage"] == "again" and "request" in self.former:
            self.feed(self.former["request"])
            return
        node = NODES[step["node"]]
        association = next((one for one in node.node_associations if one.spi == step["spi"]), None)
        association = association or replace(node.node_associations[0], spi=step["spi"])
        message = RegistrationRequest(
            step["flags"],
            step["lifetime"],
            node.home_address or IPv4Address(0),
            step["asked"],
            step["care_of"],
            at(self.now + step["clock"]),
            EXTENSIONS[step["extensions"]],
        )
        payload = _damaged(append(message.serialize(), association), step["damage"])
        source = step["source"] or message.care_of_address
        event = from_node(payload, source, step["interface"], step["destination"])
        self.former["request"] = event
        for send in sends(self.feed(event)):
            if send.payload[0] == 1:
                self.waiting.append((send, node))

    def _reply(self, step: dict[str, Any]) -> None:
        if step["damage"] == "again" and "reply" in self.former:
            self.feed(self.former["reply"])
            return
        if not -len(self.waiting) <= step["which"] < len(self.waiting):
            return
        asked, node = self.waiting[step["which"]]
        if step["code"] == 0:
            self.waiting.remove((asked, node))
        reply = RegistrationReply(
            step["code"],
            step["lifetime"],
            node.home_address or IPv4Address(0),
            asked.destination.address,
            parse_request(asked.payload).identification ^ step["flip"],
            step["extensions"],
        )
        reply = replace(reply, **step["changes"])
        association = node.home_agent_association
        if step["damage"] == "spi":
            association = replace(association, spi=3002)
        payload = _damaged(append(reply.serialize(), association), step["damage"])
        source = step["source"] or asked.destination.address
        event = from_home_agent(payload, source, step["interface"])
        event = replace(event, destination=Endpoint(step["destination"], 434))
        self.former["reply"] = event
        self.feed(event)


def _damaged(payload: bytes, how: object) -> bytes:
    if how == "authenticator":
        return payload[:-1] + bytes((payload[-1] ^ 1,))
    if how == "cut":
        return payload[:-3]
    return payload + Extension(200, b"behind").serialize() if how == "behind" else payload


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=STREAMS)
def test_any_stream_of_events_comes_to_the_same(variant: str, stream: list[dict[str, Any]]) -> None:
    pair = Pair(VARIANTS[variant])
    for step in stream:
        pair.take(step)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_deviation_comes_to_the_same(variant: str) -> None:
    """After plain exchanges and between them, each twice: the second time its own form could be known."""
    pair = Pair(VARIANTS[variant])
    for node in (0, 1, 7):
        pair.take({**PLAIN_REQUEST, "node": node})
        pair.take(PLAIN_REPLY)
    for requests, deviations in ((True, OTHER_REQUESTS), (False, OTHER_REPLIES)):
        for name, value in [(name, value) for name, values in deviations.items() for value in values]:
            for node in (0, 0, 1, 7):
                changed = {"node": node, name: value}
                pair.take({**PLAIN_REQUEST, **changed} if requests else {**PLAIN_REQUEST, "node": node})
                pair.take(PLAIN_REPLY if requests else {**PLAIN_REPLY, name: value})
                pair.take({**PLAIN_REQUEST, "node": node, "pause": 10.0})
                pair.take(PLAIN_REPLY)


def test_a_home_agent_that_is_just_known_is_no_part_of_a_form() -> None:
    """A damaged parameter leaves it to what is known of the node, which is another thing for each."""
    pair = Pair(VARIANTS["plain"])
    for node, named in ((0, "parameter"), (1, "other agent")):
        for extensions in (named, "damaged parameter", "damaged parameter"):
            pair.take({**PLAIN_REQUEST, "node": node, "extensions": extensions})
            pair.take(PLAIN_REPLY)
    assert [binding.home_agent for binding in pair.quick.bindings] == [HOME_AGENT, OTHER_HOME_AGENT]


def test_a_foreign_agent_that_must_sign_is_no_place_to_renew_from_without() -> None:
    """The binding came with FA-HA authentication; the same request without it is denied."""
    pair = Pair(VARIANTS["agents"])
    pair.take(PLAIN_REQUEST)
    pair.take(PLAIN_REPLY)
    codes: list[int] = []
    for behind in (True, False):
        pair.now += 1
        message = RegistrationRequest(CO_LOCATED, 300, HOME, MIPP_PUB, FOREIGN_AGENT, at(pair.now), (PARAMETER,))
        payload = append(message.serialize(), NODE_SA)
        if behind:
            payload = append(payload, SecurityAssociation(6000, b"agent key"), ExtensionType.FA_HA_AUTHENTICATION)
        for send in sends(pair.feed(from_node(payload, FOREIGN_AGENT))):
            if send.payload[0] == 1:
                pair.feed(from_home_agent(append(reply_to(message).serialize(), PROXY_SA)))
            else:
                codes.append(send.payload[1])
    assert [binding.care_of_address for binding in pair.quick.bindings] == [FOREIGN_AGENT]
    assert codes == [Code.FA_FAILED_AUTHENTICATION]


@pytest.mark.parametrize("variant", VARIANTS)
def test_renewals_are_decided_by_their_form(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above means something only if the quick way is taken, with and without deviations between."""
    taken: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(Renewals, name)

        def counted(self: Renewals, received: DatagramReceived, now: float) -> list[Action] | None:
            said: list[Action] | None = original(self, received, now)
            taken[name] += said is not None
            return said

        monkeypatch.setattr(Renewals, name, counted)

    count("request")
    count("reply")
    pair, choose = Pair(VARIANTS[variant]), random.Random(7)
    for _ in range(40):
        for node in (0, 1):
            pair.take({**PLAIN_REQUEST, "node": node})
            if choose.random() < 0.2:
                pair.take({**PLAIN_REQUEST, "node": node, "pause": 0.5, "damage": "authenticator"})
            pair.take({**PLAIN_REPLY, "pause": 0.1})
    assert taken["request"] > 60
    assert taken["reply"] > 60


def test_a_form_is_of_all_nodes_and_of_no_place() -> None:
    """What one node taught counts for another; a move is none of it, and is judged by the rules in full."""
    pair = Pair(VARIANTS["plain"])
    first = RegistrationRequest(CO_LOCATED, 300, HOME, MIPP_PUB, CARE_OF, at(NOW), (PARAMETER,))
    pair.feed(from_node(append(first.serialize(), NODE_SA)))
    pair.feed(from_home_agent(append(reply_to(first).serialize(), PROXY_SA)))
    pair.now += 1
    moved = replace(first, care_of_address=OTHER_CARE_OF, identification=at(pair.now))
    actions = pair.feed(from_node(append(moved.serialize(), NODE_SA), OTHER_CARE_OF))
    (relayed,) = sends(actions)
    assert parse_request(relayed.payload).identification == moved.identification
    pair.feed(from_home_agent(append(reply_to(moved).serialize(), PROXY_SA)))
    assert [binding.care_of_address for binding in pair.quick.bindings] == [OTHER_CARE_OF]


@given(st.binary(max_size=90), st.sampled_from((1, 3, 0)), st.booleans())
def test_bytes_are_split_as_the_codec_reads_them(tail: bytes, kind: int, plain: bool) -> None:
    """Both ways of splitting agree, with each other and with the codec."""
    payload = bytes((kind,)) + tail
    if plain and len(payload) > 22:
        payload = payload[:-22] + b"\x20\x14" + payload[-20:]
    request, reply = pure_split_request(payload), pure_split_reply(payload)
    assert split_request(payload) == request
    assert split_reply(payload) == reply
    if reply is not None:
        message = parse_reply(payload)
        assert reply[:4] == (message.code, message.lifetime, message.home_address, message.identification)
        assert reply[4] == int.from_bytes(message.extensions[0].data[:4])
    if request is not None and payload[24:-22] == b"":
        whole = parse_request(payload)
        assert request[1:] == (whole.home_address, whole.care_of_address, whole.identification)
        assert request[0] == payload[1:4] + payload[8:12] + payload[24:-16]


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=80), st.integers(256, 2**32 - 1))
def test_messages_made_at_once_are_those_of_the_codec(extension: bytes, key: bytes, spi: int) -> None:
    association = SecurityAssociation(spi, key)
    extensions = (Extension(200, extension),)
    request = RegistrationRequest(0x22, 300, HOME, HOME_AGENT, MIPP_PRIV, at(NOW), extensions)
    addresses = (HOME, HOME_AGENT, MIPP_PRIV)
    made = make_request(0x22, 300, addresses, request.identification, extensions[0].serialize(), association)
    assert made == append(request.serialize(), association)
    reply = RegistrationReply(0, 300, HOME, MIPP_PUB, at(NOW), extensions)
    made = make_reply(0, 300, (HOME, MIPP_PUB), reply.identification, extensions[0].serialize(), association)
    assert made == append(reply.serialize(), association)
    assert pure_is_signed(made, association)
    assert not pure_is_signed(made[:-1] + bytes((made[-1] ^ 4,)), association)
