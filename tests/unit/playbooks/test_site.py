"""What site.yml does when something fails, wherever: on three hosts that are this one, with roles of the test.

The play is the real one. Only the preflight, what is rolled out and verified, and the module that goes back have
stand-ins: the module says that it did as it was told.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECONDS = 300
pytestmark = pytest.mark.timeout(600)

AWAY = {
    "ansible_connection": "{{ 'ssh' if inventory_hostname == away | default('') else 'local' }}",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_python_interpreter": sys.executable,
}


def inventory(*proxies: str) -> str:
    """Return an inventory with these proxies, a gateway `b` and a node `c`."""
    groups = {"mip_proxies": proxies, "vpn_gateways": ("b",), "mobile_nodes": ("c",)}
    children = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in groups.items()}
    return json.dumps({"all": {"vars": AWAY, "children": children}})


FILES = {
    "playbooks/looked.yml": """
- hosts: all
  gather_facts: false
  tasks: [{name: Looked, ansible.builtin.debug: {msg: nothing}, tags: preflight}]
""",
    "playbooks/library/kept.py": """#!/usr/bin/python
import os
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={"state": {}, "name": {}, "touches": {"type": "raw"}, "purge": {"type": "bool"},
                                      "keep_running": {"type": "list"}},
                       supports_check_mode=True)
if module.params["state"] == os.environ.get("STUCK"):
    module.fail_json(msg="disk full")
steps = {"steps": ["stop", "remove"]} if module.params["state"] == "restored" else {}
module.exit_json(changed=True, **steps)
""",
    "playbooks/tasks/roll_out.yml": """
- name: Roll out | Role
  ansible.builtin.include_role: {name: role, apply: {tags: gateway}}
  tags: gateway
""",
    "playbooks/tasks/verify.yml": """
- name: Verify | Look
  ansible.builtin.assert:
    that: inventory_hostname != bad_verify | default('')
    fail_msg: [it does not, work]
""",
    "playbooks/roles/role/tasks/main.yml": """
- name: Role | Change
  ansible.builtin.command: "true"
  notify: Restart
- name: Role | Write
  ansible.builtin.fail: {msg: no space}
  when: inventory_hostname == bad_task | default('')
- name: Role | Reach
  ansible.builtin.ping:
  vars:
    ansible_connection: "{{ 'ssh' if inventory_hostname == lost | default('') else 'local' }}"
    ansible_host: 127.0.0.1
    ansible_port: 1
""",
    "playbooks/roles/role/handlers/main.yml": """
- name: Restart
  ansible.builtin.command: "{{ 'false' if inventory_hostname == bad_handler | default('') else 'true' }}"
