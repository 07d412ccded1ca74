"""What the index in pgvector costs beside the bare query of pgvector, on the same table.

    python bench/index_pgvector.py [--memories 100000] [--users 1000] [--heaviest 20000]

Starts a Postgres of its own, or uses `--url` (a database with pgvector; its schema
`holdfast_bench` is dropped at the end). Bare is `SELECT id ... ORDER BY embedding <#> ... LIMIT`,
for one user, over one connection, without row-level security. Every figure is taken in turns with
the others, question by question.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.backends.pgvector import points as rows
from holdfast.backends.pgvector.vectors import build
from holdfast.config import Part
from holdfast.model import ANY, Entity, Project, Space
from holdfast.ports import Point, Vectors

DIMENSIONS = 256
WORDS = 30_000
WORDS_ASKED = 8
LIMIT = 64
STEP = 1_000
"""Memories stored in one call."""
PROJECT = Project("bench")
SCHEMA = "holdfast_bench"


class Data:
    """Memories that cluster by topic, with words of which few are common and most are rare."""

    def __init__(self, memories: int, users: int, heaviest: int) -> None:
        self.rng = np.random.default_rng(20261126)
        rest = self.rng.integers(1, users, memories - heaviest)
        self.users = np.concatenate([np.zeros(heaviest, int), rest])
        self.rng.shuffle(self.users)
        topics = self.rng.normal(size=(200, DIMENSIONS))
        noise = self.rng.normal(size=(memories, DIMENSIONS))
        vectors = topics[self.rng.integers(0, 200, memories)] + noise
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype("<f4")
        self.vocabulary = self.rng.integers(0, 2**64, WORDS, dtype=np.uint64)

    def words(self, number: int) -> np.ndarray:
        """Of a text or question: the n-th common word comes with a chance of about 1/n."""
        return self.vocabulary[(WORDS ** self.rng.random(number)).astype(int) - 1]

    def points(self, start: int, end: int) -> list[Point]:
        return [
            Point(
                id=str(UUID(int=number)),
                entities=(Entity("user", f"user-{self.users[number]}"),),
                vector=self.vectors[number].tobytes(),
                terms=self.words(int(self.rng.integers(5, 40))).astype("<u8").tobytes(),
                mark=number,
            )
            for number in range(start, end)
        ]


async def fill(vectors: Vectors, data: Data, start: int, end: int) -> float:
    """Memories stored a second."""
    taken = 0.0
    for first in range(start, end, STEP):
        points = data.points(first, min(first + STEP, end))
        begun = time.perf_counter()
        await vectors.put(PROJECT, points)
        taken += time.perf_counter() - begun
    return (end - start) / taken


async def filled(config: dict[str, Any], data: Data) -> Vectors:
    """The collection with all memories; the graph is made once most are there."""
    space = Space(provider="bench", model="random", dimensions=DIMENSIONS)
    most = len(data.users) - STEP
    bare = build(Part(provider="pgvector", config={**config, "mode": "exact"}), "memories")
    await bare.open(space)
    print(f"{await fill(bare, data, 0, most):.0f} memories stored a second without the graph")
    await bare.close()
    vectors = build(Part(provider="pgvector", config=config), "memories")
    begun = time.perf_counter()
    await vectors.open(space)
    print(f"graph made in {time.perf_counter() - begun:.0f} s")
    speed = await fill(vectors, data, most, len(data.users))
    print(f"{speed:.0f} memories stored a second with the graph")
    return vectors


async def ask(vectors: Vectors, bare: Any, data: Data, entity: Entity | None, rounds: int) -> None:
    """Print the p50 of each way to ask, in milliseconds."""
    times: dict[str, list[float]] = {}

    async def timed(name: str, call: Callable[[], Awaitable[Any]]) -> None:
        begun = time.perf_counter()
        await call()
        times.setdefault(name, []).append(time.perf_counter() - begun)

    for _ in range(rounds):
        vector = data.vectors[data.rng.integers(0, len(data.vectors))]
        who = entity or Entity("user", f"user-{data.rng.integers(1, data.users.max() + 1)}")
        words = [(int(word),) for word in data.words(WORDS_ASKED)]

        async def near(who: Entity = who, vector: np.ndarray = vector) -> Any:
            return await vectors.nearest(PROJECT, who, vector, LIMIT)

        async def have(who: Entity = who, words: Any = words) -> Any:
            return await vectors.holders(PROJECT, who, words, LIMIT)

        async def both(near: Any = near, have: Any = have) -> Any:
            return await asyncio.gather(near(), have())

        async def plain(who: Entity = who, vector: np.ndarray = vector) -> Any:
            whose = "user_id IS NOT NULL" if who.id == ANY else "user_id = %(user)s::uuid"
            told = {"user": rows.entity_key(who.id), "vector": rows.Reals(vector)}
            cursor = await bare.execute(
                f"SELECT id, embedding <#> %(vector)s::real[]::vector AS distance"
                f" FROM {SCHEMA}.memories WHERE project = '{PROJECT}' AND {whose}"
                f" ORDER BY distance LIMIT {LIMIT}",
                told,
            )
            return await cursor.fetchall()

        for name, call in (("bare", plain), ("nearest", near), ("holders", have), ("both", both)):
            await timed(name, call)
    middle = {name: 1_000 * float(np.median(each[3:])) for name, each in times.items()}
    ratios = {name: f"{middle[name] / middle['bare']:.2f} x" for name in middle if name != "bare"}
    told = ", ".join(f"{name} {value:.2f} ms" for name, value in middle.items())
    print(f"{entity.id if entity else 'each user':>10}: {told}; {ratios}")


async def measure(url: str, options: argparse.Namespace) -> None:
    data = Data(options.memories, options.users, options.heaviest)
    vectors = await filled({"url": url, "schema": SCHEMA}, data)
    bare = await psycopg.AsyncConnection.connect(url, autocommit=True)
    rows.register(bare)
    try:
        await bare.execute(f'VACUUM ANALYZE {SCHEMA}.memories, {SCHEMA}."memories.words"')
        for name in ("hnsw.iterative_scan = strict_order", "hnsw.ef_search = 100", "jit = off"):
            await bare.execute(f"SET {name}")
        await bare.execute("SET holdfast.reach = 'all'")
        for entity, rounds in ((None, 400), (Entity("user", "user-0"), 40), (EVERYONE, 20)):
            await ask(vectors, bare, data, entity, rounds)
    finally:
        await bare.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        await bare.close()
        await vectors.close()


EVERYONE = Entity("user", ANY)


def main() -> None:
    from support.postgres import shared

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("memories", 100_000), ("users", 1_000), ("heaviest", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--url", help="of a database with pgvector, in place of one of its own")
    options = parser.parse_args()
    url = options.url
    if not url:
        server = shared(18)
        name = server.database()
        server.ask("CREATE EXTENSION vector", name)
        url = server.url(name)
    asyncio.run(measure(url, options))


if __name__ == "__main__":
    main()
