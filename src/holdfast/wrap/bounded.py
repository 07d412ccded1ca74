"""Models within bounds: a deadline, few calls at once, and retries that do not become a storm.

Only ModelUnavailableError is retried. A provider that names a time to wait holds back every call
of its model, not just the one it told; if the time lies beyond the deadline the call ends at once
and its error says how long to wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from holdfast import limits
from holdfast.errors import ModelError, ModelUnavailableError
from holdfast.model import Json, Space, Struct
from holdfast.ports import LLM, Answer, Embedder, QueryEmbedding, Ranking, Reranker, Spent

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

Called = Callable[[str, float], None]
"""Told of a call that ended: the code of its error, empty for none, and the seconds it took."""


class Bounds(Struct, frozen=True, kw_only=True):
    """How far a model may be used."""

    timeout_s: float = limits.MODEL_TIMEOUT_S
    """Seconds a call may take with retries and waits; `complete` and `rerank` name their own."""
    tries_max: int = 4
    backoff_s: float = 0.5
    """Longest pause before the second try; doubles with each further one."""
    backoff_max_s: float = 20.0
    concurrency_max: int = 8
    """Calls at once; others wait, within their deadline."""


class Gate:
    """What the calls of one model share: slots, and the time before which none may start."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Called = lambda _code, _took_s: None,
    ) -> None:
        """`chance` gives 0..1 for the jitter; it and `sleep` are parameters for tests. `told` hears
        of every call, its retries within."""
        self._bounds = bounds
        self._chance = chance
        self._sleep = sleep
        self._told = told
        self._slots = asyncio.Semaphore(bounds.concurrency_max)
        self._not_before = 0.0

    async def run(self, name: str, timeout_s: float, call: Callable[[float], Awaitable[T]]) -> T:
        """Run `call`, which is told the seconds it has left, and again while that may help.

        Raises what the last try raised, or ModelUnavailableError when the time is over.
        """
        time = asyncio.get_running_loop().time
        began = time()
        try:
            result = await self._within(name, timeout_s, call)
        except ModelError as error:
            self._told(error.code, time() - began)
            raise
        self._told("", time() - began)
        return result

    async def _within(
        self, name: str, timeout_s: float, call: Callable[[float], Awaitable[T]]
    ) -> T:
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                return await self._tries(name, deadline, call)
        except TimeoutError:
            late = ModelUnavailableError(f"{name} gave no answer within {timeout_s:g} s.")
            raise late.because("timeout") from None

    async def _tries(self, name: str, deadline: float, call: Callable[[float], Awaitable[T]]) -> T:
        time = asyncio.get_running_loop().time
        tries = 0
        while True:
            await self._wait_turn(name, deadline)
            tries += 1
            try:
                return await call(deadline - time())
            except ModelUnavailableError as error:
                pause = self._pause(tries, error.retry_after_s)
                if error.retry_after_s is not None:
                    self._not_before = max(self._not_before, time() + error.retry_after_s)
                if tries == self._bounds.tries_max or time() + pause >= deadline:
                    raise
            await self._sleep(pause)

    async def _wait_turn(self, name: str, deadline: float) -> None:
        """Wait while the provider has told another call to wait."""
        left = self._not_before - asyncio.get_running_loop().time()
        if left <= 0:
            return
        if self._not_before >= deadline:
            raise ModelUnavailableError(f"{name} has asked for a pause.", retry_after_s=left)
        await self._sleep(left)

    def _pause(self, tries: int, retry_after_s: float | None) -> float:
        """Full jitter: anything up to the doubled bound, after what the provider asked for."""
        bounds = self._bounds
        longest = min(bounds.backoff_max_s, bounds.backoff_s * 2.0 ** (tries - 1))
        return (retry_after_s or 0.0) + self._chance() * longest


class BoundedLLM:
    """An LLM within bounds."""

    def __init__(self, inner: LLM, bounds: Bounds | None = None, gate: Gate | None = None) -> None:
        self.name = inner.name
        self._inner = inner
        self._gate = gate or Gate(bounds or Bounds())

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """As the inner model, but `timeout_s` bounds all tries together."""

        async def ask(left_s: float) -> Answer:
            return await self._inner.complete(system, user, schema=schema, timeout_s=left_s)

        return await self._gate.run(self.name, timeout_s, ask)

    async def close(self) -> None:
        """Close the inner model."""
        await self._inner.close()


class BoundedReranker:
    """A reranker within bounds."""

    def __init__(
        self, inner: Reranker, bounds: Bounds | None = None, gate: Gate | None = None
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._gate = gate or Gate(bounds or Bounds())

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """As the inner reranker, but `timeout_s` bounds all tries together."""

        async def ask(left_s: float) -> Ranking:
            return await self._inner.rerank(query, texts, timeout_s=left_s)

        return await self._gate.run(self.name, timeout_s, ask)

    async def close(self) -> None:
        """Close the inner reranker."""
        await self._inner.close()


class BoundedEmbedder:
    """A remote embedder within bounds; a failed batch is tried again without those before it."""

    in_process = False

    def __init__(
        self, inner: Embedder, bounds: Bounds | None = None, gate: Gate | None = None
    ) -> None:
        self.space: Space = inner.space
        self.static: bool = inner.static
        self._inner = inner
        self._bounds = bounds or Bounds()
        self._gate = gate or Gate(self._bounds)
        self._name = f"{inner.space.provider}:{inner.space.model}"

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """As the inner embedder, in batches of at most EMBED_BATCH_MAX texts, one after another."""
        import numpy as np

        step = limits.EMBED_BATCH_MAX
        starts = range(0, len(texts), step)
        parts = [await self._batch(texts[at : at + step], spent) for at in starts]
        empty = np.zeros((0, self.space.dimensions), dtype=np.float32)
        return np.concatenate(parts) if parts else empty

    async def _batch(self, texts: Sequence[str], spent: Spent | None) -> np.ndarray:
        return await self._gate.run(
            self._name, self._bounds.timeout_s, lambda _: self._inner.embed(texts, spent)
        )

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """As the inner embedder."""
        return await self._gate.run(
            self._name, self._bounds.timeout_s, lambda _: self._inner.embed_query(text, spent)
        )

    async def close(self) -> None:
        """Close the inner embedder."""
        await self._inner.close()
