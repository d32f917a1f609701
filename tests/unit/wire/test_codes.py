"""Reply codes: numbers that other documents fixed, and whose verdict they are."""

from __future__ import annotations

from ipaddress import IPv4Address

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


def test_unassigned_codes_have_a_name_too() -> None:
    assert describe(131) == "node_failed_authentication"
    assert describe(9) == "unassigned_9"
