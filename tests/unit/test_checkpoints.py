"""Checkpoints are made beside the commits, and by no commit."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.backends.sqlite import checkpoints
from holdfast.backends.sqlite.connect import LOG_PAGES_MAX
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.model import Space
from holdfast.testing.contracts.values import NOW, RED, commit, put_job

SPACE = Space(provider="tests", model="small", dimensions=4)
PATIENCE_S = 20.0


async def opened(path: Path) -> SqliteRecords:
    clock = ManualClock()
    records = SqliteRecords(path, clock, seeded_ids(clock, 1))
    await records.open(SPACE)
    return records


def until_made(records: SqliteRecords, count: int) -> None:
    made = records._checkpoints
    assert made is not None
    deadline = time.monotonic() + PATIENCE_S
    while made.made < count:
        assert time.monotonic() < deadline, f"{made.made} of {count} checkpoints"
        time.sleep(0.01)


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


async def test_they_are_made_beside_the_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "ROWS", 10)
    path = tmp_path / "store.db"
    records = await opened(path)
    try:
        size = path.stat().st_size
        for number in range(40):
            await commit(records, put_job(f"job-{number}", payload={"text": "x" * 10_000}))
        until_made(records, 1)
        assert "holdfast-checkpoint" in names()
        assert path.stat().st_size > size  # the rows are in the file, and the log is open still
        assert len(await records.jobs(RED, None, 0, 100)) == 40
    finally:
        await records.close()
    assert "holdfast-checkpoint" not in names()
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("SELECT count(*) FROM jobs").fetchone() == (40,)


async def test_a_store_that_is_hardly_written_to_has_no_thread_for_them(tmp_path: Path) -> None:
    records = await opened(tmp_path / "store.db")
    try:
        await commit(records, put_job("job"))
        assert await records.lease("me", NOW, 60.0) is not None
        assert "holdfast-checkpoint" not in names()
        assert records._writer is not None
        found = records._writer._connection.execute("PRAGMA wal_autocheckpoint").fetchone()
        assert found == (LOG_PAGES_MAX,)
    finally:
        await records.close()


async def test_one_that_fails_is_told_and_costs_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpoints, "ROWS", 1)
    monkeypatch.setattr(checkpoints, "connect", away)
    records = await opened(tmp_path / "store.db")
    try:
        for number in range(5):
            await commit(records, put_job(f"job-{number}"))
    finally:
        await records.close()
    assert "no checkpoints beside the commits" in caplog.text
