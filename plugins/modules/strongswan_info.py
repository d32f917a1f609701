#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Ask whether strongSwan can be given a configuration without disturbing those that it serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: strongswan_info
short_description: Ask whether strongSwan can be configured without disturbing those that it serves
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Settings of C(strongswan.conf) are read when charon starts, and a restart ends all SAs. This module tells which
    settings of a file that is about to be written a running charon does not have. Where it has all of them, the file
    can be written without a restart.
  - It also tells which sections of C(swanctl.conf) somebody else's file has already. Two files that both have one are
    read as one section.
  - Changes nothing.
options:
  path:
    description: The file with settings that is about to be written.
    type: path
    default: /etc/strongswan.d/mobileip.conf
  content:
    description: What it will hold.
    type: str
    required: true
  configuration:
    description: The file with settings that strongSwan reads first.
    type: path
    default: /etc/strongswan.conf
  sections:
    description: Sections of C(swanctl.conf) that are about to be written, such as V(connections.laptop).
    type: list
    elements: str
    default: []
  sections_paths:
    description: The files that these are written to.
    type: list
    elements: path
    default: [/etc/swanctl/conf.d/mobileip.conf, /etc/swanctl/conf.d/mobileip-secrets.conf]
  connections:
    description: The file with connections that swanctl reads first.
    type: path
    default: /etc/swanctl/swanctl.conf
attributes:
  check_mode:
    support: full
    description: Only looks.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
requirements:
  - systemd and swanctl on the host, where strongSwan runs
notes:
  - Which plugins are loaded, charon tells. Its other settings it does not, so they are taken from the files. One in a
    file of somebody else's that was written after charon's start counts as not known, which needs a restart.
"""

EXAMPLES = r"""
- name: Ask what would disturb others
  mobileip.vpn.strongswan_info:
    content: "{{ lookup('ansible.builtin.template', 'charon.conf.j2') }}"
    sections: [connections.laptop, pools.laptop, secrets.ike-laptop]
  register: asked

- name: Require nothing of that kind
  ansible.builtin.assert:
    that: asked.needed + asked.overridden + asked.taken == []
"""

RETURN = r"""
running:
  description: Whether strongSwan runs.
  returned: success
  type: bool
  sample: true
needed:
  description: What it does not run with, one entry a setting; empty where it does not run.
  returned: success
  type: list
  elements: str
  sample: ["install_routes is yes, expected no"]
overridden:
  description: Settings of which another file says otherwise, and is read later.
  returned: success
  type: list
  elements: str
  sample: ["charon-systemd.install_routes = yes in /etc/strongswan.d/site.conf, expected no or nothing there"]
taken:
  description: Sections that another file has.
  returned: success
  type: list
  elements: str
  sample: [connections.laptop in /etc/swanctl/conf.d/site.conf]
"""

import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import (
    Charon,
    ConfError,
    lacking,
    overridden,
    read,
    taken,
)

UNIT = "strongswan.service"
ARGUMENTS = {
    "path": {"type": "path", "default": "/etc/strongswan.d/mobileip.conf"},
    "content": {"type": "str", "required": True},
    "configuration": {"type": "path", "default": "/etc/strongswan.conf"},
    "sections": {"type": "list", "elements": "str", "default": []},
    "sections_paths": {
        "type": "list",
        "elements": "path",
        "default": ["/etc/swanctl/conf.d/mobileip.conf", "/etc/swanctl/conf.d/mobileip-secrets.conf"],
    },
    "connections": {"type": "path", "default": "/etc/swanctl/swanctl.conf"},
}


def charon_of(module: AnsibleModule) -> Charon | None:
    """Return the charon that runs; None where none does. Raises `ConfError` where it does not answer."""
    asked = ["systemctl", "show", UNIT, "-p", "ActiveState", "-p", "ExecMainStartTimestampMonotonic"]
    said = dict(line.split("=", 1) for line in module.run_command(asked)[1].splitlines() if "=" in line)
    if said.get("ActiveState") not in ("active", "activating", "reloading"):
        return None
    since_boot = int(said["ExecMainStartTimestampMonotonic"]) / 1e6
    status, answer, error = module.run_command(["swanctl", "--stats"])
    plugins = re.search(r"(?m)^loaded plugins: *(.*)$", answer)
    if status or plugins is None:
        raise ConfError(f"swanctl --stats: {error.strip() or answer.strip()}; expected an answer, since {UNIT} runs")
    started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot
    return Charon(started, frozenset(plugins[1].split()))


def settings(module: AnsibleModule, charon: Charon | None) -> tuple[list[str], list[str]]:
    """Return what a running charon does not have, and what does not count."""
    root, own, content = Path(module.params["configuration"]), Path(module.params["path"]), module.params["content"]
    if not root.exists():
        return [], []
    files = {value.path for value in read(root, {}).values()}
    written = {path: path.stat().st_mtime for path in files}
    needed = list(lacking(root, own, content, charon, written)) if charon else []
    return needed, list(overridden(root, own, content))


def main() -> None:
    """Ask, compare, report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        charon = charon_of(module)
        needed, others = settings(module, charon)
        own = [Path(path) for path in module.params["sections_paths"]]
        theirs = list(taken(Path(module.params["connections"]), own, module.params["sections"]))
    except (ConfError, OSError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(changed=False, running=charon is not None, needed=needed, overridden=others, taken=theirs)


if __name__ == "__main__":
    main()
