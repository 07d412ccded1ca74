"""What is cached in a Redis of a sealed store is sealed, and still found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as Client

from holdfast import AsyncMemory
from holdfast.core.packing import Packing
from holdfast.wrap.sealed_packing import SealedPacking
from support.redis import BINARY, MISSING, Redis, running
from support.sealed import MASTER
from tests.engine.test_sealed import ALICE, CANARY, config, hold

pytestmark = pytest.mark.skipif(not BINARY, reason=MISSING)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tmp_path / "redis")
    with running([made]):
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "master.keys"
    file.touch(mode=0o600)
    hold(file, MASTER)
    return file


def values(redis: Redis) -> list[bytes]:
    with Client.from_url(redis.url) as client:
        names = list(client.scan_iter())
        return [client.get(name) or b"" for name in names if client.type(name) == b"string"]


@pytest.mark.parametrize("sealed", [True, False])
async def test_no_canary_is_in_redis(
    sealed: bool, redis: Redis, tmp_path: Path, keys: Path
) -> None:
    caching = {"provider": "redis", "config": {"url": redis.url}}
    settings = config(tmp_path, keys if sealed else None, cache=caching)
    answers = []
    async with AsyncMemory(settings) as memory:
        await memory.add(f"I was in {CANARY}", **ALICE)
        answers += [await memory.search("Where was I?", filters=ALICE) for _ in range(2)]
        for _ in range(100):
            if values(redis):
                break
            await asyncio.sleep(0.05)
    async with AsyncMemory(settings) as other:
        answers.append(await other.search("Where was I?", filters=ALICE))
        hits = other._assembly.parts.metrics.counts() if other._assembly else {}
        found = [labels for (name, labels) in hits if name.startswith("cache")]
        assert any("shared_hit" in labels for labels in found), found
    assert [answer["results"] for answer in answers] == [answers[0]["results"]] * 3
    stored = values(redis)
    assert stored
    assert any(CANARY.encode() in value for value in stored) != sealed


def test_a_value_of_another_key_or_place_is_none() -> None:
    mine, other = SealedPacking(bytes(32), b"s"), SealedPacking(bytes(range(32)), b"s")
    value = mine.pack("a", b"tea")
    assert mine.unpack("a", value) == b"tea"
    assert b"tea" not in value
    for reader, name, given in (
        (other, "a", value),
        (mine, "b", value),
        (mine, "a", value[:-1]),
        (mine, "a", Packing(b"s").pack("a", b"tea")),
        (mine, "a", Packing(b"s").pack("a", bytes(40))),
        (mine, "a", None),
    ):
        assert reader.unpack(name, given) is None
