"""What a party brings to the daemon: its machine, its sockets, and how its kind of action is performed.

An action that a party does not know is an error of ours, not of a peer: it is refused aloud.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any, NoReturn, Protocol

from mobileip.forwarding.tables import Tables
from mobileip.registration.actions import (
    Action,
    Advertise,
    AnnounceHome,
    Bind,
    ClaimHome,
    NodePath,
    Record,
    ReleaseHome,
    Send,
    SetLocation,
    Solicit,
    UnbindVisitor,
)
from mobileip.registration.bindings import Binding, BindingKey, Visitor
from mobileip.registration.events import DatagramReceived, Endpoint, Event, RevokeRequested, UnreachableReceived
from mobileip.runtime.control import Command, ControlError
from mobileip.runtime.interfaces import name_of
from mobileip.runtime.slowpath import SlowPath
from mobileip.runtime.sockets import Arrival, DatagramSocket
from mobileip.wire.errors import Malformed
from mobileip.wire.messages import REGISTRATION_PORT
from mobileip.wire.unreachable import parse_unreachable

_ANY = IPv4Address("0.0.0.0")

Inbox = Callable[[Event], None]
"""Where a party puts what happened."""


class Machine(Protocol):
    """The surface that all four state machines have."""

    def feed(self, event: Event, now: float) -> list[Action]: ...

    def next_deadline(self) -> float | None: ...

    def handle_timer(self, now: float) -> list[Action]: ...


class Party:
    """Base of the four parties. `sockets`: by local address; 0.0.0.0 takes what no other address does.

    They are those of port 434; `source_ports` are others that requests leave from. `orders`, made by `open`, are what
    an operator may tell this party.

    `counters` are the daemon's, where a party counts what it drops before the machine sees it.
    """

    role = "party"
    durable = False
    """Whether this party keeps bindings in the store."""

    machine: Machine

    def __init__(self, tables: Tables | None = None) -> None:
        self._counted = tables
        self.sockets: dict[IPv4Address, DatagramSocket] = {}
        self.source_ports: dict[Endpoint, DatagramSocket] = {}
        self.counters: Counter[str] = Counter()
        self.orders: dict[str, Command] = {}
        self.slow_path: SlowPath | None = None

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        """Make tables and sockets ready and watch them. Raises OSError or `forwarding` errors with what to do."""
        raise NotImplementedError

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of sockets and watchers. The kernel's tables stay as they are: packets keep flowing."""
        for socket in (*self.sockets.values(), *self.source_ports.values()):
            socket.close(loop)
        if self.slow_path is not None:
            self.slow_path.close(loop)

    def socket_from(self, source: Endpoint) -> DatagramSocket:
        """The socket that sends from `source`. Raises LookupError if there is none."""
        found = self.source_ports.get(source) or self.sockets.get(source.address) or self.sockets.get(_ANY)
        if found is None:
            raise LookupError(f"no socket has the address {source}")
        return found

    async def finish(self) -> None:
        """Await whatever this party started."""

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        """Give the machine what outlived the process, and make the kernel's tables equal to it."""
        return []

    def fill_tables(self, records: Iterable[Record], now: float) -> int:
        """Write into empty tables what packets need, as a start does, but without opening a socket; how many bindings.

        Parties whose bindings do not outlive their process have nothing to write.
        """
        return 0

    def resync(self) -> None:
        """Make the kernel's tables equal to the machine once more. Raises OSError."""

    def commands(self) -> Mapping[str, Command]:
        """What `mobileip show` may ask of this party."""
        return {}

    def interface_for(self, action: Send) -> str | None:
        """The interface of a datagram whose action names none; None: as the routes say."""
        return None

    def kernel_drops(self) -> Mapping[str, int]:
        """Packets that the data path has dropped, by reason."""
        return {} if self._counted is None else self._counted.counters().drops

    def kernel_counters(self) -> Mapping[str, object]:
        """Counters of the data path."""
        if self._counted is None:
            return {}
        counters = self._counted.counters()
        interfaces = {
            name_of(index): {way: list(getattr(traffic, way)) for way in traffic._fields}
            for index, traffic in self._counted.interfaces().items()
        }
        return {"packets": counters.packets, "bytes": counters.bytes, "interfaces": interfaces}

    def count(self, what: str) -> None:
        """One more of what `show counters` has under this name."""
        self.counters[what] += 1

    def path_mtus(self) -> Mapping[str, int]:
        """What routers have said of the paths to tunnels' ends: bytes, by the end's address."""
        return {} if self.slow_path is None else {str(end): path.mtu for end, path in self.slow_path.path_mtus}

    def describe(self) -> Mapping[str, Any]:
        """What `show status` says besides what the daemon knows."""
        return {}

    # Actions; each party overrides those that its machine returns.

    def bind(self, action: Bind) -> None:
        self._refuse("Bind")

    def bind_many(self, actions: Iterable[Bind]) -> None:
        """The bindings of a burst, in order. What this raises may have left any of them undone."""
        for action in actions:
            self.bind(action)

    def unbind(self, key: BindingKey) -> None:
        self._refuse("Unbind")

    def claim_home(self, action: ClaimHome) -> None:
        self._refuse("ClaimHome")

    def release_home(self, action: ReleaseHome) -> None:
        self._refuse("ReleaseHome")

    def bind_visitor(self, visitor: Visitor) -> None:
        self._refuse("BindVisitor")

    def unbind_visitor(self, action: UnbindVisitor) -> None:
        self._refuse("UnbindVisitor")

    def advertise(self, action: Advertise) -> None:
        self._refuse("Advertise")

    def solicit(self, action: Solicit) -> None:
        self._refuse("Solicit")

    def set_path(self, path: NodePath) -> None:
        self._refuse("SetPath")

    def set_location(self, action: SetLocation) -> None:
        self._refuse("SetLocation")

    def establish_sa(self, anew: bool) -> None:
        self._refuse("EstablishSecurityAssociation")

    def park_sa(self) -> None:
        self._refuse("ParkSecurityAssociation")

    def unpark_sa(self) -> None:
        self._refuse("UnparkSecurityAssociation")

    def assume_home_address(self, home_address: IPv4Address) -> None:
        self._refuse("AssumeHomeAddress")

    def announce_home(self, action: AnnounceHome) -> None:
        self._refuse("AnnounceHome")

    def _refuse(self, action: str) -> NoReturn:
        raise NotImplementedError(f"a {self.role} has no way to perform {action}")


