"""Configuration: what is accepted, and what exactly is said about what is not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mobileip.config import (
    ConfigError,
    ForeignAgentConfig,
    HomeAgentConfig,
    Loaded,
    MobileNodeConfig,
    ProxyConfig,
    load_config,
    load_keys,
    summary,
)

PROXY = """\
role: proxy
mipp_pub: {address: 203.0.113.10, interface: pub}
mipp_priv: {address: 192.0.2.10, interface: priv}
vpn_gateways:
  - name: vpngw
    vpngw_pub: 203.0.113.20
    vpngw_priv: 192.0.2.20
    home_networks: [192.0.2.64/27]
location: {internal_prefixes: [192.0.2.0/24]}
home_agents:
  - {address: 192.0.2.40, home_networks: [192.0.2.64/27]}
mobile_nodes:
  - home_address: 192.0.2.69
    node_sa: {spi: 2001, key: mn-proxy-192.0.2.69, algorithm: hmac-md5}
    home_agent_sa: {spi: 3001, key: proxy-ha-192.0.2.69}
"""
HOME_AGENT = """\
role: home_agent
address: 192.0.2.40
interface: core
home_links: [{interface: home, network: 192.0.2.64/27}]
mobile_nodes:
  - home_address: 192.0.2.69
    security_associations: [{spi: 3001, key: a}, {spi: 4001, key: b}]
"""
FOREIGN_AGENT = """\
role: foreign_agent
uplink: {interface: uplink, care_of_address: 198.51.100.100}
link: {interface: link, address: 198.51.100.129}
"""
MOBILE_NODE = """\
role: mobile_node
home_address: 192.0.2.69
home_network: 192.0.2.64/27
home_agent: 192.0.2.40
mipp_pub: 203.0.113.10
vpn_gateways: [203.0.113.20]
interface: eth0
proxy_sa: {spi: 2001, key: a}
home_agent_sa: {spi: 4001, key: b}
"""
KEYS = "mn-proxy-192.0.2.69: 00112233445566778899aabbccddeeff\nproxy-ha-192.0.2.69: 12345678901234567890123456789012\n"


def load(directory: Path, text: str, keys: str | None = None) -> Loaded:
    file = directory / "instance.yml"
    file.write_text(text)
    keys_file = None
    if keys is not None:
        keys_file = directory / "keys.yml"
        keys_file.write_text(keys)
    return load_config(file, keys_file)


def errors(directory: Path, text: str, keys: str | None = None) -> list[str]:
    """The error lines, without the directory."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, keys)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "model", "words"),
    [
        (PROXY, ProxyConfig, "ok: proxy 203.0.113.10 / 192.0.2.10, 1 gateways, 1 home agents, 1 mobile nodes"),
        (HOME_AGENT, HomeAgentConfig, "ok: home agent 192.0.2.40, 1 home links, 1 mobile nodes"),
        (FOREIGN_AGENT, ForeignAgentConfig, "ok: foreign agent 198.51.100.100, visitors on link"),
        (MOBILE_NODE, MobileNodeConfig, "ok: mobile node 192.0.2.69, home agent 192.0.2.40, proxy 203.0.113.10"),
    ],
)
def test_smallest_file_of_each_role_is_accepted(tmp_path: Path, text: str, model: type, words: str) -> None:
    loaded = load(tmp_path, text)
    assert isinstance(loaded.config, model)
    assert summary(loaded).startswith(words)


def test_defaults_are_those_of_the_documents(tmp_path: Path) -> None:
    config = load(tmp_path, PROXY).config
    assert isinstance(config, ProxyConfig)
    assert (config.replay.window, config.pending.timeout, config.nat.keepalive) == (7, 7, 110)
    assert config.effective_mobility_subnets == (IPv4Network("192.0.2.64/27"),)
    assert config.mobile_nodes[0].home_address == IPv4Address("192.0.2.69")


def test_paths_follow_from_the_instance_and_can_be_set(tmp_path: Path) -> None:
    assert str(load(tmp_path, PROXY).paths.state) == "/var/lib/mobileip/instance.sqlite"
    assert str(load(tmp_path, PROXY).paths.pin_directory) == "/sys/fs/bpf/mobileip/instance"
    assert str(load(tmp_path, PROXY + "state: /tmp/x.sqlite\n").paths.state) == "/tmp/x.sqlite"


def test_keys_of_digits_only_are_bytes_and_not_numbers(tmp_path: Path) -> None:
    loaded = load(tmp_path, PROXY, KEYS)
    assert isinstance(loaded.config, ProxyConfig)
    assert loaded.key(loaded.config.mobile_nodes[0].home_agent_sa).hex() == "12345678901234567890123456789012"


