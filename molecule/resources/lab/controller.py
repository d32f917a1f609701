"""A controller of its own: a container with another Ansible than this machine's, from which the hosts can be reached.

It sees the checkout at the same path, read-only, since names derive from that path and a roll-out writes nothing there.
It has no network: the inventory's connections enter the hosts' network namespaces.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import image, names
from lab.commands import run
from lab.hosts import LIMITS
from lab.machine import podman

_NAME = names.of_host("controller")
_WHEELS = "/usr/share/wheels"
_ENVIRONMENT = {
    "ANSIBLE_FORCE_COLOR": "false",
    # The checkout's own is read-only here.
    "ANSIBLE_HOME": "/root/.ansible",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PATH": "/opt/ansible/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PIP_FIND_LINKS": _WHEELS,
    "PIP_NO_INDEX": "1",
}


class Controller:
    """A running controller."""

    def run(
        self, *command: str, timeout: float, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the checkout's root, for at most `timeout` seconds."""
        variables = [f"--env={name}={value}" for name, value in {**_ENVIRONMENT, **(environment or {})}.items()]
        return subprocess.run(
            podman("exec", f"--workdir={names.CHECKOUT}", *variables, _NAME, *command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextmanager
def started(wheels: Path) -> Iterator[Controller]:
    """Starts a fresh controller and removes it in the end. `wheels` is the directory that its pip finds packages in."""
    _remove()
    run(
        podman(
            *("run", "--detach", f"--name={_NAME}", "--hostname=controller", "--network=none", "--privileged"),
            *LIMITS,
            f"--volume={names.CHECKOUT}:{names.CHECKOUT}:ro",
            # Hosts that are wired later show up, too.
            "--volume=/run/netns:/run/netns:rslave",
            f"--volume={wheels}:{_WHEELS}:ro",
            *(image.CONTROLLER.tag(), "sleep", "infinity"),
        ),
        timeout=120,
    )
    try:
        yield Controller()
    finally:
        _remove()


def _remove() -> None:
    run(podman("rm", "--force", "--ignore", "--time=0", _NAME), timeout=60)
