#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Export the live state of a host in the roles' own variables."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Export the live state of a host in the variables of the roles; changes nothing
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Returns the variables of this collection's roles as a host has them now, whichever of the roles were applied to it.
    What an inventory gave comes back where the host is as the roles left it. Where somebody has changed something by
    hand, the other value comes back, or a remark.
  - Each variable is asked of what acts on it. The daemons tell the configuration that they run with, which need not be
    what their files say by now. The kernel tells its routes, rules, packet filters and settings, charon its
    connections, and FRR and BIRD what they announce.
  - Where more than one place shows a variable and they disagree, that is a conflict, and the first one counts.
  - Secrets are neither read nor returned.
options:
  control_sockets:
    description: Where the daemons' control sockets are.
    type: path
    default: /run/mobileip
  configurations:
    description: Where the daemons' configurations are. Only their names matter, to tell which of the daemons is silent.
    type: path
    default: /etc/mobileip
  prefix:
    description: Where the daemon is installed.
    type: path
    default: /opt/mobileip
  vici:
    description: Where charon listens for VICI.
    type: path
    default: /run/charon.vici
  connections:
    description:
      - The file with connections that the roles write. It tells which of charon's connections are theirs, and the
        proposals, which charon does not tell.
    type: path
    default: /etc/swanctl/conf.d/mobileip.conf
attributes:
  check_mode:
    support: full
    description: It only looks.
  diff_mode:
    support: none
    description: There is nothing to change.
  idempotent:
    support: full
    description: It only looks.
requirements:
  - iproute2 on the host, and nftables where there is a packet filter of the roles
notes:
  - Addresses and networks of a packet filter come in the order of the kernel's sets, which join adjacent networks.
    Lifetimes come in the largest unit that they are whole in, such as V(14d). Entries of lists come without what is a
    default.
  - An entry of C(mobile_nodes) has what the role of this host reads. That of an inventory may have more, for other
    roles.
  - C(vpn_gateway_ipsec_backend) and C(mobile_node_ipsec_backend) say which is in use, never V(auto).
"""

EXAMPLES = r"""
- name: Ask the host what it is
  mobileip.vpn.host_state:
  register: asked

- name: Require that nobody has changed anything by hand
  ansible.builtin.assert:
    that: asked.conflicts == [] and asked.remarks == []
"""

RETURN = r"""
variables:
  description: The variables of the roles, as the host has them.
  returned: success
  type: dict
  sample:
    dmz_firewall_kind: host
    dmz_firewall_mipp_priv: 192.0.2.10
    mip_proxy_pub: {address: 203.0.113.10, interface: pub}
roles:
  description: The roles that the host shows something of.
  returned: success
  type: list
  elements: str
  sample: [agent, mip_proxy, dmz_firewall]
left_out:
  description:
    - Variables of these roles that are never returned, and why.
    - "Secrets: C(mip_proxy_node_keys), C(mip_proxy_home_agent_keys), C(mip_proxy_foreign_agent_keys),
      C(mip_proxy_fa_ha_keys), C(mip_proxy_aaa_keys), C(home_agent_proxy_keys), C(home_agent_direct_keys),
      C(home_agent_foreign_agent_keys), C(home_agent_aaa_keys), C(foreign_agent_home_agent_keys),
      C(foreign_agent_node_keys), C(foreign_agent_aaa_keys), C(mobile_node_proxy_key), C(mobile_node_direct_key),
      C(mobile_node_aaa_key), C(mobile_node_ike_secret), C(vpn_gateway_ike_secrets),
      C(vpn_gateway_passwords), C(vpn_gateway_private_key), C(vpn_gateway_radius_secret), C(mobile_node_password),
      C(vpn_gateway_trusted_agent_secrets),
      C(mobile_node_private_key), and the keys in entries of C(mobile_node_foreign_agents)."
    - "What is in files of strongSwan's that are not read: C(vpn_gateway_certificate), C(vpn_gateway_ca_certificate),
      C(vpn_gateway_radius_server), C(vpn_gateway_l2tp_address), C(vpn_gateway_l2tp_mtu),
      C(vpn_gateway_l2tp_retries), C(vpn_gateway_retransmit_tries), C(mobile_node_certificate),
      C(mobile_node_ca_certificate), C(mobile_node_retransmit_tries)."
    - "What only a controller or a roll-out knows: C(agent_cache_dir), C(agent_wheelhouse), C(agent_probe_addresses),
      C(vpn_gateway_allow_restart), C(vpn_gateway_confirm_seconds), C(dmz_firewall_confirm_seconds),
      C(dmz_firewall_confirm_reach), C(mobile_node_confirm_seconds)."
    - "What cannot be told apart: C(agent_packages) from other packages, C(dmz_firewall_dmz_prefixes) from
      C(dmz_firewall_internal_prefixes), which has both here."
    - C(dmz_firewall_vpngw_priv) is left out while no neighbour has one of its Ethernet addresses.
  returned: success
  type: dict
  sample: {"mip_proxy_node_keys": "a secret: keys and passwords stay where they are"}
