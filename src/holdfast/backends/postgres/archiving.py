"""`ports.Archiving` on Postgres: one connection of its own, outside of the pool's bounds.

A snapshot is a transaction that is REPEATABLE READ and READ ONLY; its rows come through cursors of
the server. What is loaded goes in by COPY, through a temporary table: row-level security takes no
COPY.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain, groupby
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, sql

from holdfast.backends.postgres.bridge import bridged
from holdfast.backends.postgres.errors import translate
from holdfast.backends.postgres.migrate import REVISIONS, VERSION_TABLE, prepare
from holdfast.backends.postgres.ownership import COLUMN, OWNED
from holdfast.backends.postgres.pool import Pool, Raw
from holdfast.backends.postgres.session import Session
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.backends.sql import archiving as shared
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.records import Work
from holdfast.backends.sql.rows import only
from holdfast.clock import Clock
from holdfast.errors import ConflictError, NotFoundError
from holdfast.ports.archiving import Load, Row, Table

_ROWS: Final = 512
_EVERYWHERE: Final = "SELECT set_config('holdfast.reach', 'all', true)"
_PATIENT: Final = (
    "SELECT set_config('statement_timeout', '0', true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), set_config('jit', 'off', true)"
)
"""As long as it takes; and statements over tables that nothing is known of yet look as if they were
worth compiling, which takes longer than running them."""
_UNHURRIED: Final = "SELECT set_config('synchronous_commit', 'off', true)"
"""A load that is lost with the machine takes its note with it; `finish` waits for the disk, and
with it for all that was written before."""
_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_COLUMNS: Final = """
SELECT c.relname::text, a.attname::text, a.atttypid FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relnamespace = current_schema()::regnamespace
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""
_OWN_TABLES: Final = """
SELECT quote_ident(relname) FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
  AND pg_has_role(relowner, 'MEMBER') ORDER BY relname
"""
_THERE: Final = "SELECT to_regclass(%s) IS NOT NULL"
_SEQUENCES: Final = {
    "generation": "generations",
    "memories": "memories_no_seq",
    "messages": "messages_no_seq",
    "history": "history_no_seq",
}
_LIKE: Final = "CREATE TEMP TABLE {l} (LIKE {t} INCLUDING DEFAULTS) ON COMMIT DROP"
_INSERT: Final = "INSERT INTO {t} ({c}) SELECT {c} FROM {l}"
_INSERT_OWNED: Final = """
INSERT INTO {t} ({p}, {c}) SELECT (SELECT o.{p} FROM {o} o WHERE o.no = {l}.{no}), {c} FROM {l}
"""
_LAST_OWN: Final = """
SELECT setval(pg_get_serial_sequence(?, 'no'), (SELECT coalesce(max(no), 0) + 1 FROM {}), false)
"""


class PostgresSnapshot:
    """`ports.archiving.Snapshot`."""

    def __init__(self, raw: Raw, store: str, at: float, columns: Mapping[str, list[str]]) -> None:
        self._raw = raw
        self.store = store
        self.at = at
        self.revision = REVISIONS[-1]
        self._tables = {table.name: table for table in shared.tables_of(columns)}

    async def tables(self) -> Sequence[Table]:
        return list(self._tables.values())

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        one = self._tables[table]
        if table == shared.NUMBERS:
            yield [[name, await self._last(sequence)] for name, sequence in _SEQUENCES.items()]
            return
        with translate():
            async with self._raw.cursor("archive", binary=True) as cursor:
                await cursor.execute(shared.select(one).encode())
                while rows := await cursor.fetchmany(_ROWS):
                    yield shared.counters_only(one, rows)

    async def counts(self) -> Mapping[str, int]:
        return {
            name: int(await _value(self._raw, f"SELECT count(*) FROM {name}"))
            for name in self._tables
            if name != shared.NUMBERS
        }

    async def _last(self, sequence: str) -> int:
        with translate():
            return int(await _value(self._raw, f"SELECT last_value FROM {sequence}"))


