"""The whole library over real engines: what is remembered is found, compared and built anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from holdfast import registry
from holdfast.admin import AsyncAdmin
from holdfast.admin.indexes import Indexes
from holdfast.engine import reindexing
from holdfast.engine.indexing import Feeder
from holdfast.errors import MissingExtraError, SpaceMismatchError
from support import joined, postgres
from support.embedded import HashEmbedder

FACTS = [
    "I keep bees in three hives",
    "I drink green tea in the morning",
    "My car needs new tyres",
    "We adopted a dog called Miso",
    "The dentist is on Friday",
]

ASKED = {"exact_rows": 0}
"""The engine is asked however little there is."""


@pytest.fixture(params=["qdrant", "pgvector", "sharded"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """An external index as a configuration names it."""
    if request.param == "pgvector":
        if postgres.programs(18) is None:
            pytest.skip("Postgres with pgvector is not installed")
        with postgres.database(18, empty=True) as url:
            name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
            postgres.shared(18).ask("CREATE EXTENSION vector", str(name))
            yield {"provider": "pgvector", "config": {"url": url, **ASKED}}
        return
    if request.param == "qdrant":
        yield {"provider": "qdrant", "config": {"path": str(tmp_path / "qdrant"), **ASKED}}
        return
    shards = [
        {"name": name, "provider": "qdrant", "config": {"path": str(tmp_path / name)}}
        for name in ("one", "two")
    ]
    yield {"provider": "sharded", "config": {"shards": shards, **ASKED}}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with patch.multiple(reindexing, SWITCH_S=0.0, AGAIN_S=0.0):
        yield


async def fed(index: Indexes) -> None:
    """Wait until the engine has everything."""
    for _ in range(600):
        if not (await index.status()).projects_behind:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await index.status())


def answered(admin: AsyncAdmin) -> dict[str, float]:
    counts = admin.metrics.counts().items()
    return {labels[0]: value for (name, labels), value in counts if name == "index_answer"}


async def test_from_the_first_memory_to_a_new_build(index: dict[str, Any], tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "store"), "index": index}
    async with AsyncAdmin(config) as admin:
        memory = admin.memory()
        for n, fact in enumerate(FACTS):
            await memory.add(fact, user_id="ann", run_id=f"r{n % 2}", infer=False)
        await memory.add("Bob keeps wasps", user_id="bob", infer=False)
        await fed(admin.index)
        found = await memory.search("who keeps bees", filters={"user_id": "ann"})
        assert found["results"][0]["memory"] == FACTS[0]
        assert "degraded" not in found
        everyone = await memory.search("keeps", filters={"user_id": "*"}, threshold=0.0)
        assert len(everyone["results"]) == 6
        drift = await admin.index.verify()
        assert (drift.memories, drift.points, drift.total) == (6, 6, 0)
        assert (await admin.index.rebuild()).build == 1
        await memory.delete(found["results"][0]["id"])
        again = await memory.search("who keeps bees", filters={"user_id": "ann"}, threshold=0.0)
        assert len(again["results"]) == 4
        await fed(admin.index)
        status = await admin.index.status()
        assert (status.build, status.points, status.memories) == (1, 5, 5)
        assert set(answered(admin)) <= {"candidates", "unfed"}
        assert answered(admin)["candidates"] >= 3
    async with AsyncAdmin(config) as admin:
        found = await admin.memory().search("green tea", filters={"user_id": "ann"})
        assert found["results"][0]["memory"] == FACTS[1]
        assert answered(admin) == {"candidates": 1}


async def test_records_in_the_same_postgres_need_no_feeding(tmp_path: Path) -> None:
    with joined.database() as url:
        part = {"config": {"url": url}}
        config = {
            "path": str(tmp_path),
            "records": {"provider": "postgres", **part},
            "index": {"provider": "pgvector", "config": {"url": url, **ASKED}},
        }
        unfed = patch.object(Feeder, "put", side_effect=AssertionError("there is nothing to feed"))
        async with AsyncAdmin(config) as admin:
            memory = admin.memory()
            with unfed:
                for fact in FACTS:
                    await memory.add(fact, user_id="ann", infer=False)
                found = await memory.search("who keeps bees", filters={"user_id": "ann"})
                assert found["results"][0]["memory"] == FACTS[0]
                await memory.update(found["results"][0]["id"], text="I keep wasps")
                status = await admin.index.status()
                assert (status.points, status.memories, status.projects_behind) == (5, 5, 0)
                assert (await admin.index.verify()).total == 0
                assert answered(admin) == {"candidates": 1}
            assert (await admin.index.rebuild()).build == 1
            await fed(admin.index)
            with unfed:
                await memory.delete(found["results"][0]["id"])
                assert (await admin.index.verify()).points == 4
                status = await admin.index.status()
                assert (status.build, status.points, status.projects_behind) == (1, 4, 0)


async def test_an_engine_with_vectors_of_another_length_is_refused(
    index: dict[str, Any], tmp_path: Path
) -> None:
    config = {"path": str(tmp_path / "store"), "index": index}
    async with AsyncAdmin(config) as admin:
        await admin.memory().add(FACTS[0], user_id="ann", infer=False)
    other = {"path": str(tmp_path / "other"), "index": index}
    with (
        patch("holdfast.assemble.make_embedder", lambda _: HashEmbedder()),
        pytest.raises(SpaceMismatchError),
    ):
        await AsyncAdmin(other).open()


async def test_a_missing_package_is_named(tmp_path: Path) -> None:
    config = {"path": str(tmp_path), "index": {"provider": "qdrant", "config": {"path": "x"}}}
    with (
        patch("holdfast.registry.import_module", side_effect=ModuleNotFoundError(name="some")),
        pytest.raises(MissingExtraError, match=r"holdfast\[qdrant\]"),
    ):
        await AsyncAdmin(config).open()


async def test_a_shard_that_is_down_is_missed_by_those_who_live_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.VECTORS, "file", "support.file_vectors")
    pins = [{"user": "ann", "shard": "one"}, {"user": "bob", "shard": "two"}]
    shards = [
        {"name": name, "provider": "file", "config": {"file": str(tmp_path / f"{name}.db")}}
        for name in ("one", "two")
    ]
    index = {"provider": "sharded", "config": {"shards": shards, "pins": pins, **ASKED}}
    async with AsyncAdmin({"path": str(tmp_path / "store"), "index": index}) as admin:
        memory = admin.memory()
        for user in ("ann", "bob"):
            for fact in FACTS:
                await memory.add(fact, user_id=user, infer=False)
        await fed(admin.index)
        (tmp_path / "one.away").touch()
        # more often than any breaker waits for
        for _ in range(25):
            found = await memory.search("who keeps bees", filters={"user_id": "ann"})
            assert found["results"][0]["memory"] == FACTS[0]
            assert found["degraded"] == ["index"]
        for _ in range(5):
            found = await memory.search("who keeps bees", filters={"user_id": "bob"})
            assert found["results"][0]["memory"] == FACTS[0]
            assert "degraded" not in found, "another shard's failures are not this one's"


async def test_two_instances_on_one_postgres_and_a_switch(tmp_path: Path) -> None:
    """Records and index in one database; one instance feeds it, both see writes and the switch."""
    if postgres.programs(18) is None:
        pytest.skip("Postgres with pgvector is not installed")
    with postgres.database(18, empty=True) as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        postgres.shared(18).ask("CREATE EXTENSION vector", str(name))
        config = {
            "path": str(tmp_path),
            "records": {"provider": "postgres", "config": {"url": url}},
            "index": {"provider": "pgvector", "config": {"url": url, **ASKED}},
        }
        async with AsyncAdmin(config) as one, AsyncAdmin(config) as two:
            for fact in FACTS:
                await one.memory().add(fact, user_id="ann", infer=False)
            await two.memory().add("Wasps sting", user_id="ann", infer=False)
            for admin in (one, two):
                found = await admin.memory().search("wasps", filters={"user_id": "ann"})
                assert found["results"][0]["memory"] == "Wasps sting"
            await fed(one.index)
            assert (await two.index.rebuild()).build == 1
            for admin in (one, two):
                found = await admin.memory().search("hives of bees", filters={"user_id": "ann"})
                assert found["results"][0]["memory"] == FACTS[0]
                assert (await admin.index.verify()).total == 0
                assert (await admin.index.status()).build == 1


async def test_a_subject_is_gone_from_the_engine_before_it_is_forgotten(
    index: dict[str, Any], tmp_path: Path
) -> None:
    async with AsyncAdmin({"path": str(tmp_path / "store"), "index": index}) as admin:
        for user in ("alice", "bob"):
            for fact in FACTS:
                await admin.memory().add(fact, user_id=user)
        await fed(admin.index)
        found = await admin.erasure.inventory(user_id="alice")
        assert found["index"] == len(FACTS)
        ended = await admin.erasure.forget(user_id="alice")
        assert (ended.state, ended.remains) == ("DONE", {})
        assert (await admin.erasure.inventory(user_id="alice"))["index"] == 0
        assert (await admin.erasure.inventory(user_id="bob"))["index"] == len(FACTS)
        hits = await admin.memory().search("bees", filters={"user_id": "bob"})
        assert hits["results"]
