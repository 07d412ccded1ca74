"""A bounded pool of read connections, each used by one thread at a time."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from holdfast.backends.sql.sealing import Sealer
from holdfast.backends.sqlite.connect import SqliteConnection, connect, translate
from holdfast.errors import ClosedError

T = TypeVar("T")


class Readers:
    """Runs functions on read connections in threads of its own."""

    def __init__(
        self, path: Path, connections_max: int, busy_timeout_s: float, sealer: Sealer | None = None
    ) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._sealer = sealer
        self._idle: queue.LifoQueue[SqliteConnection] = queue.LifoQueue()
        self._threads = ThreadPoolExecutor(connections_max, "holdfast-read")
        self._connections_max = connections_max
        self._inside = 0
        self._closed = False

    async def run(self, work: Callable[[SqliteConnection], T]) -> T:
        """Run `work` on a read connection, in one snapshot of the database."""
        if self._closed:
            raise ClosedError("The record store is closed.")
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, work)
        finally:
            self._inside -= 1

    @property
    def busy(self) -> int:
        """How many connections are in use."""
        return min(self._inside, self._connections_max)

    @property
    def waiting(self) -> int:
        """How many calls wait for one."""
        return max(0, self._inside - self._connections_max)

    def close(self) -> None:
        """Finish what runs, then close every connection."""
        self._closed = True
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _call(self, work: Callable[[SqliteConnection], T]) -> T:
        with translate(self._path):
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = connect(
                    self._path,
                    read_only=True,
                    busy_timeout_s=self._busy_timeout_s,
                    sealer=self._sealer,
                )
            try:
                connection.execute("BEGIN")
                return work(connection)
            finally:
                try:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
                finally:
                    self._idle.put(connection)
