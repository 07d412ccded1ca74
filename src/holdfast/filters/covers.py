"""The entities a filter stays within: where a search has to look."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TypeAlias

from holdfast.errors import FilterError
from holdfast.filters.predicate import value_test
from holdfast.filters.tree import (
    ENTITY_FIELDS,
    NO_ENTITY,
    And,
    Compare,
    Everything,
    Filter,
    Not,
    Nothing,
    Or,
    conjunction,
    disjunction,
    negation,
)
from holdfast.model import ANY, Entity, EntityKind, Scope

Cover: TypeAlias = tuple[Entity, ...]

_COVERS_MAX = 8
"""Alternatives kept; further, worse ones are dropped, so that nested ORs stay cheap."""

_KIND_RANK: dict[EntityKind, int] = {"run": 0, "user": 1, "agent": 2, "app": 3}


def entity_choices(tree: Filter) -> tuple[Cover, ...]:
    """Alternative covers, best first by `cover_rank`; none if the filter names no entity.

    Every memory that matches belongs to at least one entity of each cover, so searching the
    entities of any single cover misses nothing. An entity with the id "*" stands for all of its
    kind. An empty cover means that nothing can match. `Not`, `ne`, `nin` and comparisons other
    than `eq`, `in` and `*` name no entity.
    """
    match tree:
        case Nothing():
            return ((),)
        case Compare(field, op, value) if field in ENTITY_FIELDS:
            names = {"eq": (value,), "in": value, "*": (ANY,)}.get(op)
            kind = ENTITY_FIELDS[field]
            return () if names is None else (tuple(Entity(kind, name) for name in names),)
        case And(children):
            return _best(cover for child in children for cover in entity_choices(child))
        case Or(children):
            return _united(children)
    return ()


def _united(children: tuple[Filter, ...]) -> tuple[Cover, ...]:
    """Covers of a disjunction: one cover of every child, together."""
    covers: tuple[Cover, ...] = ((),)
    for child in children:
        pairs = product(covers, entity_choices(child))
        covers = _best(tuple(dict.fromkeys(left + right)) for left, right in pairs)
    return covers


def _best(covers: Iterable[Cover]) -> tuple[Cover, ...]:
    return tuple(sorted(dict.fromkeys(covers), key=cover_rank)[:_COVERS_MAX])


def cover_rank(cover: Cover) -> tuple[int, int, int]:
    """Sorts covers by the memories they may be expected to hold, without looking at data.

    Fewest wildcards first, then fewest entities, then run before user before agent before app.
    """
    wildcards = sum(each.id == ANY for each in cover)
    return wildcards, len(cover), sum(_KIND_RANK[each.kind] for each in cover)


def covering_entities(tree: Filter) -> Cover:
    """The best of `entity_choices`. Raises FilterError if the filter names no entity."""
    choices = entity_choices(tree)
    if not choices:
        raise FilterError(NO_ENTITY)
    return choices[0]


def scope_of_covers(covers: Iterable[Cover]) -> Scope:
    """The identities that every memory of these covers has; perhaps none."""
    alone = [cover[0] for cover in covers if len(cover) == 1 and cover[0].id != ANY]
    return Scope(**{f"{entity.kind}_id": entity.id for entity in alone})


def named_scope(tree: Filter) -> Scope:
    """The identities that every memory that matches has; perhaps none."""
    return scope_of_covers(entity_choices(tree))


def names_entities_only(tree: Filter) -> bool:
    """Whether the filter looks at nothing but whose a memory is."""
    match tree:
        case And(children) | Or(children):
            return all(map(names_entities_only, children))
        case Not(child):
            return names_entities_only(child)
        case Compare(field):
            return field in ENTITY_FIELDS
    return True


def within(tree: Filter, entity: Entity) -> Filter:
    """What is left to check of a filter for memories that are known to belong to the entity.

    Often Everything: the one user a search names has been chosen by then. "*" as id: known to have
    some id of that kind.
    """
    match tree:
        case Compare(field, op, value) if ENTITY_FIELDS.get(field) == entity.kind:
            if entity.id == ANY:
                return Everything() if op == "*" else tree
            return Everything() if value_test(op, value)(entity.id) else Nothing()
        case And(children):
            return conjunction(*(within(child, entity) for child in children))
        case Or(children):
            return disjunction(*(within(child, entity) for child in children))
        case Not(child):
            return negation(within(child, entity))
    return tree
