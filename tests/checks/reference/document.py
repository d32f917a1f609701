"""docs/reference/configuration.md: every key of a configuration file, by role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import yaml

from mobileip.config.schema import MODELS
from tests.checks.reference.keys import ALGORITHMS, LIST_OF_SECTIONS, Key, keys_of
from tests.checks.reference.variables import lists_behind, setting, variables_of
from tests.checks.step import CHECKOUT

_INTRODUCTION = """\
# Configuration

<!-- Written by `make reference`; do not edit. -->

Every key of `/etc/mobileip/INSTANCE.yml`, by the role of the instance. The roles write these files: set the variable in
the last column and run `site.yml`. *The role* stands where it decides itself, `-` where it leaves the default.
`a.b` is the key `b` of the section `a`, `a[].b` the key `b` of each entry of the list `a`.
An algorithm is one of {algorithms}.

No secret stands in this file. Keys are in `/etc/mobileip/keys/INSTANCE.yml`, `name: hexadecimal digits`, 32 or more;
a security association names its key. `mobileip check-config FILE --keys KEYS` finds every mistake at once and says what
is expected; the roles do so before a file is put in its place.
"""


@dataclass(frozen=True)
class Part:
    """The part of one role: what is configured, and the role and template that write it."""

    party: str
    title: str
    role: str
    template: str


PARTS = (
    Part("proxy", "MIP Proxy", "mip_proxy", "proxy.yml.j2"),
    Part("home_agent", "Home agent", "home_agent", "home_agent.yml.j2"),
    Part("foreign_agent", "Foreign agent", "foreign_agent", "foreign_agent.yml.j2"),
    Part("mobile_node", "Mobile node", "mobile_node", "node.yml.j2"),
)


def render() -> str:
    """The page, the same for the same sources."""
    algorithms = ", ".join(f"`{name}`" for name in get_args(ALGORITHMS))
    return (
        "\n".join(
            [_INTRODUCTION.format(algorithms=algorithms), *(line for part in PARTS for line in _part(part))]
        ).rstrip()
        + "\n"
    )


def rows(part: Part) -> Iterator[tuple[Key, list[str] | None]]:
    """Keys of a role's file, each with the variables that set it."""
    found = variables_of(_read(part, f"templates/{part.template}"), known_variables(part))
    for key in keys_of(MODELS[part.party]):
        names = setting(key.path, found)
        if names is None and key.type == LIST_OF_SECTIONS:
            names = lists_behind(key.path, found)
        yield key, names


def known_variables(part: Part) -> dict[str, object]:
    """The variables that users of the role may set, as its argument_specs has them."""
    specs = yaml.safe_load(_read(part, "meta/argument_specs.yml"))
    return dict(specs["argument_specs"]["main"]["options"])


def _part(part: Part) -> Iterator[str]:
    yield f"## {part.title}\n"
    yield f"`role: {part.party}`, written by the role `{part.role}`.\n"
    yield "| key | type | default | meaning | variable |"
    yield "| --- | --- | --- | --- | --- |"
    for key, names in rows(part):
        if key.path != "role":
            yield f"| `{key.path}` | {key.type} | {key.default} | {_cell(key.meaning)} | {_setter(key, names)} |"
    yield ""


def _setter(key: Key, names: list[str] | None) -> str:
    if names is None and "section" in key.type:
        return ""
    if names is None:
        return "-"
    return ", ".join(f"`{name}`" for name in names) or "the role"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _read(part: Part, file: str) -> str:
    return (CHECKOUT / "roles" / part.role / file).read_text(encoding="utf-8")