class PostgresArchiving:
    """Reads and loads the tables of a database."""

    def __init__(self, settings: PostgresSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._pool = Pool(settings)
        self._prepared = False

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        async with self._pool.connection() as raw:
            try:
                with translate():
                    columns = await self._settled(raw)
                    store = await bridged(_mark, Session(raw, ()))
                    at = self._clock.now()
                yield PostgresSnapshot(raw, store, at, columns)
            finally:
                await _end(raw, "ROLLBACK")

    async def _settled(self, raw: Raw) -> dict[str, list[str]]:
        """Begin the snapshot; the columns of the tables. Raises NotFoundError, ConflictError."""
        for statement in (_SNAPSHOT, _EVERYWHERE, _PATIENT):
            await raw.execute(statement.encode())
        if not await _value(raw, _THERE, (VERSION_TABLE,)):
            raise NotFoundError("There is nothing to archive: the database has no store.")
        revision = await _value(raw, f"SELECT max(version_num) FROM {VERSION_TABLE}")
        if revision != REVISIONS[-1]:
            raise ConflictError(
                f"The store has schema {revision}, this version of Holdfast archives "
                f"{REVISIONS[-1]}.",
                hint="Open it once with this version, which upgrades it: `holdfast stats`.",
            )
        return {name: list(types) for name, types in (await _types(raw)).items()}

    async def begin(self, archive: int, *, restart: bool = False) -> int:
        async with self._pool.connection() as raw:
            if not self._prepared:
                await prepare(raw, self._settings)
                self._prepared = True
        work = lambda c: shared.begin(c, archive, restart=restart)  # noqa: E731
        return int(await self._written(work))

    async def load(self, loads: Sequence[Load], done: int) -> None:
        async with self._pool.connection() as raw:
            try:
                with translate():
                    for statement in ("BEGIN", _EVERYWHERE, _PATIENT, _UNHURRIED):
                        await raw.execute(statement.encode())
                    types, session = await _types(raw), Session(raw, ())
                    for _, some in groupby(loads, lambda one: (one.table, one.columns)):
                        await _load(raw, session, list(some), types)
                    await bridged(lambda c: shared.note(c, done), session)
                    await session.commit()
            except BaseException:
                await _end(raw, "ROLLBACK")
                raise

    async def finish(self) -> None:
        await self._written(_finish)

    async def destroyed(self) -> Sequence[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = await self._written(
            lambda c: c.execute(shared.DESTROYED).fetchall()
        )
        return found

    async def close(self) -> None:
        self._pool.close()

    async def _written(self, work: Work[Any]) -> Any:
        async with self._pool.connection() as raw:
            session = Session(raw, (("BEGIN", ()), (_EVERYWHERE, ()), (_PATIENT, ())))
            try:
                with translate():
                    result = await bridged(work, session)
                    await session.commit()
            except BaseException:
                await _end(raw, "ROLLBACK")
                raise
            return result


async def _load(
    raw: Raw, session: Session, loads: Sequence[Load], types: Mapping[str, Mapping[str, int]]
) -> None:
    """Put in rows of one table, in one go."""
    one = loads[0]
    rows = chain.from_iterable(each.rows for each in loads)
    if one.table == shared.NUMBERS:
        await bridged(lambda c: shared.put_numbers(c, rows), session)  # sent at the end
        return
    shared.checked(one.table, one.columns, {name: list(known) for name, known in types.items()})
    table, columns = sql.Identifier(one.table), sql.SQL(", ").join(map(sql.Identifier, one.columns))
    names: dict[str, sql.Composable] = {"t": table, "c": columns}
    names["l"] = sql.Identifier(f"load_{one.table}")
    if any(each.anew for each in loads):
        await raw.execute(sql.SQL("DELETE FROM {t}").format(**names))
    await raw.execute(sql.SQL(_LIKE).format(**names))
    if one.table in OWNED:  # it is not given, and found in the row that this one belongs to
        names |= {
            "p": sql.Identifier(COLUMN),
            "o": sql.Identifier(OWNED[one.table].table),
            "no": sql.Identifier(OWNED[one.table].column),
        }
        await raw.execute(sql.SQL("ALTER TABLE {l} DROP COLUMN {p}").format(**names))
    copy = sql.SQL("COPY {l} ({c}) FROM STDIN (FORMAT BINARY)").format(**names)
    async with raw.cursor() as cursor, cursor.copy(copy) as sink:
        sink.set_types([types[one.table][column] for column in one.columns])
        for row in rows:
            await sink.write_row(row)
    await raw.execute(sql.SQL(_INSERT_OWNED if one.table in OWNED else _INSERT).format(**names))
    await raw.execute(sql.SQL("DROP TABLE {l}").format(**names))


def _finish(connection: Connection) -> None:
    last = shared.finish(connection)
    connection.execute("DELETE FROM counters WHERE name = 'generation'")
    for name in ("spaces", "entities", "jobs", "usage"):
        only(connection, _LAST_OWN.format(name), (name,))
    for name, sequence in _SEQUENCES.items():
        only(connection, "SELECT setval(?::regclass, ?)", (sequence, last[name]))
    # or the first searches are planned for tables of which nothing is known
    tables = [row[0] for row in connection.execute(_OWN_TABLES).fetchall()]
    if tables:
        connection.execute(f"ANALYZE {', '.join(tables)}")


def _mark(connection: Connection) -> str:
    shared.refuse_half(connection)
    return shared.store_mark(connection)


async def _types(raw: Raw) -> dict[str, dict[str, int]]:
    """The columns of every table, each with the number of its type; of those that SQLite has."""
    found: dict[str, dict[str, int]] = {}
    for table, column, kind in await (await raw.execute(_COLUMNS.encode())).fetchall():
        if table not in OWNED or column != COLUMN:
            found.setdefault(table, {})[column] = kind
    return found


async def _value(raw: Raw, statement: str, parameters: Sequence[Any] = ()) -> Any:
    row = await (await raw.execute(statement.encode(), parameters)).fetchone()
    return None if row is None else row[0]


async def _end(raw: AsyncConnection[Any], how: str) -> None:
    if not raw.closed:
        try:
            await raw.execute(how.encode())
        except psycopg.Error:
            await raw.close()
