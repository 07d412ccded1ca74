"""`ports.Records` and `ports.Jobs` on one SQLite file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from holdfast.backends.sql import queue
from holdfast.backends.sql.keys import Sealing
from holdfast.backends.sql.operations import is_brief
from holdfast.backends.sql.records import SqlRecords, Work
from holdfast.backends.sql.rows import only
from holdfast.backends.sqlite.checkpoints import Checkpoints
from holdfast.backends.sqlite.connect import SqliteConnection, connect, translate
from holdfast.backends.sqlite.due import due
from holdfast.backends.sqlite.migrate import prepare
from holdfast.backends.sqlite.readers import Readers
from holdfast.backends.sqlite.writer import Writer
from holdfast.clock import Clock, Ids
from holdfast.errors import ClosedError, StoreReadOnlyError, StoreUnavailableError
from holdfast.limits import BUSY_TIMEOUT_S, READ_CONNECTIONS_MAX
from holdfast.model import Job, Json, Project, Space
from holdfast.ports import Op

_TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)"
_SCRUBS_MAX = 100
_SCRUB_PAUSE_S = 0.05

_log = logging.getLogger("holdfast")

DATABASE = "holdfast.db"
"""The file in the folder that `path` names."""

T = TypeVar("T")


class SqliteRecords(SqlRecords):
    """The system of record in a file, safe with several processes on it."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        ids: Ids,
        *,
        readers_max: int = READ_CONNECTIONS_MAX,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        sealing: Sealing | None = None,
    ) -> None:
        super().__init__(clock, ids, sealing)
        self._path = path
        self._readers_max = readers_max
        self._busy_timeout_s = busy_timeout_s
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._probe: SqliteConnection | None = None
        self._checkpoints: Checkpoints | None = None
        self._closed = False

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        if self._closed:
            raise ClosedError("The record store is closed.")
        if self._writer is None:
            writer, readers = await asyncio.to_thread(self._connect)
            self._writer, self._readers = writer, readers
            try:
                self._binding = await self._bind(space, key_mark, before)
            except BaseException:
                self._undo()
                raise

    def _connect(self) -> tuple[Writer, Readers]:
        timeout_s = self._busy_timeout_s
        sealer = None if self._sealing is None else self._sealing.sealer
        _make(self._path.parent)
        with translate(self._path):
            connection = connect(self._path, busy_timeout_s=timeout_s, sealer=sealer)
            try:
                prepare(connection, self._path)
                self._probe = connect(self._path, read_only=True, busy_timeout_s=timeout_s)
            except BaseException:
                connection.close()
                raise
        readers = Readers(self._path, self._readers_max, timeout_s, sealer)
        self._checkpoints = Checkpoints(self._path, timeout_s)
        return Writer(connection, self._path, self._checkpoints.note), readers

    def _undo(self) -> None:
        """Close what was opened: the store does not fit."""
        for part in (self._readers, self._probe, self._writer, self._checkpoints):
            if part is not None:
                part.close()
        self._writer = self._readers = self._probe = self._checkpoints = None

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
        if self._checkpoints is not None:
            self._checkpoints.close()

    async def run_commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        together = self._write.run_together(self._carry_out, (project, ops), is_brief=is_brief(ops))
        results = cast("list[Json]", await together)
        self.on_commit()
        return results

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        while numbers := await self._read.run(lambda c: due(c, at)):
            work = partial(queue.take, numbers=numbers, owner=owner, at=at, lease_s=lease_s)
            job = await self.write(None, work)
            if job is not None:
                return job
            # others took them all: each round somebody has got on
        return None

    def gauges(self) -> Mapping[str, Callable[[], float]]:
        """How busy the threads are: names of `metrics.GAUGES` and what reads their values."""
        return {
            "read_connections_busy": lambda: self._read.busy,
            "reads_waiting": lambda: self._read.waiting,
            "writes_waiting": lambda: self._write.waiting,
        }

    @property
    def store_id(self) -> str:
        if self._probe is None:
            raise ClosedError("The record store is not open.")
        return super().store_id

    @property
    def subjects_id(self) -> str:
        if self._probe is None:
            raise ClosedError("The record store is not open.")
        return super().subjects_id

    async def run_write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        return cast("T", await self._write.run(work))

    async def run_read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        return await self._read.run(work)

    async def scrub(self) -> None:
        """Free pages are overwritten as they become free; the write-ahead log is emptied here."""
        await asyncio.to_thread(self._empty_log)

    def _empty_log(self) -> None:
        with translate(self._path):
            connection = connect(self._path, busy_timeout_s=self._busy_timeout_s)
            try:
                for _ in range(_SCRUBS_MAX):
                    is_busy, *_pages = connection.execute(_TRUNCATE).fetchone()
                    if not is_busy:
                        return
                    time.sleep(_SCRUB_PAUSE_S)  # somebody reads an older snapshot still
                _log.warning("old pages stay in the write-ahead log until its readers end")
            finally:
                connection.close()

    async def glance(self, project: Project | None, work: Work[T]) -> T:
        # microseconds: less than handing it to a thread
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


def bound_to(path: Path) -> int:
    """The mark of the content key that a store was made with; 0 without one. Raises StoreError."""
    with translate(path), closing(connect(path, read_only=True)) as connection:
        return int(only(connection, "SELECT value FROM counters WHERE name = 'key_mark'", ()) or 0)


def _make(folder: Path) -> None:
    """Makes the folder, for its owner alone; one that is there stays as it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError:
        raise StoreUnavailableError(
            f"{folder} is a file, not a folder.", hint="Choose another path."
        ) from None
    except PermissionError:
        raise StoreReadOnlyError(
            f"{folder} cannot be made by this user.", hint="Choose another path or HOLDFAST_HOME."
        ) from None
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder} cannot be made: {error.strerror}.", hint="Choose another path."
        ) from error
