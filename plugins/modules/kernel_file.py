#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Load a packet filter or kernel settings from a file, with a timed way back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_file
short_description: Load a packet filter or kernel settings, confirmed over a new connection or put back by the host
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Keeps a file, and what the kernel has of it, as they are asked for.
  - Where the kernel has something else, what it has is saved on the host, and a transient timer of systemd is armed
    that puts it back, even if that was nothing. Then the new content is loaded as a whole. A connection that is opened
    after that proves that the host can still be reached. Only then is the timer disarmed and the file written.
  - Where no such connection comes within O(confirm_seconds), the host puts back what it had, the file stays as it was,
    and the task fails and says when that was.
  - A reboot in between comes back to the old file.
  - With a connection plugin that is no SSH there is no network to be cut off by. That the plugin reaches the host is
    the proof then.
options:
  path:
    description: The file. Its name is that of the timer, C(mobileip-restore-NAME.timer).
    type: path
    required: true
  content:
    description: What shall stand in it. A packet filter replaces its table in one transaction.
    type: str
    required: true
  table:
    description:
      - Family and name of the table of nftables that the file makes, such as V(inet mobileip_dmz). No other table is
        looked at or changed.
      - Left out, the file is one of kernel settings, as below C(/etc/sysctl.d). Settings that this host has not are
        left out.
    type: str
  confirm_seconds:
    description: For how long a new connection is tried before the host puts back what it had; 15 to 600.
    type: int
    default: 60
  confirm_variable:
    description: What the user sets O(confirm_seconds) by, for the message.
    type: str
    default: confirm_seconds
  reach:
    description:
      - Places behind this host, as V(ADDRESS:PORT), that the controller must still open TCP connections to. For a
        firewall between the controller and its hosts.
      - All must be there before anything changes.
    type: list
    elements: str
    default: []
  backup:
    description: Whether the file that was there is kept beside the new one.
    type: bool
    default: false
  step:
    description:
      - Which part to do. The action plugin of this name sets it, and has them done in order; there is no need to.
    type: str
    choices: [plan, arm, look, keep, settle]
    default: plan
extends_documentation_fragment:
  - ansible.builtin.files
attributes:
  check_mode:
    support: full
    description:
      - The content is loaded in a network namespace that ends with the command, and compared.
      - Where nftables is not installed yet, the table is taken to be absent.
  diff_mode:
    support: full
    description: Shows the file, and where that is right but the kernel has something else, how the kernel lists both.
  idempotent:
    support: full
    description: Nothing is armed nor loaded where the kernel has the content already.
requirements:
  - systemd on the host
  - nftables and util-linux for a packet filter, procps for settings
"""

EXAMPLES = r"""
- name: Load a packet filter and stay reachable
  mobileip.vpn.kernel_file:
    path: /etc/nftables.d/site.nft
    mode: "0644"
    table: inet site
    confirm_seconds: 60
    content: |
      table inet site {}
      delete table inet site
      table inet site {
        chain input {
          type filter hook input priority filter; policy drop;
          ct state established,related accept
          tcp dport 22 accept
        }
      }

- name: Forward packets
  mobileip.vpn.kernel_file:
    path: /etc/sysctl.d/60-site.conf
    mode: "0644"
    content: |
      net.ipv4.ip_forward = 1
"""

RETURN = r"""
confirmed:
  description: How it was proven that the host can be reached. Empty where nothing had to be loaded.
  returned: success
  type: str
  sample: "ssh, new connection: 198.51.100.7 51514 203.0.113.1 22"
restored:
  description: When the host put back what it had.
  returned: when it was not confirmed
  type: str
  sample: "2026-11-23T18:05:12+00:00"
backup_file:
  description: Where the file that was there is kept.
  returned: with O(backup) when it was replaced
  type: str
  sample: /etc/nftables.d/site.nft.4711.2026-11-23@18:05:12~
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mobileip.vpn.plugins.module_utils.kernel_file import (
    KernelFileError,
    Loaded,
    Settings,
    Table,
    TimedRestore,
)

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "table": {"type": "str"},
    "confirm_seconds": {"type": "int", "default": 60},
    "confirm_variable": {"type": "str", "default": "confirm_seconds"},
    "reach": {"type": "list", "elements": "str", "default": []},
    "backup": {"type": "bool", "default": False},
    "step": {"type": "str", "choices": ["plan", "arm", "look", "keep", "settle"], "default": "plan"},
}


