"""A Hypothesis state machine that compares any record store, step by step, with the reference."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Tables
from holdfast.clock import ManualClock, seeded_ids
from holdfast.errors import HoldfastError, ReplayedError
from holdfast.model import Entity, Json, Project, Space
from holdfast.ports import Listing, Op
from holdfast.testing import operations as draw
from holdfast.testing.replica import Replica, Store

T = TypeVar("T")
Call = Callable[[Store], Awaitable[Any]]

SPACE = Space(provider="tests", model="small", dimensions=4)


def difference(mine: Json, theirs: Json) -> str:
    """For people: what the store under test says, and what the reference says."""
    return f"\n  the store says     {mine}\n  the reference says {theirs}"


class Reader:
    """Follows one entity of both stores: incremental on the one under test, fresh on the other."""

    def __init__(self, project: Project, entity: Entity) -> None:
        self._project = project
        self._entity = entity
        self._replica = Replica()
        self._generations = (0, 0)

    async def compare(self, store: Store, reference: Store) -> None:
        """Both hold the same, and the generations of both have changed, or of none."""
        fresh = Replica()
        await fresh.refresh(reference, self._entity, self._project)
        states = [await each.state(self._project, self._entity) for each in (store, reference)]
        assert states[0].memories == states[1].memories, f"the size of {self._entity}"
        before, self._generations = self._generations, (states[0].generation, states[1].generation)
        changed = [old != new for old, new in zip(before, self._generations, strict=True)]
        assert changed[0] == changed[1], "a write and its generation go together"
        await self._replica.refresh(store, self._entity, self._project)
        assert self._replica.generation == states[0].generation, "a delta of another generation"
        mine, theirs = self._replica.known, fresh.known
        assert mine == theirs, f"{self._entity}: {difference(mine, theirs)}"


class RecordsMachine(RuleBasedStateMachine):
    """Subclass it, give it `make`, and run it with `run_state_machine_as_test`."""

    def make(self) -> Store:
        """A new, unopened handle on one store, which is empty when the machine starts."""
        return MemoryRecords(self._tables, self.ids)

    def __init__(self) -> None:
        super().__init__()
        self._tables = Tables()
        self.ids = seeded_ids(ManualClock(), seed=2)
        """For the store under test: ids must not come again after opening anew."""
        self._runner = asyncio.Runner()
        self.reference: Store = MemoryRecords(Tables(), seeded_ids(ManualClock(), seed=1))
        self.store = self.make()
        self.run(self.reference.open(SPACE))
        self.run(self.store.open(SPACE))
        self._readers = [
            Reader(project, entity) for project in draw.PROJECTS for entity in draw.ENTITIES
        ]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a call."""
        return self._runner.run(work)

    def both(self, call: Call) -> Json:
        """Make a call on both stores; they must answer or fail alike."""
        mine = self.run(_outcome(call, self.store))
        theirs = self.run(_outcome(call, self.reference))
        assert mine == theirs, difference(mine, theirs)
        return mine

    def teardown(self) -> None:
        self.run(self.store.close())
        self.run(self.reference.close())
        self._runner.close()

    def _draw_operations(self, data: st.DataObject, project: Project) -> tuple[Op, ...]:
        here = [memory.id for memory in self.run(self.reference.fetch(project, draw.MEMORIES))]
        return data.draw(draw.operations(project, here))

    def _commit_some(self, data: st.DataObject, project: Project) -> None:
        ops = self._draw_operations(data, project)
        self.both(lambda store: store.commit(project, ops))

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Little happens to stores that are nearly empty."""
        for project, ids in zip(draw.PROJECTS, (draw.MEMORIES[:6], draw.MEMORIES[:2]), strict=True):
            ops: list[Op] = [
                data.draw(draw.turns()),
                *(data.draw(draw.puts((), id_)) for id_ in ids),
            ]
            for op in ops:
                self.run(self.store.commit(project, [op]))
                self.run(self.reference.commit(project, [op]))

    @rule(data=st.data(), project=draw.projects)
    def commit(self, data: st.DataObject, project: Project) -> None:
        self._commit_some(data, project)

    @rule(data=st.data(), project=draw.projects)
    def commit_again(self, data: st.DataObject, project: Project) -> None:
        """Twice as likely as any other step."""
        self._commit_some(data, project)

    @rule(data=st.data(), projects=st.lists(draw.projects, min_size=2, max_size=5))
    def commit_together(self, data: st.DataObject, projects: list[Project]) -> None:
        """Whatever a store makes of commits that are asked at once, they follow one another."""
        calls = [_committing(project, self._draw_operations(data, project)) for project in projects]
        self.both(lambda store: asyncio.gather(*(_outcome(call, store) for call in calls)))

    @rule(
        data=st.data(),
        project=draw.projects,
        job_id=draw.job_ids,
        at=draw.times,
        seconds=draw.durations,
    )
    def queue(
        self, data: st.DataObject, project: Project, job_id: str, at: float, seconds: float
    ) -> None:
        """A worker's call, then a commit of jobs."""
        owner = data.draw(draw.owners)
        calls: list[Call] = [
            lambda store: store.lease(owner, at, seconds),
            lambda store: store.lease_one(project, job_id, owner, at, seconds),
            lambda store: store.heartbeat(project, job_id, owner, at, seconds),
            lambda store: store.rerun(project, job_id, at),
        ]
        self.both(data.draw(st.sampled_from(calls)))
        running = self.run(self.reference.jobs(project, "RUNNING", 0, 100))
        ops = data.draw(draw.queue_operations(project, [job.id for job in running]))
        self.both(lambda store: store.commit(project, ops))

    @rule(project=draw.projects, listing=draw.listings)
    def page_through(self, project: Project, listing: Listing) -> None:
        mine = self.run(_pages(self.store, project, listing))
        theirs = self.run(_pages(self.reference, project, listing))
        assert mine == theirs, difference(mine, theirs)

    @rule()
    def open_anew(self) -> None:
        self.run(self.store.close())
        self.store = self.make()
        self.run(self.store.open(SPACE))

    @invariant()
    def the_stores_hold_the_same(self) -> None:
        for project in draw.PROJECTS:
            mine = self.run(_contents(self.store, project))
            theirs = self.run(_contents(self.reference, project))
            for name, held in mine.items():
                assert held == theirs[name], f"{project} {name}: {difference(held, theirs[name])}"
        for reader in self._readers:
            self.run(reader.compare(self.store, self.reference))


