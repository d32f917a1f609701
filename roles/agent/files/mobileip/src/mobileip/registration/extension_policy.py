"""What the proxy does with each extension on its way through (draft 2.2.3 and 2.3.1, "all ... except ...", AMB-10).

Relayed are those that a node and its home agent have between them, as received and in their order. Everything that
concerns one hop only (authentication, NAT, revocation, trust in a network) ends here and is made anew where needed;
that is fixed. All else is a table with an entry a type, which the configuration may change.
What stands behind the node's authenticator is a foreign agent's or anybody's and is never relayed: the proxy would
vouch for it with its own key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import FIRST_SKIPPABLE, Extension, ExtensionType
from mobileip.wire.typed_extensions import DynamicHomeAgent, HomeAgentParameterFormat


class Treatment(StrEnum):
    """What happens to an extension, or to the message that carries it."""

    RELAY = "relay"
    STRIP = "strip"  # it is left out, the rest goes on
    REJECT = "reject"  # a request is denied with 134, a reply is dropped
    DISCARD = "discard"  # the whole message, in silence (RFC 5944 1.8)


ENDS_AT_PROXY: frozenset[int] = frozenset(
    {
        ExtensionType.PAD,
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
        ExtensionType.UDP_TUNNEL_REPLY,
        ExtensionType.FA_ERROR,
        ExtensionType.ENCAPSULATING_DELIVERY,
        ExtensionType.CHALLENGE,
        ExtensionType.REVOCATION_SUPPORT,
        ExtensionType.UDP_TUNNEL_REQUEST,
        ExtensionType.TRUSTED_NETWORKS,
    }
)
"""Types that no configuration lets through. A home agent's 149 trusts the proxy's address, not the node's."""

DEFAULT_TREATMENT: Mapping[int, Treatment] = {
    ExtensionType.CRITICAL_VENDOR: Treatment.RELAY,
    ExtensionType.HIERARCHICAL_FA: Treatment.STRIP,
    ExtensionType.REPLAY_STYLE: Treatment.STRIP,
    ExtensionType.REGIONAL_LIFETIME: Treatment.STRIP,
    ExtensionType.MOBILE_ROUTER_CAPABILITY: Treatment.STRIP,
    ExtensionType.MULTIPATH: Treatment.STRIP,
}
"""Types that are not treated as others are: from 128 on relayed, below discarded, since unknown here (RFC 5944 1.8).

Critical vendor extensions come this far only if their vendor and type are known (RFC 3115 2.4, see `gate`).
"""

_UNDERSTOOD_IN_REQUEST: frozenset[int] = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
        ExtensionType.CRITICAL_VENDOR,
        ExtensionType.OBSOLETE_CRITICAL_VENDOR,
    }
)
_UNDERSTOOD_IN_REPLY: frozenset[int] = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.CRITICAL_VENDOR,
        ExtensionType.UDP_TUNNEL_REPLY,
        ExtensionType.FA_ERROR,
        ExtensionType.OBSOLETE_CRITICAL_VENDOR,
    }
)


@dataclass(frozen=True, slots=True)
class ExtensionPolicy:
    """The table. `formats`: of the HA Parameter extension, which ends here. `home_agents`: where a node may be sent."""

    formats: tuple[HomeAgentParameterFormat, ...] = ()
    home_agents: Collection[IPv4Address] = ()
    overrides: Mapping[int, Treatment] = field(default_factory=dict)
    understood_in_request: frozenset[int] = field(init=False, compare=False, repr=False)
    """Types below 128 that do not make a request be discarded."""
    understood_in_reply: frozenset[int] = field(init=False, compare=False, repr=False)
    """Types below 128 that do not make a reply be discarded."""
    _parameters: frozenset[int] = field(init=False, compare=False, repr=False)
    _by_treatment: Mapping[Treatment, frozenset[int]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        fixed = sorted(ENDS_AT_PROXY & set(self.overrides))
        if fixed:
            raise ValueError(f"extension {fixed[0]}: ends at the proxy, no treatment of it can be configured")
        parameters = frozenset(form.type for form in self.formats)
        named = parameters | {kind for kind, how in self.overrides.items() if how is not Treatment.DISCARD}
        by_treatment = {how: frozenset(kind for kind in range(256) if self.treatment(kind) is how) for how in Treatment}
        for name, value in (
            ("understood_in_request", _UNDERSTOOD_IN_REQUEST | named),
            ("understood_in_reply", _UNDERSTOOD_IN_REPLY | named),
            ("_parameters", parameters),
            ("_by_treatment", by_treatment),
        ):
            object.__setattr__(self, name, value)

    def treatment(self, kind: int) -> Treatment:
        """What is done with extensions of this type, but for the HA Parameter's."""
        if kind in ENDS_AT_PROXY:
            return Treatment.STRIP
        ordinary = Treatment.RELAY if kind >= FIRST_SKIPPABLE else Treatment.DISCARD
        return self.overrides.get(kind, DEFAULT_TREATMENT.get(kind, ordinary))

    def forbidden(self, extensions: Iterable[Extension], *treatments: Treatment) -> Extension | None:
        """The first extension that is treated so: `REJECT` or, of types from 128 on, `DISCARD`."""
        for treatment in treatments:
            kinds = self._by_treatment[treatment]
            for extension in extensions:
                if extension.type in kinds and not self._is_parameter(extension):
                    return extension
        return None

    def relayed(self, extensions: Collection[Extension]) -> tuple[Extension, ...]:
        """Those of `extensions` that go on to the other leg, in their order."""
        if not extensions:
            return ()
        kinds = self._by_treatment[Treatment.RELAY]
        return tuple(
            [
                Extension(extension.type, extension.data, extension.subtype)
                for extension in extensions
                if extension.type in kinds and not self._is_parameter(extension) and self._leads_nowhere_else(extension)
            ]
        )

    def _is_parameter(self, extension: Extension) -> bool:
        return extension.type in self._parameters and any(form.is_of(extension) for form in self.formats)

    def _leads_nowhere_else(self, extension: Extension) -> bool:
        """A Dynamic Home Agent extension goes on only if the home agent in it is allowed (RFC 4433)."""
        if extension.type != ExtensionType.DYNAMIC_HOME_AGENT:
            return True
        try:
            return DynamicHomeAgent.of(extension).address in self.home_agents
        except Malformed:
            return False
