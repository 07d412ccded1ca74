"""`ports.Directory` on the record database: rows as values, statements made from their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import NO_LIMIT, from_json, only
from holdfast.directory import Change, Row, Where
from holdfast.errors import ConflictError, ValidationError
from holdfast.model import Json

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

R = TypeVar("R", bound=Row)

_OPERATORS = {"eq": "=", "lte": "<=", "gt": ">"}

_NEXT_STAMP = """
INSERT INTO counters (name, value) VALUES ('directory', 1)
ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
"""

_CHANGES = """
SELECT h.no, h.project, h.memory_id, h.event, h.new_memory, m.categories, h.listed
FROM history h LEFT JOIN memories m ON m.project = h.project AND m.id = h.memory_id
WHERE h.no > ? AND h.no <= ? ORDER BY h.no LIMIT ?
"""


class SqlDirectory:
    """The directory in the same database as the records."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def insert(self, *rows: Row) -> None:
        await self._records.write(None, lambda c: insert(c, rows))

    async def select(
        self,
        kind: type[R],
        *where: Where,
        order: str | None = None,
        newest_first: bool = False,
        offset: int = 0,
        size: int | None = None,
    ) -> list[R]:
        condition, parameters = _condition(kind, where)
        keys = ", ".join(f"{name} DESC" if newest_first else name for name in _order(kind, order))
        sql = (
            f"SELECT {', '.join(kind.__struct_fields__)} FROM {kind.table} "
            f"WHERE {condition} ORDER BY {keys} LIMIT ? OFFSET ?"
        )
        parameters += [NO_LIMIT if size is None else size, offset]

        def work(connection: Connection) -> list[R]:
            return [_row_from(kind, row) for row in connection.execute(sql, parameters)]

        return await self._records.read(None, work, brief=True)

    async def count(self, kind: type[Row], *where: Where) -> int:
        condition, parameters = _condition(kind, where)
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
        names = [_field(kind, name) for name in values]
        assignments = ", ".join(f"{name} = ?" for name in names)
        sql = f"UPDATE {kind.table} SET {assignments} WHERE {condition}"
        given = [_column_value(kind, name, value) for name, value in values.items()]
        return await self._changed(kind, sql, (*given, *parameters), insert)

    async def delete(self, kind: type[Row], *where: Where) -> int:
        condition, parameters = _required(kind, where)
        return await self._changed(
            kind, f"DELETE FROM {kind.table} WHERE {condition}", tuple(parameters)
        )

    async def stamp(self) -> int:
        return await self._records.glance(None, _stamp)

    async def changes(self, after: int, size: int) -> Sequence[Change]:
        def work(connection: Connection) -> list[Change]:
            last = connection.dialect.last_settled(connection)
            rows = connection.execute(_CHANGES, (after, last, size))
            return [_change_from(row) for row in rows]

        return await self._records.read(None, work)

    async def last_change(self) -> int:
        return await self._records.read(None, _last_change)

    async def _changed(
        self, kind: type[Row], sql: str, parameters: Sequence[Any], new: Sequence[Row] = ()
    ) -> int:
        def work(connection: Connection) -> int:
            try:
                count = connection.execute(sql, parameters).rowcount
            except connection.dialect.taken as error:
                raise _taken(kind) from error
            if count and kind.stamped:
                connection.execute(_NEXT_STAMP)
            if count:
                insert(connection, new)
            return count

        return await self._records.write(None, work)


def insert(connection: Connection, rows: Iterable[Row]) -> None:
    """Store new rows in the caller's transaction; ConflictError if one is there."""
    stamped = False
    for row in rows:
        kind = type(row)
        names = kind.__struct_fields__
        values = [_column_value(kind, name, getattr(row, name)) for name in names]
        marks = ",".join("?" * len(names))
        stored = connection.execute(
            f"INSERT INTO {kind.table} ({', '.join(names)}) VALUES ({marks}) "
            "ON CONFLICT DO NOTHING",
            values,
        ).rowcount
        if not stored:
            raise _taken(kind)
        stamped = stamped or kind.stamped
    if stamped:
        connection.execute(_NEXT_STAMP)


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


def _condition(kind: type[Row], where: Sequence[Where]) -> tuple[str, list[Any]]:
    parts, parameters = ["TRUE"], []
    for one in where:
        name = _field(kind, one.field)
        if one.op == "in" and not one.value:
            parts.append("FALSE")
        elif one.op == "in":
            parts.append(f"{name} IN ({','.join('?' * len(one.value))})")
            parameters += [_column_value(kind, name, value) for value in one.value]
        elif one.value is None and one.op == "eq":
            parts.append(f"{name} IS NULL")
        else:
            parts.append(f"{name} {_OPERATORS[one.op]} ?")
            parameters.append(_column_value(kind, name, one.value))
    return " AND ".join(parts), parameters


def _required(kind: type[Row], where: Sequence[Where]) -> tuple[str, list[Any]]:
    if not where:
        raise ValidationError(f"A change of {kind.table} names no rows; nothing was changed.")
    return _condition(kind, where)


def _order(kind: type[Row], order: str | None) -> tuple[str, ...]:
    return kind.key if order is None else (_field(kind, order), *kind.key)


def _field(kind: type[Row], name: str) -> str:
    """The name of a column, which is about to stand in a statement."""
    if name not in kind.__struct_fields__:
        raise ValidationError(f"{kind.table} has no field {name[:64]!r}.")
    return name


@lru_cache
def _json_fields(kind: type[Row]) -> frozenset[str]:
    """The fields that are stored as JSON: whatever is no text, number or flag."""
    plain = {"str", "float", "int", "bool"}
    hints = get_type_hints(kind)
    return frozenset(
        name for name in kind.__struct_fields__ if not _plain_types(hints[name]) <= plain
    )


def _plain_types(hint: Any) -> set[str]:
    """The names of the types a field may have, None aside; literals count as text."""
    members = getattr(hint, "__args__", None)
    if members is None:
        return {getattr(hint, "__name__", "other")}
    if all(isinstance(member, str) for member in members):
        return {"str"}
    if getattr(hint, "__origin__", None) in (tuple, Mapping) or hint is Json:
        return {"other"}
    return set().union(*(_plain_types(member) for member in members if member is not type(None)))


def _column_value(kind: type[Row], name: str, value: Json) -> Any:
    if value is None:
        return None
    if name in _json_fields(kind):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value


def _row_from(kind: type[R], row: Sequence[Any]) -> R:
    json_fields = _json_fields(kind)
    values = {
        name: from_json(value) if name in json_fields else value
        for name, value in zip(kind.__struct_fields__, row, strict=True)
    }
    return msgspec.convert(values, kind, strict=False)


def _change_from(row: Sequence[Any]) -> Change:
    return Change(
        no=row[0],
        project=row[1],
        memory_id=row[2],
        event=row[3],
        text=row[4],
        categories=tuple(from_json(row[5]) or ()),
        listed=bool(row[6]),
    )
