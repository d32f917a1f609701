"""Roll-out rows: `site.yml` on four fresh hosts whose packages are installed, and again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .rows import Group, Measured, Row

FIRST = Row("site_first_seconds", "s", 120)
SECOND = Row("site_second_seconds", "s", 40)
CHANGED = Row("site_second_changed", "tasks", 0)
HOSTS = ("mipp", "vpngw", "outer_fw", "inner_fw")
INVENTORIES = ("-i", "inventories/two_box", "-i", "molecule/resources/lab.yml")
OUTPUT = Path("build/bench/site")
PLAY_SECONDS = 900


def _play(name: str, *arguments: str) -> tuple[float, int]:
    """Run a playbook; return its seconds and how many tasks changed. Raises with the end of its output on failure."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    log = OUTPUT / f"{name}.log"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            ["ansible-playbook", *INVENTORIES, *arguments],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=PLAY_SECONDS, check=False,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
        )  # fmt: skip
    seconds = time.monotonic() - started
    text = log.read_text(encoding="utf-8")
    if done.returncode != 0:
        raise RuntimeError(f"{name}: ansible-playbook failed, see {log}:\n{text[-2000:]}")
    return seconds, sum(int(count) for count in re.findall(r"\bchanged=(\d+)", text))


def measure(say: Callable[[str], None]) -> dict[str, Measured]:
    """Take the four hosts down and up again, install their packages, then time two roll-outs."""
    lab = [sys.executable, "molecule/resources/lab"]
    say("fresh hosts: " + ", ".join(HOSTS))
    subprocess.run([*lab, "discard", "--hosts", ",".join(HOSTS)], check=True, timeout=120)
    subprocess.run([*lab, "up", "--hosts", ",".join(HOSTS)], check=True, timeout=300)
    limit = ("--limit", ",".join(HOSTS))
    _play("packages", *limit, "tests/bench/packages.yml")
    # The package has started strongSwan with the distribution's options.
    first, changed_first = _play(
        "first", *limit, "--extra-vars", "vpn_gateway_allow_restart=true", "playbooks/site.yml"
    )
    if not changed_first:
        raise RuntimeError("the first roll-out changed nothing: the hosts were not fresh")
    second, changed = _play("second", *limit, "playbooks/site.yml")
    how = f"site.yml --limit {','.join(HOSTS)}; hosts up, packages present, builds cached on the controller"
    (OUTPUT / "seconds.json").write_text(json.dumps({"first": first, "second": second}), encoding="utf-8")
    return {
        FIRST.name: Measured(round(first, 1), how + "; fresh hosts"),
        SECOND.name: Measured(round(second, 1), how + "; again, nothing to do"),
        CHANGED.name: Measured(changed, "sum of changed= over all hosts in the recap of the second run"),
    }


GROUP = Group((FIRST, SECOND, CHANGED), measure, minutes=4.5)
