"""Boots a guest for one command and brings back what came of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.guest.errors import GuestError
from tests.guest.kernels import debian_kernel, qemu
from tests.guest.packages import of_guests

CHECKOUT = Path(__file__).resolve().parents[2]
_PLAIN = re.compile(r"[\w./+@-]+")
_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Guest:
    """A kind of guest: `Guest().run("try", ["uname", "-a"], minutes=1)`."""

    memory: int = 2048
    """MiB"""
    cpus: int = 2
    counted_time: bool = False
    """The guest's clock counts its instructions, 1 ns each, while it has something to do: what work takes is the same
    however busy this machine is. For one processor; several take turns."""

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        minutes: float,
        environment: Mapping[str, str] = {},
        output: TextIO | None = None,
    ) -> Finished:
        """Boot, run `command` in the checkout, power off; what it says is written to `output` as it comes.

        Leaves console, output and results in build/guest/NAME. Raises GuestError when the guest did not start, ended
        without a result, or took longer than `minutes`.
        """
        directory = CHECKOUT / "build/guest" / name
        if not _PLAIN.fullmatch(str(directory)):
            raise GuestError(f"{directory}: a kernel's command line takes letters, digits and ./+@-_ only; move it")
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "results").mkdir(parents=True)
        variables = {
            "PATH": os.environ["PATH"],
            **environment,
            "GUEST_RESULTS": str(directory / "results"),
        }
        lines = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
        script = [*lines, f"cd {shlex.quote(str(CHECKOUT))}", f"exec {shlex.join(command)}"]
        (directory / "command").write_text("\n".join(script) + "\n", encoding="utf-8")
        started = time.monotonic()
        arguments = qemu(
            debian_kernel(),
            directory,
            of_guests(),
            memory=self.memory,
            cpus=self.cpus,
            counted_time=self.counted_time,
        )
        self._execute(arguments, directory, started + minutes * 60, output)
        status = directory / "status"
        if not status.exists():
            console = (directory / "console").read_text(encoding="utf-8", errors="replace").splitlines()
            raise GuestError("\n".join([f"guest {name}: ended without a result; its console:", *console[-30:]]))
        return Finished(directory, int(status.read_text()), time.monotonic() - started)

    @staticmethod
    def _execute(command: list[str], directory: Path, deadline: float, output: TextIO | None) -> None:
        with (directory / "console").open("wb") as console, (directory / "output").open("w+") as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    time.sleep(_LOOK_EVERY)
                    _pass_on(said, output)
                    if time.monotonic() > deadline:
                        raise GuestError(
                            f"guest {directory.name}: not done in time; it said so far:\n{_tail(directory)}"
                        )
            finally:
                process.kill()
                process.wait()
                _pass_on(said, output)


@dataclass(frozen=True)
class Finished:
    """What came of a command in a guest."""

    directory: Path
    status: int
    """exit status of the command"""
    seconds: float
    """from before the boot until the power was off"""

    @property
    def results(self) -> Path:
        """What the command left in `$GUEST_RESULTS`."""
        return self.directory / "results"

    @property
    def output(self) -> str:
        """What it said."""
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")


def _pass_on(said: TextIO, output: TextIO | None) -> None:
    text = said.read()
    if output is not None and text:
        output.write(text)
        output.flush()


def _tail(directory: Path) -> str:
    return "\n".join((directory / "output").read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
