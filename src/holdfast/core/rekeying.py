"""Memories of a store with another content key, as this store would have made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.core.identity import content_hash, fact_identity, turn_identity
from holdfast.core.text import analyze
from holdfast.model import Memory
from holdfast.ports import PutMemory


class _Said(NamedTuple):
    """A turn, and how often it was said at its moment so far."""

    at: float
    times: int


class Rekeying:
    """Makes hashes, identities and index terms of memories anew, with another content key.

    Memories come in the order in which they were stored: turns with equal words are counted, as
    they were when they were said at one moment.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._said: dict[bytes, _Said] = {}

    def made(self, puts: Sequence[PutMemory]) -> list[PutMemory]:
        """The next memories, made anew."""
        found = [self._anew(put) for put in puts]
        # those of one moment are stored together: what was said at others comes no more
        last = puts[-1].memory.event_at if puts else 0.0
        self._said = {told: said for told, said in self._said.items() if said.at == last}
        return found

    def said_again(self, put: PutMemory) -> PutMemory:
        """A turn whose identity another of the same store has: the next time it was said."""
        first = self._identity(put.memory, 0)
        before = 1
        while self._identity(put.memory, before - 1) != put.identity:
            before += 1
        self._said[first] = _Said(put.memory.event_at, before + 1)
        return replace(put, identity=self._identity(put.memory, before))

    def _anew(self, put: PutMemory) -> PutMemory:
        memory = put.memory
        return replace(
            put,
            memory=replace(memory, hash=content_hash(memory.text, self._key)),
            identity=self._counted(put),
            terms=analyze(memory.text, actor=memory.actor_id, role=memory.role, key=self._key),
        )

    def _counted(self, put: PutMemory) -> bytes:
        memory = put.memory
        if put.identity == memory.id.encode():  # of its own: edited, or at its end
            return put.identity
        first = self._identity(memory, 0)
        if memory.kind != "turn":
            return first
        before = self._said[first].times if first in self._said else 0
        self._said[first] = _Said(memory.event_at, before + 1)
        return self._identity(memory, before)

    def _identity(self, memory: Memory, before: int) -> bytes:
        """By which a memory is known again; `before`: how often it was said at its moment."""
        if memory.kind == "turn":
            said = (memory.event_at, before)
            return turn_identity(memory.scope, memory.role or "", memory.text, said, self._key)
        return fact_identity(memory.kind, memory.scope, memory.text, self._key)
