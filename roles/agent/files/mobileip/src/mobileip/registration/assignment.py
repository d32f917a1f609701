"""Which home agent serves a node (draft 2.2.4, 2.5.3, 2.6.1, 2.6.4).

The node names it in its HA Parameter extension, and the configuration allows it. Without a valid extension it is the
one known for the node: configured for it, of its present binding, or the default. The value 0 asks for one to be
assigned from a pool (D-2.6.4-a); the node must say its NAI then. A node stays with its home agent as long as it has a
binding or one is on its way, and the choice follows from the NAI alone: the same node gets the same home agent again
after a restart or from another proxy with the same pool, and most do when the pool changes (rendezvous hashing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.nat import Denied
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.address import Prefixes
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension
from mobileip.wire.record import record
from mobileip.wire.typed_extensions import HomeAgentParameter, HomeAgentParameterFormat


@record(frozen=True, slots=True)
class Assignment:
    """The home agent, and the format in which the node spoke of it (None: it did not)."""

    home_agent: IPv4Address
    parameter: HomeAgentParameterFormat | None


@dataclass(frozen=True, slots=True)
class AssignmentRule:
    """The allow-list of home agents with their home networks, and the accepted forms of the HA Parameter extension.

    `pool` are those of them that may be assigned, `default` the one for nodes of which nothing better is known.
    """

    home_agents: Mapping[IPv4Address, tuple[IPv4Network, ...]]
    formats: tuple[HomeAgentParameterFormat, ...]
    pool: tuple[IPv4Address, ...] = ()
    default: IPv4Address | None = None
    _prefixes: Mapping[IPv4Address, Prefixes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        prefixes = {home_agent: Prefixes(networks) for home_agent, networks in self.home_agents.items()}
        object.__setattr__(self, "_prefixes", prefixes)

    @property
    def types(self) -> frozenset[int]:
        """Extension types that may be an HA Parameter here."""
        return frozenset(form.type for form in self.formats)

    def form_of(self, extension: Extension) -> HomeAgentParameterFormat | None:
        """The format in which this extension is an HA Parameter, valid or not; None if it is something else."""
        for form in self.formats:
            if extension.type == form.type and form.is_of(extension):
                return form
        return None

    def asked_in(self, extensions: Iterable[Extension]) -> HomeAgentParameterFormat | None:
        """The format of the first HA Parameter extension, also of one that is not valid."""
        return next((form for extension in extensions if (form := self.form_of(extension)) is not None), None)

    def is_named(self, home_agent: IPv4Address, extensions: Iterable[Extension]) -> bool:
        """Does the first HA Parameter extension, a valid one, name this home agent?"""
        for extension in extensions:
            form = self.form_of(extension)
            if form is not None:
                try:
                    return HomeAgentParameter.of(extension, form).address == home_agent
                except Malformed:
                    return False
        return False

    def serves(self, home_agent: IPv4Address, home_address: IPv4Address) -> bool:
        """May this home agent serve this home address? Any one that is allowed, where the address is yet to come."""
        prefixes = self._prefixes.get(home_agent)
        if prefixes is None:
            return False
        return home_address in prefixes or home_address.is_unspecified

    def assign(
        self, request: AuthenticRequest, known: Iterable[IPv4Address], nai: str | None = None
    ) -> Assignment | Denied:
        """Choose the home agent. `known`: those to fall back on without a valid extension, the best first.

        A second extension is 134; one of another length or sub-type is "not valid", as if there were none (AMB-5).
        """
        extensions, home_address = request.covered, request.message.home_address
        asked: HomeAgentParameterFormat | None = None
        named: HomeAgentParameter | None = None
        for extension in extensions:
            form = self.form_of(extension)
            if form is None:
                continue
            if asked is not None:
                return Denied(Code.POORLY_FORMED_REQUEST, "a second HA Parameter extension")
            asked = form
            try:
                named = HomeAgentParameter.of(extension, form)
            except Malformed:
                named = None
        if named is not None and not named.address.is_unspecified:
            if not self.serves(named.address, home_address):
                reason = f"home agent {named.address} does not serve {home_address} here"
                return Denied(Code.UNKNOWN_HOME_AGENT, reason)
            return Assignment(named.address, named.format)
        if named is not None and nai is None:
            return Denied(Code.NONZERO_HOME_AGENT_PARAMETER_REQUIRED, "a home agent is assigned to nodes with a NAI")
        for home_agent in known:
            if self.serves(home_agent, home_address):
                return Assignment(home_agent, asked)
        if named is not None and nai is not None:
            return self._from_pool(named.format, home_address, nai)
        if self.default is not None and self.serves(self.default, home_address):
            return Assignment(self.default, asked)
        return Denied(Code.MISSING_HOME_AGENT_PARAMETER, "no HA Parameter extension and no home agent known")

    def _from_pool(self, form: HomeAgentParameterFormat, home_address: IPv4Address, nai: str) -> Assignment | Denied:
        candidates = [home_agent for home_agent in self.pool if self.serves(home_agent, home_address)]
        if not candidates:
            return Denied(Code.NONZERO_HOME_AGENT_PARAMETER_REQUIRED, "no home agent to assign")
        name = nai.encode()
        return Assignment(max(candidates, key=lambda one: hashlib.sha256(one.packed + name).digest()), form)


def parameter_extension(address: IPv4Address, form: HomeAgentParameterFormat | None) -> tuple[Extension, ...]:
    """The HA Parameter extension for a reply, in the form received; none for a node that sent none (AMB-7)."""
    return () if form is None else (HomeAgentParameter(address, form).extension(),)
