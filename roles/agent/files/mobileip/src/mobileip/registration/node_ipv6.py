"""IPv6 beside an SA that carries IPv4 only: what the node sends by it goes past the SA, and its user is told so."""

from __future__ import annotations

from mobileip.registration.actions import Action, Level, Log
from mobileip.registration.events import Ipv6Seen

_NOTHING = Ipv6Seen((), ())


class Ipv6Beside:
    """Warns once when there is IPv6 beyond the links, says when it is gone, and keeps the warning for `show`."""

    def __init__(self) -> None:
        self._seen = _NOTHING

    def see(self, event: Ipv6Seen) -> list[Action]:
        """One warning, however many addresses and routes come after the first."""
        before, self._seen = self._seen, event
        if (before == _NOTHING) == (event == _NOTHING):
            return []
        if event == _NOTHING:
            return [Log(Level.INFO, "ipv6_gone")]
        return [Log(Level.WARNING, "ipv6_outside_sa", {"found": _found(event), "means": _MEANS})]

    @property
    def warning(self) -> str | None:
        """What there is of IPv6, and what that means; None while there is none."""
        return None if self._seen == _NOTHING else f"{_found(self._seen)}: {_MEANS}"


_MEANS = "IPv6 goes past the SA, which carries IPv4 only; mobile_node_ipv6: block stops it, allow accepts it"


def _found(seen: Ipv6Seen) -> str:
    addresses = [f"address {address}" for address in seen.addresses]
    routes = [f"default route by {interface}" for interface in seen.default_interfaces]
    return ", ".join(addresses + routes)
