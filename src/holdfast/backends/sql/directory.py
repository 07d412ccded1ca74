"""`ports.Directory` on the record database: rows as values, statements made from their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from holdfast.backends.sql import audit
from holdfast.backends.sql.conditions import column_value, condition_of, field_of, json_fields
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import NO_LIMIT, from_json, only
from holdfast.backends.sql.sealing import (
    ERASED,
    SCOPE_COLUMNS,
    SEALED_FIELDS,
    Text,
    ids_in,
    names_subject,
    opened,
    row_id,
    sealed,
)
from holdfast.directory import Change, Row, Where
from holdfast.errors import ConflictError, ValidationError
from holdfast.looks import look_again, saw, seen
from holdfast.model import Json
from holdfast.ports import TakeRow
from holdfast.trail import AuditRow

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

R = TypeVar("R", bound=Row)

_NEXT_STAMP = """
INSERT INTO counters (name, value) VALUES ('directory', 1)
ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
"""

_CHANGES = """
SELECT h.no, h.project, h.memory_id, h.event, h.new_memory, m.categories, h.listed,
  h.id, h.user_id, h.agent_id, h.app_id, h.run_id
FROM history h LEFT JOIN memories m ON m.project = h.project AND m.id = h.memory_id
WHERE h.no > ? AND h.no <= ? ORDER BY h.no LIMIT ?
"""


class SqlDirectory:
    """The directory in the same database as the records."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def insert(self, *rows: Row) -> None:
        await self._records.write(None, lambda c: insert(c, rows))
        look_again()

    async def select(
        self,
        kind: type[R],
        *where: Where,
        order: str | None = None,
        newest_first: bool = False,
        offset: int = 0,
        size: int | None = None,
    ) -> list[R]:
        condition, parameters = condition_of(kind, where)
        keys = ", ".join(f"{name} DESC" if newest_first else name for name in _order(kind, order))
        sql = (
            f"SELECT {', '.join(kind.__struct_fields__)} FROM {kind.table} "
            f"WHERE {condition} ORDER BY {keys} LIMIT ? OFFSET ?"
        )
        parameters += [NO_LIMIT if size is None else size, offset]

        def work(connection: Connection) -> list[R]:
            return _rows_from(connection, kind, connection.execute(sql, parameters).fetchall())

        return await self._records.read(None, work, brief=True)

    async def count(self, kind: type[Row], *where: Where) -> int:
        condition, parameters = condition_of(kind, where)
        sql = f"SELECT count(*) FROM {kind.table} WHERE {condition}"
        work = lambda c: int(only(c, sql, tuple(parameters)))  # noqa: E731
        return await self._records.read(None, work, brief=True)

    async def update(
        self,
        kind: type[Row],
        *where: Where,
        values: Mapping[str, Json],
        insert: Sequence[Row] = (),
    ) -> int:
        condition, parameters = _required(kind, where)
        given = {
            field_of(kind, name): column_value(kind, name, one) for name, one in values.items()
        }

        def change(connection: Connection) -> int:
            if connection.sealer is not None and set(given) & set(SEALED_FIELDS.get(kind, ())):
                return _update_sealed(connection, kind, (condition, parameters), given)
            return _update(connection, kind, (condition, parameters), given)

        return await self._changed(kind, change, insert)

    async def delete(self, kind: type[Row], *where: Where, insert: Sequence[Row] = ()) -> int:
        condition, parameters = _required(kind, where)
        sql = f"DELETE FROM {kind.table} WHERE {condition}"
        work = lambda c: c.execute(sql, tuple(parameters)).rowcount  # noqa: E731
        return await self._changed(kind, work, insert)

    async def stamp(self) -> int:
        stamp = seen()
        if stamp is None:
            stamp = await self._records.glance(None, _stamp)
            saw(stamp)
        return stamp

    async def changes(self, after: int, size: int) -> Sequence[Change]:
        def work(connection: Connection) -> list[Change]:
            last = connection.dialect.last_settled(connection)
            return _changes(
                connection, connection.execute(_CHANGES, (after, last, size)).fetchall()
            )

        return await self._records.read(None, work)

    async def last_change(self) -> int:
        return await self._records.read(None, _last_change)

    async def _changed(
        self, kind: type[Row], change: Callable[[Connection], int], new: Sequence[Row] = ()
    ) -> int:
        def work(connection: Connection) -> int:
            try:
                count = change(connection)
            except connection.dialect.taken as error:
                raise _taken(kind) from error
            if count and kind.stamped:
                connection.execute(_NEXT_STAMP)
            if count:
                insert(connection, new, count)
            return count

        count = await self._records.write(None, work)
        look_again()
        return count


def insert(connection: Connection, rows: Sequence[Row], changed: int | None = None) -> None:
    """Store new rows in the caller's transaction; ConflictError if one is there.

    `changed`: how many rows were changed before; the count of rows of the audit that have none.
    """
    told = [row for row in rows if isinstance(row, AuditRow)]
    if told:
        rows = [row for row in rows if not isinstance(row, AuditRow)]
        audit.append(connection, told, len(rows) if changed is None else changed)
    stamped = False
    for row in rows:
        kind = type(row)
        names = kind.__struct_fields__
        values = _sealed_values(
            connection,
            kind,
            {name: column_value(kind, name, getattr(row, name)) for name in names},
        )
        marks = ",".join("?" * len(names))
        stored = connection.execute(
            f"INSERT INTO {kind.table} ({', '.join(names)}) VALUES ({marks}) "
            "ON CONFLICT DO NOTHING",
            tuple(values.values()),
        ).rowcount
        if not stored:
            raise _taken(kind)
        stamped = stamped or kind.stamped
    if stamped:
        connection.execute(_NEXT_STAMP)


