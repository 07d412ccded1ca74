"""The work of an extraction job: ask the model about the turns, decide, and say what to write."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from holdfast.core.extract import (
    Extraction,
    Rejected,
    build_summary_prompt,
    dialogue,
    parse_summary,
    split_turns,
)
from holdfast.core.grounding import list_lines
from holdfast.core.identity import content_hash, fact_identity
from holdfast.core.intake import category_names
from holdfast.core.project_settings import instructions_of
from holdfast.core.prompt import Prompt, version_of
from holdfast.core.reconcile import Decision, plan
from holdfast.core.text import analyze_query
from holdfast.engine.asking import Asker
from holdfast.engine.embedders import Pair
from holdfast.engine.embedding import Embedded, fill_in, query_embedding, terms_of, vectors_of
from holdfast.engine.ledger import job_payer
from holdfast.engine.origins import origin_of
from holdfast.engine.parts import Parts, scope_of
from holdfast.engine.redaction import storable
from holdfast.errors import EntityTooLargeError
from holdfast.filters import Compare, Filter, conjunction, scope_filter
from holdfast.limits import NEARBY_MEMORIES_MAX
from holdfast.model import Job, Json, Kind, Memory, Origin, Scope, Source, Struct, Turn
from holdfast.ports import (
    Answer,
    Found,
    Listing,
    Op,
    Probe,
    PutMemory,
    View,
)

T = TypeVar("T")

_log = logging.getLogger("holdfast.extract")

CONTEXT_TURNS = 6
"""Earlier turns shown to the model so that it understands the new ones."""

_NEARBY_PER_TURN = 5


class _Written(Struct, frozen=True, kw_only=True):
    """A memory to write and what the caller is told about it."""

    put: PutMemory
    event: str
    reason: str
    previous: str | None = None


async def work(parts: Parts, job: Job) -> tuple[list[Op], Json]:
    """The operations that finish an extraction job, and its result.

    Raises ModelError; whatever model calls were made by then are in the ledger all the same.
    """
    asker = Asker(parts, job_payer(job))
    turns = await parts.records.turns(job.project, job.payload["turns"])
    ops = await _missing_vectors(parts, job)
    if job.payload["procedural"]:
        result = await _summarise(parts, job, asker, turns, ops)
    else:
        result = await _extract(parts, job, asker, turns, ops)
    return ops, result


async def _missing_vectors(parts: Parts, job: Job) -> list[Op]:
    """Vectors of the turns themselves, if their embedder needed the network."""
    if not job.payload.get("unembedded", not parts.embedder.in_process):
        return []
    memories = await parts.records.fetch(job.project, job.payload["memories"])
    vectors = await vectors_of(parts, [memory.text for memory in memories], job_payer(job))
    return [fill_in(memories, vectors)]


async def _extract(
    parts: Parts, job: Job, asker: Asker, turns: Sequence[Turn], ops: list[Op]
) -> Json:
    scope = scope_of(job)
    results: list[Json] = []
    rejected: list[Rejected] = []
    partial = False
    known: list[Memory] = []
    ended: Counter[str] = Counter()
    for batch in split_turns(turns):
        nearby = [*known[-NEARBY_MEMORIES_MAX // 2 :], *await _nearby(parts, job, scope, batch)]
        nearby = nearby[:NEARBY_MEMORIES_MAX]
        extraction = await asker.converse(await _dialogue(parts, job, batch, nearby))
        extraction = await _storable(parts, extraction)
        rejected += extraction.rejected
        partial = partial or extraction.partial
        written, skipped = await _written(
            parts,
            job,
            plan(extraction, nearby, scope=scope, ended=ended),
            origin_of(job, "extracted", extraction.model, extraction.prompt),
        )
        results += [*skipped, *(_told(one) for one in written)]
        ops += [one.put for one in written]
        known += [one.put.memory for one in written]
    return {
        "results": results,
        "rejected": [one.reason for one in rejected],
        "partial": partial,
    }


async def _storable(parts: Parts, extraction: Extraction) -> Extraction:
    """What a model says may hold what was stored before personal data was taken out."""
    if parts.hiding is None:
        return extraction
    texts = [text for fact in extraction.facts for text in (fact.text, fact.quote)]
    plain = iter(await parts.hiding.hide(texts))
    facts = [replace(fact, text=next(plain), quote=next(plain)) for fact in extraction.facts]
    return replace(extraction, facts=tuple(facts))


async def _dialogue(
    parts: Parts, job: Job, batch: Sequence[Turn], nearby: Sequence[Memory]
) -> Generator[Prompt, Answer, Extraction]:
    settings = await parts.project_settings.of(parts.directory, job.project)
    return dialogue(
        batch,
        nearby,
        reference=job.payload["at"],
        zone=parts.zone_name,
        instructions=_instructions(parts, job, settings),
        categories=job.payload.get("custom_categories") or category_names(settings),
        context=await _context(parts, job),
        temporal_reasoning=job.payload.get("temporal_reasoning", True),
    )


def _instructions(parts: Parts, job: Job, settings: Mapping[str, Json]) -> str | None:
    """What extraction is to heed: the call's, else the project's, else the deployment's."""
    own = instructions_of(settings, of_user=scope_of(job).user_id is not None)
    return job.payload["instructions"] or own or parts.instructions


