"""`ports.Records` and `ports.Jobs` in plain dictionaries: what every other back end is compared to.

Written for being obviously right: each question looks at every row, a commit works on a copy of the
tables and puts it in place at the end. Nothing outlives the process.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.backends.memory.audit import MemoryTrail
from holdfast.backends.memory.directory import MemoryDirectory
from holdfast.backends.memory.indexing import MemoryIndexing, entry_of, told_pairs
from holdfast.backends.memory.ledger import usage_sums
from holdfast.backends.memory.rows import Leased
from holdfast.backends.memory.subjects import MemorySubjects, refuse_erased
from holdfast.backends.memory.tables import Key, Tables, Transaction, change
from holdfast.backends.memory.tables import current as is_current
from holdfast.clock import Ids
from holdfast.core.cursor import decode_cursor, encode_cursor
from holdfast.core.identity import content_hash
from holdfast.core.visibility import visible
from holdfast.directory import Held
from holdfast.errors import ClosedError, ConfigError, SpaceMismatchError
from holdfast.filters import matches
from holdfast.model import (
    ANY,
    Census,
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Project,
    Source,
    Space,
    Turn,
)
from holdfast.ports import (
    Analyse,
    Delta,
    EntityState,
    Listing,
    Op,
    UsageQuery,
    UsageSum,
)

_UNFINISHED = ("PENDING", "RUNNING")


@dataclass
class Store:
    """What several `MemoryRecords` share, as processes share a file."""

    tables: Tables = field(default_factory=Tables)
    cursor_key: bytes = field(default_factory=lambda: secrets.token_bytes(8))


class MemoryRecords:
    """The system of record in this process's memory; used on one event loop."""

    transaction = Transaction
    """Carries out the operations of a commit; tests plant faults here."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids
        self._state = "new"

    @property
    def tables(self) -> Tables:
        """The committed tables; ClosedError unless the store is open."""
        if self._state != "open":
            raise ClosedError(f"The record store is {self._state}, not open.")
        return self._store.tables

    @property
    def store_id(self) -> str:
        if self._state != "open":
            raise ClosedError(f"The record store is {self._state}, not open.")
        return content_hash("store id", self._store.cursor_key)

    @property
    def subjects_id(self) -> str:
        return self.store_id

    @property
    def directory(self) -> MemoryDirectory:
        """The directory beside the records."""
        return MemoryDirectory(self)

    @property
    def trail(self) -> MemoryTrail:
        """The audit beside the records."""
        return MemoryTrail(self)

    @property
    def subjects(self) -> MemorySubjects:
        """What these records keep of one subject."""
        return MemorySubjects(self)

    @property
    def indexing(self) -> MemoryIndexing:
        """What an external index asks of these records."""
        return MemoryIndexing(self)

    def replace(self, tables: Tables) -> None:
        """Put changed tables in place of the committed ones."""
        self._store.tables = tables

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        if self._state == "closed":
            raise ClosedError("The record store is closed.")
        if self._state == "open":
            return
        tables = self._store.tables.copy()
        held = any(row.vector is not None for row in tables.rows.values())
        if held and before is not None and tables.space == before:
            space = before
        if tables.space != space and held:
            raise SpaceMismatchError(f"This store holds vectors of {tables.space}, not {space}.")
        if tables.key_mark != key_mark and tables.rows:
            raise ConfigError("This store was made with another `content_key` (or with none).")
        tables.space, tables.key_mark = space, key_mark
        self._store.tables, self._state = tables, "open"

    async def reindex(self, version: int, analyse: Analyse) -> int:
        if self.tables.analysis == version:
            return 0
        tables = self.tables.copy()
        tables.analysis, tables.generation = version, tables.generation + 1
        for key, row in tables.rows.items():
            memory = row.memory
            found = analyse(memory.text, memory.actor_id, memory.role)
            tables.rows[key] = change(row, terms=found)
        # what was known of changes up to now does not tell that every row has changed
        tables.reset_at |= dict.fromkeys((owner for owner, _ in tables.rows), tables.generation)
        self._store.tables = tables
        return len(tables.rows)

    async def close(self) -> None:
        self._state = "closed"

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        tables = self.tables.copy()
        refuse_erased(tables, self.store_id, project, ops)
        results = self.transaction(tables, project, self._ids).run(ops)
        self._store.tables = tables
        return results

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        rows = self.tables.rows
        return [rows[project, id_].memory for id_ in ids if (project, id_) in rows]

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        turns = self.tables.turns
        return [turns[project, id_] for id_ in ids if (project, id_) in turns]

    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        row = self.tables.rows.get((project, memory_id))
        named = () if row is None else [id_ for owner, id_ in self.tables.turns if owner == project]
        return [
            Source(turn_id=id_, quote=row.quotes.get(id_, ""))
            for id_ in named
            if row is not None and id_ in row.turns
        ]

    async def page(self, project: Project, listing: Listing) -> Page:
        rows = [
            row
            for row in self.tables.of(project)
            if matches(listing.filter, row.memory) and visible(row.memory, listing.view)
        ]
        total = len(rows)
        if not listing.oldest_first:
            rows.reverse()
        if listing.cursor is not None:
            last = decode_cursor(listing.cursor, project, self._store.cursor_key)
            rows = [r for r in rows if (r.no > last if listing.oldest_first else r.no < last)]
        rows = rows[listing.offset :]
        shown = rows[: listing.size]
        cursor = None
        if shown and len(rows) > len(shown):
            cursor = encode_cursor(shown[-1].no, project, self._store.cursor_key)
        return Page(memories=tuple(row.memory for row in shown), total=total, cursor=cursor)

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        events = self.tables.history.get(project, ())
        return [event for event in events if event.memory_id == memory_id]

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
        tables = self.tables
        found = [
            EntitySummary(
                kind=entity.kind,
                id=entity.id,
                memories=sum(map(is_current, tables.holds(project, entity))),
                created_at=when.created_at,
                updated_at=when.updated_at,
            )
            for (owner, entity), when in tables.written.items()
            if owner == project and tables.holds(project, entity)
        ]
        found.sort(key=lambda each: (each.kind, each.id))
        return found[offset : offset + size], Counter(each.kind for each in found)

    async def state(self, project: Project, entity: Entity) -> EntityState:
        generations = [
            when.generation
            for (owner, other), when in self.tables.written.items()
            if owner == project and other.kind == entity.kind and entity.id in (ANY, other.id)
        ]
        memories = len(self.tables.holds(project, entity))
        return EntityState(generation=max(generations, default=0), memories=memories)

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        tables = self.tables
        generation = (await self.state(project, entity)).generation
        rows = tables.holds(project, entity)
        known = (
            since is not None
            and not epoch
            and tables.reset_at.get(project, 0) <= since <= generation
        )
        start = since if since is not None and known else -1
        changed = [row for row in rows if row.generation > start]
        here = {row.memory.id for row in rows}
        gone = [row for row in tables.gone(project, entity) if row.generation > start]
        return Delta(
            generation=generation,
            complete=not known,
            entries=tuple(map(entry_of, changed)),
            memories=tuple(row.memory for row in changed),
            removed=tuple(row.memory.id for row in gone if row.memory.id not in here and known),
            told=told_pairs(rows, {row.no for row in changed}),
        )

    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return usage_sums(self.tables.usage, project, query)

    async def stats(self, project: Project) -> Mapping[str, Json]:
        tables = self.tables
        rows = tables.of(project)
        holders = {entity for row in rows for entity in row.memory.scope.entities()}
        return {
            "memories": sum(map(is_current, rows)),
            "superseded": sum(row.memory.valid_to is not None for row in rows),
            "turns": sum(owner == project for owner, _ in tables.turns),
            "vectors": sum(row.vector is not None for row in rows),
            "history_events": len(tables.history.get(project, ())),
            "entities": dict(Counter(entity.kind for entity in holders)),
            "jobs": dict(Counter(job.state for job in await self.jobs(project, None, 0, 2**63))),
            "bytes": sum(len(row.memory.text.encode()) for row in rows),
        }

    async def census(self, at: float) -> Census:
        rows = list(self.tables.rows.values())
        users = {
            (project, row.memory.scope.user_id) for (project, _), row in self.tables.rows.items()
        }
        jobs = [leased.job for leased in self.tables.jobs.values()]
        states = Counter(job.state for job in jobs)
        waited = [
            at - max(job.run_after, job.created_at)
            for job in jobs
            if job.state == "PENDING" and job.run_after <= at
        ]
        return Census(
            memories=sum(map(is_current, rows)),
            vectors=sum(row.vector is not None for row in rows),
            users=sum(user is not None for _, user in users),
            jobs_waiting=states["PENDING"],
            jobs_running=states["RUNNING"],
            jobs_failed=states["FAILED"],
            held=sum(kind is Held for kind, _ in self.tables.directory),
            oldest_due_s=max([0.0, *waited]),
        )

    async def job(self, project: Project, job_id: str) -> Job | None:
        leased = self.tables.jobs.get((project, job_id))
        return None if leased is None else leased.job

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        jobs = await self.jobs(project, None, 0, 2**63)
        return next((job for job in jobs if job.idempotency_key == idempotency_key), None)

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        jobs = self.tables.jobs
        due = (key for key, leased in jobs.items() if self.due(leased, at) and self.first(key))
        key = next(due, None)
        return None if key is None else self.take(key, owner, at, lease_s)

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        key = (project, job_id)
        leased = self.tables.jobs.get(key)
        if leased is None or not self.free(leased, at) or not self.first(key):
            return None
        return self.take(key, owner, at, lease_s)

    def free(self, leased: Leased, at: float) -> bool:
        """Whether a job is unfinished and nobody's."""
        state = leased.job.state
        return state == "PENDING" or (state == "RUNNING" and leased.until <= at)

    def due(self, leased: Leased, at: float) -> bool:
        """Whether a job is free and its time has come."""
        return self.free(leased, at) and (
            leased.job.state == "RUNNING" or leased.job.run_after <= at
        )

    def first(self, key: Key) -> bool:
        """Whether no older job of the same scope is unfinished."""
        jobs = self.tables.jobs
        older = list(jobs)[: list(jobs).index(key)]
        return not any(
            project == key[0]
            and jobs[project, id_].job.scope_key == jobs[key].job.scope_key
            and jobs[project, id_].job.state in _UNFINISHED
            for project, id_ in older
        )

    def take(self, key: Key, owner: str, at: float, lease_s: float) -> Job:
        """Lease a job."""
        job = self.tables.jobs[key].job
        job = change(
            job,
            state="RUNNING",
            attempts=job.attempts + 1,
            started_at=at if job.started_at is None else job.started_at,
        )
        self.tables.jobs[key] = Leased(job=job, owner=owner, until=at + lease_s)
        return job

    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        leased = self.tables.jobs.get((project, job_id))
        if leased is None or leased.owner != owner:
            return False
        self.tables.jobs[project, job_id] = change(leased, until=at + lease_s)
        return True

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        found = [
            leased.job
            for (owner, _), leased in self.tables.jobs.items()
            if owner == project and state in (None, leased.job.state)
        ]
        return found[::-1][offset : offset + size]

    async def count_jobs(self, project: Project, state: JobState | None) -> int:
        return len(await self.jobs(project, state, 0, 2**63))

    async def hasten(self, project: Project, error_code: str, at: float) -> int:
        waiting = {
            key: change(leased, job=change(leased.job, run_after=at))
            for key, leased in self.tables.jobs.items()
            if key[0] == project
            and leased.job.state == "PENDING"
            and leased.job.error_code == error_code
            and leased.job.run_after > at
        }
        self.tables.jobs.update(waiting)
        return len(waiting)

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        job = await self.job(project, job_id)
        if job is None or job.state != "FAILED":
            return False
        again = change(
            job,
            state="PENDING",
            attempts=0,
            run_after=at,
            error=None,
            error_code=None,
            completed_at=None,
        )
        self.tables.jobs[project, job_id] = Leased(job=again)
        return True
