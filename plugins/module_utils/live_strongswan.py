"""The variables behind connections of strongSwan: what charon says of them by VICI.

Of a connection's proposals charon says nothing: those are of the file that it was loaded from, and so is how a node is
let in. Secrets are not asked for.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import Remark, Said, Witness
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session

CHILD = "intranet"
SITE_CHILD = "home-agents"
"""The child of a connection that is no node's but of the network of a trusted foreign agent."""
_SOURCE = "charon"
_FILE = "swanctl's file"
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))
_FIRST = {"psk": "psk", "pubkey": "certificate"}
_INNER = {"": "static", "radius": "radius"}
"""Who assigns a node's inner address, by the name of the pool."""


@dataclass(frozen=True)
class Charon:
    """What a running charon has."""

    connections: Mapping[str, Mapping[str, Any]]
    pools: Mapping[str, str]
    """The first address of each pool."""
    plugins: tuple[str, ...]

    @property
    def backend(self) -> str:
        """Whose ESP it uses."""
        return "libipsec" if "kernel-libipsec" in self.plugins else "kernel"


def read(session: Session) -> Charon:
    """Ask charon. Raises `ViciError`."""
    connections: dict[str, Any] = {}
    for each in session.stream("list-conns", "list-conn", {}):
        connections.update(_decoded(each))
    pools = _decoded(session.ask("get-pools", {}))
    plugins = _decoded(session.ask("stats", {})).get("plugins", [])
    return Charon(connections, {name: pool["base"] for name, pool in pools.items() if "base" in pool}, tuple(plugins))


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {key: _decoded(each) for key, each in value.items()}
    return [_decoded(each) for each in value]


def time(seconds: str) -> str:
    """Return seconds in the notation of swanctl.conf, in the largest unit that they are whole in."""
    number = int(seconds or 0)
    unit, size = next(((unit, size) for unit, size in _UNITS if number and number % size == 0), ("s", 1))
    return f"{number // size}{unit}"


def gateway(charon: Charon, files: Mapping[str, Mapping[str, Any]]) -> Iterator[Said]:
    """Yield what is loaded of the role `vpn_gateway`; `files` are the sections of the files that it writes, by kind."""
    yield Witness("vpn_gateway_ipsec_backend", charon.backend, _SOURCE)
    nodes, agents = [], []
    for name, section in sorted(files.get("connections", {}).items()):
        if "remote" not in section:
            # Pass policies.
            continue
        loaded = charon.connections.get(name)
        if loaded is None:
            yield Remark(_SOURCE, f"connection {name}: not loaded; `swanctl --load-all` loads it")
            continue
        if SITE_CHILD in section.get("children", {}):
            agents.append(_agent(name, loaded))
            continue
        child = loaded.get("children", {}).get(CHILD, {})
        node = {"name": name, "identity": _identity(loaded, "remote"), "home_address": _one(loaded["remote_addrs"])}
        nodes.append({key: value for key, value in node.items() if value})
        # Without a pool of its own the node or RADIUS says the address, and the connection takes no other.
        if section.get("pools") == name and charon.pools.get(name) != node["home_address"]:
            pool = charon.pools.get(name, "absent")
            yield Remark(_SOURCE, f"pool {name}: {pool}; expected {node['home_address']}, as its connection has it")
        # In transport mode it is L2TP that the SA carries, and the packet filter says where to.
        is_l2tp = section.get("children", {}).get(CHILD, {}).get("mode") == "transport"
        yield from _witnesses(
            "vpn_gateway",
            name,
            {
                "pub_address": _one(loaded["local_addrs"]),
                "identity": _identity(loaded, "local"),
                "local_ts": None if is_l2tp else child.get("local-ts"),
                **_times(loaded, child),
            },
        )
        yield from _proposals("vpn_gateway", section)
        assigned = "pool" if is_l2tp else _INNER.get(section.get("pools", ""), "pool")
        ways = {"password_check": _checker(section), "inner_address": assigned}
        ways["l2tp"] = is_l2tp
        ways["full_tunnel"] = section.get("children", {}).get(CHILD, {}).get("local_ts") == "0.0.0.0/0"
        yield from _ways("vpn_gateway", section, "remote", ways)
    if nodes:
        yield Witness("vpn_gateway_mobile_nodes", nodes, _SOURCE)
    yield Witness("vpn_gateway_trusted_agents", agents, _SOURCE)


