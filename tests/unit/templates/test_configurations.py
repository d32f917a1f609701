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
    assert {(one.algorithm, one.replay) for one in associations} == {("hmac-md5", "timestamp")}
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
        "mobile_node_retry_first_timeout": 2,
        "mobile_node_retry_longest_timeout": 60,
        "mobile_node_location_monitor": 30,
        "mobile_node_location_require_tnc": True,
        "mobile_node_trusted_agent_nais": ["@partner.example"],
        "mobile_node_trusted_agent_addresses": ["198.51.100.129"],
        "mobile_node_foreign_agents": [{"address": "198.51.100.129", "spi": 5001, "key": "5a" * 16}],
        "mobile_node_sa_keepalive_timeout": 120,
    }
    read = loaded(tmp_path, "mobile_node", "node.yml.j2", host)
    config = read.config
    assert isinstance(config, MobileNodeConfig)
    assert (config.nai, config.simultaneous) == ("mn@home.example", True)
    assert (config.retry.first_timeout, config.retry.longest_timeout) == (2, 60)
    assert (config.location.monitor, config.location.require_tnc) == (30, True)
    assert config.trusted_agents.nais == ["@partner.example"]
    assert [str(address) for address in config.trusted_agents.addresses] == ["198.51.100.129"]
    assert [read.key(association) for association in config.foreign_agent_sas] == [b"\x5a" * 16]
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
