"""Failures at a chosen moment: the n-th call of a store, or the n-th statement of a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from holdfast.errors import StoreUnavailableError
from holdfast.model import (
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
    Delta,
    Directory,
    EntityState,
    Listing,
    Op,
    UsageQuery,
    UsageSum,
)
from holdfast.testing.replica import Store

T = TypeVar("T")


class Fault:
    """Fails at the n-th step, counted from 1; 0 only counts.

    `late`: the step is carried out and its answer lost. `lasting`: all later steps fail as well.
    """

    def __init__(
        self,
        at: int,
        *,
        late: bool = False,
        lasting: bool = False,
        error: Callable[[], Exception] = lambda: StoreUnavailableError("A planted failure."),
    ) -> None:
        self.at = at
        self.late = late
        self.lasting = lasting
        self.error = error
        self.steps = 0

    def called(self, work: Callable[[], T]) -> T:
        """One step."""
        failing = self._failing()
        if failing and not self.late:
            raise self.error()
        result = work()
        if failing:
            del result  # a cursor in a traceback would keep its statement, and the database, open
            raise self.error()
        return result

    async def awaited(self, work: Coroutine[Any, Any, T]) -> T:
        """One step."""
        failing = self._failing()
        if failing and not self.late:
            work.close()
            raise self.error()
        result = await work
        if failing:
            raise self.error()
        return result

    def _failing(self) -> bool:
        self.steps += 1
        return self.at > 0 and (self.steps == self.at or (self.lasting and self.steps > self.at))


def disk_error() -> sqlite3.OperationalError:
    """What sqlite3 raises when the disk fails."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
    return error


class FailingConnection:
    """As much of a `sqlite3.Connection` as a writer uses; each statement is a step of `fault`.

    A ROLLBACK is none, unless the fault lasts.
    """

    def __init__(self, connection: sqlite3.Connection, fault: Fault) -> None:
        self._connection = connection
        self.fault = fault

    @property
    def total_changes(self) -> int:
        """How many rows were changed so far."""
        return self._connection.total_changes

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    @property
    def dialect(self) -> Any:
        return cast("Any", self._connection).dialect

    @property
    def sealer(self) -> Any:
        """What the connection seals texts with."""
        return cast("Any", self._connection).sealer

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql == "ROLLBACK" and not self.fault.lasting:
            return self._connection.execute(sql, parameters)
        return self.fault.called(lambda: self._connection.execute(sql, parameters))

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self.fault.called(lambda: self._connection.executemany(sql, rows))

    def close(self) -> None:
        self._connection.close()


class FailingStore:
    """A record store and queue; each call but `open` and `close` is a step of `fault`."""

    def __init__(self, store: Store, fault: Fault) -> None:
        self._store = store
        self.fault = fault

    @property
    def directory(self) -> Directory:
        """The directory in the same database, which does not fail."""
        return self._store.directory

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        await self._store.open(space, key_mark, before)

    async def close(self) -> None:
        await self._store.close()

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        return await self.fault.awaited(self._store.commit(project, ops))

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return await self.fault.awaited(self._store.fetch(project, ids))

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return await self.fault.awaited(self._store.turns(project, ids))

    async def page(self, project: Project, listing: Listing) -> Page:
        return await self.fault.awaited(self._store.page(project, listing))

    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        return await self.fault.awaited(self._store.sources(project, memory_id))

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        return await self.fault.awaited(self._store.history(project, memory_id))

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
        return await self.fault.awaited(self._store.entities(project, offset, size))

    async def state(self, project: Project, entity: Entity) -> EntityState:
        return await self.fault.awaited(self._store.state(project, entity))

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        return await self.fault.awaited(self._store.delta(project, entity, since, epoch))

    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await self.fault.awaited(self._store.usage(project, query))

    async def stats(self, project: Project) -> Mapping[str, Json]:
        return await self.fault.awaited(self._store.stats(project))

    async def census(self, at: float) -> Census:
        return await self.fault.awaited(self._store.census(at))

    async def job(self, project: Project, job_id: str) -> Job | None:
        return await self.fault.awaited(self._store.job(project, job_id))

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        return await self.fault.awaited(self._store.find_job(project, idempotency_key))

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        return await self.fault.awaited(self._store.lease(owner, at, lease_s))

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        return await self.fault.awaited(self._store.lease_one(project, job_id, owner, at, lease_s))

    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        beat = self._store.heartbeat(project, job_id, owner, at, lease_s)
        return await self.fault.awaited(beat)

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        return await self.fault.awaited(self._store.jobs(project, state, offset, size))

    async def count_jobs(self, project: Project, state: JobState | None) -> int:
        return await self.fault.awaited(self._store.count_jobs(project, state))

    async def hasten(self, project: Project, error_code: str, at: float) -> int:
        return await self.fault.awaited(self._store.hasten(project, error_code, at))

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        return await self.fault.awaited(self._store.rerun(project, job_id, at))
