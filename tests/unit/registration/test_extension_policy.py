"""What becomes of each extension on its way through (draft 2.2.3, 2.3.1; AMB-10)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Count
from mobileip.registration.extension_policy import ENDS_AT_PROXY, ExtensionPolicy, Treatment
from mobileip.registration.gate import GatePolicy
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxySettings
from mobileip.wire.extensions import Extension
from mobileip.wire.typed_extensions import (
    TRUSTED_NETWORKS,
    DynamicHomeAgent,
    FaError,
    MessageString,
    UdpTunnelReply,
)
from tests.unit.registration.parties import (
    HOME_AGENT,
    NOW,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    REQUEST,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    signed,
)

RELAYED = [
    Extension(131, b"mn@home.example"),
    MessageString("hello").extension(),
    Extension(134, bytes.fromhex("0000000004d20001aabb")),
    Extension(136, b"\x01x"),
    Extension(138, b"\x01abcdef"),
    Extension(147, b"\x01y"),
    Extension(148, b"\x01z"),
    Extension(151, b"voice"),  # Service Selection
    Extension(152, b"\x01w"),
    Extension(199, b"unknown"),
]
STRIPPED = [
    Extension(0),
    Extension(130),
    Extension(137, bytes(6)),
    Extension(140, bytes(4)),
    Extension(141, bytes(4)),
    Extension(142, bytes(4)),
    Extension(153, b"\x01"),
    Extension(154, bytes(4), 1),
    TRUSTED_NETWORKS,
]
SILENT = [40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 99]
LONG = {40, 41, 42, 43, 47, 48, 50}


def extension(kind: int) -> Extension:
    return Extension(kind, bytes(6), 1 if kind in LONG else None)


def relayed(settings: ProxySettings, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """What of the request's extensions reaches the home agent, its authenticator aside."""
    request = replace(REQUEST, extensions=(*extensions, PARAMETER))
    return only_request(Proxy(settings).feed(from_node(request), NOW)).extensions[:-1]


