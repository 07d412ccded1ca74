"""What `Client` has beside its memories, method for method as `AsyncClient`.

Generated from faces.py by tools/generate_remote.py. Do not edit; run `make generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdfast.loop import LoopThread
from holdfast.model import Answer, Json, When
from holdfast.remote import faces


class Usage:
    """The ledger of a project."""

    def __init__(self, of: faces.AsyncUsage, loop: LoopThread) -> None:
        """`of`: the asynchronous face, on this loop."""
        self._async = of
        self._loop = loop

    def estimate(
        self,
        messages: str | Mapping[str, Json] | list[Any],
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        infer: bool = True,
        prompt: str | None = None,
    ) -> Answer:
        """What an add of these messages would cost; nothing is stored, and no model is asked."""
        work = self._async.estimate(
            messages,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            infer=infer,
            prompt=prompt,
        )
        return self._loop.run(work)

    def report(
        self,
        *,
        by: Sequence[str] = (),
        since: When = None,
        before: When = None,
        where: Mapping[str, str] | None = None,
        limit: int = 100,
        all_projects: bool = False,
    ) -> Answer:
        """What calls took, and what caches saved, in all and by what they have in common.

        Args:
            by: some of project, month, day (of UTC), operation, model, user, agent, app, run, key.
            since, before: of calls from then on, and before then; default the last 30 days.
            where: only calls with these values, as {"user": "ann"}.
            limit: so many groups at most, 1 to 10,000; those by time alone are in its order.
            all_projects: of every project of the deployment; needs the admin key.
        """
        work = self._async.report(
            by=by, since=since, before=before, where=where, limit=limit, all_projects=all_projects
        )
        return self._loop.run(work)


class Budgets:
    """The budgets of a project."""

    def __init__(self, of: faces.AsyncBudgets, loop: LoopThread) -> None:
        """`of`: the asynchronous face, on this loop."""
        self._async = of
        self._loop = loop

    def put(
        self,
        amount: float,
        *,
        unit: str = "usd",
        period: str = "month",
        at_limit: str = "block",
        user: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """Bound what calls of models take, from now on, in place of a budget of the same subject,
        period and unit.

        Args:
            amount: US dollars, or tokens of input and output together.
            unit: usd or tokens.
            period: day or month, of UTC.
            at_limit: warn makes the call all the same; degrade does without it where that is
                possible; block refuses what needs it (BudgetExceededError).
            user, key: whose calls; "*" is each of them by itself. Of the whole project if neither
                is given.
        """
        work = self._async.put(
            amount, unit=unit, period=period, at_limit=at_limit, user=user, key=key
        )
        return self._loop.run(work)

    def listed(self) -> list[Answer]:
        """The budgets of the project, and what is spent of them in this period."""
        work = self._async.listed()
        return self._loop.run(work)

    def remove(self, budget_id: str) -> None:
        """Remove a budget, and what was counted for it. Raises NotFoundError."""
        work = self._async.remove(budget_id)
        return self._loop.run(work)


class Erasure:
    """Erasure and export of subjects: exactly one user, agent, app or run each."""

    def __init__(self, of: faces.AsyncErasure, loop: LoopThread) -> None:
        """`of`: the asynchronous face, on this loop."""
        self._async = of
        self._loop = loop

    def inventory(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, int]:
        """How many rows of each copy are the subject's; nothing is changed."""
        work = self._async.inventory(
            user_id=user_id, agent_id=agent_id, app_id=app_id, run_id=run_id
        )
        return self._loop.run(work)

    def forget(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
    ) -> Answer:
        """Erase everything that is known of a subject; the erasure at its end, with the receipt.

        Where no answer comes in time (ServerTimeoutError) it goes on all the same: see `listed`.
        """
        work = self._async.forget(user_id=user_id, agent_id=agent_id, app_id=app_id, run_id=run_id)
        return self._loop.run(work)

    def export(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        form: str = "json",
    ) -> Iterator[str]:
        """Everything that is known of a subject, as a document, piece by piece.

        `form`: "json", or "html": one page to read, without scripts.
        """
        yield from self._loop.each(
            self._async.export(
                user_id=user_id, agent_id=agent_id, app_id=app_id, run_id=run_id, form=form
            )
        )

    def status(self, erasure_id: str) -> Answer:
        """An erasure as it stands. Raises NotFoundError."""
        work = self._async.status(erasure_id)
        return self._loop.run(work)

    def listed(self, *, page: int = 1, page_size: int = 100) -> list[Answer]:
        """The erasures of the project, the newest first; whom they were of is not told."""
        work = self._async.listed(page=page, page_size=page_size)
        return self._loop.run(work)


class Retention:
    """The rules of retention of a project."""

    def __init__(self, of: faces.AsyncRetention, loop: LoopThread) -> None:
        """`of`: the asynchronous face, on this loop."""
        self._async = of
        self._loop = loop

    def rules(self) -> dict[str, float]:
        """The rules in force: days by name. Of the project's own and those of the server's
        configuration, the shorter."""
        work = self._async.rules()
        return self._loop.run(work)

    def set(self, rules: Mapping[str, float | None]) -> dict[str, float]:
        """Set some rules, in days; None takes one away. All that hold from then on."""
        work = self._async.set(rules)
        return self._loop.run(work)

    def due(self) -> dict[str, int]:
        """How many rows are older than the rules allow, by rule; nothing is changed."""
        work = self._async.due()
        return self._loop.run(work)

    def run(self) -> dict[str, int]:
        """Remove what is older than the rules allow; how many rows, by rule."""
        work = self._async.run()
        return self._loop.run(work)


class Quarantine:
    """What is held of untrusted sources, until it is let in or thrown away."""

    def __init__(self, of: faces.AsyncQuarantine, loop: LoopThread) -> None:
        """`of`: the asynchronous face, on this loop."""
        self._async = of
        self._loop = loop

    def listed(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> Answer:
        """What is held, of all the entities named together or of everybody, the newest first.

        Returns `{"results", "total"}`. `page_size`: 1 to 100.
        """
        work = self._async.listed(
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            page=page,
            page_size=page_size,
        )
        return self._loop.run(work)

    def find(self, held_id: str) -> Answer:
        """What is held under this id. Raises NotFoundError."""
        work = self._async.find(held_id)
        return self._loop.run(work)

    def approve(
        self,
        held_ids: Sequence[str] = (),
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        messages: Sequence[int] = (),
        wait: bool = True,
    ) -> Answer:
        """Let in what is held, under these ids or all of the entities named together, up to 1,000.

        `messages`: only these of one id, by their numbers from 1; `rest` is the id of the others.
        `wait`: until models have made memories of it. Called again, it adds nothing twice. Returns
        `{"count", "left", "results"}`. Raises ValidationError, NotFoundError, BudgetExceededError.
        """
        work = self._async.approve(
            held_ids,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            messages=messages,
            wait=wait,
        )
        return self._loop.run(work)

    def reject(
        self,
        held_ids: Sequence[str] = (),
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        messages: Sequence[int] = (),
    ) -> Answer:
        """Throw away what is held, for good; chosen as in `approve`.

        Returns `{"count", "left"}`, and `rest` as `approve` does. Raises ValidationError,
        NotFoundError.
        """
        work = self._async.reject(
            held_ids,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            messages=messages,
        )
        return self._loop.run(work)
