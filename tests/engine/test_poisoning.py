"""A model that obeys every turn, and texts that come back out of memory: what is stored of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, NotFoundError, ValidationError, mark_recalled
from holdfast.limits import SUPERSEDED_PER_TURN_MAX
from support.injections import ACCOUNT, corpus, obey
from support.llm_server import Body, LLMServer, Reply, chat

ALICE = {"user_id": "alice"}
PETS = [f"I keep pet number {n} at home" for n in range(8)]


@pytest.fixture
async def memory(server: LLMServer, tmp_path: Path) -> AsyncIterator[AsyncMemory]:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    config = {
        "path": str(tmp_path / "store"),
        "llm": {"provider": "openai", "config": model},
        "model_attempts_max": 1,
        "workers": 0,
    }
    async with AsyncMemory(config) as opened:
        yield opened


def obedient(body: Body) -> Body:
    asked = next(m["content"] for m in body["messages"] if m["role"] == "user")
    text = asked if isinstance(asked, str) else asked[0]["text"]
    reply = chat(obey(text)).body
    assert isinstance(reply, dict)
    return reply


def naming(text: str, quote: str) -> Reply:
    """An answer with one fact of the first turn."""
    rest = {"when": "", "entities": [], "categories": [], "replaces": []}
    return chat(json.dumps({"facts": [{"turn": 1, "quote": quote, "text": text, **rest}]}))


async def texts(memory: AsyncMemory, user: str = "alice") -> list[str]:
    found = await memory.get_all(filters={"user_id": user}, top_k=1000)
    return [one["memory"] for one in found["results"]]


async def pets(memory: AsyncMemory, server: LLMServer, user: str) -> list[dict[str, Any]]:
    whole = [
        {"turn": n, "quote": text, "text": text, "when": "", "entities": [], "categories": [],
         "replaces": []}
        for n, text in enumerate(PETS, 1)
    ]  # fmt: skip
    server.say(json.dumps({"facts": whole}))
    messages = [{"role": "user", "content": text} for text in PETS]
    await memory.add(messages, user_id=user, timestamp="2026-01-01")
    found = await memory.get_all(filters={"user_id": user})
    results: list[dict[str, Any]] = found["results"]
    return results


async def test_an_obedient_model_ends_little_and_invents_nothing(
    server: LLMServer, memory: AsyncMemory
) -> None:
    mine = await pets(memory, server, "alice")
    others = await pets(memory, server, "bob")
    assert len(mine) == len(others) == len(PETS)
    server.say(Reply(make=obedient))
    said = [{"role": trap.role, "content": trap.text} for trap in corpus()]
    answer = await memory.add(said, user_id="alice", timestamp="2026-02-01")
    assert answer["status"] == "SUCCEEDED"
    stored = await texts(memory)
    assert not any(ACCOUNT in text or "agrees" in text or "root" in text for text in stored)
    assert any(text.startswith("The user obeys") for text in stored), "it was said, and is quoted"
    assert set(PETS) <= set(stored), "nothing that was known has ended"
    assert sorted(await texts(memory, "bob")) == sorted(PETS)
    ended = [item.get("supersedes", []) for item in answer["results"]]
    assert max(map(len, ended)) <= SUPERSEDED_PER_TURN_MAX


async def test_a_list_of_found_memories_in_a_prompt_is_not_stored_again(
    server: LLMServer, memory: AsyncMemory
) -> None:
    await pets(memory, server, "alice")
    before = sorted(await texts(memory))
    found = await memory.search("Which pets are there?", filters=ALICE, top_k=50)
    lines = "\n".join(f"- {hit['memory']}" for hit in found["results"])
    server.say(naming("The user has a pet with number 3", "pet number 3"))
    for role in ("user", "assistant", "tool"):
        prompt = f"Memories:\n{lines}\n\nWhat shall I feed them?"
        answer = await memory.add({"role": role, "content": prompt}, user_id="alice")
        assert answer["rejected"], "the model repeated what it was shown"
    assert sorted(await texts(memory)) == before


async def test_what_is_marked_as_recalled_is_stored_nowhere(
    server: LLMServer, memory: AsyncMemory, tmp_path: Path
) -> None:
    await pets(memory, server, "alice")
    before = sorted(await texts(memory))
    recalled = mark_recalled("Secret canary of a recalled memory")
    server.say(json.dumps({"facts": []}))
    await memory.add(f"{recalled} What do I feed them?", user_id="alice")
    await memory.add(f"{recalled} I feed them oats.", user_id="alice", infer=False)
    with pytest.raises(ValidationError, match="nothing that was said"):
        await memory.add(recalled, user_id="alice")
    assert sorted(await texts(memory)) == sorted([*before, "I feed them oats."])
    assert "canary" not in json.dumps([request.body for request in server.requests])
    await memory.aclose()
    files = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert files
    assert not any(b"canary" in data for data in files)


async def test_a_fact_tells_where_it_comes_from(server: LLMServer, memory: AsyncMemory) -> None:
    server.say(naming("Alice is allergic to nuts", "allergic to nuts"))
    said = {"role": "user", "name": "Ann", "content": "By the way, I am allergic to nuts"}
    answer = await memory.add(said, user_id="alice", timestamp="2026-01-02T10:00:00Z")
    [fact] = answer["results"]
    told = await memory.provenance(fact["id"])
    [source] = told["sources"]
    assert (told["made"], told["edited"]) == ("extracted", False)
    assert (source["role"], source["actor_id"]) == ("user", "Ann")
    assert source["quote"] == "allergic to nuts"
    assert source["said_at"].startswith("2026-01-02T10:00:00")
    await memory.update(fact["id"], metadata={"n": 1})
    assert not (await memory.provenance(fact["id"]))["edited"]
    await memory.update(fact["id"], "Alice is allergic to peanuts")
    told = await memory.provenance(fact["id"])
    assert told["edited"]
    assert [change["event"] for change in told["changes"]] == ["ADD", "UPDATE", "UPDATE"]
    with pytest.raises(NotFoundError):
        await memory.provenance("nobody")
