"""Jobs: the model's part of an add, leased, retried, and dead-lettered with a reason.

What a job produces and the fact that it is finished are one transaction, so that a job whose
worker dies is done again and leaves nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from holdfast.engine import exports, extract, webhooks
from holdfast.engine.auditing import job_done
from holdfast.engine.embedding import commit_vectors, fill_in, vectors_of
from holdfast.engine.ledger import job_payer
from holdfast.engine.parts import Parts
from holdfast.errors import (
    BadAnswerError,
    BudgetExceededError,
    ClosedError,
    ConflictError,
    HoldfastError,
    ModelError,
)
from holdfast.limits import JOB_BACKOFF_MAX_S, JOB_BACKOFF_S, JOB_LEASE_S
from holdfast.model import Job, JobState, Json
from holdfast.ports import FinishJob, Op, PutRows

Next = Literal["ran", "none", "held_back"]
"""What became of the next job: it was run, there was none, or it cannot be run now."""

Work = Callable[[Parts, Job], Awaitable[tuple[list[Op], Json]]]

_SCAN_MAX = 1_000
_log = logging.getLogger("holdfast.jobs")


async def run_one(parts: Parts, job_id: str) -> Job | None:
    """Lease and run this job; None if somebody else has it or an earlier one comes first."""
    job = await parts.jobs.lease_one(
        parts.project, job_id, parts.owner, parts.clock.now(), JOB_LEASE_S
    )
    return None if job is None else await run(parts, job)


async def run_next(parts: Parts) -> Next:
    """Lease and run the oldest due job of any project.

    "held_back": it was put back untried, for the model is left alone; others would fare no better.
    """
    job = await parts.jobs.lease(parts.owner, parts.clock.now(), JOB_LEASE_S)
    if job is None:
        return "none"
    ended = await run(parts, job)
    untried = ended.state == "PENDING" and ended.attempts < job.attempts
    return "held_back" if untried and ended.error_code != BudgetExceededError.code else "ran"


async def parked(parts: Parts, job: Job) -> bool:
    """Whether this job, or an earlier one of its scope, waits for a later time."""
    waiting = await parts.jobs.jobs(parts.project, "PENDING", 0, _SCAN_MAX)
    now = parts.clock.now()
    return any(
        other.run_after > now and other.scope_key == job.scope_key and other.id <= job.id
        for other in waiting
    )


async def run(parts: Parts, job: Job) -> Job:
    """Do a leased job's work and finish it; returns it as it stands afterwards."""
    found: Job = await job_done(parts, job.kind, job.project, job.id, _run(parts, job))
    return found


async def _run(parts: Parts, job: Job) -> Job:
    try:
        if job.attempts > parts.job_attempts_max:
            raise _abandoned(job)
        async with _kept(parts, job):
            ops, result = await _WORK[job.kind](parts, job)
        await _finish(parts, job, "SUCCEEDED", ops, result=result)
        _count(parts, job, "succeeded", result)
    except ModelError as error:
        await _fail(parts, job, error)
    except BudgetExceededError as error:
        await _park(parts, job, error)
    except asyncio.CancelledError:
        await asyncio.shield(_hand_back(parts, job))
        raise
    except ConflictError:
        parts.metrics.count("job", job.kind, "lost")
        _log.warning("job %s: the lease was lost to another worker", job.id)
    found = await parts.jobs.job(job.project, job.id)
    return job if found is None else found


def _count(parts: Parts, job: Job, outcome: str, result: Json) -> None:
    parts.metrics.count("job", job.kind, outcome)
    if job.kind != "extract" or not isinstance(result, dict):
        return
    for item in result["results"]:
        known = item.get("event") == "NONE"
        parts.metrics.count("fact", "known" if known else "added")
    if rejected := len(result.get("rejected", ())):
        parts.metrics.count("fact", "rejected", amount=rejected)


