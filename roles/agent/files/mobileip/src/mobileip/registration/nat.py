"""Which tunnel a registration gets: the home agent's side of RFC 5944 4.1, RFC 3024 4.3.1 and RFC 3519 4.2 to 4.11.

A NAT is seen by a request whose source is not its care-of address. With the D bit clear the care-of address is a
foreign agent's, and its requests may come from another of its addresses (draft 2.7.2): there only the agent's own
UDP Tunnel Request, behind the node's authenticator, means a NAT.

| 144 is            | D   | source = care-of      | source elsewhere             |
|-------------------|-----|-----------------------|------------------------------|
| absent            | set | no UDP                | 129: a source we cannot trust |
| absent            | -   | no UDP                | no UDP (the agent's address) |
| before the MN-HA  | set | F: UDP, else declined | UDP; R: half bound           |
| before the MN-HA  | -   | 134                   | 134                          |
| behind the MN-HA  | set | 134                   | 134                          |
| behind the MN-HA  | -   | F: UDP, else declined | UDP                          |

How packets are wrapped follows the M and G bits, G first; in UDP the extension's own field may say otherwise. What we
cannot do is 139 without UDP (the tunnel back must be of the same kind) and 142 in it. With the T bit clear it is just
IP-in-IP, which every end of a tunnel takes apart (RFC 5944 4.1).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.codes import Code
from mobileip.wire.encapsulation import IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_MINIMAL
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, ExtensionType, find
from mobileip.wire.messages import Flag, RegistrationRequest
from mobileip.wire.record import record
from mobileip.wire.typed_extensions import UDP_TUNNEL_DECLINED, UdpTunnelReply, UdpTunnelRequest


@record(frozen=True, slots=True)
class NatPolicy:
    """What an agent grants. `keepalive` (default of RFC 3519 4.9) and `max_lifetime` (5.2) in seconds."""

    keepalive: int = 110
    max_lifetime: int = 60
    allowed: bool = True
    forced_allowed: bool = True


@record(frozen=True, slots=True)
class Tunnel:
    """The tunnel that a registration gets, and what to tell the node about it, if it asked."""

    encapsulation: Encapsulation
    half_bound: bool = False
    answer: UdpTunnelReply | None = None


IPIP = Tunnel(Encapsulation.IPIP)
CARRIED: frozenset[Encapsulation] = frozenset({Encapsulation.IPIP, Encapsulation.UDP})
"""What every agent grants that is not told otherwise."""

_MINIMAL_OR_GRE = int(Flag.MINIMAL | Flag.GRE)
_IN_UDP = {
    IPPROTO_IPIP: Encapsulation.UDP,
    IPPROTO_GRE: Encapsulation.UDP_GRE,
    IPPROTO_MINIMAL: Encapsulation.UDP_MINIMAL,
}


@record(frozen=True, slots=True)
class Denied:
    """A registration that cannot be had so: the code, and the reason for people."""

    code: Code
    reason: str


def negotiate(
    request: AuthenticRequest,
    source: IPv4Address,
    policy: NatPolicy,
    encapsulations: frozenset[Encapsulation] = CARRIED,
) -> Tunnel | Denied:
    """Choose the tunnel for a registration that came from `source`, among the encapsulations we have."""
    message = request.message
    by_node = find(request.covered, ExtensionType.UDP_TUNNEL_REQUEST)
    by_agent = find(_by_agent(request.trailing), ExtensionType.UDP_TUNNEL_REQUEST) if request.trailing else None
    wanted, misplaced = None, False
    if by_node is not None or by_agent is not None:
        try:
            wanted, misplaced = _wanted(by_node, by_agent, message.decapsulates)
        except Malformed as defect:
            return Denied(Code.POORLY_FORMED_REQUEST, str(defect))
    if misplaced:
        return Denied(Code.POORLY_FORMED_REQUEST, "UDP Tunnel Request on the wrong side of the authenticator")
    elsewhere = source != message.care_of_address
    if wanted is None:
        if elsewhere and message.decapsulates:
            return Denied(Code.ADMINISTRATIVELY_PROHIBITED, f"request came from {source} without UDP Tunnel Request")
        return _plain(message, encapsulations, None)
    in_udp = _in_udp(wanted, message, encapsulations)
    if in_udp is None:
        return Denied(Code.UDP_ENCAPSULATION_UNAVAILABLE, f"encapsulation {wanted.encapsulation} in UDP")
    if not elsewhere and not wanted.forced:
        return _plain(message, encapsulations, UdpTunnelReply(UDP_TUNNEL_DECLINED))
    if not policy.allowed or (not elsewhere and not policy.forced_allowed):
        return Denied(Code.ADMINISTRATIVELY_PROHIBITED, "UDP tunnelling is switched off")
    answer = UdpTunnelReply(0, forced=wanted.forced, keepalive=policy.keepalive)
    return Tunnel(in_udp, wanted.through_foreign_agent and message.decapsulates, answer)


def _by_agent(trailing: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """What stands behind an agent's authenticator, if it has one, is nobody's (RFC 3519 4.5)."""
    end = next((n for n, one in enumerate(trailing) if one.type == ExtensionType.FA_HA_AUTHENTICATION), len(trailing))
    return trailing[:end]


def _plain(
    message: RegistrationRequest, encapsulations: frozenset[Encapsulation], answer: UdpTunnelReply | None
) -> Tunnel | Denied:
    """Without UDP, as the M and G bits say; both: GRE if we have it, else minimal."""
    if not message.flags & _MINIMAL_OR_GRE:
        return IPIP if answer is None else Tunnel(Encapsulation.IPIP, answer=answer)
    if message.gre and Encapsulation.GRE in encapsulations:
        return Tunnel(Encapsulation.GRE, answer=answer)
    if message.minimal and Encapsulation.MINIMAL in encapsulations:
        return Tunnel(Encapsulation.MINIMAL, answer=answer)
    if message.reverse_tunnel:
        return Denied(Code.ENCAPSULATION_UNAVAILABLE, "neither M nor G asks for an encapsulation that is available")
    return Tunnel(Encapsulation.IPIP, answer=answer)


def _in_udp(
    wanted: UdpTunnelRequest, message: RegistrationRequest, encapsulations: frozenset[Encapsulation]
) -> Encapsulation | None:
    """In UDP, as the extension says; 0 there leaves it to the M and G bits (RFC 3519 3.1). None: not here."""
    if wanted.encapsulation:
        asked = [wanted.encapsulation]
    elif message.gre or message.minimal:
        asked = [IPPROTO_GRE] * message.gre + [IPPROTO_MINIMAL] * message.minimal
    else:
        asked = [IPPROTO_IPIP]
    available = (_IN_UDP.get(protocol) for protocol in asked)
    return next((one for one in available if one in encapsulations), None)


def _wanted(
    by_node: Extension | None, by_agent: Extension | None, co_located: bool
) -> tuple[UdpTunnelRequest | None, bool]:
    """The request that counts, and whether one stands where it may not. One with Reserved3 set does not exist."""
    requests = [UdpTunnelRequest.of(extension) if extension is not None else None for extension in (by_node, by_agent)]
    node, agent = (request if request is not None and request.understood else None for request in requests)
    misplaced = (agent is not None) if co_located else (node is not None)
    return (node if co_located else agent), misplaced
