"""The proxy's own verdicts by the draft's numbers and by the RFCs' (draft 2.4.1, AMB-2)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxySettings
from mobileip.wire.codes import Code
from mobileip.wire.extensions import ExtensionType, find
from mobileip.wire.typed_extensions import TRUSTED_NETWORKS, DynamicHomeAgent, HomeAgentParameter
from tests.unit.registration.parties import (
    HOME_AGENT,
    NOW,
    PARAMETER,
    PROXY,
    REQUEST,
    VISITED,
    codes,
    from_node,
    only_reply,
    signed,
)

RFC = replace(PROXY, code_profile=CodeProfile.RFC)
INSIDE = replace(REQUEST, care_of_address=VISITED)
ANY = HomeAgentParameter(IPv4Address(0)).extension()


@pytest.mark.parametrize(
    ("code", "rfc"),
    [
        (Code.MISSING_HOME_AGENT_PARAMETER, 134),
        (Code.NONZERO_HOME_AGENT_PARAMETER_REQUIRED, 129),
        (Code.MISSING_NAI, 97),
        (Code.MISSING_HOME_ADDRESS, 99),
        (Code.MISSING_HOME_AGENT, 98),
        (Code.ASSIGNED_HOME_AGENT, 143),
        (Code.REVERSE_TUNNEL_MANDATORY, 138),
    ],
)
def test_each_verdict_in_both_profiles_AMB_2(code: Code, rfc: int) -> None:
    assert CodeProfile.DRAFT.code(code) == code
    assert CodeProfile.RFC.code(code) == rfc


@pytest.mark.parametrize(("icmp", "rfc"), [(0, 80), (1, 81), (3, 82), (2, 88), (9, 88), (13, 88)])
def test_unreachable_home_agent_in_both_profiles_D_2_4_1_c_and_AMB_14(icmp: int, rfc: int) -> None:
    assert CodeProfile.DRAFT.unreachable(icmp) == 202
    assert CodeProfile.RFC.unreachable(icmp) == rfc


@pytest.mark.parametrize(("settings", "code"), [(PROXY, 200), (RFC, 134)])
def test_no_home_agent_known_D_2_4_1_a_and_AMB_2(settings: ProxySettings, code: int) -> None:
    proxy = Proxy(settings)
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=())), NOW)) == [code]


@pytest.mark.parametrize(("settings", "code"), [(PROXY, 201), (RFC, 129)])
def test_home_agent_0_where_none_is_assigned_D_2_4_1_b_and_AMB_2(settings: ProxySettings, code: int) -> None:
    proxy = Proxy(settings)
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=(ANY,))), NOW)) == [code]


def test_inside_is_206_with_the_home_agent_D_2_4_1_g() -> None:
    reply = only_reply(Proxy(PROXY).feed(from_node(INSIDE, VISITED, "priv"), NOW))
    assert (reply.code, reply.extensions[:2]) == (206, (PARAMETER, TRUSTED_NETWORKS))


def test_inside_by_the_rfcs_is_143_with_139_beside_the_home_agent_parameter_AMB_2() -> None:
    reply = only_reply(Proxy(RFC).feed(from_node(INSIDE, VISITED, "priv"), NOW))
    assert reply.code == 143
    assert reply.extensions[:2] == (PARAMETER, DynamicHomeAgent(HOME_AGENT, redirected=True).extension())
    found = find(reply.extensions, ExtensionType.DYNAMIC_HOME_AGENT)
    assert found is not None
    assert found.serialize() == bytes.fromhex("8b020004c0000228")  # RFC 4433 3.4


def test_every_verdict_of_ours_is_authenticated_and_gives_a_reason_AMB_2() -> None:
    for settings in (PROXY, RFC):
        reply = only_reply(Proxy(settings).feed(from_node(replace(REQUEST, extensions=())), NOW))
        assert [one.type for one in reply.extensions].count(ExtensionType.MN_HA_AUTHENTICATION) == 1
        assert reply.extensions[-1].type == ExtensionType.MN_HA_AUTHENTICATION
        assert find(reply.extensions, ExtensionType.MESSAGE_STRING) is not None
        assert signed(replace(reply, extensions=reply.extensions[:-1])) == reply.raw
