"""The fence of a principal that may see only certain users, agents, apps or runs.

A fence is the filter of everything inside it. What lies outside is treated as if it did not exist:
it is not found, not counted, and asking for it by id is asking for something unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import msgspec

from holdfast.errors import AccessError
from holdfast.filters import (
    Compare,
    Cover,
    Filter,
    compile_predicate,
    conjunction,
    entity_choices,
)
from holdfast.model import ENTITY_KINDS, Entity, Memory, Scope, Struct


class Fence(Struct, frozen=True, kw_only=True):
    """The ids of each kind that may be seen; None: any, or none at all, of this kind.

    A memory is inside if it is inside for every kind that is restricted: one restricted to certain
    users sees no memory that names no user.
    """

    users: tuple[str, ...] | None = None
    agents: tuple[str, ...] | None = None
    apps: tuple[str, ...] | None = None
    runs: tuple[str, ...] | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is restricted."""
        return all(ids is None for ids in self._ids())

    @property
    def kinds(self) -> int:
        """How many kinds are restricted."""
        return sum(ids is not None for ids in self._ids())

    def filter(self) -> Filter:
        """True for the memories inside."""
        kinds = zip(ENTITY_KINDS, self._ids(), strict=True)
        return conjunction(
            *(Compare(f"{kind}_id", "in", ids) for kind, ids in kinds if ids is not None)
        )

    def entities(self) -> tuple[Entity, ...]:
        """Those that are named: the only ones of their kinds that may be known of."""
        kinds = zip(ENTITY_KINDS, self._ids(), strict=True)
        return tuple(Entity(kind, id_) for kind, ids in kinds for id_ in ids or ())

    def _ids(self) -> Sequence[tuple[str, ...] | None]:
        return (self.users, self.agents, self.apps, self.runs)


OPEN = Fence()
"""Restricts nothing."""


def inside(fence: Fence, scope: Scope) -> bool:
    """Whether what belongs to this scope may be seen."""
    return fence.is_open or _test(fence)(cast("Memory", scope))  # about identities only


@lru_cache(maxsize=4_096)
def _test(fence: Fence) -> Callable[[Memory], bool]:
    """Remembered, for lists of jobs and changes are looked through one by one."""
    return compile_predicate(fence.filter())


def fenced(fence: Fence, wanted: Filter) -> Filter:
    """What matches the filter and may be seen."""
    return wanted if fence.is_open else conjunction(wanted, fence.filter())


def covers_inside(fence: Fence, covers: Sequence[Cover]) -> Sequence[Cover]:
    """Of the ways to cover a search (`filters.entity_choices`) those by entities the fence names.

    What other entities hold is not even looked at, so that it cannot show in a score.
    """
    if fence.is_open:
        return covers
    named = frozenset(fence.entities())
    return [cover for cover in covers if named.issuperset(cover)] or entity_choices(fence.filter())


def mark_of(fence: Fence) -> str | None:
    """Tells fences apart; None for the one that restricts nothing."""
    if fence.is_open:
        return None
    return hashlib.blake2b(msgspec.json.encode(fence), digest_size=8).hexdigest()


def own_key(fence: Fence, key: str) -> str:
    """An idempotency key that principals with other fences cannot meet, or learn of."""
    mark = mark_of(fence)
    return key if mark is None else f"{key}\x1f{mark}"


def check_inside(fence: Fence, scope: Scope) -> None:
    """Refuse to write for a scope that may not be seen. Raises AccessError."""
    if not inside(fence, scope):
        raise AccessError(
            "This credential may not write for these ids.",
            hint="Name the user, agent, app or run that it is for.",
        )
