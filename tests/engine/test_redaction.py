"""Personal data in both directions: what models see of it, what is stored, and what comes back."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, ConfigError, MissingExtraError
from holdfast.backends.redactors.providers import PatternRedactor, build
from holdfast.config import Part
from holdfast.engine import feedback
from support.llm_server import LLMServer, hashed_vectors

ALICE = {"user_id": "alice"}
CANARIES = {
    "EMAIL": "canary.bob@example.com",
    "PHONE": "+49 170 5550199",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "CARD": "4111 1111 1111 1111",
    "IP": "203.0.113.77",
    "SSN": "123-45-6789",
    "TAX_ID": "86095742719",
    "SECRET": "sk-canary-Abcdefghijklmnop12",
}
TALK = "My boss writes: " + ", ".join(CANARIES.values()) + ", and likes tea."
NAMES = ", ".join(f"<{kind}_1>" for kind in CANARIES)
Open = Callable[..., Any]


@pytest.fixture
def opened(server: LLMServer, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def make(*where: str, style: str = "numbered", **more: Any) -> AsyncIterator[AsyncMemory]:
        at = {"openai_base_url": server.url, "api_key": "k"}
        server.vectors(hashed_vectors(8))
        config = {
            "path": str(tmp_path / "store"),
            "llm": {"provider": "openai", "config": {"model": "scripted", **at}},
            "embedder": {
                "provider": "openai",
                "config": {"model": "scripted", "embedding_dims": 8, **at},
            },
            "reranker": {"provider": "llm_reranker", "config": {}},
            "redaction": {"provider": "patterns", "config": {"where": where, "style": style}},
            "model_attempts_max": 1,
            "workers": 0,
            **more,
        }
        async with AsyncMemory(config) as memory:
            yield memory

    return make


def facts(text: str, quote: str) -> str:
    rest = {"when": "", "entities": [], "categories": [], "replaces": []}
    return json.dumps({"facts": [{"turn": 1, "quote": quote, "text": text, **rest}]})


def sent(server: LLMServer) -> str:
    """All that left, escapes undone."""
    return json.dumps([request.body for request in server.requests], ensure_ascii=False)


def leaked(text: str) -> list[str]:
    return [value for value in CANARIES.values() if value in text]


async def test_models_see_placeholders_and_their_answers_are_put_back(
    server: LLMServer, opened: Open
) -> None:
    async with opened("model") as memory:
        server.say(facts("The boss's mail is <EMAIL_1>, phone <PHONE_1>", NAMES))
        answer = await memory.add(TALK, user_id="alice")
        assert answer["results"][0]["memory"] == (
            f"The boss's mail is {CANARIES['EMAIL']}, phone {CANARIES['PHONE']}"
        ), "the quote was compared with what was said"
        server.say(json.dumps({"scores": [{"passage": 1, "score": 0.9}]}))
        found = await memory.search(f"Who is {CANARIES['EMAIL']}?", filters=ALICE, rerank=True)
        assert leaked(found["results"][0]["memory"])
        await memory.update(found["results"][0]["id"], f"Moved to {CANARIES['IP']}")
        assert not leaked(sent(server))
        assert "<EMAIL_1>" in sent(server)
        assert "<EMAIL>" in sent(server), "in what was embedded"
        assert any("/embeddings" in request.path for request in server.requests)


async def test_what_is_stored_has_placeholders_and_nothing_else_anywhere(
    server: LLMServer, opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened("storage") as memory:
        server.say(facts("The boss's mail is <EMAIL_1>", NAMES))
        answer = await memory.add(TALK, user_id="alice", prompt=f"Heed {CANARIES['EMAIL']}")
        [fact] = answer["results"]
        assert fact["memory"] == "The boss's mail is <EMAIL_1>"
        verbatim = await memory.add(f"Also {TALK}", user_id="alice", infer=False)
        assert verbatim["results"][0]["memory"].startswith(f"Also My boss writes: {NAMES}")
        await memory.add(TALK, user_id="alice", wait=False, infer=False)
        await memory.update(fact["id"], f"Moved to {CANARIES['IP']}")
        batch = [{"memory_id": fact["id"], "text": f"Pays by {CANARIES['CARD']}"}]
        await memory.batch_update(batch)
        found = await memory.search(f"Who is {CANARIES['EMAIL']}?", filters=ALICE)
        assert any("<EMAIL_1>" in hit["memory"] for hit in found["results"])
        events = json.dumps([await memory.events(), await memory.history(fact["id"])])
        assert not leaked(events + json.dumps(found) + sent(server) + caplog.text)
    files = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(b"EMAIL_1" in data for data in files)
    for data in files:
        assert [value for value in CANARIES.values() if value.encode() in data] == []


async def test_a_model_that_was_shown_older_texts_does_not_bring_them_back(
    server: LLMServer, opened: Open
) -> None:
    async with opened("model") as memory:
        server.say(facts("The boss's mail is <EMAIL_1>", "<EMAIL_1>"))
        await memory.add(TALK, user_id="alice")
    async with opened("storage") as memory:
        server.say(facts(f"{CANARIES['EMAIL']} likes tea", "likes tea"))
        answer = await memory.add("My boss likes tea", user_id="alice")
        assert [one["memory"] for one in answer["results"]] == ["<EMAIL_1> likes tea"]


async def test_keyed_placeholders_find_the_same_value_again(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "path": str(tmp_path / "store"),
        "redaction": {
            "provider": "patterns",
            "config": {"where": ["storage"], "style": "keyed", "kinds": ["EMAIL"]},
        },
    }
    with pytest.raises(ConfigError, match="keyed"):
        async with AsyncMemory(config):
            pass
    async with AsyncMemory({**config, "content_key": "secret"}) as memory:
        await memory.add("Ask bob@example.com about tea", user_id="alice")
        await memory.add("Ask amy@example.com about tea", user_id="alice")
        found = await memory.search("What do I ask BOB@example.com?", filters=ALICE)
        texts = [hit["memory"] for hit in found["results"]]
        assert texts[0] != texts[1]
        assert (await memory.history(found["results"][0]["id"]))[0]["new_memory"] == texts[0]
        mine = await memory.add("bob@example.com", user_id="alice")
        assert mine["results"][0]["memory"] in texts[0]


async def test_feedback_is_stored_without(tmp_path: Path) -> None:
    config = {
        "path": str(tmp_path / "store"),
        "redaction": {"provider": "patterns", "config": {"where": ["storage"], "style": "kind"}},
    }
    async with AsyncMemory(config) as memory:
        [one] = (await memory.add("I like tea", user_id="alice"))["results"]
        parts = await memory._ready()
        given = await feedback.give(parts, one["id"], "NEGATIVE", f"tell {CANARIES['EMAIL']}")
        assert given.reason == "tell <EMAIL>"
        assert parts.metrics.counts()["redaction", ("storage", "EMAIL")] == 1


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"provider": "none", "config": {"where": ["model"]}}, "provider is none"),
        ({"provider": "magic"}, "there is no 'magic'"),
        ({"provider": "patterns", "config": {"where": []}}, "redaction.config.where"),
        ({"provider": "patterns", "config": {"where": ["disk"]}}, "redaction.config.where"),
        ({"provider": "patterns", "config": {"kinds": ["NAME"]}}, "there is no 'NAME'"),
        ({"provider": "patterns", "config": {"style": "black"}}, "redaction.config.style"),
        ({"provider": "patterns", "config": {"model": "x"}}, "redaction.config.model"),
    ],
)
async def test_wrong_settings_are_named(config: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        async with AsyncMemory({"path": str(tmp_path), "redaction": config}):
            pass


async def test_many_texts_are_looked_through_beside_the_loop() -> None:
    texts = ["x" * 30_000, f"mail {CANARIES['EMAIL']}"]
    assert [len(found) for found in await PatternRedactor().find(texts)] == [0, 1]


def test_presidio_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spacy", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[presidio\]"):
        build(Part(provider="presidio"))
