"""Memories, events and jobs as callers receive them: Mem0's shapes, and a little more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.clock import iso
from holdfast.core.intake import Said
from holdfast.core.outcome import with_held
from holdfast.directory import Held
from holdfast.limits import HELD_PREVIEW_CHARS
from holdfast.model import (
    ENTITY_KINDS,
    EntitySummary,
    HistoryEvent,
    Job,
    Json,
    Memory,
    Page,
    Struct,
    Turn,
)
from holdfast.ports import Hit


def page_shape(page: Page) -> dict[str, Json]:
    """A page of a listing."""
    return {
        "results": [memory_shape(memory) for memory in page.memories],
        "total": page.total,
        "cursor": page.cursor,
    }


def memory_shape(memory: Memory) -> dict[str, Json]:
    """One memory; identities and validity only where they are set."""
    shape: dict[str, Json] = {
        "id": memory.id,
        "memory": memory.text,
        "hash": memory.hash,
        "metadata": None if memory.metadata is None else dict(memory.metadata),
        "created_at": iso(memory.created_at),
        "updated_at": iso(memory.updated_at),
        "event_at": iso(memory.event_at),
        "kind": memory.kind,
    }
    _name(shape, memory)
    if memory.categories:
        shape["categories"] = list(memory.categories)
    if memory.expires_on is not None:
        shape["expiration_date"] = memory.expires_on
    if memory.valid_from is not None:
        shape["valid_from"] = iso(memory.valid_from)
    if memory.valid_to is not None:
        shape["valid_to"] = iso(memory.valid_to)
    if memory.immutable:
        shape["immutable"] = True
    return shape


def _name(shape: dict[str, Json], memory: Memory) -> None:
    """Add who the memory belongs to; spelled out, for a loop over names takes twice the time."""
    if memory.user_id is not None:
        shape["user_id"] = memory.user_id
    if memory.agent_id is not None:
        shape["agent_id"] = memory.agent_id
    if memory.app_id is not None:
        shape["app_id"] = memory.app_id
    if memory.run_id is not None:
        shape["run_id"] = memory.run_id
    if memory.actor_id is not None:
        shape["actor_id"] = memory.actor_id
    if memory.role is not None:
        shape["role"] = memory.role
    if memory.superseded_by is not None:
        shape["superseded_by"] = memory.superseded_by


def found_shape(
    hits: Sequence[Hit], degraded: Sequence[str], *, explain: bool, threshold: float
) -> dict[str, Json]:
    """What a search found, and the parts that were missing, if any were."""
    results = [hit_shape(hit, explain=explain, threshold=threshold) for hit in hits]
    return {"results": results, **({"degraded": list(degraded)} if degraded else {})}


def hit_shape(hit: Hit, *, explain: bool, threshold: float) -> dict[str, Json]:
    """A search result; with `explain`, what each signal contributed to its score.

    A reranked one tells its score as `rerank_score` too, which is where Mem0's callers look.
    """
    shape = memory_shape(hit.memory)
    shape["score"] = hit.score
    if hit.found_score is not None:
        shape["rerank_score"] = hit.score
    if explain:
        parts = dict(hit.parts)
        if hit.found_score is not None:
            parts |= {"found": hit.found_score, "reranker": hit.score}
        shape["score_details"] = {
            "semantic_score": hit.parts.get("semantic", 0.0),
            "bm25_score": hit.parts.get("keyword", 0.0),
            "entity_boost": hit.parts.get("speaker", 0.0),
            "raw_score": sum(hit.parts.values()),
            "max_possible_score": 1.0,
            "final_score": hit.score,
            "threshold": threshold,
            "parts": parts,
        }
    return shape


def said_shapes(items: Sequence[Mapping[str, Json]], said: Sequence[Said]) -> list[Json]:
    """What became of each message of an add that kept them as they are."""
    results = []
    for item, one in zip(items, said, strict=True):
        result = {"id": item["id"], "memory": one.text, "event": item["event"], "role": one.role}
        if one.actor_id is not None:
            result["actor_id"] = one.actor_id
        results.append(result)
    return results


def held_shape(held: Held, *, whole: bool) -> dict[str, Json]:
    """What is held: all of it, or how many messages there are and how the first one begins."""
    shape: dict[str, Json] = {
        "id": held.id,
        **_ids((held.user_id, held.agent_id, held.app_id, held.run_id)),
        "added_by": {"id": held.principal, "kind": held.principal_kind, "via": held.via},
        "created_at": iso(held.created_at),
    }
    if whole:
        shape["messages"] = [_held_message(one) for one in held.messages]
        return {**shape, **held.request}
    reasons = dict.fromkeys(reason for one in held.messages for reason in one["reasons"])
    shape["messages"] = len(held.messages)
    shape["role"] = held.messages[0]["role"]
    shape["preview"] = held.messages[0]["text"][:HELD_PREVIEW_CHARS]
    shape["reasons"] = list(reasons)
    return shape


def _held_message(one: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "role": one["role"],
        "content": one["text"],
        "name": one["actor_id"],
        "said_at": iso(one["at"]),
        "reasons": list(one["reasons"]),
    }


def _ids(names: Sequence[str | None]) -> dict[str, str]:
    """The identities of a scope that are set."""
    pairs = zip(ENTITY_KINDS, names, strict=True)
    return {f"{kind}_id": name for kind, name in pairs if name is not None}


class Provenance(Struct, frozen=True, kw_only=True):
    """Where a memory comes from."""

    memory: Memory
    sources: tuple[tuple[Turn, str], ...]
    """Turns, and the words quoted of each; none are left if they were deleted."""
    changes: tuple[HistoryEvent, ...]


_MADE: Final[Mapping[str, str]] = {
    "fact": "extracted", "turn": "verbatim", "summary": "summarised",
}  # fmt: skip


def provenance_shape(found: Provenance) -> dict[str, Json]:
    """Where a memory comes from: how it was made, of which turns, and what changed since."""
    memory, first = found.memory, next(iter(found.changes), None)
    return {
        "memory_id": memory.id,
        "memory": memory.text,
        "made": _MADE[memory.kind],
        **_origin(first, _MADERS),
        "restored": any(event.restored for event in found.changes),
        "edited": any(
            event.old_memory != event.new_memory
            for event in found.changes
            if event.event == "UPDATE"
        ),
        "sources": [
            {
                "turn_id": turn.id,
                "role": turn.role,
                "actor_id": turn.actor_id,
                "said_at": iso(turn.event_at),
                "quote": quote,
            }
            for turn, quote in found.sources
        ],
        "changes": [
            {
                "event": event.event,
                "at": iso(event.updated_at or event.created_at),
                **_origin(event, _DOERS),
            }
            for event in found.changes
        ],
    }


_DOERS: Final = ("how", "principal", "principal_kind", "via", "model", "prompt", "way")
_MADERS: Final = _DOERS[1:]


def _origin(event: HistoryEvent | None, fields: Sequence[str]) -> dict[str, str | None]:
    """How a change came about; what is not known, or was not, is None."""
    origin = None if event is None else event.origin
    return {name: getattr(origin, name, None) or None for name in fields}


def history_shape(event: HistoryEvent) -> dict[str, Json]:
    """One change of a memory, and whose it is."""
    return {
        **_ids((event.user_id, event.agent_id, event.app_id, event.run_id)),
        "id": event.id,
        "memory_id": event.memory_id,
        "old_memory": event.old_memory,
        "new_memory": event.new_memory,
        "event": event.event,
        "created_at": iso(event.created_at),
        "updated_at": iso(event.updated_at),
        "is_deleted": event.is_deleted,
        "actor_id": event.actor_id,
        "role": event.role,
    }


def entity_shape(entity: EntitySummary) -> dict[str, Json]:
    """Somebody who has memories."""
    return {
        "type": entity.kind,
        "name": entity.id,
        "total_memories": entity.memories,
        "created_at": iso(entity.created_at),
        "updated_at": iso(entity.updated_at),
    }


def job_event(job: Job) -> str:
    """What a job stands for: ADD, or DELETE_ALL."""
    return str(job.payload.get("event", "ADD"))


def job_items(job: Job) -> list[dict[str, Json]]:
    """What became of each item, as far as it is known; texts are looked up by the caller."""
    result = job.result
    if isinstance(result, Mapping):
        result = result.get("results")
    items, held = [dict(item) for item in result or ()], job.payload.get("held")
    if held is not None and job.kind == "extract":
        return items + with_held([], {**held, "places": range(len(held["places"]))})
    return with_held(items, held)


def event_shape(job: Job, texts: Mapping[str, str]) -> dict[str, Json]:
    """A job as an event: state, times, outcome. `texts`: the memories its items name, by id."""
    latency = None
    if job.completed_at is not None:
        latency = round((job.completed_at - job.created_at) * 1000, 3)
    return {
        "id": job.id,
        "event_type": job_event(job),
        "status": job.state,
        "attempts": job.attempts,
        "results": [{**item, "memory": texts.get(item.get("id") or "")} for item in job_items(job)],
        "rejected": list(job.result.get("rejected", ())) if isinstance(job.result, Mapping) else [],
        "error": job.error,
        "error_code": job.error_code,
        "scope": _ids(job.payload["scope"]),
        "metadata": job.payload.get("metadata"),
        **{name: job.payload[name] for name in ("approved", "turned_down") if name in job.payload},
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "completed_at": iso(job.completed_at),
        "latency": latency,
    }
