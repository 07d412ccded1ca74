"""What the layers around an index cost: `python bench/overheads.py [--json FILE]`.

Sharding, bounding (deadline, breaker, bulkhead), metering and a cache that does not have the
answer, each with what it wraps and without, asked in turns. What is wrapped answers at once, or,
for the cache, is the same search without one. Medians of the time awaited on the event loop; the
sum is what a search through all of them pays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from holdfast.backends.sharded.maps import FileShardMaps
from holdfast.backends.sharded.vectors import ShardedSettings, ShardedVectors, ShardSettings
from holdfast.metrics import Metrics
from holdfast.model import Entity, Project, Space
from holdfast.ports import Match, TermMatches, Vectors
from holdfast.wrap.bounded_vectors import BoundedVectors, index_gate

sys.path.insert(0, str(Path(__file__).parent))
import cache

ROUNDS = 3_000
PROJECT = Project("bench")
SPACE = Space(provider="local", model="bench", dimensions=256)
SHARDS = 4


class Instant:
    """An engine that answers at once."""

    name = "instant"
    settles_s = 0.0

    async def open(self, space: Space) -> None:
        """Is open."""

    async def nearest(
        self, _project: Project, _entity: Entity, _vector: np.ndarray, _limit: int
    ) -> list[Match]:
        """Nothing is near."""
        return []

    async def holders(
        self, _project: Project, _entity: Entity, terms: Sequence[Sequence[int]], _limit: int
    ) -> list[TermMatches]:
        """Nothing has the words."""
        return [TermMatches(matches=())] * len(terms)

    async def close(self) -> None:
        """Nothing is held."""


async def compared(contenders: dict[str, Callable[[int], Awaitable[object]]]) -> dict[str, float]:
    """Median microseconds of each, asked in turns."""
    taken: dict[str, list[int]] = {name: [] for name in contenders}
    for number in range(ROUNDS):
        for name, ask in contenders.items():
            began = time.perf_counter_ns()
            await ask(number)
            taken[name].append(time.perf_counter_ns() - began)
    return {name: median(times) / 1e3 for name, times in taken.items()}


async def layers(folder: str) -> dict[str, float]:
    """What sharding and bounding add to a question, in microseconds."""
    vector = np.zeros(SPACE.dimensions, dtype="<f4")

    def asking(vectors: Vectors) -> Callable[[int], Awaitable[object]]:
        return lambda number: vectors.nearest(PROJECT, Entity("user", f"u{number}"), vector, 64)

    bare: Vectors = Instant()  # type: ignore[assignment]
    shards = tuple(ShardSettings(name=f"s{number}", provider="instant") for number in range(SHARDS))
    sharded = ShardedVectors(
        "bench",
        ShardedSettings(shards=shards),
        lambda _part, _collection: bare,
        FileShardMaps(Path(folder) / "map"),
    )
    await sharded.open(SPACE)
    bounded = BoundedVectors(bare, index_gate(Metrics()))
    taken = await compared(
        {"bare": asking(bare), "sharding": asking(sharded), "bounding": asking(bounded)}
    )
    await sharded.close()
    return {name: taken[name] - taken["bare"] for name in ("sharding", "bounding")}


async def metering() -> float:
    """What counting one search costs, in microseconds: as many counts as one makes."""
    metrics = Metrics()

    async def counted(_: int) -> None:
        metrics.count("cache_lookup", "answer", "miss")
        metrics.count("index_answer", "candidates")
        metrics.count("working_set_lookup", "hit")
        metrics.called("index", "", 0.001)
        metrics.called("embedder", "", 0.001)

    async def nothing(_: int) -> None:
        return None

    taken = await compared({"counted": counted, "nothing": nothing})
    return taken["counted"] - taken["nothing"]


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    arguments = parser.parse_args()
    random.seed(7)
    with tempfile.TemporaryDirectory(prefix="holdfast-overheads-") as folder:
        rows = asyncio.run(layers(folder))
        rows["metering"] = asyncio.run(metering())
        (store := Path(folder) / "store").mkdir()
        taken = asyncio.run(cache.measure(str(store), None))
    rows["cache miss"] = 1e3 * (median(taken["miss"]) - median(taken["no cache"]))
    rows["together"] = sum(rows.values())
    print(f"{'':14}{'p50 ms':>10}")
    for name, microseconds in rows.items():
        print(f"{name:14}{microseconds / 1e3:>10.3f}")
    if arguments.json:
        told = {name: {"p50_ms": value / 1e3} for name, value in rows.items()}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
