"""The public face of the ledger: what calls of models took and cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from holdfast.core import intake, verbs
from holdfast.core.usage import UsageReport, clean_groups, clean_where
from holdfast.engine import estimating
from holdfast.engine import usage as engine
from holdfast.engine.auditing import audited
from holdfast.engine.estimating import Estimate, Wanted
from holdfast.engine.parts import Parts
from holdfast.engine.usage import ReportRequest
from holdfast.errors import ValidationError
from holdfast.model import Json, When


@audited(verbs.USAGE, "usage.")
class UsageLedger:
    """The ledger of a deployment's projects; `AsyncAdmin.usage` gives it.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, parts: Callable[[str | None], Awaitable[Parts]]) -> None:
        """`parts`: gives those of a project, opened."""
        self._parts = parts

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
        project: str | None = None,
    ) -> Estimate:
        """What an add of these messages would cost; nothing is stored, and no model is asked.

        Arguments are those of `AsyncMemory.add`. Raises ValidationError, TooLargeError.
        """
        wanted = Wanted(
            scope=intake.clean_scope(user_id, agent_id, app_id, run_id),
            said=intake.clean_messages(messages),
            infer=intake.clean_flag(infer, "infer"),
            instructions=None if prompt is None else intake.clean_text(prompt, "prompt"),
        )
        return await estimating.estimate(await self._parts(project), wanted)

    async def report(
        self,
        *,
        by: Sequence[str] = (),
        since: When = None,
        before: When = None,
        where: Mapping[str, str] | None = None,
        limit: int = 100,
        project: str | None = None,
        all_projects: bool = False,
    ) -> UsageReport:
        """What calls took, in all and by what they have in common, the dearest first.

        Args:
            by: some of project, month, day (of UTC), operation, model, user, agent, app, run, key.
            since, before: of calls from then on, and before then; default the last 30 days.
            where: only calls with these values, as {"user": "ann"}.
            limit: so many groups at most, 1 to 10,000; those by time alone are in its order.
            all_projects: of every project of the deployment.

        Raises:
            ValidationError, StoreError.
        """
        parts = await self._parts(project)
        now = parts.clock.now()
        ends = intake.moment(before, "before")
        begins = intake.moment(since, "since")
        ends = now + 1.0 if ends is None else ends
        request = ReportRequest(
            by=clean_groups(by),
            since=ends - engine.USUAL_S if begins is None else begins,
            before=ends,
            where=clean_where(where or {}),
            limit=intake.clean_count(limit, "limit", engine.GROUPS_MAX),
            all_projects=intake.clean_flag(all_projects, "all_projects"),
        )
        if request.since >= request.before:
            raise ValidationError("since must be earlier than before.", hint="Swap them.")
        return await engine.report(parts, request)
