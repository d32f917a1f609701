"""What a host was, what it is, and the steps from one back to the other: as data, without touching a host.

A checkpoint holds the `State` of a host before a roll-out: files with content, owner and mode; units; kernel settings;
our routes, rules and packet filters; packages and users. `plan` compares two states and returns the steps back, in an
order that works: first everything of ours that runs is stopped and taken out of the kernel, then files are put back,
then what ran runs again. A host that is as it was needs no step, and nothing is restarted without a reason.

Names of ours begin with `mobileip`: a unit with another name (strongSwan's) is touched only where the checkpoint knows
it.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any

FORMAT = 1
NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
"""Names of checkpoints, such as 20261123T145500Z: as text they sort as in time."""
UNKNOWN = "not-found"
_COPY = re.compile(r"(?P<file>.+)\.[0-9]+\.(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}@[0-9]{2}:[0-9]{2}:[0-9]{2})~")


class CheckpointError(Exception):
    """A checkpoint that is not there or cannot be used, or a host that did not go back; the text says which and why."""


@dataclass(frozen=True)
class UnitOf:
    """A unit (its name may be a pattern), and which files it reads at a restart, at a reload, or as connections."""

    name: str
    restart: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    reload_command: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Touches:
    """What roles touch on a host; the module's documentation says what each is."""

    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    grown: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    units: tuple[UnitOf, ...] = ()
    tables: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    protocols: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()

    def __or__(self, other: Touches) -> Touches:
        """Return what either touches, each once, in a stable order."""
        return Touches(
            **{
                each.name: tuple(dict.fromkeys((*getattr(self, each.name), *getattr(other, each.name))))
                for each in fields(self)
            }
        )


@dataclass(frozen=True)
class Entry:
    """A file, directory or link. `mark` tells contents apart: a digest, or a link's target, or size, time and inode."""

    kind: str
    mode: int
    uid: int
    gid: int
    mark: str = ""


@dataclass(frozen=True)
class Unit:
    """A unit as systemd knows it; `file` is its UnitFileState, `invocation` tells one start of it from another."""

    file: str = UNKNOWN
    active: bool = False
    failed: bool = False
    invocation: str = ""

    @property
    def enabled(self) -> bool:
        """Whether it is started at boot."""
        return self.file == "enabled"


