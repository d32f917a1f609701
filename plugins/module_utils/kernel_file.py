"""A file that the kernel is loaded from, what the kernel has of it now, and the timed way back from loading it.

The way back is armed before anything is loaded: a transient timer of systemd, on the host itself, which needs no
controller. It is disarmed over a connection that was opened after the loading, and only then is the file written: a
reboot in between comes back to what was, too.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Protocol

DIRECTORY = Path("/run/mobileip-restore")
_RESTORES = "mobileip-restore-"
_TABLE = re.compile(r"(ip|ip6|inet|arp|bridge|netdev) [A-Za-z][\w/.-]*")
# What may stand in the name of a unit and between words of a shell.
_PATH = re.compile(r"/[\w./@-]*[\w.@-]")
_PROC_SYS = Path("/proc/sys")
_UPTIME = Path("/proc/uptime")
# Loading waits until the answer that it is about to happen has left the host.
_LOAD_AFTER_SECONDS = 1
_PATIENCE_SECONDS = 60


class KernelFileError(Exception):
    """What could not be read, loaded or put back; the text says which and what was expected."""


def run(*command: str, stdin: str = "") -> str:
    """Return what a command prints. Raises `KernelFileError` with what it said when it fails."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise KernelFileError(f"{shlex.join(command)}: {exc}") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise KernelFileError(f"{shlex.join(command)}: status {done.returncode}: {said}")
    return done.stdout


class Loaded(Protocol):
    """What the kernel has of a file: as it lists it, so that two states can be compared."""

    @property
    def loader(self) -> tuple[str, ...]:
        """The program that loads a file, without the file."""

    def live(self) -> str:
        """Return what the kernel has now; empty for nothing."""

    def expected(self, content: str) -> str:
        """Return what `live` would return with `content` loaded. Raises `KernelFileError` if it cannot be loaded."""

    def way_back(self) -> str:
        """Return what, loaded, makes the kernel have again what it has now."""


class Table:
    """One table of nftables, replaced as a whole by its file; `name` is its family and name."""

    loader = ("nft", "-f")

    def __init__(self, name: str) -> None:
        """Take family and name. Raises `KernelFileError` for what is none."""
        if not _TABLE.fullmatch(name):
            raise KernelFileError(f"table: {name}; expected family and name, such as inet mobileip_dmz")
        self._name = name

    def live(self) -> str:
        """Return the table without its counters."""
        if not shutil.which("nft") or f"table {self._name}" not in run("nft", "list", "tables").splitlines():
            return ""
        return run("nft", "-s", "list", "table", *self._name.split())

    def expected(self, content: str) -> str:
        """Return how the table is listed when loaded in a network namespace that ends with the command."""
        listed = run("unshare", "--net", "sh", "-c", "nft -f - && nft -s list ruleset", stdin=content)
        others = set(re.findall(r"(?m)^table (.+) \{", listed)) - {self._name}
        if others:
            raise KernelFileError(
                f"the file makes table {', '.join(sorted(others))}; expected {self._name} and no other"
            )
        return listed

    def way_back(self) -> str:
        """Return the table with its counters, or that it was absent; in one transaction."""
        gone = f"table {self._name} {{}}\ndelete table {self._name}\n"
        return gone + (run("nft", "list", "table", *self._name.split()) if self.live() else "")


class Settings:
    """Kernel settings, as a file below sysctl.d names them; those that this host has not are left out."""

    loader = ("sysctl", "-q", "-e", "-p")

    def __init__(self, content: str) -> None:
        """Take the file's content, which says which settings to look at."""
        self._paths = tuple(_settings(content))

    def live(self) -> str:
        """Return the settings with their values, written as paths: an interface's name may hold dots."""
        return _lines({path: _read(_PROC_SYS / path) for path in self._there()})

    def expected(self, content: str) -> str:
        """Return the same with the values that `content` gives them."""
        values = _settings(content)
        return _lines({path: values[path] for path in self._there()})

    def way_back(self) -> str:
        """Return the same as `live`, which is a file of settings again."""
        return self.live()

    def _there(self) -> list[str]:
        return [path for path in self._paths if (_PROC_SYS / path).exists()]


def _settings(content: str) -> dict[str, str]:
    """Return each setting's path below /proc/sys, and its value."""
    found = re.findall(r"(?m)^-?[ \t]*([\w./:-]+?)[ \t]*=[ \t]*(.*?)[ \t]*$", content)
    return {_path(key): " ".join(value.split()) for key, value in found}


def _path(key: str) -> str:
    conf = re.fullmatch(r"net\.(ipv[46])\.(conf|neigh)\.(.+)\.(\w+)", key)
    if "/" in key or not conf:
        return key if "/" in key else key.replace(".", "/")
    return "/".join(("net", *conf.groups()))


