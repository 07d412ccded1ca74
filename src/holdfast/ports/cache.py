"""A cache: what is in it may be gone at any time, and is never the only copy of anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Cache(Protocol):
    """Bytes by key, each for a while. Keys say what they are of and in which version.

    Away is as good as empty: `get` finds nothing then, `put` does nothing, and neither raises; the
    metrics count it. `take` is the exception, since a permit must not be made up.
    """

    shared: bool
    """Whether other processes see what is put here."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, or None. One round trip."""

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """Keep values for up to `ttl_s` seconds. One round trip."""

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget these keys."""

    async def claim(self, key: str, owner: str, ttl_s: float) -> bool:
        """True for the first who claims a key, until the claim ends or is dropped; so that one of
        many does the work that all of them wait for. True while the cache is away."""

    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        """Take `amount` from a token bucket that fills at `per_second` up to `burst`.

        0.0 if it was taken, else the seconds until it may be; nothing is taken then. Raises
        CacheUnavailableError when it cannot be known.
        """

    async def clear(self) -> None:
        """Forget everything of this deployment; other data beside it stays."""

    async def close(self) -> None:
        """Release connections. Idempotent."""
