"""The cache in a Redis that several processes share.

Keys are `<deployment>:<layout>:<epoch>:{<digest of the key>}`: what Redis sees of a key is of one
length, holds no text, and keeps a value and the claim to make it on one server of a cluster. The
epoch is drawn by chance and stands in Redis; another one makes everything before it unreachable,
which is how the cache is cleared without looking through a Redis that others use as well. It is
read with every `get`, and what was lost with a restart or an eviction never comes back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from redis import exceptions

from holdfast.backends.redis.connect import connect, lasting
from holdfast.config import RedisSettings
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.errors import CacheUnavailableError, ConfigError
from holdfast.limits import DEPENDENCY_TIMEOUT_S, REDIS_PAUSE_S
from holdfast.metrics import Metrics
from holdfast.ports import Claim

T = TypeVar("T")

LAYOUT: Final = "1"
"""Version of the keys and of what the scripts keep."""
EPOCH_AGE_MAX_S: Final = 2.0
"""Seconds for which a claim or a bucket may still be one of before a `clear`."""

_CLAIM: Final = """
local value = redis.call('GET', KEYS[1])
if value then return value end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[2]) == ARGV[1] then return 1 end
return 0
"""
_TAKE: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local amount, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(known[1]) or burst, tonumber(known[2]) or now
level = math.min(burst, level + math.max(0, now - at) * rate)
local missing = math.min(amount, burst) - level
if missing > 0 then return string.format('%.17g', missing / rate) end
level = math.min(burst, level - amount)
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'at',
           string.format('%.17g', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - level) / rate * 1000) + 1000)
return '0'
"""

_AWAY: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.InvalidResponse,
    exceptions.RedisClusterException,
    OSError,  # TimeoutError is one
)

ONE_FAILURE: Final = BreakerBounds(
    failures_in_row=1, pause_s=REDIS_PAUSE_S, pause_max_s=REDIS_PAUSE_S
)
"""What is kept for a moment is not worth asking twice for: whoever asks makes it anew."""

_log = logging.getLogger("holdfast")


