"""The home agent's file: its options, what is wrong with them, and what the role writes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from mobileip.config import ConfigError, HomeAgentConfig, Loaded, load_config
from mobileip.forwarding.broadcast import BroadcastDomain
from mobileip.registration.address_pool import AddressRange
from mobileip.registration.home_addresses import HomeLink
from mobileip.registration.home_agent import ParameterInReply, ReverseTunnel
from mobileip.registration.trusted_networks import TrustedNetworks, Untrusted
from mobileip.runtime.settings import broadcast_domains, home_agent_settings
from mobileip.wire.typed_extensions import HomeAgentParameterEncoding, HomeAgentParameterFormat

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles/home_agent"
SECRET = "0123456789abcdef0123456789abcdef"

WHOLE = """\
role: home_agent
address: 192.0.2.40
interface: core
home_links: [{interface: home, network: 192.0.2.64/27, pool: {first: 192.0.2.80, last: 192.0.2.90}}]
mobile_nodes:
  - {home_address: 192.0.2.69, security_associations: [{spi: 3001, key: a}]}
  - {nai: guest@example.org, security_associations: [{spi: 3002, key: a}]}
nat: {allowed: false, forced_allowed: false}
simultaneous: 3
reverse_tunnel: required
hap: {type: 127, subtype: 2, encoding: rfc4064-long, in_reply: always}
broadcast: {forward: false, rate: 5, multicast_groups: [239.1.2.3]}
trusted_networks: {networks: [192.0.2.128/27], proxies: [192.0.2.10], untrusted: drop}
dynamic_home_agent: {accept: true, redirect: 192.0.2.41}
"""
LAST = len(WHOLE.splitlines())


def load(directory: Path, text: str, keys: str | None = None) -> Loaded:
    file = directory / "instance.yml"
    file.write_text(text)
    if keys is None:
        return load_config(file, None)
    (directory / "keys.yml").write_text(keys)
    return load_config(file, directory / "keys.yml")


def test_every_option_reaches_the_machine(tmp_path: Path) -> None:
    loaded = load(tmp_path, WHOLE, f"a: {SECRET}\n")
    assert isinstance(loaded.config, HomeAgentConfig)
    settings = home_agent_settings(loaded, loaded.config)
    pool = AddressRange(IPv4Address("192.0.2.80"), IPv4Address("192.0.2.90"))
    assert settings.home_links == (HomeLink("home", IPv4Network("192.0.2.64/27"), pool),)
    assert [(node.home_address, node.nai) for node in settings.nodes] == [
        (IPv4Address("192.0.2.69"), None),
        (None, "guest@example.org"),
    ]
    assert (settings.nat.allowed, settings.nat.forced_allowed) == (False, False)
    assert (settings.simultaneous, settings.reverse_tunnel) == (3, ReverseTunnel.REQUIRED)
    form = HomeAgentParameterFormat(127, 2, HomeAgentParameterEncoding.RFC4064_LONG)
    assert (settings.home_agent_parameter, settings.parameter_in_reply) == ((form,), ParameterInReply.ALWAYS)
    trusted = TrustedNetworks((IPv4Network("192.0.2.128/27"),), {IPv4Address("192.0.2.10")}, Untrusted.DROP)
    assert settings.trusted == trusted
    assert (settings.dynamic_home_agent, settings.redirect) == (True, IPv4Address("192.0.2.41"))


def test_broadcasts_are_heard_only_where_they_are_to_be_forwarded_R5944_3_8_2_a(tmp_path: Path) -> None:
    silent = load(tmp_path, WHOLE).config
    assert isinstance(silent, HomeAgentConfig)
    assert broadcast_domains(silent) == {}
    forwarding = load(tmp_path, WHOLE.replace("forward: false", "forward: true")).config
    assert isinstance(forwarding, HomeAgentConfig)
    group = frozenset({IPv4Address("239.1.2.3")})
    domain = BroadcastDomain(IPv4Address("192.0.2.40"), IPv4Network("192.0.2.64/27"), group)
    assert broadcast_domains(forwarding) == {"home": domain}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("simultaneous: 3", "simultaneous: 5", "9: simultaneous: 5: expected False, 2, 3 or 4"),
        ("reverse_tunnel: required", "reverse_tunnel: no", "10: reverse_tunnel: False: expected 'optional'"),
        ("type: 127", "type: 126", "11: hap.type: 126: does not go with encoding rfc4064-long"),
        ("type: 127", "vendor: 9", "11: hap.vendor: 9: does not go with encoding rfc4064-long"),
        ("rate: 5", "rate: 0", "12: broadcast.rate: 0: expected greater than or equal to 1"),
        ("239.1.2.3", "239.1.2", "12: broadcast.multicast_groups[0]: '239.1.2': expected an IPv4 address"),
        ("239.1.2.3", "10.1.2.3", "12: broadcast.multicast_groups[0]: '10.1.2.3': this is no group"),
        ("239.1.2.3", "224.0.0.5", "12: broadcast.multicast_groups[0]: '224.0.0.5': this group never leaves its link"),
        ("untrusted: drop", "untrusted: refuse", "13: trusted_networks.untrusted: 'refuse': expected 'serve'"),
        (
            "{networks: [192.0.2.128/27], proxies: [192.0.2.10], untrusted: drop}",
            "{untrusted: drop}",
            "13: trusted_networks.untrusted: 'drop': drops every request: no network is trusted",
        ),
        ("redirect: 192.0.2.41", "redirect: 192.0.2.40", "14: dynamic_home_agent.redirect: '192.0.2.40': is this home"),
        ("last: 192.0.2.90", "last: 192.0.2.79", "4: home_links[0].pool.last: '192.0.2.79': is below the first"),
        ("last: 192.0.2.90", "last: 192.0.2.99", "4: home_links[0].pool.last: '192.0.2.99': is in no home network"),
        ("first: 192.0.2.80", "first: 192.0.2.69", "contains 192.0.2.69, which is taken"),
        (
            ", pool: {first: 192.0.2.80, last: 192.0.2.90}",
            "",
            "7: mobile_nodes[1].nai: 'guest@example.org': has no",
        ),
        ("nai: guest@example.org, ", "", "7: mobile_nodes[1]: '{}': has neither home_address nor nai"),
        ("nai: guest@example.org", "nai: 'a guest'", "7: mobile_nodes[1].nai: 'a guest': expected a network access"),
        (
            "{home_address: 192.0.2.69,",
            "{home_address: 192.0.2.69, nai: guest@example.org,",
            "7: mobile_nodes[1].nai: 'guest@example.org': is already used at mobile_nodes[0].nai",
        ),
    ],
)
def test_error_names_line_key_value_and_expectation(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, WHOLE.replace(old, new, 1))
    (problem,) = caught.value.problems
    assert expected in str(problem)


def rendered(**other: Any) -> str:
    """What the role writes with its defaults, the node list of its users, and `other`."""
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    variables = {
        **defaults,
        "ansible_managed": "Ansible managed",
        "home_agent_address": "192.0.2.40",
        "home_agent_interface": "core",
        "home_agent_home_links": [{"interface": "home", "network": "192.0.2.64/27"}],
        "home_agent_mobile_nodes": [
            {"name": "mn", "home_address": "192.0.2.69", "home_agent_spi": 3001, "direct_spi": 4001}
        ],
        **other,
    }
    text = (ROLE / "templates/home_agent.yml.j2").read_text(encoding="utf-8")
    return str(Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text)))


def test_the_roles_defaults_are_those_of_the_program(tmp_path: Path) -> None:
    written = load(tmp_path, rendered()).config
    smallest = load(
        tmp_path,
        "role: home_agent\naddress: 192.0.2.40\ninterface: core\n"
        "home_links: [{interface: home, network: 192.0.2.64/27}]\n"
        "mobile_nodes: [{home_address: 192.0.2.69, security_associations: "
        "[{spi: 3001, key: mn-home-agent}, {spi: 4001, key: mn-direct}]}]\n",
    ).config
    assert written == smallest


def test_the_roles_variables_reach_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        rendered(
            home_agent_home_links=[
                {"interface": "home", "network": "192.0.2.64/27", "pool": {"first": "192.0.2.80", "last": "192.0.2.90"}}
            ],
            home_agent_mobile_nodes=[
                {"name": "guest", "nai": "guest@example.org", "home_agent_spi": 3002, "direct_spi": 4002}
            ],
            home_agent_simultaneous=2,
            home_agent_reverse_tunnel="required",
            home_agent_nat_allowed=False,
            home_agent_nat_forced_allowed=False,
            home_agent_hap={"encoding": "cvse", "vendor": 9, "vendor_type": 7},
            home_agent_hap_accept=[{"encoding": "draft-short", "type": 100}],
            home_agent_hap_in_reply="never",
            home_agent_broadcast_forward=False,
            home_agent_broadcast_rate=7,
            home_agent_multicast_groups=["239.1.2.3"],
            home_agent_trusted_networks=["192.0.2.128/27"],
            home_agent_proxies=["192.0.2.10"],
            home_agent_untrusted="log",
            home_agent_dynamic=False,
            home_agent_redirect="192.0.2.41",
        ),
    ).config
    assert isinstance(config, HomeAgentConfig)
    (link,), (node,) = config.home_links, config.mobile_nodes
    assert link.pool is not None
    assert (str(link.pool.first), node.home_address, node.nai) == ("192.0.2.80", None, "guest@example.org")
    assert (config.simultaneous, config.reverse_tunnel, config.hap.in_reply) == (2, "required", "never")
    assert [(form.number, form.vendor) for form in config.hap.forms] == [(38, 9), (100, None)]
    assert (config.nat.allowed, config.nat.forced_allowed) == (False, False)
    assert config.broadcast.model_dump() == {
        "forward": False, "rate": 7, "multicast_groups": [IPv4Address("239.1.2.3")]
    }  # fmt: skip
    assert (config.trusted_networks.untrusted, config.trusted_networks.proxies) == ("log", [IPv4Address("192.0.2.10")])
    assert config.dynamic_home_agent.model_dump() == {"accept": False, "redirect": IPv4Address("192.0.2.41")}
