"""What a memory tells of how it came about: which model and prompt, who, through which face."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory
from holdfast.acts import Actor, acting, coming_by
from holdfast.admin import AsyncAdmin
from holdfast.cli.importing import Tally, store
from holdfast.core.prompt import SYSTEM, version_of
from holdfast.core.transcripts import Record
from holdfast.model import Scope
from support.llm_server import LLMServer, Reply, chat
from tests.engine.test_backups import config, hold

__all__ = ["hold"]

MODEL = "openai:scripted"
ANN = {"principal": "key-ann", "principal_kind": "key", "via": "http"}
BEN = {"principal": "ben", "principal_kind": "account", "via": "mcp"}


def as_(who: dict[str, str]) -> Any:
    return acting(Actor(who["principal"], who["principal_kind"], who["via"]))


def by(told: dict[str, Any]) -> dict[str, Any]:
    """Who, of what is told of a memory or a change."""
    return {name: told[name] for name in ANN}


@pytest.fixture
async def memory(server: LLMServer, tmp_path: Path) -> AsyncIterator[AsyncMemory]:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    settings = {
        "path": str(tmp_path / "store"),
        "llm": {"provider": "openai", "config": model},
        "model_attempts_max": 1,
        "workers": 1,
    }
    async with AsyncMemory(settings) as opened:
        yield opened


def fact(quote: str, text: str, *replaces: int) -> Reply:
    rest = {"when": "", "entities": [], "categories": [], "replaces": list(replaces)}
    return chat(json.dumps({"facts": [{"turn": 1, "quote": quote, "text": text, **rest}]}))


async def test_what_was_said_tells_who_added_it(memory: AsyncMemory) -> None:
    with as_(ANN):
        [kept] = (await memory.add("I keep bees", user_id="ann", infer=False))["results"]
    told = await memory.provenance(kept["id"])
    assert (told["made"], told["model"], told["prompt"]) == ("verbatim", None, None)
    assert (by(told), told["way"], told["restored"]) == (ANN, None, False)
    [change] = told["changes"]
    assert (change["event"], change["how"], by(change)) == ("ADD", "verbatim", ANN)


async def test_a_fact_tells_its_model_and_prompt_and_who_ordered_it(
    server: LLMServer, memory: AsyncMemory
) -> None:
    """A worker makes it later: it is not the worker's."""
    server.say(fact("I keep bees", "Ann keeps bees"))
    with as_(ANN):
        accepted = await memory.add("I keep bees", user_id="ann", wait=False)
    done = await memory.wait(accepted["event_id"])
    [made] = done["results"]
    told = await memory.provenance(made["id"])
    assert (told["made"], told["model"]) == ("extracted", MODEL)
    assert told["prompt"] == version_of(SYSTEM)
    assert by(told) == ANN


async def test_another_prompt_is_another_version(server: LLMServer, memory: AsyncMemory) -> None:
    """The first answer is no good: the repair asks by the same prompt."""
    server.say(chat("nothing"), fact("I keep bees", "Ann keeps bees"))
    answer = await memory.add("I keep bees", user_id="ann", prompt="Only animals.")
    told = await memory.provenance(answer["results"][0]["id"])
    [first, second] = [request.body["messages"] for request in server.requests]
    system = next(m["content"] for m in first if m["role"] == "system")
    assert system in [m["content"] for m in second]
    assert told["prompt"] == version_of(system) != version_of(SYSTEM)


async def test_a_summary_tells_its_model(server: LLMServer, memory: AsyncMemory) -> None:
    server.say(chat(json.dumps({"summary": "The bot fed the bees."})))
    with as_(BEN):
        answer = await memory.add("Fed.", agent_id="bot", memory_type="procedural_memory")
    told = await memory.provenance(answer["results"][0]["id"])
    assert (told["made"], told["model"], by(told)) == ("summarised", MODEL, BEN)
    assert told["prompt"] not in (None, version_of(SYSTEM))


