"""`ports.Subjects` in plain dictionaries: what every other back end is compared to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from holdfast.backends.memory.directory import put_rows
from holdfast.backends.memory.tables import Key, Tables, change
from holdfast.core.erasure import mark_of, names, refused
from holdfast.directory import Erasure, Held
from holdfast.model import Entity, Job, Json, Project, Scope
from holdfast.ports import Op, PutJob, PutMemory, PutRows, PutTurns, PutUsage
from holdfast.ports.subjects import Aged, Copy, Telling

if TYPE_CHECKING:
    from holdfast.backends.memory.records import MemoryRecords

T = TypeVar("T")


def refuse_erased(tables: Tables, store_id: str, project: Project, ops: Sequence[Op]) -> None:
    """Raises ConflictError if an operation stores something of a subject that is being erased."""
    running = {
        (row.kind, row.mark)
        for row in tables.directory.values()
        if isinstance(row, Erasure) and row.state == "RUNNING" and row.project == project
    }
    for op in ops:
        for entity in _written(op):
            if (entity.kind, mark_of(store_id, project, entity)) in running:
                raise refused(entity)


def _written(op: Op) -> Sequence[Entity]:
    match op:
        case PutTurns():
            return op.scope.entities()
        case PutMemory():
            return op.memory.scope.entities()
        case PutJob():
            return _scope_of(op.job).entities()
        case PutRows():
            return [
                entity
                for row in op.rows
                if isinstance(row, Held)
                for entity in row.scope.entities()
            ]
    return ()


def _scope_of(job: Job) -> Scope:
    try:
        ids = msgspec.json.decode(job.scope_key, type=tuple[str | None, ...])
    except msgspec.DecodeError:
        return Scope()
    return Scope(**dict(zip(("user_id", "agent_id", "app_id", "run_id"), ids, strict=False)))


def _mine(rows: Mapping[Key, T], project: Project, holds: Callable[[T], bool]) -> list[str]:
    """The ids of a project's rows that a condition holds for."""
    return [id_ for (owner, id_), row in rows.items() if owner == project and holds(row)]


def _ended(job: Job, before: float) -> bool:
    return (
        job.state in ("SUCCEEDED", "FAILED")
        and job.completed_at is not None
        and job.completed_at <= before
    )


def _is_of(scope: Scope, entity: Entity) -> bool:
    return entity in scope.entities()


