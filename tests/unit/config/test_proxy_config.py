"""The proxy's settings: their defaults, what is refused, and what the proxy's machine makes of them."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mobileip.config import ProxyConfig
from mobileip.config.hap import ONE_HOP_EXTENSIONS
from mobileip.forwarding import layouts
from mobileip.forwarding.entries import IPSEC, Passes
from mobileip.registration.bindings import NodeKey
from mobileip.registration.code_profile import CodeProfile
from mobileip.registration.extension_policy import ENDS_AT_PROXY, Treatment
from mobileip.registration.location import LocationMode
from mobileip.registration.proxy_settings import (
    DecapsulatesBit,
    DeregisterAll,
    OnLocalFailure,
    ProxySettings,
    WhenInside,
    WhichReplies,
)
from mobileip.runtime.settings import passes, proxy_settings
from mobileip.wire.codes import Code
from mobileip.wire.typed_extensions import HomeAgentParameterEncoding, HomeAgentParameterFormat
from tests.unit.config.test_config import KEYS, PROXY, changed, errors, load

GATEWAY = IPv4Address("203.0.113.20")


def settings(directory: Path, text: str) -> ProxySettings:
    loaded = load(directory, text, KEYS)
    assert isinstance(loaded.config, ProxyConfig)
    return proxy_settings(loaded, loaded.config)


def test_a_file_that_says_nothing_means_the_documents_defaults(tmp_path: Path) -> None:
    """AMB-1, AMB-2, AMB-3, AMB-4, AMB-5, AMB-7, AMB-9, AMB-11, AMB-21: the first value of each."""
    made = settings(tmp_path, PROXY)
    same = {
        field.name: field.default
        for field in fields(ProxySettings)
        if field.name
        in {
            "simultaneous", "when_inside", "code_profile", "cannot_service_code", "on_local_failure", "decapsulates",
            "copy_encapsulation", "copy_reserved_bits", "deregister_all_care_of_address", "home_agent_parameter",
            "parameter_in_reply", "location_mode", "lifetime_jitter", "broadcast", "home_agent_pool",
        }
    }  # fmt: skip
    assert len(same) == 15
    assert {name: getattr(made, name) for name in same} == same
    assert made.code_profile is CodeProfile.DRAFT
    assert made.cannot_service_code == 130
    assert made.extensions == {}


def test_what_passes_is_ipsec_unless_told_otherwise_AMB_16(tmp_path: Path) -> None:
    assert passes_of(tmp_path, PROXY) == IPSEC
    listed = "passes: [50, AH, udp/51820, tcp/1194]\n"
    wanted = Passes(frozenset({50, 51}), frozenset({(17, 51820), (6, 1194)}))
    assert passes_of(tmp_path, PROXY + listed) == wanted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("udp", "this is all of TCP or UDP, expected the VPN gateway's port as well"),
        ("17", "this is all of TCP or UDP, expected the VPN gateway's port as well"),
        ("udp/434", "registrations never pass to a VPN gateway"),
        ("udp/0", "expected esp, ah, gre, the number of an IP protocol"),
        ("udp/65536", "expected esp, ah, gre, the number of an IP protocol"),
        ("256", "expected esp, ah, gre, the number of an IP protocol"),
        ("true", "expected esp, ah, gre, the number of an IP protocol"),
        ("esp/500", "expected esp, ah, gre, the number of an IP protocol"),
    ],
)
def test_what_cannot_pass_is_refused(tmp_path: Path, value: str, expected: str) -> None:
    (error,) = errors(tmp_path, PROXY + f"passes: [esp, {value}]\n")
    assert "passes[1]" in error
    assert expected in error


def test_other_vpn_users_are_nobody_that_is_known_otherwise(tmp_path: Path) -> None:
    for network, expected in (
        ("192.0.2.64/28", "overlaps the home network 192.0.2.64/27"),
        ("192.0.2.0/26", "contains 192.0.2.10, MIPP-Priv"),
        ("203.0.113.16/28", "contains 203.0.113.20, VPNGW-Pub"),
    ):
        line = "    vpngw_priv: 192.0.2.20\n"
        found = errors(tmp_path, changed(PROXY, line, f"{line}    other_sources: [{network}]\n"))
        assert any("vpn_gateways[0].other_sources[0]" in error and expected in error for error in found), found


def passes_of(directory: Path, text: str) -> Passes:
    config = load(directory, text).config
    assert isinstance(config, ProxyConfig)
    return passes(config)


def test_every_setting_reaches_the_machine(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        changed(changed(PROXY, "home_networks: [192.0.2.64/27]}",
                        "home_networks: [192.0.2.64/27], assignable: true, nai: true}"),
                "location: {", "location: {mode: interface, ")
        + """\
