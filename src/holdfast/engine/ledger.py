"""What calls of other people's models cost, written down before anything is made of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from msgspec import field

from holdfast import credential
from holdfast.core.pricing import saved_by_provider, usd_of
from holdfast.engine.parts import Parts, scope_of
from holdfast.engine.tolls import paid_by
from holdfast.errors import BudgetExceededError, ClosedError, ModelError
from holdfast.model import Job, Project, Scope, Spared, Struct, Usage
from holdfast.ports import PutUsage, Spent


class Payer(Struct, frozen=True, kw_only=True):
    """Whom a call is for, as its row in the ledger names them."""

    project: Project
    operation: str
    """The verb that was called. What a job does, its reruns included, belongs to the add behind it:
    `job_id` tells it from others."""
    scope: Scope
    job_id: str | None = None
    key_id: str | None = None
    """The credential of whoever called."""
    without: list[str] = field(default_factory=list)
    """What was done without because a budget had no room; those who pay take it down."""


def payer_of(parts: Parts, operation: str, scope: Scope) -> Payer:
    """Whoever calls now pays."""
    return Payer(
        project=parts.project, operation=operation, scope=scope, key_id=credential.current()
    )


def job_payer(job: Job) -> Payer:
    """Who pays for the work of a job."""
    operation = "create_export" if job.kind == "export" else "add"
    return Payer(
        project=job.project,
        operation=operation,
        scope=scope_of(job),
        job_id=job.id,
        key_id=job.payload.get("key"),
    )


def done_without(payer: Payer, part: str, error: BudgetExceededError) -> None:
    """Go on without a part that a budget has no room for; raises the error of one that blocks."""
    if error.at_limit == "block":
        raise error
    payer.without.append(part)


async def record(parts: Parts, payer: Payer, calls: Sequence[Usage]) -> None:
    """A row of each call, durable on return; raises StoreError. Of those that a cache made
    unnecessary, a sum is told later."""
    now = parts.clock.now()
    for usage in calls:
        if isinstance(usage, Spared) and parts.savings is not None:
            parts.savings.note(payer.project, payer.operation, usage)
    rows = [
        PutUsage(
            usage=usage,
            operation=payer.operation,
            scope=payer.scope,
            at=now,
            job_id=payer.job_id,
            key_id=payer.key_id,
            cost=parts.prices.cost(usage, now),
            saved_nano_usd=saved_by_provider(parts.prices, usage, now),
        )
        for usage in calls
        if not isinstance(usage, Spared)
    ]
    if rows:
        await parts.records.commit(payer.project, rows)
    for row in rows:
        _count(parts, row)


def _count(parts: Parts, row: PutUsage) -> None:
    usage, count = row.usage, parts.metrics.count
    for kind in ("input", "cached", "output"):
        count("model_token", usage.model, kind, amount=getattr(usage, f"{kind}_tokens"))
    if row.cost is None:
        count("unpriced_call", usage.model)
    else:
        count("model_cost_usd", usage.model, row.operation, amount=usd_of(row.cost.nano_usd))
        count("saved_usd", usage.model, "provider", amount=usd_of(row.saved_nano_usd))


@asynccontextmanager
async def billed(parts: Parts, payer: Payer) -> AsyncIterator[Spent]:
    """Records what the block is told to have spent, whether the block succeeds or not.

    The rows are on disk before the block's result is used: an answer may come a disk write later,
    beside a call over the network, but nothing that was paid for is missing from the ledger. If
    they cannot be written, StoreError is raised in place of the result.
    """
    spent: list[Usage] = []
    try:
        with paid_by(payer):
            yield spent.append
    except asyncio.CancelledError:
        with suppress(ClosedError):  # the store went first; who is cancelled must still end
            await record(parts, payer, spent)
        raise
    except (ModelError, BudgetExceededError):
        await record(parts, payer, spent)
        raise
    await record(parts, payer, spent)
