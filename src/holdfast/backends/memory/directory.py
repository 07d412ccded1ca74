"""`ports.Directory` in plain dictionaries: what every other back end is compared to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from holdfast.directory import Account, Change, Row, Where
from holdfast.errors import ConflictError, ValidationError
from holdfast.model import Json
from holdfast.trail import AuditRow

if TYPE_CHECKING:
    from holdfast.backends.memory.records import MemoryRecords

R = TypeVar("R", bound=Row)

RowKey = tuple[type[Row], tuple[str, ...]]
Rows = dict[RowKey, Row]

_UNIQUE: dict[type[Row], tuple[str, ...]] = {Account: ("email",)}
"""Fields beside the key that no two rows share."""


class MemoryDirectory:
    """The directory beside the records of a `MemoryRecords`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def insert(self, *rows: Row) -> None:
        tables = self._records.tables.copy()
        told, others = apart(rows)
        put_rows(tables.directory, others)
        tables.audit.append(told, len(others))
        tables.stamp += stamps(others)
        self._records.replace(tables)

    async def select(
        self,
        kind: type[R],
        *where: Where,
        order: str | None = None,
        newest_first: bool = False,
        offset: int = 0,
        size: int | None = None,
    ) -> list[R]:
        names = kind.key if order is None else (_field(kind, order), *kind.key)
        rows = [cast("R", row) for row in self._matching(kind, where)]
        rows.sort(key=lambda row: [_sortable(getattr(row, n)) for n in names], reverse=newest_first)
        return rows[offset : None if size is None else offset + size]

    async def count(self, kind: type[Row], *where: Where) -> int:
        return len(self._matching(kind, where))

    async def update(
        self,
        kind: type[Row],
        *where: Where,
        values: Mapping[str, Json],
        insert: Sequence[Row] = (),
    ) -> int:
        self._require(kind, where)
        for name in values:
            _field(kind, name)
        found = self._matching(kind, where)
        tables = self._records.tables.copy()
        for row in found:
            del tables.directory[kind, _key(row)]
        told, others = apart(insert if found else ())
        new = [*(replace(row, **dict(values)) for row in found), *others]
        put_rows(tables.directory, new)
        tables.audit.append(told, len(found))
        tables.stamp += stamps(new)
        self._records.replace(tables)
        return len(found)

    async def delete(self, kind: type[Row], *where: Where, insert: Sequence[Row] = ()) -> int:
        self._require(kind, where)
        found = self._matching(kind, where)
        tables = self._records.tables.copy()
        for row in found:
            del tables.directory[kind, _key(row)]
        told, others = apart(insert if found else ())
        put_rows(tables.directory, others)
        tables.audit.append(told, len(found))
        tables.stamp += stamps([*found, *others])
        self._records.replace(tables)
        return len(found)

    async def stamp(self) -> int:
        return self._records.tables.stamp

    async def changes(self, after: int, size: int) -> Sequence[Change]:
        return [change for change in self._feed() if change.no > after][:size]

    async def last_change(self) -> int:
        return max((change.no for change in self._feed()), default=0)

    def _feed(self) -> list[Change]:
        tables = self._records.tables
        found = []
        for project, events in tables.history.items():
            for event in events:
                row = tables.rows.get((project, event.memory_id))
                told = Change(
                    no=tables.numbers[event.id],
                    project=project,
                    memory_id=event.memory_id,
                    event=event.event,
                    text=event.new_memory,
                    categories=() if row is None else row.memory.categories,
                    listed=event.listed,
                )
                found.append(told)
        return sorted(found, key=lambda change: change.no)

    def _matching(self, kind: type[Row], where: Sequence[Where]) -> list[Row]:
        for one in where:
            _field(kind, one.field)
        rows = [row for (each, _), row in self._records.tables.directory.items() if each is kind]
        return [row for row in rows if all(holds(kind, one, row) for one in where)]

    def _require(self, kind: type[Row], where: Sequence[Where]) -> None:
        if not where:
            raise ValidationError(f"A change of {kind.table} names no rows; nothing was changed.")


def stamps(rows: Sequence[Row]) -> int:
    """How much the stamp grows by a change of these rows."""
    return int(any(row.stamped for row in rows))


def apart(rows: Sequence[Row]) -> tuple[list[AuditRow], list[Row]]:
    """Rows of the audit, and the others."""
    told = [row for row in rows if isinstance(row, AuditRow)]
    return told, [row for row in rows if not isinstance(row, AuditRow)]


def put_rows(rows: Rows, new: Sequence[Row]) -> None:
    """Add rows; ConflictError if one is there."""
    for row in new:
        kind = type(row)
        for name in _UNIQUE.get(kind, ()):
            taken = {getattr(other, name) for (each, _), other in rows.items() if each is kind}
            if getattr(row, name) in taken:
                raise ConflictError(f"There is such a row in {kind.table} already.")
        if (kind, _key(row)) in rows:
            raise ConflictError(f"There is such a row in {kind.table} already.")
        rows[kind, _key(row)] = row


def _key(row: Row) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in row.key)


def _field(kind: type[Row], name: str) -> str:
    if name not in kind.__struct_fields__:
        raise ValidationError(f"{kind.table} has no field {name[:64]!r}.")
    return name


def holds(kind: type[Row], one: Where, row: Row) -> bool:
    """Whether a row fulfils a condition. Raises ValidationError for a field it has not."""
    value: Any = getattr(row, _field(kind, one.field))
    match one.op:
        case "eq":
            return bool(value == one.value)
        case "in":
            return value in one.value
        case "lte":
            return value is not None and bool(value <= one.value)
    return value is not None and bool(value > one.value)


def _sortable(value: Json) -> tuple[bool, Any]:
    """Nothing comes before something, as in SQL; what is no plain value by its JSON."""
    if isinstance(value, str | int | float):
        return True, value
    return value is not None, "" if value is None else msgspec.json.encode(value).decode()
