"""strongSwan's settings, as the files say them, and what of a file's settings a running charon does not have yet.

A running charon cannot be asked for its settings, only for its plugins. What it runs with is what the files said when
it started: a file of ours that was written later does not count, and of somebody else's nobody knows.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

DAEMON = "charon-systemd"
_ALSO = "charon"
"""Where charon-systemd looks for what its own section does not say."""
_DEFAULTS = {
    "install_routes": "yes",
    "plugins.kernel-libipsec.raw_esp": "no",
    "plugins.kernel-libipsec.allow_peer_ts": "no",
}
_WORDS = {**dict.fromkeys(("1", "true", "enabled"), "yes"), **dict.fromkeys(("0", "false", "disabled"), "no")}
_TOKEN = re.compile(
    r"""
    (?P<nothing> \s+ | \#[^\n]* )
    | include [ \t]+ (?P<include> "[^"]*" | [^\s\#{}]+ )
    | (?P<close> \} )
    | (?P<key> [^\s\#{}=":]+ ) \s* = [ \t]* (?P<value> "(?:[^"\\]|\\.)*" | [^\#}\n]* )
    | (?P<section> [^\s\#{}=":]+ ) \s* (?: : [^{\n]* )? \{
    """,
    re.VERBOSE,
)


class ConfError(Exception):
    """A file of strongSwan's that cannot be read; the text says which, and where."""


@dataclass(frozen=True)
class Value:
    """What a key is set to, and by which file."""

    text: str
    path: Path


Settings = dict[str, Value]
"""Values by their key, sections joined by dots: `charon-systemd.plugins.farp.load`."""


def read(root: Path, instead: Mapping[Path, str | None]) -> Settings:
    """Return what the file `root` and those that it includes say; `instead` has texts for files, None for no file.

    Raises `ConfError` on what is no configuration of strongSwan's.
    """
    found: Settings = {}
    _read_file(root, (), instead, found)
    return found


def _read_file(path: Path, sections: tuple[str, ...], instead: Mapping[Path, str | None], found: Settings) -> None:
    text = instead[path] if path in instead else path.read_text(encoding="utf-8")
    inside = list(sections)
    position = 0
    while position < len(text or ""):
        token = _TOKEN.match(text or "", position)
        if token is None:
            line = (text or "").count("\n", 0, position) + 1
            raise ConfError(f"{path}, line {line}: expected a section, `key = value` or include")
        position = token.end()
        if token["section"]:
            inside.append(token["section"])
        elif token["close"]:
            if len(inside) == len(sections):
                raise ConfError(f"{path}: a brace closes what was not opened")
            inside.pop()
        elif token["key"]:
            found[".".join((*inside, token["key"]))] = Value(token["value"].strip().strip('"'), path)
        elif token["include"]:
            for each in _included(path.parent / token["include"].strip('"'), instead):
                _read_file(each, tuple(inside), instead, found)


def _included(pattern: Path, instead: Mapping[Path, str | None]) -> Iterable[Path]:
    there = {path for path in Path("/").glob(str(pattern)[1:]) if path.is_file()}
    more = {path for path, text in instead.items() if text is not None and _means(pattern, path)}
    return sorted((there - {path for path, text in instead.items() if text is None}) | more)


def _means(pattern: Path, path: Path) -> bool:
    return path.parent == pattern.parent and fnmatchcase(path.name, pattern.name)


def value_of(settings: Settings, key: str) -> Value | None:
    """Return what charon-systemd takes a key to be; None where no file says."""
    return settings.get(f"{DAEMON}.{key}", settings.get(f"{_ALSO}.{key}"))


def _keys(settings: Settings, path: Path) -> set[str]:
    """Return the keys of the daemon that one file sets."""
    return {key.partition(".")[2] for key, value in settings.items() if value.path == path}


def _word(value: Value | None, key: str) -> str:
    text = value.text if value else _DEFAULTS.get(key, "")
    return _WORDS.get(text.lower(), text)


@dataclass(frozen=True)
class Charon:
    """A running charon: when it started, in seconds since the epoch, and which plugins it has loaded."""

    started: float
    plugins: frozenset[str]


def lacking(root: Path, own: Path, content: str, charon: Charon, written: Mapping[Path, float]) -> Iterator[str]:
    """Yield what `content`, once it is in the file `own`, asks for and a running charon does not have.

    `written` says when the files were written, in seconds since the epoch.
    """
    late = written.get(own, float("inf")) > charon.started
    running = read(root, {own: None} if late else {})
    wanted = read(root, {own: content})
    for key in sorted(_keys(wanted, own) | _keys(running, own)):
        want, have = _word(value_of(wanted, key), key), value_of(running, key)
        plugin = re.fullmatch(r"plugins\.([^.]+)\.load", key)
        if plugin:
            loaded = "no" if plugin[1] not in charon.plugins else "yes"
            if want and (want == "no") != (loaded == "no"):
                yield f"{key} is {loaded}, expected {want}"
        elif _word(have, key) != want:
            yield f"{key} is {_word(have, key) or 'not set'}, expected {want or 'not set'}"
        elif have and have.path != own and written.get(have.path, 0) > charon.started:
            yield f"{key} is {want} in {have.path}, which was written after strongSwan had started"


def overridden(root: Path, own: Path, content: str) -> Iterator[str]:
    """Yield what of `content` would not count, since another file that is read later says something else."""
    wanted = read(root, {own: content})
    alone: Settings = {}
    _read_file(own, (), {own: content}, alone)
    for key, value in sorted(alone.items()):
        counts = wanted.get(key)
        if counts is not None and counts.path != own and counts.text != value.text:
            yield f"{key} = {counts.text} in {counts.path}, expected {value.text} or nothing there"


def taken(root: Path, own: Sequence[Path], sections: Sequence[str]) -> Iterator[str]:
    """Yield which of `sections` other files have than our `own`: strongSwan would read both as one."""
    if not root.exists():
        return
    theirs = read(root, dict.fromkeys(own))
    for section in sections:
        paths = {value.path for key, value in theirs.items() if key.startswith(f"{section}.")}
        yield from (f"{section} in {path}" for path in sorted(paths))
