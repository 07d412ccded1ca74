"""Brief transactions whose statements their loop carries out, and whose COMMIT the thread makes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from holdfast.acts import Act, Actor
from holdfast.backends.sql.operations import is_brief
from holdfast.backends.sqlite import writer as module
from holdfast.backends.sqlite.connect import SqliteConnection
from holdfast.core.audit import rows_of
from holdfast.errors import HoldfastError, StoreUnavailableError
from holdfast.ports import PutAudit
from unit.test_writer_alone import PATIENCE_S, Kept, kept

__all__ = ["kept"]

HERE, THREAD = "MainThread", "holdfast-writer"


class Held:
    """Makes the COMMITs of the writer's thread wait."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.fails = 0
        """So many of them fail."""

    def commit(self) -> None:
        if threading.current_thread().name == THREAD:
            self.reached.set()
            assert self.go_on.wait(10)
            if self.fails:
                self.fails -= 1
                raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    execute = SqliteConnection.execute

    def noted(self: SqliteConnection, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            held.commit()
        return execute(self, sql, *parameters)

    monkeypatch.setattr(SqliteConnection, "execute", noted)
    yield held
    held.go_on.set()


async def begun(held: Held) -> None:
    """A COMMIT is being waited for."""
    await asyncio.to_thread(held.reached.wait, 10)
    held.reached.clear()


def asked(kept: Kept, *values: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(kept.ask(value)) for value in values]


async def test_the_thread_gets_nothing_but_the_commit(kept: Kept) -> None:
    assert await asyncio.gather(*asked(kept, *range(8))) == list(range(8))
    assert set(kept.threads.values()) == {HERE}
    assert kept.committed_by == [THREAD]
    assert kept.values() == list(range(8))


async def test_more_than_a_few_are_the_threads(kept: Kept) -> None:
    assert await asyncio.gather(*asked(kept, *range(9))) == list(range(9))
    assert set(kept.threads.values()) == {THREAD}
    assert kept.committed_by == [THREAD]


async def test_one_that_may_take_long_is_the_threads_with_its_neighbours(kept: Kept) -> None:
    await asyncio.gather(kept.ask(1), kept.ask(2, is_brief=False), kept.ask(3))
    assert set(kept.threads.values()) == {THREAD}
    assert kept.values() == [1, 2, 3]


async def test_what_comes_while_the_disk_is_waited_for_is_one_group_in_order(
    kept: Kept, held: Held
) -> None:
    first = asked(kept, 0)
    await begun(held)
    more = []
    for value in range(1, 6):
        more += asked(kept, value)
        await asyncio.sleep(0)
    assert kept.threads == {0: HERE}
    held.go_on.set()
    assert await asyncio.gather(*first, *more) == list(range(6))
    assert kept.committed_by == [THREAD] * 2
    assert set(kept.threads.values()) == {HERE}
    assert kept.values() == list(range(6))


async def test_a_crowd_that_comes_meanwhile_does_not_wait_to_be_told(
    kept: Kept, held: Held
) -> None:
    first = asked(kept, 0)
    await begun(held)
    crowd = asked(kept, *range(1, 7))
    await asyncio.sleep(0.01)
    assert kept.writer.waiting == 0
    crowd += asked(kept, *range(7, 13))
    await asyncio.sleep(0.01)
    assert kept.writer.waiting == 12
    held.go_on.set()
    assert await asyncio.gather(*first, *crowd) == list(range(13))
    assert {kept.threads[value] for value in range(1, 13)} == {THREAD}
    assert kept.values() == list(range(13))


async def test_nothing_overtakes_what_the_thread_has(kept: Kept, held: Held) -> None:
    slow = asyncio.create_task(kept.ask(1, is_brief=False))
    await begun(held)
    brief = asked(kept, 2)
    await asyncio.sleep(0.01)
    assert kept.threads == {1: THREAD}
    held.go_on.set()
    await asyncio.gather(slow, *brief)
    assert kept.values() == [1, 2]


async def test_nobody_is_told_before_the_commit(kept: Kept, held: Held) -> None:
    [task] = asked(kept, 1)
    await begun(held)
    await asyncio.sleep(0.01)
    assert not task.done()
    assert kept.values() == []
    held.go_on.set()
    assert await task == 1


async def test_the_error_of_one_is_its_own(kept: Kept) -> None:
    await kept.ask(2)
    results = await asyncio.gather(*asked(kept, 1, 2, 3), return_exceptions=True)
    assert [isinstance(result, HoldfastError) for result in results] == [False, True, False]
    assert await kept.ask(4) == 4
    assert kept.threads[4] == HERE
    assert kept.values() == [2, 1, 3, 4]


async def test_the_error_of_a_single_one_is_told_at_once(kept: Kept) -> None:
    await kept.ask(1)
    before = len(kept.statements)
    with pytest.raises(HoldfastError):
        await kept.ask(1)
    began = [one for one in kept.statements[before:] if one.startswith("BEGIN")]
    assert len(began) == 1, "it was run a second time"
    assert await kept.ask(2) == 2
    assert kept.values() == [1, 2]


async def test_a_commit_that_fails_is_told_and_leaves_nothing(kept: Kept, held: Held) -> None:
    held.fails = 1
    held.go_on.set()
    with pytest.raises(HoldfastError):
        await kept.ask(1)
    held.fails = 3
    results = await asyncio.gather(*asked(kept, 2, 3), return_exceptions=True)
    assert all(isinstance(result, HoldfastError) for result in results)
    with closing(sqlite3.connect(kept.path, timeout=0)) as other:
        other.execute("INSERT INTO t (value) VALUES (9)")  # nothing is left begun
    assert kept.values() == []
    assert await kept.ask(4) == 4
    assert kept.values() == [4]


async def test_a_locked_database_keeps_no_loop(kept: Kept) -> None:
    """The loop asks without any patience, the thread with it."""
    with closing(sqlite3.connect(kept.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            await kept.ask(1)
        begin, patience = "BEGIN IMMEDIATE", "PRAGMA busy_timeout="
        told = [one for one in kept.statements if one.startswith((begin, patience))]
        assert told == [f"{patience}0", begin, f"{patience}{int(PATIENCE_S * 1000)}", begin]
        other.execute("ROLLBACK")
    assert await kept.ask(2) == 2
    assert kept.values() == [2]


async def test_where_statements_are_slow_the_thread_takes_them(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLOW_S", -1.0)
    monkeypatch.setattr(module, "_REST", 2)
    for value in range(4):
        await kept.ask(value)
    assert [kept.threads[value] for value in range(4)] == [HERE, THREAD, THREAD, HERE]


async def test_closing_keeps_what_is_begun_and_what_waits_for_it(kept: Kept, held: Held) -> None:
    tasks = asked(kept, 1)
    await begun(held)
    tasks += asked(kept, 2)
    await asyncio.sleep(0)
    closing_ = asyncio.create_task(asyncio.to_thread(kept.writer.close))
    await asyncio.sleep(0.01)
    held.go_on.set()
    assert await asyncio.gather(*tasks) == [1, 2]
    await closing_
    assert kept.values() == [1, 2]


def test_a_loop_that_ended_meanwhile_leaves_what_it_asked(kept: Kept, held: Held) -> None:
    async def leave() -> None:
        tasks = asked(kept, 1)
        await begun(held)
        tasks += asked(kept, 2)
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    asyncio.run(leave())
    held.go_on.set()
    for _ in range(1000):
        if 2 in kept.values():
            break
        time.sleep(0.01)
    assert asyncio.run(kept.ask(3)) == 3
    assert kept.values() == [1, 2, 3]


def test_two_loops_keep_their_orders(kept: Kept) -> None:
    async def ask(start: int) -> None:
        tasks = []
        for value in range(start, start + 100):
            tasks += asked(kept, value)
            if value % 3:
                await asyncio.sleep(0.001 if value % 5 == 0 else 0)
        await asyncio.wait_for(asyncio.gather(*tasks), 30)

    threads = [threading.Thread(target=asyncio.run, args=(ask(start),)) for start in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = kept.values()
    assert [value for value in values if value < 1000] == list(range(100))
    assert [value for value in values if value >= 1000] == list(range(1000, 1100))


def test_many_rows_of_the_audit_are_not_brief() -> None:
    act = Act("search", "read", Actor(via="http"))
    [row] = rows_of(act, "p", 0.0)
    assert is_brief([PutAudit(rows=(row,) * 16)])
    assert not is_brief([PutAudit(rows=(row,) * 17)])