def _abandoned(job: Job) -> ModelError:
    """A job that was taken too often and never ended: its workers died of it."""
    return ModelError(
        f"The work was begun {job.attempts - 1} times and never ended.",
        hint="Look for crashed workers, then run the job again.",
    )


async def _fail(parts: Parts, job: Job, error: ModelError) -> None:
    """Put the job back for later if that can help, else dead-letter it with the reason.

    A try in which the model had no chance does not count: an outage uses up few jobs' tries.
    """
    again = error.retryable and (not error.tried or job.attempts < parts.job_attempts_max)
    pause = error.retry_after_s or min(JOB_BACKOFF_S * 2**job.attempts, JOB_BACKOFF_MAX_S)
    if isinstance(error, BadAnswerError) and job.kind != "embed":
        pause = 0.0  # the model is there; waiting does not make it wiser, but mends an embedder
    elif not error.tried and error.retry_after_s is None:
        pause = 0.0  # whoever waited for it had no more time; the workers have
    fate = f"again in {pause:.1f} s" if again else "dead-lettered"
    _log.warning("job %s, attempt %d: %s; %s", job.id, job.attempts, error.code, fate)
    state: JobState = "PENDING" if again else "FAILED"
    parts.metrics.count("job", job.kind, "again" if again else "dead")
    with suppress(ConflictError):  # the lease was lost: its new owner decides
        run_after = parts.clock.now() + pause
        await _finish(
            parts, job, state, [], error=error, run_after=run_after, untried=not error.tried
        )


async def _park(parts: Parts, job: Job, error: BudgetExceededError) -> None:
    """Put the job back until the budget's period turns, or the budget is changed."""
    pause = error.retry_after_s or JOB_BACKOFF_MAX_S
    _log.warning("job %s waits for a budget, for %.0f s at most", job.id, pause)
    parts.metrics.count("job", job.kind, "again")
    with suppress(ConflictError):  # the lease was lost: its new owner decides
        run_after = parts.clock.now() + pause
        await _finish(parts, job, "PENDING", [], error=error, run_after=run_after, untried=True)


async def _hand_back(parts: Parts, job: Job) -> None:
    """Leave the job to others at once: this worker stops."""
    parts.metrics.count("job", job.kind, "handed_back")
    with suppress(ConflictError, ClosedError):  # somebody else has it, or the lease runs out
        await _finish(parts, job, "PENDING", [], run_after=parts.clock.now(), untried=True)


async def _finish(
    parts: Parts,
    job: Job,
    state: JobState,
    ops: list[Op],
    *,
    result: Json = None,
    error: HoldfastError | None = None,
    run_after: float = 0.0,
    untried: bool = False,
) -> None:
    end = FinishJob(
        job_id=job.id,
        owner=parts.owner,
        state=state,
        at=parts.clock.now(),
        result=result,
        error=None if error is None else str(error),
        error_code=None if error is None else error.code,
        run_after=run_after,
        untried=untried,
    )
    told = await webhooks.told_of_job(parts, job, state, result)
    every = [*ops, *([PutRows(rows=tuple(told))] if told else []), end]
    await commit_vectors(parts, job.project, every, job_payer(job))


@asynccontextmanager
async def _kept(parts: Parts, job: Job) -> AsyncIterator[None]:
    """Prolong the lease while the work goes on."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(JOB_LEASE_S / 3)
            await parts.jobs.heartbeat(
                job.project, job.id, parts.owner, parts.clock.now(), JOB_LEASE_S
            )

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _embed(parts: Parts, job: Job) -> tuple[list[Op], Json]:
    """Fill in the vectors of turns that were stored while their embedder was not asked yet."""
    memories = await parts.records.fetch(job.project, job.payload["memories"])
    vectors = await vectors_of(parts, [memory.text for memory in memories], job_payer(job))
    return [fill_in(memories, vectors)], job.result


_WORK: dict[str, Work] = {"extract": extract.work, "embed": _embed, "export": exports.work}
