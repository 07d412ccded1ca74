"""Sealed stores: no plaintext anywhere on the disk, and nothing that was tampered with is read."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.core.seal import PREFIX
from holdfast.errors import ConfigError, CorruptError, KeyRingError
from holdfast.model import IndexTerms, Space
from holdfast.testing.contracts.values import SPACE, commit, put
from support.llm_server import LLMServer
from support.sealed import MASTER, OTHER, RENEWED, records, written

CANARY = "zanzibar"
"""Stands in everything that is said; `{CANARY}123` in what is said in different places."""
ALICE = {"user_id": "alice"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "master.keys"
    file.write_text(written())
    file.chmod(0o600)
    return file


def config(tmp_path: Path, keys: Path | None, **more: Any) -> dict[str, Any]:
    sealing = {} if keys is None else {"seal": {"provider": "file", "config": {"path": str(keys)}}}
    return {"path": str(tmp_path / "store"), "workers": 0, **sealing, **more}


def traces(folder: Path, word: str = CANARY) -> list[str]:
    """The files in which the word stands, in any usual encoding."""
    forms = [word.encode(coding) for coding in ("utf-8", "utf-16-le", "utf-16-be")]
    forms += [form.upper() for form in forms] + [word.encode().hex().encode()]
    files = ((file, file.read_bytes()) for file in folder.rglob("*") if file.is_file())
    return [str(file) for file, held in files if any(form in held for form in forms)]


@contextmanager
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    file = tmp_path / "store" / "holdfast.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


def hold(file: Path, keys: dict[str, bytes]) -> None:
    """Put master keys into a key file."""
    file.write_text(written(keys))


def facts(*items: dict[str, Any]) -> str:
    whole = [{"when": "", "entities": [], "categories": [], "replaces": [], **i} for i in items]
    return json.dumps({"facts": whole})


async def live(memory: AsyncMemory, server: LLMServer) -> None:
    """Everything that a memory does with texts."""
    said = f"I keep a parrot in {CANARY}."
    server.say(facts({"turn": 1, "quote": said[2:-1], "text": f"Alice's parrot is in {CANARY}"}))
    await memory.add(said, **ALICE)
    server.say(facts())
    await memory.add(f"Nothing of {CANARY}2", **ALICE)
    kept = await memory.add(f"Word for word {CANARY}", user_id="alice", infer=False)
    [item] = kept["results"]
    await memory.update(item["id"], f"Changed to {CANARY}4")
    assert (await memory.history(item["id"]))[0]["old_memory"] in (None, "")
    await memory.delete(item["id"])
    await memory.add(f"Held {CANARY}", **ALICE, metadata={"near": CANARY}, trust="untrusted")
    server.say("no json", "no json either")  # the job fails, and keeps its payload
    await memory.add(f"A job that fails {CANARY}", user_id="bob")
    found = await memory.search(f"Where is {CANARY}?", filters=ALICE)
    assert any(CANARY in hit["memory"] for hit in found["results"])
    for text in (f"parrot is in {CANARY}", "nowhere"):
        told = await memory.get_all(filters={**ALICE, "keywords": {"contains": text}})
        assert bool(told["results"]) == (text != "nowhere")


async def administer(admin: AsyncAdmin, server: LLMServer) -> None:
    """What a deployment keeps of texts beside memories."""
    [memory] = (await admin.memory().get_all(filters=ALICE))["results"][:1]
    await admin.exports.give_feedback(memory["id"], "NEGATIVE", f"Not {CANARY}!")
    hook = await admin.webhooks.create("mirror", "https://example.com/x", ["memory_add"])
    await admin.webhooks.rotate_secret(hook.id, grace_s=60.0)
    assert [one.id for one in await admin.webhooks.listed()] == [hook.id]
    with closing(sqlite3.connect(Path(admin.config.path) / "holdfast.db")) as connection:
        secrets = connection.execute("SELECT secret, old_secret FROM webhooks").fetchone()
    assert all(secret.startswith(PREFIX) for secret in secrets)
    schema = {"properties": {"notes": {"type": "array", "items": {"type": "string"}}}}
    server.say(json.dumps({"notes": [f"all of {CANARY}"]}))
    export = await admin.exports.create(schema, ALICE, instructions=f"About {CANARY}")
    await admin.exports.find(export)


async def test_no_canary_is_on_the_disk(
    server: LLMServer, tmp_path: Path, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    llm = {"provider": "openai", "config": model}
    settings = config(tmp_path, keys, llm=llm, model_attempts_max=1)
    async with AsyncAdmin(settings) as admin:
        await live(admin.memory(), server)
        await administer(admin, server)
        assert traces(tmp_path) == []  # the write-ahead log is still there
    async with AsyncMemory(settings) as memory:  # another process
        found = await memory.search("parrot", filters=ALICE)
        assert any(CANARY in hit["memory"] for hit in found["results"])
    assert traces(tmp_path) == []
    with database(tmp_path) as connection:
        dump = "\n".join(connection.iterdump())
    assert CANARY not in dump.lower()
    assert dump.count(PREFIX) > 20, "nothing was stored at all"
    mine = [line for line in caplog.messages if CANARY in line]
    assert mine == []


async def test_a_plain_store_has_canaries(tmp_path: Path) -> None:
    """The search for canaries finds them where there are some."""
    async with AsyncMemory(config(tmp_path, None)) as memory:
        await memory.add(f"Word for word {CANARY}", user_id="alice", infer=False)
        assert traces(tmp_path)


def test_commands_leave_no_canary(tmp_path: Path, keys: Path) -> None:
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "store"),
        "HOLDFAST_SEAL_PROVIDER": "file",
        "HOLDFAST_SEAL_PATH": str(keys),
        "TMPDIR": str(tmp_path),
    }

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout

    call("add", f"I was in {CANARY}", "--user", "alice")
    assert CANARY in call("search", "Where was I?", "--user", "alice")
    assert traces(tmp_path) == []


async def stocked(tmp_path: Path, keys: Path) -> list[str]:
    """A sealed store with two memories of one user and one of another; their ids."""
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        said = [("alice", "I like tea."), ("alice", "I like rum."), ("bob", "I like milk.")]
        answers = [await memory.add(text, user_id=user, infer=False) for user, text in said]
    return [answer["results"][0]["id"] for answer in answers]


async def refused(tmp_path: Path, keys: Path, memory_id: str) -> str:
    """What a store says that was tampered with."""
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        with pytest.raises(CorruptError) as told:
            await memory.get(memory_id)
        with pytest.raises(CorruptError):
            await memory.search("like", filters=ALICE)
    assert "tea" not in str(told.value)
    return str(told.value)


SWAP = """
UPDATE memories SET text = (SELECT o.text FROM memories o WHERE o.id = :other) WHERE id = :id
"""
TAMPERED = {
    "cut": "UPDATE memories SET text = substr(text, 1, length(text) - 4) WHERE id = :id",
    "nothing left": f"UPDATE memories SET text = '{PREFIX}' WHERE id = :id",
    "another's, same subject": SWAP,
    "plain": "UPDATE memories SET text = 'I like tea.' WHERE id = :id",
    "of its history": "UPDATE memories SET text = "
    "(SELECT new_memory FROM history WHERE memory_id = :id) WHERE id = :id",
    "another key": "UPDATE subject_keys SET wrapped = "
    "(SELECT wrapped FROM subject_keys WHERE id = 'bob') WHERE id = 'alice'",
    "no key": "DELETE FROM subject_keys WHERE id = 'alice'",
    "key destroyed": "UPDATE subject_keys SET wrapped = NULL WHERE id = 'alice'",
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_what_was_tampered_with_is_refused(how: str, tmp_path: Path, keys: Path) -> None:
    mine, other, _ = await stocked(tmp_path, keys)
    with database(tmp_path) as connection:
        changed = connection.execute(TAMPERED[how], {"id": mine, "other": other})
        assert changed.rowcount == 1
    await refused(tmp_path, keys, mine)


async def test_any_flipped_byte_is_refused(tmp_path: Path, keys: Path) -> None:
    mine, _, _ = await stocked(tmp_path, keys)
    with database(tmp_path) as connection:
        [whole] = connection.execute("SELECT text FROM memories WHERE id = ?", (mine,)).fetchone()
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        for place in range(len(PREFIX), len(whole)):
            other = "A" if whole[place] != "A" else "B"
            broken = whole[:place] + other + whole[place + 1 :]
            with database(tmp_path) as connection:
                connection.execute("UPDATE memories SET text = ? WHERE id = ?", (broken, mine))
            with pytest.raises(CorruptError):
                await memory.get(mine)


async def test_the_keyring_must_be_the_right_one(tmp_path: Path, keys: Path) -> None:
    [mine, *_] = await stocked(tmp_path, keys)
    with pytest.raises(ConfigError, match="no keyring is configured"):
        async with AsyncMemory(config(tmp_path, None)):
            pass
    hold(keys, OTHER)
    with pytest.raises(ConfigError, match="another master key"):
        async with AsyncMemory(config(tmp_path, keys)):
            pass
    hold(keys, {"unknown": MASTER["first"]})
    with pytest.raises(KeyRingError, match="no master key 'first'"):
        async with AsyncMemory(config(tmp_path, keys)):
            pass
    hold(keys, RENEWED)
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        assert (await memory.get(mine) or {})["memory"] == "I like tea."


async def test_a_plain_store_is_sealed_from_now_on(tmp_path: Path, keys: Path) -> None:
    async with AsyncMemory(config(tmp_path, None)) as memory:
        old = (await memory.add("I like tea.", user_id="alice", infer=False))["results"][0]["id"]
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        await memory.add(f"I like {CANARY}", user_id="alice", infer=False)
        assert (await memory.get(old) or {})["memory"] == "I like tea."
        found = await memory.search("tea", filters=ALICE)
        assert found["results"][0]["memory"] == "I like tea."
    assert traces(tmp_path) == []
    assert traces(tmp_path, "I like tea.")


async def test_a_text_that_looks_sealed_stops_the_sealing(tmp_path: Path, keys: Path) -> None:
    async with AsyncMemory(config(tmp_path, None)) as memory:
        await memory.add(f"{PREFIX}AAAA", user_id="alice", infer=False)
    with pytest.raises(ConfigError, match="begins with 'hf1:'"):
        async with AsyncMemory(config(tmp_path, keys)):
            pass
    async with AsyncMemory(config(tmp_path, None)) as memory:  # nothing was changed
        assert (await memory.get_all(filters=ALICE))["results"]


async def test_results_are_the_same(tmp_path: Path, keys: Path) -> None:
    said = [f"On day {n} I ate {food}." for n, food in enumerate(("rice", "soup", "fish") * 20)]
    answers = []
    for folder, ring in (("plain", None), ("sealed", keys)):
        async with AsyncMemory(config(tmp_path / folder, ring)) as memory:
            for day, text in enumerate(said):
                await memory.add(text, user_id="alice", infer=False, timestamp=1_700_000_000 + day)
            found = [
                await memory.search(query, filters=ALICE, top_k=20)
                for query in ("soup", "What did I eat on day 7?", "fish rice")
            ]
            answers.append([[(h["memory"], h["score"]) for h in one["results"]] for one in found])
    assert answers[0] == answers[1]
    assert all(answers[0])


async def test_texts_are_opened_to_be_embedded_and_analysed_anew(tmp_path: Path) -> None:
    seen = []

    def analyse(text: str, _actor: str | None, _role: str | None) -> IndexTerms:
        seen.append(text)
        return IndexTerms()

    store = records(tmp_path / "holdfast.db")
    try:
        await store.open(SPACE)
        await commit(store, put("m1", f"Kept in {CANARY}", vec=bytes(4 * SPACE.dimensions)))
        epoch = await store.spaces.begin(Space(provider="tests", model="new", dimensions=2))
        assert epoch.shadow is not None
        [found] = await store.spaces.unfilled(epoch.shadow.no, 0, 10)
        assert await store.reindex(99, analyse) == 1
        assert [found.text, *seen] == [f"Kept in {CANARY}"] * 2
    finally:
        await store.close()
