"""What counts as a proof that a host can still be reached, played against a host whose clock is the test's."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.mobileip.vpn.plugins.action.kernel_file import ActionModule

SECONDS = 60
CONNECTING, ASKING = 0.3, 0.2
PATH = "/etc/nftables.d/mobileip_dmz.nft"


@dataclass
class Host:
    """The module's steps, and an SSH server: port by port, so that connections can be told apart."""

    cuts_off: bool = False
    keeps_the_connection: bool = False
    comes_back: bool = True
    loads_after: float = 1.0
    now: float = 0.0
    armed_at: float | None = None
    kept: bool = False
    port: int = 50_000
    steps: list[str] = field(default_factory=list)

    @property
    def loaded_for(self) -> float:
        return -1.0 if self.armed_at is None else self.now - self.armed_at - self.loads_after

    @property
    def restored(self) -> bool:
        return self.comes_back and not self.kept and self.loaded_for >= SECONDS

    def reset(self) -> None:
        if not self.keeps_the_connection:
            self.port += 1

    def reach(self, seconds: float) -> None:
        self.now += seconds
        if self.cuts_off and self.loaded_for >= 0 and not self.restored:
            raise AnsibleConnectionFailure("timed out")

    def step(self, name: str) -> dict[str, Any]:
        self.reach(CONNECTING + ASKING)
        self.steps.append(name)
        restored = "2026-11-23T18:05:12+00:00" if self.restored else ""
        if name == "plan":
            return {"changed": True, "load": True, "diff": {}}
        if name == "arm":
            self.armed_at = self.now
        if name == "look":
            return {"loaded_for": self.loaded_for if self.loaded_for >= 0 else None, "restored": restored}
        if name == "keep":
            self.kept = not restored
            return {"changed": self.kept, "kept": self.kept, "restored": restored}
        return {"changed": False, "armed": self.armed_at is not None and not self.restored, "restored": restored}


class Played(ActionModule):
    """The plugin, with this host at the other end of its connection."""

    def __init__(self, host: Host, check: bool = False, **arguments: Any) -> None:
        self._host = host
        given = {"path": PATH, "confirm_seconds": SECONDS, "confirm_variable": "dmz_firewall_confirm_seconds"}
        self._task = SimpleNamespace(args={**given, **arguments}, check_mode=check)
        self._connection = SimpleNamespace(reset=host.reset, transport="ssh")

    def _execute_module(self, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._host.step(module_args["step"])

    def _low_level_execute_command(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._host.reach(CONNECTING)
        return {"stdout": f"\n192.0.2.1 {self._host.port} 192.0.2.2 22\n"}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Any:
    def play(host: Host, **arguments: Any) -> dict[str, Any]:
        def sleep(seconds: float) -> None:
            host.now += seconds

        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(time, "monotonic", lambda: host.now)
        monkeypatch.setattr(ActionBase, "run", lambda *_: {})
        return Played(host, **arguments).run(None, {})

    return play


def test_new_connection_confirms(played: Any) -> None:
    host = Host()
    result = played(host)
    assert host.kept
    assert (result["changed"], result["confirmed"]) == (True, "ssh, new connection: 192.0.2.1 50001 192.0.2.2 22")
    assert host.steps == ["plan", "arm", "look", "keep"]


@pytest.mark.parametrize("loads_after", [1.3, 1.6, 2.5, 4.0])
def test_connection_that_was_opened_before_the_loading_proves_nothing(played: Any, loads_after: float) -> None:
    opened: list[float] = []

    class Slow(Host):
        def reset(self) -> None:
            opened.append(self.now)
            super().reset()

    host = Slow(loads_after=loads_after)
    assert played(host)["changed"]
    assert host.steps[-2:] == ["look", "keep"]
    assert host.armed_at is not None
    assert opened[-2] <= host.armed_at + loads_after <= opened[-1]


def test_check_mode_only_plans(played: Any) -> None:
    host = Host()
    assert played(host, check=True) == {"changed": True, "diff": {}, "confirmed": ""}
    assert host.steps == ["plan"]


def test_host_that_is_cut_off_puts_back_what_it_had_and_the_play_says_when(played: Any) -> None:
    host = Host(cuts_off=True)
    result = played(host)
    assert (result["failed"], result["changed"], result["restored"]) == (True, False, "2026-11-23T18:05:12+00:00")
    assert result["msg"].startswith(
        f"{PATH}: no new connection to this host within 60 s of loading it (dmz_firewall_confirm_seconds: 60), so the"
        f" host put back what it had before at 2026-11-23T18:05:12+00:00. {PATH} was not written."
    )
    assert host.steps == ["plan", "arm", "settle"]


def test_host_that_stays_away_is_told_so_after_a_minute(played: Any) -> None:
    host = Host(cuts_off=True, comes_back=False)
    result = played(host)
    assert "it has not said since that it put that back" in result["msg"]
    assert host.now < SECONDS + 75


def test_old_connection_that_lives_on_proves_nothing(played: Any) -> None:
    host = Host(keeps_the_connection=True)
    result = played(host)
    assert not host.kept
    assert "only the old connection, which the connection plugin does not close within 60 s" in result["msg"]


@pytest.fixture
def behind() -> Iterator[tuple[socket.socket, str]]:
    """A place behind the firewall that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def test_place_behind_the_firewall_must_still_be_reached(played: Any, behind: tuple[socket.socket, str]) -> None:
    server, place = behind
    assert played(Host(), reach=[place])["changed"]

    class Cutting(Host):
        def step(self, name: str) -> dict[str, Any]:
            if name == "arm":
                server.close()
            return super().step(name)

    host = Cutting()
    result = played(host, reach=[place])
    assert not host.kept
    assert f"no connection from the controller to {place} within 60 s" in result["msg"]


def test_place_that_is_not_there_before_is_an_error_before_anything_is_armed(
    played: Any, behind: tuple[socket.socket, str]
) -> None:
    server, place = behind
    server.close()
    host = Host()
    with pytest.raises(AnsibleActionFail, match=rf"reach: {place}; expected a place that takes TCP connections"):
        played(host, reach=[place])
    assert host.steps == ["plan"]


@pytest.mark.parametrize("seconds", [14, 601, "soon", None])
def test_time_outside_its_bounds_is_an_error_with_its_variable(played: Any, seconds: Any) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"dmz_firewall_confirm_seconds: {seconds}; expected 15 to 600"):
        played(Host(), confirm_seconds=seconds)


@pytest.mark.parametrize("place", ["203.0.113.10", ":22", "203.0.113.10:ssh"])
def test_place_without_address_and_port_is_an_error(played: Any, place: str) -> None:
    with pytest.raises(AnsibleActionFail, match="expected ADDRESS:PORT"):
        played(Host(), reach=[place])