class MemorySubjects:
    """What a `MemoryRecords` keeps of one subject."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def begin(self, erasure: Erasure) -> None:
        tables = self._records.tables.copy()
        put_rows(tables.directory, [erasure])
        self._records.replace(tables)

    async def inventory(self, project: Project, entity: Entity) -> Mapping[str, int]:
        tables = self._records.tables
        rows = tables.holds(project, entity)
        return {
            "memories": len(rows),
            "embeddings": sum(row.vector is not None for row in rows),
            "sources": sum(len(row.turns) for row in rows),
            **{copy: len(self._keys(project, entity, copy)) for copy in _COPIES},
            "entities": int((project, entity) in tables.written),
            "subject_keys": 0,
        }

    async def memory_ids(self, project: Project, entity: Entity) -> Sequence[str]:
        tables = self._records.tables
        told = (e for e in tables.history.get(project, ()) if _is_of(e.scope, entity))
        ids = [row.memory.id for row in tables.holds(project, entity)]
        return list(dict.fromkeys([*ids, *(event.memory_id for event in told)]))

    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        tables = self._records.tables.copy()
        keys = set(self._keys(project, entity, copy))
        match copy:
            case "messages":
                for key in keys:
                    tables.turns.pop((project, key))
                    tables.scopes.pop((project, key))
                for place, row in tables.rows.items():
                    if place[0] == project:
                        tables.rows[place] = change(row, turns=row.turns - keys)
            case "jobs":
                for key in keys:
                    tables.jobs.pop((project, key))
            case "history":
                events = tables.history.get(project, ())
                mine = {event.memory_id for event in events if event.id in keys}
                kept = tuple(event for event in events if event.memory_id not in mine)
                tables.history[project] = kept
            case "usage":
                tables.usage[project] = tuple(
                    change(op, scope=_without(op.scope, entity), job_id=None)
                    if _is_of(op.scope, entity)
                    else op
                    for op in tables.usage.get(project, ())
                )
        self._records.replace(tables)
        return len(keys)

    def _keys(self, project: Project, entity: Entity, copy: Copy) -> list[str]:
        """What tells the subject's rows of a copy apart."""
        tables = self._records.tables
        match copy:
            case "messages":
                return _mine(tables.scopes, project, lambda scope: entity in scope.entities())
            case "jobs":
                return _mine(tables.jobs, project, lambda one: names(one.job.scope_key, entity))
            case "history":
                events = tables.history.get(project, ())
                return [event.id for event in events if _is_of(event.scope, entity)]
        usage = enumerate(tables.usage.get(project, ()))
        return [str(no) for no, op in usage if _is_of(op.scope, entity)]

    async def forget(self, project: Project, entity: Entity, mark: str) -> None:
        tables = self._records.tables.copy()
        told = (e.scope for e in tables.history.get(project, ()) if _is_of(e.scope, entity))
        runs = {scope.run_id for scope in told if entity.kind == "user" and scope.run_id}
        empty = [one for id_ in runs if not tables.holds(project, one := Entity("run", id_))]
        for one in (entity, *empty):
            when = tables.written.pop((project, one), None)
            if when is not None:
                name = f"erased:{mark}:{len(tables.written)}"
                tables.written[project, Entity(one.kind, name)] = when
        self._records.replace(tables)

    async def rows(
        self, project: Project, entity: Entity, copy: Telling
    ) -> AsyncIterator[Mapping[str, Json]]:
        tables = self._records.tables
        if copy == "sources":
            for row in tables.holds(project, entity):
                for turn_id in sorted(row.turns):
                    yield {"memory_id": row.memory.id, "turn_id": turn_id, "quote": ""}
            return
        for key in self._keys(project, entity, copy):
            match copy:
                case "messages":
                    scope = msgspec.structs.asdict(tables.scopes[project, key])
                    yield {**msgspec.structs.asdict(tables.turns[project, key]), **scope}
                case "jobs":
                    yield _told_job(tables.jobs[project, key].job)
                case "history":
                    events = tables.history[project]
                    yield next(msgspec.structs.asdict(e) for e in events if e.id == key)
                case "usage":
                    op = tables.usage[project][int(key)]
                    assert isinstance(op, PutUsage), "others are no subject's"
                    yield {
                        "at": op.at,
                        "operation": op.operation,
                        "job_id": op.job_id,
                        **msgspec.structs.asdict(op.usage),
                        **msgspec.structs.asdict(op.scope),
                    }

    async def named(self, project: Project | None) -> Sequence[tuple[Project, Entity, float]]:
        found = [
            (owner, entity, when.created_at)
            for (owner, entity), when in self._records.tables.written.items()
            if project in (None, owner) and not _NAMELESS.fullmatch(entity.id)
        ]
        return sorted(found, key=lambda one: (one[0], one[1].kind, one[1].id))

    async def older(self, project: Project, what: Aged, before: float) -> int:
        if what in ("history", "jobs", "usage"):
            return len(self._old(project, what, before))
        day = datetime.fromtimestamp(before, UTC).date().isoformat()
        memories = [row.memory for row in self._records.tables.of(project)]
        if what == "expired":
            return sum(one.expires_on is not None and one.expires_on < day for one in memories)
        kind = {"facts": "fact", "turns": "turn", "summaries": "summary"}[what]
        return sum(one.kind == kind and one.created_at <= before for one in memories)

    async def expire(self, project: Project, what: Aged, before: float) -> int:
        if what not in ("history", "jobs", "usage"):
            return 0
        tables, old = self._records.tables.copy(), set(self._old(project, what, before))
        if what == "history":
            events = tables.history.get(project, ())
            tables.history[project] = tuple(event for event in events if event.id not in old)
        elif what == "jobs":
            for id_ in old:
                tables.jobs.pop((project, id_))
        else:
            usage = enumerate(tables.usage.get(project, ()))
            tables.usage[project] = tuple(op for no, op in usage if str(no) not in old)
        self._records.replace(tables)
        return len(old)

    def _old(self, project: Project, what: Aged, before: float) -> list[str]:
        """What tells old rows of history, jobs or usage apart."""
        tables = self._records.tables
        if what == "history":
            return [
                event.id
                for event in tables.history.get(project, ())
                if (event.updated_at or event.created_at) <= before
                and (project, event.memory_id) not in tables.rows
            ]
        if what == "jobs":
            return _mine(tables.jobs, project, lambda one: _ended(one.job, before))
        usage = enumerate(tables.usage.get(project, ()))
        return [str(no) for no, op in usage if op.at <= before]

    async def scrub(self) -> None:
        """Nothing is in files."""


_COPIES: tuple[Copy, ...] = ("messages", "history", "jobs", "usage")
_NAMELESS = re.compile(r"erased:[0-9a-f]{32}:[0-9]+")
_OF_JOB = (
    "id", "kind", "state", "payload", "result", "error", "error_code", "attempts", "created_at",
    "started_at", "completed_at",
)  # fmt: skip


def _told_job(job: Job) -> dict[str, Json]:
    return {name: getattr(job, name) for name in _OF_JOB}


def _without(scope: Scope, entity: Entity) -> Scope:
    named = dict.fromkeys([f"{entity.kind}_id"])
    if entity.kind == "user":
        named["run_id"] = None
    return change(scope, **named)
