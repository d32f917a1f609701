"""What the module refuses, what it warns of, and what it throws away."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint import (
    CheckpointError,
    Entry,
    State,
    Touches,
    Unit,
    UnitOf,
)
from ansible_collections.mobileip.vpn.plugins.module_utils.checkpoint_host import Store
from ansible_collections.mobileip.vpn.plugins.modules import checkpoint

NAME = "20261123T145500Z"
OPTIONS = "/etc/strongswan.d/mobileip.conf"
TOUCHES = Touches(units=(UnitOf("strongswan.service", restart=(OPTIONS,)),), packages=("nftables",))
THEN = State(touches=TOUCHES, units={"strongswan.service": Unit("enabled", active=True, invocation="one")})
NOW = replace(
    THEN,
    files={OPTIONS: Entry("file", 0o644, 0, 0, "aa")},
    units={"strongswan.service": Unit("enabled", active=True, invocation="two")},
)


def module(*, check_mode: bool, **params: Any) -> Any:
    defaults = {"purge": False, "keep_running": ["strongswan.service"], "touches": [], "name": NAME, "keep": 1}
    warnings: list[str] = []
    return SimpleNamespace(
        check_mode=check_mode, params={**defaults, **params}, warn=warnings.append, warnings=warnings
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "backups"))


def test_restart_that_is_not_allowed_fails_in_check_mode_with_the_variable(store: Store) -> None:
    with pytest.raises(
        CheckpointError, match=r"strongswan\.service .*vpn_gateway_allow_restart: true.*Nothing was chang"
    ):
        checkpoint.go_back(module(check_mode=True), store, NAME, THEN, NOW)
    allowed = checkpoint.go_back(module(check_mode=True, keep_running=[]), store, NAME, THEN, NOW)
    assert [str(step) for step in allowed] == [f"remove {OPTIONS}", "restart strongswan.service"]


def test_all_but_the_restart_is_done_where_nobody_asked_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mobileip.conf"
    path.write_text("ours", encoding="ascii")
    touches = Touches(units=(UnitOf("strongswan.service", restart=(str(path),)),))
    mark = hashlib.sha256(b"ours").hexdigest()
    then = replace(THEN, touches=touches)
    now = replace(NOW, touches=touches, files={str(path): Entry("file", 0o644, 0, 0, mark)})
    monkeypatch.setattr(checkpoint, "read", lambda _: replace(then, units=now.units))
    with pytest.raises(CheckpointError, match=r"Failed: restart strongswan\.service: .*Left to do: nothing"):
        checkpoint.go_back(module(check_mode=False), store, NAME, then, now)
    assert not path.exists()


def test_backup_whose_packages_have_gone_is_refused_before_anything_is_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin(replace(THEN, packages=("nftables",)))
    store.keep(NAME)
    monkeypatch.setattr(checkpoint, "read", lambda _: THEN)
    with pytest.raises(CheckpointError, match=r"packages nftables: not there; .*`apt-get install nftables`"):
        checkpoint.restored(module(check_mode=False), store)


def test_roll_out_that_was_cut_short_goes_back_whatever_packages_have_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin(replace(THEN, packages=("nftables",)))
    monkeypatch.setattr(checkpoint, "read", lambda _: THEN)
    assert checkpoint.restored(module(check_mode=False, name="pending"), store)["steps"] == []
    assert store.load("pending") is None


def test_keeping_throws_the_oldest_copies_away(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = (tmp_path / f"proxy.yml.9.2026-11-{day}@18:05:12~" for day in (22, 23))
    for path in (older, newer):
        path.touch()
    files = {str(path): Entry("file", 0o640, 0, 0, "aa") for path in (older, newer)}
    store.begin(THEN)
    monkeypatch.setattr(checkpoint, "read", lambda _: replace(THEN, files=files))
    assert checkpoint.keep(module(check_mode=False), store) == {"changed": True, "name": NAME}
    assert [path.exists() for path in (older, newer)] == [False, True]


@pytest.mark.parametrize(("has_apt", "warned"), [("/usr/bin/apt-get", []), (None, ["purge: true"])])
def test_packages_of_another_package_manager_are_said_to_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch, has_apt: str | None, warned: list[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: has_apt)
    asked = module(check_mode=True, purge=True)
    checkpoint.go_back(asked, store, NAME, THEN, THEN)
    assert [said.partition(";")[0] for said in asked.warnings] == warned
