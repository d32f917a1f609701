"""Read the state of this host, keep it in a directory, and perform the steps back."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import (
    NAME,
    CheckpointError,
    Entry,
    State,
    Step,
    Touches,
    Unit,
    matches,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_conf import ConfError
from ansible_collections.mobileip.vpn.plugins.module_utils.strongswan_load import load
from ansible_collections.mobileip.vpn.plugins.module_utils.vici_client import Session, ViciError

# A package manager on a slow host takes its time.
_SECONDS = 300
_PINS = Path("/sys/fs/bpf/mobileip")
_PROGRAM = Path("/opt/mobileip/bin/mobileip")
_CONFIGURATIONS = Path("/etc/mobileip")
_CONF = Path("/proc/sys/net/ipv4/conf")
_SETTINGS = ("forwarding", "rp_filter", "send_redirects", "accept_redirects", "arp_announce", "arp_ignore")
_SETTING_FILES = "etc/sysctl.d/60-mobileip-*.conf"
_BATCHES = "etc/mobileip/*.batch"
_HOME_ADDRESS = Path("/etc/systemd/system/mobileip-home-address.service")
_MARKS = Path("/var/lib/apt/extended_states")
_ACTIVE = {"active", "activating", "reloading"}
# What the kernel says of a route besides what it is.
_PASSING = re.compile(r" (linkdown|dead|pervasive)\b")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def run(*command: str, stdin: str = "", fails: bool = True) -> str:
    """Return what a command prints. Raises `CheckpointError` with what it said when it fails and `fails` is set."""
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS,
            env={**os.environ, **_QUIET},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        if fails:
            raise CheckpointError(f"{' '.join(command)}: {exc}") from exc
        return ""
    if done.returncode and fails:
        raise CheckpointError(f"{' '.join(command)}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def read(touches: Touches) -> State:
    """Return what this host is now."""
    rules, routes, neighbours = _routing(touches)
    packages = _packages()
    return State(
        touches=touches,
        files=dict(_files(touches.files)),
        trees={root: dict(_tree(Path(root))) for root in touches.trees if Path(root).is_dir()},
        grown=tuple(path for path in touches.grown if Path(path).exists()),
        directories=tuple(path for path in touches.directories if Path(path).is_dir()),
        shared=tuple(path for path in touches.directories if _is_shared(Path(path), touches.files)),
        units=_units([unit.name for unit in touches.units]),
        tables=_tables(touches.tables),
        routes=routes,
        rules=rules,
        neighbours=neighbours,
        addresses=_addresses(),
        settings=_settings(),
        named=_named(),
        packages=packages,
        marks=_marks(name for name in touches.packages if name in packages),
        users=tuple(_users(touches.users)),
        pins=tuple(sorted(path.name for path in _PINS.iterdir())) if _PINS.is_dir() else (),
    )


def _is_shared(folder: Path, patterns: Iterable[str]) -> bool:
    """Return whether a folder holds what none of our patterns means."""
    patterns = list(patterns)
    return folder.is_dir() and any(
        not any(matches(str(path), pattern) for pattern in patterns) for path in folder.iterdir()
    )


def _paths(pattern: str) -> Iterable[Path]:
    if pattern.endswith("/**"):
        for folder, folders, files in os.walk(pattern[:-3]):
            yield from (Path(folder) / name for name in (*folders, *files))
    else:
        yield from Path("/").glob(pattern[1:])


def _files(patterns: Iterable[str]) -> Iterator[tuple[str, Entry]]:
    for path in sorted({path for pattern in patterns for path in _paths(pattern)}):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            yield str(path), _entry("link", status, str(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            yield str(path), _entry("directory", status)
        elif stat.S_ISREG(status.st_mode):
            yield str(path), _entry("file", status, hashlib.sha256(path.read_bytes()).hexdigest())


def _entry(kind: str, status: os.stat_result, mark: str = "") -> Entry:
    return Entry(kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, mark)


def _tree(root: Path) -> Iterator[tuple[str, Entry]]:
    """Yield what is below `root`, and `root` itself as an empty path; contents are told apart without being read."""
    yield "", _entry("directory", root.lstat())
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                entry = _entry("link", status, str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode):
                entry = _entry("directory", status)
            else:
                entry = _entry("file", status, f"{status.st_size} {status.st_mtime_ns}")
            yield str(path.relative_to(root)), entry


def _units(patterns: list[str]) -> dict[str, Unit]:
    if not patterns:
        return {}
    listed = run("systemctl", "list-units", "--all", "--plain", "--no-legend", *patterns, fails=False)
    names = {line.split()[0] for line in listed.splitlines() if line.split()}
    names |= {pattern for pattern in patterns if "*" not in pattern}
    if not names:
        return {}
    wanted = [
        part for name in ("Id", "LoadState", "ActiveState", "UnitFileState", "InvocationID") for part in ("-p", name)
    ]
    units = {}
    for block in run("systemctl", "show", *wanted, "--", *sorted(names)).strip().split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        state = said.get("ActiveState", "")
        file = said.get("UnitFileState") or said.get("LoadState", "")
        units[said["Id"]] = Unit(file, state in _ACTIVE, state == "failed", said.get("InvocationID", ""))
    return units


def _tables(names: Iterable[str]) -> dict[str, str]:
    there = {line.removeprefix("table ") for line in run("nft", "list", "tables", fails=False).splitlines()}
    return {name: run("nft", "-s", "list", "table", *name.split()) for name in names if name in there}


def _routing(touches: Touches) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return our rules, routes and neighbours: those with a number of ours, and rules that look as declared."""
    batches = "".join(path.read_text(encoding="utf-8") for path in Path("/").glob(_BATCHES))
    ours = {*map(str, touches.protocols), *re.findall(r"\bprotocol (\d+)", batches)}

    def carries(line: str) -> bool:
        return bool(ours & set(re.findall(r"\bproto (\d+)", line)))

    rules = []
    for line in run("ip", "-4", "-N", "rule", "show").splitlines():
        preference, rest = line.split(":", 1)
        # In numbers it says `ipproto ipproto-17`, and does not understand it.
        rule = f"preference {preference} {' '.join(rest.split())}".replace("ipproto-", "")
        if carries(rule) or any(fnmatchcase(rule, pattern) for pattern in touches.rules):
            rules.append(rule)
    shown = run("ip", "-4", "-N", "route", "show", "table", "all").splitlines()
    routes = [" ".join(_PASSING.sub("", line).split()) for line in shown if carries(line)]
    proxies = run("ip", "-4", "neighbour", "show", "proxy").splitlines()
    neighbours = [f"proxy {' '.join(line.split()[:3])}" for line in proxies]
    kept = run("ip", "-4", "neighbour", "show", "nud", "all").splitlines()
    neighbours += [" ".join(line.split()[:3]) for line in kept if " managed" in line]
    return tuple(sorted(rules)), tuple(sorted(routes)), tuple(sorted(neighbours))


