"""An embedder that remembers: the same contract, each text paid for once, and nobody let down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from holdfast.backends.process_cache import ProcessCache
from holdfast.core.packing import Packing
from holdfast.errors import ModelUnavailableError
from holdfast.metrics import Metrics
from holdfast.model import Spared, Usage
from holdfast.ports import Cache, Embedder, QueryEmbedding, Spent
from holdfast.testing.contracts.embedder import EmbedderContract
from holdfast.wrap import cached_embedder
from holdfast.wrap.cached_embedder import CachedEmbedder
from support.embedded import HashEmbedder

PACKING = Packing(b"secret")
TEA, BEES = "green tea", "bees in Kent"


class Paid(HashEmbedder):
    """Asks a provider: each request costs a token a text, and may fail or take its time."""

    in_process = False

    def __init__(self, model: str = "words") -> None:
        super().__init__(model)
        self.texts: list[str] = []
        self.failing = False
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def _paid(self, texts: Sequence[str], spent: Spent | None) -> None:
        said = [text for text in texts if text.strip()]
        if not said:
            return
        self.texts += said
        await self.going_on.wait()
        if spent is not None:
            spent(Usage(model=f"tests:{self.space.model}", input_tokens=len(said)))
        if self.failing:
            raise ModelUnavailableError("It is away.")

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.space.dimensions), dtype=np.float32)
        await self._paid(texts, spent)
        return np.stack([self.vector(text) for text in texts])

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        await self._paid([text], spent)
        return QueryEmbedding(vector=self.vector(text))

    def vector(self, text: str) -> np.ndarray:
        return super().vector(text) if text.strip() else np.zeros(16, dtype=np.float32)


class Shared(ProcessCache):
    """As if it lay elsewhere; counts round trips."""

    shared = True

    def __init__(self) -> None:
        super().__init__(2**22)
        self.trips = 0

    async def get(self, keys: Any) -> list[bytes | None]:
        self.trips += 1
        return await super().get(keys)

    async def claim(self, *given: Any) -> Any:
        self.trips += 1
        return await super().claim(*given)


def cached(inner: Embedder, cache: Cache | None = None, **more: Any) -> CachedEmbedder:
    given = {"ttl_s": 60.0, "owner": "me", **more}
    return CachedEmbedder(inner, cache or ProcessCache(2**22), PACKING, **given)


def paid(bill: Sequence[Usage]) -> list[Usage]:
    """The calls that were made."""
    return [one for one in bill if not isinstance(one, Spared)]


def spared(bill: Sequence[Usage]) -> list[tuple[str, int, int]]:
    """Model, calls and tokens of those that were not."""
    return [(one.model, one.calls, one.input_tokens) for one in bill if isinstance(one, Spared)]


def counts(metrics: Metrics) -> dict[str, float]:
    found = metrics.counts().items()
    return {labels[-1]: value for (name, labels), value in found if name.startswith("cache")}


class TestInProcess(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return cached(Paid())


class TestShared(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return cached(Paid(), Shared())


@pytest.mark.parametrize("kind", [lambda: ProcessCache(2**22), Shared])
async def test_a_text_is_paid_for_once(kind: Any) -> None:
    inner, metrics, spent = Paid(), Metrics(), list[Usage]()
    embedder = cached(inner, kind(), metrics=metrics)
    first = await embedder.embed([TEA, "", BEES, TEA], spent.append)
    await embedder.settle()
    again = await embedder.embed([BEES, "new", TEA], spent.append)
    assert np.array_equal(again[[2, 0]], first[[0, 2]])
    assert not first[1].any()
    assert np.array_equal(first[0], first[3])
    assert inner.texts == [TEA, BEES, "new"]
    assert [usage.input_tokens for usage in paid(spent)] == [2, 1]
    about = len(TEA) // 4 + 1 + len(BEES) // 4 + 1
    assert spared(spent) == [("tests:words", 0, about)], "another text had to be asked for"
    await embedder.embed([BEES], spent.append)
    assert spared(spent)[1:] == [("tests:words", 1, len(BEES) // 4 + 1)]
    hit = "shared_hit" if embedder._cache.shared else "hit"
    assert counts(metrics) == {hit: 3, "miss": 3}


@pytest.mark.parametrize("kind", [lambda: ProcessCache(2**22), Shared])
async def test_a_question_is_paid_for_once_and_is_no_text(kind: Any) -> None:
    inner = Paid()
    embedder = cached(inner, kind())
    await embedder.embed([TEA])
    await embedder.settle()
    for _ in range(3):
        found = await embedder.embed_query(TEA)
        await embedder.settle()
        assert np.array_equal(found.vector, inner.vector(TEA))
    assert inner.texts == [TEA, TEA], "embedders may read the two differently"


async def test_vectors_of_another_space_or_deployment_are_not_taken() -> None:
    cache = ProcessCache(2**22)
    for inner, packing in ((Paid(), PACKING), (Paid("other"), PACKING), (Paid(), Packing(b"x"))):
        embedder = CachedEmbedder(inner, cache, packing, ttl_s=60, owner="me")
        await embedder.embed([TEA])
        await embedder.settle()
        assert inner.texts == [TEA]


async def test_a_look_up_adds_one_round_trip() -> None:
    cache = Shared()
    embedder = cached(Paid(), cache)
    await embedder.embed([f"text {n}" for n in range(100)])
    assert cache.trips == 1
    await embedder.embed_query(TEA)
    assert cache.trips == 2
    await embedder.close()


async def test_damaged_vectors_are_made_anew() -> None:
    inner, cache, metrics = Paid(), Shared(), Metrics()
    embedder = cached(inner, cache, metrics=metrics)
    name = embedder._name("text", TEA)
    row = inner.vector(TEA).tobytes()
    bad = (b"", b"garbage", row, PACKING.pack(name, row[:-4]), PACKING.pack("other", row))
    for value in bad:
        await cache.put({name: value}, 60)
        assert np.array_equal((await embedder.embed([TEA]))[0], inner.vector(TEA))
        await embedder.settle()
    assert inner.texts == [TEA] * len(bad)
    assert counts(metrics) == {"damaged": len(bad), "miss": len(bad)}


async def asked_together(
    embedder: CachedEmbedder, number: int, bill: list[Usage]
) -> list[asyncio.Task[QueryEmbedding]]:
    """Callers of one question who all wait."""
    told = [asyncio.create_task(embedder.embed_query(TEA, bill.append)) for _ in range(number)]
    for _ in range(10):
        await asyncio.sleep(0)
    return told


async def test_a_question_asked_at_once_is_paid_for_once() -> None:
    inner, metrics, bill = Paid(), Metrics(), list[Usage]()
    embedder = cached(inner, metrics=metrics)
    inner.going_on.clear()
    asked = await asked_together(embedder, 10, bill)
    inner.going_on.set()
    found = await asyncio.gather(*asked)
    assert all(np.array_equal(each.vector, inner.vector(TEA)) for each in found)
    assert (inner.texts, len(paid(bill))) == ([TEA], 1)
    assert spared(bill) == [("tests:words", 1, len(TEA) // 4 + 1)] * 9
    assert counts(metrics) == {"miss": 1, "joined": 9}


@pytest.mark.parametrize("who", [0, 3, 9])
async def test_who_gives_up_takes_nobody_along_and_the_bill_is_paid(who: int) -> None:
    inner, bill = Paid(), list[Usage]()
    embedder = cached(inner)
    inner.going_on.clear()
    asked = await asked_together(embedder, 10, bill)
    asked[who].cancel()
    await asyncio.sleep(0)
    inner.going_on.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[who], asyncio.CancelledError)
    assert sum(isinstance(each, QueryEmbedding) for each in found) == 9
    assert (inner.texts, len(paid(bill))) == ([TEA], 1)


async def test_when_all_give_up_nobody_is_asked_any_more() -> None:
    inner, bill = Paid(), list[Usage]()
    embedder = cached(inner)
    inner.going_on.clear()
    asked = await asked_together(embedder, 3, bill)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert TEA not in [*embedder._questions._flights]
    inner.going_on.set()
    assert (await embedder.embed_query(TEA, bill.append)).vector.any()
    assert (inner.texts, len(bill)) == ([TEA, TEA], 1)


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    inner, bill = Paid(), list[Usage]()
    embedder = cached(inner)
    inner.failing = True
    found = await asyncio.gather(
        *(embedder.embed_query(TEA, bill.append) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(each, ModelUnavailableError) for each in found)
    assert (inner.texts, len(paid(bill))) == ([TEA], 1), "what a failure cost is told as well"
    inner.failing = False
    assert (await embedder.embed_query(TEA)).vector.any()


async def test_of_several_processes_one_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_embedder, "_LOOK_AGAIN_S", 0.001)
    cache, inners, metrics = Shared(), [Paid() for _ in range(4)], Metrics()
    several = [
        cached(inner, cache, owner=str(n), metrics=metrics) for n, inner in enumerate(inners)
    ]
    inners[0].going_on.clear()
    asked = [asyncio.create_task(each.embed_query(TEA)) for each in several]
    await asyncio.sleep(0.02)
    inners[0].going_on.set()
    found = await asyncio.gather(*asked)
    assert all(np.array_equal(each.vector, inners[0].vector(TEA)) for each in found)
    assert [inner.texts for inner in inners] == [[TEA], [], [], []]
    assert counts(metrics) == {"miss": 1, "shared_hit": 3}


async def test_when_the_one_who_asks_fails_the_next_one_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached_embedder, "_LOOK_AGAIN_S", 0.001)
    cache, inners = Shared(), [Paid(), Paid()]
    one, two = (cached(inner, cache, owner=str(n)) for n, inner in enumerate(inners))
    inners[0].failing = True
    inners[0].going_on.clear()
    asked = [asyncio.create_task(each.embed_query(TEA)) for each in (one, two)]
    await asyncio.sleep(0.01)
    inners[0].going_on.set()
    async with asyncio.timeout(cached_embedder.CACHE_CLAIM_S / 2):  # not until the claim ends
        failed, found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(failed, ModelUnavailableError)
    assert isinstance(found, QueryEmbedding)
    assert [inner.texts for inner in inners] == [[TEA], [TEA]]


async def test_one_who_died_is_waited_for_only_so_long() -> None:
    cache, inner, waited = Shared(), Paid(), list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    embedder = cached(inner, cache, owner="me", sleep=sleep)
    await cache.claim(embedder._name("question", TEA), "who died", 1e6)
    assert (await embedder.embed_query(TEA)).vector.any()
    assert inner.texts == [TEA]
    assert sum(waited) == pytest.approx(cached_embedder.CACHE_CLAIM_S, rel=0.02)
    await embedder.settle()
