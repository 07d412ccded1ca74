"""`ports.audit.Trail` in plain dictionaries: what every other back end is compared to."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace as change

from holdfast.backends.memory.directory import holds
from holdfast.core.audit import changed, counted, empty, linked, masked, signed
from holdfast.directory import Where
from holdfast.errors import ValidationError
from holdfast.model import Json, Project
from holdfast.ports import Op, PutAudit
from holdfast.ports.audit import Chain
from holdfast.trail import AuditRow, Head

if TYPE_CHECKING:
    from holdfast.backends.memory.records import MemoryRecords


@dataclass
class Audit:
    """The chains of all projects."""

    rows: dict[str, tuple[AuditRow, ...]] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def copy(self) -> Audit:
        """Chains that can be changed without changing these."""
        return replace(self, rows=dict(self.rows), heads=dict(self.heads))

    def take(self, project: Project, ops: Sequence[Op], results: Sequence[Json]) -> None:
        """Put the rows among operations behind the end. Raises ValidationError."""
        told = [row for op in ops if isinstance(op, PutAudit) for row in op.rows]
        if any(row.project != project for row in told):
            raise ValidationError("The audit of a project tells of it alone; nothing was changed.")
        self.append(told, changed(ops, results))

    def append(self, rows: Iterable[AuditRow], count: int) -> None:
        """Put rows behind the ends of their projects' chains."""
        told = sorted(counted(rows, count), key=attrgetter("project"))
        for project, some in groupby(told, key=attrgetter("project")):
            head = self.heads.get(project, empty(project))
            done, self.heads[project] = linked(self.key, "store", head, masked(self.key, some))
            self.rows[project] = (*self.rows.get(project, ()), *done)


class MemoryTrail:
    """The audit beside the records of a `MemoryRecords`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def chains(self, project: Project | None = None) -> Sequence[Chain]:
        audit = self._records.tables.audit
        return [
            Chain(
                audit.heads.get(name, empty(name)),
                max((row.no for row in audit.rows.get(name, ())), default=0),
            )
            for name in sorted(audit.heads.keys() | audit.rows.keys())
            if project in (None, name)
        ]

    async def rows(
        self,
        project: Project,
        *where: Where,
        after: int = 0,
        upto: int | None = None,
        newest_first: bool = False,
        size: int,
    ) -> Sequence[AuditRow]:
        rows = [
            row
            for row in self._records.tables.audit.rows.get(project, ())
            if row.no > after
            and (upto is None or row.no <= upto)
            and all(holds(AuditRow, one, row) for one in where)
        ]
        return sorted(rows, key=attrgetter("no"), reverse=newest_first)[:size]

    async def keys(self) -> Mapping[str, bytes]:
        return {"store": self._records.tables.audit.key}

    async def prune(self, project: Project, upto: int, limit: int) -> int:
        tables = self._records.tables.copy()
        head = tables.audit.heads.get(project, empty(project))
        rows = tables.audit.rows.get(project, ())
        last = min(upto, head.no - 1, head.base_no + limit)
        hashes = [row.hash for row in rows if row.no == last]
        if last <= head.base_no or not hashes:
            return 0
        tables.audit.rows[project] = tuple(row for row in rows if row.no > last)
        new = change(head, base_no=last, base_hash=hashes[0])
        tables.audit.heads[project] = signed(tables.audit.key, "store", new)
        self._records.replace(tables)
        return last - head.base_no
