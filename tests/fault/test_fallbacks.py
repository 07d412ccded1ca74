"""Models that stand in for one that is away or refuses, over real sockets to the ledger."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, ConfigError
from holdfast.config import Part, chosen_models, load_config
from support.llm_server import LLMServer, chat, failure

ALICE = {"user_id": "alice"}
NUTS = "I am allergic to peanuts."
FACTS = json.dumps(
    {
        "facts": [
            {
                "turn": 1, "quote": "allergic to peanuts", "text": "Alice is allergic to peanuts",
                "when": "", "entities": [], "categories": [], "replaces": [],
            }
        ]
    }
)  # fmt: skip
SECRET = "sk-very-secret"


@pytest.fixture
def first() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def second() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


def part(server: LLMServer, model: str, **more: Any) -> dict[str, Any]:
    config = {"model": model, "openai_base_url": server.url, "api_key": SECRET, **more}
    return {"provider": "openai", "config": config}


@asynccontextmanager
async def opened(tmp_path: Path, **settings: Any) -> AsyncIterator[AsyncMemory]:
    usual = {"path": str(tmp_path / "store"), "model_attempts_max": 1, "workers": 0}
    async with AsyncMemory({**usual, **settings}) as memory:
        yield memory


def ledger(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as connection:
        return [row[0] for row in connection.execute("SELECT model FROM usage ORDER BY rowid")]


def events(memory: AsyncMemory) -> dict[tuple[str, ...], float]:
    assert memory._assembly is not None
    counts = memory._assembly.parts.metrics.counts()
    return {labels: value for (name, labels), value in counts.items() if name == "call_event"}


@pytest.mark.parametrize("status", [500, 429, 401, 404])
async def test_the_next_model_is_asked_and_the_ledger_names_it(
    tmp_path: Path,
    first: LLMServer,
    second: LLMServer,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first.say(failure(status, f"{SECRET} {NUTS}"))
    second.say(FACTS)
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        answer = await memory.add(NUTS, user_id="alice")
        assert answer["status"] == "SUCCEEDED"
        assert "degraded" not in answer
        assert events(memory)["llm", "fallback"] == 1
    assert ledger(tmp_path) == ["openai:cheap"]
    assert (len(first.requests), len(second.requests)) == (1, 1)
    told = [one.getMessage() for one in caplog.records if one.name == "holdfast.calls"]
    assert (told == ["openai:dear refuses (auth_failed)"]) == (status == 401)
    assert SECRET not in caplog.text
    assert NUTS not in caplog.text


async def test_the_first_model_is_asked_first_and_alone_while_it_is_there(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(FACTS)
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        await memory.add(NUTS, user_id="alice")
        assert ("llm", "fallback") not in events(memory)
    assert ledger(tmp_path) == ["openai:dear"]
    assert second.requests == []


async def test_a_slow_model_leaves_time_for_the_next(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(chat("{}", delay_s=30.0))
    second.say(FACTS)
    llm = part(first, "slow", fallbacks=[part(second, "quick")])
    async with opened(tmp_path, llm=llm, model_timeout_s=2.0) as memory:
        answer = await memory.add(NUTS, user_id="alice")
    assert answer["status"] == "SUCCEEDED"


async def test_a_model_whose_breaker_is_open_is_passed_over(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(failure(500))
    second.say('{"facts": []}')
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        for number in range(8):
            await memory.add(f"note {number}", user_id="alice")
    assert (len(first.requests), len(second.requests)) == (5, 8)


async def test_a_bad_answer_is_repaired_by_the_model_that_gave_it(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say("nonsense", FACTS)
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        assert (await memory.add(NUTS, user_id="alice"))["status"] == "SUCCEEDED"
    assert second.requests == []


@pytest.mark.parametrize("order", [(500, 401), (401, 500)])
async def test_when_none_is_there_the_job_waits_if_one_may_come_back(
    tmp_path: Path, first: LLMServer, second: LLMServer, order: tuple[int, int]
) -> None:
    first.say(failure(order[0]))
    second.say(failure(order[1]))
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        answer = await memory.add(NUTS, user_id="alice")
    assert (answer["status"], answer["degraded"]) == ("PENDING", ["llm"])
    assert answer["error_code"] == "MODEL_UNAVAILABLE"


async def test_when_all_refuse_the_job_has_failed(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(failure(401))
    second.say(failure(401))
    llm = part(first, "dear", fallbacks=[part(second, "cheap")])
    async with opened(tmp_path, llm=llm) as memory:
        answer = await memory.add(NUTS, user_id="alice")
    assert (answer["status"], answer["error_code"]) == ("FAILED", "MODEL_REFUSED")


async def test_rerankers_have_fallbacks_too(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(failure(500))
    second.say(chat(json.dumps({"scores": [{"passage": 1, "score": 0.9}]})))
    reranker = {
        "provider": "llm_reranker",
        "config": {
            "model": "dear", "openai_base_url": first.url, "api_key": SECRET,
            "fallbacks": [
                {
                    "provider": "llm_reranker",
                    "config": {"model": "cheap", "openai_base_url": second.url, "api_key": SECRET},
                }
            ],
        },
    }  # fmt: skip
    async with opened(tmp_path, reranker=reranker) as memory:
        await memory.add(NUTS, user_id="alice")
        found = await memory.search("peanuts", filters=ALICE, rerank=True)
        assert events(memory)["reranker", "fallback"] == 1
    assert len(second.requests) == 1
    assert ledger(tmp_path)[-1] == "openai:cheap"
    assert "degraded" not in found


async def test_a_reranker_that_asks_the_llm_takes_its_settings_without_its_fallbacks(
    tmp_path: Path, first: LLMServer, second: LLMServer
) -> None:
    first.say(FACTS)
    llm = part(first, "dear", fallbacks=[part(second, "cheap")], requests_per_minute=600)
    async with opened(tmp_path, llm=llm, reranker={"provider": "llm_reranker"}) as memory:
        await memory.add(NUTS, user_id="alice")
        await memory.search("peanuts", filters=ALICE, rerank=True)
    assert [body["model"] for body in first.bodies] == ["dear", "dear"]


# ----------------------------------------------------------------------------- the configuration


def test_what_is_ours_is_taken_out_of_what_the_provider_is_given() -> None:
    other = {"provider": "openai", "config": {"model": "b", "tokens_per_minute": 5}}
    given = {"model": "a", "requests_per_minute": "60", "fallbacks": [other]}
    models = chosen_models(Part("anthropic", given), "llm")
    assert [model.part for model in models] == [
        Part("anthropic", {"model": "a"}),
        Part("openai", {"model": "b"}),
    ]
    assert [model.requests_per_minute for model in models] == [60.0, None]
    assert [model.tokens_per_minute for model in models] == [None, 5.0]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"requests_per_minute": 0}, "llm.config.requests_per_minute"),
        ({"tokens_per_minute": "many"}, "llm.config.tokens_per_minute"),
        ({"fallbacks": {"provider": "openai"}}, "llm.config.fallbacks"),
        ({"fallbacks": [{"config": {}}]}, r"llm.config.fallbacks\[0\]"),
        ({"fallbacks": [{"provider": "x", "cfg": {}}]}, r"llm.config.fallbacks\[0\]"),
        (
            {"fallbacks": [{"provider": "x", "config": {"requests_per_minute": -1}}]},
            r"llm.config.fallbacks\[0\].config.requests_per_minute",
        ),
        (
            {"fallbacks": [{"provider": "x", "config": {"fallbacks": [{"provider": "y"}]}}]},
            r"llm.config.fallbacks\[0\].config.fallbacks",
        ),
    ],
)
def test_wrong_settings_are_named(config: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        chosen_models(Part("openai", config), "llm")


def test_keys_of_fallbacks_are_not_shown() -> None:
    fallback = {"provider": "openai", "config": {"api_key": SECRET}}
    config = {"model": "m", "tokens_per_minute": 90_000, "fallbacks": [fallback]}
    resolved = load_config({"llm": {"provider": "openai", "config": config}})
    shown = repr(resolved.config) + repr(resolved.settings())
    assert SECRET not in shown
    assert "90000" in shown
