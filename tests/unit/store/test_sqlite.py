"""The SQLite store: what was committed is there again, whatever happened to the process."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mobileip.registration.actions import ForgetBinding, PersistBinding, PersistIdentification
from mobileip.registration.bindings import Binding, Encapsulation, NodeKey, RevocationPeer
from mobileip.registration.events import Endpoint
from mobileip.store.sqlite import SCHEMA_VERSION, SqliteStore, StoreError, coalesced
from mobileip.wire.extensions import ExtensionType

HOME = IPv4Address("192.0.2.69")
GATEWAY = IPv4Address("203.0.113.20")
BINDING = Binding(
    home_address=HOME,
    home_agent=IPv4Address("192.0.2.40"),
    care_of_address=IPv4Address("198.51.100.10"),
    source=Endpoint(IPv4Address("198.51.100.40"), 61234),
    interface="pub",
    encapsulation=Encapsulation.UDP,
    flags=0x22,
    identification=0xEE112233_44556677,  # above 2**63: SQLite's integers are signed
    granted=300,
    expires=1_800_000_000.25,
    gateway=GATEWAY,
    via_foreign_agent=True,
    half_bound=True,
    keepalive=110,
    spi=2001,
    nai="mn@home.example",
    registered=1_799_999_700.5,
    home_agent_expires=1_800_000_300.25,
    node_revocation=RevocationPeer(ExtensionType.FA_HA_AUTHENTICATION, 0xFFFFFFFF),  # as the machines say it
    agent_revocation=0,
)
AT_HOME_AGENT = dataclasses.replace(
    BINDING,
    gateway=None,
    encapsulation=Encapsulation.IPIP,
    expires=math.inf,
    via_foreign_agent=False,
    half_bound=False,
    nai=None,
    node_revocation=None,
    agent_revocation=None,
)
IDENTIFICATION = PersistIdentification(NodeKey(GATEWAY, HOME), 2001, 0xFFFFFFFF_FFFFFFFF)
OF_NAMED_NODE = PersistIdentification(NodeKey(GATEWAY, "2130706433"), 2001, 1)  # a NAI may be all digits


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "proxy.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def reopened(path: Path) -> list[object]:
    store = SqliteStore(path)
    try:
        return list(store.records())
    finally:
        store.close()


def test_every_field_comes_back_as_it_went_in(store: SqliteStore, path: Path) -> None:
    store.commit([PersistBinding(BINDING), PersistBinding(AT_HOME_AGENT), IDENTIFICATION])
    assert set(reopened(path)) == {IDENTIFICATION, PersistBinding(BINDING), PersistBinding(AT_HOME_AGENT)}


def test_later_change_of_a_burst_wins(store: SqliteStore, path: Path) -> None:
    renewed = dataclasses.replace(BINDING, expires=BINDING.expires + 300)
    newer = dataclasses.replace(IDENTIFICATION, identification=5)
    store.commit([IDENTIFICATION, PersistBinding(BINDING), ForgetBinding(BINDING.key), PersistBinding(renewed), newer])
    assert reopened(path) == [newer, PersistBinding(renewed)]


def test_what_waits_for_a_disk_grows_with_the_nodes_not_with_their_requests() -> None:
    requests = [dataclasses.replace(IDENTIFICATION, identification=number) for number in range(1000)]
    assert coalesced([*requests, PersistBinding(BINDING), ForgetBinding(BINDING.key)]) == [
        requests[-1],
        ForgetBinding(BINDING.key),
    ]


def test_forgotten_binding_is_gone_and_its_identification_stays(store: SqliteStore, path: Path) -> None:
    store.commit([IDENTIFICATION, PersistBinding(BINDING)])
    store.commit([ForgetBinding(BINDING.key)])
    assert reopened(path) == [IDENTIFICATION]


def test_identifications_are_kept_for_each_gateway_node_and_spi(store: SqliteStore, path: Path) -> None:
    others = [
        IDENTIFICATION,
        dataclasses.replace(IDENTIFICATION, spi=4001),
        dataclasses.replace(IDENTIFICATION, node=NodeKey(None, HOME)),
        OF_NAMED_NODE,
        dataclasses.replace(IDENTIFICATION, nonce=True),
    ]
    store.commit(others)
    assert set(reopened(path)) == set(others)


def statements_of(store: SqliteStore) -> list[str]:
    statements: list[str] = []
    store._database.set_trace_callback(lambda text: statements.append(text.split(" (")[0]))
    return statements


def test_a_burst_is_one_statement_and_so_one_transaction(store: SqliteStore, path: Path) -> None:
    statements = statements_of(store)
    store.commit([IDENTIFICATION, PersistBinding(BINDING), PersistBinding(AT_HOME_AGENT)])
    store.commit([])
    assert statements == ["INSERT INTO burst"]


def test_folded_bursts_leave_what_the_bursts_said_and_make_room(store: SqliteStore, path: Path) -> None:
    newer = dataclasses.replace(IDENTIFICATION, identification=5)
    store.commit([IDENTIFICATION, PersistBinding(BINDING)])
    store.commit([newer, PersistBinding(AT_HOME_AGENT)])
    store.commit([ForgetBinding(BINDING.key)])
    assert store.unfolded == 5
    store.fold(4)  # two bursts; the third would be too much
    assert store.unfolded == 1
    assert store._database.execute("SELECT count(*) FROM burst").fetchone() == (1,)
    assert reopened(path) == [newer, PersistBinding(AT_HOME_AGENT)]


def test_a_crash_while_folding_loses_nothing(store: SqliteStore, path: Path) -> None:
    store.commit([IDENTIFICATION, PersistBinding(BINDING)])
    store._database.execute("CREATE TRIGGER crash BEFORE DELETE ON burst BEGIN SELECT RAISE(ABORT, 'power'); END")
    with pytest.raises(StoreError, match="folding failed: power"):
        store.fold()
    store._database.execute("DROP TRIGGER crash")
    assert set(reopened(path)) == {IDENTIFICATION, PersistBinding(BINDING)}


def test_synchronous_is_full_again_after_folding(store: SqliteStore) -> None:
    store.commit([IDENTIFICATION])
    store.fold()
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_burst_that_is_not_what_was_written_is_found_when_the_file_is_opened(path: Path, store: SqliteStore) -> None:
    store.commit([IDENTIFICATION])
    store._database.execute("UPDATE burst SET checksum = checksum - 1")
    store.close()
    with pytest.raises(StoreError, match="is damaged: burst 1 is not what was written"):
        SqliteStore(path)


def test_synchronous_full_and_write_ahead_log(store: SqliteStore) -> None:
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


CHILD = """
import dataclasses, sys
from ipaddress import IPv4Address
from pathlib import Path
sys.path[:0] = {path!r}
from mobileip.registration.actions import PersistBinding, PersistIdentification
from mobileip.registration.bindings import NodeKey
from mobileip.store.sqlite import SqliteStore
exec(open({module!r}).read().split("@pytest.fixture")[0])
store = SqliteStore(Path(sys.argv[1]))
number = 0
while True:
    burst = []
    for _ in range(20):
        number += 1
        home = IPv4Address(0x0A000000 + number)
        burst.append(PersistIdentification(NodeKey(None, home), 2001, number))
        burst.append(PersistBinding(dataclasses.replace(BINDING, home_address=home, identification=number)))
    store.commit(burst)
    print(number, flush=True)
