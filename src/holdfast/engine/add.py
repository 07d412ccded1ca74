"""`add`: accept turns durably, then make memories of them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from msgspec.structs import replace

from holdfast import credential, deadline
from holdfast.core.fence import check_inside, own_key
from holdfast.core.identity import content_hash, fingerprint, scope_key, turn_identity
from holdfast.core.intake import Said
from holdfast.core.outcome import settled, with_held
from holdfast.directory import Held
from holdfast.engine import holding, jobs, webhooks
from holdfast.engine.embedders import Pair
from holdfast.engine.embedding import Embedded, local_vectors, terms_of
from holdfast.engine.estimating import Wanted, refuse_if_spent
from holdfast.engine.ledger import payer_of
from holdfast.engine.origins import by_now, origin_now
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, ReplayedError, UnsupportedError, ValidationError
from holdfast.model import Job, JobKind, Json, Memory, Scope, Source, Struct, Trust, Turn
from holdfast.ports import Op, PutJob, PutMemory, PutRows, PutTurns, TakeRow

_POLL_S = 0.02
_INLINE_TURNS = 50


class AddRequest(Struct, frozen=True, kw_only=True):
    """A validated add."""

    scope: Scope
    said: tuple[Said, ...]
    at: float | None = None
    """When it was said, epoch seconds; now if nothing tells."""
    metadata: Mapping[str, Json] | None = None
    categories: tuple[str, ...] = ()
    expires_on: str | None = None
    infer: bool = True
    procedural: bool = False
    instructions: str | None = None
    custom_categories: tuple[str, ...] = ()
    """The names the model may choose categories from; the project's own if empty."""
    immutable: bool = False
    """What is made of it never changes: it can only be deleted."""
    temporal_reasoning: bool = True
    """The model tells when what was said happened; else it happened when it was said."""
    idempotency_key: str | None = None
    wait: bool = True
    trust: Trust | None = None
    """What the caller says of all its messages."""


class Added(Struct, frozen=True, kw_only=True):
    """What became of an add."""

    said: tuple[Said, ...]
    """The messages as they are stored."""
    items: list[dict[str, Json]]
    """Per message, in order: `id` of its memory and `event`, of its held add for those that are
    held; for an add that kept them verbatim."""
    job: Job | None = None
    """The job that stands for the add, if it has one; its `result` then tells the outcome."""


class LetIn(Struct, frozen=True, kw_only=True):
    """Held turns that somebody approved."""

    held_id: str
    principal: str
    """Who did."""
    key: str
    """Idempotency key that no caller can give."""
    messages: tuple[int, ...] = ()
    """Numbers of those that are let in, if they are not all."""
    rest: Held | None = None
    """The others, which stay held."""


class _Plan(Struct, frozen=True, kw_only=True):
    """What of an add is stored as memories, and what else belongs to the same commit."""

    request: AddRequest
    """With the messages that are not held."""
    mark: str | None = None
    held: Held | None = None
    places: tuple[int, ...] = ()
    """Of the held messages, among all."""
    let_in: LetIn | None = None


async def add(parts: Parts, request: AddRequest) -> Added:
    """Accept the request and, unless told not to wait, see it through.

    From the first commit on, the turns survive anything and are searchable, but for those that are
    not trusted: they are held.

    Raises ConflictError if the idempotency key was used for a different add, AccessError if the
    caller may not write for the scope, BudgetExceededError if a budget that blocks has no room.
    """
    check_inside(parts.fence, request.scope)
    request = await _storable(parts, request)
    key = request.idempotency_key
    if key is not None:
        key = own_key(parts.fence, key)
        request = replace(request, idempotency_key=key)
    mark = None if key is None else _fingerprint(parts, request)
    if key is not None:
        known = await parts.jobs.find_job(parts.project, key)
        if known is not None:
            return await _replay(parts, request, known, mark)

    places, held = await holding.held_of(parts, request)
    kept = tuple(one for place, one in enumerate(request.said) if place not in places)
    plan = _Plan(request=replace(request, said=kept), mark=mark, held=held, places=places)
    try:
        items, job = await _carried_out(parts, plan)
    except ReplayedError as error:
        earlier = cast("Job", await parts.jobs.job(parts.project, error.job_id))
        return await _replay(parts, request, earlier, mark)
    if held is not None:
        parts.metrics.count("held_add", "held")
    if job is None:
        return Added(said=request.said, items=items)
    return Added(
        said=request.said, items=items, job=await see_through(parts, job, wait=request.wait)
    )


