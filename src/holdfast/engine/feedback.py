"""Feedback: what somebody thought of a memory, one opinion for each."""

from __future__ import annotations

from typing import Any

from holdfast.directory import Feedback, Where
from holdfast.engine.parts import Parts
from holdfast.engine.read import get
from holdfast.engine.redaction import storable_text
from holdfast.engine.update import unknown
from holdfast.errors import ConflictError

VALUES = ("POSITIVE", "NEGATIVE", "VERY_NEGATIVE")


async def give(parts: Parts, memory_id: str, feedback: str | None, reason: str | None) -> Feedback:
    """Set what is thought of a memory, in place of what was; None: nothing any more.

    Raises NotFoundError for a memory that is not there, or may not be known of.
    """
    if await get(parts, memory_id) is None:
        raise unknown(memory_id)
    reason = await storable_text(parts.hiding, reason)
    row = Feedback(
        project=parts.project,
        memory_id=memory_id,
        id=parts.ids.new(),
        feedback=feedback,
        reason=reason,
        at=parts.clock.now(),
    )
    mine = (Where("project", parts.project), Where("memory_id", memory_id))
    values: dict[str, Any] = {"feedback": feedback, "reason": reason, "at": row.at}
    try:
        if not await parts.directory.update(Feedback, *mine, values=values):
            await parts.directory.insert(row)
    except ConflictError:  # somebody else was first meanwhile
        await parts.directory.update(Feedback, *mine, values=values)
    if await get(parts, memory_id) is None:  # deleted meanwhile: nothing is left of it
        await parts.directory.delete(Feedback, *mine)
        raise unknown(memory_id)
    [stored] = await parts.directory.select(Feedback, *mine) or [row]
    return stored
