"""Budgets: set, changed, listed with what is spent of them, removed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from holdfast.core.budgets import EACH, BudgetRequest, BudgetStatus
from holdfast.core.periods import span
from holdfast.directory import Budget, Spending, Where
from holdfast.engine.parts import Parts
from holdfast.errors import BudgetExceededError, ConflictError, NotFoundError
from holdfast.limits import BUDGET_SUBJECTS_MAX, BUDGETS_PER_PROJECT_MAX


async def put(parts: Parts, request: BudgetRequest) -> Budget:
    """Set a budget, in place of the one for the same subject, period and unit; what is spent of it
    stays spent. Jobs that waited for a budget are tried again.

    Raises ConflictError for one too many.
    """
    budget = await _put(parts, request)
    await _hasten(parts)
    return budget


async def _put(parts: Parts, request: BudgetRequest) -> Budget:
    now = parts.clock.now()
    place = ("kind", "subject", "period", "unit")
    same = [_mine(parts), *(Where(name, getattr(request, name)) for name in place)]
    values = {"amount": request.amount, "at_limit": request.at_limit, "updated_at": now}
    if await parts.directory.update(Budget, *same, values=values):
        [found] = await parts.directory.select(Budget, *same)
        return found
    if await parts.directory.count(Budget, _mine(parts)) >= BUDGETS_PER_PROJECT_MAX:
        raise ConflictError(
            f"The project has {BUDGETS_PER_PROJECT_MAX:,} budgets already.",
            hint="Remove one, or set one for each user (*) instead of many.",
        )
    budget = Budget(
        id=parts.ids.new(),
        project=parts.project,
        kind=request.kind,
        subject=request.subject,
        period=request.period,
        unit=request.unit,
        amount=request.amount,
        at_limit=request.at_limit,
        created_at=now,
        updated_at=now,
    )
    await parts.directory.insert(budget)
    return budget


async def listed(parts: Parts) -> Sequence[BudgetStatus]:
    """The budgets of this project, and what is spent of them in this period. Of those for each user
    or key, one line for each that has spent something, the most first."""
    budgets = await parts.directory.select(Budget, _mine(parts))
    return [status for budget in budgets for status in await _statuses(parts, budget)]


async def _statuses(parts: Parts, budget: Budget) -> Sequence[BudgetStatus]:
    since, ends = span(budget.period, parts.clock.now())
    found = await parts.directory.select(
        Spending,
        _mine(parts),
        Where("budget", budget.id),
        Where("since", since),
        order="spent",
        newest_first=True,
        size=BUDGET_SUBJECTS_MAX,
    )
    nobody = BudgetStatus(
        budget=budget, subject=budget.subject, since=since, ends=ends, spent=0, held=0
    )
    each = [
        replace(nobody, subject=one.subject, spent=one.spent, held=one.held)
        for one in found
        if one.spent or one.held or budget.subject != EACH
    ]
    return each or [nobody]


async def remove(parts: Parts, budget_id: str) -> None:
    """Remove a budget, and what was counted for it. Raises NotFoundError."""
    if not await parts.directory.delete(Budget, _mine(parts), Where("id", budget_id)):
        raise NotFoundError("There is no such budget.", hint="List the project's budgets.")
    await parts.directory.delete(Spending, _mine(parts), Where("budget", budget_id))
    await _hasten(parts)


async def _hasten(parts: Parts) -> None:
    now = parts.clock.now()
    if await parts.jobs.hasten(parts.project, BudgetExceededError.code, now):
        parts.wake.set()


def _mine(parts: Parts) -> Where:
    return Where("project", parts.project)
