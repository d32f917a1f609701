#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Keep what a host was before a roll-out, and go back to it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: checkpoint
short_description: Keep what a host was before a roll-out, and go back to it
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Before a roll-out, records what the roles are about to touch, in a directory that root alone can read. After it,
    keeps that as a backup with a name, or goes back to it.
  - Going back stops, disables and starts units, takes programs, routes, rules, packet filters and addresses of ours
    out of the kernel or puts them back, writes the files that differ, and sets kernel settings back. A host that is
    as it was is not touched, and no unit is restarted that reads nothing of what changed.
  - Neither a return value nor a diff shows what is in a file.
options:
  state:
    description:
      - V(begin) records the host as the pending backup. One that is pending from a roll-out that was cut short stays,
        if the host has changed since.
      - V(keep) gives the pending backup its O(name), or throws it away where the host has not changed since.
      - V(restored) goes back to the backup O(name), or to the pending one.
      - V(absent) takes everything of ours away, goes back to the first backup for the rest, and throws the backups
        away.
      - V(listed) only tells which backups there are.
    type: str
    choices: [begin, keep, restored, absent, listed]
    required: true
  name:
    description:
      - With O(state=keep) the name to keep it by, a time in UTC such as V(20261123T145500Z).
      - With O(state=restored) the name of a roll-out, to be as before it; V(latest) for the last one; V(pending), the
        default, for one that was not kept. A host that the roll-out did not change is as it was before its next one.
    type: str
  directory:
    description: Where the backups are.
    type: path
    default: /var/backups/mobileip
  keep:
    description:
      - How many backups stay besides the first, which always does.
      - And how many of the copies that templates with C(backup) left beside each file of O(touches[].files).
    type: int
    default: 10
  keep_running:
    description:
      - Units of others that are not restarted, since that costs their users something. What would need it fails, in
        check mode before anything is changed, and says so.
    type: list
    elements: str
    default: []
  purge:
    description:
      - Whether going back also purges the packages that O(touches) names and that were not there, with what came with
        them and nobody else needs.
      - By apt only. On hosts of other package managers they stay, and a warning says so.
    type: bool
    default: false
  touches:
    description: What the roles of this host touch, one entry a role (C(roles/ROLE/vars/touches.yml)).
    type: list
    elements: dict
    default: []
    suboptions:
      files:
        description: Patterns of paths that are kept whole. V(*) is within a folder, V(/**) at the end is all below.
        type: list
        elements: str
        default: []
      trees:
        description: Folders of an installation, whose files are replaced and never written to. Kept by hard links.
        type: list
        elements: str
        default: []
      grown:
        description: Folders that what runs fills. They are taken away where they were not there, and else left alone.
        type: list
        elements: str
        default: []
      directories:
        description: Folders shared with others. They are taken away where they were not there and are empty.
        type: list
        elements: str
        default: []
      units:
        description: Units of systemd.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name or pattern. One that does not begin with V(mobileip) belongs to somebody else.
            type: str
            required: true
          restart:
            description: Patterns of files after whose change it is restarted.
            type: list
            elements: str
            default: []
          reload:
            description: Patterns of files after whose change O(touches[].units[].reload_command) is enough.
            type: list
            elements: str
            default: []
          reload_command:
            description: What reads them again.
            type: list
            elements: str
            default: []
          connections:
            description: Files after whose change they are loaded as M(mobileip.vpn.strongswan_connections) does.
            type: list
            elements: str
            default: []
      tables:
        description: Tables of nftables, with their family.
        type: list
        elements: str
        default: []
      packages:
        description:
          - Packages of the distribution. One that was there before is marked again as it was, as asked for or as
            come with another.
        type: list
        elements: str
        default: []
      users:
        description: Users.
        type: list
        elements: str
        default: []
      protocols:
        description: Numbers by which routes and rules of ours are known, besides those in C(/etc/mobileip/*.batch).
        type: list
        elements: int
        default: []
      rules:
        description: Patterns of rules of ours that carry no number.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    support: full
    description: Tells the steps that it would perform, by the same plan.
  diff_mode:
    support: full
    description: Shows the steps, one a line. Contents of files are never shown.
  idempotent:
    support: full
    description: A host that is as it was needs no step. V(begin) always makes a fresh record, and says so as a change.
requirements:
  - systemd, iproute2 and dpkg on the host
"""

EXAMPLES = r"""
- name: Before
  mobileip.vpn.checkpoint:
    state: begin
    touches: "{{ [__dmz_firewall_touches] }}"

- name: After, when all went well
  mobileip.vpn.checkpoint:
    state: keep
    name: 20261123T145500Z

- name: Or back
  mobileip.vpn.checkpoint:
    state: restored
    purge: true
"""

RETURN = r"""
steps:
  description: What was done to go back, or would be in check mode, in this order.
  returned: with restored and absent
  type: list
  elements: str
  sample: [stop mobileip@proxy.service, disable mobileip@proxy.service, remove /etc/mobileip/proxy.yml]
checkpoints:
  description: Names of the backups that were kept, oldest first.
  returned: success
  type: list
  elements: str
  sample: [20261123T145500Z]
pending:
  description: Whether a backup is pending, which V(keep) or V(restored) will settle.
  returned: success
  type: bool
  sample: false
name:
  description: The backup that was gone back to or kept; empty where there was nothing to do.
  returned: success
  type: str
  sample: 20261123T145500Z
resumed:
  description: Whether a backup of a roll-out that was cut short is still the pending one.
  returned: with begin
  type: bool
  sample: false
"""

import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import (
    NAME,
    CheckpointError,
    State,
    Step,
    Touches,
    chosen,
    missing,
    old_copies,
    plan,
    settled,
    surplus,
    touches_of,
    without,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint_host import Performer, Store, read
from ansible_collections.mobileip.vpn.plugins.module_utils.kernel_file import KernelFileError, restore_what_waits

DENIED = "{0} would be restarted, which ends what it serves; expected vpn_gateway_allow_restart: true for that"
_LIST = {"type": "list", "elements": "str", "default": []}
_UNIT = {
    "name": {"type": "str", "required": True},
    "restart": _LIST,
    "reload": _LIST,
    "reload_command": _LIST,
    "connections": _LIST,
}
_TOUCHES = {
    **dict.fromkeys(("files", "trees", "grown", "directories", "tables", "packages", "users", "rules"), _LIST),
    "units": {"type": "list", "elements": "dict", "default": [], "options": _UNIT},
    "protocols": {"type": "list", "elements": "int", "default": []},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["begin", "keep", "restored", "absent", "listed"], "required": True},
    "name": {"type": "str"},
    "directory": {"type": "path", "default": "/var/backups/mobileip"},
    "keep": {"type": "int", "default": 10},
    "keep_running": _LIST,
    "purge": {"type": "bool", "default": False},
    "touches": {"type": "list", "elements": "dict", "default": [], "options": _TOUCHES},
}


def declared(module: AnsibleModule) -> Touches:
    """Return what all roles of this host touch."""
    touches = Touches()
    for each in module.params["touches"]:
        touches |= touches_of(each)
    return touches


def begin(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Record the host, unless what is pending is of before a change that nobody kept."""
    pending = store.load("pending")
    if pending is not None and differs(pending, read(pending.touches)):
        return {"changed": False, "resumed": True, "name": "pending"}
    if not module.check_mode:
        store.begin(read(declared(module)))
    return {"changed": True, "resumed": False, "name": "pending"}


def differs(then: State, now: State) -> bool:
    """Return whether the host is not as it was."""
    return bool(plan(settled(then, now), now, purge=True))


def prune(store: Store, now: State, number: int) -> None:
    """Throw away the oldest backups, and the oldest copies beside the files, but for `number` of them."""
    for name in surplus(store.names(), number):
        store.discard(name)
    for path in old_copies(now.files, number):
        Path(path).unlink()


def keep(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Name the pending backup where the host has changed; throw it away where not."""
    name = module.params["name"] or ""
    if not NAME.fullmatch(name):
        raise CheckpointError(f"name: '{name}'; expected a time in UTC such as 20261123T145500Z")
    pending = store.load("pending")
    if pending is None:
        return {"changed": False, "name": ""}
    now = read(pending.touches)
    changed = differs(pending, now)
    if module.check_mode:
        return {"changed": changed, "name": name if changed else ""}
    if changed:
        store.keep(name)
        prune(store, now, module.params["keep"])
    else:
        store.discard("pending")
    return {"changed": changed, "name": name if changed else ""}


def restored(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Go back to a backup."""
    asked = module.params["name"] or "pending"
    name = "pending" if asked == "pending" else chosen(store.names(), asked)
    then = store.load(name) if name else None
    if name is None or then is None:
        return {"changed": False, "steps": [], "name": ""}
    now = read(then.touches | declared(module))
    lacking = missing(then, now) if name != "pending" else []
    if lacking:
        raise CheckpointError(
            f"packages {', '.join(lacking)}: not there; expected them, as they were when {name} was kept. Nothing was "
            f"changed. `apt-get install {' '.join(lacking)}` and try again"
        )
    steps = go_back(module, store, name, settled(then, now), now)
    if not module.check_mode and name == "pending":
        store.discard("pending")
    return {"changed": bool(steps), "steps": said(steps), "name": name}


def absent(module: AnsibleModule, store: Store) -> dict[str, Any]:
    """Take everything of ours away."""
    names = store.names()
    first = store.load(names[0] if names else "pending")
    now = read(declared(module) | (first.touches if first else Touches()))
    steps = go_back(module, store, names[0] if names else "pending", without(now, first), now)
    if not module.check_mode:
        store.discard_all()
    return {"changed": bool(steps), "steps": said(steps), "name": names[0] if names else ""}


def go_back(module: AnsibleModule, store: Store, name: str, then: State, now: State) -> list[Step]:
    """Perform the steps back unless in check mode, all of them even if one fails; look whether it is as it was."""
    purge = module.params["purge"]
    if purge and now.touches.packages and not shutil.which("apt-get"):
        module.warn("purge: true; expected apt-get for that. What a roll-out has installed stays")
    steps = plan(then, now, purge=purge)
    denied = [step for step in steps if step.action == "restart" and step.what in module.params["keep_running"]]
    if module.check_mode and denied:
        raise CheckpointError(f"{DENIED.format(denied[0].what)}. Nothing was changed")
    if module.check_mode or not steps:
        return steps
    performer = Performer(then, store.path(name))
    failed = []
    for step in steps:
        try:
            if step in denied:
                raise CheckpointError(DENIED.format(step.what))
            performer.perform(step)
        except (CheckpointError, OSError) as exc:
            failed.append(f"{step}: {exc}")
    after = read(now.touches)
    left = said(plan(settled(then, after), after, purge=purge))
    if failed or left:
        raise CheckpointError(
            f"not all is as it was. Failed: {'; '.join(failed) or 'nothing'}. "
            f"Left to do: {'; '.join(left) or 'nothing'}. The backup is in {store.path(name)}"
        )
    return steps


def said(steps: list[Step]) -> list[str]:
    """Return the steps as text."""
    return [str(step) for step in steps]


def main() -> None:
    """Do what is asked, and report."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    store = Store(module.params["directory"])
    do = {"begin": begin, "keep": keep, "restored": restored, "absent": absent}
    result: dict[str, Any] = {"changed": False, "name": ""}
    try:
        if module.params["state"] in ("begin", "restored", "absent") and not module.check_mode:
            # A packet filter that nobody has confirmed is not what the host was, nor may its timer go off later.
            restore_what_waits()
        if module.params["state"] in do:
            result = do[module.params["state"]](module, store)
        result["checkpoints"] = store.names()
        result["pending"] = store.path("pending").exists()
    except (CheckpointError, KernelFileError, OSError) as exc:
        module.fail_json(msg=str(exc))
    if "steps" in result:
        result["diff"] = {"before": "", "after": "".join(f"{step}\n" for step in result["steps"])}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
