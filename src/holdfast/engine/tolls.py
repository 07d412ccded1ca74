"""Budgets before calls: room for the most a call can take is held, and what it took is settled.

What is held for a call whose end is not known (its process died, it was given up, it gave no answer
in time) stays held for the period: the provider may bill it, and no more than that.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final, Protocol

from holdfast.clock import Clock
from holdfast.core.budgets import Applied, applying, holds_for, is_over, refusal, taken
from holdfast.core.periods import span
from holdfast.core.pricing import worst_cost
from holdfast.directory import Budget, Spending, Where
from holdfast.errors import BadAnswerError, BudgetExceededError, ModelError
from holdfast.limits import ANSWER_TOKENS_MAX
from holdfast.metrics import Metrics
from holdfast.model import Project, Scope, Usage
from holdfast.ports import Directory, Hold, HoldBudget, Prices, Records, SettleBudget, Spent

_RATIOS_MAX: Final = 1_000
_log = logging.getLogger("holdfast.budgets")


class Paying(Protocol):
    """Who pays for a call."""

    @property
    def project(self) -> Project: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def key_id(self) -> str | None: ...


_payer: ContextVar[Paying | None] = ContextVar("holdfast_payer", default=None)
_warned: ContextVar[list[str] | None] = ContextVar("holdfast_budget_warnings", default=None)


@contextmanager
def paid_by(payer: Paying) -> Iterator[None]:
    """Calls of models made inside are paid by this one."""
    token = _payer.set(payer)
    try:
        yield
    finally:
        _payer.reset(token)


@contextmanager
def warnings_heard(heard: list[str]) -> Iterator[None]:
    """Periods of budgets that were exceeded inside, and only warn, are put into the list."""
    token = _warned.set(heard)
    try:
        yield
    finally:
        _warned.reset(token)


class Budgets:
    """The budgets of projects, remembered until the directory changes."""

    def __init__(self) -> None:
        self._known: dict[str, Sequence[Budget]] = {}
        self._stamp = -1

    async def of(self, directory: Directory, project: str) -> Sequence[Budget]:
        """Those of a project."""
        stamp = await directory.stamp()
        if stamp != self._stamp:
            self._known, self._stamp = {}, stamp
        if project not in self._known:
            found = await directory.select(Budget, Where("project", project))
            if self._stamp != stamp:  # something changed while this was looked up
                return found
            self._known[project] = found
        return self._known[project]


class Tollgate:
    """`ports.Toll` on the budgets of the payer in force (`paid_by`)."""

    def __init__(
        self, records: Records, directory: Directory, prices: Prices, clock: Clock, metrics: Metrics
    ) -> None:
        self._records = records
        self._directory = directory
        self._prices = prices
        self._clock = clock
        self._metrics = metrics
        self._budgets = Budgets()
        self._answer_tokens: dict[str, int] = {}
        self._ratios: dict[tuple[str, str], tuple[float, float]] = {}
        metrics.gauge("budget_used_ratio", self._highest)

    def serves(self, model: str, answer_tokens: int) -> None:
        """See `ports.Toll`."""
        self._answer_tokens[model] = answer_tokens

    def answer_tokens(self, model: str) -> int:
        """The most tokens an answer of a model has."""
        return self._answer_tokens.get(model, ANSWER_TOKENS_MAX)

    @asynccontextmanager
    async def paying(self, worst: Callable[[], Usage]) -> AsyncIterator[Spent]:
        """See `ports.Toll`."""
        payer = _payer.get()
        assert payer is not None, "a call of a model that nobody pays"
        applied = await self.applied(payer)
        took: list[Usage] = []
        if not applied:
            yield took.append
            return
        most, now = worst(), self._clock.now()
        holds = await self._hold(payer, applied, most, now)
        settle = partial(self._settle, payer, applied, holds, took, (most, now))
        try:
            yield took.append
        except BadAnswerError as error:
            if error.usage is not None and not took:
                took.append(error.usage)
            await settle()
            raise
        except ModelError as error:
            if error.reason != "timeout":  # else it may have been answered, and be billed
                await settle()
            raise
        await settle()

    async def applied(self, payer: Paying) -> Sequence[Applied]:
        """The budgets that count a call."""
        budgets = await self._budgets.of(self._directory, payer.project)
        return applying(budgets, payer.scope.user_id, payer.key_id) if budgets else ()

    async def blocks(self, payer: Paying) -> bool:
        """Whether a budget that blocks counts a call."""
        return any(one.budget.at_limit == "block" for one in await self.applied(payer))

    async def check(
        self, payer: Paying, worst: Sequence[Usage], *, degrading: bool = False
    ) -> None:
        """Refuse at once what a budget that blocks has no room for; none is held.

        `degrading`: or one that degrades. Raises BudgetExceededError.
        """
        strict = ("block", "degrade") if degrading else ("block",)
        applied = [one for one in await self.applied(payer) if one.budget.at_limit in strict]
        now, full = self._clock.now(), []
        for one in applied:
            needed = sum(self._needed([one], usage, now)[0].amount for usage in worst)
            spent = await self.spent(one, now)
            if spent + needed > one.budget.amount:
                full.append(one)
        if full:
            if not degrading:
                self._count(full)
            raise refusal(full, now)

    async def spent(self, one: Applied, now: float) -> int:
        """What is spent and held of a budget."""
        since, _ = span(one.budget.period, now)
        found = await self._directory.select(
            Spending,
            Where("project", one.budget.project),
            Where("budget", one.budget.id),
            Where("subject", one.subject),
            Where("since", since),
        )
        return sum(each.spent + each.held for each in found)

    async def _hold(
        self, payer: Paying, applied: Sequence[Applied], most: Usage, now: float
    ) -> Sequence[Hold]:
        holds = self._needed(applied, most, now)
        if not holds:
            return ()
        op = HoldBudget(holds=tuple(holds))
        [before] = await self._records.commit(payer.project, [op])
        by_id = {one.budget.id: one for one in applied}
        over = []
        for hold, was in zip(holds, before, strict=True):
            one = by_id[hold.budget]
            self._note(one, was + hold.amount, now)
            if is_over(hold, was, one.budget.amount):
                over.append(one)
        full = [one for one in over if one.budget.at_limit != "warn"]
        self._count(full or over)
        if full:
            raise refusal(full, now)
        self._warn(over)
        return holds

    def _needed(self, applied: Sequence[Applied], most: Usage, now: float) -> Sequence[Hold]:
        try:
            return holds_for(applied, most, worst_cost(self._prices, most, now), now)
        except BudgetExceededError:
            self._metrics.count("budget_event", "unpriced")
            raise

    async def _settle(
        self,
        payer: Paying,
        applied: Sequence[Applied],
        holds: Sequence[Hold],
        took: Sequence[Usage],
        held: tuple[Usage, float],
    ) -> None:
        """Count what a call took, at the prices of when it was begun: all that was held, if the
        provider did not tell."""
        if not holds:
            return
        most, now = held
        told = [most if _untold(usage) else usage for usage in took]
        costs = [self._prices.cost(usage, now) for usage in told]
        units = {one.budget.id: one.budget.unit for one in applied}
        spent = tuple(
            sum(taken(units[hold.budget], *pair) for pair in zip(told, costs, strict=True))
            for hold in holds
        )
        op = SettleBudget(holds=tuple(holds), spent=spent)
        await self._records.commit(payer.project, [op])
        for hold, amount in zip(holds, spent, strict=True):
            if amount > hold.amount:
                self._metrics.count("budget_event", "beyond_worst_case")
                _log.error("a call took more than it could: %d instead of %d", amount, hold.amount)

    def _count(self, full: Sequence[Applied]) -> None:
        for one in full:
            event = {"warn": "warned", "degrade": "degraded", "block": "blocked"}
            self._metrics.count("budget_event", event[one.budget.at_limit])

    def _warn(self, over: Sequence[Applied]) -> None:
        heard = _warned.get()
        for budget, _ in over:
            _log.warning("budget %s of a %s is exceeded", budget.id, budget.kind)
            if heard is not None and budget.period not in heard:
                heard.append(budget.period)

    def _note(self, one: Applied, used: int, now: float) -> None:
        _, ends = span(one.budget.period, now)
        if len(self._ratios) >= _RATIOS_MAX:
            self._ratios.clear()
        self._ratios[one.budget.id, one.subject] = ends, used / max(1, one.budget.amount)

    def _highest(self) -> float:
        now = self._clock.now()
        return max((ratio for ends, ratio in self._ratios.values() if ends > now), default=0.0)


def _untold(usage: Usage) -> bool:
    """Whether a provider did not tell what a call took."""
    return usage.input_tokens <= 0 and usage.output_tokens <= 0
