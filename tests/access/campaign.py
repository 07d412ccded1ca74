"""Random operations by many tenants at once, in rounds, each answer held against the model."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.fence import fenced, mark_of
from holdfast.errors import AccessError, HoldfastError, NotFoundError
from holdfast.filters import compile_predicate, named_scope, scope_filter
from holdfast.model import ENTITY_KINDS, Json, Memory, Scope
from support.filter_strategies import CATEGORIES, IDS, KEYS, TIMES
from tests.access.tenants import (
    FENCES,
    PROJECTS,
    UNKNOWN,
    Asked,
    Tenant,
    Told,
    World,
    drawn_filters,
    expect,
)

Call = Callable[[], Awaitable[None]]


class Campaign:
    """Rounds of writes and reads by everybody."""

    def __init__(self, admin: AsyncAdmin, seed: int, filters: int = 400) -> None:
        self.admin = admin
        self.chance = Random(seed)
        self.world = World()
        self.filters = drawn_filters(filters)
        self.done: Counter[str] = Counter()
        self.canary = 0
        self.tenants: list[Tenant] = []

    async def begin(self, *, collide: bool = True) -> None:
        """Make the projects and everybody's view; with ids that are the same in each project."""
        for project in PROJECTS[1:]:
            await self.admin.create_project(project, project_id=project)
        for project in PROJECTS:
            for fence in FENCES:
                self.tenants.append(Tenant(project, fence, self.admin.memory(project, fence)))
        if collide:
            await self._collide()

    async def _collide(self) -> None:
        """From here on, the n-th id of a project is the n-th id of every other project."""
        for project in PROJECTS:
            ids = seeded_ids(ManualClock(), seed=11)
            for who in self.tenants:
                if who.project == project:
                    assembly = who.memory._assembly
                    assert assembly is not None
                    parts = await who.memory._ready()
                    assembly.parts = dataclasses.replace(parts, ids=ids)

    async def run(self, operations: int) -> None:
        """Rounds until so many operations were done."""
        await self.round_of(self.adds(60))
        while self.done.total() < operations:
            await self.round_of(self.adds(24))
            await self.round_of(self.reads(200))
            await self.round_of(self.changes(16))
            await self.round_of(self.reads(100))
            for call in self.sweeps():
                await call()

    async def round_of(self, calls: Iterator[Call]) -> None:
        """Make these calls all at once; the first leak is raised."""
        for error in await asyncio.gather(*(call() for call in calls), return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    def who(self) -> Tenant:
        return self.chance.choice(self.tenants)

    def scope(self) -> Scope:
        """Some identities; the same few everywhere."""
        names: dict[str, str] = {}
        while not names:
            for kind, share in zip(ENTITY_KINDS, (0.8, 0.5, 0.1, 0.2), strict=True):
                if self.chance.random() < share:
                    names[f"{kind}_id"] = self.chance.choice(IDS[:4])
        return Scope(**names)

    def some_id(self, who: Tenant) -> str:
        """An id: one's own, somebody else's, of something gone, or of nothing."""
        dice = self.chance.random()
        pool = self.world.gone if dice < 0.2 else self.world.memories
        project = who.project if dice < 0.7 else self.chance.choice(PROJECTS)
        if not pool[project] or dice > 0.95:
            return UNKNOWN
        return self.chance.choice(list(pool[project]))

    # ------------------------------------------------------------------ writes

    def adds(self, count: int) -> Iterator[Call]:
        for _ in range(count):
            yield self.add(self.who())

    def add(self, who: Tenant) -> Call:
        self.canary += 1
        number, scope = self.canary, self.scope()
        self.world.canaries[number] = (who.project, scope)
        chance = self.chance
        more: dict[str, Any] = {
            "metadata": chance.choice([None, {chance.choice(KEYS[:6]): chance.choice(IDS)}]),
            "categories": chance.sample(CATEGORIES[:4], chance.randint(0, 2)),
            "timestamp": chance.choice(TIMES),
        }
        keyed = chance.random() < 0.05
        if keyed:  # the same few keys for everybody, each once in a place
            more["idempotency_key"] = f"key {number}"
        text = f"I like tea number {number % 7} canary{number}x"

        async def call() -> None:
            self.done["add"] += 1
            names = msgspec.structs.asdict(scope)
            try:
                answer = await who.memory.add(text, infer=False, **names, **more)
            except AccessError as error:
                self.world.inspect(who, str(error))
                expect(not who.may(scope), who, f"was refused {scope}")
                return
            expect(who.may(scope), who, f"could write for {scope}")
            [item] = answer["results"]
            self._note(who, scope, item["id"], text, more)
            if keyed:
                self.world.events[who.project][answer["event_id"]] = Told(scope, None)
            self.world.inspect(who, answer)

        return call

    def _note(self, who: Tenant, scope: Scope, id_: str, text: str, more: dict[str, Any]) -> None:
        self.world.memories[who.project][id_] = Memory(
            id=id_,
            text=text,
            hash="",
            kind="turn",
            role="user",
            **msgspec.structs.asdict(scope),
            metadata=more["metadata"],
            categories=tuple(more["categories"]),
            event_at=more["timestamp"],
            created_at=0.0,
            updated_at=0.0,
        )

    def changes(self, count: int) -> Iterator[Call]:
        """Of different memories, so that their order does not matter."""
        taken: set[tuple[str, str]] = set()
        for _ in range(count):
            who = self.who()
            id_ = self.some_id(who)
            if (who.project, id_) not in taken:
                taken.add((who.project, id_))
                self.world.named[who.project].add(id_)
                kinds = [self.update, self.delete, self.batch_update, self.batch_delete]
                yield self.chance.choice(kinds)(who, id_)

    def update(self, who: Tenant, id_: str) -> Call:
        text = self.reworded(who, id_)

        async def call() -> None:
            await self._change(who, id_, "update", who.memory.update(id_, text), text)

        return call

    def batch_update(self, who: Tenant, id_: str) -> Call:
        text = self.reworded(who, id_)
        batch = [{"memory_id": id_, "text": text}]

        async def call() -> None:
            await self._change(who, id_, "batch_update", who.memory.batch_update(batch), text)

        return call

    def delete(self, who: Tenant, id_: str) -> Call:
        async def call() -> None:
            await self._change(who, id_, "delete", who.memory.delete(id_), None)

        return call

    def batch_delete(self, who: Tenant, id_: str) -> Call:
        batch = [{"memory_id": id_}]

        async def call() -> None:
            await self._change(who, id_, "batch_delete", who.memory.batch_delete(batch), None)

        return call

    def reworded(self, who: Tenant, id_: str) -> str:
        """A new text for a memory, with a canary of its scope if there is such a memory here."""
        known = self.world.memories[who.project].get(id_)
        self.canary += 1
        scope = Scope(user_id="nobody") if known is None else known.scope
        self.world.canaries[self.canary] = (who.project, scope)
        return f"I prefer coffee canary{self.canary}x"

    async def _change(
        self, who: Tenant, id_: str, verb: str, asked: Awaitable[Json], text: str | None
    ) -> None:
        self.done[verb] += 1
        mine = self.world.seen(who).get(id_)
        try:
            answer = await asked
        except NotFoundError as error:
            expect(mine is None, who, f"{verb} did not find {id_}")
            wanted = f"Memory with id {id_} not found. `get_all` and `search` tell ids."
            expect(str(error) == wanted, who, str(error))
            return
        expect(mine is not None, who, f"{verb} of {id_}, which is not theirs")
        assert mine is not None
        self.world.inspect(who, answer)
        if text is None:
            self.world.gone[who.project][id_] = self.world.memories[who.project].pop(id_)
        else:
            self.world.memories[who.project][id_] = replace(mine, text=text)

    def sweeps(self) -> Iterator[Call]:
        """Deletions of all that match; one at a time."""
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            who = self.who()
            crowded = len(self.world.seen(who)) > 60
            if crowded or self.chance.random() < 0.3:
                yield self.delete_all(who)

    def delete_all(self, who: Tenant) -> Call:
        scope = self.scope()
        more: dict[str, Any] = msgspec.structs.asdict(scope)
        tree = scope_filter(scope)
        asked = Asked({}, tree, compile_predicate(tree))
        if self.chance.random() < 0.4:
            asked = self.chance.choice(self.filters)
            more = {"filters": asked.written}

        async def call() -> None:
            self.done["delete_all"] += 1
            going = self.world.seen(who, asked.test)
            answer = await who.memory.delete_all(**more)
            expect(answer["count"] == len(going), who, f"deleted {answer['count']}: {more}")
            for id_ in going:
                self.world.gone[who.project][id_] = self.world.memories[who.project].pop(id_)
            told = Told(named_scope(fenced(who.fence, asked.tree)), mark_of(who.fence))
            self.world.events[who.project][answer["event_id"]] = told
            self.world.inspect(who, answer)

        return call

    # ------------------------------------------------------------------- reads

    def reads(self, count: int) -> Iterator[Call]:
        kinds: list[Callable[[Tenant], Call]] = [
            *[self.get] * 8, *[self.get_all] * 4, *[self.search] * 5, *[self.count] * 2,
            *[self.history] * 4, self.entities, self.entity, self.events, self.event, self.stats,
        ]  # fmt: skip
        for _ in range(count):
            yield self.chance.choice(kinds)(self.who())

    def get(self, who: Tenant) -> Call:
        id_ = self.some_id(who)

        async def call() -> None:
            self.world.named[who.project].add(id_)
            self.done["get"] += 1
            mine = self.world.seen(who).get(id_)
            answer = await who.memory.get(id_)
            expect((answer is None) == (mine is None), who, f"get {id_} gave {answer}")
            if answer is not None and mine is not None:
                expect(answer["memory"] == mine.text, who, answer)
            self.world.inspect(who, answer)

        return call

    def get_all(self, who: Tenant) -> Call:
        asked = self.chance.choice(self.filters)
        size = self.chance.choice([1, 3, 1000])

        async def call() -> None:
            self.done["get_all"] += 1
            mine = self.world.seen(who, asked.test)
            answer = await who.memory.get_all(filters=asked.written, top_k=size)
            found = {one["id"] for one in answer["results"]}
            expect(answer["total"] == len(mine), who, f"total {answer['total']}: {asked.written}")
            expect(found <= mine.keys(), who, f"found {found - mine.keys()}")
            expect(len(found) == min(size, len(mine)), who, f"{len(found)} of {len(mine)}")
            self.world.inspect(who, answer)

        return call

    def count(self, who: Tenant) -> Call:
        asked = self.chance.choice(self.filters)

        async def call() -> None:
            self.done["count"] += 1
            found = await who.memory.count(asked.written)
            expect(
                found == len(self.world.seen(who, asked.test)),
                who,
                f"counted {found}: {asked.written}",
            )

        return call

    def search(self, who: Tenant) -> Call:
        asked = self.chance.choice(self.filters)
        explain = self.chance.random() < 0.2
        query = self.chance.choice(["tea", "What do I like?", "coffee", "canary"])

        async def call() -> None:
            self.done["search"] += 1
            mine = self.world.seen(who, asked.test)
            answer = await who.memory.search(
                query, filters=asked.written, top_k=1_000, threshold=0.0, explain=explain
            )
            found = {one["id"] for one in answer["results"]}
            expect(found == mine.keys(), who, f"searched {found ^ mine.keys()}: {asked.written}")
            self.world.inspect(who, answer)

        return call

    def history(self, who: Tenant) -> Call:
        id_ = self.some_id(who)

        async def call() -> None:
            self.world.named[who.project].add(id_)
            self.done["history"] += 1
            answer = await who.memory.history(id_)
            known = self.world.memories[who.project] | self.world.gone[who.project]
            mine = id_ in known and who.may(known[id_].scope)
            expect(bool(answer) == mine, who, f"history of {id_}: {answer}")
            self.world.inspect(who, answer)

        return call

    def entities(self, who: Tenant) -> Call:
        async def call() -> None:
            self.done["entities"] += 1
            answer = await who.memory.entities(page_size=1_000)
            told = {(one["type"], one["name"]): one["total_memories"] for one in answer["results"]}
            expect(told == self._counted(who), who, f"{told} != {self._counted(who)}")
            expect(answer["total"] == len(told), who, answer["total"])

        return call

    def _counted(self, who: Tenant) -> dict[tuple[str, str], int]:
        counted: Counter[tuple[str, str]] = Counter()
        for memory in self.world.seen(who).values():
            counted.update((entity.kind, entity.id) for entity in memory.scope.entities())
        if who.fence.is_open:
            return counted
        named = {(entity.kind, entity.id) for entity in who.fence.entities()}
        return {who_: number for who_, number in counted.items() if who_ in named}

    def entity(self, who: Tenant) -> Call:
        kind, name = self.chance.choice(ENTITY_KINDS), self.chance.choice(IDS[:5])

        async def call() -> None:
            self.done["entity"] += 1
            mine = [m for m in self.world.seen(who).values() if getattr(m, f"{kind}_id") == name]
            try:
                answer = await who.memory.entity(kind, name)
            except NotFoundError as error:
                expect(not mine, who, f"{kind} {name} was not found")
                expect(str(error).startswith(f"This {kind} has no memories."), who, str(error))
                return
            expect(answer["total_memories"] == len(mine), who, answer)

        return call

    def events(self, who: Tenant) -> Call:
        size = self.chance.choice([1, 5, 50])

        async def call() -> None:
            self.done["events"] += 1
            told = self.world.events[who.project]
            mine = {id_ for id_, each in told.items() if self.world.may_see(who, each)}
            answer = await who.memory.events(page_size=size)
            found = {each["id"] for each in answer["results"]}
            expect(answer["total"] == len(mine), who, f"events {answer['total']} != {len(mine)}")
            expect(found <= mine, who, found - mine)
            self.world.inspect(who, answer)

        return call

    def event(self, who: Tenant) -> Call:
        told = self.world.events[self.chance.choice([who.project, *PROJECTS])]
        id_ = self.chance.choice([*told, UNKNOWN])
        verb = self.chance.choice(["event", "wait", "rerun", "cancel"])

        async def call() -> None:
            self.done[verb] += 1
            known = self.world.events[who.project].get(id_)
            mine = known is not None and self.world.may_see(who, known)
            try:
                self.world.inspect(who, await getattr(who.memory, verb)(id_))
            except NotFoundError as error:
                expect(not mine, who, f"event {id_} was not found")
                wanted = f"Event {id_} not found. `events` lists those known."
                expect(str(error) == wanted, who, str(error))
            except HoldfastError as error:
                expect(mine and verb in ("rerun", "cancel"), who, str(error))
            else:
                expect(mine, who, f"event {id_} is not theirs")

        return call

    def stats(self, who: Tenant) -> Call:
        async def call() -> None:
            self.done["stats"] += 1
            try:
                answer = await who.memory.stats()
            except AccessError:
                expect(not who.fence.is_open, who, "stats were refused")
                return
            expect(who.fence.is_open, who, f"was told {answer}")
            mine = self.world.seen(who)
            expect(answer["memories"] == answer["vectors"] == len(mine), who, answer)
            told = len(self.world.events[who.project])
            expect(sum(answer["jobs"].values()) == told, who, answer)
            expect("bytes" not in answer, who, answer)

        return call
