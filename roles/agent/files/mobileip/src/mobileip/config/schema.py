"""Plain data to a model of one role: types, ranges, unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mobileip.config.foreign_agent import ForeignAgentConfig
from mobileip.config.home_agent import HomeAgentConfig
from mobileip.config.mobile_node import MobileNodeConfig
from mobileip.config.problems import ConfigError, KeyPath, Problem
from mobileip.config.proxy import ProxyConfig
from mobileip.config.source import NOTHING, Source
from mobileip.config.values import SECRET_IN_CONFIG

Config = ProxyConfig | HomeAgentConfig | ForeignAgentConfig | MobileNodeConfig

MODELS: Mapping[str, type[ProxyConfig] | type[HomeAgentConfig] | type[ForeignAgentConfig] | type[MobileNodeConfig]] = {
    "proxy": ProxyConfig,
    "home_agent": HomeAgentConfig,
    "foreign_agent": ForeignAgentConfig,
    "mobile_node": MobileNodeConfig,
}


def closest(word: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else f"known here: {', '.join(sorted(known))}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _describe(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel], str]:
    """The model that holds the last key of `path`, and that key's description."""
    description = ""
    for position, part in enumerate(path):
        info = model.model_fields.get(str(part)) if not isinstance(part, int) else None
        if info is None:
            continue
        description = info.description or ""
        inner = next(_models_in(info.annotation), None)
        if inner is not None and any(not isinstance(rest, int) for rest in path[position + 1 :]):
            model = inner
    return model, description


def _schema_problem(source: Source, model: type[BaseModel], error: Mapping[str, Any]) -> Problem:
    path: KeyPath = tuple(error["loc"])
    kind = error["type"]
    owner, description = _describe(model, path)
    value: object = error.get("input", NOTHING)
    if kind == "missing":
        return source.problem(path, NOTHING, f"is missing; expected {description or 'this section'}")
    if kind == "extra_forbidden":
        return source.problem(path, NOTHING, "is not a known key", closest(str(path[-1]), list(owner.model_fields)))
    if isinstance(value, dict | list):
        value = NOTHING
    if kind == "value_error":
        expected = str(error["ctx"]["error"])
        if expected == SECRET_IN_CONFIG:
            value = NOTHING
        return source.problem(path, value, expected, description)
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return source.problem(path, value, f"expected a section with the keys {', '.join(owner.model_fields)}")
    message = error["msg"].replace("Input should be", "expected").replace("Input must be", "expected")
    return source.problem(path, value, message[0].lower() + message[1:], description)


def validated(source: Source, data: dict[str, Any]) -> Config:
    role = data.get("role", NOTHING)
    if not isinstance(role, str) or role not in MODELS:
        expected = f"expected one of {', '.join(MODELS)}"
        advice = closest(role, list(MODELS)) if isinstance(role, str) else "say which party this host is"
        raise ConfigError([*source.problems, source.problem(("role",), role, expected, advice)])
    model = MODELS[role]
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        problems = [_schema_problem(source, model, error) for error in exc.errors(include_url=False)]
        raise ConfigError([*source.problems, *problems]) from None
