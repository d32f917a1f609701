"""What the how-to pages tell an operator to write, on top of the example inventory, passes the daemon's own checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.unit.templates.test_configurations import ROOT, loaded, variables

PAGES = sorted((ROOT / "docs/how-to").glob("*.md"))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"\b(?:mip_proxy|home_agent|foreign_agent|mobile_node|vpn_gateway|dmz_firewall)_[a-z0-9_]+")
_FILES = (
    ("mip_proxy", "mip_proxies", "proxy.yml.j2"),
    ("home_agent", "home_agents", "home_agent.yml.j2"),
    ("foreign_agent", "foreign_agents", "foreign_agent.yml.j2"),
    ("mobile_node", "mobile_nodes", "node.yml.j2"),
)
_KEY = "5a" * 32


@cache
def specified() -> set[str]:
    """Every variable of the roles."""
    loader = DataLoader()
    specs = (loader.load_from_file(str(file)) for file in ROOT.glob("roles/*/meta/argument_specs.yml"))
    return {name for each in specs for name in each["argument_specs"]["main"]["options"]}


def with_examples() -> list[Path]:
    return [page for page in PAGES if _BLOCK.search(page.read_text(encoding="utf-8"))]


def written_so_far(page: Path) -> Iterator[dict[str, Any]]:
    """The variables of a page after each of its blocks; later ones replace earlier ones."""
    site: dict[str, Any] = {}
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        read = DataLoader().load(block)
        site |= {name: trusted(value) for name, value in read.items()}
        site |= dict.fromkeys(re.findall(r"\bvault_\w+", block), _KEY)
        yield site


def trusted(value: Any) -> Any:
    """With the expressions of an inventory, which Ansible trusts."""
    if isinstance(value, dict):
        return {name: trusted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


def keys_for(site: dict[str, Any]) -> dict[str, Any]:
    """What playbooks/generate_secrets.yml would have made: each node has keys of its own."""
    nodes = [node["name"] for node in site.get("site_mobile_nodes", [{"name": "mn"}, {"name": "mn2"}])]
    agents = [agent["address"] for agent in site.get("site_home_agents", [])]
    of_nodes = {name: f"{number:02x}" * 32 for number, name in enumerate(nodes)}
    return {**dict.fromkeys(("proxy", "home_agent", "direct", "ike"), of_nodes), "fa_ha": dict.fromkeys(agents, _KEY)}


@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.stem)
def test_every_party_takes_the_variables_of_the_page(tmp_path: Path, page: Path) -> None:
    for site in written_so_far(page):
        assert {name for name in site if not name.startswith(("site_", "vault_"))} <= specified()
        known = {
            **site,
            "site_secrets": keys_for(site),
            "mobile_node_backend": "kernel",
            "__mobile_node_connection": "c",
            "__mobile_node_child": "i",
        }
        for role, group, template in _FILES:
            loaded(tmp_path, role, template, variables(role, group) | known)
        gateway = Templar(loader=DataLoader(), variables=variables("vpn_gateway", "vpn_gateways") | known)
        nodes = gateway.template(trust_as_template("{{ vpn_gateway_mobile_nodes }}"))
        assert all("home_address" in node for node in nodes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_variables_in_the_text_of_a_page_are_those_of_the_roles(page: Path) -> None:
    entries = re.compile(r"home_agent_(spi|algorithm|remaining|code_\d+)")
    named = {name for name in _VARIABLE.findall(page.read_text(encoding="utf-8")) if not entries.fullmatch(name)}
    assert sorted(named - specified()) == []
