"""Load a packet filter or kernel settings, and confirm them over a connection that was opened after that."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import socket
import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

_SHORTEST_SECONDS = 15
_LONGEST_SECONDS = 600
_CONNECT_SECONDS = 5
# The host loads a second after it has said that it will.
_LOADING_SECONDS = 1.2
_PAUSE_SECONDS = 0.5
# Reaching a host that has just come back: its peers' resolvers, ARP and TCP have a memory of their own.
_COME_BACK_SECONDS = 60


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Drives the module of the same name on the host: plan, arm, look, keep; or settle after it was put back."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result. Raises `AnsibleActionFail` for an argument that cannot be."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._task_vars = task_vars
        seconds, reach = self._seconds(), [_place(each) for each in self._task.args.get("reach") or []]
        planned = self._step("plan")
        if not planned.pop("load", False) or self._task.check_mode:
            return {**result, "confirmed": "", **planned}
        self._require(reach)
        peer = self._peer()
        armed = self._step("arm")
        if armed.get("failed"):
            return {**result, **armed}
        return {**result, **planned, **self._confirm(seconds, reach, peer)}

    def _seconds(self) -> int:
        try:
            seconds = int(self._task.args.get("confirm_seconds", 60))
        except (TypeError, ValueError):
            seconds = 0
        if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
            raise AnsibleActionFail(
                f"{self._variable}: {self._task.args.get('confirm_seconds')}; expected {_SHORTEST_SECONDS} to"
                f" {_LONGEST_SECONDS}, the seconds after which the host puts back what it had"
            )
        return seconds

    @property
    def _variable(self) -> str:
        return str(self._task.args.get("confirm_variable", "confirm_seconds"))

    def _step(self, step: str) -> dict[str, Any]:
        said: dict[str, Any] = self._execute_module(
            module_name="mobileip.vpn.kernel_file",
            module_args={**self._task.args, "step": step},
            task_vars=self._task_vars,
        )
        return said

    def _peer(self) -> str:
        """Return both ends of the SSH connection that this goes through; empty where it is none."""
        said = self._low_level_execute_command("echo $SSH_CONNECTION", sudoable=False)
        lines = str(said.get("stdout", "")).split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _require(self, reach: list[tuple[str, int]]) -> None:
        missing = _unreachable(reach)
        if missing:
            raise AnsibleActionFail(
                f"reach: {missing}; expected a place that takes TCP connections of the controller already now, or it"
                " would prove nothing later. Nothing was changed"
            )

    def _confirm(self, seconds: int, reach: list[tuple[str, int]], peer: str) -> dict[str, Any]:
        """Open new connections until one was opened after the loading, and confirm through it."""
        ends = time.monotonic() + seconds
        hindrance = "no new connection to this host"
        time.sleep(_LOADING_SECONDS - _PAUSE_SECONDS)
        while time.monotonic() < ends:
            time.sleep(_PAUSE_SECONDS)
            try:
                self._close(peer)
                opened = time.monotonic()
                now = self._peer()
                seen = self._step("look")
                if seen.get("failed"):
                    return seen
                if seen.get("restored"):
                    break
                loaded_for = seen.get("loaded_for")
                if loaded_for is None or loaded_for <= time.monotonic() - opened:
                    continue
                if peer and now == peer:
                    hindrance = "only the old connection, which the connection plugin does not close"
                    continue
                missing = _unreachable(reach)
                if missing:
                    hindrance = f"no connection from the controller to {missing}"
                    continue
                kept = self._step("keep")
                if kept.pop("kept", False) or kept.get("failed"):
                    how = f"new connection: {now}" if now else "not over SSH"
                    return {**kept, "confirmed": f"{self._connection.transport}, {how}"}
                break
            except AnsibleConnectionFailure:
                continue
        return self._unconfirmed(seconds, hindrance, ends, peer)

    def _close(self, peer: str) -> None:
        """Have what comes next open a connection of its own, where there is a network in between."""
        if peer:
            self._connection.reset()

    def _unconfirmed(self, seconds: int, hindrance: str, ends: float, peer: str) -> dict[str, Any]:
        """Wait until the host has put back what it had, and say so."""
        restored, path = "", self._task.args["path"]
        while time.monotonic() < ends + _COME_BACK_SECONDS and not restored:
            time.sleep(max(ends - time.monotonic(), _PAUSE_SECONDS))
            try:
                self._close(peer)
                said = self._step("settle")
            except AnsibleConnectionFailure:
                continue
            if said.get("failed") or not said["armed"]:
                restored = said.get("restored", "")
                break
        back = (
            f"the host put back what it had before at {restored}"
            if restored
            else "it has not said since that it put that back; on its console: journalctl -u 'mobileip-*'"
        )
        return {
            "failed": True,
            "changed": False,
            "restored": restored,
            "msg": (
                f"{path}: {hindrance} within {seconds} s of loading it ({self._variable}: {seconds}), so {back}."
                f" {path} was not written. What it would hold cuts the controller off: let its connections through, or"
                " give them longer, and try again"
            ),
        }


def _place(text: Any) -> tuple[str, int]:
    parts = str(text).rsplit(":", 1)
    if len(parts) != 2 or not parts[0] or not parts[1].isdigit():
        raise AnsibleActionFail(f"reach: {text}; expected ADDRESS:PORT, such as 203.0.113.10:22")
    return parts[0], int(parts[1])


def _unreachable(reach: list[tuple[str, int]]) -> str:
    """Return the first place that takes no TCP connection from here, as it was written; empty if all do."""
    for address, port in reach:
        try:
            with socket.create_connection((address, port), timeout=_CONNECT_SECONDS):
                continue
        except OSError:
            return f"{address}:{port}"
    return ""
