"""Units are enabled and started where they are not; systemd reads files again only where one has changed."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mobileip.vpn.plugins.modules import units

FIRST, SECOND = "mobileip-gateway-guard.service", "mobileip@proxy.service"
# Answers by file: $STATES/UNIT.WORD is what it says of a unit; what it is told to do is kept in $STATES/told.
SYSTEMCTL = """#!/bin/sh
case "$1 $2" in
  "is-enabled --") cat "$STATES/$3.enabled"; [ "$(cat "$STATES/$3.enabled")" = enabled ] ;;
  "show --property=ActiveState") cat "$STATES/$5.state" ;;
  "show --property=NeedDaemonReload") cat "$STATES/$5.stale" ;;
  *) echo "$*" >>"$STATES/told"
     if [ -e "$STATES/refuses" ] && [ "$1" = start ]; then echo "Job for $2 failed." >&2; exit 1; fi ;;
esac
"""


class Host:
    """A host with two units that are enabled and run."""

    def __init__(self, directory: Path) -> None:
        self.states = directory
        for unit in (FIRST, SECOND):
            self.has(unit, enabled="enabled", state="active", stale="no")

    def has(self, unit: str, **words: str) -> None:
        for kind, word in words.items():
            (self.states / f"{unit}.{kind}").write_text(f"{word}\n", encoding="ascii")

    def told(self) -> list[str]:
        path = self.states / "told"
        return path.read_text(encoding="ascii").splitlines() if path.exists() else []

    @staticmethod
    def run(*, check: bool = False) -> dict[str, Any]:
        said = io.StringIO()
        arguments = {"names": [FIRST, SECOND], "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), redirect_stdout(said), pytest.raises(SystemExit):
            units.main()
        found: dict[str, Any] = json.loads(said.getvalue())
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL, encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("STATES", str(tmp_path))
    return Host(tmp_path)


def test_nothing_is_done_where_all_run(host: Host) -> None:
    assert host.run()["changed"] is False
    assert host.told() == []


def test_only_what_lacks_is_done(host: Host) -> None:
    host.has(FIRST, enabled="disabled")
    host.has(SECOND, state="inactive")
    done = host.run()
    assert done["changed"] is True
    assert done["diff"]["before"] == f"{FIRST}: enabled False, running True\n{SECOND}: enabled True, running False\n"
    assert host.told() == [f"enable {FIRST}", f"start {SECOND}"]


def test_unit_without_a_file_would_be_enabled_and_started(host: Host) -> None:
    host.has(FIRST, enabled="not-found", state="inactive")
    assert host.run(check=True)["changed"] is True
    assert host.told() == []


@pytest.mark.parametrize("enabled", ["enabled-runtime", "linked", "masked", ""])
def test_what_ends_with_the_next_boot_is_not_enabled(host: Host, enabled: str) -> None:
    host.has(SECOND, enabled=enabled)
    assert host.run()["units"][SECOND] == {"enabled": False, "running": True}


def test_another_file_than_systemd_has_read_is_read_first_and_is_no_change(host: Host) -> None:
    host.has(SECOND, stale="yes")
    assert host.run()["changed"] is False
    assert host.told() == ["daemon-reload"]


def test_service_that_does_not_start_fails_with_what_systemd_says(host: Host) -> None:
    host.has(SECOND, state="failed")
    (host.states / "refuses").touch()
    done = host.run()
    assert done["failed"] is True
    assert f"systemctl start {SECOND}: Job for {SECOND} failed.; expected" in done["msg"]