def _read(path: Path) -> str:
    return " ".join(path.read_text(encoding="ascii").split())


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in values.items())


class TimedRestore:
    """The way back of one file, in a directory of its own and two transient units of systemd.

    `staged` is where the file waits beside its place: a disk that takes no more says so before anything is loaded.
    """

    def __init__(self, path: Path, directory: Path = DIRECTORY) -> None:
        """Use the file's name for both. Raises `KernelFileError` for what cannot name a unit."""
        if not _PATH.fullmatch(str(path)):
            raise KernelFileError(f"{path}: expected a path of letters, digits, '.', '_', '-' and '@'")
        name = path.name
        self.staged = path.with_name(f".{name}.new")
        self._directory = directory / name
        self._before = self._directory / "before"
        self._loaded = self._directory / "loaded"
        self._refused = self._directory / "refused"
        self._restored = self._directory / "restored"
        self._unit = f"{_RESTORES}{name}"
        self._loading_unit = f"mobileip-load-{name}"

    def arm(self, loader: tuple[str, ...], before: str, after: str, seconds: int) -> None:
        """Load `after` in a moment, and `before` again `seconds` later unless disarmed. Raises `KernelFileError`."""
        self._directory.mkdir(mode=0o700, parents=True)
        self._before.write_text(before, encoding="utf-8")
        wanted = self._directory / "after"
        wanted.write_text(after, encoding="utf-8")
        load = shlex.join(loader)
        _start(
            self._unit,
            seconds + _LOAD_AFTER_SECONDS,
            f"Put back what was there before {self._directory.name}, not confirmed within {seconds} s",
            f"{load} {self._before} && rm -f {self.staged} && date -Is > {self._restored}",
        )
        try:
            _start(
                self._loading_unit,
                _LOAD_AFTER_SECONDS,
                f"Load {self._directory.name}, to be confirmed within {seconds} s",
                f"{load} {wanted} 2> {self._refused} && cat {_UPTIME} > {self._loaded}",
            )
        except KernelFileError:
            self.forget()
            raise

    @property
    def armed(self) -> bool:
        """Whether the timer runs."""
        return _is_active(f"{self._unit}.timer")

    def loaded_for(self) -> float | None:
        """Return since how many seconds it is loaded; None if it is not yet. Raises `KernelFileError` if refused."""
        if self._loaded.exists():
            return _uptime(_UPTIME) - _uptime(self._loaded)
        if self._refused.exists() and self._refused.stat().st_size:
            said = self._refused.read_text(encoding="utf-8").strip()
            self.disarm()
            raise KernelFileError(f"{self._directory.name} was not loaded: {said}")
        return None

    def restored_at(self) -> str:
        """Return when the timer has put back what was, as ISO 8601; empty if it has not."""
        return self._restored.read_text(encoding="utf-8").strip() if self._restored.exists() else ""

    def disarm(self) -> None:
        """Stop the timers; what one of them has begun already is waited for."""
        for unit in (self._loading_unit, self._unit):
            if _is_active(f"{unit}.timer"):
                run("systemctl", "--quiet", "stop", f"{unit}.timer")
            ends = time.monotonic() + _PATIENCE_SECONDS
            while _is_active(f"{unit}.service") and time.monotonic() < ends:
                time.sleep(0.1)

    def restore(self, loader: tuple[str, ...]) -> None:
        """Put back what was, now, and disarm. Raises `KernelFileError`."""
        self.disarm()
        if not self.restored_at() and self._before.exists():
            run(*loader, str(self._before))

    def forget(self) -> None:
        """Disarm, and throw away what was kept and what waits."""
        self.disarm()
        self.staged.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)


def restore_what_waits() -> None:
    """Put back, now, what a roll-out that was cut short has left unconfirmed. Raises `KernelFileError`."""
    listed = run("systemctl", "list-units", "--plain", "--no-legend", f"{_RESTORES}*.timer")
    for timer in (line.split()[0] for line in listed.splitlines() if line.split()):
        # All that the timer would do; it returns when that is done.
        run("systemctl", "--quiet", "start", timer.removesuffix(".timer") + ".service")
        run("systemctl", "--quiet", "stop", timer)


def _start(unit: str, seconds: int, description: str, script: str) -> None:
    """Have systemd run `script` in `seconds`; it holds no `$` and no `%`, which systemd would replace."""
    run(
        "systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--description={description}",
        f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms", "--service-type=oneshot", "sh", "-c", script,
    )  # fmt: skip


def _is_active(unit: str) -> bool:
    """Return whether a unit is active, or on its way to be or not to be so; one that there is not is not."""
    return run("systemctl", "show", "--property=ActiveState", "--value", unit).strip() not in ("inactive", "failed")


def _uptime(path: Path) -> float:
    return float(path.read_text(encoding="ascii").split()[0])
