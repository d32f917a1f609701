"""A host that does not pass the preflight stops everything after it, on those that have passed, too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# A firewall that is asked for nothing passes; a proxy without variables does not.
HOSTS = {"outer_firewalls": ["passes"], "mip_proxies": ["lacks_all"]}


def played(directory: Path, limit: str) -> subprocess.CompletedProcess[str]:
    """Run the preflight and a play after it."""
    children = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in HOSTS.items()}
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory, playbook = directory / "hosts.json", directory / "play.json"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": children}}), encoding="utf-8")
    changes = {"name": "Change", "hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.command": "true"}]}
    before = {"import_playbook": str(ROOT / "playbooks" / "preflight.yml")}
    playbook.write_text(json.dumps([before, changes]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    return subprocess.run(
        [program, "-i", str(inventory), "--limit", limit, str(playbook)],
        cwd=ROOT, env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}, capture_output=True, text=True,
        check=False, timeout=110, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("limit", ["all", "lacks_all"])
def test_nothing_begins_after_a_host_that_fails(tmp_path: Path, limit: str) -> None:
    done = played(tmp_path, limit)
    assert done.returncode == 2, done.stdout + done.stderr
    plays = re.findall(r"^PLAY \[(.*)\] \**$", done.stdout, re.MULTILINE)
    assert plays == ["Preflight", "Preflight of the whole"][: 2 if limit == "all" else 1]
    assert "changed=1" not in done.stdout
    assert ("See above what is wrong with lacks_all." in done.stdout) is (limit == "all")


def test_all_that_pass_go_on(tmp_path: Path) -> None:
    done = played(tmp_path, "passes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
