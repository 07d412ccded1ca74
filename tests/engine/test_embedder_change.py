"""The embedder is changed while the store is used: nothing is lost, mixed up, or refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from holdfast.admin import AsyncAdmin
from holdfast.config import Part
from holdfast.engine import reembedding
from holdfast.engine.reembedding import ChangeLimits
from holdfast.errors import (
    ConflictError,
    SpaceMismatchError,
    UnsupportedError,
    ValidationError,
)
from holdfast.model import Usage
from holdfast.ports import Embedder
from support import postgres
from support.embedded import HashEmbedder

FACTS = [
    "I keep bees in three hives",
    "I drink green tea in the morning",
    "My car needs new tyres",
    "We adopted a dog called Miso",
    "The dentist is on Friday",
]
OLD, NEW = {"provider": "old"}, {"provider": "new"}
ANN = {"user_id": "ann"}


class Paid(HashEmbedder):
    """An embedder that computes elsewhere and says what it took."""

    in_process = False

    async def embed(self, texts: Any, spent: Any = None) -> Any:
        if spent is not None:
            spent(Usage(model="tests:paid", input_tokens=len(texts)))
        return await super().embed(texts)


def made(part: Part) -> Embedder:
    """Embedders of two spaces of different lengths, by the name of their provider."""
    kinds = {"old": (HashEmbedder, 16), "new": (HashEmbedder, 24), "third": (HashEmbedder, 16)}
    kind, dimensions = kinds.get(part.provider, (Paid, 24))
    found: Embedder = kind(part.provider, dimensions)
    return found


@pytest.fixture(autouse=True)
def embedders() -> Iterator[None]:
    with patch("holdfast.assemble.make_embedder", made):
        yield


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A new store, as a configuration names it."""
    if request.param == "sqlite":
        yield {"path": str(tmp_path / "store")}
        return
    if postgres.programs(postgres.USUAL) is None:
        pytest.skip("Postgres is not installed")
    with postgres.database() as url:
        yield {
            "path": str(tmp_path / "store"),
            "records": {"provider": "postgres", "config": {"url": url}},
        }


@asynccontextmanager
async def opened(store: dict[str, Any], **settings: Any) -> AsyncIterator[AsyncAdmin]:
    async with AsyncAdmin({**store, **settings}) as admin:
        yield admin


async def filled(store: dict[str, Any]) -> None:
    """A store that holds the facts, made with the old embedder."""
    async with opened(store, embedder=OLD) as admin:
        for fact in FACTS:
            await admin.memory().add(fact, infer=False, **ANN)


async def scores(admin: AsyncAdmin, query: str, user: str = "ann") -> list[tuple[str, float]]:
    """What a search finds, and how well."""
    found = await admin.memory().search(
        query, filters={"user_id": user}, threshold=0.0, explain=True
    )
    assert "degraded" not in found
    return [(each["memory"], round(each["score"], 5)) for each in found["results"]]


BOTH = {"embedder": NEW, "embedder_before": OLD}


async def test_from_one_embedder_to_another_and_back(records: dict[str, Any]) -> None:
    await filled(records)
    async with opened(records, embedder=OLD) as admin:
        before = await scores(admin, "bees and tea")
    async with opened(records, **BOTH) as admin, opened(records, **BOTH) as other:
        assert await scores(admin, "bees and tea") == before
        with pytest.raises(ConflictError):
            await admin.embedder.cutover()
        changed = await admin.embedder.change()
        assert (changed.state, changed.texts, changed.missing) == ("filled", 5, 0)
        assert await scores(admin, "bees and tea") == before
        assert await scores(other, "bees and tea") == before
        await other.memory().add("Tea is grown in China", infer=False, **ANN)
        after = await admin.embedder.cutover()
        assert (after.embedder, after.before) == ("tests:new", "tests:old")
        found = await scores(admin, "bees and tea")
        assert found == await scores(other, "bees and tea")
        async with opened(records, embedder=NEW) as fresh:
            assert await scores(fresh, "bees and tea") == found
        await other.memory().add("Bees like clover", infer=False, **ANN)
        back = await admin.embedder.rollback()
        assert back.embedder == "tests:old"
        found = await scores(other, "bees and tea")
        assert len(found) == 7
        async with opened(records, embedder=OLD) as fresh:
            assert await scores(fresh, "bees and tea") == found
        assert (await admin.embedder.change()).texts == 0
        await other.embedder.cutover()
        assert await admin.embedder.finish() == 7
        [old, new] = (await admin.embedder.status()).spaces
        assert (old.status, old.missing) == ("retired", 7)
        assert (new.status, new.missing, new.memories) == ("active", 0, 7)


