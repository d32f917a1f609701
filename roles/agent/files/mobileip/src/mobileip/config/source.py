"""YAML to plain data, remembering the line of every key."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import yaml

from mobileip.config.problems import ConfigError, KeyPath, Problem, dotted


class Source:
    """A YAML file as plain data plus the line of each key path."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._loader = yaml.SafeLoader("")

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest thing around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, value: object, expected: str, advice: str = "") -> Problem:
        text = None if value is NOTHING else shown(value)
        return Problem(self.name, self.line(path), dotted(path), text, expected, advice)

    def plain(self, node: yaml.Node, path: KeyPath, *, strings: bool) -> Any:
        """Plain data of a YAML node; `strings` keeps scalars as they are written (a key of digits is no number)."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, strings=strings)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, index), strings=strings) for index, item in enumerate(node.value)]
        if strings:
            return node.value
        return self._loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call, unused-ignore]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, *, strings: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(getattr(key_node, "value", "?"))
            if key in result:
                first = self.lines[(*path, key)]
                self.problems.append(
                    Problem(
                        self.name,
                        line,
                        dotted((*path, key)),
                        None,
                        f"is given twice (first on line {first})",
                        "remove one of the two",
                    )
                )
                continue
            self.lines[(*path, key)] = line
            result[key] = self.plain(value_node, (*path, key), strings=strings)
        return result


NOTHING = object()


def shown(value: object) -> str:
    text = repr(str(value)) if isinstance(value, IPv4Address | IPv4Network | Path) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _compose(text: str) -> yaml.Node | None:
    """By libyaml where PyYAML has it: a file of 100,000 nodes takes seconds, not minutes. Errors are the slow one's."""
    try:
        return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)


def read_yaml(file: Path, source: Source, *, strings: bool = False) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError([Problem(source.name, 1, "", None, f"is not UTF-8 text (byte {exc.start})")]) from None
    except OSError as exc:
        advice = "check the path and who may read it"
        raise ConfigError([Problem(source.name, 1, "", None, f"cannot be read: {exc.strerror}", advice)]) from None
    try:
        node = _compose(text)
        data = None if node is None else source.plain(node, (), strings=strings)
    except RecursionError:
        raise ConfigError([Problem(source.name, 1, "", None, "is nested too deeply or refers to itself")]) from None
    except (yaml.YAMLError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        what = getattr(exc, "problem", None) or str(exc).splitlines()[0]
        raise ConfigError([Problem(source.name, line, "", None, f"is not valid YAML: {what}")]) from None
    if not isinstance(data, dict):
        raise ConfigError([Problem(source.name, 1, "", None, "expected a YAML mapping `key: value`, one a line")])
    return data
