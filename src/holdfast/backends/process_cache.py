"""The cache in this process: bounded in bytes, seen by nobody else, gone with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from holdfast.core.lru import Lru
from holdfast.errors import CacheUnavailableError
from holdfast.ports import Claim

ENTRIES_MAX: Final = 10_000
"""Claims, and token buckets that are not full, at a time."""


class _Bucket(NamedTuple):
    level: float
    at: float
    full_at: float


class ProcessCache:
    """Values in memory; the longest unused go first."""

    shared = False

    def __init__(self, bytes_max: int, now: Callable[[], float] = time.monotonic) -> None:
        """`now` tells seconds and never goes back."""
        self._now = now
        self._values: Lru[bytes] = Lru(bytes_max)
        self._claims: dict[str, tuple[str, float]] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._closed = False

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._values.nbytes

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        now = self._now()
        return [self._values.get(key, now) for key in keys]

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        if self._closed:
            return
        until = self._now() + ttl_s
        for key, value in values.items():
            self._values.put(key, value, len(value), until)

    async def drop(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._values.drop(key)
            self._claims.pop(key, None)

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        now = self._now()
        value = self._values.get(key, now)
        if value is not None or self._closed:
            return Claim(value=value, mine=value is None)
        holder, until = self._claims.get(key, (owner, now))
        if holder != owner and until > now:
            return Claim()
        if until <= now:
            self._make_room(now)
            self._claims[key] = (owner, now + ttl_s)
        return Claim(mine=True)

    def _make_room(self, now: float) -> None:
        """Forget claims that are over, and if all still hold the oldest: work is done twice then"""
        if len(self._claims) >= ENTRIES_MAX:
            self._claims = {key: held for key, held in self._claims.items() if held[1] > now}
        if len(self._claims) >= ENTRIES_MAX:
            del self._claims[next(iter(self._claims))]

    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        if self._closed:
            raise CacheUnavailableError("The cache is closed.")
        now = self._now()
        level, at, _ = self._buckets.get(key, (burst, now, now))
        level = min(burst, level + (now - at) * per_second)
        missing = min(amount, burst) - level
        if missing > 0:
            return missing / per_second
        level = min(burst, level - amount)
        self._keep(key, _Bucket(level, now, now + (burst - level) / per_second))
        return 0.0

    def _keep(self, key: str, bucket: _Bucket) -> None:
        """Remember a bucket; those that are full by now need no remembering."""
        if key not in self._buckets and len(self._buckets) >= ENTRIES_MAX:
            found = self._buckets.items()
            self._buckets = {name: each for name, each in found if each.full_at > bucket.at}
            if len(self._buckets) >= ENTRIES_MAX:
                raise CacheUnavailableError(f"More than {ENTRIES_MAX:,} token buckets are in use.")
        self._buckets[key] = bucket

    async def clear(self) -> None:
        if self._closed:
            raise CacheUnavailableError("The cache is closed.")
        self._forget()

    def _forget(self) -> None:
        self._values.clear()
        self._claims.clear()
        self._buckets.clear()

    async def probe(self) -> None:
        if self._closed:
            raise CacheUnavailableError("The cache is closed.")

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        """`close` for callers without an event loop."""
        self._closed = True
        self._forget()
