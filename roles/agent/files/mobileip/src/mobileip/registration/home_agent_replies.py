"""What the proxy believes of home agents as they are, and what it lends its own word to.

A reply must be authentic (draft 2.1, RFC 5944 3.6.2.1): exactly one MN-HA authentication, and where FA-HA
authentication was agreed on with the home agent, exactly one of those as well, except about deregistrations. Some
home agents authenticate none of their denials but 133. Such a denial may be passed on as a hint, in our own words and
under our own key; it ends nothing, and the request goes on waiting for a reply that counts.

Codes 2 to 8 say "accepted" in ways that no document we follow explains: passed on, but nothing is bound on their
strength unless so configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mobileip.registration.security import (
    AuthenticationFailure,
    AuthenticReply,
    associations_of,
    authenticate_reply,
    verify_extension,
)
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.codes import LAST_ACCEPTANCE, Code
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.messages import RegistrationReply

_FIRST_VERDICT, _LAST_VERDICT = 128, 192  # codes that a home agent gives (RFC 5944 6.4)


@dataclass(frozen=True, slots=True)
class HomeAgentReplies:
    """What was agreed on with home agents, and what a user lets them say.

    `fa_ha`: those that see a foreign agent in us and want FA-HA authentication (draft 1.4, AMB-4).
    `relay_unauthenticated_denials`: as hints. `bind_other_acceptances`: codes 2 to 8 count like 0.
    """

    fa_ha: Mapping[IPv4Address, SecurityAssociation] = field(default_factory=dict)
    relay_unauthenticated_denials: bool = False
    bind_other_acceptances: bool = False

    def sign(self, payload: bytes, home_agent: IPv4Address, lifetime: int) -> bytes:
        """Our request with the FA-HA authentication that is due: none on deregistrations (RFC 5944 3.5.4)."""
        association = self.fa_ha.get(home_agent)
        if association is None or lifetime == 0:
            return payload
        return append(payload, association, ExtensionType.FA_HA_AUTHENTICATION)

    def authenticate(
        self, reply: RegistrationReply, association: SecurityAssociation, home_agent: IPv4Address, lifetime: int
    ) -> AuthenticReply | AuthenticationFailure:
        """The reply of `home_agent` to our request for `lifetime`, if it is authentic.

        The FA-HA association is that of the reply's Home Agent field (RFC 5944 3.5.4).
        """
        checked = authenticate_reply(reply, associations_of(association))
        if isinstance(checked, AuthenticationFailure):
            return checked
        kind = ExtensionType.FA_HA_AUTHENTICATION
        given = find(reply.extensions, kind) is not None
        if given and reply.home_agent not in self.fa_ha:
            return AuthenticationFailure.NOT_AGREED
        if given or (home_agent in self.fa_ha and lifetime > 0):
            failure = verify_extension(
                reply.raw, reply.extensions, associations_of(self.fa_ha.get(reply.home_agent)), kind
            )
            if failure is not None:
                return failure
        return checked

    def accepts(self, reply: RegistrationReply) -> bool:
        """Does a binding follow from the reply?"""
        return reply.accepted or (self.bind_other_acceptances and is_other_acceptance(reply.code))

    def is_hint(self, reply: RegistrationReply, failure: AuthenticationFailure) -> bool:
        """May the node be told of this unauthenticated denial?

        Not of 133, by which it would set its clock; nor of one that carries an authenticator, a wrong one.
        """
        return (
            self.relay_unauthenticated_denials
            and failure is AuthenticationFailure.NO_EXTENSION
            and _FIRST_VERDICT <= reply.code <= _LAST_VERDICT
            and reply.code != Code.IDENTIFICATION_MISMATCH
        )


def is_other_acceptance(code: int) -> bool:
    """2 to 8: success of a flavour that we do not know."""
    return Code.ACCEPTED_NO_SIMULTANEOUS < code <= LAST_ACCEPTANCE
