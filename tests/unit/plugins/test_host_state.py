"""Applied, exported, compared: what a host says of the variables, as the roles left it and after changes by hand.

A host is a network namespace with the roles' own files loaded into it: nft and ip load theirs, daemons tell what they
would run with over their control socket, and a charon answers VICI with what the role's own code loaded into it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mobileip.vpn.plugins.module_utils.live_daemons import VALUES, witnesses
from ansible_collections.mobileip.vpn.plugins.module_utils.live_left_out import LEFT_OUT
from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import variables
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_load import load
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session, decode, encode
from ansible_collections.mobileip.vpn.plugins.modules import host_state

from mobileip.config import load_config
from mobileip.runtime.control import ControlServer
from tests.checks.reference.document import PARTS, Part, rows
from tests.checks.reference.keys import LIST_OF_SECTIONS
from tests.exported import ASKED, differences, expected, given, options
from tests.forwarding.conftest import Namespace
from tests.unit.templates.test_inventories import BACKENDS, CONFIGURATIONS, INVENTORIES, MACS, inventory, written
from tests.unit.templates.test_templates import firewall as firewall_variables
from tests.unit.templates.test_templates import render

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

INSTANCES = {"proxy.yml.j2": "proxy", "home_agent.yml.j2": "home_agent", "foreign_agent.yml.j2": "foreign_agent"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SITE_RULE = {"reason": "Mail", "from": "dmz", "to": "core", "match": "ip daddr 192.0.2.50 tcp dport 25"}


class Charon:
    """Says by VICI what was loaded into it, as charon does: seconds, one section an authentication, no proposals."""

    def __init__(self, path: Path, backend: str) -> None:
        self.path = str(path)
        self.connections: dict[str, Any] = {}
        self.pools: dict[str, Any] = {}
        self.plugins = ["vici", "kernel-netlink", *(["kernel-libipsec"] if backend == "libipsec" else [])]
        self.asked: set[str] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    while header := connection.recv(4, socket.MSG_WAITALL):
                        packet = connection.recv(struct.unpack("!I", header)[0], socket.MSG_WAITALL)
                        for answer in self._answers(packet):
                            connection.sendall(struct.pack("!I", len(answer)) + answer)

    def _answers(self, packet: bytes) -> Iterator[bytes]:
        kind, name, data = packet[0], packet[2 : 2 + packet[1]].decode(), packet[2 + packet[1] :]
        if kind in (3, 4):
            yield b"\x05"
            return
        self.asked.add(name)
        asked = decode(data)
        answer: dict[str, Any] = {}
        if name == "load-conn":
            self.connections.update(asked)
        elif name == "load-pool":
            self.pools.update(asked)
        elif name == "list-conns":
            for each, section in self.connections.items():
                yield b"\x07\x09list-conn" + encode({each: self._listed(section)})
        elif name == "get-pools":
            answer = {
                each: {"base": pool["addrs"].partition(b"/")[0], "size": "1"} for each, pool in self.pools.items()
            }
        elif name == "get-conns":
            answer = {"conns": list(self.connections)}
        elif name == "stats":
            answer = {"uptime": {"running": "2 days"}, "plugins": self.plugins}
        yield b"\x01" + encode(answer)

    @staticmethod
    def _listed(section: Mapping[str, Any]) -> dict[str, Any]:
        def seconds(text: bytes) -> str:
            number, unit = re.fullmatch(r"(\d+)([smhd])", text.decode()).groups()  # type: ignore[union-attr]  # fits
            return str(int(number) * UNITS[unit])

        listed: dict[str, Any] = {"local_addrs": [], "remote_addrs": [], "version": "IKEv2", "reauth_time": "0"}
        listed |= {key: section[key] for key in ("local_addrs", "remote_addrs") if key in section}
        listed |= {key: seconds(section[key]) for key in ("rekey_time", "dpd_delay") if key in section}
        for end in ("local", "remote"):
            if end in section:
                listed[f"{end}-1"] = {"class": "pre-shared key", "id": section[end]["id"], "groups": []}
        listed["children"] = {
            name: {
                "mode": child["mode"],
                "rekey_time": seconds(child.get("rekey_time", b"1h")),
                "rekey_packets": child.get("rekey_packets", b"0"),
                "local-ts": child.get("local_ts", [b"dynamic"]),
                "remote-ts": child.get("remote_ts", [b"dynamic"]),
            }
            for name, child in section.get("children", {}).items()
        }
        return listed


class Host:
    """A namespace in which the roles of one host of an inventory were applied."""

    def __init__(self, name: str, host: str, backend: str, directory: Path) -> None:
        self.directory = directory
        self.namespace = Namespace()
        self.backend = backend
        self.given: dict[str, dict[str, Any]] = {}
        self.configurations: dict[str, dict[str, Any]] = {}
        self.charon: Charon | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        for place in ("run", "etc"):
            (directory / place).mkdir()
        self.roles = [role for each, role in inventory(name).roles() if each == host]
        for role in self.roles:
            self.given[role] = given(name, host, role)
        self._lay_interfaces()
        for role in self.roles:
            self._apply(role, written(name, host, role, backend, directory))

    def close(self) -> None:
        if self.charon is not None:
            self.charon.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.namespace.close()

    def shell(self, commands: str) -> str:
        return self.namespace.shell(commands)

    @property
    def variables(self) -> dict[str, Any]:
        return {variable: value for given in self.given.values() for variable, value in given.items()}

    @property
    def expected(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for role, known in self.given.items():
            found |= expected(role, known, self.backend)
        return found

    def _lay_interfaces(self) -> None:
        """Give the host the interfaces and addresses that its variables name, and a neighbour's."""
        known = self.variables
        addresses = {}
        for place in ("mip_proxy_pub", "mip_proxy_priv", "foreign_agent_link"):
            if place in known:
                addresses[known[place]["interface"]] = known[place]["address"]
        if "vpn_gateway_pub_address" in known:
            addresses.setdefault(known["vpn_gateway_pub_interface"], known["vpn_gateway_pub_address"])
            addresses.setdefault(known["vpn_gateway_priv_interface"], "192.0.2.20")
        for single in ("dmz_firewall_dmz_interface", "dmz_firewall_outside_interface"):
            if single in known:
                addresses[known[single]] = "192.0.2.1"
        self.shell("ip link set lo up")
        for interface, address in addresses.items():
            self.shell(f"""
                ip link add name {interface} type veth peer name {interface}-far
                ip link set dev {interface} up
                ip link set dev {interface}-far up
                ip address add {address}/26 dev {interface}""")
        if "vpn_gateway_pub_address" in known:
            # In one box a second address of the interface.
            self.shell(
                f"ip address replace {known['vpn_gateway_pub_address']}/26 dev {known['vpn_gateway_pub_interface']}"
            )
        if "vpn_gateway_wire_interface" in known:
            self.shell("ip link add mip0 type veth peer name mip1\nip link set mip0 up\nip link set mip1 up")
        if known.get("dmz_firewall_kind") == "inner":
            sender = known["dmz_firewall_vpngw_priv"]
            mac = MACS["dmz_firewall_vpngw_priv"]
            self.shell(f"ip neighbour add {sender} lladdr {mac} dev {known['dmz_firewall_dmz_interface']}")

    def _apply(self, role: str, files: Mapping[str, Path]) -> None:
        for template, file in files.items():
            if template in CONFIGURATIONS:
                instance = self.given[role][f"{role}_instance"]
                loaded = load_config(file, files["keys.yml.j2"])
                self.configurations[instance] = loaded.config.model_dump(mode="json")
                self._run_daemon(instance)
            elif template.endswith(".nft.j2"):
                self.shell(f"nft -f {file}")
            elif template == "gateway-routes.batch.j2" or (
                template == "node-rules.batch.j2" and self.backend == "libipsec"
            ):
                self.shell(f"ip -batch {file}")
            elif template.endswith("sysctl.conf.j2"):
                self.shell(f"sysctl -q -e -p {file}")
        if "connections.conf.j2" in files:
            self.charon = Charon(self.directory / "vici", self.backend)
            (self.directory / "connections.conf").write_bytes(files["connections.conf.j2"].read_bytes())
            self.load([files["connections.conf.j2"], files["secrets.conf.j2"]])

    def load(self, files: list[Path]) -> None:
        assert self.charon is not None
        with Session(self.charon.path) as session:
            load(files, session, self.directory / "record.json")
        self.charon.asked.clear()

    def _run_daemon(self, instance: str) -> None:
        """Serve what the daemon of this configuration says."""
        (self.directory / "etc" / f"{instance}.yml").touch()
        commands = {
            "configuration": lambda _: self.configurations[instance],
            "status": lambda _: {"implementation": "pure Python"},
        }
        server = ControlServer(self.directory / "run" / f"{instance}.sock", commands)
        asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(10)

    def export(self, *, check_mode: bool = False) -> dict[str, Any]:
        """What the module returns on this host."""
        arguments = {
            "control_sockets": str(self.directory / "run"),
            "configurations": str(self.directory / "etc"),
            "prefix": str(self.directory / "opt"),
            "vici": str(self.directory / "vici"),
            "connections": str(self.directory / "connections.conf"),
            "_ansible_check_mode": check_mode,
        }
        return self.namespace.run(partial(_returned, arguments))