def take(connection: Connection, project: str, op: TakeRow) -> bool:
    """Delete a row in the caller's transaction; False if there is none."""
    condition, parameters = condition_of(op.kind, (Where("project", project), Where("id", op.id)))
    sql = f"DELETE FROM {op.kind.table} WHERE {condition}"
    taken = bool(connection.execute(sql, tuple(parameters)).rowcount)
    if taken and op.kind.stamped:
        connection.execute(_NEXT_STAMP)
    return taken


def _update(
    connection: Connection, kind: type[Row], where: tuple[str, list[Any]], values: dict[str, Any]
) -> int:
    condition, parameters = where
    assignments = ", ".join(f"{name} = ?" for name in values)
    sql = f"UPDATE {kind.table} SET {assignments} WHERE {condition}"
    return connection.execute(sql, (*values.values(), *parameters)).rowcount


def _update_sealed(
    connection: Connection, kind: type[Row], where: tuple[str, list[Any]], values: dict[str, Any]
) -> int:
    """`_update` row by row: what is sealed is bound to its row."""
    condition, parameters = where
    whose = SCOPE_COLUMNS if names_subject(kind) else ()
    names = dict.fromkeys(("project", *kind.key, *whose))
    sql = f"SELECT {', '.join(names)} FROM {kind.table} WHERE {condition}"
    rows = connection.execute(sql, tuple(parameters)).fetchall()
    mine = " AND ".join(f"{name} = ?" for name in kind.key)
    for row in rows:
        place = dict(zip(names, row, strict=True))
        stored = _sealed_values(connection, kind, place | values)
        one = [place[name] for name in kind.key]
        _update(connection, kind, (mine, one), {name: stored[name] for name in values})
    return len(rows)


def _sealed_values(
    connection: Connection, kind: type[Row], values: dict[str, Any]
) -> dict[str, Any]:
    """Columns as they are stored; those that tell the row apart must be among them."""
    fields = SEALED_FIELDS.get(kind, ()) if connection.sealer is not None else ()
    stored = {
        name: sealed(
            connection,
            values["project"],
            kind.table,
            name,
            Text(row_id(kind, values), ids_in(kind, values), values[name]),
        )
        for name in fields
        if name in values
    }
    return values | stored


def _rows_from(connection: Connection, kind: type[R], rows: Sequence[Any]) -> list[R]:
    """Rows as values, opened; those of erased subjects are passed over."""
    names = kind.__struct_fields__
    if kind not in SEALED_FIELDS:
        return [_row_from(kind, row) for row in rows]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for name in SEALED_FIELDS[kind]:
        for project, group in groupby(found, key=itemgetter("project")):
            some = list(group)
            stored = [Text(row_id(kind, one), ids_in(kind, one), one[name]) for one in some]
            for one, text in zip(
                some, opened(connection, project, kind.table, name, stored), strict=True
            ):
                one[name] = text
    return [
        _row_from(kind, tuple(one.values()))
        for one in found
        if all(one[name] is not ERASED for name in SEALED_FIELDS[kind])
    ]


def _taken(kind: type[Row]) -> ConflictError:
    return ConflictError(
        f"There is such a row in {kind.table} already.",
        hint="Use another name; nothing was changed.",
    )


def _stamp(connection: Connection) -> int:
    return int(only(connection, "SELECT value FROM counters WHERE name = 'directory'", ()) or 0)


def _last_change(connection: Connection) -> int:
    last = connection.dialect.last_settled(connection)
    return int(only(connection, "SELECT coalesce(max(no), 0) FROM history WHERE no <= ?", (last,)))


def _required(kind: type[Row], where: Sequence[Where]) -> tuple[str, list[Any]]:
    if not where:
        raise ValidationError(f"A change of {kind.table} names no rows; nothing was changed.")
    return condition_of(kind, where)


def _order(kind: type[Row], order: str | None) -> tuple[str, ...]:
    return kind.key if order is None else (field_of(kind, order), *kind.key)


def _row_from(kind: type[R], row: Sequence[Any]) -> R:
    encoded = json_fields(kind)
    values = {
        name: from_json(value) if name in encoded else value
        for name, value in zip(kind.__struct_fields__, row, strict=True)
    }
    return msgspec.convert(values, kind, strict=False)


def _changes(connection: Connection, rows: Sequence[Any]) -> list[Change]:
    found: list[Change] = []
    for project, group in groupby(rows, key=itemgetter(1)):
        some = list(group)
        stored = [Text(row[7], row[8:12], row[4]) for row in some]
        texts = opened(connection, project, "history", "new_memory", stored)
        found += [
            _change_from(row, None if text is ERASED else text)
            for row, text in zip(some, texts, strict=True)
        ]
    return found


def _change_from(row: Sequence[Any], text: str | None) -> Change:
    return Change(
        no=row[0],
        project=row[1],
        memory_id=row[2],
        event=row[3],
        text=text,
        categories=tuple(from_json(row[5]) or ()),
        listed=bool(row[6]),
    )
