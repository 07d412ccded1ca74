"""Adds with a language model, from the public face over a real socket to the disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncAdmin, AsyncMemory
from holdfast.directory import Delivery
from holdfast.engine import webhooks
from holdfast.errors import (
    ConflictError,
    EntityTooLargeError,
    NotFoundError,
    ValidationError,
)
from support.llm_server import LLMServer, Reply, chat, failure, hashed_vectors, reset

ALICE = {"user_id": "alice"}
NUTS = "I am allergic to peanuts, by the way."
FACT = {"turn": 1, "quote": "allergic to peanuts", "text": "Alice is allergic to peanuts"}

Open = Callable[..., Any]


def facts(*items: dict[str, Any]) -> str:
    """A good answer."""
    whole = [{"when": "", "entities": [], "categories": [], "replaces": [], **i} for i in items]
    return json.dumps({"facts": whole})


@pytest.fixture
def opened(server: LLMServer, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[AsyncMemory]:
        model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
        config = {
            "path": str(tmp_path / "store"),
            "llm": {"provider": "openai", "config": model},
            "model_timeout_s": 5.0,
            "model_attempts_max": 1,
            "workers": 0,
            **settings,
        }
        async with AsyncMemory(config) as memory:
            yield memory

    return make


async def turns_found(memory: AsyncMemory, query: str = "peanuts") -> list[str]:
    found = await memory.search(query, filters=ALICE)
    return [hit["memory"] for hit in found["results"] if hit["kind"] == "turn"]


async def test_a_good_answer_becomes_memories(server: LLMServer, opened: Open) -> None:
    server.say(facts(FACT))
    async with opened() as memory:
        answer = await memory.add(NUTS, user_id="alice", metadata={"via": "chat"})
        [item] = answer["results"]
        assert (item["event"], item["memory"]) == ("ADD", "Alice is allergic to peanuts")
        assert answer["status"] == "SUCCEEDED"
        listed = (await memory.get_all(filters=ALICE))["results"]
        assert [one["memory"] for one in listed] == ["Alice is allergic to peanuts"]
        assert listed[0]["metadata"] == {"via": "chat"}
        assert listed[0]["kind"] == "fact"
        found = (await memory.search("peanuts", filters=ALICE))["results"]
        assert found[0]["kind"] == "fact"
        assert len(found) == 1, "the raw turn says the same again"
        assert len(server.requests) == 1


async def test_a_contradiction_supersedes(server: LLMServer, opened: Open) -> None:
    async with opened() as memory:
        server.say(facts({"turn": 1, "quote": "live in Oslo", "text": "Alice lives in Oslo"}))
        first = await memory.add("I live in Oslo", user_id="alice", timestamp="2026-01-01")
        server.say(
            facts(
                {
                    "turn": 1,
                    "quote": "moved to Bergen",
                    "text": "Alice lives in Bergen",
                    "replaces": [1],
                }
            )
        )
        second = await memory.add("I moved to Bergen", user_id="alice", timestamp="2026-03-01")
        assert second["results"][0]["event"] == "UPDATE"
        assert second["results"][0]["supersedes"] == [first["results"][0]["id"]]
        now = await memory.search("Where does Alice live?", filters=ALICE)
        assert "Alice lives in Oslo" not in [hit["memory"] for hit in now["results"]]
        assert "I live in Oslo" not in [hit["memory"] for hit in now["results"]]
        both = await memory.search("Alice lives", filters=ALICE, show_superseded=True)
        homes = {"Alice lives in Oslo", "Alice lives in Bergen"}
        assert homes <= {hit["memory"] for hit in both["results"]}
        listed = await memory.get_all(filters=ALICE, show_superseded=True)
        assert {one["memory"] for one in listed["results"]} == homes
        assert (await memory.get_all(filters=ALICE))["total"] == 1
        then = await memory.search("Where does Alice live?", filters=ALICE, as_of="2026-02-01")
        assert then["results"][0]["memory"] == "Alice lives in Oslo"
        old = await memory.get(first["results"][0]["id"])
        assert old is not None
        assert old["superseded_by"] == second["results"][0]["id"]
        events = await memory.history(first["results"][0]["id"])
        assert [event["event"] for event in events] == ["ADD", "SUPERSEDE"]


async def test_a_contradiction_supersedes_where_there_is_too_much_to_search(
    server: LLMServer, opened: Open
) -> None:
    async with opened(view_rows_max=1) as memory:
        server.say(facts({"turn": 1, "quote": "live in Oslo", "text": "Alice lives in Oslo"}))
        first = await memory.add("I live in Oslo", user_id="alice")
        with pytest.raises(EntityTooLargeError):
            await memory.search("Oslo", filters=ALICE)
        home = {"turn": 1, "quote": "moved to Bergen", "text": "Alice lives in Bergen"}
        server.say(facts({**home, "replaces": [1]}))
        second = await memory.add("I moved to Bergen", user_id="alice")
        assert second["results"][0]["supersedes"] == [first["results"][0]["id"]]


async def test_without_temporal_reasoning_a_fact_has_its_turns_time(
    server: LLMServer, opened: Open
) -> None:
    said = {"timestamp": "2024-03-11", "idempotency_key": "k", **ALICE}
    async with opened() as memory:
        server.say(facts({**FACT, "when": "2019-01-02"}))
        added = await memory.add(NUTS, temporal_reasoning=False, **said)
        one = await memory.get(added["results"][0]["id"])
        assert one is not None
        assert one["event_at"].startswith("2024-03-11")
        [request] = server.requests
        assert b'\\"when\\"' not in request.raw
        with pytest.raises(ConflictError):
            await memory.add(NUTS, **said)
        server.say(facts({"turn": 1, "quote": "quit", "text": "Alice quit", "when": "2019-01-02"}))
        other = await memory.add("I quit", timestamp="2024-03-11", **ALICE)
        one = await memory.get(other["results"][0]["id"])
        assert one is not None
        assert one["event_at"].startswith("2019-01-02")


async def test_what_is_let_in_without_temporal_reasoning_has_none(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    config = {
        "path": str(tmp_path / "held"), "llm": {"provider": "openai", "config": model},
        "workers": 0,
    }  # fmt: skip
    async with AsyncAdmin(config) as admin:
        memory = admin.memory()
        given: Any = {"timestamp": "2024-03-11", "trust": "untrusted", **ALICE}
        await memory.add(NUTS, temporal_reasoning=False, **given)
        server.say(facts({**FACT, "when": "2019-01-02"}))
        [row] = (await admin.quarantine.listed()).rows
        answer = await admin.quarantine.approve([row.id])
        one = await memory.get(answer["results"][0]["results"][0]["id"])
        assert one is not None
        assert one["event_at"].startswith("2024-03-11")


async def test_an_immutable_fact_is_not_superseded(server: LLMServer, opened: Open) -> None:
    oslo = {"turn": 1, "quote": "live in Oslo", "text": "Alice lives in Oslo"}
    bergen = {"turn": 1, "quote": "moved to Bergen", "text": "Alice lives in Bergen"}
    async with opened() as memory:
        server.say(facts(oslo))
        added = await memory.add("I live in Oslo", user_id="alice", immutable=True)
        [first] = added["results"]
        server.say(facts({**bergen, "replaces": [1]}))
        second = await memory.add("I moved to Bergen", user_id="alice")
        assert second["results"][0]["event"] == "ADD"
        assert "immutable" in second["results"][0]["reason"]
        listed = (await memory.get_all(filters=ALICE))["results"]
        told = {one["memory"]: one.get("immutable", False) for one in listed}
        assert told == {"Alice lives in Oslo": True, "Alice lives in Bergen": False}
        with pytest.raises(ConflictError, match="immutable"):
            await memory.update(first["id"], "Alice lives in Rome")
        await memory.delete(first["id"])


async def test_a_known_fact_is_not_stored_twice(server: LLMServer, opened: Open) -> None:
    server.say(facts(FACT))
    async with opened() as memory:
        first = await memory.add(NUTS, user_id="alice")
        again = await memory.add("As I said: " + NUTS, user_id="alice")
        assert again["results"][0]["event"] == "NONE"
        assert again["results"][0]["id"] == first["results"][0]["id"]
        assert await memory.count(ALICE) == 1


async def test_the_same_fact_from_many_workers_is_one_memory(
    server: LLMServer, opened: Open
) -> None:
    server.say(facts(FACT))
    async with opened(workers=4) as memory:
        await asyncio.gather(
            *(memory.add(NUTS, user_id="alice", run_id=None, wait=True) for _ in range(12))
        )
        assert await memory.count(ALICE) == 1


@pytest.mark.parametrize(
    ("replies", "calls"),
    [
        pytest.param(["Sure! Here: " + facts(FACT) + " Anything else?"], 1, id="chatty"),
        pytest.param([chat("", reasoning=facts(FACT))], 1, id="reasoning"),
        pytest.param([chat(facts(FACT)[:40], finish="length"), facts(FACT)], 2, id="truncated"),
        pytest.param(['{"memories": []}', facts(FACT)], 2, id="wrong-schema"),
        pytest.param([chat(""), facts(FACT)], 2, id="empty"),
        pytest.param([chat(None, refusal="I can't"), facts(FACT)], 2, id="refusal"),
    ],
)
async def test_bad_answers_are_repaired(
    server: LLMServer, opened: Open, replies: list[Reply | str], calls: int
) -> None:
    server.say(*replies)
    async with opened() as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert answer["status"] == "SUCCEEDED"
        assert answer["results"][0]["memory"] == "Alice is allergic to peanuts"
        assert len(server.requests) == calls


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param(failure(429, retry_after="30"), "MODEL_UNAVAILABLE", id="429"),
        pytest.param(failure(500), "MODEL_UNAVAILABLE", id="500"),
        pytest.param(reset(), "MODEL_UNAVAILABLE", id="reset"),
        pytest.param(chat(facts(FACT), delay_s=3), "MODEL_UNAVAILABLE", id="slow"),
    ],
)
async def test_an_absent_model_parks_the_job_and_loses_nothing(
    server: LLMServer, opened: Open, reply: Reply, code: str
) -> None:
    server.say(reply)
    async with opened(model_timeout_s=0.5) as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert answer["status"] == "PENDING"
        assert answer["error_code"] == code
        assert "peanuts" not in answer["error"]
        assert await turns_found(memory) == [NUTS]
    server.say(facts(FACT))
    async with opened() as memory:
        event = await memory.wait(answer["event_id"])
        assert event["status"] == "SUCCEEDED"
        assert [one["memory"] for one in event["results"]] == ["Alice is allergic to peanuts"]
        assert await memory.count(ALICE) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        pytest.param(failure(401), "MODEL_REFUSED", id="credentials"),
        pytest.param(chat("I am not JSON"), "BAD_ANSWER", id="never-json"),
    ],
)
async def test_hopeless_jobs_are_dead_lettered_with_a_reason(
    server: LLMServer, opened: Open, reply: Reply, code: str
) -> None:
    server.say(reply)
    async with opened(job_attempts_max=2) as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert (answer["status"], answer["error_code"]) == ("FAILED", code)
        assert await turns_found(memory) == [NUTS]
        failed = (await memory.events(status="FAILED"))["results"]
        assert [event["id"] for event in failed] == [answer["event_id"]]
        server.say(facts(FACT))
        await memory.rerun(answer["event_id"])
        event = await memory.wait(answer["event_id"])
        assert event["status"] == "SUCCEEDED"
        assert await memory.count(ALICE) == 1


async def test_an_extraction_that_waits_can_be_given_up(server: LLMServer, opened: Open) -> None:
    server.say(facts(FACT))
    async with opened(workers=0) as memory:
        answer = await memory.add(NUTS, user_id="alice", wait=False)
        event = await memory.cancel(answer["event_id"])
        assert (event["status"], event["error_code"]) == ("FAILED", "CANCELLED")
        assert await turns_found(memory) == [NUTS]
        with pytest.raises(ValidationError, match="no extraction that waits"):
            await memory.cancel(answer["event_id"])
        assert server.requests == []
        await memory.rerun(answer["event_id"])
        event = await memory.wait(answer["event_id"])
        assert (event["status"], event["error_code"]) == ("SUCCEEDED", None)
        with pytest.raises(ValidationError, match="no extraction that waits"):
            await memory.cancel(answer["event_id"])
        with pytest.raises(NotFoundError):
            await memory.cancel("unknown")


async def test_a_webhook_is_told_of_what_was_given_up(opened: Open) -> None:
    async with opened(workers=0) as memory:
        assert memory._assembly is not None
        parts = memory._assembly.parts
        types = ("ingest_job_failed", "ingest_job_cancelled")
        await webhooks.create(parts, "hook", "http://example.com/", types)
        answer = await memory.add(NUTS, user_id="alice", wait=False)
        await memory.cancel(answer["event_id"])
        [told] = await parts.directory.select(Delivery)
        assert told.event == "ingest_job_cancelled"
        details = told.body["event_details"]
        assert (details["event_id"], details["status"]) == (answer["event_id"], "FAILED")


async def test_without_waiting_the_turns_are_searchable_at_once(
    server: LLMServer, opened: Open
) -> None:
    server.say(chat(facts(FACT), delay_s=0.3))
    async with opened(workers=1) as memory:
        answer = await memory.add(NUTS, user_id="alice", wait=False)
        assert answer["status"] == "PENDING"
        assert await turns_found(memory) == [NUTS]
        event = await memory.wait(answer["event_id"])
        assert event["status"] == "SUCCEEDED"
        assert event["latency"] >= 300


async def test_closing_hands_a_running_job_back(server: LLMServer, opened: Open) -> None:
    server.say(chat(facts(FACT), delay_s=30))
    async with opened(workers=1, model_timeout_s=60.0) as memory:
        answer = await memory.add(NUTS, user_id="alice", wait=False)
        while not server.requests:  # noqa: ASYNC110  (the server is on a thread)
            await asyncio.sleep(0.01)
    server.say(facts(FACT))
    async with opened() as memory:
        event = await memory.event(answer["event_id"])
        assert (event["status"], event["attempts"]) == ("PENDING", 0)
        assert (await memory.wait(answer["event_id"]))["status"] == "SUCCEEDED"


async def test_facts_without_support_are_rejected_and_told(server: LLMServer, opened: Open) -> None:
    server.say(facts(FACT, {"turn": 1, "quote": "loves jazz", "text": "Alice loves jazz"}))
    async with opened() as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert len(answer["results"]) == 1
        assert len(answer["rejected"]) == 1
        assert await memory.count(ALICE) == 1


async def test_every_call_is_in_the_ledger(server: LLMServer, opened: Open, tmp_path: Path) -> None:
    import sqlite3

    server.say(chat(""), chat("no again"))
    async with opened(job_attempts_max=1) as memory:
        await memory.add(NUTS, user_id="alice")
    with sqlite3.connect(tmp_path / "store" / "holdfast.db") as connection:
        rows = connection.execute(
            "SELECT operation, input_tokens, cached_tokens, output_tokens, user_id FROM usage"
        ).fetchall()
    connection.close()
    assert rows == [("add", 100, 80, 20, "alice")] * 2


async def test_deleting_a_fact_deletes_the_turn_it_came_from(
    server: LLMServer, opened: Open, tmp_path: Path
) -> None:
    server.say(facts(FACT))
    async with opened() as memory:
        answer = await memory.add(NUTS, user_id="alice")
        await memory.delete(answer["results"][0]["id"])
        assert await turns_found(memory) == []
        assert (await memory.stats())["turns"] == 0
        await memory.delete_all(user_id="alice")
        event = await memory.event(answer["event_id"])
        assert event["results"][0]["memory"] is None


async def test_a_run_of_an_agent_becomes_one_procedural_memory(
    server: LLMServer, opened: Open
) -> None:
    server.say(json.dumps({"summary": "Opened the site, filled the form, got receipt 77."}))
    async with opened() as memory:
        answer = await memory.add(
            [{"role": "assistant", "content": "I opened the site."}],
            agent_id="bot",
            memory_type="procedural_memory",
        )
        assert [one["event"] for one in answer["results"]] == ["ADD"]
        listed = await memory.get_all(filters={"agent_id": "bot"})
        assert [one["kind"] for one in listed["results"]] == ["summary"]


async def test_a_remote_embedder_that_is_away_leaves_keywords(
    server: LLMServer, tmp_path: Path
) -> None:
    remote = {
        "model": "scripted",
        "openai_base_url": server.url,
        "api_key": "sk-test",
        "embedding_dims": 16,
    }
    config = {
        "path": str(tmp_path / "remote"),
        "embedder": {"provider": "openai", "config": remote},
        "model_timeout_s": 2.0,
        "model_attempts_max": 1,
        "workers": 0,
    }
    server.vectors(failure(500))
    async with AsyncMemory(config) as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert answer["status"] == "PENDING"
        assert (await memory.stats())["vectors"] == 0
        found = await memory.search("peanuts", filters=ALICE)
        assert [hit["memory"] for hit in found["results"]] == [NUTS]
        assert found["degraded"] == ["embedder"]
        server.vectors(hashed_vectors(16))
        await asyncio.sleep(2.1)
        event = await memory.wait(answer["event_id"])
        assert event["status"] == "SUCCEEDED"
        assert (await memory.stats())["vectors"] == 1
        assert "degraded" not in await memory.search("peanuts", filters=ALICE)
