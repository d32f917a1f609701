"""A node, the foreign agent that it visits, the proxy and the home agent together: bytes between them, no socket."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Action, Count, Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings, KnownNode
from mobileip.registration.gate import GatePolicy
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_place import Location
from mobileip.registration.node_requests import MobileNodeSettings, Through
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.extensions import ExtensionType
from mobileip.wire.messages import parse_reply, parse_request, types_of
from mobileip.wire.typed_extensions import (
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    UdpTunnelRequest,
)
from tests.unit.registration.test_roaming import (
    AT_FOREIGN_AGENT,
    DIRECT_SA,
    FA_CARE_OF,
    FA_LINK,
    GATEWAY,
    HOME,
    HOME_AGENT,
    HOME_NETWORK,
    INTRANET,
    MIPP_PRIV,
    MIPP_PUB,
    NODE_SA,
    ON_AGENTS_LINK,
    PROXY_SA,
    Party,
    World,
    place,
)

AGENT = ForeignAgentSettings("uplink", FA_CARE_OF, "link", FA_LINK)
NODE = MobileNodeSettings(HOME, HOME_AGENT, MIPP_PUB, NODE_SA, DIRECT_SA, lifetime=300)
PROXY = ProxySettings(
    public_address=MIPP_PUB,
    private_address=MIPP_PRIV,
    public_interface="pub",
    private_interface="priv",
    nodes=(ProxyNode(HOME, GATEWAY, (NODE_SA,), PROXY_SA, HOME_AGENT),),
    home_agents={HOME_AGENT: (HOME_NETWORK,)},
    internal_prefixes=(INTRANET,),
)
MN_FA = SecurityAssociation(5001, b"node and foreign")
FA_HA = SecurityAssociation(6001, b"foreign and home")
SHORT = HomeAgentParameterFormat()
SKIPPABLE = HomeAgentParameterFormat(255, 0, HomeAgentParameterEncoding.SKIPPABLE)


class Visited(World):
    """The world of the roaming tests with other settings; counts what the foreign agent counts."""

    def __init__(
        self, agent: ForeignAgentSettings = AGENT, node: MobileNodeSettings = NODE, proxy: ProxySettings = PROXY
    ) -> None:
        super().__init__()
        self.foreign_agent = ForeignAgent(agent)
        self.node = MobileNode(node)
        self.proxy = Proxy(proxy)
        self.counted: list[str] = []

    def _perform(self, party: Party, actions: list[Action]) -> None:
        if party is self.foreign_agent:
            self.counted += [action.reason for action in actions if isinstance(action, Count)]
        super()._perform(party, actions)

    def to(self, destination: IPv4Address, source: IPv4Address | None = None) -> list[Send]:
        """The datagrams to `destination`, since the last move."""
        return [
            send
            for _, send in self.sent
            if send.destination.address == destination and source in (None, send.source.address)
        ]


# A node with an address of its own, on the link of an agent that demands registration (RFC 3519 3.1, R)


def test_node_with_an_address_of_its_own_registers_through_the_agent_that_demands_it_R3519_3_1_a() -> None:
    world = Visited(replace(AGENT, registration_required=True, udp_tunnelling=True))
    world.move(ON_AGENTS_LINK)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.DEMANDING_AGENT)
    relayed = parse_request(world.to(MIPP_PUB, FA_CARE_OF)[-1].payload)
    assert relayed.decapsulates
    plea = next(each for each in relayed.extensions if each.type == ExtensionType.UDP_TUNNEL_REQUEST)
    assert UdpTunnelRequest.of(plea).through_foreign_agent
    assert types_of(relayed.extensions)[-1] == ExtensionType.MN_HA_AUTHENTICATION  # and no plea of the agent's
    (at_proxy,) = world.proxy.bindings
    assert (at_proxy.care_of_address, at_proxy.via_foreign_agent) == (ON_AGENTS_LINK.address, False)
    assert (at_proxy.encapsulation, at_proxy.half_bound) == (Encapsulation.UDP, True)
    (visitor,) = world.foreign_agent.visitors()
    assert (visitor.co_located, visitor.node.address) == (True, ON_AGENTS_LINK.address)


def test_node_with_an_address_of_its_own_needs_no_agent_that_demands_nothing() -> None:
    world = Visited()
    world.move(ON_AGENTS_LINK)
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.PROXY)
    assert world.foreign_agent.visitors() == ()
    (at_proxy,) = world.proxy.bindings
    assert at_proxy.tunnel_peer == Endpoint(IPv4Address("198.51.100.140"), 0)


# An agent that the node trusts (draft 5.7.2), with challenges and keys


def trusted() -> Visited:
    return Visited(
        replace(
            AGENT,
            nai="fa@example.org",
            challenge=ChallengeMode.REQUIRED,
            nodes=(KnownNode(HOME, foreign={MN_FA.spi: MN_FA}),),
        ),
        replace(NODE, trusted_agent_nais=frozenset({b"fa@example.org"}), agent_associations={FA_LINK: MN_FA}),
    )


def test_node_knows_a_trusted_agent_by_its_nai_and_leaves_the_proxy_alone_D_5_7_2_a_and_D_5_7_2_b() -> None:
    world = trusted()
    world.move(AT_FOREIGN_AGENT)
    assert place(world)[0] is State.BOUND
    assert place(world)[2] is Through.FOREIGN_AGENT
    assert world.to(MIPP_PUB) == []
    (at_home_agent,) = world.home_agent.bindings
    assert at_home_agent.care_of_address == FA_CARE_OF
    (visitor,) = world.foreign_agent.visitors()
    assert visitor.home_agent == HOME_AGENT
    relayed = world.to(HOME_AGENT, FA_CARE_OF)
    assert relayed
    for send in relayed:  # challenge and MN-FA authentication were for the agent
        assert types_of(parse_request(send.payload).extensions)[-1] == ExtensionType.MN_HA_AUTHENTICATION


def test_every_renewal_answers_a_new_challenge_R4721_3_2_a_and_R5944_3_5_3_a() -> None:
    world = trusted()
    world.move(AT_FOREIGN_AGENT)
    world.run(900)
    asked = [parse_request(send.payload) for send in world.to(FA_LINK)]
    answers = [each.data for request in asked for each in request.extensions if each.type == ExtensionType.CHALLENGE]
    assert len(answers) > 3
    assert len(set(answers)) == len(answers)
    assert world.node.status().state in (State.BOUND, State.RENEWING)
    assert not [reason for reason in world.counted if "challenge" in reason]


# FA-HA authentication between agent and proxy


@pytest.mark.parametrize("proxy_key", [FA_HA, replace(FA_HA, key=b"x" * 16)], ids=["shared", "different"])
def test_agent_and_proxy_prove_themselves_to_each_other_R5944_3_5_4_a(proxy_key: SecurityAssociation) -> None:
    world = Visited(
        replace(AGENT, home_agents={MIPP_PUB: {FA_HA.spi: FA_HA}}),
        proxy=replace(PROXY, checks=GatePolicy(foreign_agents={FA_CARE_OF: {FA_HA.spi: proxy_key}})),
    )
    world.move(AT_FOREIGN_AGENT)
    relayed = parse_request(world.to(MIPP_PUB, FA_CARE_OF)[0].payload)
    assert types_of(relayed.extensions)[-2:] == (32, 34)
    is_bound = place(world)[0] is State.BOUND
    assert is_bound == (proxy_key is FA_HA)
    assert len(world.foreign_agent.visitors()) == is_bound
    answered = [parse_reply(send.payload) for send in world.to(FA_CARE_OF, MIPP_PUB)]
    if is_bound:
        assert types_of(answered[0].extensions)[-1] == 34
        told = parse_reply(world.to(HOME, FA_LINK)[0].payload)
        assert 34 not in types_of(told.extensions)


# An agent of old, and how the HA Parameter extension gets past it


@pytest.mark.parametrize(
    ("is_legacy", "form", "gets_through"),
    [(True, SHORT, False), (True, SKIPPABLE, True), (False, SHORT, True), (False, SKIPPABLE, True)],
    ids=["legacy draft-short", "legacy skippable", "draft-short", "skippable"],
)
def test_legacy_agent_swallows_the_drafts_form_and_passes_the_skippable_one_AMB_5_and_D_2_5_3_a(
    is_legacy: bool, form: HomeAgentParameterFormat, gets_through: bool
) -> None:
    world = Visited(
        replace(AGENT, legacy=is_legacy),
        replace(NODE, home_agent_parameter=form),
        replace(PROXY, home_agent_parameter=(SHORT, SKIPPABLE)),
    )
    world.move(AT_FOREIGN_AGENT)
    asked = world.to(FA_LINK)
    assert asked
    assert form.type in types_of(parse_request(asked[0].payload).extensions)
    relayed = world.to(MIPP_PUB, FA_CARE_OF)
    if not gets_through:
        assert (relayed, world.to(HOME, FA_LINK)) == ([], [])  # a black hole: neither relayed nor answered
        assert set(world.counted) == {"unknown_extension"}
        assert place(world)[0] is not State.BOUND
        assert world.proxy.bindings == ()
        return
    assert place(world) == (State.BOUND, Location.OUTSIDE, Through.FOREIGN_AGENT)
    # Answered in the form in which it was asked, so the reply passes as well.
    answer = parse_reply(world.to(FA_CARE_OF, MIPP_PUB)[0].payload)
    assert form.type in types_of(answer.extensions)
    (at_proxy,) = world.proxy.bindings
    assert at_proxy.care_of_address == FA_CARE_OF
