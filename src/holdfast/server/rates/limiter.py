"""Limits on the rate of calls, per key and per user, by class of operation.

A sliding window: in this process, or (`limits.aio`) in a Redis that several instances share. While
that Redis is away each instance counts by itself, from nothing: limits are looser for a moment, and
nobody is sent away because of it.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Mapping

from limits import RateLimitItem, RateLimitItemPerMinute, parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from holdfast.config import Config
from holdfast.core.access import Load, Principal
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.errors import RateLimitError
from holdfast.limits import REDIS_PAUSE_S
from holdfast.model import Struct
from holdfast.server.rates.redis import close_storage, shared_storage
from holdfast.server.rates.windows import Windows

_ONE_FAILURE = BreakerBounds(failures_in_row=1, pause_s=REDIS_PAUSE_S, pause_max_s=REDIS_PAUSE_S)
"""Counting here costs nothing: no call waits for a second failure."""

_log = logging.getLogger("holdfast.server")


class Standing(Struct, frozen=True):
    """What is told of a limit in the headers of an answer."""

    limit: int
    remaining: int
    reset: int
    """Epoch seconds at which the window is empty again."""

    def headers(self) -> dict[str, str]:
        """X-RateLimit-*, which Mem0's clients read."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset),
        }


class Limiter:
    """Counts calls and refuses those beyond a limit."""

    def __init__(self, whole: Config) -> None:
        """Raises ConfigError, MissingExtraError; asks no Redis yet."""
        config = whole.server
        self._here = Windows()
        self._redis = shared_storage(whole)
        self._there = None if self._redis is None else SlidingWindowCounterRateLimiter(self._redis)
        self._breaker = Breaker(_ONE_FAILURE)
        loads: tuple[Load, ...] = ("search", "read", "add", "write", "admin")
        self._key_limits = _limits({load: getattr(config, f"key_limit_{load}") for load in loads})
        self._user_limits = _limits(
            {"search": config.user_limit_search, "add": config.user_limit_add}
        )

    @property
    def in_redis(self) -> bool:
        """Whether a Redis is configured."""
        return self._redis is not None

    @property
    def shared(self) -> bool:
        """Whether limits are counted in Redis at this moment."""
        return self._redis is not None and not self._away

    async def probe(self) -> bool:
        """Whether the configured Redis answers."""
        if self._redis is None:
            return False
        answers: bool = await self._redis.check()
        self._note(None, answers)
        return answers

    async def count_key(self, principal: Principal, load: Load) -> Standing | None:
        """Count a call of a credential; what to tell of its limit. Raises RateLimitError."""
        return await self._count(self._key_limits.get(load), f"key:{principal.id}", load)

    async def count_user(self, project: str, user_id: str, load: Load) -> Standing | None:
        """Count a call for a user's memories. Raises RateLimitError."""
        return await self._count(self._user_limits.get(load), f"user:{project}:{user_id}", load)

    async def count_address(self, address: str, what: str, per_minute: int) -> None:
        """Count a call from an address that shows no credential. Raises RateLimitError."""
        limit = RateLimitItemPerMinute(per_minute)
        await self._count(limit, f"address:{neighbourhood(address)}", what)

    async def _count(self, limit: RateLimitItem | None, who: str, load: str) -> Standing | None:
        if limit is None:
            return None
        allowed, remaining, reset = await self._hit(limit, who, load)
        told = Standing(limit.amount, remaining, math.ceil(reset))
        if not allowed:
            raise RateLimitError(
                f"More than {limit.amount} {load} calls a {limit.GRANULARITY.name}.",
                hint="Wait as long as Retry-After says.",
                retry_after_s=max(1.0, reset - time.time()),
                told=told.headers(),
            )
        return told

    async def _hit(self, limit: RateLimitItem, who: str, load: str) -> tuple[bool, int, float]:
        """Whether the call is within the limit, what remains of it, and when its window is over."""
        permit = None if self._there is None else self._breaker.admit(time.monotonic())
        if self._there is not None and permit is not None:
            answers: bool | None = None
            try:
                hit = await _hit(self._there, limit, who, load)
                answers = True
                return hit
            except StorageError:
                answers = False
            finally:
                self._note(permit, answers)
        key = f"{load}:{limit.get_expiry()}:{who}"
        return self._here.hit(key, limit.amount, limit.get_expiry(), time.time())

    @property
    def _away(self) -> bool:
        return self._breaker.state(time.monotonic()) != "closed"

    def _note(self, permit: int | None, answers: bool | None) -> None:
        """Remember whether Redis answered (None: nobody knows), and say so when that changes."""
        was_away, now = self._away, time.monotonic()
        if permit is not None:
            self._breaker.ended(permit, now, answers)
        elif answers is not None:
            self._breaker.heard(now, answers)
        if self._away != was_away:
            told = "Redis is away; this process counts by itself" if self._away else "Redis is back"
            _log.warning("limits: %s", told)

    async def close(self) -> None:
        """Release connections."""
        if self._redis is not None:
            await close_storage(self._redis)


async def _hit(
    window: SlidingWindowCounterRateLimiter, limit: RateLimitItem, who: str, load: str
) -> tuple[bool, int, float]:
    allowed = await window.hit(limit, who, load)
    stats = await window.get_window_stats(limit, who, load)
    return allowed, stats.remaining, stats.reset_time


def neighbourhood(address: str) -> str:
    """What one caller can be told apart by: an IPv6 network, for its hosts are free to choose."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def _limits(texts: Mapping[Load, str]) -> dict[Load, RateLimitItem]:
    return {load: parse(text) for load, text in texts.items() if text}
