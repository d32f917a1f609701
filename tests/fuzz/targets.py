"""What a coverage-guided fuzzer drives: functions of any bytes, which raise on a finding and on nothing else.

The codec takes the bytes as they are. The machines take them as a script: a control byte, a size, and as many bytes of
a datagram, which is given the time's Identification and an authenticator if the control byte says so. Without that no
fuzzer would get past the first check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from mobileip.decode import decode
from mobileip.registration.actions import Action, Send
from mobileip.registration.events import Attached, DatagramReceived, Endpoint
from mobileip.registration.foreign_agent import ForeignAgent
from mobileip.registration.foreign_agent_settings import ForeignAgentSettings
from mobileip.registration.home_agent import HomeAgent
from mobileip.registration.mobile_node import MobileNode
from mobileip.registration.node_requests import MobileNodeSettings
from mobileip.registration.proxy import Proxy
from mobileip.wire import agent_discovery, encapsulation, messages
from mobileip.wire.authentication import Authentication, SecurityAssociation, append
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, parse_extensions
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import MessageType
from mobileip.wire.typed_extensions import (
    FaError,
    HomeAgentParameter,
    HomeAgentParameterFormat,
    MessageString,
    Nai,
    UdpTunnelReply,
    UdpTunnelRequest,
)
from tests.unit.registration.parties import (
    CARE_OF,
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
    PROXY,
    PROXY_SA,
)

_LINK = IPv4Address("198.51.100.129")
_SOURCES = (Endpoint(CARE_OF, 434), NAT, Endpoint(HOME_AGENT, 434), Endpoint(HOME, 434))
_STEPS = (0.0, 1.0, 8.0, 70.0)
_ASSOCIATIONS: tuple[SecurityAssociation | None, ...] = (None, NODE_SA, PROXY_SA, DIRECT_SA)
# Where the Identification stands (RFC 5944 3.3, 3.4).
_IDENTIFICATION: dict[int, int] = {MessageType.REQUEST: 16, MessageType.REPLY: 12}

_MESSAGES: tuple[Callable[[bytes], Any], ...] = (
    agent_discovery.parse_advertisement,
    agent_discovery.parse_solicitation,
    encapsulation.IPv4Packet.parse,
    encapsulation.TunnelData.parse,
    encapsulation.UdpDatagram.parse,
    encapsulation.Echo.parse,
    encapsulation.MinimalForwarding.parse,
    encapsulation.Gre.parse,
)
_EXTENSIONS: tuple[Callable[[Extension], Any], ...] = (
    Authentication.of,
    UdpTunnelRequest.of,
    UdpTunnelReply.of,
    MessageString.of,
    Nai.of,
    FaError.of,
    lambda extension: HomeAgentParameter.of(extension, HomeAgentParameterFormat()),
)


def codec(data: bytes) -> None:
    """Every parser raises `Malformed` and nothing else, and what is a message is written as it was read."""
    for parse in _MESSAGES:
        _parsed(parse, data)
    for extension in _parsed(lambda whole: parse_extensions(whole, 0), data) or ():
        for of in _EXTENSIONS:
            _parsed(of, extension)
    message = _parsed(messages.parse_message, data)
    assert message is None or message.serialize() == data
    lines, _ = decode(data, NOW)
    assert lines
    assert all(line.isprintable() for line in lines), lines


@dataclass(frozen=True)
class _Step:
    """One datagram of a script."""

    source: Endpoint
    other_interface: bool
    seconds: float
    association: SecurityAssociation | None
    timely: bool
    payload: bytes

    def datagram(self, now: float, asked: int | None) -> bytes:
        """The payload, timely and signed where the script says so. `asked`: the Identification to answer."""
        payload = self.payload
        at = _IDENTIFICATION.get(payload[0]) if payload else None
        if self.timely and at and len(payload) >= at + 8:
            identification = from_unix(now) if asked is None or payload[0] == MessageType.REQUEST else asked
            payload = payload[:at] + identification.to_bytes(8) + payload[at + 8 :]
        return append(payload, self.association) if self.association else payload


def proxy(data: bytes) -> None:
    """The proxy takes any datagrams on both of its sides."""
    machine = Proxy(PROXY)
    _run(machine, data, ("pub", "priv"), (MIPP_PUB, MIPP_PRIV))
    Proxy(PROXY).restore(machine.snapshot(), NOW + 1.0)


def home_agent(data: bytes) -> None:
    """The home agent takes any datagrams, from its home link as well."""
    machine = HomeAgent(HOME_AGENT_SETTINGS)
    _run(machine, data, ("core", "home"), (HOME_AGENT, IPv4Address("192.0.2.95")))
    HomeAgent(HOME_AGENT_SETTINGS).restore(machine.snapshot(), NOW + 1.0)


def foreign_agent(data: bytes) -> None:
    """The foreign agent takes any datagrams on link and uplink."""
    _run(ForeignAgent(ForeignAgentSettings("uplink", FOREIGN_AGENT, "link", _LINK, udp_tunnelling=True)), data,
         ("link", "uplink"), (_LINK, FOREIGN_AGENT))  # fmt: skip


def mobile_node(data: bytes) -> None:
    """The mobile node, outside and asking, takes any datagrams."""
    node = MobileNode(MobileNodeSettings(HOME, HOME_AGENT, MIPP_PUB, NODE_SA, DIRECT_SA, lifetime=300))
    actions = node.feed(Attached("eth0", CARE_OF, 27, IPv4Address("198.51.100.1")), NOW)
    _run(node, data, ("eth0", "eth0"), (CARE_OF, HOME), actions)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": codec,
    "proxy": proxy,
    "home_agent": home_agent,
    "foreign_agent": foreign_agent,
    "mobile_node": mobile_node,
}


def script(*steps: tuple[int, bytes]) -> bytes:
    """A script of control bytes and payloads, for a seed."""
    return b"".join(bytes((control, len(payload))) + payload for control, payload in steps)


def _steps(data: bytes) -> Iterator[_Step]:
    at = 0
    while at + 2 <= len(data):
        control, size = data[at], data[at + 1]
        payload = data[at + 2 : at + 2 + size]
        at += 2 + size
        yield _Step(
            source=_SOURCES[control & 3],
            other_interface=bool(control & 4),
            seconds=_STEPS[control >> 3 & 3],
            association=_ASSOCIATIONS[control >> 5 & 3],
            timely=bool(control & 0x80),
            payload=payload,
        )


def _run(
    machine: Any,
    data: bytes,
    interfaces: tuple[str, str],
    addresses: tuple[IPv4Address, IPv4Address],
    begun: list[Action] | None = None,
) -> None:
    now = NOW + 1.0
    asked = _asked(begun or [], None)
    for step in _steps(data):
        now += step.seconds
        due = machine.next_deadline()
        if due is not None and due <= now:
            asked = _asked(machine.handle_timer(now), asked)
        payload = step.datagram(now, asked)
        at = Endpoint(addresses[step.other_interface], 434)
        event = DatagramReceived(payload, step.source, at, interfaces[step.other_interface], 255)
        asked = _asked(machine.feed(event, now), asked)


def _asked(actions: list[Action], before: int | None) -> int | None:
    """The Identification of the last request that the machine sent, which a reply must have."""
    sent = [action.payload for action in actions if isinstance(action, Send) and action.payload[0] == 1]
    return messages.parse_request(sent[-1]).identification if sent else before


def _parsed(parser: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return parser(argument)
    except Malformed:
        return None
