"""What a controller's command said, held to silence."""

from __future__ import annotations

import re
import subprocess
from typing import Protocol

INVENTORIES = ("-i", "inventories/two_box", "-i", "molecule/resources/lab.yml")


class Core(Protocol):
    """An ansible-core, and where its commands run: in the checkout's root."""

    def run(self, *command: str, timeout: float) -> subprocess.CompletedProcess[str]: ...


def deprecations(output: str) -> list[str]:
    """What Ansible said will stop working. Every task, template and plugin that we run is our own or Ansible's."""
    return re.findall(r"^.*\[DEPRECATION WARNING\].*$", output, flags=re.MULTILINE)


def checked(core: Core, *command: str, timeout: float = 120) -> str:
    """Runs a command that must succeed without a deprecation; returns its standard output."""
    done = core.run(*command, timeout=timeout)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"exit status {done.returncode} from {' '.join(command)}:\n{said[-6000:]}"
    assert deprecations(said) == []
    return done.stdout
