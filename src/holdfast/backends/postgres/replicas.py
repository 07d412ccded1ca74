"""Copies of the database that answer reads, and never with less than was acknowledged before.

Before a read is sent to a copy, the primary is asked how far its log is safe on disk: every commit
that anybody was told of is below that position. All who ask at once share one such question. The
copy answers if it has replayed the log up to there, on the primary's own timeline (another one may
have the same positions with other contents); if it lags, or is away, the primary answers.

A connection is one server's, whatever address it was opened with, and a server never goes back. So
what a connection's server has replayed is remembered with the connection, and asked again only for
what is beyond it. It is asked before the transaction begins: in it, the snapshot would be older
than the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from holdfast import deadline
from holdfast.backends.postgres.errors import translate
from holdfast.backends.postgres.pool import Pool, Raw
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.backends.postgres.transactions import Transactions
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.records import Work
from holdfast.backends.sql.sealing import Sealer
from holdfast.errors import ClosedError, ConfigError, HoldfastError, StoreError
from holdfast.model import Project

T = TypeVar("T")

Outcome = Literal["replica", "behind", "away"]
"""Who answered a read: a replica, or the primary, for none had replayed enough, or was there."""

_log = logging.getLogger("holdfast")

# A commit that did not wait for the disk may be acknowledged before it is flushed. The name of a
# file of the log begins with the timeline.
_POSITION: Final = """
SELECT ('x' || left(pg_walfile_name(at), 8))::bit(32)::bigint, (at - '0/0')::bigint,
       (SELECT system_identifier FROM pg_control_system())
FROM (SELECT CASE WHEN current_setting('synchronous_commit') = 'off'
             THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END AS at) AS log
"""

# The timeline is that of the last restart point, so that it lags after a failover; never leads.
_REPLAYED: Final = """
SELECT (SELECT timeline_id FROM pg_control_checkpoint()),
       CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint ELSE 0 END,
       (SELECT system_identifier FROM pg_control_system())
"""

_LOOK_AGAIN_S: Final = 0.002
"""Between two looks at a copy that lags; doubles."""


class Position(NamedTuple):
    """A place in the log of a database."""

    timeline: int
    byte: int
    system: int
    """Which database cluster's log it is."""

    def reaches(self, other: Position) -> bool:
        """Whether who has replayed up to here has everything up to there."""
        return self[0] == other[0] and self[2] == other[2] and self.byte >= other.byte


class _Behind(Exception):
    """A copy lacks something that was acknowledged."""


class Replicas:
    """Reads by turns from several copies, and from the primary where none will do."""

    def __init__(
        self,
        settings: PostgresSettings,
        primary: Transactions,
        sealer: Sealer | None,
        told: Callable[[Outcome], None],
    ) -> None:
        """`told`: who answered, for every read."""
        self._primary = primary
        self._told = told
        self._position = _Shared(primary)
        self._copies = [_Copy(replace(settings, url=url), sealer) for url in settings.read_urls]
        self._next = 0

    async def check(self) -> None:
        """See that each copy that is there is one of this database; one that is away may come
        back. Raises ConfigError."""
        here = await self._position.now()
        for number, copy in enumerate(self._copies):
            try:
                system = await copy.system()
            except StoreError as error:
                _log.warning("records.config.read_urls[%d]: %s", number, error.message)
                continue
            if system != here.system:
                raise ConfigError(
                    f"records.config.read_urls[{number}] is no copy of the database in"
                    " records.config.url.",
                    hint="Name a physical standby of it (streaming replication).",
                )

    async def read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        """As `Transactions.read`, of a copy that has all that was acknowledged before the call."""
        try:
            position = await self._position.now()
        except StoreError:  # the primary itself says what is wrong, if it still is
            return await self._primary.read(project, work, brief=brief)
        outcome: Outcome = "behind"
        for copy in self._by_turns():
            try:
                found = await copy.read(position, project, work, brief=brief)
            except _Behind:
                continue
            except ClosedError:
                raise
            except (StoreError, ConfigError) as error:
                copy.failed(error)
                outcome = "away"
            else:
                self._told("replica")
                return found
        self._told(outcome)
        return await self._primary.read(project, work, brief=brief)

    @property
    def busy(self) -> int:
        """How many connections to copies are lent."""
        return sum(copy.pool.busy for copy in self._copies)

    def close(self) -> None:
        """Close every connection. Idempotent."""
        for copy in self._copies:
            copy.pool.close()

    def _by_turns(self) -> list[_Copy]:
        self._next = (self._next + 1) % len(self._copies)
        return [*self._copies[self._next :], *self._copies[: self._next]]


class _Copy:
    """One copy: its connections, and how far each one's server has come."""

    def __init__(self, settings: PostgresSettings, sealer: Sealer | None) -> None:
        self.pool = Pool(replace(settings, pool_min=0))
        self._transactions = Transactions(self.pool, sealer, tries=1)
        self._patience_s = settings.read_wait_s
        self._known: WeakKeyDictionary[Raw, Position] = WeakKeyDictionary()
        self._was_away = False

    async def read(
        self, position: Position, project: Project | None, work: Work[T], *, brief: bool
    ) -> T:
        """Raises _Behind, StoreError, ConfigError."""

        async def caught_up(raw: Raw) -> None:
            await self._wait_for(raw, position)

        found = await self._transactions.read(project, work, brief=brief, first=caught_up)
        self._was_away = False
        return found

    async def system(self) -> int:
        """Which database cluster it is a copy of."""
        async with self.pool.connection() as raw:
            return (await self._replayed(raw)).system

    def failed(self, error: HoldfastError) -> None:
        """Say once that it is away."""
        if not self._was_away:
            _log.warning("a read replica does not answer (%s): the primary does", error.message)
        self._was_away = True

    async def _wait_for(self, raw: Raw, position: Position) -> None:
        known = self._known.get(raw)
        if known is not None and known.reaches(position):
            return
        until = time.monotonic() + self._patience_s
        pause_s = _LOOK_AGAIN_S
        while not (replayed := await self._replayed(raw)).reaches(position):
            if time.monotonic() + pause_s > until or replayed.timeline != position.timeline:
                raise _Behind
            await asyncio.sleep(pause_s)
            pause_s *= 2
        self._known[raw] = replayed

    async def _replayed(self, raw: Raw) -> Position:
        with translate():
            row = await (await raw.execute(_REPLAYED)).fetchone()
        assert row is not None, "it selects no table"
        return Position(*row)


class _Shared:
    """The primary's position: one question for all who wait for its answer."""

    def __init__(self, primary: Transactions) -> None:
        self._primary = primary
        self._asking: asyncio.Task[Position] | None = None
        self._waiting: asyncio.Task[Position] | None = None

    async def now(self) -> Position:
        """A position that was asked for after the call. Raises StoreError."""
        # a question under way may have been answered before the call; the next one was not
        if self._waiting is None:
            with deadline.unlimited():  # the first to ask may have less time than others
                self._waiting = asyncio.create_task(self._after(self._asking))
        return await asyncio.shield(self._waiting)

    async def _after(self, before: asyncio.Task[Position] | None) -> Position:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._waiting = self._waiting, None
        return await self._primary.read(None, _position, brief=True)


def _position(connection: Connection) -> Position:
    return Position(*connection.execute(_POSITION).fetchone())
