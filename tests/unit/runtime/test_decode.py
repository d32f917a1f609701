"""Revocation messages for people to read."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.decode import decode
from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.revocation import Revocation, RevocationAcknowledgement

KEY = SecurityAssociation(2001, bytes(16))
HOME, AGENT, CARE_OF = IPv4Address("192.0.2.69"), IPv4Address("192.0.2.40"), IPv4Address("198.51.100.10")


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
