"""What tables divided by project cost beside whole ones, on Postgres.

    python bench/partitions.py [--memories 6000] [--users 60]

Starts a Postgres of its own with two databases: one as Holdfast makes it, one whose large tables
`deploy/postgres-partitions.sql` has divided into four. Each user is asked about in both, in turns:
the first search of the user, a second one, an add and a listing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.admin import AsyncAdmin
from support import postgres
from tests.drill import life

UNCACHED = {"provider": "process", "config": {"results": False}}

Times = dict[str, list[float]]


async def opened(stack: AsyncExitStack, url: str, given: argparse.Namespace) -> AsyncAdmin:
    """A filled store, of which Postgres has statistics, as autovacuum would have made them."""
    records = {"provider": "postgres", "config": {"url": url}}
    store = {"records": records, "workers": 0, "cache": UNCACHED}
    admin = await stack.enter_async_context(AsyncAdmin(store))
    await life.fill(admin, given.memories, given.users)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as raw:
        await raw.execute("ANALYZE")
    return admin


async def visit(admin: AsyncAdmin, user: int, times: Times) -> None:
    memory, whose = admin.memory(), {"user_id": life.name(user)}

    async def timed(what: str, work: Awaitable[Any]) -> None:
        began = time.perf_counter()
        await work
        times[what].append(1_000.0 * (time.perf_counter() - began))

    await timed("first search", memory.search(life.said(user), filters=whose))
    await timed("search", memory.search(life.said(user + 1), filters=whose))
    await timed("add", memory.add(life.said(1_000_000 + user), infer=False, **whose))
    await timed("list of 50", memory.get_all(filters=whose, top_k=50))


async def compared(whole: str, divided: str, given: argparse.Namespace) -> None:
    times: tuple[Times, Times] = (defaultdict(list), defaultdict(list))
    async with AsyncExitStack() as stack:
        admins = [await opened(stack, url, given) for url in (whole, divided)]
        for user in range(1, given.users):
            pairs = list(zip(admins, times, strict=True))
            for admin, kept in pairs if user % 2 else reversed(pairs):
                await visit(admin, user, kept)
    for what, taken in times[0].items():
        here, there = median(taken), median(times[1][what])
        print(f"{what:14} whole {here:6.2f} ms, divided {there:6.2f} ms: {there / here:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=6_000)
    parser.add_argument("--users", type=int, default=60)
    given = parser.parse_args()
    with postgres.database() as whole, postgres.partitioned() as divided:
        asyncio.run(compared(whole, divided, given))


if __name__ == "__main__":
    main()
