"""Registrations that differ from an earlier one by node, place and Identification only: decided as that one was.

Most of what becomes of a request follows from its form (see `wire.exchange`: flags, lifetime, home agent, extensions,
SPI) and the configuration: whether it is understood and well-formed, which home agent and tunnel it gets, what is
relayed of it, what the answer carries. For each form that is decided once, by the gate and the surrogates, and noted
here together with the request that came of it. What depends on the node, the place and the time is asked of the same
parts each time, and nothing changes before all have agreed; the authenticators are made and checked each time.

Whatever is not as it was then (another node's address, a wrong authenticator, an old Identification, a request that
still waits, a NAT, a denial) is none of this: the answer is None, nothing has been touched, and the rules in full
decide. A test feeds both with the same events and compares what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mobileip.registration.actions import Action, Count, Send
from mobileip.registration.admission import Admission
from mobileip.registration.agent_revocation import ProxyRevocation
from mobileip.registration.assignment import Assignment, AssignmentRule
from mobileip.registration.bindings import NodeKey, expiry
from mobileip.registration.events import DatagramReceived, Endpoint
from mobileip.registration.extension_policy import ExtensionPolicy
from mobileip.registration.gate import Admitted
from mobileip.registration.home_agent_leg import HomeAgentLeg
from mobileip.registration.lifetimes import jittered
from mobileip.registration.location import Location, LocationRule
from mobileip.registration.nat import Denied, Tunnel
from mobileip.registration.peers import Peers
from mobileip.registration.pending import PendingList, PendingRequest
from mobileip.registration.proxy_answers import ProxyAnswers
from mobileip.registration.proxy_settings import ProxyNode, ProxySettings
from mobileip.registration.replay import Freshness, ReplayGuard
from mobileip.registration.security import AuthenticRequest
from mobileip.registration.sessions import Sessions
from mobileip.registration.surrogate_node import SurrogateNode
from mobileip.wire.address import number
from mobileip.wire.authentication import ReplayStyle, SecurityAssociation
from mobileip.wire.exchange import (
    is_plain,
    is_signed,
    make_reply,
    make_request,
    split_reply,
    split_request,
)
from mobileip.wire.extensions import AUTHENTICATION_TYPES, Extension, ExtensionType, serialize_extensions
from mobileip.wire.identification import low
from mobileip.wire.messages import REGISTRATION_PORT, RegistrationRequest
from mobileip.wire.record import record
from mobileip.wire.typed_extensions import HomeAgentParameterFormat

_MOST_FORMS = 1024
"""Forms that are remembered: a deployment has a handful, and only authentic requests make one."""
_AUTHENTICATION = int(ExtensionType.MN_HA_AUTHENTICATION)
_AUTHENTICATION_DATA = 20
_RELAYED, _ANSWERED = Count("request_relayed"), Count("reply_relayed")
_NOT_PLAIN = frozenset(
    {ExtensionType.NAI, ExtensionType.CHALLENGE, ExtensionType.REVOCATION_SUPPORT, *AUTHENTICATION_TYPES}
)
"""Extensions that say something about this one node or moment, or need more than the form to be judged."""


@record(frozen=True, slots=True)
class _Form:
    """What becomes of each request of one form: the first one's fields, and those of what it was relayed as."""

    first: RegistrationRequest
    covered: tuple[Extension, ...]
    start: int
    spi: int
    tunnel: Tunnel
    lifetime: int
    parameter: HomeAgentParameterFormat | None
    relayed_flags: int
    relayed_extensions: bytes
    home_agent: Endpoint
    answered_extensions: bytes


