"""A warm index answers exactly as one that reads everything anew, whatever was written by whom."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.backends.index import embedded as embedded_index
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sql import changes
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.identity import content_hash, fact_identity
from holdfast.core.text import analyze_query
from holdfast.engine import delete as deleting
from holdfast.engine.embedding import rows_of, terms_of
from holdfast.engine.parts import Parts
from holdfast.engine.update import UpdateRequest, update
from holdfast.errors import ConflictError
from holdfast.filters import And, Compare, Everything, Filter
from holdfast.model import DEFAULT_PROJECT, Entity, Memory, Project, Scope
from holdfast.ports import Delta, EntityState, Probe, PutMemory, Records, SetVectors, View
from support.embedded import DIMENSIONS, HashEmbedder, add, of_user, opened
from support.thorough import often

NOW = 1_700_000_000.0
DAY_S = 86_400.0
USERS = ["ann", "bob"]
RUNS = [None, "r1", "r2"]
WORDS = ["tea", "the green tea", "coffee", "I like tea and Berlin", "Berlin", "日本のお茶", "ok"]
TIMES = [NOW - 40 * DAY_S, NOW - DAY_S, NOW - 60, NOW, NOW + DAY_S]
QUERIES = ["green tea", "Berlin coffee", "お茶", "yesterday"]
EXPIRES = ["2023-11-13", "2023-11-14", "2024-01-01", None]
ENTITIES = [Entity("user", "ann"), Entity("user", "bob"), Entity("run", "r1"), Entity("user", "*")]
FILTERS: list[Filter] = [
    Everything(),
    Compare("metadata.mark", "eq", 1),
    And((Compare("role", "eq", "user"), Compare("user_id", "eq", "ann"))),
]
VIEWS = [
    View(now=NOW, listed_only=False),
    View(now=NOW, listed_only=False, show_expired=True),
    *(View(now=NOW, as_of=moment, listed_only=False) for moment in TIMES),
]

texts = st.sampled_from(WORDS)
users = st.sampled_from(USERS)
Found = list[tuple[str, float, Memory]]


class IndexMachine(RuleBasedStateMachine):
    """Two processes' worth of stores on one file; one warm index beside each."""

    view_bytes_max = 1 << 30

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-index-"))
        self.clock = ManualClock(NOW)
        self.stack = AsyncExitStack()
        self.sides = [self.do(self._open, seed) for seed in range(2)]
        self.fresh = itertools.count()

    async def _open(self, seed: int) -> Parts:
        opening = opened(
            self.folder / "holdfast.db",
            clock=self.clock,
            ids=seeded_ids(self.clock, seed),
            view_bytes_max=self.view_bytes_max,
        )
        return await self.stack.enter_async_context(opening)

    def do(self, call: Callable[..., Awaitable[Any]], *given: Any, **more: Any) -> Any:
        async def run() -> Any:
            return await call(*given, **more)

        return self.runner.run(run())

    def side(self, number: int) -> Parts:
        return self.sides[number]

    def ids(self, user: str) -> list[str]:
        delta = self.do(
            self.side(0).records.delta, self.side(0).project, Entity("user", user), None
        )
        return [memory.id for memory in delta.memories]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            for which in itertools.product((0, 1), ENTITIES, VIEWS[:2], QUERIES[:2], FILTERS):
                self._compare(*which)
        finally:
            self.do(self.stack.aclose)
            self.runner.close()
            shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ writes

    @rule(
        n=st.integers(0, 1),
        user=users,
        said=st.lists(texts, min_size=1, max_size=3),
        at=st.sampled_from([*TIMES, NOW, NOW]),
        role=st.sampled_from(["user", "assistant"]),
        mark=st.sampled_from([None, 1]),
        expires_on=st.sampled_from([*EXPIRES, None, None]),
    )
    def add_turns(
        self,
        n: int,
        user: str,
        said: list[str],
        at: float,
        role: str,
        mark: int | None,
        expires_on: str | None,
    ) -> None:
        messages = [{"role": role, "content": text, "name": user} for text in said]
        more = {"metadata": {"mark": mark}, "expires_on": expires_on}
        self.do(add, self.side(n), messages, user, at, **more)

    @rule(
        n=st.integers(0, 1),
        user=users,
        text=texts,
        run=st.sampled_from(RUNS),
        ends=st.integers(0, 5),
        begin=st.sampled_from(TIMES),
        with_vector=st.booleans(),
    )
    def add_fact(
        self,
        n: int,
        user: str,
        text: str,
        run: str | None,
        ends: int,
        begin: float,
        with_vector: bool,
    ) -> None:
        """A fact that may supersede, and whose vector may come later."""
        old = self.ids(user)[ends : ends + 1]
        self.do(self._put_fact, self.side(n), user, text, run, tuple(old), begin, with_vector)

    async def _put_fact(
        self,
        parts: Parts,
        user: str,
        text: str,
        run: str | None,
        old: tuple[str, ...],
        begin: float,
        with_vector: bool,
    ) -> None:
        scope = Scope(user_id=user, run_id=run)
        [vector] = rows_of(await parts.embedder.embed([text]))
        memory = Memory(
            id=parts.ids.new(),
            text=text,
            hash=content_hash(text, b""),
            kind="fact",
            user_id=user,
            run_id=run,
            event_at=begin,
            valid_from=begin,
            created_at=NOW,
            updated_at=NOW,
        )
        put = PutMemory(
            memory=memory,
            identity=fact_identity("fact", scope, text, b""),
            terms=terms_of(parts, text, None, None),
            vector=vector if with_vector else None,
            supersedes=old,
        )
        await parts.records.commit(parts.project, [put])

    @rule(n=st.integers(0, 1), user=users, which=st.integers(0, 9), text=texts)
    def set_vector(self, n: int, user: str, which: int, text: str) -> None:
        for memory_id in self.ids(user)[which : which + 1]:
            vector = HashEmbedder().vector(text).tobytes()
            op = SetVectors(vectors=((memory_id, vector),))
            self.do(self.side(n).records.commit, self.side(n).project, [op])

    @rule(
        n=st.integers(0, 1),
        user=users,
        which=st.integers(0, 9),
        text=st.one_of(st.none(), texts),
        expires=st.sampled_from(EXPIRES),
        at=st.one_of(st.none(), st.sampled_from(TIMES)),
    )
    def edit(
        self, n: int, user: str, which: int, text: str | None, expires: str | None, at: float | None
    ) -> None:
        for memory_id in self.ids(user)[which : which + 1]:
            request = UpdateRequest(
                memory_id=memory_id, text=text, expires_on=expires, set_expires=True, event_at=at
            )
            try:
                self.do(update, self.side(n), request)
            except ConflictError:
                assert text is not None

    @rule(n=st.integers(0, 1), user=users, which=st.integers(0, 9))
    def delete(self, n: int, user: str, which: int) -> None:
        for memory_id in self.ids(user)[which : which + 1]:
            self.do(deleting.delete, self.side(n), memory_id)

    @rule(n=st.integers(0, 1), user=users)
    def delete_all(self, n: int, user: str) -> None:
        self.do(deleting.delete_all, self.side(n), of_user(user))

    @rule(n=st.integers(0, 1), dice=st.integers(0, 3))
    def reset(self, n: int, dice: int) -> None:
        if dice == 0:
            self.do(deleting.reset, self.side(n))

    # ----------------------------------------------------------------- reading

    @rule(
        n=st.integers(0, 1),
        entity=st.sampled_from(ENTITIES),
        view=st.sampled_from(VIEWS),
        query=st.sampled_from(QUERIES),
        wanted=st.sampled_from(FILTERS),
    )
    def look(self, n: int, entity: Entity, view: View, query: str, wanted: Filter) -> None:
        self._compare(n, entity, view, query, wanted)

    @precondition(lambda self: hasattr(self, "runner"))
    @invariant()
    def the_default_view_is_right(self) -> None:
        if next(self.fresh) % 4 == 0:
            self._compare(0, ENTITIES[0], VIEWS[0], QUERIES[0], FILTERS[0])

    def _compare(self, n: int, entity: Entity, view: View, query: str, wanted: Filter) -> None:
        parts = self.side(n)
        anew = EmbeddedIndex(parts.records, DIMENSIONS, 1 << 30)
        probe = (parts, entity, view, query, wanted)
        assert self.do(_ask, parts.index, *probe) == self.do(_ask, anew, *probe)


