"""The default store: one SQLite file.

Durability: write-ahead log with synchronous FULL, so a commit that returned survives kill -9 and loss of power. One
commit a burst: the cost of the disk's flush is shared by every registration that waits for it.

A commit appends its burst to the table `burst`, as one row: a page or two that follow each other, where two changed
rows a registration would each rewrite a page of their own. What has been appended is folded into the tables
`identification` and `binding` when the daemon has time for it, and when the store is opened. Folding is idempotent:
whatever part of it a crash leaves, the bursts that are still there bring every key to its last state.

The file says what it is: `application_id` names the program, `user_version` the layout. Another program's file, a
newer layout or a damaged file is refused with what to do; nothing is ever silently begun anew, because an empty store
would let replays in.
"""

from __future__ import annotations

import marshal
import sqlite3
import zlib
from collections.abc import Hashable, Iterable
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from mobileip.registration.actions import ForgetBinding, PersistBinding, PersistIdentification, Record
from mobileip.registration.bindings import Binding, BindingKey, Encapsulation, NodeKey, RevocationPeer
from mobileip.registration.events import Endpoint
from mobileip.wire.address import address

APPLICATION_ID = 0x4D495034  # "MIP4"
SCHEMA_VERSION = 4

Change = PersistIdentification | PersistBinding | ForgetBinding
"""The actions that a store makes durable."""

_SCHEMA = """
CREATE TABLE identification (
    gateway        INTEGER NOT NULL,  -- IPv4 address as a number, 0: none
    node           BLOB    NOT NULL,  -- home address as a number, or the NAI as text: BLOB converts neither
    spi            INTEGER NOT NULL,
    nonce          INTEGER NOT NULL,  -- 1: the nonce that is due, 0: the last timestamp
    identification BLOB    NOT NULL,  -- 8 bytes, network order: SQLite has no unsigned 64 bits
    PRIMARY KEY (gateway, node, spi, nonce)
) WITHOUT ROWID;
CREATE TABLE burst (  -- changes that are not in the tables yet, oldest first
    number   INTEGER PRIMARY KEY,
    size     INTEGER NOT NULL,  -- how many changes
    checksum INTEGER NOT NULL,  -- CRC-32: the database checks pages' structure, not what is written in them
    changes  BLOB    NOT NULL
);
CREATE TABLE binding (
    gateway           INTEGER NOT NULL,
    home_address      INTEGER NOT NULL,
    care_of_address   INTEGER NOT NULL,
    home_agent        INTEGER NOT NULL,
    source_address    INTEGER NOT NULL,
    source_port       INTEGER NOT NULL,
    interface         TEXT    NOT NULL,
    encapsulation     TEXT    NOT NULL,
    flags             INTEGER NOT NULL,
    identification    BLOB    NOT NULL,
    granted           INTEGER NOT NULL,
    expires           REAL    NOT NULL,  -- Unix time in seconds, Inf: never
    via_foreign_agent INTEGER NOT NULL,
    half_bound        INTEGER NOT NULL,
    keepalive         INTEGER NOT NULL,
    spi               INTEGER NOT NULL,
    nai               TEXT,
    registered        REAL    NOT NULL,
    home_agent_expires REAL   NOT NULL,
    node_revocation_kind INTEGER,  -- with the timestamp; NULL: revocation was not agreed on
    node_revocation   INTEGER,
    agent_revocation  INTEGER,
    PRIMARY KEY (gateway, home_address, care_of_address)
) WITHOUT ROWID;
"""
_APPEND_BURST = "INSERT INTO burst (size, checksum, changes) VALUES (?, ?, ?)"
_OLDEST_BURSTS = "SELECT number, size, checksum, changes FROM burst ORDER BY number"
_DELETE_BURSTS = "DELETE FROM burst WHERE number <= ?"
_FORMAT = 2
"""Of `marshal`: the one that has not changed since Python 2.5. Read again by this program only, and checked before."""
_AT_START = 100_000
"""Changes that are folded at once while nothing else waits."""
_PUT_IDENTIFICATION = "INSERT OR REPLACE INTO identification VALUES (?, ?, ?, ?, ?)"
_PUT_BINDING = f"INSERT OR REPLACE INTO binding VALUES ({', '.join('?' * 22)})"
_DELETE_BINDING = "DELETE FROM binding WHERE gateway = ? AND home_address = ? AND care_of_address = ?"