def test_a_loaded_configuration_does_not_print_its_keys(tmp_path: Path) -> None:
    loaded = load(tmp_path, PROXY, KEYS)
    assert "aabbccdd" not in repr(loaded)
    assert "\\xaa\\xbb" not in repr(loaded)


PROXY_ERRORS = [
    ("role: proxy", "role: prxy", "1: role: 'prxy': expected one of proxy, home_agent, foreign_agent, mobile_node; "
     "did you mean 'proxy'?"),
    ("role: proxy\n", "", "1: role: expected one of proxy, home_agent, foreign_agent, mobile_node; "
     "say which party this host is"),
    ("internal_prefixes", "internal_prefix", "9: location.internal_prefix: is not a known key; "
     "did you mean 'internal_prefixes'?"),
    ("interface: pub", "iface: pub", "2: mipp_pub.iface: is not a known key; did you mean 'interface'?"),
    ("address: 203.0.113.10", "address: 203.0.113.256", "2: mipp_pub.address: '203.0.113.256': expected an IPv4 "
     "address, four decimal numbers such as 203.0.113.10; IPv4 address of the MIP Proxy on this side"),
    ("address: 203.0.113.10", "address: '2001:db8::1'", "2: mipp_pub.address: '2001:db8::1': expected an IPv4 address: "
     "Mobile IPv4 carries no IPv6; IPv4 address of the MIP Proxy on this side"),
    ("address: 203.0.113.10", "address: 224.0.0.11", "2: mipp_pub.address: '224.0.0.11': this is a multicast address, "
     "expected a unicast IPv4 address of a host; IPv4 address of the MIP Proxy on this side"),
    ("vpngw_pub: 203.0.113.20", "vpngw_pub: 203.0.113.10", "6: vpn_gateways[0].vpngw_pub: '203.0.113.10': is "
     "MIPP-Pub, too; proxy and gateway need an address each, on one host also"),
    ("home_networks: [192.0.2.64/27]", "home_networks: [192.0.2.64/27, 192.0.2.64/28]", "8: "
     "vpn_gateways[0].home_networks[1]: '192.0.2.64/28': overlaps 192.0.2.64/27 at vpn_gateways[0].home_networks[0] "
     "behind the same gateway 'vpngw'; home networks may overlap only behind different gateways: remove or shrink one "
     "of the two"),
    ("home_networks: [192.0.2.64/27]", "home_networks: [192.0.2.65/27]", "8: vpn_gateways[0].home_networks[0]: "
     "'192.0.2.65/27': has host bits set, expected the network itself; did you mean 192.0.2.64/27?; "
     "home networks whose nodes use this gateway"),
    ("home_address: 192.0.2.69", "home_address: 192.0.2.169", "13: mobile_nodes[0].home_address: '192.0.2.169': is in "
     "no home network of any VPN gateway (192.0.2.64/27); correct the address or add its network"),
    ("home_address: 192.0.2.69", "home_address: 192.0.2.95", "13: mobile_nodes[0].home_address: '192.0.2.95': is the "
     "network or broadcast address of 192.0.2.64/27; choose the address of a host"),
    ("spi: 2001", "spi: 255", "14: mobile_nodes[0].node_sa.spi: 255: expected greater than or equal to 256; "
     "SPI, 256 to 4294967295 (0 to 255 are reserved, RFC 5944 1.6)"),
    ("spi: 2001", "spi: many", "14: mobile_nodes[0].node_sa.spi: 'many': expected a valid integer; "
     "SPI, 256 to 4294967295 (0 to 255 are reserved, RFC 5944 1.6)"),
    ("interface: priv", "interface: a-name-too-long-for-linux", "3: mipp_priv.interface: 'a-name-too-long-for-linux': "
     "expected the name of a network interface: 1 to 15 characters, no blank, '/' or ':'; "
     "network interface that has this address"),
    ("mipp_pub: {address: 203.0.113.10, interface: pub}\n", "", "1: mipp_pub: is missing; expected this section"),
    ("internal_prefixes: [192.0.2.0/24]", "internal_prefixes: [198.51.100.0/24]", "8: "
     "vpn_gateways[0].home_networks[0]: '192.0.2.64/27': is inside none of location.internal_prefixes; "
     "a node at home would be taken to be outside: add the prefix"),
    ("role: proxy", "role: proxy\nrole: proxy", "2: role: is given twice (first on line 1); remove one of the two"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), PROXY_ERRORS)
