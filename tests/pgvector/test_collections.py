"""What the index in pgvector finds when it opens, and what it is given."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import uuid
from typing import Any

import numpy as np
import pytest

from holdfast.backends.pgvector.settings import PgVectorSettings
from holdfast.backends.pgvector.vectors import build
from holdfast.config import Part
from holdfast.errors import (
    ConfigError,
    IndexUnavailableError,
    MissingExtraError,
    SpaceMismatchError,
    ValidationError,
)
from holdfast.model import Space
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from holdfast.testing.contracts.vectors import having, marks, near, point
from support import postgres
from support.pgvector import PASSWORD, Guarded, calls, database, execute, made, opened, refused

# What is found when opening


async def test_a_postgres_without_pgvector_is_told() -> None:
    with postgres.database(15, empty=True) as bare:
        assert "does not have pgvector" in await refused(ConfigError, bare)
        assert not execute(bare, "SELECT 1 FROM pg_namespace WHERE nspname ~ 'holdfast'")


async def test_pgvector_is_installed_by_who_may(server: Guarded) -> None:
    url = server.address(server.database())
    assert not execute(url, "SELECT 1 FROM pg_extension WHERE extname = 'vector'")
    async with opened(url) as vectors:
        await vectors.put(RED, [point("a")])
        assert await marks(vectors) == {"a": 1}


async def test_a_database_of_another_encoding_is_refused(server: Guarded) -> None:
    server.ask("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "not in UTF8" in await refused(ConfigError, server.address("latin"))


async def test_missing_rights_are_told(server: Guarded) -> None:
    guest = f"guest_{uuid.uuid4().hex[:12]}"
    execute(
        server.address("postgres"),
        f"CREATE ROLE {guest} LOGIN PASSWORD '{PASSWORD}'",
        f"CREATE DATABASE {guest}",
    )
    url, admin = server.address(guest, guest), server.address(guest)
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


async def test_an_old_pgvector_is_told(server: Guarded, owner: str) -> None:
    execute(
        server.address(database(owner)),
        "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'",
    )
    assert "0.7.4 is too old" in await refused(ConfigError, owner)


async def test_pgvector_in_another_schema_is_found(server: Guarded, owner: str) -> None:
    execute(
        server.address(database(owner)),
        "CREATE SCHEMA extensions",
        "GRANT USAGE ON SCHEMA extensions TO PUBLIC",
        "ALTER EXTENSION vector SET SCHEMA extensions",
    )
    for precision in ("full", "half"):
        async with opened(owner, schema=precision, precision=precision, mode="hnsw") as vectors:
            await vectors.put(RED, [point("a")])
            assert [match.id for match in await near(vectors)] == ["a"]


@pytest.mark.parametrize(
    "tables", [["memories"], ["memories.words"], ["memories", "memories.words"]]
)
@pytest.mark.parametrize("comment", [None, "mine", '{"other": 1}', "[1]"])
async def test_a_table_of_somebody_else_is_left_alone(
    owner: str, tables: list[str], comment: str | None
) -> None:
    execute(owner, "CREATE SCHEMA holdfast_index")
    for table in tables:
        name = f'holdfast_index."{table}"'
        execute(owner, f"CREATE TABLE {name} (project text)", f"INSERT INTO {name} VALUES ('x')")
        if comment:
            execute(owner, f"COMMENT ON TABLE {name} IS '{comment}'")
    assert "did not make" in await refused(ConfigError, owner)
    there = "SELECT tablename FROM pg_tables WHERE schemaname = 'holdfast_index' ORDER BY 1"
    assert [name for (name,) in execute(owner, there)] == tables
    for table in tables:
        assert execute(owner, f'SELECT * FROM holdfast_index."{table}"') == [("x",)]


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
        await vectors.optimize()
    assert await graphs() == 0
    for _ in range(2):
        async with opened(owner, mode="hnsw", m=8, ef_construction=32) as vectors:
            await vectors.optimize()
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
        ({"url": "postgresql://u:hidden@h/d", "statement_timeout_s": 0}, "statement_timeout_s"),
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


def test_settings_are_shown_without_the_address() -> None:
    assert "hidden" not in repr(PgVectorSettings(url="postgresql://u:hidden@h/d"))


def test_names_of_collections_are_checked() -> None:
    part = Part(provider="pgvector", config={"url": "postgresql://h/d"})
    for name in ("", "a" * 58, 'a"b', "a b", "-a", "ä"):
        with pytest.raises(ConfigError, match="collection"):
            build(part, name)
    assert build(part, "holdfast-2.build_7").name == "pgvector holdfast-2.build_7"


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("holdfast.backends.pgvector.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[postgres\]"):
        importlib.import_module("holdfast.backends.pgvector.vectors")
