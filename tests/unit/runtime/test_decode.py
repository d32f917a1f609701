"""Messages and frames for people to read."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.decode import decode, decode_frame
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.encapsulation import Gre, IPv4Packet, MinimalForwarding, TunnelData, UdpDatagram
from mobileip.wire.revocation import Revocation, RevocationAcknowledgement

KEY = SecurityAssociation(2001, bytes(16))
HOME, AGENT, CARE_OF = IPv4Address("192.0.2.69"), IPv4Address("192.0.2.40"), IPv4Address("198.51.100.10")
PROXY, GATEWAY = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.20")


def test_revocation_says_who_ends_whose_binding_R3543_3_3_b() -> None:
    lines, good = decode(append(Revocation(HOME, AGENT, CARE_OF, 7, by_home_agent=True).serialize(), KEY))
    assert good
    assert lines[:6] == [
        "Registration Revocation, 42 bytes (RFC 3543 3.3)",
        "  flags            A by the home agent",
        "  home address     192.0.2.69",
        "  home domain      192.0.2.40",
        "  foreign domain   198.51.100.10",
        "  identifier       7",
    ]
    assert "SPI 2001" in lines[6]


def test_acknowledgement_says_what_is_acknowledged_R3543_3_4_a() -> None:
    lines, good = decode(RevocationAcknowledgement(HOME, 7, inform=True).serialize())
    assert good
    assert lines == [
        "Revocation Acknowledgement, 12 bytes (RFC 3543 3.4)",
        "  flags            I the node was informed",
        "  home address     192.0.2.69",
        "  identifier       7",
    ]


def test_cut_revocation_is_malformed_and_says_so() -> None:
    assert decode(b"\x07" + bytes(18))[1] is False
    assert decode(b"\x0f" + bytes(10))[1] is False


def ethernet(packet: bytes) -> bytes:
    return bytes.fromhex("020000000010 020000000020 0800") + packet


def test_each_header_of_a_frame_has_its_line() -> None:
    esp = IPv4Packet(HOME, GATEWAY, 50, bytes.fromhex("00001234 00000007") + bytes(40)).serialize()
    data = UdpDatagram(40000, 434, TunnelData(4, esp).serialize()).serialize()
    assert decode_frame(ethernet(IPv4Packet(CARE_OF, PROXY, 17, data, dont_fragment=True).serialize())) == [
        "Ethernet 02:00:00:00:00:20 > 02:00:00:00:00:10, type 0x0800",
        "IPv4 198.51.100.10 > 203.0.113.10, UDP (17), TTL 64, 100 bytes, id 0x0000, DF",
        "UDP 40000 > 434, 80 bytes",
        "MIP Tunnel Data (RFC 3519), next header 4",
        "IPv4 192.0.2.69 > 203.0.113.20, ESP (50), TTL 64, 68 bytes, id 0x0000",
        "ESP, SPI 0x00001234, sequence 7",
    ]


def test_gre_with_a_key_and_minimal_encapsulation_are_told() -> None:
    inner = IPv4Packet(HOME, GATEWAY, 17, UdpDatagram(500, 500, b"ike").serialize()).serialize()
    lines = decode_frame(ethernet(IPv4Packet(CARE_OF, PROXY, 47, Gre(inner, key=77).serialize()).serialize()))
    assert lines[2] == "GRE (RFC 2784), flags 0x2000, protocol type 0x0800, key 77"
    assert lines[4] == "UDP 500 > 500, 11 bytes"
    minimal = MinimalForwarding(50, GATEWAY, HOME, bytes(16)).serialize()
    lines = decode_frame(ethernet(IPv4Packet(CARE_OF, PROXY, 55, minimal).serialize()))
    assert lines[2] == "Minimal encapsulation (RFC 2004), 192.0.2.69 > 203.0.113.20, protocol 50"
    assert lines[3].startswith("ESP, ")


def test_a_registration_in_a_frame_is_explained() -> None:
    message = append(Revocation(HOME, AGENT, CARE_OF, 7, by_home_agent=True).serialize(), KEY)
    datagram = UdpDatagram(434, 434, message).serialize()
    assert "Registration Revocation, 42 bytes (RFC 3543 3.3)" in decode_frame(
        ethernet(IPv4Packet(AGENT, PROXY, 17, datagram).serialize())
    )


def test_what_is_wrong_with_a_header_is_said() -> None:
    packet = bytearray(IPv4Packet(CARE_OF, PROXY, 4, bytes(20), options=bytes(4), more_fragments=True).serialize())
    packet[8] = 1
    line = decode_frame(ethernet(bytes(packet)))[1]
    assert line.endswith("IP-in-IP (4), TTL 1, 44 bytes, id 0x0000, 4 bytes of options, more fragments, wrong checksum")


def test_a_frame_that_is_cut_anywhere_is_still_explained() -> None:
    inner = IPv4Packet(HOME, GATEWAY, 50, bytes(16)).serialize()
    data = UdpDatagram(40000, 434, TunnelData(4, inner).serialize()).serialize()
    frame = ethernet(IPv4Packet(CARE_OF, PROXY, 17, data).serialize())
    whole = decode_frame(frame)
    for length in range(len(frame)):
        lines = decode_frame(frame[:length])
        assert lines[: len(lines) - 1] == whole[: len(lines) - 1]
