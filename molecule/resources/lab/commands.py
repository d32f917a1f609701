"""Runs the machine's own tools (ip, podman, nsenter) and turns their failures into readable errors."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab.errors import LabError


def run(
    command: Sequence[str], *, stdin: str | None = None, timeout: float = 60.0, accept: tuple[int, ...] = (0,)
) -> str:
    """Returns the command's standard output. Raises LabError when it exits with a status not in `accept`."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed: run `make deps`") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no answer in {timeout:.0f} s from: {' '.join(command)}") from error
    if done.returncode not in accept:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        fed = f"\n  fed with: {stdin.strip()}" if stdin else ""
        raise LabError(f"exit status {done.returncode} from: {' '.join(command)}{fed}\n  it said: {said}")
    return done.stdout


def ip_batch(namespace: str, lines: Sequence[str]) -> None:
    """Runs many `ip` commands inside a named network namespace as one process; the first that fails ends it."""
    if lines:
        run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def in_namespace(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a named network namespace, all other namespaces as they are.

    `ip netns exec` would mount /sys anew and hide pinned BPF objects.
    """
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]
