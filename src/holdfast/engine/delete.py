"""`delete`, `delete_all`, `reset`: removal of memories and of what they were taken from."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.fence import fenced, mark_of
from holdfast.core.identity import scope_key
from holdfast.engine.origins import origin_now
from holdfast.engine.parts import Parts
from holdfast.engine.read import inside_of
from holdfast.engine.update import unknown
from holdfast.errors import AccessError
from holdfast.filters import Compare, Filter, conjunction, named_scope
from holdfast.model import Job, Struct
from holdfast.ports import PutJob, RemoveMemories, Reset


class Deleted(Struct, frozen=True, kw_only=True):
    """What became of a deletion of all that matches."""

    count: int
    event_id: str
    """The event that tells of it."""


async def delete(parts: Parts, memory_id: str) -> None:
    """Delete one memory and the turns it was taken from; its history keeps what it said.

    Raises NotFoundError.
    """
    if not await inside_of(parts, [memory_id]):  # a deletion of nothing is nothing to write
        raise unknown(memory_id)
    one = fenced(parts.fence, Compare("id", "eq", memory_id))
    op = RemoveMemories(filter=one, at=parts.clock.now(), origin=origin_now("deleted"))
    [gone] = await parts.records.commit(parts.project, [op])
    if not gone:
        raise unknown(memory_id)


async def delete_several(parts: Parts, ids: Sequence[str]) -> int:
    """Delete these memories like `delete`, all or none; how many.

    Raises NotFoundError for the first that is unknown; nothing was deleted then.
    """
    these = fenced(parts.fence, Compare("id", "in", tuple(ids)))
    known = {memory.id for memory in await inside_of(parts, ids)}
    for id_ in ids:
        if id_ not in known:
            raise unknown(id_)
    op = RemoveMemories(filter=these, at=parts.clock.now(), origin=origin_now("deleted"))
    [gone] = await parts.records.commit(parts.project, [op])
    return len(gone)


async def delete_all(parts: Parts, *conditions: Filter) -> Deleted:
    """Delete everything that matches, superseded and unlisted ones included, history texts too.

    An event of the same transaction tells that it was done.
    """
    wanted = fenced(parts.fence, conjunction(*conditions))
    op = RemoveMemories(
        filter=wanted, at=parts.clock.now(), erase_history=True, origin=origin_now("deleted")
    )
    event = _event(parts, wanted, op.at)
    gone, _ = await parts.records.commit(parts.project, [op, PutJob(job=event)])
    return Deleted(count=len(gone), event_id=event.id)


def _event(parts: Parts, wanted: Filter, now: float) -> Job:
    scope = named_scope(wanted)
    return Job(
        id=parts.ids.new(),
        project=parts.project,
        kind="store",
        state="SUCCEEDED",
        scope_key=scope_key(scope),
        payload={
            "event": "DELETE_ALL",
            "scope": [scope.user_id, scope.agent_id, scope.app_id, scope.run_id],
            "fence": mark_of(parts.fence),
        },
        result=[],
        run_after=now,
        created_at=now,
        started_at=now,
        completed_at=now,
    )


async def reset(parts: Parts) -> None:
    """Delete everything the project has. Raises AccessError for whoever sees only a part of it."""
    if not parts.fence.is_open:
        raise AccessError("This credential may not reset the project.", hint="Use delete_all.")
    await parts.records.commit(parts.project, [Reset()])