def revoke_command(inbox: Inbox, bindings: Callable[[], Iterable[Binding]]) -> Command:
    """`mobileip revoke`: ends all bindings of a home address and tells whoever registered them (RFC 3543)."""

    def revoke(request: Mapping[str, Any]) -> Any:
        try:
            home_address = IPv4Address(request["home_address"])
        except (KeyError, ValueError):
            raise ControlError("revoke: name the home address, such as 192.0.2.69") from None
        bound = [binding for binding in bindings() if binding.home_address == home_address]
        if not bound:
            raise ControlError(f"{home_address} has no binding here; mobileip show bindings lists those there are")
        inbox(RevokeRequested(home_address))
        return {"revoked": len(bound), "told": sum(binding.node_revocation is not None for binding in bound)}

    return revoke


def put_datagram(inbox: Inbox, arrival: Arrival, port: int = REGISTRATION_PORT) -> None:
    """A datagram to our `port` as the event that the machines know."""
    inbox(
        DatagramReceived(
            payload=arrival.payload,
            source=Endpoint(arrival.source, arrival.source_port),
            destination=Endpoint(arrival.destination, port),
            interface=arrival.interface,
            ttl=arrival.ttl,
        )
    )


def put_unreachable(inbox: Inbox, counters: Counter[str], arrival: Arrival) -> None:
    """An ICMP destination unreachable as the event that the machines know.

    Taken from a raw socket: the error queue of a UDP socket (IP_RECVERR) lacks the quoted UDP header, whose checksum is
    all that tells datagrams apart where a router quotes no more.
    """
    try:
        error = parse_unreachable(arrival.payload)
    except Malformed:
        counters["malformed_unreachable"] += 1
        return
    if error is not None:
        inbox(UnreachableReceived(error, arrival.source, arrival.interface))
