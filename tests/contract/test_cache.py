"""Both caches keep every sentence of `ports.Cache`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from holdfast.backends.process_cache import ProcessCache
from holdfast.backends.redis.cache import RedisCache
from holdfast.config import RedisSettings
from holdfast.ports import Cache
from holdfast.testing.contracts.cache import Another, CacheContract, Pass
from support.redis import BINARY, MISSING, Redis, running


class ManualSeconds:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def seconds() -> ManualSeconds:
    return ManualSeconds()


class TestInProcess(CacheContract):
    @pytest.fixture
    def another(self, seconds: ManualSeconds) -> Another:
        async def make() -> Cache:
            return ProcessCache(2**22, seconds)

        return make

    @pytest.fixture
    def passes(self, seconds: ManualSeconds) -> Pass:
        return seconds.sleep


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    with running([server]):
        yield server


@pytest.mark.skipif(not BINARY, reason=MISSING)
class TestInRedis(CacheContract):
    @pytest.fixture
    def another(self, redis: Redis) -> Another:
        deployment = uuid.uuid4().hex

        async def make() -> Cache:
            made = RedisCache(RedisSettings(url=redis.url, deployment=deployment))
            await made.open()
            return made

        return make
