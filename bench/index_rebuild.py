"""An index built anew while it is searched: how long, with what answered meanwhile.

    python bench/index_rebuild.py [--memories 100000] [--users 1000] [--index pgvector|qdrant]
        [--mode exact|auto|hnsw] [--url URL]

Fills a store in SQLite with an external index beside it: pgvector in a Postgres of its own, or with
`--url`; Qdrant in its client's local mode, or with `--url` a server. Then builds the index anew
while one caller searches without pause. Tells how long it took, how many texts were embedded for it
(none may be), how often progress was told, and of the searches meanwhile how many failed or came
degraded, and how long they took beside those before. With `--mode auto` or `hnsw` pgvector makes a
graph of what is there: how long that takes after the first fill is told too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.admin import AsyncAdmin
from holdfast.backends.local_embedder import LocalEmbedder
from tests.drill import life

BEFORE = 100
"""Searches that are timed before the build."""
POLL_S = 2.0
POLLS_MAX = 1_000


class Searches:
    """One caller after another question; how long each took, and what was wrong."""

    def __init__(self, admin: AsyncAdmin, users: int) -> None:
        self._admin, self._users = admin, users
        self._asked = 0
        self.took_ms: list[float] = []
        self.faults: list[str] = []

    async def one(self) -> None:
        self._asked += 1
        user = life.name(1 + self._asked * 7 % (self._users - 1))
        began = time.perf_counter()
        try:
            told = await self._admin.memory().search(
                f"{life.said(self._asked)} {self._asked}", filters={"user_id": user}
            )
            if "degraded" in told:
                self.faults.append(str(told["degraded"]))
        except Exception as error:  # noqa: BLE001  (what a caller would have seen is counted)
            self.faults.append(type(error).__name__)
        self.took_ms.append(1_000.0 * (time.perf_counter() - began))

    async def until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.one()

    def told(self, what: str) -> str:
        middle = statistics.median(self.took_ms)
        return (
            f"{len(self.took_ms):,} searches {what}: p50 {middle:.1f} ms, "
            f"longest {max(self.took_ms):.0f} ms, failed or degraded: {len(self.faults)}"
        )


async def rebuilt(admin: AsyncAdmin, given: argparse.Namespace) -> None:
    before, meanwhile = Searches(admin, given.users), Searches(admin, given.users)
    for _ in range(BEFORE):
        await before.one()
    print(before.told("before"), flush=True)
    embedded, steps = 0, 0
    embed = LocalEmbedder.embed

    async def counted(self: LocalEmbedder, texts: Any, spent: Any = None) -> Any:
        nonlocal embedded
        embedded += len(texts)
        return await embed(self, texts, spent)

    def told(_done: int, _total: int) -> None:
        nonlocal steps
        steps += 1

    LocalEmbedder.embed = counted  # type: ignore[method-assign]
    done = asyncio.Event()
    searching = asyncio.create_task(meanwhile.until(done))
    began = time.perf_counter()
    result = await admin.index.rebuild(told)
    took = time.perf_counter() - began
    done.set()
    await searching
    print(f"{result.memories:,} memories in {took:.0f} s, {result.memories / took:,.0f} a second")
    print(f"texts embedded: {embedded}; progress told {steps:,} times")
    print(meanwhile.told("meanwhile"))
    drift = await admin.index.verify()
    print(f"{drift.points:,} points, unlike the records: {drift.total}")


async def measured(given: argparse.Namespace, index: dict[str, Any], folder: str) -> None:
    store = {"path": folder, "workers": 0}
    async with AsyncAdmin(store) as admin:
        await life.fill(admin, given.memories, given.users)
    async with AsyncAdmin({**store, "index": index}) as admin:
        began = time.perf_counter()
        for _ in range(POLLS_MAX):
            if not (await admin.index.status()).projects_behind:
                break
            await asyncio.sleep(POLL_S)
        print(f"first filled in {time.perf_counter() - began:.0f} s", flush=True)
        for _ in range(POLLS_MAX):
            await asyncio.sleep(POLL_S)
            if (await admin.index.status()).optimizing is None:
                break
        print(f"with its graph in {time.perf_counter() - began:.0f} s", flush=True)
        await rebuilt(admin, given)


def place(given: argparse.Namespace, folder: str, stack: ExitStack) -> dict[str, Any]:
    """The index as a configuration names it."""
    if given.index == "qdrant":
        where = {"url": given.url} if given.url else {"path": f"{folder}/qdrant"}
        return {"provider": "qdrant", "config": {**where, "timeout_s": 60}}
    from support import joined

    url = given.url or stack.enter_context(joined.database())
    return {"provider": "pgvector", "config": {"url": url, "mode": given.mode}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--index", choices=("pgvector", "qdrant"), default="pgvector")
    parser.add_argument("--mode", choices=("exact", "auto", "hnsw"), default="exact")
    parser.add_argument("--url", help="of a database with pgvector, or a Qdrant server")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-"))
        asyncio.run(measured(given, place(given, folder, stack), folder))


if __name__ == "__main__":
    main()