async def let_in(parts: Parts, request: AddRequest, approved: LetIn) -> Job:
    """Store held turns as memories and take the held add away, in one commit; the add's job.

    Raises NotFoundError if somebody took it before, and as `add`; it is held still then.
    """
    check_inside(parts.fence, request.scope)
    plan = _Plan(request=replace(request, idempotency_key=approved.key), let_in=approved)
    _, job = await _carried_out(parts, plan)
    return await see_through(parts, cast("Job", job), wait=request.wait)


async def _carried_out(parts: Parts, plan: _Plan) -> tuple[list[dict[str, Json]], Job | None]:
    if plan.request.said:
        await refuse_if_spent(parts, _wanted(plan.request))

    async def attempt(pair: Pair) -> tuple[list[dict[str, Json]], Job | None]:
        return await _accept(parts, plan, pair)

    return await parts.embedders.with_pair(attempt)


async def _storable(parts: Parts, request: AddRequest) -> AddRequest:
    """The request without personal data, if none is to be stored."""
    if parts.hiding is None:
        return request
    texts = [*(one.text for one in request.said), request.instructions or ""]
    *said, instructions = await parts.hiding.hide(texts)
    pairs = zip(request.said, said, strict=True)
    hidden = tuple(replace(one, text=text) for one, text in pairs)
    return replace(request, said=hidden, instructions=instructions or None)


def _wanted(request: AddRequest) -> Wanted:
    """What decides what the add costs."""
    return Wanted(
        scope=request.scope,
        said=request.said,
        infer=request.infer,
        procedural=request.procedural,
        instructions=request.instructions,
        custom_categories=request.custom_categories,
    )


async def _accept(
    parts: Parts, plan: _Plan, pair: Pair
) -> tuple[list[dict[str, Json]], Job | None]:
    """Store the turns, what is held, and what is still to be done, in one commit."""
    request = plan.request
    wanted = parts.llm is not None and (request.infer or request.procedural)
    extracting = wanted and bool(request.said)
    now = parts.clock.now()
    turns = _turns(parts, request, now)
    puts = await _put_turns(parts, request, turns, now, pair, listed=not extracting)
    job = _job(parts, plan, puts, now, extracting=extracting)
    before: list[Op] = []
    if plan.let_in is not None:
        before.append(TakeRow(kind=Held, id=plan.let_in.held_id))
    if turns:
        before.append(PutTurns(scope=request.scope, turns=turns))
    after: list[Op] = []
    kept = plan.held if plan.let_in is None else plan.let_in.rest
    if kept is not None:
        after.append(PutRows(rows=(kept, *await webhooks.told_of_held(parts, kept))))
    if job is not None:
        after.append(PutJob(job=job))
    results = await parts.records.commit(parts.project, [*before, *puts, *after])
    stored = results[len(before) : len(before) + len(puts)]
    if job is not None:
        ids = {put.memory.id: id_ for put, id_ in zip(puts, stored, strict=True)}
        job = replace(job, result=settled(job.result, ids))
    return with_held(_verbatim(puts, stored), _held_told(plan)), job


async def _replay(parts: Parts, request: AddRequest, known: Job, mark: str | None) -> Added:
    if known.fingerprint != mark:
        raise ConflictError(
            "This idempotency key was used for a different add.",
            hint="Use a new key for a new add; nothing was changed.",
        )
    return Added(
        said=request.said, items=[], job=await see_through(parts, known, wait=request.wait)
    )


