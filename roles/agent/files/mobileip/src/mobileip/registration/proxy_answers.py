"""What the proxy tells nodes, in denials of its own and in replies that it passes on (draft 2.3.1, 2.4, 2.7.2).

All of them come from MIPP-Pub, to where the request came from, under the key that proxy and node share.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, Send
from mobileip.registration.assignment import Assignment, AssignmentRule, parameter_extension
from mobileip.registration.extension_policy import ExtensionPolicy
from mobileip.registration.gate import Admitted, Gate
from mobileip.registration.nat import Denied
from mobileip.registration.pending import PendingRequest
from mobileip.registration.proxy_settings import ProxySettings, WhichReplies
from mobileip.registration.security import AuthenticReply, AuthenticRequest
from mobileip.wire.codes import Code
from mobileip.wire.extensions import Extension, serialize_extensions
from mobileip.wire.typed_extensions import MessageString
from mobileip.wire.unreachable import Unreachable


class ParameterInReplies:
    """AMB-7: our HA Parameter extension, in replies to nodes that sent one unless otherwise configured."""

    def __init__(self, settings: ProxySettings, assignment: AssignmentRule) -> None:
        self._which = settings.parameter_in_reply
        self._ours = settings.home_agent_parameter[0]
        self._assignment = assignment

    def of(self, assignment: Assignment, code: int) -> tuple[Extension, ...]:
        """The extension for a reply with this code, if one is due: the home agent, in the form received."""
        form = assignment.parameter
        if self._which is WhichReplies.ALWAYS:
            form = form or self._ours
        elif self._which is WhichReplies.ON_206 and code != Code.ASSIGNED_HOME_AGENT:
            form = None
        return parameter_extension(assignment.home_agent, form)

    def of_nobody(self, request: AuthenticRequest, code: int = 0) -> tuple[Extension, ...]:
        """The same where there is no home agent, or none was looked for: 0.0.0.0."""
        return self.of(Assignment(IPv4Address(0), self._assignment.asked_in(request.covered)), code)


class ProxyAnswers:
    """Makes the replies."""

    def __init__(
        self, settings: ProxySettings, gate: Gate, parameters: ParameterInReplies, policy: ExtensionPolicy
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._parameters = parameters
        self._policy = policy

    def deny(
        self,
        admitted: Admitted,
        denied: Denied,
        assignment: Assignment | Denied,
        now: float,
        extensions: tuple[Extension, ...] = (),
    ) -> list[Action]:
        """A request that the proxy itself denies."""
        if isinstance(assignment, Denied):
            parameter = self._parameters.of_nobody(admitted.request, denied.code)
        else:
            parameter = self._parameters.of(assignment, denied.code)
        return self._gate.deny(
            admitted.request,
            admitted.received,
            self._settings.code_profile.code(denied.code),
            now,
            denied.reason,
            extensions=parameter + extensions,
            rationed=not admitted.fresh,
        )

    def fail(self, reply: AuthenticReply, pending: PendingRequest, failure: Denied, now: float) -> list[Action]:
        """A request that the home agent accepted and we cannot serve."""
        return self._gate.deny(
            replace(pending.request, reply_identification=reply.message.identification),
            pending.received,
            self._settings.code_profile.code(failure.code),
            now,
            failure.reason,
            extensions=self._parameters.of(pending.assignment, failure.code),
        )

    def unreachable(self, pending: PendingRequest, error: Unreachable, now: float) -> list[Action]:
        """D-2.6.7-a: why the home agent has not answered."""
        return self._gate.deny(
            pending.request,
            pending.received,
            self._settings.code_profile.unreachable(error.code),
            now,
            f"home agent {pending.home_agent}: {error.describe()}",
            extensions=self._parameters.of(pending.assignment, Code.HOME_AGENT_UNREACHABLE),
        )

    def hint(self, pending: PendingRequest, code: int, reason: str) -> Send:
        """A home agent's denial that nobody vouches for, in our own words."""
        extensions = (*self._parameters.of(pending.assignment, code), MessageString(reason).extension())
        return self._gate.answer(pending.request, pending.received, code, lifetime=0, extensions=extensions)

    def relay(
        self, reply: AuthenticReply, pending: PendingRequest, lifetime: int, ours: tuple[Extension, ...] = ()
    ) -> Send:
        """The reply as the node gets it (D-2.3.1): same code and Identification, with `ours` besides its extensions."""
        request, message = pending.request.message, reply.message
        code = message.code
        if message.accepted and request.simultaneous:  # AMB-9: what the home agent can do is not what we can do
            code = Code.ACCEPTED if self._settings.simultaneous else Code.ACCEPTED_NO_SIMULTANEOUS
        extensions = self._policy.relayed(reply.covered)  # D-2.3.1-h
        extensions += self._of_reply(pending, code, ours, accepted=self._settings.replies.accepts(message))
        return self._gate.answer(
            _with_home_address(pending.request, message.home_address),  # D-2.3.1-e
            pending.received,
            code,
            lifetime=lifetime,
            extensions=extensions,
            identification=message.identification,
        )

    def of_acceptance(self, pending: PendingRequest) -> bytes:
        """The extensions of the reply to this request if the home agent just accepts it, and says nothing more."""
        return serialize_extensions(self._of_reply(pending, Code.ACCEPTED, (), accepted=True))

    def _of_reply(
        self, pending: PendingRequest, code: int, ours: tuple[Extension, ...], *, accepted: bool
    ) -> tuple[Extension, ...]:
        extensions = self._parameters.of(pending.assignment, code) + ours
        if accepted and pending.tunnel is not None and pending.tunnel.answer is not None:
            extensions += (pending.tunnel.answer.extension(),)
        return extensions


def _with_home_address(request: AuthenticRequest, home_address: IPv4Address) -> AuthenticRequest:
    """The request as if the node had known the home address that it was assigned."""
    if request.message.home_address == home_address:
        return request
    return replace(request, message=replace(request.message, home_address=home_address))
