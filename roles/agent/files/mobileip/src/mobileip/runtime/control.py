"""The control socket: one JSON line in, one JSON line out, over a Unix stream socket with mode 0660.

Request `{"command": "bindings"}`, answer `{"ok": true, "result": ...}` or `{"ok": false, "error": "..."}`.
Who may open the socket may ask: there is no secret in any answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mobileip.runtime.journal import log

_MAX_LINE = 64 * 1024
_TIMEOUT = 5.0
_MAX_CLIENTS = 16

Command = Callable[[Mapping[str, Any]], Any]


class ControlError(Exception):
    """A request that cannot be answered; the text goes to the person who asked."""


class ControlServer:
    """Serves commands; each is a plain function of the request that returns JSON data and does not block."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Listen. A socket file that a killed daemon left behind is replaced; one that answers is not."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(self._path)
        before = os.umask(0o117)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path=str(self._path), limit=_MAX_LINE)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop listening and remove the socket file."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= _MAX_CLIENTS:
                async with asyncio.timeout(_TIMEOUT):
                    answer = self._answer(await reader.readline())
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except (TimeoutError, ValueError, ConnectionError) as exc:
            log("debug", "control_request_failed", error=exc)  # whoever asked has gone away
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"ok": False, "error": f"unknown command; known here: {', '.join(sorted(self._commands))}"}
        try:
            return {"ok": True, "result": command(request)}
        except ControlError as exc:
            return {"ok": False, "error": str(exc)}
        except Exception as exc:  # a question must not end the daemon
            log("error", "control_command_failed", command=request["command"], error=repr(exc))
            return {"ok": False, "error": f"the daemon failed to answer: {exc!r}"}


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ControlError(f"{path} is in the way and is no socket; remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ControlError(f"another daemon answers at {path}; stop it first")


def ask(path: Path, command: str, timeout: float = _TIMEOUT, **arguments: Any) -> Any:
    """Ask a running daemon; returns the result. Raises `ControlError` with what to do."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout)
        try:
            channel.connect(str(path))
            channel.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with channel.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        except FileNotFoundError:
            raise ControlError(f"no daemon at {path}: is mobileip@{path.stem} running?") from None
        except PermissionError:
            raise ControlError(f"{path}: permission denied; be root or in the daemon's group") from None
        except (OSError, ValueError) as exc:
            raise ControlError(f"no answer from the daemon at {path}: {exc}") from None
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error", "the daemon gave no reason")))
    return answer["result"]
