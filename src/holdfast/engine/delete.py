"""`delete`, `delete_all`, `reset`: removal of memories and of what they were taken from."""

from __future__ import annotations

from holdfast.engine.parts import Parts
from holdfast.engine.update import unknown
from holdfast.filters import Compare, Filter
from holdfast.ports import RemoveMemories, Reset


async def delete(parts: Parts, memory_id: str) -> None:
    """Delete one memory and the turns it was taken from; its history keeps what it said.

    Raises NotFoundError.
    """
    one = Compare("id", "eq", memory_id)
    op = RemoveMemories(filter=one, at=parts.clock.now())
    [gone] = await parts.records.commit(parts.project, [op])
    if not gone:
        raise unknown(memory_id)


async def delete_all(parts: Parts, matching: Filter) -> int:
    """Delete everything that matches, superseded and unlisted ones included, history texts too."""
    op = RemoveMemories(filter=matching, at=parts.clock.now(), erase_history=True)
    [gone] = await parts.records.commit(parts.project, [op])
    return len(gone)


async def reset(parts: Parts) -> None:
    """Delete everything the project has."""
    await parts.records.commit(parts.project, [Reset()])
