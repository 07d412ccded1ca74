"""Bounds around models: deadline, tries, pauses, concurrency; and over a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from holdfast.backends.models.providers import build_embedder, build_llm
from holdfast.errors import BadAnswerError, HoldfastError, ModelRefusedError, ModelUnavailableError
from holdfast.limits import EMBED_BATCH_MAX
from holdfast.model import Space, Usage
from holdfast.ports import Answer, QueryEmbedding, Spent
from holdfast.wrap.bounded import BoundedEmbedder, BoundedLLM
from holdfast.wrap.gate import Bounds, Gate
from support.llm_server import LLMServer, Reply, chat, failure, hashed_vectors, reset

GOOD = Answer(text="{}", usage=Usage(model="double"))
Step = HoldfastError | Answer | tuple[float, HoldfastError | Answer]
"""An error to raise or an answer to give, perhaps after some seconds."""


class ScriptedLLM:
    """Follows a script; the last step goes on for ever."""

    name = "double"

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.left: list[float] = []
        self.busiest = self.busy = 0
        self.closed = False

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Any], timeout_s: float
    ) -> Answer:
        self.left.append(timeout_s)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
            if isinstance(step, tuple):
                seconds, step = step
                await asyncio.sleep(seconds)
        finally:
            self.busy -= 1
        if isinstance(step, HoldfastError):
            raise step
        return step

    async def close(self) -> None:
        self.closed = True


class Pauses:
    """Takes down how long somebody would have slept, and lets the time pass at once."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


def gate(pauses: Callable[[float], Awaitable[None]], chance: float = 1.0, **bounds: Any) -> Gate:
    return Gate(Bounds(**bounds), chance=lambda: chance, sleep=pauses)


async def ask(llm: BoundedLLM, timeout_s: float = 60.0) -> Answer:
    return await llm.complete("s", "u", schema={}, timeout_s=timeout_s)


AWAY = ModelUnavailableError("away")


async def test_an_outage_is_waited_out_with_growing_pauses() -> None:
    inner, pauses = ScriptedLLM(AWAY, AWAY, AWAY, GOOD), Pauses()
    assert await ask(BoundedLLM(inner, gate=gate(pauses, backoff_s=0.5))) == GOOD
    assert pauses.taken == [0.5, 1.0, 2.0]


async def test_pauses_are_full_jitter_below_a_bound() -> None:
    pauses = Pauses()
    limited = gate(pauses, chance=0.25, backoff_s=8.0, backoff_max_s=10.0)
    await ask(BoundedLLM(ScriptedLLM(AWAY, AWAY, AWAY, GOOD), gate=limited))
    assert pauses.taken == [2.0, 2.5, 2.5]


async def test_the_last_try_raises_what_happened() -> None:
    inner = ScriptedLLM(AWAY)
    with pytest.raises(ModelUnavailableError, match="away"):
        await ask(BoundedLLM(inner, gate=gate(Pauses(), tries_max=3)))
    assert len(inner.left) == 3


@pytest.mark.parametrize("error", [ModelRefusedError("no"), BadAnswerError("empty")])
async def test_what_waiting_cannot_mend_is_not_tried_again(error: HoldfastError) -> None:
    inner = ScriptedLLM(error)
    with pytest.raises(type(error)):
        await ask(BoundedLLM(inner, gate=gate(Pauses())))
    assert len(inner.left) == 1


async def test_a_time_to_wait_is_honoured() -> None:
    pauses = Pauses()
    inner = ScriptedLLM(ModelUnavailableError("limit", retry_after_s=0.02), GOOD)
    limited = Gate(Bounds(backoff_s=0.0), sleep=asyncio.sleep)
    start = time.monotonic()
    assert await ask(BoundedLLM(inner, gate=limited)) == GOOD
    assert time.monotonic() - start >= 0.02
    assert pauses.taken == []


async def test_a_time_to_wait_beyond_the_deadline_ends_the_call_at_once() -> None:
    inner = ScriptedLLM(ModelUnavailableError("limit", retry_after_s=30.0))
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(BoundedLLM(inner), timeout_s=5.0)
    assert caught.value.retry_after_s == 30.0
    assert time.monotonic() - start < 1
    assert len(inner.left) == 1


async def test_a_time_to_wait_holds_back_every_call_of_the_model() -> None:
    inner = ScriptedLLM(ModelUnavailableError("limit", retry_after_s=30.0), GOOD)
    llm = BoundedLLM(inner)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError) as caught:
            await ask(llm, timeout_s=5.0)
        assert caught.value.retry_after_s == pytest.approx(30.0, abs=1)
    assert len(inner.left) == 1, "the second call must not reach the provider"


