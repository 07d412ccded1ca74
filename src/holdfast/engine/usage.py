"""Reports on the ledger."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from holdfast.core.usage import (
    ReportGroup,
    UsageReport,
    arranged,
    asked_of_store,
    instructions_of,
)
from holdfast.engine.parts import Parts
from holdfast.model import Struct
from holdfast.ports import UsageGroup, UsageQuery

USUAL_S: Final = 30 * 86_400.0
"""How far back a report looks unless it is told."""
GROUPS_MAX: Final = 10_000
"""Most groups that a report tells."""


class ReportRequest(Struct, frozen=True, kw_only=True):
    """A validated wish for a report."""

    by: tuple[ReportGroup, ...]
    since: float
    before: float
    where: tuple[tuple[UsageGroup, str], ...]
    limit: int
    all_projects: bool


async def report(parts: Parts, request: ReportRequest) -> UsageReport:
    """Sums over the ledger of this project, or of all. Raises StoreError."""
    project = None if request.all_projects else parts.project
    query = UsageQuery(since=request.since, before=request.before, where=request.where)
    [total] = await parts.records.usage(project, query)
    groups = []
    kinds = replace(query, by=("operation", "model"))
    now = parts.clock.now()
    instructions = instructions_of(
        await parts.records.usage(project, kinds), lambda usage: parts.prices.cost(usage, now)
    )
    if request.by:
        asked = replace(query, by=asked_of_store(request.by))
        groups = arranged(request.by, await parts.records.usage(project, asked))
    return UsageReport(
        since=request.since,
        before=request.before,
        by=request.by,
        total=total,
        groups=tuple(groups[: request.limit]),
        left_off=max(0, len(groups) - request.limit),
        instructions=instructions,
    )
