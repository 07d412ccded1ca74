"""`delete`, `delete_all`, `reset`: removal of memories and of what they were taken from."""

from __future__ import annotations

from holdfast.core.fence import fenced
from holdfast.engine.parts import Parts
from holdfast.engine.update import unknown
from holdfast.errors import AccessError
from holdfast.filters import Compare, Filter
from holdfast.ports import RemoveMemories, Reset


async def delete(parts: Parts, memory_id: str) -> None:
    """Delete one memory and the turns it was taken from; its history keeps what it said.

    Raises NotFoundError.
    """
    one = fenced(parts.fence, Compare("id", "eq", memory_id))
    op = RemoveMemories(filter=one, at=parts.clock.now())
    [gone] = await parts.records.commit(parts.project, [op])
    if not gone:
        raise unknown(memory_id)


async def delete_all(parts: Parts, matching: Filter) -> int:
    """Delete everything that matches, superseded and unlisted ones included, history texts too."""
    wanted = fenced(parts.fence, matching)
    op = RemoveMemories(filter=wanted, at=parts.clock.now(), erase_history=True)
    [gone] = await parts.records.commit(parts.project, [op])
    return len(gone)


async def reset(parts: Parts) -> None:
    """Delete everything the project has. Raises AccessError for whoever sees only a part of it."""
    if not parts.fence.is_open:
        raise AccessError("This credential may not reset the project.", hint="Use delete_all.")
    await parts.records.commit(parts.project, [Reset()])