conflicts:
  description: Variables that are not the same everywhere on the host, with what each place says. The first one counts.
  returned: success
  type: list
  elements: dict
  contains:
    variable:
      description: Its name.
      type: str
      sample: vpn_gateway_home_networks
    values:
      description: What each place says.
      type: list
      elements: dict
      sample:
        - {source: routes, value: [192.0.2.64/27, 198.51.100.0/24]}
        - {source: table inet mobileip_gateway, value: [192.0.2.64/27]}
remarks:
  description: What is there and no variable says, or the other way around.
  returned: success
  type: list
  elements: str
  sample: ["table inet mobileip_dmz: a rule that no variable writes: tcp dport 23 counter accept"]
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils import (
    live_daemons,
    live_filters,
    live_routes,
    live_settings,
    live_strongswan,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.live_left_out import left_out, roles
from ansible_collections.mobileip.vpn.plugins.module_utils.live_state import (
    Remark,
    Said,
    Witness,
    conflicts,
    variables,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.policy_routing import MAIN_TABLE
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError, Question
from ansible_collections.mobileip.vpn.plugins.module_utils.routing_daemons import daemons, processes
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import ConfError
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_load import sections
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session, ViciError

ARGUMENTS = {
    "control_sockets": {"type": "path", "default": "/run/mobileip"},
    "configurations": {"type": "path", "default": "/etc/mobileip"},
    "prefix": {"type": "path", "default": "/opt/mobileip"},
    "vici": {"type": "path", "default": "/run/charon.vici"},
    "connections": {"type": "path", "default": "/etc/swanctl/conf.d/mobileip.conf"},
}
_COMPILED = {"pure Python": False, "Python with compiled parts": True}


class Host:
    """What this host says, and what was heard until now."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._kernel = self._routes()
        self._tables = self._filters()
        self.said: list[Said] = []

    @property
    def found(self) -> dict[str, Any]:
        """The variables that are known by now."""
        return variables(each for each in self.said if isinstance(each, Witness))

    def ask(self) -> None:
        """Ask all there is to ask; what comes later may need what came before."""
        for source in (self._daemons, self._agent, self._firewall, self._node, self._gateway, self._settings):
            self.said += list(source())

    def _run(self, *command: str) -> str:
        """Return what a command prints; empty if there is no such program, or it fails."""
        program = self._module.get_bin_path(command[0])
        if not program:
            return ""
        status, out, _err = self._module.run_command([program, *command[1:]])
        return str(out) if status == 0 else ""

    def _routes(self) -> live_routes.Kernel:
        ip = ("ip", "-j", "-4")
        return live_routes.kernel(
            self._run(*ip, "-N", "route", "show", "table", "all"),
            self._run(*ip, "-N", "rule", "show"),
            self._run(*ip, "address", "show"),
            self._run(*ip, "neighbour", "show"),
        )

    def _filters(self) -> dict[str, live_filters.Table]:
        listing = self._run("nft", "-j", "list", "ruleset")
        if not listing:
            return {}
        texts = {
            name: self._run("nft", "-a", "-s", "list", "table", *name.split())
            for name in live_filters.names(listing)
            if name in live_filters.OURS
        }
        return live_filters.tables(listing, texts)

    def _path(self, option: str) -> Path:
        return Path(self._module.params[option])

    def _daemons(self) -> Iterator[Said]:
        """Yield what the running daemons say, and which of them say nothing."""
        sockets = {path.stem: path for path in sorted(self._path("control_sockets").glob("*.sock"))}
        for instance, path in sockets.items():
            try:
                yield from live_daemons.witnesses(instance, live_daemons.ask(path, "configuration"))
            except live_daemons.DaemonError as exc:
                yield Remark(f"mobileip@{instance}", f"does not tell its configuration: {exc}")
        for path in sorted(self._path("configurations").glob("*.yml")):
            if path.stem not in sockets:
                yield Remark(f"mobileip@{path.stem}", f"does not run, though there is {path}")

    def _agent(self) -> Iterator[Said]:
        """Yield what the installation is."""
        python = self._path("prefix") / "bin" / "python3"
        if python.is_symlink():
            yield Witness("agent_python", str(python.readlink()), str(python))
        for path in sorted(self._path("control_sockets").glob("*.sock")):
            try:
                implementation = live_daemons.ask(path, "status").get("implementation")
            except live_daemons.DaemonError:
                continue
            if implementation in _COMPILED:
                yield Witness("agent_compiled", _COMPILED[implementation], f"mobileip@{path.stem}")

    def _firewall(self) -> Iterator[Said]:
        table, known = self._tables.get(live_filters.DMZ), self.found
        if table is None:
            return
        heard = list(live_filters.dmz_firewall(table))
        yield from heard
        said = variables(each for each in heard if isinstance(each, Witness))
        if said.get("dmz_firewall_kind") == "host" and "mip_proxy_pub" in known:
            # No rule of this kind needs it.
            yield Witness("dmz_firewall_mipp_pub", known["mip_proxy_pub"]["address"], "the proxy on this host")
        macs, interface = said.get("dmz_firewall_vpngw_priv_macs", []), said.get("dmz_firewall_dmz_interface")
        senders = {address for where, mac, address in self._kernel.neighbours if where == interface and mac in macs}
        if len(senders) == 1:
            yield Witness("dmz_firewall_vpngw_priv", senders.pop(), "neighbours")

    def _node(self) -> Iterator[Said]:
        known = self.found
        if "mobile_node_interface" not in known:
            return
        yield from live_filters.node(self._tables, known["mobile_node_ipv6"])
        yield from live_routes.node(self._kernel)
        if known["mobile_node_ipsec"]:
            yield from self._strongswan(node=True)

    def _gateway(self) -> Iterator[Said]:
        guard = self._tables.get(live_filters.GATEWAY)
        heard = list(live_filters.gateway(guard)) if guard else []
        named = variables(each for each in heard if isinstance(each, Witness))
        laid = list(live_routes.gateway(self._kernel, named.get("vpn_gateway_home_networks", [])))
        if not heard and not laid:
            return
        # What packets go by comes first, what keeps others away after that.
        yield from laid
        if "mobile_node_interface" not in self.found:
            yield from self._strongswan(node=False)
        yield from heard
        if guard is None:
            yield Remark(f"table {live_filters.GATEWAY}", "is not there; clear packets for nodes without an SA pass")
        if not laid:
            yield Remark("routes and rules", "no way to the home networks through the proxy")
        now = variables(each for each in (*laid, *heard) if isinstance(each, Witness))
        yield from self._interfaces(now)
        yield from self._announced(now)

    def _strongswan(self, *, node: bool) -> Iterator[Said]:
        try:
            files = sections([self._path("connections")])
            with Session(str(self._path("vici"))) as session:
                charon = live_strongswan.read(session)
        except (ConfError, ViciError, OSError) as exc:
            yield Remark("charon", f"cannot be asked: {exc}")
            return
        yield from live_strongswan.node(charon, files) if node else live_strongswan.gateway(charon, files)

    def _interfaces(self, now: dict[str, Any]) -> Iterator[Witness]:
        """Yield which interfaces the gateway has, where its routes and guard do not say."""
        address = now.get("vpn_gateway_pub_address")
        public = self._kernel.interface_of(address) if address else None
        if public:
            yield Witness("vpn_gateway_pub_interface", public, "addresses")
        if "vpn_gateway_priv_interface" not in now:
            others = {"lo", public or "", now.get("vpn_gateway_wire_interface", ""), "ipsec0"}
            named = sorted({interface for _address, interface in self._kernel.addresses})
            private = live_settings.private_interface(named, others, _setting)
            if private:
                yield Witness("vpn_gateway_priv_interface", private, "sysctl")

    def _announced(self, now: dict[str, Any]) -> Iterator[Said]:
        """Yield which routing daemons run, and what of our routes they announce."""
        try:
            running = daemons(processes())
            kinds = sorted({daemon.kind for daemon in running})
            if kinds:
                yield Witness("vpn_gateway_routing_daemons", kinds, "processes")
            if "vpn_gateway_leak_guard" not in now:
                # Nothing of ours to announce.
                return
            wire = now.get("vpn_gateway_wire_interface")
            question = Question(
                home_networks=tuple(map(IPv4Network, now["vpn_gateway_home_networks"])),
                via="" if wire else now["vpn_gateway_mipp_pub"],
                interface=wire or now["vpn_gateway_pub_interface"],
                table=now.get("vpn_gateway_route_table", MAIN_TABLE),
                protocol=now["vpn_gateway_route_protocol"],
                leak_guard=now["vpn_gateway_leak_guard"],
            )
            for daemon in running:
                yield from (Remark(str(daemon), str(leak)) for leak in daemon.read(question).leaks)
        except DaemonError as exc:
            yield Remark("routing daemons", str(exc))

    def _settings(self) -> Iterator[Said]:
        return live_settings.remarks(self.found, _setting)


def _setting(path: str) -> str | None:
    """Return a kernel setting by its path below /proc/sys; None if there is none such."""
    file = Path("/proc/sys") / path
    return " ".join(file.read_text(encoding="ascii").split()) if file.exists() else None


def report(said: Iterable[Said]) -> dict[str, Any]:
    """Return what was heard, as the module returns it."""
    said = list(said)
    witnesses = [each for each in said if isinstance(each, Witness)]
    found = variables(witnesses)
    return {
        "variables": found,
        "roles": roles(found),
        "left_out": left_out(found),
        "conflicts": conflicts(witnesses),
        "remarks": [str(each) for each in said if isinstance(each, Remark)],
    }


def main() -> None:
    """Ask, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        host = Host(module)
        host.ask()
    except (live_filters.FilterError, ValueError, KeyError, OSError) as exc:
        module.fail_json(msg=f"the host's state cannot be read: {exc!r}")
    module.exit_json(changed=False, **report(host.said))


if __name__ == "__main__":
    main()
