#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Look what other packet filters of a host do to Mobile IP."""

from __future__ import annotations

DOCUMENTATION = r"""
module: other_filters
short_description: Require that other packet filters of a host let Mobile IP through; changes nothing
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Names the packet filters that a host has besides those of this collection, and whose they are. These are firewalld,
    ufw, Docker's, others of iptables (both variants), and others of nftables.
  - A packet must get through all of them. Each of O(flows) is followed through their chains as a first packet. One that
    is dropped whatever else is true of it is an error, with the command by which the filter's owner lets it through.
    One that may be dropped is a warning.
  - Nothing is changed, flushed or loaded.
options:
  flows:
    description:
      - What must get through, described as far as it is known. With lists in it, each combination of their entries.
    type: list
    elements: dict
    required: true
    suboptions:
      reason:
        description: What it is for.
        type: str
        required: true
      hook:
        description: Whether it is for this host, or forwarded by it.
        type: str
        choices: [input, forward]
        required: true
      from:
        description: Interfaces that it comes in by.
        type: list
        elements: str
        default: []
      to:
        description: Interfaces that it leaves by.
        type: list
        elements: str
        default: []
      source:
        description: Addresses or prefixes that it comes from.
        type: list
        elements: str
        default: []
      destination:
        description: Addresses or prefixes that it goes to.
        type: list
        elements: str
        default: []
      protocol:
        description: IP protocols, by name or number.
        type: list
        elements: str
        default: []
      source_port:
        description: Port, or range V(FIRST-LAST), that it comes from.
        type: str
      destination_port:
        description: Port, or range V(FIRST-LAST), that it goes to.
        type: str
      tracked:
        description: Whether connection tracking sees it; what a filter of this collection exempts is untracked.
        type: bool
        default: true
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
  - nftables and iptables, where rules of theirs are to be found
"""

EXAMPLES = r"""
- name: Look whether registrations get in
  mobileip.vpn.other_filters:
    flows:
      - reason: registrations of nodes
        hook: input
        from: [eth0]
        destination: [203.0.113.10]
        protocol: [udp]
        destination_port: "434"
"""

RETURN = r"""
found:
  description: Whose packet filters there are besides ours.
  returned: always
  type: list
  elements: str
  sample: [Docker, firewalld]
doubts:
  description: What may be dropped, by whom.
  returned: always
  type: list
  elements: str
  sample:
    - "iptables (table ip filter, chain INPUT) may drop registrations: input udp destination 203.0.113.10:434"
commands:
  description: The commands that let through what is, or may be, dropped.
  returned: always
  type: list
  elements: str
  sample: ["ufw allow in on eth0 proto udp from any to 203.0.113.10 port 434"]
"""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_chains import Flow, Range, Table
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_listing import (
    ListingError,
    addresses,
    dormant,
    from_iptables,
    from_nft,
    protocol_number,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.filter_owners import (
    DOCKER,
    FIREWALLD,
    IPTABLES_TABLES,
    UFW,
    Finding,
    commands,
    findings,
    owners,
)

_UFW_CONFIGURATION = Path("/etc/ufw/ufw.conf")
ARGUMENTS = {
    "flows": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "reason": {"type": "str", "required": True},
            "hook": {"type": "str", "choices": ["input", "forward"], "required": True},
            "from": {"type": "list", "elements": "str", "default": []},
            "to": {"type": "list", "elements": "str", "default": []},
            "source": {"type": "list", "elements": "str", "default": []},
            "destination": {"type": "list", "elements": "str", "default": []},
            "protocol": {"type": "list", "elements": "str", "default": []},
            "source_port": {"type": "str"},
            "destination_port": {"type": "str"},
            "tracked": {"type": "bool", "default": True},
        },
    }
}


def flows_of(given: dict[str, Any]) -> Iterator[Flow]:
    """Yield each combination of what is listed. Raises `ValueError` for what is no address, port or protocol."""
    lists = [given[key] or [None] for key in ("from", "to", "source", "destination", "protocol")]
    for from_interface, to_interface, source, destination, protocol in product(*lists):
        yield Flow(
            reason=given["reason"],
            hook=given["hook"],
            from_interface=from_interface,
            to_interface=to_interface,
            source=addresses(source) if source else None,
            destination=addresses(destination) if destination else None,
            protocol=protocol_number(protocol) if protocol else None,
            source_port=_ports(given["source_port"]),
            destination_port=_ports(given["destination_port"]),
            state="new" if given["tracked"] else "untracked",
        )


