"""The nodes of a filter, and ways to put filters together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import msgspec

from holdfast.errors import FilterError
from holdfast.model import ANY, ENTITY_KINDS, EntityKind, Json, Scope

Op = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "contains", "icontains", "*"]
OPS: tuple[Op, ...] = get_args(Op)

METADATA = "metadata."
"""Prefix of the field of a comparison with a metadata key."""

ENTITY_FIELDS: dict[str, EntityKind] = {f"{kind}_id": kind for kind in ENTITY_KINDS}
"""Field of an entity's id to the kind of entity."""

NO_ENTITY = (
    "The filters are too wide: at least one of user_id, agent_id, app_id, run_id must be named "
    "positively."
)


class And(msgspec.Struct, frozen=True, tag=True):
    """True if every child is."""

    children: tuple[Filter, ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """True if a child is."""

    children: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """True if the child is not."""

    child: Filter


class Compare(msgspec.Struct, frozen=True, tag=True):
    """One comparison; `holdfast.filters` says what each operator means.

    `field` is a field of Memory or `metadata.<key>`. `value` is a tuple of texts, numbers and
    booleans for `in` and `nin`, None for `*`, a text for `icontains`, and one text, finite number
    or boolean for the rest. Times are epoch seconds.
    """

    field: str
    op: Op
    value: Json = None


class Everything(msgspec.Struct, frozen=True, tag=True):
    """Always true."""


class Nothing(msgspec.Struct, frozen=True, tag=True):
    """Never true."""


Filter: TypeAlias = And | Or | Not | Compare | Everything | Nothing


def conjunction(*filters: Filter) -> Filter:
    """All of them, simplified; Everything if there are none."""
    parts = _flat(filters, And)
    if any(isinstance(part, Nothing) for part in parts):
        return Nothing()
    parts = [part for part in parts if not isinstance(part, Everything)]
    if not parts:
        return Everything()
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def disjunction(*filters: Filter) -> Filter:
    """Any of them, simplified; Nothing if there are none."""
    parts = _flat(filters, Or)
    if any(isinstance(part, Everything) for part in parts):
        return Everything()
    parts = [part for part in parts if not isinstance(part, Nothing)]
    if not parts:
        return Nothing()
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def negation(tree: Filter) -> Filter:
    """Not this one, simplified."""
    match tree:
        case Everything():
            return Nothing()
        case Nothing():
            return Everything()
    return Not(tree)


def _flat(filters: Iterable[Filter], kind: type[And] | type[Or]) -> list[Filter]:
    nested = (part.children if isinstance(part, kind) else (part,) for part in filters)
    return [part for parts in nested for part in parts]


def scope_filter(scope: Scope) -> Filter:
    """Memories that carry every id the scope names ("*": any id of that kind).

    Raises FilterError for a scope that names none, because it would mean everything.
    """
    entities = scope.entities()
    if not entities:
        raise FilterError(NO_ENTITY)
    return conjunction(*(_carries(f"{each.kind}_id", each.id) for each in entities))


def _carries(field: str, name: str) -> Filter:
    return Compare(field, "*") if name == ANY else Compare(field, "eq", name)
