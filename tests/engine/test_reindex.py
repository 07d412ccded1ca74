"""Index terms are derived: opening a store that an older analysis wrote brings them up to date."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from holdfast import AsyncMemory
from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.backends.memory.records import MemoryRecords, Store
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.text import analyze
from holdfast.model import DEFAULT_PROJECT, Entity, IndexTerms, Memory
from holdfast.ports import PutMemory

ALICE = {"user_id": "alice"}


def analysed(text: str, actor: str | None, role: str | None) -> IndexTerms:
    return analyze(text, actor=actor, role=role)


async def test_terms_of_another_version_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"path": str(tmp_path)}
    async with AsyncMemory(config) as memory:
        await memory.add([f"note {number}" for number in range(1_000)], user_id="alice")
        await memory.add("The zebra sleeps", user_id="alice")
    with sqlite3.connect(tmp_path / "holdfast.db") as connection:
        connection.execute("UPDATE memories SET terms = x'00', flags = 0, words = 0")
        connection.execute("UPDATE counters SET value = 0 WHERE name = 'analysis'")
    connection.close()
    with caplog.at_level(logging.WARNING, logger="holdfast"):
        async with AsyncMemory(config) as memory:
            found = await memory.search("zebra", filters=ALICE, explain=True)
            assert found["results"][0]["memory"] == "The zebra sleeps"
            assert found["results"][0]["score_details"]["bm25_score"] > 0
    assert "1001 memories" in caplog.text
    caplog.clear()
    async with AsyncMemory(config):
        pass
    assert "analysed" not in caplog.text


async def test_the_reference_store_does_the_same() -> None:
    clock = ManualClock()
    ids = seeded_ids(clock, 1)
    records = MemoryRecords(Store(), ids)
    await records.open(LocalEmbedder().space)
    memory = Memory(
        id="m", text="zebra", hash="h", kind="fact", user_id="alice",
        event_at=1.0, created_at=1.0, updated_at=1.0,
    )  # fmt: skip
    put = PutMemory(memory=memory, identity=b"m", terms=IndexTerms(), vector=None)
    await records.commit(DEFAULT_PROJECT, [put])
    assert await records.reindex(7, analysed) == 1
    assert await records.reindex(7, analysed) == 0
    delta = await records.delta(DEFAULT_PROJECT, Entity("user", "alice"), 1)
    assert delta.entries[0].terms == analysed("zebra", None, None).terms
    await records.close()
