"""From a datagram to a reply that the mobile node believes, with the request that it answers (RFC 5944 3.6.2.1).

A reply is believed if it answers the last request and carries exactly one MN-HA authentication, a right one; a foreign
agent's own denial carries none and can only make the node try again. What stands behind the authentication is not the
agent's word. Everything else is dropped silently and counted.
"""

from __future__ import annotations

from typing import NamedTuple

from mobileip.registration.actions import Action, Count
from mobileip.registration.events import DatagramReceived
from mobileip.registration.node_attempts import Outstanding
from mobileip.registration.node_replies import Believed, authentication_of, is_word_of_foreign_agent
from mobileip.registration.node_requests import MobileNodeSettings, Target, association_of
from mobileip.registration.node_state import NodeState
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import ExtensionType, find, first_unrecognised
from mobileip.wire.messages import RegistrationReply, parse_reply


class Answer(NamedTuple):
    """A reply that was checked, and the request that it answers."""

    believed: Believed
    request: Outstanding


class ReplyReader:
    """Checks in the order of RFC 5944 3.6.2.1; changes nothing but the challenge that the agent gives."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._understood = _understood(node.settings)

    def read(self, event: DatagramReceived) -> Answer | list[Action]:
        """The answer in a datagram, or what to count instead."""
        try:
            reply = parse_reply(event.payload)
        except Malformed:
            return [Count("malformed_reply")]
        if first_unrecognised(reply.extensions, self._understood) is not None:
            return [Count("unknown_extension")]  # RFC 5944 1.8: silent
        request = self._node.attempts.find(reply.identification)
        if request is None or not self._is_for_us(reply):
            return [Count("reply_without_request")]
        if event.interface != request.target.interface:
            return [Count("reply_on_other_interface")]  # RFC 5265 3.2: it says nothing of the link that asked
        if not self._agent_vouches(reply, request.target):
            return [Count("reply_unauthenticated")]
        if is_word_of_foreign_agent(reply, event, request.target):
            believed = Believed(reply, (), reply.extensions, by_foreign_agent=True)
        else:
            authentication = authentication_of(reply, association_of(self._node.settings, request.target))
            if authentication is None:
                return [Count("reply_unauthenticated")]  # RFC 5944 3.6.2.1: silent
            covered = tuple(extension for extension in reply.extensions if extension.start < authentication.start)
            trailing = tuple(extension for extension in reply.extensions if extension.start > authentication.start)
            believed = Believed(reply, covered, trailing)
        self._take_challenge(believed, request)
        return Answer(believed, request)

    def _is_for_us(self, reply: RegistrationReply) -> bool:
        """By home address, or by NAI where the reply may bring one (RFC 2794 3)."""
        if self._node.home_address is not None:
            return reply.home_address == self._node.home_address
        nai = find(reply.extensions, ExtensionType.NAI)
        return nai is None or nai.data == self._node.settings.nai

    def _agent_vouches(self, reply: RegistrationReply, target: Target) -> bool:
        """RFC 5944 3.6.2.1: exactly one right MN-FA authentication where we share a key with the agent."""
        association = self._node.settings.agent_associations.get(target.destination) if target.is_by_agent else None
        if association is None:
            return True
        return authentication_of(reply, association, ExtensionType.MN_FA_AUTHENTICATION) is not None

    def _take_challenge(self, believed: Believed, request: Outstanding) -> None:
        """The agent's next one; what only repeats ours is the home agent's echo."""
        challenge = believed.challenge() if request.target.is_by_agent else None
        if challenge not in (None, request.ask.challenge):
            self._node.discovery.challenge = challenge


def _understood(settings: MobileNodeSettings) -> frozenset[int]:
    return frozenset(
        {
            int(ExtensionType.MN_HA_AUTHENTICATION),
            int(ExtensionType.MN_FA_AUTHENTICATION),
            int(ExtensionType.UDP_TUNNEL_REPLY),
            int(ExtensionType.FA_ERROR),
            settings.home_agent_parameter.type,
        }
    )
