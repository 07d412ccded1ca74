"""Checkpoints on a thread of their own: the log's pages are copied into the database file.

SQLite would make one in the middle of a commit, every few thousand pages, and whoever waits for
that commit would wait for megabytes to reach the disk. Here a commit does so only if this thread
falls far behind (`LOG_PAGES_MAX`), and finds most of the copying done even then.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final

from holdfast.backends.sqlite.connect import SqliteConnection, connect
from holdfast.errors import StoreError

ROWS: Final = 2_000
"""Rows changed between two checkpoints: what some two hundred adds write."""

_PASSES: Final = 3
"""The first one copies, the next ones what was committed meanwhile: then the log can begin anew."""

_log = logging.getLogger("holdfast.sqlite")


class Checkpoints:
    """Makes them when told that enough was written; the thread is begun at the first."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._rows = 0
        self.made = 0
        """How many were made."""

    def note(self, rows: int) -> None:
        """On the writer's thread, after a commit: so many rows were changed so far."""
        if rows - self._rows < ROWS or self._closed:
            return
        self._rows = rows
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._serve, name="holdfast-checkpoint", daemon=True
            )
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Finish the one under way, end the thread, close its connection."""
        self._closed = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        try:
            connection = connect(self._path, busy_timeout_s=self._busy_timeout_s)
        except (sqlite3.Error, StoreError) as error:
            _log.warning("no checkpoints beside the commits: %s", type(error).__name__)
            return
        try:
            while self._wanted.wait() and not self._closed:
                self._wanted.clear()
                self._make(connection)
        finally:
            connection.close()

    def _make(self, connection: SqliteConnection) -> None:
        """Raises nothing: what is not copied now is copied by the next one, or by a commit."""
        try:
            for _ in range(_PASSES):
                _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if copied >= pages:
                    break
            self.made += 1
        except sqlite3.Error as error:
            _log.warning("a checkpoint was not made: %s", getattr(error, "sqlite_errorname", ""))
