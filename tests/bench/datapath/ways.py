"""The ways of a packet through the proxy that are measured: its frame as it comes, and where it is to go.

Frames come from the model: what a mobile node would send in an encapsulation is what the proxy is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mobileip.forwarding import rules
from mobileip.forwarding.entries import (
    Encapsulation,
    Gateway,
    NodeMode,
    NodePath,
    ProxyBinding,
    ProxyForwarding,
    Tunnel,
)

from .programs import Shape

ESP, UDP = 50, 17
ETHERNET = 14
INNER_LENGTH = 128
"""Bytes of the packet inside the tunnel, with its IP header."""
HOME_BASE, CARE_OF_BASE = int(IPv4Address("10.64.0.0")), int(IPv4Address("198.16.0.0"))
HOME_NETWORK, CARE_OF_NETWORK = IPv4Network("10.64.0.0/12"), IPv4Network("198.16.0.0/12")
MIPP_PUB, MIPP_PRIV = IPv4Address("203.0.113.10"), IPv4Address("192.0.2.10")
VPNGW_PUB, VPNGW_PRIV = IPv4Address("203.0.113.20"), IPv4Address("192.0.2.20")
HOME_AGENT, CORRESPONDENT = IPv4Address("192.0.2.40"), IPv4Address("192.0.2.80")
MOBILITY_SUBNET = IPv4Network("192.0.2.64/26")
PORT = 434
# MAC addresses: of the proxy's (or router's) two interfaces, and of what is beyond them.
PUB_MAC, PRIV_MAC = "02:00:00:00:00:10", "02:00:00:00:00:11"
GATEWAY_MAC, ROUTER_MAC, INSIDE_MAC = "02:00:00:00:00:20", "02:00:00:00:00:01", "02:00:00:00:00:02"
LIFETIME = 100_000.0
PUB, PRIV = 1, 2
"""Interface numbers of the model."""


class WayError(RuntimeError):
    """The model does not send a packet where the bench wants to see it go."""


@dataclass(frozen=True, slots=True)
class Way:
    """One direction by one encapsulation."""

    direction: str
    encapsulation: Encapsulation
    program: str
    shape: Shape
    outcome: str
    arrived_length: int

    @property
    def name(self) -> str:
        """As reports show it."""
        return f"{self.encapsulation} {self.direction}"

    @property
    def interface(self) -> str:
        """Where its packets come in, and leave."""
        return "pub" if self.program == "proxy_pub" else "priv"


def binding(number: int, encapsulation: Encapsulation, now: float) -> ProxyBinding:
    """Binding `number` of the tables that are measured; `now` in Unix seconds."""
    udp = encapsulation.protocol == UDP
    tunnel = Tunnel(care_of(number), now + LIFETIME, encapsulation, PORT if udp else 0)
    return ProxyBinding(VPNGW_PUB, home(number), HOME_AGENT, (tunnel,))


def home(number: int) -> IPv4Address:
    """Home address of node `number`."""
    return IPv4Address(HOME_BASE + number)


def care_of(number: int) -> IPv4Address:
    """Care-of address of node `number`."""
    return IPv4Address(CARE_OF_BASE + number)


def settings(public: int, private: int) -> ProxyForwarding:
    """The proxy's settings; the numbers of its interfaces."""
    return ProxyForwarding(
        MIPP_PUB,
        MIPP_PRIV,
        public,
        private,
        (Gateway(VPNGW_PUB, VPNGW_PRIV, frozenset({GATEWAY_MAC})),),
        (HOME_NETWORK,),
        (MOBILITY_SUBNET,),
    )


