"""Codes of a Registration Reply, by the party that gives them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Reply codes. RFC 5944 3.4 unless the comment names another source."""

    ACCEPTED = 0
    ACCEPTED_NO_SIMULTANEOUS = 1
    CONCURRENT_REGISTRATION = 2  # RFC 6521 10

    FA_UNSPECIFIED = 64
    FA_ADMINISTRATIVELY_PROHIBITED = 65
    FA_INSUFFICIENT_RESOURCES = 66
    FA_NODE_FAILED_AUTHENTICATION = 67
    FA_HOME_AGENT_FAILED_AUTHENTICATION = 68
    FA_LIFETIME_TOO_LONG = 69  # its Lifetime field is the agent's maximum
    FA_POORLY_FORMED_REQUEST = 70
    FA_POORLY_FORMED_REPLY = 71
    FA_ENCAPSULATION_UNAVAILABLE = 72
    FA_REVERSE_TUNNEL_UNAVAILABLE = 74  # RFC 3024 3.4
    FA_REVERSE_TUNNEL_MANDATORY = 75  # RFC 3024 3.4
    FA_NODE_TOO_DISTANT = 76  # RFC 3024 3.4
    FA_INVALID_CARE_OF_ADDRESS = 77
    FA_REGISTRATION_TIMEOUT = 78
    FA_DELIVERY_STYLE_UNSUPPORTED = 79  # RFC 3024 3.4
    FA_HOME_NETWORK_UNREACHABLE = 80
    FA_HOME_AGENT_HOST_UNREACHABLE = 81
    FA_HOME_AGENT_PORT_UNREACHABLE = 82
    FA_HOME_AGENT_UNREACHABLE = 88
    NONZERO_HOME_AGENT_REQUIRED = 90  # RFC 4433 7
    NONZERO_HOME_ADDRESS_REQUIRED = 96  # RFC 2794 5
    FA_MISSING_NAI = 97  # RFC 2794 5
    FA_MISSING_HOME_AGENT = 98  # RFC 2794 5
    FA_MISSING_HOME_ADDRESS = 99  # RFC 2794 5
    FA_UNKNOWN_VENDOR_EXTENSION_OF_NODE = 100  # RFC 3115 2.4
    FA_UNKNOWN_VENDOR_EXTENSION_OF_HOME_AGENT = 101  # RFC 3115 2.4
    UNKNOWN_CHALLENGE = 104  # RFC 4721 10
    MISSING_CHALLENGE = 105  # RFC 4721 10
    STALE_CHALLENGE = 106  # RFC 4721 10
    FA_BAD_AAA_AUTHENTICATION = 108  # RFC 4721 10
    HOME_AGENT_WRONG_CHALLENGE = 109  # RFC 4721 10

    UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    INSUFFICIENT_RESOURCES = 130
    NODE_FAILED_AUTHENTICATION = 131
    FA_FAILED_AUTHENTICATION = 132
    IDENTIFICATION_MISMATCH = 133
    POORLY_FORMED_REQUEST = 134
    TOO_MANY_BINDINGS = 135
    UNKNOWN_HOME_AGENT = 136
    REVERSE_TUNNEL_UNAVAILABLE = 137  # RFC 3024 3.4
    REVERSE_TUNNEL_MANDATORY = 138  # RFC 3024 3.4
    ENCAPSULATION_UNAVAILABLE = 139  # RFC 3024 3.4
    UNKNOWN_VENDOR_EXTENSION_OF_NODE = 140  # RFC 3115 2.4
    UNKNOWN_VENDOR_EXTENSION_OF_FA = 141  # RFC 3115 2.4
    UDP_ENCAPSULATION_UNAVAILABLE = 142  # RFC 3519 3.5
    REDIRECT_HOME_AGENT = 143  # RFC 4433 7
    BAD_AAA_AUTHENTICATION = 144  # RFC 4721 10
    SERVICE_AUTHORIZATION_FAILED = 151  # RFC 5446 6
    FA_INVALID_HOME_AGENT = 194  # given by a foreign agent

    MISSING_HOME_AGENT_PARAMETER = 200  # draft 2.4.1
    NONZERO_HOME_AGENT_PARAMETER_REQUIRED = 201  # draft 2.4.1
    HOME_AGENT_UNREACHABLE = 202  # draft 2.4.1
    MISSING_NAI = 203  # draft 2.4.1
    MISSING_HOME_ADDRESS = 204  # draft 2.4.1
    MISSING_HOME_AGENT = 205  # draft 2.4.1
    ASSIGNED_HOME_AGENT = 206  # draft 2.4.1: the node is inside and registers with its home agent itself


def describe(code: int) -> str:
    """Name of a reply code for logs and the decoder, also of one that no document defines."""
    try:
        return Code(code).name.lower()
    except ValueError:
        return f"unassigned_{code}"


def is_accepted(code: int) -> bool:
    """True for the two codes that say a binding exists (RFC 5944 3.4)."""
    return code in (Code.ACCEPTED, Code.ACCEPTED_NO_SIMULTANEOUS)


def is_foreign_agent_verdict(code: int) -> bool:
    """True if a foreign agent made the reply itself, so that it need not carry MN-HA authentication (3.6.2.1)."""
    return 64 <= code <= 127 or code == Code.FA_INVALID_HOME_AGENT
