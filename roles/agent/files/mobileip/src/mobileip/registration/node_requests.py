"""What a mobile node is told, whom it may ask, and the request that it writes (RFC 5944 3.6.1): no state in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.registration.actions import Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import AdvertisementReceived, Attached, Endpoint
from mobileip.registration.keepalives import DEFAULT_KEEPALIVE
from mobileip.registration.nat import CARRIED
from mobileip.wire.authentication import NO_CHALLENGE, SecurityAssociation, append, append_mn_aaa
from mobileip.wire.encapsulation import IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_MINIMAL
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import REGISTRATION_PORT, Flag, RegistrationRequest
from mobileip.wire.revocation import RevocationSupport
from mobileip.wire.typed_extensions import HomeAgentParameter, HomeAgentParameterFormat, Nai, UdpTunnelRequest

UNASSIGNED = IPv4Address(0)
"""Home address or home agent that the network is asked to choose (RFC 2794, draft 2.6.4)."""
_BITS: Mapping[Encapsulation, Flag] = {Encapsulation.GRE: Flag.GRE, Encapsulation.MINIMAL: Flag.MINIMAL}
_IN_UDP: Mapping[Encapsulation, Encapsulation] = {
    Encapsulation.GRE: Encapsulation.UDP_GRE,
    Encapsulation.MINIMAL: Encapsulation.UDP_MINIMAL,
}
_NEXT_HEADER: Mapping[Encapsulation, int] = {
    Encapsulation.UDP: IPPROTO_IPIP,
    Encapsulation.UDP_GRE: IPPROTO_GRE,
    Encapsulation.UDP_MINIMAL: IPPROTO_MINIMAL,
}
REQUEST_TTL_ON_LINK = 255  # to a foreign agent, when a reverse tunnel is asked for (RFC 3024 3.2)


@dataclass(frozen=True)
class MobileNodeSettings:
    """What a node is told.

    Without `home_address` or `home_agent` the network assigns them, and `nai` says who asks. `lifetime` in seconds is
    what it asks for, `first_timeout` and `longest_timeout` bound the seconds until a request is repeated. `monitor`:
    seconds that an agent's word that we are inside holds (T_MONITOR of RFC 5265 3.2). `sa_keepalive`: seconds after
    which the VPN gateway drops the SA of a node that it does not hear (draft 5.5). `revocation` offers to be told of a
    revocation (RFC 3543).
    `trusted_agents` are foreign agents, by address or by NAI, or `@realm` for all of a realm (draft 5.7.2);
    `agent_associations` holds the MN-FA association with each foreign agent that has one, `aaa_association` what the
    node shares with its AAA server (RFC 4721).
    `encapsulations` are those that the node takes: IP in IP always, GRE and minimal are asked for. `gre_key` is the one
    of its keepalives (RFC 2890), None where there is none.
    """

    home_address: IPv4Address | None
    home_agent: IPv4Address | None
    mipp_pub: IPv4Address
    proxy_association: SecurityAssociation
    home_agent_association: SecurityAssociation
    lifetime: int = 300
    keepalive: int = DEFAULT_KEEPALIVE
    home_agent_parameter: HomeAgentParameterFormat = field(default_factory=HomeAgentParameterFormat)
    nai: bytes | None = None
    simultaneous: bool = False
    broadcasts: bool = False
    first_timeout: float = 1.0
    longest_timeout: float = 32.0
    monitor: float = 60.0
    require_trusted_networks: bool = False
    trusted_agents: frozenset[IPv4Address] = frozenset()
    trusted_agent_nais: frozenset[bytes] = frozenset()
    agent_associations: Mapping[IPv4Address, SecurityAssociation] = field(default_factory=dict)
    sa_keepalive: float = math.inf
    revocation: bool = False
    aaa_association: SecurityAssociation | None = None
    encapsulations: frozenset[Encapsulation] = CARRIED
    gre_key: int | None = None

    def preferred_encapsulation(self) -> Encapsulation:
        """Of a tunnel without UDP: GRE if we have it, else minimal, else IP in IP (RFC 5944 4.1)."""
        optional = (Encapsulation.GRE, Encapsulation.MINIMAL)
        return next((each for each in optional if each in self.encapsulations), Encapsulation.IPIP)


class Through(StrEnum):
    """The ways to register."""

    PROXY = "proxy"  # co-located care-of address, to MIPP-Pub
    FOREIGN_AGENT = "foreign_agent"  # the agent's care-of address, to MIPP-Pub (or, inside, to the home agent)
    DEMANDING_AGENT = "demanding_foreign_agent"  # co-located, by the agent that wants it so (R bit, RFC 3519 3.1)
    HOME_AGENT = "home_agent"  # co-located care-of address on a visited network inside
    HOME_LINK = "home_link"  # deregistration on the home link


@dataclass(frozen=True)
class Target:
    """Whom to register with, and how. `inside`: the home agent itself is the one who decides."""

    through: Through
    interface: str
    source: IPv4Address
    destination: IPv4Address
    home_agent: IPv4Address
    care_of_address: IPv4Address
    lifetime: int
    inside: bool
    at_home: bool = False
    """The link gives us the home address itself: there is no care-of address, only deregistrations."""

    @property
    def is_co_located(self) -> bool:
        """The care-of address is ours, and is one."""
        return self.through is not Through.FOREIGN_AGENT and not self.at_home

    @property
    def brings_broadcasts(self) -> bool:
        """Those of the home network come as packets to the home address. From the home agent straight to a care-of
        address of ours they would come as they are (RFC 5944 4.3); the programs take nothing but what is ours."""
        return self.through is not Through.HOME_AGENT

    @property
    def is_by_agent(self) -> bool:
        """A foreign agent on the link relays."""
        return self.through in (Through.FOREIGN_AGENT, Through.DEMANDING_AGENT)


@dataclass(frozen=True)
class Ask:
    """What one request says beyond its target. `lifetime` in seconds; `home_agent` is what a proxy is told."""

    home_address: IPv4Address
    home_agent: IPv4Address
    lifetime: int
    identification: int
    simultaneous: bool = False
    udp_tunnel: bool = True
    encapsulation: Encapsulation = Encapsulation.IPIP
    """Of a tunnel without UDP; `in_udp` says which stands for it behind a NAT."""
    challenge: bytes | None = None
    revocation: int | None = None
    """Our clock, for the offer of revocation; None makes none."""


def build_request(settings: MobileNodeSettings, target: Target, ask: Ask) -> Send:
    """The request to `target`, authenticated. What follows the authentication is the foreign agent's (3.6.1.3)."""
    request = RegistrationRequest(
        # T always: the way out is the way in (draft 2.2.4). D only with a care-of address of our own.
        flags=Flag.REVERSE_TUNNEL
        | (Flag.DECAPSULATES if target.is_co_located else 0)
        | (Flag.SIMULTANEOUS if ask.simultaneous else 0)
        | (Flag.BROADCAST if settings.broadcasts and ask.lifetime and target.brings_broadcasts else 0)
        | (_BITS.get(ask.encapsulation, 0) if ask.lifetime else 0),
        lifetime=ask.lifetime,
        home_address=ask.home_address,
        home_agent=target.home_agent,
        care_of_address=target.care_of_address,
        identification=ask.identification,
        extensions=_extensions(settings, target, ask),
    )
    payload = _authenticate(request.serialize(), settings, target, ask)
    return Send(
        payload,
        source=Endpoint(target.source, REGISTRATION_PORT),
        destination=Endpoint(target.destination, REGISTRATION_PORT),
        interface=target.interface if target.is_by_agent else None,
        ttl=REQUEST_TTL_ON_LINK if target.is_by_agent else None,
    )


