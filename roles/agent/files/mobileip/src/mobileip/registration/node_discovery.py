"""The foreign agent on the link: looking for one, choosing it, trusting it (RFC 5944 2.4, draft 5.7.2)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from mobileip.registration.events import AdvertisementReceived
from mobileip.registration.node_replies import is_host
from mobileip.registration.node_requests import MobileNodeSettings

QUICK_SOLICITATIONS = 3  # one a second, then ever slower (RFC 5944 2.4)
LONGEST_SOLICITATION_GAP = 60.0


class Discovery:
    """The agent that the node uses, if any, and its last challenge."""

    def __init__(self, settings: MobileNodeSettings) -> None:
        self._settings = settings
        self._solicitations = 0
        self.agent: AdvertisementReceived | None = None
        self.challenge: bytes | None = None
        """What the next request to the agent has to repeat (RFC 4721 3.1)."""

    def begin(self) -> None:
        """A new search: solicitations are quick again."""
        self._solicitations = 0

    def forget(self) -> None:
        """The link is another, or the agent is gone."""
        self.agent = None
        self.challenge = None

    def next_gap(self) -> float:
        """Seconds from the solicitation that is sent now to the next."""
        self._solicitations += 1
        slower = max(0, self._solicitations - QUICK_SOLICITATIONS)
        return min(2.0 ** min(slower, 16), LONGEST_SOLICITATION_GAP)

    def take(self, advertisement: AdvertisementReceived) -> None:
        """Use this agent from now on, or hear it again."""
        self.agent = advertisement
        if advertisement.challenge is not None:
            self.challenge = advertisement.challenge

    @property
    def is_trusted(self) -> bool:
        """The agent in use is one that we are told to trust."""
        return self.agent is not None and self.trusts(self.agent)

    def trusts(self, advertisement: AdvertisementReceived) -> bool:
        """D-5.7.2-a: its address or its NAI, or that of its realm, is among those that we are told to trust."""
        settings, nai = self._settings, advertisement.nai
        if advertisement.agent in settings.trusted_agents:
            return True
        if nai is None:
            return False
        _, at, realm = nai.rpartition(b"@")
        return not settings.trusted_agent_nais.isdisjoint({nai, at + realm} if at else {nai})

    @staticmethod
    def can_serve(advertisement: AdvertisementReceived, parties: Iterable[IPv4Address | None]) -> bool:
        """Does it offer what we need, and is it none of `parties`?

        Packets to the agent stay on the link from here on: nobody may speak so for those whom we ask.
        """
        if advertisement.busy or not (advertisement.foreign_agent and advertisement.care_of_addresses):
            return False
        if not advertisement.registration_lifetime:
            return False  # a request for that long would be a deregistration
        return advertisement.reverse_tunnelling and advertisement.agent not in parties and is_host(advertisement.agent)
