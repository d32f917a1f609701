"""The mobile node's link: where it is attached, and the foreign agent there (RFC 5944 2.4, draft 5.7.2).

A move of the link decides over everything else; then the loss of the foreign agent.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from mobileip.registration.actions import Action, Count, Solicit
from mobileip.registration.events import AdvertisementReceived, Attached, Detached
from mobileip.registration.node_requester import Requester
from mobileip.registration.node_state import NodeState, State, Timer
from mobileip.wire.agent_discovery import agent_rebooted, serialize_solicitation


class NodeLink:
    """What the kernel and the agents on the link say of it, turned into whom to ask."""

    def __init__(self, node: NodeState, requester: Requester) -> None:
        self._node = node
        self._requester = requester

    def attach(self, event: Attached, now: float) -> list[Action]:
        """Another link, or another address on it."""
        node = self._node
        if event == node.attachment:
            return []  # said again; nothing has moved
        actions = node.move(f"attached to {event.interface}", now)
        node.attachment = event
        if event.address is None:
            return [*actions, *self._search(now)]
        return [*actions, *self._requester.find_place(now)]

    def detach(self, event: Detached, now: float) -> list[Action]:
        """No link any more."""
        node = self._node
        if node.attachment is None or event.interface != node.attachment.interface:
            return []
        actions = node.move(f"{event.interface} lost its link or address", now)
        node.enter(State.DETACHED)
        node.attachment = None
        return actions

    def hear(self, event: AdvertisementReceived, now: float) -> list[Action]:
        """An agent advertises: the one that we use, one that we could use, or another."""
        node = self._node
        attachment = node.attachment
        if attachment is None or event.interface != attachment.interface:
            return []
        known = node.discovery.agent
        if known is None:
            return self._choose(event, attachment, now)
        if event.agent != known.agent:
            return []  # one agent is enough while it lasts
        node.discovery.take(event)
        node.timers[Timer.AGENT_GONE] = now + event.lifetime
        assert node.target is not None
        if attachment.address is None and node.target.care_of_address not in event.care_of_addresses:
            return self.lose_agent(now)
        if node.discovery.trusts(event) != node.discovery.trusts(known):
            return self.lose_agent(now)  # another name: another agent
        if attachment.address is not None and not self._is_demanded(event, attachment):
            return self.lose_agent(now)  # it demands nothing any more
        if agent_rebooted(known.sequence, event.sequence):
            return self._requester.renew(now, f"foreign agent {event.agent} has started anew")  # RFC 5944 2.4.2.3
        return []

    def lose_agent(self, now: float) -> list[Action]:
        """The agent that we use is not heard any more, or is another by now."""
        node = self._node
        assert node.discovery.agent is not None
        assert node.attachment is not None
        actions = node.move(f"foreign agent {node.discovery.agent.agent} is gone", now)
        return [*actions, *(self._search(now) if node.attachment.address is None else self._requester.find_place(now))]

    def solicit(self, now: float) -> list[Action]:
        """Ask agents to advertise themselves, and again until one does (RFC 5944 2.4)."""
        node = self._node
        assert node.attachment is not None
        node.timers[Timer.SOLICITATION] = now + node.discovery.next_gap()
        return [Solicit(node.attachment.interface, serialize_solicitation())]

    def _search(self, now: float) -> list[Action]:
        self._node.enter(State.SEARCHING)
        self._node.discovery.begin()
        return self.solicit(now)

    def _choose(self, event: AdvertisementReceived, attachment: Attached, now: float) -> list[Action]:
        node = self._node
        if attachment.address is not None and not self._is_demanded(event, attachment):
            return []  # an address of our own, and nobody on the link minds
        if not node.discovery.can_serve(event, (node.settings.mipp_pub, node.home_agent, node.home_address)):
            return [Count("advertisement_unusable")]
        actions: list[Action] = []
        if attachment.address is not None:
            actions = node.move(f"foreign agent {event.agent} demands registration", now)
        node.discovery.take(event)
        node.timers.pop(Timer.SOLICITATION, None)
        node.timers[Timer.AGENT_GONE] = now + event.lifetime
        node.wishes.lifetime = min(node.wishes.lifetime, event.registration_lifetime)
        return [*(actions or [node.block()]), *self._requester.find_place(now)]

    def _is_demanded(self, event: AdvertisementReceived, attachment: Attached) -> bool:
        """R bit: co-located nodes, too, register by this agent (RFC 5944 2.1.1), or it is one to trust (D-5.7.2-b).

        At home there is nothing to register.
        """
        assert attachment.address is not None
        link = IPv4Network((attachment.address, attachment.prefix_length), strict=False)
        wanted = event.registration_required or self._node.discovery.trusts(event)
        return wanted and attachment.address != self._node.home_address and event.agent in link
