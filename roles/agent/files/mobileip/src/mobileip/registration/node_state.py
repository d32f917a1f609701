"""What a mobile node holds between two events: its state, its timers, its place, its registration.

`NodeState` is what the node's parts share: `node_link` says where the node is attached, `node_requester` whom it asks,
`node_outcomes` what the answers mean. Nothing in here decides; it only sees to it that what belongs together changes
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Address

from mobileip.registration.actions import Action, NodePath, PathMode, SetPath, UnparkSecurityAssociation
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Attached
from mobileip.registration.keepalives import Keepalives
from mobileip.registration.node_attempts import Attempts, Wishes
from mobileip.registration.node_discovery import Discovery
from mobileip.registration.node_identifications import identifications
from mobileip.registration.node_place import Location, Place
from mobileip.registration.node_requests import UNASSIGNED, MobileNodeSettings, Target, Through


class State(StrEnum):
    """Where the node is in its registration; `mobile_node` says what each means."""

    DETACHED = "detached"
    SEARCHING = "searching"
    REGISTERING = "registering"
    BOUND = "bound"
    RENEWING = "renewing"
    HOME = "home"


_MOVES: Mapping[State, frozenset[State]] = {
    State.DETACHED: frozenset({State.SEARCHING, State.REGISTERING}),
    State.SEARCHING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING}),
    State.REGISTERING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.BOUND, State.HOME}),
    State.BOUND: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.RENEWING}),
    State.RENEWING: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING, State.BOUND}),
    State.HOME: frozenset({State.DETACHED, State.SEARCHING, State.REGISTERING}),
}


class Timer(Enum):
    """What the node waits for; the order is the order in which due ones are served."""

    AGENT_GONE = 0
    EXPIRY = 1
    MONITOR = 2
    REQUEST = 3
    SOLICITATION = 4
    PROBE = 5


_OF_PLACE = (Timer.EXPIRY, Timer.MONITOR, Timer.REQUEST, Timer.SOLICITATION, Timer.PROBE)


@dataclass(frozen=True)
class Registration:
    """What the last accepted reply gave. `expires` in Unix seconds, `keepalive` in seconds, 0 without a UDP tunnel.

    `revocation` is the agent's clock, if it will tell us of a revocation (RFC 3543).
    """

    target: Target
    path: NodePath
    expires: float
    keepalive: int = 0
    simultaneous: bool = False
    revocation: int | None = None


@dataclass(frozen=True)
class NodeStatus:
    """Where the node is, through whom, since when and why, for `show location` and `show status`.

    `why` is the last event that decided the place, or the last denial while it is unknown. `home_address` and
    `home_agent` are None until they are assigned. `simultaneous`: earlier bindings live beside this one.
    `ipv6_outside_sa` warns of IPv6 beside an SA that carries IPv4 only.
    """

    state: State
    location: Location
    since: float | None
    why: str
    interface: str | None
    through: Through | None
    agent: IPv4Address | None
    home_agent: IPv4Address | None
    care_of_address: IPv4Address | None
    encapsulation: Encapsulation | None
    expires: float | None
    clock_offset: float
    last_denial: str | None
    home_address: IPv4Address | None = None
    simultaneous: bool = False
    trusted_network: bool = False
    trusted_agent: bool = False
    ipv6_outside_sa: str | None = None


class NodeState:
    """See the module. Times in Unix seconds."""

    def __init__(self, settings: MobileNodeSettings) -> None:
        self.settings = settings
        self.state = State.DETACHED
        self.place = Place()
        self.timers: dict[Timer, float] = {}
        self.attachment: Attached | None = None
        self.discovery = Discovery(settings)
        self.target: Target | None = None
        self.companion: Target | None = None
        """Asked together with the target."""
        self.undo: Target | None = None
        """What the home agent accepted and the foreign agent did not."""
        self.attempts = Attempts(settings.first_timeout, settings.longest_timeout)
        self.registration: Registration | None = None
        # Assigned ones are kept for as long as an agent takes them (D-2.6.4-c).
        self.home_address = settings.home_address
        self.home_agent = settings.home_agent
        self.identifications = identifications(settings.proxy_association.replay)
        self.wishes = self._all_wishes()
        self.keepalives = Keepalives(settings.home_address or UNASSIGNED, settings.gre_key)
        self.last_denial: str | None = None

    def enter(self, state: State) -> None:
        """Go on to `state`. Raises RuntimeError where no move leads there."""
        if state is not self.state and state not in _MOVES[self.state]:
            raise RuntimeError(f"mobile node: no way leads from {self.state} to {state}")
        self.state = state

    def move(self, why: str, now: float) -> list[Action]:
        """Forget the link, and with it the place."""
        self.discovery.forget()
        self.timers.pop(Timer.AGENT_GONE, None)
        self.attempts.forget_link()
        self.wishes = self._all_wishes()
        self.place.moved()
        return self.forget_place(why, now)

    def forget_place(self, why: str, now: float, unheard_since: float | None = None) -> list[Action]:
        """Nothing leaves in clear from here on, whatever the next steps find."""
        for timer in _OF_PLACE:
            self.timers.pop(timer, None)
        self.target = None
        self.companion = None
        self.undo = None
        self.attempts.forget()
        if self.place.location is not Location.UNKNOWN:
            self.place.lose_sa(now if unheard_since is None else unheard_since)
        self.registration = None
        self.place.enter(Location.UNKNOWN, why, now)
        return [self.block(), UnparkSecurityAssociation()]

    def block(self) -> SetPath:
        """Nothing leaves in clear, while the foreign agent that we ask, if it is one, can be heard."""
        agent = self.discovery.agent
        if agent is None or (self.attachment is not None and self.attachment.address is not None):
            return SetPath(NodePath(PathMode.BLOCKED))
        return SetPath(NodePath(PathMode.BLOCKED, agent.interface, gateway=agent.agent))

    def assume_home_address(self, home_address: IPv4Address) -> None:
        """RFC 2794 3: what was zero in the request is ours from here on."""
        self.home_address = home_address
        self.keepalives = Keepalives(home_address, self.settings.gre_key)

    def give_back_assigned(self) -> None:
        """What was assigned is not ours any more; what is configured stays."""
        self.home_address, self.home_agent = self.settings.home_address, self.settings.home_agent

    def status(self) -> NodeStatus:
        """Where the node is, through whom, since when and why."""
        target = self.target
        registration = self.registration
        return NodeStatus(
            state=self.state,
            location=self.place.location,
            since=self.place.since,
            why=self.place.why,
            interface=self.attachment.interface if self.attachment else None,
            through=target.through if target else None,
            agent=target.destination if target else None,
            home_agent=self.home_agent,
            care_of_address=target.care_of_address if target else None,
            encapsulation=registration.path.encapsulation if registration else None,
            expires=registration.expires if registration else None,
            clock_offset=self.identifications.clock_offset,
            last_denial=self.last_denial,
            home_address=self.home_address,
            simultaneous=registration.simultaneous if registration else False,
            trusted_network=self.place.is_trusted_network,
            trusted_agent=self.discovery.is_trusted,
        )

    def _all_wishes(self) -> Wishes:
        settings = self.settings
        return Wishes(settings.lifetime, settings.simultaneous, settings.preferred_encapsulation())
