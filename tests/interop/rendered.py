"""The files that the roles write on the hosts of an example inventory, as they lie on each host's disk.

Rendered on the machine, since Ansible is slow in a guest, from the roles' own tasks that write templates: source,
destination and condition are theirs, defaults and variables, too. Kernel ESP everywhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from lab.names import mac_of

DEPLOYMENTS = ("two_box", "one_box")
_ROOT = Path(__file__).parents[2]
_ROLES = {
    "mip_proxies": "mip_proxy",
    "vpn_gateways": "vpn_gateway",
    "outer_firewalls": "dmz_firewall",
    "inner_firewalls": "dmz_firewall",
    "home_agents": "home_agent",
    "foreign_agents": "foreign_agent",
    "mobile_nodes": "mobile_node",
}
"""By group of the inventory; a proxy's host has a packet filter as well."""
_TEMPLATE = "ansible.builtin.template"
_KERNEL_FILE = "mobileip.vpn.kernel_file"


def render(directory: Path, deployment: str) -> None:
    """Write the files of each host of inventories/`deployment` below `directory`/HOST. Ansible's plugins are loaded."""
    inventory = _ROOT / "inventories" / deployment
    groups = yaml.safe_load((inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
    nodes = list(groups["mobile_nodes"]["hosts"])
    keys = {kind: {node: secrets.token_hex(16) for node in nodes} for kind in ("proxy", "home_agent", "direct", "ike")}
    (gateway,) = groups["vpn_gateways"]["hosts"]
    found = {
        "site_secrets": keys,
        "ansible_managed": "Ansible managed",
        # What the roles find out on the hosts.
        "vpn_gateway_backend": "kernel",
        "mobile_node_backend": "kernel",
        "dmz_firewall_vpngw_priv_macs": [mac_of(gateway, "priv")],
    }
    for group, role in _ROLES.items():
        for host in groups[group]["hosts"]:
            its_groups = [name for name in groups if host in groups[name]["hosts"]]
            facts = [inventory / "group_vars" / f"{name}.yml" for name in its_groups]
            for one in (role, "dmz_firewall") if group == "mip_proxies" else (role,):
                own = _ROOT / "roles" / one
                known = _read(
                    own / "defaults/main.yml", inventory / "group_vars/all/site.yml", *facts, own / "vars/main.yml"
                )
                known |= {**found, "inventory_hostname": host, "role_path": str(own)}
                _write(directory / host, own, Templar(loader=DataLoader(), variables=known))


def _read(*files: Path) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for file in files:
        known |= DataLoader().load_from_file(str(file), trusted_as_template=True)
    return known


def _write(disk: Path, role: Path, templar: Templar) -> None:
    def resolved(text: str) -> str:
        return str(templar.template(trust_as_template(text)))

    for task in _writing_tasks(role):
        if "when" in task and resolved(f"{{{{ ({task['when']}) | bool }}}}") != "True":
            continue
        if _KERNEL_FILE in task:
            path, mode = task[_KERNEL_FILE]["path"], task[_KERNEL_FILE]["mode"]
            text = resolved(task[_KERNEL_FILE]["content"])
        else:
            path, mode = task[_TEMPLATE]["dest"], task[_TEMPLATE]["mode"]
            source = Path(resolved(task[_TEMPLATE]["src"]))
            source = source if source.is_absolute() else role / "templates" / source
            text = resolved(source.read_text(encoding="utf-8"))
        file = disk / resolved(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(int(mode, 8))


def _writing_tasks(role: Path) -> Iterator[dict[str, Any]]:
    for file in sorted((role / "tasks").glob("*.yml")):
        tasks: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
        yield from (task for task in tasks if _TEMPLATE in task or _KERNEL_FILE in task)
