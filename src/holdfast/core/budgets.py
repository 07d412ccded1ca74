"""Budgets: which apply to a call, how much room it needs in each, and what happens without room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, get_args

from holdfast.clock import iso
from holdfast.core import intake
from holdfast.core.periods import span
from holdfast.core.pricing import NANO, usd_of
from holdfast.directory import AtLimit, Budget, BudgetKind, BudgetPeriod, BudgetUnit
from holdfast.errors import BudgetExceededError, ValidationError
from holdfast.model import Cost, Json, Struct, Usage
from holdfast.ports import Hold

EACH: Final = "*"
"""In place of an id: each user, or key, by itself."""
AMOUNT_MAX: Final = 1_000_000_000
"""Most US dollars of a budget; of tokens, a million times as many."""


class BudgetRequest(Struct, frozen=True, kw_only=True):
    """A validated wish for a budget."""

    kind: BudgetKind
    subject: str
    period: BudgetPeriod
    unit: BudgetUnit
    amount: int
    at_limit: AtLimit


class Applied(NamedTuple):
    """A budget, and whose spending counts for it."""

    budget: Budget
    subject: str


class BudgetStatus(Struct, frozen=True, kw_only=True):
    """A budget, and what one subject has spent of it in this period. Times are epoch seconds."""

    budget: Budget
    subject: str
    since: float
    ends: float
    spent: int
    held: int


def clean_budget(
    amount: Json, unit: object, period: object, at_limit: object, user: object, key: object
) -> BudgetRequest:
    """A budget as it was asked for; of the project if neither user nor key is named.

    Raises ValidationError.
    """
    if user is not None and key is not None:
        raise ValidationError(
            "A budget is for a user or a key.", hint="Set two budgets: both count then."
        )
    kind: BudgetKind = "user" if user is not None else "key" if key is not None else "project"
    named = key if user is None else user
    return BudgetRequest(
        kind=kind,
        subject="" if named is None else intake.clean_text(named, kind, 512),
        period=_one_of("period", period, BudgetPeriod),
        unit=_one_of("unit", unit, BudgetUnit),
        amount=_amount(amount, unit),
        at_limit=_one_of("at_limit", at_limit, AtLimit),
    )


def _one_of(name: str, value: object, names: Json) -> Json:
    if value not in get_args(names):
        raise ValidationError(f"{name} is unknown.", hint=f"Use {', '.join(get_args(names))}.")
    return value


def _amount(amount: Json, unit: object) -> int:
    most = AMOUNT_MAX if unit == "usd" else AMOUNT_MAX * 1_000_000
    right = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not right or not 0 <= amount <= most:
        raise ValidationError(
            f"amount must be a number from 0 to {most:,}.", hint="US dollars, or tokens."
        )
    if unit == "usd":
        return int(round(amount * NANO))  # noqa: RUF046  (of anything)
    if amount != int(amount):
        raise ValidationError("Tokens are whole numbers.", hint="Or use the unit usd.")
    return int(amount)


def applying(budgets: Sequence[Budget], user: str | None, key: str | None) -> Sequence[Applied]:
    """The budgets that count a call: one for a certain user or key goes before one for each."""
    found: dict[tuple[str, str, str], Applied] = {}
    callers: Mapping[str, str | None] = {"project": "", "user": user, "key": key}
    for budget in sorted(budgets, key=lambda one: one.subject != EACH):
        subject = callers[budget.kind]
        if subject is not None and budget.subject in (subject, EACH):
            place = (budget.kind, budget.period, budget.unit)
            found[place] = Applied(budget, subject)
    return tuple(found.values())


def holds_for(
    applied: Sequence[Applied], worst: Usage, cost: Cost | None, now: float
) -> Sequence[Hold]:
    """The room a call needs in each budget, at most.

    A budget that only warns does not need to know a price. Raises BudgetExceededError if one that
    refuses has no price to go by.
    """
    holds = []
    for budget, subject in applied:
        if budget.unit == "usd" and cost is None:
            if budget.at_limit == "warn":
                continue
            raise BudgetExceededError(
                f"No price is known of {worst.model}, and a budget in US dollars applies.",
                hint="Set `prices` in the configuration, or a budget in tokens.",
                at_limit=budget.at_limit,
            )
        since, _ = span(budget.period, now)
        holds.append(
            Hold(
                budget=budget.id,
                subject=subject,
                since=since,
                amount=taken(budget.unit, worst, cost),
                limit=None if budget.at_limit == "warn" else budget.amount,
            )
        )
    return tuple(holds)


def taken(unit: BudgetUnit, usage: Usage, cost: Cost | None) -> int:
    """What a call takes of a budget in this unit."""
    if unit == "tokens":
        return usage.input_tokens + usage.output_tokens
    return 0 if cost is None else cost.nano_usd


def is_over(hold: Hold, before: int, limit: int) -> bool:
    """Whether a budget has no room."""
    return before + hold.amount > limit


def refusal(full: Sequence[Applied], now: float) -> BudgetExceededError:
    """The error for a call that budgets have no room for: the strictest of them decides."""
    blocking = [one for one in full if one.budget.at_limit == "block"]
    budget, _ = (blocking or full)[0]
    whose = {"project": "The project", "user": "The user", "key": "The key"}[budget.kind]
    _, ends = span(budget.period, now)
    return BudgetExceededError(
        f"{whose} has no room for this call in the budget of this {budget.period}.",
        hint=f"A new {budget.period} begins at {iso(ends)}; nothing was asked of a model.",
        retry_after_s=max(1.0, max(span(one.budget.period, now)[1] for one in full) - now),
        at_limit=budget.at_limit,
    )


def budget_shape(budget: Budget) -> dict[str, Json]:
    """A budget as JSON: its amount in its unit."""
    amount = usd_of(budget.amount) if budget.unit == "usd" else budget.amount
    return {
        "id": budget.id,
        "kind": budget.kind,
        "subject": budget.subject or None,
        "period": budget.period,
        "unit": budget.unit,
        "amount": amount,
        "at_limit": budget.at_limit,
        "updated_at": iso(budget.updated_at),
    }


def status_shape(status: BudgetStatus) -> dict[str, Json]:
    """A budget and how much of it is used, as JSON."""
    budget = status.budget
    spent, held = (
        usd_of(each) if budget.unit == "usd" else each for each in (status.spent, status.held)
    )
    used = status.spent + status.held
    return {
        **budget_shape(budget),
        "subject": status.subject or None,
        "since": iso(status.since),
        "ends": iso(status.ends),
        "spent": spent,
        "held": held,
        "used_ratio": round(used / budget.amount, 4) if budget.amount else float(used > 0),
    }