def _addresses() -> tuple[str, ...]:
    try:
        named = re.findall(r"ip address replace (\S+) dev lo", _HOME_ADDRESS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    there = run("ip", "-4", "-o", "address", "show", "dev", "lo")
    return tuple(address for address in named if f" {address} " in there)


def _settings() -> dict[str, str]:
    found = {"net.ipv4.ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii").strip()}
    for folder in sorted(_CONF.iterdir()):
        for name in _SETTINGS:
            found[f"net.ipv4.conf.{folder.name}.{name}"] = (folder / name).read_text(encoding="ascii").strip()
    return found


def _named() -> tuple[str, ...]:
    text = "".join(path.read_text(encoding="utf-8") for path in Path("/").glob(_SETTING_FILES))
    return tuple(sorted(set(re.findall(r"(?m)^-?([\w.:-]+) *=", text))))


def _packages() -> tuple[str, ...]:
    listed = run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", fails=False)
    return tuple(sorted({line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}))


def _marks(names: Iterable[str]) -> dict[str, str]:
    said = _MARKS.read_text(encoding="utf-8") if _MARKS.is_file() else ""
    automatic = set(re.findall(r"(?m)^Package: (\S+)\n(?:\S.*\n)*?Auto-Installed: 1$", said))
    return {name: "auto" if name in automatic else "manual" for name in names}


def _users(names: Iterable[str]) -> Iterator[str]:
    known = {user.pw_name: user for user in pwd.getpwall()}
    for user in (known[name] for name in names if name in known):
        group = grp.getgrgid(user.pw_gid).gr_name
        yield f"{user.pw_name}:{user.pw_uid}:{user.pw_gid}:{group}:{user.pw_gecos}:{user.pw_dir}:{user.pw_shell}"


