"""A whole search through an external index, beside the engine's own bare query for the same user.

    python bench/index_search.py [--memories 100000] [--users 1000] [--index pgvector|qdrant]
        [--exact-rows 500]

The first search of a user reads a working set if the user has at most `--exact-rows` memories, the
next ones find it warm; with 0 the engine is asked for candidates by both.

pgvector: records and index in one Postgres, which is started here. Qdrant: records in SQLite, and
Qdrant's own engine (qdrant-edge) behind the REST interface that the tests have, or a server with
`--url`. Whole is `AsyncMemory.search` without cached answers: the question's embedding, vectors and
keywords in the engine, the records, the ranking. Bare is the embedding and one vector query, over
one connection. They are asked in turns, user by user.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import index_qdrant
import psycopg
from qdrant_client import AsyncQdrantClient, models

from holdfast.admin import AsyncAdmin
from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.backends.pgvector import points as rows
from holdfast.limits import EXACT_ROWS
from tests.drill import life

COLLECTION = "holdfast"
LIMIT = 64
POLLS_MAX = 1_000
WARM = 20
"""Questions that are not counted."""
UNCACHED = {"cache": {"provider": "process", "config": {"results": False}}}
_TABLE = """
SELECT format('%I.%I', table_schema, table_name) FROM information_schema.columns
WHERE column_name = 'embedding' AND udt_name IN ('vector', 'halfvec')
"""

Ask = Callable[[str, Any], Awaitable[Any]]


async def bare_pgvector(url: str, _collection: str) -> Ask:
    """The vector query of pgvector for one user."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    rows.register(connection)
    for name in ("hnsw.iterative_scan = strict_order", "jit = off", "holdfast.reach = 'all'"):
        await connection.execute(f"SET {name}")
    [table] = await (await connection.execute(_TABLE)).fetchone() or [""]

    async def ask(user: str, vector: Any) -> Any:
        cursor = await connection.execute(
            f"SELECT id, embedding <#> %(vector)s::real[]::vector AS distance FROM {table}"
            f" WHERE user_id = %(user)s::uuid ORDER BY distance LIMIT {LIMIT}",
            {"user": rows.entity_key(user), "vector": rows.Reals(vector)},
        )
        return await cursor.fetchall()

    return ask


async def bare_qdrant(url: str, collection: str) -> Ask:
    """The vector query of Qdrant for one user."""
    client = AsyncQdrantClient(url=url, timeout=60, check_compatibility=False)

    async def ask(user: str, vector: Any) -> Any:
        key = f"{len('default')}:default:{user}"
        match = models.FieldCondition(key="user", match=models.MatchValue(value=key))
        answer = await client.query_points(
            collection,
            query=vector.tolist(),
            using="dense",
            query_filter=models.Filter(must=[match]),
            limit=LIMIT,
            with_payload=["id"],
        )
        return answer.points

    return ask


async def compared(admin: AsyncAdmin, bare: Ask, given: argparse.Namespace) -> None:
    memory, embedder = admin.memory(), LocalEmbedder()
    took: dict[str, list[float]] = {"first": [], "next": [], "bare": []}

    async def whole(user: str, question: str) -> int:
        found = await memory.search(question, filters={"user_id": user}, threshold=0.0)
        assert "degraded" not in found, found["degraded"]
        return len(found["results"])

    async def alone(user: str, question: str) -> int:
        return len(await bare(user, embedder.encode([question])[0]))

    seen: set[str] = set()
    for number in range(WARM + given.questions):
        user = life.name(1 + number % (given.users - 1))
        ways: list[Ask] = [whole, whole]
        ways.insert(number % 3, alone)
        for place, ask in enumerate(ways):
            name = "bare" if ask is alone else "next" if user in seen else "first"
            question = life.said((number * 97 + place) % given.memories)
            began = time.perf_counter()
            count = await ask(user, question)
            if number >= WARM:
                took[name].append(1_000.0 * (time.perf_counter() - began))
            assert count, f"{name} found nothing"
            seen.update([user] if ask is whole else [])
    p50 = {name: statistics.median(each) for name, each in took.items() if each}
    counts = admin.metrics.counts().items()
    by = {labels[0]: int(n) for (name, labels), n in counts if name == "index_answer"}
    print(f"{given.index}, exact_rows {given.exact_rows}, {len(took['bare'])} questions, {by}: p50")
    for name, what in (
        ("first", "first search of a user"),
        ("next", "next search"),
        ("bare", "bare query"),
    ):
        if name in p50:
            ratio = p50[name] / p50["bare"]
            print(f"  {what:24} {p50[name]:7.2f} ms {ratio:7.2f} x bare")


async def measured(given: argparse.Namespace, store: dict[str, Any], index: dict[str, Any]) -> None:
    async with AsyncAdmin(store) as admin:
        began = time.perf_counter()
        await life.fill(admin, given.memories, given.users)
        print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    async with AsyncAdmin({**store, **UNCACHED, "index": index}) as admin:
        began = time.perf_counter()
        for _ in range(POLLS_MAX):
            if not (await admin.index.status()).projects_behind:
                break
            await asyncio.sleep(1.0)
        print(f"index filled in {time.perf_counter() - began:.0f} s", flush=True)
        status = await admin.index.status()
        name = f"{COLLECTION}_{status.build}" if status.build else COLLECTION
        if given.index == "pgvector":  # as autovacuum does a minute after so much was written
            async with await psycopg.AsyncConnection.connect(index["config"]["url"]) as admin_of:
                await admin_of.set_autocommit(True)
                await admin_of.execute("VACUUM ANALYZE")
        make = bare_pgvector if given.index == "pgvector" else bare_qdrant
        await compared(admin, await make(index["config"]["url"], name), given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--index", choices=("pgvector", "qdrant"), default="pgvector")
    parser.add_argument("--exact-rows", type=int, default=EXACT_ROWS, help="the index's setting")
    parser.add_argument("--url", help="of a Qdrant server")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-"))
        store: dict[str, Any] = {"path": folder, "workers": 0}
        config: dict[str, Any] = {"url": given.url or stack.enter_context(_engine(given.index))}
        if given.index == "pgvector":
            store["records"] = {"provider": "postgres", "config": {"url": config["url"]}}
            config["mode"] = "exact"
        else:
            config["timeout_s"] = 60
        config["exact_rows"] = given.exact_rows
        index = {"provider": given.index, "config": config}
        asyncio.run(measured(given, store, index))


def _engine(index: str) -> Any:
    from support import joined

    return joined.database() if index == "pgvector" else index_qdrant.engine()


if __name__ == "__main__":
    main()
