"""What the proxy does with each extension on its way through (draft 2.2.3 and 2.3.1, "all ... except ...").

Relayed are those that a node and its home agent have between them, as received and in their order. Everything that
concerns one hop only (authentication, NAT, revocation, trust in a network) ends here and is made anew where needed.
What stands behind the node's authenticator is a foreign agent's or anybody's and is never relayed: the proxy would
vouch for it with its own key.
"""

from __future__ import annotations

from collections.abc import Iterable

from mobileip.wire.extensions import Extension, ExtensionType

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
        ExtensionType.DYNAMIC_HOME_AGENT,
        ExtensionType.HIERARCHICAL_FA,
        ExtensionType.REPLAY_STYLE,
        ExtensionType.REGIONAL_LIFETIME,
        ExtensionType.UDP_TUNNEL_REQUEST,
        ExtensionType.TRUSTED_NETWORKS,
        ExtensionType.MOBILE_ROUTER_CAPABILITY,
        ExtensionType.MULTIPATH,
    }
)
"""Never relayed, in either direction. A home agent's 149 trusts the proxy's address, not the node's."""

UNDERSTOOD_IN_REQUEST: frozenset[int] = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.MN_FA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.GENERALIZED_AUTHENTICATION,
        ExtensionType.CRITICAL_VENDOR,
    }
)
"""Types below 128 that do not make a request be discarded (the HA Parameter's, which is configured, comes on top)."""

UNDERSTOOD_IN_REPLY: frozenset[int] = frozenset(
    {
        ExtensionType.MN_HA_AUTHENTICATION,
        ExtensionType.FA_HA_AUTHENTICATION,
        ExtensionType.UDP_TUNNEL_REPLY,
        ExtensionType.FA_ERROR,
    }
)
"""Types below 128 that do not make a reply be discarded."""


def relayed(extensions: Iterable[Extension], consumed: frozenset[int]) -> tuple[Extension, ...]:
    """Those of `extensions` that go on to the other leg, in their order. `consumed`: the HA Parameter's types."""
    return tuple(
        Extension(extension.type, extension.data, extension.subtype)
        for extension in extensions
        if extension.type not in ENDS_AT_PROXY and extension.type not in consumed
    )
