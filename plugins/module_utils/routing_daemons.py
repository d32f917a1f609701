"""Find the routing daemons that run beside the caller, and put questions to them by their own clients.

A daemon belongs here when it runs in the caller's network namespace: only then are the caller's routes its business.
Its client runs in the daemon's mount namespace: one in a container on the host's network is asked by the client there.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mobileip.vpn.plugins.module_utils import bird, bird_configuration, frr
from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError, Question, Reading

KINDS = {"zebra": "frr", "bird": "bird"}
"""By the name of its process, which daemons can be asked. All of FRR has its routes from zebra."""
_OF_FRR = ("babeld", "bgpd", "eigrpd", "fabricd", "isisd", "ospfd", "ripd", "staticd")
"""What runs beside zebra and decides over IPv4 routes; vtysh leaves out without a word whom it does not reach."""
MUTE = ("bird6", "gobgpd", "olsrd", "openbgpd")
"""Names of processes that announce routes and are not asked by this collection."""
_BIRD_CONFIGURATIONS = ("/etc/bird/bird.conf", "/etc/bird.conf", "/usr/local/etc/bird.conf")
_SECONDS = 20.0
"""A client that takes longer will not answer: a daemon with a full Internet table takes about one."""


@dataclass(frozen=True)
class Process:
    """A process of this network namespace."""

    pid: int
    name: str
    arguments: tuple[str, ...]
    elsewhere: bool = False
    """Whether it has another mount namespace than the caller."""


@dataclass(frozen=True)
class Daemon:
    """A routing daemon that can be asked."""

    kind: str
    instance: str
    """Where it listens; empty for the place that its client looks at by itself."""
    process: Process
    beside: tuple[str, ...] = ()
    """FRR: the other processes of the instance."""

    def __str__(self) -> str:
        name = {"frr": "FRR", "bird": "BIRD"}[self.kind]
        return f"{name} ({self.instance})" if self.instance else name

    def read(self, question: Question) -> Reading:
        """Return what the daemon says. Raises `DaemonError` where it does not."""
        if self.kind == "frr":
            reached = self.ask("show daemons").split()
            for name in self.beside:
                if name not in reached:
                    raise DaemonError(
                        f"{self}: {name} runs and vtysh does not reach it; expected it to. Restart {name}"
                    )
            return frr.read(self.ask, str(self), question)
        return bird.read(self.ask, str(self), question, self._configuration())

    def ask(self, command: str) -> str:
        """Put one command to the daemon's client, one that only shows something."""
        client = self._vtysh() if self.kind == "frr" else self._birdc()
        return _run([*self._entered(), *client, command], f"{self}: `{command}`")

    def _entered(self) -> Sequence[str]:
        return ("nsenter", "--target", str(self.process.pid), "--mount", "--") if self.process.elsewhere else ()

    def _vtysh(self) -> Sequence[str]:
        where = ("-N" if "/" not in self.instance else "--vty_socket", self.instance) if self.instance else ()
        return ("vtysh", *where, "-c")

    def _birdc(self) -> Sequence[str]:
        return ("birdc", "-r", *(("-s", self._resolved(self.instance)) if self.instance else ()))

    def _resolved(self, path: str) -> str:
        """Return a path that the daemon was given; a relative one is meant from where the daemon was started."""
        return path if path.startswith("/") else f"{Path(f'/proc/{self.process.pid}/cwd').readlink()}/{path}"

    def _configuration(self) -> bird_configuration.Configuration:
        given = option(self.process.arguments, "-c")
        root = Path(f"/proc/{self.process.pid}/root")
        for path in [self._resolved(given)] if given else _BIRD_CONFIGURATIONS:
            if (root / path.lstrip("/")).is_file():
                return bird_configuration.parse(path, lambda pattern: _files(root, pattern))
        raise DaemonError(
            f"{self}: its configuration is not found; expected {given or ' or '.join(_BIRD_CONFIGURATIONS)}. "
            "Start bird with `-c FILE`"
        )


