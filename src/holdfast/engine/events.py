"""What a caller may do about the job behind an add: have it tried again, or given up."""

from __future__ import annotations

from holdfast.engine import read
from holdfast.engine.parts import Parts
from holdfast.engine.webhooks import told_of_job
from holdfast.errors import ConflictError, ValidationError
from holdfast.model import Json
from holdfast.ports import FinishJob, Op, PutRows

CANCELLED = "CANCELLED"
"""The code of a job that was given up."""


async def rerun(parts: Parts, event_id: str) -> dict[str, Json]:
    """Try a failed job again; the event. Raises NotFoundError, ValidationError."""
    job = await read.job(parts, event_id)
    if not await parts.jobs.rerun(parts.project, job.id, parts.clock.now()):
        raise ValidationError(f"Event {job.id} has not failed.", hint="Only failed ones rerun.")
    parts.wake.set()
    return await read.event(parts, await read.job(parts, event_id))


async def cancel(parts: Parts, event_id: str) -> dict[str, Json]:
    """Give up an extraction that waits; the event. Its turns stay, and it can be run again.

    Raises NotFoundError; ValidationError if there is nothing to give up, or it was begun.
    """
    job = await read.job(parts, event_id)
    refusal = ValidationError(
        f"Event {job.id} is no extraction that waits.", hint="What was begun ends by itself."
    )
    if job.kind != "extract" or job.state != "PENDING":
        raise refusal
    end = FinishJob(
        job_id=job.id,
        owner=None,
        state="FAILED",
        at=parts.clock.now(),
        error="It was cancelled.",
        error_code=CANCELLED,
    )
    told = await told_of_job(parts, job, "FAILED", None, is_cancelled=True)
    ops: list[Op] = [PutRows(rows=tuple(told)), end] if told else [end]
    try:
        await parts.records.commit(parts.project, ops)
    except ConflictError:
        raise refusal from None
    return await read.event(parts, await read.job(parts, event_id))
