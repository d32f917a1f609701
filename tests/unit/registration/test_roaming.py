"""The four parties together: a node roams, and datagrams travel over a list instead of a network.

The network in between does what it does in a real deployment and no more: it knows which way leads to an address, the
NAT rewrites, and a home agent that has a binding tunnels away what others send to the home address.
"""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest

from mobileip.registration.actions import Action, Advertise, NodePath, PathMode, Send, SetPath, Solicit
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Detached,
    Endpoint,
    Event,
    SolicitationReceived,
)
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ForeignAgentSettings
from mobileip.registration.home_addresses import HomeLink, HomeNode
from mobileip.registration.home_agent import HomeAgent, HomeAgentSettings
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.registration.node_requests import MobileNodeSettings, Through
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.wire.agent_discovery import AgentFlags, parse_advertisement
from mobileip.wire.authentication import SecurityAssociation

HOME = IPv4Address("192.0.2.69")
HOME_NETWORK = IPv4Network("192.0.2.64/27")
INTRANET = IPv4Network("192.0.2.0/24")
HOME_AGENT = IPv4Address("192.0.2.40")
MIPP_PUB = IPv4Address("203.0.113.10")
MIPP_PRIV = IPv4Address("192.0.2.10")
GATEWAY = IPv4Address("203.0.113.20")
NAT_INSIDE = IPv4Network("198.51.100.64/27")
NAT_OUTSIDE = IPv4Address("198.51.100.40")
NAT_PORT = 20434
FA_LINK = IPv4Address("198.51.100.129")
FA_CARE_OF = IPv4Address("198.51.100.100")
FA_BEHIND_NAT = IPv4Address("198.51.100.70")
NODE_SA = SecurityAssociation(2001, b"node and proxy..")
PROXY_SA = SecurityAssociation(3001, b"proxy and agent.")
DIRECT_SA = SecurityAssociation(4001, b"node and agent..")
START = 1_700_000_000.0
HOP = 0.01  # seconds that a datagram takes

AT_HOME = Attached("eth0", HOME, 27, IPv4Address("192.0.2.65"))
AT_OPEN = Attached("eth0", IPv4Address("198.51.100.10"), 27, IPv4Address("198.51.100.1"))
BEHIND_NAT = Attached("eth0", IPv4Address("198.51.100.75"), 27, IPv4Address("198.51.100.65"))
AT_FOREIGN_AGENT = Attached("eth0", None, 0, None)
ON_AGENTS_LINK = Attached("eth0", IPv4Address("198.51.100.140"), 27, IPv4Address("198.51.100.129"))
VISITED_INSIDE = Attached("eth0", IPv4Address("192.0.2.140"), 27, IPv4Address("192.0.2.129"))

Party = MobileNode | ForeignAgent | Proxy | HomeAgent


