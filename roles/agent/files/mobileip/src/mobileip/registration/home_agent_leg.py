"""The proxy as a node: its requests to home agents (draft 2.2.1 to 2.2.3, 2.7.1)."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import cycle

from mobileip.registration.actions import Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.registration.extension_policy import ExtensionPolicy
from mobileip.registration.pending import PendingRequest
from mobileip.registration.proxy_settings import DecapsulatesBit, DeregisterAll, ProxySettings
from mobileip.registration.security import AuthenticReply, AuthenticRequest
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import REGISTRATION_PORT, Flag, RegistrationRequest

_RESERVED = 0x05
"""r and x (RFC 5944 3.3), the "rsv" bits of the draft as far as they still are (AMB-3)."""


class HomeAgentLeg:
    """Makes the requests; each leaves from the next source port, by which an ICMP error about it is known."""

    def __init__(self, settings: ProxySettings, policy: ExtensionPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._sources = cycle([Endpoint(settings.private_address, port) for port in settings.source_ports])

    def request(
        self,
        request: AuthenticRequest,
        home_agent: IPv4Address,
        lifetime: int,
        association: SecurityAssociation,
        ours: tuple[Extension, ...] = (),
    ) -> Send:
        """A new request on behalf of the node (D-2.2-b), for `lifetime` seconds, with `ours` besides its extensions."""
        message = request.message
        care_of_address = self._settings.private_address  # D-2.2.2-e
        if message.deregisters_all and self._settings.deregister_all_care_of_address is DeregisterAll.HOME_ADDRESS:
            care_of_address = message.home_address  # AMB-11
        return self._send(
            RegistrationRequest(
                flags=self._flags(message),
                lifetime=lifetime,
                home_address=message.home_address,  # D-2.2.2-c
                home_agent=home_agent,  # D-2.2.2-d
                care_of_address=care_of_address,
                identification=message.identification,  # D-2.2.2-b
                extensions=self._policy.relayed(request.covered) + ours,  # D-2.2.3-a
            ),
            association,
        )

    def deregistration(self, reply: AuthenticReply, pending: PendingRequest, association: SecurityAssociation) -> Send:
        """Take back what the home agent has just accepted and we cannot serve (AMB-1, only where configured).

        Its Identification is the next one: newer for the home agent, while the node's next one is newer still.
        """
        message = pending.request.message
        home_address = reply.message.home_address
        nai = [extension for extension in pending.request.covered if extension.type == ExtensionType.NAI]
        return self._send(
            RegistrationRequest(
                flags=self._flags(message),
                lifetime=0,
                home_address=message.home_address if home_address.is_unspecified else home_address,
                home_agent=pending.home_agent,
                care_of_address=self._settings.private_address,
                identification=(message.identification + 1) % (1 << 64),
                extensions=tuple(Extension(one.type, one.data) for one in nai),
            ),
            association,
        )

    def _send(self, request: RegistrationRequest, association: SecurityAssociation) -> Send:
        payload = append(request.serialize(), association)  # D-2.2.3-b
        payload = self._settings.replies.sign(payload, request.home_agent, request.lifetime)
        return Send(payload, self.next_source(), Endpoint(request.home_agent, REGISTRATION_PORT))

    def next_source(self) -> Endpoint:
        """Where the next request leaves from: MIPP-Priv (D-2.7.1-a), each port in turn."""
        return next(self._sources)

    def _flags(self, message: RegistrationRequest) -> int:
        """D-2.2.1: B as the node says, T as we deliver, never S. D never with B, so that broadcasts come nested."""
        settings = self._settings
        flags = Flag.REVERSE_TUNNEL if settings.reverse_tunnel else 0
        if message.broadcast and settings.broadcast:
            flags |= Flag.BROADCAST
        elif settings.decapsulates is DecapsulatesBit.UNLESS_BROADCAST:
            flags |= Flag.DECAPSULATES
        if settings.copy_encapsulation:
            flags |= message.flags & (Flag.MINIMAL | Flag.GRE)
        elif settings.home_agent_encapsulation is Encapsulation.GRE:
            flags |= Flag.GRE
        elif settings.home_agent_encapsulation is Encapsulation.MINIMAL:
            flags |= Flag.MINIMAL
        if settings.copy_reserved_bits:
            flags |= message.flags & _RESERVED
        return flags
