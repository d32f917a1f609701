"""What the roles write for the daemon from the example inventory passes the daemon's own checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from mobileip.config import HomeAgentConfig, Loaded, MobileNodeConfig, ProxyConfig, load_config
from mobileip.config.shared import SecurityAssociation

ROOT = Path(__file__).parents[3]
GROUP_VARS = ROOT / "inventories/two_box/group_vars"
ALGORITHMS = ("hmac-md5", "md5-prefix-suffix", "md5-prefix-suffix-rfc2002", "hmac-sha1", "hmac-sha256")
NODES = ("mn", "mn2")
SECRETS = {
    kind: {name: f"{number:02x}{index:02x}" * 16 for index, name in enumerate(NODES)}
    for number, kind in enumerate(("proxy", "home_agent", "direct", "ike"))
}


def variables(role: str, group: str, **site: Any) -> dict[str, Any]:
    """What a host of `group` has: the role's defaults under the inventory's facts, changed by `site`."""
    loader = DataLoader()
    found: dict[str, Any] = {"ansible_managed": "Ansible managed", "inventory_hostname": "mn"}
    for file in (ROOT / f"roles/{role}/defaults/main.yml", GROUP_VARS / "all/site.yml", GROUP_VARS / f"{group}.yml"):
        found |= loader.load_from_file(str(file), trusted_as_template=True)
    return {**found, "site_secrets": SECRETS, **site}


def write(directory: Path, role: str, template: str, known: dict[str, Any]) -> Path:
    """One of the role's templates, rendered into `directory`."""
    text = (ROOT / f"roles/{role}/templates/{template}").read_text(encoding="utf-8")
    file = directory / template.removesuffix(".j2")
    rendered = Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))
    file.write_text(str(rendered), encoding="utf-8")
    return file


def loaded(directory: Path, role: str, template: str, known: dict[str, Any]) -> Loaded:
    """The daemon's reading of what the role writes."""
    file = write(directory, role, template, known)
    return load_config(file, write(directory, role, "keys.yml.j2", known))


def nodes(**other: Any) -> dict[str, Any]:
    """The example's nodes, each with these entries, too."""
    site = DataLoader().load_from_file(str(GROUP_VARS / "all/site.yml"))
    return {"site_mobile_nodes": [{**node, **other} for node in site["site_mobile_nodes"]]}


@pytest.mark.parametrize(
    ("role", "group", "template", "model"),
    [
        ("mip_proxy", "mip_proxies", "proxy.yml.j2", ProxyConfig),
        ("home_agent", "home_agents", "home_agent.yml.j2", HomeAgentConfig),
        ("mobile_node", "mobile_nodes", "node.yml.j2", MobileNodeConfig),
    ],
)
def test_example_inventory_configures_each_role_with_hmac_md5_R5944_5_1_a(
    tmp_path: Path, role: str, group: str, template: str, model: type
) -> None:
    host = variables(role, group, mobile_node_backend="kernel", __mobile_node_connection="c", __mobile_node_child="i")
    written = loaded(tmp_path, role, template, host)
    assert isinstance(written.config, model)
    associations = [association for _, association in written.config.associations()]
    assert associations
    assert {one.algorithm for one in associations} == {"hmac-md5"}
    assert {one.replay for one in associations if isinstance(one, SecurityAssociation)} == {"timestamp"}
    assert all(len(written.key(one)) == 32 for one in associations)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_association_of_a_node_has_its_algorithm_in_every_role_R5944_5_1_c_and_R5944_5_1_d_and_AMB_22(
    tmp_path: Path, algorithm: str
) -> None:
    others = {"home_agent_algorithm": "hmac-sha256", "direct_algorithm": "hmac-sha1", "replay": "nonce"}
    site = nodes(proxy_algorithm=algorithm, **others)
    proxy = loaded(tmp_path, "mip_proxy", "proxy.yml.j2", variables("mip_proxy", "mip_proxies", **site)).config
    agent = loaded(tmp_path, "home_agent", "home_agent.yml.j2", variables("home_agent", "home_agents", **site)).config
    host = variables("mobile_node", "mobile_nodes", **site, mobile_node_ipsec=False)
    node = loaded(tmp_path, "mobile_node", "node.yml.j2", host).config
    assert isinstance(proxy, ProxyConfig)
    assert isinstance(agent, HomeAgentConfig)
    assert isinstance(node, MobileNodeConfig)

    def styles(*associations: SecurityAssociation) -> list[tuple[int, str, str]]:
        return [(one.spi, one.algorithm, one.replay) for one in associations]

    at_proxy = proxy.mobile_nodes[0]
    assert styles(at_proxy.node_sa, at_proxy.home_agent_sa) == [
        (2001, algorithm, "nonce"),
        (3001, "hmac-sha256", "nonce"),
    ]
    assert styles(*agent.mobile_nodes[0].security_associations) == [
        (3001, "hmac-sha256", "nonce"),
        (4001, "hmac-sha1", "nonce"),
    ]
    assert styles(node.proxy_sa, node.home_agent_sa) == [(2001, algorithm, "nonce"), (4001, "hmac-sha1", "nonce")]