def _returned(arguments: dict[str, Any]) -> dict[str, Any]:
    said = io.StringIO()
    with patch_module_args(arguments), redirect_stdout(said), pytest.raises(SystemExit):
        host_state.main()
    returned: dict[str, Any] = json.loads(said.getvalue())
    assert not returned.get("failed"), returned["msg"]
    return returned


@contextmanager
def applied(name: str, host: str, directory: Path, backend: str = "libipsec") -> Iterator[Host]:
    made = Host(name, host, backend, directory)
    try:
        yield made
    finally:
        made.close()


def cases() -> list[Any]:
    """Each host that has a role, but for those that are as in `two_box`; IPsec hosts once for each backend."""
    found = []
    for name in INVENTORIES:
        for host in inventory(name).variables:
            roles = {role for each, role in inventory(name).roles() if each == host}
            ipsec = roles & {"vpn_gateway", "mobile_node"}
            if name != "two_box" and (roles & {"foreign_agent", "mobile_node"} or host == "outer_fw"):
                continue
            found += [
                pytest.param(name, host, backend, id=f"{name}-{host}-{backend}")
                for backend in (BACKENDS if ipsec else BACKENDS[:1])
                if roles
            ]
    return found


@pytest.mark.parametrize(("name", "host", "backend"), cases())
def test_what_was_applied_is_what_is_exported(name: str, host: str, backend: str, tmp_path: Path) -> None:
    with applied(name, host, tmp_path, backend) as deployed:
        exported = deployed.export(check_mode=True)
        assert differences(exported["variables"], deployed.expected) == {}
        assert exported["remarks"] == []
        assert exported["conflicts"] == []
        assert exported["changed"] is False
        assert exported == deployed.export()