class RedisCache:
    """Values in Redis. After a failure it is left alone for REDIS_PAUSE_S; then one call tries."""

    shared = True

    def __init__(
        self,
        settings: RedisSettings,
        metrics: Metrics | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError; asks no Redis yet."""
        self._connected = connect(settings)
        self._client = self._connected.client
        self._cluster = settings.cluster
        self._prefix = f"{settings.deployment}:{LAYOUT}:"
        self._timeout_s = settings.timeout_s
        self._calls_max = settings.connections_max
        self._metrics = metrics or Metrics()
        self._now = now
        self._calls = 0
        self._epoch = b""
        self._epoch_at = 0.0
        self._breaker = Breaker(ONE_FAILURE)
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect. A Redis that is away is gone without; ConfigError for what no waiting mends."""
        try:
            async with asyncio.timeout(max(self._timeout_s, DEPENDENCY_TIMEOUT_S)):
                await self._learn_epoch(self._client)
                await self._script(self._client, _TAKE, [self._key("start")], "0", "1", "1")
        except (exceptions.RedisError, *_AWAY) as error:
            wrong = lasting(error)
            if wrong:
                await self.close()
                raise ConfigError(f"The Redis of the cache {wrong}.") from None
            self._note(None, success=False)

    # ------------------------------------------------------------------ the port

    @property
    def nbytes(self) -> int:
        return 0

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        try:
            return await self._run(lambda client: self._read(client, keys))
        except CacheUnavailableError:
            return [None] * len(keys)

    async def _read(self, client: Any, keys: Sequence[str]) -> list[bytes | None]:
        epoch = self._epoch or await self._learn_epoch(client)
        names = [self._epoch_key, *map(self._key, keys)]
        if self._cluster:  # each from its own server, all at once
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.get(name)
            seen, *values = await pipeline.execute()
        else:
            seen, *values = _list(await client.mget(names))
        if len(values) != len(keys):
            raise _nonsense()
        found = [_bytes(value) for value in values]
        current = await self._is(epoch, seen, client)
        return found if current else [None] * len(keys)

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        if not values:
            return

        async def write(client: Any) -> None:
            epoch = self._epoch or await self._learn_epoch(client)
            pipeline = client.pipeline(transaction=False)
            pipeline.get(self._epoch_key)
            for key, value in values.items():
                pipeline.set(self._key(key), value, px=_millis(ttl_s))
            seen, *_ = await pipeline.execute()
            if await self._is(epoch, seen, client):
                return
            await write(client)

        await self._attempt(write)

    async def drop(self, keys: Sequence[str]) -> None:
        if not keys:
            return

        async def remove(client: Any) -> None:
            await self._fresh_epoch(client)
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                for name in (self._key(key), self._claim_key(key)):
                    # its `unlink` would not go into the pipeline of a cluster
                    pipeline.execute_command("UNLINK", name)
            await pipeline.execute()

        await self._attempt(remove)

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        async def ask(client: Any) -> Claim:
            await self._fresh_epoch(client)
            names = [self._key(key), self._claim_key(key)]
            answer = await self._script(client, _CLAIM, names, owner, str(_millis(ttl_s)))
            if isinstance(answer, bytes):
                return Claim(value=answer)
            if answer not in (0, 1):
                raise _nonsense()
            return Claim(mine=answer == 1)

        try:
            return await self._run(ask)
        except CacheUnavailableError:
            return Claim(mine=True)

    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        async def ask(client: Any) -> float:
            await self._fresh_epoch(client)
            numbers = (repr(float(each)) for each in (amount, per_second, burst))
            name = self._key(f"bucket {key}")
            wait_s = _seconds(await self._script(client, _TAKE, [name], *numbers))
            if not (wait_s >= 0 and math.isfinite(wait_s)):
                raise _nonsense()
            return wait_s

        return await self._run(ask)

    async def clear(self) -> None:
        epoch = _new_epoch()

        async def renew(client: Any) -> None:
            await client.set(self._epoch_key, epoch)
            self._epoch, self._epoch_at = epoch, self._now()

        await self._run(renew)

    async def probe(self) -> None:
        await self._run(lambda client: client.ping(), at_once=True)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for close in self._connected.closers:
            await close()

    def close_now(self) -> None:
        """`close` for callers that cannot wait; connections end when the event loop runs next."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._closed = True  # the loop of the connections is gone, and they with it
            return
        self._closing = loop.create_task(self.close())

    # ------------------------------------------------------------------ keys

    @property
    def _epoch_key(self) -> str:
        return f"{self._prefix}epoch"

    def _key(self, key: str) -> str:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        return f"{self._prefix}{self._epoch.decode()}:{{{digest}}}"

    def _claim_key(self, key: str) -> str:
        return f"{self._key(key)}:claim"

    async def _learn_epoch(self, client: Any) -> bytes:
        """The epoch in force; a new one if Redis has none."""
        pipeline = client.pipeline(transaction=False)
        pipeline.set(self._epoch_key, _new_epoch(), nx=True)
        pipeline.get(self._epoch_key)
        _, epoch = await pipeline.execute()
        self._epoch, self._epoch_at = _epoch_of(epoch) or b"", self._now()
        return self._epoch

    async def _is(self, epoch: bytes, seen: object, client: Any) -> bool:
        """Whether an epoch that was used is the one that Redis told; if not that one is taken."""
        told = _epoch_of(seen)
        if told is None:
            await self._learn_epoch(client)
        else:
            self._epoch, self._epoch_at = told, self._now()
        return told == epoch

    async def _fresh_epoch(self, client: Any) -> None:
        if not self._epoch or self._now() - self._epoch_at > EPOCH_AGE_MAX_S:
            await self._learn_epoch(client)

    async def _script(self, client: Any, script: str, keys: Sequence[str], *values: str) -> Any:
        """Run a script by its hash; where a server does not know it yet, by its text, once."""
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await client.evalsha(digest, len(keys), *keys, *values)
        except exceptions.NoScriptError:
            return await client.eval(script, len(keys), *keys, *values)

    # ------------------------------------------------------------------ when it is away

    async def _attempt(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Do it if it can be done."""
        try:
            await self._run(work)
        except CacheUnavailableError:
            return  # the metrics have counted it

    async def _run(self, work: Callable[[Any], Awaitable[T]], *, at_once: bool = False) -> T:
        """Ask Redis within the time. Raises CacheUnavailableError; `at_once`: in a pause too."""
        if self._closed or self._calls >= self._calls_max:
            raise self._unavailable("away", "The cache is away.")
        permit = self._breaker.admit(self._now())
        if permit is None and not at_once:
            raise self._unavailable("away", "The cache is away.")
        self._calls += 1
        answers: bool | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await work(self._client)
            answers = True
        except _AWAY:
            answers = False
            raise self._unavailable("away", "The cache does not answer.") from None
        except exceptions.RedisError:  # it answers, so what is wrong is with this call
            answers = True
            raise self._unavailable("refused", "The cache answers with an error.") from None
        finally:
            self._calls -= 1
            self._note(permit, answers)
        return result

    def _unavailable(self, reason: str, message: str) -> CacheUnavailableError:
        self._metrics.count("cache_failure", reason)
        return CacheUnavailableError(message, retry_after_s=REDIS_PAUSE_S)

    def _note(self, permit: int | None, success: bool | None) -> None:
        """Remember whether Redis answered, and say so when that changes."""
        now = self._now()
        was_away = self._breaker.state(now) != "closed"
        if permit is not None:
            self._breaker.ended(permit, now, success)
        elif success is not None:
            self._breaker.heard(now, success)
        is_away = self._breaker.state(now) != "closed"
        if is_away != was_away:
            told = "away; what it would have told is made anew" if is_away else "back"
            _log.warning("cache: Redis is %s", told)


def _nonsense() -> exceptions.InvalidResponse:
    """Whatever answers there is no Redis, or not ours: it is left alone as if it were away."""
    return exceptions.InvalidResponse("an answer of another form than asked for")


def _bytes(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    raise _nonsense()


def _epoch_of(value: object) -> bytes | None:
    epoch = _bytes(value)
    if epoch and not epoch.isalnum():
        raise _nonsense()
    return epoch


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise _nonsense()


def _seconds(value: object) -> float:
    try:
        return float(_bytes(value) or b"")
    except ValueError:
        raise _nonsense() from None


def _new_epoch() -> bytes:
    return secrets.token_hex(8).encode()


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