async def _nearby(parts: Parts, job: Job, scope: Scope, turns: Sequence[Turn]) -> list[Memory]:
    """Existing facts of the scope that the turns may repeat or contradict, best first; the newest
    ones, where there are too many to be searched."""
    try:
        return await _nearest(parts, job, scope, turns)
    except EntityTooLargeError:
        _log.warning(
            "job %s: too many memories to search (view_rows_max); the newest count", job.id
        )
        listing = Listing(
            filter=_facts_of(scope), view=View(now=parts.clock.now()), size=NEARBY_MEMORIES_MAX
        )
        return list((await parts.records.page(job.project, listing)).memories)


def _facts_of(scope: Scope) -> Filter:
    return conjunction(scope_filter(scope), Compare("kind", "in", ("fact", "summary")))


async def _nearest(parts: Parts, job: Job, scope: Scope, turns: Sequence[Turn]) -> list[Memory]:
    """What a search for each of the turns finds among the facts of the scope, best first."""
    facts, now = _facts_of(scope), parts.clock.now()
    found: dict[str, tuple[float, Memory]] = {}
    for said in turns:

        async def near(pair: Pair, text: str = said.text) -> Found:
            probe = Probe(
                entities=scope.entities()[:1],
                filter=facts,
                view=View(now=now),
                query=analyze_query(text, key=parts.content_key),
                embedding=await query_embedding(parts, text, job_payer(job), pair),
                limit=min(max(_NEARBY_PER_TURN, list_lines(text)), NEARBY_MEMORIES_MAX),
                epoch=pair.epoch,
            )
            return await parts.index.search(job.project, probe)

        for hit in (await parts.embedders.with_pair(near)).hits:
            best = found.get(hit.memory.id)
            if best is None or hit.score > best[0]:
                found[hit.memory.id] = (hit.score, hit.memory)
    ranked = sorted(found.values(), key=lambda pair: -pair[0])
    return [memory for _, memory in ranked[:NEARBY_MEMORIES_MAX]]


async def _context(parts: Parts, job: Job) -> list[Turn]:
    """The turns of the scope that came just before, oldest first."""
    mine = set(job.payload["memories"])
    listing = Listing(
        filter=conjunction(scope_filter(scope_of(job)), Compare("kind", "eq", "turn")),
        view=View(now=parts.clock.now(), listed_only=False),
        size=CONTEXT_TURNS + len(mine),
    )
    page = await parts.records.page(job.project, listing)
    before = [m for m in page.memories if m.id not in mine and m.created_at <= job.created_at]
    return [
        Turn(id=m.id, role=m.role or "user", text=m.text, actor_id=m.actor_id, event_at=m.event_at)
        for m in reversed(before[:CONTEXT_TURNS])
    ]


