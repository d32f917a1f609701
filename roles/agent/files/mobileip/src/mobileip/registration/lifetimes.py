"""Lifetimes between node and home agent (draft 2.2.2, 2.6.2; RFC 5944 3.8.2.2).

The home agent has one binding for a node, the proxy may have several. So what the home agent is asked for lasts as
long as the longest of them, and what the node is told is never more than it asked for, nor than the home agent has
(AMB-8). 0xFFFF, for ever, is the largest number too, so minimum and maximum need no case of their own.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from mobileip.registration.bindings import Binding
from mobileip.wire.messages import INFINITE_LIFETIME, RegistrationRequest


def remaining(expires: float, now: float) -> int:
    """Seconds from `now` (Unix time) until `expires`, a begun one counting as whole; 0xFFFF: for ever."""
    if expires == math.inf:
        return INFINITE_LIFETIME
    return max(0, min(math.ceil(expires - now), INFINITE_LIFETIME - 1))


def toward_home_agent(
    message: RegistrationRequest, lifetime: int, bound: Collection[Binding], simultaneous: bool, now: float
) -> int:
    """Lifetime of the request that goes on to the home agent; `lifetime` is what this care-of address may get.

    Giving up one of several care-of addresses refreshes the binding there for the others' sake; adding or renewing one
    of several asks for the longest of them (D-2.6.2-c, -d). A request without S from a new place takes the place of all
    others, so they do not count.
    """
    if message.deregisters_all:
        return 0
    if not message.deregisters and not (simultaneous and bound):
        return lifetime
    others = [binding for binding in bound if binding.care_of_address != message.care_of_address]
    longest = max((remaining(binding.expires, now) for binding in others), default=0)
    if message.deregisters:
        return longest
    renews = any(binding.care_of_address == message.care_of_address for binding in bound)
    if simultaneous and (message.simultaneous or renews):
        return max(lifetime, longest)
    return lifetime


def jittered(lifetime: int, jitter: float, draw: float) -> int:
    """A lifetime shortened by a share of at most `jitter`, chosen by `draw` (0 to 1): renewals of a storm drift apart.

    Never below one second; a deregistration and a lifetime without end stay what they are.
    """
    if lifetime in (0, INFINITE_LIFETIME):
        return lifetime
    return max(1, lifetime - int(lifetime * jitter * draw))
