"""Texts and queries to vectors and terms, and what happens when the embedder is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.core.text import analyze
from holdfast.engine.parts import Parts
from holdfast.errors import ModelError
from holdfast.limits import EMBED_BATCH_MAX
from holdfast.model import IndexTerms
from holdfast.ports import QueryEmbedding

if TYPE_CHECKING:
    import numpy as np


async def vectors_of(parts: Parts, texts: Sequence[str]) -> list[bytes]:
    """float32 little-endian bytes for each text; raises what the embedder raises."""
    vectors: list[bytes] = []
    for start in range(0, len(texts), EMBED_BATCH_MAX):
        batch = await parts.embedder.embed(texts[start : start + EMBED_BATCH_MAX])
        vectors += _rows(batch)
    return vectors


def _rows(batch: np.ndarray) -> list[bytes]:
    data = batch.astype("<f4", copy=False)
    return [row.tobytes() for row in data]


async def local_vectors(parts: Parts, texts: Sequence[str]) -> list[bytes] | list[None]:
    """Vectors if they cost no network; Nones otherwise, to be filled in after the commit."""
    if parts.embedder.in_process:
        return await vectors_of(parts, texts)
    return [None] * len(texts)


async def query_embedding(parts: Parts, query: str) -> QueryEmbedding | None:
    """The query's vector; None if the embedder fails, so that keywords answer alone."""
    try:
        return await parts.embedder.embed_query(query)
    except ModelError:
        return None


def terms_of(parts: Parts, text: str, actor: str | None, role: str | None) -> IndexTerms:
    """The keyword side of a text."""
    return analyze(text, actor=actor, role=role, key=parts.content_key)
