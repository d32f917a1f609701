"""Each example inventory: every file that the roles would write to its hosts, read by the program it is for.

A host's variables come from Ansible's own inventory code, so what is rendered here is what a roll-out would write.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.mobileip.vpn.plugins.plugin_utils.deployment import WANTED, Deployment, describe

from mobileip.config import ForeignAgentConfig, HomeAgentConfig, MobileNodeConfig, ProxyConfig, load_config
from tests.unit.templates.test_templates import parse

ROOT = Path(__file__).parents[3]
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())
BACKENDS = ("kernel", "libipsec")
PLAYS = pytest.mark.timeout(400)
"""For tests that run ansible-playbook, up to three times, on a machine that does other things besides."""
GROUPS = {
    "mip_proxies": "mip_proxy",
    "vpn_gateways": "vpn_gateway",
    "outer_firewalls": "dmz_firewall",
    "inner_firewalls": "dmz_firewall",
    "home_agents": "home_agent",
    "foreign_agents": "foreign_agent",
    "mobile_nodes": "mobile_node",
}
SHARED = {
    "vpn_gateway": ("firewall/gateway-guard.nft.j2", "routes/gateway-routes.batch.j2", *(
        f"strongswan/gateway/{name}.conf.j2" for name in ("charon", "connections", "secrets"))),
    "mobile_node": ("firewall/node-ipv6.nft.j2", "firewall/node-mss.nft.j2", "routes/node-rules.batch.j2", *(
        f"strongswan/node/{name}.conf.j2" for name in ("charon", "connections", "secrets"))),
}  # fmt: skip
"""Templates of the collection's own folder, by the role that writes them; dmz_firewall's is named by its kind."""
CONFIGURATIONS = {
    "proxy.yml.j2": ProxyConfig,
    "home_agent.yml.j2": HomeAgentConfig,
    "foreign_agent.yml.j2": ForeignAgentConfig,
    "node.yml.j2": MobileNodeConfig,
}
MACS = {"dmz_firewall_vpngw_priv": "02:00:00:00:00:14", "dmz_firewall_mipp_priv": "02:00:00:00:00:0a"}
SAID: dict[str, Any] = {
    "__dmz_firewall_neighbours": {
        "results": [{"item": {"variable": name}, "stdout": json.dumps([{"lladdr": mac}])} for name, mac in MACS.items()]
    },
    "mobile_node_vpn_gateway": "203.0.113.20",
}
"""What preflight and tasks would have learned on a host."""


@dataclass(frozen=True)
class Inventory:
    """The inventory without its encrypted file, and what its hosts have."""

    groups: dict[str, list[str]]
    variables: dict[str, dict[str, Any]]

    def roles(self) -> list[tuple[str, str]]:
        """Each host with each of its roles, as playbooks/site.yml gives them."""
        found = [(host, role) for group, role in GROUPS.items() for host in self.groups.get(group, [])]
        found += [(host, "dmz_firewall") for host, known in self.variables.items() if "dmz_firewall_kind" in known]
        return sorted(set(found))


@cache
def inventory(name: str) -> Inventory:
    return opened(ROOT / "inventories" / name)


def opened(directory: Path) -> Inventory:
    """What Ansible reads there, with keys as playbooks/generate_secrets.yml makes them."""
    loader = DataLoader()
    manager = InventoryManager(loader=loader, sources=[str(directory / "hosts.yml")])
    groups = {group: [str(host) for host in hosts] for group, hosts in manager.get_groups_dict().items()}
    variables = {}
    for host in manager.get_hosts():
        # By hand, not by VariableManager: secrets.yml is encrypted where it is there.
        known: dict[str, Any] = {}
        order = ["all", *(str(group) for group in host.get_groups() if str(group) not in ("all", "ungrouped"))]
        for group in order:
            known |= _files(loader, directory / "group_vars" / group)
        known |= _files(loader, directory / "host_vars" / str(host))
        known |= {"inventory_hostname": str(host), "groups": groups, "site_secrets": secrets(known)}
        variables[str(host)] = known
    return Inventory(groups, variables)


def _files(loader: DataLoader, place: Path) -> dict[str, Any]:
    files = [place.with_name(f"{place.name}.yml"), *sorted(place.glob("*.yml"))]
    found: dict[str, Any] = {}
    for file in files:
        if file.is_file() and file.name != "secrets.yml":
            found |= loader.load_from_file(str(file), trusted_as_template=True)
    return found


def secrets(site: dict[str, Any]) -> dict[str, dict[str, str]]:
    names = [node["name"] for node in site["site_mobile_nodes"]]
    kinds = ("proxy", "home_agent", "direct", "ike")
    return {
        kind: {name: f"{number:02x}{index:02x}" * 16 for index, name in enumerate(names)}
        for number, kind in enumerate(kinds)
    }


def templates(role: str, known: dict[str, Any]) -> list[Path]:
    """All templates whose files the role writes to this host."""
    shared = list(SHARED.get(role, ()))
    if role == "dmz_firewall":
        shared.append(f"firewall/{known['dmz_firewall_kind']}.nft.j2")
    return [*sorted((ROOT / f"roles/{role}/templates").glob("*.j2")), *(ROOT / "templates" / name for name in shared)]


def written(
    name: str, host: str, role: str, backend: str, directory: Path, others: Mapping[str, Any] | None = None
) -> dict[str, Path]:
    """Every file that the role would write, by its template's name; `others` are set besides the inventory's."""
    loader = DataLoader()
    known: dict[str, Any] = {"ansible_managed": "Ansible managed", "role_path": str(ROOT / "roles" / role)}
    for part in ("defaults", "vars"):
        file = ROOT / f"roles/{role}/{part}/main.yml"
        known |= loader.load_from_file(str(file), trusted_as_template=True)
        known |= inventory(name).variables[host] if part == "defaults" else {}
    known |= {**SAID, "vpn_gateway_backend": backend, "mobile_node_backend": backend, **(others or {})}
    files = {}
    for template in templates(role, known):
        file = directory / role / template.name.removesuffix(".j2")
        file.parent.mkdir(exist_ok=True)
        text = trust_as_template(template.read_text(encoding="utf-8"))
        rendered = Templar(loader=loader, variables=known).template(text)
        file.write_text(str(rendered), encoding="utf-8")
        files[template.name] = file
    return files


def cases() -> list[Any]:
    """Each role of each host; IPsec hosts once for each backend."""
    return [
        pytest.param(name, host, role, backend, id=f"{name}-{host}-{role}-{backend}")
        for name in INVENTORIES
        for host, role in inventory(name).roles()
        for backend in (BACKENDS if role in ("vpn_gateway", "mobile_node") else BACKENDS[:1])
    ]


@pytest.mark.namespaces
def test_each_start_of_one_boxs_proxy_lays_routes_that_are_missing_and_leaves_those_that_are_there(
    tmp_path: Path,
) -> None:
    files = written("one_box", "mipp", "vpn_gateway", "libipsec", tmp_path)
    unit = files["mobileip-gateway-routes.service.j2"].read_text(encoding="utf-8")
    # With a start, which the proxy's brings about, and with a restart of its.
    assert re.search(r"^WantedBy=.*\bmobileip@proxy\.service$", unit, re.MULTILINE)
    assert {"After=mobileip@proxy.service", "PartOf=mobileip@proxy.service"} <= set(unit.splitlines())
    *_, command = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    start = command.replace("/etc/mobileip/gateway-routes.batch", str(files["gateway-routes.batch.j2"]))
    script = f"""
        wire() {{ ip link add mip0 type veth peer mip1; ip link set mip0 up; ip link set mip1 up; }}
        show() {{ ip -o route show table 434 dev mip0; ip rule show pref 999; }}
        {start} 2>/dev/null && exit 3
        wire; {start}; show
        # A rule of our number that no file has: whoever lays the routes again takes it away.
        ip rule add pref 999 from 198.51.100.1 lookup main protocol 143
        {start}; show
        ip link del mip0; wire; {start}; show
    """
    done = run("unshare", "--net", "bash", "-ec", script)
    route = "192.0.2.64/27 proto 143 scope link"
    assert [line.strip() for line in done.splitlines()] == [
        route,
        route,
        "999:\tfrom 198.51.100.1 lookup main proto 143",
        route,
    ]


@pytest.mark.namespaces
@pytest.mark.parametrize(("name", "host", "role", "backend"), cases())
def test_every_file_of_every_host_is_right(name: str, host: str, role: str, backend: str, tmp_path: Path) -> None:
    files = written(name, host, role, backend, tmp_path)
    assert files
    for template, file in files.items():
        text = file.read_text(encoding="utf-8")
        assert text.startswith("#\n# Ansible managed\n#\n"), template
        if template in CONFIGURATIONS:
            assert isinstance(load_config(file, files["keys.yml.j2"]).config, CONFIGURATIONS[template])
        elif template.endswith(".nft.j2"):
            run("unshare", "--net", "nft", "-c", "-f", str(file))
        elif template.endswith("sysctl.conf.j2"):
            settings = [line for line in text.splitlines() if line and not line.startswith("#")]
            assert [line for line in settings if not re.fullmatch(r"-?net\.[\w./-]+ = \d+", line)] == []
        elif template.endswith(".conf.j2") and "strongswan-dropin" not in template:
            assert parse(text)
        if template not in ("keys.yml.j2", "secrets.conf.j2"):
            assert not [key for kind in inventory(name).variables[host]["site_secrets"].values()
                        for key in kind.values() if key in text], f"a key in {template}"  # fmt: skip


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-4000:]}{done.stderr}"
    return done.stdout


@pytest.mark.namespaces
@pytest.mark.parametrize("name", INVENTORIES)
def test_gateways_routes_lead_to_the_proxy_and_nowhere_else(name: str, tmp_path: Path) -> None:
    batch = written(name, inventory(name).groups["vpn_gateways"][0], "vpn_gateway", "kernel", tmp_path)
    script = tmp_path / "namespace"
    script.write_text(
        "set -e\nip link add pub type veth peer name far\nip link add mip0 type veth peer name mip1\n"
        "ip address add 203.0.113.20/26 dev pub\nfor end in pub far mip0 mip1; do ip link set $end up; done\n"
        f"for again in 1 2; do ip -batch {batch['gateway-routes.batch.j2']}; done\nip route show table 434\n",
        encoding="utf-8",
    )
    way = "dev mip0 proto 143 scope link" if name == "one_box" else "via 203.0.113.10 dev pub proto 143"
    networks = opened(ROOT / "inventories" / name).variables["mipp"]["site_home_networks"]
    lines = [line.strip() for line in run("unshare", "--net", "sh", str(script)).splitlines()]
    assert sorted(lines) == sorted(f"{network} {way}" for network in networks)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_box_forwards_for_nodes_alone_and_guards_the_wire_D_4_a(backend: str, tmp_path: Path) -> None:
    """The wire is where the proxy hands over and, with kernel ESP, where decrypted packets of nodes come from."""
    firewall = written("one_box", "mipp", "dmz_firewall", backend, tmp_path)["host.nft.j2"].read_text(encoding="utf-8")
    assert rules(firewall, "forward") == [
        'iifname { "mip0", "ipsec0" } ip saddr @home_networks counter accept',
        'iifname { "mip0", "ipsec0" } ip daddr @home_networks counter accept',
        "goto refuse",
    ]
    guard = written("one_box", "mipp", "vpn_gateway", backend, tmp_path)["gateway-guard.nft.j2"]
    refused = rules(guard.read_text(encoding="utf-8"), "forward")
    if backend == "kernel":
        assert 'iifname "mip0" ip daddr @home_networks meta ipsec missing rt ipsec missing goto refuse' in refused
        spoken_for = 'iifname "mip0" ip saddr @home_networks ip daddr != @home_networks meta ipsec missing goto refuse'
    else:
        assert 'iifname "mip0" ip daddr @home_networks oifname != "ipsec0" goto refuse' in refused
        spoken_for = 'iifname "mip0" ip saddr @home_networks ip daddr != @home_networks goto refuse'
    assert spoken_for in refused
    assert not [rule for rule in refused if '"priv"' in rule]


def rules(ruleset: str, chain: str) -> list[str]:
    """The rules of a chain, without comments and the line that says where it is hooked."""
    body = ruleset.split(f"chain {chain} {{")[1].split("}\n\n")[0]
    lines = [line.strip() for line in body.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "type ", "}"))]


def drawn(name: str) -> Deployment:
    """What the picture of the inventory is made from."""
    site = inventory(name)
    hosts = {}
    for host, known in site.variables.items():
        templar = Templar(loader=DataLoader(), variables=known)
        hosts[host] = {each: templar.template(known[each]) for each in WANTED if each in known}
    defaults = [DataLoader().load_from_file(str(file)) for file in sorted(ROOT.glob("roles/*/defaults/main.yml"))]
    return describe(hosts, site.groups, {name: value for each in defaults for name, value in each.items()})


@pytest.mark.parametrize("name", INVENTORIES)
def test_picture_has_the_rules_that_the_roles_write_and_no_others(name: str, tmp_path: Path) -> None:
    for firewall in drawn(name).firewalls:
        role = "vpn_gateway" if firewall.kind == "guard" else "dmz_firewall"
        (file,) = (
            file for template, file in written(name, firewall.host, role, "kernel", tmp_path).items()
            if template in ("outer.nft.j2", "inner.nft.j2", "host.nft.j2", "gateway-guard.nft.j2")
        )  # fmt: skip
        ruleset = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        refuse = [re.sub("( counter)? goto refuse$", "", line) for line in ruleset if line.endswith(" goto refuse")]
        shown: dict[str, list[str]] = {"accept": [], "drop": []}
        for rule in firewall.rules:
            shown[rule.verdict].append(rule.match.replace("VPNGW-Priv's by ARP", MACS["dmz_firewall_vpngw_priv"]))
        assert sorted(shown["accept"]) == sorted(
            line.removesuffix(" counter accept") for line in ruleset if line.endswith(" counter accept")
        )
        assert sorted(shown["drop"]) == sorted(refuse)
        for set_name, members in firewall.sets:
            (elements,) = re.findall(rf"set {set_name[1:]} {{.*?elements = {{ (.*?) }}", " ".join(ruleset))
            assert sorted(elements.split(", ")) == sorted(members.split(", "))


PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "tasks": [
            {
                "ansible.builtin.include_role": {
                    "name": "mobileip.vpn.{{ one_role }}",
                    "tasks_from": "consistency.yml",
                },
                "loop": "{{ consistent_roles }}",
                "loop_control": {"loop_var": "one_role"},
            },
            {
                "name": "As playbooks/preflight.yml asks",
                "ansible.builtin.assert": {"that": "hostvars | mobileip.vpn.deployment_problems(groups) == []"},
                "run_once": True,
            },
        ],
    }
]


def copied(name: str, directory: Path) -> Path:
    """The inventory as somebody has it who has made no keys yet."""
    copy = directory / name
    shutil.copytree(ROOT / "inventories" / name, copy, ignore=shutil.ignore_patterns("secrets.yml"))
    return copy


def consistency(name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """The roles' own checks of the inventory's variables, run by Ansible on this machine as if it were each host."""
    copy = copied(name, directory)
    roles: dict[str, list[str]] = {}
    for host, role in inventory(name).roles():
        if (ROOT / f"roles/{role}/tasks/consistency.yml").exists():
            roles.setdefault(host, []).append(role)
    known = inventory(name).variables
    hosts = {host: {"consistent_roles": roles.get(host, [])} for host in known}
    site = {"site_secrets": next(iter(known.values()))["site_secrets"], "ansible_connection": "local"}
    (directory / "more.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": site}}))
    (directory / "play.json").write_text(json.dumps(PLAY))
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(copy), "-i", str(directory / "more.json"),
         str(directory / "play.json")],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@PLAYS
@pytest.mark.parametrize("name", INVENTORIES)
def test_variables_of_the_inventory_fit_together(name: str, tmp_path: Path) -> None:
    done = consistency(name, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "failed=0" in done.stdout


def topology(directory: Path, name: str, *options: str) -> str:
    """What the playbook says that draws the copied inventory."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    said = run(program, "-i", str(directory / name), str(ROOT / "playbooks/topology.yml"), *options, **plain)
    return " ".join(said.split())