def test_every_variable_of_the_mobile_node_reaches_its_configuration(tmp_path: Path) -> None:
    host = variables("mobile_node", "mobile_nodes", mobile_node_backend="kernel", __mobile_node_connection="c",
                     __mobile_node_child="i")  # fmt: skip
    host |= {
        "mobile_node_nai": "mn@home.example",
        "mobile_node_simultaneous": True,
        "mobile_node_broadcasts": True,
        "mobile_node_retry_first_timeout": 2,
        "mobile_node_retry_longest_timeout": 60,
        "mobile_node_location_monitor": 30,
        "mobile_node_location_require_tnc": True,
        "mobile_node_trusted_agent_nais": ["@partner.example"],
        "mobile_node_trusted_agent_addresses": ["198.51.100.129"],
        "mobile_node_foreign_agents": [{"address": "198.51.100.129", "spi": 5001, "key": "5a" * 16}],
        "mobile_node_aaa_spi": 7001,
        "mobile_node_aaa_algorithm": "hmac-sha1",
        "mobile_node_aaa_key": "aa" * 16,
        "mobile_node_sa_keepalive_timeout": 120,
    }
    read = loaded(tmp_path, "mobile_node", "node.yml.j2", host)
    config = read.config
    assert isinstance(config, MobileNodeConfig)
    assert (config.nai, config.simultaneous, config.broadcasts) == ("mn@home.example", True, True)
    assert (config.retry.first_timeout, config.retry.longest_timeout) == (2, 60)
    assert (config.location.monitor, config.location.require_tnc) == (30, True)
    assert config.trusted_agents.nais == ["@partner.example"]
    assert [str(address) for address in config.trusted_agents.addresses] == ["198.51.100.129"]
    assert [read.key(association) for association in config.foreign_agent_sas] == [b"\x5a" * 16]
    assert config.aaa_sa is not None
    assert (config.aaa_sa.spi, config.aaa_sa.algorithm, read.key(config.aaa_sa)) == (7001, "hmac-sha1", b"\xaa" * 16)
    assert config.sa is not None
    assert config.sa.keepalive_timeout == 120


def test_node_that_is_known_by_its_name_is_assigned_its_addresses(tmp_path: Path) -> None:
    host = variables("mobile_node", "mobile_nodes", mobile_node_ipsec=False)
    host |= {"mobile_node_home_address": "", "mobile_node_home_agent": "", "mobile_node_nai": "mn@home.example"}
    config = loaded(tmp_path, "mobile_node", "node.yml.j2", host).config
    assert isinstance(config, MobileNodeConfig)
    assert (config.home_address, config.home_agent, config.nai) == (None, None, "mn@home.example")
    unit = write(tmp_path, "mobile_node", "mobileip-home-address.service.j2", host).read_text()
    assert "ip address replace" not in unit
    assert "ExecStart=" in unit


