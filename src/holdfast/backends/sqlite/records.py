"""`ports.Records` and `ports.Jobs` on one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from holdfast.backends.sqlite import queries, queue
from holdfast.backends.sqlite.connect import connect, translate
from holdfast.backends.sqlite.migrate import prepare
from holdfast.backends.sqlite.operations import Transaction
from holdfast.backends.sqlite.readers import Readers
from holdfast.backends.sqlite.writer import Writer
from holdfast.clock import Clock, Ids
from holdfast.errors import ClosedError, SpaceMismatchError
from holdfast.model import (
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
from holdfast.ports import Delta, EntityState, Listing, Op


class SqliteRecords:
    """The system of record in a file, safe with several processes on it."""

    def __init__(self, path: Path, clock: Clock, ids: Ids) -> None:
        self._path = path
        self._clock = clock
        self._ids = ids
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._probe: sqlite3.Connection | None = None
        self._space_no = 0

    async def open(self, space: Space) -> None:
        if self._writer is None:
            await asyncio.to_thread(self._open, space)

    def _open(self, space: Space) -> None:
        with translate(self._path):
            connection = connect(self._path)
            try:
                prepare(connection, self._path)
                self._space_no = _active_space(connection, space, self._clock.now())
                self._probe = connect(self._path, read_only=True)
            except BaseException:
                connection.close()
                raise
        self._readers = Readers(self._path)
        self._writer = Writer(connection, self._path)

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        """`close` for callers without an event loop; blocks for the writes under way."""
        if self._readers is not None:
            self._readers.close()
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        if self._writer is not None:
            self._writer.close()

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        def work(connection: sqlite3.Connection) -> list[Json]:
            return Transaction(connection, project, self._space_no, self._ids).run(ops)

        return cast("list[Json]", await self._write.run(work))

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return await self._read.run(lambda c: queries.fetch(c, project, ids))

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return await self._read.run(lambda c: queries.turns(c, project, ids))

    async def page(self, project: Project, listing: Listing) -> Page:
        return await self._read.run(lambda c: queries.page(c, project, listing))

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        return await self._read.run(lambda c: queries.history(c, project, memory_id))

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], int]:
        return await self._read.run(lambda c: queries.entities(c, project, offset, size))

    def state(self, project: Project, entity: Entity) -> EntityState:
        if self._probe is None:
            raise ClosedError("The record store is not open.")
        with translate(self._path):
            return queries.state(self._probe, project, entity)

    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        space_no = self._space_no
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

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        work = lambda c: queue.rerun(c, project, job_id, at)  # noqa: E731
        return cast("bool", await self._write.run(work))

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


def _active_space(connection: sqlite3.Connection, space: Space, at: float) -> int:
    """Number of the active space, recorded now if there is none; a store without vectors adopts."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        number = _check_space(connection, space, at)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return number


def _check_space(connection: sqlite3.Connection, space: Space, at: float) -> int:
    row = connection.execute(
        "SELECT no, provider, model, dimensions, normalised FROM spaces WHERE status = 'active'"
    ).fetchone()
    wanted = (space.provider, space.model, space.dimensions, int(space.normalised))
    if row is not None and row[1:] == wanted:
        return int(row[0])
    if row is not None:
        if connection.execute("SELECT 1 FROM embeddings LIMIT 1").fetchone() is not None:
            raise SpaceMismatchError(
                f"This store holds vectors of {row[1]}:{row[2]} with {row[3]} dimensions, "
                f"but the embedder is {wanted[0]}:{wanted[1]} with {wanted[2]}.",
                hint="Configure the embedder the store was made with, or use another path.",
            )
        connection.execute("DELETE FROM spaces")
    cursor = connection.execute(
        "INSERT INTO spaces (provider, model, dimensions, normalised, status, created_at) "
        "VALUES (?,?,?,?,'active',?)",
        (*wanted, at),
    )
    return int(cursor.lastrowid or 0)
