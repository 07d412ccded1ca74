"""What SQLite does its own way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sqlite.filters import compile_sql
from holdfast.filters import Filter
from holdfast.model import Project

# The last numbers that were given. Whoever holds the write lock gives the next ones.
_LAST: Final = """
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'memories'), 0),
           coalesce((SELECT max(no) FROM memories), 0)),
       coalesce((SELECT max(no) FROM messages), 0)
"""

_NEXT_GENERATION: Final = (
    "UPDATE counters SET value = value + 1 WHERE name = 'generation' RETURNING value"
)
_MARKS_MAX: Final = 4_000
"""Parameters of a statement: SQLite takes 32,766 of them."""


class SqliteDialect:
    """`sql.dialect.Dialect`; one transaction writes at a time, whatever it writes."""

    taken: type[Exception] = sqlite3.IntegrityError
    lock = lock_free = ""
    lock_head = ""
    by_number = " NOT INDEXED"  # for more than a few it would walk through the whole project
    doomed = (
        "CREATE TEMP TABLE IF NOT EXISTS doomed (no INTEGER PRIMARY KEY, asked INTEGER NOT NULL)"
    )
    day = "CAST(at / 86400 AS INTEGER)"  # cuts off
    export_ids = "json_each(exports.memories)"

    def numbers(
        self, connection: Connection, memories: int, turns: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        memory, turn = connection.execute(_LAST).fetchone()
        return range(memory + 1, memory + memories + 1), range(turn + 1, turn + turns + 1)

    def next_generation(self, connection: Connection) -> int:
        return int(connection.execute(_NEXT_GENERATION).fetchone()[0])

    def condition(
        self, _connection: Connection, _project: Project, tree: Filter
    ) -> tuple[str, Sequence[Any]]:
        return compile_sql(tree)

    def among(
        self, column: str, values: Sequence[int] | Sequence[str]
    ) -> tuple[str, Sequence[Any]]:
        if len(values) <= _MARKS_MAX:  # their number tells the planner to look each of them up
            return f"{column} IN ({','.join('?' * len(values))})", values
        return f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),)

    def asks_no_more(self, _connection: Connection) -> None:
        """Nothing is sent anywhere."""

    def last_settled(self, _connection: Connection) -> int:
        return 2**63 - 1

    def size(self, connection: Connection) -> int:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        return int(pages * connection.execute("PRAGMA page_size").fetchone()[0])

    def everywhere(self, _connection: Connection) -> AbstractContextManager[None]:
        return nullcontext()