class Renewals:
    """The forms that are known, and what is done with messages of them."""

    def __init__(
        self,
        settings: ProxySettings,
        nodes: Mapping[NodeKey, ProxyNode],
        peers: Peers,
        location: LocationRule,
        guard: ReplayGuard,
        pending: PendingList,
        sessions: Sessions,
        admission: Admission,
        assignment: AssignmentRule,
        leg: HomeAgentLeg,
        policy: ExtensionPolicy,
        revocation: ProxyRevocation,
        answers: ProxyAnswers,
        node_side: SurrogateNode,
        draw: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._nodes = nodes
        self._peers = peers
        self._location = location
        self._guard = guard
        self._pending = pending
        self._sessions = sessions
        self._admission = admission
        self._assignment = assignment
        self._leg = leg
        self._policy = policy
        self._revocation = revocation
        self._answers = answers
        self._node_side = node_side
        self._draw = draw
        self._forms: dict[bytes, _Form] = {}
        self._offer: tuple[tuple[Extension, ...], bytes] = ((), b"")
        self._public, self._private = number(settings.public_address), number(settings.private_address)

    def learn(self, relayed: PendingRequest) -> None:
        """Note what the rules made of a request, if another node's would be treated alike."""
        request, message = relayed.request, relayed.request.message
        parts = split_request(message.raw)
        if parts is None or relayed.tunnel is None or not self._is_plain(relayed):
            return
        kinds = {extension.type for extension in request.covered}
        if request.trailing or request.defect is not None or message.simultaneous or kinds & _NOT_PLAIN:
            return
        if number(relayed.received.source.address) != number(message.care_of_address):
            return
        if not self._assignment.is_named(relayed.home_agent, request.covered):
            return
        if len(self._forms) >= _MOST_FORMS:
            self._forms.clear()
        self._forms[parts[0]] = _Form(
            first=message,
            covered=request.covered,
            start=message.extensions[request.position].start,
            spi=request.association.spi,
            tunnel=relayed.tunnel,
            lifetime=relayed.lifetime,
            parameter=relayed.parameter,
            relayed_flags=relayed.sent.payload[1],
            relayed_extensions=serialize_extensions(self._policy.relayed(request.covered)),
            home_agent=Endpoint(relayed.home_agent, REGISTRATION_PORT),
            answered_extensions=self._answers.of_acceptance(relayed),
        )

    def request(self, received: DatagramReceived, now: float) -> list[Action] | None:
        """What to do about a request of a known form; None: the rules in full are to say."""
        parts = split_request(received.payload)
        form = self._forms.get(parts[0]) if parts is not None else None
        if parts is None or form is None:
            return None
        _, home_address, care_of_address, identification = parts
        source = received.source.address
        if number(source) != number(care_of_address) or number(received.destination.address) != self._public:
            return None
        if self._location.locate(source, received.interface) is not Location.OUTSIDE:
            return None
        peer = self._peers.only(home_address)
        association = None if peer is None else peer.associations.get(form.spi)
        if peer is None or association is None or not self._is_ordinary(association):
            return None
        payload, first, home_agent, key = received.payload, form.first, form.home_agent.address, peer.key
        extension = Extension(_AUTHENTICATION, payload[-_AUTHENTICATION_DATA:], None, form.start)
        message = RegistrationRequest(
            first.flags,
            first.lifetime,
            home_address,
            first.home_agent,
            care_of_address,
            identification,
            (*form.covered, extension),
            payload,
        )
        if (
            source in self._settings.checks.foreign_agents
            or not self._assignment.serves(home_agent, home_address)
            or self._pending.is_awaited(key)
            or not is_signed(payload, association)
            or self._guard.judge(key, association, identification, now) is not Freshness.FRESH
        ):
            return None
        bound = self._sessions.of_node(key)  # from this place: so it is one where a tunnel can end
        node = self._nodes[key]
        if not bound or any(binding.care_of_address != care_of_address for binding in bound):
            return None
        if not is_plain(node.home_agent_association):
            return None
        request = AuthenticRequest(message, association, len(form.covered))
        actions: list[Action] = [*self._guard.accept(key, association, identification)]
        why = self._admission.refuses(home_address, now, renews=True, adds=False)
        if why is not None:
            admitted = Admitted(request, received, peer, actions)
            denied = Denied(self._settings.cannot_service_code, why)
            return actions + self._answers.deny(admitted, denied, Assignment(home_agent, form.parameter), now)
        addresses = (home_address, home_agent, self._settings.private_address)
        send = Send(
            make_request(
                form.relayed_flags,
                form.lifetime,
                addresses,
                identification,
                form.relayed_extensions + self._offered(now),
                node.home_agent_association,
            ),
            self._leg.next_source(),
            form.home_agent,
        )
        self._pending.add(
            PendingRequest(
                request,
                received,
                key,
                home_agent,
                form.tunnel,
                form.lifetime,
                form.lifetime,
                now,
                form.parameter,
                send,
                answer=form.answered_extensions,
            )
        )
        actions += (send, _RELAYED)
        return actions

    def reply(self, received: DatagramReceived, now: float) -> list[Action] | None:
        """What to do about the plain acceptance of such a request; None: the rules in full are to say."""
        parts = split_reply(received.payload)
        settings = self._settings
        if (
            parts is None
            or number(received.destination.address) != self._private
            or received.interface != settings.private_interface
        ):
            return None
        code, lifetime, home_address, identification, spi = parts
        if code or not lifetime:
            return None
        waiting = self._pending.awaiting(received.source.address, low(identification), now)
        if len(waiting) != 1:
            return None
        pending = waiting[0]
        request, node, answer = pending.request, pending.node, pending.answer
        message = request.message
        if (
            answer is None
            or identification != message.identification
            or number(home_address) != number(message.home_address)
        ):
            return None
        association = self._nodes[node].home_agent_association
        if spi != association.spi or not is_signed(received.payload, association):
            return None
        if not self._sessions.of_node(node) or self._pending.before(pending):
            return None
        at_home_agent = min(lifetime, pending.at_home_agent)
        lifetime = jittered(min(at_home_agent, pending.lifetime), settings.lifetime_jitter, self._draw())
        binding = self._node_side.binding(home_address, pending, lifetime, expiry(at_home_agent, pending.relayed_at))
        self._revocation.taken_up(binding, now)
        actions = self._sessions.bind(node, binding, beside=False)
        self._pending.remove(pending.key)
        payload = make_reply(
            0, lifetime, (home_address, settings.public_address), identification, answer, request.association
        )
        source = Endpoint(settings.public_address, pending.received.destination.port)
        return [*actions, Send(payload, source, pending.received.source), _ANSWERED]

    def _offered(self, now: float) -> bytes:
        """Our offer of revocation to home agents, the same for all requests of a second."""
        offer = self._revocation.offer(now)
        if offer is not self._offer[0]:
            self._offer = offer, serialize_extensions(offer)
        return self._offer[1]

    def _is_plain(self, relayed: PendingRequest) -> bool:
        """Nothing about this request came from more than its form, its node's keys and the configuration."""
        settings = self._settings
        return not (
            relayed.adds
            or not relayed.fresh
            or relayed.lifetime != relayed.at_home_agent
            or relayed.home_agent in settings.replies.fa_ha
            or not self._is_ordinary(relayed.request.association)
        )

    @staticmethod
    def _is_ordinary(association: SecurityAssociation) -> bool:
        return is_plain(association) and association.replay is ReplayStyle.TIMESTAMP
