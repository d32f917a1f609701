"""The cast: addresses, keys, settings, and a link of two lists between a proxy and a home agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mobileip.registration.actions import Action, PersistBinding, PersistIdentification, Record, Send
from mobileip.registration.actions import ForgetBinding as Forget
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.home_addresses import HomeLink, HomeNode
from mobileip.registration.home_agent import HomeAgent, HomeAgentSettings
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import Extension
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, parse_request
from mobileip.wire.typed_extensions import HomeAgentParameter

NOW = 1_700_000_000.0

MIPP_PUB = IPv4Address("203.0.113.10")
MIPP_PRIV = IPv4Address("192.0.2.10")
GATEWAY = IPv4Address("203.0.113.20")
HOME_AGENT = IPv4Address("192.0.2.40")
OTHER_HOME_AGENT = IPv4Address("192.0.2.41")
HOME = IPv4Address("192.0.2.69")
CARE_OF = IPv4Address("198.51.100.10")
OTHER_CARE_OF = IPv4Address("198.51.100.140")
NAT = Endpoint(IPv4Address("198.51.100.40"), 40434)
FOREIGN_AGENT = IPv4Address("198.51.100.100")
VISITED = IPv4Address("192.0.2.140")

NODE_SA = SecurityAssociation(2001, bytes(range(16)))
PROXY_SA = SecurityAssociation(3001, bytes(range(16, 32)))
DIRECT_SA = SecurityAssociation(4001, bytes(range(32, 48)))
STRANGER_SA = SecurityAssociation(2001, b"x" * 16)

PARAMETER = HomeAgentParameter(HOME_AGENT).extension()

PROXY = ProxySettings(
    public_address=MIPP_PUB,
    private_address=MIPP_PRIV,
    public_interface="pub",
    private_interface="priv",
    nodes=(ProxyNode(HOME, GATEWAY, (NODE_SA,), PROXY_SA),),
    home_agents={
        HOME_AGENT: (IPv4Network("192.0.2.64/27"),),
        OTHER_HOME_AGENT: (IPv4Network("192.0.2.96/27"),),
    },
    internal_prefixes=(IPv4Network("192.0.2.0/24"),),
)
HOME_AGENT_SETTINGS = HomeAgentSettings(
    address=HOME_AGENT,
    home_links=(HomeLink("home", IPv4Network("192.0.2.64/27")),),
    nodes=(HomeNode(HOME, (PROXY_SA, DIRECT_SA)),),
)

CO_LOCATED = Flag.DECAPSULATES | Flag.REVERSE_TUNNEL
REQUEST = RegistrationRequest(CO_LOCATED, 600, HOME, MIPP_PUB, CARE_OF, from_unix(NOW), (PARAMETER,))
DIRECT_REQUEST = replace(REQUEST, home_agent=HOME_AGENT, care_of_address=VISITED, extensions=())


def at(now: float) -> int:
    """The Identification of a request sent at `now`."""
    return from_unix(now)


def signed(
    message: RegistrationRequest | RegistrationReply,
    association: SecurityAssociation = NODE_SA,
    behind: Iterable[Extension] = (),
) -> bytes:
    """The message's bytes with an MN-HA authenticator, and extensions behind it."""
    return append(message.serialize(), association) + b"".join(extension.serialize() for extension in behind)


def from_node(
    message: RegistrationRequest | bytes,
    source: Endpoint | IPv4Address = CARE_OF,
    interface: str = "pub",
    destination: IPv4Address = MIPP_PUB,
) -> DatagramReceived:
    """A node's request as the proxy receives it."""
    payload = message if isinstance(message, bytes) else signed(message)
    if isinstance(source, IPv4Address):
        source = Endpoint(source, 434)
    return DatagramReceived(payload, source, Endpoint(destination, 434), interface)