def test_what_is_agreed_on_beyond_the_nodes_keys_reaches_proxy_and_home_agent_AMB_4_and_R4721_5_c(
    tmp_path: Path,
) -> None:
    secrets = {
        **SECRETS,
        "aaa": dict.fromkeys(NODES, "aa" * 16),
        "foreign_agent": {"fa": "bb" * 20},
        "fa_ha": {"192.0.2.40": "cc" * 32},
    }
    site = {
        **nodes(aaa_spi=2),
        "site_secrets": secrets,
        "site_home_agents": [
            {
                "address": "192.0.2.40",
                "home_networks": ["192.0.2.64/27"],
                "fa_ha_spi": 7001,
                "fa_ha_algorithm": "hmac-sha256",
            }
        ],
        "site_foreign_agents": [{"name": "fa", "address": "198.51.100.100", "spi": 5001, "algorithm": "hmac-sha1"}],
    }
    at_proxy = loaded(tmp_path, "mip_proxy", "proxy.yml.j2", variables("mip_proxy", "mip_proxies", **site))
    proxy = at_proxy.config
    assert isinstance(proxy, ProxyConfig)
    aaa = proxy.mobile_nodes[0].aaa_sa
    assert aaa is not None
    assert (aaa.spi, at_proxy.key(aaa).hex()) == (2, "aa" * 16)
    (agent,) = proxy.foreign_agents
    (association,) = agent.security_associations
    assert (str(agent.address), association.spi, association.algorithm) == ("198.51.100.100", 5001, "hmac-sha1")
    assert at_proxy.key(association).hex() == "bb" * 20
    (fa_ha,) = proxy.haleg.fa_ha_sa
    assert (str(fa_ha.home_agent), fa_ha.spi, fa_ha.algorithm) == ("192.0.2.40", 7001, "hmac-sha256")

    at_agent = loaded(tmp_path, "home_agent", "home_agent.yml.j2", variables("home_agent", "home_agents", **site))
    home_agent = at_agent.config
    assert isinstance(home_agent, HomeAgentConfig)
    (mipp,) = home_agent.foreign_agents
    (association,) = mipp.security_associations
    assert (str(mipp.address), association.spi, association.algorithm) == ("192.0.2.10", 7001, "hmac-sha256")
    assert at_agent.key(association) == at_proxy.key(fa_ha)
    aaa = home_agent.mobile_nodes[0].aaa_sa
    assert aaa is not None
    assert aaa.spi == 2


def test_every_choice_about_trust_can_be_made_by_a_role_variable_AMB_6_and_AMB_26(tmp_path: Path) -> None:
    chosen = {
        "auth_fail_reply": "131",
        "reply_limit_rate": 2,
        "reply_limit_burst": 9,
        "reply_limit_known": [{"network": "198.51.100.40/32", "rate": 1000.0, "burst": 2000}],
        "strict_reserved_bits": True,
        "vendor_extensions": [{"vendor": 9, "type": 1}],
    }
    of_proxy = {
        "replay_mode": "monotonic",
        "replay_nonce_check": "local",
        "replay_learn_home_agent_clock": True,
        "haleg_unauthenticated_denials": "relay",
        "haleg_other_acceptances": "bind",
    }
    site = {f"mip_proxy_{name}": value for name, value in {**chosen, **of_proxy}.items()}
    proxy = loaded(tmp_path, "mip_proxy", "proxy.yml.j2", variables("mip_proxy", "mip_proxies", **site)).config
    site = {f"home_agent_{name}": value for name, value in chosen.items()}
    agent = loaded(tmp_path, "home_agent", "home_agent.yml.j2", variables("home_agent", "home_agents", **site)).config
    assert isinstance(proxy, ProxyConfig)
    assert isinstance(agent, HomeAgentConfig)
    for config in (proxy, agent):
        assert config.auth.fail_reply == 131
        assert (config.reply_limits.rate, config.reply_limits.burst) == (2, 9)
        assert [(str(one.network), one.burst) for one in config.reply_limits.known] == [("198.51.100.40/32", 2000)]
        assert config.strict_reserved_bits
        assert [(one.vendor, one.type) for one in config.vendor_extensions] == [(9, 1)]
    replay = proxy.replay
    assert (replay.mode, replay.nonce_check, replay.learn_home_agent_clock) == ("monotonic", "local", True)
    assert (proxy.haleg.unauthenticated_denials, proxy.haleg.other_acceptances) == ("relay", "bind")