class Store:
    """The checkpoints below one directory, root's alone; `pending` is the one that was begun and not kept yet."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def names(self) -> list[str]:
        """Return the names of those that were kept, oldest first."""
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.iterdir() if NAME.fullmatch(path.name))

    def path(self, name: str) -> Path:
        """Return where one is."""
        return self._directory / name

    def load(self, name: str) -> State | None:
        """Return what one holds, None if there is none. Raises `CheckpointError` where it cannot be read."""
        path = self.path(name) / "state.json"
        try:
            return State.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise CheckpointError(f"{path}: cannot be used: {exc}") from exc

    def begin(self, state: State) -> None:
        """Keep `state` as the pending one, whole or not at all."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        fresh = Path(tempfile.mkdtemp(dir=self._directory, prefix=".begun-"))
        try:
            (fresh / "files").mkdir()
            for path, entry in state.files.items():
                if entry.kind == "file":
                    shutil.copyfile(path, fresh / "files" / entry.mark)
            for number, root in enumerate(state.trees):
                _link_tree(Path(root), fresh / "trees" / str(number), state.trees[root])
            (fresh / "state.json").write_text(json.dumps(state.to_json()), encoding="utf-8")
            self.discard("pending")
            fresh.rename(self.path("pending"))
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def keep(self, name: str) -> None:
        """Give the pending one its name."""
        self.path("pending").rename(self.path(name))

    def discard(self, name: str) -> None:
        """Throw one away; none is no error."""
        if self.path(name).exists():
            shutil.rmtree(self.path(name))

    def discard_all(self) -> None:
        """Throw all away, and the directory."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _link_tree(root: Path, kept: Path, entries: Mapping[str, Entry]) -> None:
    """Keep a tree by hard links, or by copies on another file system. Installers replace files, never write."""
    for path, entry in sorted(entries.items()):
        target = kept / path
        if entry.kind == "directory":
            target.mkdir(parents=True, exist_ok=True)
        elif entry.kind == "link":
            target.symlink_to(entry.mark)
        else:
            _link(root / path, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


class Performer:
    """Performs steps; what is restored comes from the checkpoint in `kept`."""

    def __init__(self, then: State, kept: Path) -> None:
        self._then = then
        self._kept = kept

    def perform(self, step: Step) -> None:
        """Perform one step. Raises `CheckpointError` or `OSError` where it fails."""
        if step.action == "restore":
            self._restore(step)
        else:
            _ACTIONS[step.action](step)

    def _restore(self, step: Step) -> None:
        if step.words == ("tree",):
            number = list(self._then.trees).index(step.what)
            _restore_tree(Path(step.what), self._kept / "trees" / str(number), self._then.trees[step.what])
            return
        entry = self._then.files[step.what]
        _put(Path(step.what), entry, self._kept / "files" / entry.mark)


def _setting_path(key: str) -> Path:
    """Return the file of a setting; an interface's name may hold dots."""
    conf = re.fullmatch(r"net\.ipv4\.conf\.(.+)\.(\w+)", key)
    return _CONF / conf[1] / conf[2] if conf else Path("/proc/sys") / key.replace(".", "/")


def _change_kernel(step: Step) -> None:
    kind, text = step.words
    verb = "del" if step.action == "delete" else "add"
    if kind in ("rule", "route", "neighbour"):
        # What came or went with a unit or an interface is no failure: it is looked at again in the end.
        run("ip", "-4", kind, verb, *text.split(), fails=False)
    elif kind == "address":
        run("ip", "address", "replace" if verb == "add" else verb, text, "dev", "lo")
    elif kind == "table":
        run("nft", "delete", "table", *text.split())
    else:
        run("userdel", text)
        if text in {group.gr_name for group in grp.getgrall()}:
            run("groupdel", text)


def _create_user(line: str) -> None:
    """Create a user again, with the numbers that it had: files that come back carry them."""
    name, uid, gid, group, comment, home, shell = line.split(":")
    if group not in {each.gr_name for each in grp.getgrall()}:
        run("groupadd", "--system", "--gid", gid, group)
    own = ("--uid", uid, "--gid", gid, "--comment", comment, "--home-dir", home, "--shell", shell)
    run("useradd", "--system", "--no-create-home", *own, name)


def _command(step: Step) -> None:
    run("systemctl", "--quiet", step.action, step.what)


def _stop(step: Step) -> None:
    _command(step)
    # What it failed of goes with it.
    run("systemctl", "reset-failed", step.what, fails=False)


def _load(step: Step) -> None:
    if step.words[0] == "connections":
        try:
            with Session() as session:
                # The others are certificates and keys that these name.
                load([Path(path) for path in step.words[1:] if path.endswith(".conf")], session)
        except (ConfError, ViciError, OSError) as exc:
            raise CheckpointError(str(exc)) from exc
        return
    table, text = step.words
    run("nft", "-f", "-", stdin=f"table {table} {{}}\ndelete table {table}\n{text}")


def _unload(instance: str) -> None:
    """Detach and unpin an instance's programs: by its own program, or by hand where that is gone or broken."""
    run(str(_PROGRAM), "unload", str(_CONFIGURATIONS / f"{instance}.yml"), fails=False)
    if (_PINS / instance).exists():
        for interface in sorted(path.name for path in Path("/sys/class/net").iterdir()):
            for side in ("ingress", "egress"):
                filters = run("tc", "filter", "show", "dev", interface, side, fails=False)
                for preference in set(re.findall(r"pref (\d+) bpf chain 0 handle \S+ mobileip:", filters)):
                    run("tc", "filter", "del", "dev", interface, side, "pref", preference)
        shutil.rmtree(_PINS / instance)
    if _PINS.is_dir() and not any(_PINS.iterdir()):
        _PINS.rmdir()
        # As systemd mounts it; the daemon's way through it is no longer needed.
        _PINS.parent.chmod(0o700)