def processes() -> list[Process]:
    """Return the processes of the caller's network namespace.

    Raises `DaemonError` on a routing daemon that may not be looked at: it could be one of this namespace.
    """
    found = []
    network, mounts = Path("/proc/self/ns/net").readlink(), Path("/proc/self/ns/mnt").readlink()
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        name = ""
        try:
            name = (entry / "comm").read_text(encoding="utf-8").strip()
            if (entry / "ns/net").readlink() != network:
                continue
            arguments = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            elsewhere = (entry / "ns/mnt").readlink() != mounts
        except PermissionError as error:
            if name in KINDS:
                raise DaemonError(f"{name} ({entry}): {error}; expected to be root with CAP_SYS_PTRACE") from error
            continue
        except OSError:  # it has ended
            continue
        found.append(Process(int(entry.name), name, tuple(map(os.fsdecode, arguments)), elsewhere))
    return found


def daemons(found: Iterable[Process]) -> list[Daemon]:
    """Return those among the processes that can be asked, in a stable order."""
    known = sorted(found, key=lambda process: (process.name, process.pid))
    return [
        Daemon(KINDS[process.name], instance := _instance(process), process, tuple(_beside(instance, known)))
        for process in known
        if process.name in KINDS
    ]


def own_in_main(protocol: int) -> frozenset[str]:
    """Return the prefixes in the main table that carry our protocol number. Raises `DaemonError`."""
    command = ["ip", "-4", "route", "show", "table", "main", "protocol", str(protocol)]
    lines = _run(command, f"`{' '.join(command)}`").splitlines()
    return frozenset(line.split()[0] for line in lines if line and not line[0].isspace())


def option(arguments: Sequence[str], *names: str) -> str:
    """Return what a process was given for an option, as `-x VALUE`, `-xVALUE`, `--name VALUE` or `--name=VALUE`."""
    for at, argument in enumerate(arguments[1:], start=1):
        for name in names:
            if argument == name:
                return arguments[at + 1] if at + 1 < len(arguments) else ""
            if name.startswith("--") and argument.startswith(f"{name}="):
                return argument[len(name) + 1 :]
            if not name.startswith("--") and argument.startswith(name):
                return argument[len(name) :]
    return ""


def _beside(instance: str, found: Iterable[Process]) -> list[str]:
    names = {process.name for process in found if process.name in _OF_FRR and _instance(process) == instance}
    return sorted(names)


def _instance(process: Process) -> str:
    if process.name == "bird":
        return option(process.arguments, "-s")
    return option(process.arguments, "--vty_socket") or option(process.arguments, "-N", "--pathspace")


def _files(root: Path, pattern: str) -> list[tuple[str, str]]:
    """Return path and text of the files that a pattern of the daemon's names, as the daemon sees them."""
    found = sorted(root.glob(pattern.lstrip("/")))
    try:
        return [(f"/{path.relative_to(root)}", path.read_text(encoding="utf-8")) for path in found]
    except (OSError, UnicodeDecodeError) as error:
        raise DaemonError(f"BIRD: {pattern} cannot be read: {error}") from error


def _run(command: Sequence[str], what: str) -> str:
    # With a pager that fails, vtysh prints half an answer and calls it a success.
    environment = {**os.environ, "VTYSH_PAGER": "cat", "VTYSH_HISTFILE": os.devnull}
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except FileNotFoundError as error:
        raise DaemonError(f"{what}: {command[0]} is not found; expected the daemon's own client") from error
    except subprocess.TimeoutExpired as error:
        raise DaemonError(f"{what}: no answer in {_SECONDS:g} s; expected one") from error
    if done.returncode != 0:
        said = (done.stdout.strip() + " " + done.stderr.strip()).strip()
        raise DaemonError(f"{what} fails: {said or f'exit status {done.returncode}'}; expected an answer")
    return done.stdout