class World:
    """Four parties, a clock, and the way between them."""

    def __init__(self, foreign_agent_behind_nat: bool = False, node_clock: float = 0.0) -> None:
        self.now = START
        self.node_clock = node_clock  # seconds that the node's clock is ahead
        self.node = MobileNode(MobileNodeSettings(HOME, HOME_AGENT, MIPP_PUB, NODE_SA, DIRECT_SA, lifetime=300))
        self.foreign_agent = ForeignAgent(
            ForeignAgentSettings(
                "uplink",
                FA_BEHIND_NAT if foreign_agent_behind_nat else FA_CARE_OF,
                "link",
                FA_LINK,
                udp_tunnelling=foreign_agent_behind_nat,
            )
        )
        self.proxy = Proxy(
            ProxySettings(
                public_address=MIPP_PUB,
                private_address=MIPP_PRIV,
                public_interface="pub",
                private_interface="priv",
                nodes=(ProxyNode(HOME, GATEWAY, (NODE_SA,), PROXY_SA, HOME_AGENT),),
                home_agents={HOME_AGENT: (HOME_NETWORK,)},
                internal_prefixes=(INTRANET,),
            )
        )
        self.home_agent = HomeAgent(
            HomeAgentSettings(HOME_AGENT, (HomeLink("home", HOME_NETWORK),), (HomeNode(HOME, (PROXY_SA, DIRECT_SA)),))
        )
        self.attachment: Attached | None = None
        self.nat: dict[int, Endpoint] = {}
        self.paths: list[NodePath] = []
        self.sent: list[tuple[float, Send]] = []
        self._wires: deque[tuple[float, Party, Event]] = deque()

    @property
    def is_on_agents_link(self) -> bool:
        """The node is where the foreign agent is, with an address of its own there or without."""
        return self.attachment in (AT_FOREIGN_AGENT, ON_AGENTS_LINK)

    def move(self, attachment: Attached) -> None:
        """Cut the link, attach it elsewhere, and let everything settle for three seconds."""
        self.sent.clear()
        self.paths.clear()
        self.attachment = None
        self._feed(self.node, Detached("eth0"))
        self.attachment = attachment
        self._feed(self.node, attachment)
        self.run(3.0)

    def run(self, seconds: float) -> None:
        """Let time pass: deliver datagrams and wake the parties when they want to be."""
        end = self.now + seconds
        while (due := self._next()) <= end:
            self.now = max(self.now, due)
            if self._wires and self._wires[0][0] <= self.now:
                _, party, event = self._wires.popleft()
                self._feed(party, event)
                continue
            for party in self._parties():
                deadline = party.next_deadline()
                if deadline is not None and deadline <= self._clock(party):
                    self._perform(party, party.handle_timer(self._clock(party)))
        self.now = end

    def _parties(self) -> tuple[Party, ...]:
        return (self.node, self.foreign_agent, self.proxy, self.home_agent)

    def _clock(self, party: Party) -> float:
        return self.now + self.node_clock if party is self.node else self.now

    def _next(self) -> float:
        times = [self._wires[0][0]] if self._wires else []
        for party in self._parties():
            deadline = party.next_deadline()
            if deadline is not None:
                times.append(deadline - self.node_clock if party is self.node else deadline)
        return min(times, default=float("inf"))

    def _feed(self, party: Party, event: Event) -> None:
        self._perform(party, party.feed(event, self._clock(party)))

    def _perform(self, party: Party, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.sent.append((self.now, action))
                    self._carry(party, action)
                case SetPath(path):
                    self.paths.append(path)
                case Solicit() if self.is_on_agents_link:
                    self._wire(self.foreign_agent, SolicitationReceived(HOME, "link"))
                case Advertise() if self.is_on_agents_link:
                    self._wire(self.node, heard(action))
                case _:
                    pass

    def _carry(self, sender: Party, send: Send) -> None:
        source, destination = send.source, send.destination
        if source.address in NAT_INSIDE:
            self.nat[NAT_PORT] = source
            source = Endpoint(NAT_OUTSIDE, NAT_PORT)
        if destination.address == NAT_OUTSIDE:
            destination = self.nat[destination.port]
        receiver = self._receiver(sender, destination.address)
        if receiver is None:
            return
        party, interface = receiver
        if destination.address == MIPP_PUB and source.address in INTRANET:
            interface = "priv"
        self._wire(party, DatagramReceived(send.payload, source, destination, interface, send.ttl or 64))

    def _receiver(self, sender: Party, destination: IPv4Address) -> tuple[Party, str] | None:
        """Whom a packet for `destination` reaches, and on which interface."""
        if destination == MIPP_PUB:
            return self.proxy, "pub"
        if destination == MIPP_PRIV:
            return self.proxy, "priv"
        if destination == HOME_AGENT:
            return self.home_agent, "core"
        if destination in (FA_CARE_OF, FA_BEHIND_NAT):
            return self.foreign_agent, "uplink"
        attachment = self.attachment
        if self.is_on_agents_link and sender in (self.node, self.foreign_agent):
            return (self.foreign_agent, "link") if destination == FA_LINK else (self.node, "eth0")
        if attachment is None or attachment.address != destination:
            return None
        if destination == HOME and sender is not self.home_agent and self.home_agent.bindings:
            return None  # intercepted and tunnelled to where the node was
        return self.node, "eth0"

    def _wire(self, party: Party, event: Event) -> None:
        self._wires.append((self.now + HOP, party, event))


def heard(action: Advertise) -> AdvertisementReceived:
    advertisement = parse_advertisement(action.payload)
    assert advertisement is not None
    return AdvertisementReceived(
        agent=action.source,
        interface="eth0",
        care_of_addresses=advertisement.care_of_addresses,
        lifetime=advertisement.lifetime,
        registration_lifetime=advertisement.registration_lifetime,
        sequence=advertisement.sequence,
        registration_required=bool(advertisement.flags & AgentFlags.REGISTRATION_REQUIRED),
        busy=bool(advertisement.flags & AgentFlags.BUSY),
        foreign_agent=bool(advertisement.flags & AgentFlags.FOREIGN_AGENT),
        reverse_tunnelling=bool(advertisement.flags & AgentFlags.REVERSE_TUNNELLING),
        udp_tunnelling=bool(advertisement.flags & AgentFlags.UDP_TUNNELLING),
        challenge=advertisement.challenge,
        nai=advertisement.nai,
    )


@pytest.fixture
def world() -> World:
    return World()


def place(world: World) -> tuple[State, Location, Through | None]:
    status = world.node.status()
    return status.state, status.location, status.through


BLOCKED = NodePath(PathMode.BLOCKED)
AT_HOME_PATH = NodePath(PathMode.HOME, "eth0", inside=True)


def tunnel(local: IPv4Address | None, peer: IPv4Address, encapsulation: Encapsulation, inside: bool) -> NodePath:
    return NodePath(PathMode.TUNNEL, "eth0", local, peer, encapsulation, inside=inside)


def test_open_network_is_reached_by_ipip_through_the_proxy_D_5_1_b(world: World) -> None:
    world.move(AT_OPEN)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.PROXY)
    assert world.paths == [BLOCKED, tunnel(AT_OPEN.address, MIPP_PUB, Encapsulation.IPIP, inside=False)]
    (at_proxy,) = world.proxy.bindings
    assert (at_proxy.care_of_address, at_proxy.encapsulation) == (AT_OPEN.address, Encapsulation.IPIP)
    (at_home_agent,) = world.home_agent.bindings
    assert at_home_agent.care_of_address == MIPP_PRIV


