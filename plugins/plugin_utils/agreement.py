"""What hosts of one deployment say of each other, and where that does not agree.

Each role checks its own host's variables. What none of them can see is another host: a firewall that lets through to an
address that no proxy has, a home agent that no firewall knows. Only what both sides say is compared; what is missing or
malformed is for the role to tell.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network

from ansible_collections.mobileip.vpn.plugins.plugin_utils.deployment import DeploymentError, Host

_TUNNELS = {"gre": "47", "minimal": "55"}
"""IP protocol numbers of what a proxy may grant besides IP in IP."""


def disagreements(
    variables: Mapping[str, Mapping[str, object]],
    groups: Mapping[str, Sequence[str]],
    defaults: Mapping[str, object],
) -> list[str]:
    """Return a sentence for each value that another host contradicts: host, variable, value, expectation."""
    hosts = {name: Host(name, found, defaults) for name, found in variables.items()}

    def members(group: str) -> list[Host]:
        return [hosts[name] for name in groups.get(group, ()) if name in hosts]

    proxies = members("mip_proxies")
    if not proxies:
        return []
    firewalls = [host for host in hosts.values() if host.has("dmz_firewall_kind")]
    checks: list[Callable[[], Iterable[str]]] = [
        lambda: _one_boxes(proxies, members("vpn_gateways")),
        lambda: _gateways(proxies, members("vpn_gateways")),
        lambda: _parties(proxies, members("home_agents"), members("mobile_nodes")),
        lambda: _addresses(proxies, firewalls),
        lambda: _networks(proxies, firewalls),
        lambda: _traffic(proxies, firewalls),
    ]
    found: list[str] = []
    for check in checks:
        try:
            found.extend(check())
        except DeploymentError as error:  # malformed: the host's own role says so, too
            found.append(str(error))
    return found


def _listed(proxies: Iterable[Host], variable: str, entry: str) -> list[str]:
    return [one.text(entry, "") for proxy in proxies for one in proxy.entries(variable)]


def _own(proxies: Iterable[Host], variable: str) -> list[str]:
    return [proxy.text(f"{variable}.address", "") for proxy in proxies]


def _unless_among(host: Host, variable: str, allowed: Sequence[str], where: str) -> Iterator[str]:
    """A sentence if the host has the variable with a value that is not allowed."""
    if host.has(variable) and host.text(variable) and host.text(variable) not in allowed:
        yield str(host.wrong(variable, host.text(variable), f"{where} ({', '.join(allowed)})"))


def _one_boxes(proxies: list[Host], gateways: list[Host]) -> Iterator[str]:
    both = {host.name for host in gateways}
    for proxy in proxies:
        if proxy.name in both and not proxy.has("mip_proxy_one_box"):
            expected = "a section ({} for the usual names), since this host is the VPN gateway, too"
            yield str(proxy.wrong("mip_proxy_one_box", None, expected))


def _gateways(proxies: list[Host], gateways: list[Host]) -> Iterator[str]:
    entries = {one.text("vpngw_pub", ""): one for proxy in proxies for one in proxy.entries("mip_proxy_vpn_gateways")}
    for host in gateways:
        known = "vpngw_pub of one of mip_proxy_vpn_gateways"
        yield from _unless_among(host, "vpn_gateway_pub_address", list(entries), known)
        yield from _unless_among(host, "vpn_gateway_mipp_pub", _own(proxies, "mip_proxy_pub"), "MIPP-Pub of a proxy")
        entry = entries.get(host.text("vpn_gateway_pub_address", ""))
        ours = sorted(host.texts("vpn_gateway_home_networks"))
        theirs = sorted(entry.texts("home_networks")) if entry else ours
        if ours != theirs:
            expected = f"home_networks of this gateway in mip_proxy_vpn_gateways ({', '.join(theirs)})"
            yield str(host.wrong("vpn_gateway_home_networks", ", ".join(ours), expected))


def _parties(proxies: list[Host], agents: list[Host], nodes: list[Host]) -> Iterator[str]:
    known = _listed(proxies, "mip_proxy_home_agents", "address")
    for agent in agents:
        yield from _unless_among(agent, "home_agent_address", known, "an address of mip_proxy_home_agents")
    for node in nodes:
        yield from _unless_among(node, "mobile_node_mipp_pub", _own(proxies, "mip_proxy_pub"), "MIPP-Pub of a proxy")


def _addresses(proxies: list[Host], firewalls: list[Host]) -> Iterator[str]:
    gateways = _listed(proxies, "mip_proxy_vpn_gateways", "vpngw_priv")
    for host in firewalls:
        yield from _unless_among(host, "dmz_firewall_mipp_pub", _own(proxies, "mip_proxy_pub"), "MIPP-Pub of a proxy")
        yield from _unless_among(
            host, "dmz_firewall_mipp_priv", _own(proxies, "mip_proxy_priv"), "MIPP-Priv of a proxy"
        )
        yield from _unless_among(host, "dmz_firewall_vpngw_priv", gateways, "vpngw_priv of mip_proxy_vpn_gateways")


def _behind(host: Host, proxies: list[Host]) -> list[Host]:
    """The proxies that the firewall stands before."""
    priv, pub = host.value("dmz_firewall_mipp_priv"), host.value("dmz_firewall_mipp_pub")
    if priv is not None:
        return [proxy for proxy in proxies if proxy.value("mip_proxy_priv.address") == priv]
    return [proxy for proxy in proxies if proxy.value("mip_proxy_pub.address") == pub]


def _networks(proxies: list[Host], firewalls: list[Host]) -> Iterator[str]:
    """Home agents and home networks that a firewall does not know, though a proxy behind it does."""
    for host in firewalls:
        behind = _behind(host, proxies)
        agents = host.texts("dmz_firewall_home_agents")
        missing = [one for one in _listed(behind, "mip_proxy_home_agents", "address") if one not in agents]
        if agents and missing:
            expected = f"all of mip_proxy_home_agents, also {', '.join(missing)}"
            yield str(host.wrong("dmz_firewall_home_agents", ", ".join(agents), expected))
        entries = [entry for proxy in behind for entry in proxy.entries("mip_proxy_vpn_gateways")]
        wanted = [one for entry in entries for one in entry.networks("home_networks")]
        have = host.networks("dmz_firewall_home_networks")
        missing = [one for one in wanted if not any(IPv4Network(one).subnet_of(IPv4Network(each)) for each in have)]
        if have and missing:
            expected = f"all home networks of mip_proxy_vpn_gateways, also {', '.join(missing)}"
            yield str(host.wrong("dmz_firewall_home_networks", ", ".join(have), expected))


def _traffic(proxies: list[Host], firewalls: list[Host]) -> Iterator[str]:
    """Flows that a proxy makes and a firewall would stop."""
    for host in firewalls:
        behind, kind = _behind(host, proxies), host.text("dmz_firewall_kind")
        granted = {one for proxy in behind for one in proxy.texts("mip_proxy_encapsulations")}
        protocols = host.texts("dmz_firewall_tunnel_protocols")
        missing = [
            f"{name} ({number})" for name, number in _TUNNELS.items() if name in granted and number not in protocols
        ]
        if kind == "outer" and missing:
            expected = f"also {', '.join(missing)}, which mip_proxy_encapsulations grants to nodes"
            yield str(host.wrong("dmz_firewall_tunnel_protocols", ", ".join(protocols), expected))
        direct = [proxy for proxy in behind if proxy.text("mip_proxy_mobility_delivery", "") == "direct"]
        if kind == "inner" and direct and not host.flag("dmz_firewall_direct_delivery"):
            expected = f"true, since {direct[0].name} has mip_proxy_mobility_delivery: direct"
            yield str(host.wrong("dmz_firewall_direct_delivery", False, expected))