def _agent(name: str, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of `vpn_gateway_trusted_agents` that would write a connection."""
    return {
        "name": name,
        "address": _one(loaded["remote_addrs"]),
        "identity": _identity(loaded, "remote"),
        "dpd_delay": _times(loaded, {})["dpd_delay"],
        "networks": loaded.get("children", {}).get(SITE_CHILD, {}).get("remote-ts", []),
    }


def node(charon: Charon, files: Mapping[str, Mapping[str, Any]], name: str = "vpngw") -> Iterator[Said]:
    """Yield what the connection `name` says of the role `mobile_node`."""
    yield Witness("mobile_node_ipsec_backend", charon.backend, _SOURCE)
    loaded = charon.connections.get(name)
    if loaded is None:
        yield Remark(_SOURCE, f"connection {name}: not loaded; `swanctl --load-all` loads it")
        return
    child = loaded.get("children", {}).get(CHILD, {})
    yield from _witnesses(
        "mobile_node",
        name,
        {
            "home_address": _one(loaded["local_addrs"]),
            "vpn_gateway": _one(loaded["remote_addrs"]),
            "identity": _identity(loaded, "local"),
            "gateway_identity": _identity(loaded, "remote"),
            "remote_ts": child.get("remote-ts"),
            **_times(loaded, child),
        },
    )
    section = files.get("connections", {}).get(name, {})
    yield from _proposals("mobile_node", section)
    yield from _ways("mobile_node", section, "local", {"inner_address": "assigned" if "vips" in section else "static"})


def _witnesses(role: str, connection: str, values: Mapping[str, Any]) -> Iterator[Witness]:
    for variable, value in values.items():
        if value is not None:
            yield Witness(f"{role}_{variable}", value, f"{_SOURCE}, connection {connection}")


def _times(loaded: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dpd_delay": time(loaded.get("dpd_delay", "0")),
        "ike_rekey_time": time(loaded.get("rekey_time", "0")),
        "esp_rekey_time": time(child.get("rekey_time", "0")),
        "esp_rekey_packets": int(child.get("rekey_packets", 0)),
    }


def _proposals(role: str, section: Mapping[str, Any]) -> Iterator[Witness]:
    children = section.get("children", {})
    found = (
        ("ike_proposals", section.get("proposals")),
        ("esp_proposals", children.get(CHILD, {}).get("esp_proposals")),
    )
    for variable, text in found:
        if text:
            yield Witness(f"{role}_{variable}", [each.strip() for each in text.split(",")], _FILE)


def _ways(role: str, section: Mapping[str, Any], end: str, more: Mapping[str, Any]) -> Iterator[Witness]:
    """Yield how the node, which is this `end` of the connection, is let in and protected."""
    if end not in section:
        return
    second = section.get(f"{end}-second", {}).get("auth", "none")
    found = {
        "ike_version": int(section.get("version", 0)),
        "authentication": _FIRST.get(section[end].get("auth", ""), "eap"),
        "second_authentication": second.partition("-")[0],
        "esp_in_udp": section.get("encap") == "yes",
        **more,
    }
    for variable, value in found.items():
        yield Witness(f"{role}_{variable}", value, _FILE)


def _checker(section: Mapping[str, Any]) -> str:
    asked = {section.get(end, {}).get("auth", "") for end in ("remote", "remote-second")}
    return "radius" if any(auth.endswith("-radius") for auth in asked) else "gateway"


def _identity(loaded: Mapping[str, Any], end: str) -> str | None:
    """Return the identity of the first authentication of an end, which VICI numbers."""
    found: Mapping[str, Any] = next((value for key, value in sorted(loaded.items()) if key.startswith(f"{end}-")), {})
    identity: str | None = found.get("id")
    return identity


def _one(addresses: Iterable[str]) -> str | None:
    found = list(addresses)
    return found[0] if len(found) == 1 else None
