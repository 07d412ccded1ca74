"""How the index in pgvector keeps projects apart, writes, and searches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import psycopg
import pytest

from holdfast.backends.pgvector.vectors import PgVectors
from holdfast.ports import Point
from holdfast.testing.contracts.values import ALICE, BLUE, BOB, RED
from holdfast.testing.contracts.vectors import EAST, having, marks, near, point
from support.pgvector import Guarded, calls, execute, opened

EMBEDDING = np.array(EAST, np.float32)

# Fences and transactions


async def test_row_level_security_is_a_second_fence(server: Guarded, owner: str) -> None:
    async with opened(owner) as vectors:
        await vectors.put(RED, [point("red", terms=[1])])
        await vectors.put(BLUE, [point("blue", terms=[1])])
        tables = ['holdfast_index."memories"', 'holdfast_index."memories.words"']

        def seen(project: str, table: str) -> set[str]:
            """The projects of rows a query without a condition finds."""
            fence = f"SET holdfast.project = '{project}'"
            return {row[0] for row in execute(owner, fence, f"SELECT project FROM {table}")}

        for table in tables:
            assert seen(RED, table) == {RED}
            assert seen(BLUE, table) == {BLUE}
            assert seen("", table) == set()
            assert execute(owner, f"SELECT 1 FROM {table}") == []
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                execute(
                    owner, f"SET holdfast.project = '{RED}'", f"UPDATE {table} SET project = 'blue'"
                )
        assert await vectors.count(None) == 2
        # the fence is what holds: without it the same query sees everything
        for table in tables:
            execute(owner, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            assert seen(RED, table) == {RED, BLUE}


async def test_points_are_written_in_the_transaction_of_another(owner: str) -> None:
    async with opened(owner) as vectors:
        await vectors.put(RED, [point("old", terms=[1])])
        async with await psycopg.AsyncConnection.connect(owner) as connection:
            await connection.execute("CREATE TABLE records (id text)")
            await connection.commit()
            for id_, kept in (("lost", False), ("kept", True)):
                await connection.execute("INSERT INTO records VALUES (%s)", (id_,))
                await vectors.write(connection, RED, [point(id_, terms=[2, 2])], ["old"])
                assert set(await marks(vectors)) == {"old"}, "not before the end"
                await (connection.commit() if kept else connection.rollback())
            cursor = await connection.execute("SELECT id FROM records")
            assert await cursor.fetchall() == [("kept",)]
        assert set(await marks(vectors)) == {"kept"}
        assert await having(vectors, 1) == []
        assert await having(vectors, 2) == ["kept"]


async def test_writers_of_the_same_points_leave_one_state(owner: str) -> None:
    async with opened(owner, pool_max=8) as vectors:
        names = [f"m{n}" for n in range(12)]

        async def writer(number: int) -> None:
            for turn in range(6):
                some = names[(number + turn) % 5 :][:: 1 if number % 2 else -1]
                if (number + turn) % 3:
                    await vectors.put(RED, [point(id_, terms=[number]) for id_ in some])
                else:
                    await vectors.remove(RED, some[:6])

        await asyncio.gather(*(writer(number) for number in range(8)))
        execute(owner, "ALTER TABLE holdfast_index.memories DISABLE ROW LEVEL SECURITY")
        execute(owner, 'ALTER TABLE holdfast_index."memories.words" DISABLE ROW LEVEL SECURITY')
        points = execute(owner, "SELECT id FROM holdfast_index.memories ORDER BY id")
        words = execute(owner, 'SELECT id FROM holdfast_index."memories.words" ORDER BY id')
        assert points == words, "each point has one word"


async def test_a_project_is_cleared_in_portions(
    owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.backends.pgvector.vectors._DRAIN_POINTS_MAX", 3)
    async with opened(owner) as vectors:
        await vectors.put(RED, [point(f"m{n}") for n in range(10)])
        await vectors.put(BLUE, [point("a")])
        await vectors.clear(RED)
        assert (await vectors.count(RED), await vectors.count(BLUE)) == (0, 1)
        words = 'SELECT count(*) FROM holdfast_index."memories.words"'
        assert execute(owner, "SET holdfast.reach = 'all'", words) == [(1,)]


# How searches are done


class Meter:
    """Passes bytes on, and counts how often the client spoke after the server did."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.trips = 0
        self._last = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        served: list[asyncio.Task[None]] = []

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(asyncio.create_task(self._serve(reader, writer)))

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        yield listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        await asyncio.gather(*served)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            self._pass(reader, forth, "client"), self._pass(back, writer, "server")
        )

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, side: str
    ) -> None:
        while data := await source.read(2**16):
            self.trips += side == "client" != self._last
            self._last = side
            sink.write(data)
            await sink.drain()
        sink.close()
        await sink.wait_closed()


