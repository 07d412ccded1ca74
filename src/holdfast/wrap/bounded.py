"""Models whose calls go through a gate: bounded time, retries, breaker, queue (`wrap.gate`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from holdfast import limits
from holdfast.model import Json, Space
from holdfast.ports import LLM, Answer, Embedder, QueryEmbedding, Ranking, Reranker, Spent
from holdfast.wrap.gate import Bounds, Gate
from holdfast.wrap.pace import Pace

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


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
        self,
        inner: Embedder,
        bounds: Bounds | None = None,
        gate: Gate | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`pace`: the rate its provider allows."""
        self.space: Space = inner.space
        self.static: bool = inner.static
        self._inner = inner
        self._bounds = bounds or Bounds()
        self._gate = gate or Gate(self._bounds)
        self._pace = pace
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
        chars = sum(map(len, texts))
        return await self._ask(chars, spent, lambda told: self._inner.embed(texts, told))

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """As the inner embedder."""
        return await self._ask(len(text), spent, lambda told: self._inner.embed_query(text, told))

    async def _ask(
        self, chars: int, spent: Spent | None, call: Callable[[Spent | None], Awaitable[T]]
    ) -> T:
        async def once(left_s: float) -> T:
            if self._pace is None:
                return await call(spent)
            return await self._pace.embedding(chars, left_s, spent, call)

        return await self._gate.run(self._name, self._bounds.timeout_s, once)

    async def close(self) -> None:
        """Close the inner embedder."""
        await self._inner.close()
