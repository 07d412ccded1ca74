"""The ledger and its budgets in plain dictionaries: what every other back end is compared to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec.structs import replace

from holdfast.backends.memory.directory import Rows
from holdfast.core.periods import day_number, day_text
from holdfast.directory import Spending
from holdfast.model import Project
from holdfast.ports import (
    Hold,
    HoldBudget,
    PutSpared,
    PutUsage,
    SettleBudget,
    UsageGroup,
    UsageQuery,
    UsageSum,
)

Ledger = Mapping[Project, Sequence[PutUsage | PutSpared]]


def usage_sums(ledger: Ledger, project: Project | None, query: UsageQuery) -> list[UsageSum]:
    """Sums of the calls that a question is about."""
    sums: dict[tuple[str | None, ...], UsageSum] = {} if query.by else {(): UsageSum()}
    for owner, calls in ledger.items():
        for call in calls:
            if project not in (None, owner) or not _asked_for(owner, call, query):
                continue
            group = tuple(value_of(owner, call, name) for name in query.by)
            sums[group] = _plus(sums.get(group, UsageSum(group=group)), call)
    return list(sums.values())


def value_of(project: Project, call: PutUsage | PutSpared, name: UsageGroup) -> str | None:
    """What a call has of something calls may have in common."""
    match name:
        case "project":
            return project
        case "day":
            return day_text(day_number(call.at))
        case "operation":
            return call.operation
        case "model":
            return call.model if isinstance(call, PutSpared) else call.usage.model
        case _ if isinstance(call, PutSpared):
            return None
        case "key":
            return call.key_id
        case _:
            value: str | None = getattr(call.scope, f"{name}_id")
            return value


def _asked_for(project: Project, call: PutUsage | PutSpared, query: UsageQuery) -> bool:
    if not query.since <= call.at < query.before:
        return False
    return all(value_of(project, call, name) == value for name, value in query.where)


def _plus(known: UsageSum, call: PutUsage | PutSpared) -> UsageSum:
    if isinstance(call, PutSpared):
        return replace(
            known,
            spared_calls=known.spared_calls + call.calls,
            spared_tokens=known.spared_tokens + call.tokens,
            spared_nano_usd=known.spared_nano_usd + (call.nano_usd or 0),
        )
    usage, cost = call.usage, call.cost
    return replace(
        known,
        calls=known.calls + 1,
        input_tokens=known.input_tokens + usage.input_tokens,
        cached_tokens=known.cached_tokens + usage.cached_tokens,
        cache_write_tokens=known.cache_write_tokens + usage.cache_write_tokens,
        output_tokens=known.output_tokens + usage.output_tokens,
        nano_usd=known.nano_usd + (0 if cost is None else cost.nano_usd),
        unpriced=known.unpriced + (cost is None),
        saved_nano_usd=known.saved_nano_usd + call.saved_nano_usd,
    )


def hold(rows: Rows, project: Project, op: HoldBudget) -> list[int]:
    """Hold room in all budgets, or in none; what each had before."""
    before = [one.spent + one.held for one in (_spending(rows, project, each) for each in op.holds)]
    pairs = zip(op.holds, before, strict=True)
    if all(each.limit is None or was + each.amount <= each.limit for each, was in pairs):
        for each in op.holds:
            known = _spending(rows, project, each)
            rows[_place(project, each)] = replace(known, held=known.held + each.amount)
    return before


def settle(rows: Rows, project: Project, op: SettleBudget) -> None:
    """What was held becomes what is spent; a period that is gone stays so."""
    for each, spent in zip(op.holds, op.spent, strict=True):
        if (place := _place(project, each)) in rows:
            known = _spending(rows, project, each)
            rows[place] = replace(known, held=known.held - each.amount, spent=known.spent + spent)


def _place(project: Project, hold: Hold) -> Any:
    return Spending, (project, hold.budget, hold.subject, hold.since)


def _spending(rows: Rows, project: Project, hold: Hold) -> Spending:
    new = Spending(project=project, budget=hold.budget, subject=hold.subject, since=hold.since)
    return cast("Spending", rows.get(_place(project, hold), new))