async def test_without_the_old_embedder_the_error_stays(records: dict[str, Any]) -> None:
    await filled(records)
    with pytest.raises(SpaceMismatchError, match="embedder_before"):
        await AsyncAdmin({**records, "embedder": NEW}).open()
    with pytest.raises(SpaceMismatchError):
        await AsyncAdmin(
            {**records, "embedder": NEW, "embedder_before": {"provider": "third"}}
        ).open()
    async with opened(records, embedder=OLD) as admin:
        with pytest.raises(UnsupportedError):
            await admin.embedder.change()


async def test_an_edit_leaves_no_vector_of_the_old_text(records: dict[str, Any]) -> None:
    await filled(records)
    async with opened(records, **BOTH) as both, opened(records, embedder=OLD) as one:
        await both.embedder.change()
        listed = (await one.memory().get_all(filters=ANN))["results"]
        tea = next(each["id"] for each in listed if "tea" in each["memory"])
        await one.memory().update(tea, "I drink coffee")  # it cannot make the new one's vector
        [_, new] = (await both.embedder.status()).spaces
        assert new.missing == 1
        with pytest.raises(ConflictError, match="1 memories"):
            await both.embedder.cutover()
        assert (await both.embedder.change()).texts == 1
        await both.memory().update(tea, "I drink cocoa")
        await both.embedder.cutover()
        found = await scores(both, "cocoa")
        assert found[0][0] == "I drink cocoa"
        async with opened(records, embedder=NEW) as fresh:
            assert await scores(fresh, "cocoa") == found


async def test_who_does_not_know_the_new_embedder_searches_by_words(
    records: dict[str, Any],
) -> None:
    await filled(records)
    async with opened(records, embedder=OLD) as late, opened(records, **BOTH) as admin:
        await late.memory().search("bees", filters=ANN)
        await admin.embedder.change()
        await admin.embedder.cutover()
        found = await late.memory().search("bees", filters=ANN, threshold=0.0)
        assert found["results"][0]["memory"] == FACTS[0]
        assert found["degraded"] == ["embedder"]
        with pytest.raises(SpaceMismatchError):
            await late.memory().add("A new thing", infer=False, **ANN)


async def test_the_money_bounds_the_work_and_each_call_is_in_the_ledger(tmp_path: Path) -> None:
    store = {"path": str(tmp_path / "store"), "workers": 0}
    await filled(store)
    settings = {"embedder": {"provider": "paid"}, "embedder_before": OLD}
    with patch.object(reembedding, "EMBED_BATCH_MAX", 2):
        async with opened(store, **settings) as admin:

            def price(usage: Usage) -> float:
                return usage.input_tokens * 0.5

            seen: list[tuple[int, float]] = []
            first = await admin.embedder.change(
                ChangeLimits(budget_usd=1.5),
                price=price,
                told=lambda each: seen.append((each.done, each.cost_usd)),
            )
            assert (first.state, first.texts, first.missing) == ("budget_spent", 2, 3)
            assert seen == [(0, 0.0), (2, 1.0)]
            rest = await admin.embedder.change(
                ChangeLimits(texts_per_second=1000, requests_per_minute=60_000)
            )
            assert (rest.state, rest.texts, rest.requests) == ("filled", 3, 2)
            with pytest.raises(ValidationError):
                await admin.embedder.change(ChangeLimits(budget_usd=1.0))
            with pytest.raises(ValidationError):
                await admin.embedder.change(ChangeLimits(texts_per_second=0.0))
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as connection:
        rows = connection.execute("SELECT operation, model, input_tokens FROM usage").fetchall()
    assert rows == [("reembed", "tests:paid", count) for count in (2, 2, 1)]


async def test_writers_and_searchers_notice_nothing(records: dict[str, Any]) -> None:
    """Three instances, adds and edits and searches all along, and switches to and fro."""
    await filled(records)
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(opened(records, **BOTH)) for _ in range(3)]
        done = asyncio.Event()
        calls = 0

        async def busy(admin: AsyncAdmin, n: int) -> None:
            nonlocal calls
            memory, count = admin.memory(), 0
            while not done.is_set():
                count += 1
                text = f"word{n} says number{count}"
                added = await memory.add(text, user_id=f"u{n}", infer=False)
                if count % 3 == 0:
                    text += " indeed"
                    await memory.update(added["results"][0]["id"], text)
                found = await scores(admin, text, f"u{n}")
                assert found[0][0] == text
                calls += 1
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(busy(admin, n)) for n, admin in enumerate(fleet)]
        for turn in range(6):
            admin = fleet[turn % 3]
            await asyncio.sleep(0.02)
            if turn % 2:
                await admin.embedder.rollback()
            else:
                await admin.embedder.change()
                await asyncio.sleep(0.01)
                await admin.embedder.cutover()
            for task in tasks:
                assert not task.done(), task.exception()
            last = OLD if turn % 2 else NEW
            async with opened(records, embedder=last) as fresh:
                assert await scores(fresh, "bees and tea") == await scores(admin, "bees and tea")
        done.set()
        await asyncio.gather(*tasks)
        assert calls > 30
        for n in range(3):
            expected = None
            async with opened(records, embedder=OLD) as fresh:
                expected = await scores(fresh, f"word{n} number2", f"u{n}")
            for admin in fleet:
                assert await scores(admin, f"word{n} number2", f"u{n}") == expected


