"""Three instances, writers and searchers, an embedder that is changed to and fro at any moment.

Beside them are two stores of one instance each, one for each embedder, that are given the same
writes: every answer must be, to the last score, that of one of the two.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.config import Part
from support import postgres
from support.embedded import HashEmbedder

OLD, NEW = {"provider": "old"}, {"provider": "new"}
BOTH = {"embedder": NEW, "embedder_before": OLD}
WORDS = ("bees", "tea", "tyres", "dog", "dentist", "Kent", "sister", "viola")
USERS = ("ann", "bob", "cyd")


class Salted(HashEmbedder):
    """Two of them have vectors of the same length that mean nothing to each other."""

    def vector(self, text: str) -> np.ndarray:
        return super().vector(" ".join(f"{self.space.model}{word}" for word in text.split()))


def made(part: Part) -> Salted:
    return Salted(part.provider, 16)


class Twins:
    """The fleet, and the two stores it is compared with."""

    def __init__(self, fleet: list[AsyncAdmin], alone: list[AsyncMemory]) -> None:
        self.fleet = fleet
        self.alone = alone
        self.ids: dict[str, list[tuple[str, ...]]] = {user: [] for user in USERS}
        """Of each memory of a user, its id in the fleet's store and in the two others."""
        self.seen = [0, 0]
        """Answers that only the old embedder gives, and only the new one."""
        self.clock = 1_700_000_000

    def memories(self, instance: int) -> list[AsyncMemory]:
        return [self.fleet[instance].memory(), *self.alone]

    async def add(self, instance: int, user: str, text: str) -> None:
        self.clock += 1
        at, ids = self.clock, []
        for memory in self.memories(instance):
            added = await memory.add(text, user_id=user, infer=False, timestamp=at)
            ids.append(added["results"][0]["id"])
        self.ids[user].append(tuple(ids))

    async def update(self, instance: int, user: str, which: int, text: str) -> None:
        known = self.ids[user]
        if known:
            ids = known[which % len(known)]
            for memory, id_ in zip(self.memories(instance), ids, strict=True):
                await memory.update(id_, text)

    async def delete(self, instance: int, user: str, which: int) -> None:
        known = self.ids[user]
        if known:
            ids = known.pop(which % len(known))
            for memory, id_ in zip(self.memories(instance), ids, strict=True):
                await memory.delete(id_)

    async def search(self, instance: int, user: str, text: str) -> None:
        found, old, new = [await _answer(memory, user, text) for memory in self.memories(instance)]
        assert found in (old, new), (found, old, new)
        if old != new:
            self.seen[found == new] += 1


async def _answer(memory: AsyncMemory, user: str, text: str) -> list[tuple[str, float]]:
    answer = await memory.search(text, filters={"user_id": user}, threshold=0.0, top_k=20)
    assert "degraded" not in answer
    return [(each["memory"], round(each["score"], 4)) for each in answer["results"]]


async def _someone(twins: Twins, user: str, chance: random.Random) -> None:
    """What one user does in a round: writes, each followed by a search by any instance."""
    for _ in range(chance.randint(1, 4)):
        text = " ".join(chance.sample(WORDS, 3)) + f" {chance.randrange(10_000)}"
        instance, which = chance.randrange(3), chance.randrange(100)
        kind = chance.choice(("add", "add", "update", "delete", "search"))
        if kind == "add":
            await twins.add(instance, user, text)
        elif kind == "update":
            await twins.update(instance, user, which, text)
        elif kind == "delete":
            await twins.delete(instance, user, which)
        await twins.search(chance.randrange(3), user, " ".join(chance.sample(WORDS, 2)))


async def _switch(twins: Twins, step: int, chance: random.Random) -> None:
    """To and fro; now and then what is left behind is deleted."""
    for _ in range(chance.randrange(12)):
        await asyncio.sleep(0)
    embedder = twins.fleet[chance.randrange(3)].embedder
    if step % 2:
        await embedder.rollback()
    else:
        await embedder.change()
        await embedder.cutover()
    if chance.random() < 0.3:
        await embedder.finish()


