"""The public face of budgets: how much model calls may take in a day or month."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.core import verbs
from holdfast.core.budgets import BudgetStatus, clean_budget
from holdfast.directory import Budget
from holdfast.engine import budgets as engine
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts


@audited(verbs.BUDGETS, "budgets.")
class Budgets:
    """The budgets of a deployment's projects; `AsyncAdmin.budgets` gives it.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, parts: Callable[[str | None], Awaitable[Parts]]) -> None:
        """`parts`: gives those of a project, opened."""
        self._parts = parts

    async def put(
        self,
        amount: float,
        *,
        unit: str = "usd",
        period: str = "month",
        at_limit: str = "block",
        user: str | None = None,
        key: str | None = None,
        project: str | None = None,
    ) -> Budget:
        """Bound what calls of models take, from now on in every process.

        Args:
            amount: US dollars, or tokens of input and output together.
            unit: usd or tokens.
            period: day or month, of UTC.
            at_limit: warn makes the call all the same; degrade does without it where that is
                possible; block refuses what needs it (BudgetExceededError).
            user, key: whose calls; "*" is each of them by itself. Of the whole project if neither
                is given. One for a certain user goes before the one for each.

        The budget of the same subject, period and unit is replaced. What is spent of it stays
        spent; what was spent before there was one does not count. Raises ValidationError,
        ConflictError.
        """
        request = clean_budget(amount, unit, period, at_limit, user, key)
        return await engine.put(await self._parts(project), request)

    async def listed(self, *, project: str | None = None) -> Sequence[BudgetStatus]:
        """The budgets of a project, and what is spent of them in this period."""
        return await engine.listed(await self._parts(project))

    async def remove(self, budget_id: str, *, project: str | None = None) -> None:
        """Remove a budget, and what was counted for it. Raises NotFoundError."""
        await engine.remove(await self._parts(project), budget_id)