RICH: dict[str, dict[str, Any]] = {
    "mip_proxy": {
        "mip_proxy_instance": "second",
        "mip_proxy_gre_key": 7,
        "mip_proxy_haleg_gre_key": 8,
        "mip_proxy_default_home_agent": "192.0.2.40",
        "mip_proxy_mobility_subnets": ["192.0.2.64/28"],
        "mip_proxy_simultaneous": 2,
        "mip_proxy_auth_fail_reply": 131,
        "mip_proxy_reply_limit_known": [{"network": "198.51.100.40/32", "rate": 50, "burst": 100}],
        "mip_proxy_vendor_extensions": [{"vendor": 9, "type": 1}],
        "mip_proxy_extensions": {"200": "strip"},
        "mip_proxy_tunnels_dscp": 10,
        "mip_proxy_hap": {"encoding": "cvse", "vendor": 9, "vendor_type": 3},
        "mip_proxy_hap_accept": [{"encoding": "draft-short", "type": 120, "subtype": 4}],
        "mip_proxy_home_network_limits": [{"network": "192.0.2.64/27", "max_bindings": 10}],
        "mip_proxy_vpn_gateways": [
            {
                "name": "vpngw", "vpngw_pub": "203.0.113.20", "vpngw_priv": "192.0.2.20",
                "home_networks": ["192.0.2.64/27"], "macs": ["02:00:00:00:00:14"],
                "mobility_delivery": "direct", "other_sources": ["203.0.113.128/25"],
            },
        ],
        "mip_proxy_home_agents": [
            {
                "address": "192.0.2.40", "home_networks": ["192.0.2.64/27"], "assignable": True, "nai": True,
                "fa_ha_spi": 9001, "fa_ha_algorithm": "hmac-sha1",
            },
        ],
        "mip_proxy_fa_ha_keys": {"192.0.2.40": "ab" * 20},
        "mip_proxy_foreign_agents": [{"name": "fa1", "address": "198.51.100.100", "spi": 8001}],
        "mip_proxy_foreign_agent_keys": {"fa1": "ab" * 16},
        "mip_proxy_mobile_nodes": [
            {
                "name": "mn", "home_address": "192.0.2.69", "nai": "mn@example.org", "gateway": "vpngw",
                "home_agent": "192.0.2.40", "replay": "nonce", "proxy_spi": 2001, "proxy_algorithm": "hmac-sha256",
                "home_agent_spi": 3001, "home_agent_algorithm": "hmac-sha1", "aaa_spi": 2,
            },
            {"name": "guest", "nai": "guest@example.org", "proxy_spi": 2002, "home_agent_spi": 3002},
        ],
        "mip_proxy_node_keys": {"mn": "ab" * 32, "guest": "ab" * 16},
        "mip_proxy_home_agent_keys": {"mn": "ab" * 20, "guest": "ab" * 16},
        "mip_proxy_aaa_keys": {"mn": "ab" * 16},
    },
    "home_agent": {
        "home_agent_home_links": [
            {"interface": "home", "network": "192.0.2.64/27", "pool": {"first": "192.0.2.80", "last": "192.0.2.90"}},
        ],
        "home_agent_redirect": "192.0.2.41",
        "home_agent_proxies": ["192.0.2.10"],
        "home_agent_foreign_agents": [
            {"name": "mipp", "address": "192.0.2.10", "spi": 9001, "algorithm": "hmac-sha1"},
        ],
        "home_agent_foreign_agent_keys": {"mipp": "ab" * 20},
        "home_agent_mobile_nodes": [
            {
                "name": "mn", "home_address": "192.0.2.69", "replay": "nonce", "home_agent_spi": 3001,
                "direct_spi": 4001, "direct_algorithm": "hmac-sha256", "aaa_spi": 5001, "aaa_algorithm": "hmac-sha1",
            },
            {"name": "guest", "nai": "guest@example.org", "home_agent_spi": 3002, "direct_spi": 4002},
        ],
        "home_agent_proxy_keys": {"mn": "ab" * 16, "guest": "ab" * 16},
        "home_agent_direct_keys": {"mn": "ab" * 32, "guest": "ab" * 16},
        "home_agent_aaa_keys": {"mn": "ab" * 20},
    },
    "foreign_agent": {
        "foreign_agent_nai": "fa1@example.org",
        "foreign_agent_advertisement_lifetime": 9,
        "foreign_agent_gre_key": 3,
        "foreign_agent_home_agents": [{"address": "203.0.113.10", "spi": 8001, "algorithm": "hmac-sha1"}],
        "foreign_agent_home_agent_keys": {"203.0.113.10": "ab" * 20},
        "foreign_agent_mobile_nodes": [
            {"name": "mn", "home_address": "192.0.2.69", "foreign_spi": 5001, "foreign_algorithm": "hmac-sha256"},
            {"name": "guest", "nai": "guest@example.org", "aaa_spi": 2},
        ],
        "foreign_agent_node_keys": {"mn": "ab" * 32},
        "foreign_agent_aaa_keys": {"guest": "ab" * 16},
    },
    "mobile_node": {
        "mobile_node_gre_key": 5,
        "mobile_node_nai": "mn@example.org",
        "mobile_node_sa_keepalive_timeout": 90,
        "mobile_node_trusted_agent_nais": ["@example.org"],
        "mobile_node_aaa_key": "ab" * 16,
        "mobile_node_aaa_spi": 5001,
        "mobile_node_foreign_agents": [{"address": "198.51.100.129", "spi": 6001, "key": "ab" * 16}],
    },
}  # fmt: skip
"""What no example inventory has."""
HOSTS = {"mip_proxy": "mipp", "home_agent": "ha", "foreign_agent": "fa", "mobile_node": "mn"}