Row = tuple[
    int,
    int,
    int,
    int,
    int,
    int,
    str,
    str,
    int,
    bytes,
    int,
    float,
    int,
    int,
    int,
    int,
    str | None,
    float,
    float,
    int | None,
    int | None,
    int | None,
]


def coalesced(changes: Iterable[Change]) -> list[Change]:
    """The last change of each Identification and each binding: together they leave what all of them leave."""
    last: dict[Hashable, Change] = {}
    for change in changes:
        match change:
            case PersistIdentification(node, spi, _, nonce):
                last[node, spi, nonce] = change
            case PersistBinding(binding):
                last[binding.key] = change
            case ForgetBinding(key):
                last[key] = change
    return list(last.values())


class StoreError(Exception):
    """The store cannot be used; the text says which file, why, and what to do."""


class SqliteStore:
    """Bindings and Identifications in one file. Not for two threads at a time; which thread does not matter."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `StoreError`."""
        self._path = path
        self.unfolded = 0
        """Changes that are durable and not in the tables yet."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.Error) as exc:
            raise StoreError(f"{path}: cannot be opened: {exc}; check that the daemon's user may write there") from None
        try:
            self._prepare()
        except sqlite3.DatabaseError as exc:
            self._database.close()
            raise self._damaged(str(exc)) from None
        except StoreError:
            self._database.close()
            raise

    def commit(self, changes: Iterable[Change]) -> None:
        """Make all changes durable in one transaction; when it returns they survive a loss of power.

        Raises `StoreError`; then none of them is durable.
        """
        rows = [_logged(change) for change in changes]
        if not rows:
            return
        packed = marshal.dumps(rows, _FORMAT)
        try:
            self._database.execute(_APPEND_BURST, (len(rows), zlib.crc32(packed), packed))
        except sqlite3.Error as exc:
            raise StoreError(f"{self._path}: commit failed: {exc}; is the disk full or read-only?") from None
        self.unfolded += len(rows)

    def fold(self, most: int = 500) -> None:
        """Bring the oldest bursts into the tables, about `most` changes. Raises `StoreError`; then nothing is lost.

        It need not reach the disk before the next commit, which takes it along.
        """
        try:
            self._database.execute("PRAGMA synchronous = NORMAL")
            try:
                self._fold(most)
            finally:
                self._database.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as exc:
            raise StoreError(f"{self._path}: folding failed: {exc}; is the disk full or read-only?") from None

    def _fold(self, most: int) -> None:
        identifications: dict[Fields, Fields] = {}
        bindings: dict[Fields, Fields | None] = {}
        folded, last = 0, 0
        with closing(self._database.execute(_OLDEST_BURSTS)) as bursts:
            for number, size, checksum, packed in bursts:
                if folded and folded + size > most:
                    break
                if zlib.crc32(packed) != checksum:
                    raise self._damaged(f"burst {number} is not what was written")
                for kind, key, row in marshal.loads(packed):
                    if kind == _IDENTIFICATION:
                        identifications[key] = row
                    else:
                        bindings[key] = row
                folded, last = folded + size, number
        if not folded:
            return
        run = self._database.executemany
        with self._transaction():
            run(_PUT_IDENTIFICATION, list(identifications.values()))
            run(_DELETE_BINDING, [key for key, row in bindings.items() if row is None])
            run(_PUT_BINDING, [row for row in bindings.values() if row is not None])
            self._database.execute(_DELETE_BURSTS, (last,))
        self.unfolded -= folded

    def records(self) -> list[Record]:
        """Everything that is kept, Identifications first. Raises `StoreError`."""
        self._fold_all()
        try:
            identifications: list[Record] = [
                PersistIdentification(_node(gateway, name), spi, int.from_bytes(identification, "big"), bool(nonce))
                for gateway, name, spi, nonce, identification in self._database.execute("SELECT * FROM identification")
            ]
            return [*identifications, *(PersistBinding(_binding(row)) for row in self._select_bindings())]
        except (sqlite3.Error, ValueError, TypeError) as exc:
            raise self._damaged(str(exc)) from None

    def close(self) -> None:
        self._database.close()

    def _fold_all(self) -> None:
        while self.unfolded:
            self.fold(_AT_START)

    def _select_bindings(self) -> Iterable[Row]:
        rows: Iterable[Row] = self._database.execute("SELECT * FROM binding")
        return rows

    def _prepare(self) -> None:
        run = self._database.execute
        (application,) = run("PRAGMA application_id").fetchone()
        (version,) = run("PRAGMA user_version").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_schema").fetchone()
        new = (application, version, tables) == (0, 0, 0)
        if not new and application != APPLICATION_ID:
            raise StoreError(f"{self._path}: is a database of another program; name another file with the key `state`")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._path}: has layout {version}, this program knows layout {SCHEMA_VERSION}; "
                "a newer mobileip wrote it: upgrade, or restore the file from before the upgrade"
            )
        if not new and version < SCHEMA_VERSION:
            raise StoreError(
                f"{self._path}: has layout {version}, this program knows layout {SCHEMA_VERSION}; "
                "move it away with its -wal and -shm files: nodes register anew"
            )
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA wal_autocheckpoint = 4000")  # pages: a checkpoint makes a commit wait, so not every second
        if new:
            self._create()
        with closing(run("PRAGMA quick_check(1)")) as answers:
            (answer,) = answers.fetchone()
        if answer != "ok":
            raise self._damaged(answer)
        (self.unfolded,) = run("SELECT coalesce(sum(size), 0) FROM burst").fetchone()
        self._fold_all()

    def _create(self) -> None:
        # The version goes in with the tables: a crash in between leaves an empty file, not half a store.
        self._database.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"{self._path}: is damaged: {' '.join(why.split())}; move it away with its -wal and -shm files and start "
            "again: nodes register anew, and until they do only the clock window keeps replays out"
        )


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when anything is raised."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._database.execute("COMMIT")
            except sqlite3.Error:
                self._rollback()
                raise
        else:
            self._rollback()

    def _rollback(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


_IDENTIFICATION, _BINDING = 0, 1

Fields = tuple[Any, ...]
Logged = tuple[int, Fields, Fields | None]
"""A change as a burst holds it: of which table, its key, its row (None: deleted)."""


def _logged(change: Change) -> Logged:
    match change:
        case PersistIdentification():
            row = _identification_row(change)
            return _IDENTIFICATION, row[:-1], row
        case PersistBinding(binding):
            put = _row(binding)
            return _BINDING, put[:3], put
        case ForgetBinding(key):
            return _BINDING, _key_row(key), None


def _number(address: IPv4Address | None) -> int:
    return 0 if address is None else int(address)


def _address(number: int) -> IPv4Address | None:
    return address(number) if number else None


def _node(gateway: int, name: int | str) -> NodeKey:
    return NodeKey(_address(gateway), name if isinstance(name, str) else address(name))


def _identification_row(item: PersistIdentification) -> tuple[int, int | str, int, bool, bytes]:
    gateway, name = item.node
    stored = name if isinstance(name, str) else int(name)
    return _number(gateway), stored, item.spi, item.nonce, item.identification.to_bytes(8, "big")


def _key_row(key: BindingKey) -> tuple[int, int, int]:
    return _number(key.gateway), int(key.home_address), int(key.care_of_address)


def _row(binding: Binding) -> Row:
    return (
        _number(binding.gateway),
        int(binding.home_address),
        int(binding.care_of_address),
        int(binding.home_agent),
        int(binding.source.address),
        binding.source.port,
        binding.interface,
        str(binding.encapsulation),
        binding.flags,
        binding.identification.to_bytes(8, "big"),
        binding.granted,
        binding.expires,
        binding.via_foreign_agent,
        binding.half_bound,
        binding.keepalive,
        binding.spi,
        binding.nai,
        binding.registered,
        binding.home_agent_expires,
        *(map(int, binding.node_revocation) if binding.node_revocation else (None, None)),  # a kind may be an enum
        binding.agent_revocation,
    )


def _binding(row: Row) -> Binding:
    gateway, home, care_of, home_agent, source, port, interface, encapsulation, flags, identification = row[:10]
    granted, expires, via_foreign_agent, half_bound, keepalive, spi, nai, registered, home_agent_expires = row[10:19]
    kind, node_timestamp, agent_timestamp = row[19:]
    return Binding(
        home_address=address(home),
        home_agent=address(home_agent),
        care_of_address=address(care_of),
        source=Endpoint(address(source), port),
        interface=interface,
        encapsulation=Encapsulation(encapsulation),
        flags=flags,
        identification=int.from_bytes(identification, "big"),
        granted=granted,
        expires=expires,
        gateway=_address(gateway),
        via_foreign_agent=bool(via_foreign_agent),
        half_bound=bool(half_bound),
        keepalive=keepalive,
        spi=spi,
        nai=nai,
        registered=registered,
        home_agent_expires=home_agent_expires,
        node_revocation=None if kind is None or node_timestamp is None else RevocationPeer(kind, node_timestamp),
        agent_revocation=agent_timestamp,
    )
