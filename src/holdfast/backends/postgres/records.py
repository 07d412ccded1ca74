"""`ports.Records` and `ports.Jobs` on Postgres, for any number of instances at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar, cast

from holdfast.backends.postgres.beside import Beside, Following, changes_memories
from holdfast.backends.postgres.errors import translate
from holdfast.backends.postgres.migrate import prepare
from holdfast.backends.postgres.pool import Pool
from holdfast.backends.postgres.replicas import Outcome, Replicas
from holdfast.backends.postgres.session import Session
from holdfast.backends.postgres.settings import PostgresSettings, read_settings
from holdfast.backends.postgres.transactions import Transactions
from holdfast.backends.postgres.writer import Writer
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.keys import Sealing
from holdfast.backends.sql.queries import state_of
from holdfast.backends.sql.records import SqlRecords, Work
from holdfast.clock import Clock, Ids
from holdfast.config import Part
from holdfast.core.erasure import TABLES
from holdfast.errors import ClosedError, StoreError
from holdfast.model import Entity, Json, Project, Space
from holdfast.ports import EntityState, Op

T = TypeVar("T")

# The inner part needs the value of the outer one, and has an aggregate: whatever is planned, the
# setting is made before a row is looked at.
_STATE = """
SELECT s.generation, s.memories, s.epoch
FROM (SELECT set_config('holdfast.project', ?, true) AS project OFFSET 0) w
CROSS JOIN LATERAL ({state}) s
"""

_log = logging.getLogger("holdfast")


class PostgresRecords(SqlRecords):
    """The system of record in a database, used on the event loop that opened it."""

    def __init__(
        self, settings: PostgresSettings, clock: Clock, ids: Ids, sealing: Sealing | None = None
    ) -> None:
        super().__init__(clock, ids, sealing)
        self._settings = settings
        self._pool = Pool(settings)
        self._transactions = self._over(self._pool)
        self._replicas = self._copies()
        self._writer = Writer(self._commit)
        self._beside: Beside | None = None
        self.on_replica_read: Callable[[Outcome], None] = _nobody
        """Told of each read that a replica could answer who did."""
        self._state = "new"
        self._fenced = True

    @classmethod
    def configured(cls, part: Part, clock: Clock, ids: Ids, sealing: Sealing | None = None) -> Self:
        """Unopened records as a configuration wants them. Raises ConfigError."""
        return cls(read_settings(part), clock, ids, sealing)

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        if self._state == "closed":
            raise ClosedError("The record store is closed.")
        if self._state == "open":
            return
        try:
            await self._pool.open()
            async with self._pool.connection() as raw:
                self._fenced = await prepare(raw, self._settings)
            self._state = "opening"
            self._binding = await self._bind(space, key_mark, before)
            await self._transactions.forget_tokens()
            if self._replicas is not None:
                await self._replicas.check()
        except BaseException:
            self._state = "new"
            self._close_connections()
            self._pool = Pool(self._settings)
            self._transactions = self._over(self._pool)
            self._replicas = self._copies()
            raise
        self._state = "open"
        if not self._fenced:
            _log.warning(
                "the user of records.config.url is above row-level security (a superuser, or "
                "BYPASSRLS): projects are kept apart by the statements alone"
            )

    async def stats(self, project: Project) -> Mapping[str, Json]:
        counts = await super().stats(project)
        return counts if self._fenced else {**counts, "row_level_security": False}

    def _over(self, pool: Pool) -> Transactions:
        return Transactions(pool, None if self._sealing is None else self._sealing.sealer)

    def _copies(self) -> Replicas | None:
        if not self._settings.read_urls:
            return None
        sealer = None if self._sealing is None else self._sealing.sealer
        return Replicas(self._settings, self._transactions, sealer, self._tell)

    def _tell(self, outcome: Outcome) -> None:
        self.on_replica_read(outcome)

    async def close(self) -> None:
        self._state = "closed"
        await self._writer.close()
        self._close_connections()

    def close_now(self) -> None:
        """`close` for callers without an event loop; writes under way end on theirs, or not."""
        self._state = "closed"
        self._writer.refuse()
        self._close_connections()

    def _close_connections(self) -> None:
        self._pool.close()
        if self._replicas is not None:
            self._replicas.close()

    @property
    def store_id(self) -> str:
        self._check_open()
        return super().store_id

    @property
    def subjects_id(self) -> str:
        self._check_open()
        return super().subjects_id

    async def run_commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        self._check_open()
        results = await self._writer.run(project, ops)
        self.on_commit()
        return results

    async def _commit(self, project: Project, commits: Sequence[Sequence[Op]]) -> list[list[Json]]:
        asked = [(project, ops) for ops in commits]
        if self._beside is None or not changes_memories(commits):
            return await self._transactions.commit(project, lambda c: self._carry_out(c, asked))
        following = Following(self._beside, project)
        results = await self._transactions.commit(
            project, lambda c: self._carry_out(c, asked, following.begun(cast("Session", c)))
        )
        following.committed()
        return results

    async def keep_beside(self, index: Beside) -> bool:
        """Write the points of memories in the transactions that write the memories, from now on,
        if `index` is in the same database and ours to write; whether it is.

        Raises StoreError, IndexUnavailableError.
        """
        vectors = index.opened(index.build)
        async with self._pool.connection() as raw:
            with translate():
                if vectors is not None and await vectors.lives_with(raw):
                    self._beside = index
        return self._beside is not None

    async def run_read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        self._check_open()
        return await self._transactions.read(project, work, brief=brief)

    async def run_read_copy(
        self, project: Project | None, work: Work[T], *, brief: bool = False
    ) -> T:
        self._check_open()
        reads = self._replicas or self._transactions
        return await reads.read(project, work, brief=brief)

    async def scrub(self) -> None:
        """Take out row versions that are dead, unless somebody still reads them. Postgres
        overwrites their bytes in its own time: `VACUUM FULL`, which locks, is the operator's."""
        self._check_open()
        async with self._pool.connection() as raw:
            for table in TABLES:
                try:
                    with translate():
                        await raw.execute(f"VACUUM {table}")
                except StoreError as error:
                    _log.warning("dead rows stay in %s until autovacuum: %s", table, error.code)

    async def glance(self, project: Project | None, work: Work[T]) -> T:
        self._check_open()
        return await self._transactions.read(project, work, brief=True)

    async def state(self, project: Project, entity: Entity) -> EntityState:
        """In one statement with what lets it through, for it is asked before every search: two in a
        pipeline take twice as long."""
        self._check_open()
        return await self._transactions.look(lambda c: _state_within(c, project, entity))

    async def run_write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        self._check_open()
        return await self._transactions.write(project, work, alone=alone)

    def gauges(self) -> Mapping[str, Callable[[], float]]:
        """How busy the connections are: names of `metrics.GAUGES` and what reads their values."""
        return {
            "read_connections_busy": lambda: self._pool.busy,
            "reads_waiting": lambda: self._pool.waiting,
            "writes_waiting": lambda: self._writer.waiting,
        }

    def _check_open(self) -> None:
        if self._state not in ("opening", "open"):
            raise ClosedError("The record store is not open.")


def _state_within(connection: Connection, project: Project, entity: Entity) -> EntityState:
    """`queries.state`, by a statement that needs no other before it."""
    sql, values = state_of(entity)
    asked = _STATE.format(state=sql.format(project="w.project"))
    generation, memories, epoch = connection.execute(asked, (project, *values)).fetchone()
    return EntityState(generation=generation, memories=memories, epoch=epoch)


def _nobody(_outcome: Outcome) -> None:
    """Waits for replicas."""