@pytest.mark.parametrize("role", RICH)
def test_everything_that_a_daemon_can_be_told_comes_back(role: str, tmp_path: Path) -> None:
    host = HOSTS[role]
    files = written("two_box", host, role, "libipsec", tmp_path, RICH[role])
    (template,) = CONFIGURATIONS.keys() & files.keys()
    instance = RICH[role].get(f"{role}_instance", INSTANCES.get(template, "node"))
    configuration = load_config(files[template], files["keys.yml.j2"]).config.model_dump(mode="json")
    exported = variables(witnesses(instance, configuration))
    for variable, value in RICH[role].items():
        if variable in LEFT_OUT[role]:
            assert variable not in exported
        elif variable == "mobile_node_foreign_agents":
            assert exported[variable] == [{key: each for key, each in entry.items() if key != "key"} for entry in value]
        else:
            assert exported[variable] == value
    assert "ab" * 16 not in json.dumps(exported)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.role)
def test_variables_are_exported_from_the_keys_that_the_template_sets_by_them(part: Part) -> None:
    """Those that make up lists of sections are compared above, with what their entries hold."""
    written: dict[str, set[str]] = {}
    for key, names in rows(part):
        if names and len(names) == 1 and key.type != LIST_OF_SECTIONS and not set("[].") & set(names[0]):
            written.setdefault(names[0].removeprefix(f"{part.role}_"), set()).add(key.path)
    assert written
    read = VALUES[part.role]
    assert {name: paths for name, paths in written.items() if read.get(name) not in paths} == {}


