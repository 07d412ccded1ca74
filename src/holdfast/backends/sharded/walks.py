"""Walks over the marks of several shards, page by page, each point once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import msgspec

from holdfast.core.sharding import Plan
from holdfast.errors import IndexUnavailableError

_WALKS_MAX: Final = 8
"""Walks during a rebalancing that are remembered at once, 100 bytes a point."""


@dataclass
class Walk:
    """How far one walk has come."""

    plan: bytes
    """A digest of the map it goes by."""
    number: int
    at: int = 0
    """The shard it is in, by its place in `Plan.names`."""
    cursor: str | None = None
    """The cursor of that shard's engine."""
    seen: set[str] | None = field(default=None, repr=False)
    """Ids it has told of, while points may be in two shards."""

    def unseen(self, page: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of a page that have not come before."""
        if self.seen is None:
            return page
        new = [(id_, mark) for id_, mark in page if id_ not in self.seen]
        self.seen.update(id_ for id_, _ in new)
        return new


class Walks:
    """The walks of one index. While it is settled a cursor tells everything there is to know."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, set[str]] = OrderedDict()
        self._count = 0

    def go_on(self, plan: Plan, after: str | None) -> Walk:
        """The walk that a cursor tells of, or a new one. IndexUnavailableError if its shards have
        changed, or it is not known any more."""
        if after is None:
            return self._new(plan)
        digest, number, at, cursor = msgspec.json.decode(
            after, type=tuple[bytes, int, int, str | None]
        )
        seen = None if plan.settled else self._seen.get(number)
        if digest != _digest(plan) or (seen is None and not plan.settled):
            raise IndexUnavailableError(
                "The shards have changed since the first page.", hint="Begin with it again."
            )
        return Walk(digest, number, at, cursor, seen)

    def _new(self, plan: Plan) -> Walk:
        self._count += 1
        if plan.settled:
            return Walk(_digest(plan), self._count)
        seen: set[str] = set()
        self._seen[self._count] = seen
        while len(self._seen) > _WALKS_MAX:
            self._seen.popitem(last=False)
        return Walk(_digest(plan), self._count, seen=seen)

    def told(self, walk: Walk, shards: int) -> str | None:
        """The cursor for the next page; None at the end."""
        if walk.at == shards:
            self._seen.pop(walk.number, None)
            return None
        return msgspec.json.encode((walk.plan, walk.number, walk.at, walk.cursor)).decode()


def _digest(plan: Plan) -> bytes:
    at = plan.map
    told = msgspec.json.encode((at.phase, at.before, at.after))
    return blake2b(told, digest_size=16).digest()