def _committing(project: Project, ops: Sequence[Op]) -> Call:
    return lambda store: store.commit(project, ops)


async def _outcome(call: Call, store: Store) -> Json:
    """The result, or what went wrong."""
    try:
        return await call(store)
    except ReplayedError as error:
        return error.code, error.job_id
    except HoldfastError as error:
        return error.code


async def _contents(store: Store, project: Project) -> dict[str, Json]:
    """What a store answers about everything the pools can name, without ids of its own making."""
    return {
        "memories": await store.fetch(project, draw.MEMORIES),
        "turns": await store.turns(project, draw.TURNS),
        "history": [await _history(store, project, id_) for id_ in draw.MEMORIES],
        "entities": await store.entities(project, 0, 100),
        "second entity": await store.entities(project, 1, 1),
        "jobs": await store.jobs(project, None, 0, 100),
        "waiting": await store.jobs(project, "PENDING", 1, 2),
        "by key": [await store.find_job(project, key) for key in draw.KEYS],
        "stats": {**await store.stats(project), "bytes": 0},
    }


async def _history(store: Store, project: Project, memory_id: str) -> list[Json]:
    events = await store.history(project, memory_id)
    assert len({event.id for event in events}) == len(events), "an event id came twice"
    names = [name for name in events[0].__struct_fields__ if name != "id"] if events else []
    return [[getattr(event, name) for name in names] for event in events]


async def _pages(store: Store, project: Project, listing: Listing) -> list[Json]:
    """Every page from the first on."""
    pages: list[Json] = []
    ask: Listing | None = listing
    while ask is not None and len(pages) <= len(draw.MEMORIES):
        page = await store.page(project, ask)
        pages.append((page.memories, page.total))
        ask = None if page.cursor is None else _after(listing, page.cursor)
    return pages


def _after(listing: Listing, cursor: str) -> Listing:
    return Listing(
        filter=listing.filter,
        view=listing.view,
        size=listing.size,
        cursor=cursor,
        oldest_first=listing.oldest_first,
    )
