"""The reference: what a filter means for one memory, as a function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import assert_never, cast

from holdfast.filters.tree import METADATA, And, Compare, Everything, Filter, Not, Nothing, Op, Or
from holdfast.model import Json, Memory, Scope

Predicate = Callable[[Memory], bool]
ValueTest = Callable[[Json], bool]


def matches(tree: Filter, memory: Memory) -> bool:
    """Whether the memory satisfies the filter: the definition every back end is compared with."""
    return compile_predicate(tree)(memory)


def matches_scope(tree: Filter, scope: Scope) -> bool:
    """Whether a memory of this scope satisfies a filter for which `names_entities_only` holds."""
    return compile_predicate(tree)(cast("Memory", scope))


def compile_predicate(tree: Filter) -> Predicate:
    """The filter as a function, for use on many memories."""
    match tree:
        case Everything():
            return lambda memory: True
        case Nothing():
            return lambda memory: False
        case Not(child):
            inner = compile_predicate(child)
            return lambda memory: not inner(memory)
        case And(children):
            return _every(tuple(map(compile_predicate, children)))
        case Or(children):
            return _some(tuple(map(compile_predicate, children)))
        case Compare(field, op, value):
            return _on_field(field, value_test(op, value))
    assert_never(tree)


def _every(tests: tuple[Predicate, ...]) -> Predicate:
    def every(memory: Memory) -> bool:
        for test in tests:  # noqa: SIM110 - a plain loop takes half the time of all(...) here
            if not test(memory):
                return False
        return True

    return every


def _some(tests: tuple[Predicate, ...]) -> Predicate:
    def some(memory: Memory) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(memory):
                return True
        return False

    return some


def _on_field(field: str, test: ValueTest) -> Predicate:
    if field.startswith(METADATA):
        key = field.removeprefix(METADATA)
        return lambda memory: test(memory.metadata.get(key) if memory.metadata else None)
    get = operator.attrgetter(field)
    if field == "categories":
        return lambda memory: test(get(memory) or None)
    return lambda memory: test(get(memory))


def value_test(op: Op, operand: Json) -> ValueTest:
    """One comparison as a function of one value: JSON, or None if it is missing."""
    match op:
        case "*":
            return lambda value: value is not None
        case "ne":
            return _inverse(_element_wise(_equals(operand)))
        case "nin":
            return _inverse(_element_wise(_is_among(operand)))
        case "eq":
            return _element_wise(_equals(operand))
        case "in":
            return _element_wise(_is_among(operand))
        case "contains":
            return _element_wise(_equals(operand), scalar=_has_part(operand))
        case "icontains":
            return _element_wise(_equals_folded(operand), scalar=_has_part_folded(operand))
        case "gt" | "gte" | "lt" | "lte":
            return _element_wise(_is_ordered(_ORDER[op], operand))
    assert_never(op)


def _inverse(test: ValueTest) -> ValueTest:
    return lambda value: not test(value)


def _element_wise(element: ValueTest, scalar: ValueTest | None = None) -> ValueTest:
    """`element` on each element of a list, `scalar` (by default the same) on anything else."""
    other = scalar or element

    def test(value: Json) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(element, value))
        return other(value)

    return test


def _equals(operand: Json) -> ValueTest:
    if isinstance(operand, bool):
        return lambda value: value is operand
    if isinstance(operand, str):
        return lambda value: isinstance(value, str) and value == operand
    return lambda value: _is_number(value) and value == operand


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_among(operands: Sequence[Json]) -> ValueTest:
    # True and 1 are the same element of a Python set, so booleans are kept in a set of their own.
    flags = frozenset(each for each in operands if isinstance(each, bool))
    others = frozenset(each for each in operands if not isinstance(each, bool))

    def test(value: Json) -> bool:
        if isinstance(value, bool):
            return value in flags
        return isinstance(value, (str, int, float)) and value in others

    return test


_ORDER: dict[str, Callable[[Json, Json], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _is_ordered(compare: Callable[[Json, Json], bool], operand: Json) -> ValueTest:
    if isinstance(operand, str):
        return lambda value: isinstance(value, str) and compare(value, operand)
    return lambda value: _is_number(value) and compare(value, operand)


def _has_part(operand: Json) -> ValueTest:
    if not isinstance(operand, str):
        return lambda value: False
    return lambda value: isinstance(value, str) and operand in value


def _equals_folded(operand: str) -> ValueTest:
    folded = operand.casefold()
    return lambda value: isinstance(value, str) and value.casefold() == folded


def _has_part_folded(operand: str) -> ValueTest:
    folded = operand.casefold()
    return lambda value: isinstance(value, str) and folded in value.casefold()
