"""What Postgres does its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from psycopg.errors import UniqueViolation

from holdfast.backends.postgres.filters import compile_sql, is_exact, widened
from holdfast.backends.postgres.locks import LOWEST_NUMBER
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import MEMORY_COLUMNS, memories_from, only
from holdfast.filters import Filter, compile_predicate
from holdfast.model import Project

if TYPE_CHECKING:
    from holdfast.backends.postgres.session import Session

# Sequences: no transaction waits for another to get numbers, and a project's lock orders its own.
_NUMBERS: Final = """
SELECT 0, nextval('memories_no_seq') FROM generate_series(1, ?)
UNION ALL SELECT 1, nextval('messages_no_seq') FROM generate_series(1, ?)
"""

_SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace =
  (SELECT relnamespace FROM pg_class WHERE oid = 'memories'::regclass)
"""

# What row-level security lets through, for this transaction: see `transactions`.
_REACH: Final = "SELECT current_setting('holdfast.reach', true)"
_SET_REACH: Final = "SELECT set_config('holdfast.reach', ?, true)"


class PostgresDialect:
    """`sql.dialect.Dialect`."""

    taken: type[Exception] = UniqueViolation
    lock = " FOR UPDATE OF j"
    lock_free = " FOR UPDATE OF j SKIP LOCKED"
    lock_head = " FOR UPDATE OF h"
    by_number = ""
    doomed = (
        "CREATE TEMP TABLE IF NOT EXISTS doomed "
        "(no BIGINT PRIMARY KEY, asked BIGINT NOT NULL) ON COMMIT DELETE ROWS"
    )
    day = "floor(at / 86400)::bigint"
    export_ids = "(SELECT jsonb_array_elements_text(exports.memories::jsonb) AS value)"

    def numbers(
        self, connection: Connection, memories: int, turns: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        rows = connection.execute(_NUMBERS, (memories, turns)).fetchall()
        return (
            sorted(number for kind, number in rows if kind == 0),
            sorted(number for kind, number in rows if kind == 1),
        )

    def next_generation(self, connection: Connection) -> int:
        return int(only(connection, "SELECT nextval('generations')", ()))

    def condition(
        self, connection: Connection, project: Project, tree: Filter
    ) -> tuple[str, Sequence[Any]]:
        if is_exact(tree):
            return compile_sql(tree)
        wide, parameters = compile_sql(widened(tree))
        rows = connection.execute(
            f"SELECT {MEMORY_COLUMNS}, m.no FROM memories m WHERE m.project = ? AND ({wide})",
            (project, *parameters),
        ).fetchall()
        holds = compile_predicate(tree)
        pairs = zip(rows, memories_from(connection, project, rows), strict=True)
        return "m.no = ANY(?)", [[row[-1] for row, memory in pairs if holds(memory)]]

    def among(
        self, column: str, values: Sequence[int] | Sequence[str]
    ) -> tuple[str, Sequence[Any]]:
        # the same statement for however many, so that it is prepared
        if values and isinstance(values[0], int):  # psycopg's own arrays of numbers take longer
            return f"{column} = ANY(CAST(? AS BIGINT[]))", (f"{{{','.join(map(str, values))}}}",)
        return f"{column} = ANY(?)", (list(values),)

    def asks_no_more(self, connection: Connection) -> None:
        cast("Session", connection).end_reading()

    def last_settled(self, connection: Connection) -> int:
        # in this order: who takes a number after the first look has a greater one
        last = only(connection, "SELECT last_value FROM history_no_seq", ())
        lowest = only(connection, LOWEST_NUMBER, ())
        return int(last if lowest is None else min(last, lowest))

    def size(self, connection: Connection) -> int:
        return int(only(connection, _SIZE, ()))

    @contextmanager
    def everywhere(self, connection: Connection) -> Iterator[None]:
        before = only(connection, _REACH, ()) or ""
        connection.execute(_SET_REACH, ("all",))
        try:
            yield
        finally:
            connection.execute(_SET_REACH, (before,))
