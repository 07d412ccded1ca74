"""The rate of a provider: waits within the deadline, what is owed, and the cache that shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import bucket
from holdfast.core.bucket import Bucket
from holdfast.errors import BadAnswerError, CacheUnavailableError, ModelUnavailableError
from holdfast.metrics import Metrics
from holdfast.model import Space, Usage
from holdfast.ports import Answer, Embedder, QueryEmbedding, Ranking, Spent
from holdfast.wrap.bounded import BoundedEmbedder, BoundedLLM
from holdfast.wrap.gate import Bounds, Gate
from holdfast.wrap.pace import Pace, PacedLLM, PacedReranker, Rate

MINUTE_S = 60.0


class Time:
    """Passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class LLM:
    """Answers with as many tokens as it is told, or raises."""

    name = "double"

    def __init__(self, *tokens: int | Exception) -> None:
        self.script = list(tokens)
        self.asked = 0

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Any], timeout_s: float
    ) -> Answer:
        self.asked += 1
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return Answer(text="{}", usage=Usage(model="double", input_tokens=step))

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        answer = await self.complete(query, "", schema={}, timeout_s=timeout_s)
        return Ranking(scores=(0.5,), usage=answer.usage)

    async def close(self) -> None:
        """Nothing to release."""


class Cache:
    """Buckets of several instances; away when told so."""

    shared = True

    def __init__(self, time: Time) -> None:
        self._time = time
        self._buckets: dict[str, Bucket] = {}
        self.away = False
        self.took: list[tuple[str, float]] = []

    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        if self.away:
            raise CacheUnavailableError("away")
        found, wait_s = bucket.take(self._buckets.get(key), self._time(), amount, per_second, burst)
        self._buckets[key] = found
        if not wait_s:
            self.took.append((key, amount))
        return wait_s


def pace(time: Time, cache: Any = None, **rate: float) -> Pace:
    return Pace("double", Rate(**rate), cache, now=time, sleep=time.sleep)


async def ask(llm: PacedLLM, timeout_s: float = 1e6, chars: int = 0) -> Answer:
    return await llm.complete("s" * chars, "", schema={}, timeout_s=timeout_s)


# ----------------------------------------------------------------------------- the bucket itself


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 10)), max_size=60),
    st.floats(0.1, 5),
    st.floats(10, 50),
)
def test_no_window_of_time_has_more_than_the_reserve_and_the_rate(
    calls: list[tuple[float, float]], per_second: float, burst: float
) -> None:
    now, state, taken = 0.0, None, []
    for pause, amount in calls:
        now += pause
        state, wait_s = bucket.take(state, now, amount, per_second, burst)
        if wait_s:
            again, none = bucket.take(state, now + wait_s * 1.000001, amount, per_second, burst)
            assert none == 0.0, "the wait that was told is enough"
            early, more = bucket.take(state, now + wait_s * 0.9, amount, per_second, burst)
            assert more > 0, "and not too long"
            assert again.level <= early.level
        else:
            taken.append((now, amount))
    for start, _ in taken:
        for end, _ in taken:
            inside = sum(amount for at, amount in taken if start <= at <= end)
            assert inside <= burst + per_second * max(0.0, end - start) + 1e-6


# ----------------------------------------------------------------------------- requests


async def test_requests_come_at_the_rate_after_the_reserve() -> None:
    time, inner = Time(), LLM(1)
    llm = PacedLLM(inner, pace(time, requests_per_minute=3))
    for _ in range(6):
        await ask(llm)
    assert time.slept == pytest.approx([20.0, 20.0, 20.0])
    assert inner.asked == 6


async def test_what_would_have_to_wait_beyond_its_deadline_is_told_how_long() -> None:
    time, inner = Time(), LLM(1)
    llm = PacedLLM(inner, pace(time, requests_per_minute=1))
    await ask(llm)
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(llm, timeout_s=30.0)
    error = caught.value
    assert (error.reason, error.tried) == ("rate_limited", False)
    assert error.retry_after_s == pytest.approx(60.0)
    assert (inner.asked, time.slept) == (1, [])


