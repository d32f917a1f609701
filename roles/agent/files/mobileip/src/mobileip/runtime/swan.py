"""The node's IPsec SA, kept by strongSwan; asked through vici, always in a thread and with a timeout.

Outside, the SA must be up: it is brought up when it is not, tried again with growing pauses until it is, and looked at
again for as long as the node is outside, since a gateway that restarts deletes it. At home it is parked or deleted.
Parked means that packets go past it in clear while it stays: with the userspace backend an ip rule in front of
strongSwan's (its TUN's routes are in table 220), with kernel IPsec a pass policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import vici

from mobileip.runtime.journal import log
from mobileip.runtime.rtnetlink import Rtnetlink

T = TypeVar("T")

VICI_SOCKET = "/run/charon.vici"
PARK_PREFERENCE = 200
"""Preference of the rule that parks: before 220, where strongSwan's own rule is."""
PASS_CHILD = "at-home"
"""Name of the child (`mode = pass`) that parks kernel IPsec."""
_INITIATE_TIMEOUT = 15.0
_ASK_TIMEOUT = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LOOK_INTERVAL = 5.0
"""Seconds between two looks at an SA that is up."""


@dataclass(frozen=True)
class SaSettings:
    """Names in swanctl.conf, and what to do with the SA at home."""

    connection: str
    child: str
    at_home: Literal["park", "delete"]
    backend: Literal["auto", "kernel", "libipsec"]


class SaKeeper:
    """Brings the SA up outside and puts it aside at home. No method waits; `status` is for people."""

    def __init__(self, settings: SaSettings, kernel: Rtnetlink) -> None:
        self._settings = settings
        self._kernel = kernel
        self._backend: str | None = None if settings.backend == "auto" else settings.backend
        self._work: asyncio.Task[None] | None = None
        # One question at a time, in order: an attempt that was called off may still be under way in its thread, and a
        # second one beside it would make a second SA.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vici")
        self._passing = self._backend != "libipsec"  # an earlier run may have left its pass policy
        self._outlived = False
        self.status = "unknown"

    def establish(self, anew: bool = False) -> None:
        """Outside and registered: have the SA up, now or as soon as the gateway answers.

        `anew`: what there is of it is worth nothing, since the gateway has dropped its half (draft 5.5).
        """
        self.unpark()
        self._outlived = self._outlived or anew
        self._start("establish", self._establish())

    def park(self) -> None:
        """Inside: packets go in clear."""
        self._start("park", self._park())

    def unpark(self) -> None:
        """The place is not known any more: nothing goes past the SA from here on. The rule goes at once."""
        self._cancel()
        with contextlib.suppress(OSError):
            self._kernel.delete_rule(PARK_PREFERENCE)
        if self._passing:
            self._passing = False
            # No task: nothing that comes after may call this off.
            self._worker.submit(self._stop_passing)

    async def close(self) -> None:
        """Stop trying; the SA and whatever parks it stay as they are."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _start(self, name: str, work: Any) -> None:
        self._cancel()
        self._work = asyncio.get_running_loop().create_task(work, name=f"sa-{name}")

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None

    async def _establish(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._outlived and await self._in_thread(self._is_up):
                    log("info", "sa_outlived", connection=self._settings.connection)
                    await self._in_thread(self._terminate)
                self._outlived = False
                if not await self._in_thread(self._is_up):
                    self.status = "establishing"
                    log("info", "sa_initiate", connection=self._settings.connection, child=self._settings.child)
                    await self._in_thread(self._initiate)
                    log("info", "sa_established", connection=self._settings.connection)
                self.status = "up"
                pause = _FIRST_PAUSE
                await asyncio.sleep(_LOOK_INTERVAL)
            except Exception as exc:  # vici raises many kinds; none of them may end the attempts
                self.status = f"failed, next try in {pause:g} s: {exc}"
                log("warning", "sa_failed", connection=self._settings.connection, error=exc, retry_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _park(self) -> None:
        if self._settings.at_home == "delete":
            with _Logged("sa_delete_failed"):
                await self._in_thread(self._terminate)
                self.status = "deleted"
            return
        pause = _FIRST_PAUSE
        while True:
            with _Logged("sa_park_failed"):
                if await self._backend_in_use() == "libipsec":
                    self._kernel.put_rule(PARK_PREFERENCE)
                else:
                    self._passing = True
                    await self._in_thread(self._ask, "install", self._pass_request())
                self.status = "parked"
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _in_thread(self, question: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, partial(question, *arguments))

    async def _backend_in_use(self) -> str:
        if self._backend is None:
            answer = await self._in_thread(self._ask, "stats", {})
            plugins = {bytes(name).decode() for name in answer.get("plugins", [])}
            self._backend = "libipsec" if "kernel-libipsec" in plugins else "kernel"
        return self._backend

    # Below: in a thread, blocking, with a timeout.

    def _is_up(self) -> bool:
        with _Session(_ASK_TIMEOUT) as session:
            for entry in session.list_sas({"ike": self._settings.connection}):
                for sa in entry.values():
                    children: Mapping[str, Mapping[str, bytes]] = sa.get("child-sas", {})
                    for child in children.values():
                        name, state = child.get("name", b"").decode(), child.get("state", b"")
                        if name == self._settings.child and state in (b"INSTALLED", b"REKEYING", b"REKEYED"):
                            return True
        return False

    def _initiate(self) -> None:
        request = {
            "ike": self._settings.connection,
            "child": self._settings.child,
            "timeout": str(int(_INITIATE_TIMEOUT * 1000)),
            "loglevel": "-1",
        }
        with _Session(_INITIATE_TIMEOUT + 1) as session:
            for _ in session.initiate(request):
                pass

    def _terminate(self) -> None:
        with _Session(_ASK_TIMEOUT) as session:
            # By force: a gateway that has forgotten the SA answers nothing.
            for _ in session.terminate({"ike": self._settings.connection, "timeout": "2000", "force": "yes"}):
                pass

    def _stop_passing(self) -> None:
        with _Logged("sa_not_unparked", level="info"):
            self._ask("uninstall", self._pass_request())

    def _pass_request(self) -> dict[str, str]:
        return {"child": PASS_CHILD, "ike": self._settings.connection}

    @staticmethod
    def _ask(command: str, request: Mapping[str, str]) -> Mapping[str, Any]:
        with _Session(_ASK_TIMEOUT) as session:
            answer: Mapping[str, Any] = session.request(command, dict(request))
            return answer


class _Session:
    """A vici session of its own for each question: a restarted charon costs nothing but the next connect."""

    def __init__(self, timeout: float) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._channel.settimeout(timeout)

    def __enter__(self) -> Any:
        try:
            self._channel.connect(VICI_SOCKET)
            return vici.Session(self._channel)
        except OSError as exc:
            self._channel.close()
            raise ConnectionError(f"strongSwan does not answer at {VICI_SOCKET}: {exc}") from None

    def __exit__(self, *_: object) -> None:
        self._channel.close()


class _Logged:
    """Log and swallow what goes wrong; a cancelled task stays cancelled."""

    def __init__(self, event: str, level: str = "warning") -> None:
        self._event = event
        self._level = level

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: object) -> bool:
        if value is None or not isinstance(value, Exception):
            return False
        log(self._level, self._event, error=value)
        return True
