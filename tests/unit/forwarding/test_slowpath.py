"""ICMP errors about tunnels, and what becomes of packets that came in pieces; scapy builds what routers send."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.all import GRE, ICMP, IP, TCP, UDP, Raw

from mobileip.forwarding.entries import PathMtu
from mobileip.forwarding.slowpath import LEAST_LEARNT, PATH_MTU_LIFETIME, PathMtus, TunnelError, answer, whole_frame
from mobileip.wire.encapsulation import MinimalForwarding, checksum
from mobileip.wire.errors import Malformed

MIPP_PUB, CARE_OF, VPNGW_PUB, HOME, ROUTER = "203.0.113.10", "198.51.100.10", "203.0.113.20", "192.0.2.69", "192.0.2.1"
MIP = Raw(b"\x04\x04\x00\x00")
NOW = 1000.0


def esp(length: int = 1300) -> Any:
    return IP(src=VPNGW_PUB, dst=HOME, proto=50, id=7, flags="DF", ttl=63) / Raw((bytes(range(256)) * 6)[: length - 20])


def tunnel(inner: Any, **fields: Any) -> Any:
    return IP(bytes(IP(src=MIPP_PUB, dst=CARE_OF, flags="DF", proto=4, **fields) / Raw(bytes(inner))))


def about(packet: Any, kind: int = 3, code: int = 4, mtu: int = 1280, quoted: int = 528) -> bytes:
    """What a router says about a packet."""
    message = ICMP(type=kind, code=code, nexthopmtu=mtu) if kind == 3 else ICMP(type=kind, code=code)
    return bytes(message / Raw(bytes(packet)[:quoted]))


def parse(message: bytes) -> TunnelError:
    error = TunnelError.parse(message)
    assert error is not None
    return error


def minimal() -> tuple[Any, Any]:
    inner = esp()
    header = MinimalForwarding(50, IPv4Address(HOME), IPv4Address(VPNGW_PUB), bytes(inner.payload)).serialize()
    return IP(src=MIPP_PUB, dst=CARE_OF, proto=55, id=7, flags="DF", ttl=63) / Raw(header), inner


@pytest.mark.parametrize(
    ("outer", "inner", "overhead"),
    [
        (tunnel(esp()), esp(), 20),
        (IP(src=MIPP_PUB, dst=CARE_OF) / UDP(sport=434, dport=40000, chksum=0) / MIP / esp(), esp(), 32),
        (IP(src=MIPP_PUB, dst=CARE_OF) / GRE() / esp(), esp(), 24),
        (IP(src=MIPP_PUB, dst=CARE_OF) / GRE(key_present=1, key=7) / esp(), esp(), 28),
        (*minimal(), 12),
    ],
    ids=["ipip", "udp", "gre", "gre with key", "minimal"],
)
def test_what_is_quoted_of_the_inner_packet_is_found_R2003_4(outer: Any, inner: Any, overhead: int) -> None:
    error = parse(about(outer))
    assert (error.kind, error.code, error.mtu, error.overhead) == (3, 4, 1280, overhead)
    assert (str(error.local), str(error.remote), error.length) == (MIPP_PUB, CARE_OF, len(outer))
    assert error.inner == bytes(inner)[: 528 - overhead]
    assert error.is_consistent
    assert error.ends == (IPv4Address(VPNGW_PUB), IPv4Address(HOME))


def test_eight_bytes_of_the_inner_header_are_enough_to_learn_but_not_to_tell() -> None:
    error = parse(about(tunnel(esp()), quoted=28))
    assert (error.is_consistent, error.ends, error.mtu) == (True, None, 1280)
    assert answer(error, error.local, 1260) is None


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=MIPP_PUB, dst=CARE_OF) / TCP(),
        IP(src=MIPP_PUB, dst=CARE_OF) / UDP(sport=53, dport=53) / Raw(bytes(20)),
        IP(src=MIPP_PUB, dst=CARE_OF) / UDP(sport=434, dport=434) / Raw(b"\x01" + bytes(20)),
        IP(src=MIPP_PUB, dst=CARE_OF, proto=4, frag=10) / Raw(bytes(40)),
    ],
    ids=["TCP", "DNS", "a registration", "a later fragment"],
)
def test_errors_about_anything_else_are_none_of_ours(packet: Any) -> None:
    assert TunnelError.parse(about(packet)) is None


def test_a_quotation_that_contradicts_itself_is_not_ours() -> None:
    spoilt = bytearray(bytes(tunnel(esp())))
    spoilt[22:24] = (1281).to_bytes(2)  # total length of the inner packet
    assert not parse(about(bytes(spoilt))).is_consistent


@pytest.mark.parametrize("length", range(70))
def test_cut_anywhere_it_is_malformed_or_says_less(length: int) -> None:
    whole = about(tunnel(esp()))
    message = bytearray(whole[:length])
    if length >= 4:
        message[2:4] = bytes(2)
        message[2:4] = checksum(bytes(message)).to_bytes(2)
    try:
        error = TunnelError.parse(bytes(message))
    except Malformed:
        return
    assert error is None or len(error.inner) < 70


# RFC 2003 4: what comes in, and what the inner packet's source is told.
TOLD = [
    ((3, 0), (3, 0)),
    ((3, 1), (3, 1)),
    ((3, 2), (3, 1)),
    ((3, 3), None),
    ((3, 4), (3, 4)),
    ((3, 5), None),
    ((3, 13), (3, 13)),
    ((11, 0), (3, 1)),
]


@pytest.mark.parametrize(("said", "told"), TOLD)
def test_errors_are_translated_for_the_inner_source_R2003_4(
    said: tuple[int, int], told: tuple[int, int] | None
) -> None:
    error = parse(about(tunnel(esp()), *said))
    packet = answer(error, error.local, 1260)
    if told is None:
        assert packet is None
        return
    assert packet is not None
    seen = IP(packet.serialize())
    assert (seen.src, seen.dst, seen.tos, seen.flags) == (MIPP_PUB, VPNGW_PUB, 0xC0, "DF")
    assert (seen[ICMP].type, seen[ICMP].code) == told
    assert seen[ICMP].nexthopmtu == (1260 if told == (3, 4) else 0)
    assert packet.payload[8:] == bytes(esp())[:508]
    assert len(packet.serialize()) <= 576
    again = seen.copy()
    del again[ICMP].chksum, again.chksum
    assert bytes(again) == packet.serialize(), "checksums"


@pytest.mark.parametrize(
    "inner",
    [
        IP(src="192.0.2.50", dst=HOME) / ICMP(type=3, code=1) / Raw(bytes(40)),
        IP(src="192.0.2.50", dst=HOME, frag=10) / Raw(bytes(40)),
        IP(src="0.0.0.0", dst=HOME) / UDP() / Raw(bytes(40)),
        IP(src="192.0.2.50", dst="224.0.0.251") / UDP() / Raw(bytes(40)),
    ],
    ids=["an ICMP error", "a later fragment", "of nobody", "to a group"],
)
def test_some_are_never_told_R1812_4_3_2_7(inner: Any) -> None:
    error = parse(about(tunnel(inner), 3, 1))
    assert answer(error, error.local, 0) is None


def learnt(paths: PathMtus, packet: Any, mtu: int, now: float = NOW, code: int = 4) -> PathMtu | None:
    return paths.learn(parse(about(packet, 3, code, mtu)), now)


def test_a_path_only_gets_shorter_and_is_forgotten_after_ten_minutes_R1191_6_3() -> None:
    paths = PathMtus()
    assert learnt(paths, tunnel(esp()), 1280) == PathMtu(1280, NOW + PATH_MTU_LIFETIME)
    assert learnt(paths, tunnel(esp()), 1310, NOW + 1) == PathMtu(1280, NOW + 1 + PATH_MTU_LIFETIME)
    assert learnt(paths, tunnel(esp()), 1000, NOW + 2) == PathMtu(1000, NOW + 2 + PATH_MTU_LIFETIME)
    assert list(paths.forget(NOW + 601)) == []
    assert list(paths.forget(NOW + 602)) == [IPv4Address(CARE_OF)]
    assert learnt(paths, tunnel(esp()), 1300, NOW + 700) == PathMtu(1300, NOW + 700 + PATH_MTU_LIFETIME)


def test_what_no_router_would_say_is_not_believed() -> None:
    paths = PathMtus()
    assert learnt(paths, tunnel(esp()), 1320) is None, "the packet would have fitted"
    assert learnt(paths, tunnel(esp()), 1280, code=1) is None
    assert learnt(paths, tunnel(esp()), 68) == PathMtu(LEAST_LEARNT, NOW + PATH_MTU_LIFETIME)


def test_an_old_router_that_names_no_mtu_means_the_next_plateau_R1191_5() -> None:
    assert learnt(PathMtus(), tunnel(esp()), 0) == PathMtu(1006, NOW + PATH_MTU_LIFETIME)


def test_no_more_paths_are_kept_than_the_programs_have_room_for() -> None:
    paths = PathMtus()
    for number in range(4097):
        outer = tunnel(esp())
        outer.dst = IPv4Address(0xC6120000 + number).exploded
        del outer.chksum
        learnt(paths, outer, 1280)
    assert list(paths.forget(NOW)) == [IPv4Address("198.18.0.0")]


def test_a_packet_that_was_put_together_is_a_frame_without_options() -> None:
    payload = bytes(range(200))
    packet = IP(src=CARE_OF, dst=MIPP_PUB, proto=4, id=9, tos=2, options=b"\x94\x04\x00\x00") / Raw(payload)
    frame = whole_frame(bytes(packet), bytes.fromhex("020000000010"))
    want = bytes(IP(src=CARE_OF, dst=MIPP_PUB, proto=4, id=9, tos=2) / Raw(payload))
    assert frame == bytes.fromhex("020000000010") + bytes(6) + b"\x08\x00" + want
    assert whole_frame(b"", bytes(6)) is None