async def test_within_its_bounds_a_paced_model_is_neither_retried_nor_thought_away() -> None:
    time, inner, events = Time(), LLM(1), []
    gate = Gate(Bounds(), noted=events.append)
    llm = BoundedLLM(PacedLLM(inner, pace(time, requests_per_minute=1)), gate=gate)
    await llm.complete("", "", schema={}, timeout_s=5.0)
    for _ in range(9):
        with pytest.raises(ModelUnavailableError) as caught:
            await llm.complete("", "", schema={}, timeout_s=5.0)
        assert caught.value.retry_after_s == pytest.approx(60.0, abs=1)
    assert (inner.asked, events) == (1, [])


# ----------------------------------------------------------------------------- tokens


async def test_tokens_are_estimated_before_and_put_right_after() -> None:
    time = Time()
    cache = Cache(time)
    llm = PacedLLM(LLM(2_000, 300), pace(time, cache, tokens_per_minute=100_000))
    await ask(llm, chars=4_000)
    await ask(llm, chars=4_000)
    (_, first), (_, second) = cache.took
    assert first == pytest.approx(4_002 / 4 + 300)
    # the second call takes what the first one took too little
    assert second == pytest.approx(4_002 / 4 + 240 + (2_000 - first), abs=1)


async def test_tokens_keep_to_the_rate_in_the_long_run() -> None:
    time = Time()
    llm = PacedLLM(LLM(900), pace(time, tokens_per_minute=1_000))
    began = time.now
    for _ in range(20):
        await ask(llm)
    allowed = 1_000 + 1_000 * (time.now - began) / MINUTE_S
    assert allowed + 900 >= 18 * 900, "one call may be owed"
    assert time.now - began > 900


async def test_a_call_larger_than_the_reserve_is_let_through_and_paid_off_later() -> None:
    time = Time()
    llm = PacedLLM(LLM(5_000, 10), pace(time, tokens_per_minute=1_000))
    await ask(llm, chars=20_000)
    assert time.slept == []
    await ask(llm)
    assert time.now - 1_000 >= 55, "the rest of it is waited for"


@pytest.mark.parametrize(
    "error", [ModelUnavailableError("away"), BadAnswerError("odd", usage=None)]
)
async def test_a_failed_call_keeps_its_estimate(error: Exception) -> None:
    time = Time()
    cache = Cache(time)
    llm = PacedLLM(LLM(error, 100), pace(time, cache, tokens_per_minute=10_000))
    with pytest.raises(type(error)):
        await ask(llm)
    await ask(llm)
    assert cache.took[1][1] == pytest.approx(cache.took[0][1])


async def test_a_useless_answer_is_counted_as_what_it_took() -> None:
    time = Time()
    cache = Cache(time)
    odd = BadAnswerError("odd", usage=Usage(model="double", input_tokens=1_300))
    llm = PacedLLM(LLM(odd, 100), pace(time, cache, tokens_per_minute=100_000))
    with pytest.raises(BadAnswerError):
        await ask(llm)
    await ask(llm)
    assert cache.took[1][1] > 1_000


async def test_a_call_that_was_not_made_owes_nothing() -> None:
    time = Time()
    cache = Cache(time)
    both = pace(time, cache, tokens_per_minute=1_000, requests_per_minute=1)
    llm = PacedLLM(LLM(300), both)
    await ask(llm)
    before = both._owed
    with pytest.raises(ModelUnavailableError):
        await ask(llm, timeout_s=1.0)
    given_back = before - both._owed
    assert given_back == pytest.approx(1_000 / 6 + before), "up to ten seconds' worth"


# ----------------------------------------------------------------------------- shared


async def test_instances_share_the_rate_through_the_cache() -> None:
    time = Time()
    cache = Cache(time)
    instances = [PacedLLM(LLM(1), pace(time, cache, requests_per_minute=2)) for _ in range(2)]
    for number in range(4):
        await ask(instances[number % 2])
    assert time.slept == pytest.approx([30.0, 30.0])
    assert {key for key, _ in cache.took} == {"rate:requests:double"}


