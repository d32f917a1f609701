"""Where a mobile node is, as far as it knows, and how long that knowledge holds.

The node does not judge its place, the network does (draft 2.5.1). Being inside is believed for `monitor` seconds after
the last authentic word that said so, counted from the request that it answers (T_MONITOR of RFC 5265 3.2): before they
are over the node asks again, and when they are over nothing leaves in clear any more.
"""

from __future__ import annotations

from enum import StrEnum


class Location(StrEnum):
    """What the node knows of its place."""

    UNKNOWN = "unknown"
    OUTSIDE = "outside"
    INSIDE = "inside"
    HOME = "home"


class Place:
    """A location, since when, and why. Times in Unix seconds."""

    def __init__(self) -> None:
        self.location = Location.UNKNOWN
        self.since: float | None = None
        self.why = "started"
        self.is_trusted_network = False
        """An agent has said, since the last move, that this is a trusted network (RFC 5265 3.4)."""
        self._unprotected_since: float | None = None

    def enter(self, location: Location, why: str, now: float) -> None:
        """The node is there from now on."""
        self.location, self.why, self.since = location, why, now

    def moved(self) -> None:
        """What was said of the former link does not hold here."""
        self.is_trusted_network = False

    def lose_sa(self, since: float) -> None:
        """The VPN gateway does not hear the node's SA any more."""
        if self._unprotected_since is None:
            self._unprotected_since = since

    def regain_sa(self, now: float) -> float:
        """The way to the VPN gateway is there again; for how many seconds it was not."""
        since, self._unprotected_since = self._unprotected_since, None
        return 0.0 if since is None else max(0.0, now - since)