async def _ask(
    index: Any, parts: Parts, entity: Entity, view: View, query: str, wanted: Filter
) -> Found:
    probe = Probe(
        entities=(entity,),
        filter=wanted,
        view=view,
        query=analyze_query(query, key=b""),
        embedding=await parts.embedder.embed_query(query),
        limit=5,
    )
    hits = (await index.search(parts.project, probe)).hits
    return [(hit.memory.id, hit.score, hit.memory) for hit in hits]


class CrowdedMachine(IndexMachine):
    """Room for one working set only: every other search evicts."""

    view_bytes_max = 1


_SETTINGS = settings(
    max_examples=often(15, 40),
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [IndexMachine, CrowdedMachine])
@pytest.mark.parametrize("forgetful", [False, True])
def test_warm_is_as_good_as_fresh(machine: type[IndexMachine], forgetful: bool) -> None:
    """`forgetful`: the change log is cut so often that working sets fall behind it."""
    kept, every = (4, 3) if forgetful else (200_000, 1_000)
    with patch.multiple(changes, OUTBOX_ROWS_KEPT=kept, _PRUNE_EVERY=every):
        run_state_machine_as_test(machine, settings=_SETTINGS)


def _blind_to_removal(old: Any, delta: Any) -> bool:
    """Takes removals for nothing new."""
    return old is not None and not delta.entries


def test_the_comparison_finds_a_planted_fault() -> None:
    with (
        patch.object(embedded_index, "_appends", _blind_to_removal),
        pytest.raises((AssertionError, ExceptionGroup)),
    ):
        run_state_machine_as_test(IndexMachine, settings=settings(_SETTINGS, max_examples=400))


class _Restless:
    """Records whose entity is written to, and searched again, while it is being read."""

    def __init__(self) -> None:
        self.generation = 1
        self.on_read: list[Callable[[], object]] = []

    async def state(self, project: Project, entity: Entity) -> EntityState:
        return EntityState(generation=self.generation, memories=0)

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        read = self.generation
        if self.on_read:
            self.on_read.pop()()
        return Delta(generation=read, complete=True, entries=(), memories=())


async def test_a_search_between_the_end_of_a_refresh_and_its_clearing_away() -> None:
    records = _Restless()
    index = EmbeddedIndex(cast("Records", records), DIMENSIONS, 1 << 20)
    key = (DEFAULT_PROJECT, ENTITIES[0])
    later: list[asyncio.Task[Any]] = []

    def write_and_search() -> None:
        records.generation = 2
        later.append(asyncio.create_task(index._current(*key)))

    records.on_read.append(write_and_search)
    waits = itertools.count()

    def shield(task: asyncio.Future[Any]) -> asyncio.Future[Any]:
        assert next(waits) < 10, "waits again and again for what is over"
        return wait(task)

    wait = asyncio.shield
    with patch.object(asyncio, "shield", shield):
        assert (await index._current(*key)).generation == 1
        assert (await later[0]).generation == 2
    await index.close()
