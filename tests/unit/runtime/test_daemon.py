"""The loop: durable before it is told, in order, and alive whatever one event does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from mobileip.registration.actions import (
    Action,
    Bind,
    Count,
    ForgetBinding,
    PersistBinding,
    PersistIdentification,
    Record,
    Send,
    SetPath,
    Unbind,
)
from mobileip.registration.bindings import Binding, BindingKey, Encapsulation, NodeKey
from mobileip.registration.events import DatagramReceived, Detached, Endpoint, Event
from mobileip.runtime.control import ask
from mobileip.runtime.daemon import Daemon
from mobileip.runtime.party import Inbox, Party
from mobileip.runtime.sockets import Departure
from mobileip.store.sqlite import Change, SqliteStore, StoreError
from mobileip.wire.address import IMPLEMENTATION

HOME, CARE_OF, PROXY = IPv4Address("192.0.2.69"), IPv4Address("198.51.100.10"), IPv4Address("203.0.113.10")
BINDING = Binding(
    HOME, PROXY, CARE_OF, Endpoint(CARE_OF, 434), "pub", Encapsulation.IPIP, 0x22, 7, 300, 2_000_000_000.0
)  # fmt: skip
REPLY = Send(b"reply", Endpoint(PROXY, 434), Endpoint(CARE_OF, 434))
EVENT = DatagramReceived(b"request", Endpoint(CARE_OF, 434), Endpoint(PROXY, 434), "pub")


class Script:
    """A machine that answers as it is told and notes what it was asked."""

    def __init__(self, answers: list[list[Action] | Exception]) -> None:
        self.answers = answers
        self.fed: list[Event] = []
        self.deadline: float | None = None
        self.woken: list[float] = []

    def feed(self, event: Event, now: float) -> list[Action]:
        self.fed.append(event)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def next_deadline(self) -> float | None:
        return self.deadline

    def handle_timer(self, now: float) -> list[Action]:
        self.woken.append(now)
        self.deadline = None
        return [Count("woken")]


class Channel:
    """In place of a socket: notes what is sent into the common journal."""

    def __init__(self, journal: list[Any]) -> None:
        self.journal = journal

    def send_many(self, departures: Sequence[Departure]) -> list[tuple[int, OSError]]:
        self.journal += [("send", departure.payload) for departure in departures]
        return []

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        pass


class Recorder(Party):
    """A party that notes what it is told to do."""

    role = "recorder"
    durable = True
    machine: Script

    def __init__(self, machine: Script, journal: list[Any]) -> None:
        super().__init__()
        self.machine = machine
        self.journal = journal
        self.put: Inbox | None = None
        self.table_is_full = False

    def open(self, loop: asyncio.AbstractEventLoop, inbox: Inbox) -> None:
        self.put = inbox
        self.sockets[PROXY] = Channel(self.journal)  # type: ignore[assignment]  # stands in for a socket

    def restore(self, records: Iterable[Record], now: float) -> list[Action]:
        self.journal.append(("restore", list(records)))
        return []

    def resync(self) -> None:
        self.journal.append(("resync",))

    def bind(self, action: Bind) -> None:
        if self.table_is_full:
            raise OSError("write bindings: Argument list too long")
        self.journal.append(("bind", action.binding.home_address))

    def unbind(self, key: BindingKey) -> None:
        self.journal.append(("unbind", key.home_address))


class JournallingStore(SqliteStore):
    """The real store, which also notes each commit, and fails as often as it is told."""

    def __init__(self, path: Path, journal: list[Any]) -> None:
        super().__init__(path)
        self.journal = journal
        self.failures = 0
        self.disk = threading.Event()
        """While it is not set, the disk hangs."""
        self.disk.set()

    def commit(self, changes: Iterable[Change]) -> None:
        burst = list(changes)
        assert self.disk.wait(10)
        if self.failures:
            self.failures -= 1
            raise StoreError("no space left")
        super().commit(burst)
        self.journal.append(("commit", len(burst)))


Act = Callable[[Recorder, Daemon, JournallingStore], Awaitable[None]]


def play(directory: Path, answers: list[list[Action] | Exception], act: Act) -> tuple[list[Any], Recorder, Daemon]:
    """Run a daemon while `act` acts, and stop it."""
    journal: list[Any] = []
    store = JournallingStore(directory / "state.sqlite", journal)
    party = Recorder(Script(answers), journal)
    daemon = Daemon("test", party, store, configuration=lambda: {"role": "recorder", "max_lifetime": 1800})

    async def scene() -> None:
        running = asyncio.ensure_future(daemon.run(directory / "test.sock"))
        while party.put is None or not (directory / "test.sock").exists():
            await asyncio.sleep(0.001)
            assert not running.done(), running.result()
        journal.clear()
        await act(party, daemon, store)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(scene(), 10))
    store.close()
    return journal, party, daemon


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")


def sends(journal: list[Any]) -> int:
    return sum(entry[0] == "send" for entry in journal)


def test_binding_is_durable_and_in_the_kernel_before_its_reply_leaves(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)

    journal, _, _ = play(tmp_path, [[PersistBinding(BINDING), Bind(BINDING), REPLY]], act)
    assert journal == [("commit", 1), ("bind", HOME), ("send", b"reply")]


def test_a_burst_shares_one_commit(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        for _ in range(3):
            party.put(EVENT)
        await until(lambda: sends(party.journal) == 3)

    answers: list[list[Action] | Exception] = [
        [
            PersistIdentification(NodeKey(None, HOME), 2001 + number, 7),
            Send(bytes([number]), REPLY.source, REPLY.destination),
        ]
        for number in range(3)
    ]
    journal, _, _ = play(tmp_path, answers, act)
    assert journal == [("commit", 3), ("send", b"\0"), ("send", b"\1"), ("send", b"\2")]


def test_while_the_disk_works_requests_are_read_and_none_is_relayed_before_its_identification_is_durable(
    tmp_path: Path,
) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        store.disk.clear()
        party.put(EVENT)
        await until(lambda: len(party.machine.fed) == 1)
        await asyncio.sleep(0.01)  # the first commit is under way: what comes now is none of its burst
        for _ in range(2):
            party.put(EVENT)
        await until(lambda: len(party.machine.fed) == 3)
        assert party.journal == []
        store.disk.set()
        await until(lambda: sends(party.journal) == 3)

    answers: list[list[Action] | Exception] = [
        [PersistIdentification(NodeKey(None, HOME), 2001, number), Send(bytes([number]), REPLY.source, REPLY.source)]
        for number in range(3)
    ]
    journal, _, _ = play(tmp_path, answers, act)
    assert journal == [("commit", 1), ("send", b"\0"), ("commit", 2), ("send", b"\1"), ("send", b"\2")]


def test_a_quiet_store_is_folded(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)
        assert store.unfolded == 1
        await until(lambda: store.unfolded == 0)

    play(tmp_path, [[PersistBinding(BINDING), Bind(BINDING), REPLY]], act)


def test_what_is_not_durable_is_not_announced_and_is_made_up_for(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        store.failures = 1
        party.put(EVENT)
        await until(lambda: ("unbind", HOME) in party.journal)
        assert party.journal == [("unbind", HOME)]
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)

    other = BindingKey(None, HOME, PROXY)
    journal, _, daemon = play(
        tmp_path, [[PersistBinding(BINDING), Bind(BINDING), Unbind(other), REPLY], [ForgetBinding(other), REPLY]], act
    )
    assert journal == [("unbind", HOME), ("commit", 2), ("resync",), ("send", b"reply")]
    assert daemon.counters["store_failed"] == 1
    assert daemon.counters["withheld_not_durable"] == 2
    store = SqliteStore(tmp_path / "state.sqlite")
    assert store.records() == [PersistBinding(BINDING)]
    store.close()


def test_a_binding_that_the_kernel_refuses_is_not_announced_and_others_are(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        party.table_is_full = True
        party.put(EVENT)
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)

    denial = Send(b"denial", REPLY.source, REPLY.destination)
    journal, _, daemon = play(tmp_path, [[PersistBinding(BINDING), Bind(BINDING), REPLY], [denial]], act)
    assert journal == [("commit", 1), ("send", b"denial")]
    assert (daemon.counters["failed_bind"], daemon.counters["withheld_not_bound"]) == (1, 1)


def test_a_disk_that_hangs_fills_no_memory_and_hides_no_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobileip.runtime.daemon._MOST_WAITING", 10)
    move = Detached("eth0")

    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        for _ in range(25):
            party.put(EVENT)
        party.put(move)
        await until(lambda: party.machine.fed[-1:] == [move])

    _, party, daemon = play(tmp_path, [[] for _ in range(11)], act)
    assert daemon.counters["inbox_full"] == 15
    assert party.machine.fed == [EVENT] * 10 + [move]


def test_an_error_in_the_machine_costs_one_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        party.put(EVENT)
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)

    _, _, daemon = play(tmp_path, [ZeroDivisionError("ours"), [REPLY]], act)
    assert daemon.counters["internal_error"] == 1


def test_an_action_that_a_party_does_not_know_stops_no_other(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        assert party.put is not None
        party.put(EVENT)
        await until(lambda: sends(party.journal) == 1)

    from mobileip.registration.actions import NodePath, PathMode

    _, _, daemon = play(tmp_path, [[SetPath(NodePath(PathMode.HOME)), REPLY]], act)
    assert daemon.counters["failed_setpath"] == 1


def test_the_machine_is_woken_at_its_deadline(tmp_path: Path) -> None:
    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        import time

        assert party.put is not None
        party.machine.deadline = time.time() + 0.05
        party.put(EVENT)
        await until(lambda: daemon.counters["woken"] == 1)

    _, party, _ = play(tmp_path, [[]], act)
    assert len(party.machine.woken) == 1


def test_records_of_the_store_are_given_back_at_the_start(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.sqlite")
    store.commit([PersistBinding(BINDING)])
    store.close()
    given: list[Any] = []

    class Keeper(Recorder):
        def restore(self, records: Iterable[Record], now: float) -> list[Action]:
            given.extend(records)
            return []

    async def scene() -> None:
        kept = SqliteStore(tmp_path / "state.sqlite")
        daemon = Daemon("test", Keeper(Script([]), []), kept)
        running = asyncio.ensure_future(daemon.run(tmp_path / "test.sock"))
        await until(lambda: (tmp_path / "test.sock").exists())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        kept.close()

    asyncio.run(scene())
    assert given == [PersistBinding(BINDING)]


def test_status_and_counters_are_told_over_the_control_socket(tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    async def act(party: Recorder, daemon: Daemon, store: JournallingStore) -> None:
        daemon.counters["malformed"] += 2
        for topic in ("status", "counters", "drops", "configuration"):
            told[topic] = await asyncio.to_thread(ask, tmp_path / "test.sock", topic)

    play(tmp_path, [], act)
    assert told["status"]["role"] == "recorder"
    assert told["configuration"] == {"role": "recorder", "max_lifetime": 1800}
    assert told["status"]["implementation"] == IMPLEMENTATION
    assert told["counters"]["daemon"] == {"malformed": 2}
    assert told["drops"] == {"daemon": {"malformed": 2}, "kernel": {}}
