"""Limits on the rate of calls, per key and per user, by class of operation.

A sliding window (`limits.aio`): in this process, or in a Redis that several instances share.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Mapping

from limits import RateLimitItem, RateLimitItemPerMinute, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from holdfast.config import ServerConfig
from holdfast.core.access import Load, Principal
from holdfast.errors import RateLimitError
from holdfast.model import Struct


class Told(Struct, frozen=True):
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

    def __init__(self, config: ServerConfig) -> None:
        self._storage = _storage(config.redis_url)
        self._window = SlidingWindowCounterRateLimiter(self._storage)
        loads: tuple[Load, ...] = ("search", "read", "add", "write", "admin")
        self._key_limits = _limits({load: getattr(config, f"key_limit_{load}") for load in loads})
        self._user_limits = _limits(
            {"search": config.user_limit_search, "add": config.user_limit_add}
        )

    async def count_key(self, principal: Principal, load: Load) -> Told | None:
        """Count a call of a credential; what to tell of its limit. Raises RateLimitError."""
        return await self._count(self._key_limits.get(load), f"key:{principal.id}", load)

    async def count_user(self, project: str, user_id: str, load: Load) -> Told | None:
        """Count a call for a user's memories. Raises RateLimitError."""
        return await self._count(self._user_limits.get(load), f"user:{project}:{user_id}", load)

    async def count_address(self, address: str, what: str, per_minute: int) -> None:
        """Count a call from an address that shows no credential. Raises RateLimitError."""
        limit = RateLimitItemPerMinute(per_minute)
        await self._count(limit, f"address:{neighbourhood(address)}", what)

    async def _count(self, limit: RateLimitItem | None, who: str, load: str) -> Told | None:
        if limit is None:
            return None
        allowed = await self._window.hit(limit, who, load)
        stats = await self._window.get_window_stats(limit, who, load)
        told = Told(limit.amount, stats.remaining, math.ceil(stats.reset_time))
        if not allowed:
            raise RateLimitError(
                f"More than {limit.amount} {load} calls a {limit.GRANULARITY.name}.",
                hint="Wait as long as Retry-After says.",
                retry_after_s=max(1.0, stats.reset_time - time.time()),
                told=told.headers(),
            )
        return told

    async def close(self) -> None:
        """Release connections."""
        close = getattr(self._storage, "close", None)
        if close is not None:
            await close()


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


def _storage(redis_url: str) -> Storage:
    if not redis_url:
        return MemoryStorage()
    return RedisStorage(f"async+{redis_url}", implementation="redispy")