def test_error_names_line_key_value_and_expectation(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert f"instance.yml:{expected}" in errors(tmp_path, changed(PROXY, old, new))


def test_every_error_is_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = changed(changed(PROXY, "203.0.113.20", "203.0.113.999"), "spi: 3001", "spi: 7")
    text += "max_lifetme: 3\n"
    assert [line.split(": ")[:2] for line in errors(tmp_path, text)] == [
        ["instance.yml:6", "vpn_gateways[0].vpngw_pub"],
        ["instance.yml:15", "mobile_nodes[0].home_agent_sa.spi"],
        ["instance.yml:16", "max_lifetme"],
    ]


def test_home_networks_may_overlap_behind_different_gateways(tmp_path: Path) -> None:
    second = (
        "  - {name: other, vpngw_pub: 203.0.113.21, vpngw_priv: 192.0.2.21, home_networks: [192.0.2.64/27]}\nlocation:"
    )
    two = changed(PROXY, "location:", second)
    (line,) = errors(tmp_path, two)
    assert "mobile_nodes[0].gateway" in line
    config = load(
        tmp_path, changed(two, "home_address: 192.0.2.69", "home_address: 192.0.2.69\n    gateway: other")
    ).config
    assert isinstance(config, ProxyConfig)
    assert [config.gateway_of(node) for node in config.mobile_nodes] == [config.vpn_gateways[1]]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            KEYS.replace("00112233445566778899aabbccddeeff", "00112233445566778899aabbccddee"),
            "instance.yml:14: mobile_nodes[0].node_sa.key: 'mn-proxy-192.0.2.69': has 15 bytes in keys.yml, expected "
            "16 bytes (32 hex digits) or more; make a new key: openssl rand -hex 16",
        ),
        (
            KEYS.replace("mn-proxy-192.0.2.69", "mn-proxy-192.0.2.70"),
            "instance.yml:14: mobile_nodes[0].node_sa.key: 'mn-proxy-192.0.2.69': is not in the keys file keys.yml; "
            "did you mean 'mn-proxy-192.0.2.70'?",
        ),
        (
            KEYS.replace("00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeexx"),
            "keys.yml:1: mn-proxy-192.0.2.69: has 32 characters that are not all pairs of hexadecimal digits; "
            "write the key as hex, 32 digits or more: openssl rand -hex 16",
        ),
    ],
)
def test_wrong_key_is_named_and_its_secret_never_printed(tmp_path: Path, keys: str, expected: str) -> None:
    found = errors(tmp_path, PROXY, keys)
    assert expected in found
    assert "00112233" not in "".join(found)