async def see_through(parts: Parts, job: Job, *, wait: bool) -> Job:
    """The job, when it is finished, parked, or time is up; as it is, if nobody waits."""
    if job.state in ("SUCCEEDED", "FAILED"):
        return job
    if not wait:
        parts.wake.set()
        return job
    return await wait_for(parts, job.id, parts.model_timeout_s * 2)


async def wait_for(parts: Parts, job_id: str, timeout_s: float) -> Job:
    """Run the job here if it is free, else watch it, till it is finished, parked, or time is up.

    Time is up before it is for whoever asked, so that they are told how far it came.
    """
    ends = asyncio.get_running_loop().time() + min(timeout_s, deadline.share_s())
    while True:
        done = await jobs.run_one(parts, job_id)
        job = done or cast("Job", await parts.jobs.job(parts.project, job_id))
        finished = job.state in ("SUCCEEDED", "FAILED")
        parked = job.state == "PENDING" and await jobs.parked(parts, job)
        if finished or parked or asyncio.get_running_loop().time() >= ends:
            if not finished:
                parts.wake.set()
            return job
        await asyncio.sleep(_POLL_S)


def _turns(parts: Parts, request: AddRequest, now: float) -> tuple[Turn, ...]:
    base = now if request.at is None else request.at
    return tuple(
        Turn(
            id=parts.ids.new(),
            role=one.role,
            text=one.text,
            actor_id=one.actor_id,
            event_at=base if one.at is None else one.at,
        )
        for one in request.said
    )


async def _put_turns(
    parts: Parts,
    request: AddRequest,
    turns: Sequence[Turn],
    now: float,
    pair: Pair,
    *,
    listed: bool,
) -> list[PutMemory]:
    """A memory of each turn, searchable from the commit on."""
    if not turns:
        return []
    payer = payer_of(parts, "add", request.scope)
    vectors = await local_vectors(parts, [turn.text for turn in turns], payer, pair)
    if len(turns) > _INLINE_TURNS:  # analysing many would keep the event loop from other callers
        return await asyncio.to_thread(_puts, parts, request, turns, vectors, now, listed=listed)
    return _puts(parts, request, turns, vectors, now, listed=listed)


def _puts(
    parts: Parts,
    request: AddRequest,
    turns: Sequence[Turn],
    vectors: Sequence[Embedded],
    now: float,
    *,
    listed: bool,
) -> list[PutMemory]:
    seen: Counter[tuple[str, str, float]] = Counter()
    puts = []
    origin = origin_now("verbatim")
    for turn, one in zip(turns, vectors, strict=True):
        same = (turn.role, turn.text, turn.event_at)
        said = (turn.event_at, seen[same])
        seen[same] += 1
        puts.append(
            PutMemory(
                memory=_turn_memory(parts, request, turn, now, listed=listed),
                identity=turn_identity(
                    request.scope, turn.role, turn.text, said, parts.content_key
                ),
                terms=terms_of(parts, turn.text, turn.actor_id, turn.role),
                vector=one.vector,
                shadow=one.shadow,
                epoch=one.epoch,
                sources=(Source(turn_id=turn.id),),
                origin=origin,
            )
        )
    return puts


def _turn_memory(
    parts: Parts, request: AddRequest, turn: Turn, now: float, *, listed: bool
) -> Memory:
    scope = request.scope
    return Memory(
        id=parts.ids.new(),
        text=turn.text,
        hash=content_hash(turn.text, parts.content_key),
        kind="turn",
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        app_id=scope.app_id,
        run_id=scope.run_id,
        actor_id=turn.actor_id,
        role=turn.role,
        metadata=request.metadata,
        categories=request.categories,
        listed=listed,
        immutable=request.immutable,
        event_at=turn.event_at,
        expires_on=request.expires_on,
        created_at=now,
        updated_at=now,
    )


