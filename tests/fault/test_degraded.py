"""Every cell of the table of degraded answers, with real stores and models on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import (
    AsyncMemory,
    ConfigError,
    CorruptError,
    HoldfastError,
    StoreUnavailableError,
    assemble,
    assemble_index,
    deadline,
)
from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.engine import worker
from holdfast.errors import IndexUnavailableError
from holdfast.ports import Match, TermMatches
from support.faulty import FaultyRecords
from support.llm_server import LLMServer, Reply, chat, failure, hashed_vectors
from support.redis import BINARY, MISSING, Redis, running
from support.redis_line import RedisLine
from tests.fault import matrix
from tests.fault.matrix import CELLS, DONE, FAULTS, GIVEN_UP, KEPT, NOT_ASKED, VERBS, WITHOUT

ANN = {"user_id": "ann"}
PLANTED = "I am allergic to peanuts."
ADDED = "My boat is called Wanda."
DIMENSIONS = 16
TIMEOUT_S = 0.5
LONGEST_S = 20.0
SLOW = 30.0

GARBAGE: dict[str, Reply] = {
    "llm": chat("I would rather not answer in JSON."),
    "reranker": chat('{"scores": "high"}'),
    "embedder": Reply(body={"object": "list", "model": "scripted", "data": []}),
}


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.vectors(hashed_vectors(DIMENSIONS))
        running.say(json.dumps({"facts": []}))
        yield running


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    one = Redis(tmp_path_factory.mktemp("redis"))
    with running([one]):
        yield one


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def part(name: str, url: str) -> dict[str, Any]:
    """A model of a server, as a part of the configuration."""
    config: dict[str, Any] = {"model": "scripted", "openai_base_url": url, "api_key": "sk-test"}
    if name == "embedder":
        config["embedding_dims"] = DIMENSIONS
    return {"provider": "llm_reranker" if name == "reranker" else "openai", "config": config}


def break_model(server: LLMServer, name: str, fault: str) -> str:
    """Make a model fail; where it is from now on."""
    reply = {
        "down": Reply(),
        "slow": Reply(body={}, delay_s=SLOW),
        "erroring": failure(500),
        "garbage": GARBAGE[name],
    }[fault]
    (server.vectors if name == "embedder" else server.say)(reply)
    return closed_port() if fault == "down" else server.url


@asynccontextmanager
async def opened(path: Path, **settings: Any) -> AsyncIterator[AsyncMemory]:
    usual: dict[str, Any] = {
        "path": str(path / "store"),
        "model_timeout_s": TIMEOUT_S,
        "model_attempts_max": 1,
        "busy_timeout_s": 0.2,
        "workers": 0,
    }
    async with AsyncMemory({**usual, **settings}) as memory:
        yield memory


async def outcome(verb: str, memory: AsyncMemory, memory_id: str) -> str:
    """What a verb did, in the words of the table."""
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "add": lambda: memory.add(ADDED, user_id="ann"),
        "search": lambda: memory.search("peanuts", filters=ANN, rerank=True),
        "get": lambda: memory.get(memory_id),
        "delete": lambda: memory.delete(memory_id),
    }
    try:
        async with asyncio.timeout(LONGEST_S):
            answer = await calls[verb]()
    except HoldfastError as error:
        return f"`{type(error).__name__}`"
    missing = ", ".join(answer.get("degraded", ()))
    if verb == "add" and answer.get("status") == "FAILED":
        return GIVEN_UP
    if verb == "search":
        assert [hit["memory"] for hit in answer["results"]] == [PLANTED]
    if not missing:
        return DONE
    return (KEPT if verb == "add" else WITHOUT).format(missing)


async def check(path: Path, verb: str, told: str, memory_id: str, **settings: Any) -> None:
    """What a healthy memory says of the store afterwards."""
    async with opened(path, **settings) as memory:
        there = {one["memory"] for one in (await _all(memory))}
        assert (ADDED in there) == (verb == "add" and "Error" not in told), "accepted is kept"
        gone = verb == "delete" and told == DONE
        assert (await memory.get(memory_id) is None) == gone


async def _all(memory: AsyncMemory) -> list[dict[str, Any]]:
    found = await memory.search("peanuts boat allergic Wanda", filters=ANN, threshold=0.0)
    return list(found["results"])


def failures(memory: AsyncMemory) -> dict[str, float]:
    """How the cache failed, and how often."""
    assert memory._assembly is not None
    counts = memory._assembly.parts.metrics.counts()
    return {label[0]: n for (name, label), n in counts.items() if name == "cache_failure"}


def degraded(memory: AsyncMemory) -> dict[str, float]:
    assert memory._assembly is not None
    counts = memory._assembly.parts.metrics.counts()
    return {label[0]: n for (name, label), n in counts.items() if name == "degraded_answer"}


MODELS = [cell for cell in CELLS if cell[0] not in ("records", "index", "cache", NOT_ASKED)]


class FaultyVectors(MemoryVectors):
    """An engine in this process; its calls fail as they are told to."""

    fault = ""

    async def _fail(self) -> None:
        if self.fault in ("down", "erroring"):
            raise IndexUnavailableError("planted")
        if self.fault == "slow":
            await asyncio.sleep(SLOW)

    async def open(self, space: Any) -> None:
        await self._fail()
        await super().open(space)

    async def put(self, project: Any, points: Any) -> None:
        await self._fail()
        await super().put(project, points)

    async def remove(self, project: Any, ids: Any) -> None:
        await self._fail()
        await super().remove(project, ids)

    async def nearest(self, *args: Any) -> list[Match]:
        await self._fail()
        if self.fault == "garbage":
            return [Match(id="nobody's", score=9.0)]
        return await super().nearest(*args)

    async def holders(self, project: Any, entity: Any, terms: Any, limit: int) -> Any:
        await self._fail()
        if self.fault == "garbage":
            return [TermMatches(matches=(Match(id="nobody's", score=9.0),), rows=-1)] * len(terms)
        return await super().holders(project, entity, terms, limit)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("name", "fault"), MODELS, ids=str)
async def test_a_model_that_fails(
    tmp_path: Path, server: LLMServer, name: str, fault: str, verb: str
) -> None:
    server.say(chat(json.dumps({"scores": [{"passage": 1, "score": 0.9}]})))
    well = {"reranker": part("reranker", server.url)}
    if name == "embedder":
        well["embedder"] = part("embedder", server.url)
    async with opened(tmp_path, **well) as memory:
        added = await memory.add(PLANTED, user_id="ann")
        memory_id = added["results"][0]["id"]
    url = break_model(server, name, fault) if name == "embedder" else server.url
    broken = {**well, name: part(name, url)}
    if name == "reranker" or (name == "llm" and verb == "add"):
        broken[name] = part(name, break_model(server, name, fault))
    async with opened(tmp_path, **broken) as memory:
        told = await outcome(verb, memory, memory_id)
        assert told == CELLS[name, fault][verb]
        assert degraded(memory) == ({name: 1} if "degraded" in told else {})
    server.vectors(hashed_vectors(DIMENSIONS))
    sound = {"embedder": well["embedder"]} if name == "embedder" else {}
    await check(tmp_path, verb, told, memory_id, **sound)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_records_that_fail(tmp_path: Path, fault: str, verb: str) -> None:
    async with opened(tmp_path) as memory:
        memory_id = (await memory.add(PLANTED, user_id="ann"))["results"][0]["id"]
    plain = DONE if fault == "slow" else ""
    async with opened(tmp_path) as memory:
        assert memory._assembly is not None
        if fault == "slow":  # somebody else holds the lock of the database
            with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as other:
                other.execute("BEGIN IMMEDIATE")
                told = await outcome(verb, memory, memory_id)
        else:
            kind = CorruptError if fault == "garbage" else StoreUnavailableError
            faulty = FaultyRecords(memory._assembly.parts)
            faulty.from_call(1, lambda: kind("planted"))
            told = await outcome(verb, memory, memory_id)
    if verb == "search" and plain:  # no reranker is configured here, which the answer says
        told = told.replace(WITHOUT.format("reranker"), DONE)
    assert told == CELLS["records", fault][verb]
    await check(tmp_path, verb, told, memory_id)


def planted_engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine in this process in place of the configured one."""
    engine = Engine()
    monkeypatch.setattr(
        assemble_index,
        "make_vectors",
        lambda part, name, _, bounded, *_more: bounded(part, FaultyVectors(engine, name)),
    )
    return engine


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_index_that_fails(
    tmp_path: Path, fault: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = planted_engine(monkeypatch)
    outside = {"index": {"provider": "qdrant", "config": {"exact_rows": 0}}}
    async with opened(tmp_path, **outside) as memory:
        memory_id = (await memory.add(PLANTED, user_id="ann"))["results"][0]["id"]
        place = (holdfast.model.DEFAULT_PROJECT, memory_id)
        for _ in range(200):
            if any(place in held.points for held in engine.collections.values()):
                break
            await asyncio.sleep(0.05)
        answer = await memory.search("another question", filters=ANN)  # not kept
        assert "degraded" not in answer
        monkeypatch.setattr(FaultyVectors, "fault", fault)
        with holdfast.time_limit(2.0):
            told = await outcome(verb, memory, memory_id)
        if verb == "search":  # no reranker is configured here, which the answer says as well
            told = told.replace("index, reranker", "index")
        assert told == CELLS["index", fault][verb]
        assert degraded(memory).get("index", 0) == (verb == "search")
    monkeypatch.setattr(FaultyVectors, "fault", "")
    await check(tmp_path, verb, told, memory_id)


@pytest.mark.parametrize("fault", FAULTS)
async def test_small_entities_need_no_index(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted_engine(monkeypatch)
    async with opened(tmp_path, index={"provider": "qdrant"}) as memory:
        memory_id = (await memory.add(PLANTED, user_id="ann"))["results"][0]["id"]
        monkeypatch.setattr(FaultyVectors, "fault", fault)
        with holdfast.time_limit(2.0):
            for verb in ("search", "get", "add", "delete"):
                told = await outcome(verb, memory, memory_id)
                if verb == "search":  # no reranker is configured here, which the answer says
                    told = told.replace(WITHOUT.format("reranker"), DONE)
                assert told == CELLS[NOT_ASKED, fault][verb]
        assert "index" not in degraded(memory)


@pytest.mark.skipif(not BINARY, reason=MISSING)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", [*FAULTS, "rubble"])
async def test_a_shared_cache_that_fails(
    tmp_path: Path, server: LLMServer, redis: Redis, fault: str, verb: str
) -> None:
    """Answers, vectors and the rate of the embedder are in it."""
    line = RedisLine(redis.port)
    await line.start()
    embedder = part("embedder", server.url)
    embedder["config"] |= {"requests_per_minute": 6_000, "tokens_per_minute": 1e9}
    cache = {"provider": "redis", "config": {"url": line.url, "deployment": tmp_path.name}}
    try:
        async with opened(tmp_path, embedder=embedder, cache=cache) as memory:
            memory_id = (await memory.add(PLANTED, user_id="ann"))["results"][0]["id"]
            await line.fail(fault)
            told = await outcome(verb, memory, memory_id)
            if verb == "search":  # no reranker is configured here, which the answer says
                told = told.replace(WITHOUT.format("reranker"), DONE)
            assert told == CELLS["cache", "garbage" if fault == "rubble" else fault][verb]
            uses_it = verb in ("add", "search")
            assert bool(failures(memory)) == uses_it
            assert bool(line.asked) == (uses_it and fault != "down")
        if verb == "search":
            await starts(tmp_path, fault, embedder=embedder, cache=cache)
    finally:
        await line.close()
    await check(tmp_path, verb, told, memory_id, embedder=embedder)


async def starts(path: Path, fault: str, **settings: Any) -> None:
    """One that fails is done without at the start too, unless it surely is no Redis."""
    if fault == "rubble":
        with pytest.raises(ConfigError, match="does not speak as a Redis"):
            async with opened(path, **settings):
                pass
        return
    async with opened(path, **settings) as memory:
        assert "degraded" not in await memory.search("peanuts", filters=ANN)


async def test_settings_say_when_a_model_is_left_alone(tmp_path: Path, server: LLMServer) -> None:
    embedder = part("embedder", server.url)
    server.vectors(failure(500))
    for failures_max, asked in ((1, 1), (3, 3)):
        settings = {"embedder": embedder, "breaker_failures": failures_max, "breaker_open_s": 30}
        before = len(server.requests)
        async with opened(tmp_path / str(failures_max), **settings) as memory:
            for number in range(6):
                answer = await memory.add(f"A {number}.", user_id=f"u{number}")
                assert answer["degraded"] == ["embedder"]
        assert len(server.requests) - before == asked


async def test_an_embedder_is_asked_at_its_rate(tmp_path: Path, server: LLMServer) -> None:
    embedder = part("embedder", server.url)
    embedder["config"]["requests_per_minute"] = 2
    async with opened(tmp_path, embedder=embedder) as memory:
        answers = [await memory.add(f"The number {n}.", user_id=f"u{n}") for n in range(4)]
        assert ["degraded" in answer for answer in answers] == [False, False, True, True]
        assert len(server.requests) == 2
        assert len((await memory.get_all(filters={"user_id": "*"}))["results"]) == 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"requests_per_minute": 0}, "embedder.config.requests_per_minute"),
        ({"fallbacks": [{"provider": "openai"}]}, "an embedder has none"),
    ],
)
async def test_what_an_embedder_cannot_have(
    tmp_path: Path, server: LLMServer, more: dict[str, Any], told: str
) -> None:
    embedder = part("embedder", server.url)
    embedder["config"] |= more
    with pytest.raises(ConfigError, match=told):
        async with opened(tmp_path, embedder=embedder):
            pass