@pytest.mark.parametrize("role", LEFT_OUT)
def test_each_variable_that_no_inventory_gives_is_exported_or_left_out_for_a_reason(role: str) -> None:
    """Those that one gives are compared above."""
    compared = {
        variable
        for name in INVENTORIES
        for host, each in inventory(name).roles()
        if each == role
        for variable in given(name, host, role)
    }
    read = {f"{role}_{name}" for name in VALUES.get(role, {})}
    found = {*compared, *read, *LEFT_OUT[role], *ASKED, "agent_python", "agent_compiled"}
    assert options(role).keys() - found == set()
    assert LEFT_OUT[role].keys() - options(role).keys() == set()


@pytest.mark.parametrize("role", LEFT_OUT)
def test_what_is_left_out_is_documented(role: str) -> None:
    described = yaml.safe_load(host_state.RETURN)["left_out"]["description"]
    assert [variable for variable in LEFT_OUT[role] if f"C({variable})" not in " ".join(described)] == []


# By hand


def changed(host: Host, before: Mapping[str, Any]) -> dict[str, Any]:
    """What is exported now and was not before."""
    now = host.export()
    found = {
        variable: value for variable, value in now["variables"].items() if before["variables"].get(variable) != value
    }
    return {**found, "remarks": now["remarks"], "conflicts": [each["variable"] for each in now["conflicts"]]}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Host]:
    with applied("two_box", "vpngw", tmp_path) as host:
        yield host


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Host]:
    with applied("two_box", "mipp", tmp_path) as host:
        yield host


@pytest.fixture
def firewall(tmp_path: Path) -> Iterator[Host]:
    with applied("two_box", "outer_fw", tmp_path) as host:
        yield host