def _ports(text: str | None) -> Range | None:
    if not text:
        return None
    first, dash, last = text.partition("-")
    return int(first), int(last) if dash else int(first)


class Host:
    """What this host says of its packet filters."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def _ask(self, *command: str) -> str:
        """Return what a command prints; empty if there is no such program, or it fails."""
        program = self._module.get_bin_path(command[0])
        if not program:
            return ""
        status, out, _err = self._module.run_command([program, *command[1:]])
        return str(out) if status == 0 else ""

    def tables(self) -> list[Table]:
        """Return all tables that see IPv4. Raises `ListingError`."""
        saves = [name for name in ("iptables-nft-save", "iptables-legacy-save") if self._module.get_bin_path(name)]
        tables = [table for name in saves or ["iptables-save"] for table in from_iptables(self._ask(name))]
        listing = self._ask("nft", "-j", "list", "ruleset")
        by_iptables = self._module.get_bin_path("iptables-nft-save") or self._module.get_bin_path("iptables-save")
        off = dormant(self._ask("nft", "-s", "list", "ruleset"))
        for table in from_nft(listing, off) if listing else []:
            # iptables says more of its own than nft does.
            if not (by_iptables and table.family == "ip" and table.name in IPTABLES_TABLES):
                tables.append(table)
        return tables

    def services(self) -> list[str]:
        """Return who will load rules, now or at the next boot."""
        found = []
        for name, unit in ((FIREWALLD, "firewalld.service"), (DOCKER, "docker.service")):
            asked = [self._ask("systemctl", verb, unit).strip() for verb in ("is-active", "is-enabled")]
            if asked[0] == "active" or asked[1] == "enabled":
                found.append(name)
        ufw = _UFW_CONFIGURATION.read_text(encoding="utf-8") if _UFW_CONFIGURATION.exists() else ""
        if re.search(r"(?m)^ENABLED=yes", ufw):
            found.append(UFW)
        return found

    def zone_of(self, interface: str) -> str:
        """Return an interface's zone in firewalld."""
        asked = self._ask("firewall-cmd", f"--get-zone-of-interface={interface}") if interface else ""
        return (asked or self._ask("firewall-cmd", "--get-default-zone")).strip() or "public"


def _listed(host: Host, found: list[Finding]) -> list[str]:
    every = [command for finding in found for command in commands(finding, host.zone_of)]
    # What makes the others count comes once, at the end.
    last = [command for command in dict.fromkeys(every) if command in ("firewall-cmd --reload", "ufw reload")]
    return [command for command in dict.fromkeys(every) if command not in last] + last


def main() -> None:
    """Read, judge, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    host = Host(module)
    try:
        flows = [flow for given in module.params["flows"] for flow in flows_of(given)]
        tables = host.tables()
    except (ValueError, ListingError) as exc:
        module.fail_json(msg=str(exc))
    services, loaded = host.services(), owners(tables)
    judged = list(findings(tables, flows))
    dropped, doubts = ([f for f in judged if f.certain is certain] for certain in (True, False))
    asleep = sorted(set(services) - set(loaded))
    report = {
        "found": sorted({*services, *loaded}),
        "doubts": [str(finding) for finding in doubts],
        "commands": _listed(host, [*dropped, *doubts]),
    }
    if dropped:
        module.fail_json(
            msg=". ".join(
                (
                    "Nothing was changed. A packet must get through all packet filters; others stay as they are",
                    *(str(finding) for finding in dropped),
                    f"Let it through: {'; '.join(_listed(host, dropped))}",
                )
            ),
            **report,
        )
    if asleep:
        module.warn(f"{', '.join(asleep)}: enabled, without rules that could be read; what they will load is not known")
    if doubts:
        module.warn(". ".join((*report["doubts"], f"If it does: {'; '.join(report['commands'])}")))
    module.exit_json(changed=False, **report)


if __name__ == "__main__":
    main()
