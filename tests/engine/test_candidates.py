"""Candidates of large entities: what is left out must not have been among the best."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from msgspec.structs import replace

from holdfast.backends.index.candidates import Bounds, CandidateIndex
from holdfast.backends.memory.vectors import Collection, Engine
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.candidates import chosen
from holdfast.core.matching import match, weighted_vector
from holdfast.core.text import analyze_query
from holdfast.core.view import EntityView
from holdfast.errors import ConfigError, IndexUnavailableError
from holdfast.filters import Compare, Everything, Filter, matches
from holdfast.model import ANY, Entity, Space
from holdfast.ports import Found, Hit, Probe, PutMemory, QueryEmbedding, RemoveMemories, View
from holdfast.testing.contracts.index import said
from holdfast.testing.contracts.values import ALICE, NOW, RED, commit
from support.candidates import Rig
from support.embedded import DIMENSIONS, HashEmbedder

ROWS = 1_200
EMBEDDER = HashEmbedder()
SPACE = Space(provider="tests", model="words", dimensions=DIMENSIONS)
WORDS = [f"word{n}" for n in range(600)]
WEIGHTS = [1.0 / (n + 8) for n in range(600)]
QUESTIONS = ["word40 word90 word300", "word5 word200", "word599", "word20 word30 word50", "unknown"]
"""None has a word that more rows have than an engine is asked for: see `CANDIDATES_PER_WORD`."""


def sentences(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, WEIGHTS, k=dice.randint(3, 25))) for _ in range(count)]


def spoken(id_: str, text: str, n: int, **fields: Any) -> PutMemory:
    put = said(id_, text, event_at=NOW + 60 * n, kind="turn", metadata={"n": n}, **fields)
    return replace(put, vector=EMBEDDER.vector(text).tobytes())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sentences(ROWS, 7)


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> tuple[Path, dict[Any, Any]]:
    """A store with the texts, and the points of the engine that was fed with them."""
    file = tmp_path_factory.mktemp("candidates") / "store.db"

    async def prepare() -> dict[Any, Any]:
        clock = ManualClock(NOW)
        records = SqliteRecords(file, clock, seeded_ids(clock, seed=1))
        await records.open(SPACE)
        await commit(records, *(spoken(f"m{n:04}", text, n) for n, text in enumerate(texts)))
        made = Rig(records, DIMENSIONS, space=SPACE)
        await made.feeder.round()
        await made.feeder.finish()
        await made.index.close()
        await records.close()
        return made.engine.collections["index"].points

    return file, asyncio.run(prepare())


@pytest.fixture
async def rig(tmp_path: Path, prepared: tuple[Path, dict[Any, Any]]) -> AsyncIterator[Rig]:
    file, points = prepared
    shutil.copy(file, tmp_path / "store.db")
    clock = ManualClock(NOW)
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=2))
    await records.open(SPACE)
    engine = Engine({"index": Collection(DIMENSIONS, dict(points))})
    made = Rig(records, DIMENSIONS, space=SPACE, engine=engine)
    yield made
    await made.index.close()
    await records.close()


def probe(question: str, *, limit: int = 10, pieces: bool = False, **fields: Any) -> Probe:
    """A question, as an embedder that sees it as a whole gives it, or one that sees words."""
    words = question.split()
    embedding = QueryEmbedding(vector=EMBEDDER.vector(question))
    if pieces:
        starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
        embedding = QueryEmbedding(
            vector=EMBEDDER.vector(question),
            pieces=np.stack([EMBEDDER.vector(word) for word in words]),
            spans=tuple((s, s + len(w)) for s, w in zip(starts, words, strict=False)),
        )
    fields = {
        "entities": (ALICE,),
        "filter": Everything(),
        "view": View(now=NOW, listed_only=False),
        "embedding": embedding,
        **fields,
    }
    return Probe(query=analyze_query(question), limit=limit, **fields)


def ids(found: Found) -> list[str]:
    return [hit.memory.id for hit in found.hits]


async def both(rig: Rig, asked: Probe) -> tuple[list[Hit], list[Hit]]:
    """The answers by candidates, and by everything."""
    by_candidates = await rig.index.search(RED, asked)
    assert by_candidates.degraded == ()
    return list(by_candidates.hits), list((await rig.exact.search(RED, asked)).hits)


class Spy:
    """Takes down which memories are fetched."""

    def __init__(self, rig: Rig) -> None:
        self.asked: list[list[str]] = []
        self._inner = rig.source.excerpt

    async def __call__(self, project: Any, entity: Any, ids: Sequence[str], latest: int) -> Any:
        self.asked.append(list(ids))
        return await self._inner(project, entity, ids, latest)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("pieces", [False, True])
async def test_the_best_of_each_list_are_candidates(rig: Rig, question: str, pieces: bool) -> None:
    asked = probe(question, pieces=pieces)
    spy = Spy(rig)
    with patch.object(rig.source, "excerpt", spy):
        await rig.index.search(RED, asked)
    [fetched] = spy.asked
    assert len(fetched) < ROWS / 4, "only some are fetched"
    delta = await rig.records.delta(RED, ALICE, None)
    view = EntityView.build(delta.entries, DIMENSIONS)
    found = match(view, asked.query, asked.embedding)
    place = {id_: row for row, id_ in enumerate(view.ids)}
    rows = [place[id_] for id_ in fetched]
    assert found.similarity is not None
    lists = {"dense": found.similarity, "keyword": found.impact[:, :-1].sum(axis=0)}
    for name, scores in lists.items():
        wanted = np.sort(scores)[::-1][:10]
        got = np.sort(scores[rows])[::-1][:10]
        kept = wanted > 0 if name == "keyword" else np.ones(10, bool)
        np.testing.assert_allclose(got[kept], wanted[kept], atol=1e-5, err_msg=name)


async def test_words_are_worth_to_the_engine_what_they_are_in_ranking(rig: Rig) -> None:
    asked = probe("list word40 of conversation word90", pieces=True)
    module = "holdfast.backends.index.candidates"
    with (
        patch(f"{module}.weighted_vector", wraps=weighted_vector) as weighted,
        patch(f"{module}.chosen", wraps=chosen) as choice,
    ):
        await rig.index.search(RED, asked)
    delta = await rig.records.delta(RED, ALICE, None)
    found = match(EntityView.build(delta.entries, DIMENSIONS), asked.query, asked.embedding)
    assert weighted.call_args.args[2] == found.rarity
    assert choice.call_args.args[2] == found.rarity


async def test_answers_are_nearly_those_of_everything(rig: Rig, texts: list[str]) -> None:
    shared, differs = 0, []
    questions = [*QUESTIONS[:4], *(" ".join(t.split()[:4]) for t in texts[::200])]
    for question in questions:
        for pieces in (False, True):
            some, every = await both(rig, probe(question, pieces=pieces))
            assert len(some) == 10
            scores = {hit.memory.id: hit.score for hit in every}
            mine = {hit.memory.id: hit.score for hit in some}
            shared += len(scores.keys() & mine.keys())
            differs += [abs(scores[id_] - mine[id_]) for id_ in scores.keys() & mine.keys()]
    assert shared / (20 * len(questions)) > 0.85
    assert np.median(differs) < 0.05
    assert set(rig.answered()) == {"candidates"}


@pytest.mark.parametrize(
    "tree",
    [
        Compare("metadata.n", "lt", 3),
        Compare("metadata.n", "eq", 777),
        Compare("metadata.n", "lt", 600),
        Compare("metadata.n", "gte", 1_190),
        Compare("text", "contains", "word599"),
        Compare("text", "eq", "nothing"),
    ],
    ids=str,
)
async def test_filters_of_any_width(rig: Rig, tree: Filter) -> None:
    some, every = await both(rig, probe("word1 word2", filter=tree))
    assert len(some) == len(every)
    assert all(matches(tree, hit.memory) for hit in some)
    if len(every) < 10:
        assert {hit.memory.id for hit in some} == {hit.memory.id for hit in every}


async def test_a_filter_that_many_pass_and_few_candidates(rig: Rig) -> None:
    """More memories match than a page holds: all rows are looked at."""
    tree = Compare("metadata.n", "nin", tuple(range(60, ROWS)))
    with patch("holdfast.backends.index.candidates.PAGE_SIZE_MAX", 50):
        some, every = await both(rig, probe("word1 word2", filter=tree, limit=59))
    assert [hit.memory.id for hit in some] == [hit.memory.id for hit in every]
    assert rig.answered() == {"selective": 1}


async def test_as_many_as_asked_for(rig: Rig) -> None:
    for limit in (0, 1, 10, 300, ROWS, ROWS + 10):
        some, _ = await both(rig, probe("word1", limit=limit))
        assert len(some) == min(limit, ROWS)
    some, _ = await both(rig, probe("nowhere", embedding=None))
    assert len(some) == 10, "words alone, and nobody has them"


async def test_what_was_written_since_is_found_at_once(rig: Rig, texts: list[str]) -> None:
    """The engine is not fed meanwhile."""
    await commit(rig.records, spoken("new", "zebra " + texts[0], ROWS))
    # so many that it is not among the latest, which are always looked at
    later = enumerate(sentences(80, 11), ROWS + 1)
    await commit(rig.records, *(spoken(f"later{n}", text, n) for n, text in later))
    some, _ = await both(rig, probe("zebra"))
    assert some[0].memory.id == "new"
    gone = some[1].memory.id
    await commit(rig.records, RemoveMemories(filter=Compare("id", "in", (gone, "new")), at=NOW))
    some, _ = await both(rig, probe("zebra"))
    assert not {gone, "new"} & {hit.memory.id for hit in some}
    assert set(rig.answered()) == {"candidates"}
    everyone = probe("zebra", entities=(Entity("user", ANY),))
    await commit(rig.records, spoken("again", "zebra stripes", ROWS, user_id="bob"))
    found = await rig.index.search(RED, everyone)
    assert ids(found)[0] == "again"


async def test_that_guard_catches_a_blind_index(rig: Rig, texts: list[str]) -> None:
    async def blind(*_: object) -> list[str]:
        return []

    with patch.object(CandidateIndex, "_lag", blind), pytest.raises(AssertionError):
        await test_what_was_written_since_is_found_at_once(rig, texts)


async def test_a_fence_is_answered_from_everything(rig: Rig) -> None:
    fence = Compare("user_id", "in", ("alice",))
    await both(rig, probe("word1", fence=fence))
    assert rig.answered() == {"candidates": 1}, "the entity is inside as a whole"
    fence = Compare("agent_id", "in", ("a",))
    some, every = await both(rig, probe("word1", fence=fence))
    assert some == every == []
    assert rig.answered() == {"candidates": 1, "fenced": 1}


async def test_dates_bring_candidates(rig: Rig) -> None:
    """Rows of a named day are found, though no word and no vector leads to them."""
    old = NOW - 400 * 86_400.0  # 2022-10-10
    rows = [spoken(f"old{n}", f"quite{n} something{n} else{n}", 0, role="user") for n in range(3)]
    rows = [replace(r, memory=replace(r.memory, event_at=old + 60)) for r in rows]
    await commit(rig.records, *rows)
    await commit(
        rig.records, *(spoken(f"z{n}", t, ROWS + n) for n, t in enumerate(sentences(100, 3)))
    )
    await rig.feeder.round()
    spy = Spy(rig)
    with patch.object(rig.source, "excerpt", spy):
        await rig.index.search(RED, probe("what happened on 10 October 2022?"))
    assert {"old0", "old1", "old2"} <= set(spy.asked[0])
    spy = Spy(rig)
    with patch.object(rig.source, "excerpt", spy):
        await rig.index.search(RED, probe("what happened in October?"))
    assert {"old0", "old1", "old2"} <= set(spy.asked[0])


async def test_every_call_of_the_engine_may_fail(rig: Rig) -> None:
    asked = probe("word1 word2", pieces=True)
    _, every = await both(rig, asked)
    await rig.index.search(RED, asked)
    for at in (1, 2):
        rig.faults.fail_at = rig.faults.calls + at
        found = await rig.index.search(RED, asked)
        assert found.degraded == ("index",)
        assert list(found.hits) == every
    found = await rig.index.search(RED, asked)
    assert found.degraded == ()
    rig.faults.error = ConfigError
    rig.faults.fail_at = rig.faults.calls + 1
    assert (await rig.index.search(RED, asked)).degraded == ("index",)


async def test_an_engine_that_is_away_is_left_alone_for_a_moment(rig: Rig) -> None:
    clock = [100.0]
    rig.index._clock = lambda: clock[0]
    asked = probe("word1 word2")
    rig.faults.away = True
    for _ in range(5):
        assert (await rig.index.search(RED, asked)).degraded == ("index",)
    before = rig.faults.calls
    await rig.index.search(RED, asked)
    assert rig.faults.calls == before, "it is not asked again and again"
    rig.faults.away = False
    clock[0] += 2.0
    assert (await rig.index.search(RED, asked)).degraded == ()


async def test_when_its_pause_is_over_one_search_finds_out_for_all(rig: Rig) -> None:
    clock = [100.0]
    rig.index._clock = lambda: clock[0]
    asked = probe("word1 word2")
    rig.faults.away = True
    await rig.index.search(RED, asked)
    before = rig.faults.calls
    clock[0] += 2.0
    found = await asyncio.gather(*(rig.index.search(RED, asked) for _ in range(8)))
    assert [each.degraded for each in found] == [("index",)] * 8
    assert rig.faults.calls - before <= 2, "of one search"


async def test_it_is_left_alone_as_long_as_it_asks(rig: Rig) -> None:
    clock = [100.0]
    rig.index._clock = lambda: clock[0]
    asked = probe("word1 word2")

    async def busy(*_: object) -> list[Any]:
        raise IndexUnavailableError("A planted failure.", retry_after_s=60.0)

    with patch.object(rig.faults, "nearest", busy), patch.object(rig.faults, "holders", busy):
        await rig.index.search(RED, asked)
    clock[0] += 59.0
    assert (await rig.index.search(RED, asked)).degraded == ("index",)
    clock[0] += 1.0
    assert (await rig.index.search(RED, asked)).degraded == ()


async def test_a_failing_call_leaves_no_other_running(rig: Rig) -> None:
    started = asyncio.Event()
    stopped = asyncio.Event()

    async def endless(*_: object) -> list[Any]:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return []

    async def fail(*_: object) -> list[Any]:
        await started.wait()
        raise IndexUnavailableError("A planted failure.")

    with patch.object(rig.faults, "nearest", endless), patch.object(rig.faults, "holders", fail):
        assert (await rig.index.search(RED, probe("word1"))).degraded == ("index",)
    assert stopped.is_set()


async def test_small_entities_need_no_engine_if_so_configured(rig: Rig) -> None:
    index = CandidateIndex(
        rig.records,
        rig.source,
        rig.builds,
        rig.exact,
        DIMENSIONS,
        bounds=Bounds(exact_rows=ROWS),
        metrics=rig.metrics,
    )
    calls = rig.faults.calls
    asked = probe("word1")
    assert await index.search(RED, asked) == await rig.exact.search(RED, asked)
    assert rig.faults.calls == calls
    assert rig.answered() == {"small": 1}


async def test_several_entities_at_once(rig: Rig) -> None:
    await commit(
        rig.records,
        *(spoken(f"b{n}", t, n, user_id=f"u{n}") for n, t in enumerate(sentences(30, 5))),
    )
    everyone = (ALICE, *(Entity("user", f"u{n}") for n in range(30)))
    some, every = await both(rig, probe("word1 word2 word9", entities=everyone, limit=40))
    assert len(some) == len({hit.memory.id for hit in some}) == 40
    assert len({h.memory.id for h in some} & {h.memory.id for h in every}) >= 34


@pytest.mark.parametrize("pieces", [False, True])
async def test_a_search_asks_the_engine_twice_and_the_records_twice(rig: Rig, pieces: bool) -> None:
    await rig.index.search(RED, probe("word9"))
    spy, calls = Spy(rig), rig.faults.calls
    reads, copies, glances = rig.records.read, rig.records.read_copy, rig.records.glance
    with (
        patch.object(rig.source, "excerpt", spy),
        patch.object(rig.records, "read", side_effect=reads) as read,
        patch.object(rig.records, "read_copy", side_effect=copies) as read_copy,
        patch.object(rig.records, "glance", side_effect=glances) as glance,
    ):
        await rig.index.search(RED, probe("word1 word2 word9", pieces=pieces))
    assert rig.faults.calls - calls == 2, "words and vector"
    asked = read.call_count + read_copy.call_count
    assert (glance.call_count, asked, len(spy.asked)) == (1, 1, 1)
