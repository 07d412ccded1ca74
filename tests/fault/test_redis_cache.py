"""The cache in a Redis that dies, hangs, is full, refuses, fails over, or is somebody else's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, limits
from holdfast.backends.redis.cache import RedisCache
from holdfast.config import RedisSettings
from holdfast.errors import CacheUnavailableError, ConfigError
from holdfast.metrics import Metrics
from holdfast.ports import Claim
from support.certificates import certificate
from support.redis import BINARY, MISSING, Redis, free_port, running

pytestmark = pytest.mark.skipif(not BINARY, reason=MISSING)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    with running([server]):
        yield server


class Seconds:
    """A clock that is told to move."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


PATIENCE_S = 20.0
"""A Redis that takes longer to refuse a connection is taken for one that is away."""


async def connected(url: str, seconds: Any = time.monotonic, **more: Any) -> RedisCache:
    made = RedisCache(RedisSettings(url=url, **more), Metrics(), seconds)
    await made.open()
    return made


def failures(cache: RedisCache) -> dict[str, float]:
    found = cache._metrics.counts().items()
    return {labels[0]: count for (name, labels), count in found if name == "cache_failure"}


async def works(cache: RedisCache) -> bool:
    """Whether a value that is put is there."""
    await cache.put({"a": b"1"}, 60)
    return await cache.get(["a"]) == [b"1"]


