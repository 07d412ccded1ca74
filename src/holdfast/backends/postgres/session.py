"""A transaction on a pooled connection, which the shared statements use as if it answered at once.

It begins with the first statement, in the same round trip: what begins it (settings of row-level
security, locks) travels in front of it, and a single statement takes its end along as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from psycopg import AsyncCursor
from psycopg.pq import TransactionStatus

from holdfast.backends.postgres.bridge import wait
from holdfast.backends.postgres.dialect import PostgresDialect
from holdfast.backends.postgres.pool import Raw
from holdfast.backends.sql.dialect import Parameters

Opening = Sequence[tuple[str, Sequence[Any]]]
"""The statements that begin a transaction."""

_NAMED: Final = re.compile(r"(?<!:):([a-z_]+)")


class Answer:
    """`sql.dialect.Cursor` on rows that are all there."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class Session:
    """`sql.dialect.Connection` on Postgres, for one transaction."""

    dialect = PostgresDialect()

    def __init__(self, raw: Raw, opening: Opening, *, brief: bool = False) -> None:
        self._raw = raw
        self._opening = opening
        self._brief = brief
        self._begun = False
        self.statements = 0
        """Round trips so far."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Answer:
        named = isinstance(parameters, Mapping)
        return wait(self._execute(translated(sql, named=named), parameters))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        if rows:
            wait(self._execute_many(translated(sql, named=False), rows))

    async def commit(self) -> None:
        """End the transaction, if it has begun and was not `brief`."""
        if self._raw.info.transaction_status != TransactionStatus.IDLE:
            self.statements += 1
            await self._raw.execute("COMMIT")

    async def roll_back(self) -> None:
        """Undo the transaction, if it is there and the connection too."""
        if not self._raw.closed and self._raw.info.transaction_status != TransactionStatus.IDLE:
            await self._raw.execute("ROLLBACK")

    def give_up(self) -> None:
        """Close the connection: nobody knows what state it is in."""
        self._raw.pgconn.finish()

    async def _execute(self, sql: str, parameters: Parameters) -> Answer:
        self.statements += 1
        cursor = self._raw.cursor(binary=True)
        if not self._begun:
            await self._begin(cursor, sql, parameters)
        else:
            await cursor.execute(sql, parameters)
        rows = await cursor.fetchall() if cursor.description else []
        return Answer(rows, cursor.rowcount)

    async def _begin(self, cursor: AsyncCursor[Any], sql: str, parameters: Parameters) -> None:
        async with self._raw.pipeline():
            for statement, values in self._opening:
                await self._raw.execute(statement, values)
            await cursor.execute(sql, parameters)
            if self._brief:
                await self._raw.execute("COMMIT")
        self._begun = True

    async def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if not self._begun:
            await self._execute("SELECT 1", ())
        self.statements += 1
        await self._raw.cursor().executemany(sql, rows)


@lru_cache(maxsize=2_048)
def translated(sql: str, *, named: bool) -> str:
    """A statement with `?`, or `:name`, as psycopg wants it."""
    sql = sql.replace("%", "%%")
    return _NAMED.sub(r"%(\1)s", sql) if named else sql.replace("?", "%s")
