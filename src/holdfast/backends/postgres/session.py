"""A transaction on a pooled connection, which the shared statements use as if it answered at once.

Statements wait until somebody looks at an answer, or the transaction ends; then all that wait go in
one round trip. So what begins a transaction (settings of row-level security, locks) travels in
front of its first statement, and its last writes with its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import AsyncCursor
from psycopg.abc import AdaptContext
from psycopg.pq import TransactionStatus

from holdfast.backends.postgres.bridge import wait
from holdfast.backends.postgres.dialect import PostgresDialect
from holdfast.backends.postgres.pool import Raw
from holdfast.backends.sql.dialect import Parameters
from holdfast.backends.sql.sealing import Sealer

Statement = tuple[str, Parameters]
"""With its parameters."""

Opening = Sequence[tuple[str, Sequence[Any]]]
"""The statements that begin a transaction."""

_COMMIT: Final = "COMMIT"
_SAVEPOINT: Final = "SAVEPOINT last"
_RELEASE: Final = "RELEASE SAVEPOINT last"
_UNDO: Final = "ROLLBACK TO SAVEPOINT last"

_NAMED: Final = re.compile(r"(?<!:):([a-z_]+)")


@dataclass(frozen=True)
class Last:
    """What ends a transaction if it can; the rest is committed without it if not."""

    statements: Sequence[Statement]
    """As psycopg wants them."""
    register: Callable[[AdaptContext], None]
    """Teaches a cursor to send their parameters."""
    failed: Callable[[Exception], None]
    """Told what was wrong with them, before the rest is committed."""


class Answer:
    """`sql.dialect.Cursor` whose statement is sent when it is looked at, if it was not before."""

    def __init__(self, session: Session, cursor: AsyncCursor[Any]) -> None:
        self._session = session
        self._cursor = cursor
        self._rows: Iterator[Any] | None = None

    @property
    def rowcount(self) -> int:
        self._session.flush(self._cursor)
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        return next(iter(self), None)

    def fetchall(self) -> list[Any]:
        return list(iter(self))

    def __iter__(self) -> Iterator[Any]:
        if self._rows is None:
            self._session.flush(self._cursor)
            self._rows = iter(wait(self._cursor.fetchall()) if self._cursor.description else ())
        return self._rows


class Session:
    """`sql.dialect.Connection` on Postgres, for one transaction."""

    dialect = PostgresDialect()

    def __init__(self, raw: Raw, opening: Opening, sealer: Sealer | None = None) -> None:
        self._raw = raw
        self.sealer = sealer
        self._waiting: list[tuple[AsyncCursor[Any], str, Parameters]] = [
            (raw.cursor(), sql, values) for sql, values in opening
        ]
        self._used = False
        self._ended = False
        self._last: Last | None = None
        self.round_trips = 0
        """How many there were so far."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Answer:
        assert not self._ended, "asked after the end"
        cursor = self._raw.cursor(binary=True)
        named = isinstance(parameters, Mapping)
        self._waiting.append((cursor, translated(sql, named=named), parameters))
        self._used = True
        return Answer(self, cursor)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        for row in rows:
            self.execute(sql, row)

    @staticmethod
    def native(sql: str, parameters: Sequence[Any]) -> Statement:
        """A statement with `?` as `end_with` takes it."""
        return translated(sql, named=False), parameters

    def end_with(self, last: Last) -> None:
        """Statements that travel with COMMIT, and are left out if they fail."""
        self._last = last

    def end_reading(self) -> None:
        """Let COMMIT travel with what waits: nothing more is asked, and nothing was written."""
        self._waiting.append((self._raw.cursor(), _COMMIT, ()))
        self._ended = True

    def flush(self, cursor: AsyncCursor[Any]) -> None:
        """Send what waits, and wait for the answers, unless the one of this cursor is there."""
        if any(waiting is cursor for waiting, _, _ in self._waiting):
            wait(self._send())

    async def commit(self) -> None:
        """End the transaction, if it has begun, with what still waits."""
        if not self._used:
            return
        if self._waiting or self._raw.info.transaction_status != TransactionStatus.IDLE:
            if self._last is not None:
                self._add(self._last)
            if not self._ended:
                self._waiting.append((self._raw.cursor(), _COMMIT, ()))
            try:
                await self._send()
            except (psycopg.Error, UnicodeEncodeError) as error:
                if self._last is None or not await self._back():
                    raise
                self._last.failed(error)
                await self._raw.execute(_COMMIT)

    async def roll_back(self) -> None:
        """Undo the transaction, if it is there and the connection too."""
        self._waiting.clear()
        if not self._raw.closed and self._raw.info.transaction_status != TransactionStatus.IDLE:
            await self._raw.execute("ROLLBACK")

    def give_up(self) -> None:
        """Close the connection: nobody knows what state it is in."""
        self._raw.pgconn.finish()

    def _add(self, last: Last) -> None:
        cursor = self._raw.cursor()
        last.register(cursor)
        self._waiting += [
            (cursor, _SAVEPOINT, ()),
            *((cursor, sql, values) for sql, values in last.statements),
            (cursor, _RELEASE, ()),
        ]

    async def _back(self) -> bool:
        """Undo the last statements alone; False if something else failed."""
        self._waiting.clear()
        if self._raw.closed:
            return False
        try:
            await self._raw.execute(_UNDO)
        except psycopg.Error:  # what failed came before them, or was COMMIT itself
            return False
        return True

    async def _send(self) -> None:
        statements, self._waiting = self._waiting, []
        self.round_trips += 1
        if len(statements) == 1:
            [(cursor, sql, parameters)] = statements
            await cursor.execute(sql, parameters)
            return
        async with self._raw.pipeline():
            for cursor, sql, parameters in statements:
                await cursor.execute(sql, parameters)


@lru_cache(maxsize=2_048)
def translated(sql: str, *, named: bool) -> str:
    """A statement with `?`, or `:name`, as psycopg wants it."""
    sql = sql.replace("%", "%%")
    return _NAMED.sub(r"%(\1)s", sql) if named else sql.replace("?", "%s")
