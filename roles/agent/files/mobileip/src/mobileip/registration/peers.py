"""The nodes that may register, and which of them a request names (RFC 5944 1.6, RFC 2794 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mobileip.registration.bindings import NodeKey
from mobileip.registration.security import Associations
from mobileip.wire.extensions import AUTHENTICATION_TYPES, ExtensionType
from mobileip.wire.messages import RegistrationReply, RegistrationRequest


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that may register: which one it is, and what we share with it. `nai` if it may call itself so.

    `aaa` is what its AAA server shares with it, for MN-AAA authentication that ends here (RFC 4721).
    """

    key: NodeKey
    associations: Associations
    nai: str | None = None
    aaa: Associations = field(default_factory=dict)


class Peers:
    """The nodes that may register, by what a request calls them: its home address, or its NAI (RFC 5944 1.6, 2794 3).

    Several may have one home address, each behind a VPN gateway of its own: SPI and authenticator tell which it is.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        """Raises ValueError for two peers that no request could be told apart by."""
        self._by_key: dict[NodeKey, Peer] = {}
        self._by_home_address: dict[IPv4Address, list[Peer]] = {}
        self._by_nai: dict[str, list[Peer]] = {}
        for peer in peers:
            if peer.key in self._by_key:
                raise ValueError(f"node {peer.key.name}: two nodes behind the same gateway have this name")
            self._by_key[peer.key] = peer
            if isinstance(peer.key.name, IPv4Address):
                _file(self._by_home_address.setdefault(peer.key.name, []), peer)
            nai = peer.nai if isinstance(peer.key.name, IPv4Address) else peer.key.name
            if nai is not None:
                _file(self._by_nai.setdefault(nai, []), peer)

    def __contains__(self, key: NodeKey) -> bool:
        return key in self._by_key

    def get(self, key: NodeKey) -> Peer | None:
        """The one with this key, or None."""
        return self._by_key.get(key)

    def only(self, home_address: IPv4Address) -> Peer | None:
        """The one with this home address, if there is one and no other."""
        found = self._by_home_address.get(home_address)
        return found[0] if found is not None and len(found) == 1 else None

    def candidates(self, request: RegistrationRequest) -> Sequence[Peer]:
        """Who may have sent this: those with its home address, else those with its NAI. Nothing is proven yet."""
        by_home_address = self._by_home_address.get(request.home_address)
        if by_home_address:
            return by_home_address
        nai = nai_of(request)
        return () if nai is None else self._by_nai.get(nai, ())


def nai_of(request: RegistrationRequest | RegistrationReply) -> str | None:
    """What the node calls itself: its NAI extension, which stands before the authenticator (RFC 2794 3).

    The gate admits text only, so what cannot be read is just told apart.
    """
    for extension in request.extensions:
        if extension.type == ExtensionType.NAI:
            return extension.data.decode(errors="backslashreplace")
        if extension.type in AUTHENTICATION_TYPES:
            return None
    return None


def name_of(request: RegistrationRequest) -> IPv4Address | str:
    """What the request calls its node: the home address, or the NAI where that is 0."""
    if int(request.home_address):
        return request.home_address
    return nai_of(request) or request.home_address


def _file(peers: list[Peer], peer: Peer) -> None:
    """Add one to those of the same name, unless the same key under the same SPI would make it two of them."""
    for other in peers:
        for spi, association in peer.associations.items():
            if other.associations.get(spi) == association:
                raise ValueError(f"node {peer.key.name}: SPI {spi} means two nodes with the same key")
    peers.append(peer)
