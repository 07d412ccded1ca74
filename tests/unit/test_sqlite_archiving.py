"""Snapshots of a SQLite store, and those that are given up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.backends.sqlite.archiving import SqliteArchiving
from holdfast.backends.sqlite.connect import connect
from holdfast.backends.sqlite.migrate import prepare
from holdfast.clock import SystemClock


async def test_a_snapshot_that_is_cancelled_while_it_opens_leaves_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "holdfast.db"
    with closing(connect(path)) as connection:
        prepare(connection, path)
    archiving = SqliteArchiving(path, SystemClock())
    begun, go_on, opened = threading.Event(), threading.Event(), []
    honest = archiving._reader

    def slow() -> sqlite3.Connection:
        begun.set()
        go_on.wait(10)
        opened.append(honest())
        return opened[0]

    monkeypatch.setattr(archiving, "_reader", slow)

    async def look() -> None:
        async with archiving.snapshot():
            raise AssertionError("it was to be cancelled before")

    looking = asyncio.create_task(look())
    await asyncio.to_thread(begun.wait, 10)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert looking.cancelled()
    go_on.set()
    async with asyncio.timeout(10):
        while not opened or not is_closed(opened[0]):  # noqa: ASYNC110  (a thread's doing)
            await asyncio.sleep(0.01)


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False
