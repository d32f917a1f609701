"""Which variable of a role sets a key: read from the role's template, so that no page can say something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from jinja2 import Environment, nodes

_MARK = re.compile(r"\bmark(\d+)mark")


def variables_of(template: str, known: Iterable[str]) -> dict[str, list[str]]:
    """Variables by the path of the key that they set, as in `home_agents[].address`; none: the role decides.

    `known` are the variables that users may set; of others the template may use any.
    """
    reader = _Reader(frozenset(known))
    text = reader.skeleton(Environment(trim_blocks=True).parse(template).body, {})
    found: dict[str, list[str]] = {}
    for path, names in reader.settings(yaml.safe_load(text), ""):
        found[path] = list(dict.fromkeys([*found.get(path, []), *names]))
    return found


def setting(path: str, found: Mapping[str, list[str]]) -> list[str] | None:
    """What sets a key: its own variables, or part of one that sets the section; None: no variable and no role does."""
    if path in found:
        return found[path]
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        above, (first, *deeper) = ".".join(parts[:end]), parts[end:]
        whole = found.get(above.removesuffix("[]"))
        if whole:
            # `hap` is made of role_hap, role_hap_accept and role_hap_in_reply: what ends in the key's name is its own.
            own = [name for name in whole if name.endswith(f"_{first.removesuffix('[]')}")]
            in_list = "[]" if first.endswith("[]") else ""
            if own:
                return [".".join([own[0] + in_list, *deeper])]
            return [".".join([whole[0] + ("[]" if above.endswith("[]") else ""), first, *deeper])]
    return None


def lists_behind(path: str, found: Mapping[str, list[str]]) -> list[str] | None:
    """The variables whose entries become those of a list of sections; None: none does."""
    entries = [name for key, names in found.items() if key.startswith(f"{path}[]") for name in names]
    return list(dict.fromkeys(name.rpartition("[]")[0] for name in entries if "[]" in name)) or None


class _Reader:
    """Turns a template into YAML whose values are marks that stand for expressions."""

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known
        self._named: list[list[str]] = []
        self._texts: list[list[str]] = []

    def skeleton(self, body: Iterable[nodes.Node], loops: Mapping[str, str]) -> str:
        """The text of these nodes, with every branch taken once. `loops`: what a loop's name stands for."""
        text = ""
        for node in body:
            match node:
                case nodes.For():
                    text += self.skeleton(node.body, {**loops, **self._loop(node, loops)})
                case nodes.If():
                    text += self.skeleton([*node.body, *node.else_], loops)
                case nodes.Output():
                    text += "".join(self._output(part, loops) for part in node.nodes)
                case _:
                    raise ValueError(f"line {node.lineno}: no way to read a template's {type(node).__name__}")
        return text

    def settings(self, value: Any, path: str) -> Iterator[tuple[str, list[str]]]:
        """Key paths and the variables there, of the skeleton's YAML."""
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from self._entry(str(key), inner, path)
        elif isinstance(value, list) and value:
            for inner in value:
                yield from self.settings(inner, f"{path}[]")
        else:
            yield path, [name for mark in _MARK.findall(str(value)) for name in self._named[int(mark)]]

    def _entry(self, key: str, value: Any, path: str) -> Iterator[tuple[str, list[str]]]:
        mark = _MARK.fullmatch(key)
        names = [key] if mark is None else self._texts[int(mark[1])]
        for name in names:
            yield from self.settings(value, f"{path}.{name}" if path else name)
        if not names and mark is not None:  # the keys are the user's, too: all of the map is
            yield path, self._named[int(mark[1])]

    def _loop(self, node: nodes.For, loops: Mapping[str, str]) -> dict[str, str]:
        over = self._names(node.iter, loops)
        if isinstance(node.target, nodes.Name):
            return {node.target.name: f"{over[0]}[]"} if over else {}
        return {target.name: over[0] for target in node.target.find_all(nodes.Name) if over}

    def _output(self, part: nodes.Node, loops: Mapping[str, str]) -> str:
        if isinstance(part, nodes.TemplateData):
            return part.data
        if any(one.name == "ansible_managed" for one in _all(part, nodes.Name)):
            return ""
        self._named.append(self._names(part, loops))
        self._texts.append([one.value for one in _all(part, nodes.Const) if isinstance(one.value, str)])
        return f"mark{len(self._named) - 1}mark"

    def _names(self, expression: nodes.Node, loops: Mapping[str, str]) -> list[str]:
        """Variables in an expression that users may set; of a list, the entry that is meant."""
        attributes = {id(one.node): one.attr for one in _all(expression, nodes.Getattr)}
        names = []
        for one in _all(expression, nodes.Name):
            name = loops.get(one.name, one.name)
            if re.split(r"[.\[]", name)[0] in self._known:
                attribute = attributes.get(id(one))
                names.append(f"{name}.{attribute}" if attribute else name)
        return list(dict.fromkeys(names))


def _all(node: nodes.Node, kind: type[Any]) -> list[Any]:
    return ([node] if isinstance(node, kind) else []) + list(node.find_all(kind))
