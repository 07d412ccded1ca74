"""`ports.Archiving` on a SQLite file: beside whoever uses it, on connections of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from holdfast.backends.sql import archiving as shared
from holdfast.backends.sql.rows import only
from holdfast.backends.sqlite.connect import SqliteConnection, connect, translate
from holdfast.backends.sqlite.migrate import REVISIONS, prepare
from holdfast.clock import Clock
from holdfast.errors import ConflictError, NotFoundError
from holdfast.limits import BUSY_TIMEOUT_S
from holdfast.ports.archiving import Load, Row, Table

T = TypeVar("T")

_ROWS: Final = 256
"""Rows that are read at once."""

_LOADING: Final = ("PRAGMA cache_size=-32768", "PRAGMA synchronous=NORMAL")
"""Pages of indexes are filled in no order. A load that is lost with the machine takes its note with
it; `finish` waits for the disk, and with it for everything before."""

_LAST: Final = {
    "generation": "SELECT value FROM counters WHERE name = 'generation'",
    "memories": "SELECT max(coalesce((SELECT max(no) FROM memories), 0), "
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memories'), 0))",
    "messages": "SELECT coalesce(max(no), 0) FROM messages",
    "history": "SELECT max(coalesce((SELECT max(no) FROM history), 0), "
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'history'), 0))",
}


class SqliteSnapshot:
    """`ports.archiving.Snapshot`: one read transaction, which the write-ahead log keeps intact."""

    def __init__(self, connection: SqliteConnection, at: float) -> None:
        self._connection = connection
        self.at = at
        self.store = shared.store_mark(connection)
        self.revision = REVISIONS[-1]
        self._tables = {table.name: table for table in shared.tables_of(_columns(connection))}

    async def tables(self) -> Sequence[Table]:
        return list(self._tables.values())

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        if table == shared.NUMBERS:
            yield [[name, only(self._connection, _LAST[name], ())] for name in shared.NUMBERED]
            return
        one = self._tables[table]
        cursor = await asyncio.to_thread(self._connection.execute, shared.select(one))
        while rows := await asyncio.to_thread(cursor.fetchmany, _ROWS):
            yield shared.counters_only(one, rows)

    async def counts(self) -> Mapping[str, int]:
        names = [name for name in self._tables if name != shared.NUMBERS]
        sql = "SELECT count(*) FROM {}"
        return {
            name: await asyncio.to_thread(only, self._connection, sql.format(name), ())
            for name in names
        }


class SqliteArchiving:
    """Reads and loads the tables of a file."""

    def __init__(self, path: Path, clock: Clock, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = path
        self._clock = clock
        self._busy_timeout_s = busy_timeout_s
        self._writer: SqliteConnection | None = None

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteSnapshot]:
        with translate(self._path):
            connection = await asyncio.to_thread(self._reader)
            try:
                # a read makes the snapshot; what is committed later is not in it
                await asyncio.to_thread(_begin, connection)
                yield SqliteSnapshot(connection, self._clock.now())
            finally:
                await asyncio.to_thread(connection.close)

    def _reader(self) -> SqliteConnection:
        if not self._path.exists():
            raise NotFoundError(f"There is no store in {self._path.parent}.")
        return connect(self._path, read_only=True, busy_timeout_s=self._busy_timeout_s)

    async def begin(self, archive: int, *, restart: bool = False) -> int:
        return await self._written(lambda c: shared.begin(c, archive, restart=restart))

    async def load(self, loads: Sequence[Load], done: int) -> None:
        def work(connection: SqliteConnection) -> None:
            known = _columns(connection)
            for one in loads:
                _load(connection, one, known)
            shared.note(connection, done)

        await self._written(work)

    async def finish(self) -> None:
        await self._written(lambda _: None)  # opens it, unless it is open
        assert self._writer is not None
        self._writer.execute("PRAGMA synchronous=FULL")
        await self._written(_finish)

    async def destroyed(self) -> Sequence[tuple[str, str, str]]:
        def work() -> list[tuple[str, str, str]]:
            connection = self._reader()
            try:
                return connection.execute(shared.DESTROYED).fetchall()
            finally:
                connection.close()

        with translate(self._path):
            return await asyncio.to_thread(work)

    async def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await asyncio.to_thread(writer.close)

    async def _written(self, work: Callable[[SqliteConnection], T]) -> T:
        def whole() -> T:
            with translate(self._path):
                if self._writer is None:
                    self._writer = self._opened()
                return _in_transaction(self._writer, work)

        return await asyncio.to_thread(whole)

    def _opened(self) -> SqliteConnection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = connect(self._path, busy_timeout_s=self._busy_timeout_s)
        try:
            prepare(connection, self._path)
            for pragma in _LOADING:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection


def _in_transaction(connection: SqliteConnection, work: Callable[[SqliteConnection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _begin(connection: SqliteConnection) -> None:
    connection.execute("BEGIN")
    try:
        revision = only(connection, "SELECT version_num FROM alembic_version", ())
    except sqlite3.OperationalError:
        raise NotFoundError(
            "There is nothing to archive: this is no store of Holdfast's."
        ) from None
    if revision != REVISIONS[-1]:
        raise ConflictError(
            f"The store has schema {revision}, this version of Holdfast archives {REVISIONS[-1]}.",
            hint="Open it once with this version, which upgrades it: `holdfast stats`.",
        )
    shared.refuse_half(connection)


def _columns(connection: SqliteConnection) -> dict[str, tuple[str, ...]]:
    sql = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
    names = (*shared.ARCHIVED, shared.KEYS)
    return {name: tuple(column for (column,) in connection.execute(sql, (name,))) for name in names}


def _load(connection: SqliteConnection, one: Load, known: Mapping[str, Sequence[str]]) -> None:
    if one.table == shared.NUMBERS:
        shared.put_numbers(connection, one.rows)
        return
    shared.checked(one.table, one.columns, known)
    if one.anew:
        connection.execute(f"DELETE FROM {one.table}")
    connection.executemany(shared.insert(one.table, one.columns), one.rows)


def _finish(connection: SqliteConnection) -> None:
    last = shared.finish(connection)
    connection.execute(
        "UPDATE counters SET value = ? WHERE name = 'generation'", (last["generation"],)
    )
    for name in ("memories", "history"):
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last[name])
        )
