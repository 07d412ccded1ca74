"""Faults in what a store answers, and in its queue: the reference store, each time broken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.tables import Key, Leased, Tables, change
from holdfast.core.visibility import visible
from holdfast.errors import ValidationError
from holdfast.model import (
    ANY,
    Census,
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Project,
    Source,
    Space,
    Turn,
)
from holdfast.ports import Delta, EntityState, Listing, Op, View

Listed = tuple[list[EntitySummary], Mapping[EntityKind, int]]


class Broken(MemoryRecords):
    """Base of the stores with a fault."""


class CommitsEachOperation(Broken):
    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        return [result for op in ops for result in await super(Broken, self).commit(project, [op])]


class AnswersInItsOwnOrder(Broken):
    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return await super().fetch(project, sorted(set(ids)))


class GivesTurnsInItsOwnOrder(Broken):
    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return await super().turns(project, sorted(set(ids)))


class GivesSourcesInItsOwnOrder(Broken):
    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        return sorted(await super().sources(project, memory_id), key=lambda one: one.turn_id)


class ForgetsQuotes(Broken):
    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        return [replace(one, quote="") for one in await super().sources(project, memory_id)]


class MergesSources(Broken):
    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        owners = {owner for owner, id_ in self.tables.rows if id_ == memory_id}
        every = [await super(Broken, self).sources(owner, memory_id) for owner in sorted(owners)]
        return [one for found in every for one in found]


class GivesAHundred(Broken):
    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return (await super().fetch(project, ids))[:100]


class HidesWhatEnded(Broken):
    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        return [each for each in await super().fetch(project, ids) if each.valid_to is None]


class DrawsAnIdPerHandle(Broken):
    @property
    def store_id(self) -> str:
        return f"{super().store_id}{id(self)}"


class MergesProjects(Broken):
    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        rows = self.tables.rows
        projects = {owner for owner, _ in rows}
        return [rows[each, id_].memory for id_ in ids for each in projects if (each, id_) in rows]


class MergesHistories(Broken):
    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        every = [event for events in self.tables.history.values() for event in events]
        return [event for event in every if event.memory_id == memory_id]


class MergesTurns(Broken):
    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        return [turn for (_, id_), turn in self.tables.turns.items() if id_ in ids]


class CountsThePage(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        page = await super().page(project, listing)
        return change(page, total=len(page.memories))


class CountsTheRest(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        page = await super().page(project, listing)
        return change(page, total=page.total - listing.offset)


class IgnoresTheCursor(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        return await super().page(project, change(listing, cursor=None))


class TakesCursorsOfOthers(Broken):
    """A cursor is good in every project; one that cannot be read is the first page."""

    async def page(self, project: Project, listing: Listing) -> Page:
        try:
            return await super().page(project, listing)
        except ValidationError:
            return await super().page(project, change(listing, cursor=None))


class CountsInCursors(Broken):
    """Cursors are numbers of all projects together."""

    async def page(self, project: Project, listing: Listing) -> Page:
        page = await super().page(project, listing)
        ids = [row.memory.id for row in self.tables.of(project)]
        if page.cursor is None:
            return page
        return change(page, cursor=f"{ids.index(page.memories[-1].id):08}")


class CountsByOffset(Broken):
    """The cursor is a place in the list, which others move."""

    async def page(self, project: Project, listing: Listing) -> Page:
        done = int(listing.cursor or 0)
        page = await super().page(
            project, change(listing, cursor=None, offset=listing.offset + done)
        )
        end = done + listing.offset + len(page.memories)
        return change(page, cursor=str(end) if page.cursor else None)


class IgnoresTheOffset(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        return await super().page(project, change(listing, offset=0))


class IgnoresTheOrder(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        return await super().page(project, change(listing, oldest_first=False))


class NeverEnds(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        page = await super().page(project, listing)
        full = await super().page(project, change(listing, size=1, offset=0))
        return page if page.cursor else change(page, cursor=full.cursor)


class IgnoresFilters(Broken):
    async def page(self, project: Project, listing: Listing) -> Page:
        from holdfast.filters import Everything

        return await super().page(project, change(listing, filter=Everything()))


class View_(Broken):  # noqa: N801
    """Base of those that look at another view than they were asked for."""

    changes: Mapping[str, Json] = {}

    async def page(self, project: Project, listing: Listing) -> Page:
        return await super().page(project, change(listing, view=self.seen(listing.view)))

    def seen(self, view: View) -> View:
        return change(view, **self.changes)


class ShowsExpired(View_):
    changes = {"show_expired": True}  # noqa: RUF012


class ShowsSuperseded(View_):
    changes = {"show_superseded": True}  # noqa: RUF012


class ShowsUnlisted(View_):
    changes = {"listed_only": False}  # noqa: RUF012


class KnowsNoPast(View_):
    changes = {"as_of": None}  # noqa: RUF012


class ExpiresByNow(View_):
    def seen(self, view: View) -> View:
        return change(view, as_of=view.as_of, now=view.now + 86_400)


class ListsEntitiesAsTheyCame(Broken):
    async def entities(self, project: Project, offset: int, size: int) -> Listed:
        found, total = await super().entities(project, 0, 10**9)
        found.sort(key=lambda each: (each.id, each.kind))
        return found[offset : offset + size], total


class CountsEntitiesOfThePage(Broken):
    async def entities(self, project: Project, offset: int, size: int) -> Listed:
        found, _ = await super().entities(project, offset, size)
        return found, Counter(each.kind for each in found)


class CountsHiddenMemories(Broken):
    async def entities(self, project: Project, offset: int, size: int) -> Listed:
        found, total = await super().entities(project, offset, size)
        held = [len(self.tables.holds(project, Entity(each.kind, each.id))) for each in found]
        return [change(e, memories=n) for e, n in zip(found, held, strict=True)], total


class CountsVisibleOnly(Broken):
    async def state(self, project: Project, entity: Entity) -> EntityState:
        rows = self.tables.holds(project, entity)
        seen = sum(visible(row.memory, View(now=0)) for row in rows)
        return change(await super().state(project, entity), memories=seen)


class KnowsNoWildcard(Broken):
    async def state(self, project: Project, entity: Entity) -> EntityState:
        none = EntityState(generation=0, memories=0)
        return none if entity.id == ANY else await super().state(project, entity)


class AlwaysNew(Broken):
    async def state(self, project: Project, entity: Entity) -> EntityState:
        generation = self.tables.generation
        return change(await super().state(project, entity), generation=generation)


class ForgetsRemovals(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        return change(await super().delta(project, entity, since), removed=())


class ForgetsPairs(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        return change(await super().delta(project, entity, since), told=())


class SaysComplete(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        return change(await super().delta(project, entity, since), complete=True)


class NumbersByName(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        found = await super().delta(project, entity, since)
        entries = tuple(change(each, seq=crc32(each.id.encode())) for each in found.entries)
        return change(found, entries=entries)


class LeavesOutWhatEnded(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        found = await super().delta(project, entity, since)
        pairs = zip(found.entries, found.memories, strict=True)
        kept = [(entry, memory) for entry, memory in pairs if memory.valid_to is None]
        return change(found, entries=tuple(e for e, _ in kept), memories=tuple(m for _, m in kept))


class MixesUpRows(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        found = await super().delta(project, entity, since)
        return change(found, memories=found.memories[::-1])


class LosesTerms(Broken):
    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        found = await super().delta(project, entity, since)
        return change(found, entries=tuple(change(each, speaker=0) for each in found.entries))


class AnswersOthersToo(Broken):
    """An incremental delta holds rows of everybody."""

    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        found = await super().delta(project, Entity(entity.kind, ANY), since)
        return found if since is not None else await super().delta(project, entity, since)


class MiscountsStats(Broken):
    async def stats(self, project: Project) -> Mapping[str, Json]:
        return {**await super().stats(project), "turns": len(self.tables.turns)}


class CountsUsersOfOneName(Broken):
    async def census(self, at: float) -> Census:
        names = {row.memory.user_id for row in self.tables.rows.values()}
        return replace(await super().census(at), users=len(names - {None}))


class OpenToEverybody(Broken):
    @property
    def tables(self) -> Tables:
        return self._store.tables


class OpensAgain(Broken):
    async def open(self, space: Space, key_mark: int = 0) -> None:
        self._state = "new"
        await super().open(space, key_mark)


class ForgetsWhenClosed(Broken):
    async def close(self) -> None:
        await super().close()
        self._store.tables = Tables(space=self._store.tables.space)


class StartsAnew(Broken):
    async def open(self, space: Space, key_mark: int = 0) -> None:
        if self._state == "open":
            self._store.tables = Tables()
        await super().open(space, key_mark)


class TakesAnySpace(Broken):
    async def open(self, space: Space, key_mark: int = 0) -> None:
        self._store.tables.space = space
        await super().open(space, key_mark)


class TakesAnyKey(Broken):
    async def open(self, space: Space, key_mark: int = 0) -> None:
        self._store.tables.key_mark = key_mark
        await super().open(space, key_mark)


class SeesOnlyItself(Broken):
    """Reads what was there when it was opened, and what it wrote itself."""

    async def open(self, space: Space, key_mark: int = 0) -> None:
        await super().open(space, key_mark)
        self._store = type(self._store)(self._store.tables.copy())


class TakesTheNewest(Broken):
    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        jobs = self.tables.jobs
        due = [key for key, leased in jobs.items() if self.due(leased, at) and self.first(key)]
        return self.take(due[-1], owner, at, lease_s) if due else None


class Impatient(Broken):
    def due(self, leased: Leased, at: float) -> bool:
        return self.free(leased, at)


class OutOfTurn(Broken):
    def first(self, key: Key) -> bool:
        return True


class OneQueueForAll(Broken):
    def first(self, key: Key) -> bool:
        jobs = self.tables.jobs
        older = list(jobs)[: list(jobs).index(key)]
        scope = jobs[key].job.scope_key
        return not any(
            jobs[k].job.scope_key == scope and jobs[k].job.state in ("PENDING", "RUNNING")
            for k in older
        )


class StealsLeases(Broken):
    def free(self, leased: Leased, at: float) -> bool:
        return leased.job.state in ("PENDING", "RUNNING")


class NeverTakesBack(Broken):
    def free(self, leased: Leased, at: float) -> bool:
        return leased.job.state == "PENDING"


class RunsTheDead(Broken):
    def free(self, leased: Leased, at: float) -> bool:
        return super().free(leased, at) or leased.job.state == "FAILED"


class WaitsForTheTime(Broken):
    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        leased = self.tables.jobs.get((project, job_id))
        if leased is not None and not self.due(leased, at):
            return None
        return await super().lease_one(project, job_id, owner, at, lease_s)


class CountsNoTries(Broken):
    def take(self, key: Key, owner: str, at: float, lease_s: float) -> Job:
        job = change(super().take(key, owner, at, lease_s), attempts=1)
        self.tables.jobs[key] = change(self.tables.jobs[key], job=job)
        return job


class AlwaysAlive(Broken):
    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        await super().heartbeat(project, job_id, owner, at, lease_s)
        return True


class AliveInAnyProject(Broken):
    async def heartbeat(self, project: Project, job_id: str, *more: Any) -> bool:
        whose = next(key[0] for key in self.tables.jobs if key[1] == job_id)
        return await super().heartbeat(whose, job_id, *more)


class IdleHeartbeat(Broken):
    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        return await super().heartbeat(project, job_id, owner, at, 0.0)


class DeadAtTheDeadline(Broken):
    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        held = any(leased.until > at for leased in self.tables.jobs.values())
        return held and await super().heartbeat(project, job_id, owner, at, lease_s)


class OldestFirst(Broken):
    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        found = (await super().jobs(project, state, 0, 10**9))[::-1]
        return found[offset : offset + size]


class IgnoresTheState(Broken):
    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        return await super().jobs(project, None, offset, size)


class RerunsAnything(Broken):
    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        leased = self.tables.jobs.get((project, job_id))
        if leased is not None:
            self.tables.jobs[project, job_id] = Leased(job=change(leased.job, state="FAILED"))
        return await super().rerun(project, job_id, at)


class RerunsWearily(Broken):
    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        before = self.tables.jobs.get((project, job_id))
        done = await super().rerun(project, job_id, at)
        if done and before is not None:
            job = change(self.tables.jobs[project, job_id].job, attempts=before.job.attempts)
            self.tables.jobs[project, job_id] = Leased(job=job)
        return done


class RoundsTimes(Broken):
    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        results = await super().commit(project, ops)
        for key, row in self.tables.rows.items():
            times: dict[str, Any] = {"updated_at": float(int(row.memory.updated_at))}
            self.tables.rows[key] = change(row, memory=change(row.memory, **times))
        return results


class TrimsTexts(Broken):
    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        results = await super().commit(project, ops)
        for key, row in self.tables.rows.items():
            self.tables.rows[key] = change(
                row, memory=change(row.memory, text=row.memory.text.strip())
            )
        return results
