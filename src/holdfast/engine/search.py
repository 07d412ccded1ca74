"""`search`: the memories that answer a question, best first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from holdfast.acts import watched_act
from holdfast.core.audit import named_in
from holdfast.core.fence import covers_inside, fenced
from holdfast.core.text import Query, analyze_query, without_terms, without_times
from holdfast.engine.embedders import Pair
from holdfast.engine.embedding import query_embedding
from holdfast.engine.ledger import Payer, payer_of
from holdfast.engine.parts import Parts
from holdfast.engine.redaction import storable
from holdfast.engine.reranking import reranked
from holdfast.filters import Filter, entity_choices, scope_of_covers
from holdfast.limits import RERANK_CANDIDATES
from holdfast.model import Entity, Struct
from holdfast.ports import Found, Hit, Probe, QueryEmbedding, View


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
    show_superseded: bool = False
    rerank: bool = False
    explain: bool = False
    """Hits tell the parts of their scores."""
    temporal_reasoning: bool = True
    """Times that the question names or asks for count."""


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """Hits above the threshold, and which parts of Holdfast were missing for it."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()


async def search(parts: Parts, request: SearchRequest) -> SearchAnswer:
    """Rank the memories of the entities the filter names."""
    [query] = await storable(parts.hiding, [request.query])
    request = replace(request, query=query, filter=fenced(parts.fence, request.filter))
    covers = entity_choices(request.filter)
    if (act := watched_act()) is not None:
        act.about(*named_in(covers))
    payer = payer_of(parts, "search", scope_of_covers(covers))

    async def ask(pair: Pair) -> tuple[Probe, Found]:
        probe = await _probe(parts, request, covers_inside(parts.fence, covers), payer, pair)
        return probe, await parts.index.search(parts.project, probe)

    probe, found = await parts.embedders.with_pair(ask)
    missing = [] if probe.embedding is not None else ["embedder"]
    missing += found.degraded
    hits = list(found.hits)
    if request.rerank:
        better = await reranked(parts, request.query, hits, payer)
        if better is None:
            missing.append("reranker")
        else:
            hits = better
    if payer.without:
        missing.append("budget")
    for part in missing:
        parts.metrics.count("degraded_answer", part)
    good = [hit for hit in hits if hit.score >= request.threshold]
    return SearchAnswer(hits=tuple(good[: request.top_k]), degraded=tuple(missing))


async def _probe(
    parts: Parts,
    request: SearchRequest,
    covers: Sequence[tuple[Entity, ...]],
    payer: Payer,
    pair: Pair,
) -> Probe:
    now = parts.clock.now()
    told_from = request.reference if request.reference is not None else request.as_of
    reference = datetime.fromtimestamp(now if told_from is None else told_from, UTC)
    more = RERANK_CANDIDATES if request.rerank and parts.reranker is not None else 0
    entities = await _smallest(parts, covers)
    query = analyze_query(
        request.query, key=parts.content_key, reference=reference, zone=parts.zone
    )
    if not request.temporal_reasoning:
        query = without_times(query)
    return Probe(
        entities=entities,
        filter=request.filter,
        view=View(
            now=now,
            as_of=request.as_of,
            show_expired=request.show_expired,
            show_superseded=request.show_superseded,
            listed_only=False,
        ),
        query=query,
        embedding=await _embedding(parts, query, entities, payer, pair),
        epoch=pair.epoch,
        limit=max(request.top_k, more),
        explain=request.explain,
        fence=None if parts.fence.is_open else parts.fence.filter(),
    )


async def _embedding(
    parts: Parts, query: Query, entities: Sequence[Entity], payer: Payer, pair: Pair
) -> QueryEmbedding | None:
    """The question's vector: without the speakers' names, if the embedder sees it as a whole."""
    if pair.embedder.static or parts.fence.kinds > 1:  # those named outside must not be known of
        return await query_embedding(parts, query.text, payer, pair)
    names = await parts.index.names(parts.project, entities)
    return await query_embedding(parts, without_terms(query, names), payer, pair)


async def _smallest(parts: Parts, covers: Sequence[tuple[Entity, ...]]) -> tuple[Entity, ...]:
    """Of the ways to cover the filter with entities, the one with the fewest memories to rank."""
    if len(covers) == 1:
        return covers[0]

    sizes = [
        sum([(await parts.records.state(parts.project, entity)).memories for entity in cover])
        for cover in covers
    ]
    return covers[sizes.index(min(sizes))]
