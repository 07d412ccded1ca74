"""Texts and queries to vectors and terms, and what happens when the embedder is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from holdfast.core.text import analyze
from holdfast.engine.embedders import Pair
from holdfast.engine.ledger import Payer, billed, done_without
from holdfast.engine.parts import Parts
from holdfast.errors import BudgetExceededError, ModelError
from holdfast.limits import EMBED_BATCH_MAX
from holdfast.model import IndexTerms, Json, Memory, Project
from holdfast.ports import Embedder, Op, PutMemory, QueryEmbedding, SetVectors, Spent

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger("holdfast")


class Embedded(NamedTuple):
    """The vectors of one text, float32 little-endian, as the operations of `ports` take them."""

    vector: bytes | None = None
    shadow: bytes | None = None
    epoch: int | None = None


async def vectors_of(
    parts: Parts, texts: Sequence[str], payer: Payer, pair: Pair | None = None
) -> list[Embedded]:
    """Vectors for each text, of the active space and of the shadow; raises what the embedder of
    the active one raises.

    What that cost is in the ledger either way.
    """
    pair = pair or parts.embedders.now
    found: list[Embedded] = []
    for batch in batches(texts):
        vectors = await paid_vectors(parts, pair.embedder, batch, payer)
        if pair.shadow is None:
            found += [Embedded(vector, None, pair.epoch) for vector in vectors]
            continue
        shadows = await _shadows(parts, pair.shadow, batch, payer)
        pairs = zip(vectors, shadows, strict=True)
        found += [Embedded(vector, shadow, pair.epoch) for vector, shadow in pairs]
    return found


async def paid_vectors(
    parts: Parts, embedder: Embedder, batch: Sequence[str], payer: Payer
) -> list[bytes]:
    """Vectors of one batch by one embedder; in the ledger if they cost something."""
    if embedder.in_process:
        return rows_of(await embedder.embed(batch))
    async with billed(parts, payer) as spent:
        rows = await embedder.embed(batch, spent)
    return rows_of(rows)


async def _shadows(
    parts: Parts, shadow: Embedder, batch: Sequence[str], payer: Payer
) -> Sequence[bytes | None]:
    """Vectors of the space that is being filled; what is missing there is filled in later."""
    try:
        return await paid_vectors(parts, shadow, batch, payer)
    except (ModelError, BudgetExceededError) as error:
        _log.warning("the new embedder did not answer (%s): its vectors are made later", error.code)
        return [None] * len(batch)


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many texts at a time as an embedder is given."""
    return (
        texts[start : start + EMBED_BATCH_MAX] for start in range(0, len(texts), EMBED_BATCH_MAX)
    )


def rows_of(batch: np.ndarray) -> list[bytes]:
    """The rows as bytes."""
    data = batch.astype("<f4", copy=False)
    return [row.tobytes() for row in data]


async def local_vectors(
    parts: Parts, texts: Sequence[str], payer: Payer, pair: Pair
) -> list[Embedded]:
    """Vectors if those of the active space cost nothing; else none, to be filled in after the
    commit."""
    if not pair.embedder.in_process:
        return [Embedded()] * len(texts)
    return await vectors_of(parts, texts, payer, pair)


async def commit_vectors(
    parts: Parts, project: Project, ops: Sequence[Op], payer: Payer
) -> list[Json]:
    """Commit operations whose vectors may have been computed a while ago: anew for what is of an
    earlier epoch. Raises what `Records.commit` and the embedder do."""

    async def attempt(pair: Pair) -> list[Json]:
        nonlocal ops
        ops = [await _anew(parts, project, op, payer, pair) for op in ops]
        return await parts.records.commit(project, ops)

    return await parts.embedders.with_pair(attempt)


async def _anew(parts: Parts, project: Project, op: Op, payer: Payer, pair: Pair) -> Op:
    if not isinstance(op, PutMemory | SetVectors) or op.epoch in (None, pair.epoch):
        return op
    if isinstance(op, PutMemory):
        [one] = await vectors_of(parts, [op.memory.text], payer, pair)
        return replace(op, vector=one.vector, shadow=one.shadow, epoch=one.epoch)
    memories = await parts.records.fetch(project, [id_ for id_, _ in op.vectors])
    found = await vectors_of(parts, [memory.text for memory in memories], payer, pair)
    return fill_in(memories, found)


def fill_in(memories: Sequence[Memory], found: Sequence[Embedded]) -> SetVectors:
    """The operation that gives memories the vectors of their texts."""
    pairs = zip(memories, found, strict=True)
    return SetVectors(
        vectors=tuple((memory.id, one.vector) for memory, one in pairs if one.vector is not None),
        shadows=tuple(one.shadow for one in found if one.vector is not None),
        epoch=found[0].epoch if found else None,
    )


async def query_embedding(
    parts: Parts, query: str, payer: Payer, pair: Pair
) -> QueryEmbedding | None:
    """The query's vector; None if the embedder fails, or a budget has no room for it, so that
    keywords answer alone. Raises BudgetExceededError of a budget that blocks.

    What that cost is in the ledger either way: on disk before the answer, as a reranker's is.
    """
    if pair.embedder.in_process:
        return await _asked(pair.embedder, query, None)
    try:
        async with billed(parts, payer) as spent:
            return await _asked(pair.embedder, query, spent)
    except BudgetExceededError as error:
        done_without(payer, "embedder", error)
        return None


async def _asked(embedder: Embedder, query: str, spent: Spent | None) -> QueryEmbedding | None:
    try:
        return await embedder.embed_query(query, spent)
    except ModelError:
        return None


def terms_of(parts: Parts, text: str, actor: str | None, role: str | None) -> IndexTerms:
    """The keyword side of a text."""
    return analyze(text, actor=actor, role=role, key=parts.content_key)
