"""What a remote embedder costs is in the ledger: one row for each request that was answered."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, BadAnswerError, ClosedError, StoreUnavailableError
from holdfast.engine.ledger import Payer, billed
from holdfast.engine.parts import Parts
from holdfast.model import DEFAULT_PROJECT, Scope, Usage
from support.embedded import opened as parts_opened
from support.llm_server import LLMServer, chat, embedding, failure, hashed_vectors

ALICE = {"user_id": "alice"}
MODEL = "openai:vectors"
TOKENS = 7
"""What the scripted server counts for each text."""

Open = Callable[..., AbstractAsyncContextManager[AsyncMemory]]


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.vectors(hashed_vectors(16))
        yield running


@pytest.fixture
def opened(server: LLMServer, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[AsyncMemory]:
        model = {"model": "vectors", "openai_base_url": server.url, "api_key": "sk-test"}
        config = {
            "path": str(tmp_path / "store"),
            "embedder": {"provider": "openai", "config": {**model, "embedding_dims": 16}},
            "model_attempts_max": 1,
            "workers": 0,
            **settings,
        }
        async with AsyncMemory(config) as memory:
            yield memory

    return make


def ledger(folder: Path) -> list[tuple[Any, ...]]:
    """Operation, input tokens, user and job of each row of the embedder, in order."""
    with closing(sqlite3.connect(folder / "store" / "holdfast.db")) as connection:
        return connection.execute(
            "SELECT operation, input_tokens, user_id, job_id FROM usage "
            "WHERE model = ? AND cached_tokens = 0 AND output_tokens = 0 ORDER BY no",
            (MODEL,),
        ).fetchall()


def asked(server: LLMServer) -> list[int]:
    """How many texts each request for vectors held."""
    return [len(one.body["input"]) for one in server.requests if one.path.endswith("/embeddings")]


async def test_each_verb_pays_under_its_own_name(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    async with opened() as memory:
        added = await memory.add(["I drink tea.", "I eat bread."], **ALICE)
        job = added["event_id"]
        expected = [("add", 2 * TOKENS, "alice", job)]
        assert ledger(tmp_path) == expected
        await memory.search("What do I drink?", filters=ALICE)
        expected.append(("search", TOKENS, "alice", None))
        assert ledger(tmp_path) == expected, "written before the answer"
        await memory.update(added["results"][0]["id"], "I drink coffee.")
        expected.append(("update", TOKENS, "alice", None))
        await memory.update(added["results"][0]["id"], metadata={"k": 1})
        assert ledger(tmp_path) == expected, "no text, no call"
    assert asked(server) == [2, 1, 1]


async def test_a_rerun_pays_under_the_add_it_belongs_to(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    server.vectors(failure(500), hashed_vectors(16))
    async with opened(job_attempts_max=1) as memory:
        added = await memory.add("I drink tea.", **ALICE)
        assert (added["status"], ledger(tmp_path)) == ("FAILED", [])
        await memory.rerun(added["event_id"])
        await memory.wait(added["event_id"])
        assert ledger(tmp_path) == [("add", TOKENS, "alice", added["event_id"])]


async def test_an_extraction_pays_for_every_vector_it_needs(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    quote = "allergic to peanuts"
    fact = (
        f'{{"turn": 1, "quote": "{quote}", "text": "Alice is {quote}", "when": "", '
        '"entities": [], "categories": [], "replaces": []}'
    )
    server.say(chat(f'{{"facts": [{fact}]}}'))
    llm = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    async with opened(llm={"provider": "openai", "config": llm}) as memory:
        added = await memory.add(f"I am {quote}.", **ALICE)
        assert added["status"] == "SUCCEEDED"
        row = ("add", TOKENS, "alice", added["event_id"])
        assert ledger(tmp_path) == [row] * 3, "the turn, the question what is near, the fact"
    assert asked(server) == [1, 1, 1]


async def test_many_texts_pay_request_by_request(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    async with opened() as memory:
        await memory.add([f"note {number}" for number in range(300)], **ALICE)
    assert asked(server) == [256, 44]
    assert [row[1] for row in ledger(tmp_path)] == [256 * TOKENS, 44 * TOKENS]


async def test_useless_vectors_are_paid_for(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    server.vectors(embedding([[1.0, 2.0]]))
    async with opened(job_attempts_max=2) as memory:
        added = await memory.add("I drink tea.", **ALICE)
        assert added["error_code"] == "BAD_ANSWER"
        found = await memory.search("tea", filters=ALICE)
        assert found["degraded"] == ["embedder"]
        assert [hit["memory"] for hit in found["results"]] == ["I drink tea."]
    assert [row[0] for row in ledger(tmp_path)] == ["add", "search"], (
        "the job waits, and does not pay again at once"
    )


async def test_what_is_computed_here_writes_nothing(tmp_path: Path) -> None:
    async with AsyncMemory({"path": str(tmp_path / "store")}) as memory:
        added = await memory.add("I drink tea.", **ALICE)
        await memory.update(added["results"][0]["id"], "I drink coffee.")
        await memory.search("coffee", filters=ALICE)
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (0,)


# ----------------------------------------------------------------------------- the bill itself

PAYER = Payer(project=DEFAULT_PROJECT, operation="search", scope=Scope(user_id="alice"))


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM usage").fetchone()[0]
        return count


async def spend(parts: Parts, error: BaseException | None) -> None:
    """A call that costs something, and then ends with an error, if there is one."""
    async with billed(parts, PAYER) as spent:
        spent(Usage(model="m", input_tokens=1))
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [BadAnswerError("no use"), asyncio.CancelledError()])
async def test_a_call_that_ends_badly_is_written_down(tmp_path: Path, error: BaseException) -> None:
    async with parts_opened(tmp_path / "store.db") as parts:
        with pytest.raises(type(error)):
            await spend(parts, error)
        assert rows(tmp_path / "store.db") == 1


async def test_who_is_cancelled_ends_though_the_store_is_closed(tmp_path: Path) -> None:
    async with parts_opened(tmp_path / "store.db") as parts:
        await parts.records.close()
        with pytest.raises(asyncio.CancelledError):
            await spend(parts, asyncio.CancelledError())
        with pytest.raises(ClosedError):
            await spend(parts, None)


async def test_a_row_that_cannot_be_written_is_an_error(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> Any:
        raise StoreUnavailableError("The disk is full.")

    async with opened() as memory:
        await memory.add("I drink tea.", **ALICE)
        assert memory._assembly is not None
        monkeypatch.setattr(memory._assembly.records, "commit", full)
        with pytest.raises(StoreUnavailableError):
            await memory.search("tea", filters=ALICE)
        monkeypatch.undo()