def test_nat_is_crossed_by_udp_to_the_nats_own_port_RFC_3519(world: World) -> None:
    world.move(BEHIND_NAT)
    assert world.paths == [BLOCKED, tunnel(BEHIND_NAT.address, MIPP_PUB, Encapsulation.UDP, inside=False)]
    (at_proxy,) = world.proxy.bindings
    assert at_proxy.tunnel_peer == Endpoint(NAT_OUTSIDE, NAT_PORT)


def test_foreign_agent_carries_the_registration_D_2_7_1(world: World) -> None:
    world.move(AT_FOREIGN_AGENT)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.FOREIGN_AGENT)
    hears = NodePath(PathMode.BLOCKED, "eth0", gateway=FA_LINK)
    assert world.paths == [BLOCKED, hears, NodePath(PathMode.FOREIGN_AGENT, "eth0", gateway=FA_LINK)]
    (at_proxy,) = world.proxy.bindings
    assert (at_proxy.care_of_address, at_proxy.via_foreign_agent) == (FA_CARE_OF, True)
    (visitor,) = world.foreign_agent.visitors()
    assert (visitor.home_address, visitor.home_agent) == (HOME, MIPP_PUB)


def test_foreign_agent_behind_a_nat_gets_a_udp_tunnel_RFC_3519_4_5() -> None:
    world = World(foreign_agent_behind_nat=True)
    world.move(AT_FOREIGN_AGENT)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.FOREIGN_AGENT)
    (visitor,) = world.foreign_agent.visitors()
    assert visitor.encapsulation is Encapsulation.UDP
    (at_proxy,) = world.proxy.bindings
    assert at_proxy.tunnel_peer == Endpoint(NAT_OUTSIDE, NAT_PORT)


