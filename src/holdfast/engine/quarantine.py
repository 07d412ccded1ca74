"""What is held: listed, let in as memories, or thrown away.

Of two who decide about the same, one does: whatever is let in or thrown away takes the held add
away in the transaction of the decision.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from holdfast.acts import actor_now, coming_by, watched_act
from holdfast.core.audit import ids_of
from holdfast.core.fence import inside
from holdfast.core.intake import Said
from holdfast.directory import Held, Where
from holdfast.engine import add as adding
from holdfast.engine.auditing import job_done
from holdfast.engine.parts import Parts
from holdfast.engine.read import add_answer, may_see
from holdfast.errors import NotFoundError
from holdfast.model import Job, Json, Scope

Told = Callable[[int, int], None]
"""Is told how many are done, and of how many."""


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


async def approve(parts: Parts, held_id: str, *, wait: bool) -> dict[str, Json] | None:
    """Let in what is held: the answer of its add; None if it was thrown away meanwhile.

    Once more, it is the answer of the first time. Raises as `add`; it is held still then.
    """
    held = await _look(parts, held_id)
    job: Job | None = None
    if held is not None:
        try:
            with coming_by("approval"):
                job = await job_done(
                    parts, "quarantine.approved", parts.project, held.id, _let_in(parts, held, wait)
                )
        except NotFoundError:
            held = None  # somebody was faster
        else:
            parts.metrics.count("held_add", "approved")
    if job is None:
        job = await _approved(parts, held_id)
        if job is None:
            return None
        job = await adding.see_through(parts, job, wait=wait)
    return await add_answer(parts, job, ())


async def reject(parts: Parts, held_id: str) -> bool:
    """Throw away what is held; False if there is nothing any more."""
    held = await _look(parts, held_id)
    if held is None:
        return False
    work = _throw_away(parts, held)
    gone: bool = await job_done(parts, "quarantine.rejected", parts.project, held.id, work)
    if gone:
        parts.metrics.count("held_add", "rejected")
    return gone


def _let_in(parts: Parts, held: Held, wait: bool) -> Awaitable[Job]:
    approved = adding.LetIn(held_id=held.id, principal=actor_now().principal, key=_key(held.id))
    return adding.let_in(parts, _request(held, wait), approved)


async def _throw_away(parts: Parts, held: Held) -> bool:
    act = watched_act()
    if act is not None:
        act.about(ids_of(held.scope))
    mine = (Where("project", parts.project), Where("id", held.id))
    return bool(await parts.directory.delete(Held, *mine))


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