async def test_edits_and_ends_tell_by_whom(server: LLMServer, memory: AsyncMemory) -> None:
    server.say(fact("I keep bees", "Ann keeps bees"), fact("sold", "Ann sold her bees", 1))
    with as_(ANN):
        [made] = (await memory.add("I keep bees", user_id="ann"))["results"]
    with as_(BEN):
        await memory.update(made["id"], "Ann keeps seven bees")
    await memory.batch_update([{"memory_id": made["id"], "metadata": {"n": 1}}])
    with as_(ANN):
        await memory.add("I sold them", user_id="ann")
    told = await memory.provenance(made["id"])
    assert (told["edited"], by(told)) == (True, ANN)
    changes = [(one["event"], one["how"], one["model"]) for one in told["changes"]]
    assert changes == [
        ("ADD", "extracted", MODEL),
        ("UPDATE", "edited", None),
        ("UPDATE", "edited", None),
        ("SUPERSEDE", "extracted", MODEL),
    ]
    assert [by(one) for one in told["changes"]][1::2] == [BEN, ANN]
    assert told["changes"][2]["via"] == "library"


async def test_an_import_says_so(server: LLMServer, memory: AsyncMemory) -> None:
    """Facts that are made of it, too."""
    record = Record(role="user", text="I keep bees", at=None, scope=Scope(user_id="ann"))
    other = Record(role="user", text="I keep goats", at=None, scope=Scope(user_id="ben"))
    tally = Tally()
    given = {"fill": Scope(), "tally": tally, "advance": lambda _: None}
    await store(memory, [record], infer=False, **given)
    server.say(fact("I keep goats", "Ben keeps goats"))
    await store(memory, [other], infer=True, **given)
    for user, made in (("ann", "verbatim"), ("ben", "extracted")):
        [found] = (await memory.get_all(filters={"user_id": user}))["results"]
        told = await memory.provenance(found["id"])
        assert (told["made"], told["way"]) == (made, "import")
    assert (await memory.add("I row", user_id="ann", infer=False))["results"]


async def test_ways_belong_to_their_context(memory: AsyncMemory) -> None:
    """Two adds at once, one of which is let in by somebody."""

    async def add(text: str) -> str:
        answer = await memory.add(text, user_id="ann", infer=False)
        return str(answer["results"][0]["id"])

    with coming_by("approval"):
        approved = asyncio.create_task(add("I keep bees"))
    plain, held = await asyncio.gather(add("I keep goats"), approved)
    assert (await memory.provenance(held))["way"] == "approval"
    assert (await memory.provenance(plain))["way"] is None


async def test_what_came_in_a_backup_says_so(tmp_path: Path) -> None:
    """Restored, or merged; what was made since does not."""
    add = {"user_id": "ann", "infer": False}
    async with AsyncAdmin(config(tmp_path)) as admin:
        with as_(ANN):
            [kept] = (await admin.memory().add("I keep bees", **add))["results"]
        made = await admin.backups.create()
    await AsyncAdmin(config(tmp_path, "restored")).backups.restore(made.id)
    async with AsyncAdmin(config(tmp_path, "merged")) as admin:
        await admin.memory().add("I keep goats", **add)
        await admin.backups.merge()
    for name in ("restored", "merged"):
        async with AsyncAdmin(config(tmp_path, name)) as admin:
            memory = admin.memory()
            told = await memory.provenance(kept["id"])
            assert (told["restored"], told["made"], by(told)) == (True, "verbatim", ANN)
            [new] = (await memory.add("I row", **add))["results"]
            assert not (await memory.provenance(new["id"]))["restored"]
            await memory.update(kept["id"], "I keep many bees")
            assert (await memory.provenance(kept["id"]))["restored"]


async def test_changes_of_before_tell_what_is_known(memory: AsyncMemory, tmp_path: Path) -> None:
    [kept] = (await memory.add("I keep bees", user_id="ann", infer=False))["results"]
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as database:
        database.execute("UPDATE history SET origin = NULL")
        database.commit()
    told = await memory.provenance(kept["id"])
    assert (told["made"], told["via"], told["changes"][0]["how"]) == ("verbatim", None, None)


async def test_no_content_stands_in_it(memory: AsyncMemory, tmp_path: Path) -> None:
    with as_(ANN):
        await memory.add("I keep canaries", user_id="ann", infer=False)
    with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as database:
        [stored] = database.execute("SELECT origin FROM history").fetchone()
    assert json.loads(stored) == ["verbatim", "key-ann", "key", "http"]