@dataclass(frozen=True)
class State:
    """A host, as far as roles touch it."""

    touches: Touches = Touches()
    files: Mapping[str, Entry] = field(default_factory=dict)
    trees: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    grown: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    """Those of them in which something lies that is not ours."""
    units: Mapping[str, Unit] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """On the loopback interface, those that a file of ours names."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Kernel settings by key, all that a file of ours might name."""
    named: tuple[str, ...] = ()
    """Which of them a file of ours does name."""
    packages: tuple[str, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    """Of those that a role needs, `auto` for one that came with another and goes with it, else `manual`."""
    users: tuple[str, ...] = ()
    """NAME:UID:GID:GROUP:COMMENT:HOME:SHELL"""
    pins: tuple[str, ...] = ()
    """Instances whose programs are in the kernel."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> State:
        """Read what `to_json` wrote. Raises `CheckpointError` on another format."""
        if document.get("format") != FORMAT:
            raise CheckpointError(f"format {document.get('format')} of the checkpoint; expected {FORMAT}")
        given = {key: value for key, value in document.items() if key != "format"}
        lists = {each.name for each in fields(cls) if str(each.type).startswith("tuple")}
        # What an earlier release did not record yet, it did not see.
        given |= {key: tuple(given.get(key, ())) for key in lists}
        given["touches"] = touches_of(given["touches"])
        given["files"] = {path: Entry(**entry) for path, entry in given["files"].items()}
        given["trees"] = {
            root: {path: Entry(**entry) for path, entry in tree.items()} for root, tree in given["trees"].items()
        }
        given["units"] = {name: Unit(**unit) for name, unit in given["units"].items()}
        return cls(**given)


@dataclass(frozen=True)
class Step:
    """One thing to do, said as one would say it; `words` is what the doing needs besides."""

    action: str
    what: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} {self.what}"


def touches_of(given: Mapping[str, Any]) -> Touches:
    """Return what a role's declaration says. Raises `CheckpointError` on a key that there is not."""
    known = {each.name for each in fields(Touches)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise CheckpointError(f"touches: {', '.join(unknown)}; expected only {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: tuple(given.get(name) or ()) for name in known}
    values["units"] = tuple(_unit_of(unit) for unit in values["units"])
    return Touches(**values)


def _unit_of(given: Mapping[str, Any]) -> UnitOf:
    lists = {key: tuple(given.get(key) or ()) for key in ("restart", "reload", "reload_command", "connections")}
    return UnitOf(name=given["name"], **lists)


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern of `files` means this path: `*` is within one folder, a final `/**` all below."""
    if pattern.endswith("/**"):
        return path.startswith(pattern[:-2])
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def ours(unit: str) -> bool:
    """Return whether a unit is the collection's own."""
    return unit.startswith("mobileip")


def without(now: State, first: State | None) -> State:
    """Return the host without anything of ours; what it was otherwise is taken from the first checkpoint."""
    before = first or now
    return State(
        touches=now.touches | before.touches,
        directories=first.directories if first else (),
        units={name: unit for name, unit in before.units.items() if not ours(name)},
        settings=before.settings,
        named=before.named,
        packages=before.packages,
        marks=before.marks,
    )


def plan(then: State, now: State, *, purge: bool) -> list[Step]:
    """Return the steps from `now` back to `then`; `purge` takes packages away that were not there."""
    changed = _changed_paths(then, now)
    return [
        *_stop(then, now),
        *_leave_kernel(then, now),
        *_put_files(then, now),
        *(_purge(then, now) if purge else ()),
        *_mark(then, now),
        *_clear(then, now),
        *_enter_kernel(then, now),
        *_start(then, now, changed),
        *_route(then, now),
    ]


def _changed_paths(then: State, now: State) -> set[str]:
    paths = {path for path in {*then.files, *now.files} if then.files.get(path) != now.files.get(path)}
    return paths | {root for root in {*then.trees, *now.trees} if then.trees.get(root) != now.trees.get(root)}


def _known(then: State, name: str) -> Unit | None:
    """Return how a unit was; None for one that is not ours and that nobody looked at."""
    return then.units.get(name, Unit() if ours(name) else None)


def _stop(then: State, now: State) -> Iterable[Step]:
    for name, unit in sorted(now.units.items()):
        before = _known(then, name)
        if before is None:
            continue
        if unit.active and not before.active:
            yield Step("stop", name)
        if unit.enabled and not before.enabled:
            yield Step("disable", name)


def _leave_kernel(then: State, now: State) -> Iterable[Step]:
    for instance in sorted(set(now.pins) - set(then.pins)):
        yield Step("unload", f"the programs of {instance}", (instance,))
    mount = "mobileip-bpffs.service"
    if now.units.get(mount, Unit()).active and not then.units.get(mount, Unit()).active:
        yield Step("unmount", "the BPF file system if nothing else is pinned there")
    for rule in now.rules:
        if rule not in then.rules:
            yield Step("delete", f"rule {rule}", ("rule", rule))
    for route in now.routes:
        if route not in then.routes:
            yield Step("delete", f"route {route}", ("route", route))
    for neighbour in now.neighbours:
        if neighbour not in then.neighbours:
            yield Step("delete", f"neighbour {neighbour}", ("neighbour", neighbour))
    for address in now.addresses:
        if address not in then.addresses:
            yield Step("delete", f"address {address} on lo", ("address", address))
    for table in sorted(now.tables):
        if table not in then.tables:
            yield Step("delete", f"table {table}", ("table", table))


def _put_files(then: State, now: State) -> Iterable[Step]:
    # Below first, so that a directory is empty when its turn comes; and above first on the way back.
    for path in sorted(set(now.files) - set(then.files), reverse=True):
        yield Step("remove", path)
    for root in sorted(set(now.trees) - set(then.trees)):
        yield Step("remove", root, ("tree",))
    for path in sorted(set(now.grown) - set(then.grown)):
        yield Step("remove", path, ("tree",))
    for path in sorted(then.files):
        if then.files[path] != now.files.get(path):
            yield Step("restore", path)
    for root in sorted(then.trees):
        if then.trees[root] != now.trees.get(root):
            yield Step("restore", root, ("tree",))
    if any(path.startswith("/etc/systemd/system/") for path in _changed_paths(then, now)):
        yield Step("read", "systemd's units again")


def _purge(then: State, now: State) -> Iterable[Step]:
    asked = [name for name in now.touches.packages if name in now.packages and name not in then.packages]
    if asked:
        # The rest came with them; the package manager is asked which of it nobody else needs.
        came = sorted(set(now.packages) - set(then.packages))
        yield Step("purge", f"the packages {', '.join(sorted(asked))}", (" ".join(sorted(asked)), " ".join(came)))


def _mark(then: State, now: State) -> Iterable[Step]:
    for name, mark in sorted(then.marks.items()):
        if now.marks.get(name, mark) != mark:
            yield Step("mark", f"the package {name} as {mark}", (mark, name))


def _clear(then: State, now: State) -> Iterable[Step]:
    for name, unit in sorted(now.units.items()):
        before = _known(then, name)
        if unit.failed and before is not None and not before.failed:
            yield Step("forget", f"the failure of {name}", (name,))
    for path in sorted(set(now.directories) - set(then.directories) - set(now.shared), reverse=True):
        yield Step("remove", f"{path} if it is empty", ("empty", path))
    for user in now.users:
        if user not in then.users:
            yield Step("delete", f"user {_name(user)}", ("user", _name(user)))
    for user in then.users:
        if user not in now.users:
            yield Step("create", f"user {_name(user)}", (user,))


def _name(user: str) -> str:
    return user.partition(":")[0]


def _enter_kernel(then: State, now: State) -> Iterable[Step]:
    for table, text in sorted(then.tables.items()):
        if now.tables.get(table) != text:
            yield Step("load", f"table {table}", (table, text))
    for address in then.addresses:
        if address not in now.addresses:
            yield Step("add", f"address {address} on lo", ("address", address))
    for key in _settings(then, now):
        yield Step("set", f"{key} = {then.settings[key]}", (key, then.settings[key]))


def _settings(then: State, now: State) -> list[str]:
    """Return the keys to set back, in an order that holds: those that files of ours name, and what follows."""
    named = {*then.named, *now.named}
    if set(now.pins) - set(then.pins):
        named |= {key for key in then.settings if key.endswith(".arp_ignore")}
    keys = {key for key in named if key in then.settings and then.settings[key] != now.settings.get(key)}
    if "net.ipv4.ip_forward" in keys:
        # Writing it sets the forwarding of every interface, also of those that are right now.
        keys |= {key for key in then.settings if key.endswith((".forwarding", ".accept_redirects"))}
    return sorted((key for key in keys if key in now.settings), key=_general_first)


def _general_first(key: str) -> tuple[int, str]:
    general = ("net.ipv4.ip_forward", "net.ipv4.conf.all.", "net.ipv4.conf.default.")
    return next((rank for rank, start in enumerate(general) if key.startswith(start)), len(general)), key


def _start(then: State, now: State, changed: set[str]) -> Iterable[Step]:
    for name, unit in sorted(then.units.items(), key=lambda entry: (entry[0].endswith("-routes.service"), entry[0])):
        after = now.units.get(name, Unit())
        if unit.enabled and not after.enabled:
            yield Step("enable", name)
        if not unit.active:
            continue
        of = [each for each in now.touches.units if fnmatchcase(name, each.name)]
        # What is not ours and has not started since has read nothing of what came after.
        read = ours(name) or not unit.invocation or unit.invocation != after.invocation
        if not after.active or (read and _reads(changed, (each.restart for each in of))):
            yield Step("restart", name)
            continue
        if _reads(changed, (each.reload for each in of)):
            commands = [each.reload_command for each in of if each.reload_command]
            yield Step("reload", name, commands[0])
        if _reads(changed, (each.connections for each in of)):
            paths = [each.connections for each in of if each.connections]
            yield Step("load", f"the connections of {name}", ("connections", *paths[0]))


def _route(then: State, now: State) -> Iterable[Step]:
    """Return the ways to put back: last, since in one box they lead into a wire that the daemon's start makes."""
    for route in then.routes:
        if route not in now.routes:
            yield Step("add", f"route {route}", ("route", route))
    for rule in then.rules:
        if rule not in now.rules:
            yield Step("add", f"rule {rule}", ("rule", rule))


def _reads(changed: set[str], patterns: Iterable[Sequence[str]]) -> bool:
    return any(matches(path, pattern) for some in patterns for pattern in some for path in changed)


def chosen(names: Sequence[str], name: str) -> str | None:
    """Return the checkpoint that tells how the host was before the roll-out called `name`; None where it is so now.

    A host that a roll-out did not change has no checkpoint of that name: then its next one tells. Raises
    `CheckpointError` on what is no name.
    """
    kept = sorted(names)
    if name == "latest":
        return kept[-1] if kept else None
    if not NAME.fullmatch(name):
        raise CheckpointError(f"name: {name}; expected latest or a name such as 20261123T145500Z: {', '.join(kept)}")
    return next((each for each in kept if each >= name), None)


def missing(then: State, now: State) -> list[str]:
    """Return the packages of our roles that were there and are not: what goes back would not run without them."""
    return [name for name in then.touches.packages if name in then.packages and name not in now.packages]


def surplus(names: Sequence[str], keep: int) -> list[str]:
    """Return the checkpoints to throw away: all but the first ever made and the newest `keep`."""
    later = sorted(names)[1:]
    return later[: max(0, len(later) - keep)]


def old_copies(paths: Iterable[str], keep: int) -> list[str]:
    """Return the copies that templates with `backup` left beside a file, but for each file's newest `keep`."""
    copies: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        if copy := _COPY.fullmatch(path):
            copies.setdefault(copy["file"], []).append((copy["time"], path))
    old = (sorted(found)[: max(0, len(found) - keep)] for found in copies.values())
    return sorted(path for found in old for time, path in found)


def settled(then: State, now: State) -> State:
    """Return `then` with what changes by itself taken from `now`: the routes of a daemon that ran before and runs."""
    runs = any(unit.active for name, unit in then.units.items() if name.startswith("mobileip@"))
    if not runs:
        return then

    touches = then.touches | now.touches

    def of_daemon(entry: str) -> bool:
        numbers = {int(number) for number in re.findall(r"proto (\d+)", entry)}
        return bool(numbers & set(touches.protocols)) or any(fnmatchcase(entry, rule) for rule in touches.rules)

    return replace(
        then,
        routes=tuple([each for each in then.routes if not of_daemon(each)] + list(filter(of_daemon, now.routes))),
        rules=tuple([each for each in then.rules if not of_daemon(each)] + list(filter(of_daemon, now.rules))),
        neighbours=now.neighbours,
    )
