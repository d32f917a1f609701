#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Install Debian packages from files that were carried to the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: carried_packages
short_description: Install Debian packages from files on the host, and ask no mirror
version_added: 1.2.0
author:
  - mobileip.vpn maintainers (!UNKNOWN)
description:
  - Installs all of O(packages) in one step of apt, from files that lie on the host. Neither lists nor a mirror are
    read.
  - What was not O(asked_for) is marked as installed automatically, so that C(apt autoremove) takes it away with what
    needed it.
  - Configuration files that were changed by hand stay as they are.
options:
  directory:
    description: Where the files lie. In check mode they need not be there.
    type: path
    required: true
  packages:
    description: What is to be installed, with all that it depends on and that the host lacks.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The package.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        required: true
      file:
        description: The name of its file in O(directory).
        type: str
        required: true
      sha256:
        description: The hash of its file.
        type: str
        required: true
  asked_for:
    description: The names of those that are wanted for themselves.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Says what would be installed.
  diff_mode:
    support: full
    description: Names and versions of what is installed, one a line.
  idempotent:
    support: full
    description: Packages that the host has in these versions are not installed again.
requirements:
  - apt-get and dpkg-query
"""

EXAMPLES = r"""
- name: Install nftables on a host without a mirror
  mobileip.vpn.carried_packages:
    directory: /var/cache/mobileip-packages
    asked_for: [nftables]
    packages:
      - name: nftables
        version: 1.1.3-1
        file: nftables_1.1.3-1_amd64.deb
        sha256: 2ddfa61baaf3a76e2c499db9e521ba6affb226f85af0b6fef739f346ac5f0c39
"""

RETURN = r"""
installed:
  description: What was installed, or would be.
  returned: always
  type: list
  elements: str
  sample: [nftables=1.1.3-1]
"""

import hashlib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS = {
    "directory": {"type": "path", "required": True},
    "packages": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {name: {"type": "str", "required": True} for name in ("name", "version", "file", "sha256")},
    },
    "asked_for": {"type": "list", "elements": "str", "required": True},
}
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
_NO_MIRROR = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null"]
_KEEP_CONFIGURATION = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]


def present(listed: str) -> dict[str, str]:
    """Return versions by name of what dpkg calls installed. `listed`: status, name and version, by tabs."""
    rows = (line.split("\t") for line in listed.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def lacking(packages: list[dict[str, str]], there: dict[str, str]) -> list[dict[str, str]]:
    """Return those that are not there in the version asked for."""
    return [package for package in packages if there.get(package["name"]) != package["version"]]


def spoilt(directory: Path, packages: list[dict[str, str]]) -> list[str]:
    """Return what is wrong with the files: missing ones, and those with another hash."""
    found = []
    for package in packages:
        file = directory / package["file"]
        if not file.is_file():
            found.append(f"{file}: not there")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != package["sha256"]:
            found.append(f"{file}: is not what was fetched (expected the SHA-256 {package['sha256']})")
    return found


def lines(packages: list[dict[str, str]], versions: dict[str, str]) -> str:
    """Return one line for each package that has a version."""
    return "".join(f"{p['name']}={versions[p['name']]}\n" for p in packages if p["name"] in versions)


def _install(module: AnsibleModule, directory: Path, packages: list[dict[str, str]], asked_for: list[str]) -> None:
    files = [str(directory / package["file"]) for package in packages]
    command = ["apt-get", "--yes", "--no-install-recommends", *_NO_MIRROR, *_KEEP_CONFIGURATION, "install", *files]
    code, _said, complaint = module.run_command(command, environ_update=_ENVIRONMENT)
    if code:
        module.fail_json(msg=f"packages: apt did not install {', '.join(files)}: {complaint.strip()[-1500:]}")
    automatic = sorted({package["name"] for package in packages} - set(asked_for))
    if automatic:
        module.run_command(["apt-mark", "auto", *automatic], environ_update=_ENVIRONMENT, check_rc=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    given: dict[str, Any] = module.params
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\t${Package}\t${Version}\n"]
    there = present(module.run_command(query, check_rc=True)[1])
    wanted = lacking(given["packages"], there)
    after = {package["name"]: package["version"] for package in wanted}
    if wanted and not module.check_mode:
        directory = Path(given["directory"])
        problems = spoilt(directory, wanted)
        if problems:
            module.fail_json(msg="packages: " + "; ".join(problems))
        new = [name for name in given["asked_for"] if name not in there]
        # What was there keeps its mark: an upgrade makes nothing automatic.
        kept = [package["name"] for package in wanted if package["name"] in there]
        _install(module, directory, wanted, new + kept)
    module.exit_json(
        changed=bool(wanted),
        installed=[f"{name}={version}" for name, version in after.items()],
        diff={"before": lines(wanted, there), "after": lines(wanted, after)},
    )


if __name__ == "__main__":
    main()
