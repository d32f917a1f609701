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


class PreparedIp:
    """`ip` in a named network namespace, started and waiting for its commands: what must not wait for a process."""

    def __init__(self, namespace: str, *options: str) -> None:
        self._command = ["ip", "-n", namespace, *options, "-batch", "-"]
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def run(self, lines: Sequence[str]) -> None:
        """Runs the commands, once. Raises LabError when one of them fails."""
        fed = "".join(f"{line}\n" for line in lines)
        try:
            _, said = self._process.communicate(fed, timeout=60)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise LabError(f"no answer in 60 s from: {' '.join(self._command)}") from error
        if self._process.returncode:
            raise LabError(f"exit status {self._process.returncode} from: {' '.join(self._command)}\n  it said: {said}")


def in_namespace(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a named network namespace, all other namespaces as they are.

    `ip netns exec` would mount /sys anew and hide pinned BPF objects.
    """
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]