async def test_while_the_cache_is_away_each_instance_keeps_to_the_rate_alone() -> None:
    time = Time()
    cache = Cache(time)
    cache.away = True
    instances = [PacedLLM(LLM(1), pace(time, cache, requests_per_minute=2)) for _ in range(2)]
    for number in range(4):
        await ask(instances[number % 2])
    assert time.slept == []
    await ask(instances[0])
    assert time.slept == pytest.approx([30.0])


async def test_rerankers_are_paced_and_waits_are_counted() -> None:
    time, metrics = Time(), Metrics()
    kept = Pace(
        "double",
        Rate(requests_per_minute=1),
        now=time,
        sleep=time.sleep,
        noted=lambda: metrics.count("call_event", "reranker", "paced"),
    )
    reranker = PacedReranker(LLM(5), kept)
    for _ in range(2):
        assert (await reranker.rerank("q", ["t"], timeout_s=1e6)).scores == (0.5,)
    assert time.slept == pytest.approx([60.0])
    assert metrics.counts()["call_event", ("reranker", "paced")] == 1
    await reranker.close()


# ----------------------------------------------------------------------------- embedders


class Requests(Embedder):
    """Takes so many requests for a call, of so many tokens each; 0: it does not tell."""

    space = Space(provider="tests", model="paced", dimensions=2)
    static = in_process = False

    def __init__(self, requests: int = 1, tokens: int = 10) -> None:
        self.requests, self.tokens = requests, tokens
        self.calls = 0

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.calls += 1
        for _ in range(self.requests):
            assert spent is not None
            spent(Usage(model="tests:paced", input_tokens=self.tokens))
        return np.zeros((len(texts), 2), dtype=np.float32)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        return QueryEmbedding(vector=(await self.embed([text], spent))[0])

    async def close(self) -> None:
        """Nothing to release."""


def embedding(inner: Requests, time: Time, cache: Cache, **rate: float) -> BoundedEmbedder:
    kept = Pace("e", Rate(**rate), cache, now=time, sleep=time.sleep, answer_tokens=0.0)
    return BoundedEmbedder(inner, Bounds(timeout_s=1e6), pace=kept)


async def test_embedders_keep_to_their_rate_and_tell_what_they_took() -> None:
    time, inner, told = Time(), Requests(), list[Usage]()
    cache = Cache(time)
    embedder = embedding(inner, time, cache, requests_per_minute=3)
    for _ in range(3):
        await embedder.embed(["a text", "another"], told.append)
        await embedder.embed_query("a question", told.append)
    assert time.slept == pytest.approx([20.0, 20.0, 20.0])
    assert (inner.calls, len(told)) == (6, 6)
    assert {key for key, _ in cache.took} == {"rate:requests:e"}


async def test_a_call_of_several_requests_takes_the_others_with_the_next() -> None:
    time = Time()
    cache = Cache(time)
    embedder = embedding(Requests(requests=4), time, cache, requests_per_minute=60)
    for _ in range(3):
        await embedder.embed(["a", "b"])
    assert [amount for _, amount in cache.took] == [1.0, 4.0, 4.0]


async def test_tokens_of_embedders_are_put_right_unless_they_are_not_told() -> None:
    time = Time()
    cache = Cache(time)
    embedder = embedding(Requests(tokens=100), time, cache, tokens_per_minute=10_000)
    for _ in range(2):
        await embedder.embed(["x" * 40])
    assert [amount for _, amount in cache.took] == [10.0, 100.0]
    cache.took.clear()
    silent = embedding(Requests(tokens=0), time, cache, tokens_per_minute=10_000)
    for _ in range(2):
        await silent.embed(["x" * 40])
    assert [amount for _, amount in cache.took] == [10.0, 10.0]


async def test_an_embedder_that_would_wait_too_long_says_so_and_is_not_thought_away() -> None:
    time, inner = Time(), Requests()
    kept = Pace("e", Rate(requests_per_minute=1), now=time, sleep=time.sleep)
    embedder = BoundedEmbedder(inner, Bounds(timeout_s=5.0), pace=kept)
    await embedder.embed(["a"])
    for _ in range(9):
        with pytest.raises(ModelUnavailableError) as caught:
            await embedder.embed(["a"])
        assert not caught.value.tried
        assert caught.value.retry_after_s == pytest.approx(60.0, abs=1)
    assert inner.calls == 1