async def test_the_deadline_covers_all_tries_and_each_is_told_what_is_left() -> None:
    inner = ScriptedLLM((0.05, AWAY), (0.05, AWAY), (60.0, GOOD))
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError, match="no answer within"):
        await ask(BoundedLLM(inner, Bounds(backoff_s=0.0)), timeout_s=0.3)
    assert 0.25 < time.monotonic() - start < 2
    assert inner.left == sorted(inner.left, reverse=True)
    assert inner.left[0] <= 0.3


async def test_only_so_many_calls_at_once() -> None:
    inner = ScriptedLLM((0.01, GOOD))
    llm = BoundedLLM(inner, Bounds(concurrency_max=3))
    await asyncio.gather(*(ask(llm) for _ in range(12)))
    assert inner.busiest == 3


async def test_waiting_for_a_slot_counts_for_the_deadline() -> None:
    inner = ScriptedLLM((60.0, GOOD))
    llm = BoundedLLM(inner, Bounds(concurrency_max=1))
    first = asyncio.create_task(ask(llm))
    await asyncio.sleep(0.01)
    with pytest.raises(ModelUnavailableError):
        await ask(llm, timeout_s=0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    inner.steps = [GOOD]
    assert await ask(llm) == GOOD, "the cancelled call gave its slot back"


async def test_closing_closes_the_model() -> None:
    inner = ScriptedLLM(GOOD)
    llm = BoundedLLM(inner)
    assert llm.name == "double"
    await llm.close()
    assert inner.closed


# ----------------------------------------------------------------------------- embedders


class CountingEmbedder:
    """Gives each text its length; fails where told to."""

    space = Space(provider="double", model="count", dimensions=1)
    in_process = False
    static = False

    def __init__(self, *errors: HoldfastError | None) -> None:
        self.errors = list(errors)
        self.sizes: list[int] = []
        self.closed = False

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.sizes.append(len(texts))
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        return QueryEmbedding(vector=(await self.embed([text]))[0])

    async def close(self) -> None:
        self.closed = True


async def test_only_the_batch_that_failed_is_tried_again() -> None:
    inner = CountingEmbedder(None, AWAY)
    embedder = BoundedEmbedder(inner, gate=gate(Pauses()))
    texts = ["x" * (i % 7) for i in range(2 * EMBED_BATCH_MAX + 3)]
    rows = await embedder.embed(texts)
    assert rows[:, 0].tolist() == [len(text) for text in texts]
    assert inner.sizes == [EMBED_BATCH_MAX, EMBED_BATCH_MAX, EMBED_BATCH_MAX, 3]
    assert (await embedder.embed([])).shape == (0, 1)
    assert (await embedder.embed_query("abc")).vector.tolist() == [3.0]
    await embedder.close()
    assert inner.closed


# ----------------------------------------------------------------------------- a real socket


async def test_an_llm_comes_through_every_passing_fault() -> None:
    with LLMServer() as server:
        server.say(failure(429, retry_after="0.05"), failure(500), reset(), chat('{"facts": []}'))
        inner = build_llm("openai", {"model": "m", "base_url": server.url})
        llm = BoundedLLM(inner, Bounds(backoff_s=0.01))
        answer = await ask(llm)
        await llm.close()
        assert answer.text == '{"facts": []}'
        assert len(server.requests) == 4


async def test_calls_at_a_real_server_stay_within_the_bound() -> None:
    with LLMServer() as server:
        server.say(chat("{}", delay_s=0.05))
        inner = build_llm("openai", {"model": "m", "base_url": server.url})
        llm = BoundedLLM(inner, Bounds(concurrency_max=2))
        await asyncio.gather(*(ask(llm) for _ in range(6)))
        await llm.close()
        assert server.busiest == 2


async def test_an_embedder_comes_through_too() -> None:
    with LLMServer() as server:
        server.vectors(failure(503), Reply(reset=True), hashed_vectors(4))
        config = {"model": "m", "base_url": server.url, "embedding_dims": 4}
        embedder = BoundedEmbedder(build_embedder("openai", config), Bounds(backoff_s=0.01))
        spent: list[Usage] = []
        assert (await embedder.embed(["tea"], spent.append)).any()
        await embedder.embed_query("coffee", spent.append)
        await embedder.close()
        assert [usage.input_tokens for usage in spent] == [7, 7], "failed tries cost nothing known"