class KernelFile:
    """One file, what the kernel has of it, and its way back."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._path = Path(module.params["path"])
        self._content: str = module.params["content"]
        table = module.params["table"]
        self._loaded: Loaded = Table(table) if table else Settings(self._content)
        self._needs = "nft" if table else "sysctl"
        self._restore = TimedRestore(self._path)

    def plan(self) -> dict[str, Any]:
        """Return what would change; write the file already where that is all there is to do."""
        module, path = self._module, self._path
        written = path.read_text(encoding="utf-8") if path.is_file() else ""
        of_file = self._diff(written, self._content, str(path))
        if not shutil.which(self._needs):
            if module.check_mode:
                return {"changed": True, "diff": of_file}
            raise KernelFileError(f"{self._needs}: not found on this host; expected it before {path} is loaded")
        if self._restore.armed:
            # A roll-out that was cut short: what is saved is what the host was before it.
            if module.check_mode:
                return {"changed": True, "diff": of_file}
            self._restore.restore(self._loaded.loader)
        live, expected = self._loaded.live(), self._loaded.expected(self._content)
        if live != expected:
            of_kernel = self._diff(live, expected, f"{path} (loaded)")
            return {"changed": True, "diff": of_file if written != self._content else of_kernel, "load": True}
        if written == self._content:
            attributes = module.load_file_common_arguments(module.params)
            return {"changed": module.set_fs_attributes_if_different(attributes, False), "diff": of_file}
        if module.check_mode:
            return {"changed": True, "diff": of_file}
        self._stage()
        return {"changed": True, "diff": of_file, **self._put()}

    @staticmethod
    def _diff(before: str, after: str, name: str) -> dict[str, str]:
        return {"before": before, "after": after, "before_header": name, "after_header": name}

    def arm(self) -> dict[str, Any]:
        """Save what the kernel has, arm the timer, and load."""
        self._restore.forget()
        before = self._loaded.way_back()
        if self._loaded.expected(before) != self._loaded.live():
            raise KernelFileError(
                f"{self._path}: what the kernel has now would not come back as it is; nothing was changed"
            )
        self._stage()
        self._restore.arm(self._loaded.loader, before, self._content, self._module.params["confirm_seconds"])
        return {"changed": True}

    def look(self) -> dict[str, Any]:
        """Return for how long the content has been loaded."""
        return {"changed": False, "loaded_for": self._restore.loaded_for(), "restored": self._restore.restored_at()}

    def keep(self) -> dict[str, Any]:
        """Disarm the timer and write the file; put back what was loaded before if that fails."""
        self._restore.disarm()
        restored = self._restore.restored_at()
        if restored:
            return {"changed": False, "kept": False, "restored": restored}
        try:
            said = self._put()
        except OSError as exc:
            self._restore.restore(self._loaded.loader)
            raise KernelFileError(f"{self._path}: {exc}; what the kernel had before was put back") from exc
        self._restore.forget()
        return {"changed": True, "kept": True, **said}

    def settle(self) -> dict[str, Any]:
        """Return when what was loaded before came back, and forget about it."""
        armed, restored = self._restore.armed, self._restore.restored_at()
        if not armed:
            self._restore.forget()
        return {"changed": False, "armed": armed, "restored": restored}

    def _stage(self) -> None:
        """Write the file beside its place, with its owner and mode."""
        module, staged = self._module, self._restore.staged
        try:
            staged.write_text(self._content, encoding="utf-8")
            module.set_fs_attributes_if_different(module.load_file_common_arguments(module.params, str(staged)), True)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def _put(self) -> dict[str, Any]:
        """Put it into its place."""
        path, kept = self._path, {}
        if self._module.params["backup"] and path.is_file():
            kept["backup_file"] = f"{path}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S~')}"
            os.link(path, kept["backup_file"])
        self._restore.staged.replace(path)
        return kept


def main() -> None:
    """Perform one step; the action plugin of the same name has them performed in order."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, add_file_common_args=True)
    file = KernelFile(module)
    steps = {"plan": file.plan, "arm": file.arm, "look": file.look, "keep": file.keep, "settle": file.settle}
    try:
        module.exit_json(**steps[module.params["step"]]())
    except (KernelFileError, OSError) as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
