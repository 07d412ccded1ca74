"""Requests leave no objects behind: as many are there after twice as many requests."""

from __future__ import annotations

import gc
import sys
import weakref
from operator import sub
from pathlib import Path

import httpx
import pytest

from holdfast.config import load_config
from holdfast.server import request_log
from holdfast.server.app import build
from support.served import ADMIN_KEY

ROUND = 240
"""Requests of one round."""
ROUNDS = 4
CACHE_BYTES = 20_000
"""So that the cache of answers, which is bounded, is full before the counting begins: each
search leaves an answer of some two thousand bytes there, under a generation that passes."""


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of requests, which is bounded, is full before the counting begins."""
    monkeypatch.setattr(request_log, "REQUESTS_KEPT", ROUND // 4)


def _objects() -> int:
    """Objects that are alive, but for weak references: sqlite3 keeps a few hundred dead ones to
    cursors, and throws them away from time to time."""
    gc.collect()
    return sum(not isinstance(each, weakref.ref) for each in gc.get_objects())


async def _round(client: httpx.AsyncClient) -> None:
    """As many requests of each kind, which leave the store as large as it was."""
    for number in range(ROUND // 8):
        user = f"user-{number % 4}"
        said = {"messages": [{"role": "user", "content": f"I like tea, {user}"}], "user_id": user}
        filters = {"filters": {"user_id": user}}
        answers = [
            await client.post("/v3/memories/add/", json={**said, "infer": False}),
            await client.post("/v3/memories/add/", json=said, headers={"Idempotency-Key": user}),
            await client.post("/v3/memories/search/", json={"query": "tea?", **filters}),
            await client.post("/v3/memories/", json=filters),
            await client.get("/v1/events/"),
            await client.get("/metrics"),
            await client.get("/v1/memories/none/"),
            await client.delete("/v1/memories/", params={"user_id": user}),
        ]
        assert [one.status_code // 100 for one in answers] == [2, 2, 2, 2, 2, 2, 4, 2]


async def test_objects_do_not_grow_with_requests(tmp_path: Path) -> None:
    section = {"admin_key": ADMIN_KEY, "key_limit_admin": "", "key_limit_write": ""}
    cache = {"config": {"bytes_max": CACHE_BYTES}}
    told = {"path": str(tmp_path / "store"), "server": section, "cache": cache}
    config = load_config(told).config
    app = build(config)
    counts: list[int] = []
    blocks: list[int] = []
    headers = {"Authorization": f"Token {ADMIN_KEY}"}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        for _ in range(ROUNDS):
            await _round(client)
            counts.append(_objects())
            blocks.append(sys.getallocatedblocks())
    # what leaks grows in every round; caches and timers come and go
    assert min(map(sub, counts[1:], counts)) < ROUND // 8, counts
    assert min(map(sub, blocks[1:], blocks)) < 4 * ROUND, blocks  # with texts and numbers
