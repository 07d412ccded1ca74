"""The deployment's master keys: what wraps the data keys, and is never stored beside them."""

from __future__ import annotations

from typing import Protocol


class KeyRing(Protocol):
    """Wraps and unwraps data keys. Holds one primary master key, and older ones to unwrap with."""

    primary: str
    """Name of the master key that wraps from now on."""

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """A data key of 32 bytes, encrypted with the primary master key; `bound_to` is needed to
        unwrap it. Raises KeyRingError when the keys' keeper is away or refuses."""

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        """The data key that the master key of this name wrapped.

        Raises CorruptError (changed, or bound to something else), KeyRingError (unknown name, or
        the keys' keeper is away).
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""
