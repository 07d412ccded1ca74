"""Entities small enough to be ranked from the records: what a search of one costs, and sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from holdfast.backends.index.candidates import Bounds
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.text import analyze_query
from holdfast.filters import Compare
from holdfast.model import Entity
from holdfast.ports import RemoveMemories, SpaceSwitched
from holdfast.testing.contracts.values import ALICE, BLUE, NOW, RED, commit
from support.candidates import Rig
from support.embedded import DIMENSIONS
from tests.engine.test_candidates import SPACE, ids, probe, sentences, spoken

ROWS = 30
EXACT_ROWS = 40
NEW = SPACE.__class__(provider="tests", model="new", dimensions=DIMENSIONS)


async def opened(file: Path, seed: int) -> SqliteRecords:
    clock = ManualClock(NOW)
    records = SqliteRecords(file, clock, seeded_ids(clock, seed=seed))
    await records.open(SPACE)
    return records


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A store in which Alice is small, and an engine that was fed and is away."""
    records = await opened(tmp_path / "store.db", 1)
    await commit(
        records, *(spoken(f"m{n:03}", text, n) for n, text in enumerate(sentences(ROWS, 3)))
    )
    made = Rig(records, DIMENSIONS, space=SPACE, bounds=Bounds(exact_rows=EXACT_ROWS))
    await made.feeder.round()
    await made.feeder.finish()
    made.faults.away = True
    yield made
    await made.index.close()
    await records.close()


@contextmanager
def counted(rig: Rig, *, looks: int, reads: int) -> Iterator[None]:
    """Asserts how often the records are asked, and that the engine is not."""
    records, calls = rig.records, rig.faults.calls
    with (
        patch.object(records, "read", side_effect=records.read) as read,
        patch.object(records, "read_copy", side_effect=records.read_copy) as read_copy,
        patch.object(records, "glance", side_effect=records.glance) as glance,
    ):
        yield
    assert (glance.call_count, read.call_count + read_copy.call_count) == (looks, reads)
    assert rig.faults.calls == calls


async def everything(rig: Rig, question: str, **fields: object) -> list[str]:
    """What an index without any memory of its own answers."""
    fresh = EmbeddedIndex(rig.records, DIMENSIONS, 1 << 30)
    return ids(await fresh.search(RED, probe(question, **fields)))  # type: ignore[arg-type]


async def test_the_first_search_reads_once_and_the_next_only_look(rig: Rig) -> None:
    for question, reads in (("word1 word2", 1), ("word3", 0), ("word1 word2", 0)):
        with counted(rig, looks=1, reads=reads):
            found = await rig.index.search(RED, probe(question))
        assert found.degraded == (), "an engine that is not needed is not missed"
        assert ids(found) == await everything(rig, question)
    assert rig.answered() == {"small": 3}


async def test_what_another_process_writes_is_seen(rig: Rig, tmp_path: Path) -> None:
    await rig.index.search(RED, probe("word1"))
    other = await opened(tmp_path / "store.db", 2)
    new = spoken("new", "word599 word598", 500)
    try:
        await commit(other, new, RemoveMemories(filter=Compare("id", "eq", "m003"), at=NOW))
    finally:
        await other.close()
    with counted(rig, looks=1, reads=1):
        found = await rig.index.search(RED, probe("word599 word598", limit=ROWS))
    assert ids(found) == await everything(rig, "word599 word598", limit=ROWS)
    assert ids(found)[0] == "new"
    assert "m003" not in ids(found)


async def test_who_outgrows_the_bound_is_asked_about_in_the_engine(rig: Rig) -> None:
    await rig.index.search(RED, probe("word1"))
    await commit(rig.records, *(spoken(f"n{n}", "word9", 99 + n) for n in range(EXACT_ROWS)))
    with counted(rig, looks=1, reads=1):
        await rig.index.search(RED, probe("word1"))  # it was small: one look, and what is new
    assert rig.answered() == {"small": 2}
    calls = rig.faults.calls
    assert (await rig.index.search(RED, probe("word1"))).degraded == ("index",)
    assert rig.faults.calls > calls


async def test_a_question_of_another_space_is_asked_again(rig: Rig) -> None:
    before = (await rig.records.state(RED, ALICE)).epoch
    await rig.index.search(RED, probe("word1", epoch=before))
    await rig.records.spaces.begin(NEW)
    with pytest.raises(SpaceSwitched):
        await rig.index.search(RED, probe("word1", epoch=before))
    cold = Rig(rig.records, DIMENSIONS, space=SPACE, bounds=Bounds(exact_rows=EXACT_ROWS))
    with pytest.raises(SpaceSwitched):
        await cold.index.search(RED, probe("word1", epoch=before))
    await cold.index.close()
    now = (await rig.records.state(RED, ALICE)).epoch
    assert now != before
    found = await rig.index.search(RED, probe("word1", epoch=now))
    assert ids(found) == await everything(rig, "word1")


async def test_a_fence_is_kept_over_a_warm_set(rig: Rig) -> None:
    await commit(rig.records, spoken("bot", "word1 word1 word2", 700, agent_id="bot"))
    fence = Compare("agent_id", "eq", "bot")
    for _ in range(2):  # with nothing in memory, then warm
        found = await rig.index.search(RED, probe("word1", fence=fence))
        assert ids(found) == ["bot"] == await everything(rig, "word1", fence=fence)
        await rig.index.search(RED, probe("word1"))


@pytest.mark.parametrize("exact_rows", [0, EXACT_ROWS])
async def test_names_of_speakers_are_read_once(rig: Rig, exact_rows: int) -> None:
    """Of the latest memories, if the entity is not small."""
    made = Rig(rig.records, DIMENSIONS, space=SPACE, bounds=Bounds(exact_rows=exact_rows))

    async def knows(name: str) -> bool:
        names = await made.index.names(RED, [ALICE])
        [term] = analyze_query(name).terms
        return any(value in names for value, _ in term.alternatives)

    for speaker, other in (("Caroline", "Melanie"), ("Melanie", "Nathan")):
        await commit(rig.records, spoken(speaker, "green tea", 600, speaker=speaker))
        for reads in (1, 0, 0):
            with counted(made, looks=1, reads=reads):
                assert await knows(speaker)
        assert not await knows(other)
    if exact_rows:
        with counted(made, looks=1, reads=0):
            await made.index.search(RED, probe("word1"))
    assert not await made.index.names(RED, [Entity("user", "nobody")])
    assert await made.index.names(BLUE, [ALICE]) == set()
    await made.index.close()


async def test_no_more_is_kept_in_memory_than_is_allowed(tmp_path: Path) -> None:
    records = await opened(tmp_path / "store.db", 1)
    users = [f"u{n}" for n in range(12)]
    for user in users:
        puts = (spoken(f"{user}-{n}", t, n, user_id=user) for n, t in enumerate(sentences(9, 5)))
        await commit(records, *puts)
    made = Rig(records, DIMENSIONS, space=SPACE, bounds=Bounds(exact_rows=EXACT_ROWS))
    made.exact._bytes_max = 100_000
    for user in [*users, *users]:
        entity = Entity("user", user)
        found = await made.index.search(RED, probe("word1", entities=(entity,)))
        assert ids(found) == await everything(made, "word1", entities=(entity,))
        held = made.exact._warm.values()
        assert sum(warm.nbytes for warm in held) == made.exact._bytes <= 100_000
    assert 1 < len(made.exact._warm) < len(users)
    assert made.faults.calls == 0
    await made.index.close()
    await records.close()
