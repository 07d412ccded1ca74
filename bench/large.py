"""How long the usual calls take on a large store: SQLite, one process, the default embedder.

    python bench/large.py [--memories 1000000] [--users 20000] [--store FOLDER]

A tenth of all memories is the first user's. With `--store` the store is kept, and used again by the
next run; it grows to 2.5 GB for a million memories. Each call is made once or for a
few users, and the median told: this shows what grows with the store, not what a call costs.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.admin import AsyncAdmin
from tests.drill import life

AT_ONCE = 200
TRIES = 7
UNCACHED = {"provider": "process", "config": {"results": False}}

Call = Callable[[str], Awaitable[Any]]


async def fill(admin: AsyncAdmin, given: argparse.Namespace) -> None:
    """All users' memories, in the order of the users."""
    memory = admin.memory()
    with Progress() as progress:
        task = progress.add_task("filling", total=given.memories)
        for user, numbers in life.shares(given.memories, given.users):
            for start in range(numbers.start, numbers.stop, AT_ONCE):
                some = range(start, min(start + AT_ONCE, numbers.stop))
                turns = [{"role": "user", "content": life.said(no)} for no in some]
                await memory.add(turns, user_id=life.name(user), infer=False)
                progress.update(task, advance=len(some))


async def timed(what: str, call: Call, users: list[int]) -> None:
    taken = []
    for user in users:
        began = time.perf_counter()
        await call(life.name(user))
        taken.append(1_000.0 * (time.perf_counter() - began))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what:34} {median(taken):10.1f} ms   most memory so far {held} MB", flush=True)


async def measured(store: dict[str, Any], given: argparse.Namespace) -> None:
    async with AsyncAdmin(store) as admin:
        memory = admin.memory()

        async def search(user: str) -> None:
            await memory.search("the tiny train on the trip", filters={"user_id": user})

        async def add(user: str) -> None:
            await memory.add("Hello there.", user_id=user, infer=False)

        async def listing(user: str) -> None:
            await memory.get_all(filters={"user_id": user}, top_k=20)

        async def forget(user: str) -> None:
            await memory.delete_all(user_id=user)

        async def stats(_: str) -> None:
            await memory.stats()

        async def census(_: str) -> None:
            await admin.census()

        step = given.users // (2 * TRIES)
        some = list(range(step, step * (TRIES + 1), step))
        await timed("first search of a user", search, some)
        await timed("search", search, some)
        await timed("add", add, some)
        await timed("list of 20", listing, some)
        await timed("first search of the largest user", search, [0])
        await timed("search of the largest user", search, [0] * TRIES)
        await timed("list of 20, the largest user", listing, [0])
        await timed("delete_all of a user", forget, [user + 1 for user in some])
        await timed("counts for people (stats)", stats, [0] * 3)
        await timed("counts for Prometheus", census, [0] * 3)


async def run(folder: str, given: argparse.Namespace) -> None:
    store = {"path": folder, "workers": 0, "cache": UNCACHED}
    async with AsyncAdmin(store) as admin:
        if not (await admin.census()).memories:
            await fill(admin, given)
    await measured(store, given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--store", help="folder of a store that is kept")
    given = parser.parse_args()
    kept = nullcontext(given.store) if given.store else tempfile.TemporaryDirectory()
    with kept as folder:
        asyncio.run(run(folder, given))


if __name__ == "__main__":
    main()
