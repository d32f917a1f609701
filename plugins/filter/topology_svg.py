"""The filter that draws an inventory's deployment."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
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


def topology_svg(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], name: str = "") -> str:
    """Return the picture of the deployment as SVG. Raises `AnsibleFilterError` on variables that cannot be drawn."""
    members = {group: [str(host) for host in groups[group]] for group in groups}
    hosts = dict.fromkeys(members.get("all", []))
    try:
        variables = {host: _read(host, hostvars[host]) for host in hosts}
        return draw(lay_out(describe(variables, members, _defaults()), str(name)))
    except DeploymentError as error:
        raise AnsibleFilterError(f"topology_svg: {error}") from error


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

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return each filter by its name in playbooks."""
        return {"topology_svg": topology_svg}
