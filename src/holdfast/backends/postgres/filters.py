"""Filters as Postgres's SQL, and what of them Postgres cannot say exactly.

Folding case, and comparing what JSON holds, is a matter of the reference: its numbers are of any
size, its lists are looked into, its letters are Unicode's of this Python. A filter with such a
comparison is asked in two steps: a wider one finds candidates, the reference decides. Memories are
listed and deleted within entities, so that candidates are few.
"""

from __future__ import annotations

from typing import Final

from holdfast.backends.sql.filters import (
    NUMBER_FIELDS,
    TEXT_FIELDS,
    Fragment,
    compile_tree,
    on_column,
)
from holdfast.filters import And, Compare, Everything, Filter, Not, Nothing, Or
from holdfast.model import Json

_EXACT_INT_MAX: Final = 2**53
"""Whole numbers up to this are exact as double precision."""


def compile_sql(tree: Filter) -> Fragment:
    """The filter for WHERE; it must be exact."""
    return compile_tree(tree, _comparison)


def is_exact(tree: Filter) -> bool:
    """Whether Postgres can say every comparison of a filter."""
    match tree:
        case Not(child):
            return is_exact(child)
        case And(children) | Or(children):
            return all(map(is_exact, children))
        case Compare():
            return _is_plain(tree)
    return True


def widened(tree: Filter, *, positive: bool = True) -> Filter:
    """An exact filter that is true wherever this one is (inside of a negation: false)."""
    match tree:
        case Not(child):
            return Not(widened(child, positive=not positive))
        case And(children):
            return And(tuple(widened(child, positive=positive) for child in children))
        case Or(children):
            return Or(tuple(widened(child, positive=positive) for child in children))
        case Compare() if not _is_plain(tree):
            return Everything() if positive else Nothing()
    return tree


def _is_plain(tree: Compare) -> bool:
    if tree.op == "icontains":
        return False
    if tree.field in TEXT_FIELDS:
        return tree.op == "*" or all(isinstance(value, str) for value in _operands(tree))
    if tree.field == "listed":
        return tree.op in ("eq", "ne") and isinstance(tree.value, bool)
    if tree.field in NUMBER_FIELDS and tree.op != "contains":
        return tree.op == "*" or all(map(_is_exact_number, _operands(tree)))
    return False


def _operands(tree: Compare) -> tuple[Json, ...]:
    return tuple(tree.value) if tree.op in ("in", "nin") else (tree.value,)


def _is_exact_number(value: Json) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= _EXACT_INT_MAX


def _comparison(tree: Compare) -> Fragment:
    field, op, value = tree.field, tree.op, tree.value
    column = f"m.{field}"
    if op == "contains":
        return f"strpos({column}, ?) > 0", [value]
    if op == "in":
        return f"{column} = ANY(?)", [list(value)] if field in TEXT_FIELDS else [
            [float(each) for each in value]
        ]
    return on_column(column, op, int(value) if isinstance(value, bool) else value)