""",
}
BACK = tuple(f"Restored: {host} is as it was before; steps back: 2" for host in "abc")
BACK_D = "Restored: d is as it was before; steps back: 2"
LOST = "Lost: {} cannot be reached; later: playbooks/rollback.yml -e mobileip_backup=pending"


@dataclass(frozen=True)
class Case:
    """What goes wrong, and what is said of it."""

    says: tuple[str, ...]
    variables: str = ""
    tags: str = ""
    stuck: str = ""
    proxies: str = "a"


CASES = {
    "nothing": Case(()),
    "a task": Case(("Failed: b, Role | Write: no space", *BACK), "bad_task=b"),
    "a handler": Case(("Failed: c, Restart: non-zero return code", *BACK), "bad_handler=c"),
    "the verification": Case(("Failed: a, Verify | Look: it does not work", *BACK), "bad_verify=a"),
    "a host is lost": Case(
        (LOST.format("b"), BACK[0], BACK[2]),
        "lost=b",
    ),
    "going back, with tags": Case(
        ("Failed: b, Role | Write: no space", *(f"Not restored: {host}: disk full" for host in "abc")),
        "bad_task=b", "gateway", "restored",
    ),
    "the verification alone": Case(("Failed: a, Verify | Look: it does not work",), "bad_verify=a", "verify"),
    "the record": Case(("disk full",), "", "", "begin"),
    "a host is away from the start": Case((), "away=c"),
    "two proxies": Case((), proxies="ad"),
    "two proxies, the verification": Case(
        ("Failed: d, Verify | Look: it does not work", *BACK, BACK_D), "bad_verify=d", proxies="ad"
    ),
    "two proxies, one is lost": Case((LOST.format("d"), *BACK), "lost=d", proxies="ad"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """All cases, a few at a time."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in ROOT.glob("roles/*/vars/touches.yml"):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "playbooks/vars").mkdir()
    shutil.copy(ROOT / "playbooks/vars/touches.yml", folder / "playbooks/vars")
    for task in ("turn", "remember_failure"):
        shutil.copy(ROOT / f"playbooks/tasks/{task}.yml", folder / "playbooks/tasks")
    site = (ROOT / "playbooks/site.yml").read_text(encoding="utf-8")
    site = site.replace("import_playbook: preflight.yml", "import_playbook: looked.yml")
    (folder / "playbooks/site.yml").write_text(site.replace("mobileip.vpn.checkpoint:", "kept:"), encoding="utf-8")
    for proxies in {case.proxies for case in CASES.values()}:
        (folder / f"{proxies}.yml").write_text(inventory(*proxies), encoding="utf-8")

    def run(case: Case) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{case.proxies}.yml"]
        command += ["playbooks/site.yml"]
        command += ["-e", case.variables] if case.variables else []
        command += ["--tags", case.tags] if case.tags else []
        settings = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "STUCK": case.stuck}
        return subprocess.run(
            command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
            timeout=SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(run, CASES.values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_what_failed_and_what_was_restored_is_said(
    runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    case, run = CASES[name], runs[name]
    # 4 where a host cannot be reached.
    expected = (2, 4) if case.says else (4,) if case.variables.startswith("away") else (0,)
    assert run.returncode in expected, run.stdout + run.stderr
    fatal = re.findall(r"^fatal: \[\w\]: FAILED! => (\{.*\})$", run.stdout, re.MULTILINE)
    said = [json.loads(result)["msg"] for result in fatal]
    last = said[-1] if said else []
    assert sorted(last if isinstance(last, list) else [last]) == sorted(case.says)


@pytest.mark.parametrize("name", ["the record", "a host is away from the start"])
def test_nothing_is_rolled_out_where_one_host_cannot_be_recorded(
    runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    assert "Role | Change" not in runs[name].stdout


def changes(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the hosts where something was rolled out or verified, in this order, once for each that came at once."""
    seen = re.findall(r"^TASK \[role : Role \| Change\] \**\n((?:changed: \[\w\]\n)+)", run.stdout, re.MULTILINE)
    return ["".join(sorted(re.findall(r"\[(\w)\]", hosts))) for hosts in seen]


def test_one_proxy_after_the_other_then_the_rest(runs: dict[str, subprocess.CompletedProcess[str]]) -> None:
    first, second, *rest = changes(runs["two proxies"])
    assert {first, second} == {"a", "d"}
    assert sorted("".join(rest)) == ["b", "c"]
    turns = runs["two proxies"].stdout.partition("PLAY [Roll out]")[0].split("TASK [role : Role | Change]")
    assert [part.count("Verify | Look") for part in turns] == [0, 1, 1], "the next began before the first had worked"


@pytest.mark.parametrize("name", ["two proxies, one is lost", "two proxies, the verification"])
def test_nothing_more_is_rolled_out_after_a_proxy_that_failed(
    runs: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    assert not {"b", "c"} & set("".join(changes(runs[name])))


def test_handler_of_a_host_that_failed_does_not_run(runs: dict[str, subprocess.CompletedProcess[str]]) -> None:
    handled = runs["a task"].stdout.partition("RUNNING HANDLER")[2].partition("PLAY [Look")[0]
    assert "changed: [a]" in handled
    assert "[b]" not in handled
