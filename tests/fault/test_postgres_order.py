"""What orders the writes of several instances on one Postgres, and fences projects: each guard is
seen to fail once it is taken away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from holdfast.backends.postgres import transactions
from holdfast.backends.postgres.bridge import wait
from holdfast.backends.postgres.dialect import PostgresDialect
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.operations import carry_out
from holdfast.errors import ConfigError, SpaceMismatchError
from holdfast.model import Project
from holdfast.ports import Op
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    NOW,
    OTHER_SPACE,
    RED,
    SPACE,
    commit,
    put,
    put_job,
    replica,
    vector,
)
from support import postgres


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as given:
        yield given


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[PostgresRecords]]:
    """Three instances."""
    made = [postgres.records(url) for _ in range(3)]
    for store in made:
        await store.open(SPACE)
    yield made
    for store in made:
        await store.close()


class Slow:
    """A commit that stands still before its end, with all its numbers taken."""

    def __init__(self, store: PostgresRecords, *ops: Op, project: Project = RED) -> None:
        self._go, self.ready = asyncio.Event(), asyncio.Event()

        def work(connection: Connection) -> None:
            carry_out(connection, [(project, ops)], store._binding, store._ids)
            self.ready.set()
            wait(self._go.wait())

        self.task = asyncio.create_task(store._transactions.commit(project, work))

    async def __aenter__(self) -> Slow:
        ready = asyncio.create_task(self.ready.wait())
        await asyncio.wait((ready, self.task), return_when=asyncio.FIRST_COMPLETED)
        assert ready.done(), self.task.exception()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        await self.task


async def is_blocked(url: str, task: asyncio.Task[Any]) -> bool:
    """Whether a task comes to wait for an advisory lock, rather than to its end."""
    sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while not task.done():
            row = await (await connection.execute(sql)).fetchone()
            if row and row[0]:
                return True
            await asyncio.sleep(0.005)
    return False


async def second_waits(url: str, stores: list[PostgresRecords]) -> bool:
    async with Slow(stores[0], put("a", "first")):
        second = asyncio.create_task(commit(stores[1], put("b", "second")))
        waits = await is_blocked(url, second)
        # another project's does not wait
        await commit(stores[2], put("c", "third"), project=BLUE)
    await second
    return waits


async def test_commits_of_a_project_become_visible_in_the_order_of_their_numbers(
    url: str, stores: list[PostgresRecords]
) -> None:
    assert await second_waits(url, stores)
    assert (await replica(stores[2])).order == ["a", "b"]


async def test_without_the_projects_lock_they_would_not(
    url: str, stores: list[PostgresRecords]
) -> None:
    any_key = itertools.count(100)
    with patch.object(transactions, "project_key", lambda _project: next(any_key)):
        # without it, the second has the greater generation, and is overtaken by the first
        assert not await second_waits_alone(url, stores)


async def second_waits_alone(url: str, stores: list[PostgresRecords]) -> bool:
    async with Slow(stores[0], put("a", "first")):
        second = asyncio.create_task(commit(stores[1], put("b", "second", user_id="bob")))
        waits = await is_blocked(url, second)
    await second
    return waits


async def told(stores: list[PostgresRecords]) -> list[str]:
    """What the feed tells while a commit with smaller numbers is under way."""
    async with Slow(stores[0], put("a", "first")):
        await commit(stores[1], put("b", "second"), project=BLUE)
        found = await stores[2].directory.changes(0, 100)
        assert await stores[2].directory.last_change() == (found[-1].no if found else 0)
    return [change.memory_id for change in found]


async def test_the_feed_tells_nothing_that_something_smaller_could_follow(
    stores: list[PostgresRecords],
) -> None:
    await commit(stores[0], put("z", "before"))
    assert await told(stores) == ["z"]
    found = await stores[2].directory.changes(0, 100)
    assert [change.memory_id for change in found] == ["z", "a", "b"]
    assert [change.no for change in found] == sorted(change.no for change in found)


async def test_a_feed_that_does_not_look_at_whats_under_way_is_caught(
    stores: list[PostgresRecords],
) -> None:
    with patch.object(PostgresDialect, "last_settled", lambda _self, _connection: 2**62):
        assert await told(stores) == ["b"]


async def test_a_store_is_not_bound_anew_while_its_first_vector_is_written(
    url: str, stores: list[PostgresRecords]
) -> None:
    other = postgres.records(url)
    async with Slow(stores[0], put("a", vec=vector(1))):
        opening = asyncio.create_task(other.open(OTHER_SPACE))
        assert await is_blocked(url, opening)
    with pytest.raises(SpaceMismatchError):
        await opening
    await other.close()


# ------------------------------------------------------------------ the queue


async def leased(stores: list[PostgresRecords]) -> list[str]:
    """The jobs that many workers get who all ask at once."""
    await commit(stores[0], *(put_job(f"j{i}", f"s{i}") for i in range(12)))
    asked = [store.lease(f"{store}{i}", NOW, 60.0) for i in range(12) for store in stores]
    found = await asyncio.gather(*asked)
    return sorted(job.id for job in found if job is not None)


async def test_a_job_is_leased_to_one_of_many(stores: list[PostgresRecords]) -> None:
    assert await leased(stores) == sorted(f"j{i}" for i in range(12))


async def test_without_its_row_lock_a_job_is_leased_twice(stores: list[PostgresRecords]) -> None:
    with patch.object(PostgresDialect, "lock_free", ""):
        found = await leased(stores)
    assert len(found) > len(set(found))


async def test_jobs_of_a_scope_run_in_order_whoever_asks(stores: list[PostgresRecords]) -> None:
    await commit(stores[0], *(put_job(f"j{i}", "one scope") for i in range(3)))
    found = await asyncio.gather(*(store.lease("me", NOW, 60.0) for store in stores))
    assert [job.id for job in found if job is not None] == ["j0"]


# ------------------------------------------------------------------ row-level security

COUNT: Callable[[Connection], int] = lambda c: int(  # noqa: E731
    c.execute("SELECT count(*) FROM memories").fetchone()[0]
)


async def test_a_statement_without_its_project_sees_nothing_of_another(
    stores: list[PostgresRecords],
) -> None:
    await commit(stores[0], put("a"), put("b", "milk"))
    await commit(stores[0], put("c"), project=BLUE)
    for _ in range(3):  # whatever a connection was used for before
        assert await stores[0].read(RED, COUNT) == 2
        assert await stores[0].read(BLUE, COUNT, brief=True) == 1
        assert await stores[0].read(Project("green"), COUNT) == 0
        assert await stores[0].read(None, COUNT) == 3
        assert await stores[0].write(RED, COUNT) == 2


async def test_nor_can_it_change_anything_there(stores: list[PostgresRecords]) -> None:
    await commit(stores[0], put("c"), project=BLUE)
    for sql in ("UPDATE memories SET text = 'x'", "DELETE FROM memories"):
        assert await stores[0].write(RED, lambda c, sql=sql: c.execute(sql).rowcount) == 0
    steal = "UPDATE memories SET project = 'blue'"
    await commit(stores[0], put("a"))
    with pytest.raises(ConfigError, match="right"):
        await stores[0].write(RED, lambda c: c.execute(steal))
    assert await stores[0].read(RED, COUNT) == 1


def test_a_connection_that_says_nothing_sees_nothing(url: str) -> None:
    with ExitStack() as stack:
        raw = stack.enter_context(psycopg.connect(url, autocommit=True))
        raw.execute("SELECT set_config('holdfast.reach', 'all', false)")
        raw.execute(
            "INSERT INTO feedback (project, memory_id, id, at) VALUES ('red', 'm', 'f', 0.0)"
        )
        other = stack.enter_context(psycopg.connect(url, autocommit=True))
        assert other.execute("SELECT count(*) FROM feedback").fetchone() == (0,)


async def test_a_user_above_the_fence_is_told_so(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = postgres.records(url.replace(f"//{postgres.ROLE}@", "//postgres@"))
    await store.open(SPACE)
    await commit(store, put("a"))
    assert (await store.state(RED, ALICE)).memories == 1
    await store.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "row-level security" in caplog.text
