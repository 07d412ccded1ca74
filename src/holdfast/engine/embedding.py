"""Texts and queries to vectors and terms, and what happens when the embedder is away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.core.text import analyze
from holdfast.engine.ledger import Payer, billed
from holdfast.engine.parts import Parts
from holdfast.errors import ModelError
from holdfast.limits import EMBED_BATCH_MAX
from holdfast.model import IndexTerms
from holdfast.ports import QueryEmbedding, Spent

if TYPE_CHECKING:
    import numpy as np


async def vectors_of(parts: Parts, texts: Sequence[str], payer: Payer) -> list[bytes]:
    """float32 little-endian bytes for each text; raises what the embedder raises.

    What that cost is in the ledger either way.
    """
    vectors: list[bytes] = []
    for batch in _batches(texts):
        async with billed(parts, payer) as spent:
            rows = await parts.embedder.embed(batch, spent)
        vectors += _rows(rows)
    return vectors


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (
        texts[start : start + EMBED_BATCH_MAX] for start in range(0, len(texts), EMBED_BATCH_MAX)
    )


def _rows(batch: np.ndarray) -> list[bytes]:
    data = batch.astype("<f4", copy=False)
    return [row.tobytes() for row in data]


async def local_vectors(parts: Parts, texts: Sequence[str]) -> list[bytes] | list[None]:
    """Vectors if they cost nothing; Nones otherwise, to be filled in after the commit."""
    if not parts.embedder.in_process:
        return [None] * len(texts)
    vectors: list[bytes] = []
    for batch in _batches(texts):
        vectors += _rows(await parts.embedder.embed(batch))
    return vectors


async def query_embedding(parts: Parts, query: str, payer: Payer) -> QueryEmbedding | None:
    """The query's vector; None if the embedder fails, so that keywords answer alone.

    What that cost is in the ledger either way: on disk before the answer, as a reranker's is.
    """
    if parts.embedder.in_process:
        return await _asked(parts, query, None)
    async with billed(parts, payer) as spent:
        return await _asked(parts, query, spent)


async def _asked(parts: Parts, query: str, spent: Spent | None) -> QueryEmbedding | None:
    try:
        return await parts.embedder.embed_query(query, spent)
    except ModelError:
        return None


def terms_of(parts: Parts, text: str, actor: str | None, role: str | None) -> IndexTerms:
    """The keyword side of a text."""
    return analyze(text, actor=actor, role=role, key=parts.content_key)