@pytest.mark.parametrize("backend", BACKENDS)
def test_trusted_agents_of_a_gateway(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = inventory("two_box").variables["vpngw"]
    agent = {"name": "branch", "address": "198.51.100.20", "identity": "branch.example", "dpd_delay": "1m"}
    agents = [agent | {"networks": ["198.51.100.100/32", "198.51.100.104/29"]}]
    monkeypatch.setitem(known, "vpn_gateway_trusted_agents", agents)
    monkeypatch.setitem(known, "vpn_gateway_home_agents", ["192.0.2.40", "192.0.2.41"])
    monkeypatch.setitem(known, "vpn_gateway_trusted_agent_secrets", {"branch": "a key of the branch office"})
    with applied("two_box", "vpngw", tmp_path, backend) as gateway:
        exported = gateway.export()
        assert exported["variables"]["vpn_gateway_trusted_agents"] == agents
        assert differences(exported["variables"], gateway.expected) == {}
        assert (exported["remarks"], exported["conflicts"]) == ([], [])


@pytest.mark.parametrize(("name", "host"), [("two_box", "vpngw"), ("one_box", "mipp")])
def test_l2tp_of_a_gateway(name: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inventory(name).variables[host], "vpn_gateway_l2tp", True)
    with applied(name, host, tmp_path, "kernel") as gateway:
        exported = gateway.export()
        assert exported["variables"]["vpn_gateway_l2tp"] is True
        # A set has no order.
        wanted = gateway.expected | {"vpn_gateway_local_ts": exported["variables"]["vpn_gateway_local_ts"]}
        assert sorted(wanted["vpn_gateway_local_ts"]) == sorted(gateway.expected["vpn_gateway_local_ts"])
        assert differences(exported["variables"], wanted) == {}
        assert (exported["remarks"], exported["conflicts"]) == ([], [])


def test_route_that_was_turned_elsewhere(gateway: Host) -> None:
    before = gateway.export()
    gateway.shell("ip route replace 192.0.2.64/27 via 203.0.113.9 dev pub table 434 proto 143")
    assert changed(gateway, before) == {"vpn_gateway_mipp_pub": "203.0.113.9", "remarks": [], "conflicts": []}


def test_route_to_a_second_network(gateway: Host) -> None:
    before = gateway.export()
    gateway.shell("ip route add 198.51.100.0/24 via 203.0.113.10 dev pub table 434 proto 143")
    source, rule = "routes and rules", "rule {}: from {} to {} lookup 434 proto 143"
    assert changed(gateway, before) == {
        "vpn_gateway_home_networks": ["192.0.2.64/27", "198.51.100.0/24"],
        "remarks": [
            f"{source}: without {rule.format(434, '203.0.113.20/32', '198.51.100.0/24')}",
            f"{source}: without {rule.format(435, '192.0.2.64/27', '198.51.100.0/24')}",
            f"{source}: without {rule.format(435, '198.51.100.0/24', '192.0.2.64/27')}",
            f"{source}: without {rule.format(435, '198.51.100.0/24', '198.51.100.0/24')}",
        ],
        "conflicts": ["vpn_gateway_home_networks"],
    }


def test_route_that_was_moved_to_where_routing_daemons_look(gateway: Host) -> None:
    before = gateway.export()
    gateway.shell("""
        ip route flush table 434
        ip rule flush protocol 143
        ip route add 192.0.2.64/27 via 203.0.113.10 dev pub proto 143""")
    assert changed(gateway, before) == {"vpn_gateway_leak_guard": False, "remarks": [], "conflicts": []}


def test_route_that_was_taken_away(gateway: Host) -> None:
    before = gateway.export()
    gateway.shell("ip route flush table 434")
    found = changed(gateway, before)
    assert found["remarks"] == [
        "routes and rules: incomplete: rule 434: from 203.0.113.20/32 to 192.0.2.64/27 lookup 434 proto 143; "
        "rule 435: from 192.0.2.64/27 to 192.0.2.64/27 lookup 434 proto 143"
    ]


def test_connection_with_another_end_and_other_networks(gateway: Host) -> None:
    assert gateway.charon is not None
    before = gateway.export()
    connection = gateway.charon.connections["mn"]
    connection["remote"]["id"] = b"stranger@home.example"
    connection["children"]["intranet"]["local_ts"] = [b"0.0.0.0/0"]
    connection["rekey_time"] = b"4h"
    found = changed(gateway, before)
    assert found["vpn_gateway_mobile_nodes"][0]["identity"] == "stranger@home.example"
    assert found["vpn_gateway_ike_rekey_time"] == "4h"
    assert found["vpn_gateway_local_ts"] == ["0.0.0.0/0"]
    # mn2's connection is as it was.
    assert found["conflicts"] == ["vpn_gateway_ike_rekey_time", "vpn_gateway_local_ts"]


def test_connection_that_was_unloaded_and_pool_of_another_address(gateway: Host) -> None:
    assert gateway.charon is not None
    before = gateway.export()
    del gateway.charon.connections["mn"]
    gateway.charon.pools["mn2"] = {"addrs": b"192.0.2.90/32"}
    found = changed(gateway, before)
    assert [node["name"] for node in found["vpn_gateway_mobile_nodes"]] == ["mn2"]
    assert found["remarks"] == [
        "charon: connection mn: not loaded; `swanctl --load-all` loads it",
        "charon: pool mn2: 192.0.2.90; expected 192.0.2.70, as its connection has it",
    ]


def test_charon_that_does_not_answer(gateway: Host) -> None:
    gateway.charon = None
    (gateway.directory / "vici").unlink()
    exported = gateway.export()
    assert [remark for remark in exported["remarks"] if remark.startswith("charon: cannot be asked: ")]
    assert "vpn_gateway_mobile_nodes" not in exported["variables"]
    assert exported["variables"]["vpn_gateway_mipp_pub"] == "203.0.113.10"


def test_guard_that_was_flushed(gateway: Host) -> None:
    before = gateway.export()
    gateway.shell("nft delete table inet mobileip_gateway")
    assert changed(gateway, before)["remarks"] == [
        "table inet mobileip_gateway: is not there; clear packets for nodes without an SA pass"
    ]


def test_secrets_are_not_even_asked_for(gateway: Host) -> None:
    assert gateway.charon is not None
    gateway.export()
    assert gateway.charon.asked == {"list-conns", "get-pools", "stats"}


def test_daemon_that_runs_with_something_else(proxy: Host) -> None:
    before = proxy.export()
    running = proxy.configurations["proxy"]
    running["max_lifetime"] = 600
    running["location"]["internal_prefixes"] = ["192.0.2.0/25"]
    running["mobile_nodes"][0]["node_sa"]["algorithm"] = "hmac-sha256"
    found = changed(proxy, before)
    assert found.pop("mip_proxy_mobile_nodes")[0] == {
        "name": "mn", "home_address": "192.0.2.69", "home_agent": "192.0.2.40",
        "proxy_spi": 2001, "proxy_algorithm": "hmac-sha256", "home_agent_spi": 3001,
    }  # fmt: skip
    assert found == {
        "mip_proxy_max_lifetime": 600,
        "mip_proxy_internal_prefixes": ["192.0.2.0/25"],
        "remarks": [],
        "conflicts": [],
    }


def test_no_key_is_exported(proxy: Host) -> None:
    said = json.dumps(proxy.export())
    secrets = inventory("two_box").variables["mipp"]["site_secrets"]
    assert [key for kind in secrets.values() for key in kind.values() if key in said] == []


def test_daemon_that_does_not_run_is_named_and_its_variables_are_missing(proxy: Host) -> None:
    (proxy.directory / "run" / "proxy.sock").unlink()
    exported = proxy.export()
    file = proxy.directory / "etc" / "proxy.yml"
    assert exported["remarks"] == [f"mobileip@proxy: does not run, though there is {file}"]
    assert exported["roles"] == ["dmz_firewall"]


def test_daemon_of_an_earlier_release_is_named(proxy: Host) -> None:
    proxy.configurations.clear()
    (remark,) = proxy.export()["remarks"]
    assert remark.startswith("mobileip@proxy: does not tell its configuration: ")


def test_setting_of_an_interface(proxy: Host) -> None:
    proxy.shell("echo 1 > /proc/sys/net/ipv4/conf/pub/rp_filter")
    assert proxy.export()["remarks"] == ["sysctl: net/ipv4/conf/pub/rp_filter = 1; the role sets 2"]


def test_rule_between_two_interfaces_is_what_the_site_allows(firewall: Host) -> None:
    before = firewall.export()
    firewall.shell(
        "nft insert rule inet mobileip_dmz forward iifname dmz oifname core ip daddr 192.0.2.50 tcp dport 25 accept"
    )
    reason = "found in the packet filter"
    assert changed(firewall, before) == {
        "dmz_firewall_allow": [{**SITE_RULE, "reason": reason}],
        "remarks": [],
        "conflicts": [],
    }


def test_rule_that_no_variable_writes(firewall: Host) -> None:
    before = firewall.export()
    firewall.shell("nft insert rule inet mobileip_dmz forward tcp dport 23 counter accept")
    assert changed(firewall, before) == {
        "remarks": ["table inet mobileip_dmz: a rule that no variable writes: tcp dport 23 counter accept"],
        "conflicts": [],
    }


def test_rule_that_was_taken_away(firewall: Host) -> None:
    before = firewall.export()
    listed = firewall.shell("nft -a list chain inet mobileip_dmz forward")
    (handle,) = re.findall(r"@inside counter packets 0 bytes 0 goto refuse # handle (\d+)", listed)
    firewall.shell(f"nft delete rule inet mobileip_dmz forward handle {handle}")
    assert changed(firewall, before)["remarks"] == [
        "table inet mobileip_dmz: without the rule of chain forward: iifname {outside_interface} ip saddr @inside "
        "goto refuse"
    ]


def test_policy_and_one_address_that_were_changed(firewall: Host) -> None:
    before = firewall.export()
    firewall.shell("""
        nft chain inet mobileip_dmz forward '{ policy accept; }'
        nft add element inet mobileip_dmz inside '{ 198.51.100.0/24 }'
        nft insert rule inet mobileip_dmz untracked ip daddr 203.0.113.99 udp dport 434 notrack""")
    found = changed(firewall, before)
    assert found["dmz_firewall_internal_prefixes"] == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/26"]
    assert found["conflicts"] == ["dmz_firewall_mipp_pub"]
    assert found["remarks"] == [
        "table inet mobileip_dmz: chain forward: policy accept; expected drop",
        "table inet mobileip_dmz: a rule that no variable writes: ip daddr 203.0.113.10 udp dport 434 notrack",
    ]


def test_what_the_site_allows_comes_back(tmp_path: Path) -> None:
    with applied("two_box", "outer_fw", tmp_path) as host:
        text = render("firewall/outer.nft.j2", firewall_variables(dmz_firewall_allow=[SITE_RULE]))
        ruleset = tmp_path / "site.nft"
        ruleset.write_text(text, encoding="utf-8")
        host.shell(f"nft -f {ruleset}")
        exported = host.export()
    assert [entry["match"] for entry in exported["variables"]["dmz_firewall_allow"]] == [SITE_RULE["match"]]
    assert exported["remarks"] == []


def test_node_whose_ipv6_is_blocked_by_its_table_alone(tmp_path: Path) -> None:
    with applied("two_box", "mn", tmp_path) as host:
        before = host.export()
        host.shell("""
            nft add table ip6 mobileip_node
            nft add chain ip6 mobileip_node output '{ type filter hook output priority filter; }'
            nft add rule ip6 mobileip_node output oifname != lo counter drop""")
        assert changed(host, before)["conflicts"] == ["mobile_node_ipv6"]
        host.shell("nft delete table ip6 mobileip_node")
        host.configurations["node"]["ipv6"] = "block"
        found = changed(host, before)
        assert found["mobile_node_ipv6"] == "block"
        assert found["remarks"] == [
            "table ip6 mobileip_node: blocks nothing, though the daemon goes by mobile_node_ipv6: block"
        ]


def test_host_without_any_role_says_nothing(tmp_path: Path) -> None:
    namespace = Namespace()
    try:
        places = {option: str(tmp_path / option) for option in host_state.ARGUMENTS}
        exported = namespace.run(partial(_returned, places))
    finally:
        namespace.close()
    nothing: dict[str, Any] = {"variables": {}, "roles": [], "left_out": {}, "conflicts": [], "remarks": []}
    assert {key: exported[key] for key in nothing} == nothing