def _job(
    parts: Parts, plan: _Plan, puts: Sequence[PutMemory], now: float, *, extracting: bool
) -> Job | None:
    """The job that stands for the add; None if nothing is left to do and nobody will ask for it:
    whoever does not wait gets something to ask for."""
    request = plan.request
    missing = any(put.vector is None for put in puts)
    unasked = request.idempotency_key is None and request.wait
    if not extracting and not missing and unasked:
        return None
    kind: JobKind = "extract" if extracting else "embed" if missing else "store"
    done = kind == "store"
    return Job(
        id=parts.ids.new(),
        project=parts.project,
        kind=kind,
        state="SUCCEEDED" if done else "PENDING",
        scope_key=scope_key(request.scope),
        payload=_payload(plan, puts, now, extracting=extracting),
        idempotency_key=request.idempotency_key,
        fingerprint=plan.mark,
        result=None if extracting else _verbatim(puts, [put.memory.id for put in puts]),
        run_after=now,
        created_at=now,
        completed_at=now if done else None,
    )


def _payload(
    plan: _Plan, puts: Sequence[PutMemory], now: float, *, extracting: bool
) -> dict[str, Json]:
    """What the job's work needs: ids and settings, never texts."""
    request, scope = plan.request, plan.request.scope
    payload: dict[str, Json] = {
        "scope": [scope.user_id, scope.agent_id, scope.app_id, scope.run_id],
        "turns": [source.turn_id for put in puts for source in put.sources],
        "memories": [put.memory.id for put in puts],
        "at": now,
    }
    if (key := credential.current()) is not None:
        payload["key"] = key
    if (held := _held_told(plan)) is not None:
        payload["held"] = held
    if plan.let_in is not None:
        payload["approved"] = holding.decided(plan.let_in)
    if extracting:
        payload |= {
            "metadata": request.metadata,
            "categories": list(request.categories),
            "expires_on": request.expires_on,
            "instructions": request.instructions,
            "unembedded": any(put.vector is None for put in puts),
            "procedural": request.procedural,
            "custom_categories": list(request.custom_categories),
            "immutable": request.immutable,
            "temporal_reasoning": request.temporal_reasoning,
            "by": by_now(),
        }
    return payload


def _held_told(plan: _Plan) -> dict[str, Json] | None:
    """What is told of the held messages: the id of the held add, and their places."""
    return None if plan.held is None else {"id": plan.held.id, "places": list(plan.places)}


def _verbatim(puts: Sequence[PutMemory], stored: Sequence[str]) -> list[dict[str, Json]]:
    return [
        {"id": id_, "event": "ADD" if id_ == put.memory.id else "NONE"}
        for put, id_ in zip(puts, stored, strict=True)
    ]


def _fingerprint(parts: Parts, request: AddRequest) -> str:
    """What makes two adds the same call: everything given, nothing that passes by itself."""
    said = [
        (one.role, one.text, one.actor_id, one.at, *([one.trust] if one.trust else []))
        for one in request.said
    ]
    rest = (request.at, request.metadata, request.categories, request.expires_on)
    flags = (request.infer, request.procedural, request.instructions, *request.custom_categories)
    flags = (*flags, "immutable") if request.immutable else flags
    flags = flags if request.temporal_reasoning else (*flags, "untimed")
    flags = (*flags, "trust", request.trust) if request.trust is not None else flags
    return fingerprint(
        list(itertools.chain([scope_key(request.scope), said], rest, flags)), parts.content_key
    )


def is_procedural(parts: Parts, memory_type: str | None, agent_id: str | None) -> bool:
    """Whether one summary is wanted. Raises ValidationError, UnsupportedError."""
    if memory_type is None:
        return False
    if memory_type != "procedural_memory":
        raise ValidationError(
            "memory_type is unknown.", hint="Leave it out, or use 'procedural_memory'."
        )
    if agent_id is None:
        raise ValidationError(
            "procedural_memory needs agent_id.", hint="Say whose run it is, e.g. agent_id='bot'."
        )
    if parts.llm is None:
        raise UnsupportedError("procedural_memory needs a language model.", hint="Configure `llm`.")
    return True