def to_home_agent(
    message: RegistrationRequest | bytes, source: IPv4Address | Endpoint = VISITED, interface: str = "core"
) -> DatagramReceived:
    """A direct request as the home agent receives it."""
    payload = message if isinstance(message, bytes) else signed(message, DIRECT_SA)
    return from_node(payload, source, interface, HOME_AGENT)


def from_home_agent(
    message: RegistrationReply | bytes, source: IPv4Address = HOME_AGENT, interface: str = "priv"
) -> DatagramReceived:
    """A reply as the proxy receives it."""
    payload = message if isinstance(message, bytes) else signed(message, PROXY_SA)
    return DatagramReceived(payload, Endpoint(source, 434), Endpoint(MIPP_PRIV, 434), interface)


def reply_to(request: RegistrationRequest, code: int = 0, lifetime: int = 300, **changes: Any) -> RegistrationReply:
    """What a home agent answers the relayed form of `request`."""
    reply = RegistrationReply(code, lifetime, request.home_address, HOME_AGENT, request.identification)
    return replace(reply, **changes)


def sends(actions: Iterable[Action]) -> list[Send]:
    """The datagrams among actions."""
    return [action for action in actions if isinstance(action, Send)]


def only_reply(actions: Iterable[Action]) -> RegistrationReply:
    """The reply that is the one datagram among actions."""
    (send,) = sends(actions)
    return parse_reply(send.payload)


def only_request(actions: Iterable[Action]) -> RegistrationRequest:
    """The request that is the one datagram among actions."""
    (send,) = sends(actions)
    return parse_request(send.payload)


def codes(actions: Iterable[Action]) -> list[int]:
    """The codes of the replies among actions."""
    return [parse_reply(send.payload).code for send in sends(actions) if send.payload[0] == 3]


@dataclass
class Disk:
    """What is durable: the Persist actions, less the Forget ones. Survives any machine."""

    identifications: dict[tuple[object, ...], PersistIdentification] = field(default_factory=dict)
    bindings: dict[object, PersistBinding] = field(default_factory=dict)

    def commit(self, actions: Iterable[Action]) -> None:
        """Make durable what `actions` say."""
        for action in actions:
            if isinstance(action, PersistIdentification):
                self.identifications[action.node, action.spi] = action
            elif isinstance(action, PersistBinding):
                self.bindings[action.binding.key] = action
            elif isinstance(action, Forget):
                self.bindings.pop(action.key, None)

    def records(self) -> list[Record]:
        """What a restarted machine is given."""
        return [*self.identifications.values(), *self.bindings.values()]


@dataclass
class Site:
    """A proxy and a home agent, joined by two lists. What leaves for a node is kept in `to_node`."""

    proxy: Proxy = field(default_factory=lambda: Proxy(PROXY))
    home_agent: HomeAgent = field(default_factory=lambda: HomeAgent(HOME_AGENT_SETTINGS))
    proxy_disk: Disk = field(default_factory=Disk)
    home_agent_disk: Disk = field(default_factory=Disk)

    def register(
        self, message: RegistrationRequest | bytes, now: float, source: Endpoint | IPv4Address = CARE_OF
    ) -> list[Send]:
        """Give the proxy a node's request and let both talk until nothing is left; what reaches the node."""
        to_proxy = [from_node(message, source)]
        to_agent: list[DatagramReceived] = []
        to_node: list[Send] = []
        while to_proxy or to_agent:
            if to_proxy:
                actions = self.proxy.feed(to_proxy.pop(0), now)
                self.proxy_disk.commit(actions)
            else:
                actions = self.home_agent.feed(to_agent.pop(0), now)
                self.home_agent_disk.commit(actions)
            for send in sends(actions):
                if send.destination.address == HOME_AGENT:
                    to_agent.append(DatagramReceived(send.payload, send.source, send.destination, "core"))
                elif send.destination.address == MIPP_PRIV:
                    to_proxy.append(DatagramReceived(send.payload, send.source, send.destination, "priv"))
                else:
                    to_node.append(send)
        return to_node
