"""The graph over the vectors of a collection: made when its points are there, beside everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from holdfast.backends.pgvector.vectors import PgVectors
from holdfast.testing.contracts.values import ALICE, BOB, RED
from holdfast.testing.contracts.vectors import near
from pgvector.test_searches import scattered, watched
from support.pgvector import execute, opened

GRAPHS = "SELECT indexname FROM pg_indexes WHERE indexdef ~ 'hnsw'"
VALID = (
    "SELECT indisvalid FROM pg_index"
    " WHERE indexrelid = 'holdfast_index.\"memories.graph\"'::regclass"
)
AT_ONCE = 120


@contextmanager
def writing(owner: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that has written and is not at its end: an index is made when it is."""
    with psycopg.connect(owner) as connection:
        connection.execute("SET LOCAL holdfast.reach = 'all'")
        connection.execute("UPDATE holdfast_index.memories SET length = length")
        yield connection
        connection.rollback()


async def under_way(vectors: PgVectors, *, wanted: bool = True) -> None:
    """Wait until the graph is being made, or is not any more."""
    for _ in range(2_000):
        if (await vectors.optimizing() is not None) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing changes")


async def test_a_collection_is_filled_without_a_graph_which_is_made_afterwards(owner: str) -> None:
    async with opened(owner, hnsw_rows_min=AT_ONCE) as vectors:
        await scattered(vectors, ALICE, AT_ONCE - 1)
        await vectors.optimize()
        assert execute(owner, GRAPHS) == [], "it does not pay yet"
        await scattered(vectors, BOB, 40, start=1_000)
        steps: list[tuple[int, int]] = []
        await scattered(vectors, ALICE, 1, start=2_000)
        assert execute(owner, GRAPHS) == []
        await vectors.optimize(lambda done, total: steps.append((done, total)))
        assert execute(owner, GRAPHS) == [("memories.graph",)]
        assert steps[-1] == (160, 160)
        assert await vectors.optimizing() is None
        ((pages,),) = execute(
            owner, "SELECT relpages FROM pg_class WHERE oid = 'holdfast_index.memories'::regclass"
        )
        assert pages > 0, "plans go by statistics of the filled table"
        made = execute(owner, VALID)
        await vectors.optimize()
        assert execute(owner, VALID) == made == [(True,)]


async def test_until_it_is_made_every_point_is_compared(owner: str) -> None:
    async with opened(owner, mode="hnsw") as vectors:
        await scattered(vectors, ALICE, 50)
        answers = watched(vectors)
        exact = await near(vectors, limit=20)
        assert answers[0][0][0] is False
        with writing(owner):
            making = asyncio.create_task(vectors.optimize())
            await under_way(vectors)
            answers.clear()
            assert await near(vectors, limit=20) == exact
            assert [answer[0][0] for answer in answers if len(answer[0]) == 4] == [False]
            del vectors._run
            await vectors.put(RED, [])
        await making
        answers = watched(vectors)
        assert len(await near(vectors, limit=20)) == 20
        assert answers[0][0][0] is True


async def test_one_that_was_cut_off_is_dropped_and_made_anew(owner: str) -> None:
    async with opened(owner, mode="hnsw") as vectors:
        await scattered(vectors, ALICE, 50)
        with writing(owner):
            making = asyncio.create_task(vectors.optimize())
            await under_way(vectors)
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            await under_way(vectors, wanted=False)
        assert execute(owner, VALID) == [(False,)]
        answers = watched(vectors)
        assert len(await near(vectors, limit=20)) == 20
        assert answers[0][0][0] is False, "a graph that lacks points is not followed"
    async with opened(owner, mode="hnsw") as vectors:
        await vectors.optimize()
    assert execute(owner, VALID) == [(True,)]
    assert len(execute(owner, GRAPHS)) == 1


async def test_of_two_processes_one_makes_it_and_both_wait(owner: str) -> None:
    async with opened(owner, mode="hnsw") as one, opened(owner, mode="hnsw") as other:
        await scattered(one, ALICE, 50)
        with writing(owner):
            making = [asyncio.create_task(each.optimize()) for each in (one, other)]
            await under_way(other)
            ended, _ = await asyncio.wait(making, timeout=0.7)
        assert not ended
        await asyncio.gather(*making)
    assert execute(owner, VALID) == [(True,)]
    assert len(execute(owner, GRAPHS)) == 1


@pytest.mark.parametrize("fault", ["follows what is invalid", "drops nothing"])
async def test_a_planted_fault_is_seen(
    owner: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.backends.pgvector.graph import Maker
    from holdfast.backends.pgvector.statements import Statements

    async def nothing(_self: Maker) -> None:
        raise AssertionError("it is broken, and nobody mends it")

    if fault == "drops nothing":
        monkeypatch.setattr(Maker, "_drop_broken", nothing)
    else:
        honest = Statements.nearest

        def lax(self: Statements, column: str, every: bool) -> str:
            return honest(self, column, every).replace("WHERE indisvalid)", ")")

        monkeypatch.setattr(Statements, "nearest", lax)
    with pytest.raises(AssertionError):
        await test_one_that_was_cut_off_is_dropped_and_made_anew(owner)
