"""`ports.Records` and `ports.Jobs` on one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from holdfast.backends.sqlite import queries, queue, terms
from holdfast.backends.sqlite.connect import connect, translate
from holdfast.backends.sqlite.directory import SqliteDirectory
from holdfast.backends.sqlite.migrate import prepare
from holdfast.backends.sqlite.operations import Commit, carry_out
from holdfast.backends.sqlite.readers import Readers
from holdfast.backends.sqlite.spaces import Binding, settle
from holdfast.backends.sqlite.writer import Writer
from holdfast.clock import Clock, Ids
from holdfast.errors import ClosedError
from holdfast.limits import BUSY_TIMEOUT_S, READ_CONNECTIONS_MAX
from holdfast.model import (
    Census,
    Entity,
    EntitySummary,
    HistoryEvent,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Project,
    Space,
    Turn,
)
from holdfast.ports import Analyse, Delta, EntityState, Listing, Op

T = TypeVar("T")


class SqliteRecords:
    """The system of record in a file, safe with several processes on it."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        ids: Ids,
        *,
        readers_max: int = READ_CONNECTIONS_MAX,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._path = path
        self._clock = clock
        self._ids = ids
        self._readers_max = readers_max
        self._busy_timeout_s = busy_timeout_s
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._probe: sqlite3.Connection | None = None
        self._binding = Binding(0, 0)
        self._closed = False

    async def open(self, space: Space, key_mark: int = 0) -> None:
        if self._closed:
            raise ClosedError("The record store is closed.")
        if self._writer is None:
            await asyncio.to_thread(self._open, space, key_mark)

    def _open(self, space: Space, key_mark: int) -> None:
        timeout_s = self._busy_timeout_s
        with translate(self._path):
            connection = connect(self._path, busy_timeout_s=timeout_s)
            try:
                prepare(connection, self._path)
                self._binding = settle(connection, space, key_mark, self._clock.now())
                self._probe = connect(self._path, read_only=True, busy_timeout_s=timeout_s)
            except BaseException:
                connection.close()
                raise
        self._readers = Readers(self._path, self._readers_max, timeout_s)
        self._writer = Writer(connection, self._path)

    async def reindex(self, version: int, analyse: Analyse) -> int:
        if await self._read.run(lambda c: terms.is_current(c, version)):
            return 0
        count, last, done = 0, 0, 1
        while done:
            work = partial(terms.renew_some, analyse=analyse, after=last)
            done, last = cast("tuple[int, int]", await self._write.run(work))
            count += done
        await self._write.run(lambda c: terms.finish(c, version))
        return count

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        """`close` for callers without an event loop; blocks for the writes under way."""
        self._closed = True
        if self._readers is not None:
            self._readers.close()
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        if self._writer is not None:
            self._writer.close()

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        together = self._write.run_together(self._carry_out, (project, ops))
        return cast("list[Json]", await together)

    def _carry_out(
        self, connection: sqlite3.Connection, commits: Sequence[Commit]
    ) -> list[list[Json]]:
        return carry_out(connection, commits, self._binding, self._ids)

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return await self._read.run(lambda c: queries.fetch(c, project, ids))

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return await self._read.run(lambda c: queries.turns(c, project, ids))

    async def page(self, project: Project, listing: Listing) -> Page:
        key = self._binding.cursor_key
        return await self._read.run(lambda c: queries.page(c, project, listing, key))

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        return await self._read.run(lambda c: queries.history(c, project, memory_id))

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], int]:
        return await self._read.run(lambda c: queries.entities(c, project, offset, size))

    async def state(self, project: Project, entity: Entity) -> EntityState:
        # microseconds: less than handing it to a thread
        return self.probe(lambda c: queries.state(c, project, entity))

    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        space_no = self._binding.space_no
        return await self._read.run(lambda c: queries.delta(c, project, space_no, entity, since))

    async def stats(self, project: Project) -> Mapping[str, Json]:
        return await self._read.run(lambda c: queries.stats(c, project))

    async def job(self, project: Project, job_id: str) -> Job | None:
        return await self._read.run(lambda c: queries.job(c, project, "id", job_id))

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        key = idempotency_key
        return await self._read.run(lambda c: queries.job(c, project, "idempotency_key", key))

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        work = lambda c: queue.lease(c, owner, at, lease_s)  # noqa: E731
        return cast("Job | None", await self._write.run(work))

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        work = lambda c: queue.lease_one(c, project, job_id, owner, at, lease_s)  # noqa: E731
        return cast("Job | None", await self._write.run(work))

    async def heartbeat(self, job_id: str, owner: str, at: float, lease_s: float) -> bool:
        work = lambda c: queue.heartbeat(c, job_id, owner, at, lease_s)  # noqa: E731
        return cast("bool", await self._write.run(work))

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        return await self._read.run(lambda c: queries.jobs(c, project, state, offset, size))

    async def count_jobs(self, project: Project, state: JobState | None) -> int:
        return await self._read.run(lambda c: queries.count_jobs(c, project, state))

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        work = lambda c: queue.rerun(c, project, job_id, at)  # noqa: E731
        return cast("bool", await self._write.run(work))

    def gauges(self) -> Mapping[str, Callable[[], float]]:
        """How busy the threads are: names of `metrics.GAUGES` and what reads their values."""
        return {
            "read_connections_busy": lambda: self._read.busy,
            "reads_waiting": lambda: self._read.waiting,
            "writes_waiting": lambda: self._write.waiting,
        }

    async def census(self, at: float) -> Census:
        return await self._read.run(lambda c: queries.census(c, at))

    @property
    def directory(self) -> SqliteDirectory:
        """The directory in the same file."""
        return SqliteDirectory(self)

    async def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run `work` in a write transaction of its own."""
        return await self._write.run(work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot of the database."""
        return await self._read.run(work)

    def probe(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which takes microseconds, without waiting for a thread."""
        if self._probe is None:
            raise ClosedError("The record store is not open.")
        with translate(self._path):
            return work(self._probe)

    @property
    def _write(self) -> Writer:
        if self._writer is None:
            raise ClosedError("The record store is not open.")
        return self._writer

    @property
    def _read(self) -> Readers:
        if self._readers is None:
            raise ClosedError("The record store is not open.")
        return self._readers
