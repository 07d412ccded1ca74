"""What a client has beside its memories: the faces of `AsyncAdmin` that a server has routes for.

Each answers with the server's JSON. The project is that of the credential; what is of the whole
deployment asks for the admin key. Every method raises what its namesake raises, AccessError for a
credential that may not, ServerUnavailableError and ServerTimeoutError.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from holdfast.errors import ValidationError
from holdfast.model import Answer, Json, When
from holdfast.remote.encoding import encoded, text_of

if TYPE_CHECKING:
    from holdfast.remote.connection import Connection

_WHERE = ("user", "agent", "app", "run", "key", "model", "operation")


class Face:
    """A part of a client that asks routes of its own."""

    def __init__(self, connection: Connection) -> None:
        """`connection`: the client whose part it is."""
        self._connection = connection

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        from holdfast.remote.connection import Request

        request = Request(
            method=method,
            path=path,
            query=_given({} if query is None else query),
            body=b"" if body is None else encoded(_set(body)),
            repeatable=method == "GET" if repeatable is None else repeatable,
        )
        return await self._connection._asked(request)


class AsyncUsage(Face):
    """The ledger of a project."""

    async def estimate(
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
        said = [dict(messages)] if isinstance(messages, Mapping) else messages
        body = {
            "messages": said, "user_id": user_id, "agent_id": agent_id, "app_id": app_id,
            "run_id": run_id, "infer": infer, "prompt": prompt,
        }  # fmt: skip
        answer: Answer = await self._ask(
            "POST", "/holdfast/usage/estimate", body=body, repeatable=True
        )
        return answer

    async def report(
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
        chosen = dict(where or {})
        for name in chosen:
            if name not in _WHERE:
                raise ValidationError(
                    f"Usage cannot be chosen by {str(name)[:64]!r}.",
                    hint=f"Use {', '.join(_WHERE)}.",
                )
        query = {
            "by": [by] if isinstance(by, str) else list(by), "since": since, "before": before,
            "limit": limit, "all_projects": all_projects, **chosen,
        }  # fmt: skip
        answer: Answer = await self._ask("GET", "/holdfast/usage", query=query)
        return answer


class AsyncBudgets(Face):
    """The budgets of a project."""

    async def put(
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
        body = {
            "amount": amount, "unit": unit, "period": period, "at_limit": at_limit, "user": user,
            "key": key,
        }  # fmt: skip
        answer: Answer = await self._ask("PUT", "/holdfast/budgets", body=body, repeatable=True)
        return answer

    async def listed(self) -> list[Answer]:
        """The budgets of the project, and what is spent of them in this period."""
        answer: list[Answer] = (await self._ask("GET", "/holdfast/budgets"))["results"]
        return answer

    async def remove(self, budget_id: str) -> None:
        """Remove a budget, and what was counted for it. Raises NotFoundError."""
        await self._ask("DELETE", f"/holdfast/budgets/{_place(budget_id)}")


class AsyncErasure(Face):
    """Erasure and export of subjects: exactly one user, agent, app or run each."""

    async def inventory(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
    ) -> dict[str, int]:
        """How many rows of each copy are the subject's; nothing is changed."""
        body = _subject(user_id, agent_id, app_id, run_id)
        answer = await self._ask("POST", "/holdfast/subjects/inventory", body=body, repeatable=True)
        found: dict[str, int] = answer["found"]
        return found

    async def forget(
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
        body = _subject(user_id, agent_id, app_id, run_id)
        answer: Answer = await self._ask("POST", "/holdfast/erasures", body=body)
        return answer

    async def export(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        form: str = "json",
    ) -> AsyncGenerator[str, None]:
        """Everything that is known of a subject, as a document, piece by piece.

        `form`: "json", or "html": one page to read, without scripts.
        """
        from holdfast.remote.connection import Request

        body = {**_subject(user_id, agent_id, app_id, run_id), "form": form}
        request = Request(
            method="POST",
            path="/holdfast/subjects/export",
            body=encoded(_set(body)),
            repeatable=False,
        )
        async for piece in self._connection._pieces(request):
            yield piece

    async def status(self, erasure_id: str) -> Answer:
        """An erasure as it stands. Raises NotFoundError."""
        answer: Answer = await self._ask("GET", f"/holdfast/erasures/{_place(erasure_id)}")
        return answer

    async def listed(self, *, page: int = 1, page_size: int = 100) -> list[Answer]:
        """The erasures of the project, the newest first; whom they were of is not told."""
        query = {"page": page, "page_size": page_size}
        answer: list[Answer] = (await self._ask("GET", "/holdfast/erasures", query=query))[
            "results"
        ]
        return answer


class AsyncRetention(Face):
    """The rules of retention of a project."""

    async def rules(self) -> dict[str, float]:
        """The rules in force: days by name. Of the project's own and those of the server's
        configuration, the shorter."""
        answer: dict[str, float] = (await self._ask("GET", "/holdfast/retention"))["rules"]
        return answer

    async def set(self, rules: Mapping[str, float | None]) -> dict[str, float]:
        """Set some rules, in days; None takes one away. All that hold from then on."""
        answer = await self._ask(
            "PUT", "/holdfast/retention", body={"rules": rules}, repeatable=True
        )
        kept: dict[str, float] = answer["rules"]
        return kept

    async def due(self) -> dict[str, int]:
        """How many rows are older than the rules allow, by rule; nothing is changed."""
        body = {"dry_run": True}
        answer = await self._ask("POST", "/holdfast/retention/run", body=body, repeatable=True)
        rows: dict[str, int] = answer["rows"]
        return rows

    async def run(self) -> dict[str, int]:
        """Remove what is older than the rules allow; how many rows, by rule."""
        answer = await self._ask("POST", "/holdfast/retention/run", body={"dry_run": False})
        rows: dict[str, int] = answer["rows"]
        return rows


class AsyncQuarantine(Face):
    """What is held of untrusted sources, until it is let in or thrown away."""

    async def listed(
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
        query = {
            **_subject(user_id, agent_id, app_id, run_id), "page": page, "page_size": page_size,
        }  # fmt: skip
        answer: Answer = await self._ask("GET", "/holdfast/quarantine", query=query)
        return answer

    async def find(self, held_id: str) -> Answer:
        """What is held under this id. Raises NotFoundError."""
        answer: Answer = await self._ask("GET", f"/holdfast/quarantine/{_place(held_id)}")
        return answer

    async def approve(
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
        body = {
            **_subject(user_id, agent_id, app_id, run_id), "held_ids": held_ids, "wait": wait,
            "messages": messages,
        }  # fmt: skip
        answer: Answer = await self._ask(
            "POST", "/holdfast/quarantine/approve", body=body, repeatable=True
        )
        return answer

    async def reject(
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
        body = {
            **_subject(user_id, agent_id, app_id, run_id), "held_ids": held_ids,
            "messages": messages,
        }  # fmt: skip
        answer: Answer = await self._ask("POST", "/holdfast/quarantine/reject", body=body)
        return answer


def _subject(
    user_id: str | None, agent_id: str | None, app_id: str | None, run_id: str | None
) -> dict[str, Any]:
    return {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a query as text; those that are not set are left out."""
    return {
        name: [text_of(name, one) for one in value]
        if isinstance(value, list)
        else text_of(name, value)
        for name, value in _set(values).items()
    }


def _place(id_: object) -> str:
    """An id as a part of a path. Raises ValidationError."""
    if not isinstance(id_, str) or not id_.strip() or id_ in (".", ".."):
        raise ValidationError("An id must be text.", hint="Lists tell ids.")
    return quote(id_, safe="")
