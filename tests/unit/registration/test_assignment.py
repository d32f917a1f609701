"""Which home agent serves a node: named, known, assigned (draft 2.2.4, 2.6.1, 2.6.4; AMB-5, AMB-7)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from mobileip.registration.actions import Bind, Count
from mobileip.registration.bindings import NodeKey
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.proxy import Proxy
from mobileip.registration.proxy_settings import ProxyNode, WhichReplies
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import RegistrationRequest, types_of
from mobileip.wire.typed_extensions import (
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    find_home_agent_parameter,
)
from tests.unit.registration.parties import (
    GATEWAY,
    HOME,
    HOME_AGENT,
    NODE_SA,
    NOW,
    OTHER_HOME_AGENT,
    PARAMETER,
    PROXY,
    PROXY_SA,
    REQUEST,
    VISITED,
    Disk,
    at,
    codes,
    from_home_agent,
    from_node,
    only_reply,
    only_request,
    reply_to,
    signed,
)

NETWORK = IPv4Network("192.0.2.64/27")
POOL = (HOME_AGENT, OTHER_HOME_AGENT, IPv4Address("192.0.2.42"))
ANY = HomeAgentParameter(IPv4Address(0)).extension()
NAMES = [f"mn{number}@home.example" for number in range(60)]


def key_of(name: str) -> SecurityAssociation:
    return SecurityAssociation(5000 + NAMES.index(name), name.encode().ljust(16)[:16] + b"n")


DYNAMIC = replace(
    PROXY,
    nodes=tuple(ProxyNode(None, GATEWAY, (key_of(name),), PROXY_SA, nai=name) for name in NAMES),
    home_agents=dict.fromkeys(POOL, (NETWORK,)),
    home_agent_pool=POOL,
)


def asks(name: str, now: float = NOW, home_agent: Extension = ANY) -> RegistrationRequest:
    """A request of a node without home address that wants any home agent."""
    nai = Extension(ExtensionType.NAI, name.encode())
    return replace(REQUEST, home_address=IPv4Address(0), identification=at(now), extensions=(nai, home_agent))


def assigned(proxy: Proxy, name: str, now: float = NOW) -> IPv4Address:
    return only_request(proxy.feed(from_node(signed(asks(name, now), key_of(name))), now)).home_agent


def register(proxy: Proxy, name: str, now: float, home_address: IPv4Address, disk: Disk | None = None) -> IPv4Address:
    """Register a node through; the home agent that the reply names in its HA Parameter extension."""
    request = asks(name, now)
    relayed = proxy.feed(from_node(signed(request, key_of(name))), now)
    home_agent = only_request(relayed).home_agent
    reply = reply_to(request, home_address=home_address, home_agent=home_agent, extensions=request.extensions[:1])
    actions = proxy.feed(from_home_agent(signed(reply, PROXY_SA), home_agent), now)
    if disk is not None:
        disk.commit([*relayed, *actions])
    named = find_home_agent_parameter(only_reply(actions).extensions, [HomeAgentParameterFormat()])
    assert named is not None
    return named.address


# -- assigned from a pool -----------------------------------------------------------------------------------------


def test_value_0_with_a_nai_is_given_a_home_agent_of_the_pool_D_2_6_4_a_and_D_2_5_3_b() -> None:
    proxy = Proxy(DYNAMIC)
    chosen = [assigned(proxy, name) for name in NAMES]
    assert set(chosen) == set(POOL)  # all have their share


def test_the_same_node_gets_the_same_one_from_any_proxy_with_the_pool_D_2_6_4_c() -> None:
    shuffled = replace(DYNAMIC, home_agent_pool=POOL[::-1])
    assert [assigned(Proxy(DYNAMIC), name) for name in NAMES] == [assigned(Proxy(shuffled), name) for name in NAMES]


def test_a_smaller_pool_moves_only_those_whose_home_agent_went_D_2_6_4_c() -> None:
    before = [assigned(Proxy(DYNAMIC), name) for name in NAMES]
    after = [assigned(Proxy(replace(DYNAMIC, home_agent_pool=POOL[:2])), name) for name in NAMES]
    assert [new for old, new in zip(before, after, strict=True) if old in POOL[:2]] == [
        old for old in before if old in POOL[:2]
    ]
    assert set(after) == set(POOL[:2])


def test_session_stays_with_its_home_agent_whatever_the_pool_says_now_D_2_6_4_c() -> None:
    disk = Disk()
    first = Proxy(DYNAMIC)
    home_agent = register(first, NAMES[0], NOW, HOME, disk)
    others = tuple(agent for agent in POOL if agent != home_agent)
    changed = Proxy(replace(DYNAMIC, home_agent_pool=others))
    assert changed.restore(disk.records(), NOW + 1) == [Bind(binding) for binding in first.bindings]
    assert register(changed, NAMES[0], NOW + 10, HOME) == home_agent
    changed.handle_timer(NOW + 400)  # the session is over
    assert register(changed, NAMES[0], NOW + 400, HOME) in others


def test_second_request_before_the_first_reply_goes_to_the_same_one_D_2_6_4_c() -> None:
    proxy = Proxy(DYNAMIC)
    assert assigned(proxy, NAMES[0], NOW) == assigned(proxy, NAMES[0], NOW + 1.5)


def test_reply_names_the_home_agent_that_was_assigned_D_2_6_1_e_and_D_2_6_1_j() -> None:
    assert register(Proxy(DYNAMIC), NAMES[3], NOW, HOME) == assigned(Proxy(DYNAMIC), NAMES[3])


@pytest.mark.parametrize(("profile", "code"), [(CodeProfile.DRAFT, 201), (CodeProfile.RFC, 129)])
def test_value_0_without_nai_is_201_D_2_4_1_b(profile: CodeProfile, code: int) -> None:
    proxy = Proxy(replace(PROXY, home_agent_pool=POOL[:2], code_profile=profile))
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=(ANY,))), NOW)) == [code]


def test_value_0_without_a_pool_is_201_D_2_4_1_b() -> None:
    proxy = Proxy(replace(DYNAMIC, home_agent_pool=()))
    assert codes(proxy.feed(from_node(signed(asks(NAMES[0]), key_of(NAMES[0]))), NOW)) == [201]


def test_home_agent_of_the_pool_must_serve_a_home_address_that_is_given_D_2_6_4_a() -> None:
    node = replace(PROXY.nodes[0], nai=NAMES[0])
    proxy = Proxy(replace(PROXY, nodes=(node,), home_agent_pool=POOL[:2]))
    request = replace(asks(NAMES[0]), home_address=HOME)
    assert only_request(proxy.feed(from_node(request), NOW)).home_agent == HOME_AGENT  # the other has another network


def test_inside_and_dynamic_is_206_with_the_home_agent_that_was_chosen_D_2_6_1_d() -> None:
    name = NAMES[5]
    outside = assigned(Proxy(DYNAMIC), name)
    request = replace(asks(name), care_of_address=VISITED)
    reply = only_reply(Proxy(DYNAMIC).feed(from_node(signed(request, key_of(name)), VISITED, "priv"), NOW))
    assert reply.code == 206
    assert HomeAgentParameter(outside).extension() in reply.extensions


# -- named or known -----------------------------------------------------------------------------------------------


def test_node_without_the_extension_is_served_by_mapping_then_session_then_default_AMB_7() -> None:
    plain = replace(REQUEST, extensions=())
    both = {HOME_AGENT: (NETWORK,), OTHER_HOME_AGENT: (NETWORK,)}
    mapped = replace(PROXY.nodes[0], home_agent=OTHER_HOME_AGENT)
    settings = replace(PROXY, home_agents=both, default_home_agent=HOME_AGENT)
    assert only_request(Proxy(settings).feed(from_node(plain), NOW)).home_agent == HOME_AGENT
    by_node = Proxy(replace(settings, nodes=(mapped,)))
    assert only_request(by_node.feed(from_node(plain), NOW)).home_agent == OTHER_HOME_AGENT
    named = replace(REQUEST, extensions=(HomeAgentParameter(OTHER_HOME_AGENT).extension(),))
    proxy = Proxy(settings)
    proxy.feed(from_node(named), NOW)
    proxy.feed(from_home_agent(reply_to(named), OTHER_HOME_AGENT), NOW)
    again = replace(plain, identification=at(NOW + 1))
    assert only_request(proxy.feed(from_node(again), NOW + 1)).home_agent == OTHER_HOME_AGENT


def test_default_that_does_not_serve_the_node_is_no_help_D_2_2_4_e() -> None:
    proxy = Proxy(replace(PROXY, default_home_agent=OTHER_HOME_AGENT))
    assert codes(proxy.feed(from_node(replace(REQUEST, extensions=())), NOW)) == [200]


def test_one_proxy_serves_several_home_agents_and_networks_D_1_4_a() -> None:
    other_home = IPv4Address("192.0.2.100")
    other = ProxyNode(other_home, GATEWAY, (replace(NODE_SA, spi=2009),), replace(PROXY_SA, spi=3009))
    proxy = Proxy(replace(PROXY, nodes=(*PROXY.nodes, other)))
    asked = replace(REQUEST, home_address=other_home, extensions=(HomeAgentParameter(OTHER_HOME_AGENT).extension(),))
    assert only_request(proxy.feed(from_node(REQUEST), NOW)).home_agent == HOME_AGENT
    actions = proxy.feed(from_node(signed(asked, replace(NODE_SA, spi=2009))), NOW)
    assert only_request(actions).home_agent == OTHER_HOME_AGENT
    answer = signed(reply_to(asked, home_agent=OTHER_HOME_AGENT), replace(PROXY_SA, spi=3009))
    assert proxy.feed(from_home_agent(answer, HOME_AGENT), NOW) == [Count("reply_without_request")]
    assert codes(proxy.feed(from_home_agent(answer, OTHER_HOME_AGENT), NOW)) == [0]
    assert codes(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW)) == [0]
    assert {(one.home_address, one.home_agent) for one in proxy.bindings} == {
        (HOME, HOME_AGENT),
        (other_home, OTHER_HOME_AGENT),
    }


# -- overlapping home addresses -----------------------------------------------------------------------------------

OTHER_GATEWAY = IPv4Address("203.0.113.21")
TWIN_SA, TWIN_HA_SA = SecurityAssociation(2001, b"t" * 16), SecurityAssociation(3001, b"u" * 16)
TWINS = replace(
    PROXY,
    nodes=(*PROXY.nodes, ProxyNode(HOME, OTHER_GATEWAY, (TWIN_SA,), TWIN_HA_SA)),
    home_agents={HOME_AGENT: (NETWORK,), OTHER_HOME_AGENT: (NETWORK,)},
)


def test_one_home_address_behind_two_gateways_is_two_nodes_D_1_4_a() -> None:
    proxy, disk = Proxy(TWINS), Disk()
    twin = replace(REQUEST, extensions=(HomeAgentParameter(OTHER_HOME_AGENT).extension(),))
    for request, key in ((REQUEST, NODE_SA), (twin, TWIN_SA)):
        disk.commit(proxy.feed(from_node(signed(request, key)), NOW))  # the same Identification: no replay
    assert proxy.pending == 2
    disk.commit(proxy.feed(from_home_agent(reply_to(REQUEST)), NOW))
    reply = signed(reply_to(twin, home_agent=OTHER_HOME_AGENT), TWIN_HA_SA)
    disk.commit(proxy.feed(from_home_agent(reply, OTHER_HOME_AGENT), NOW))
    assert [(one.gateway, one.home_address, one.home_agent) for one in proxy.bindings] == [
        (GATEWAY, HOME, HOME_AGENT),
        (OTHER_GATEWAY, HOME, OTHER_HOME_AGENT),
    ]
    restarted = Proxy(TWINS)
    restarted.restore(disk.records(), NOW + 1)
    assert restarted.bindings == proxy.bindings
    over = replace(twin, lifetime=0, identification=at(NOW + 2))
    restarted.feed(from_node(signed(over, TWIN_SA)), NOW + 2)
    ended = signed(reply_to(over, lifetime=0, home_agent=OTHER_HOME_AGENT), TWIN_HA_SA)
    restarted.feed(from_home_agent(ended, OTHER_HOME_AGENT), NOW + 2)
    assert [one.gateway for one in restarted.bindings] == [GATEWAY]


def test_reply_from_one_home_agent_of_both_is_told_apart_by_its_key_D_1_4_a() -> None:
    proxy = Proxy(TWINS)
    for key in (NODE_SA, TWIN_SA):
        proxy.feed(from_node(signed(REQUEST, key)), NOW)
    actions = proxy.feed(from_home_agent(signed(reply_to(REQUEST), TWIN_HA_SA)), NOW)
    assert codes(actions) == [0]
    assert [one.gateway for one in proxy.bindings] == [OTHER_GATEWAY]
    assert NodeKey(OTHER_GATEWAY, HOME) == TWINS.nodes[1].key


# -- forms of the HA Parameter extension --------------------------------------------------------------------------

FORMS = [
    (HomeAgentParameterFormat(), "7e060000c0000228"),
    (HomeAgentParameterFormat(99, 7), "63060700c0000228"),
    (HomeAgentParameterFormat(127, 5, HomeAgentParameterEncoding.RFC4064_LONG), "7f050004c0000228"),
    (
        HomeAgentParameterFormat(38, 0, HomeAgentParameterEncoding.CRITICAL_VENDOR, 0x7ED9, 0x0102),
        "2600000a00007ed90102c0000228",
    ),
    (
        HomeAgentParameterFormat(134, 0, HomeAgentParameterEncoding.NORMAL_VENDOR, 0x7ED9, 0x0102),
        "860c000000007ed90102c0000228",
    ),
    (HomeAgentParameterFormat(255, 9, HomeAgentParameterEncoding.SKIPPABLE), "ff060900c0000228"),
]
ALL_FORMS = replace(PROXY, home_agent_parameter=tuple(form for form, _ in FORMS))


@pytest.mark.parametrize(("form", "octets"), FORMS)
def test_every_form_is_understood_ended_and_answered_in_kind_AMB_5_and_D_2_5_3_c(
    form: HomeAgentParameterFormat, octets: str
) -> None:
    extension = HomeAgentParameter(HOME_AGENT, form).extension()
    assert extension.serialize() == bytes.fromhex(octets)
    proxy = Proxy(ALL_FORMS)
    request = replace(REQUEST, extensions=(extension,))
    assert types_of(only_request(proxy.feed(from_node(request), NOW)).extensions) == (32,)
    assert only_reply(proxy.feed(from_home_agent(reply_to(request)), NOW)).extensions[0] == extension


@pytest.mark.parametrize(("form", "octets"), FORMS)
def test_form_of_another_length_is_not_valid_AMB_5(form: HomeAgentParameterFormat, octets: str) -> None:
    whole = HomeAgentParameter(HOME_AGENT, form).extension()
    for data in (whole.data + b"\0", whole.data[:-1]):
        request = replace(REQUEST, extensions=(replace(whole, data=data),))
        assert codes(Proxy(ALL_FORMS).feed(from_node(request), NOW)) == [200], octets


def test_two_forms_at_once_are_134_AMB_5() -> None:
    request = replace(REQUEST, extensions=(PARAMETER, HomeAgentParameter(HOME_AGENT, FORMS[5][0]).extension()))
    assert codes(Proxy(ALL_FORMS).feed(from_node(request), NOW)) == [134]


def test_form_that_is_not_accepted_is_treated_as_its_type_is_AMB_5() -> None:
    for (form, _), expected in zip(FORMS, [200, None, None, 140, 200, 200], strict=True):
        settings = replace(PROXY, home_agent_parameter=(HomeAgentParameterFormat(100),))
        request = replace(REQUEST, extensions=(HomeAgentParameter(HOME_AGENT, form).extension(),))
        actions = Proxy(settings).feed(from_node(request), NOW)
        if form.type in (126, 99, 127):
            assert actions == [Count("unknown_extension")]  # RFC 5944 1.8
        else:
            assert codes(actions) == [expected]


def test_other_extensions_of_the_vendors_types_are_no_home_agent_parameter_AMB_5() -> None:
    other = Extension(134, bytes.fromhex("000000007ed90103c0000228"))
    request = replace(REQUEST, extensions=(PARAMETER, other))
    assert other in only_request(Proxy(ALL_FORMS).feed(from_node(request), NOW)).extensions


@pytest.mark.parametrize(
    ("type_", "encoding"),
    [
        (126, HomeAgentParameterEncoding.RFC4064_LONG),
        (127, HomeAgentParameterEncoding.DRAFT_SHORT),
        (126, HomeAgentParameterEncoding.CRITICAL_VENDOR),
        (38, HomeAgentParameterEncoding.DRAFT_SHORT),
        (38, HomeAgentParameterEncoding.NORMAL_VENDOR),
        (134, HomeAgentParameterEncoding.SKIPPABLE),
    ],
)
def test_number_and_encoding_that_do_not_fit_are_refused(type_: int, encoding: HomeAgentParameterEncoding) -> None:
    with pytest.raises(ValueError, match=f"HA Parameter type {type_}"):
        HomeAgentParameterFormat(type_, 0, encoding)


def replies(setting: WhichReplies, extensions: tuple[Extension, ...]) -> list[bool]:
    """Is there an HA Parameter extension in a reply of the home agent, a denial of the rules, of the gate, a 206?"""
    settings = replace(PROXY, parameter_in_reply=setting, default_home_agent=HOME_AGENT)
    request = replace(REQUEST, extensions=extensions)
    proxy = Proxy(settings)
    proxy.feed(from_node(request), NOW)
    actions = [
        proxy.feed(from_home_agent(reply_to(request)), NOW),
        Proxy(settings).feed(from_node(replace(request, flags=0x20)), NOW),
        Proxy(settings).feed(from_node(replace(request, identification=at(NOW - 60))), NOW),
        Proxy(settings).feed(from_node(replace(request, care_of_address=VISITED), VISITED, "priv"), NOW),
    ]
    assert [only_reply(each).code for each in actions] == [0, 138, 133, 206]
    return [126 in types_of(only_reply(each).extensions) for each in actions]


def test_replies_carry_the_extension_as_configured_AMB_7_and_D_2_6_1_j() -> None:
    asked, silent = (PARAMETER,), ()
    assert replies(WhichReplies.IF_REQUESTED, asked) == [True] * 4
    assert replies(WhichReplies.IF_REQUESTED, silent) == [False] * 4
    assert replies(WhichReplies.ALWAYS, asked) == [True] * 4
    assert replies(WhichReplies.ALWAYS, silent) == [True] * 4
    assert replies(WhichReplies.ON_206, asked) == [False, False, False, True]
    assert replies(WhichReplies.ON_206, silent) == [False] * 4
