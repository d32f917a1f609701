"""The four machines under streams of datagrams and moves: none raises, tells what is not durable yet, or ever grows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any

from mobileip.registration.actions import (
    Action,
    Advertise,
    Bind,
    BindVisitor,
    Log,
    NodePath,
    PathMode,
    PersistBinding,
    PersistIdentification,
    Send,
    SetPath,
    Solicit,
    UnbindVisitor,
)
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Detached,
    Endpoint,
    Event,
    SolicitationReceived,
    TunnelPortLearned,
    TunnelProbeAnswered,
    TunnelSilent,
)
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ForeignAgentSettings
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.registration.proxy import Proxy
from mobileip.runtime.journal import line
from mobileip.wire.messages import MAXIMUM_MESSAGE, MessageType, parse_message, parse_reply, parse_request
from tests.fuzz.conftest import Inputs
from tests.fuzz.datagrams import Cast, Datagrams
from tests.unit.registration.parties import (
    CARE_OF,
    DIRECT_SA,
    FOREIGN_AGENT,
    GATEWAY,
    HOME,
    HOME_AGENT,
    HOME_AGENT_SETTINGS,
    MIPP_PRIV,
    MIPP_PUB,
    NAT,
    NODE_SA,
    NOW,
    PROXY,
    PROXY_SA,
    STRANGER_SA,
    VISITED,
)

LINK = IPv4Address("198.51.100.129")
ADDRESSES = (HOME, HOME, HOME, MIPP_PUB, MIPP_PUB, MIPP_PRIV, HOME_AGENT, CARE_OF, NAT.address, FOREIGN_AGENT, VISITED)
ASSOCIATIONS = (NODE_SA, NODE_SA, PROXY_SA, DIRECT_SA, STRANGER_SA)
DATAGRAMS = Datagrams(Cast(ADDRESSES, ASSOCIATIONS))
SECRETS = tuple(association.key.hex() for association in ASSOCIATIONS)
STEPS = 60
"""Events in one stream; each stream has a machine of its own."""

Check = Callable[[list[Action], float], None]


class Stream:
    """One machine, fed at a clock that mostly goes on, and what was seen on its wires."""

    def __init__(self, dice: random.Random, machine: Any, check: Check) -> None:
        self.dice = dice
        self.machine = machine
        self.now = NOW
        self.seen: list[bytes] = []
        self._check = check

    def feed(self, event: Event) -> list[Action]:
        """Time goes on, timers that are due ring, then the event happens."""
        self.now += self.dice.choice((0.0, 0.0, 0.001, 0.5, 1.0, 8.0, 70.0, -3.0))
        deadline = self.machine.next_deadline()
        if deadline is not None and deadline <= self.now:
            self._done(self.machine.handle_timer(self.now))
            assert self.machine.next_deadline() is None or self.machine.next_deadline() > self.now
        return self._done(self.machine.feed(event, self.now))

    def datagram(self, interfaces: Sequence[str], destinations: Sequence[IPv4Address]) -> DatagramReceived:
        """Something for port 434: from anybody, or an answer to what the machine has sent."""
        dice = self.dice
        payload = DATAGRAMS.any(dice, self.now, self.seen)
        requests = [sent for sent in self.seen[-5:] if sent[:1] == b"\x01"]
        if requests and dice.random() < 0.3:
            asked = parse_request(dice.choice(requests))
            payload = DATAGRAMS.reply(dice, self.now, asked.identification)
        return DatagramReceived(
            payload,
            Endpoint(DATAGRAMS.address(dice), dice.choice((434, 434, 40434, 0))),
            Endpoint(dice.choice(destinations), 434),
            dice.choice(interfaces),
            dice.choice((255, 64, None)),
        )

    def _done(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Send):
                assert len(action.payload) <= MAXIMUM_MESSAGE + 64
                if action.payload[0] != MessageType.TUNNEL_DATA:
                    parse_message(action.payload)
                self.seen.append(action.payload)
            if isinstance(action, Log):
                text = line(action.event, action.fields)
                assert text.isprintable()
                assert not any(secret in text for secret in SECRETS)
        del self.seen[:-50]
        self._check(actions, self.now)
        return actions


def _durable_before_told(actions: list[Action], _now: float) -> None:
    """Design rule: nothing accepted leaves before the Identification and the binding are durable and bound."""
    ready = {"identification": False, "binding": False, "kernel": False}
    for action in actions:
        ready["identification"] |= isinstance(action, PersistIdentification)
        ready["binding"] |= isinstance(action, PersistBinding)
        ready["kernel"] |= isinstance(action, Bind)
        if not isinstance(action, Send):
            continue
        if action.payload[0] == MessageType.REQUEST:
            assert ready["identification"]
            continue
        reply = parse_reply(action.payload)
        if reply.accepted and reply.lifetime:
            assert ready["binding"]
            assert ready["kernel"]


def test_proxy(inputs: Inputs) -> None:
    for dice in inputs:
        proxy = Proxy(PROXY)
        stream = Stream(dice, proxy, _durable_before_told)
        for _ in range(STEPS):
            event: Event = stream.datagram(("pub", "pub", "priv"), (MIPP_PUB, MIPP_PUB, MIPP_PRIV))
            if dice.random() < 0.05:
                event = TunnelPortLearned(HOME, Endpoint(DATAGRAMS.address(dice), dice.getrandbits(16)), GATEWAY)
            stream.feed(event)
            assert proxy.pending <= PROXY.pending_per_node
            assert len(proxy._pending._order) <= STEPS
            assert len(proxy.bindings) <= 1, "no simultaneous bindings"
            assert all(binding.home_agent in PROXY.home_agents for binding in proxy.bindings)
        restarted = Proxy(PROXY)
        restarted.restore(proxy.snapshot(), stream.now)
        assert {binding.key for binding in restarted.bindings} <= {binding.key for binding in proxy.bindings}


def test_home_agent(inputs: Inputs) -> None:
    for dice in inputs:
        agent = HomeAgent(HOME_AGENT_SETTINGS)
        stream = Stream(dice, agent, _durable_before_told)
        for _ in range(STEPS):
            event: Event = stream.datagram(("core", "home"), (HOME_AGENT, HOME_AGENT, IPv4Address("192.0.2.95")))
            if dice.random() < 0.05:
                event = TunnelPortLearned(HOME, Endpoint(DATAGRAMS.address(dice), dice.getrandbits(16)))
            stream.feed(event)
            assert len(agent.bindings) <= 1, "no simultaneous bindings"


def test_foreign_agent(inputs: Inputs) -> None:
    settings = ForeignAgentSettings(
        "uplink", FOREIGN_AGENT, "link", LINK, udp_tunnelling=True, most_pending=8, most_visitors=4
    )
    for dice in inputs:
        agent = ForeignAgent(settings)
        bound: set[IPv4Address] = set()

        def check(actions: list[Action], _now: float, bound: set[IPv4Address] = bound) -> None:
            for action in actions:
                assert not isinstance(action, Advertise) or action.payload[0] == 9
                if isinstance(action, BindVisitor):
                    bound.add(action.visitor.home_address)
                elif isinstance(action, UnbindVisitor):
                    bound.remove(action.home_address)

        stream = Stream(dice, agent, check)
        for _ in range(STEPS):
            event: Event = stream.datagram(("link", "uplink"), (LINK, FOREIGN_AGENT, IPv4Address("224.0.0.11")))
            if dice.random() < 0.1:
                event = SolicitationReceived(DATAGRAMS.address(dice), dice.choice(("link", "uplink")))
            stream.feed(event)
            assert len(agent.pending()) <= settings.most_pending
            assert len(agent.visitors()) <= settings.most_visitors + settings.most_pending
            assert all(entry.request.raw == b"" for entry in agent.pending())
            assert bound == {visitor.home_address for visitor in agent.visitors()}
            assert set(agent._next_keepalive) <= bound


def _node_event(stream: Stream) -> Event:
    dice = stream.dice
    kind = dice.random()
    if kind < 0.55:
        return stream.datagram(("eth0",), (CARE_OF, HOME))
    if kind < 0.75:
        address = dice.choice((CARE_OF, NAT.address, HOME, VISITED, None, None))
        return Attached(dice.choice(("eth0", "eth0", "eth1")), address, 27, None)
    if kind < 0.8:
        return Detached(dice.choice(("eth0", "eth1")))
    if kind < 0.95:
        return AdvertisementReceived(
            dice.choice((LINK, LINK, DATAGRAMS.address(dice))),
            "eth0",
            tuple(DATAGRAMS.address(dice) for _ in range(dice.choice((0, 1, 1, 2)))),
            lifetime=dice.choice((0, 3, 9000)),
            registration_lifetime=dice.choice((0, 60, 0xFFFF)),
            sequence=dice.choice((0, 1, 300, 0xFFFF)),
            busy=dice.random() < 0.1,
            foreign_agent=dice.random() < 0.9,
            reverse_tunnelling=dice.random() < 0.9,
        )
    if dice.random() < 0.3:
        return TunnelSilent()
    return TunnelProbeAnswered(int(HOME) & 0xFFFF, dice.choice((1, 2, 3)))


def test_mobile_node(inputs: Inputs) -> None:
    """A path is open only while a registration holds or the home agent has said that we are home."""
    settings = MobileNodeSettings(HOME, HOME_AGENT, MIPP_PUB, NODE_SA, DIRECT_SA, lifetime=300)
    for dice in inputs:
        node = MobileNode(settings)
        path = NodePath(PathMode.BLOCKED)

        def check(actions: list[Action], _now: float) -> None:
            nonlocal path
            for action in actions:
                if isinstance(action, SetPath):
                    path = action.path

        stream = Stream(dice, node, check)
        for _ in range(STEPS):
            actions = stream.feed(_node_event(stream))
            status = node.status()
            if path.mode is PathMode.HOME:
                assert status.state is State.HOME
            elif path.mode is not PathMode.BLOCKED:
                assert status.state in (State.BOUND, State.RENEWING)
            assert not path.inside or status.location.value in ("inside", "home")
            assert len(node._node.attempts._outstanding) <= 3
            assert len(node._node.attempts._last_sent) <= STEPS
            assert sum(isinstance(action, Solicit) for action in actions) <= 1
