"""The one loop: take what has happened, ask the machine, make it durable, then do it in order.

Everything that happens becomes an event in the inbox: datagrams, timers, moves of the link. One task feeds the machine
and puts its answers into the outbox. Another takes all that is in the outbox, makes every `Persist…` and `Forget…` of
it durable in one commit, and only then performs the rest, in order. While the disk works, in a thread, the first goes
on feeding: what arrives meanwhile shares the next commit.

Nothing but the second task performs actions, and performing does not wait: nothing can slip in between two actions.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never, get_args

from mobileip import __version__
from mobileip.registration.actions import (
    Action,
    Advertise,
    AnnounceHome,
    AssumeHomeAddress,
    Bind,
    BindVisitor,
    ClaimHome,
    Count,
    EstablishSecurityAssociation,
    ForgetBinding,
    Log,
    ParkSecurityAssociation,
    PersistBinding,
    PersistIdentification,
    ReleaseHome,
    Send,
    SetLocation,
    SetPath,
    Solicit,
    Unbind,
    UnbindVisitor,
    UnparkSecurityAssociation,
)
from mobileip.registration.events import Attached, DatagramReceived, Detached, Event
from mobileip.runtime.control import Command, ControlServer
from mobileip.runtime.journal import log
from mobileip.runtime.notify import notify, watchdog_period
from mobileip.runtime.party import Party
from mobileip.runtime.sockets import DatagramSocket, Departure
from mobileip.store.sqlite import Change, SqliteStore, StoreError, coalesced
from mobileip.wire.address import IMPLEMENTATION

_BURST = 256
"""Events that are fed before sockets and commits have their turn."""
_MOST_UNDONE = 2048
"""Answers in the outbox: bounds how long a reply waits for those that share its commit, and what a hanging disk
piles up."""
_QUIET = 1000
"""Changes, or events, a second: with fewer the store folds what it has appended, and the collector runs."""
_MOST_UNFOLDED = 2_000_000
"""Changes (some 250 MB) that are folded even if the store is busy."""
_FOLD_AT_ONCE = 5000
"""Changes: a few milliseconds that a commit may have to wait."""
_FOLDS = 20
"""How often in a row, between two looks at how busy the store is."""
_SWITCH_INTERVAL = 0.0001
"""Seconds after which a busy thread lets another one run: the store's thread needs a moment for each commit."""
_GATHERING = 0.0005
"""Seconds for which a busy loop lets datagrams come, to take them together: a turn costs more than a datagram."""
_BUSY = 0.002
"""Seconds: the loop is busy if its last turn is no longer ago."""
_FEW = 64
"""Events that are worth a turn without waiting for more."""
_MOST_WAITING = 8192
"""Events in the inbox: more may come than a disk that hangs lets through, and memory must not grow with them."""
_LONGEST_SLEEP = 30.0
"""Seconds; a deadline is looked at again this often, because the wall clock may be set while we sleep."""


@dataclass(frozen=True)
class _Wake:
    """In the inbox instead of an event: look at the clock. `watchdog`: and tell systemd that the loop turns."""

    watchdog: bool = False


