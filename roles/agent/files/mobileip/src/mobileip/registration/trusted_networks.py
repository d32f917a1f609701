"""Where a node is inside beyond doubt, as far as a home agent can say so (RFC 5265 4.3).

A node that gets the Trusted Networks Configured extension may send its packets in clear. So it is given only for
sources in the networks that were configured, which are none by default, and never to a proxy: what a proxy relays was
asked outside, and its reply goes back there.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network


class Untrusted(StrEnum):
    """What becomes of a request from elsewhere."""

    SERVE = "serve"
    LOG = "log"  # served, and written down
    DROP = "drop"  # RFC 5265 4.3: in silence


@dataclass(frozen=True, slots=True)
class TrustedNetworks:
    """The networks that are inside, the proxies (by MIPP-Priv), and what the others get."""

    networks: tuple[IPv4Network, ...] = ()
    proxies: Set[IPv4Address] = frozenset()
    untrusted: Untrusted = Untrusted.SERVE

    def vouch_for(self, source: IPv4Address) -> bool:
        """Is a request from `source` certainly a node's that is inside?"""
        return source not in self.proxies and any(source in network for network in self.networks)

    def verdict(self, source: IPv4Address) -> Untrusted:
        """What a request from `source` gets, before anything else is known of it."""
        known = source in self.proxies or self.vouch_for(source)
        return Untrusted.SERVE if known else self.untrusted
