"""What kinds of frames a comparison has reached, so that a generator that stops making one of them is noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mobileip.forwarding import rules
from mobileip.forwarding.entries import Encapsulation
from mobileip.forwarding.rules.headers import ETHERNET, IP_HEADER
from tests.forwarding.frames import Case

_UDP = 17
_NEXT_HEADERS = {encapsulation.next_header for encapsulation in Encapsulation}
_PLAIN = ("ipip", "gre", "minimal")
_ALL = (*_PLAIN, "udp", "udp-gre", "udp-minimal")
_UNDER_UDP = ("udp", "udp-gre", "udp-minimal")
# By outcome: how what comes in is carried, and how what leaves.
_WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "node_to_gateway": (_ALL, ()),
    "keepalive_answered": (_UNDER_UDP, _UNDER_UDP),
    "probe_answered": (_ALL, ()),
    "gateway_to_node": ((), _ALL),
    "gateway_to_home_agent": ((), _PLAIN),
    "home_agent_to_gateway": (_PLAIN, ()),
    "home_agent_to_node": ((), _ALL),
    "node_to_home_agent": (_ALL, ()),
    "node_to_node": (_ALL, _ALL),
    "foreign_agent_to_visitor": (_ALL, ()),
    "visitor_to_home_agent": (_PLAIN, _ALL),
    "tunnel_to_stack": (_ALL, ()),
    "stack_to_tunnel": ((), _ALL),
}
_SPOILT = ("byte", "cut", "length", "pad")


def expected() -> set[str]:
    """Every class that a comparison over all worlds has to reach."""
    ways = {f"{outcome} from {each}" for outcome, (carried, _) in _WAYS.items() for each in carried}
    ways |= {f"{outcome} by {each}" for outcome, (_, carried) in _WAYS.items() for each in carried}
    shapes = {f"forwarded: {shape}" for shape in ("options", "fragment", "options inside", "fragment inside")}
    merged = {f"merged segments, {outcome}" for outcome in ("gateway_to_subnet", *_WAYS)}
    return ways | shapes | merged | {f"spoilt: {kind}" for kind in _SPOILT}


def classes_of(case: Case, want: rules.Verdict) -> Iterator[str]:
    """What a frame is an example of, given what the model says of it."""
    if case.spoilt:
        yield f"spoilt: {case.spoilt}"
    if want.outcome is None or want.reason is not None:
        return
    carried, inner = _carried(case.frame)
    if carried is not None:
        yield f"{want.outcome} from {carried}"
    if (leaves := _carried(want.frame)[0]) is not None:
        yield f"{want.outcome} by {leaves}"
    yield from (f"forwarded: {shape}" for shape in _shapes(case.frame[ETHERNET:]))
    if len(inner) >= IP_HEADER:
        yield from (f"forwarded: {shape} inside" for shape in _shapes(inner))
    if case.gso_size:
        yield f"merged segments, {want.outcome}"


def _shapes(header: bytes) -> Iterator[str]:
    if header[0] & 15 > 5:
        yield "options"
    if int.from_bytes(header[6:8]) & 0x3FFF:
        yield "fragment"


def _carried(frame: bytes) -> tuple[str | None, bytes]:
    """How a frame's packet is tunnelled, and what is inside; of minimal encapsulation, and of no tunnel, nothing."""
    packet = frame[ETHERNET:]
    at, protocol = (packet[0] & 15) * 4, packet[9]
    in_udp = (
        protocol == _UDP
        and len(packet) > at + 12
        and packet[at + 8] == 4
        and 434
        in (
            int.from_bytes(packet[at : at + 2]),
            int.from_bytes(packet[at + 2 : at + 4]),
        )
    )
    if in_udp:
        protocol, at = packet[at + 9], at + 12
    if protocol not in _NEXT_HEADERS:
        return None, b""
    encapsulation = Encapsulation.of(protocol, in_udp=in_udp)
    if encapsulation.next_header == Encapsulation.GRE.next_header:
        at += 4 + 4 * (packet[at] & 0xB0).bit_count() if at < len(packet) else 0
    inner = b"" if encapsulation.next_header == Encapsulation.MINIMAL.next_header else packet[at:]
    return encapsulation.value, inner


def missing(seen: Counter[str], often: int) -> dict[str, int]:
    """Classes that were reached less often."""
    return {name: seen[name] for name in sorted(expected()) if seen[name] < often}
