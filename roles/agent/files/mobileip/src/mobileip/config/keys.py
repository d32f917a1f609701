"""The keys file: `name: hex`, root only."""

from __future__ import annotations

import os
from pathlib import Path

from mobileip.config.problems import ConfigError
from mobileip.config.source import NOTHING, Source, read_yaml


def load_keys(file: Path) -> dict[str, bytes]:
    """Read a keys file (`name: hex`). Raises `ConfigError`; no error shows any part of a key."""
    source = Source(str(file))
    data = read_yaml(file, source, strings=True)
    problems = list(source.problems)
    keys: dict[str, bytes] = {}
    for name, text in data.items():
        if not isinstance(text, str):
            problems.append(source.problem((name,), NOTHING, "expected hexadecimal digits, not a list or section"))
            continue
        try:
            keys[name] = bytes.fromhex(text)
        except ValueError:
            expected = f"has {len(text)} characters that are not all pairs of hexadecimal digits"
            problems.append(
                source.problem(
                    (name,), NOTHING, expected, "write the key as hex, 32 digits or more: openssl rand -hex 16"
                )
            )
    if problems:
        raise ConfigError(problems)
    return keys


def default_keys_file() -> Path | None:
    """The systemd credential `keys`, if this process was started with one."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) / "keys" if directory else None