def test_every_setting_of_the_proxy_is_a_variable_of_its_role(tmp_path: Path) -> None:
    host = variables(
        "mip_proxy",
        "mip_proxies",
        **nodes(gateway="vpngw"),
        mip_proxy_simultaneous=3,
        mip_proxy_lifetime_jitter=10,
        mip_proxy_location_mode="interface",
        mip_proxy_on_206="keep",
        mip_proxy_on_local_failure="deregister",
        mip_proxy_reply_code_profile="rfc",
        mip_proxy_reply_proxy_cannot_service_code=133,
        mip_proxy_haleg_broadcast=False,
        mip_proxy_haleg_d_bit="unless-b",
        mip_proxy_haleg_copy_encapsulation_bits=True,
        mip_proxy_haleg_copy_reserved_bits=True,
        mip_proxy_haleg_dereg_all_coa="home-address",
        mip_proxy_hap={"encoding": "cvse", "vendor": 32473},
        mip_proxy_hap_accept=[{"encoding": "draft-short", "type": 100}],
        mip_proxy_hap_in_reply="206-only",
        mip_proxy_extensions={151: "strip"},
    )
    agents = [{"address": "192.0.2.40", "home_networks": ["192.0.2.64/27"], "assignable": True, "nai": True}]
    host |= {"mip_proxy_home_agents": agents, "mip_proxy_default_home_agent": agents[0]["address"]}
    config = loaded(tmp_path, "mip_proxy", "proxy.yml.j2", host).config
    assert isinstance(config, ProxyConfig)
    assert (config.simultaneous, config.lifetime_jitter, config.location.mode) == (3, 10, "interface")
    assert (config.on_206, config.on_local_failure) == ("keep", "deregister")
    assert (config.reply.code_profile, config.reply.proxy_cannot_service_code) == ("rfc", 133)
    assert (config.haleg.broadcast, config.haleg.d_bit, config.haleg.dereg_all_coa) == (
        False,
        "unless-b",
        "home-address",
    )
    assert (config.haleg.copy_encapsulation_bits, config.haleg.copy_reserved_bits) == (True, True)
    assert [(form.encoding, form.number, form.vendor) for form in config.hap.forms] == [
        ("cvse", 38, 32473),
        ("draft-short", 100, None),
    ]
    assert (config.hap.in_reply, config.extensions) == ("206-only", {151: "strip"})
    assert all(agent.assignable and agent.nai for agent in config.home_agents)
    assert config.default_home_agent == config.home_agents[0].address
    assert {node.gateway for node in config.mobile_nodes} == {"vpngw"}


def test_node_and_proxy_are_given_one_association_and_each_node_its_own_D_2_1_a(tmp_path: Path) -> None:
    at_proxy = loaded(tmp_path, "mip_proxy", "proxy.yml.j2", variables("mip_proxy", "mip_proxies"))
    assert isinstance(at_proxy.config, ProxyConfig)
    of_nodes = {}
    for name in NODES:
        host = variables("mobile_node", "mobile_nodes", inventory_hostname=name, mobile_node_ipsec=False)
        at_node = loaded(tmp_path, "mobile_node", "node.yml.j2", host)
        assert isinstance(at_node.config, MobileNodeConfig)
        of_nodes[at_node.config.home_address] = (at_node.config.proxy_sa.spi, at_node.key(at_node.config.proxy_sa))
    assert of_nodes == {
        node.home_address: (node.node_sa.spi, at_proxy.key(node.node_sa)) for node in at_proxy.config.mobile_nodes
    }
    assert len(set(of_nodes.values())) == len(NODES)
