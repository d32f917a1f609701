"""Broadcasts of a home link on their way to nodes that set B: which packet goes where, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.forwarding.broadcast import BroadcastDomain, Listener
from mobileip.forwarding.entries import Encapsulation, Tunnel
from mobileip.wire.encapsulation import IPv4Packet, TunnelData, UdpDatagram

HOME_AGENT = IPv4Address("192.0.2.40")
HOME = IPv4Address("192.0.2.69")
MIPP_PRIV = IPv4Address("192.0.2.10")
NEIGHBOUR = IPv4Address("192.0.2.80")
GROUP = IPv4Address("239.1.2.3")
DOMAIN = BroadcastDomain(HOME_AGENT, IPv4Network("192.0.2.64/27"), frozenset({GROUP}))

ASKED = IPv4Packet(NEIGHBOUR, IPv4Address("192.0.2.95"), 17, b"who is there?", ttl=1, tos=0x22, identification=77)
IPIP = Tunnel(MIPP_PRIV, 2e9)
UDP = Tunnel(IPv4Address("192.0.2.150"), 2e9, Encapsulation.UDP, 40000)
DIRECT = Listener(HOME, IPIP, co_located=True)
BY_PROXY = Listener(HOME, IPIP, co_located=False)


def unwrapped(packet: IPv4Packet) -> IPv4Packet:
    """What is inside an IP-in-IP packet."""
    assert packet.protocol == 4
    return IPv4Packet.parse(packet.payload)


@pytest.mark.parametrize(
    ("destination", "concerns"),
    [("192.0.2.95", True), ("255.255.255.255", True), ("239.1.2.3", True), ("239.1.2.4", False), ("192.0.2.63", False),
     ("192.0.2.69", False)],
)  # fmt: skip
def test_broadcasts_of_the_link_and_configured_groups_concern_us(destination: str, concerns: bool) -> None:
    assert DOMAIN.concerns(replace(ASKED, destination=IPv4Address(destination))) is concerns


@pytest.mark.parametrize("destination", [ASKED.destination, GROUP])
def test_with_d_straight_to_the_care_of_address_R5944_4_3_b_and_R5944_4_4_a_and_R2003_3_1_b(
    destination: IPv4Address,
) -> None:
    asked = replace(ASKED, destination=destination)
    (packet,) = DOMAIN.copies(asked, DIRECT, 1500, 5)
    assert (packet.source, packet.destination, packet.tos) == (HOME_AGENT, MIPP_PRIV, asked.tos)
    assert packet.payload == asked.serialize(), "untouched, its TTL too: this is no forwarding"
    assert packet.protocol == 4


@pytest.mark.parametrize("destination", [ASKED.destination, GROUP])
def test_without_d_first_wrapped_for_the_home_address_R5944_4_3_c_and_R5944_4_4_a(destination: IPv4Address) -> None:
    asked = replace(ASKED, destination=destination)
    (packet,) = DOMAIN.copies(asked, BY_PROXY, 1500, 5)
    assert (packet.source, packet.destination) == (HOME_AGENT, MIPP_PRIV)
    middle = unwrapped(packet)
    assert (middle.source, middle.destination, middle.protocol) == (HOME_AGENT, HOME, 4)
    assert middle.payload == asked.serialize()


def test_behind_a_nat_by_udp_R3519_4_2_a() -> None:
    (packet,) = DOMAIN.copies(ASKED, replace(DIRECT, tunnel=UDP), 1500, 5)
    datagram = UdpDatagram.parse(packet.payload)
    assert (packet.protocol, packet.destination) == (17, UDP.care_of)
    assert (datagram.source_port, datagram.destination_port) == (434, 40000)
    assert TunnelData.parse(datagram.payload) == TunnelData(4, ASKED.serialize())


@pytest.mark.parametrize("source", [HOME, HOME_AGENT, MIPP_PRIV, IPv4Address("192.0.2.11")])
def test_nobody_gets_back_what_it_sent_R2003_3_2_a(source: IPv4Address) -> None:
    listener = replace(BY_PROXY, tunnel=replace(IPIP, source=IPv4Address("192.0.2.11")))
    assert DOMAIN.copies(replace(ASKED, source=source), listener, 1500, 5) == ()


def test_half_bound_tunnel_gets_none_until_its_port_is_known_R3519_4_6_c() -> None:
    half = replace(DIRECT, tunnel=replace(UDP, port=0, half_bound=True))
    assert DOMAIN.copies(ASKED, half, 1500, 5) == ()
    assert DOMAIN.copies(ASKED, replace(DIRECT, tunnel=replace(UDP, half_bound=True)), 1500, 5) != ()


def test_packet_with_ttl_0_goes_nowhere_R2003_3_1_d() -> None:
    assert DOMAIN.copies(replace(ASKED, ttl=0), DIRECT, 1500, 5) == ()


@pytest.mark.parametrize("dont_fragment", [False, True])
def test_df_is_that_of_the_packet_inside_R2003_3_1_a(dont_fragment: bool) -> None:
    (packet,) = DOMAIN.copies(replace(ASKED, dont_fragment=dont_fragment), BY_PROXY, 1500, 5)
    assert (packet.dont_fragment, unwrapped(packet).dont_fragment) == (dont_fragment, dont_fragment)


def test_too_long_and_not_to_be_cut_goes_nowhere() -> None:
    full = replace(ASKED, payload=bytes(1480), dont_fragment=True)
    assert DOMAIN.copies(full, DIRECT, 1500, 5) == ()
    assert len(DOMAIN.copies(full, DIRECT, 1520, 5)) == 1


@given(st.binary(min_size=1, max_size=4000), st.integers(576, 1500), st.booleans(), st.sampled_from([IPIP, UDP]))
def test_too_long_is_cut_before_it_is_wrapped(payload: bytes, mtu: int, co_located: bool, tunnel: Tunnel) -> None:
    packets = DOMAIN.copies(replace(ASKED, payload=payload), Listener(HOME, tunnel, co_located), mtu, 0xFFFF)
    pieces = []
    for packet in packets:
        assert len(packet.serialize()) <= mtu
        assert not packet.more_fragments
        data = packet.payload if tunnel is IPIP else TunnelData.parse(UdpDatagram.parse(packet.payload).payload).payload
        piece = IPv4Packet.parse(data)
        pieces.append(piece if co_located else unwrapped(piece))
    assert b"".join(piece.payload for piece in pieces) == payload
    assert [piece.fragment_offset for piece in pieces] == [
        sum(len(before.payload) for before in pieces[:number]) for number in range(len(pieces))
    ]
    assert [piece.more_fragments for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert len({packet.identification for packet in packets}) == len(packets)