async def test_a_search_takes_one_round_trip(server: Guarded, owner: str) -> None:
    meter = Meter(server.port)
    async with meter.listening() as port:
        url = owner.replace(f":{server.port}/", f":{port}/") + "?sslmode=disable"
        async with opened(url, pool_max=1) as vectors:

            async def words() -> Any:
                asked = [(n, n + 1) for n in range(20)]
                return await vectors.holders(RED, ALICE, asked, 64)

            await vectors.put(RED, [point(f"m{n}", terms=[n, n]) for n in range(20)])
            tried = {**calls(vectors), "twenty words": words}
            del tried["clear"]
            for name, call in tried.items():
                for _ in range(8):  # until its statements are prepared
                    meter.trips = 0
                    await call()
                assert meter.trips == 1, name


async def scattered(vectors: PgVectors, entity: Any, number: int, start: int = 0) -> None:
    """Put points all over the sphere."""
    rng = np.random.default_rng(start)
    directions = rng.normal(size=(number, 4))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    await vectors.put(
        RED,
        [
            point(f"m{start + n}", tuple(each), entities=[entity])
            for n, each in enumerate(directions.tolist())
        ],
    )


def watched(vectors: PgVectors) -> list[list[Any]]:
    """What each statement from now on gives."""
    answers: list[list[Any]] = []
    run = vectors._run

    async def watching(*args: Any) -> list[Any]:
        answers.append(await run(*args))
        return answers[-1]

    vectors._run = watching  # type: ignore[method-assign]
    return answers


@pytest.mark.parametrize(("scanned", "statements"), [(50, 2), (20_000, 1)])
async def test_pages_of_a_small_part_of_the_graph_are_full(
    owner: str, scanned: int, statements: int
) -> None:
    async with opened(owner, mode="hnsw", ef_search=10, max_scan_tuples=scanned) as vectors:
        await scattered(vectors, BOB, 1_200)
        await scattered(vectors, ALICE, 60, start=2_000)
        await vectors.optimize()
        answers = watched(vectors)
        found = await near(vectors, limit=30)
        assert len(found) == 30
        assert len(answers) == statements, "the graph alone, or the points as well"
        assert {match.id for match in found} < {match.id for match in await near(vectors, limit=60)}


async def test_large_entities_follow_the_graph_and_small_ones_do_not(owner: str) -> None:
    async with opened(owner, hnsw_rows_min=100) as vectors:
        for start, number, graph in ((0, 90, False), (1_000, 60, True)):
            await scattered(vectors, ALICE, number, start)
            await vectors.optimize()
            answers = watched(vectors)
            assert len(await near(vectors, limit=20)) == 20
            assert [answer[0][0] for answer in answers] == [graph]
            del vectors._run
        assert vectors._open is not None
        statement = vectors._open[0].nearest("user_id", False)
    told = {
        "project": RED,
        "entity": uuid.UUID(int=1).hex,
        "vector": EMBEDDING.tolist(),
        "limit": 20,
        "compared": 100,
        "share": 0.0,
    }
    with psycopg.connect(owner) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + statement, told))
    assert "memories.graph" in plan
    assert plan.count("Order By: (embedding <#>") == 1
    assert "Seq Scan" not in plan


async def test_words_are_looked_up_by_their_index(owner: str) -> None:
    async with opened(owner) as vectors:
        await vectors.put(RED, [point("a")])
        assert vectors._open is not None
        for every in (False, True):
            statement = vectors._open[0].holders("agent_id", every)
            told = {
                "project": RED,
                "entity": uuid.UUID(int=1).hex,
                "words": ["{1}", "{1,2}"],
                "limit": 20,
            }
            with psycopg.connect(owner) as connection:
                connection.execute("SET enable_seqscan = off")
                rows = connection.execute("EXPLAIN " + statement, told).fetchall()
            plan = "\n".join(row[0] for row in rows)
            assert plan.count("memories.words_project_term_agent_id") == 2
            assert "Seq Scan" not in plan


def test_the_same_bits_come_back() -> None:
    from holdfast.backends.pgvector.points import signed

    terms = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    assert [signed(term) % 2**64 for term in terms] == terms
    assert all(-(2**63) <= signed(term) < 2**63 for term in terms)


def test_parameters_hold_each_point_once() -> None:
    from holdfast.backends.pgvector.points import parameters

    given = [point("b", None, [5, 5, 2**64 - 1]), point("a", terms=[]), point("b", EAST, [1])]
    told = parameters(RED, [*given, Point(**{**_fields(given[0]), "id": "c"})], 4)
    assert told["ids"] == ["a", "b", "c"]
    assert told["begins"] == [1, 5, 0]
    assert told["lengths"] == [0, 1, 3]
    assert list(zip(told["firsts"], told["lasts"], strict=True)) == [(1, 0), (1, 1), (2, 3)]
    assert told["terms"].values.tolist() == [1, 5, -1]
    assert told["times"].values.tolist() == [1, 2, 1]


def _fields(given: Point) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__struct_fields__}
