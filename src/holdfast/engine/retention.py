"""Retention: what is older than a project's rules allow is removed for good, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast

from msgspec.structs import replace

from holdfast.core.retention import DAY_S, KINDS, SETTING, in_force, rules_of
from holdfast.directory import Export, Held, ProjectInfo, Row, Where
from holdfast.engine import projects
from holdfast.engine.origins import origin_now
from holdfast.engine.parts import Parts
from holdfast.filters import And, Compare, Filter
from holdfast.limits import ERASURE_BATCH
from holdfast.model import Project
from holdfast.ports import RemoveMemories
from holdfast.ports.subjects import Aged

_ROWS: Final[Mapping[str, type[Row]]] = {"exports": Export, "held": Held}
"""Rules that are for rows of the directory."""


async def rules(parts: Parts) -> dict[str, float]:
    """The rules in force for the project, in days by name. Raises NotFoundError."""
    return in_force(parts.retention, (await projects.find(parts, parts.project)).settings)


async def set_rules(parts: Parts, values: Mapping[str, float | None]) -> dict[str, float]:
    """Set some rules, in days; None takes one away. All that hold then. Raises NotFoundError."""
    info = await projects.find(parts, parts.project)
    merged = {**rules_of(info.settings), **values}
    kept = {name: days for name, days in merged.items() if days is not None}
    settings = {**info.settings, SETTING: kept}
    changed = replace(info, settings=settings, updated_at=parts.clock.now())
    new = {"settings": settings, "updated_at": changed.updated_at}
    if not await parts.directory.update(ProjectInfo, Where("id", info.id), values=new):
        await parts.directory.insert(changed)
    return in_force(parts.retention, settings)


async def due(parts: Parts) -> dict[str, int]:
    """How many rows are older than the rules allow, by rule; nothing is changed."""
    return {
        name: await _count(parts, name, _before(parts, days))
        for name, days in (await rules(parts)).items()
    }


async def run(parts: Parts) -> dict[str, int]:
    """Remove what is older than the rules allow; how many rows, by rule. Raises StoreError."""
    removed = {
        name: await _remove(parts, name, _before(parts, days))
        for name, days in (await rules(parts)).items()
    }
    if any(removed.values()):
        await parts.subjects.scrub()
    return removed


async def projects_with_rules(parts: Parts) -> Sequence[Project]:
    """The projects that have any; that of the configuration may stand in no directory."""
    found = await parts.directory.select(ProjectInfo)
    if parts.retention:
        return list(dict.fromkeys([parts.home, *(Project(info.id) for info in found)]))
    return [Project(info.id) for info in found if rules_of(info.settings)]


def _before(parts: Parts, days: float) -> float:
    return parts.clock.now() - days * DAY_S


async def _count(parts: Parts, name: str, before: float) -> int:
    if name in _ROWS:
        return await parts.directory.count(_ROWS[name], *_older(parts, before))
    return await parts.subjects.older(parts.project, cast("Aged", name), before)


async def _remove(parts: Parts, name: str, before: float) -> int:
    if name in _ROWS:
        count = await parts.directory.delete(_ROWS[name], *_older(parts, before))
        if name == "held" and count:
            parts.metrics.count("held_add", "expired", amount=count)
        return count
    if name in KINDS or name == "expired":
        return await _memories(parts, _matching(name, before))
    return await parts.subjects.expire(parts.project, cast("Aged", name), before)


async def _memories(parts: Parts, wanted: Filter) -> int:
    """Delete what matches, with its history's texts, some at a time."""
    count = 0
    while True:
        op = RemoveMemories(
            filter=wanted,
            at=parts.clock.now(),
            erase_history=True,
            limit=ERASURE_BATCH,
            origin=origin_now("retention"),
        )
        [gone] = await parts.records.commit(parts.project, [op])
        count += len(gone)
        if len(gone) < ERASURE_BATCH:
            return count


def _matching(name: str, before: float) -> Filter:
    if name == "expired":
        return Compare("expires_on", "lt", datetime.fromtimestamp(before, UTC).date().isoformat())
    return And((Compare("kind", "eq", KINDS[name]), Compare("created_at", "lte", before)))


def _older(parts: Parts, before: float) -> tuple[Where, Where]:
    return Where("project", parts.project), Where("created_at", before, "lte")
