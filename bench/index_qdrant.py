"""What the index on Qdrant costs beside the bare client, on the same collection.

    python bench/index_qdrant.py [--memories 100000] [--users 1000] [--questions 50]
    python bench/index_qdrant.py --url http://127.0.0.1:6333

Without `--url` in qdrant-client's local mode, in memory, where every query is a pass over all
points in Python: the ratio means something then, the milliseconds do not. With it on a server, in
a collection of its own that is dropped at the end. A search is one `nearest` and one `holders` of
six words, one after the other; the bare query is the same two requests made by hand. Both are
asked in turns, question by question.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from holdfast.backends.qdrant import build
from holdfast.backends.qdrant_connect import LocalConnection, ServerConnection
from holdfast.config import Part
from holdfast.model import Entity, Project, Space
from holdfast.ports import Point

DIMENSIONS = 256
WORDS = 30_000
WORDS_ASKED = 6
LIMIT = 64
PROJECT = Project("bench")


class Data:
    """Memories that cluster by topic, with words of which few are common and most are rare."""

    def __init__(self, memories: int, users: int) -> None:
        self._random = np.random.default_rng(20261126)
        self._topics = self._random.normal(size=(200, DIMENSIONS))
        self._vocabulary = self._random.integers(0, 2**64, WORDS, dtype=np.uint64)
        self._memories, self._users = memories, users

    def words(self, number: int) -> np.ndarray:
        """The n-th common word comes with a chance of about 1/n."""
        return self._vocabulary[(WORDS ** self._random.random(number)).astype(int) - 1]

    def direction(self) -> np.ndarray:
        near = self._topics[self._random.integers(0, len(self._topics))]
        vector = near + self._random.normal(size=DIMENSIONS)
        return np.asarray(vector / np.linalg.norm(vector), dtype="<f4")

    def user(self, number: int) -> Entity:
        return Entity("user", f"u{number % self._users}")

    def points(self, start: int, end: int) -> list[Point]:
        return [
            Point(
                id=f"m{n}",
                entities=(self.user(n),),
                vector=self.direction().tobytes(),
                terms=self.words(int(self._random.integers(5, 40))).astype("<u8").tobytes(),
                mark=n,
            )
            for n in range(start, min(end, self._memories))
        ]


Search = Callable[[Entity, np.ndarray, list[tuple[int, ...]]], Awaitable[Any]]


def bare(client: AsyncQdrantClient, collection: str, local: bool) -> Search:
    """The same two requests by hand: nothing is checked, nothing translated."""

    async def search(entity: Entity, vector: np.ndarray, words: list[tuple[int, ...]]) -> Any:
        key = f"{len(PROJECT)}:{PROJECT}:{entity.id}"
        match = models.FieldCondition(key="user", match=models.MatchValue(value=key))
        selected = models.Filter(must=[match])
        await client.query_points(
            collection,
            query=vector.tolist(),
            using="dense",
            query_filter=selected,
            search_params=None if local else models.SearchParams(),
            limit=LIMIT,
            with_payload=["id"],
        )
        requests = [
            models.QueryRequest(
                query=models.SparseVector(
                    indices=[(word[0] ^ word[0] >> 32) & 0xFFFFFFFF], values=[1.0]
                ),
                using="terms",
                filter=selected,
                limit=LIMIT,
                with_payload=["id"],
            )
            for word in words
        ]
        return await client.query_batch_points(collection, requests)

    return search


async def timed(search: Search, question: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    await search(*question)
    return (time.perf_counter() - start) * 1_000.0


async def measure(memories: int, users: int, questions: int, url: str | None) -> None:
    collection = f"holdfast-bench-{uuid4().hex[:8]}"
    place = {"path": ":memory:"} if url is None else {"url": url}
    index = build(Part("qdrant", {**place, "timeout_s": 120}), collection)
    data = Data(memories, users)
    try:
        await index.open(Space(provider="bench", model="random", dimensions=DIMENSIONS))
        for start in range(0, memories, 2_000):
            await index.put(PROJECT, data.points(start, start + 2_000))
        await compare(index, collection, data, questions)
    finally:
        await index.clear(None)
        await index.close()


async def compare(index: Any, collection: str, data: Data, questions: int) -> None:
    async def ours(entity: Entity, vector: np.ndarray, words: list[tuple[int, ...]]) -> Any:
        await index.nearest(PROJECT, entity, vector, LIMIT)
        return await index.holders(PROJECT, entity, words, LIMIT)

    connection: LocalConnection | ServerConnection = index._connection

    async def by_hand(entity: Entity, vector: np.ndarray, words: list[tuple[int, ...]]) -> Any:
        # through the same thread: the local mode may be used by no other
        return await connection.run(
            lambda client: bare(client, collection, connection.local)(entity, vector, words), 120.0
        )

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(questions + 3):
        words = [(int(word),) for word in np.unique(data.words(WORDS_ASKED))]
        question = (data.user(number * 7), data.direction(), words)
        pair = [("ours", ours), ("bare", by_hand)]
        for name, search in pair if number % 2 else reversed(pair):
            taken = await timed(search, question)
            if number >= 3:  # the first warm up
                times[name].append(taken)
    p50 = {name: statistics.median(each) for name, each in times.items()}
    where = "local mode" if connection.local else "server"
    print(
        f"{where}: p50 {p50['ours']:.2f} ms, bare {p50['bare']:.2f} ms, "
        f"ratio {p50['ours'] / p50['bare']:.2f} (must be at most 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--url", help="of a Qdrant server; without it: local mode in memory")
    given = parser.parse_args()
    # that the local mode is not for so many points is what the first lines above say
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    asyncio.run(measure(given.memories, given.users, given.questions, given.url))


if __name__ == "__main__":
    main()
