"""What the index on Qdrant costs beside the bare client, on the same collection.

    python bench/index_qdrant.py --engine [--memories 100000] [--users 1000] [--questions 50]
    python bench/index_qdrant.py --url http://127.0.0.1:6333

With `--engine` Qdrant's own engine (qdrant-edge) behind the REST interface that the tests have,
both ways through the same socket. With `--url` on a server, in a collection of its own that is
dropped at the end. Without either in qdrant-client's local mode, in memory, where every query is a
pass over all points in Python: the ratio means something then, the milliseconds do not, and
questions end after `--seconds`. A search is one `nearest` and one `holders` of
six words, one after the other; the bare query is the same two requests made by hand. Both are
asked in turns, question by question.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from holdfast.backends.qdrant.connect import LocalConnection, ServerConnection
from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.model import Entity, Project, Space
from holdfast.ports import Point

DIMENSIONS = 256
WORDS = 30_000
WORDS_ASKED = 6
LIMIT = 64
WARM = 3
"""Questions that are not counted."""
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


@contextmanager
def engine() -> Iterator[str]:
    """The address of Qdrant's own engine."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.qdrant_engine import Engine
    from support.qdrant_wire import QdrantWire

    with TemporaryDirectory(prefix="holdfast-bench-") as folder:
        real = Engine(Path(folder))
        wire = QdrantWire(real)
        wire.requests = deque(maxlen=1)  # type: ignore[assignment]  # it keeps all otherwise
        try:
            yield wire.url
        finally:
            wire.close()
            real.close()


async def measure(given: argparse.Namespace, url: str | None) -> None:
    collection = f"holdfast-bench-{uuid4().hex[:8]}"
    place = {"path": ":memory:"} if url is None else {"url": url}
    index = build(Part("qdrant", {**place, "timeout_s": 120}), collection)
    memories = given.memories
    data = Data(memories, given.users)
    try:
        await index.open(Space(provider="bench", model="random", dimensions=DIMENSIONS))
        began = time.perf_counter()
        for start in range(0, memories, 2_000):
            await index.put(PROJECT, data.points(start, start + 2_000))
        print(
            f"{memories / (time.perf_counter() - began):,.0f} memories stored a second", flush=True
        )
        await compare(index, collection, data, given)
    finally:
        await index.clear(None)
        await index.close()


async def compare(index: Any, collection: str, data: Data, given: argparse.Namespace) -> None:
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
    end = time.monotonic() + given.seconds
    for number in range(given.questions + WARM):
        if number > WARM and time.monotonic() > end:
            break
        words = [(int(word),) for word in np.unique(data.words(WORDS_ASKED))]
        question = (data.user(number * 7), data.direction(), words)
        pair = [("ours", ours), ("bare", by_hand)]
        for name, search in pair if number % 2 else reversed(pair):
            taken = await timed(search, question)
            if number >= WARM:
                times[name].append(taken)
    p50 = {name: statistics.median(each) for name, each in times.items()}
    where = "local mode" if connection.local else "engine" if given.engine else "server"
    print(
        f"{where}, {len(times['ours'])} questions: p50 {p50['ours']:.2f} ms, "
        f"bare {p50['bare']:.2f} ms, "
        f"ratio {p50['ours'] / p50['bare']:.2f} (must be at most 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=240.0, help="after which questions end")
    parser.add_argument("--engine", action="store_true", help="qdrant-edge behind a socket")
    parser.add_argument("--url", help="of a Qdrant server; without it: local mode in memory")
    given = parser.parse_args()
    # that the local mode is not for so many points is what the first lines above say
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    with engine() if given.engine else nullcontext(given.url) as url:
        asyncio.run(measure(given, url))


if __name__ == "__main__":
    main()