class Daemon:
    """Runs one party until it is told to stop."""

    def __init__(
        self,
        instance: str,
        party: Party,
        store: SqliteStore | None,
        clock: Callable[[], float] = time.time,
        configuration: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Take what runs. `configuration` returns what the party was made from, for whoever asks; without secrets."""
        self._instance = instance
        self._configuration = configuration
        self._party = party
        self._store = store
        self._clock = clock
        self._inbox: deque[Event | _Wake] = deque()
        self._arrived = asyncio.Event()
        self._outbox: list[list[Action]] = []
        self._answered = asyncio.Event()
        self._room = asyncio.Event()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._unsaved: list[Change] = []
        self._queued: list[Send] = []
        self._staged: list[tuple[Bind, Sequence[Action]]] = []
        self._last_turn = 0.0
        self._committed = 0
        self._fed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._started = clock()
        self._reload: Callable[[], bool] | None = None
        self.counters = party.counters

    async def run(self, control_socket: Path, reload: Callable[[], bool] | None = None) -> bool:
        """Serve until SIGTERM or SIGINT; True when SIGHUP found a good new configuration and wants a new start.

        `reload` checks the configuration and returns whether it is good. Raises what opening the party raises.
        """
        loop = asyncio.get_running_loop()
        self._reload = reload
        stop: asyncio.Future[bool] = loop.create_future()
        self._party.open(loop, self._take)
        control = ControlServer(control_socket, self._commands())
        tasks: list[asyncio.Task[None]] = []
        try:
            if self._store is not None:
                records = await loop.run_in_executor(self._writer, self._store.records)
                await self._carry_out([self._party.restore(records, self._clock())])
                log("info", "restored", records=len(records))
            # What there is now stays: the collector need not look at it ever again.
            gc.collect()
            gc.freeze()
            gc.disable()
            await control.start()
            self._catch_signals(loop, stop)
            sys.setswitchinterval(_SWITCH_INTERVAL)
            tasks.append(loop.create_task(self._serve(), name="serve"))
            tasks.append(loop.create_task(self._carry_out_answers(), name="carry out"))
            tasks.append(loop.create_task(self._collect_when_quiet(), name="collect"))
            if self._store is not None:
                tasks.append(loop.create_task(self._fold_when_quiet(self._store), name="fold"))
            if (period := watchdog_period()) is not None:
                tasks.append(loop.create_task(self._feed_watchdog(period), name="watchdog"))
            for task in tasks:
                task.add_done_callback(lambda done: _stop_with(stop, done))
            self._wake()
            notify("READY=1\nSTATUS=" + f"{self._party.role} {self._instance} serves")
            log("info", "ready", role=self._party.role, instance=self._instance, version=__version__)
            return await stop
        finally:
            gc.enable()
            notify("STOPPING=1")
            if self._timer is not None:
                self._timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._party.close(loop)
            await self._party.finish()
            await control.stop()
            self._writer.shutdown(wait=True)
            log("info", "stopped", role=self._party.role, instance=self._instance)

    # The loop

    def _take(self, event: Event) -> None:
        """Put what happened into the inbox; what a peer will say again anyway only while there is room."""
        if len(self._inbox) >= _MOST_WAITING and not isinstance(event, Attached | Detached):
            self.counters["inbox_full"] += 1
        else:
            self._inbox.append(event)
            self._arrived.set()

    def _wake(self, watchdog: bool = False) -> None:
        self._inbox.append(_Wake(watchdog))
        self._arrived.set()

    async def _serve(self) -> None:
        """Ask the machine about everything that happened."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if len(self._inbox) < _FEW and time.monotonic() - self._last_turn < _BUSY:
                _rest(_GATHERING)
                await asyncio.sleep(0)  # the sockets' turn
            while self._inbox:
                while len(self._outbox) >= _MOST_UNDONE:
                    self._room.clear()
                    await self._room.wait()
                self._feed_burst()
                self._answered.set()
                self._rearm()
                await asyncio.sleep(0)
            self._last_turn = time.monotonic()

    def _feed_burst(self) -> None:
        inbox, outbox, clock, machine = self._inbox, self._outbox, self._clock, self._party.machine
        size = min(len(inbox), _BURST)
        self._fed += size
        for _ in range(size):
            event = inbox.popleft()
            if isinstance(event, _Wake):
                if event.watchdog:
                    notify("WATCHDOG=1")
                continue
            try:
                outbox.append(machine.feed(event, clock()))
            except Exception as exc:
                self._machine_failed(exc, event)
        deadline = machine.next_deadline()
        if deadline is not None and deadline <= (now := clock()):
            try:
                outbox.append(machine.handle_timer(now))
            except Exception as exc:
                self._machine_failed(exc, None)

    def _machine_failed(self, exc: Exception, event: Event | None) -> None:
        """An error of ours costs the one event that met it, not the daemon."""
        self.counters["internal_error"] += 1
        where = {"event": type(event).__name__} if event is not None else {"event": "timer"}
        if isinstance(event, DatagramReceived):
            where["source"] = str(event.source)
        log("error", "machine_failed", error=repr(exc), at=_innermost(exc), **where)

    async def _carry_out_answers(self) -> None:
        """Take what the machine has answered since the last time; its commit is shared."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            answers, self._outbox = self._outbox, []
            self._room.set()
            await self._carry_out(answers)

    async def _fold_when_quiet(self, store: SqliteStore) -> None:
        """Bring what the store has appended into its tables, in moments when few commits have to wait for it."""
        loop = asyncio.get_running_loop()
        while True:
            before = self._committed
            await asyncio.sleep(1.0)
            bearable = 0 if self._committed - before < _QUIET else _MOST_UNFOLDED
            for _ in range(_FOLDS):
                if store.unfolded <= bearable:
                    break
                try:
                    await loop.run_in_executor(self._writer, store.fold, _FOLD_AT_ONCE)
                except StoreError as exc:
                    log("error", "store_not_folded", error=exc, unfolded=store.unfolded)
                    break

    async def _collect_when_quiet(self) -> None:
        """Look for cycles in what a quiet second has made; never at what there was before.

        By itself the collector would look at all that came since the start, and stop everything for half a second with
        100,000 nodes. What a registration makes has no cycles, so what a busy second has made is not looked at.
        """
        while True:
            before = self._fed
            await asyncio.sleep(1.0)
            if self._fed - before < _QUIET:
                gc.collect()
            gc.freeze()

    async def _carry_out(self, answers: Sequence[Sequence[Action]]) -> None:
        """Make durable what the machine answered to each event, then perform it in order."""
        changes: list[Any] = [action for actions in answers for action in actions if type(action) in _CHANGES]
        durable = await self._make_durable(changes)
        for actions in answers:
            self._perform_all(actions, durable)
        self._send_queued()

    def _perform_all(self, actions: Sequence[Action], durable: bool) -> None:
        """One answer. A reply never announces a binding that is not durable, or that the kernel has refused."""
        bound, counters = True, self.counters
        for action in actions:
            if type(action) is Count:
                counters[action.reason] += 1
                continue
            if durable and type(action) in _CHANGES:
                continue  # done for the whole burst, before
            if not durable and not isinstance(action, _SAFE_WITHOUT_STORE):
                self.counters["withheld_not_durable"] += 1
                continue
            if not bound and isinstance(action, Send):
                self.counters["withheld_not_bound"] += 1
                continue
            if type(action) is Bind:
                self._staged.append((action, actions))
                continue
            try:
                self._perform(action)
            except Exception as exc:  # a full table, a vanished interface: one action fails, the others are due
                bound = bound and not isinstance(action, BindVisitor)
                self._action_failed(action, exc)

    def _action_failed(self, action: Action, exc: Exception) -> None:
        self.counters[f"failed_{type(action).__name__.lower()}"] += 1
        log("error", "action_failed", action=type(action).__name__, error=exc, at=_innermost(exc))

    async def _make_durable(self, changes: list[Change]) -> bool:
        """One commit. What could not be written is tried again with the next burst, so that nothing is skipped.

        What was withheld until then has to be made up for: machine and store have it, the kernel has not.
        """
        if self._store is None or not (changes or self._unsaved):
            return True
        pending = coalesced([*self._unsaved, *changes]) if self._unsaved else changes
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store.commit, pending)
            self._committed += len(pending)
        except StoreError as exc:
            self._unsaved = pending = coalesced(pending)
            self.counters["store_failed"] += 1
            log("error", "store_failed", error=exc, unsaved=len(pending))
            return False
        if self._unsaved:
            self._unsaved = []
            try:
                self._party.resync()
            except Exception as exc:  # a full table, a vanished interface: nodes register anew
                self.counters["failed_resync"] += 1
                log("error", "resync_failed", error=exc, at=_innermost(exc))
        return True

    def _perform(self, action: Action) -> None:
        """The single performer: synchronous, one case an action. Datagrams leave together, before what is none."""
        party = self._party
        if type(action) not in _OF_A_REGISTRATION:
            self._send_queued()
        match action:
            case Send():
                self._queued.append(action)
            case Count(reason):
                self.counters[reason] += 1
            case PersistIdentification() | PersistBinding() | ForgetBinding():
                pass  # done for the whole burst, before
            case Bind():
                self._staged.append((action, (action,)))
            case Unbind(key):
                self._bind_staged()
                party.unbind(key)
            case ClaimHome():
                party.claim_home(action)
            case ReleaseHome():
                party.release_home(action)
            case BindVisitor(visitor):
                party.bind_visitor(visitor)
            case UnbindVisitor():
                party.unbind_visitor(action)
            case Advertise():
                party.advertise(action)
            case Solicit():
                party.solicit(action)
            case SetPath(path):
                party.set_path(path)
            case SetLocation():
                party.set_location(action)
            case EstablishSecurityAssociation(anew):
                party.establish_sa(anew)
            case ParkSecurityAssociation():
                party.park_sa()
            case UnparkSecurityAssociation():
                party.unpark_sa()
            case AssumeHomeAddress(home_address):
                party.assume_home_address(home_address)
            case AnnounceHome():
                party.announce_home(action)
            case Log(level, event, fields):
                log(level, event, **fields)
            case _:
                assert_never(action)

    def _bind_staged(self) -> None:
        """Give the kernel the bindings of the burst at once; if it refuses, one by one. What one that it refuses
        would have announced is not sent."""
        staged, self._staged = self._staged, []
        if not staged:
            return
        try:
            self._party.bind_many([bind for bind, _ in staged])
        except Exception:
            for bind, answer in staged:
                try:
                    self._party.bind(bind)
                except Exception as exc:
                    self._action_failed(bind, exc)
                    self._withhold(bind, answer)

    def _withhold(self, bind: Bind, answer: Sequence[Action]) -> None:
        """Take back what is queued of an answer behind a binding that is not there."""
        place = next(at for at, action in enumerate(answer) if action is bind)
        promised = {id(action) for action in answer[place:] if isinstance(action, Send)}
        kept = [send for send in self._queued if id(send) not in promised]
        self.counters["withheld_not_bound"] += len(self._queued) - len(kept)
        self._queued = kept

    def _send_queued(self) -> None:
        """Send what is queued, in order for each socket, once the kernel has the bindings."""
        self._bind_staged()
        queued, self._queued = self._queued, []
        party = self._party
        by_socket: dict[DatagramSocket, list[Send]] = {}
        for action in queued:
            try:
                by_socket.setdefault(party.socket_from(action.source), []).append(action)
            except LookupError as exc:
                self._send_failed(action, exc)
        for channel, actions in by_socket.items():
            failures = channel.send_many(
                [
                    Departure(
                        action.payload,
                        action.source.address,
                        action.destination.address,
                        action.destination.port,
                        action.interface or party.interface_for(action),
                        action.ttl,
                    )
                    for action in actions
                ]
            )
            self.counters["sent"] += len(actions) - len(failures)
            for at, failure in failures:  # no route, no such address any more, a full buffer: the protocol repeats
                self._send_failed(actions[at], failure)

    def _send_failed(self, action: Send, exc: Exception) -> None:
        self.counters["send_failed"] += 1
        log("warning", "send_failed", destination=action.destination, source=action.source, error=exc)

    # Time

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._party.machine.next_deadline()
        if deadline is None:
            self._timer = None
            return
        delay = min(max(deadline - self._clock(), 0.0), _LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    async def _feed_watchdog(self, period: float) -> None:
        while True:
            self._wake(watchdog=True)
            await asyncio.sleep(period)

    # Signals

    def _catch_signals(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Future[bool]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _settle, stop, False)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, stop)

    def _hang_up(self, stop: asyncio.Future[bool]) -> None:
        """A good new configuration means a new start in the same process; packets flow on meanwhile."""
        if self._reload is not None and self._reload():
            log("info", "reload", instance=self._instance)
            _settle(stop, True)

    # Questions

    def _commands(self) -> Mapping[str, Command]:
        def status(_: Mapping[str, Any]) -> Any:
            return {
                "instance": self._instance,
                "role": self._party.role,
                "version": __version__,
                "implementation": IMPLEMENTATION,
                "started": self._started,
                "inbox": len(self._inbox),
                "unsaved": len(self._unsaved),
                "path_mtus": self._party.path_mtus(),
                **self._party.describe(),
            }

        def configuration(_: Mapping[str, Any]) -> Any:
            return self._configuration()

        def counters(_: Mapping[str, Any]) -> Any:
            return {"daemon": dict(sorted(self.counters.items())), "kernel": dict(self._party.kernel_counters())}

        def drops(_: Mapping[str, Any]) -> Any:
            return {
                "daemon": {name: count for name, count in sorted(self.counters.items()) if name not in _NO_DROPS},
                "kernel": {name: count for name, count in sorted(self._party.kernel_drops().items()) if count},
            }

        own = {"status": status, "configuration": configuration, "counters": counters, "drops": drops}
        return {**own, **self._party.commands(), **self._party.orders}


_NO_DROPS = frozenset(
    {
        "sent", "registered", "deregistered", "request_relayed", "reply_relayed", "broadcast_tunnelled",
        "deregistered_by_us", "unauthenticated_denial_relayed", "revocation_sent", "revocation_acknowledged",
        "revocation_obeyed", "revocation_repeated", "reassembled", "tunnel_error", "tunnel_error_relayed",
    }
)  # fmt: skip
"""Counters of what went well."""

_OF_A_REGISTRATION = frozenset({Send, Count, Log, PersistIdentification, PersistBinding, ForgetBinding, Bind, Unbind})
"""What may be done before a datagram that is queued: none of it changes how, or whether, the datagram travels."""

_CHANGES = frozenset(get_args(Change))

_SAFE_WITHOUT_STORE = (
    PersistIdentification, PersistBinding, ForgetBinding, Unbind, UnbindVisitor, ReleaseHome, Count, Log
)  # fmt: skip
"""What may be done though the burst is not durable: nothing of it promises a peer anything."""


def _rest(seconds: float) -> None:
    """Do nothing, and let the store's thread run: whoever waits for the loop is served by its next turn."""
    time.sleep(seconds)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _stop_with(stop: asyncio.Future[bool], done: asyncio.Task[None]) -> None:
    """A task of ours ended, which none should: end the daemon with its error and let systemd start it anew."""
    if done.cancelled() or stop.done():
        return
    error = done.exception()
    stop.set_exception(error if error is not None else RuntimeError(f"task {done.get_name()} ended"))


def _innermost(exc: BaseException) -> str:
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def restart_in_place() -> None:
    """Replace this process by the same command: new code, new configuration, same PID, state from the store."""
    sys.stderr.flush()
    os.execv(sys.executable, sys.orig_argv)
