"""`ports.Records` and `ports.Jobs` on an SQL database; an engine adds how to get to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from holdfast.backends.sql import deltas, ledger, queries, queue, terms
from holdfast.backends.sql.archiving import refuse_half
from holdfast.backends.sql.audit import SqlTrail, keyed_anew, restored
from holdfast.backends.sql.changes import Follower
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.directory import SqlDirectory
from holdfast.backends.sql.erasing import store_id
from holdfast.backends.sql.indexing import SqlIndexing
from holdfast.backends.sql.keys import Sealing, SubjectKeys, needs_of
from holdfast.backends.sql.moving import SqlMoving
from holdfast.backends.sql.operations import Commit, carry_out
from holdfast.backends.sql.resealing import SqlSeals
from holdfast.backends.sql.sealing import Subject
from holdfast.backends.sql.spaces import Binding, settle
from holdfast.backends.sql.subjects import SqlSubjects
from holdfast.backends.sql.switching import SqlSpaces
from holdfast.backends.sql.unlocking import adopt, derived, unlock
from holdfast.clock import Clock, Ids
from holdfast.core.identity import key_mark as mark_of
from holdfast.model import (
    ENTITY_KINDS,
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

T = TypeVar("T")

Work = Callable[[Connection], T]
"""Runs statements inside a transaction. It may be run again, so it has no effect outside of it."""


class SqlRecords(ABC):
    """Every question and every write as a function of a connection."""

    def __init__(self, clock: Clock, ids: Ids, sealing: Sealing | None = None) -> None:
        """`sealing`: what texts are sealed with; None: they are stored as they are."""
        self._clock = clock
        self._ids = ids
        self._binding = Binding(0, 0)
        self._sealing = sealing
        self._keys: SubjectKeys | None = None
        self.cache_key = b""
        """Seals what is cached elsewhere; empty where texts are not sealed; known once open."""
        self.content_key = b""
        """The content key the store made for itself, if none was configured; known once open."""
        self._indexing = SqlIndexing(self)
        self.on_commit: Callable[[], None] = _nobody
        """Called after each commit of this process."""

    @property
    def key_mark(self) -> int:
        """Tells the content key that contents and words are keyed by from others; once open."""
        return self._binding.key_mark

    @abstractmethod
    async def run_commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        """`commit`, once the keys that it needs are in memory."""

    @abstractmethod
    async def run_read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        """Run `work` on one snapshot of what a project has.

        For None: of all projects; each statement then sees what is committed when it begins.
        `brief` promises that it is a single statement.
        """

    async def run_read_copy(
        self, project: Project | None, work: Work[T], *, brief: bool = False
    ) -> T:
        """`run_read`, of a copy of the database that has all that was acknowledged before the call,
        where there is one."""
        return await self.run_read(project, work, brief=brief)

    @abstractmethod
    async def run_write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        """Run `work` in a write transaction of its own, for a project, or for all of them.

        `alone`: while nobody else writes what is derived from texts.
        """

    @abstractmethod
    async def scrub(self) -> None:
        """Overwrite what the files of the store still hold of texts that are sealed now, as far as
        the engine lets its clients."""

    @abstractmethod
    async def glance(self, project: Project | None, work: Work[T]) -> T:
        """`read` for a single statement that is asked before every request, by its primary key.

        It reads no texts.
        """

    async def read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        """`run_read`, again once the keys of what is read are in memory."""
        if self._keys is None:
            return await self.run_read(project, work, brief=brief)
        return await self._keys.with_keys(lambda: self.run_read(project, work, brief=brief))

    async def read_copy(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        """`run_read_copy`, again once the keys of what is read are in memory."""
        if self._keys is None:
            return await self.run_read_copy(project, work, brief=brief)
        return await self._keys.with_keys(lambda: self.run_read_copy(project, work, brief=brief))

    async def write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        """`run_write`, again once the keys of what is written are in memory."""
        if self._keys is None:
            return await self.run_write(project, work, alone=alone)
        return await self._keys.with_keys(lambda: self.run_write(project, work, alone=alone))

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        if self._keys is None:
            return await self.run_commit(project, ops)
        needs = needs_of(project, ops)
        return await self._keys.with_keys(lambda: self.run_commit(project, ops), needs)

    async def release(self) -> None:
        """Let go of what the keyring holds. Idempotent."""
        if self._sealing is not None:
            await self._sealing.ring.close()

    async def _bind(self, space: Space, key_mark: int, before: Space | None) -> Binding:
        """Unlock the store, then bind it, or check that it fits: nothing else was done yet.

        Raises ConfigError, SpaceMismatchError, KeyRingError, CorruptError.
        """
        await self.run_read(None, refuse_half, brief=True)
        sealing = self._sealing
        if sealing is not None:
            self._keys = SubjectKeys(sealing.ring, sealing.sealer, self)
        self.content_key = await unlock(self, self._keys, key_mark)
        if sealing is not None:
            self.cache_key = derived(sealing.sealer, b"holdfast cache")
        mark = mark_of(self.content_key) if self.content_key else key_mark

        def work(connection: Connection) -> Binding:
            if adopt(connection, sealer):
                keyed_anew(connection)
            restored(connection, self.now())
            return settle(connection, space, mark, self.now(), before, is_sealed=sealer is not None)

        sealer = None if sealing is None else sealing.sealer
        return await self.run_write(None, work, alone=True)

    def _carry_out(
        self,
        connection: Connection,
        commits: Sequence[Commit],
        follower: Follower | None = None,
    ) -> list[list[Json]]:
        return carry_out(connection, commits, self._binding, self._ids, follower)

    async def reindex(self, version: int, analyse: Analyse) -> int:
        if await self.read(None, lambda c: terms.is_current(c, version), brief=True):
            return 0
        count, last, done = 0, 0, 1
        while done:
            work = partial(terms.renew_some, analyse=analyse, after=last)
            done, last = await self.write(None, work, alone=True)
            count += done
        await self.write(None, lambda c: terms.finish(c, version), alone=True)
        return count

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        brief = len(ids) <= queries.PARAMETERS_MAX
        return await self.read_copy(project, lambda c: queries.fetch(c, project, ids), brief=brief)

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        brief = len(ids) <= queries.PARAMETERS_MAX
        return await self.read_copy(project, lambda c: queries.turns(c, project, ids), brief=brief)

    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        work = lambda c: queries.sources(c, project, memory_id)  # noqa: E731
        return await self.read_copy(project, work, brief=True)

    async def page(self, project: Project, listing: Listing) -> Page:
        key = self._binding.cursor_key
        return await self.read_copy(project, lambda c: queries.page(c, project, listing, key))

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        work = lambda c: queries.history(c, project, memory_id)  # noqa: E731
        return await self.read_copy(project, work, brief=True)

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
        return await self.read_copy(project, lambda c: queries.entities(c, project, offset, size))

    async def state(self, project: Project, entity: Entity) -> EntityState:
        return await self.glance(project, lambda c: queries.state(c, project, entity))

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        if self._keys is not None and since is None and entity.kind == ENTITY_KINDS[0]:
            await self._keys.bring(Subject(project, entity.kind, entity.id))
        return await self.read_copy(
            project, lambda c: deltas.delta(c, project, entity, since, epoch)
        )

    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await self.read_copy(project, lambda c: ledger.usage(c, project, query), brief=True)

    async def stats(self, project: Project) -> Mapping[str, Json]:
        return await self.read_copy(project, lambda c: queries.stats(c, project))

    async def census(self, at: float) -> Census:
        return await self.read_copy(None, lambda c: queries.census(c, at))

    async def job(self, project: Project, job_id: str) -> Job | None:
        work = lambda c: queries.job(c, project, "id", job_id)  # noqa: E731
        return await self.read(project, work, brief=True)

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        work = lambda c: queries.job(c, project, "idempotency_key", idempotency_key)  # noqa: E731
        return await self.read(project, work, brief=True)

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        work = lambda c: queries.jobs(c, project, state, offset, size)  # noqa: E731
        return await self.read(project, work, brief=True)

    async def count_jobs(self, project: Project, state: JobState | None) -> int:
        work = lambda c: queries.count_jobs(c, project, state)  # noqa: E731
        return await self.read(project, work, brief=True)

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        return await self.write(None, lambda c: queue.lease(c, owner, at, lease_s))

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        work = lambda c: queue.lease_one(c, project, job_id, owner, at, lease_s)  # noqa: E731
        return await self.write(project, work)

    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        until = at + lease_s
        return await self.write(None, lambda c: queue.heartbeat(c, project, job_id, owner, until))

    async def hasten(self, project: Project, error_code: str, at: float) -> int:
        return await self.write(project, lambda c: queue.hasten(c, project, error_code, at))

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        return await self.write(project, lambda c: queue.rerun(c, project, job_id, at))

    @property
    def directory(self) -> SqlDirectory:
        """The directory in the same database."""
        return SqlDirectory(self)

    @property
    def trail(self) -> SqlTrail:
        """The audit in the same database."""
        return SqlTrail(self)

    @property
    def seals(self) -> SqlSeals | None:
        """Work on all sealed texts; None if the store is a plain one."""
        return None if self._keys is None else SqlSeals(self, self._keys)

    @property
    def subjects(self) -> SqlSubjects:
        """What the same database keeps of one subject."""
        return SqlSubjects(self)

    @property
    def indexing(self) -> SqlIndexing:
        """What an external index asks of the same database."""
        return self._indexing

    @property
    def moving(self) -> SqlMoving:
        """Reads whole memories, to put them elsewhere."""
        return SqlMoving(self)

    @property
    def spaces(self) -> SqlSpaces:
        """The embedding spaces of the same database."""
        return SqlSpaces(self)

    def now(self) -> float:
        """The time, in epoch seconds."""
        return self._clock.now()

    @property
    def name(self) -> str:
        """`subjects_id`, also while the store is being opened."""
        return store_id(self._binding.subjects_key)

    @property
    def store_id(self) -> str:
        return store_id(self._binding.cursor_key)

    @property
    def subjects_id(self) -> str:
        return self.name


def _nobody() -> None:
    """Waits for commits."""