async def _written(
    parts: Parts, job: Job, decisions: Sequence[Decision], origin: Origin
) -> tuple[list[_Written], list[Json]]:
    """The memories that the extraction adds, and what is said of facts that were known."""
    kept = [one for one in decisions if one.event != "NONE"]
    vectors = await vectors_of(parts, [one.fact.text for one in kept], job_payer(job))
    written = [
        _fact(parts, job, decision, vector, origin)
        for decision, vector in zip(kept, vectors, strict=True)
    ]
    skipped: list[Json] = [
        {"id": one.duplicate_of, "event": "NONE", "reason": one.reason, "turn": one.fact.turn_id}
        for one in decisions
        if one.event == "NONE"
    ]
    return written, skipped


def _fact(parts: Parts, job: Job, decision: Decision, one: Embedded, origin: Origin) -> _Written:
    fact, scope = decision.fact, scope_of(job)
    memory = _memory(
        parts, job, scope, "fact", fact.text, fact.event_at, valid_from=decision.valid_from,
        actor=fact.actor_id, role=fact.role, categories=fact.categories,
    )  # fmt: skip
    put = PutMemory(
        memory=memory,
        identity=fact_identity("fact", scope, fact.text, parts.content_key),
        terms=terms_of(parts, fact.text, fact.actor_id, fact.role),
        vector=one.vector,
        shadow=one.shadow,
        epoch=one.epoch,
        sources=(Source(turn_id=fact.turn_id, quote=fact.quote),),
        supersedes=decision.supersedes,
        origin=origin,
    )
    return _Written(
        put=put, event=decision.event, reason=decision.reason, previous=decision.previous
    )


def _memory(
    parts: Parts,
    job: Job,
    scope: Scope,
    kind: Kind,
    text: str,
    event_at: float,
    **more: Any,
) -> Memory:
    now = parts.clock.now()
    categories = dict.fromkeys((*job.payload["categories"], *more.get("categories", ())))
    return Memory(
        id=parts.ids.new(),
        text=text,
        hash=content_hash(text, parts.content_key),
        kind=kind,
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        app_id=scope.app_id,
        run_id=scope.run_id,
        actor_id=more.get("actor"),
        role=more.get("role"),
        metadata=job.payload["metadata"],
        categories=tuple(categories),
        immutable=job.payload.get("immutable", False),
        event_at=event_at,
        valid_from=more.get("valid_from"),
        expires_on=job.payload["expires_on"],
        created_at=now,
        updated_at=now,
    )


def _told(one: _Written) -> Json:
    told: dict[str, Json] = {"id": one.put.memory.id, "event": one.event, "reason": one.reason}
    if one.put.supersedes:
        told["supersedes"] = list(one.put.supersedes)
    return told


async def _summarise(
    parts: Parts, job: Job, asker: Asker, turns: Sequence[Turn], ops: list[Op]
) -> Json:
    """One procedural memory of a whole agent run."""
    if not turns:
        return {"results": [], "rejected": [], "partial": False}
    prompt = build_summary_prompt(
        turns, zone=parts.zone_name, instructions=job.payload["instructions"]
    )
    answer = await asker.ask(prompt)
    [text] = await storable(parts.hiding, [parse_summary(answer.text)])
    scope = scope_of(job)
    memory = _memory(parts, job, scope, "summary", text, turns[-1].event_at)
    [one] = await vectors_of(parts, [text], job_payer(job))
    put = PutMemory(
        memory=memory,
        identity=fact_identity("summary", scope, text, parts.content_key),
        terms=terms_of(parts, text, None, None),
        vector=one.vector,
        shadow=one.shadow,
        epoch=one.epoch,
        sources=tuple(Source(turn_id=turn.id) for turn in turns),
        origin=origin_of(job, "summarised", answer.usage.model, version_of(prompt.system)),
    )
    ops.append(put)
    return {
        "results": [{"id": memory.id, "event": "ADD", "reason": "summary"}],
        "rejected": [],
        "partial": False,
    }