def test_secret_pasted_into_the_configuration_is_not_echoed(tmp_path: Path) -> None:
    found = errors(tmp_path, changed(PROXY, "mn-proxy-192.0.2.69", "00112233445566778899aabbccddeeff"))
    assert found == [
        "instance.yml:14: mobile_nodes[0].node_sa.key: looks like the key itself, expected the key's name; "
        "put the key into the keys file under that name; name of the key in the keys file"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("role: proxy\n\t- broken", "instance.yml:2: is not valid YAML: found character '\\t' that cannot start"),
        ("", "instance.yml:1: expected a YAML mapping"),
        ("- a\n- b\n", "instance.yml:1: expected a YAML mapping"),
        ("a: &x [*x]\n", "instance.yml:1: is nested too deeply or refers to itself"),
        ("role: [", "instance.yml:1: is not valid YAML"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    assert errors(tmp_path, text)[0].startswith(expected)


def test_file_that_cannot_be_read_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        load_config(tmp_path / "missing.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_keys(tmp_path / "binary.yml")


@pytest.mark.parametrize(
    ("text", "old", "new", "key"),
    [
        (HOME_AGENT, "{spi: 4001", "{spi: 3001", "mobile_nodes[0].security_associations[1].spi"),
        (HOME_AGENT, "address: 192.0.2.40", "address: 192.0.2.69", "mobile_nodes[0].home_address"),
        (FOREIGN_AGENT, "interface: link", "interface: uplink", "link.interface"),
        (FOREIGN_AGENT, "address: 198.51.100.129", "address: 198.51.100.100", "link.address"),
        (MOBILE_NODE, "home_address: 192.0.2.69", "home_address: 192.0.2.100", "home_address"),
        (MOBILE_NODE, "vpn_gateways: [203.0.113.20]", "vpn_gateways: [203.0.113.10]", "vpn_gateways[0]"),
        (MOBILE_NODE, "vpn_gateways: [203.0.113.20]", "vpn_gateways: []", "vpn_gateways"),
        (MOBILE_NODE, "mipp_pub: 203.0.113.10", "mipp_pub: 192.0.2.70", "mipp_pub"),
        (MOBILE_NODE, "home_address: 192.0.2.69\n", "", "home_address"),
        (MOBILE_NODE, "home_agent: 192.0.2.40\n", "", "home_agent"),
        (MOBILE_NODE, "home_address: 192.0.2.69", "nai: mn@home.example\nsa: {}", "sa"),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\nnai: ''", "nai"),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\nlocation: {monitor: 3}", "location.monitor"),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\nlocation: {require_tnc: 1}", "location.require_tnc"),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\nretry: {first_timeout: 0.5}", "retry.first_timeout"),
        (
            MOBILE_NODE,
            "interface: eth0",
            "interface: eth0\nretry: {first_timeout: 5, longest_timeout: 4}",
            "retry.longest_timeout",
        ),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\ntrusted_agents: {nais: ['']}", "trusted_agents.nais[0]"),
        (
            MOBILE_NODE,
            "interface: eth0",
            "interface: eth0\ntrusted_agents: {addresses: [224.0.0.1]}",
            "trusted_agents.addresses[0]",
        ),
        (
            MOBILE_NODE,
            "interface: eth0",
            "interface: eth0\nforeign_agent_sas: [{agent: 198.51.100.129, spi: 5001, key: c}, "
            "{agent: 198.51.100.129, spi: 5002, key: d}]",
            "foreign_agent_sas[1].agent",
        ),
        (MOBILE_NODE, "interface: eth0", "interface: eth0\nsa: {keepalive_timeout: 0}", "sa.keepalive_timeout"),
        (MOBILE_NODE, "key: b}", "key: b, replay: nonce}", "home_agent_sa.replay"),
    ],
)
def test_other_roles_are_checked_across_fields(tmp_path: Path, text: str, old: str, new: str, key: str) -> None:
    assert [line.split(": ")[1] for line in errors(tmp_path, changed(text, old, new))] == [key]


@pytest.mark.parametrize(
    "algorithm", ["hmac-md5", "md5-prefix-suffix", "md5-prefix-suffix-rfc2002", "hmac-sha1", "hmac-sha256"]
)
def test_every_algorithm_takes_any_key_of_128_bits_or_more_R5944_5_1_b_and_R5944_5_1_c(
    tmp_path: Path, algorithm: str
) -> None:
    text = changed(PROXY, "algorithm: hmac-md5", f"algorithm: {algorithm}")
    for key in ("00" * 16, "ff" * 17, "00010a0d7f80ff" * 10):
        keys = f"mn-proxy-192.0.2.69: '{key}'\nproxy-ha-192.0.2.69: {'11' * 16}\n"
        loaded = load(tmp_path, text, keys)
        assert isinstance(loaded.config, ProxyConfig)
        assert loaded.config.mobile_nodes[0].node_sa.algorithm == algorithm
        assert loaded.key(loaded.config.mobile_nodes[0].node_sa) == bytes.fromhex(key)


@pytest.mark.parametrize("spi", [0, 2, 255, -1, 0x1_0000_0000])
@pytest.mark.parametrize(("text", "old"), [(PROXY, "spi: 2001"), (HOME_AGENT, "spi: 4001"), (MOBILE_NODE, "spi: 2001")])
def test_reserved_spi_is_refused_in_every_role_R5944_1_6_a(tmp_path: Path, text: str, old: str, spi: int) -> None:
    (error,) = errors(tmp_path, changed(text, old, f"spi: {spi}"))
    assert f".spi: {spi}: expected " in error
    assert error.endswith("SPI, 256 to 4294967295 (0 to 255 are reserved, RFC 5944 1.6)")


def test_the_two_legs_of_a_node_protect_against_replay_alike_AMB_6(tmp_path: Path) -> None:
    text = changed(PROXY, "algorithm: hmac-md5}", "algorithm: hmac-md5, replay: nonce}")
    (error,) = errors(tmp_path, text)
    assert error == (
        "instance.yml:15: mobile_nodes[0].home_agent_sa.replay: 'timestamp': is not nonce as in node_sa; the "
        "Identification passes through the proxy unchanged, so both associations need the same style"
    )
    load(tmp_path, changed(text, "proxy-ha-192.0.2.69}", "proxy-ha-192.0.2.69, replay: nonce}"))


def test_node_with_a_name_needs_neither_home_address_nor_home_agent_D_2_5_3_b(tmp_path: Path) -> None:
    named = changed(MOBILE_NODE, "home_address: 192.0.2.69\n", "nai: mn@home.example\n")
    loaded = load(tmp_path, changed(named, "home_agent: 192.0.2.40\n", ""))
    assert summary(loaded).startswith("ok: mobile node mn@home.example, home agent to be assigned, proxy 203.0.113.10")


def test_node_without_a_security_association_with_the_proxy_is_refused_D_2_1_a(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, changed(MOBILE_NODE, "proxy_sa: {spi: 2001, key: a}\n", ""))
    assert "proxy_sa" in error


def test_node_without_mipp_pub_is_refused_D_2_5_2_a(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, changed(MOBILE_NODE, "mipp_pub: 203.0.113.10\n", ""))
    assert "mipp_pub" in error


TRUST_ERRORS = [
    ("auth: {fail_reply: 132}", "auth.fail_reply"),
    ("reply_limits: {rate: 0}", "reply_limits.rate"),
    ("reply_limits: {known: [{network: 198.51.100.40/24, rate: 9, burst: 9}]}", "reply_limits.known[0].network"),
    ("reply_limits: {known: [{network: 198.51.100.40/32, rate: 9}]}", "reply_limits.known[0].burst"),
    ("strict_reserved_bits: 1", "strict_reserved_bits"),
    ("vendor_extensions: [{vendor: 16777216, type: 1}]", "vendor_extensions[0].vendor"),
    ("foreign_agents: [{address: 198.51.100.1, security_associations: []}]", "foreign_agents[0].security_associations"),
    (
        "foreign_agents: [{address: 198.51.100.1, security_associations: [{spi: 255, key: a}]}]",
        "foreign_agents[0].security_associations[0].spi",
    ),
    (
        "foreign_agents: [{address: 198.51.100.1, security_associations: [{spi: 256, key: a}, {spi: 256, key: b}]}]",
        "foreign_agents[0].security_associations[1].spi",
    ),
]


@pytest.mark.parametrize("text", [PROXY, HOME_AGENT])
@pytest.mark.parametrize(("line", "key"), TRUST_ERRORS)
def test_wrong_choice_about_trust_is_named_with_its_key(tmp_path: Path, text: str, line: str, key: str) -> None:
    assert [error.split(": ")[1] for error in errors(tmp_path, f"{text}{line}\n")] == [key]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("replay: {mode: lenient}", "replay.mode"),
        ("replay: {nonce_check: none}", "replay.nonce_check"),
        ("haleg: {unauthenticated_denials: bind}", "haleg.unauthenticated_denials"),
        ("haleg: {other_acceptances: drop}", "haleg.other_acceptances"),
        ("haleg: {fa_ha_sa: [{home_agent: 192.0.2.40, spi: 2, key: a}]}", "haleg.fa_ha_sa[0].spi"),
        ("haleg: {fa_ha_sa: [{home_agent: 192.0.2.41, spi: 256, key: a}]}", "haleg.fa_ha_sa[0].home_agent"),
    ],
)
def test_wrong_choice_about_home_agents_is_named_with_its_key(tmp_path: Path, line: str, key: str) -> None:
    assert [error.split(": ")[1] for error in errors(tmp_path, f"{PROXY}{line}\n")] == [key]


