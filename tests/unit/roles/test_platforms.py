"""A host's distribution decides what is installed there; on one that is not supported nothing begins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checks.step import CHECKOUT

PLATFORMS = CHECKOUT / "roles" / "agent" / "vars" / "platforms"
LIKE_RHEL = 'NAME="Rocky Linux"\nVERSION_ID="9.5"\nID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky 9.5"\n'
# /etc/os-release as the distributions have it, the role that asks, and what it is told; nothing where it may go on.
HOSTS = {
    "debian12": ('PRETTY_NAME="Debian 12"\nVERSION_ID="12"\nID=debian\n', "vpn_gateway", ""),
    "debian13": ('PRETTY_NAME="Debian 13"\nVERSION_ID="13"\nID=debian\n', "mobile_node", ""),
    "ubuntu2404": (
        'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n',
        "vpn_gateway",
        "",
    ),
    "rhel9": ('VERSION_ID="9.4"\nID="rhel"\nID_LIKE="fedora"\nPRETTY_NAME="Red Hat 9.4"\n', "mip_proxy", ""),
    "rocky9": (LIKE_RHEL, "dmz_firewall", ""),
    "gateway_on_rocky9": (
        LIKE_RHEL,
        "vpn_gateway",
        "vpn_gateway: rhel-9 has no strongSwan with its files in /etc/swanctl",
    ),
    "debian11": (
        'PRETTY_NAME="Debian 11"\nVERSION_ID="11"\nID=debian\n',
        "agent",
        "This host is Debian 11; expected one of",
    ),
    "ubuntu2204": (
        'PRETTY_NAME="Ubuntu 22.04"\nVERSION_ID="22.04"\nID=ubuntu\n',
        "agent",
        "This host is Ubuntu 22.04; exp",
    ),
    "rhel8": (
        'VERSION_ID="8.10"\nID="rhel"\nPRETTY_NAME="Red Hat 8.10"\n',
        "agent",
        "This host is Red Hat 8.10; expected",
    ),
    "testing": (
        'PRETTY_NAME="Debian forky/sid"\nID=debian\n',
        "agent",
        "This host is Debian forky/sid; expected one of",
    ),
}
PACKAGES = {
    "debian12": ["libbpf1", "python3-venv"],
    "debian13": ["libbpf1", "python3-venv"],
    "ubuntu2404": ["libbpf1", "python3-venv"],
    "rhel9": ["iproute-tc", "libbpf", "python3.12"],
    "rocky9": ["iproute-tc", "libbpf", "python3.12"],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The last result of each host: the failure, or what would be installed for the agent. One run of Ansible."""
    directory = tmp_path_factory.mktemp("platforms")
    role = CHECKOUT / "roles" / "agent"
    tasks, asked = (
        yaml.safe_load((role / "tasks" / name).read_text(encoding="utf-8"))
        for name in ("platform.yml", "distribution.yml")
    )
    # A release of its own for each host; the rest is the role's.
    asked[0]["ansible.builtin.slurp"]["src"] = "{{ release_file }}"
    asked[2]["ansible.builtin.include_vars"]["file"] = f"{PLATFORMS}/{{{{ __agent_platform_name }}}}.yml"
    (directory / "distribution.yml").write_text(json.dumps(asked), encoding="utf-8")
    shown = {"name": "Packages", "ansible.builtin.debug": {"msg": "{{ __agent_packages }}"}}
    hosts = {}
    for name, (release, asking, _) in HOSTS.items():
        (directory / name).write_text(release, encoding="utf-8")
        hosts[name] = {"release_file": str(directory / name), "asking": asking, "agent_packages": []}
    inventory, playbook = directory / "hosts.json", directory / "play.json"
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}), encoding="utf-8")
    block = {"block": [*tasks, shown], "vars": {"__agent_role": "{{ asking }}"}}
    play = {"hosts": "all", "gather_facts": False, "vars_files": [str(role / "vars" / "main.yml")], "tasks": [block]}
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook)],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        stdin=subprocess.DEVNULL,
    )
    results = {}
    for found in re.finditer(r"^(?:ok|fatal): \[(\w+)\].*?=> (?=\{)", done.stdout, re.MULTILINE):
        results[found[1]], _ = json.JSONDecoder().raw_decode(done.stdout, found.end())
    assert results.keys() == HOSTS.keys(), done.stdout + done.stderr
    return results


@pytest.mark.parametrize("name", HOSTS)
def test_a_distribution_is_told_from_the_others(told: dict[str, dict[str, Any]], name: str) -> None:
    _, _, expected = HOSTS[name]
    if expected:
        assert expected in told[name]["msg"]
        assert told[name]["msg"].startswith("Nothing was changed. ")
    else:
        assert told[name]["msg"] == PACKAGES[name]


def test_every_supported_distribution_has_its_differences() -> None:
    names = yaml.safe_load((CHECKOUT / "roles/agent/vars/main.yml").read_text(encoding="utf-8"))["__agent_platforms"]
    assert {path.stem for path in PLATFORMS.glob("*.yml")} == set(names)
    for path in PLATFORMS.glob("*.yml"):
        platform = yaml.safe_load(path.read_text(encoding="utf-8"))["__agent_platform"]
        assert platform["manager"] in {"apt", "dnf"}
        asking = {"agent", "dmz_firewall", "mobile_node", "vpn_gateway"} - platform["lacks"].keys()
        assert asking <= platform["packages"].keys()


def test_the_readme_says_which_were_run() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for path in PLATFORMS.glob("*.yml"):
        distribution, _, version = path.stem.partition("-")
        name = {"rhel": "RHEL"}.get(distribution, distribution.capitalize())
        (row,) = re.findall(rf"^\|.*\b{name} {re.escape(version)}\b.*$", readme, re.MULTILINE)
        assert ("not run" in row) == path.read_text(encoding="utf-8").startswith("---\n# Not run.")
