"""Where backups are kept: named objects that are there whole, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from holdfast.model import Struct


class Stored(Struct, frozen=True, kw_only=True):
    """An object."""

    name: str
    size: int
    """Bytes."""


class Destination(Protocol):
    """A folder, or a bucket. Raises BackupUnavailableError when it is away, full or refuses."""

    place: str
    """Names it to people; without secrets."""

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> int:
        """Store an object, in place of one of this name; its bytes. What comes to an end before
        all parts are there leaves nothing, or what was there before."""

    async def read(self, name: str, start: int, length: int) -> bytes:
        """Bytes of an object, fewer where it ends before. Raises NotFoundError."""

    async def size(self, name: str) -> int:
        """Bytes of an object. Raises NotFoundError."""

    async def listed(self) -> Sequence[Stored]:
        """All objects, by name."""

    async def delete(self, name: str) -> None:
        """Remove an object; one that is not there is fine."""

    async def close(self) -> None:
        """Release connections. Idempotent."""
