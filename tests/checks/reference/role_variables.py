"""docs/reference/variables.md: every variable of every role, as its argument specification has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.checks.step import CHECKOUT

_INTRODUCTION = """\
# Variables of the roles

<!-- Written by `make reference`; do not edit. -->

`ansible-doc --type role mobileip.vpn.ROLE` says the same. A secret belongs in a vault: the roles show it nowhere.
"""
_MARKUP = re.compile(r"\b[CVOPMREILBU]\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def render() -> str:
    """The page, the same for the same sources."""
    return "\n".join([_INTRODUCTION, *(line for role in _roles() for line in _section(role))]).rstrip() + "\n"


def _roles() -> list[Path]:
    return sorted(path.parent for path in (CHECKOUT / "roles").glob("*/meta"))


def _section(role: Path) -> Iterator[str]:
    specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    main = specification["argument_specs"]["main"]
    yield f"## {role.name}\n"
    yield f"{main['short_description']}: [README](../../roles/{role.name}/README.md).\n"
    yield "| variable | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, option in main["options"].items():
        yield f"| `{name}` | {_type(option)} | {_default(option)} | {_meaning(option)} |"
    yield ""


def _type(option: dict[str, Any]) -> str:
    written = f"list: {option['elements']}" if option["type"] == "list" else str(option["type"])
    if "choices" in option:
        written = ", ".join(f"`{choice}`" for choice in option["choices"])
    return f"{written}, secret" if option.get("no_log") else written


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    default = option.get("default")
    if default is None or default in ([], {}, ""):
        return "none"
    return f"`{yaml.safe_dump(default, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def _meaning(option: dict[str, Any]) -> str:
    text = option["description"]
    sentences = " ".join(text) if isinstance(text, list) else str(text)
    entries = option.get("options", {})
    if entries:
        named = (f"`{name}` ({_type(one)}): {_plain(one)}" for name, one in entries.items())
        sentences = f"{sentences} Keys: {'; '.join(part.rstrip('.') for part in named)}."
    return _MARKUP.sub(r"`\1`", sentences).replace("\n", " ").replace("|", "\\|")


def _plain(option: dict[str, Any]) -> str:
    text = option["description"]
    return " ".join(text) if isinstance(text, list) else str(text)