@pytest.mark.parametrize(("spi", "good"), [(2, True), (256, True), (0, False), (3, False), (255, False)])
def test_of_the_reserved_spis_mn_aaa_has_2_only_R4721_8_a(tmp_path: Path, spi: int, good: bool) -> None:
    text = changed(PROXY, "    node_sa:", f"    aaa_sa: {{spi: {spi}, key: a}}\n    node_sa:")
    if good:
        load(tmp_path, text)
    else:
        (error,) = errors(tmp_path, text)
        assert f"mobile_nodes[0].aaa_sa.spi: {spi}: expected 2 (CHAP), or 256 to 4294967295" in error


def test_every_key_of_agents_and_aaa_must_be_in_the_keys_file(tmp_path: Path) -> None:
    text = changed(PROXY, "    node_sa:", "    aaa_sa: {key: aaa}\n    node_sa:")
    text += "haleg: {fa_ha_sa: [{home_agent: 192.0.2.40, spi: 7001, key: fa-ha}]}\n"
    text += "foreign_agents: [{address: 198.51.100.1, security_associations: [{spi: 5001, key: fa}]}]\n"
    found = errors(tmp_path, text, KEYS)
    assert [error.split("'")[1] for error in found] == ["aaa", "fa-ha", "fa"]
    assert all("is not in the keys file keys.yml" in error for error in found)
    long = "".join(f"{name}: {'ab' * 16}\n" for name in ("aaa", "fa-ha", "fa"))
    load(tmp_path, text, KEYS + long)