default_home_agent: 192.0.2.40
simultaneous: 3
lifetime_jitter: 10
on_206: keep
on_local_failure: deregister
reply: {code_profile: rfc, proxy_cannot_service_code: 133}
haleg: {d_bit: unless-b, copy_encapsulation_bits: true, copy_reserved_bits: true, dereg_all_coa: home-address,
        broadcast: false}
hap:
  encoding: exp-skippable
  subtype: 3
  in_reply: always
  accept: [{}, {encoding: rfc4064-long}, {encoding: cvse, vendor: 32473, vendor_type: 5}]
extensions: {151: strip, 42: reject}
""",
    )  # fmt: skip
    home_agent = IPv4Address("192.0.2.40")
    assert (made.home_agent_pool, made.default_home_agent) == ((home_agent,), home_agent)
    assert made.gateway_networks == {GATEWAY: (IPv4Network("192.0.2.64/27"),)}
    assert (made.simultaneous, made.lifetime_jitter) == (3, 0.1)
    assert (made.location_mode, made.when_inside) == (LocationMode.INTERFACE, WhenInside.KEEP)
    assert (made.code_profile, made.cannot_service_code) == (CodeProfile.RFC, Code.IDENTIFICATION_MISMATCH)
    assert made.on_local_failure is OnLocalFailure.DEREGISTER
    assert (made.decapsulates, made.copy_encapsulation) == (DecapsulatesBit.UNLESS_BROADCAST, True)
    assert (made.copy_reserved_bits, made.broadcast) == (True, False)
    assert made.deregister_all_care_of_address is DeregisterAll.HOME_ADDRESS
    assert made.parameter_in_reply is WhichReplies.ALWAYS
    assert made.home_agent_parameter == (
        HomeAgentParameterFormat(255, 3, HomeAgentParameterEncoding.SKIPPABLE),
        HomeAgentParameterFormat(),
        HomeAgentParameterFormat(127, 0, HomeAgentParameterEncoding.RFC4064_LONG),
        HomeAgentParameterFormat(38, 0, HomeAgentParameterEncoding.CRITICAL_VENDOR, 32473, 5),
    )
    assert made.extensions == {151: Treatment.STRIP, 42: Treatment.REJECT}


def test_home_agent_that_may_be_assigned_knows_the_nai_extension_D_2_6_4_b(tmp_path: Path) -> None:
    networks = "home_networks: [192.0.2.64/27]}"
    without = changed(PROXY, networks, "home_networks: [192.0.2.64/27], assignable: true}")
    said = errors(tmp_path, without)
    assert any("home_agents[0].assignable: True: is set for 192.0.2.40 without nai" in line for line in said), said
    refused = changed(PROXY, networks, "home_networks: [192.0.2.64/27], assignable: true, nai: false}")
    assert errors(tmp_path, refused) == said
    # One that does not know it may serve nodes that name it, and is never in the pool.
    assert settings(tmp_path, PROXY).home_agent_pool == ()


def test_node_without_home_address_is_known_by_its_nai_D_2_6_3_a(tmp_path: Path) -> None:
    made = settings(tmp_path, changed(PROXY, "home_address: 192.0.2.69", "nai: mn@home.example"))
    assert [(node.key, node.home_address) for node in made.nodes] == [(NodeKey(GATEWAY, "mn@home.example"), None)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("simultaneous: 5", "simultaneous: 5"),
        ("simultaneous: true", "simultaneous: True"),
        ("lifetime_jitter: 51", "lifetime_jitter: 51"),
        ("on_206: forget", "on_206: 'forget'"),
        ("on_local_failure: retry", "on_local_failure: 'retry'"),
        ("reply: {code_profile: rfc5944}", "reply.code_profile: 'rfc5944'"),
        ("reply: {proxy_cannot_service_code: 131}", "reply.proxy_cannot_service_code: 131"),
        ("haleg: {d_bit: always}", "haleg.d_bit: 'always'"),
        ("haleg: {dereg_all_coa: mipp-pub}", "haleg.dereg_all_coa: 'mipp-pub'"),
        ("hap: {in_reply: sometimes}", "hap.in_reply: 'sometimes'"),
        ("hap: {encoding: long}", "hap.encoding: 'long'"),
        ("hap: {type: 127}", "hap.type: 127: means another extension"),
        ("hap: {type: 200}", "hap.type: 200: does not go with encoding draft-short"),
        ("hap: {encoding: cvse, vendor: 9, type: 39}", "hap.type: 39: does not go with encoding cvse; leave it out, "
         "it is 38"),
        ("hap: {encoding: nvse}", "hap.vendor: None: does not go with encoding nvse; name the SMI enterprise number"),
        ("hap: {vendor: 9}", "hap.vendor: 9: does not go with encoding draft-short; it belongs to cvse and nvse only"),
        ("hap: {accept: [{type: 32}]}", "hap.accept[0].type: 32: means another extension"),
        ("extensions: {32: relay}", "extensions.32: 32: ends at the proxy; no treatment of it can be chosen"),
        ("extensions: {256: strip}", "extensions.256: 256: is no type number of an extension; expected 1 to 255"),
        ("extensions: {151: drop}", "extensions.151: 'drop'"),
        ("default_home_agent: 192.0.2.41", "default_home_agent: '192.0.2.41': is not in home_agents; add it there"),
        ("location_mode: address", "location_mode: is not a known key; did you mean 'location'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_with_what_can_AMB_5_AMB_10(tmp_path: Path, more: str, said: str) -> None:
    (line,) = errors(tmp_path, PROXY + more + "\n")
    assert said in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  - home_address: 192.0.2.69\n", "  - name: x\n", "mobile_nodes[0].name: is not a known key"),
        ("  - home_address: 192.0.2.69\n    node_sa", "  - node_sa", "mobile_nodes[0]: None: expected a home_address "
         "or a nai; say which node it is"),
        ("home_address: 192.0.2.69", "nai: 'm n'", "mobile_nodes[0].nai: 'm n': expected a network access identifier"),
        ("home_address: 192.0.2.69", "home_address: 192.0.2.69\n    gateway: gw9", "mobile_nodes[0].gateway: 'gw9': "
         "is the name of no VPN gateway"),
    ],
)  # fmt: skip
def test_node_must_say_who_it_is_and_behind_what(tmp_path: Path, old: str, new: str, said: str) -> None:
    (line,) = errors(tmp_path, changed(PROXY, old, new))
    assert said in line


TWO_GATEWAYS = changed(
    PROXY,
    "location:",
    "  - {name: other, vpngw_pub: 203.0.113.21, vpngw_priv: 192.0.2.21, home_networks: [192.0.2.64/27]}\nlocation:",
).replace(
    "home_networks: [192.0.2.64/27]}\nmobile_nodes:",
    "home_networks: [192.0.2.64/27]}\n  - {address: 192.0.2.41, home_networks: [192.0.2.64/27]}\nmobile_nodes:",
)
TWIN = """\
  - home_address: 192.0.2.69
    gateway: other
    home_agent: 192.0.2.41
    node_sa: {spi: 2001, key: mn-proxy-192.0.2.69}
    home_agent_sa: {spi: 3001, key: proxy-ha-192.0.2.69}
