"""What was used last, within a bound of bytes and each for a while; time is a parameter."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

V = TypeVar("V")

ENTRY_BYTES: Final = 250
"""Estimate of what an entry takes beside its key and its value."""


class _Entry(NamedTuple, Generic[V]):
    value: V
    size: int
    until: float


class Lru(Generic[V]):
    """Values by key; the longest unused go when the bytes are more than the bound.

    Times are seconds of any clock that does not go back.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held, as told by `put`, and an estimate for keys and entries."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> V | None:
        """The value, unless its time is over; it counts as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= now:
            self.drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: str, value: V, nbytes: int, until: float) -> None:
        """Keep a value of so many bytes; one above the bound is not kept."""
        self.drop(key)
        size = nbytes + len(key) + ENTRY_BYTES
        if size > self._bytes_max:
            return
        self._entries[key] = _Entry(value, size, until)
        self._bytes += size
        while self._bytes > self._bytes_max:
            _, old = self._entries.popitem(last=False)
            self._bytes -= old.size

    def drop(self, key: str) -> None:
        """Forget a value, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0
