"""A mobile node and what its agents answer it: the places, requests and replies that its tests share."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.registration.actions import (
    Action,
    EstablishSecurityAssociation,
    Level,
    Log,
    NodePath,
    PathMode,
    Send,
    SetLocation,
    SetPath,
    Solicit,
    UnparkSecurityAssociation,
)
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import (
    AdvertisementReceived,
    Attached,
    DatagramReceived,
    Endpoint,
)
from mobileip.registration.mobile_node import MobileNode, State
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.wire import identification as timestamps
from mobileip.wire.agent_discovery import serialize_solicitation
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_request
from mobileip.wire.typed_extensions import HomeAgentParameter, UdpTunnelRequest

HOME = IPv4Address("192.0.2.69")
HOME_AGENT = IPv4Address("192.0.2.40")
MIPP_PUB = IPv4Address("203.0.113.10")
OPEN = IPv4Address("198.51.100.10")
VISITED = IPv4Address("192.0.2.140")
FOREIGN_AGENT = IPv4Address("198.51.100.129")
AGENT_CARE_OF = IPv4Address("198.51.100.100")
PROXY_SA = SecurityAssociation(2001, bytes(range(16)))
HOME_AGENT_SA = SecurityAssociation(4001, bytes(range(16, 32)))
NOW = 1_700_000_000.0

SETTINGS = MobileNodeSettings(HOME, HOME_AGENT, MIPP_PUB, PROXY_SA, HOME_AGENT_SA, lifetime=300)
AT_OPEN = Attached("eth0", OPEN, 27, IPv4Address("198.51.100.1"))
AT_HOME = Attached("eth0", HOME, 27, IPv4Address("192.0.2.65"))
AT_VISITED = Attached("eth0", VISITED, 27, IPv4Address("192.0.2.129"))
AT_AGENT = Attached("eth0", None, 0, None)
ADVERTISEMENT = AdvertisementReceived(
    FOREIGN_AGENT,
    "eth0",
    (AGENT_CARE_OF,),
    lifetime=3,
    registration_lifetime=1800,
    sequence=300,
    reverse_tunnelling=True,
)

BLOCKED: list[Action] = [SetPath(NodePath(PathMode.BLOCKED)), UnparkSecurityAssociation()]
BLOCKED_AT_AGENT = SetPath(NodePath(PathMode.BLOCKED, "eth0", gateway=FOREIGN_AGENT))
SOLICITATION = Solicit("eth0", serialize_solicitation())
PARAMETER = HomeAgentParameter(HOME_AGENT).extension()
PLEA = UdpTunnelRequest().extension()
D_T = Flag.DECAPSULATES | Flag.REVERSE_TUNNEL


def identification(at: float, number: int = 0) -> int:
    """The timestamp of the node's request that comes after `number` others."""
    return timestamps.from_unix(at) & ~0x3FF | number


def to_proxy(at: float, number: int = 0, care_of: IPv4Address = OPEN) -> Send:
    request = RegistrationRequest(D_T, 300, HOME, MIPP_PUB, care_of, identification(at, number), (PARAMETER, PLEA))
    return Send(append(request.serialize(), PROXY_SA), Endpoint(care_of, 434), Endpoint(MIPP_PUB, 434))


def to_home_agent(at: float, number: int = 1) -> Send:
    request = RegistrationRequest(D_T, 300, HOME, HOME_AGENT, VISITED, identification(at, number), (PLEA,))
    return Send(append(request.serialize(), HOME_AGENT_SA), Endpoint(VISITED, 434), Endpoint(HOME_AGENT, 434))


def at_home_to_proxy(at: float, number: int = 0) -> Send:
    request = RegistrationRequest(
        Flag.REVERSE_TUNNEL, 0, HOME, MIPP_PUB, HOME, identification(at, number), (PARAMETER,)
    )
    return Send(append(request.serialize(), PROXY_SA), Endpoint(HOME, 434), Endpoint(MIPP_PUB, 434))


def farewell(at: float, number: int = 1) -> Send:
    request = RegistrationRequest(Flag.REVERSE_TUNNEL, 0, HOME, HOME_AGENT, HOME, identification(at, number))
    return Send(append(request.serialize(), HOME_AGENT_SA), Endpoint(HOME, 434), Endpoint(HOME_AGENT, 434))


def to_foreign_agent(at: float, number: int = 0, lifetime: int = 300) -> Send:
    request = RegistrationRequest(
        Flag.REVERSE_TUNNEL, lifetime, HOME, MIPP_PUB, AGENT_CARE_OF, identification(at, number), (PARAMETER,)
    )
    payload = append(request.serialize(), PROXY_SA)
    return Send(payload, Endpoint(HOME, 434), Endpoint(FOREIGN_AGENT, 434), interface="eth0", ttl=255)


def answer(
    actions: list[Action],
    code: int = Code.ACCEPTED,
    lifetime: int = 300,
    extensions: tuple[Extension, ...] = (PARAMETER,),
    association: SecurityAssociation | None = None,
) -> DatagramReceived:
    """What the agent that the last of `actions` asked says."""
    sent = actions[-1]
    assert isinstance(sent, Send)
    request = parse_request(sent.payload)
    reply = RegistrationReply(code, lifetime, HOME, request.home_agent, request.identification, extensions)
    key = association or (HOME_AGENT_SA if request.home_agent == HOME_AGENT else PROXY_SA)
    return DatagramReceived(append(reply.serialize(), key), sent.destination, sent.source, "eth0", 60)


def by_ipip(local: IPv4Address = OPEN, peer: IPv4Address = MIPP_PUB, inside: bool = False) -> NodePath:
    return NodePath(PathMode.TUNNEL, "eth0", local, peer, Encapsulation.IPIP, inside=inside)


def registered(location: str, through: str, agent: IPv4Address, care_of: IPv4Address, encapsulation: str) -> Log:
    fields = {
        "location": location,
        "through": through,
        "agent": str(agent),
        "care_of_address": str(care_of),
        "encapsulation": encapsulation,
    }
    return Log(Level.INFO, "registered", fields)


OUTSIDE_BY_PROXY: list[Action] = [
    SetLocation(inside=False, at_home=False, through=MIPP_PUB),
    EstablishSecurityAssociation(),
]


def bound_at_open(
    node: MobileNode, lifetime: int = 300, extensions: tuple[Extension, ...] = (PARAMETER,)
) -> MobileNode:
    """Registered through the proxy: asked at NOW, answered 0.1 s later."""
    asked = node.feed(AT_OPEN, NOW)
    node.feed(answer(asked, lifetime=lifetime, extensions=extensions), NOW + 0.1)
    assert node.status().state is State.BOUND
    return node


def bound_at_agent(node: MobileNode) -> MobileNode:
    node.feed(AT_AGENT, NOW)
    node.feed(answer(node.feed(ADVERTISEMENT, NOW)), NOW + 0.1)
    assert node.status().state is State.BOUND
    return node


def at_home(node: MobileNode) -> MobileNode:
    node.feed(answer(node.feed(AT_HOME, NOW), lifetime=0, extensions=()), NOW + 0.2)
    assert node.status().state is State.HOME
    return node
