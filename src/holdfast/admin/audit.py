"""The public face of the audit: its rows, their verification, what is kept of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from holdfast import limits
from holdfast.acts import Act, Actor
from holdfast.config import Config
from holdfast.core import intake, verbs
from holdfast.core.audit_shapes import AuditQuery
from holdfast.engine import trail as engine
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.engine.trail import AuditPage
from holdfast.errors import HoldfastError, ValidationError
from holdfast.model import OnProgress, Project, When, unheard
from holdfast.trail import OUTCOMES, SORTS, Anchor, AuditRow, Outcome, Verdict

_DAY_S: Final = 86_400.0
_PRUNE_EVERY_S: Final = 3_600.0

_log = logging.getLogger("holdfast.audit")


@audited(verbs.AUDIT, "audit.")
class Audit:
    """The audit of a deployment; `AsyncAdmin.audit` gives it.

    A chain of rows for each project. Rows hold no content: no text, no question, no metadata.
    """

    def __init__(self, parts: Callable[[str | None], Awaitable[Parts]], config: Config) -> None:
        """`parts`: gives those of a project, opened."""
        self._parts = parts
        self._config = config

    async def listed(
        self,
        *,
        principal: str | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        action: str | None = None,
        sort: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        request_id: str | None = None,
        since: When = None,
        before: When = None,
        size: int = 100,
        cursor: int | None = None,
        newest_first: bool = True,
        project: str | None = None,
    ) -> AuditPage:
        """Rows of a project that fulfil all conditions, the newest first.

        Args:
            user_id, agent_id, app_id, run_id: about memories of these, or of anybody.
            action: a verb, by the name of its method: "search", "create_key".
            sort: "read", "write" or "admin".
            outcome: "ok", "begun", "denied" or "failed".
            since, before: from then on, and up to but not at then.
            cursor: from the answer before.
            project: None means that of the configuration.

        Raises ValidationError, StoreError.
        """
        query = _query(
            principal=principal,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            action=action,
            sort=sort,
            outcome=outcome,
            target=target,
            request_id=request_id,
            since=since,
            before=before,
        )
        return await engine.listed(
            await self._parts(project),
            query,
            size=intake.clean_count(size, "size", limits.PAGE_SIZE_MAX),
            cursor=None if cursor is None else intake.clean_count(cursor, "cursor", 2**62),
            newest_first=intake.clean_flag(newest_first, "newest_first"),
        )

    async def export(
        self,
        *,
        principal: str | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        action: str | None = None,
        sort: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        request_id: str | None = None,
        since: When = None,
        before: When = None,
        project: str | None = None,
    ) -> AsyncIterator[Sequence[AuditRow]]:
        """All rows of a project that fulfil the conditions of `listed`, the oldest first, some at
        a time; those that there were when it was called."""
        query = _query(
            principal=principal,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            action=action,
            sort=sort,
            outcome=outcome,
            target=target,
            request_id=request_id,
            since=since,
            before=before,
        )
        return await engine.exported(await self._parts(project), query)

    async def heads(self, *, project: str | None = None) -> Sequence[Anchor]:
        """The last row of the chain of a project, or for None of every project.

        Kept elsewhere, they show later that nothing up to them was rewritten or cut off: the one
        thing that whoever has the key and the database could do unseen.
        """
        return await engine.heads(await self._parts(project), _named(project))

    async def verify(
        self,
        *,
        project: str | None = None,
        anchors: Sequence[Anchor] = (),
        told: OnProgress | None = None,
    ) -> Sequence[Verdict]:
        """Whether any row of a project, or for None of every project, was changed, removed, swapped
        or inserted; what is wrong first of each.

        `anchors`: heads that were kept elsewhere. `told`: how many rows are done, and of how many.
        """
        parts = await self._parts(project)
        return await engine.verify(parts, _named(project), anchors, told or unheard)

    async def prune(
        self, *, before: When = None, project: str | None = None, told: OnProgress | None = None
    ) -> int:
        """Delete the rows of before a time, of a project or for None of every project; how many.

        Without a time, those that are older than `audit_days`; none if that is 0. The chain begins
        behind them from then on, and verifies as before. Raises ValidationError, CorruptError for
        a chain that was meddled with.
        """
        moment = intake.moment(before, "before")
        parts = await self._parts(project)
        if moment is None:
            if not self._config.audit_days:
                return 0
            moment = parts.clock.now() - self._config.audit_days * _DAY_S
        return await engine.prune(parts, _named(project), moment, told or unheard)

    async def serve(self) -> None:
        """Prune by rule from time to time, until cancelled."""
        while self._config.audit_days:
            try:
                await self.prune()
            except HoldfastError as error:
                _log.error("the audit is not pruned: %s", error.code)
            await asyncio.sleep(_PRUNE_EVERY_S)

    async def asked(
        self,
        operation: str,
        actor: Actor,
        outcome: Outcome,
        *,
        code: str | None = None,
        project: str | None = None,
    ) -> None:
        """Take down a request that came to no method: it was denied, or needed none."""
        parts = await self._parts(project)
        act = Act(operation, "read", actor)
        if parts.audit is not None and parts.audit.wants("read", outcome):
            await parts.audit.note(act, parts.project, outcome, code)


def _query(*, since: When, before: When, **texts: str | None) -> AuditQuery:
    """Raises ValidationError."""
    for name, known in (("sort", SORTS), ("outcome", OUTCOMES)):
        if texts[name] is not None and texts[name] not in known:
            raise ValidationError(f"{name} is unknown.", hint=f"Use {', '.join(known)}.")
    clean = {
        name: None if text is None else intake.clean_text(text, name, limits.ID_CHARS_MAX)
        for name, text in texts.items()
    }
    return AuditQuery(
        since=intake.moment(since, "since"), before=intake.moment(before, "before"), **clean
    )


def _named(project: str | None) -> Project | None:
    return None if project is None else Project(project)
