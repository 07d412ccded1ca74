"""`search`: the memories that answer a question, best first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from holdfast.core.text import analyze_query
from holdfast.engine.embedding import query_embedding
from holdfast.engine.parts import Parts
from holdfast.filters import Filter, entity_choices
from holdfast.model import Entity, Struct
from holdfast.ports import Hit, Probe, View


class SearchRequest(Struct, frozen=True, kw_only=True):
    """A validated search."""

    query: str
    filter: Filter
    top_k: int
    threshold: float
    reference: float | None = None
    """The moment "last week" is told from; now if None."""
    as_of: float | None = None
    show_expired: bool = False


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """Hits above the threshold, and which parts of Holdfast were missing for it."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()


async def search(parts: Parts, request: SearchRequest) -> SearchAnswer:
    """Rank the memories of the entities the filter names."""
    now = parts.clock.now()
    told_from = request.reference if request.reference is not None else request.as_of
    reference = datetime.fromtimestamp(now if told_from is None else told_from, UTC)
    embedding = await query_embedding(parts, request.query)
    probe = Probe(
        entities=_smallest(parts, entity_choices(request.filter)),
        filter=request.filter,
        view=View(
            now=now,
            as_of=request.as_of,
            show_expired=request.show_expired,
            listed_only=False,
        ),
        query=analyze_query(
            request.query, key=parts.content_key, reference=reference, zone=parts.zone
        ),
        embedding=embedding,
        limit=request.top_k,
    )
    hits = await parts.index.search(parts.project, probe)
    return SearchAnswer(
        hits=tuple(hit for hit in hits if hit.score >= request.threshold),
        degraded=() if embedding is not None else ("embedder",),
    )


def _smallest(parts: Parts, covers: Sequence[tuple[Entity, ...]]) -> tuple[Entity, ...]:
    """Of the ways to cover the filter with entities, the one with the fewest memories to rank."""
    if len(covers) == 1:
        return covers[0]

    def size(cover: tuple[Entity, ...]) -> int:
        return sum(parts.records.state(parts.project, entity).memories for entity in cover)

    return min(covers, key=size)