async def campaign(folder: Path, seed: int, rounds: int = 6, url: str | None = None) -> list[int]:
    """Rounds of everything at once; how often each embedder alone gave the answer. The fleet is on
    SQLite, or on the Postgres at `url`."""
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:

        async def opened(name: str, **more: Any) -> AsyncAdmin:
            admin = AsyncAdmin({"path": str(folder / name), **more})
            return await stack.enter_async_context(admin)

        place = {} if url is None else {"records": {"provider": "postgres", "config": {"url": url}}}
        first = await opened("fleet", embedder=OLD, **place)
        for user in USERS:  # or it would be bound to the new one
            await first.memory().add("a first thing", user_id=user, infer=False, timestamp=1.0)
        fleet = [await opened("fleet", **BOTH, **place) for _ in range(3)]
        alone = []
        for name, embedder in (("old", OLD), ("new", NEW)):
            memory = (await opened(name, embedder=embedder)).memory()
            for user in USERS:
                await memory.add("a first thing", user_id=user, infer=False, timestamp=1.0)
            alone.append(memory)
        twins = Twins(fleet, alone)
        for step in range(rounds):
            users = [_someone(twins, user, random.Random(chance.random())) for user in USERS]
            await asyncio.gather(_switch(twins, step, chance), *users)
        return twins.seen


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_every_answer_is_that_of_one_embedder(seed: int) -> None:
    with patch("holdfast.assemble.make_embedder", made), TemporaryDirectory() as folder:
        asyncio.run(campaign(Path(folder), seed))


def test_both_embedders_are_seen() -> None:
    with patch("holdfast.assemble.make_embedder", made), TemporaryDirectory() as folder:
        seen = asyncio.run(campaign(Path(folder), 7))
    assert min(seen) > 5, seen


@pytest.mark.parametrize("seed", [1, 2])
def test_on_postgres(seed: int) -> None:
    if postgres.programs(postgres.USUAL) is None:
        pytest.skip("Postgres is not installed")
    with (
        patch("holdfast.assemble.make_embedder", made),
        TemporaryDirectory() as folder,
        postgres.database() as url,
    ):
        asyncio.run(campaign(Path(folder), seed, url=url))


def _no_check(*_: object) -> None:
    """A commit is carried out whatever epoch its vectors are of."""


FAULTS: dict[str, Callable[[], Any]] = {
    "commits do not look at the epoch": lambda: patch(
        "holdfast.backends.sql.operations._check_epoch", _no_check
    ),
    "who waits is told the epoch of long ago": lambda: patch(
        "holdfast.backends.sql.queries.EPOCH_NUMBER", "0"
    ),
    "a text edited keeps the vectors of other spaces": lambda: patch(
        "holdfast.backends.sql.operations.Transaction.set_vectors", _only_active
    ),
}


def _only_active(self: Any, no: int, vector: bytes | None, _shadow: bytes | None) -> None:
    self.connection.execute(
        "DELETE FROM embeddings WHERE memory_no = ? AND space_no = ?", (no, self.current.space_no)
    )
    self.connection.execute(
        "INSERT INTO embeddings (memory_no, space_no, vector) VALUES (?,?,?)",
        (no, self.current.space_no, vector),
    )


@pytest.mark.parametrize("name", [None, *FAULTS])
def test_planted_faults_are_noticed(name: str | None) -> None:
    fault = FAULTS[name]() if name is not None else nullcontext()
    noticed = 0
    with patch("holdfast.assemble.make_embedder", made), fault:
        for seed in range(3):
            with TemporaryDirectory() as folder:
                try:
                    asyncio.run(campaign(Path(folder), seed, rounds=8))
                except Exception:  # noqa: BLE001  (an answer that is wrong, or a call that fails)
                    noticed += 1
                    break
    assert bool(noticed) == (name is not None)
