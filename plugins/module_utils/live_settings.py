"""The kernel settings that the roles make, compared with those in force; no variable of the roles holds one."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import Remark

Ask: TypeAlias = Callable[[str], "str | None"]
"""Returns a setting by its path below /proc/sys; None if this host has none such."""

_ROUTER = {"forwarding": "1", "rp_filter": "2", "send_redirects": "0"}
_GATEWAY = {"rp_filter": "2", "send_redirects": "0"}
_UPLINK = {"forwarding": "1", "rp_filter": "2"}
_NODE = {"rp_filter": "0", "arp_announce": "2"}


def _wanted(variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings of sysctl.conf.j2 of the roles whose variables are there."""

    def of(interface: Any, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, value in settings.items():
            if interface:
                yield f"net/ipv4/conf/{interface}/{name}", value

    for side in ("mip_proxy_pub", "mip_proxy_priv", "foreign_agent_link"):
        yield from of(variables.get(side, {}).get("interface"), _ROUTER)
    yield from of(variables.get("foreign_agent_uplink", {}).get("interface"), _UPLINK)
    yield from of(variables.get("home_agent_interface"), _ROUTER)
    for link in variables.get("home_agent_home_links", []):
        yield from of(link["interface"], _ROUTER)
    if "vpn_gateway_pub_address" in variables:
        yield "net/ipv4/ip_forward", "1"
        yield from of("all", {"send_redirects": "0"})
        yield from of("default", {"send_redirects": "0"})
        for side in ("vpn_gateway_pub_interface", "vpn_gateway_priv_interface"):
            yield from of(variables.get(side), _GATEWAY)
    yield from of(variables.get("mobile_node_interface"), _NODE)


def remarks(variables: Mapping[str, Any], ask: Ask) -> Iterator[Remark]:
    """Yield the settings in force that are not those of the roles."""
    for path, expected in dict(_wanted(variables)).items():
        value = ask(path)
        if value is not None and value != expected:
            yield Remark("sysctl", f"{path} = {value}; the role sets {expected}")


def private_interface(interfaces: list[str], others: set[str], ask: Ask) -> str | None:
    """Return the one interface besides `others` that has the settings of a gateway's; None if not one has."""
    found = [
        interface
        for interface in interfaces
        if interface not in others
        and all(ask(f"net/ipv4/conf/{interface}/{name}") == value for name, value in _GATEWAY.items())
    ]
    return found[0] if len(found) == 1 else None
