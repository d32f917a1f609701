"""What a BIRD configuration says of kernel tables: birdc shows neither which one is read nor where that is written."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.mobileip.vpn.plugins.module_utils.redistribution import DaemonError

Files = Callable[[str], Iterable[tuple[str, str]]]
"""Returns path and text of each file that a pattern names. Raises `DaemonError` where one cannot be read."""

MAIN_TABLE = 254
_DEPTH = 8
"""As deep as BIRD itself lets files include each other."""
_WIDTH = 80
"""Characters of a line that a message shows."""
_TOKEN = re.compile(r'(?P<skip>\s+|#[^\n]*|/\*.*?\*/)|(?P<word>"[^"\n]*"|\'[^\'\n]*\'|[\w.:-]+|.)', re.DOTALL)
_OFF = ("off", "no")


class Token(NamedTuple):
    """One word or sign, and where it stands."""

    text: str
    where: str
    """`FILE:LINE: ` and the line itself."""


@dataclass(frozen=True)
class Kernel:
    """What a kernel protocol takes from the kernel."""

    table: int | None = MAIN_TABLE
    """Number of the kernel's table; nothing where it is an expression that only BIRD evaluates."""
    learns: bool = False
    """Whether routes that others than BIRD laid come in."""
    imports: bool = True

    @property
    def takes(self) -> bool:
        """Whether routes of others get into a table of BIRD's."""
        return self.learns and self.imports


@dataclass
class Configuration:
    """Protocols by name. One without a name has BIRD's own for it: `kernel1`."""

    kernels: dict[str, Kernel] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    """Where each protocol is written: the line of a kernel protocol's table, or else the one that opens it."""


def parse(path: str, files: Files) -> Configuration:
    """Read the configuration `path` with what it includes. Raises `DaemonError` where it cannot be read."""
    tokens = list(_tokens(path, files))
    found = Configuration()
    numbers: dict[str, int] = {}
    templates: dict[str, Sequence[Token]] = {}
    unnamed: dict[str, int] = {}
    at = 0
    while at < len(tokens):
        word = tokens[at].text
        if word == "define" and [token.text for token in tokens[at + 2 : at + 3]] == ["="]:
            if tokens[at + 3].text.isdigit():
                numbers[tokens[at + 1].text] = int(tokens[at + 3].text)
        elif word in ("protocol", "template"):
            head, body, at = _block(tokens, at)
            kind, name, parent = _named(head)
            body = [*templates.get(parent, ()), *body]
            if word == "template":
                templates[name] = body
                continue
            if not name:
                unnamed[kind] = unnamed.get(kind, 0) + 1
                name = f"{kind}{unnamed[kind]}"
            found.lines[name] = head[0].where
            if kind == "kernel":
                found.kernels[name], line = _kernel(body, numbers)
                found.lines[name] = line or head[0].where
            continue
        at += 1
    return found


def _tokens(pattern: str, files: Files, depth: int = 0) -> Iterator[Token]:
    """Yield the words of the files, those of an included file in the place of the line that includes it."""
    if depth > _DEPTH:
        raise DaemonError(f"BIRD: {pattern} is included more than {_DEPTH} files deep; expected no circle")
    for path, text in files(pattern):
        lines = text.splitlines()
        words = (found for found in _TOKEN.finditer(text) if found["word"])
        for found in words:
            if found["word"] == "include" and (named := next(words, None)):
                folder = "" if named["word"].startswith('"/') else path[: path.rfind("/") + 1]
                yield from _tokens(folder + named["word"].strip('"'), files, depth + 1)
                continue
            line = text.count("\n", 0, found.start())
            yield Token(found["word"].strip("'"), f"{path}:{line + 1}: {_short(lines[line].strip())}")


def _short(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]} …"


def _block(tokens: Sequence[Token], at: int) -> tuple[Sequence[Token], Sequence[Token], int]:
    """Return the words before the braces that follow, those within, and the place behind."""
    begin = at
    while begin < len(tokens) and tokens[begin].text not in ("{", ";"):
        begin += 1
    end, open_braces = begin, 0
    while end < len(tokens):
        open_braces += {"{": 1, "}": -1}.get(tokens[end].text, 0)
        end += 1
        if open_braces == 0:
            break
    return tokens[at:begin], tokens[begin + 1 : end - 1], end


def _named(head: Sequence[Token]) -> tuple[str, str, str]:
    """Return kind, name and template of `protocol KIND [v2|v3|ng] [NAME] [from TEMPLATE]`; empty where not there."""
    words = [token.text for token in head[1:] if token.text not in ("v2", "v3", "ng")]
    parent = ""
    if "from" in words[:-1]:
        parent = words[words.index("from") + 1]
        words = words[: words.index("from")]
    return words[0] if words else "", words[1] if len(words) > 1 else "", parent


def _kernel(body: Sequence[Token], numbers: dict[str, int]) -> tuple[Kernel, str]:
    """Return what a kernel protocol takes, and the line that names its table, where one does."""
    table: int | None = MAIN_TABLE
    learns, imports, line = False, True, ""
    for at, token in enumerate(body):
        following = [later.text for later in body[at + 1 : at + 3]] + ["", ""]
        if token.text == "learn":
            learns = following[0] not in _OFF
        elif token.text == "import":
            imports = following[0] != "none"
        elif token.text == "kernel" and following[0] == "table":
            table = int(following[1]) if following[1].isdigit() else numbers.get(following[1])
            line = token.where
    return Kernel(table, learns, imports), line