@PLAYS
@pytest.mark.parametrize("name", INVENTORIES)
def test_picture_in_the_docs_is_that_of_the_inventory(name: str, tmp_path: Path) -> None:
    copied(name, tmp_path)
    topology(tmp_path, name)
    now = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
    kept = (ROOT / f"docs/pictures/{name}.svg").read_text(encoding="utf-8")
    again = (
        f"ansible-playbook -i inventories/{name} playbooks/topology.yml -e topology_file=$PWD/docs/pictures/{name}.svg"
    )
    assert now == kept, f"stale: {again}"


@PLAYS
def test_topology_writes_one_file_and_tells_check_mode_the_truth(tmp_path: Path) -> None:
    def there() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    copied("two_box", tmp_path)
    before = there()
    checked = topology(tmp_path, "two_box", "--check", "--diff")
    assert there() == before
    assert "changed=1" in checked
    assert "two_box.svg: would be written" in checked
    assert "+ <title" in checked
    assert "changed=1" in topology(tmp_path, "two_box")
    (new,) = set(there()) - set(before)
    assert new == str(tmp_path / "two_box.svg")
    assert {name: data for name, data in there().items() if name != new} == before
    again = topology(tmp_path, "two_box", "--check", "--diff")
    assert "changed=0" in again
    assert "two_box.svg: is up to date" in again
    assert set(re.findall(r"(\S+) : ok=", again)) == {"localhost"}
