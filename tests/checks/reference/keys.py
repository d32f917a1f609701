"""The keys of a configuration file as its pydantic model has them: path, type, default, meaning.

A section that is always there has no entry of its own, only its keys have.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mobileip.config import proxy, shared, values

ALGORITHMS = get_type_hints(shared.Association, include_extras=True)["algorithm"]
LIST_OF_SECTIONS = "list of sections"
_NAMED = (
    (values.Unicast, "IPv4 address"),
    (values.Group, "multicast address"),
    (values.Network, "IPv4 network"),
    (values.Interface, "interface"),
    (values.Mac, "Ethernet address"),
    (values.Nai, "NAI"),
    (values.KeyName, "name of a key"),
    (values.Seconds, "integer, 1 to 65534"),
    (proxy.ExtensionNumber, "type number"),
    (ALGORITHMS, "algorithm"),
)
_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}


@dataclass(frozen=True)
class Key:
    """One key: `path` as in `home_agents[].address`, the rest as the page prints it."""

    path: str
    type: str
    default: str
    meaning: str


def keys_of(model: type[BaseModel], within: str = "") -> Iterator[Key]:
    """Every key of a model, those of its sections behind each."""
    types = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        path, declared = f"{within}{name}", types[name]
        section, is_list = _section_in(declared)
        if section is None:
            yield Key(path, _type(declared, field), _default(field), field.description or "")
            continue
        if field.description:
            yield Key(path, LIST_OF_SECTIONS if is_list else "section", _default(field), field.description)
        yield from keys_of(section, f"{path}[]." if is_list else f"{path}.")


def _section_in(declared: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model of a section, and whether there is a list of them."""
    if get_origin(declared) is list:
        return _section_in(get_args(declared)[0])[0], True
    for part in get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part, False
    return None, False


def _type(declared: Any, field: FieldInfo | None = None) -> str:
    for alias, name in _NAMED:
        if declared == alias:
            return name
    origin, parts = get_origin(declared), get_args(declared)
    if origin is Annotated:
        return _type(parts[0], field)
    if origin in (Union, UnionType):
        return _type(next(part for part in parts if part is not NoneType), field)
    if origin is list:
        return f"list: {_type(parts[0])}"
    if origin is dict:
        return f"map: {_type(parts[0])} to {_type(parts[1])}"
    if origin is Literal:
        return ", ".join(f"`{_written(choice)}`" for choice in parts)
    return _PLAIN[declared] + _range(field)


def _range(field: FieldInfo | None) -> str:
    """Bounds of a number; the length of a text needs no mention."""
    bounds = {
        name: f"{bound:g}" if isinstance(bound, float) else str(bound)
        for one in (field.metadata if field is not None else [])
        for name in ("ge", "gt", "le")
        if (bound := getattr(one, name, None)) is not None
    }
    least = bounds.get("ge") or (f"above {bounds['gt']}" if "gt" in bounds else "")
    most = f" to {bounds['le']}" if "le" in bounds else " or more"
    return f", {least}{most}" if least else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default in ([], {}):
        return "none"
    return f"`{_written(default)}`"


def _written(value: object) -> str:
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
