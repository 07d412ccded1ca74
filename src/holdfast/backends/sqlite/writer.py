"""One thread owns the write connection and commits waiting transactions together.

A commit costs an fsync whether it carries one transaction or a hundred, so everything that waits
when the thread becomes free shares one (group commit). What is asked in one turn of an event loop
arrives at its end, together: the thread would else begin with the first, and compete for the
interpreter with the loop, which has the others still to prepare. If any of a group fails, it is
rolled back and each is run again on its own, so that one caller's error is never another's.

A few brief transactions that find the thread idle are carried out on their loop, but for the
COMMIT, which the thread makes: it waits for the disk, statements do not. A thread that competes
with a busy loop gets the interpreter back late after every statement, fifteen times for an add, and
whoever comes meanwhile waits for that too. What comes while the disk is waited for is gathered, and
carried out when that group is told.

Where the loop serves a single blocked caller, there is nothing to share and nobody to keep waiting:
the commit is then made on the loop, which spares two hops between threads.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.backends.sqlite.connect import SqliteConnection, translate
from holdfast.errors import ClosedError, StoreUnavailableError
from holdfast.limits import WRITE_BATCH_MAX, WRITE_QUEUE_MAX
from holdfast.loop import may_block

Work = Callable[[SqliteConnection], Any]
"""Runs inside a transaction; may be run twice, so it must have no effect outside of it."""

Together = Callable[[SqliteConnection, Sequence[Any]], Sequence[Any]]
"""`Work` for several transactions at once, each told by a value: one result for each, in order."""

_HERE_MAX: Final = 8
"""Brief transactions that a loop carries out itself, at once; more would keep it from others."""

_SLOW_S: Final = 0.01
"""Statements that take longer wait for pages from the disk: a loop has others to serve."""

_REST: Final = 100
"""Groups that are left to the thread after slow ones."""


class _Request:
    """A transaction, told by a value, and the future its caller awaits."""

    __slots__ = ("error", "future", "is_brief", "loop", "result", "together", "value")

    def __init__(
        self, together: Together, value: Any, loop: asyncio.AbstractEventLoop, *, is_brief: bool
    ) -> None:
        self.is_brief = is_brief
        self.together = together
        self.value = value
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class _Begun(NamedTuple):
    """Transactions whose statements were carried out, and whose COMMIT is left to the thread; it
    is handed the connection with them."""

    group: list[_Request]


class Writer:
    """Carries out write transactions, in order of arrival."""

    def __init__(
        self,
        connection: SqliteConnection,
        path: Path,
        on_written: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_written`: told on the thread, after each group, how many rows were changed so far."""
        self._connection = connection
        self._path = path
        self._on_written = on_written
        self._queue: queue.SimpleQueue[_Request | _Begun | None] = queue.SimpleQueue()
        self._arrived: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        """What each loop asked in this turn of it: handed over at its end, all at once."""
        self._with_thread = 0
        """Requests that were put into the queue and are not told yet."""
        self._begun_by: asyncio.AbstractEventLoop | None = None
        """The loop whose transactions are begun and not on the disk yet."""
        self._rest = 0
        """Groups that no loop carries out."""
        [milliseconds] = connection.execute("PRAGMA busy_timeout").fetchone()
        self._patience = f"PRAGMA busy_timeout={milliseconds}"
        self._is_patient: bool | None = True
        """Whether a database that is locked by another process is waited for."""
        self._closed = False
        self._gate = threading.Lock()
        """Held while a request, or the end, is put: nothing is put behind the end."""
        self._turn = threading.Lock()
        """Held by whoever uses the connection; handed to the thread with what is begun."""
        self._thread = threading.Thread(target=self._serve, name="holdfast-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work) -> Any:
        """Run `work` in a transaction; returns when it is durable, raises what it raised."""
        return await self.run_together(_each, work)

    async def run_together(self, together: Together, value: Any, *, is_brief: bool = False) -> Any:
        """`run` for what `together` makes of the value; neighbours in the queue share a call.

        `is_brief`: it takes little more than its fsync.
        """
        loop = asyncio.get_running_loop()
        request = _Request(together, value, loop, is_brief=is_brief)
        if is_brief and may_block() and self._commit_here(request):
            if request.error is not None:
                raise request.error
            return request.result
        with self._gate:
            if self._closed:
                raise ClosedError("The record store is closed.")
            if self._queue.qsize() + sum(map(len, self._arrived.values())) >= WRITE_QUEUE_MAX:
                raise StoreUnavailableError(
                    f"{WRITE_QUEUE_MAX} writes are waiting.", hint="Slow down, then retry."
                )
            arrived = self._arrived.get(loop)
            if arrived is None:
                arrived = self._arrived[loop] = []
            arrived.append(request)
            if len(arrived) in (1, _HERE_MAX + 1):
                loop.call_soon(self._deliver, loop)
        # a cancelled caller does not undo the write: it was accepted and will be committed
        return await request.future

    @property
    def waiting(self) -> int:
        """How many transactions wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """Finish what waits, then end the thread and close the connection."""
        with self._gate:
            if not self._closed:
                self._closed = True
                for loop in list(self._arrived):
                    self._enqueue(loop)
                self._queue.put(None)
        self._thread.join()

    def _commit_here(self, request: _Request) -> bool:
        """Carry it out on the caller's thread, if that goes without waiting for anybody; whether
        it did."""
        if self._queue.qsize() or self._arrived or not self._turn.acquire(blocking=False):
            return False
        try:
            return not self._closed and self._commit_at_once(request)
        finally:
            self._turn.release()

    def _commit_at_once(self, request: _Request) -> bool:
        if not self._commit([request], is_patient=False):
            request.error = None  # the thread waits for it, or is told what is wrong
            return False
        self._on_written(self._connection.total_changes)
        return True

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._gate:
            group = self._arrived.get(loop, [])
            is_small = len(group) <= _HERE_MAX and all(request.is_brief for request in group)
            if is_small and self._begun_by is loop:
                return  # they are delivered when what is begun has been told
            if not (group and is_small and self._begin_here(loop, group)):
                self._enqueue(loop)

    def _enqueue(self, loop: asyncio.AbstractEventLoop) -> None:
        arrived = self._arrived.pop(loop, ())
        self._with_thread += len(arrived)
        for request in arrived:
            self._queue.put(request)

    def _begin_here(self, loop: asyncio.AbstractEventLoop, group: list[_Request]) -> bool:
        """Carry out a small group on its loop and leave the COMMIT to the thread, if that has
        nothing else to do; False if the thread has to do all."""
        if self._rest:
            self._rest -= 1
            return False
        if self._closed or self._with_thread or not self._turn.acquire(blocking=False):
            return False
        is_begun = is_known = False
        try:
            began = time.perf_counter()
            is_begun = self._begin(group)
            is_known = is_begun or group[0].error is not None
            self._rest = _REST if time.perf_counter() - began > _SLOW_S else 0
        finally:
            if not is_begun:
                self._turn.release()
        if is_known:
            del self._arrived[loop]
        if is_begun:
            self._begun_by = loop
            self._queue.put(_Begun(group))
        elif is_known:
            _settle(group)
        return is_known

    def _begin(self, group: list[_Request]) -> bool:
        """Carry out a group but for its COMMIT; whether that went well. If not, the only request
        has its error, or else the thread is to do it: that waits for others who write, and finds
        out whose error it is."""
        try:
            with translate(self._path):
                self._open(is_patient=False)
                self._fill(group)
        except BaseException as error:
            self._roll_back()
            if not isinstance(error, Exception):  # somebody ends the program
                raise
            if len(group) == 1 and not _is_locked(error):
                group[0].error = error
            return False
        return True

    def _serve(self) -> None:
        ending = False
        while not ending:
            first = self._queue.get()
            if first is None:
                break
            if isinstance(first, _Begun):
                self._end(first.group)
                continue
            with self._gate:  # whoever delivers has delivered all
                group, ending = self._gather(first)
            with self._turn:
                self._commit(group)
                self._on_written(self._connection.total_changes)
            with self._gate:
                self._with_thread -= len(group)
            self._resolve(group)
        with self._turn:
            try:
                _optimize(self._connection)
            finally:
                self._connection.close()

    def _end(self, group: list[_Request]) -> None:
        """Commit what a loop has carried out."""
        try:
            self._commit(group, is_filled=True)
            self._on_written(self._connection.total_changes)
        finally:
            self._turn.release()
        with self._gate:
            self._begun_by = None
        self._resolve(group)

    def _gather(self, first: _Request) -> tuple[list[_Request], bool]:
        group = [first]
        while len(group) < WRITE_BATCH_MAX:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return group, False
            if request is None:
                return group, True
            assert isinstance(request, _Request), "a loop begins only while nobody waits"
            group.append(request)
        return group, False

    def _commit(
        self, group: list[_Request], *, is_patient: bool = True, is_filled: bool = False
    ) -> bool:
        """Carry out a group, unless that is done, and commit it; False if not even a transaction
        could be begun."""
        begun = is_filled
        try:
            with translate(self._path):
                if not is_filled:
                    self._open(is_patient=is_patient)
                    begun = True
                    self._fill(group)
                self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001  (it is raised in the callers)
            self._roll_back()
            if begun and len(group) > 1:
                self._commit_each(group)
            else:
                for request in group:
                    request.error = error
        return begun

    def _commit_each(self, group: list[_Request]) -> None:
        """Find out whose error it was; once the database is away, do not wait again for each."""
        for place, request in enumerate(group):
            if not self._commit([request]):
                for other in group[place:]:
                    other.error = request.error
                return

    def _open(self, *, is_patient: bool) -> None:
        """Begin a transaction; `is_patient`: wait for another process that writes."""
        connection = self._connection
        if connection.in_transaction:
            # an earlier ROLLBACK failed, with the disk perhaps; BEGIN would fail forever
            connection.execute("ROLLBACK")
        if is_patient != self._is_patient:
            self._is_patient = None  # until it is known that it was told
            connection.execute(self._patience if is_patient else "PRAGMA busy_timeout=0")
            self._is_patient = is_patient
        connection.execute("BEGIN IMMEDIATE")

    def _fill(self, group: list[_Request]) -> None:
        for together, neighbours in groupby(group, key=attrgetter("together")):
            requests = list(neighbours)
            results = together(self._connection, [request.value for request in requests])
            for request, result in zip(requests, results, strict=True):
                request.result = result

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the next transaction tries again, and tells if it cannot
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _resolve(self, group: list[_Request]) -> None:
        """Wake the callers, one hop for each of their event loops."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        for request in group:
            by_loop.setdefault(request.loop, []).append(request)
        for loop, requests in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._tell, loop, requests)
            except RuntimeError:  # the loop is closed: nobody waits any more
                with self._gate:
                    self._enqueue(loop)  # what it asked meanwhile was accepted

    def _tell(self, loop: asyncio.AbstractEventLoop, requests: list[_Request]) -> None:
        _settle(requests)
        if loop in self._arrived:
            loop.call_soon(self._deliver, loop)  # behind those who were just told


def _each(connection: SqliteConnection, works: Sequence[Work]) -> list[Any]:
    return [_kept(work(connection)) for work in works]


def _kept(result: Any) -> Any:
    """A result without a cursor: behind its transaction that tells nothing, and as long as anybody
    holds it, an error of a neighbour say, SQLite keeps the files of a closed connection open."""
    return None if isinstance(result, sqlite3.Cursor) else result


def _optimize(connection: SqliteConnection) -> None:
    """Refresh the planner's statistics where tables changed much; SQLite bounds the work itself.

    Where another process writes just now, SQLite refuses at once; then a later close does it.
    """
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA optimize")


def _is_locked(error: Exception) -> bool:
    """Whether another process was writing."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _settle(requests: list[_Request]) -> None:
    for request in requests:
        if request.future.done():  # the caller was cancelled
            continue
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.result)
