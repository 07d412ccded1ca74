"""What cached answers save and cost: `python bench/cache.py [--redis URL] [--json FILE]`.

One store, the same questions asked in turn of four memories: one without a cache, one that finds
each answer in its process, one that never finds any, and, with --redis, one that finds each in
Redis. Medians of the time awaited on the event loop; read the ratios. The misses' cost is that of
looking, of computing the key, and of keeping the answer for the next one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

from holdfast import AsyncMemory
from holdfast.wrap.cached_index import CachedIndex

USERS = 50
TURNS = 100
ROUNDS = 400
WORDS = (
    "bees hives Kent honey garden tea morning train Lisbon sister guitar lesson winter tyres car "
    "doctor peanuts allergy flight Tuesday office deadline python coffee dentist marathon shoes"
).split()


def said(chance: random.Random, words: int) -> str:
    """Words in a row, about something."""
    return " ".join(chance.choices(WORDS, k=words))


def cache(**more: Any) -> dict[str, Any]:
    """A cache in the process, with these settings."""
    return {"provider": "process", "config": more}


async def search(memory: AsyncMemory, question: tuple[str, str]) -> int:
    """Nanoseconds of one search."""
    user, query = question
    begin = time.perf_counter_ns()
    await memory.search(query, filters={"user_id": user}, top_k=10)
    return time.perf_counter_ns() - begin


def index_of(memory: AsyncMemory) -> CachedIndex:
    """Its index, which remembers."""
    assert memory._assembly is not None
    index = memory._assembly.parts.index
    assert isinstance(index, CachedIndex)
    return index


async def measure(folder: str, redis: str | None) -> dict[str, list[float]]:
    """Milliseconds of each search, by contender."""
    chance = random.Random(7)
    makers: dict[str, dict[str, Any]] = {
        "no cache": cache(results=False),
        "hit in process": cache(),
        "miss": cache(),
    }
    if redis:
        shared = {"url": redis, "deployment": f"bench-{time.time_ns()}"}
        makers["hit in Redis"] = {"provider": "redis", "config": shared}
        makers["miss in Redis"] = {"provider": "redis", "config": shared}
    memories = {name: AsyncMemory({"path": folder, "cache": part}) for name, part in makers.items()}
    for memory in memories.values():
        await memory.open()
    first = memories["no cache"]
    for user in range(USERS):
        turns = [{"role": "user", "content": said(chance, 12)} for _ in range(TURNS)]
        await first.add(turns, user_id=f"u{user}", infer=False)
    before: dict[str, Callable[[AsyncMemory, tuple[str, str]], Awaitable[None]]] = {
        "hit in process": _known,
        "miss": _unknown,
        "hit in Redis": _known_elsewhere,
        "miss in Redis": _unknown,
    }
    taken: dict[str, list[float]] = {name: [] for name in memories}
    for number in range(ROUNDS + USERS):
        question = (f"u{number % USERS}", said(chance, 6))
        for name in chance.sample(list(memories), len(memories)):
            memory = memories[name]
            if name in before:
                await before[name](memory, question)
            ns = await search(memory, question)
            if number >= USERS:  # the working sets are warm
                taken[name].append(ns / 1e6)
            if name != "no cache":
                await index_of(memory).settle()
    for memory in memories.values():
        await memory.aclose()
    return taken


async def _known(memory: AsyncMemory, question: tuple[str, str]) -> None:
    await search(memory, question)
    await index_of(memory).settle()


async def _known_elsewhere(memory: AsyncMemory, question: tuple[str, str]) -> None:
    await _known(memory, question)
    index_of(memory).clear()


async def _unknown(memory: AsyncMemory, question: tuple[str, str]) -> None:
    index_of(memory).clear()
    assert memory._assembly is not None
    if memory._assembly.cache.shared:
        await memory._assembly.cache.clear()


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--redis", metavar="URL", help="a Redis that may be used")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-cache-") as folder:
        taken = asyncio.run(measure(folder, arguments.redis))
    rows = {name: quantiles(times, n=100) for name, times in taken.items()}
    plain = rows["no cache"][49]
    print(f"{'':16}{'p50 ms':>10}{'p99 ms':>10}{'over no cache':>16}")
    for name, centiles in rows.items():
        ratio = f"{centiles[49] / plain:.2f} x"
        print(f"{name:16}{centiles[49]:>10.3f}{centiles[98]:>10.3f}{ratio:>16}")
    if arguments.json:
        told = {name: {"p50_ms": each[49], "p99_ms": each[98]} for name, each in rows.items()}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
