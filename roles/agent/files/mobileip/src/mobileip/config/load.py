"""A file that passed every check, or everything that is wrong with it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mobileip.config.keys import load_keys
from mobileip.config.problems import ConfigError, Problem
from mobileip.config.schema import Config, closest, validated
from mobileip.config.shared import LEAST_KEY, Association
from mobileip.config.source import Source, read_yaml


@dataclass(frozen=True)
class Paths:
    """Where one instance keeps its things; what the file does not say follows from the instance's name."""

    state: Path
    control_socket: Path
    pin_directory: Path
    bpf_object: Path


PIN_ROOT = Path("/sys/fs/bpf/mobileip")
"""Below it each instance has its pin directory, unless its configuration names another one."""


def control_socket_of(instance: str) -> Path:
    """The default control socket of an instance."""
    return Path("/run/mobileip") / f"{instance}.sock"


@dataclass(frozen=True)
class Loaded:
    """A configuration that passed every check. `keys` is None when no keys file was given."""

    config: Config
    instance: str
    keys: Mapping[str, bytes] | None = field(repr=False)

    @property
    def paths(self) -> Paths:
        config = self.config
        return Paths(
            state=config.state or Path("/var/lib/mobileip") / f"{self.instance}.sqlite",
            control_socket=config.control_socket or control_socket_of(self.instance),
            pin_directory=config.pin_directory or PIN_ROOT / self.instance,
            bpf_object=config.bpf_object,
        )

    def key(self, association: Association) -> bytes:
        """The secret of a security association. Raises KeyError when no keys were loaded."""
        if self.keys is None:
            raise KeyError(f"no keys file was loaded, so the key {association.key!r} is not known")
        return self.keys[association.key]


def _key_problems(source: Source, config: Config, keys: Mapping[str, bytes], keys_file: Source) -> Iterator[Problem]:
    for path, association in config.associations():
        key = keys.get(association.key)
        if key is None:
            advice = closest(association.key, list(keys)) if keys else "the keys file is empty"
            yield source.problem((*path, "key"), association.key, f"is not in the keys file {keys_file.name}", advice)
        elif len(key) < LEAST_KEY:
            yield source.problem(
                (*path, "key"),
                association.key,
                f"has {len(key)} bytes in {keys_file.name}, expected {LEAST_KEY} bytes ({2 * LEAST_KEY} hex digits) "
                "or more",
                "make a new key: openssl rand -hex 16",
            )


def load_config(file: Path, keys_file: Path | None = None) -> Loaded:
    """Read and check a configuration, with its keys if `keys_file` is given.

    Raises `ConfigError` with every problem found: a broken schema hides the cross checks, nothing else hides anything.
    """
    with _no_collector():
        return _load(file, keys_file)


@contextmanager
def _no_collector() -> Iterator[None]:
    """All that is made here stays: the collector, which looks at it again and again, triples the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _load(file: Path, keys_file: Path | None) -> Loaded:
    source = Source(str(file))
    problems: list[Problem] = []
    keys: dict[str, bytes] | None = None
    if keys_file is not None:
        try:
            keys = load_keys(keys_file)
        except ConfigError as exc:
            problems.extend(exc.problems)
    config: Config | None = None
    try:
        config = validated(source, read_yaml(file, source))
    except ConfigError as exc:
        problems.extend(exc.problems)
    else:
        problems.extend(source.problems)
        problems.extend(source.problem(*finding) for finding in config.findings())
        if keys is not None and keys_file is not None:
            problems.extend(_key_problems(source, config, keys, Source(str(keys_file))))
    if problems or config is None:
        raise ConfigError(problems)
    return Loaded(config=config, instance=file.stem, keys=keys)


def summary(loaded: Loaded) -> str:
    """One line about a good configuration."""
    if not any(True for _ in loaded.config.associations()):
        return f"ok: {loaded.config.summary()}"
    keys = "keys not checked (no --keys)" if loaded.keys is None else f"{len(loaded.keys)} keys"
    return f"ok: {loaded.config.summary()}; {keys}"
