#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Have units of systemd run now and after the next boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Have units of systemd run now and after the next boot
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Enables and starts units. A unit that runs is left as it is, whatever its file says by now. Restarting it is the
    business of a handler.
  - Systemd reads its files again only where one of these units has another file than it has read. That takes a host
    longer than all that is asked here, and would be for nothing in a run that changes no unit.
options:
  names:
    description: The units, with their suffix.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: A unit that has no file yet would be enabled and started.
  diff_mode:
    support: full
    description: Shows whether each unit is enabled and runs.
  idempotent:
    support: full
    description: Where all units are enabled and run, nothing is done.
requirements:
  - systemd on the host
"""

EXAMPLES = r"""
- name: Enable and start the packet filter
  mobileip.vpn.units:
    names: [site-firewall.service]
"""

RETURN = r"""
units:
  description: What each unit was before.
  returned: success
  type: dict
  sample:
    site-firewall.service:
      enabled: true
      running: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {"names": {"type": "list", "elements": "str", "required": True}}
ENABLED = ("enabled", "static", "indirect", "generated", "alias")
RUNNING = ("active", "activating", "reloading")


class Systemd:
    """The host's systemd, by its own program."""

    def __init__(self, module: AnsibleModule) -> None:
        self._run = module.run_command
        self._systemctl = module.get_bin_path("systemctl", required=True)

    def unit(self, name: str) -> dict[str, bool]:
        """Return whether a unit is enabled and runs; one that has no file does neither."""
        enabled = self._said("is-enabled", "--", name)
        return {"enabled": enabled in ENABLED, "running": self._property("ActiveState", name) in RUNNING}

    def outdated(self, name: str) -> bool:
        """Return whether a unit has another file than systemd has read."""
        return self._property("NeedDaemonReload", name) == "yes"

    def act(self, action: str, names: list[str]) -> str:
        """Return what systemd says against it; empty if nothing."""
        status, said, against = self._run([self._systemctl, action, *names])
        return (against.strip() or said.strip() or f"exit status {status}") if status else ""

    def _property(self, name: str, unit: str) -> str:
        return self._said("show", f"--property={name}", "--value", "--", unit)

    def _said(self, *words: str) -> str:
        return str(self._run([self._systemctl, *words])[1]).strip()


def planned(found: dict[str, dict[str, bool]]) -> list[tuple[str, list[str]]]:
    """Return what systemd has to do, in order, each with its units."""
    steps = (("enable", "enabled"), ("start", "running"))
    wanted = [(action, [name for name, unit in found.items() if not unit[state]]) for action, state in steps]
    return [(action, names) for action, names in wanted if names]


def text(units: dict[str, dict[str, bool]]) -> str:
    """Return the units as a diff shows them."""
    return "".join(f"{name}: enabled {unit['enabled']}, running {unit['running']}\n" for name, unit in units.items())


def main() -> None:
    """Module entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    names: list[str] = module.params["names"]
    systemd = Systemd(module)
    found = {name: systemd.unit(name) for name in names}
    plan = planned(found)
    if not module.check_mode:
        again: list[tuple[str, list[str]]] = [("daemon-reload", [])] if any(map(systemd.outdated, names)) else []
        for action, units in again + plan:
            refused = systemd.act(action, units)
            if refused:
                module.fail_json(
                    msg=f"systemctl {' '.join([action, *units])}: {refused}; expected {', '.join(names)} enabled and"
                    " running. `systemctl status` and `journalctl -u` of each say more"
                )
    wanted = {name: {"enabled": True, "running": True} for name in names}
    result: dict[str, Any] = {"changed": bool(plan), "units": found}
    if plan:
        result["diff"] = {"before": text(found), "after": text(wanted)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