def ip(source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet without options."""
    total = 20 + len(payload)
    head = bytes((0x45, 0)) + total.to_bytes(2) + bytes(4) + bytes((64, protocol, 0, 0))
    head += source.packed + destination.packed
    return head[:10] + rules.checksum(head).to_bytes(2) + head[12:] + payload


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _esp(source: IPv4Address, destination: IPv4Address) -> bytes:
    return ip(source, destination, ESP, b"\xc0\xff\xee\x01".ljust(INNER_LENGTH - 20, b"\0"))


def _clear(source: IPv4Address, destination: IPv4Address) -> bytes:
    datagram = bytes((0x30, 0x39, 0x30, 0x39)) + (INNER_LENGTH - 20).to_bytes(2) + bytes(2)
    return ip(source, destination, UDP, datagram.ljust(INNER_LENGTH - 20, b"\0"))


def _from_node(number: int, encapsulation: Encapsulation) -> bytes:
    """As the node itself would send it: the model's own encapsulation."""
    path = NodePath(home(number), NodeMode.TUNNEL, care_of(number), MIPP_PUB, encapsulation, gateways=(VPNGW_PUB,))
    tables = rules.Snapshot({PUB: rules.Link(_mac(PUB_MAC))}, mobile_node=path)
    frame = _mac(PUB_MAC) + _mac(ROUTER_MAC) + b"\x08\x00" + _esp(home(number), VPNGW_PUB)
    verdict = rules.decide("mn_egress", frame, tables, 0.0, ifindex=PUB)
    if verdict.outcome != "stack_to_tunnel":
        raise WayError(f"{encapsulation}: the model's node sends nothing: {verdict.reason}")
    return verdict.frame


def _from_gateway(number: int, _encapsulation: Encapsulation) -> bytes:
    return _mac(PUB_MAC) + _mac(GATEWAY_MAC) + b"\x08\x00" + _esp(VPNGW_PUB, home(number))


def _from_home_agent(number: int, _encapsulation: Encapsulation) -> bytes:
    packet = ip(HOME_AGENT, MIPP_PRIV, 4, _clear(CORRESPONDENT, home(number)))
    return _mac(PRIV_MAC) + _mac(INSIDE_MAC) + b"\x08\x00" + packet


def _to_subnet(number: int, _encapsulation: Encapsulation) -> bytes:
    return _mac(PUB_MAC) + _mac(GATEWAY_MAC) + b"\x08\x00" + _clear(home(number), CORRESPONDENT)


_DIRECTIONS = {
    "node_to_gateway": ("proxy_pub", _from_node),
    "gateway_to_node": ("proxy_pub", _from_gateway),
    "home_agent_to_gateway": ("proxy_priv", _from_home_agent),
    "gateway_to_home_agent": ("proxy_pub", _to_subnet),
}
# The other leg is IP-in-IP, whatever the node's encapsulation.
_INNER_LEG = ("home_agent_to_gateway", "gateway_to_home_agent")


def ways() -> Iterator[Way]:
    """All of them: every encapsulation that the product has, both directions, and the leg to the home agent."""
    for encapsulation in Encapsulation:
        for direction in _DIRECTIONS:
            if direction not in _INNER_LEG or encapsulation is Encapsulation.IPIP:
                yield way(direction, encapsulation)


def way(direction: str, encapsulation: Encapsulation) -> Way:
    """One of them. Raises `WayError` when the model decides otherwise."""
    program, make = _DIRECTIONS[direction]
    shape = shape_of(lambda number: make(number, encapsulation))
    links = {PUB: rules.Link(_mac(PUB_MAC)), PRIV: rules.Link(_mac(PRIV_MAC))}
    bound = binding(0, encapsulation, 0.0)
    tables = rules.Snapshot(
        links,
        lambda _: PUB,
        proxy=settings(PUB, PRIV),
        bindings={(bound.gateway, bound.home_address): rules.Bound(bound.home_agent, bound.tunnels)},
    )
    verdict = rules.decide(program, shape.frame, tables, 0.0, ifindex=PUB if program == "proxy_pub" else PRIV)
    if verdict.outcome != direction:
        raise WayError(f"{encapsulation} {direction}: the model says {verdict.outcome or verdict.reason}")
    return Way(direction, encapsulation, program, shape, direction, len(verdict.frame))


def shape_of(make: Callable[[int], bytes]) -> Shape:
    """Where the frames of two bindings differ: their addresses, and the checksums over those.

    Raises `WayError` when a frame depends on the binding in any other way.
    """
    first, other = make(0), make(0xABCDE)
    bases = (home(0).packed, care_of(0).packed)
    address_at = tuple(at for at in range(ETHERNET, len(first) - 4, 2) if first[at : at + 4] in bases)
    of_addresses = {at + part for at in address_at for part in (0, 2)}
    words = (at for at in range(ETHERNET, min(len(first), len(other)) - 1, 2) if at not in of_addresses)
    checksum_at = tuple(at for at in words if first[at : at + 2] != other[at : at + 2])
    shape = Shape(first, address_at, checksum_at)
    if len(first) < Shape.SHORTEST or any(
        len(at) > slots for at, slots in zip((address_at, checksum_at), Shape.SLOTS, strict=True)
    ):
        raise WayError(f"a frame of {len(first)} bytes with addresses at {address_at}, checksums at {checksum_at}")
    for number in (0, 1, 999, 0x10000, 0xABCDE, 999_999):
        if frame_of(shape, number) != make(number):
            raise WayError(f"the frame of binding {number} is not that of binding 0 with other addresses")
    return shape


def frame_of(shape: Shape, number: int) -> bytes:
    """What `write_frame` in yardsticks.bpf.c makes for a binding."""
    frame = bytearray(shape.frame)
    for at in shape.address_at:
        frame[at : at + 4] = (int.from_bytes(frame[at : at + 4]) + number).to_bytes(4)
    for at in shape.checksum_at:
        total = (~int.from_bytes(frame[at : at + 2]) & 0xFFFF) + (number & 0xFFFF) + (number >> 16)
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        frame[at : at + 2] = (~total & 0xFFFF).to_bytes(2)
    return bytes(frame)
