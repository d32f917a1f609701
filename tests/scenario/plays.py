"""Runs of ansible-playbook against the lab's hosts, and what they said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import names, topology

RUN_SECONDS = 600
RESULT = re.compile(r"^(?:fatal|failed): \[(\S+)\].*?=> (\{.*\})$", re.MULTILINE)


@dataclass(frozen=True)
class Play:
    """How a run ended."""

    status: int
    output: str
    """What it printed to both outputs."""
    recap: Mapping[str, Mapping[str, int]]
    """By host what its line of the recap counts."""
    failures: Mapping[str, str]
    """By host the message of its failed task, list or text, as one text."""

    def hosts_with(self, count: str) -> list[str]:
        """Return the hosts that count any of `count` (`changed`, `failed`)."""
        return [host for host, counted in self.recap.items() if counted[count]]

    def plays(self) -> list[str]:
        """Return the names of the plays that began, in order."""
        return re.findall(r"^PLAY \[(.*)\] \**$", self.output, re.MULTILINE)


def _text(message: Any) -> str:
    return " ".join(map(str, message)) if isinstance(message, list) else str(message)


def play(
    playbook: str, *arguments: str, variables: Mapping[str, Any] | None = None, record: Path | None = None
) -> Play:
    """Run `playbooks/PLAYBOOK` with the deployment's example inventory, the lab's, and `variables` above both.

    What it changed and showed is appended to the file `record`, a JSON object.
    """
    # The scenario's own record is of its roll-outs, not of these runs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_CALLBACKS_")}
    environment |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    if record:
        environment |= {"ANSIBLE_CALLBACK_PLUGINS": str(names.CHECKOUT / "molecule" / "resources" / "callback")}
        environment |= {"ANSIBLE_CALLBACKS_ENABLED": "record_changes", "RECORD_CHANGES": str(record)}
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{playbook}"),
            *("-i", f"inventories/{topology.load().deployment}", "-i", "molecule/resources/lab.yml", *arguments),
            *("--extra-vars", json.dumps(dict(variables or {}))),
        ],
        cwd=names.CHECKOUT, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    recap = {}
    for line in done.stdout.partition("PLAY RECAP")[2].splitlines():
        if counted := re.findall(r"(\w+)=(\d+)", line):
            recap[line.split()[0]] = {name: int(number) for name, number in counted}
    failures = {host: _text(json.loads(said)["msg"]) for host, said in RESULT.findall(done.stdout)}
    return Play(done.returncode, done.stdout + done.stderr, recap, failures)