async def test_a_redis_that_dies_costs_next_to_nothing_and_comes_back(
    redis: Redis, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cache = await connected(redis.url, seconds)
    assert await works(cache)
    redis.kill()
    assert not await works(cache), "the first call finds out"
    began = time.perf_counter()
    for _ in range(1_000):
        assert await cache.get(["a"]) == [None]
        await cache.put({"a": b"1"}, 60)
        assert (await cache.claim("b", "me", 1)).mine
    assert time.perf_counter() - began < limits.REDIS_TIMEOUT_S * 10, "Redis was not tried"
    with pytest.raises(CacheUnavailableError):
        await cache.take("c", 1, 1, 1)
    assert failures(cache)["away"] > 3_000
    redis.start()
    assert await cache.get(["a"]) == [None], "it is left alone for a while"
    seconds.now += limits.REDIS_PAUSE_S
    assert await works(cache)
    assert [record.message for record in caplog.records] == [
        "cache: Redis is away; what it would have told is made anew",
        "cache: Redis is back",
    ]
    assert str(redis.port) not in caplog.text
    await cache.close()


async def test_a_redis_that_hangs_is_waited_for_once(redis: Redis, seconds: Seconds) -> None:
    cache = await connected(redis.url, seconds, timeout_s=0.1)
    assert await works(cache)
    redis.freeze()
    began = time.perf_counter()
    await cache.get(["a"])
    assert 0.1 <= time.perf_counter() - began < 2
    began = time.perf_counter()
    for _ in range(100):
        assert await cache.get(["a"]) == [None]
    assert time.perf_counter() - began < 1
    seconds.now += limits.REDIS_PAUSE_S
    asked = [cache.get(["a"]) for _ in range(20)]
    assert await asyncio.gather(*asked) == [[None]] * 20
    assert cache._calls == 0
    redis.thaw()
    seconds.now += limits.REDIS_PAUSE_S
    assert await cache.get(["a"]) == [b"1"], "no answer of an earlier question is taken for one"
    await cache.close()


async def test_after_a_pause_one_call_tries_for_all(seconds: Seconds) -> None:
    cache = RedisCache(RedisSettings(url=f"redis://127.0.0.1:{free_port()}"), now=seconds)
    tries = 0

    async def refused(_client: Any) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        raise ConnectionRefusedError

    async def ask() -> None:
        with pytest.raises(CacheUnavailableError):
            await cache._run(refused)

    await ask()
    for expected in (2, 3):
        seconds.now += limits.REDIS_PAUSE_S
        await asyncio.gather(*(ask() for _ in range(10)))
        assert tries == expected
    await cache.close()


async def test_a_try_that_is_cancelled_leaves_the_next_one_to_try(seconds: Seconds) -> None:
    cache = RedisCache(RedisSettings(url=f"redis://127.0.0.1:{free_port()}"), now=seconds)
    with pytest.raises(CacheUnavailableError):
        await cache.probe()
    seconds.now += limits.REDIS_PAUSE_S
    trying = asyncio.create_task(cache._run(lambda _client: asyncio.sleep(60)))
    await asyncio.sleep(0)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    await cache._run(lambda _client: asyncio.sleep(0))
    await cache.close()


async def test_a_health_check_asks_in_a_pause_and_ends_it(redis: Redis, seconds: Seconds) -> None:
    cache = await connected(redis.url, seconds)
    redis.kill()
    assert not await works(cache)
    with pytest.raises(CacheUnavailableError):
        await cache.probe()
    redis.start()
    assert not await works(cache), "the pause lasts"
    await cache.probe()
    assert await works(cache)
    await cache.close()


async def test_a_cancelled_call_leaves_nothing_behind(redis: Redis) -> None:
    cache = await connected(redis.url, timeout_s=5)
    await cache.put({str(n): str(n).encode() for n in range(20)}, 60)
    for pause in range(12):
        calls = [asyncio.create_task(cache.get([str(n)])) for n in range(20)]
        for _ in range(pause):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert found[1::2] == [[str(n).encode()] for n in range(1, 20, 2)]
    assert await cache.get(["3", "4"]) == [b"3", b"4"]
    assert cache._calls == 0
    await cache.close()


async def test_a_start_without_redis_is_a_start(redis: Redis, tmp_path: Path) -> None:
    redis.kill()
    config = {"url": redis.url}
    settings: Any = {"path": str(tmp_path), "cache": {"provider": "redis", "config": config}}
    async with AsyncMemory(settings) as memory:
        await memory.add("I keep bees.", user_id="ann", infer=False)
        answer = await memory.search("bees", filters={"user_id": "ann"})
        assert len(answer["results"]) == 1
        assert not answer.get("degraded"), "slower is not worse"


async def test_a_store_goes_on_through_the_death_of_its_redis(redis: Redis, tmp_path: Path) -> None:
    config = {"url": redis.url}
    settings: Any = {"path": str(tmp_path), "cache": {"provider": "redis", "config": config}}
    async with AsyncMemory(settings) as memory:
        for number in range(6):
            if number == 2:
                redis.kill()
            if number == 4:
                redis.start()
            await memory.add(f"Bee number {number}.", user_id="ann", infer=False)
            answer = await memory.search("bees", filters={"user_id": "ann"}, threshold=0.0)
            assert len(answer["results"]) == number + 1


# ---------------------------------------------------------------------- what it refuses


async def refusal(url: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as error:
        await connected(url, timeout_s=PATIENCE_S, **more)
    return str(error.value)


async def test_a_wrong_password_is_told_at_the_start(tmp_path: Path) -> None:
    server = Redis(tmp_path, "--requirepass", "right-secret")
    with running([server]):
        for user in ("", ":wrong-secret@", "nobody:wrong-secret@"):
            told = await refusal(f"redis://{user}127.0.0.1:{server.port}/0")
            assert "refuses the user or password of cache.config.url" in told
            assert "secret" not in told
        cache = await connected(f"redis://:right-secret@127.0.0.1:{server.port}/0")
        assert await works(cache)
        assert "secret" not in repr(cache._connected) + repr(RedisSettings(url="redis://:secret@h"))
        await cache.close()


async def test_a_user_who_may_not_is_told_at_the_start(redis: Redis) -> None:
    redis.say("ACL", "SETUSER", "reader", "on", ">word", "~*", "+get", "+mget", "+ping")
    told = await refusal(f"redis://reader:word@127.0.0.1:{redis.port}/0")
    assert "does not let this user use" in told
    allowed = "+get +mget +set +unlink +eval +evalsha +ping +time +hmget +hset +pexpire".split()
    redis.say("ACL", "SETUSER", "cacher", "on", ">word", "~mine:*", *allowed)
    cache = await connected(f"redis://cacher:word@127.0.0.1:{redis.port}/0", deployment="mine")
    assert await works(cache)
    assert (await cache.claim("b", "me", 60)).mine
    assert await cache.take("c", 1, 1, 1) == 0.0
    await cache.clear()
    assert failures(cache) == {}, "these commands and keys are all it needs"
    await cache.close()


async def test_what_is_no_address_or_no_redis_is_told_at_the_start(redis: Redis) -> None:
    assert "no address of a Redis" in await refusal("http://localhost")
    assert "no address of a Redis" in await refusal("redis://localhost:port/0")
    assert "no database of that number" in await refusal(f"redis://127.0.0.1:{redis.port}/99")
    assert "is no cluster" in await refusal(redis.url, cluster=True)
    assert "no host:port" in await refusal("redis://service", sentinels=("localhost",))
    assert "exclude each other" in await refusal(redis.url, cluster=True, sentinels=("a:1",))


async def test_a_full_redis_keeps_what_it_has_and_is_not_away(redis: Redis) -> None:
    cache = await connected(redis.url)
    assert await works(cache)
    redis.say("CONFIG", "SET", "maxmemory", "1")
    await cache.put({"b": b"2"}, 60)
    assert await cache.get(["a", "b"]) == [b"1", None]
    assert (await cache.claim("c", "me", 60)).mine, "everybody's"
    with pytest.raises(CacheUnavailableError):
        await cache.take("d", 1, 1, 1)
    assert failures(cache) == {"refused": 3}
    redis.say("CONFIG", "SET", "maxmemory", "0")
    await cache.put({"b": b"2"}, 60)
    assert await cache.get(["b"]) == [b"2"]
    await cache.close()


# ---------------------------------------------------------------------- keys


async def test_keys_tell_nothing_and_stay_with_their_deployment(redis: Redis) -> None:
    one = await connected(redis.url, deployment="one")
    two = await connected(redis.url, deployment="two")
    redis.say("SET", "theirs", "1")
    for cache in (one, two):
        await cache.put({"what Ann said": b"1"}, 60)
        await cache.claim("what Bob said", "me", 60)
        await cache.take("what Cem said", 1, 1, 1)
    assert all(key.startswith((b"one:1:", b"two:1:", b"theirs")) for key in redis.held())
    assert not any(b"said" in key for key in redis.held())
    await one.clear()
    assert await one.get(["what Ann said"]) == [None]
    assert await two.get(["what Ann said"]) == [b"1"]
    assert redis.say("GET", "theirs").endswith(b"1\r\n")
    for cache in (one, two):
        await cache.close()


async def test_everything_but_the_epoch_ends_by_itself(redis: Redis) -> None:
    cache = await connected(redis.url)
    await cache.put({"a": b"1"}, 60)
    await cache.claim("b", "me", 60)
    await cache.take("c", 1, 1, 1)
    lasting = [key for key in redis.held() if redis.say("TTL", key.decode()) == b":-1\r\n"]
    assert lasting == [b"holdfast:1:epoch"]
    await cache.close()


async def test_what_was_cleared_does_not_come_back_with_the_epoch(redis: Redis) -> None:
    one, two = await connected(redis.url), await connected(redis.url)
    assert await works(one)
    redis.say("DEL", "holdfast:1:epoch")  # as an eviction does
    assert await two.get(["a"]) == [None]
    assert await one.get(["a"]) == [None]
    assert await works(one)
    assert await two.get(["a"]) == [b"1"], "they agree on the new one"
    for cache in (one, two):
        await cache.close()


async def test_each_call_is_one_round_trip(redis: Redis) -> None:
    cache = await connected(redis.url)
    commands: list[str] = []

    async def counted(name: str, call: Any) -> int:
        commands.clear()
        await call
        return len(commands)

    def watch(client: Any) -> None:
        for name in ("execute_command",):
            inner = getattr(client, name)

            async def seen(*args: Any, _inner: Any = inner, **more: Any) -> Any:
                commands.append(str(args[0]))
                return await _inner(*args, **more)

            setattr(client, name, seen)
        pipeline = client.pipeline

        def piped(**more: Any) -> Any:
            commands.append("pipeline")
            return pipeline(**more)

        client.pipeline = piped

    watch(cache._client)
    await cache.claim("warm", "me", 1)  # the first one teaches Redis the script
    many = [str(n) for n in range(200)]
    assert await counted("get", cache.get(many)) == 1
    assert await counted("put", cache.put(dict.fromkeys(many, b"1"), 60)) == 1
    assert await counted("claim", cache.claim("x", "me", 1)) == 1
    assert await counted("take", cache.take("x", 1, 1, 1)) == 1
    assert await counted("drop", cache.drop(many)) == 1
    await cache.close()


# ---------------------------------------------------------------------- more than one server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Redis]]:
    folder = tmp_path_factory.mktemp("cluster")
    names = range(3)
    servers = [Redis(folder / str(n), "--cluster-enabled", "yes") for n in names]
    with running(servers):
        slots = 16_384 // 3 + 1
        for number, server in enumerate(servers):
            last = min(16_383, (number + 1) * slots - 1)
            server.say("CLUSTER", "ADDSLOTSRANGE", str(number * slots), str(last))
            server.say("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        for server in servers[1:]:
            servers[0].say("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        deadline = time.monotonic() + 20
        while not all(b"cluster_state:ok" in s.say("CLUSTER", "INFO") for s in servers):
            assert time.monotonic() < deadline, "no cluster forms"
            time.sleep(0.05)
        yield servers


@pytest.fixture
async def clustered(cluster: list[Redis]) -> AsyncIterator[RedisCache]:
    made = await connected(cluster[0].url, cluster=True, timeout_s=2)
    yield made
    await made.close()


async def test_a_cluster_spreads_the_keys(cluster: list[Redis], clustered: RedisCache) -> None:
    many = {f"key {n} }}{{": str(n).encode() for n in range(60)}
    await clustered.put(many, 60)
    assert await clustered.get([*many, "none"]) == [*many.values(), None]
    assert all(len(server.held()) > 5 for server in cluster)
    for number in range(20):
        assert await clustered.claim(f"c{number}", "one", 60) == Claim(mine=True)
        assert await clustered.claim(f"c{number}", "two", 60) == Claim()
        assert await clustered.take(f"b{number}", 1, 0.01, 1) == 0.0
        assert await clustered.take(f"b{number}", 1, 0.01, 1) > 0.0
    await clustered.drop(list(many))
    assert await clustered.get(list(many)) == [None] * len(many)
    await clustered.put(many, 60)
    await clustered.clear()
    assert await clustered.get(list(many)) == [None] * len(many)
    assert failures(clustered) == {}


async def test_a_server_of_a_cluster_alone_is_not_enough(cluster: list[Redis]) -> None:
    told = [await refusal(server.url) for server in cluster if not await _holds_all(server)]
    assert told
    assert all("is part of a cluster: set cache.config.cluster to true" in each for each in told)


async def _holds_all(server: Redis) -> bool:
    """Whether the keys of a start happen to be on this one."""
    cache = RedisCache(RedisSettings(url=server.url))
    try:
        await cache.open()
    except ConfigError:
        return False
    await cache.close()
    return True


async def test_sentinels_name_the_server_and_the_next_one(tmp_path: Path, seconds: Seconds) -> None:
    first = Redis(tmp_path / "first")
    second = Redis(tmp_path / "second", "--replicaof", "127.0.0.1", str(first.port))
    watcher = free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(
        f"port {watcher}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor caches 127.0.0.1 {first.port} 1\n"
        "sentinel down-after-milliseconds caches 300\n"
        "sentinel failover-timeout caches 3000\n"
    )
    sentinel = Redis(tmp_path / "sentinel", port=watcher, sentinel=file)
    with running([first, second, sentinel]):
        await _until(lambda: b"num-slaves\r\n$1\r\n1" in sentinel.say("SENTINEL", "MASTERS"))
        cache = await connected(
            "redis://caches/0", seconds, sentinels=(f"127.0.0.1:{watcher}",), timeout_s=2
        )
        assert await works(cache)
        assert any(key.startswith(b"holdfast:") for key in first.held())
        first.kill()
        seconds.now += limits.REDIS_PAUSE_S
        deadline = time.monotonic() + 30
        while not await works(cache):
            assert time.monotonic() < deadline, "the next server is not found"
            seconds.now += limits.REDIS_PAUSE_S
            await asyncio.sleep(0.1)
        assert len([key for key in second.held() if key.startswith(b"holdfast:")]) >= 2
        await cache.close()


async def _until(so: Any) -> None:
    deadline = time.monotonic() + 20
    while not so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    cert, key = map(str, certificate(tmp_path))
    port = free_port()
    files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
    server = Redis(
        tmp_path, "--tls-port", str(port), *files, "--tls-auth-clients", "yes", port=port
    )
    url = f"rediss://127.0.0.1:{port}/0"
    with running([server]):
        assert "not trusted: see cache.config.tls_ca" in await refusal(url)
        other = tmp_path / "other"
        other.mkdir()
        wrong = str(certificate(other)[0])
        assert "not trusted" in await refusal(url, tls_ca=wrong, tls_cert=cert, tls_key=key)
        assert "no file that can be read" in await refusal(url, tls_ca=str(tmp_path / "none.pem"))
        cache = await connected(url, tls_ca=cert, tls_cert=cert, tls_key=key, timeout_s=2)
        assert await works(cache)
        await cache.close()
