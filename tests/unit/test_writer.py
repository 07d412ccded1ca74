"""The writer thread: group commit, whose error is whose, order, bounds, and its end."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from holdfast.backends.sqlite import writer as module
from holdfast.backends.sqlite.connect import connect
from holdfast.backends.sqlite.writer import Together, Work, Writer
from holdfast.errors import ClosedError, StoreUnavailableError

INSERT = "INSERT INTO t (value) VALUES (?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "writer.db"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, value INTEGER UNIQUE)")
    return path


@contextmanager
def writing(path: Path, timeout_s: float = 5.0) -> Iterator[tuple[Writer, list[str]]]:
    """A writer and the statements its connection runs."""
    connection = connect(path, busy_timeout_s=timeout_s)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    writer = Writer(connection, path)
    try:
        yield writer, statements
    finally:
        writer.close()


def put(value: int) -> Work:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute(INSERT, (value,))
        return value

    return work


@asynccontextmanager
async def held(writer: Writer) -> AsyncIterator[None]:
    """Whatever is asked of the writer inside of the block waits, and is then one group."""
    begun, go_on = threading.Event(), threading.Event()

    def work(_connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    holding = asyncio.create_task(writer.run(work))
    await asyncio.to_thread(begun.wait, 10)
    try:
        yield
    finally:
        await asyncio.sleep(0)
        go_on.set()
        await holding


async def several(writer: Writer, works: list[Work]) -> list[asyncio.Task[object]]:
    """Tasks that all wait for the writer."""
    tasks = [asyncio.create_task(writer.run(work)) for work in works]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


def values(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM t ORDER BY no")]


async def test_what_waits_shares_a_commit_in_order_of_arrival(path: Path) -> None:
    with writing(path) as (writer, statements):
        async with held(writer):
            tasks = await several(writer, [put(i) for i in range(100)])
        assert await asyncio.gather(*tasks) == list(range(100))
        assert values(path) == list(range(100))
        assert statements.count("COMMIT") == 2


async def test_what_is_asked_in_one_turn_of_the_loop_shares_a_commit(path: Path) -> None:
    with writing(path) as (writer, statements):
        assert await asyncio.gather(*(writer.run(put(i)) for i in range(100))) == list(range(100))
        assert statements.count("COMMIT") == 1


class _Slow(queue.SimpleQueue):  # type: ignore[type-arg]
    """Whoever puts into it gives way to others each time."""

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
        super().put(item)
        time.sleep(0.002)


async def test_a_turn_that_is_handed_over_slowly_shares_a_commit(path: Path) -> None:
    with patch.object(module.queue, "SimpleQueue", _Slow), writing(path) as (writer, statements):
        assert await asyncio.gather(*(writer.run(put(i)) for i in range(20))) == list(range(20))
        assert statements.count("COMMIT") == 1


def put_all(calls: list[list[int]]) -> Together:
    """Puts the values of a call with one statement, and tells which they were."""

    def together(connection: sqlite3.Connection, wanted: Sequence[int]) -> list[int]:
        calls.append(list(wanted))
        marks = ",".join("(?)" for _ in wanted)
        connection.execute(f"INSERT INTO t (value) VALUES {marks}", wanted)
        return [-value for value in wanted]

    return together


async def test_neighbours_share_a_call(path: Path) -> None:
    calls: list[list[int]] = []
    together = put_all(calls)
    with writing(path) as (writer, statements):
        asked = [writer.run_together(together, value) for value in (1, 2, 3)]
        asked += [writer.run(put(4)), writer.run_together(together, 5)]
        assert await asyncio.gather(*asked) == [-1, -2, -3, 4, -5]
        assert calls == [[1, 2, 3], [5]]
        assert statements.count("COMMIT") == 1
    assert values(path) == [1, 2, 3, 4, 5]


async def test_the_error_of_one_who_shares_a_call_is_its_own(path: Path) -> None:
    together = put_all([])
    with writing(path) as (writer, _):
        asked = [writer.run_together(together, value) for value in (1, 2, 2, 3)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["int", "int", "StoreError", "int"]
    assert values(path) == [1, 2, 3]


async def test_64_callers_need_far_fewer_commits_than_writes(path: Path) -> None:
    async def caller(writer: Writer, number: int) -> None:
        for turn in range(10):
            await writer.run(put(number * 100 + turn))

    with writing(path) as (writer, statements):
        await asyncio.gather(*(caller(writer, number) for number in range(64)))
    assert len(values(path)) == 640
    assert 10 <= statements.count("COMMIT") < 640 / 8


async def test_a_group_is_bounded(path: Path) -> None:
    with writing(path) as (writer, statements), patch.object(module, "WRITE_BATCH_MAX", 10):
        async with held(writer):
            tasks = await several(writer, [put(i) for i in range(35)])
        await asyncio.gather(*tasks)
        assert statements.count("COMMIT") == 1 + 4


async def test_one_callers_error_is_nobody_elses(path: Path) -> None:
    with writing(path) as (writer, _):
        async with held(writer):
            tasks = await several(writer, [put(1), put(2), put(2), put(3)])
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["int", "int", "StoreError", "int"]
        assert values(path) == [1, 2, 3]


async def test_a_transaction_that_fails_half_way_leaves_nothing(path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (7,))
        raise ValueError("half way")

    with writing(path) as (writer, _):
        with pytest.raises(ValueError, match="half way"):
            await writer.run(half)
        assert await writer.run(put(8)) == 8
    assert values(path) == [8]


async def test_a_result_is_told_after_the_commit_only(path: Path) -> None:
    with writing(path) as (writer, statements):
        for value in range(20):
            await writer.run(put(value))
            assert statements[-1] == "COMMIT"
            assert len(values(path)) == value + 1


async def test_a_cancelled_caller_does_not_undo_its_write(path: Path) -> None:
    with writing(path) as (writer, _):
        async with held(writer):
            one, two = await several(writer, [put(1), put(2)])
            one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert await two == 2
    assert values(path) == [1, 2]


async def test_too_many_waiting_writes_are_refused(path: Path) -> None:
    with writing(path) as (writer, _), patch.object(module, "WRITE_QUEUE_MAX", 5):
        async with held(writer):
            tasks = await several(writer, [put(i) for i in range(7)])
            refused = [task for task in tasks if task.done()]
            assert len(refused) == 2
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[:5] == list(range(5))
        assert all(isinstance(result, StoreUnavailableError) for result in results[5:])
        assert "waiting" in str(results[6])
    assert values(path) == list(range(5))


async def test_a_locked_database_fails_those_who_wait_together_and_recovers(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with writing(path, timeout_s=0.3) as (writer, _):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            async with held(writer):
                tasks = await several(writer, [put(i) for i in range(20)])
            await asyncio.gather(*tasks)
            other.execute("BEGIN IMMEDIATE")
            begin = loop.time()
            tasks = await several(writer, [put(100 + i) for i in range(20)])
            results = await asyncio.gather(*tasks, return_exceptions=True)
            waited_s = loop.time() - begin
            assert all(isinstance(result, StoreUnavailableError) for result in results)
            assert "another process" in str(results[0])
            # one group was begun with, the others formed while it waited
            assert waited_s < 3 * 0.3
            other.execute("ROLLBACK")
        assert await writer.run(put(999)) == 999
    assert values(path) == [*range(20), 999]


async def test_closing_finishes_what_waits_and_refuses_the_rest(path: Path) -> None:
    with writing(path) as (writer, _):
        async with held(writer):
            tasks = await several(writer, [put(i) for i in range(10)])
            ending = asyncio.create_task(asyncio.to_thread(writer.close))
            await asyncio.sleep(0.01)
            with pytest.raises(ClosedError):
                await writer.run(put(99))
        assert await asyncio.gather(*tasks) == list(range(10))
        await ending
        writer.close()
    assert values(path) == list(range(10))


async def test_closing_finishes_what_was_asked_in_this_very_turn(path: Path) -> None:
    with writing(path) as (writer, _):
        tasks = [asyncio.create_task(writer.run(put(i))) for i in range(5)]
        await asyncio.sleep(0)
        writer.close()
        assert values(path) == list(range(5))
        assert await asyncio.gather(*tasks) == list(range(5))


async def test_no_caller_waits_for_ever_when_closing_meets_writing(path: Path) -> None:
    """Every write begun before or during `close` either happens or is refused."""
    for _ in range(30):
        with writing(path) as (writer, _):
            closer = threading.Thread(target=writer.close)
            tasks = [asyncio.create_task(writer.run(lambda _: 1)) for _ in range(5)]
            closer.start()
            tasks += [asyncio.create_task(writer.run(lambda _: 1)) for _ in range(20)]
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
            assert all(r == 1 or isinstance(r, ClosedError) for r in results)
            await asyncio.to_thread(closer.join)


async def test_closing_a_locked_database_goes_without_statistics(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with closing(connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE u (a, b); CREATE INDEX ua ON u (a); CREATE INDEX ub ON u (b);"
            "INSERT INTO u VALUES (1, 2); ANALYZE"
        )
        connection.executemany("INSERT INTO u VALUES (?, ?)", [(i, i) for i in range(500)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        with writing(path) as (writer, _):
            read = "SELECT * FROM u WHERE a = 3 AND b = 4"
            await writer.run(lambda connection: connection.execute(read).fetchall())
            pending = await writer.run(
                lambda connection: connection.execute("PRAGMA optimize(-1)").fetchall()
            )
            assert pending, "there is nothing to do at closing: the test tests nothing"
            other.execute("BEGIN IMMEDIATE")
            begin = loop.time()
        assert loop.time() - begin < 2.0
        other.execute("ROLLBACK")


def test_a_loop_that_ended_meanwhile_does_not_end_the_writer(path: Path) -> None:
    """Its caller is gone; those of other loops are served on."""
    go_on = threading.Event()

    async def leave(writer: Writer, work: Callable[[sqlite3.Connection], object]) -> None:
        [task] = await several(writer, [work])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with writing(path) as (writer, _):

        def slow(connection: sqlite3.Connection) -> None:
            connection.execute(INSERT, (1,))
            assert go_on.wait(10)

        asyncio.run(leave(writer, slow))
        go_on.set()
        assert asyncio.run(writer.run(put(2))) == 2
    assert values(path) == [1, 2]
