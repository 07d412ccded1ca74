"""Models that are asked only while budgets have room: innermost, around each single request.

Retries, fallbacks and callers who join a request lie outside, so that each request is held for by
itself, at the price of the model that is really asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.core.bounds import question_usage, texts_usage
from holdfast.limits import ANSWER_TOKENS_MAX
from holdfast.model import Json, Space, Usage
from holdfast.ports import Answer, BoundLLM, Embedder, QueryEmbedding, Spent, Toll

if TYPE_CHECKING:
    import numpy as np


class BudgetedLLM:
    """An LLM within budgets; where there are some, the length of its answers is bounded."""

    def __init__(self, inner: BoundLLM, toll: Toll) -> None:
        self.name = inner.name
        self.address = inner.address
        self._inner = inner
        self._toll = toll
        toll.serves(inner.name, inner.answer_tokens or ANSWER_TOKENS_MAX)

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """As the inner model. Raises BudgetExceededError too."""

        def worst() -> Usage:
            answer_tokens = self._inner.bound(ANSWER_TOKENS_MAX)
            return question_usage(self.name, system, user, schema, answer_tokens)

        async with self._toll.paying(worst) as spent:
            answer = await self._inner.complete(system, user, schema=schema, timeout_s=timeout_s)
            spent(answer.usage)
        return answer

    async def close(self) -> None:
        """Close the inner model."""
        await self._inner.close()


class BudgetedEmbedder:
    """An embedder of another machine within budgets."""

    in_process = False

    def __init__(self, inner: Embedder, toll: Toll) -> None:
        self.space: Space = inner.space
        self.static: bool = inner.static
        self._inner = inner
        self._toll = toll
        self._name = f"{inner.space.provider}:{inner.space.model}"

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """As the inner embedder. Raises BudgetExceededError too."""
        async with self._toll.paying(lambda: texts_usage(self._name, texts)) as paid:
            return await self._inner.embed(texts, _both(paid, spent))

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """As the inner embedder. Raises BudgetExceededError too."""
        async with self._toll.paying(lambda: texts_usage(self._name, [text])) as paid:
            return await self._inner.embed_query(text, _both(paid, spent))

    async def close(self) -> None:
        """Close the inner embedder."""
        await self._inner.close()


def _both(paid: Spent, spent: Spent | None) -> Spent:
    def tell(usage: Usage) -> None:
        paid(usage)
        if spent is not None:
            spent(usage)

    return tell
