"""The copies of a subject beside the records: exports, deliveries, keys, points of an index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

from holdfast.core import webhooks as telling
from holdfast.core.erasure import mentions, unfenced
from holdfast.directory import (
    ApiKey,
    Budget,
    Delivery,
    Export,
    Feedback,
    Held,
    KeyUse,
    Row,
    Spending,
    Webhook,
    Where,
)
from holdfast.engine.parts import Parts
from holdfast.engine.webhooks import feed
from holdfast.errors import IndexUnavailableError
from holdfast.limits import ERASURE_BATCH, ERASURE_INDEX_WAIT_S
from holdfast.model import Entity, EntityKind

R = TypeVar("R", bound=Row)

_ID = "id"
_PAUSE_S = 0.05
_ROUNDS_MAX = 1_000

_FENCES: dict[EntityKind, str] = {"user": "users", "agent": "agents", "app": "apps", "run": "runs"}


async def count(parts: Parts, entity: Entity, ids: Sequence[str]) -> dict[str, int]:
    """How many rows of the directory, and points, are the subject's; `ids`: of its memories."""
    return {
        "feedback": len(await feedback(parts, ids)),
        "exports": len(await exports(parts, entity, ids)),
        "held": await parts.directory.count(Held, _mine(parts), _names(entity)),
        "deliveries": len(await deliveries(parts, entity, ids)),
        "api_keys": len(await keys(parts, entity)),
        "budgets": len(await budgets(parts, entity)),
        "budget_periods": len(await spendings(parts, entity)),
        "index": await points(parts, entity),
    }


async def erase(parts: Parts, entity: Entity, ids: Sequence[str]) -> None:
    """Take the rows of the directory away; webhooks are still told which memories are gone."""
    await _feed(parts)
    await _delete(parts, Feedback, "memory_id", [f.memory_id for f in await feedback(parts, ids)])
    await _delete(parts, Export, "id", [e.id for e in await exports(parts, entity, ids)])
    await _delete(parts, Delivery, "id", [d.id for d in await deliveries(parts, entity, ids)])
    for spending in await spendings(parts, entity):
        one = (Where("budget", spending.budget), Where("subject", entity.id))
        await parts.directory.delete(Spending, _mine(parts), *one)
    await _delete(parts, Budget, "id", [b.id for b in await budgets(parts, entity)])
    for key in await keys(parts, entity):
        name = _FENCES[entity.kind]
        left = unfenced(getattr(key, name), entity.id)
        one = (_mine(parts), Where("id", key.id))
        if left is None:
            await parts.directory.delete(ApiKey, *one)
            await parts.directory.delete(KeyUse, *one)
        else:
            await parts.directory.update(ApiKey, *one, values={name: left})


async def feedback(parts: Parts, ids: Sequence[str]) -> list[Feedback]:
    """What was thought of these memories."""
    found: list[Feedback] = []
    for some in some_of(ids):
        found += await parts.directory.select(
            Feedback, _mine(parts), Where("memory_id", some, "in")
        )
    return found


async def exports(parts: Parts, entity: Entity, ids: Sequence[str]) -> list[Export]:
    """Those made from these memories, and those that were asked for by the subject's id."""
    about = set(ids)
    return [
        export
        async for export in _all(parts, Export)
        if about & set(export.memories) or mentions(export.request, entity.id)
    ]


async def held(parts: Parts, entity: Entity) -> list[Held]:
    """What is held of the subject."""
    return await parts.directory.select(Held, _mine(parts), _names(entity))


async def deliveries(parts: Parts, entity: Entity, ids: Sequence[str]) -> list[Delivery]:
    """Messages to webhooks about the subject or its memories, that they are gone aside."""
    about = set(ids)
    waiting = Where("state", ("PENDING", "FAILED"), "in")  # nothing is left of delivered ones
    return [
        one
        async for one in _all(parts, Delivery, waiting)
        if mentions(one.body, entity.id)
        or (telling.subject(one.body) in about and one.event != "memory_delete")
    ]


async def keys(parts: Parts, entity: Entity) -> list[ApiKey]:
    """Keys that may see this subject by its name."""
    found = await parts.directory.select(ApiKey, _mine(parts))
    return [key for key in found if entity.id in (getattr(key, _FENCES[entity.kind]) or ())]


async def budgets(parts: Parts, entity: Entity) -> list[Budget]:
    """Those of this user only."""
    of = (Where("kind", "user"), Where("subject", entity.id))
    return await parts.directory.select(Budget, _mine(parts), *of) if _is_user(entity) else []


async def spendings(parts: Parts, entity: Entity) -> list[Spending]:
    """What was spent of budgets for users by this one."""
    if not _is_user(entity):
        return []
    known = await parts.directory.select(Budget, _mine(parts), Where("kind", "user"))
    of = (Where("budget", tuple(one.id for one in known), "in"), Where("subject", entity.id))
    return await parts.directory.select(Spending, _mine(parts), *of)


def _is_user(entity: Entity) -> bool:
    return entity.kind == "user"


async def points(parts: Parts, entity: Entity) -> int:
    """How many points the external index finds of the subject, up to a batch of them; 0 without
    one. Raises IndexUnavailableError."""
    if parts.feeder is None:
        return 0
    import numpy as np

    vectors = await parts.feeder.collection(await parts.feeder.build())
    some = np.zeros(parts.embedder.space.dimensions, dtype=np.float32)
    some[0] = 1.0
    return len(await vectors.nearest(parts.project, entity, some, ERASURE_BATCH))


async def index_is_fed(parts: Parts, entity: Entity) -> None:
    """Wait until the external index has every change of the subject. Raises
    IndexUnavailableError if that takes too long."""
    feeder = parts.feeder
    if feeder is None:
        return
    name = feeder.collections.name
    for _ in range(int(ERASURE_INDEX_WAIT_S / _PAUSE_S)):
        standing = await feeder.source.standing(parts.project, entity, name)
        if standing.held >= standing.generation:
            return
        feeder.notice()
        await asyncio.sleep(_PAUSE_S)
    raise IndexUnavailableError(
        "The index does not take the deletions; the erasure is not at its end.",
        hint="It goes on when the index is there: see `holdfast index status`.",
    )


def some_of(values: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A batch of values at a time."""
    for start in range(0, len(values), ERASURE_BATCH):
        yield tuple(values[start : start + ERASURE_BATCH])


async def _feed(parts: Parts) -> None:
    """Feed the webhooks of the project with all changes up to now, deletions included."""
    last = await parts.directory.last_change()
    for _ in range(_ROUNDS_MAX):
        webhooks = await parts.directory.select(Webhook, _mine(parts), Where("is_active", True))
        behind = [one for one in webhooks if one.fed < last]
        if not behind or not await feed(parts, behind):
            return


async def _delete(parts: Parts, kind: type[Row], field: str, values: Sequence[str]) -> None:
    for some in some_of(values):
        await parts.directory.delete(kind, _mine(parts), Where(field, some, "in"))


async def _all(parts: Parts, kind: type[R], *where: Where) -> AsyncIterator[R]:
    """The rows of a kind that has an id, page by page."""
    after: tuple[Where, ...] = ()
    while True:
        page = await parts.directory.select(
            kind, _mine(parts), *where, *after, order="id", size=ERASURE_BATCH
        )
        for row in page:
            yield row
        if len(page) < ERASURE_BATCH:
            return
        after = (Where("id", str(getattr(page[-1], _ID)), "gt"),)


def _names(entity: Entity) -> Where:
    return Where(f"{entity.kind}_id", entity.id)


def _mine(parts: Parts) -> Where:
    return Where("project", parts.project)
