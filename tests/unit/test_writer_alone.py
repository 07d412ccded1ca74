"""A single blocked caller's commits are made on its loop: when that is done, and when it is not.

Of others' brief transactions the loop carries out the statements: `test_writer_here.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.backends.sqlite.connect import connect
from holdfast.backends.sqlite.writer import Writer
from holdfast.errors import ClosedError, HoldfastError, StoreUnavailableError
from holdfast.loop import LoopThread

PATIENCE_S = 0.3


class Kept:
    """A writer, and the names of the threads that wrote each value and that committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.threads: dict[int, str] = {}
        self.statements: list[str] = []
        self.committed_by: list[str] = []
        connection = connect(path, busy_timeout_s=PATIENCE_S)
        connection.set_trace_callback(self._note)
        self.writer = Writer(connection, path)

    def _note(self, statement: str) -> None:
        self.statements.append(statement)
        if statement == "COMMIT":
            self.committed_by.append(threading.current_thread().name)

    def put(self, connection: sqlite3.Connection, wanted: Sequence[int]) -> list[int]:
        for value in wanted:
            connection.execute("INSERT INTO t (value) VALUES (?)", (value,))
            self.threads[value] = threading.current_thread().name
        return list(wanted)

    async def ask(self, value: int, *, is_brief: bool = True) -> int:
        written: int = await self.writer.run_together(self.put, value, is_brief=is_brief)
        return written

    def values(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as reader:
            return [value for (value,) in reader.execute("SELECT value FROM t ORDER BY no")]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    path = tmp_path / "writer.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, value INTEGER UNIQUE)")
    made_kept = Kept(path)
    yield made_kept
    made_kept.writer.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


def test_a_lone_blocked_caller_is_committed_on_its_loop(kept: Kept, loop: LoopThread) -> None:
    assert [loop.run(kept.ask(value)) for value in range(3)] == [0, 1, 2]
    assert set(kept.threads.values()) == {"holdfast-loop"}
    assert kept.committed_by == ["holdfast-loop"] * 3
    assert kept.values() == [0, 1, 2]


def test_what_may_take_long_is_left_to_the_thread(kept: Kept, loop: LoopThread) -> None:
    assert loop.run(kept.ask(1, is_brief=False)) == 1
    assert kept.threads == {1: "holdfast-writer"}


async def test_a_loop_that_serves_others_never_waits_for_the_disk(kept: Kept) -> None:
    assert await kept.ask(1) == 1
    assert kept.committed_by == ["holdfast-writer"]


def test_several_blocked_callers_share_commits(kept: Kept, loop: LoopThread) -> None:
    there: list[int] = []
    all_there = asyncio.Event()

    async def begun(value: int) -> int:
        there.append(value)
        if len(there) == 8:
            all_there.set()
        await all_there.wait()
        return await kept.ask(value)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda n: loop.run(begun(n)), range(8))) == list(range(8))
    assert "holdfast-writer" in kept.committed_by
    assert len(kept.committed_by) < 8
    assert sorted(kept.values()) == list(range(8))


def test_an_error_is_the_callers_and_leaves_nothing(kept: Kept, loop: LoopThread) -> None:
    loop.run(kept.ask(1))
    with pytest.raises(HoldfastError):
        loop.run(kept.ask(1))
    assert loop.run(kept.ask(2)) == 2
    assert kept.values() == [1, 2]


def test_a_locked_database_is_waited_for_by_the_thread(kept: Kept, loop: LoopThread) -> None:
    with closing(sqlite3.connect(kept.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            loop.run(kept.ask(1))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(loop.run, kept.ask(2))
            other.execute("ROLLBACK")
            assert waiting.result(10) == 2
    assert loop.run(kept.ask(3)) == 3
    assert kept.values() == [2, 3]
    assert kept.threads[3] == "holdfast-loop"
    patience = f"PRAGMA busy_timeout={int(PATIENCE_S * 1000)}"
    told = [one for one in kept.statements if one.startswith("PRAGMA busy_timeout=")]
    assert told == ["PRAGMA busy_timeout=0", patience] * (len(told) // 2) + [told[0]]


def test_a_closed_writer_refuses(kept: Kept, loop: LoopThread) -> None:
    kept.writer.close()
    with pytest.raises(ClosedError):
        loop.run(kept.ask(1))
    assert kept.values() == []


def test_closing_waits_for_what_is_written_here(kept: Kept, loop: LoopThread) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(connection: sqlite3.Connection, wanted: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        return kept.put(connection, wanted)

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: loop.run(kept.writer.run_together(held, 1, is_brief=True)))
        assert begun.wait(10)
        closing_ = pool.submit(kept.writer.close)
        go_on.set()
        assert writing.result(10) == 1
        closing_.result(10)
    assert kept.values() == [1]
