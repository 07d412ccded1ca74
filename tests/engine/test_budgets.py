"""Budgets through the public face: block, degrade, warn, and going on when there is room again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, BudgetExceededError, NotFoundError, ValidationError, credential
from holdfast.admin import AsyncAdmin
from holdfast.core.budgets import status_shape
from support.llm_server import LLMServer, hashed_vectors

ALICE = {"user_id": "alice"}
NUTS = "I am allergic to peanuts."
LLM = "openai:scripted"
VECTORS = "openai:vectors"
PRICES = {LLM: {"input": 1.0, "output": 2.0}, VECTORS: {"input": 0.1, "output": 0}}

Open = Callable[..., Any]


def facts(text: str = "Alice is allergic to peanuts") -> str:
    fact = {"turn": 1, "quote": "allergic to peanuts", "text": text}
    whole = {"when": "", "entities": [], "categories": [], "replaces": [], **fact}
    return json.dumps({"facts": [whole]})


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.say(facts())
        running.vectors(hashed_vectors(16))
        yield running


@pytest.fixture
def opened(server: LLMServer, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def make(*, vectors: bool = False, **settings: Any) -> AsyncIterator[AsyncAdmin]:
        reached = {"openai_base_url": server.url, "api_key": "sk-test"}
        config: dict[str, Any] = {
            "path": str(tmp_path / "store"),
            "llm": {"provider": "openai", "config": {"model": "scripted", **reached}},
            "prices": PRICES,
            "model_attempts_max": 1,
            "workers": 0,
            **settings,
        }
        if vectors:
            given = {"model": "vectors", "embedding_dims": 16, **reached}
            config["embedder"] = {"provider": "openai", "config": given}
        async with AsyncAdmin(config) as admin:
            yield admin

    return make


async def test_a_budget_that_blocks_refuses_before_anything_happens(
    server: LLMServer, opened: Open
) -> None:
    async with opened() as admin:
        memory: AsyncMemory = admin.memory()
        await admin.budgets.put(0.001, user="alice", period="day")
        with pytest.raises(BudgetExceededError, match="user has no room") as found:
            await memory.add(NUTS, **ALICE)
        assert found.value.code == "BUDGET_EXCEEDED"
        assert 0 < (found.value.retry_after_s or 0) <= 86_400
        assert server.requests == []
        assert (await memory.get_all(filters=ALICE))["total"] == 0
        assert (await memory.events())["total"] == 0
        assert (await memory.add(NUTS, user_id="bob"))["status"] == "SUCCEEDED", "bob has no budget"
        added = await memory.add(NUTS, infer=False, **ALICE)
        assert len(added["results"]) == 1, "what asks no model is not bounded"


async def test_what_is_spent_is_counted_and_the_answer_is_bounded(
    server: LLMServer, opened: Open
) -> None:
    async with opened() as admin:
        await admin.budgets.put(5, at_limit="block")
        await admin.budgets.put(1_000_000, unit="tokens", user="*", period="day")
        await admin.memory().add(NUTS, **ALICE)
        money, tokens = (status_shape(one) for one in await admin.budgets.listed())
        if money["unit"] != "usd":
            money, tokens = tokens, money
        # the scripted model takes 100 tokens and makes 20
        assert (money["spent"], money["held"]) == (pytest.approx(140e-6), 0)
        assert (tokens["subject"], tokens["spent"]) == ("alice", 120)
        report = await admin.usage.report()
        assert report.total.nano_usd == 140_000
        body = server.requests[0].body
        assert 16_384 in (body.get("max_tokens"), body.get("max_completion_tokens"))


async def test_a_budget_that_degrades_keeps_turns_and_extracts_later(
    server: LLMServer, opened: Open
) -> None:
    async with opened() as admin:
        memory: AsyncMemory = admin.memory()
        await admin.budgets.put(0.001, at_limit="degrade")
        added = await memory.add(NUTS, **ALICE)
        assert (added["status"], added["degraded"]) == ("PENDING", ["budget"])
        assert added["error_code"] == "BUDGET_EXCEEDED"
        assert server.requests == []
        found = await memory.search("peanuts", filters=ALICE)
        assert [hit["kind"] for hit in found["results"]] == ["turn"]
        again = await memory.wait(added["event_id"])
        assert again["status"] == "PENDING", "it waits, and is not tried meanwhile"
        await admin.budgets.put(5, at_limit="degrade")
        done = await memory.wait(added["event_id"])
        assert done["status"] == "SUCCEEDED"
        assert [one["memory"] for one in done["results"]] == ["Alice is allergic to peanuts"]
        job = await memory.event(added["event_id"])
        assert job["status"] == "SUCCEEDED"


async def test_searches_do_without(server: LLMServer, opened: Open) -> None:
    reached = {"openai_base_url": server.url, "api_key": "k", "model": "scripted"}
    ranker = {"provider": "llm_reranker", "config": {"provider": "openai", **reached}}
    async with opened(vectors=True, reranker=ranker) as admin:
        memory: AsyncMemory = admin.memory()
        await memory.add(NUTS, infer=False, **ALICE)
        asked = len(server.requests)
        made = await admin.budgets.put(0, at_limit="degrade")
        found = await memory.search("peanuts", filters=ALICE, rerank=True)
        assert [hit["memory"] for hit in found["results"]] == [NUTS]
        assert found["degraded"] == ["embedder", "reranker", "budget"]
        with pytest.raises(BudgetExceededError):
            await memory.update(found["results"][0]["id"], "I like peanuts.")
        await admin.budgets.put(0, at_limit="block")
        with pytest.raises(BudgetExceededError):
            await memory.search("peanuts", filters=ALICE)
        with pytest.raises(BudgetExceededError):
            await memory.add("More.", infer=False, **ALICE)
        assert len(server.requests) == asked
        await admin.budgets.remove(made.id)
        assert "degraded" not in await memory.search("peanuts", filters=ALICE)
        with pytest.raises(NotFoundError):
            await admin.budgets.remove(made.id)


async def test_a_key_has_a_budget_and_its_jobs_know_it(server: LLMServer, opened: Open) -> None:
    async with opened() as admin:
        memory: AsyncMemory = admin.memory()
        await admin.budgets.put(0.001, key="k1", at_limit="degrade")
        credential.came_with("k1")
        added = await memory.add(NUTS, **ALICE)
        assert added["degraded"] == ["budget"]
        credential.came_with("k2")  # whoever looks after the job, it is k1's
        assert (await memory.wait(added["event_id"]))["status"] == "PENDING"
        assert (await memory.add(NUTS, user_id="bob"))["status"] == "SUCCEEDED"
        await admin.budgets.put(9, key="k1", at_limit="degrade")
        assert (await memory.wait(added["event_id"]))["status"] == "SUCCEEDED"
        credential.came_with(None)
        report = await admin.usage.report(by=["key"])
        assert sorted(str(one.group[0]) for one in report.groups) == ["k1", "k2"]


async def test_a_budget_that_warns_changes_nothing(opened: Open, caplog: Any) -> None:
    async with opened() as admin:
        await admin.budgets.put(0, at_limit="warn", unit="tokens")
        assert (await admin.memory().add(NUTS, **ALICE))["status"] == "SUCCEEDED"
        assert admin.metrics.counts()["budget_event", ("warned",)] == 1
    assert any("is exceeded" in record.message for record in caplog.records)


async def test_an_estimate_asks_nobody(server: LLMServer, opened: Open) -> None:
    async with opened(vectors=True) as admin:
        found = await admin.usage.estimate([{"role": "user", "content": NUTS}], **ALICE)
        assert found.models == (VECTORS, LLM)
        assert found.calls == 2
        assert found.fits
        assert 0 < found.cost_usd < found.cost_usd_max
        await admin.budgets.put(found.cost_usd_max / 2, at_limit="degrade")
        again = await admin.usage.estimate(NUTS, **ALICE)
        assert not again.fits
        free = await admin.usage.estimate(NUTS, infer=False, **ALICE)
        assert free.calls == 1
        assert server.requests == []
        long = "I am allergic to peanuts. " * 4_000
        assert (await admin.usage.estimate(long, **ALICE)).calls > 2, "several questions"


async def test_no_model_of_others_is_free(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path / "store")}) as admin:
        await admin.budgets.put(0)
        await admin.memory().add(NUTS, **ALICE)
        found = await admin.usage.estimate(NUTS, **ALICE)
        assert (found.calls, found.cost_usd, found.fits) == (0, 0.0, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": -1}, {"amount": float("nan")}, {"amount": "1"}, {"amount": True},
        {"amount": 1e30}, {"amount": 1, "unit": "eur"}, {"amount": 1, "period": "week"},
        {"amount": 1, "at_limit": "ask"}, {"amount": 1, "user": "a", "key": "b"},
        {"amount": 1.5, "unit": "tokens"}, {"amount": 1, "user": ""},
    ],
)  # fmt: skip
async def test_wrong_budgets_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with AsyncAdmin({"path": str(tmp_path / "store")}) as admin:
        with pytest.raises(ValidationError):
            await admin.budgets.put(**wrong)
        assert await admin.budgets.listed() == []
