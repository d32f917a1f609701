"""The request to the home agent: bits and addresses (draft 2.2.1, 2.7.1; AMB-3, AMB-4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mobileip.registration.bindings import Encapsulation
from mobileip.registration.events import Endpoint
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import DecapsulatesBit, ProxySettings
from mobileip.wire.messages import Flag
from tests.unit.registration.parties import (
    CO_LOCATED,
    HOME_AGENT,
    MIPP_PRIV,
    NOW,
    PROXY,
    REQUEST,
    from_node,
    only_request,
    sends,
)

EVERY_ENCAPSULATION = replace(PROXY, encapsulations=frozenset(Encapsulation))


def flags(settings: ProxySettings, asked: int) -> int:
    """The flags that the home agent sees of a request with the flags `asked`."""
    return only_request(Proxy(settings).feed(from_node(replace(REQUEST, flags=asked)), NOW)).flags


@pytest.mark.parametrize("copies", [False, True])
def test_m_and_g_are_copied_where_configured_D_2_2_1_a(copies: bool) -> None:
    settings = replace(EVERY_ENCAPSULATION, copy_encapsulation=copies)
    for bit in (Flag.MINIMAL, Flag.GRE):
        assert flags(settings, CO_LOCATED | bit) == Flag.REVERSE_TUNNEL | (bit if copies else 0)
    assert flags(settings, CO_LOCATED) == Flag.REVERSE_TUNNEL


@pytest.mark.parametrize(("copies", "expected"), [(False, 0x02), (True, 0x07)])
def test_reserved_bits_are_copied_only_where_configured_D_2_2_1_a_and_AMB_3(copies: bool, expected: int) -> None:
    assert flags(replace(PROXY, copy_reserved_bits=copies), CO_LOCATED | 0x05) == expected


@pytest.mark.parametrize("supported", [False, True])
def test_b_goes_on_if_broadcasts_are_supported_D_2_2_1_b(supported: bool) -> None:
    settings = replace(PROXY, broadcast=supported)
    assert bool(flags(settings, CO_LOCATED | Flag.BROADCAST) & Flag.BROADCAST) is supported
    assert not flags(settings, CO_LOCATED) & Flag.BROADCAST


def test_d_is_never_set_with_b_and_else_as_configured_D_2_2_1_c_and_AMB_4() -> None:
    unless = replace(PROXY, decapsulates=DecapsulatesBit.UNLESS_BROADCAST)
    for asked in (CO_LOCATED, Flag.REVERSE_TUNNEL):
        assert not flags(PROXY, asked) & Flag.DECAPSULATES
        assert not flags(PROXY, asked | Flag.BROADCAST) & Flag.DECAPSULATES
        assert flags(unless, asked) & Flag.DECAPSULATES
        assert not flags(unless, asked | Flag.BROADCAST) & Flag.DECAPSULATES
    deaf = replace(unless, broadcast=False)
    assert flags(deaf, CO_LOCATED | Flag.BROADCAST) == Flag.DECAPSULATES | Flag.REVERSE_TUNNEL  # B does not go on


@pytest.mark.parametrize("reverse_tunnel", [False, True])
def test_t_is_set_if_the_proxy_may_reverse_tunnel_D_2_2_1_d(reverse_tunnel: bool) -> None:
    assert flags(replace(PROXY, reverse_tunnel=reverse_tunnel), CO_LOCATED) == (0x02 if reverse_tunnel else 0)


def test_request_goes_from_mipp_priv_to_the_home_agent_with_both_in_it_D_2_7_1_a_and_D_2_2_2_d_and_D_2_2_2_e() -> None:
    (send,) = sends(Proxy(PROXY).feed(from_node(REQUEST), NOW))
    relayed = only_request([send])
    assert (send.source, send.destination) == (Endpoint(MIPP_PRIV, 434), Endpoint(HOME_AGENT, 434))
    assert (relayed.home_agent, relayed.care_of_address) == (HOME_AGENT, MIPP_PRIV)