"""


def test_killed_in_a_burst_loses_nothing_that_was_acknowledged_and_keeps_bursts_whole(path: Path) -> None:
    code = CHILD.format(path=sys.path, module=__file__)
    for _round in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(10 + 3 * _round)]
            os.kill(child.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout.read().split()]
        records = reopened(path)
        bindings = {int(r.binding.home_address) - 0x0A000000 for r in records if isinstance(r, PersistBinding)}
        accepted = {r.identification for r in records if isinstance(r, PersistIdentification)}
        assert bindings >= set(range(1, acknowledged[-1] + 1))
        assert bindings == accepted
        assert len(bindings) % 20 == 0


def test_failed_commit_leaves_nothing_of_its_burst_behind(store: SqliteStore, path: Path) -> None:
    with sqlite3.connect(path) as other:
        store._database.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="commit failed: database is locked"):
            store.commit([IDENTIFICATION, PersistBinding(BINDING)])
        other.rollback()
    other.close()
    assert reopened(path) == []
    store.commit([IDENTIFICATION])
    assert reopened(path) == [IDENTIFICATION]


def test_damaged_file_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreError, match=r"proxy\.sqlite: is damaged: .*move it away with its -wal"):
        SqliteStore(path)


def test_damaged_pages_are_found_when_the_file_is_opened(path: Path, store: SqliteStore) -> None:
    homes = [IPv4Address(0x0A000000 + number) for number in range(500)]
    store.commit([PersistBinding(dataclasses.replace(BINDING, home_address=home)) for home in homes])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        SqliteStore(path)


def test_layout_of_a_newer_version_is_refused_and_left_alone(path: Path, store: SqliteStore) -> None:
    store.commit([IDENTIFICATION])
    store._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    with pytest.raises(StoreError, match=f"has layout {SCHEMA_VERSION + 1}, .*a newer mobileip wrote it"):
        SqliteStore(path)
    assert path.exists()


def test_layout_of_an_older_version_is_refused_with_what_to_do(path: Path, store: SqliteStore) -> None:
    store._database.execute("PRAGMA user_version = 1")
    store.close()
    with pytest.raises(StoreError, match=r"has layout 1, .*move it away"):
        SqliteStore(path)
    assert path.exists()


def test_database_of_another_program_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreError, match="is a database of another program"):
        SqliteStore(path)


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / "file" / "proxy.sqlite")
