"""When a foreign agent advertises itself, and what it says (RFC 5944 2.3, RFC 4721 2, draft 5.7.2)."""

from __future__ import annotations

import math
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Advertise, Count
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.challenges import Challenges
from mobileip.registration.events import SolicitationReceived
from mobileip.registration.foreign_agent_settings import ChallengeMode, ForeignAgentSettings
from mobileip.wire.agent_discovery import ALL_SYSTEMS, AgentAdvertisement, AgentFlags, RouterAddress, next_sequence

LEAST_GAP = 1.0  # seconds between two multicast advertisements (RFC 5944 2.3)

_UNSPECIFIED = IPv4Address(0)


class Advertiser:
    """Everyone on the link hears it each interval, who asks at once; each advertisement has a challenge of its own."""

    def __init__(self, settings: ForeignAgentSettings, challenges: Challenges) -> None:
        self._settings = settings
        self._challenges = challenges
        self._sequence: int | None = None
        self._last_multicast = -math.inf
        self.next_due = -math.inf

    def answer(self, event: SolicitationReceived, now: float, *, busy: bool) -> list[Action]:
        """What a solicitation gets."""
        if event.interface != self._settings.link_interface:
            return [Count("solicitation_elsewhere")]
        if now - self._last_multicast >= LEAST_GAP:
            return [self.advertise(ALL_SYSTEMS, now, busy=busy)]
        if event.source != _UNSPECIFIED:
            return [self.advertise(event.source, now, busy=busy)]
        # Nowhere to answer to alone: everyone hears it as soon as the rate allows.
        self.next_due = min(self.next_due, self._last_multicast + LEAST_GAP)
        return []

    def advertise(self, destination: IPv4Address, now: float, *, busy: bool) -> Advertise:
        """The advertisement for `destination`, with the next sequence number."""
        settings = self._settings
        self._sequence = next_sequence(self._sequence)
        challenge = None
        if destination == ALL_SYSTEMS:
            self._last_multicast = now
            self.next_due = now + max(settings.advertisement_interval, LEAST_GAP)
        if settings.challenge is not ChallengeMode.NONE:
            to_all = destination == ALL_SYSTEMS
            challenge = self._challenges.advertise() if to_all else self._challenges.offer(destination)
        advertisement = AgentAdvertisement(
            sequence=self._sequence,
            registration_lifetime=settings.registration_lifetime,
            flags=self._flags(busy),
            care_of_addresses=(settings.care_of_address,),
            lifetime=settings.advertisement_lifetime,
            router_addresses=(RouterAddress(settings.link_address),),
            challenge=challenge,
            nai=settings.nai.encode() if settings.nai is not None else None,
        )
        return Advertise(settings.link_interface, settings.link_address, destination, advertisement.serialize())

    def _flags(self, busy: bool) -> AgentFlags:
        settings = self._settings
        said = {
            AgentFlags.REGISTRATION_REQUIRED: settings.registration_required,
            AgentFlags.BUSY: busy,
            AgentFlags.FOREIGN_AGENT: True,
            AgentFlags.MINIMAL_ENCAPSULATION: Encapsulation.MINIMAL in settings.encapsulations,
            AgentFlags.GRE: Encapsulation.GRE in settings.encapsulations,
            AgentFlags.REVERSE_TUNNELLING: settings.reverse_tunnelling,
            AgentFlags.UDP_TUNNELLING: settings.udp_tunnelling,
        }
        flags = AgentFlags(0)
        for flag, is_set in said.items():
            if is_set:
                flags |= flag
        return flags
