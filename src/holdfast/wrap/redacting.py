"""Models that see placeholders where personal data stands.

A language model's answer is told with the values put back, so that quotes are compared with what
was said. Embedders and rerankers give numbers, in which there is nothing to put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.core.redact import Lines, Placeholders, hidden
from holdfast.metrics import Metrics
from holdfast.model import Json, Space
from holdfast.ports import (
    LLM,
    Answer,
    Embedder,
    QueryEmbedding,
    Ranking,
    Reranker,
    Spent,
)
from holdfast.ports.redactor import Passage, Redactor

if TYPE_CHECKING:
    import numpy as np


class Looker:
    """Finds personal data for models, and counts it."""

    def __init__(self, redactor: Redactor, metrics: Metrics) -> None:
        self._redactor = redactor
        self._metrics = metrics

    async def find(self, texts: Sequence[str]) -> list[tuple[Passage, ...]]:
        """As the redactor does."""
        found = await self._redactor.find(texts)
        for one in (each for every in found for each in every):
            self._metrics.count("redaction", "model", one.kind)
        return found


class RedactingLLM:
    """A language model that is shown placeholders, and answers with what they stand for."""

    def __init__(self, inner: LLM, looker: Looker) -> None:
        self.name = inner.name
        self._inner = inner
        self._looker = looker

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """As `LLM.complete`."""
        lines = Lines(user)
        texts = [system, *lines.strings]
        found = await self._looker.find(texts)
        names = Placeholders(texts)
        system, *strings = [names.hide(*pair) for pair in zip(texts, found, strict=True)]
        answer = await self._inner.complete(
            system, lines.written(strings), schema=schema, timeout_s=timeout_s
        )
        return replace(answer, text=names.restore(answer.text))

    async def close(self) -> None:
        """As `LLM.close`."""
        await self._inner.close()


class RedactingEmbedder:
    """An embedder that is given texts without personal data; each by itself."""

    in_process = False

    def __init__(self, inner: Embedder, looker: Looker) -> None:
        self.space: Space = inner.space
        self.static: bool = inner.static
        self._inner = inner
        self._looker = looker

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """As `Embedder.embed`."""
        found = await self._looker.find(texts)
        return await self._inner.embed(hidden(texts, found, "kind"), spent)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """As `Embedder.embed_query`."""
        [plain] = hidden([text], await self._looker.find([text]), "kind")
        return await self._inner.embed_query(plain, spent)

    async def close(self) -> None:
        """As `Embedder.close`."""
        await self._inner.close()


class RedactingReranker:
    """A reranker that is given query and texts with placeholders, the same for the same value."""

    def __init__(self, inner: Reranker, looker: Looker) -> None:
        self.name = inner.name
        self._inner = inner
        self._looker = looker

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """As `Reranker.rerank`."""
        every = [query, *texts]
        plain = hidden(every, await self._looker.find(every), "numbered")
        return await self._inner.rerank(plain[0], plain[1:], timeout_s=timeout_s)

    async def close(self) -> None:
        """As `Reranker.close`."""
        await self._inner.close()
