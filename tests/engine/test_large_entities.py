"""Entities too large to be ranked in one process: refused before they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest

from holdfast import AsyncMemory
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.errors import EntityTooLargeError, IndexUnavailableError
from holdfast.testing.contracts.values import NOW, RED, commit
from support.candidates import Rig
from support.embedded import DIMENSIONS
from tests.engine.test_candidates import SPACE, ids, probe, sentences, spoken

ROWS = 30


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A store in which Alice has more memories than are ranked here, and an engine that was fed."""
    clock = ManualClock(NOW)
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)
    texts = enumerate(sentences(ROWS, 3))
    await commit(records, *(spoken(f"m{n:03}", text, n) for n, text in texts))
    made = Rig(records, DIMENSIONS, space=SPACE)
    made.exact = made.index._exact = EmbeddedIndex(records, DIMENSIONS, 1 << 30, ROWS - 1)
    await made.feeder.round()
    await made.feeder.finish()
    yield made
    await made.index.close()
    await records.close()


async def test_the_engine_answers_for_them(rig: Rig) -> None:
    found = await rig.index.search(RED, probe("word1"))
    assert ids(found)
    assert found.degraded == ()


async def test_without_the_engine_the_question_is_to_be_repeated(rig: Rig) -> None:
    rig.faults.away = True
    with (
        patch.object(rig.records, "read", side_effect=AssertionError("nothing is read")),
        pytest.raises(IndexUnavailableError),
    ):
        await rig.index.search(RED, probe("word1"))


async def test_a_memory_says_what_to_do(tmp_path: Path) -> None:
    async with AsyncMemory({"path": str(tmp_path), "view_rows_max": 3}) as memory:
        for name in ("ana", "ben"):
            for text in ("Tea is warm.", "Rum is brown."):
                await memory.add(text, user_id=name, infer=False)
        assert (await memory.search("tea", filters={"user_id": "ana"}))["results"]
        with pytest.raises(EntityTooLargeError, match="'\\*' has more memories") as refused:
            await memory.search("tea", filters={"user_id": "*"})
        assert "view_rows_max" in str(refused.value)
        assert "4" not in str(refused.value), "there may be others' among them"
        await memory.add("Rain is wet.", user_id="ana", infer=False)
        assert (await memory.search("rain", filters={"user_id": "ana"}))["results"]
        await memory.add("Snow is cold.", user_id="ana", infer=False)
        with pytest.raises(EntityTooLargeError, match="'ana' has more memories"):
            await memory.search("rain", filters={"user_id": "ana"})