"""
FIRST = "home_address: 192.0.2.69\n    gateway: vpngw\n    home_agent: 192.0.2.40"
TWINS = changed(TWO_GATEWAYS, "home_address: 192.0.2.69", FIRST) + TWIN


def test_home_addresses_may_overlap_behind_different_gateways_with_a_home_agent_each_D_1_4_a(tmp_path: Path) -> None:
    made = settings(tmp_path, TWINS)
    assert [(node.key, node.home_agent) for node in made.nodes] == [
        (NodeKey(GATEWAY, IPv4Address("192.0.2.69")), IPv4Address("192.0.2.40")),
        (NodeKey(IPv4Address("203.0.113.21"), IPv4Address("192.0.2.69")), IPv4Address("192.0.2.41")),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gateway: other", "gateway: vpngw", "home addresses may overlap only behind different gateways"),
        ("home_agent: 192.0.2.41\n", "home_agent: 192.0.2.40\n", "another node has the home address 192.0.2.69, too"),
        ("    home_agent: 192.0.2.41\n", "", "name a home agent for each of them, and not the same one"),
    ],
)
def test_any_other_overlap_is_refused_D_1_4_a(tmp_path: Path, old: str, new: str, said: str) -> None:
    (line,) = errors(tmp_path, changed(TWINS, old, new))
    assert said in line


def test_what_cannot_be_configured_is_what_ends_at_the_proxy_AMB_10() -> None:
    assert ONE_HOP_EXTENSIONS == ENDS_AT_PROXY


def test_most_bindings_of_a_node_are_as_many_as_the_kernel_keeps_AMB_9(tmp_path: Path) -> None:
    assert settings(tmp_path, PROXY + f"simultaneous: {layouts.MAX_CARE_OF}\n").simultaneous == layouts.MAX_CARE_OF
    (line,) = errors(tmp_path, PROXY + f"simultaneous: {layouts.MAX_CARE_OF + 1}\n")
    assert "2 to 4" in line


@pytest.mark.parametrize("mode", ["address+interface", "address"])
def test_by_address_home_networks_must_be_internal_and_by_interface_none_need_be_AMB_21(
    tmp_path: Path, mode: str
) -> None:
    prefixes = "{internal_prefixes: [192.0.2.0/24]}"
    (line,) = errors(tmp_path, changed(PROXY, prefixes, f"{{mode: {mode}}}"))
    assert "is inside none of location.internal_prefixes" in line
    assert settings(tmp_path, changed(PROXY, prefixes, "{mode: interface}")).internal_prefixes == ()


def test_proxy_has_an_address_on_each_side_and_one_interface_only_by_address_D_1_4_d(tmp_path: Path) -> None:
    made = settings(tmp_path, PROXY)
    assert (made.public_address, made.public_interface) == (IPv4Address("203.0.113.10"), "pub")
    assert (made.private_address, made.private_interface) == (IPv4Address("192.0.2.10"), "priv")
    single = changed(PROXY, "interface: priv", "interface: pub")
    (line,) = errors(tmp_path, single)
    assert "mipp_priv.interface: 'pub': is the interface of MIPP-Pub, too" in line
    by_address = changed(single, "location: {", "location: {mode: address, ")
    assert settings(tmp_path, by_address).private_interface == "pub"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{}", "{proxy_interface: pub}", "one_box.proxy_interface: 'pub': is the interface of MIPP-Pub, too; the wire"),
        ("{}", "{gateway_interface: priv}", "one_box.gateway_interface: 'priv': is the interface of MIPP-Priv, too"),
        (
            "{}",
            "{gateway_interface: mip1}",
            "one_box.proxy_interface: 'mip1': is the interface of the wire's other end",
        ),
        ("{}", "{wire: mip0}", "one_box.wire: is not a known key"),
        (
            "vpngw_pub: 203.0.113.20",
            "vpngw_pub: 203.0.113.10",
            "vpn_gateways[0].vpngw_pub: '203.0.113.10': is MIPP-Pub",
        ),
        ("vpngw_priv: 192.0.2.20", "vpngw_priv: 192.0.2.10", "vpn_gateways[0].vpngw_priv: '192.0.2.10': is MIPP-Priv"),
        (
            "vpngw_priv: 192.0.2.20",
            "vpngw_priv: 192.0.2.20\n    macs: ['02:00:00:00:00:20']",
            "vpn_gateways[0].macs[0]: '02:00:00:00:00:20': is given with one_box; in one box the gateway sends",
        ),
    ],
)
def test_one_box_has_two_addresses_a_side_and_a_wire_of_its_own_D_1_4_e(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    one_box = PROXY + "one_box: {}\n"
    (line,) = errors(tmp_path, changed(one_box, old, new))
    assert said in line


def test_two_boxes_unless_one_is_asked_for_with_one_gateway_D_4_a(tmp_path: Path) -> None:
    two, one = load(tmp_path, PROXY).config, load(tmp_path, PROXY + "one_box: {}\n").config
    assert isinstance(two, ProxyConfig)
    assert isinstance(one, ProxyConfig)
    assert two.one_box is None
    assert one.one_box is not None
    assert (one.one_box.gateway_interface, one.one_box.proxy_interface) == ("mip0", "mip1")
    (line,) = errors(tmp_path, TWINS + "one_box: {}\n")
    assert "vpn_gateways[1].name: 'other': is a second VPN gateway; one_box means the one VPN gateway on this" in line
