"""What caches save is in the ledger: by providers' in the call's row, by ours in a row a minute."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.core.usage import COMPARED_TOKENS, INSTRUCTION_TOKENS
from holdfast.engine import savings
from holdfast.errors import StoreUnavailableError
from holdfast.model import Project, Spared
from support.llm_server import LLMServer, chat, hashed_vectors

ANN = {"user_id": "ann"}
VECTORS, LLM = "openai:vectors", "openai:scripted"
QUESTION = "What does Ann keep in her garden?"
ABOUT = len(QUESTION) // 4 + 1


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.vectors(hashed_vectors(16))
        yield running


@pytest.fixture
def config(server: LLMServer, tmp_path: Path) -> Callable[..., Any]:
    """A store with a remote embedder, if `remote`, and prices."""

    def make(*, remote: bool = True, **more: Any) -> Any:
        model = {"openai_base_url": server.url, "api_key": "sk-test"}
        embedder = {"model": "vectors", "embedding_dims": 16, **model}
        return {
            "path": str(tmp_path / "store"),
            "model_attempts_max": 1,
            "workers": 0,
            "prices": {
                VECTORS: {"input": 1.0, "output": 0.0},
                LLM: {"input": 2.0, "cached": 0.5, "output": 4.0},
            },
            **({"embedder": {"provider": "openai", "config": embedder}} if remote else {}),
            **more,
        }

    return make


def rows(tmp_path: Path) -> list[tuple[Any, ...]]:
    """Operation, spared calls, tokens and cost of each row of the ledger."""
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as database:
        return database.execute(
            "SELECT operation, spared_calls, spared_tokens, spared_nano_usd FROM usage ORDER BY no"
        ).fetchall()


async def test_hits_write_nothing_on_their_way_and_one_row_later(
    config: Callable[..., Any], tmp_path: Path
) -> None:
    async with AsyncAdmin(config()) as admin:
        memory = admin.memory()
        await memory.add("I keep bees", **ANN)
        await memory.search(QUESTION, filters=ANN)
        made = rows(tmp_path)
        assert [row[:2] for row in made] == [("add", None), ("search", None)]
        for _ in range(20):
            await memory.search(QUESTION, filters=ANN)
        assert rows(tmp_path) == made
    assert rows(tmp_path)[2:] == [("search", 20, 20 * ABOUT, 20 * ABOUT * 1_000)]
    async with AsyncAdmin(config()) as admin:
        report = await admin.usage.report(by=["operation"])
        assert report.total.calls == 2
        told = (report.total.spared_calls, report.total.spared_tokens, report.total.spared_nano_usd)
        assert told == (20, 20 * ABOUT, 20 * ABOUT * 1_000)
        assert {one.group[0]: one.spared_calls for one in report.groups} == {"add": 0, "search": 20}


async def test_it_is_written_by_the_minute(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savings, "SPARED_FLUSH_S", 0.0)
    async with AsyncAdmin(config()) as admin:
        memory = admin.memory()
        await memory.add("I keep bees", **ANN)
        for _ in range(2):
            await memory.search(QUESTION, filters=ANN)
        while len(rows(tmp_path)) < 3:  # noqa: ASYNC110  (another task writes it)
            await asyncio.sleep(0.01)
    assert rows(tmp_path)[2][:2] == ("search", 1)


async def test_what_could_not_be_written_is_written_later(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncAdmin(config()) as admin:
        parts = await admin._parts()
        kept = parts.savings
        assert kept is not None
        one = Spared(model=VECTORS, input_tokens=3, calls=1)
        kept.note(parts.project, "search", one)

        async def fails(*_: object) -> None:
            kept.note(parts.project, "search", one)  # meanwhile
            raise StoreUnavailableError("It is away.")

        with monkeypatch.context() as patch:
            patch.setattr(kept._records, "commit", fails)
            with pytest.raises(StoreUnavailableError):
                await kept.flush()
        kept.note(Project("other"), "search", one)
    assert sorted(row[1:3] for row in rows(tmp_path)) == [(1, 3), (2, 6)]


async def test_a_provider_that_had_some_input_saves_the_difference(
    server: LLMServer, config: Callable[..., Any]
) -> None:
    server.say(chat(json.dumps({"facts": []}), usage=(1_000, 800, 20)))
    llm = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    given = config(remote=False, llm={"provider": "openai", "config": llm})
    async with AsyncAdmin(given) as admin:
        await admin.memory().add("I keep bees", **ANN)
        report = await admin.usage.report()
        assert report.total.nano_usd == 200 * 2_000 + 800 * 500 + 20 * 4_000
        assert report.total.saved_nano_usd == 800 * 1_500
        fewer = COMPARED_TOKENS - INSTRUCTION_TOKENS
        told = report.instructions
        assert (told.calls, told.fewer_tokens) == (1, fewer)
        assert told.fewer_nano_usd == fewer * 2_000
        counts = admin.metrics.counts()
        assert counts["saved_usd", (LLM, "provider")] == pytest.approx(0.0012)


async def test_an_embedder_of_our_own_saves_nothing(
    config: Callable[..., Any], tmp_path: Path
) -> None:
    async with AsyncAdmin(config(remote=False)) as admin:
        memory = admin.memory()
        await memory.add("I keep bees", **ANN)
        for _ in range(3):
            await memory.search(QUESTION, filters=ANN)
    assert rows(tmp_path) == []
