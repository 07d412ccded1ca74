"""Filters as SQL: a WHERE expression over `memories AS m`, values only ever as parameters.

Comparisons of columns are plain SQL, so that indexes serve them. What SQLite's JSON cannot express
exactly (its reading of numbers is rounded, its paths cannot name every key) is asked of the
reference itself, through functions that `register_functions` adds to a connection.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import assert_never, cast

import msgspec

from holdfast.filters import (
    METADATA,
    And,
    Compare,
    Everything,
    Filter,
    Not,
    Nothing,
    Op,
    Or,
    value_test,
)
from holdfast.filters.predicate import ValueTest
from holdfast.limits import FILTER_LIST_MAX
from holdfast.model import Json

Param = str | int | float
Fragment = tuple[str, list[Param]]

_TEXT_FIELDS = (
    *("id", "user_id", "agent_id", "app_id", "run_id", "actor_id"),
    *("role", "kind", "text", "expires_on"),
)
_NUMBER_FIELDS = ("event_at", "created_at", "updated_at", "listed")
_TEXT_COLUMNS = {f"m.{name}" for name in _TEXT_FIELDS}
_COLUMNS = {name: f"m.{name}" for name in (*_TEXT_FIELDS, *_NUMBER_FIELDS)}

_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def compile_sql(tree: Filter) -> tuple[str, list[Param]]:
    """The filter as an expression for WHERE, and its parameters in order.

    It is true for exactly the rows whose memory `holdfast.filters.matches`; for the others it is
    false or NULL. Needs a connection prepared by `register_functions`.
    """
    match tree:
        case Everything():
            return "1", []
        case Nothing():
            return "0", []
        case Not(child):
            expression, params = compile_sql(child)
            return f"({expression}) IS NOT TRUE", params
        case And(children):
            return _joined("AND", [compile_sql(child) for child in children])
        case Or(children):
            return _joined("OR", [compile_sql(child) for child in children])
        case Compare():
            return _comparison(tree)
    assert_never(tree)


def _joined(word: str, parts: list[Fragment]) -> Fragment:
    """The parts as a balanced tree: SQLite refuses expressions nested a thousand deep."""
    if not parts:
        return ("1" if word == "AND" else "0"), []
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, left_params = _joined(word, parts[:middle])
    right, right_params = _joined(word, parts[middle:])
    return f"({left} {word} {right})", left_params + right_params


def _comparison(tree: Compare) -> Fragment:
    field, op, value = tree.field, tree.op, tree.value
    if op in ("ne", "nin"):
        positive: Op = "eq" if op == "ne" else "in"
        return compile_sql(Not(Compare(field, positive, value)))
    if field.startswith(METADATA):
        key = field.removeprefix(METADATA)
        return "holdfast_metadata(m.metadata, ?, ?, ?)", [key, op, _json(value)]
    if field == "categories":
        return "holdfast_categories(m.categories, ?, ?)", [op, _json(value)]
    return _on_column(_COLUMNS[field], op, value)


def _on_column(column: str, op: Op, value: Json) -> Fragment:
    match op:
        case "*":
            return f"{column} IS NOT NULL", []
        case "in" if len(value) > FILTER_LIST_MAX and column in _TEXT_COLUMNS:
            # A list no caller wrote, perhaps beyond the number of parameters SQLite takes.
            return f"{column} IN (SELECT value FROM json_each(?))", [_json(value)]
        case "in":
            # One parameter a value, so that the planner knows how many there are.
            return f"{column} IN ({', '.join('?' * len(value))})", list(value)
        case "contains":
            return f"instr({column}, ?) > 0", [value]
        case "icontains":
            return f"holdfast_icontains({column}, ?)", [cast(str, value).casefold()]
    return f"{column} {_COMPARISONS[op]} ?", [value]


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def register_functions(connection: sqlite3.Connection) -> None:
    """Adds the functions that compiled filters call; once per connection."""
    for function in (holdfast_metadata, holdfast_categories, holdfast_icontains):
        arguments = function.__code__.co_argcount
        connection.create_function(function.__name__, arguments, function, deterministic=True)


def holdfast_metadata(metadata: str | None, key: str, op: str, operand: str) -> bool:
    """One comparison with one key of the metadata, an object as JSON."""
    value = None if metadata is None else msgspec.json.decode(metadata).get(key)
    return _test(op, operand)(value)


def holdfast_categories(categories: str | None, op: str, operand: str) -> bool:
    """One comparison with the categories, a list as JSON; none of them is a missing value."""
    listed = None if categories is None else msgspec.json.decode(categories)
    return _test(op, operand)(listed or None)


def holdfast_icontains(value: str | None, folded: str) -> bool:
    """Whether a text contains another, given in folded case, after folding its own."""
    return value is not None and folded in value.casefold()


@lru_cache(maxsize=256)
def _test(op: str, operand: str) -> ValueTest:
    return value_test(cast(Op, op), msgspec.json.decode(operand))
