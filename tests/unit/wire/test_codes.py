"""Reply codes: numbers that other documents fixed, and whose verdict they are."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Address

import pytest

from mobileip.wire.codes import Code, describe, is_foreign_agent_verdict
from mobileip.wire.messages import RegistrationReply


def test_numbers_of_the_draft_D_2_4_1() -> None:
    assert [code.value for code in Code if code >= 200] == [200, 201, 202, 203, 204, 205, 206]
    assert [Code.MISSING_HOME_AGENT_PARAMETER.value, Code.ASSIGNED_HOME_AGENT.value] == [200, 206]


def test_insufficient_resources_is_130_and_133_a_mismatch_AMB_1() -> None:
    assert (Code.INSUFFICIENT_RESOURCES.value, Code.IDENTIFICATION_MISMATCH.value) == (130, 133)


def test_only_0_and_1_are_accepted_RFC_5944_3_4() -> None:
    zero = IPv4Address(0)
    assert [code for code in range(256) if RegistrationReply(code, 0, zero, zero, 0).accepted] == [0, 1]


def test_verdicts_of_foreign_agents_R5944_3_6_2_1() -> None:
    assert [code for code in range(256) if is_foreign_agent_verdict(code)] == [*range(64, 128), 194]


TSHARK_SAYS = {
    Code.ACCEPTED: "Reg Accepted",
    Code.ACCEPTED_NO_SIMULTANEOUS: "Reg Accepted, but Simultaneous Bindings Unsupported",
    Code.FA_UNSPECIFIED: "Reg Deny (FA)- Unspecified Reason",
    Code.FA_ADMINISTRATIVELY_PROHIBITED: "Reg Deny (FA)- Administratively Prohibited",
    Code.FA_INSUFFICIENT_RESOURCES: "Reg Deny (FA)- Insufficient Resources",
    Code.FA_NODE_FAILED_AUTHENTICATION: "Reg Deny (FA)- MN Failed Authentication",
    Code.FA_HOME_AGENT_FAILED_AUTHENTICATION: "Reg Deny (FA)- HA Failed Authentication",
    Code.FA_LIFETIME_TOO_LONG: "Reg Deny (FA)- Requested Lifetime too Long",
    Code.FA_POORLY_FORMED_REQUEST: "Reg Deny (FA)- Poorly Formed Request",
    Code.FA_POORLY_FORMED_REPLY: "Reg Deny (FA)- Poorly Formed Reply",
    Code.FA_ENCAPSULATION_UNAVAILABLE: "Reg Deny (FA)- Requested Encapsulation Unavailable",
    Code.FA_REVERSE_TUNNEL_UNAVAILABLE: "Reg Deny (FA)- Requested Reverse Tunnel Unavailable",
    Code.FA_REVERSE_TUNNEL_MANDATORY: "Reg Deny (FA)- Reverse Tunnel Is Mandatory and 'T' Bit Not Set",
    Code.FA_NODE_TOO_DISTANT: "Reg Deny (FA)- Mobile Node Too Distant",
    Code.FA_INVALID_CARE_OF_ADDRESS: "Reg Deny (FA)- Invalid Care-of Address",
    Code.FA_REGISTRATION_TIMEOUT: "Reg Deny (FA)- Registration Timeout",
    Code.FA_DELIVERY_STYLE_UNSUPPORTED: "Reg Deny (FA)- Delivery Style Not Supported",
    Code.FA_HOME_NETWORK_UNREACHABLE: "Reg Deny (FA)- Home Network Unreachable",
    Code.FA_HOME_AGENT_HOST_UNREACHABLE: "Reg Deny (FA)- HA Host Unreachable",
    Code.FA_HOME_AGENT_PORT_UNREACHABLE: "Reg Deny (FA)- HA Port Unreachable",
    Code.FA_HOME_AGENT_UNREACHABLE: "Reg Deny (FA)- HA Unreachable",
    Code.UNSPECIFIED: "Reg Deny (HA)- Unspecified",
    Code.ADMINISTRATIVELY_PROHIBITED: "Reg Deny (HA)- Administratively Prohibited",
    Code.INSUFFICIENT_RESOURCES: "Reg Deny (HA)- Insufficient Resources",
    Code.NODE_FAILED_AUTHENTICATION: "Reg Deny (HA)- MN Failed Authentication",
    Code.FA_FAILED_AUTHENTICATION: "Reg Deny (HA)- FA Failed Authentication",
    Code.IDENTIFICATION_MISMATCH: "Reg Deny (HA)- Registration ID Mismatch",
    Code.POORLY_FORMED_REQUEST: "Reg Deny (HA)- Poorly Formed Request",
    Code.TOO_MANY_BINDINGS: "Reg Deny (HA)- Too Many Simultaneous Bindings",
    Code.UNKNOWN_HOME_AGENT: "Reg Deny (HA)- Unknown HA Address",
    Code.REVERSE_TUNNEL_UNAVAILABLE: "Reg Deny (HA)- Requested Reverse Tunnel Unavailable",
    Code.REVERSE_TUNNEL_MANDATORY: "Reg Deny (HA)- Reverse Tunnel Is Mandatory and 'T' Bit Not Set",
    Code.ENCAPSULATION_UNAVAILABLE: "Reg Deny (HA)- Requested Encapsulation Unavailable",
    Code.UDP_ENCAPSULATION_UNAVAILABLE: "Reg Deny (HA)- UDP Encapsulation Unavailable",
    Code.REDIRECT_HOME_AGENT: "Reg Deny (HA)- Register with Redirected HA",
    Code.BAD_AAA_AUTHENTICATION: "Reg Deny (HA)- MN Failed AAA Authentication",
}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
def test_codes_mean_what_another_decoder_says_R5944_3_4_d() -> None:
    printed = subprocess.run(["tshark", "-G", "values"], capture_output=True, text=True, check=True, timeout=60).stdout
    rows = [line.split("\t") for line in printed.splitlines() if line.startswith("V\tmip.code\t")]
    theirs = {int(row[2], 0): row[3] for row in rows}
    assert {code: theirs[code] for code in TSHARK_SAYS} == TSHARK_SAYS


def test_unassigned_codes_have_a_name_too() -> None:
    assert describe(131) == "node_failed_authentication"
    assert describe(9) == "unassigned_9"