ASKED = {"exact_rows": 0}
"""The engine is asked however little there is."""


@pytest.fixture(params=["qdrant", "pgvector", "with the records"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A store with an external index, as a configuration names them."""
    if request.param == "qdrant":
        yield {
            "index": {"provider": "qdrant", "config": {"path": str(tmp_path / "qdrant"), **ASKED}}
        }
        return
    if postgres.programs(18) is None:
        pytest.skip("Postgres with pgvector is not installed")
    with postgres.database(18, empty=True) as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        postgres.shared(18).ask("CREATE EXTENSION vector", str(name))
        config = {"url": url, **ASKED}
        found: dict[str, Any] = {"index": {"provider": "pgvector", "config": config}}
        if request.param == "with the records":
            found["records"] = {"provider": "postgres", "config": {"url": url}}
        yield found


async def fed(admin: AsyncAdmin) -> None:
    """Wait until the engine has everything."""
    for _ in range(600):
        if not (await admin.index.status()).projects_behind:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await admin.index.status())


def answered(admin: AsyncAdmin) -> float:
    """How many answers came from the engine."""
    return admin.metrics.counts().get(("index_answer", ("candidates",)), 0.0)


async def test_an_external_index_is_switched_with_the_space(
    index: dict[str, Any], tmp_path: Path
) -> None:
    store = {"path": str(tmp_path / "store"), **index}
    async with opened(store, embedder=OLD) as admin:
        for fact in FACTS:
            await admin.memory().add(fact, infer=False, **ANN)
        await fed(admin)
        before = await scores(admin, "bees and tea")
    exact = {name: value for name, value in store.items() if name != "index"}
    async with opened(store, **BOTH) as admin:
        await admin.embedder.change()
        await admin.embedder.cutover()
        status = await admin.index.status()
        assert (status.build, status.points) == (1, 5)
        seen = answered(admin)
        found = await scores(admin, "bees and tea")
        assert answered(admin) == seen + 1
        async with opened(exact, embedder=NEW) as fresh:
            assert await scores(fresh, "bees and tea") == found
        await admin.memory().add("Bees like clover", infer=False, **ANN)
        await fed(admin)
        assert (await admin.index.verify()).total == 0
        await admin.embedder.rollback()
        await fed(admin)
        status = await admin.index.status()
        assert (status.build, status.points) == (0, 6)
        assert (await admin.index.verify()).total == 0
        async with opened(exact, embedder=OLD) as fresh:
            assert await scores(fresh, "bees and tea") == await scores(admin, "bees and tea")
        await admin.index.rebuild()
        await admin.embedder.change()
        await admin.embedder.cutover()
        await admin.embedder.finish()
        await fed(admin)
        assert (await admin.index.verify()).total == 0
        assert await scores(admin, "bees and tea") != before
    async with opened(store, embedder=NEW) as fresh:
        assert len(await scores(fresh, "bees and tea")) == 6
        assert answered(fresh) == 1


async def test_what_was_begun_can_be_given_up(records: dict[str, Any]) -> None:
    await filled(records)
    async with opened(records, **BOTH) as admin:
        await admin.embedder.change()
        with pytest.raises(ConflictError, match="being made"):
            await admin.embedder.finish()
        assert (await admin.embedder.rollback()).embedder == "tests:old"
        with pytest.raises(ConflictError, match="No vectors"):
            await admin.embedder.cutover()
        with pytest.raises(ConflictError, match="already"):
            await admin.embedder.rollback()
        assert await admin.embedder.finish() == 5
        await admin.embedder.change()
        await admin.embedder.cutover()
        with pytest.raises(ConflictError, match="already"):
            await admin.embedder.cutover()
        with pytest.raises(ConflictError, match="already"):
            await admin.embedder.change()
        assert [each.status for each in (await admin.embedder.status()).spaces] == [
            "retired",
            "active",
        ]