def _extensions(settings: MobileNodeSettings, target: Target, ask: Ask) -> tuple[Extension, ...]:
    extensions: list[Extension] = []
    if settings.nai is not None:  # RFC 2794 2
        extensions.append(Nai(settings.nai).extension())
    if not target.inside:  # D-2.5.3-a; a home agent that does not know it would drop the request
        extensions.append(HomeAgentParameter(ask.home_agent, settings.home_agent_parameter).extension())
    if target.is_co_located and ask.lifetime and ask.udp_tunnel:  # RFC 3519 3.1: before the authentication, with D only
        by_agent = target.through is Through.DEMANDING_AGENT
        protocol = _NEXT_HEADER[in_udp(settings, ask.encapsulation)]
        extensions.append(UdpTunnelRequest(through_foreign_agent=by_agent, encapsulation=protocol).extension())
    if target.is_co_located and not target.is_by_agent and ask.lifetime and ask.revocation is not None:
        extensions.append(RevocationSupport(ask.revocation).extension())  # RFC 3543 3.2: a node on its own only
    return tuple(extensions)


def _authenticate(payload: bytes, settings: MobileNodeSettings, target: Target, ask: Ask) -> bytes:
    """32 first; the challenge before what answers it, MN-AAA and MN-FA (RFC 4721 3.1 and 6); MN-FA over all of it."""
    payload = append(payload, association_of(settings, target))
    challenge = ask.challenge if target.is_by_agent else None
    if challenge is not None:
        payload += Extension(ExtensionType.CHALLENGE, challenge).serialize()
    if settings.aaa_association is not None:
        payload = append_mn_aaa(payload, settings.aaa_association, challenge or NO_CHALLENGE)
    shared = settings.agent_associations.get(target.destination) if target.is_by_agent else None
    return payload if shared is None else append(payload, shared, ExtensionType.MN_FA_AUTHENTICATION)


def in_udp(settings: MobileNodeSettings, encapsulation: Encapsulation) -> Encapsulation:
    """What goes into UDP instead of `encapsulation` (RFC 3519 3.1): the same if we have it there, else IP in IP."""
    same = _IN_UDP.get(encapsulation)
    return same if same is not None and same in settings.encapsulations else Encapsulation.UDP


def association_of(settings: MobileNodeSettings, target: Target) -> SecurityAssociation:
    """What we share with the agent that decides: the home agent inside, else the proxy."""
    return settings.home_agent_association if target.inside else settings.proxy_association


def target_at(
    attachment: Attached,
    agent: AdvertisementReceived | None,
    home_address: IPv4Address | None,
    home_agent: IPv4Address,
    lifetime: int,
    *,
    inside: bool,
) -> Target:
    """The way to `home_agent` (MIPP-Pub, unless `inside`) from here, by the foreign agent if there is one."""
    if attachment.address is None:
        assert agent is not None
        return Target(
            Through.FOREIGN_AGENT,
            attachment.interface,
            source=home_address or UNASSIGNED,
            destination=agent.agent,
            home_agent=home_agent,
            care_of_address=agent.care_of_addresses[0],
            lifetime=lifetime,
            inside=inside,
        )
    at_home = attachment.address == home_address
    through = Through.PROXY if not inside else Through.HOME_LINK if at_home else Through.HOME_AGENT
    return Target(
        through if agent is None else Through.DEMANDING_AGENT,
        attachment.interface,
        source=attachment.address,
        destination=home_agent if agent is None else agent.agent,
        home_agent=home_agent,
        care_of_address=attachment.address,
        lifetime=0 if at_home else lifetime,
        inside=inside,
        at_home=at_home,
    )
