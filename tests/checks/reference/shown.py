"""What `mobileip show` can print, read from the daemon's sources: counters, and the fields of its answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mobileip.forwarding.reasons import OUTCOMES, REASONS
from mobileip.registration.security import AuthenticationFailure
from tests.checks.step import CHECKOUT

SOURCES = CHECKOUT / "roles" / "agent" / "files" / "mobileip" / "src" / "mobileip"
_ROW = re.compile(r"^\| ((?:`[a-z0-9_*]+`(?:, )?)+) \|", re.MULTILINE)


def daemon_counters() -> set[str]:
    """Every counter of the daemon; what is known only when it counts is a `*`, as in `denied_*`."""
    counted = {name for path in sorted(SOURCES.rglob("*.py")) for name in _counted_in(path)}
    return counted | {failure.value for failure in AuthenticationFailure}


def kernel_reasons() -> set[str]:
    """Every reason for which the data path drops a packet."""
    return {reason.name for reason in REASONS}


def kernel_outcomes() -> set[str]:
    """Everything that the data path does with packets that it passes on."""
    return {outcome.name for outcome in OUTCOMES}


def fields_of(module: str, function: str) -> set[str]:
    """The keys of the first dictionary that a function, or a function within it, returns."""
    tree = ast.parse((SOURCES / module).read_text(encoding="utf-8"))
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    returned = next(
        node.value for node in ast.walk(found) if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
    )
    return {str(key.value) for key in returned.keys if isinstance(key, ast.Constant)}


def rows_of(section: str) -> set[str]:
    """The names in the first column of a section's tables."""
    return {name for row in _ROW.findall(section) for name in re.findall(r"`([^`]+)`", row)}


def _counted_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name("Count") | ast.Attribute(attr="_count"), args=[reason]):
                yield from _names(reason)
            case ast.AugAssign(
                target=ast.Subscript(value=ast.Name("counters") | ast.Attribute(attr="counters"), slice=reason)
            ):
                yield from _names(reason)


def _names(reason: ast.expr) -> Iterator[str]:
    match reason:
        case ast.Constant(str(name)):
            yield name
        case ast.JoinedStr(values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in values)
        case ast.IfExp(body=one, orelse=other):
            yield from (*_names(one), *_names(other))
