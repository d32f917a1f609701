"""Which tunnel a registration gets: the home agent's side of RFC 3519 (4.2 to 4.11, errors of 4.6.1).

A NAT is seen by a request whose source is not its care-of address. With the D bit clear the care-of address is a
foreign agent's, and its requests may come from another of its addresses (draft 2.7.2): there only the agent's own
UDP Tunnel Request, behind the node's authenticator, means a NAT.

| 144 is            | D   | source = care-of      | source elsewhere             |
|-------------------|-----|-----------------------|------------------------------|
| absent            | set | IP-in-IP              | 129: a source we cannot trust |
| absent            | -   | IP-in-IP              | IP-in-IP (the agent's address) |
| before the MN-HA  | set | F: UDP, else declined | UDP; R: half bound           |
| before the MN-HA  | -   | 134                   | 134                          |
| behind the MN-HA  | set | 134                   | 134                          |
| behind the MN-HA  | -   | F: UDP, else declined | UDP                          |
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.codes import Code
from mobileip.wire.encapsulation import IPPROTO_IPIP
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.typed_extensions import UDP_TUNNEL_DECLINED, UdpTunnelReply, UdpTunnelRequest


@dataclass(frozen=True, slots=True)
class NatPolicy:
    """What an agent grants. `keepalive` (default of RFC 3519 4.9) and `max_lifetime` (5.2) in seconds."""

    keepalive: int = 110
    max_lifetime: int = 60
    allowed: bool = True
    forced_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The tunnel that a registration gets, and what to tell the node about it, if it asked."""

    encapsulation: Encapsulation
    half_bound: bool = False
    answer: UdpTunnelReply | None = None


IPIP = Tunnel(Encapsulation.IPIP)


@dataclass(frozen=True, slots=True)
class Denied:
    """A registration that cannot be had so: the code, and the reason for people."""

    code: Code
    reason: str


def negotiate(request: AuthenticRequest, source: IPv4Address, policy: NatPolicy) -> Tunnel | Denied:
    """Choose the tunnel for a registration that came from `source`."""
    message = request.message
    by_node = find(request.covered, ExtensionType.UDP_TUNNEL_REQUEST)
    by_agent = find(request.trailing, ExtensionType.UDP_TUNNEL_REQUEST)
    try:
        wanted, misplaced = _wanted(by_node, by_agent, message.decapsulates)
    except Malformed as defect:
        return Denied(Code.POORLY_FORMED_REQUEST, str(defect))
    if misplaced:
        return Denied(Code.POORLY_FORMED_REQUEST, "UDP Tunnel Request on the wrong side of the authenticator")
    if message.minimal or message.gre:
        return Denied(Code.ENCAPSULATION_UNAVAILABLE, "only IP-in-IP is available")
    elsewhere = source != message.care_of_address
    if wanted is None:
        if elsewhere and message.decapsulates:
            return Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"request came from {source} without UDP Tunnel Request")
        return IPIP
    if wanted.encapsulation not in (0, IPPROTO_IPIP):
        return Denied(Code.UDP_ENCAPSULATION_UNAVAILABLE, f"encapsulation {wanted.encapsulation} in UDP")
    if not elsewhere and not wanted.forced:
        return Tunnel(Encapsulation.IPIP, answer=UdpTunnelReply(UDP_TUNNEL_DECLINED))
    if not policy.allowed or (not elsewhere and not policy.forced_allowed):
        return Denied(Code.ADMINISTRATIVELY_PROHIBITED, "UDP tunnelling is switched off")
    answer = UdpTunnelReply(0, forced=wanted.forced, keepalive=policy.keepalive)
    return Tunnel(Encapsulation.UDP, wanted.through_foreign_agent and message.decapsulates, answer)


def _wanted(
    by_node: Extension | None, by_agent: Extension | None, co_located: bool
) -> tuple[UdpTunnelRequest | None, bool]:
    """The request that counts, and whether one stands where it may not. One with Reserved3 set does not exist."""
    requests = [UdpTunnelRequest.of(extension) if extension is not None else None for extension in (by_node, by_agent)]
    node, agent = (request if request is not None and request.understood else None for request in requests)
    misplaced = (agent is not None) if co_located else (node is not None)
    return (node if co_located else agent), misplaced
