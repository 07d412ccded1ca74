"""What sealing costs: `python bench/sealing.py [--quick] [--json FILE]`.

Three stores in one process get the same turns and questions in turn, each round in another order: a
plain one, a sealed one, and another plain one, whose ratio tells how much is noise. Medians of the
time awaited on the event loop; read the ratios to the first plain one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from holdfast import AsyncMemory

WORDS: Final = (
    "bees hives Kent honey garden tea morning train Lisbon sister guitar lesson winter tyres car "
    "doctor peanuts allergy flight Tuesday office deadline python coffee dentist marathon shoes"
).split()
STORES: Final = ("plain", "sealed", "plain again")
WRITERS: Final = 64
VARIABLE: Final = "HOLDFAST_BENCH_MASTER_KEYS"

Step = Callable[[AsyncMemory, int], Awaitable[object]]


class Sizes:
    """How much is measured."""

    def __init__(self, *, quick: bool) -> None:
        self.memories = 1_000 if quick else 10_000
        """Of the user that is asked about."""
        self.searches = 60 if quick else 400
        self.adds = 60 if quick else 400
        self.groups = 6 if quick else 40
        """Rounds in which each of 64 writers adds one turn."""
        self.loads = 3 if quick else 7
        """Times that the working set is read anew."""


def said(seed: str, words: int) -> str:
    """Words in a row, the same for a seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def settings(folder: Path, name: str) -> dict[str, Any]:
    """A store of its own; answers are not cached, so that every search does all its work."""
    seal = {"provider": "environment", "config": {"variable": VARIABLE}}
    cache = {"provider": "process", "config": {"results": False}}
    sealing = {"seal": seal} if name == "sealed" else {}
    return {"path": str(folder / name), "workers": 0, "cache": cache, **sealing}


async def fill(memory: AsyncMemory, count: int) -> None:
    """Give Ann so many memories."""
    for start in range(0, count, 100):
        turns = [{"role": "user", "content": said(f"t{n}", 14)} for n in range(start, start + 100)]
        await memory.add(turns, user_id="ann", infer=False)


async def search(memory: AsyncMemory, n: int) -> object:
    """One question that was not asked before."""
    return await memory.search(said(f"q{n}", 6), filters={"user_id": "ann"}, top_k=10)


async def add(memory: AsyncMemory, n: int) -> object:
    """One turn, waited for."""
    return await memory.add(said(f"a{n}", 14), user_id="bob", infer=False)


async def add_many(memory: AsyncMemory, n: int) -> object:
    """A turn of each of 64 writers at once."""
    return await asyncio.gather(
        *(
            memory.add(said(f"w{n} {writer}", 14), user_id=f"u{writer}", infer=False)
            for writer in range(WRITERS)
        )
    )


async def interleaved(
    memories: dict[str, AsyncMemory], step: Step, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of a step, by store."""
    times: dict[str, list[float]] = {name: [] for name in memories}
    names = list(memories)
    for n in range(-3, rounds):  # the first ones warm up
        for name in names:
            begin = time.perf_counter()
            await step(memories[name], n)
            if n >= 0:
                times[name].append((time.perf_counter() - begin) * 1e3)
        names.append(names.pop(0))
    return times


async def opened(folder: Path, sizes: Sizes) -> dict[str, list[float]]:
    """Milliseconds from opening a store to the first answer."""
    times: dict[str, list[float]] = {name: [] for name in STORES}
    names = list(STORES)
    for n in range(-1, sizes.loads):
        for name in names:
            begin = time.perf_counter()
            async with AsyncMemory(settings(folder, name)) as memory:
                await search(memory, n)
            if n >= 0:
                times[name].append((time.perf_counter() - begin) * 1e3)
        names.append(names.pop(0))
    return times


async def measure(folder: Path, sizes: Sizes) -> dict[str, dict[str, list[float]]]:
    """Milliseconds by what was done and by store."""
    async with AsyncExitStack() as stack:
        memories = {
            name: await stack.enter_async_context(AsyncMemory(settings(folder, name)))
            for name in STORES
        }
        for memory in memories.values():
            await fill(memory, sizes.memories)
        found = {
            "search": await interleaved(memories, search, sizes.searches),
            "add": await interleaved(memories, add, sizes.adds),
            f"add, {WRITERS} writers": await interleaved(memories, add_many, sizes.groups),
        }
    return {**found, "open, first search": await opened(folder, sizes)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what sealing costs.")
    parser.add_argument("--quick", action="store_true", help="small stores, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    arguments = parser.parse_args()
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    os.environ[VARIABLE] = f"bench:{key}"
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), Sizes(quick=arguments.quick)))
    print("| what | " + " | ".join(f"{name}, ms" for name in STORES) + " | sealed | noise |")
    print("|---" * (len(STORES) + 3) + "|")
    for what, times in found.items():
        plain, sealed, again = (median(times[name]) for name in STORES)
        print(
            f"| {what} | {plain:.2f} | {sealed:.2f} | {again:.2f} "
            f"| {sealed / plain:.3f} x | {again / plain:.3f} x |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
