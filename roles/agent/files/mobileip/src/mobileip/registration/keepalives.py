"""Keepalives of a UDP tunnel (RFC 3519 4.9 and 4.10): echo requests to its other end, which hold the NAT's mapping."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.registration.actions import NodePath, Send
from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Endpoint, TunnelProbeAnswered
from mobileip.wire.encapsulation import keepalive
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.typed_extensions import UdpTunnelReply

DEFAULT_KEEPALIVE = 110  # seconds (RFC 3519 3.2)
LEAST_KEEPALIVE = 10  # seconds (RFC 3519 4.10)
PROBE_TIMEOUT = 2.0  # seconds until an unanswered keepalive is repeated
MOST_PROBES_LOST = 3  # in a row, before the node registers again (RFC 3519 4.9)


def interval_of(tunnel: UdpTunnelReply, default: int = DEFAULT_KEEPALIVE) -> int:
    """Seconds between two keepalives: what the reply says, or the default; never less than 10 (RFC 3519 4.10)."""
    return max(tunnel.keepalive or default, LEAST_KEEPALIVE)


class Keepalives:
    """A mobile node's: which one is out, and how many in a row were not answered."""

    def __init__(self, home_address: IPv4Address, gre_key: int | None = None) -> None:
        self._home_address = home_address
        self._gre_key = gre_key
        self._identifier = int(home_address) & 0xFFFF
        self._sequence = 0
        self._unanswered = 0
        self._most_lost = MOST_PROBES_LOST

    @property
    def is_tunnel_lost(self) -> bool:
        """So many were not answered that the tunnel is taken to be gone (RFC 3519 4.9)."""
        return self._unanswered >= self._most_lost

    @property
    def is_waiting(self) -> bool:
        """Whether one is out that nobody has answered."""
        return self._unanswered > 0

    def start(self) -> None:
        """A registration has just shown that the tunnel is there."""
        self._unanswered, self._most_lost = 0, MOST_PROBES_LOST

    def suspect(self) -> None:
        """Packets have gone unanswered already: the next one decides."""
        self._most_lost = 1

    def next(self, path: NodePath) -> Send:
        """The next one through the tunnel of `path`; it counts as lost until its answer comes."""
        assert path.peer is not None
        assert path.local is not None
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._unanswered += 1
        return Send(
            keepalive(
                self._home_address,
                path.peer,
                self._identifier,
                self._sequence,
                Encapsulation.UDP.next_header if path.encapsulation is None else path.encapsulation.next_header,
                self._gre_key,
            ),
            source=Endpoint(path.local, REGISTRATION_PORT),
            destination=Endpoint(path.peer, REGISTRATION_PORT),
        )

    def is_answer(self, event: TunnelProbeAnswered) -> bool:
        """Whether this answers the one that is out; then none is lost any more."""
        if not self._unanswered or (event.identifier, event.sequence) != (self._identifier, self._sequence):
            return False
        self.start()
        return True
