"""Which home agent serves a node (draft 2.2.4, 2.5.3, 2.6.1): the node names it, the configuration allows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mobileip.registration.nat import Denied
from mobileip.registration.security import AuthenticRequest
from mobileip.wire.codes import Code
from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension
from mobileip.wire.typed_extensions import HomeAgentParameter, HomeAgentParameterFormat, find_home_agent_parameter


@dataclass(frozen=True, slots=True)
class Assignment:
    """The home agent, and the format in which the node spoke of it (None: it did not)."""

    home_agent: IPv4Address
    parameter: HomeAgentParameterFormat | None


@dataclass(frozen=True, slots=True)
class AssignmentRule:
    """The allow-list of home agents with their home networks, and the accepted forms of the HA Parameter extension."""

    home_agents: Mapping[IPv4Address, tuple[IPv4Network, ...]]
    formats: tuple[HomeAgentParameterFormat, ...]

    @property
    def types(self) -> frozenset[int]:
        """Extension types that are an HA Parameter here."""
        return frozenset(form.type for form in self.formats)

    def asked_in(self, extensions: Iterable[Extension]) -> HomeAgentParameterFormat | None:
        """The format of the first HA Parameter extension, also of one that is not valid."""
        by_type = {form.type: form for form in self.formats}
        for extension in extensions:
            if extension.type in by_type:
                return by_type[extension.type]
        return None

    def assign(self, request: AuthenticRequest, known: Iterable[IPv4Address]) -> Assignment | Denied:
        """Choose the home agent. `known`: those to fall back on without a valid extension, the best first.

        A second extension is 134; one of another length or sub-type is "not valid", as if there were none (AMB-5).
        """
        extensions = request.covered
        if sum(extension.type in self.types for extension in extensions) > 1:
            return Denied(Code.POORLY_FORMED_REQUEST, "a second HA Parameter extension")
        try:
            named = find_home_agent_parameter(extensions, self.formats)
        except Malformed:
            named = None
        if named is None:
            for home_agent in known:
                return Assignment(home_agent, self.asked_in(extensions))
            return Denied(Code.MISSING_HOME_AGENT_PARAMETER, "no HA Parameter extension and no home agent known")
        if named.address.is_unspecified:
            return Denied(Code.NONZERO_HOME_AGENT_PARAMETER_REQUIRED, "no home agents to assign")
        networks = self.home_agents.get(named.address, ())
        if not any(request.message.home_address in network for network in networks):
            reason = f"home agent {named.address} does not serve {request.message.home_address} here"
            return Denied(Code.UNKNOWN_HOME_AGENT, reason)
        return Assignment(named.address, named.format)


def parameter_extension(address: IPv4Address, form: HomeAgentParameterFormat | None) -> tuple[Extension, ...]:
    """The HA Parameter extension for a reply, in the form received; none for a node that sent none (AMB-7)."""
    return () if form is None else (HomeAgentParameter(address, form).extension(),)
