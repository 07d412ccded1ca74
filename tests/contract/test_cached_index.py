"""An index that remembers its answers: the same contract, and what must never be remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.backends.process_cache import ProcessCache
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.packing import Packing
from holdfast.core.text import analyze_query
from holdfast.filters import Compare, Everything
from holdfast.limits import CACHED_ANSWER_BYTES_MAX, CACHED_ENTITIES_MAX
from holdfast.metrics import Metrics
from holdfast.model import Entity, Project
from holdfast.ports import (
    Cache,
    EntityState,
    Found,
    Probe,
    QueryEmbedding,
    RemoveMemories,
    Reset,
    SpaceSwitched,
    View,
)
from holdfast.testing.contracts.index import EAST, IndexContract, Over, said
from holdfast.testing.contracts.values import ALICE, BLUE, BOB, NOW, RED, SPACE, Make, commit
from holdfast.testing.replica import Store
from holdfast.wrap.cached_index import CachedIndex

DAY_S = 86_400.0
PACKING = Packing(b"secret")


class SharedCache(ProcessCache):
    """Values that look as if they lay elsewhere; counts round trips."""

    shared = True

    def __init__(self) -> None:
        super().__init__(2**24)
        self.trips = 0
        self.values: dict[str, bytes] = {}

    async def get(self, keys: Any) -> list[bytes | None]:
        self.trips += 1
        return await super().get(keys)

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        self.trips += 1
        self.values |= values
        await super().put(values, ttl_s)


class Counting(EmbeddedIndex):
    """Counts searches, and may be told to wait in them or to be degraded."""

    asked = 0
    degraded: tuple[str, ...] = ()
    meanwhile: Callable[[], Any] | None = None

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        self.asked += 1
        found = await super().search(project, probe, known)
        if self.meanwhile is not None:
            await self.meanwhile()
        return Found(hits=found.hits, degraded=self.degraded)


def counting(store: Store) -> Counting:
    return Counting(store, SPACE.dimensions, bytes_max=2**24)


def cached(store: Store, cache: Cache | None = None, **more: Any) -> CachedIndex:
    given = {"ranking": b"1", "bytes_max": 2**22, "ttl_s": 60.0, **more}
    inner = given.pop("inner", None) or counting(store)
    return CachedIndex(inner, store, cache or ProcessCache(0), PACKING, **given)


@pytest.fixture
def make() -> Make:
    shared = Shared()
    return lambda: MemoryRecords(shared, seeded_ids(ManualClock(), seed=1))


@pytest.fixture
async def store(make: Make) -> AsyncIterator[Store]:
    made = make()
    await made.open(SPACE)
    await commit(
        made, said("a", "green tea"), said("b", "black tea"), said("c", "tea", user_id="bob")
    )
    yield made
    await made.close()


class TestInProcess(IndexContract):
    @pytest.fixture
    def make(self, make: Make) -> Make:
        return make

    @pytest.fixture
    def over(self) -> Over:
        return cached


class TestShared(IndexContract):
    """Nothing is kept in the process: every answer comes out of bytes."""

    @pytest.fixture
    def make(self, make: Make) -> Make:
        return make

    @pytest.fixture
    def over(self) -> Over:
        return lambda store: cached(store, SharedCache(), bytes_max=0)


def probe(**fields: Any) -> Probe:
    east = QueryEmbedding(vector=np.array(EAST, dtype=np.float32))
    view = View(now=NOW, listed_only=False)
    given = {"filter": Everything(), "view": view, "limit": 5, "embedding": east, **fields}
    return Probe(entities=(ALICE,), query=analyze_query("tea"), **given)


async def settled(index: CachedIndex, asked: Probe, project: Project = RED) -> Found:
    found = await index.search(project, asked)
    await index.settle()
    return found


def counts(metrics: Metrics) -> dict[str, float]:
    found = metrics.counts().items()
    return {labels[-1]: value for (name, labels), value in found if name.startswith("cache")}


async def test_how_an_entity_stands_is_asked_once_a_search(store: Store) -> None:
    index = cached(store)
    await settled(index, probe(limit=1))  # the working set is warm then
    with patch.object(store, "state", side_effect=store.state) as looks:
        for answered in ("found", "kept"):
            looks.reset_mock()
            await settled(index, probe())
            kept = answered == "found"  # whether nothing was written since is asked behind it
            assert looks.call_count == 1 + kept, "the index that finds asks no more"


async def test_a_hit_is_the_very_answer(store: Store) -> None:
    inner, metrics = counting(store), Metrics()
    index = cached(store, inner=inner, metrics=metrics)
    first = await settled(index, probe())
    assert await settled(index, probe()) is first
    assert inner.asked == 1
    assert counts(metrics) == {"miss": 1, "hit": 1}


async def test_another_process_uses_it_for_one_round_trip(store: Store) -> None:
    cache, inner, metrics = SharedCache(), counting(store), Metrics()
    first = await settled(cached(store, cache), probe())
    assert cache.trips == 2, "a look, and the answer put there afterwards"
    other = cached(store, cache, inner=inner, metrics=metrics)
    assert await settled(other, probe()) == first
    assert (inner.asked, cache.trips) == (0, 3)
    assert await settled(other, probe()) == first
    assert (inner.asked, cache.trips) == (0, 3), "it is in this process now"
    assert counts(metrics) == {"shared_hit": 1, "hit": 1}


async def test_an_answer_waits_for_no_more_than_one_round_trip(store: Store) -> None:
    class Stuck(SharedCache):
        async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
            await asyncio.Event().wait()

    cache = Stuck()
    index = cached(store, cache)
    assert len((await index.search(RED, probe())).hits) == 2
    await asyncio.sleep(0)
    assert cache.trips == 1
    await index.close()


@pytest.mark.parametrize("shared", [False, True])
async def test_a_write_makes_another_answer(store: Store, shared: bool) -> None:
    index = cached(store, SharedCache() if shared else None)
    assert len((await settled(index, probe())).hits) == 2
    await commit(store, said("d", "white tea"))
    assert len((await settled(index, probe())).hits) == 3
    gone = Compare("id", "in", ("a", "b"))
    await store.commit(RED, [RemoveMemories(filter=gone, at=NOW)])
    assert [hit.memory.id for hit in (await settled(index, probe())).hits] == ["d"]


OTHERS: dict[str, Probe] = {
    "entities": replace(probe(), entities=(BOB,)),
    "filter": probe(filter=Compare("metadata.a", "eq", 1)),
    "view": probe(view=View(now=NOW, as_of=NOW, listed_only=False)),
    "query": replace(probe(), query=analyze_query("coffee")),
    "embedding": probe(embedding=QueryEmbedding(vector=np.array((0, 1, 0, 0), dtype=np.float32))),
    "limit": probe(limit=1),
    "explain": probe(explain=False),
    "fence": probe(fence=Compare("agent_id", "in", ("x",))),
}
VIEWS: dict[str, View] = {
    "now": View(now=NOW + DAY_S, listed_only=False),
    "as_of": View(now=NOW, as_of=NOW, listed_only=False),
    "show_expired": View(now=NOW, show_expired=True, listed_only=False),
    "show_superseded": View(now=NOW, show_superseded=True, listed_only=False),
    "listed_only": View(now=NOW, listed_only=True),
}
PIECE = np.ones((1, 4), dtype=np.float32)
EMBEDDINGS: dict[str, QueryEmbedding] = {
    "vector": QueryEmbedding(vector=np.array((0, 0, 1, 0), dtype=np.float32)),
    "pieces": QueryEmbedding(
        vector=np.array(EAST, dtype=np.float32), pieces=PIECE, spans=((0, 2),)
    ),
    "spans": QueryEmbedding(vector=np.array(EAST, dtype=np.float32), pieces=PIECE, spans=((0, 3),)),
}


def test_every_field_of_a_search_is_tried() -> None:
    for kind, tried in ((Probe, OTHERS), (View, VIEWS), (QueryEmbedding, EMBEDDINGS)):
        # the epoch is no part of the answer: an answer of another one is refused, see below
        assert set(kind.__struct_fields__) - {"epoch"} == set(tried), (
            "what is new must be in the key, or be no part of the answer"
        )


async def test_every_field_of_a_search_makes_an_answer_of_its_own(store: Store) -> None:
    inner = counting(store)
    index = cached(store, inner=inner)
    await settled(index, probe())
    asked = [
        *OTHERS.values(),
        *(probe(view=view) for name, view in VIEWS.items() if name != "as_of"),
        *(probe(embedding=embedding) for embedding in EMBEDDINGS.values()),
        probe(embedding=replace(EMBEDDINGS["pieces"], pieces=2 * PIECE)),
    ]
    for number, other in enumerate(asked, start=2):
        await settled(index, other)
        assert inner.asked == number, other
    await settled(index, probe())
    assert inner.asked == number, "the first one is still there"


async def test_a_question_of_another_epoch_is_refused_whatever_is_kept(store: Store) -> None:
    index = cached(store, inner=counting(store))
    await settled(index, probe())
    with pytest.raises(SpaceSwitched):
        await index.search(RED, replace(probe(), epoch=1))


async def test_another_version_of_the_ranking_answers_anew(store: Store) -> None:
    cache, inner = SharedCache(), counting(store)
    await settled(cached(store, cache), probe())
    await settled(cached(store, cache, inner=inner, ranking=b"2"), probe())
    assert inner.asked == 1


async def test_answers_of_one_project_are_not_anothers(store: Store) -> None:
    await commit(store, said("blue", "tea of others"), project=BLUE)
    index = cached(store, SharedCache())
    red = await settled(index, probe())
    blue = await settled(index, probe(), BLUE)
    assert {hit.memory.id for hit in red.hits} == {"a", "b"}
    assert {hit.memory.id for hit in blue.hits} == {"blue"}


async def test_generations_that_are_equal_by_chance_make_no_answers_equal(store: Store) -> None:
    """As those of several projects are whose writes were committed together."""

    class Alike(MemoryRecords):
        async def state(self, project: Project, entity: Entity) -> EntityState:
            return EntityState(generation=7, memories=1)

    inner = counting(store)
    alike = Alike(Shared(), seeded_ids(ManualClock(), seed=1))
    index = CachedIndex(
        inner, alike, SharedCache(), PACKING, ranking=b"1", bytes_max=2**22, ttl_s=60
    )
    assert len((await settled(index, probe())).hits) == 2
    assert (await settled(index, probe(), BLUE)).hits == ()
    assert inner.asked == 2


async def test_what_expires_is_gone_the_next_day(store: Store) -> None:
    await commit(store, said("short", "tea today", expires_on="2023-11-15"))
    noon = 1_700_049_600.0  # 2023-11-15, 12:00 UTC
    inner = counting(store)
    index = cached(store, inner=inner)

    async def found(now: float) -> set[str]:
        answer = await settled(index, probe(view=View(now=now, listed_only=False)))
        return {hit.memory.id for hit in answer.hits}

    assert await found(noon) == {"a", "b", "short"}
    assert await found(noon + DAY_S / 2 - 1) == {"a", "b", "short"}
    assert inner.asked == 1, "the same day"
    assert await found(noon + DAY_S / 2) == {"a", "b"}


async def test_an_answer_found_while_somebody_wrote_is_not_kept(store: Store) -> None:
    inner, cache = counting(store), SharedCache()
    index = cached(store, cache, inner=inner)

    async def write() -> None:
        inner.meanwhile = None
        await commit(store, said("d", "white tea"))

    inner.meanwhile = write
    assert len((await settled(index, probe())).hits) == 2
    assert (index.nbytes, cache.values) == (0, {})
    assert len((await settled(index, probe())).hits) == 3


async def test_nothing_is_kept_of_an_entity_without_writes(store: Store) -> None:
    """Its generation, 0, comes again after a reset, with other answers between."""
    inner = counting(store)
    index = cached(store, inner=inner)

    async def write_and_reset() -> None:
        inner.meanwhile = None
        await commit(store, said("d", "white tea"))

    await store.commit(RED, [Reset()])
    for _ in range(2):
        assert (await settled(index, probe())).hits == ()
    assert (inner.asked, index.nbytes) == (2, 0)
    inner.meanwhile = write_and_reset
    await settled(index, probe())
    await store.commit(RED, [Reset()])
    assert (await settled(index, probe())).hits == ()


async def test_a_degraded_answer_is_not_kept(store: Store) -> None:
    inner, cache = counting(store), SharedCache()
    index = cached(store, cache, inner=inner)
    inner.degraded = ("index",)
    assert (await settled(index, probe())).degraded == ("index",)
    inner.degraded = ()
    assert (await settled(index, probe())).degraded == ()
    assert inner.asked == 2
    for _ in range(2):
        await settled(index, probe(embedding=None))
    assert inner.asked == 4, "the embedder was away"


async def test_what_is_too_wide_or_too_large_is_not_kept(store: Store) -> None:
    inner = counting(store)
    index = cached(store, inner=inner, bytes_max=2**24)
    wide = tuple(Entity("user", f"u{n}") for n in range(CACHED_ENTITIES_MAX + 1))
    await commit(store, *(said(f"w{n}", "tea", user_id=each.id) for n, each in enumerate(wide)))
    for _ in range(2):
        await settled(index, replace(probe(), entities=wide))
        await settled(index, replace(probe(), entities=()))
    assert (inner.asked, index.nbytes) == (4, 0)
    await commit(store, said("long", "tea " * (CACHED_ANSWER_BYTES_MAX // 4)))
    await settled(index, probe())
    assert index.nbytes == 0
    await settled(index, replace(probe(), entities=wide[:CACHED_ENTITIES_MAX]))
    assert index.nbytes > 0


async def test_a_number_without_a_form_in_bytes_is_answered_and_not_kept(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await commit(store, said("big", "tea", metadata={"number": 2**70}))
    index = cached(store, SharedCache())
    found = await settled(index, probe())
    assert {hit.memory.id for hit in found.hits} == {"a", "b", "big"}
    assert index.nbytes == 0
    assert caplog.records == []


async def test_values_that_were_not_put_there_are_misses(store: Store) -> None:
    cache = SharedCache()
    await settled(cached(store, cache), probe())
    [(name, good)] = cache.values.items()
    [other] = [PACKING.pack("answer:other", PACKING.unpack(name, good) or b"")]
    newer = bytes([good[0] + 1]) + good[1:]
    payload = msgspec.msgpack.encode({"hits": 3})
    bad = {
        "empty": b"",
        "garbage": b"\x93\x01\x02garbage",
        "cut off": good[:-1],
        "only its head": good[:5],
        "one bit": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "another version": newer,
        "of another key": other,
        "of another deployment": Packing(b"another").pack(name, good[17:]),
        "of another form": PACKING.pack(name, payload),
        "no MessagePack": PACKING.pack(name, b"\xc1"),
        "pickled": b"\x80\x04\x95\x00.",
    }
    for what, value in bad.items():
        inner, metrics = counting(store), Metrics()
        await cache.put({name: value}, 60)
        index = cached(store, cache, inner=inner, metrics=metrics)
        assert len((await settled(index, probe())).hits) == 2, what
        assert inner.asked == 1, what
        assert counts(metrics) == {"damaged": 1, "miss": 1}, what
        assert cache.values[name] == good, "the right answer took its place"


async def test_what_is_asked_at_once_is_answered_once(store: Store) -> None:
    inner, metrics = counting(store), Metrics()
    index = cached(store, inner=inner, metrics=metrics)
    inner.meanwhile = lambda: asyncio.sleep(0.01)
    found = await asyncio.gather(*(index.search(RED, probe()) for _ in range(10)))
    assert inner.asked == 1
    assert all(each is found[0] for each in found)
    assert counts(metrics) == {"miss": 1, "joined": 9}
    await index.settle()


async def test_an_answer_is_kept_for_its_time(store: Store) -> None:
    now = [0.0]
    inner = counting(store)
    index = cached(store, inner=inner, now=lambda: now[0])
    for at, asked in ((0.0, 1), (59.0, 1), (61.0, 2)):
        now[0] = at
        await settled(index, probe())
        assert inner.asked == asked


async def test_answers_stay_within_their_bytes(store: Store) -> None:
    index = cached(store, bytes_max=20_000)
    for limit in range(1, 200):
        await settled(index, probe(limit=limit))
        assert index.nbytes <= 20_000
    assert index.nbytes > 10_000