def _purge(asked: list[str], came: list[str]) -> None:
    """Purge `asked`, and of `came` what nobody else needs. Raises `CheckpointError` where more would go."""
    # Also what others only recommend or suggest: it was not there before.
    needed = [part for how in ("Recommends", "Suggests") for part in ("-o", f"APT::AutoRemove::{how}Important=false")]
    simulated = run("apt-get", "--simulate", "--auto-remove", *needed, "purge", *asked)
    victims = sorted({*asked, *(set(_simulated(simulated)) & set(came))})
    more = sorted(set(_simulated(run("apt-get", "--simulate", "purge", *victims))) - set(victims))
    if more:
        raise CheckpointError(f"{', '.join(asked)}: stay, since {', '.join(more)} would go with them")
    run("apt-get", "--quiet", "--yes", "purge", *victims)


def _simulated(said: str) -> list[str]:
    return re.findall(r"(?m)^(?:Purg|Remv) (\S+)", said)


def _remove(step: Step) -> None:
    if step.words[:1] == ("empty",):
        path = Path(step.words[1])
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    else:
        _take_away(Path(step.what), whole=step.words == ("tree",))


def _take_away(path: Path, *, whole: bool = False) -> None:
    """Remove a file, a link, or a directory: an empty one, or `whole`. What is mounted stays mounted, empty."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    if whole:
        _empty(path)
    if not path.is_mount() and not any(path.iterdir()):
        path.rmdir()


def _empty(path: Path) -> None:
    for each in path.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _put(path: Path, entry: Entry, content: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "directory":
        path.mkdir(exist_ok=True)
    elif entry.kind == "link":
        _replace(path, lambda fresh: fresh.symlink_to(entry.mark))
        os.lchown(path, entry.uid, entry.gid)
        return
    else:
        _replace(path, lambda fresh: _copy(content, fresh, entry))
    os.chown(path, entry.uid, entry.gid)
    path.chmod(entry.mode)


def _copy(content: Path, fresh: Path, entry: Entry) -> None:
    # Closed to others before there is anything in it.
    fresh.touch(mode=0o600)
    shutil.copyfile(content, fresh)
    os.chown(fresh, entry.uid, entry.gid)
    fresh.chmod(entry.mode)


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    fresh = path.with_name(f".{path.name}.restored")
    fresh.unlink(missing_ok=True)
    try:
        make(fresh)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _restore_tree(root: Path, kept: Path, entries: Mapping[str, Entry]) -> None:
    now = dict(_tree(root)) if root.is_dir() else {}
    for path in sorted(set(now) - set(entries), reverse=True):
        _take_away(root / path)
    for path, entry in sorted(entries.items()):
        if now.get(path) == entry:
            continue
        target = root / path
        if path in now and now[path].kind != entry.kind:
            _take_away(target, whole=True)
        if entry.kind == "file":
            _link_back(kept / path, target, entry)
        else:
            _put(target, entry, kept)


def _link_back(kept: Path, target: Path, entry: Entry) -> None:
    status = kept.lstat()
    if f"{status.st_size} {status.st_mtime_ns}" != entry.mark:
        raise CheckpointError(f"{target}: what was kept of it has been written to since; expected it as it was then")
    _replace(target, lambda fresh: _link(kept, fresh))
    os.chown(target, entry.uid, entry.gid)
    target.chmod(entry.mode)


_ACTIONS: Mapping[str, Callable[[Step], object]] = {
    "stop": _stop,
    "disable": _command,
    "enable": _command,
    "restart": _command,
    "reload": lambda step: run(*step.words),
    "read": lambda step: run("systemctl", "daemon-reload"),
    "forget": lambda step: run("systemctl", "reset-failed", step.words[0], fails=False),
    "unload": lambda step: _unload(step.words[0]),
    "unmount": lambda step: run("umount", "/sys/fs/bpf", fails=False),
    "create": lambda step: _create_user(step.words[0]),
    "delete": _change_kernel,
    "add": _change_kernel,
    "load": _load,
    "set": lambda step: _setting_path(step.words[0]).write_text(step.words[1], encoding="ascii"),
    "mark": lambda step: run("apt-mark", *step.words),
    "purge": lambda step: _purge(*(words.split() for words in step.words)),
    "remove": _remove,
}