def returned(settings: ProxySettings, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """What of the reply's extensions reaches the node, the proxy's own aside."""
    proxy = Proxy(settings)
    proxy.feed(from_node(REQUEST), NOW)
    reply = only_reply(proxy.feed(from_home_agent(reply_to(REQUEST, extensions=extensions)), NOW))
    assert reply.extensions[-2:-1] == (PARAMETER,)
    return reply.extensions[:-2]


def test_what_node_and_home_agent_have_between_them_goes_through_in_its_order_D_2_2_3_a_and_D_2_3_1_h() -> None:
    mixed = [one for pair in zip(RELAYED, STRIPPED, strict=False) for one in pair]
    mixed += RELAYED[len(STRIPPED) :]
    assert relayed(PROXY, tuple(mixed)) == tuple(RELAYED)
    assert returned(PROXY, tuple(RELAYED)) == tuple(RELAYED)


def test_what_concerns_one_leg_ends_there_AMB_10() -> None:
    for one in STRIPPED:
        assert relayed(PROXY, (one,)) == ()
    assert returned(PROXY, (*STRIPPED, UdpTunnelReply().extension(), FaError(68).extension())) == ()


@pytest.mark.parametrize("kind", SILENT)
def test_unknown_type_below_128_silences_the_whole_message_R5944_1_8(kind: int) -> None:
    request = replace(REQUEST, extensions=(extension(kind), PARAMETER))
    assert Proxy(PROXY).feed(from_node(request), NOW) == [Count("unknown_extension")]
    if kind in (44, 45):
        return  # a home agent may send these
    proxy = Proxy(PROXY)
    proxy.feed(from_node(REQUEST), NOW)
    answer = from_home_agent(reply_to(REQUEST, extensions=(extension(kind),)))
    assert (proxy.feed(answer, NOW), proxy.pending) == ([Count("unknown_extension")], 1)


def test_extensions_behind_the_authenticators_are_never_relayed_AMB_10() -> None:
    agents = Extension(134, bytes.fromhex("0000000004d20001cccc"))
    request = only_request(Proxy(PROXY).feed(from_node(signed(REQUEST, behind=[agents])), NOW))
    assert agents not in request.extensions


@pytest.mark.parametrize(("target", "goes"), [(OTHER_HOME_AGENT, True), (IPv4Address("192.0.2.99"), False)])
def test_dynamic_home_agent_extension_goes_only_where_nodes_may_be_sent_AMB_10(target: IPv4Address, goes: bool) -> None:
    asked = DynamicHomeAgent(target).extension()
    redirected = DynamicHomeAgent(target, redirected=True).extension()
    assert relayed(PROXY, (asked,)) == ((asked,) if goes else ())
    assert returned(PROXY, (redirected,)) == ((redirected,) if goes else ())
    assert returned(PROXY, (Extension(139, b"\x02\x01"),)) == ()


def test_treatment_of_each_type_can_be_changed_AMB_10() -> None:
    settings = replace(
        PROXY,
        extensions={151: Treatment.STRIP, 140: Treatment.RELAY, 48: Treatment.RELAY, 42: Treatment.STRIP},
    )
    service, regional, gre_key, key_request = Extension(151, b"v"), extension(140), extension(48), extension(42)
    assert relayed(settings, (service, regional, gre_key, key_request)) == (regional, gre_key)
    assert returned(settings, (service, regional, gre_key)) == (regional, gre_key)


def test_rejected_extension_is_134_with_its_number_and_a_reply_with_one_is_dropped_AMB_10() -> None:
    settings = replace(PROXY, extensions={151: Treatment.REJECT, 47: Treatment.REJECT})
    for one in (Extension(151, b"v"), extension(47)):
        reply = only_reply(Proxy(settings).feed(from_node(replace(REQUEST, extensions=(one, PARAMETER))), NOW))
        reason = MessageString(f"extension {one.type} is not allowed here").extension()
        assert (reply.code, reason in reply.extensions) == (134, True)
        proxy = Proxy(settings)
        proxy.feed(from_node(REQUEST), NOW)
        actions = proxy.feed(from_home_agent(reply_to(REQUEST, extensions=(one,))), NOW)
        assert (actions, proxy.pending) == ([Count("discarded_extension")], 1)


def test_skippable_extension_may_silence_a_message_where_so_configured_AMB_10() -> None:
    settings = replace(PROXY, extensions={199: Treatment.DISCARD})
    actions = Proxy(settings).feed(from_node(replace(REQUEST, extensions=(RELAYED[-1], PARAMETER))), NOW)
    assert actions[-1] == Count("discarded_extension")
    assert codes(actions) == []


def test_critical_vendor_extension_goes_through_if_it_is_known_else_140_R3115_2_4() -> None:
    known = Extension(38, bytes.fromhex("000004d20007aa"), 0)
    settings = replace(PROXY, checks=GatePolicy(vendors=frozenset({(1234, 7)})))
    assert relayed(settings, (known,)) == (known,)
    assert returned(settings, (known,)) == (known,)
    assert codes(Proxy(PROXY).feed(from_node(replace(REQUEST, extensions=(known, PARAMETER))), NOW)) == [140]
    proxy = Proxy(PROXY)
    proxy.feed(from_node(REQUEST), NOW)
    answer = from_home_agent(reply_to(REQUEST, extensions=(known,)))
    assert (codes(proxy.feed(answer, NOW)), proxy.bindings) == ([130], ())


@pytest.mark.parametrize("kind", sorted(ENDS_AT_PROXY))
def test_what_ends_at_the_proxy_cannot_be_configured_to_pass_AMB_10(kind: int) -> None:
    with pytest.raises(ValueError, match=f"extension {kind}: ends at the proxy"):
        ExtensionPolicy(overrides={kind: Treatment.RELAY})
    assert ExtensionPolicy(home_agents=[HOME_AGENT]).treatment(kind) is Treatment.STRIP
