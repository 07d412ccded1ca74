"""What is held: listed, let in as memories, or thrown away.

Of two who decide about the same, one does: whatever is let in or thrown away takes the held add
away in the transaction of the decision.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import msgspec

from holdfast.acts import actor_now, coming_by, watched_act
from holdfast.core.audit import ids_of
from holdfast.core.fence import inside
from holdfast.core.identity import scope_key
from holdfast.core.intake import Said
from holdfast.directory import Held, Where
from holdfast.engine import add as adding
from holdfast.engine import holding, webhooks
from holdfast.engine.auditing import job_done
from holdfast.engine.parts import Parts
from holdfast.engine.read import add_answer, may_see
from holdfast.errors import ConflictError, NotFoundError
from holdfast.model import Job, Json, Scope
from holdfast.ports import Op, PutJob, PutRows, TakeRow


async def listed(parts: Parts, scope: Scope, offset: int, size: int) -> tuple[list[Held], int]:
    """What is held of a scope (of all, if it is empty), the newest first, and how much there is."""
    where = _where(parts, scope)
    found = await parts.directory.select(Held, *where, newest_first=True, offset=offset, size=size)
    return found, await parts.directory.count(Held, *where)


async def count(parts: Parts, scope: Scope) -> int:
    """How much is held of a scope."""
    return await parts.directory.count(Held, *_where(parts, scope))


async def ids_held(parts: Parts, scope: Scope, size: int) -> list[str]:
    """The ids of what is held of a scope, the oldest first."""
    found = await parts.directory.select(Held, *_where(parts, scope), size=size)
    return [held.id for held in found]


async def find(parts: Parts, held_id: str) -> Held:
    """What is held under this id. Raises NotFoundError."""
    held = await _look(parts, held_id)
    if held is None:
        raise _unknown(held_id)
    return held


async def known(parts: Parts, held_ids: Sequence[str], *, approved: bool) -> None:
    """Check that each of these is held, or (`approved`) was let in. Raises NotFoundError."""
    for held_id in held_ids:
        found = await is_known(parts, held_id) if approved else await _look(parts, held_id)
        if not found:
            raise _unknown(held_id)


async def is_known(parts: Parts, held_id: str) -> bool:
    """Whether this is held, or was let in."""
    return await _look(parts, held_id) is not None or await _approved(parts, held_id) is not None


async def is_decided(parts: Parts, held_id: str) -> bool:
    """Whether this is held, or somebody decided on it."""
    is_held = await _look(parts, held_id) is not None
    return is_held or await _decision(parts, held_id) is not None


async def approve(
    parts: Parts, held_id: str, *, wait: bool, messages: Sequence[int] = ()
) -> dict[str, Json] | None:
    """Let in what is held, or these messages of it: the answer of its add; None if it was thrown
    away meanwhile. `rest` in it is the id of what is held on.

    Once more, it is the answer of the first time. Raises ConflictError if other messages of it
    were approved, ValidationError, and as `add`; it is held still then.
    """
    held = await _look(parts, held_id)
    job: Job | None = None
    if held is not None:
        try:
            with coming_by("approval"):
                job = await job_done(
                    parts,
                    "quarantine.approved",
                    parts.project,
                    held.id,
                    _let_in(parts, held, messages, wait),
                )
        except NotFoundError:
            held = None  # somebody was faster
        else:
            parts.metrics.count("held_add", "approved")
    if job is None:
        job = await _approved(parts, held_id)
        if job is None:
            return None
        _check_same(job, messages)
        job = await adding.see_through(parts, job, wait=wait)
    answer = await add_answer(parts, job, ())
    rest = job.payload["approved"].get("rest")
    return answer if rest is None else {**answer, "rest": rest}


async def reject(
    parts: Parts, held_id: str, *, messages: Sequence[int] = ()
) -> dict[str, Json] | None:
    """Throw away what is held, or these messages of it; None if there is nothing any more. `rest`
    in the answer is the id of what is held on. That it was rejected is remembered, as that it was
    approved is: a backup does not bring it back. Raises ValidationError."""
    held = await _look(parts, held_id)
    if held is None:
        return None
    meant, rest = holding.split(parts, held, messages)
    numbers = tuple(sorted(set(messages)))
    by = actor_now().principal
    one = holding.TurnedDown(held_id=held.id, principal=by, messages=numbers, rest=rest)
    work = _throw_away(parts, meant, one)
    try:
        await job_done(parts, "quarantine.rejected", parts.project, held.id, work)
    except NotFoundError:
        return None  # somebody was faster
    parts.metrics.count("held_add", "rejected")
    return {} if rest is None else {"rest": rest.id}


def _let_in(parts: Parts, held: Held, messages: Sequence[int], wait: bool) -> Awaitable[Job]:
    meant, rest = holding.split(parts, held, messages)
    approved = adding.LetIn(
        held_id=held.id,
        principal=actor_now().principal,
        key=_key(held.id),
        messages=tuple(sorted(set(messages))),
        rest=rest,
    )
    return adding.let_in(parts, _request(meant, wait), approved)


async def _throw_away(parts: Parts, held: Held, one: holding.TurnedDown) -> None:
    act = watched_act()
    if act is not None:
        act.about(ids_of(held.scope))
    now, scope = parts.clock.now(), held.scope
    note = Job(
        id=parts.ids.new(),
        project=parts.project,
        kind="store",
        state="SUCCEEDED",
        scope_key=scope_key(scope),
        payload={
            "scope": [scope.user_id, scope.agent_id, scope.app_id, scope.run_id],
            "turns": [],
            "memories": [],
            "at": now,
            "turned_down": holding.decided(one),
        },
        idempotency_key=_key(held.id),
        result=[],
        run_after=now,
        created_at=now,
        completed_at=now,
    )
    ops: list[Op] = [TakeRow(kind=Held, id=held.id), PutJob(job=note)]
    if one.rest is not None:
        ops.append(PutRows(rows=(one.rest, *await webhooks.told_of_held(parts, one.rest))))
    await parts.records.commit(parts.project, ops)


def _check_same(job: Job, messages: Sequence[int]) -> None:
    """Raises ConflictError if an earlier approval took other messages than these."""
    approved = job.payload["approved"]
    rest = approved.get("rest")
    if rest is None or sorted(set(messages)) == approved["messages"]:
        return
    raise ConflictError(
        "Other messages of this were approved; nothing was changed.",
        hint=f"What is left of it is held under the id {rest}.",
    )


def _request(held: Held, wait: bool) -> adding.AddRequest:
    """The add of what is held, as if it were made now by somebody who is trusted."""
    said = [
        Said(role=one["role"], text=one["text"], actor_id=one["actor_id"], at=one["at"])
        for one in held.messages
    ]
    given = {**held.request, "said": said, "scope": held.scope, "wait": wait}
    return msgspec.convert(given, adding.AddRequest, from_attributes=True)


def _key(held_id: str) -> str:
    """The idempotency key of an approval; nobody can give it: what callers give is trimmed."""
    return f"\x1fheld\x1f{held_id}"


async def _approved(parts: Parts, held_id: str) -> Job | None:
    """The job of what was let in, as far as it is known and may be seen."""
    job = await _decision(parts, held_id)
    return job if job is not None and "approved" in job.payload else None


async def _decision(parts: Parts, held_id: str) -> Job | None:
    """The job that notes what was decided, as far as it is known and may be seen."""
    job = await parts.jobs.find_job(parts.project, _key(held_id))
    return job if job is not None and may_see(parts, job) else None


async def _look(parts: Parts, held_id: str) -> Held | None:
    found = await parts.directory.select(
        Held, Where("project", parts.project), Where("id", held_id)
    )
    return found[0] if found and inside(parts.fence, found[0].scope) else None


def _where(parts: Parts, scope: Scope) -> list[Where]:
    fence = parts.fence
    kinds = {"user": fence.users, "agent": fence.agents, "app": fence.apps, "run": fence.runs}
    return [
        Where("project", parts.project),
        *(Where(f"{entity.kind}_id", entity.id) for entity in scope.entities()),
        *(Where(f"{kind}_id", ids, "in") for kind, ids in kinds.items() if ids is not None),
    ]


def _unknown(held_id: str) -> NotFoundError:
    return NotFoundError(
        f"Nothing is held under the id {held_id}.", hint="`quarantine list` tells what is."
    )