async def test_an_embedder_of_this_process_has_no_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "make_embedder", lambda _part: LocalEmbedder())
    here = {"provider": "huggingface", "config": {"model": "m", "tokens_per_minute": 5}}
    with pytest.raises(ConfigError, match="computes in this process"):
        async with opened(tmp_path, embedder=here):
            pass


async def test_a_caller_with_little_time_has_an_answer_in_time(
    tmp_path: Path, server: LLMServer
) -> None:
    """Slow models, and a caller that waits for less than they may take."""
    parts = {name: part(name, server.url) for name in ("embedder", "llm", "reranker")}
    server.say(Reply(body={}, delay_s=SLOW))
    async with opened(tmp_path, model_timeout_s=60.0, **parts) as memory:
        for verb in ("add", "search"):
            server.vectors(Reply(body={}, delay_s=SLOW) if verb == "search" else hashed_vectors(16))
            began = time.monotonic()
            with holdfast.time_limit(0.8):
                if verb == "add":
                    answer = await memory.add(PLANTED, user_id="ann")
                    assert (answer["status"], answer["degraded"]) == ("PENDING", ["llm"])
                else:
                    answer = await memory.search("peanuts", filters=ANN, rerank=True)
                    assert answer["degraded"] == ["embedder", "reranker"]
                    assert [hit["memory"] for hit in answer["results"]] == [PLANTED]
            assert time.monotonic() - began < 5, "not the minute it may take"
        event = (await memory.events())["results"][0]
        assert event["status"] == "PENDING"
        assert memory._assembly is not None
        [job] = await memory._assembly.parts.jobs.jobs(holdfast.model.DEFAULT_PROJECT, None, 0, 9)
        assert job.attempts == 0, "its caller's haste is not the job's fault"


def test_the_table_stands_in_the_documents() -> None:
    assert matrix.PAGE.read_text() == matrix.page(), "run `python -m tests.fault.matrix`"
    assert {fault for _, fault in CELLS} == set(FAULTS)
    assert all(cells.keys() == set(VERBS) for cells in CELLS.values())


async def test_workers_do_not_hurry_with_whoever_happened_to_open_the_memory(
    tmp_path: Path, server: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    async def serve(parts: Any) -> None:
        left.append(deadline.left_s())

    monkeypatch.setattr(worker, "serve", serve)
    with holdfast.time_limit(5.0):
        async with opened(tmp_path, llm=part("llm", server.url), workers=2):
            await asyncio.sleep(0)
            assert deadline.left_s() <= 5.0
    assert left == [float("inf")] * 2
