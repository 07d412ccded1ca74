"""A cache: what is in it may be gone at any time, and is never the only copy of anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.model import Struct


class Claim(Struct, frozen=True, kw_only=True):
    """The value of a key, or, where there is none, whether the caller is the one to make it."""

    value: bytes | None = None
    mine: bool = False


class Cache(Protocol):
    """Bytes by key, each for a while. Keys say what they are of and in which version.

    A key is any text. What was put is given back whole or not at all. Away is as good as empty:
    `get` finds nothing then, `put` does nothing, and neither raises nor is slow; the metrics count
    it. `take` is the exception, since a permit must not be made up.
    """

    shared: bool
    """Whether other processes see what is put here."""

    @property
    def nbytes(self) -> int:
        """Bytes of values held in this process."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, or None. One round trip."""

    async def put(self, values: Mapping[str, bytes], ttl_s: float) -> None:
        """Keep values for up to `ttl_s` seconds, in place of earlier ones. One round trip."""

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget these keys, and the claims to make them."""

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim:
        """The value of a key, or who is to make it, so that one of many does what all wait for.

        Without a value it is the first to ask, until `ttl_s` have passed or the key is dropped;
        asked again by the same owner it is still theirs. While the cache is away it is everybody's.
        One round trip.
        """

    async def take(self, key: str, amount: float, per_second: float, burst: float) -> float:
        """Take `amount` from a token bucket that fills at `per_second` up to `burst`, both above 0.

        0.0 if it was taken, else the seconds until it may be; nothing is taken then. More than
        `burst` is taken from a full bucket, which is in debt afterwards; a negative amount gives
        back. The time is the cache's own, so that callers need not agree on theirs.

        Raises CacheUnavailableError when it cannot be known.
        """

    async def clear(self) -> None:
        """Forget everything of this deployment, in all its processes; other data beside it stays.

        Raises CacheUnavailableError if it could not be done.
        """

    async def probe(self) -> None:
        """Ask whether it answers. Raises CacheUnavailableError if not."""

    async def close(self) -> None:
        """Release connections. Idempotent; it is away afterwards."""

    def close_now(self) -> None:
        """`close` for callers that cannot wait."""
