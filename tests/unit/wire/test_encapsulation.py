"""Headers of tunnels, with Scapy as an oracle for those that it knows."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import GRE, ICMP, IP, UDP

from mobileip.wire.encapsulation import (
    IPPROTO_ESP,
    IPPROTO_UDP,
    Echo,
    Gre,
    IPv4Packet,
    MinimalForwarding,
    TunnelData,
    UdpDatagram,
    checksum,
    keepalive,
)
from mobileip.wire.errors import Malformed

HOME = IPv4Address("10.1.0.5")
GATEWAY = IPv4Address("203.0.113.20")
MIPP_PUB = IPv4Address("203.0.113.10")
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
packets = st.builds(
    IPv4Packet,
    addresses,
    addresses,
    st.integers(0, 255),
    st.binary(max_size=60),
    ttl=st.integers(0, 255),
    tos=st.integers(0, 255),
    identification=st.integers(0, 0xFFFF),
    dont_fragment=st.booleans(),
    more_fragments=st.booleans(),
    fragment_offset=st.integers(0, 0x1FFF).map(lambda units: units * 8),
    options=st.sampled_from([b"", b"\x01" * 4, b"\x07\x27\x04" + bytes(36) + b"\0"]),
)


def test_checksum_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF & ~0xDDF2
    assert checksum(b"") == 0xFFFF
    assert checksum(bytes(20)) == 0xFFFF
    assert checksum(b"\xff" * 20) == 0
    assert checksum(b"\x12") == checksum(b"\x12\0")


def test_minimal_forwarding_headers_are_the_vectors() -> None:
    with_source = MinimalForwarding(IPPROTO_ESP, GATEWAY, HOME, b"data")
    without = MinimalForwarding(IPPROTO_ESP, GATEWAY, None, b"data")
    assert with_source.serialize().hex() == "32808764cb0071140a010005" + b"data".hex()
    assert without.serialize().hex() == "320091eacb007114" + b"data".hex()
    assert MinimalForwarding.parse(with_source.serialize()) == with_source
    assert MinimalForwarding.parse(without.serialize()) == without
    for header in (with_source.serialize()[:12], without.serialize()[:8]):
        for length in range(len(header)):
            with pytest.raises(Malformed):
                MinimalForwarding.parse(header[:length])
        with pytest.raises(Malformed, match="checksum"):
            MinimalForwarding.parse(b"\x33" + header[1:])


def test_tunnel_data_is_the_vector_R3519_3_3_a() -> None:
    assert TunnelData(4, b"ip").serialize().hex() == "04040000" + b"ip".hex()
    assert TunnelData.parse(bytes.fromhex("0437ffff") + b"x") == TunnelData(55, b"x")  # reserved: ignored
    for payload in (b"", b"\x04\x04\0", b"\x01\x04\0\0", b"\x04\x05\0\0"):
        with pytest.raises(Malformed):
            TunnelData.parse(payload)


@given(packets)
def test_any_packet_survives_and_scapy_reads_the_same(packet: IPv4Packet) -> None:
    data = packet.serialize()
    assert IPv4Packet.parse(data) == packet
    assert IPv4Packet.parse(data + b"padding") == packet
    theirs = IP(data)
    assert (theirs.src, theirs.dst, theirs.proto, theirs.ttl, theirs.tos, theirs.len) == (
        str(packet.source),
        str(packet.destination),
        packet.protocol,
        packet.ttl,
        packet.tos,
        len(data),
    )
    assert theirs.frag * 8 == packet.fragment_offset
    sum_on_wire = theirs.chksum
    del theirs.chksum
    theirs.remove_payload()  # building some of them, as IGMP, scapy writes options into this header
    assert IP(bytes(theirs)).chksum == sum_on_wire


@pytest.mark.parametrize("length", range(24))
def test_cut_packet_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        IPv4Packet.parse(IPv4Packet(HOME, GATEWAY, IPPROTO_ESP, b"data").serialize()[:length])


@pytest.mark.parametrize(("at", "value"), [(0, 0x65), (0, 0x44), (0, 0x4F), (2, 0xFF), (8, 1), (10, 0)])
def test_wrong_header_is_malformed(at: int, value: int) -> None:
    data = bytearray(IPv4Packet(HOME, GATEWAY, IPPROTO_ESP, b"data").serialize())
    data[at] = value
    with pytest.raises(Malformed):
        IPv4Packet.parse(bytes(data))


def test_field_that_does_not_fit_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="payload"):
        IPv4Packet(HOME, GATEWAY, 50, bytes(65516)).serialize()
    with pytest.raises(ValueError, match="options"):
        IPv4Packet(HOME, GATEWAY, 50, b"", options=b"\x01").serialize()


def test_udp_datagram_as_scapy_writes_it() -> None:
    theirs = bytes(UDP(sport=434, dport=4434) / b"data")
    assert UdpDatagram.parse(theirs + b"padding") == UdpDatagram(434, 4434, b"data")
    assert UdpDatagram(434, 4434, b"data").serialize()[:6] == theirs[:6]
    for broken in (theirs[:7], theirs[:4] + b"\0\x07" + theirs[6:], theirs[:4] + b"\0\xff" + theirs[6:]):
        with pytest.raises(Malformed):
            UdpDatagram.parse(broken)


def test_echo_as_scapy_writes_it() -> None:
    theirs = bytes(ICMP(type=8, id=7, seq=9) / b"odd")
    assert Echo(7, 9, b"odd").serialize() == theirs
    assert Echo.parse(theirs) == Echo(7, 9, b"odd")
    assert Echo.parse(bytes(ICMP(type=0, id=7, seq=9))).reply
    for broken in (theirs[:7], bytes(ICMP(type=3, code=1) / b"12345678"), theirs[:-1] + b"x"):
        with pytest.raises(Malformed):
            Echo.parse(broken)


def test_keepalive_is_an_echo_from_home_address_to_agent_R3519_4_9() -> None:
    inner = IPv4Packet.parse(TunnelData.parse(keepalive(HOME, MIPP_PUB, 7, 9)).payload)
    assert (inner.source, inner.destination, inner.protocol) == (HOME, MIPP_PUB, 1)
    assert Echo.parse(inner.payload) == Echo(7, 9)
    assert inner.protocol != IPPROTO_UDP


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for parse in (IPv4Packet.parse, TunnelData.parse, UdpDatagram.parse, Echo.parse, MinimalForwarding.parse):
        try:
            parse(data)
        except Malformed:
            continue


INNER = bytes.fromhex("4500001400000000403200000a010005cb007114")


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("00000800", {}),
        ("200008000000002a", {"key": 42}),
        ("1000080000000007", {"sequence": 7}),
        ("300008000000002a00000007", {"key": 42, "sequence": 7}),
        ("80000800ac9d0000", {"checksummed": True}),
        ("b00008007c6c00000000002a00000007", {"key": 42, "sequence": 7, "checksummed": True}),
    ],
)
def test_gre_header_is_flags_version_0_and_protocol_type_0x0800_R2784_2_1_a(
    header: str, fields: dict[str, Any]
) -> None:
    made = Gre(INNER, **fields)
    assert made.serialize().hex() == header + INNER.hex()
    assert Gre.parse(made.serialize()) == made


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("40000800", "GRE flags"),  # R, routing
        ("08000800", "GRE flags"),  # s, strict source route
        ("04000800", "GRE flags"),  # recursion control, its bit among 1 to 5
        ("00010800", "GRE version"),  # PPTP's
        ("000086dd", "GRE protocol type"),
        ("80000800ac9e0000", "GRE checksum"),
        ("000008", "GRE header"),
        ("", "GRE header"),
    ],
)
def test_gre_header_that_is_not_understood_is_refused_R2784_2_1_a(header: str, field: str) -> None:
    with pytest.raises(Malformed, match=field):
        Gre.parse(bytes.fromhex(header) + (INNER if len(header) >= 8 else b""))


def test_gre_header_that_is_cut_is_refused_R2784_2_1_a() -> None:
    whole = Gre(b"", 1, 2, checksummed=True).serialize()
    for length in range(len(whole)):
        with pytest.raises(Malformed, match="GRE header"):
            Gre.parse(whole[:length])


def test_gre_reserved_bits_6_to_12_are_ignored_R2784_2_1_a() -> None:
    assert Gre.parse(bytes.fromhex("03f80800") + INNER) == Gre(INNER)
    assert Gre(INNER).serialize()[:2] == b"\0\0"


@given(
    st.builds(
        Gre,
        st.binary(max_size=60),
        st.none() | st.integers(0, 0xFFFFFFFF),
        st.none() | st.integers(0, 0xFFFFFFFF),
        st.booleans(),
    )
)
def test_gre_round_trip_and_agreement_with_scapy_R2784_2_1_a(header: Gre) -> None:
    assert Gre.parse(header.serialize()) == header
    present = {"chksum_present": header.checksummed, "key_present": header.key is not None}
    theirs = GRE(proto=0x0800, seqnum_present=header.sequence is not None, **present)
    theirs.key, theirs.sequence_number = header.key, header.sequence
    assert bytes(theirs / header.payload) == header.serialize()


@pytest.mark.parametrize(("next_header", "gre_key"), [(4, None), (47, None), (47, 7), (55, None)])
def test_a_keepalive_goes_by_the_tunnels_own_encapsulation_R3519_4_9_a(next_header: int, gre_key: int | None) -> None:
    home, agent = IPv4Address("192.0.2.69"), IPv4Address("203.0.113.10")
    data = TunnelData.parse(keepalive(home, agent, 1, 2, next_header, gre_key))
    assert data.next_header == next_header
    if next_header == 55:
        minimal = MinimalForwarding.parse(data.payload)
        source, destination, echo = minimal.source, minimal.destination, minimal.payload
    else:
        carried = data.payload
        if next_header == 47:
            gre = Gre.parse(carried)
            assert gre.key == gre_key
            carried = gre.payload
        packet = IPv4Packet.parse(carried)
        source, destination, echo = packet.source, packet.destination, packet.payload
    assert (source, destination, Echo.parse(echo)) == (home, agent, Echo(1, 2))
