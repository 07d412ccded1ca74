"""Records and directory whose changes put a row into the audit, in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from holdfast.acts import Act, act_now, watched_act
from holdfast.core.audit import (
    memories_named,
    named_by,
    outcome_told,
    owners,
    rows_of,
    subjects_of,
    target_of,
    told_id,
)
from holdfast.directory import Change, Row, Where
from holdfast.metrics import Metrics
from holdfast.model import (
    Census,
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    Json,
    Memory,
    Page,
    Project,
    Source,
    Space,
    Turn,
)
from holdfast.ports import (
    Analyse,
    Delta,
    Directory,
    EntityState,
    HoldBudget,
    Listing,
    Op,
    PutAudit,
    PutSpared,
    PutUsage,
    Records,
    SettleBudget,
)
from holdfast.ports.usage import UsageQuery, UsageSum
from holdfast.trail import AuditRow

R = TypeVar("R", bound=Row)

_COSTS = (PutUsage, PutSpared, HoldBudget, SettleBudget)
"""Operations that tell what a call costs, on its way: what it does is committed later."""

Now = Callable[[], float]


class _Writing:
    """An act that is to stand in the next transaction; not any more once it does."""

    def __init__(self, act: Act, metrics: Metrics) -> None:
        self._act = act
        self._metrics = metrics

    def __enter__(self) -> Act:
        self._act.written = True  # what else it writes meanwhile needs no second row
        return self._act

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._act.written = False
            return
        self._act.actor.acted += 1
        self._metrics.count("audit_row", "ok")


def _unwritten() -> Act | None:
    """What is being done here, if it is a change that stands in no transaction yet."""
    act = act_now()
    if act is None or act.written or act.sort == "read" or act.parts is None:
        return None
    return act


class AuditedRecords:
    """Records whose changes carry their rows of the audit with them."""

    def __init__(self, inner: Records, now: Now, metrics: Metrics) -> None:
        self._inner = inner
        self._now = now
        self._metrics = metrics

    @property
    def store_id(self) -> str:
        return self._inner.store_id

    @property
    def subjects_id(self) -> str:
        return self._inner.subjects_id

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        await self._inner.open(space, key_mark, before)

    async def reindex(self, version: int, analyse: Analyse) -> int:
        return await self._inner.reindex(version, analyse)

    async def close(self) -> None:
        await self._inner.close()

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        act = _unwritten()
        if act is None or all(isinstance(op, _COSTS) for op in ops):
            return await self._inner.commit(project, ops)
        await self._describe(act, project, ops)
        with _Writing(act, self._metrics):
            rows = rows_of(act, project, self._now(), *outcome_told(ops))
            told = PutAudit(rows=rows)
            return (await self._inner.commit(project, [*ops, told]))[:-1]

    async def _describe(self, act: Act, project: Project, ops: Sequence[Op]) -> None:
        """Whose memories they are, and which; ids alone do not tell."""
        act.about(*subjects_of(ops))
        if not act.subjects and (ids := memories_named(ops)):
            act.about(*owners(await self._inner.fetch(project, ids)))
        if act.target is None:
            act.target = told_id(target_of(ops))

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        found = await self._inner.fetch(project, ids)
        act = watched_act()
        if act is not None:
            act.about(*owners(found))
        return found

    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        return await self._inner.sources(project, memory_id)

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return await self._inner.turns(project, ids)

    async def page(self, project: Project, listing: Listing) -> Page:
        act = watched_act()
        if act is not None:
            act.about(*named_by(listing.filter))
        return await self._inner.page(project, listing)

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        found = await self._inner.history(project, memory_id)
        act = watched_act()
        if act is not None:
            act.about(*((e.user_id, e.agent_id, e.app_id, e.run_id) for e in found))
        return found

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
        return await self._inner.entities(project, offset, size)

    async def state(self, project: Project, entity: Entity) -> EntityState:
        return await self._inner.state(project, entity)

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        return await self._inner.delta(project, entity, since, epoch)

    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        return await self._inner.usage(project, query)

    async def stats(self, project: Project) -> Mapping[str, Json]:
        return await self._inner.stats(project)

    async def census(self, at: float) -> Census:
        return await self._inner.census(at)


class AuditedDirectory:
    """A directory whose changes carry their rows of the audit with them."""

    def __init__(self, inner: Directory, now: Now, metrics: Metrics) -> None:
        self._inner = inner
        self._now = now
        self._metrics = metrics

    async def insert(self, *rows: Row) -> None:
        act = _unwritten()
        if act is None:
            await self._inner.insert(*rows)
            return
        if act.target is None and len(rows) == 1:
            act.target = told_id(getattr(rows[0], "id", None))
        with _Writing(act, self._metrics):
            await self._inner.insert(*rows, *self._rows(act))

    async def select(
        self,
        kind: type[R],
        *where: Where,
        order: str | None = None,
        newest_first: bool = False,
        offset: int = 0,
        size: int | None = None,
    ) -> list[R]:
        return await self._inner.select(
            kind, *where, order=order, newest_first=newest_first, offset=offset, size=size
        )

    async def count(self, kind: type[Row], *where: Where) -> int:
        return await self._inner.count(kind, *where)

    async def update(
        self,
        kind: type[Row],
        *where: Where,
        values: Mapping[str, Json],
        insert: Sequence[Row] = (),
    ) -> int:
        act = _unwritten()
        if act is None:
            return await self._inner.update(kind, *where, values=values, insert=insert)
        with _Writing(act, self._metrics):
            told = (*insert, *self._rows(act))
            changed = await self._inner.update(kind, *where, values=values, insert=told)
        return self._unless_none(act, changed)

    async def delete(self, kind: type[Row], *where: Where, insert: Sequence[Row] = ()) -> int:
        act = _unwritten()
        if act is None:
            return await self._inner.delete(kind, *where, insert=insert)
        with _Writing(act, self._metrics):
            told = (*insert, *self._rows(act))
            deleted = await self._inner.delete(kind, *where, insert=told)
        return self._unless_none(act, deleted)

    async def stamp(self) -> int:
        return await self._inner.stamp()

    async def changes(self, after: int, size: int) -> Sequence[Change]:
        return await self._inner.changes(after, size)

    async def last_change(self) -> int:
        return await self._inner.last_change()

    def _rows(self, act: Act) -> tuple[AuditRow, ...]:
        return rows_of(act, act.parts.project, self._now())

    def _unless_none(self, act: Act, count: int) -> int:
        """Nothing was changed, so no row was written."""
        if not count:
            act.written = False
        return count
