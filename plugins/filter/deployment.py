"""Filters that see an inventory's deployment as a whole: draw it, and tell where hosts contradict each other."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mobileip.vpn.plugins.plugin_utils.agreement import disagreements
from ansible_collections.mobileip.vpn.plugins.plugin_utils.deployment import (
    WANTED,
    DeploymentError,
    Wanted,
    describe,
)
from ansible_collections.mobileip.vpn.plugins.plugin_utils.topology_layout import lay_out
from ansible_collections.mobileip.vpn.plugins.plugin_utils.topology_svg import draw
from jinja2.exceptions import UndefinedError

ROLES = Path(__file__).parents[2] / "roles"


Groups = Mapping[str, Sequence[str]]
Variables = Mapping[str, Mapping[str, Any]]


def topology_svg(hostvars: Variables, groups: Groups, name: str = "") -> str:
    """Return the picture of the deployment as SVG. Raises `AnsibleFilterError` on variables that cannot be drawn."""
    try:
        return draw(lay_out(describe(*_inventory(hostvars, groups), _defaults()), str(name)))
    except DeploymentError as error:
        raise AnsibleFilterError(f"topology_svg: {error}") from error


def deployment_problems(hostvars: Variables, groups: Groups) -> list[str]:
    """Return what hosts say of each other that does not agree, a sentence each."""
    try:
        return disagreements(*_inventory(hostvars, groups), _defaults())
    except DeploymentError as error:
        return [str(error)]


def _inventory(hostvars: Variables, groups: Groups) -> tuple[dict[str, dict[str, object]], dict[str, list[str]]]:
    members = {group: [str(host) for host in groups[group]] for group in groups}
    return {host: _read(host, hostvars[host]) for host in dict.fromkeys(members.get("all", []))}, members


def _read(host: str, known: Mapping[str, Any]) -> dict[str, object]:
    """What is wanted of a host's variables, as plain data; everything else, keys above all, is not even looked at."""
    found: dict[str, object] = {}
    for name, wanted in WANTED.items():
        try:
            found[name] = _plain(known[name], wanted)
        except KeyError:
            continue
        except UndefinedError as error:
            raise DeploymentError(f"{host}: {name}: {error}; expected every variable in it to be set") from error
    return found


def _plain(value: Any, wanted: Wanted) -> object:
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        return {name: _plain(value[name], inner) for name, inner in wanted.items() if name in value}
    if isinstance(wanted, Sequence) and isinstance(value, (list, tuple)):
        return [_plain(one, wanted[0]) for one in value]
    if isinstance(value, (Mapping, list, tuple)):
        return f"({type(value).__name__})"  # not what was expected, and nothing of it is repeated
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def _defaults() -> dict[str, object]:
    found: dict[str, object] = {}
    for role in ("mip_proxy", "vpn_gateway", "dmz_firewall", "home_agent", "foreign_agent", "mobile_node"):
        file = ROLES / role / "defaults" / "main.yml"
        known = yaml.safe_load(file.read_text(encoding="utf-8"))
        found |= {name: value for name, value in known.items() if name in WANTED}
    return found


class FilterModule:
    """What Ansible asks a file of filters for."""

    def filters(self) -> dict[str, Callable[..., str | list[str]]]:
        """Return each filter by its name in playbooks."""
        return {"topology_svg": topology_svg, "deployment_problems": deployment_problems}