def test_visited_network_inside_registers_with_the_home_agent_itself_D_2_6_1_f(world: World) -> None:
    world.move(VISITED_INSIDE)
    assert place(world) == (State.BOUND, Location.INSIDE, Through.HOME_AGENT)
    assert world.paths == [BLOCKED, tunnel(VISITED_INSIDE.address, HOME_AGENT, Encapsulation.IPIP, inside=True)]
    assert world.proxy.bindings == ()
    (at_home_agent,) = world.home_agent.bindings
    assert at_home_agent.care_of_address == VISITED_INSIDE.address


def test_home_has_no_binding_anywhere(world: World) -> None:
    world.move(AT_HOME)
    assert place(world) == (State.HOME, Location.HOME, Through.HOME_LINK)
    assert world.paths == [BLOCKED, AT_HOME_PATH]
    assert world.proxy.bindings == ()
    assert world.home_agent.bindings == ()


def test_return_home_ends_the_bindings_though_the_206_may_be_tunnelled_away(world: World) -> None:
    world.move(AT_OPEN)
    world.move(AT_HOME)
    assert place(world) == (State.HOME, Location.HOME, Through.HOME_LINK)
    assert world.proxy.bindings == ()
    assert world.home_agent.bindings == ()


def test_node_roams_home_open_nat_agent_open_visited_home_open(world: World) -> None:
    stops = [AT_HOME, AT_OPEN, BEHIND_NAT, AT_FOREIGN_AGENT, AT_OPEN, VISITED_INSIDE, AT_HOME, AT_OPEN]
    seen = []
    for stop in stops:
        world.move(stop)
        assert world.paths[0] == BLOCKED
        seen.append(place(world)[1:])
    assert seen == [
        (Location.HOME, Through.HOME_LINK),
        (Location.OUTSIDE, Through.PROXY),
        (Location.OUTSIDE, Through.PROXY),
        (Location.OUTSIDE, Through.FOREIGN_AGENT),
        (Location.OUTSIDE, Through.PROXY),
        (Location.INSIDE, Through.HOME_AGENT),
        (Location.HOME, Through.HOME_LINK),
        (Location.OUTSIDE, Through.PROXY),
    ]


@pytest.mark.parametrize("stop", [AT_OPEN, BEHIND_NAT, AT_FOREIGN_AGENT, VISITED_INSIDE])
def test_registration_lasts_for_an_hour_of_renewals_without_a_gap(world: World, stop: Attached) -> None:
    world.move(stop)
    world.paths.clear()
    world.run(3600)
    assert world.node.status().state in (State.BOUND, State.RENEWING)
    assert world.paths == []
    (binding,) = world.home_agent.bindings
    assert binding.expires > world.now


@pytest.mark.parametrize("ahead", [-3600.0, -20.0, 20.0, 86400.0])
def test_node_with_a_wrong_clock_learns_the_proxys_and_registers_RFC_5944_5_7_1(ahead: float) -> None:
    world = World(node_clock=ahead)
    world.move(AT_OPEN)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.PROXY)
    assert world.node.status().clock_offset == pytest.approx(-ahead, abs=1)


def test_no_agent_is_asked_twice_within_a_second_RFC_5944_3_6_3(world: World) -> None:
    world.home_agent = HomeAgent(HomeAgentSettings(HOME_AGENT, (), ()))  # silent: it does not know the node
    world.move(AT_OPEN)
    world.run(300)
    times = [at for at, send in world.sent if send.destination.address == MIPP_PUB]
    assert len(times) > 5
    assert all(later - earlier >= 1 - 1e-6 for earlier, later in pairwise(times))
